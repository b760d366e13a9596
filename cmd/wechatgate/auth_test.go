package main

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wechatgate/wechatgate"
	"github.com/wechatgate/wechatgate/wechattest"
)

// asked is a gate that other proxies ask, and the cookies of somebody signed in.
type asked struct {
	*front
	cookies string
}

func newAsked(t *testing.T, flags ...string) asked {
	t.Helper()
	f := &front{fake: wechattest.NewServer(), site: newUpstream(t)}
	t.Cleanup(f.fake.Close)
	port := freePort(t)
	f.url = "http://localhost:" + port
	f.fake.Register("localhost:" + port)
	f.start(t, "127.0.0.1:"+port, append([]string{"--verify-file", "MP_verify_x.txt=proof"}, flags...)...)
	v := f.visitor(t, wechatgate.BrowserWeChat)
	_ = v.get("/wechat/login?return_to=/")
	return asked{f, v.cookies()}
}

// ask sends a question, with headers in pairs.
func (a asked) ask(t *testing.T, method, path, cookies string, header ...string) answer {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, a.url, http.NoBody)
	require.NoError(t, err)
	r.URL.Opaque = path
	r.Header.Set("Accept", "text/html")
	r.Header.Set("User-Agent", "Mozilla/5.0 (iPhone) MicroMessenger/8.0.60")
	if cookies != "" {
		r.Header.Set("Cookie", cookies)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	response, err := new(http.Transport).RoundTrip(r)
	require.NoError(t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return answer{status: response.StatusCode, header: response.Header, body: string(body)}
}

func (a asked) forwarded(method, target string) []string {
	return []string{"X-Forwarded-Method", method, "X-Forwarded-Proto", "http", "X-Forwarded-Host", strings.TrimPrefix(a.url, "http://"), "X-Forwarded-Uri", target}
}

func TestEndpoints(t *testing.T) {
	a := newAsked(t)
	identity := []string{"X-Wx-Openid", "X-Wx-Appid", "X-Wx-Unionid", "X-Wx-Nickname", "X-Wx-Avatar"}
	for _, test := range []struct {
		name, method, path string
		anonymous          int
		signedIn           int
	}{
		{"a page", "GET", "/auth/status/page?a=1", 401, 200},
		{"the same for a form", "POST", "/auth/status/page", 401, 200},
		{"a public page", "GET", "/auth/status/open/x", 200, 200},
		{"a challenge", "GET", "/auth/challenge/page", 302, 503},
		{"a challenge for a public page", "GET", "/auth/challenge/open/x", 503, 503},
		{"Envoy", "GET", "/auth/envoy/page", 302, 200},
		{"Envoy at a public page", "GET", "/auth/envoy/open/x", 200, 200},
		{"the gate's own page: status", "GET", "/auth/status/wechat/logout", 403, 403},
		{"the gate's own page: challenge", "GET", "/auth/challenge/wechat/signed-out", 403, 403},
		{"the gate's own page: Envoy", "GET", "/auth/envoy/wechat/logout", 403, 403},
		{"the gate's own page, encoded", "GET", "/auth/status/%77echat/logout", 403, 403},
		{"a file of WeChat's console", "GET", "/auth/status/MP_verify_x.txt", 403, 403},
		{"a dot segment", "GET", "/auth/status/open/../page", 403, 403},
		{"a dot segment in a challenge", "GET", "/auth/challenge/open/%2e%2e/page", 403, 403},
		{"a dot segment for Envoy", "GET", "/auth/envoy/open/..;/page", 403, 403},
		{"no target", "GET", "/auth/status", 404, 404},
		{"no endpoint", "GET", "/auth/other/page", 404, 404},
		{"an endpoint that is spelled otherwise", "GET", "/auth/%73tatus/page", 404, 404},
		{"another page", "GET", "/page", 404, 404},
		{"a public page of the site's", "GET", "/open/x", 404, 404},
		{"forward without headers", "GET", "/auth/forward", 403, 403},
	} {
		t.Run(test.name, func(t *testing.T) {
			for cookies, want := range map[string]int{"": test.anonymous, a.cookies: test.signedIn} {
				got := a.ask(t, test.method, test.path, cookies)
				assert.Equal(t, want, got.status)
				assert.Contains(t, got.header.Get("Cache-Control"), "no-store")
				if want != 200 {
					continue
				}
				assert.Empty(t, got.body)
				assert.LessOrEqual(t, len(got.header["Set-Cookie"]), 1)
				for _, name := range identity {
					assert.Len(t, got.header[name], 1, name)
				}
				assert.Equal(t, cookies != "", got.header.Get("X-Wx-Openid") != "")
			}
		})
	}
}

func TestForwarded(t *testing.T) {
	a := newAsked(t)
	good := func(change ...string) []string {
		headers := a.forwarded("GET", "/page?a=1")
		for i := 0; i < len(change); i += 2 {
			for j := 0; j < len(headers); j += 2 {
				if headers[j] == change[i] {
					headers = append(headers[:j:j], headers[j+2:]...)
					break
				}
			}
			if change[i+1] != "-" {
				headers = append(headers, change[i], change[i+1])
			}
		}
		return headers
	}
	host := strings.TrimPrefix(a.url, "http://")
	for _, test := range []struct {
		name    string
		headers []string
		want    int
	}{
		{"everything once", good(), 200},
		{"a host in capitals", good("X-Forwarded-Host", strings.ToUpper(host)), 200},
		{"a comma in the address", good("X-Forwarded-Uri", "/page?a=1,2"), 200},
		{"no method", good("X-Forwarded-Method", "-"), 403},
		{"an empty method", good("X-Forwarded-Method", ""), 403},
		{"two methods", append(good(), "X-Forwarded-Method", "GET"), 403},
		{"two methods in one", good("X-Forwarded-Method", "GET, GET"), 403},
		{"no scheme", good("X-Forwarded-Proto", "-"), 403},
		{"another scheme", good("X-Forwarded-Proto", "https"), 403},
		{"two schemes in one", good("X-Forwarded-Proto", "http,http"), 403},
		{"no host", good("X-Forwarded-Host", "-"), 403},
		{"another host", good("X-Forwarded-Host", "evil.test"), 403},
		{"two hosts", append(good(), "X-Forwarded-Host", host), 403},
		{"two hosts in one", good("X-Forwarded-Host", host+","+host), 403},
		{"no address", good("X-Forwarded-Uri", "-"), 403},
		{"two addresses", append(good(), "X-Forwarded-Uri", "/open/x"), 403},
		{"an address of another host", good("X-Forwarded-Uri", "http://evil.test/open/x"), 403},
		{"a dot segment", good("X-Forwarded-Uri", "/open/../page"), 403},
		{"the gate's own page", good("X-Forwarded-Uri", "/wechat/logout"), 403},
	} {
		t.Run(test.name, func(t *testing.T) {
			assert.Equal(t, test.want, a.ask(t, http.MethodGet, "/auth/forward", a.cookies, test.headers...).status)
		})
	}
	t.Run("anonymous: the gate's own answer", func(t *testing.T) {
		got := a.ask(t, http.MethodGet, "/auth/forward", "", good()...)
		assert.Equal(t, http.StatusFound, got.status)
		assert.True(t, strings.HasPrefix(got.header.Get("Location"), a.fake.URL))
	})
	t.Run("a form whose body stays with the proxy is not said to be kept", func(t *testing.T) {
		got := a.ask(t, http.MethodGet, "/auth/forward", "", append(a.forwarded("POST", "/page"), "Content-Type", "application/x-www-form-urlencoded", "Origin", a.url)...)
		assert.Equal(t, http.StatusUnauthorized, got.status)
		assert.NotContains(t, got.body, "<input")
	})
	t.Run("the others hold what is said of host and scheme to BaseURL, too", func(t *testing.T) {
		for _, endpoint := range []string{"status", "challenge", "envoy"} {
			assert.Equal(t, 403, a.ask(t, http.MethodGet, "/auth/"+endpoint+"/open/x", "", "X-Forwarded-Host", "evil.test").status)
			assert.Equal(t, 403, a.ask(t, http.MethodGet, "/auth/"+endpoint+"/open/x", "", "X-Forwarded-Proto", "https").status)
		}
	})
}

func TestForwardedCountsFromTrustedProxiesAlone(t *testing.T) {
	a := newAsked(t, "--trusted-proxy", "10.0.0.0/8")
	assert.Equal(t, http.StatusForbidden, a.ask(t, http.MethodGet, "/auth/forward", a.cookies, a.forwarded("GET", "/page")...).status)
}

func TestMountPathInQuestions(t *testing.T) {
	f := &front{fake: wechattest.NewServer(), site: newUpstream(t)}
	t.Cleanup(f.fake.Close)
	port := freePort(t)
	f.fake.Register("localhost:" + port)
	f.url = "http://localhost:" + port + "/shop"
	f.start(t, "127.0.0.1:"+port)
	f.url = "http://localhost:" + port
	a := asked{front: f}
	for path, want := range map[string]int{
		"/auth/status/shop/open/x":    200,
		"/auth/status/shop/page":      401,
		"/auth/status/open/x":         403,
		"/auth/status/%73hop/open/x":  403,
		"/auth/status/shop":           403,
		"/auth/challenge/other":       403,
		"/auth/status/shop/wechat/x":  403,
		"/shop/wechat/signed-out":     200,
		"/wechat/signed-out":          200,
		"/auth/status/shop/../open/x": 403,
	} {
		assert.Equal(t, want, a.ask(t, http.MethodGet, path, "").status, path)
	}
}
