package wechattest_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wechatgate/wechatgate"
	"github.com/wechatgate/wechatgate/wechat"
	"github.com/wechatgate/wechatgate/wechattest"
)

// cookieSite sets the cookies of its query's "set", leads to its "to", and says
// which cookies came.
func cookieSite(t *testing.T, start func(http.Handler) *httptest.Server) *httptest.Server {
	t.Helper()
	site := start(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		for _, line := range q["set"] {
			w.Header().Add("Set-Cookie", line)
		}
		if to := q.Get("to"); to != "" {
			w.Header().Set("Location", to)
			w.WriteHeader(http.StatusFound)
			return
		}
		var names []string
		for _, c := range r.Cookies() {
			names = append(names, c.Name)
		}
		_, _ = io.WriteString(w, strings.Join(names, " "))
	}))
	t.Cleanup(site.Close)
	return site
}

func set(address string, lines ...string) string {
	return address + "/?" + url.Values{"set": lines}.Encode()
}

// Each row but those for other hosts was seen in Chromium 156.
func TestWhichCookiesAreKept(t *testing.T) {
	s := newServer(t)
	plain, tls := cookieSite(t, httptest.NewServer), cookieSite(t, httptest.NewTLSServer)
	for _, test := range []struct {
		line  string
		plain bool // kept from http on a loopback address
		tls   bool
	}{
		{"a=1; Path=/", true, true},
		{"a=1; Path=/; Secure", true, true},
		{"__Host-a=1; Path=/; Secure; SameSite=Lax", true, true},
		{"__Host-a=1; Path=/", false, false},
		{"__Host-a=1; Path=/x; Secure", false, false},
		{"__Host-a=1; Path=/; Secure; Domain=127.0.0.1", false, false},
		{"__host-a=1; Path=/", false, false},
		{"__Secure-a=1; Path=/; Secure", true, true},
		{"__Secure-a=1; Path=/", false, false},
		{"a=1; Path=/; SameSite=None", false, false},
		{"a=1; Path=/; SameSite=None; Secure", true, true},
		{"a=" + strings.Repeat("v", 4095) + "; Path=/", true, true},
		{"a=" + strings.Repeat("v", 4096) + "; Path=/", false, false},
	} {
		t.Run(test.line[:min(60, len(test.line))], func(t *testing.T) {
			for site, want := range map[*httptest.Server]bool{plain: test.plain, tls: test.tls} {
				visitor := s.Visitor(wechatgate.BrowserDesktop, wechattest.Habits{})
				_, err := visitor.Get(t.Context(), set(site.URL, test.line))
				require.NoError(t, err)
				p, err := visitor.Get(t.Context(), site.URL)
				require.NoError(t, err)
				assert.Equal(t, want, p.Body != "", site.URL)
				assert.Equal(t, !want, len(visitor.DroppedCookies()) == 1)
				assert.Equal(t, want, len(visitor.Cookies(site.URL)) == 1)
			}
		})
	}
	for address, want := range map[string]int{"http://shop.example.com/": 0, "http://localhost/": 1, "http://shop.localhost/": 1, "http://[::1]/": 1} {
		jar := s.Browser(wechatgate.BrowserDesktop).Jar
		u, err := url.Parse(address)
		require.NoError(t, err)
		jar.SetCookies(u, []*http.Cookie{{Name: "a", Value: "1", Path: "/", Secure: true}})
		u.Scheme = "https"
		assert.Len(t, jar.Cookies(u), want, address)
	}
	refuses := s.Visitor(wechatgate.BrowserDesktop, wechattest.Habits{NoCookies: true})
	_, err := refuses.Get(t.Context(), set(plain.URL, "a=1"))
	require.NoError(t, err)
	assert.Empty(t, refuses.Cookies(plain.URL))
}

func TestWhichCookiesAreSent(t *testing.T) {
	s := newServer(t)
	site := cookieSite(t, httptest.NewTLSServer)
	const all, noStrict, free = "none lax unsaid strict", "none lax unsaid", "none"
	for _, test := range []struct {
		name   string
		method string
		header map[string]string
		want   string
	}{
		{"an address typed in", http.MethodGet, nil, all},
		{"a form of the site itself", http.MethodPost, nil, all},
		{"a link of another site", http.MethodGet, map[string]string{"Sec-Fetch-Site": "cross-site"}, noStrict},
		{"a form of another site", http.MethodPost, map[string]string{"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example.com"}, free},
		{"a form of another site, in an old browser", http.MethodPost, map[string]string{"Sec-Fetch-Site": "", "Origin": "https://evil.example.com"}, free},
		{"a frame in another site", http.MethodGet, map[string]string{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"}, free},
		{"a script of another site", http.MethodGet, map[string]string{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors"}, free},
		{"an image in another site", http.MethodGet, map[string]string{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}, free},
		{"a script of the site itself", http.MethodGet, map[string]string{"Accept": "application/json"}, all},
		{"a script of a sibling", http.MethodPost, map[string]string{"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors"}, all},
	} {
		t.Run(test.name, func(t *testing.T) {
			browser := s.Browser(wechatgate.BrowserDesktop)
			get(t, browser, set(site.URL, "none=1; SameSite=None; Secure", "lax=1; SameSite=Lax", "unsaid=1", "strict=1; SameSite=Strict"))
			r, err := http.NewRequestWithContext(t.Context(), test.method, site.URL, nil)
			require.NoError(t, err)
			for name, value := range test.header {
				r.Header.Set(name, value)
				if value == "" {
					r.Header[name] = nil
				}
			}
			_, body := do(t, browser, r)
			assert.ElementsMatch(t, strings.Fields(test.want), strings.Fields(body))
		})
	}
}

func TestLaxHeldBackAfterARedirect(t *testing.T) {
	s := newServer(t)
	site, elsewhere := cookieSite(t, httptest.NewTLSServer), cookieSite(t, httptest.NewServer)
	for holds, want := range map[bool]string{false: "lax", true: ""} {
		visitor := s.Visitor(wechatgate.BrowserWeChat, wechattest.Habits{HoldsLax: holds})
		_, err := visitor.Get(t.Context(), set(site.URL, "lax=1; SameSite=Lax; Secure"))
		require.NoError(t, err)
		p, err := visitor.Get(t.Context(), elsewhere.URL+"/?to="+url.QueryEscape(site.URL))
		require.NoError(t, err)
		assert.Equal(t, want, p.Body)
		p, err = visitor.Get(t.Context(), site.URL)
		require.NoError(t, err)
		assert.Equal(t, "lax", p.Body)
	}
}

func TestFragmentsStay(t *testing.T) {
	s := newServer(t)
	site := cookieSite(t, httptest.NewServer)
	for to, want := range map[string]string{"/x": "here", "/x#there": "there", "/x#": ""} {
		address := site.URL + "/?to=" + url.QueryEscape(to) + "#here"
		p, err := s.Visitor(wechatgate.BrowserDesktop, wechattest.Habits{}).Get(t.Context(), address)
		require.NoError(t, err)
		assert.Equal(t, want, p.URL.Fragment, to)
		assert.Len(t, p.Trail, 2)
		response, err := s.Browser(wechatgate.BrowserDesktop).Get(address)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		assert.Equal(t, want, response.Request.URL.Fragment, to)
	}
}

func TestAuthorizeWithoutItsFragment(t *testing.T) {
	s := newServer(t)
	link := s.Endpoints().AuthorizeURL(s.OfficialAccount.ID, callback, wechat.ScopeBase, state)
	_, err := s.Visitor(wechatgate.BrowserWeChat, wechattest.Habits{}).GetUntil(t.Context(), link, "shop.example.com")
	require.NoError(t, err)
	for _, wrong := range []string{strings.TrimSuffix(link, "#wechat_redirect"), strings.TrimSuffix(link, "wechat_redirect"), link + "s"} {
		_, err = s.Browser(wechatgate.BrowserWeChat).Get(wrong)
		assert.ErrorIs(t, err, wechattest.ErrNoWeChatRedirect)
	}
}

// gatedSite is a site behind a gate: a profile is needed below /profile.
func gatedSite(t *testing.T, s *wechattest.Server, change func(*wechatgate.Options)) *httptest.Server {
	t.Helper()
	var handler http.Handler
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { handler.ServeHTTP(w, r) }))
	t.Cleanup(site.Close)
	options := s.Options(site.URL)
	change(&options)
	gate, err := wechatgate.New(options)
	require.NoError(t, err)
	page := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, _ := wechatgate.UserFromContext(r.Context())
		_, _ = io.WriteString(w, "hello "+user.Nickname+" at "+r.URL.Path)
	})
	mux := http.NewServeMux()
	mux.Handle("/", gate.Require(page))
	mux.Handle("/profile", gate.RequireProfile(page))
	handler = mux
	return site
}

func TestPagesThatWait(t *testing.T) {
	s := newServer(t)
	s.SignInAs(wechattest.Person{Name: "alice", Nickname: "Alice"})
	for _, test := range []struct {
		name     string
		fragment bool // Options.KeepFragment
		path     string
		wait     wechattest.Wait
		status   int    // once the button is pressed
		body     string // then
	}{
		{"the consent page", false, "/profile", wechattest.WaitConsent, http.StatusOK, "hello Alice at /profile"},
		{"the page that keeps the fragment", true, "/orders#/7", wechattest.WaitFragment, http.StatusOK, "hello  at /orders"},
		{"the page that loads the callback again", false, "/wechat/callback?code=x&state=" + state, wechattest.WaitReload, http.StatusForbidden, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			site := gatedSite(t, s, func(o *wechatgate.Options) { o.KeepFragment = test.fragment })
			_, err := s.Browser(wechatgate.BrowserWeChat).Get(site.URL + test.path)
			require.ErrorIs(t, err, wechattest.ErrWaits)
			assert.ErrorContains(t, err, string(test.wait)+" at "+site.URL)

			status, body := get(t, s.Visitor(wechatgate.BrowserWeChat, wechattest.Habits{Presses: []wechattest.Wait{test.wait}}).Client, site.URL+test.path)
			assert.Equal(t, test.status, status)
			assert.Contains(t, body, test.body)

			_, body = get(t, s.Visitor(wechatgate.BrowserWeChat, wechattest.Habits{Reads: []wechattest.Wait{test.wait}}).Client, site.URL+test.path)
			assert.Contains(t, body, "<title>")

			visitor := s.Visitor(wechatgate.BrowserWeChat, wechattest.Habits{})
			p, err := visitor.Get(t.Context(), site.URL+test.path)
			require.NoError(t, err)
			if test.wait == wechattest.WaitConsent {
				assert.Equal(t, http.StatusUnauthorized, p.Status)
				assert.Equal(t, test.wait, p.Waits)
				p, err = visitor.Press(t.Context(), p, "", nil)
				require.NoError(t, err)
			}
			assert.Equal(t, test.status, p.Status)
			assert.Contains(t, p.Body, test.body)
			assert.GreaterOrEqual(t, len(p.Trail), 2)
			if test.fragment {
				assert.Equal(t, site.URL+"/orders#/7", p.URL.String())
			}
		})
	}
}

func TestPress(t *testing.T) {
	s := newServer(t)
	site := gatedSite(t, s, func(*wechatgate.Options) {})
	visitor := s.Visitor(wechatgate.BrowserWeChat, wechattest.Habits{})
	_, err := visitor.Get(t.Context(), site.URL+"/orders")
	require.NoError(t, err)
	p, err := visitor.Get(t.Context(), site.URL+"/wechat/logout")
	require.NoError(t, err)
	_, err = visitor.Press(t.Context(), p, "nothing of the kind", nil)
	assert.ErrorContains(t, err, "no button")
	p, err = visitor.Press(t.Context(), p, "", nil)
	require.NoError(t, err)
	assert.Equal(t, "/wechat/signed-out", p.URL.Path)

	s.Ask(wechattest.AskAlways)
	p, err = s.Visitor(wechatgate.BrowserDesktop, wechattest.Habits{}).Get(t.Context(), site.URL+"/orders")
	require.NoError(t, err)
	assert.Equal(t, "/connect/qrconnect", p.URL.Path)
	p, err = visitor.Press(t.Context(), p, "somebody", url.Values{"name": {"dora"}})
	require.NoError(t, err)
	assert.Contains(t, p.URL.String(), "/wechat/callback", "dora's code came back")
}

func TestVisitorSendsForms(t *testing.T) {
	s := newServer(t)
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/form":
			w.Header().Set("Content-Type", "text/html")
			_, _ = io.WriteString(w, `<form action="/search?lost=1"><input type="hidden" name="in" value="orders"><button id="search">?</button></form>`+
				`<form method="post" action="/temporary"><input type="hidden" name="a" value="1"><button id="keep">!</button></form>`+
				`<form method="post" action="/other"><button id="lose">!</button></form><a id="link" href="/search?q=0">.</a>`)
		case "/temporary":
			http.Redirect(w, r, "/permanent", http.StatusTemporaryRedirect)
		case "/permanent":
			http.Redirect(w, r, "/end", http.StatusPermanentRedirect)
		case "/other":
			http.Redirect(w, r, "/end", http.StatusSeeOther)
		default:
			body, _ := io.ReadAll(r.Body)
			_, _ = io.WriteString(w, r.Method+" "+r.RequestURI+" "+string(body)+" "+r.Header.Get("Content-Type"))
		}
	}))
	t.Cleanup(site.Close)
	for _, test := range []struct{ name, press, want string }{
		{"a form without a method asks", "search", "GET /search?in=orders&q=tea  "},
		{"one that posts is posted again", "keep", "POST /end a=1&q=tea application/x-www-form-urlencoded"},
		{"unless a 303 says otherwise", "lose", "GET /end  "},
		{"a link has no fields", "link", "GET /search?q=0  "},
	} {
		t.Run(test.name, func(t *testing.T) {
			visitor := s.Visitor(wechatgate.BrowserDesktop, wechattest.Habits{})
			p, err := visitor.Get(t.Context(), site.URL+"/form")
			require.NoError(t, err)
			p, err = visitor.Press(t.Context(), p, test.press, url.Values{"q": {"tea"}})
			require.NoError(t, err)
			assert.Equal(t, test.want, p.Body)
		})
	}
}

func TestErrorsOfAVisitorHoldNoCode(t *testing.T) {
	s := newServer(t)
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/loop" {
			http.Redirect(w, r, r.RequestURI, http.StatusFound)
			return
		}
		panic(http.ErrAbortHandler)
	}))
	t.Cleanup(site.Close)
	s.Register(strings.TrimPrefix(site.URL, "http://"))
	for _, path := range []string{"/loop", "/broken"} {
		link := s.Endpoints().AuthorizeURL(s.OfficialAccount.ID, site.URL+path, wechat.ScopeBase, state)
		_, err := s.Visitor(wechatgate.BrowserWeChat, wechattest.Habits{}).Get(t.Context(), link)
		require.ErrorContains(t, err, site.URL+path)
		assert.NotContains(t, err.Error(), "code=")
		assert.NotContains(t, err.Error(), state)
	}
}

func TestPagesOfWeChatEndTheWay(t *testing.T) {
	s := newServer(t)
	s.AccountIs(wechattest.TestAccount)
	site := gatedSite(t, s, func(*wechatgate.Options) {})
	for _, test := range []struct {
		name string
		kind wechatgate.Browser
		set  func()
		says string
	}{
		{"a number", wechatgate.BrowserWeChat, func() {}, "Follow this test account first"},
		{"a refusal", wechatgate.BrowserDesktop, func() { s.Deny(wechattest.DenyNoCallback) }, "You have refused"},
		{"a question", wechatgate.BrowserDesktop, func() { s.Ask(wechattest.AskAlways) }, "Scan with WeChat to sign in"},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.set()
			status, body := get(t, s.Browser(test.kind), site.URL+"/orders")
			assert.Equal(t, http.StatusOK, status)
			assert.Contains(t, body, test.says)
			p, err := s.Visitor(test.kind, wechattest.Habits{}).Get(t.Context(), site.URL+"/orders")
			require.NoError(t, err)
			assert.Equal(t, wechattest.WaitWeChat, p.Waits)
			assert.Contains(t, p.Body, "模拟微信")
		})
	}
}

func TestSecFetchSiteAlongTheWay(t *testing.T) {
	s := newServer(t)
	var seen []string
	site := gatedSite(t, s, func(*wechatgate.Options) {})
	watch := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen = append(seen, r.Header.Get("Sec-Fetch-Site"))
		if r.URL.Path == "/page" {
			w.Header().Set("Content-Type", "text/html")
			_, _ = io.WriteString(w, `<a id="here" href="/x">.</a><a id="there" href="`+site.URL+`/?to">.</a>`)
		}
	}))
	t.Cleanup(watch.Close)
	visitor := s.Visitor(wechatgate.BrowserDesktop, wechattest.Habits{})
	p, err := visitor.Get(t.Context(), watch.URL+"/page")
	require.NoError(t, err)
	_, err = visitor.Press(t.Context(), p, "here", nil)
	require.NoError(t, err)
	_, err = visitor.PostForm(t.Context(), watch.URL+"/x", nil)
	require.NoError(t, err)
	assert.Equal(t, []string{"none", "same-origin", "same-origin"}, seen)
}
