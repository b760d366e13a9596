package wechatgate_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wechatgate/wechatgate"
	"github.com/wechatgate/wechatgate/wechat"
	"github.com/wechatgate/wechatgate/wechattest"
)

func TestFormOfAnotherSiteReturnsToAPageOfOurs(t *testing.T) {
	s := newSite(t)
	for referer, back := range map[string]string{s.URL + "/form?id=7": "/form?id=7", "https://evil.example/form": "/"} {
		b := newBrowser(t, s.wechat, uaWeChat)
		response, _ := b.fetch(http.MethodPost, s.URL+"/form", http.Header{"Accept": {"text/html"}, "Origin": {"null"}, "Referer": {referer}})
		require.Equal(t, http.StatusSeeOther, response.StatusCode)
		assert.Equal(t, s.URL+back, b.open(response.Header.Get("Location")).address.String())
	}
}

func TestGatedAnswersArePrivateUnlessTheHandlerSaysOtherwise(t *testing.T) {
	s := newSite(t)
	own := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Cache-Control", "no-cache") })
	for _, row := range []struct {
		name    string
		handler http.Handler
		want    string
	}{{"by default", s.page(), "private, no-cache"}, {"as the handler says", own, "no-cache"}} {
		t.Run(row.name, func(t *testing.T) {
			w := httptest.NewRecorder()
			s.gate.Optional(s.gate.Optional(row.handler)).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
			assert.Equal(t, []string{row.want}, w.Header()["Cache-Control"])
			assert.Equal(t, []string{"Cookie"}, w.Header()["Vary"])
		})
	}
}

// Which paths are public is told in internal/target.
func TestPublicPagesNeedNoSignIn(t *testing.T) {
	s := newSite(t, func(o *wechatgate.Options) { o.Public = []string{"GET /static/"} })
	b := newBrowser(t, s.wechat, uaWeChat)
	for path, public := range map[string]bool{"/static/app.css": true, "/members": false, "/static/..%2fmembers": false} {
		_, body := b.fetch(http.MethodGet, s.URL+path, nil)
		assert.Equal(t, public, strings.Contains(body, "hello nobody"), path)
	}
	b.open(s.URL + "/members")
	assert.Contains(t, b.open(s.URL+"/static/app.css").body, s.greeting(alice), "known there as well")
}

func TestVerifyFilesHaveOneAddress(t *testing.T) {
	s := newSite(t, func(o *wechatgate.Options) { o.VerifyFiles = map[string]string{"MP_verify_AbC.txt": "AbC"} })
	b := newBrowser(t, s.wechat, uaDesktop)
	for path, status := range map[string]int{
		"/MP_verify_AbC.txt": http.StatusMethodNotAllowed, "/mp_verify_abc.txt": 401, "/x/MP_verify_AbC.txt": 401, "/MP_verify_AbC.txt/": 401, "//MP_verify_AbC.txt": 401,
	} {
		response, _ := b.fetch(http.MethodPost, s.URL+path, nil)
		assert.Equal(t, status, response.StatusCode, path)
	}
	response, _ := b.fetch(http.MethodGet, s.URL+"/MP_verify_AbC.txt", nil)
	assert.Equal(t, "text/plain; charset=utf-8", response.Header.Get("Content-Type"))
}

func TestStoreOutageClosesTheGate(t *testing.T) {
	store := &faultyStore{newErr: errors.New("connection refused")}
	s := newSite(t, func(o *wechatgate.Options) { o.Store, o.Public = store, []string{"/public"} })
	b := newBrowser(t, s.wechat, uaWeChat)
	b.plant("__Host-wechatgate", "some-id")

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

	assert.Equal(t, http.StatusServiceUnavailable, b.open(s.URL+"/wechat/login").status, "no sign-in begins")
	assert.Equal(t, http.StatusServiceUnavailable, b.post(s.URL+"/wechat/logout", url.Values{}).status)
	assert.Len(t, b.named(""), 1, "neither an attempt, nor a sign-out after which nobody could end that session")
	assert.Empty(t, s.wechat.Calls())
	assert.Zero(t, store.saves.Load())

	asked := store.news.Load()
	b = newBrowser(t, s.wechat, uaDesktop)
	b.openUntil(s.URL+"/members", "/connect/")
	b.open(s.URL + "/optional/")
	b.open(s.URL + "/wechat/signed-out")
	assert.Equal(t, asked, store.news.Load(), "a visitor without a session never reaches the Store")
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
	b := newBrowser(t, s.wechat, uaWeChat)
	require.Contains(t, b.open(s.URL+"/members").body, "hello")
	line := b.cookieLine()

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

	b := newBrowser(t, s.wechat, uaWeChat)
	before := time.Now()
	b.open(s.URL + "/members")
	u, err := s.gate.User(requestWith(b.cookieLine()))
	require.NoError(t, err)
	assert.Equal(t, s.wechat.OfficialAccount.ID, u.AppID)
	assert.Equal(t, wechattest.OpenID(s.wechat.OfficialAccount.ID, wechattest.Person{Name: "alice"}), u.OpenID)
	assert.Equal(t, u.AppID+":"+u.OpenID, u.Key())
	assert.Equal(t, wechat.ScopeBase, u.Scope)
	assert.WithinRange(t, u.SignedInAt, before.Truncate(time.Millisecond), time.Now())
}

func TestPanicInOnLogoutDoesNotKeepTheVisitorIn(t *testing.T) {
	s := newSite(t, func(o *wechatgate.Options) {
		o.OnLogout = func(*http.Request, wechatgate.User) { panic("a secret") }
	})
	b := newBrowser(t, s.wechat, uaWeChat)
	b.open(s.URL + "/members")
	p := b.post(s.URL+"/wechat/logout", url.Values{})
	assert.Equal(t, s.URL+"/wechat/signed-out", p.address.String())
	assert.Equal(t, http.StatusUnauthorized, b.open(s.URL+"/members").status)
	assert.Len(t, s.log.lines("OnLogout panicked with a string"), 1)
	assert.NotContains(t, s.log.String(), "a secret")
}

func TestSignOut(t *testing.T) {
	var out []wechatgate.User
	s := newSite(t, func(o *wechatgate.Options) {
		o.OnLogout = func(_ *http.Request, u wechatgate.User) { out = append(out, u) }
	})
	b := newBrowser(t, s.wechat, uaWeChat)
	b.open(s.URL + "/members")

	p := b.open(s.URL + "/wechat/logout")
	assert.Equal(t, http.StatusOK, p.status)
	assert.Contains(t, p.body, `<form method="post" action="`+s.URL+`/wechat/logout">`)
	assert.Contains(t, b.open(s.URL+"/members").body, "hello", "a link alone signs nobody out")

	p = b.post(s.URL+"/wechat/logout", url.Values{})
	assert.Equal(t, s.URL+"/wechat/signed-out", p.address.String())
	assert.Equal(t, http.StatusOK, p.status)
	assert.Equal(t, []string{"__Host-wechatgate-signed-out"}, b.named(""), "nor a finished attempt")
	require.Len(t, out, 1)
	assert.Equal(t, wechattest.OpenID(s.wechat.OfficialAccount.ID, wechattest.Person{Name: "alice"}), out[0].OpenID)

	p = b.open(s.URL + "/members?x=1")
	assert.Equal(t, http.StatusUnauthorized, p.status, "no silent sign-in")
	assert.Equal(t, 1, s.calls(wechat.OpExchange))
	p = b.post(s.URL+"/wechat/logout?return_to=/members", url.Values{})
	assert.Equal(t, http.StatusUnauthorized, p.status, "signing out twice is fine")
	assert.Len(t, out, 1)

	p = b.open(s.URL + "/wechat/login?auto=1&return_to=%2Fapp%23%2Forders")
	assert.Equal(t, http.StatusUnauthorized, p.status, "nor by a script that leads there")
	assert.Equal(t, 1, s.calls(wechat.OpExchange))
	p = b.press(p, "")
	assert.Equal(t, s.URL+"/app#/orders", p.address.String())
	assert.Contains(t, p.body, "hello")
	assert.NotContains(t, b.named(""), "__Host-wechatgate-signed-out")
	assert.Contains(t, b.open(s.URL+"/wechat/login?auto=1&return_to=/there").body, "hello", "auto=1 changes nothing otherwise")
}

func TestSignedOutMarkerDoesNotHoldBackAQRCode(t *testing.T) {
	s := newSite(t)
	b := newBrowser(t, s.wechat, uaDesktop)
	b.post(s.URL+"/wechat/logout", url.Values{})
	assert.Contains(t, b.open(s.URL+"/members").body, "hello")
}

func TestSignOutReturnsToLocalTargetsOnly(t *testing.T) {
	s := newSite(t)
	for target, want := range map[string]string{"/optional/bye?x=1": "/optional/bye?x=1", "https://evil.example/": "/"} {
		b := newBrowser(t, s.wechat, uaDesktop)
		p := b.post(s.URL+"/wechat/logout", url.Values{"return_to": {target}})
		assert.Equal(t, s.URL+want, p.trail[1], "in the form")
		response, _ := b.fetch(http.MethodPost, s.URL+"/wechat/logout?return_to="+url.QueryEscape(target), http.Header{"Origin": {s.URL}})
		assert.Equal(t, s.URL+want, response.Header.Get("Location"), "in the query")
		assert.Equal(t, http.StatusSeeOther, response.StatusCode)
	}
}

func TestSignOutFromAnotherSiteIsRefused(t *testing.T) {
	s := newSite(t)
	b := newBrowser(t, s.wechat, uaWeChat)
	b.open(s.URL + "/members")
	line := b.cookieLine()
	require.Contains(t, line, "__Host-wechatgate=")
	signOut := func(h http.Header) *httptest.ResponseRecorder { // by a browser that does not know SameSite
		r := httptest.NewRequest(http.MethodPost, "/wechat/logout", nil)
		r.Host, r.Header = "internal:8080", h
		r.Header.Set("Cookie", line)
		w := httptest.NewRecorder()
		s.gate.ServeHTTP(w, r)
		return w
	}
	for _, h := range []http.Header{
		{"Sec-Fetch-Site": {"cross-site"}, "Origin": {"https://evil.example"}},
		{"Sec-Fetch-Site": {"same-site"}, "Origin": {"https://other.example.com"}},
		{"Origin": {"https://evil.example"}},
		{"Origin": {"null"}},
	} {
		w := signOut(h)
		assert.Equal(t, http.StatusForbidden, w.Code, "%v", h)
		assert.Empty(t, w.Header()["Set-Cookie"])
	}
	assert.Equal(t, http.StatusSeeOther, signOut(http.Header{"Origin": {s.URL}}).Code, "our own origin, whatever Host a proxy sends")
}

func TestSignInIsNotStartedByMachines(t *testing.T) {
	s := newSite(t)
	b := newBrowser(t, s.wechat, uaWeChat)
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

func TestOwnPathsUnderAnotherPrefix(t *testing.T) {
	s := newSite(t, func(o *wechatgate.Options) { o.Prefix = "/auth/wx/" })
	b := newBrowser(t, s.wechat, uaWeChat)
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
	b := newBrowser(t, s.wechat, uaPhone)
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

	b = newBrowserWith(t, s.wechat, wechattest.Habits{UserAgent: uaWeChat, NoCookies: true})
	p = b.open(s.URL + "/members")
	assert.Equal(t, "\"retry\"\n", p.body)
	require.Len(t, seen, 2, "the reload is never left to Options.Page")
	assert.Equal(t, wechatgate.ReasonState, seen[1].Err.Reason)
	assert.Len(t, s.log.lines("reference="+seen[1].Reference), 1)
}

func TestHandlersKeepWhatTheServerGaveThem(t *testing.T) {
	s := newSite(t, func(o *wechatgate.Options) { o.IdleTimeout = time.Hour })
	b := newBrowser(t, s.wechat, uaWeChat)
	b.open(s.URL + "/members")
	for name, wrap := range map[string]func(http.Handler) http.Handler{"Require": s.gate.Require, "Optional": s.gate.Optional} {
		t.Run(name, func(t *testing.T) {
			w := httptest.NewRecorder()
			r := requestWith(b.cookieLine())
			before := *r
			wrap(http.HandlerFunc(func(got http.ResponseWriter, _ *http.Request) {
				assert.Same(t, w, got, "the very same ResponseWriter")
			})).ServeHTTP(w, r)
			assert.Equal(t, before, *r, "the caller's request is unchanged")
		})
	}
}

func TestNestedGatesSignInOnce(t *testing.T) {
	s := newSite(t)
	b := newBrowser(t, s.wechat, uaWeChat)
	b.open(s.URL + "/members")
	w := httptest.NewRecorder()
	s.gate.Require(s.gate.Optional(s.gate.Require(s.page()))).ServeHTTP(w, requestWith(b.cookieLine()))
	assert.Contains(t, w.Body.String(), "hello")
	assert.Equal(t, []string{"Cookie"}, w.Header()["Vary"])
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
	for _, row := range []struct {
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
		{"a host that the consoles do not know", func(o *wechatgate.Options) { o.BaseURL = strings.Replace(o.BaseURL, "127.0.0.1", "localhost", 1) }, []string{"Options.OfficialAccount", "10003", "网页授权域名", "Options.Website", "授权回调域"}},
		{"WeChat out of reach", func(o *wechatgate.Options) { o.Endpoints.API = "http://127.0.0.1:1" }, []string{"could not be asked"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			var gate *wechatgate.Gate
			server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { gate.ServeHTTP(w, r) }))
			defer server.Close()
			o := fake.Options(server.URL)
			o.HTTPClient = server.Client()
			row.change(&o)
			gate, _ = wechatgate.New(o)
			err := gate.CheckConfig(t.Context())
			if row.wants == nil {
				require.NoError(t, err)
				return
			}
			require.Error(t, err)
			var mistake *wechatgate.OptionError
			assert.ErrorAs(t, err, &mistake)
			for _, want := range row.wants {
				assert.Contains(t, err.Error(), want)
			}
			assert.NotContains(t, err.Error(), o.OfficialAccount.Secret)
			assert.NotContains(t, err.Error(), o.Website.Secret)
		})
	}
	assert.Empty(t, fake.Calls(wechattest.OpAccountToken, wechattest.OpStableToken))
}
