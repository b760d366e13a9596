package target_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wechatgate/wechatgate/internal/target"
)

func TestParseBase(t *testing.T) {
	const likeThis = `like "https://shop.example.com"`
	for _, row := range []struct {
		what, raw string
		insecure  bool
		want      string // "" if there is a problem
		problem   string
	}{
		{what: "a host", raw: "https://shop.example.com", want: "https://shop.example.com"},
		{what: "a slash at the end", raw: "https://shop.example.com/", want: "https://shop.example.com"},
		{what: "capital letters", raw: "HTTPS://Shop.Example.COM", want: "https://shop.example.com"},
		{what: "a mount path", raw: "https://example.com/shop", want: "https://example.com/shop"},
		{what: "a mount path with a slash at the end", raw: "https://example.com/shop/", want: "https://example.com/shop"},
		{what: "a deep mount path", raw: "https://example.com/a/b-c/d.e", want: "https://example.com/a/b-c/d.e"},
		{what: "a mount path that is not ASCII", raw: "https://example.com/%E5%BA%97", want: "https://example.com/%E5%BA%97"},
		{what: "a name in punycode", raw: "https://xn--fiqs8s.example", want: "https://xn--fiqs8s.example"},
		{what: "the scheme's own port", raw: "https://localhost:443", want: "https://localhost"},
		{what: "localhost over http", raw: "http://localhost", want: "http://localhost"},
		{what: "a port on localhost", raw: "http://localhost:8080", want: "http://localhost:8080"},
		{what: "a port with a zero before it", raw: "http://localhost:08080", want: "http://localhost:8080"},
		{what: "a name below localhost", raw: "http://shop.localhost:8080", want: "http://shop.localhost:8080"},
		{what: "https on localhost", raw: "https://localhost:8443", want: "https://localhost:8443"},
		{what: "an IPv4 loopback address", raw: "http://127.9.8.7:8080", want: "http://127.9.8.7:8080"},
		{what: "an IPv6 loopback address", raw: "http://[0:0:0:0:0:0:0:1]:8080", want: "http://[::1]:8080"},
		{what: "http, when asked for", raw: "http://shop.example.com", insecure: true, want: "http://shop.example.com"},
		{what: "a port, when asked for", raw: "https://shop.example.com:8443", insecure: true, want: "https://shop.example.com:8443"},
		{what: "an address in the LAN, when asked for", raw: "http://192.168.0.7:8080", insecure: true, want: "http://192.168.0.7:8080"},
		{what: "a host name with digits and hyphens", raw: "https://m-1.2x.example.com", want: "https://m-1.2x.example.com"},

		{what: "nothing", raw: "", problem: likeThis},
		{what: "no scheme", raw: "shop.example.com", problem: likeThis},
		{what: "a relative scheme", raw: "//shop.example.com", problem: likeThis},
		{what: "another scheme", raw: "ftp://shop.example.com", problem: likeThis},
		{what: "no host", raw: "https:///shop", problem: likeThis},
		{what: "a port and no host", raw: "https://:8443", problem: likeThis},
		{what: "no slashes", raw: "https:shop.example.com", problem: likeThis},
		{what: "a space before it", raw: " https://shop.example.com", problem: likeThis},
		{what: "a line break after it", raw: "https://shop.example.com\n", problem: likeThis},
		{what: "a user name", raw: "https://admin@shop.example.com", problem: "leave out user name"},
		{what: "a password", raw: "https://admin:hunter2@shop.example.com", problem: "leave out user name and password"},
		{what: "a query", raw: "https://shop.example.com/?a=b", problem: "leave out the query"},
		{what: "an empty query", raw: "https://shop.example.com/?", problem: "leave out the query"},
		{what: "a fragment", raw: "https://shop.example.com/#top", problem: "leave out the fragment"},
		{what: "an empty fragment", raw: "https://shop.example.com/#", problem: "leave out the fragment"},
		{what: "dots in its path", raw: "https://shop.example.com/a/../b", problem: "like /shop"},
		{what: "escaped dots in its path", raw: "https://shop.example.com/%2e%2e/b", problem: "like /shop"},
		{what: "two slashes in its path", raw: "https://shop.example.com/a//b", problem: "like /shop"},
		{what: "two slashes at the end", raw: "https://shop.example.com/shop//", problem: "like /shop"},
		{what: "two slashes alone", raw: "https://shop.example.com//", problem: "like /shop"},
		{what: "an escaped slash", raw: "https://shop.example.com/a%2Fb", problem: "like /shop"},
		{what: "a host not in punycode", raw: "https://商店.example.com", problem: "punycode (xn--…)"},
		{what: "an underscore in the host", raw: "https://my_shop.example.com", problem: "letters, digits, dots and hyphens"},
		{what: "a wildcard", raw: "https://*.example.com", problem: "letters, digits, dots and hyphens"},
		{what: "two hosts", raw: "https://a.example.com,b.example.com", problem: "letters, digits, dots and hyphens"},
		{what: "a dot after the host", raw: "https://shop.example.com.", problem: "letters, digits, dots and hyphens"},
		{what: "a dot before the host", raw: "https://.example.com", problem: "letters, digits, dots and hyphens"},
		{what: "an IP address in short", raw: "http://127.1", problem: "letters, digits, dots and hyphens"},
		{what: "an IP address in hex", raw: "https://0x7f.0x1", problem: "letters, digits, dots and hyphens"},
		{what: "a zone", raw: "https://[fe80::1%25eth0]", problem: "letters, digits, dots and hyphens"},
		{what: "plain http", raw: "http://shop.example.com", problem: "want https"},
		{what: "plain http on a name that only looks local", raw: "http://localhost.example.com", problem: "want https"},
		{what: "a port", raw: "https://shop.example.com:8443", problem: "leave out the port"},
		{what: "an empty port", raw: "https://shop.example.com:", problem: "a port from 1 to 65535"},
		{what: "port 0", raw: "http://localhost:0", problem: "a port from 1 to 65535"},
		{what: "port 65536", raw: "http://localhost:65536", problem: "a port from 1 to 65535"},
		{what: "an IPv4 address", raw: "https://192.0.2.7", problem: "want a host name"},
		{what: "an IPv6 address", raw: "https://[2001:db8::7]", problem: "want a host name"},
		{what: "insecure without saying so", raw: "http://192.168.0.7:8080", problem: "set InsecureBaseURL"},
	} {
		base, err := target.ParseBase(row.raw, row.insecure)
		if row.problem != "" {
			require.ErrorContains(t, err, row.problem, row.what)
			assert.NotContains(t, err.Error(), "hunter2")
			assert.Zero(t, base, row.what)
			continue
		}
		require.NoError(t, err, row.what)
		assert.Equal(t, row.want, base.String(), row.what)
	}
}

func TestBaseInParts(t *testing.T) {
	base, err := target.ParseBase("http://LOCALHOST:8080/shop/", false)
	require.NoError(t, err)
	assert.Equal(t, target.Base{Origin: "http://localhost:8080", Mount: "/shop"}, base)
	assert.Equal(t, "localhost:8080", base.Host())

	base, err = target.ParseBase("https://localhost:443", false)
	require.NoError(t, err)
	assert.Equal(t, target.Base{Origin: "https://localhost", Secure: true}, base)
	assert.Equal(t, "localhost", base.Host())
}

func TestIsLoopback(t *testing.T) {
	for host, want := range map[string]bool{
		"localhost": true, "LocalHost": true, "shop.localhost": true, "127.0.0.1": true, "127.255.0.1": true, "::1": true,
		"": false, "localhost.example.com": false, "mylocalhost": false, "0.0.0.0": false, "10.0.0.1": false, "::": false,
	} {
		assert.Equal(t, want, target.IsLoopback(host), host)
	}
}
