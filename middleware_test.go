package wechatgate_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wechatgate/wechatgate"
	"github.com/wechatgate/wechatgate/wechat"
	"github.com/wechatgate/wechatgate/wechattest"
)

// The kinds of request that a browser makes, and which of them sends its visitor
// to sign in.
func TestAnonymousRequests(t *testing.T) {
	type header = map[string]string
	const html = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
	navigate := header{"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document", "Accept": html}
	with := func(base header, name, value string) header {
		h := header{name: value}
		for k, v := range base {
			if k != name {
				h[k] = v
			}
		}
		return h
	}
	rows := []struct {
		name   string
		method string
		header header
		status int // 302 or 303: sent to sign in; 401: told so
	}{
		{"a page, with fetch metadata", "GET", navigate, 302},
		{"a page of an old browser", "GET", header{"Accept": html}, 302},
		{"a page in Android WeChat", "GET", header{"Accept": html, "X-Requested-With": "com.tencent.mm"}, 302},
		{"a page in new Android WeChat", "GET", with(navigate, "X-Requested-With", "com.tencent.mm"), 302},
		{"HEAD of a page", "HEAD", header{"Accept": html}, 302},
		{"a form that is posted", "POST", navigate, 303},
		{"a form of an old browser", "POST", header{"Accept": html}, 303},
		{"fetch", "GET", header{"Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty", "Accept": "*/*"}, 401},
		{"fetch that says it wants a page", "GET", header{"Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty", "Accept": html}, 401},
		{"fetch of an old browser", "GET", header{"Accept": "*/*"}, 401},
		{"XMLHttpRequest of an old browser", "GET", header{"Accept": html, "X-Requested-With": "XMLHttpRequest"}, 401},
		{"the same in other letters", "GET", header{"Accept": html, "X-Requested-With": "xmlhttprequest"}, 401},
		{"an image", "GET", header{"Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image", "Accept": "image/*"}, 401},
		{"an image of an old browser", "GET", header{"Accept": "image/avif,image/*,*/*;q=0.8"}, 401},
		{"a script", "GET", header{"Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "script"}, 401},
		{"an iframe", "GET", header{"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe", "Accept": html}, 401},
		{"an EventSource", "GET", header{"Accept": "text/event-stream"}, 401},
		{"a WebSocket", "GET", header{"Sec-Fetch-Mode": "websocket", "Sec-Fetch-Dest": "websocket", "Connection": "Upgrade", "Upgrade": "websocket"}, 401},
		{"a WebSocket of an old browser", "GET", header{"Connection": "Upgrade", "Upgrade": "websocket"}, 401},
		{"a preflight", "OPTIONS", header{"Origin": "https://other.example", "Access-Control-Request-Method": "PUT"}, 401},
		{"a service worker", "GET", header{"Service-Worker": "script", "Sec-Fetch-Mode": "same-origin", "Sec-Fetch-Dest": "serviceworker"}, 401},
		{"a favicon", "GET", header{"Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}, 401},
		{"a prefetch", "GET", with(navigate, "Sec-Purpose", "prefetch"), 401},
		{"a prerender", "GET", with(navigate, "Sec-Purpose", "prefetch;prerender"), 401},
		{"a prefetch of old Chrome", "GET", with(navigate, "Purpose", "prefetch"), 401},
		{"a prefetch of Firefox", "GET", with(navigate, "X-Moz", "prefetch"), 401},
		{"a preview of Safari", "GET", with(navigate, "Purpose", "preview"), 401},
		{"PUT that says it is a page", "PUT", navigate, 401},
		{"DELETE that says it is a page", "DELETE", header{"Accept": html}, 401},
		{"curl", "GET", header{"Accept": "*/*"}, 401},
		{"nothing at all", "GET", nil, 401},
	}
	s := newSite(t)
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			b := newBrowser(t, uaWeChat)
			h := http.Header{}
			for name, value := range row.header {
				h.Set(name, value)
			}
			response, body := b.fetch(row.method, s.URL+"/page?x=1", h)
			assert.Equal(t, row.status, response.StatusCode)
			assertOwnHeaders(t, response.Header)
			assert.Zero(t, s.served.Load())
			if row.status == http.StatusUnauthorized {
				assert.Empty(t, response.Header["Set-Cookie"])
				assert.Empty(t, response.Header["Location"])
				assert.JSONEq(t, `{"error":"login_required","login_url":"`+s.URL+`/wechat/login"}`, body)
				assert.Equal(t, "application/json; charset=utf-8", response.Header.Get("Content-Type"))
				return
			}
			assert.True(t, strings.HasPrefix(response.Header.Get("Location"), s.wechat.URL+"/connect/oauth2/authorize?appid="+s.wechat.OfficialAccount.ID+"&redirect_uri="+url.QueryEscape(s.URL+"/wechat/callback")+"&"))
			assert.Len(t, b.named("__Host-wechatgate-login-"), 1)
		})
	}
	assert.Empty(t, s.wechat.Calls(), "nobody asks WeChat before somebody comes back")
}

func TestPostedFormReturnsToItsPage(t *testing.T) {
	rows := []struct{ name, referer, back string }{
		{"the page with the form", "%s/form?id=7", "/form?id=7"},
		{"no Referer", "", "/"},
		{"another site", "https://evil.example/form", "/"},
		{"another site that begins like ours", "%s.evil.example/form", "/"},
		{"the origin alone", "%s/", "/"},
	}
	s := newSite(t)
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			b := newBrowser(t, uaWeChat)
			h := http.Header{"Accept": {"text/html"}}
			if row.referer != "" {
				h.Set("Referer", strings.ReplaceAll(row.referer, "%s", s.URL))
			}
			response, _ := b.fetch(http.MethodPost, s.URL+"/form", h)
			p := b.open(response.Header.Get("Location"))
			assert.Equal(t, s.URL+row.back, p.address.String())
		})
	}
}

func TestGatedAnswersArePrivateUnlessTheHandlerSaysOtherwise(t *testing.T) {
	s := newSite(t)
	own := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Cache-Control", "no-cache") })
	for _, row := range []struct {
		name    string
		handler http.Handler
		want    string
	}{{"by default", s.page(), "private"}, {"as the handler says", own, "no-cache"}} {
		t.Run(row.name, func(t *testing.T) {
			w := httptest.NewRecorder()
			s.gate.Optional(s.gate.Optional(row.handler)).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
			assert.Equal(t, []string{row.want}, w.Header()["Cache-Control"])
			assert.Equal(t, []string{"Cookie"}, w.Header()["Vary"])
		})
	}
}

func TestPublicPagesNeedNoSignIn(t *testing.T) {
	s := newSite(t, func(o *wechatgate.Options) { o.Public = []string{"GET /static/", "/{$}"} })
	b := newBrowser(t, uaWeChat)
	for path, public := range map[string]bool{
		"/": true, "/static/app.css": true, "/static/": true, "/static": false,
		"/members": false, "/static/../members": false, "/static/..%2fmembers": false, "/static//x": false, "/STATIC/x": false,
	} {
		response, body := b.fetch(http.MethodGet, s.URL+path, nil)
		assert.Equal(t, public, response.StatusCode == http.StatusOK, path)
		assert.Equal(t, public, strings.Contains(body, "hello nobody"), path)
	}
	response, _ := b.fetch(http.MethodPost, s.URL+"/static/app.css", nil)
	assert.Equal(t, http.StatusUnauthorized, response.StatusCode)
	b.open(s.URL + "/members")
	assert.Contains(t, b.open(s.URL+"/static/app.css").body, s.greeting(wechattest.Person{Name: "alice"}), "known there as well")
}

func TestVerifyFilesStandBeforeTheGate(t *testing.T) {
	s := newSite(t, func(o *wechatgate.Options) { o.VerifyFiles = map[string]string{"MP_verify_AbC.txt": "AbC"} })
	b := newBrowser(t, uaDesktop)
	response, body := b.fetch(http.MethodGet, s.URL+"/MP_verify_AbC.txt", nil)
	assert.Equal(t, http.StatusOK, response.StatusCode)
	assert.Equal(t, "AbC", body)
	assert.Equal(t, "text/plain; charset=utf-8", response.Header.Get("Content-Type"))
	for _, path := range []string{"/mp_verify_abc.txt", "/x/MP_verify_AbC.txt", "/MP_verify_AbC.txt/", "//MP_verify_AbC.txt"} {
		response, _ = b.fetch(http.MethodGet, s.URL+path, nil)
		assert.Equal(t, http.StatusUnauthorized, response.StatusCode, path)
	}
	response, _ = b.fetch(http.MethodPost, s.URL+"/MP_verify_AbC.txt", nil)
	assert.Equal(t, http.StatusMethodNotAllowed, response.StatusCode)
}

func TestOptionalLetsEverybodyThrough(t *testing.T) {
	s := newSite(t)
	b := newBrowser(t, uaWeChat)
	assert.Contains(t, b.open(s.URL+"/optional/").body, "hello nobody")
	assert.Empty(t, b.named(""))
	b.cookies["127.0.0.1 __Host-wechatgate"] = &http.Cookie{Name: "__Host-wechatgate", Value: "rubbish"}
	assert.Contains(t, b.open(s.URL+"/optional/").body, "hello nobody")
	assert.Empty(t, b.named(""), "the broken cookie is removed")
	b.open(s.URL + "/members")
	assert.Contains(t, b.open(s.URL+"/optional/").body, s.greeting(wechattest.Person{Name: "alice"}))
}

func TestStoreOutageClosesTheGate(t *testing.T) {
	store := &faultyStore{newErr: errors.New("connection refused")}
	s := newSite(t, func(o *wechatgate.Options) { o.Store, o.Public = store, []string{"/public"} })
	b := newBrowser(t, uaWeChat)
	b.cookies["127.0.0.1 __Host-wechatgate"] = &http.Cookie{Name: "__Host-wechatgate", Value: "some-id"}

	p := b.open(s.URL + "/members")
	assert.Equal(t, http.StatusServiceUnavailable, p.status)
	assert.Equal(t, "5", p.header.Get("Retry-After"))
	assert.Len(t, b.named(""), 1, "the session may still be good")
	response, body := b.fetch(http.MethodGet, s.URL+"/members", nil)
	assert.Equal(t, http.StatusServiceUnavailable, response.StatusCode)
	assert.Contains(t, body, `"error":"session"`)
	assert.Zero(t, s.served.Load())

	assert.Contains(t, b.open(s.URL+"/optional/").body, "hello nobody")
	assert.Contains(t, b.open(s.URL+"/public").body, "hello nobody")
	assert.Contains(t, s.log.String(), "connection refused")
	_, err := s.gate.User(requestWith("__Host-wechatgate=some-id"))
	var failed *wechatgate.Error
	require.ErrorAs(t, err, &failed)
	assert.Equal(t, wechatgate.ReasonSession, failed.Reason)
	assert.Zero(t, store.saves.Load())
}

func TestNoSignInBeginsWhileTheStoreIsAway(t *testing.T) {
	s := newSite(t, func(o *wechatgate.Options) { o.Store = &faultyStore{newErr: errors.New("connection refused")} })
	b := newBrowser(t, uaWeChat)
	b.cookies["127.0.0.1 __Host-wechatgate"] = &http.Cookie{Name: "__Host-wechatgate", Value: "some-id"}
	assert.Equal(t, http.StatusServiceUnavailable, b.open(s.URL+"/wechat/login").status)
	assert.Empty(t, b.named("-login-"))
	assert.Empty(t, s.wechat.Calls())
}

func TestAnonymousVisitorsNeverTouchTheStore(t *testing.T) {
	store := &faultyStore{}
	s := newSite(t, func(o *wechatgate.Options) { o.Store = store })
	b := newBrowser(t, uaDesktop)
	b.openUntil(s.URL+"/members", "/connect/")
	b.open(s.URL + "/optional/")
	b.open(s.URL + "/wechat/signed-out")
	assert.Zero(t, store.news.Load())
	assert.Zero(t, store.saves.Load())
}

func requestWith(cookie string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header.Set("Cookie", cookie)
	return r
}

func TestCheckSession(t *testing.T) {
	var answer atomic.Pointer[error]
	s := newSite(t, func(o *wechatgate.Options) {
		o.CheckSession = func(*http.Request, wechatgate.User) error {
			if err := answer.Load(); err != nil {
				return *err
			}
			return nil
		}
	})
	b := newBrowser(t, uaWeChat)
	require.Contains(t, b.open(s.URL+"/members").body, "hello")
	line := b.cookieLine(mustParse(t, s.URL), false)

	down := errors.New("database away")
	answer.Store(&down)
	assert.Equal(t, http.StatusServiceUnavailable, b.open(s.URL+"/members").status, "closed, not open")
	assert.Contains(t, b.open(s.URL+"/optional/").body, "hello nobody")
	_, err := s.gate.User(requestWith(line))
	require.ErrorIs(t, err, down)

	revoked := fmt.Errorf("banned: %w", wechatgate.ErrSessionRevoked)
	answer.Store(&revoked)
	_, err = s.gate.User(requestWith(line))
	require.ErrorIs(t, err, wechatgate.ErrNotSignedIn)
	response, _ := b.fetch(http.MethodGet, s.URL+"/members", nil)
	assert.Equal(t, http.StatusUnauthorized, response.StatusCode)
	assert.NotContains(t, b.named(""), "__Host-wechatgate")
	assert.EqualValues(t, 1, s.served.Load()-1, "only the first page and the optional one")
}

func TestUserOfARequest(t *testing.T) {
	s := newSite(t)
	_, err := s.gate.User(httptest.NewRequest(http.MethodGet, "/", nil))
	require.ErrorIs(t, err, wechatgate.ErrNotSignedIn)
	r := requestWith("__Host-wechatgate=rubbish")
	r.Header.Set("User-Agent", uaWeChat)
	r = r.WithContext(wechatgate.ContextWithUser(r.Context(), wechatgate.User{OpenID: "forged"}))
	_, err = s.gate.User(r)
	require.ErrorIs(t, err, wechatgate.ErrNotSignedIn, "the session cookie alone counts")

	b := newBrowser(t, uaWeChat)
	before := time.Now()
	b.open(s.URL + "/members")
	u, err := s.gate.User(requestWith(b.cookieLine(mustParse(t, s.URL), false)))
	require.NoError(t, err)
	assert.Equal(t, s.wechat.OfficialAccount.ID, u.AppID)
	assert.Equal(t, wechattest.OpenID(s.wechat.OfficialAccount.ID, wechattest.Person{Name: "alice"}), u.OpenID)
	assert.Equal(t, u.AppID+":"+u.OpenID, u.Key())
	assert.Equal(t, wechat.ScopeBase, u.Scope)
	assert.WithinRange(t, u.SignedInAt, before.Truncate(time.Millisecond), time.Now())
}

func mustParse(t *testing.T, address string) *url.URL {
	t.Helper()
	u, err := url.Parse(address)
	require.NoError(t, err)
	return u
}

func TestSignOut(t *testing.T) {
	var out []wechatgate.User
	s := newSite(t, func(o *wechatgate.Options) {
		o.OnLogout = func(_ *http.Request, u wechatgate.User) { out = append(out, u) }
	})
	b := newBrowser(t, uaWeChat)
	b.open(s.URL + "/members")

	p := b.open(s.URL + "/wechat/logout")
	assert.Equal(t, http.StatusOK, p.status)
	assert.Contains(t, p.body, `<form method="post" action="`+s.URL+`/wechat/logout">`)
	assert.Contains(t, b.open(s.URL+"/members").body, "hello", "a link alone signs nobody out")

	p = b.post(s.URL+"/wechat/logout", url.Values{})
	assert.Equal(t, s.URL+"/wechat/signed-out", p.address.String())
	assert.Equal(t, http.StatusUnauthorized, p.status)
	assert.Equal(t, []string{"__Host-wechatgate-signed-out"}, b.named(""), "nor a finished attempt")
	require.Len(t, out, 1)
	assert.Equal(t, wechattest.OpenID(s.wechat.OfficialAccount.ID, wechattest.Person{Name: "alice"}), out[0].OpenID)

	p = b.open(s.URL + "/members?x=1")
	assert.Equal(t, http.StatusUnauthorized, p.status, "no silent sign-in")
	assert.Equal(t, 1, s.calls(wechat.OpExchange))
	p = b.post(s.URL+"/wechat/logout?return_to=/members", url.Values{})
	assert.Equal(t, http.StatusUnauthorized, p.status, "signing out twice is fine")
	assert.Len(t, out, 1)

	p = b.open(button(t, b.open(s.URL+"/members?x=1")))
	assert.Equal(t, s.URL+"/members?x=1", p.address.String())
	assert.Contains(t, p.body, "hello")
	assert.NotContains(t, b.named(""), "__Host-wechatgate-signed-out")
}

func TestScriptsThatLeadToSignInAreHeldBackAfterASignOut(t *testing.T) {
	s := newSite(t)
	b := newBrowser(t, uaWeChat)
	b.open(s.URL + "/members")
	b.post(s.URL+"/wechat/logout", url.Values{})
	p := b.open(s.URL + "/wechat/login?auto=1&return_to=%2Fapp%23%2Forders")
	assert.Equal(t, http.StatusUnauthorized, p.status)
	assert.Equal(t, 1, s.calls(wechat.OpExchange))
	p = b.open(button(t, p))
	assert.Equal(t, s.URL+"/app#/orders", p.address.String())
	assert.Contains(t, p.body, "hello")
	assert.Contains(t, b.open(s.URL+"/wechat/login?auto=1&return_to=/there").body, "hello", "auto=1 changes nothing otherwise")
}

func TestSignedOutMarkerDoesNotHoldBackAQRCode(t *testing.T) {
	s := newSite(t)
	b := newBrowser(t, uaDesktop)
	b.post(s.URL+"/wechat/logout", url.Values{})
	assert.Contains(t, b.open(s.URL+"/members").body, "hello")
}

func TestSignOutReturnsToLocalTargetsOnly(t *testing.T) {
	s := newSite(t)
	for target, want := range map[string]string{
		"/optional/bye?x=1": "/optional/bye?x=1", "https://evil.example/": "/", "//evil.example": "/", "/wechat/login": "/",
	} {
		b := newBrowser(t, uaDesktop)
		response, _ := b.send(http.MethodPost, mustParse(t, s.URL+"/wechat/logout"), http.Header{}, url.Values{"return_to": {target}}, false)
		assert.Equal(t, s.URL+want, response.Header.Get("Location"), "in the form")
		response, _ = b.send(http.MethodPost, mustParse(t, s.URL+"/wechat/logout?return_to="+url.QueryEscape(target)), http.Header{}, url.Values{}, false)
		assert.Equal(t, s.URL+want, response.Header.Get("Location"), "in the query")
		assert.Equal(t, http.StatusSeeOther, response.StatusCode)
	}
}

func TestSignOutFromAnotherSiteIsRefused(t *testing.T) {
	s := newSite(t)
	b := newBrowser(t, uaWeChat)
	b.open(s.URL + "/members")
	for _, h := range []http.Header{
		{"Sec-Fetch-Site": {"cross-site"}, "Origin": {"https://evil.example"}},
		{"Sec-Fetch-Site": {"same-site"}, "Origin": {"https://other.example.com"}},
		{"Origin": {"https://evil.example"}},
		{"Origin": {"null"}},
	} {
		response, _ := b.fetch(http.MethodPost, s.URL+"/wechat/logout", h)
		assert.Equal(t, http.StatusForbidden, response.StatusCode, "%v", h)
		assert.Empty(t, response.Header["Set-Cookie"])
	}
	assert.Contains(t, b.open(s.URL+"/members").body, "hello")

	h := http.Header{"Origin": {s.URL}}
	r := httptest.NewRequest(http.MethodPost, "/wechat/logout", nil)
	r.Host, r.Header = "internal:8080", h
	w := httptest.NewRecorder()
	s.gate.ServeHTTP(w, r)
	assert.Equal(t, http.StatusSeeOther, w.Code, "our own origin, whatever Host a proxy sends")
}

func TestSignOutWithTheStoreAwayIsNotSuccess(t *testing.T) {
	store := &faultyStore{newErr: errors.New("connection refused")}
	s := newSite(t, func(o *wechatgate.Options) { o.Store = store })
	b := newBrowser(t, uaWeChat)
	b.cookies["127.0.0.1 __Host-wechatgate"] = &http.Cookie{Name: "__Host-wechatgate", Value: "some-id"}
	p := b.post(s.URL+"/wechat/logout", url.Values{})
	assert.Equal(t, http.StatusServiceUnavailable, p.status)
	assert.Len(t, b.named(""), 1, "or nobody could end that session any more")
}

func TestSignInIsNotStartedByMachines(t *testing.T) {
	s := newSite(t)
	b := newBrowser(t, uaWeChat)
	for _, h := range []http.Header{
		{"Sec-Purpose": {"prefetch"}, "Accept": {"text/html"}},
		{"Sec-Fetch-Mode": {"no-cors"}, "Sec-Fetch-Dest": {"image"}},
		{"X-Requested-With": {"XMLHttpRequest"}},
	} {
		response, _ := b.fetch(http.MethodGet, s.URL+"/wechat/login", h)
		assert.Equal(t, http.StatusUnauthorized, response.StatusCode)
		assert.Empty(t, response.Header["Set-Cookie"])
	}
	response, _ := b.fetch(http.MethodPost, s.URL+"/wechat/login", nil)
	assert.Equal(t, http.StatusMethodNotAllowed, response.StatusCode)
}

func TestAddressesComeFromBaseURLAlone(t *testing.T) {
	s := newSite(t)
	r := httptest.NewRequest(http.MethodGet, "http://evil.example/members", nil)
	r.Host = "evil.example"
	for _, name := range []string{"X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Prefix", "Forwarded", "X-Original-URL", "X-Rewrite-URL", "X-Host"} {
		r.Header.Set(name, "evil.example")
	}
	r.Header.Set("Accept", "text/html")
	for _, userAgent := range []string{uaWeChat, uaDesktop, uaPhone} {
		r.Header.Set("User-Agent", userAgent)
		w := httptest.NewRecorder()
		s.gate.Require(s.page()).ServeHTTP(w, r)
		assert.NotContains(t, w.Header().Get("Location")+w.Body.String(), "evil.example")
	}
	r.Header.Del("Accept")
	w := httptest.NewRecorder()
	s.gate.Require(s.page()).ServeHTTP(w, r)
	assert.NotContains(t, w.Body.String(), "evil.example")
}

func TestRedirectsStayOnOurOrigin(t *testing.T) {
	s := newSite(t)
	handler := s.gate.Require(s.page())
	for _, target := range []string{"//evil.example/x", `/\evil.example`, "/%2f/evil.example", "/%5cevil.example", "http://evil.example//evil.example", "/\tevil", "/x%0d%0aSet-Cookie:a=b"} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		u, err := url.ParseRequestURI(target)
		if err != nil {
			continue // the server refuses it before any handler
		}
		r.URL, r.RequestURI = u, target
		r.Header = http.Header{"Accept": {"text/html"}, "User-Agent": {uaWeChat}}
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		b := newBrowser(t, uaWeChat)
		b.keep(mustParse(t, s.URL), w.Result())
		p := b.openUntil(w.Header().Get("Location"), "/wechat/callback")
		response, _ := b.fetch(http.MethodGet, p.next.String(), nil)
		assert.True(t, strings.HasPrefix(response.Header.Get("Location"), s.URL+"/"), "%q leads to %q", target, response.Header.Get("Location"))
	}
}

func TestMountPath(t *testing.T) {
	fake := wechattest.NewServer()
	defer fake.Close()
	var gated http.Handler
	server := httptest.NewTLSServer(http.StripPrefix("/shop", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { gated.ServeHTTP(w, r) })))
	defer server.Close()
	gate, err := wechatgate.New(fake.Options(server.URL + "/shop/"))
	require.NoError(t, err)
	gated = gate.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "at "+r.URL.String())
	}))
	b := newBrowser(t, uaWeChat)
	p := b.open(server.URL + "/shop/cart%2Fx?y=1")
	assert.Equal(t, server.URL+"/shop/cart%2Fx?y=1", p.address.String())
	assert.Equal(t, "at /cart%2Fx?y=1", p.body)
	assert.Contains(t, strings.Join(p.trail, " "), url.QueryEscape(server.URL+"/shop/wechat/callback"))
}

func TestOwnPathsUnderAnotherPrefix(t *testing.T) {
	s := newSite(t, func(o *wechatgate.Options) { o.Prefix = "/auth/wx/" })
	b := newBrowser(t, uaWeChat)
	assert.Contains(t, b.open(s.URL+"/members").body, "hello")
	response, _ := b.fetch(http.MethodGet, s.URL+"/auth/wx/nothing", nil)
	assert.Equal(t, http.StatusNotFound, response.StatusCode)
	w := httptest.NewRecorder()
	s.gate.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/elsewhere", nil))
	assert.Equal(t, http.StatusNotFound, w.Code)
}

func TestCustomPageAndUnauthorized(t *testing.T) {
	var seen []wechatgate.Page
	s := newSite(t, func(o *wechatgate.Options) {
		o.Page = func(w http.ResponseWriter, _ *http.Request, p wechatgate.Page) {
			seen = append(seen, p)
			assert.Empty(t, w.Header().Get("Content-Security-Policy"))
			w.WriteHeader(p.Status)
			_ = json.NewEncoder(w).Encode(p.Name)
		}
		o.Unauthorized = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
	})
	b := newBrowser(t, uaPhone)
	p := b.open(s.URL + "/members")
	assert.Equal(t, http.StatusUnauthorized, p.status)
	assertOwnHeaders(t, http.Header{"Cache-Control": p.header["Cache-Control"], "Vary": p.header["Vary"], "Referrer-Policy": p.header["Referrer-Policy"], "X-Content-Type-Options": p.header["X-Content-Type-Options"]})
	require.Len(t, seen, 1)
	assert.Equal(t, wechatgate.Page{
		Name: wechatgate.PageOpenInWeChat, Status: 401, Lang: "zh-CN",
		PageURL: s.URL + "/members", SignInURL: s.URL + "/wechat/login?flow=qr&return_to=%2Fmembers",
	}, seen[0])
	response, _ := b.fetch(http.MethodGet, s.URL+"/members", nil)
	assert.Equal(t, http.StatusTeapot, response.StatusCode)

	b = newBrowser(t, uaWeChat)
	b.refuses = true
	p = b.open(s.URL + "/members")
	assert.Equal(t, "\"retry\"\n", p.body)
	require.Len(t, seen, 2, "the reload is never left to Options.Page")
	assert.Equal(t, wechatgate.ReasonState, seen[1].Err.Reason)
	assert.Len(t, s.log.lines("reference="+seen[1].Reference), 1)
}

func TestHandlersKeepWhatTheServerGaveThem(t *testing.T) {
	s := newSite(t, func(o *wechatgate.Options) { o.IdleTimeout = time.Hour })
	b := newBrowser(t, uaWeChat)
	b.open(s.URL + "/members")
	for name, wrap := range map[string]func(http.Handler) http.Handler{"Require": s.gate.Require, "Optional": s.gate.Optional} {
		t.Run(name, func(t *testing.T) {
			w := httptest.NewRecorder()
			r := requestWith(b.cookieLine(mustParse(t, s.URL), false))
			before := *r
			wrap(http.HandlerFunc(func(got http.ResponseWriter, _ *http.Request) {
				assert.Same(t, w, got, "the very same ResponseWriter")
			})).ServeHTTP(w, r)
			assert.Equal(t, before, *r, "the caller's request is unchanged")
		})
	}
}

func TestStreamsPassThroughTheGate(t *testing.T) {
	s := newSite(t)
	next := make(chan struct{})
	mux := http.NewServeMux()
	mux.HandleFunc("/events", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for i := range 3 {
			fmt.Fprintf(w, "data: %d\n\n", i)
			assert.NoError(t, http.NewResponseController(w).Flush())
			<-next
		}
	})
	mux.HandleFunc("/socket", func(w http.ResponseWriter, _ *http.Request) {
		conn, buf, err := http.NewResponseController(w).Hijack()
		if assert.NoError(t, err) {
			_, _ = buf.WriteString("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello")
			_ = buf.Flush()
			_ = conn.Close()
		}
	})
	mux.HandleFunc("/file", func(w http.ResponseWriter, r *http.Request) {
		http.ServeFileFS(w, r, fstest.MapFS{"a.txt": {Data: []byte("0123456789")}}, "a.txt")
	})
	mux.HandleFunc("/abort", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		assert.Empty(t, r.Header.Get("Upgrade"))
		_, _ = io.WriteString(w, "from upstream")
	}))
	defer upstream.Close()
	mux.Handle("/proxy", httputil.NewSingleHostReverseProxy(mustParse(t, upstream.URL)))
	mux.Handle("/slow", http.TimeoutHandler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }), time.Millisecond, "too slow"))

	b := newBrowser(t, uaWeChat)
	b.open(s.URL + "/members")
	line := b.cookieLine(mustParse(t, s.URL), false)
	server := httptest.NewUnstartedServer(s.gate.Require(mux))
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	get := func(path string, header http.Header) (*http.Response, error) {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+path, nil)
		require.NoError(t, err)
		maps.Copy(r.Header, header)
		r.Header.Set("Cookie", line)
		return server.Client().Transport.RoundTrip(r)
	}

	response, err := get("/events", nil)
	require.NoError(t, err)
	assert.Equal(t, 2, response.ProtoMajor)
	lines := bufio.NewScanner(response.Body)
	for i := range 3 {
		require.True(t, lines.Scan())
		assert.Equal(t, fmt.Sprintf("data: %d", i), lines.Text(), "each event arrives before the next is made")
		require.True(t, lines.Scan())
		next <- struct{}{}
	}
	require.NoError(t, response.Body.Close())

	response, err = get("/proxy", nil)
	require.NoError(t, err)
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	assert.Equal(t, "from upstream", string(body))

	response, err = get("/file", http.Header{"Range": {"bytes=2-4"}})
	require.NoError(t, err)
	body, err = io.ReadAll(response.Body)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	assert.Equal(t, http.StatusPartialContent, response.StatusCode)
	assert.Equal(t, "234", string(body))

	response, err = get("/slow", nil)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	assert.Equal(t, http.StatusServiceUnavailable, response.StatusCode)

	_, err = get("/abort", nil)
	require.Error(t, err, "a panic passes through unchanged")

	plain := httptest.NewServer(s.gate.Require(mux))
	defer plain.Close()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, plain.URL+"/socket", nil)
	require.NoError(t, err)
	r.Header = http.Header{"Cookie": {line}, "Connection": {"Upgrade"}, "Upgrade": {"websocket"}}
	response, err = plain.Client().Transport.RoundTrip(r)
	require.NoError(t, err)
	assert.Equal(t, http.StatusSwitchingProtocols, response.StatusCode)
	require.NoError(t, response.Body.Close())
}

func TestNestedGatesSignInOnce(t *testing.T) {
	s := newSite(t)
	b := newBrowser(t, uaWeChat)
	b.open(s.URL + "/members")
	w := httptest.NewRecorder()
	s.gate.Require(s.gate.Optional(s.gate.Require(s.page()))).ServeHTTP(w, requestWith(b.cookieLine(mustParse(t, s.URL), false)))
	assert.Contains(t, w.Body.String(), "hello")
	assert.Equal(t, []string{"Cookie"}, w.Header()["Vary"])
}

func TestNoHeaderForgesAUser(t *testing.T) {
	s := newSite(t)
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	for _, name := range []string{"User", "X-User", "X-Openid", "X-Wx-Openid", "X-Wechat-User", "X-Forwarded-User", "Authorization", "Remote-User"} {
		r.Header.Set(name, "oForged")
	}
	r.Header.Set("User-Agent", uaWeChat+" miniProgram/wx0123456789abcdef")
	w := httptest.NewRecorder()
	s.gate.Optional(s.page()).ServeHTTP(w, r)
	assert.Contains(t, w.Body.String(), "hello nobody")
}

func TestPrintingShowsNoSecret(t *testing.T) {
	s := newSite(t)
	key := string(s.options.SessionKeys[0])
	var logged strings.Builder
	for _, logger := range []*slog.Logger{slog.New(slog.NewTextHandler(&logged, nil)), slog.New(slog.NewJSONHandler(&logged, nil))} {
		logger.Info("printed", "options", s.options, "app", s.options.Website)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		for _, value := range []any{s.gate, s.options, &s.options, []wechatgate.Options{s.options}} {
			text := logged.String() + fmt.Sprintf(verb, value)
			for _, secret := range []string{s.options.OfficialAccount.Secret, s.options.Website.Secret, key, fmt.Sprint([]byte(key)), fmt.Sprintf("%x", key)} {
				assert.NotContains(t, text, secret, "%s of a %T", verb, value)
			}
		}
	}
	assert.Contains(t, fmt.Sprintf("%+v", s.gate), s.URL)
	assert.Contains(t, fmt.Sprintf("%+v", s.options), s.options.Website.ID)
}

func TestCheckConfigTellsWhatIsWrong(t *testing.T) {
	fake := wechattest.NewServer()
	defer fake.Close()
	other := wechattest.NewServer()
	defer other.Close()
	rows := []struct {
		name   string
		change func(*wechatgate.Options)
		wants  []string
	}{
		{"everything is right", func(*wechatgate.Options) {}, nil},
		{"a wrong ID", func(o *wechatgate.Options) { o.OfficialAccount.ID = other.OfficialAccount.ID }, []string{"Options.OfficialAccount", "40013", "开发密钥"}},
		{"a wrong secret", func(o *wechatgate.Options) { o.Website.Secret = other.Website.Secret }, []string{"Options.Website", "40125", "网站应用"}},
		{"secrets that are swapped", func(o *wechatgate.Options) {
			o.Website.Secret, o.OfficialAccount.Secret = o.OfficialAccount.Secret, o.Website.Secret
		}, []string{"Options.Website", "Options.OfficialAccount", "swapped"}},
		{"accounts that are swapped", func(o *wechatgate.Options) {
			o.Website, o.OfficialAccount = o.OfficialAccount, o.Website
		}, []string{"Options.OfficialAccount", "10016", "开发密钥", "Options.Website", "10005", "网站应用"}},
		{"a host that the consoles do not know", func(o *wechatgate.Options) { o.BaseURL = "https://www.shop.example.com" }, []string{"Options.OfficialAccount", "10003", "网页授权域名", "Options.Website", "授权回调域"}},
		{"WeChat out of reach", func(o *wechatgate.Options) { o.Endpoints.API = "http://127.0.0.1:1" }, []string{"could not be asked"}},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			o := fake.Options("https://shop.example.com")
			row.change(&o)
			gate, err := wechatgate.New(o)
			require.NoError(t, err)
			err = gate.CheckConfig(context.Background())
			if row.wants == nil {
				require.NoError(t, err)
				return
			}
			require.Error(t, err)
			for _, want := range row.wants {
				assert.Contains(t, err.Error(), want)
			}
			assert.NotContains(t, err.Error(), o.OfficialAccount.Secret)
			assert.NotContains(t, err.Error(), o.Website.Secret)
		})
	}
	assert.Empty(t, fake.Calls(wechattest.OpAccountToken, wechattest.OpStableToken))
}
