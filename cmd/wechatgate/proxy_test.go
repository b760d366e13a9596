package main

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wechatgate/wechatgate"
	"github.com/wechatgate/wechatgate/wechattest"
)

func TestProxyHandsOn(t *testing.T) {
	f := startProxy(t)
	v := f.signedIn(t)
	cookies := v.cookies()
	t.Run("path and query byte for byte", func(t *testing.T) {
		for _, target := range []string{
			"/", "/a?", "/a?x=1;y=2", "/a?%zz&%", "/a/b//c", "/%7Euser", "/%E5%9B%BE", "/a%2Fb", "/a|b", `/a"b<c>`, "/a?q=\"<>", "/a+b%20c", "/;x=1", "/a?b?c", "/a%25", "/wechatx",
		} {
			a := f.raw(t, "GET "+target+" HTTP/1.1", "Cookie: "+cookies)
			require.Equal(t, http.StatusOK, a.status, target)
			assert.Equal(t, target, f.site.last.Load().RequestURI)
		}
	})
	t.Run("an absolute-form target of this host", func(t *testing.T) {
		a := f.raw(t, "GET "+f.url+"/a?b HTTP/1.1", "Cookie: "+cookies)
		require.Equal(t, http.StatusOK, a.status)
		assert.Equal(t, "/a?b", f.site.last.Load().RequestURI)
		assert.Equal(t, http.StatusMisdirectedRequest, f.raw(t, "GET https://evil.test/a HTTP/1.1", "Cookie: "+cookies).status)
	})
	t.Run("what is no path is refused", func(t *testing.T) {
		for _, line := range []string{"OPTIONS * HTTP/1.1", "CONNECT localhost:" + f.port() + " HTTP/1.1", "GET " + f.url + " HTTP/1.1", "GET /a#b HTTP/1.1", "GET //a|b HTTP/1.1"} {
			assert.GreaterOrEqual(t, f.raw(t, line, "Cookie: "+cookies).status, 400, line)
		}
	})
	t.Run("dot segments are 400", func(t *testing.T) {
		for _, path := range []string{"/a/../b", "/a/%2e%2e/b", "/a/..;x/b", "/a%2f..%2fb", "/a/%252e%252e/b", "/.", "/a/..", `/a/..\b`, "/a/%c0%ae%c0%ae/b", "/a/\xc0\xae\xc0\xae/b", "/a/%e0%80%ae%e0%80%ae/b"} {
			assert.Equal(t, http.StatusBadRequest, f.raw(t, "GET "+path+" HTTP/1.1", "Cookie: "+cookies).status, path)
		}
		assert.Equal(t, http.StatusOK, f.raw(t, "GET /.well-known/..x/... HTTP/1.1", "Cookie: "+cookies).status)
	})
	t.Run("the site's own cookies, and not the gate's", func(t *testing.T) {
		f.raw(t, "GET / HTTP/1.1", "Cookie: a=1; "+cookies+"; b=\"2\";c=3; __Host-wechatgate-login-12345678=x; __Host-wechatgatex=4")
		assert.Equal(t, []string{`a=1; b="2";c=3; __Host-wechatgatex=4`}, f.site.last.Load().Header["Cookie"])
		f.raw(t, "GET / HTTP/1.1", "Cookie: "+cookies)
		assert.Empty(t, f.site.last.Load().Header["Cookie"])
	})
	t.Run("the visitor's address and BaseURL's host, and nothing that the visitor says", func(t *testing.T) {
		f.raw(t, "GET / HTTP/1.1", "Cookie: "+cookies, "X-Forwarded-For: 192.0.2.1, 203.0.113.7, 127.0.0.1", "X-Forwarded-Host: evil.test", "X_Forwarded_Host: evil.test",
			"X-Forwarded-Prefix: /evil", "Forwarded: host=evil.test", "X-Real-IP: 192.0.2.9")
		h := f.site.last.Load().Header
		assert.Equal(t, []string{"203.0.113.7"}, h["X-Forwarded-For"], "said by a proxy on this machine; what is before it says nothing")
		assert.Equal(t, []string{strings.TrimPrefix(f.url, "https://")}, h["X-Forwarded-Host"])
		assert.Equal(t, []string{"https"}, h["X-Forwarded-Proto"])
		for name, values := range h {
			assert.NotContains(t, strings.Join(values, ""), "evil", name)
			assert.NotContains(t, values, "192.0.2.9", name)
		}
	})
	t.Run("trailers of answers", func(t *testing.T) {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, f.url+"/trailer", http.NoBody)
		require.NoError(t, err)
		response, err := v.Do(r)
		require.NoError(t, err)
		defer response.Body.Close()
		_, err = io.Copy(io.Discard, response.Body)
		require.NoError(t, err)
		assert.Equal(t, "42", response.Trailer.Get("X-Sum"))
	})
	t.Run("trailers of requests carry no identity", func(t *testing.T) {
		f.raw(t, "POST /a HTTP/1.1", "Cookie: "+cookies, "Transfer-Encoding: chunked", "Trailer: X-WX-OPENID, X_WX_ROLE", "Connection: close\r\n\r\n1\r\na\r\n0\r\nX-WX-OPENID: spoofed\r\nX_WX_ROLE: spoofed")
		seen := f.site.last.Load()
		assert.Equal(t, http.MethodPost, seen.Method)
		assert.Empty(t, seen.Trailer)
		assert.NotContains(t, seen.Header["X-Wx-Openid"], "spoofed")
	})
	t.Run("HTTP/2", func(t *testing.T) { assert.Equal(t, "HTTP/2.0", v.get("/").proto) })
	t.Run("100-continue", func(t *testing.T) {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPut, f.url+"/a", strings.NewReader("body"))
		require.NoError(t, err)
		r.Header.Set("Expect", "100-continue")
		response, err := v.Do(r)
		require.NoError(t, err)
		defer response.Body.Close()
		content, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		assert.Equal(t, "body", decode(t, string(content))["body"])
	})
	t.Run("answers say that they are one visitor's", func(t *testing.T) {
		a := v.get("/")
		assert.Equal(t, []string{"private, no-cache"}, a.header["Cache-Control"])
		assert.Equal(t, []string{"Cookie"}, a.header["Vary"])
	})
}

// ReverseProxy hands early hints on, and then forgets every header that was set.
func TestRenewalOutlivesEarlyHints(t *testing.T) {
	f := startProxy(t, "--idle-timeout", "10s")
	v := f.signedIn(t)
	assert.Eventually(t, func() bool {
		a := v.stay().get("/early")
		return a.status == http.StatusOK && strings.HasPrefix(a.header.Get("Set-Cookie"), "__Host-wechatgate-seen=")
	}, patience, 50*time.Millisecond)
}

func TestUpstreamIsDownOrSilent(t *testing.T) {
	silent := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	defer silent.Close()
	for _, test := range []struct {
		name, upstream string
		limit          string
		status         int
	}{
		{"down", "http://127.0.0.1:1", "1m", http.StatusBadGateway},
		{"silent", silent.URL, "50ms", http.StatusGatewayTimeout},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := &front{fake: wechattest.NewServer(), site: newUpstream(t)}
			t.Cleanup(f.fake.Close)
			port := freePort(t)
			f.url = "http://localhost:" + port
			f.fake.Register("localhost:" + port)
			f.start(t, "127.0.0.1:"+port, "--upstream", test.upstream, "--upstream-timeout", test.limit)
			v := f.visitor(t, wechatgate.BrowserWeChat)
			a := v.get("/page")
			assert.Equal(t, test.status, a.status)
			assert.NotContains(t, a.body, "127.0.0.1")
			a = v.get("/page", "Accept", "application/json")
			assert.Equal(t, test.status, a.status)
			assert.Equal(t, "upstream", decode(t, a.body)["error"])
			reference, _ := decode(t, a.body)["reference"].(string)
			assert.Contains(t, f.gate.log.String(), "reference="+reference)
			assert.Equal(t, http.StatusUnauthorized, f.visitor(t, wechatgate.BrowserDesktop).get("/page", "Accept", "application/json").status, "it never opens the gate")
		})
	}
}

func TestUnixSockets(t *testing.T) {
	folder := t.TempDir()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "unix", filepath.Join(folder, "site"))
	require.NoError(t, err)
	seen := make(chan http.Header, 1)
	site := &http.Server{Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { seen <- r.Header })}
	go func() { _ = site.Serve(listener) }()
	defer site.Close()
	fake := wechattest.NewServer()
	defer fake.Close()
	g := run(t, environFor(fake), "--listen", "unix:"+filepath.Join(folder, "gate"), "--upstream", "unix:"+filepath.Join(folder, "site"),
		"--base-url", "http://shop.test", "--insecure-base-url", "--website-id", fake.Website.ID, "--official-account-id", fake.OfficialAccount.ID, "--public", "/open/")
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", g.address)
	}}}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://shop.test/open/x", http.NoBody)
	require.NoError(t, err)
	r.Header.Set("X-Forwarded-For", "203.0.113.7")
	response, err := client.Do(r)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	assert.Equal(t, http.StatusOK, response.StatusCode)
	assert.Equal(t, []string{"203.0.113.7"}, (<-seen)["X-Forwarded-For"], "the other end of a socket is trusted")
}

func TestMountPathOfProxy(t *testing.T) {
	f := &front{fake: wechattest.NewServer(), site: newUpstream(t)}
	t.Cleanup(f.fake.Close)
	port := freePort(t)
	f.fake.Register("localhost:" + port)
	f.url = "http://localhost:" + port + "/shop"
	f.start(t, "127.0.0.1:"+port, "--upstream", f.site.URL, "--verify-file", "MP_verify_x.txt=proof")
	v := f.visitor(t, wechatgate.BrowserWeChat)
	a := v.get("/page?a=1")
	require.Equal(t, http.StatusOK, a.status)
	assert.Equal(t, "/shop/page?a=1", f.site.last.Load().RequestURI, "the whole path is handed on")
	f.url = "http://localhost:" + port
	assert.Equal(t, http.StatusNotFound, v.get("/page").status)
	assert.Equal(t, "proof", v.get("/MP_verify_x.txt").body)
}

func TestAssertion(t *testing.T) {
	f := startProxy(t, "--assertion")
	v := f.signedIn(t)
	token := f.site.last.Load().Header.Get("X-Wx-Assertion")
	parsed, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.ES256})
	require.NoError(t, err)
	var keys jose.JSONWebKeySet
	require.NoError(t, json.Unmarshal([]byte(v.get("/wechat/jwks.json").body), &keys))
	require.Len(t, keys.Keys, 1)
	assert.True(t, keys.Keys[0].IsPublic())
	assert.Equal(t, keys.Keys[0].KeyID, parsed.Headers[0].KeyID)
	var claims jwt.Claims
	var who map[string]any
	require.NoError(t, parsed.Claims(keys.Keys[0], &claims, &who))
	assert.NoError(t, claims.Validate(jwt.Expected{Issuer: f.url, AnyAudience: jwt.Audience{f.url}, Time: time.Now()}))
	openID := wechattest.OpenID(f.fake.OfficialAccount.ID, wechattest.Person{Name: "alice"})
	assert.Equal(t, f.fake.OfficialAccount.ID+":"+openID, claims.Subject)
	assert.Equal(t, openID, who["openid"])
	assert.Equal(t, 5*time.Minute, claims.Expiry.Time().Sub(claims.IssuedAt.Time()))

	a, err := newAssertions([][]byte{[]byte(strings.Repeat("k", 31) + "1"), []byte(strings.Repeat("k", 31) + "2")}, "https://shop.test")
	require.NoError(t, err)
	b, err := newAssertions([][]byte{[]byte(strings.Repeat("k", 31) + "2")}, "https://shop.test")
	require.NoError(t, err)
	var both, one jose.JSONWebKeySet
	require.NoError(t, json.Unmarshal(a.keys, &both))
	require.NoError(t, json.Unmarshal(b.keys, &one))
	assert.Equal(t, both.Keys[1].KeyID, one.Keys[0].KeyID, "a session key has one kid")
	assert.Equal(t, http.StatusNotFound, startProxy(t).visitor(t, wechatgate.BrowserDesktop).get("/wechat/jwks.json").status)
}

func TestShutdownWhileStreaming(t *testing.T) {
	f := startProxy(t)
	v := f.signedIn(t)
	socket, _, err := dialSocket(t, f, v.cookies())
	require.NoError(t, err)
	defer func() { _ = socket.CloseNow() }()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, f.url+"/events", http.NoBody)
	require.NoError(t, err)
	r.Header.Set("Accept", "text/event-stream")
	response, err := v.Do(r)
	require.NoError(t, err)
	defer response.Body.Close()
	lines := bufio.NewReader(response.Body)
	f.site.tell(t.Context(), "one")
	_, err = lines.ReadString('\n')
	require.NoError(t, err)

	f.gate.stop()
	probe := func(path string) int {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, f.gate.admin+path, http.NoBody)
		require.NoError(t, err)
		response, err := new(http.Transport).RoundTrip(r)
		if err != nil {
			return 0
		}
		require.NoError(t, response.Body.Close())
		return response.StatusCode
	}
	require.Eventually(t, func() bool { return probe("/readyz") == http.StatusServiceUnavailable }, patience, 10*time.Millisecond)
	assert.Equal(t, http.StatusOK, probe("/healthz"))
	require.NoError(t, socket.Write(t.Context(), 1, []byte("still")), "upgraded connections end last")
	_, message, err := socket.Read(t.Context())
	require.NoError(t, err)
	assert.Equal(t, "echo still", string(message))
	f.site.tell(t.Context(), "two")
	_, _ = lines.ReadString('\n')
	line, err := lines.ReadString('\n')
	require.NoError(t, err)
	assert.Equal(t, "data: two\n", line)
	f.site.tell(t.Context(), "")
	_, err = io.Copy(io.Discard, lines)
	assert.NoError(t, err)
	assert.Equal(t, 0, f.gate.end(t))
	_, _, err = socket.Read(t.Context())
	assert.Error(t, err)
}

func TestLinesOfPeople(t *testing.T) {
	const person, problem = "wx1:o-A_b", "line 1: want appid:openid or a unionid, of letters, digits, hyphens and underscores"
	for _, test := range []struct{ name, content, problem string }{
		{"a line", person + "\n", ""},
		{"without an end", person, ""},
		{"written on Windows", "\xef\xbb\xbf" + person + "\r\n", ""},
		{"in UTF-16", "\xff\xfew\x00x\x001\x00", problem},
		{"with a full-width colon", "wx1\uff1ao-A_b\n", problem},
		{"with a comma", person + ",\n", problem},
		{"without an openid", "wx1:\n", problem},
	} {
		t.Run(test.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "deny")
			require.NoError(t, os.WriteFile(file, []byte(test.content), 0o600))
			read, problems := readList(file, true)
			if test.problem != "" {
				require.Len(t, problems, 1)
				assert.EqualError(t, problems[0], test.problem)
				return
			}
			assert.Empty(t, problems)
			assert.Contains(t, read, person)
		})
	}
}

func TestReloadKeepsDenyFileThatBreaks(t *testing.T) {
	file := filepath.Join(t.TempDir(), "deny")
	s, log := &settings{denyFile: file}, slog.New(slog.DiscardHandler)
	require.NoError(t, os.WriteFile(file, []byte("wx1:alice\n"), 0o600))
	before := &site{settings: s, lists: newLists(s, log, nil)}
	alice := wechatgate.User{AppID: "wx1", OpenID: "alice"}
	for _, broken := range []func() error{
		func() error { return os.WriteFile(file, []byte("wx1:bob 20"), 0o600) },
		func() error { return os.Remove(file) },
	} {
		require.NoError(t, broken())
		assert.ErrorIs(t, newLists(s, log, before).refuse(alice), errDenied)
	}
	assert.NoError(t, newLists(&settings{denyFile: file + "2"}, log, before).refuse(alice), "another file")
}

// os.WriteFile, cp and editors empty a file before they fill it.
func TestHalfWrittenFilesAreLeftAlone(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	write := func(text string) { require.NoError(t, os.WriteFile(file, []byte(text), 0o600)) }
	write("wx1:alice\n")
	p := &program{watched: map[string]stamp{file: stampOf(file)}}
	l := newLists(&settings{denyFile: file}, slog.New(slog.DiscardHandler), nil)
	alice := wechatgate.User{AppID: "wx1", OpenID: "alice"}
	for _, half := range []string{"", "wx1:al"} {
		write(half)
		l.look()
		assert.False(t, p.hasChanged(), half)
		assert.ErrorIs(t, l.refuse(alice), errDenied, half)
	}
	write("wx1:bob # and nobody else\n")
	assert.False(t, p.hasChanged())
	assert.True(t, p.hasChanged(), "left alone for one look")
	l.look()
	l.look()
	assert.NoError(t, l.refuse(alice))
}

func TestListsOfPeople(t *testing.T) {
	folder := t.TempDir()
	allow, deny := filepath.Join(folder, "allow"), filepath.Join(folder, "deny")
	write := func(file, text string) { require.NoError(t, os.WriteFile(file, []byte(text), 0o600)) }
	write(allow, "")
	write(deny, "# nobody\n")
	f := startProxy(t, "--allow-file", allow, "--deny-file", deny)
	alice := f.fake.OfficialAccount.ID + ":" + wechattest.OpenID(f.fake.OfficialAccount.ID, wechattest.Person{Name: "alice"})
	union := wechattest.UnionID(wechattest.Person{Name: "alice"})
	v := f.visitor(t, wechatgate.BrowserWeChat)
	status := func(path string) func(int) func() bool {
		return func(want int) func() bool { return func() bool { return v.get(path).status == want } }
	}
	page, api := status("/page"), func(want int) func() bool {
		return func() bool { return v.get("/api", "Accept", "application/json").status == want }
	}
	soon := func(f func() bool, what string) {
		t.Helper()
		require.Eventually(t, f, patience, 30*time.Millisecond, what)
	}
	soon(page(http.StatusForbidden), "an empty allow file allows nobody")
	write(allow, alice+" # the owner\n")
	soon(page(http.StatusOK), "one line allows one person")
	write(deny, alice+"\n")
	soon(api(http.StatusUnauthorized), "deny wins: anonymous afterwards")
	soon(page(http.StatusForbidden), "and refused at the sign-in")
	write(deny, alice+" 2001-02-03T04:05:06Z\n")
	soon(page(http.StatusOK), "a line with a time refuses nobody")
	write(deny, alice+" "+time.Now().Add(time.Hour).UTC().Format(time.RFC3339)+"\n")
	soon(api(http.StatusUnauthorized), "and ends sessions begun before it")
	write(deny, "")
	soon(func() bool {
		v = f.visitor(t, wechatgate.BrowserWeChat) // the other has signed in too often
		return v.get("/page").status == http.StatusOK
	}, "back again")
	write(deny, alice+" yesterday\n")
	soon(func() bool { return strings.Contains(f.gate.log.String(), "deny file") }, "a mistake is said")
	assert.NotContains(t, f.gate.log.String(), alice)
	require.NoError(t, os.Remove(allow))
	soon(api(http.StatusUnauthorized), "an allow file that is gone allows nobody")
	write(allow, union+"\n")
	soon(func() bool {
		return f.visitor(t, wechatgate.BrowserDesktop).get("/page").status == http.StatusOK
	}, "a unionid")
}
