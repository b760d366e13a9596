package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wechatgate/wechatgate"
	"github.com/wechatgate/wechatgate/wechattest"
)

// What holds for each way to stand in front of a site.
func TestVisitors(t *testing.T) {
	overAllFronts(t, func(t *testing.T, f *front) {
		t.Run("a sign-in comes back to the page with its query", func(t *testing.T) {
			v := f.visitor(t, wechatgate.BrowserWeChat)
			a := v.get("/orders/%E5%9B%BE?a=1&b=%2F;x&&c")
			require.Equal(t, http.StatusOK, a.status, a.body)
			seen := f.site.last.Load()
			assert.Equal(t, "/orders/%E5%9B%BE?a=1&b=%2F;x&&c", seen.RequestURI)
			assert.Equal(t, []string{wechattest.OpenID(f.fake.OfficialAccount.ID, wechattest.Person{Name: "alice"})}, seen.Header["X-Wx-Openid"])
			assert.Equal(t, []string{f.fake.OfficialAccount.ID}, seen.Header["X-Wx-Appid"])
			assert.Equal(t, strings.TrimPrefix(f.url, "https://"), seen.Host)
		})
		t.Run("a script gets 401", func(t *testing.T) {
			before := f.site.count.Load()
			a := f.visitor(t, wechatgate.BrowserDesktop).get("/api", "Accept", "application/json")
			assert.Equal(t, http.StatusUnauthorized, a.status)
			assert.JSONEq(t, `{"error":"login_required","login_url":"`+f.url+`/wechat/login"}`, a.body)
			assert.Equal(t, "no-store", a.header.Get("Cache-Control"))
			assert.Empty(t, a.header["Set-Cookie"])
			assert.Equal(t, before, f.site.count.Load())
		})
		t.Run("a form of somebody anonymous is not sent", func(t *testing.T) {
			before := f.site.count.Load()
			v := f.visitor(t, wechatgate.BrowserWeChat).stay()
			a := v.do(http.MethodPost, "/orders", "name=value", "Content-Type", "application/x-www-form-urlencoded")
			assert.Equal(t, http.StatusUnauthorized, a.status)
			if f.name == "Caddy" {
				assert.NotContains(t, a.body, `name="value"`)
			} else {
				assert.Contains(t, a.body, "value", "what was typed is kept")
			}
			a = v.do(http.MethodPost, "/orders", "name=value", "Content-Type", "application/x-www-form-urlencoded", "Sec-Fetch-Site", "cross-site", "Origin", "https://evil.test")
			assert.Equal(t, http.StatusSeeOther, a.status)
			assert.Equal(t, before, f.site.count.Load())
		})
		t.Run("a form of somebody signed in is", func(t *testing.T) {
			a := f.signedIn(t).do(http.MethodPost, "/orders", "name=value", "Content-Type", "application/x-www-form-urlencoded")
			assert.Equal(t, http.StatusOK, a.status)
			assert.Contains(t, a.body, `"body":"name=value"`)
			assert.Contains(t, a.body, `"method":"POST"`)
		})
		t.Run("the gate's pages are there", func(t *testing.T) {
			v := f.signedIn(t)
			a := v.get("/wechat/user", "Accept", "application/json")
			assert.Equal(t, http.StatusOK, a.status)
			assert.Contains(t, a.body, "open_id")
			assert.Equal(t, http.StatusOK, v.get("/wechat/logout").status)
			a = v.do(http.MethodPost, "/wechat/logout", "", "Accept", "application/json")
			assert.Equal(t, http.StatusNoContent, a.status)
			assert.Equal(t, http.StatusUnauthorized, v.get("/api", "Accept", "application/json").status)
		})
		t.Run("public pages need no sign-in, and say who is unknown", func(t *testing.T) {
			a := f.visitor(t, wechatgate.BrowserDesktop).get("/open/page", "X-Wx-Openid", "spoofed")
			assert.Equal(t, http.StatusOK, a.status)
			values := f.site.last.Load().Header["X-Wx-Openid"]
			if f.name != "nginx" || values != nil { // which sends no header that is empty
				assert.Equal(t, []string{""}, values)
			}
		})
		t.Run("server-sent events arrive one by one", func(t *testing.T) { serverSentEvents(t, f) })
		t.Run("WebSocket", func(t *testing.T) { webSocket(t, f) })
		t.Run("foreign Host", func(t *testing.T) {
			before := f.site.count.Load()
			cookies := f.signedIn(t).cookies()
			reached := f.site.count.Load()
			a := f.raw(t, "GET / HTTP/1.1", "Host: evil.test", "Cookie: "+cookies)
			assert.NotContains(t, a.body, "target")
			if f.name != "Caddy" { // which answers 200 with nothing for a host that it does not know
				assert.Equal(t, http.StatusMisdirectedRequest, a.status)
			}
			assert.Equal(t, reached, f.site.count.Load())
			assert.Greater(t, reached, before)
		})
	})
}

func TestNicknamesReachTheSite(t *testing.T) {
	overAllFronts(t, func(t *testing.T, f *front) {
		f.fake.SignInAs(wechattest.Person{Name: "wang", Nickname: "王 小明🎈,\"'%", AvatarURL: "https://thirdwx.qlogo.cn/mmopen/图/132"})
		a := f.visitor(t, wechatgate.BrowserDesktop).get("/me")
		require.Equal(t, http.StatusOK, a.status, a.body)
		h := f.site.last.Load().Header
		assert.Equal(t, "%E7%8E%8B%20%E5%B0%8F%E6%98%8E%F0%9F%8E%88%2C%22'%25", h.Get("X-Wx-Nickname"))
		nickname, err := url.PathUnescape(h.Get("X-Wx-Nickname"))
		require.NoError(t, err)
		assert.Equal(t, "王 小明🎈,\"'%", nickname)
		assert.NotEmpty(t, h.Get("X-Wx-Unionid"))
	}, "--profile")
}

func TestIdleSessionsAreRenewed(t *testing.T) {
	overAllFronts(t, func(t *testing.T, f *front) {
		v := f.signedIn(t)
		assert.Eventually(t, func() bool {
			a := v.stay().get("/")
			return a.status == http.StatusOK && strings.HasPrefix(a.header.Get("Set-Cookie"), "__Host-wechatgate-seen=")
		}, patience, 50*time.Millisecond)
		a := v.stay().get("/")
		assert.Equal(t, http.StatusOK, a.status)
		for _, cookie := range a.header["Set-Cookie"] {
			assert.True(t, strings.HasPrefix(cookie, "__Host-wechatgate"), "no empty cookie, and no placeholder: %q", cookie)
		}
	}, "--idle-timeout", "10s")
}

// The upstream's answer when nothing is renewed has no cookie of the proxy's making.
func TestNoCookieWithoutRenewal(t *testing.T) {
	overAllFronts(t, func(t *testing.T, f *front) {
		assert.Empty(t, f.signedIn(t).get("/").header["Set-Cookie"])
	})
}

// Another protocol would be a tunnel: what a visitor says in it has met no gate.
func TestOnlyWebSocketsAreTunnels(t *testing.T) {
	overAllFronts(t, func(t *testing.T, f *front) {
		cookies := f.signedIn(t).cookies()
		for _, upgrade := range []string{"h2c", "h2c, websocket", "websocket\r\nUpgrade: h2c", "h2c\r\nUpgrade: websocket"} {
			f.raw(t, "GET /open/x HTTP/1.1", "Cookie: "+cookies, "Connection: Upgrade, HTTP2-Settings", "HTTP2-Settings: AAMAAABk", "Upgrade: "+upgrade+
				"\r\n\r\nGET /admin HTTP/1.1\r\nHost: localhost\r\nX-WX-OPENID: spoofed\r\nConnection: close")
			seen := f.site.last.Load()
			assert.NotContains(t, seen.Header["X-Wx-Openid"], "spoofed", upgrade)
			assert.NotContains(t, strings.Join(seen.Header["Upgrade"], ","), "h2c", upgrade)
		}
	})
}

func TestSpoofedHeaders(t *testing.T) {
	overAllFronts(t, func(t *testing.T, f *front) {
		cookies := f.signedIn(t).cookies()
		openID := wechattest.OpenID(f.fake.OfficialAccount.ID, wechattest.Person{Name: "alice"})
		for _, test := range []struct {
			name      string
			headers   []string
			mayBeGone bool
		}{
			{"the name itself", []string{"X-WX-OPENID: spoofed"}, false},
			{"in small letters", []string{"x-wx-openid: spoofed"}, false},
			{"twice", []string{"X-WX-OPENID: spoofed", "X-Wx-Openid: spoofed"}, false},
			{"with underscores", []string{"X_WX_OPENID: spoofed", "X-WX_OPENID: spoofed", "X_WX-OPENID: spoofed", "x_wx_unionid: spoofed"}, false},
			{"one that is not set", []string{"X-WX-ROLE: spoofed", "X_WX_ROLE: spoofed"}, false},
			{"an address of its own making", []string{"X-Forwarded-Prefix: /spoofed", "X-Real-IP: spoofed", "X-Forwarded-Prefix: spoofed"}, false},
			{"one that is empty", []string{"X-WX-NICKNAME: spoofed"}, false},
			{"hop by hop", []string{"Connection: close, X-WX-OPENID"}, f.name == "Caddy"},
			{"hop by hop, and spoofed", []string{"Connection: close, X-WX-OPENID", "X-WX-OPENID: spoofed"}, f.name == "Caddy"},
		} {
			if f.name == "nginx" && test.name == "one that is not set" {
				continue // nginx removes names, and no patterns
			}
			t.Run(test.name, func(t *testing.T) {
				f.site.last.Store(nil)
				a := f.raw(t, "GET /page HTTP/1.1", append([]string{"Cookie: " + cookies + "; own=1"}, test.headers...)...)
				require.Equal(t, http.StatusOK, a.status, a.body)
				seen := f.site.last.Load().Header
				for name, values := range seen {
					assert.NotContains(t, values, "spoofed", name)
				}
				if !test.mayBeGone || len(seen["X-Wx-Openid"]) > 0 {
					assert.Equal(t, []string{openID}, seen["X-Wx-Openid"])
				}
			})
		}
	})
}

// An anonymous visitor names another path than the one that is asked for.
func TestSpoofedPaths(t *testing.T) {
	overAllFronts(t, func(t *testing.T, f *front) {
		before := f.site.count.Load()
		for _, header := range []string{
			"X-Forwarded-Uri: /open/x", "X-Original-URL: /open/x", "X-Rewrite-URL: /open/x", "X-Forwarded-Method: OPTIONS",
			"X-Forwarded-Host: evil.test", "X-Forwarded-Proto: http", "X-Forwarded-Uri: /open/x\r\nX-Forwarded-Uri: /open/y",
			"X-Forwarded-Prefix: /open", "X-Forwarded-Path: /open/x", "X_Forwarded_Uri: /open/x",
		} {
			a := f.raw(t, "GET /private HTTP/1.1", header)
			assert.GreaterOrEqual(t, a.status, 400, header)
		}
		assert.Equal(t, before, f.site.count.Load())
		a := f.raw(t, "GET /open/x HTTP/1.1", "X-Original-URL: /private", "X-Rewrite-URL: /private", "Forwarded: for=evil.test")
		assert.Equal(t, http.StatusOK, a.status)
		h := f.site.last.Load().Header
		for _, name := range []string{"X-Original-Url", "X-Rewrite-Url", "Forwarded"} {
			assert.Empty(t, h.Get(name), name)
		}
	})
}

// Paths that two programs could read differently let nobody in.
func TestPathForms(t *testing.T) {
	forms := []string{
		"/open/../private", "/open/%2e%2e/private", "/open/%2E./private", "/open/..;/private", "/open/..%2fprivate", "/open/..%5cprivate",
		"/open/%252e%252e/private", "/open//../private", "//open/x", "/open/x%00/../../private", "/open/%2fprivate", "/open%2f..%2fprivate",
		"/open/;/../private", "/%6fpen/x", "/open/..\\private", "/open/%c0%ae%c0%ae/private", "/open/.%09./private", "/open/%25", "/OPEN/x", "/open/..%20/private",
	}
	overAllFronts(t, func(t *testing.T, f *front) {
		cookies := f.signedIn(t).cookies()
		for _, form := range forms {
			before := f.site.count.Load()
			a := f.raw(t, "GET "+form+" HTTP/1.1")
			assert.Equal(t, before, f.site.count.Load(), "anonymous: %s", form)
			assert.NotEqual(t, http.StatusOK, a.status, form)

			a = f.raw(t, "GET "+form+" HTTP/1.1", "Cookie: "+cookies)
			if f.site.count.Load() == before {
				assert.NotEqual(t, http.StatusOK, a.status, form)
				continue
			}
			assert.NotContains(t, form, "..", "a dot segment reaches no site")
			// nginx and Caddy hand on what they were sent; so does the program.
			assert.Equal(t, form, f.site.last.Load().RequestURI)
		}
		for _, target := range []string{"https://localhost:" + f.port() + "/private", "http://evil.test/open/x", "https://evil.test/open/../private"} {
			before := f.site.count.Load()
			a := f.raw(t, "GET "+target+" HTTP/1.1")
			assert.Equal(t, before, f.site.count.Load(), target)
			assert.NotEqual(t, http.StatusOK, a.status*b2i(a.body != ""), target)
		}
	})
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// When the gate is down, the site is closed.
func TestGateIsDown(t *testing.T) {
	overAllFronts(t, func(t *testing.T, f *front) {
		cookies := f.signedIn(t).cookies()
		f.gate.end(t)
		before := f.site.count.Load()
		if f.name == "proxy" {
			return // nothing listens
		}
		for _, path := range []string{"/", "/open/x", "/wechat/login"} {
			a := f.raw(t, "GET "+path+" HTTP/1.1", "Cookie: "+cookies)
			assert.GreaterOrEqual(t, a.status, 500)
		}
		assert.Equal(t, before, f.site.count.Load())
	})
}

func serverSentEvents(t *testing.T, f *front) {
	t.Helper()
	v := f.signedIn(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, f.url+"/events", http.NoBody)
	require.NoError(t, err)
	r.Header.Set("Accept", "text/event-stream")
	go f.site.tell(ctx, "one") // some proxies wait for it before they send the head
	response, err := v.Do(r)
	require.NoError(t, err)
	defer response.Body.Close()
	require.Equal(t, http.StatusOK, response.StatusCode)
	lines := bufio.NewReader(response.Body)
	for _, text := range []string{"one", "two"} {
		if text != "one" {
			f.site.tell(ctx, text)
		}
		line, err := lines.ReadString('\n')
		require.NoError(t, err)
		assert.Equal(t, "data: "+text+"\n", line)
		_, err = lines.ReadString('\n')
		require.NoError(t, err)
	}
	f.site.tell(ctx, "")
}

func dialSocket(t *testing.T, f *front, cookies string) (*websocket.Conn, *http.Response, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	return websocket.Dial(ctx, "wss"+strings.TrimPrefix(f.url, "https")+"/socket", &websocket.DialOptions{
		HTTPClient: client, HTTPHeader: http.Header{"Cookie": {cookies}},
	})
}

func webSocket(t *testing.T, f *front) {
	t.Helper()
	c, _, err := dialSocket(t, f, f.signedIn(t).cookies())
	require.NoError(t, err)
	defer func() { _ = c.CloseNow() }()
	require.NoError(t, c.Write(t.Context(), websocket.MessageText, []byte("hello")))
	_, message, err := c.Read(t.Context())
	require.NoError(t, err)
	assert.Equal(t, "echo hello", string(message))

	_, response, err := dialSocket(t, f, "")
	require.Error(t, err)
	require.NotNil(t, response)
	assert.Equal(t, http.StatusUnauthorized, response.StatusCode)
}

func decode(t *testing.T, body string) (v map[string]any) {
	t.Helper()
	require.NoError(t, json.Unmarshal([]byte(body), &v), body)
	return v
}
