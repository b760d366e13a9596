package wechatgate_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wechatgate/wechatgate"
	"github.com/wechatgate/wechatgate/wechat"
	"github.com/wechatgate/wechatgate/wechattest"
)

// What the gate does for the people who use it: visitors, the scripts of a site,
// the site's developers, its operators. Nothing here needs a network, so that
// tests can run on a clock of their own.

const shopURL = "https://shop.example.com"

// shop is a gated site, with WeChat beside it.
type shop struct {
	base    string
	fake    *wechattest.Server
	gate    *wechatgate.Gate
	handler http.Handler // Require, unless a test says otherwise
	log     *logBuffer
}

func newShop(t *testing.T, change ...func(*wechatgate.Options)) *shop {
	t.Helper()
	fake := wechattest.NewServer()
	t.Cleanup(fake.Close)
	return newShopAt(t, fake, change...)
}

// newShopAt is newShop for a bubble of synctest: the fake is made outside of it.
func newShopAt(t *testing.T, fake *wechattest.Server, change ...func(*wechatgate.Options)) *shop {
	t.Helper()
	s := &shop{fake: fake, log: &logBuffer{}}
	o := fake.Options(shopURL)
	o.Logger = s.log.logger()
	o.HTTPClient = &http.Client{Transport: handlerTransport{fake}}
	for _, f := range change {
		f(&o)
	}
	var err error
	s.gate, err = wechatgate.New(o)
	require.NoError(t, err)
	s.base, s.handler = o.BaseURL, s.gate.Require(shopPage)
	return s
}

// shopPage says whom it sees.
var shopPage = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	u, _ := wechatgate.UserFromContext(r.Context())
	fmt.Fprintf(w, "openid=%q nickname=%q unionid=%q data=%q", u.OpenID, u.Nickname, u.UnionID, u.Data)
})

// handlerTransport asks a handler instead of a network.
type handlerTransport struct{ http.Handler }

func (h handlerTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result(), nil
}

// guest is a visitor of the shop who reads English.
type guest struct {
	*visitor
	t    *testing.T
	shop *shop
}

func (s *shop) guest(t *testing.T, userAgent string) *guest {
	t.Helper()
	v := newVisitor(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.handler.ServeHTTP(w, r) }), strings.Replace(userAgent, "Language/zh_CN", "Language/en", 1))
	v.header.Set("Accept", "text/html,application/xhtml+xml,*/*;q=0.8")
	v.header.Set("Accept-Language", "en")
	v.header.Set("Sec-Fetch-Mode", "navigate")
	v.header.Set("Sec-Fetch-Dest", "document")
	return &guest{v, t, s}
}

// ask makes one request. It is a navigation, unless header says otherwise; a POST
// comes from a page of the same site.
func (g *guest) ask(method, target string, header map[string]string, body string) *httptest.ResponseRecorder {
	g.t.Helper()
	r := g.requestOf(method, target, body)
	if method == http.MethodPost {
		r.Header.Set("Sec-Fetch-Site", "same-origin")
		r.Header.Set("Origin", shopURL)
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for name, value := range header {
		switch {
		case name == "Host":
			r.Host = value
		case value == "":
			r.Header.Del(name)
		default:
			r.Header.Set(name, value)
		}
	}
	return g.send(r)
}

// fetch is a script's request.
func (g *guest) fetch(method, target string) *httptest.ResponseRecorder {
	g.t.Helper()
	return g.ask(method, target, map[string]string{"Accept": "*/*", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"}, "")
}

// follow opens a page and follows redirects, through WeChat and back, to a page
// or to an address of another site. It returns where that is.
func (g *guest) follow(target string) (address string, w *httptest.ResponseRecorder) {
	g.t.Helper()
	for range 20 {
		path, ours := strings.CutPrefix(target, g.shop.base)
		switch {
		case ours && (path == "" || strings.IndexAny(path, "?#") == 0):
			path = "/" + path
		case strings.HasPrefix(target, "/"):
			path = target
		}
		if path, _, _ = strings.Cut(path, "#"); strings.HasPrefix(target, g.shop.fake.URL) {
			r := httptest.NewRequestWithContext(g.t.Context(), http.MethodGet, path, nil)
			r.Header.Set("User-Agent", g.header.Get("User-Agent"))
			w = httptest.NewRecorder()
			g.shop.fake.ServeHTTP(w, r)
		} else {
			w = g.open(path)
		}
		if w.Header().Get("Location") == "" {
			return target, w
		}
		target = w.Header().Get("Location")
	}
	require.Fail(g.t, "a loop", target)
	return "", nil
}

// arrive signs in by opening a page.
func (g *guest) arrive() {
	g.t.Helper()
	_, w := g.follow("/page")
	require.Equal(g.t, http.StatusOK, w.Code, w.Body.String())
	require.Contains(g.t, w.Body.String(), "openid=")
}

// leaveWith is leave, by a navigation with these headers.
func (g *guest) leaveWith(header map[string]string) string {
	g.t.Helper()
	w := g.ask(http.MethodGet, "/page", header, "")
	require.Equal(g.t, http.StatusFound, w.Code, w.Body.String())
	u, err := url.Parse(w.Header().Get("Location"))
	require.NoError(g.t, err)
	return callbackOf("CODE", u.Query().Get("state"))
}

func (g *guest) isSignedIn() bool {
	g.t.Helper()
	return g.fetch(http.MethodGet, "/wechat/user").Code == http.StatusOK
}

// link is the address of the link or button with this class or id.
func link(t *testing.T, body, mark string) string {
	t.Helper()
	for _, tag := range regexp.MustCompile(`<a [^>]*>`).FindAllString(body, -1) {
		if strings.Contains(tag, mark) {
			return html.UnescapeString(regexp.MustCompile(`href="([^"]*)"`).FindStringSubmatch(tag)[1])
		}
	}
	require.Fail(t, "no link with "+mark, body)
	return ""
}

// title is the page's heading: its words say which page it is.
func title(w *httptest.ResponseRecorder) string {
	found := regexp.MustCompile(`(?s)<h1>(.*?)</h1>`).FindStringSubmatch(w.Body.String())
	if found == nil {
		return ""
	}
	return html.UnescapeString(found[1])
}

// keptForm reads what a page keeps, as its script does.
func keptForm(t *testing.T, body string) (action string, fields [][2]string, found bool) {
	t.Helper()
	data := regexp.MustCompile(`(?s)<script type="application/json" id="form-data">(.*?)</script>`).FindStringSubmatch(body)
	if data == nil {
		return "", nil, false
	}
	var form struct {
		Action string
		Fields [][2]string
	}
	require.NoError(t, json.Unmarshal([]byte(data[1]), &form), data[1])
	return form.Action, form.Fields, true
}

func encodeFields(fields [][2]string) string {
	var pairs []string
	for _, f := range fields {
		pairs = append(pairs, url.QueryEscape(f[0])+"="+url.QueryEscape(f[1]))
	}
	return strings.Join(pairs, "&")
}

// What becomes of a form that is posted before its visitor is signed in.
func TestNothingTypedIsLost(t *testing.T) {
	const (
		small = "name=%E5%BC%A0%E4%B8%89&size=L"
		form  = shopURL + "/order?id=3"
	)
	type header = map[string]string
	websiteAlone := func(o *wechatgate.Options) { o.OfficialAccount = wechatgate.App{} }
	for _, row := range []struct {
		name      string
		userAgent string
		change    func(*wechatgate.Options)
		profile   bool // signed in, at a page behind RequireProfile
		header    header
		body      string

		kept bool
		says string // on the page that does not keep it; empty: no page, 303
		next string // where the button leads
	}{
		{name: "from our own site, inside WeChat", userAgent: uaWeChat, body: small, kept: true, next: "/wechat/login?return_to=%2Fwechat%2Fresend"},
		{name: "from our own site, on a computer", userAgent: uaDesktop, body: small, kept: true, next: "/wechat/login?return_to=%2Fwechat%2Fresend"},
		{name: "with the QR code in our page", userAgent: uaDesktop, change: func(o *wechatgate.Options) { o.EmbedQR = true }, body: small, kept: true, next: "/wechat/login?return_to=%2Fwechat%2Fresend"},
		{name: "where the fragment is kept", userAgent: uaWeChat, change: func(o *wechatgate.Options) { o.KeepFragment = true }, body: small, kept: true, next: "/wechat/login?return_to=%2Fwechat%2Fresend"},
		{name: "of an old browser", userAgent: uaWeChat, header: header{"Sec-Fetch-Mode": "", "Sec-Fetch-Dest": "", "Sec-Fetch-Site": ""}, body: small, kept: true, next: "/wechat/login?return_to=%2Fwechat%2Fresend"},
		{name: "with a charset", userAgent: uaWeChat, header: header{"Content-Type": "application/x-www-form-urlencoded; charset=UTF-8"}, body: small, kept: true, next: "/wechat/login?return_to=%2Fwechat%2Fresend"},
		{name: "an empty one", userAgent: uaWeChat, kept: true, next: "/wechat/login?return_to=%2Fwechat%2Fresend"},
		{name: "of 64 KiB", userAgent: uaWeChat, body: "a=" + strings.Repeat("x", 64<<10-2), kept: true, next: "/wechat/login?return_to=%2Fwechat%2Fresend"},
		{name: "of one who is signed in, and whose profile is wanted", userAgent: uaWeChat, profile: true, body: small, kept: true, next: "/wechat/login?scope=snsapi_userinfo&return_to=%2Fwechat%2Fresend"},

		{name: "of a byte more", userAgent: uaWeChat, body: "a=" + strings.Repeat("x", 64<<10-1), says: "too long to be kept", next: "/order?id=3"},
		{name: "of 4,096 fields", userAgent: uaWeChat, body: strings.Repeat("a=&", 4095) + "a=", kept: true, next: "/wechat/login?return_to=%2Fwechat%2Fresend"},
		{name: "of a field more", userAgent: uaWeChat, body: strings.Repeat("a=&", 4096) + "a=", says: "too long to be kept", next: "/order?id=3"},
		{name: "with files", userAgent: uaWeChat, header: header{"Content-Type": "multipart/form-data; boundary=x"}, body: "--x--", says: "Files and what you typed with them", next: "/order?id=3"},
		{name: "of no type", userAgent: uaWeChat, header: header{"Content-Type": ""}, body: small, says: "cannot be kept", next: "/order?id=3"},
		{name: "not in UTF-8", userAgent: uaWeChat, body: "name=%D5%C5%C8%FD", says: "cannot be kept", next: "/order?id=3"},
		{name: "not urlencoded", userAgent: uaWeChat, body: "name=%zz", says: "cannot be kept", next: "/order?id=3"},
		{name: "on a phone, where the flow ends in WeChat", userAgent: uaPhone, body: small, says: "cannot be taken along", next: "/order?id=3"},
		{name: "where there is no flow", userAgent: uaWeChat, change: websiteAlone, body: small, says: "you cannot sign in here", next: "/order?id=3"},
		{name: "with files, from no page that is known", userAgent: uaWeChat, header: header{"Content-Type": "multipart/form-data; boundary=x", "Referer": ""}, says: "Files", next: "/"},
		{name: "with files, from a page that is not ours", userAgent: uaWeChat, header: header{"Content-Type": "multipart/form-data; boundary=x", "Referer": "https://evil.example/"}, says: "Files", next: "/"},

		{name: "from another site", userAgent: uaWeChat, header: header{"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"}, body: small},
		{name: "from another site, of an old browser", userAgent: uaWeChat, header: header{"Sec-Fetch-Site": "", "Origin": "https://evil.example"}, body: small},
		{name: "from a neighbour", userAgent: uaWeChat, header: header{"Sec-Fetch-Site": "same-site", "Origin": "https://blog.example.com"}, body: small},
		{name: "from a page that hides its origin", userAgent: uaWeChat, header: header{"Sec-Fetch-Site": "cross-site", "Origin": "null"}, body: small},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := newShop(t, func(o *wechatgate.Options) {
				o.Page = func(http.ResponseWriter, *http.Request, wechatgate.Page) { t.Error("left to Options.Page") }
				if row.change != nil {
					row.change(o)
				}
			})
			g := s.guest(t, row.userAgent)
			if row.profile {
				g.arrive()
				s.handler = s.gate.RequireProfile(shopPage)
			}
			h := header{"Referer": form}
			maps.Copy(h, row.header)
			before := len(g.cookies)
			w := g.ask(http.MethodPost, "/order/new?copy=%2f&x=a+b", h, row.body)
			if row.next == "" {
				assert.Equal(t, http.StatusSeeOther, w.Code)
				assert.NotContains(t, w.Body.String(), "form-data")
				return
			}
			assert.Equal(t, http.StatusUnauthorized, w.Code)
			assertOwnHeaders(t, w.Header())
			assert.Len(t, g.cookies, before, "no sign-in begins before the button is pressed")
			action, fields, kept := keptForm(t, w.Body.String())
			require.Equal(t, row.kept, kept)
			if !row.kept {
				assert.Contains(t, w.Body.String(), row.says)
				assert.NotContains(t, w.Body.String(), "张三")
				assert.Equal(t, shopURL+row.next, link(t, w.Body.String(), `class="button"`))
				return
			}
			assert.Equal(t, "/order/new?copy=%2f&x=a+b", action)
			assert.Equal(t, row.body, strings.TrimSuffix(encodeFields(fields), "&"))
			assert.Equal(t, shopURL+row.next, link(t, w.Body.String(), `id="sign-in"`))
		})
	}
}

// A page holds what was typed byte for byte, whatever it is, and never as markup.
func TestKeptFormHoldsWhatWasTyped(t *testing.T) {
	fields := [][2]string{
		{"topping", "cheese"},
		{"topping", "olives"},
		{"topping", ""},
		{"收件人", "张三 🀄 𠮷"},
		{"note", "one\r\ntwo\nthree\tfour  "},
		{"html", `</script><script>alert(1)</script><!-- <b>&amp;" '`},
		{"odd", "\u2028\u2029\x00\x7f\ufeff\ufffd%41+&=;\\"},
		{"long", strings.Repeat("字", 4000)},
	}
	for _, mount := range []string{"", "/shop"} {
		t.Run("below "+shopURL+mount, func(t *testing.T) {
			s := newShop(t, func(o *wechatgate.Options) { o.BaseURL = shopURL + mount })
			w := s.guest(t, uaWeChat).ask(http.MethodPost, "/a%20b/%E5%AD%97", nil, encodeFields(fields))
			action, got, _ := keptForm(t, w.Body.String())
			assert.Equal(t, mount+"/a%20b/%E5%AD%97", action, "with the mount path: a browser posts to it")
			assert.Equal(t, fields, got)
			assert.NotContains(t, w.Body.String(), "alert(1)</script>")
			assert.NotContains(t, w.Header().Get("Content-Security-Policy"), "unsafe")
		})
	}
	t.Run("a target that could be read as another host", func(t *testing.T) {
		w := newShop(t).guest(t, uaWeChat).ask(http.MethodPost, shopURL+"//evil.example/x", nil, "a=b")
		action, _, _ := keptForm(t, w.Body.String())
		assert.Equal(t, "/.//evil.example/x", action, "the path of this site, as every URL parser reads it")
	})
}

// One stranger's Host header does not explain everybody's trouble for ever.
func TestForeignHostIsForgottenWithItsSignIn(t *testing.T) {
	fake := wechattest.NewServer()
	defer fake.Close()
	synctest.Test(t, func(t *testing.T) {
		s := newShopAt(t, fake)
		s.guest(t, uaWeChat).leaveWith(map[string]string{"Host": "evil.example"})
		callback := "/wechat/callback?again=1&code=CODE&state=" + strings.Repeat("a", 32)
		const words = "that this site does not sign in at"
		assert.Contains(t, s.guest(t, uaWeChat).open(callback).Body.String(), words)
		time.Sleep(10*time.Minute + time.Second)
		assert.NotContains(t, s.guest(t, uaWeChat).open(callback).Body.String(), words)
		assert.Len(t, s.log.lines("began_at"), 1)
	})
}

// A program that asks the gate may make its requests by hand.
func TestPostWithoutABody(t *testing.T) {
	for target, status := range map[string]int{"/order": http.StatusUnauthorized, "/wechat/logout": http.StatusSeeOther, "/wechat/code": http.StatusUnauthorized} {
		t.Run(target, func(t *testing.T) {
			s := newShop(t, func(o *wechatgate.Options) { o.CodeSignIn.Scan = true })
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, shopURL+target, nil)
			require.NoError(t, err)
			r.Header = http.Header{"Accept": {"text/html"}, "User-Agent": {uaWeChat}, "Content-Type": {"application/x-www-form-urlencoded"}}
			w := httptest.NewRecorder()
			assert.NotPanics(t, func() { s.handler.ServeHTTP(w, r) })
			assert.Equal(t, status, w.Code)
		})
	}
}

func TestSignInOfAKeptFormEndsAtResend(t *testing.T) {
	for name, userAgent := range map[string]string{"inside WeChat": uaWeChat, "on a computer": uaDesktop} {
		t.Run(name, func(t *testing.T) {
			s := newShop(t)
			g := s.guest(t, userAgent)
			w := g.ask(http.MethodPost, "/order", nil, "a=b")
			address, w := g.follow(link(t, w.Body.String(), `id="sign-in"`))
			assert.Equal(t, shopURL+"/wechat/resend#", address)
			assert.Equal(t, http.StatusOK, w.Code)
			assert.Contains(t, w.Body.String(), `id="send"`)
			assert.Contains(t, w.Body.String(), `id="discard"`)
			assert.NotContains(t, w.Header().Get("Content-Security-Policy"), "form-action", "the site may redirect anywhere")
			assertOwnHeaders(t, w.Header())
			assert.Equal(t, http.StatusMethodNotAllowed, g.ask(http.MethodPost, "/wechat/resend", nil, "").Code)
		})
	}
}

func TestLogoutTellsFormsFromScripts(t *testing.T) {
	for _, row := range []struct {
		name     string
		header   map[string]string
		status   int
		location string
	}{
		{"a form", nil, http.StatusSeeOther, shopURL + "/wechat/signed-out"},
		{"a form of an old browser", map[string]string{"Sec-Fetch-Mode": "", "Sec-Fetch-Dest": "", "Sec-Fetch-Site": ""}, http.StatusSeeOther, shopURL + "/wechat/signed-out"},
		{"fetch", map[string]string{"Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty", "Accept": "*/*"}, http.StatusNoContent, ""},
		{"an old browser's XMLHttpRequest", map[string]string{"Sec-Fetch-Mode": "", "Sec-Fetch-Dest": "", "X-Requested-With": "XMLHttpRequest"}, http.StatusNoContent, ""},
		{"an old browser's fetch", map[string]string{"Sec-Fetch-Mode": "", "Sec-Fetch-Dest": "", "Accept": "application/json"}, http.StatusNoContent, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			g := newShop(t).guest(t, uaWeChat)
			g.arrive()
			w := g.ask(http.MethodPost, "/wechat/logout", row.header, "")
			assert.Equal(t, row.status, w.Code)
			assert.Equal(t, row.location, w.Header().Get("Location"))
			assert.Empty(t, w.Body.String())
			assert.False(t, g.isSignedIn())
			assert.Len(t, g.named("-signed-out"), 1)
		})
	}
}

func TestWhoAmI(t *testing.T) {
	store := &faultyStore{}
	s := newShop(t, func(o *wechatgate.Options) {
		o.OnLogin = func(_ *http.Request, l *wechatgate.Login) error {
			l.Data, l.Profile = "the site's secret", &wechat.Profile{Nickname: "Li <Lei>"}
			return nil
		}
	})
	g := s.guest(t, uaWeChat)
	w := g.fetch(http.MethodGet, "/wechat/user")
	assert.Equal(t, http.StatusUnauthorized, w.Code)
	assert.JSONEq(t, `{"error":"login_required","login_url":"`+shopURL+`/wechat/login"}`, w.Body.String())
	assertOwnHeaders(t, w.Header())

	g.arrive()
	for _, w := range []*httptest.ResponseRecorder{g.fetch(http.MethodGet, "/wechat/user"), g.open("/wechat/user")} {
		assert.Equal(t, http.StatusOK, w.Code)
		assertOwnHeaders(t, w.Header())
		assert.Empty(t, w.Header()["Access-Control-Allow-Origin"])
		assert.Equal(t, "application/json; charset=utf-8", w.Header().Get("Content-Type"))
		var got map[string]any
		require.NoError(t, json.Unmarshal(w.Body.Bytes(), &got))
		assert.Equal(t, s.fake.OfficialAccount.ID, got["app_id"])
		assert.Equal(t, wechattest.OpenID(s.fake.OfficialAccount.ID, wechattest.Person{Name: "alice"}), got["open_id"])
		assert.Equal(t, "Li <Lei>", got["nickname"])
		assert.NotContains(t, got, "avatar_url", "empty ones are left out")
		assert.NotContains(t, w.Body.String(), "secret")
	}
	assert.Equal(t, http.StatusMethodNotAllowed, g.fetch(http.MethodPost, "/wechat/user").Code)

	store.newErr = errors.New("connection refused")
	down := newShop(t, func(o *wechatgate.Options) { o.Store, o.Public = store, []string{"/"} }).guest(t, uaWeChat)
	down.cookies["__Host-wechatgate"] = "some-id"
	w = down.fetch(http.MethodGet, "/wechat/user")
	assert.Equal(t, http.StatusServiceUnavailable, w.Code, "not 401: whether there is a session is unknown")
	assert.JSONEq(t, `{"error":"session"}`, w.Body.String())
	assert.NotEmpty(t, w.Header().Get("Retry-After"))
}

func TestUserAsJSON(t *testing.T) {
	at := time.UnixMilli(1767225600123).UTC()
	full, err := json.Marshal(wechatgate.User{
		AppID: "wx1", OpenID: "o1", UnionID: "u1", Scope: wechat.ScopeBase, Nickname: "Li", AvatarURL: "https://x/1.png",
		Data: "secret", SignedInAt: at, ExpiresAt: at.Add(time.Hour),
	})
	require.NoError(t, err)
	assert.JSONEq(t, `{"app_id":"wx1","open_id":"o1","union_id":"u1","scope":"snsapi_base","nickname":"Li","avatar_url":"https://x/1.png",
		"signed_in_at":"2026-01-01T00:00:00.123Z","expires_at":"2026-01-01T01:00:00.123Z"}`, string(full))
	short, err := json.Marshal(wechatgate.User{AppID: "wx1", OpenID: "o1"})
	require.NoError(t, err)
	assert.JSONEq(t, `{"app_id":"wx1","open_id":"o1"}`, string(short))
}

func TestScriptsAreToldHowToGetAProfile(t *testing.T) {
	for name, wrap := range map[string]func(*wechatgate.Gate) http.Handler{
		"RequireProfile": func(g *wechatgate.Gate) http.Handler { return g.RequireProfile(shopPage) },
		"RequireUnionID": func(g *wechatgate.Gate) http.Handler { return g.RequireUnionID(shopPage) },
	} {
		t.Run(name, func(t *testing.T) {
			s := newShop(t)
			s.fake.SignInAs(wechattest.Person{Name: "bob", Nickname: "Bob"})
			g := s.guest(t, uaWeChat)
			page := wrap(s.gate)
			s.handler = page
			assert.Contains(t, g.fetch(http.MethodGet, "/api/me").Body.String(), `"login_required"`, "while nobody is signed in")
			s.handler = s.gate.Require(shopPage)
			g.arrive()
			s.handler = page
			w := g.fetch(http.MethodGet, "/api/me")
			assert.Equal(t, http.StatusUnauthorized, w.Code)
			var c wechatgate.Challenge
			require.NoError(t, json.Unmarshal(w.Body.Bytes(), &c))
			assert.Equal(t, wechatgate.Challenge{Error: "profile_required", LoginURL: shopURL + "/wechat/login?scope=snsapi_userinfo"}, c)

			// As the documentation says: with URL, and by a click.
			u, err := url.Parse(c.LoginURL)
			require.NoError(t, err)
			query := u.Query()
			query.Set("return_to", "/album")
			u.RawQuery = query.Encode()
			address, w := g.follow(u.String())
			assert.Equal(t, shopURL+"/album#", address)
			assert.Contains(t, w.Body.String(), `nickname="Bob"`)
			assert.Equal(t, http.StatusOK, g.fetch(http.MethodGet, "/api/me").Code)
		})
	}
}

func TestUnauthorizedIsToldWhyAndWhere(t *testing.T) {
	var got wechatgate.Challenge
	s := newShop(t, func(o *wechatgate.Options) {
		o.Unauthorized = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			got, _ = wechatgate.ChallengeFromContext(r.Context())
			w.WriteHeader(http.StatusTeapot)
		})
	})
	g := s.guest(t, uaWeChat)
	assert.Equal(t, http.StatusTeapot, g.fetch(http.MethodGet, "/api").Code)
	assert.Equal(t, wechatgate.Challenge{Error: "login_required", LoginURL: shopURL + "/wechat/login"}, got)
	g.arrive()
	s.handler = s.gate.RequireProfile(shopPage)
	assert.Equal(t, http.StatusTeapot, g.fetch(http.MethodGet, "/api").Code)
	assert.Equal(t, wechatgate.Challenge{Error: "profile_required", LoginURL: shopURL + "/wechat/login?scope=snsapi_userinfo"}, got)
	_, ok := wechatgate.ChallengeFromContext(t.Context())
	assert.False(t, ok)
}

func TestLoginURLAndLogoutURL(t *testing.T) {
	for _, base := range []string{shopURL, shopURL + "/shop"} {
		s := newShop(t, func(o *wechatgate.Options) { o.BaseURL = base })
		for returnTo, want := range map[string]string{
			"/a?b=c&d=e#f":         "%2Fa%3Fb%3Dc%26d%3De%23f",
			"/中":                   "%2F%E4%B8%AD",
			"":                     "%2F",
			"//evil.example":       "%2F",
			"https://evil.example": "%2F",
			`/\evil.example`:       "%2F",
			"/wechat/logout":       "%2F",
		} {
			assert.Equal(t, base+"/wechat/login?return_to="+want, s.gate.LoginURL(returnTo), returnTo)
			if returnTo == "" {
				assert.Equal(t, base+"/wechat/logout", s.gate.LogoutURL(returnTo), "the page that says it")
				continue
			}
			assert.Equal(t, base+"/wechat/logout?return_to="+want, s.gate.LogoutURL(returnTo), returnTo)
		}
	}
	g := newShop(t).guest(t, uaWeChat)
	address, _ := g.follow(g.shop.gate.LoginURL("/album?x=1"))
	assert.Equal(t, shopURL+"/album?x=1#", address)
	w := g.ask(http.MethodPost, strings.TrimPrefix(g.shop.gate.LogoutURL("/bye?x=1"), shopURL), nil, "")
	assert.Equal(t, shopURL+"/bye?x=1", w.Header().Get("Location"))
}

func TestSignOutWritesHeadersAlone(t *testing.T) {
	var left []string
	s := newShop(t, func(o *wechatgate.Options) {
		o.OnLogout = func(_ *http.Request, u wechatgate.User) { left = append(left, u.OpenID) }
	})
	g := s.guest(t, uaWeChat)
	g.arrive()
	require.Len(t, g.named("-login-"), 1, "the finished attempt")
	s.handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if assert.NoError(t, s.gate.SignOut(w, r)) {
			w.WriteHeader(http.StatusTeapot)
			_, _ = io.WriteString(w, "the site's own words")
		}
	})
	w := g.ask(http.MethodPost, "/account/close", map[string]string{"Origin": "https://other.example", "Sec-Fetch-Site": "cross-site"}, "")
	assert.Equal(t, http.StatusTeapot, w.Code)
	assert.Equal(t, "the site's own words", w.Body.String())
	assert.Empty(t, w.Header().Get("Location"))
	assert.Empty(t, g.named("-login-"), "finished attempts go")
	assert.Equal(t, []string{"__Host-wechatgate-signed-out"}, g.named(""))
	assert.Equal(t, []string{wechattest.OpenID(s.fake.OfficialAccount.ID, wechattest.Person{Name: "alice"})}, left)

	s.handler = s.gate.Require(shopPage)
	assert.Equal(t, "You are signed out", title(g.open("/page")), "no silent sign-in")

	down := newShop(t, func(o *wechatgate.Options) { o.Store = &faultyStore{newErr: errors.New("connection refused")} })
	r := httptest.NewRequest(http.MethodPost, "/", nil)
	r.AddCookie(&http.Cookie{Name: "__Host-wechatgate", Value: "some-id"})
	w = httptest.NewRecorder()
	err := down.gate.SignOut(w, r)
	var failed *wechatgate.Error
	require.ErrorAs(t, err, &failed)
	assert.Equal(t, wechatgate.ReasonSession, failed.Reason)
	assert.Empty(t, w.Header()["Set-Cookie"], "nobody is signed out")
}

func TestDataOfTheSite(t *testing.T) {
	for _, row := range []struct {
		name, data string
		fits       bool
	}{
		{"none", "", true},
		{"a role", "admin", true},
		{"line breaks and markup", "a\nb\r\n\n<c>\x00\t", true},
		{"a line break at the end", "a\n", true},
		{"512 bytes", strings.Repeat("字", 170) + "\n!", true},
		{"513 bytes", strings.Repeat("字", 171), false},
		{"not UTF-8", "\xff", false},
	} {
		t.Run(row.name, func(t *testing.T) {
			var user wechatgate.User
			s := newShop(t, func(o *wechatgate.Options) {
				o.OnLogin = func(_ *http.Request, l *wechatgate.Login) error {
					l.Data = row.data
					return nil
				}
			})
			s.handler = s.gate.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				user, _ = wechatgate.UserFromContext(r.Context())
				fmt.Fprint(w, "openid=")
			}))
			g := s.guest(t, uaWeChat)
			if row.fits {
				g.arrive()
				assert.Equal(t, row.data, user.Data)
				return
			}
			_, w := g.follow("/page")
			assert.Equal(t, http.StatusInternalServerError, w.Code)
			assert.False(t, g.isSignedIn())
			assert.Len(t, s.log.lines("Login.Data"), 1)
			assert.Len(t, s.log.lines("reason=config"), 1)
			assert.NotContains(t, s.log.String(), "字")
		})
	}
}

func TestSessionSaysWhenItEnds(t *testing.T) {
	fake := wechattest.NewServer()
	defer fake.Close()
	synctest.Test(t, func(t *testing.T) {
		s := newShopAt(t, fake, func(o *wechatgate.Options) { o.SessionLifetime = 36 * time.Hour })
		g := s.guest(t, uaWeChat)
		g.arrive()
		began := time.Now()
		time.Sleep(35 * time.Hour)
		var user wechatgate.User
		require.NoError(t, json.Unmarshal(g.fetch(http.MethodGet, "/wechat/user").Body.Bytes(), &user))
		assert.WithinDuration(t, began, user.SignedInAt, time.Second)
		assert.Equal(t, 36*time.Hour, user.ExpiresAt.Sub(user.SignedInAt), "counted from the sign-in")
		time.Sleep(time.Until(user.ExpiresAt) - time.Millisecond)
		assert.True(t, g.isSignedIn())
		time.Sleep(time.Millisecond)
		assert.False(t, g.isSignedIn())
	})
}

func TestRefuseTellsTheVisitor(t *testing.T) {
	for _, row := range []struct {
		name     string
		err      error
		contains string // in the page, as HTML
		not      string
	}{
		{"a message", wechatgate.Refuse("Members of the club only."), "Members of the club only.", "cannot enter this site"},
		{"markup", wechatgate.Refuse(`<b onclick="x">no</b>`), "&lt;b onclick=&#34;x&#34;&gt;no&lt;/b&gt;", "<b onclick"},
		{"200 characters", wechatgate.Refuse(strings.Repeat("字", 199) + "终"), strings.Repeat("字", 199) + "终", ""},
		{"201 characters", wechatgate.Refuse(strings.Repeat("字", 200) + "终"), strings.Repeat("字", 200) + "<", "终"},
		{"wrapped", fmt.Errorf("banned: %w", wechatgate.Refuse("Ask us.")), "Ask us.", "banned"},
		{"another error", errors.New("banned for fraud"), "cannot enter this site", "fraud"},
		{"an empty one", wechatgate.Refuse(" \n"), "cannot enter this site", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := newShop(t, func(o *wechatgate.Options) {
				o.OnLogin = func(*http.Request, *wechatgate.Login) error { return row.err }
			})
			g := s.guest(t, uaWeChat)
			_, w := g.follow("/page")
			assert.Equal(t, http.StatusForbidden, w.Code)
			assert.Contains(t, w.Body.String(), row.contains)
			if row.not != "" {
				assert.NotContains(t, w.Body.String(), row.not)
			}
			assert.False(t, g.isSignedIn())
		})
	}
}

// pagesOf opens each page of a gate once, by its heading.
func pagesOf(t *testing.T, change func(*wechatgate.Options)) map[string]*httptest.ResponseRecorder {
	t.Helper()
	s := newShop(t, change)
	fresh := func(userAgent string) *guest { return s.guest(t, userAgent) }
	pages := map[string]*httptest.ResponseRecorder{
		"keep-form":      fresh(uaWeChat).ask(http.MethodPost, "/order", nil, "a=b"),
		"resend":         fresh(uaWeChat).open("/wechat/resend"),
		"signed-out":     fresh(uaWeChat).open("/wechat/signed-out"),
		"open-in-wechat": fresh(uaPhone).open("/page"),
		"404":            fresh(uaWeChat).open("/wechat/nothing"),
		"retry":          fresh(uaWeChat).open("/wechat/callback"),
		"reload":         fresh(uaWeChat).open("/wechat/callback?code=C&state=0123456789abcdef0123456789abcdef"),
	}
	member := fresh(uaWeChat)
	member.arrive()
	pages["sign-out"] = member.open("/wechat/logout")
	pages["cross-site sign-out"] = member.ask(http.MethodPost, "/wechat/logout", map[string]string{"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"}, "")
	s.handler = s.gate.RequireProfile(shopPage)
	pages["consent"] = member.open("/page")

	other := newShop(t, change, func(o *wechatgate.Options) {
		o.OfficialAccount, o.EmbedQR, o.KeepFragment = wechatgate.App{}, true, true
	})
	pages["fragment"] = other.guest(t, uaDesktop).open("/page")
	pages["sign-in"] = other.guest(t, uaDesktop).open("/wechat/login")
	pages["unsupported"] = other.guest(t, uaWeChat).open("/wechat/login?return_to=%2Fpage%3Fx%3D1")
	return pages
}

func TestSiteStandsOnEachPage(t *testing.T) {
	for name, w := range pagesOf(t, func(o *wechatgate.Options) {
		o.Site = wechatgate.Site{Name: "Tea & <Co>", Logo: "/logo.png", Home: "/start", Footer: "ICP <1>", FooterURL: "https://beian.miit.gov.cn/"}
	}) {
		t.Run(name, func(t *testing.T) {
			body := w.Body.String()
			assert.Contains(t, body, "Tea &amp; &lt;Co&gt;")
			assert.NotContains(t, body, "<Co>")
			assert.Contains(t, body, `src="`+shopURL+`/logo.png"`)
			assert.Contains(t, body, `href="`+shopURL+`/start"`)
			assert.Contains(t, body, `<a href="https://beian.miit.gov.cn/">ICP &lt;1&gt;</a>`)
			assert.Contains(t, w.Header().Get("Content-Security-Policy"), "img-src", "the logo is shown")
		})
	}
}

// Every page of the gate leads on somewhere.
func TestNoPageIsADeadEnd(t *testing.T) {
	for name, w := range pagesOf(t, func(*wechatgate.Options) {}) {
		t.Run(name, func(t *testing.T) {
			assert.Contains(t, w.Body.String(), `href="`+shopURL, w.Body.String())
			assert.NotEmpty(t, title(w))
			assertOwnHeaders(t, w.Header())
		})
		if name == "unsupported" {
			assert.Contains(t, w.Body.String(), `id="address"`, "its words speak of a link to copy")
			assert.Contains(t, w.Body.String(), shopURL+"/page?x=1</textarea>")
		}
	}
}

func TestHostileSiteAddressesAreRefused(t *testing.T) {
	hostile := []string{
		"javascript:alert(1)", "JavaScript:alert(1)", "java\nscript:alert(1)", " javascript:alert(1)", "data:text/html,x", "vbscript:x",
		"//evil.example/x", "///evil.example/x", `/\evil.example`, `\\evil.example`, "/\t/evil.example", "https://user:pass@evil.example/", "https:evil.example", "https://", "ftp://x.example/", "file:///x", "logo.png", "https://a b/",
	}
	fake := wechattest.NewServer()
	defer fake.Close()
	for _, field := range []struct {
		name string
		set  func(*wechatgate.Site, string)
		also []string
	}{
		{"Site.Logo", func(s *wechatgate.Site, a string) { s.Logo = a }, []string{"http://shop.example.com/logo.png", "mailto:a@b.c"}},
		{"Site.Home", func(s *wechatgate.Site, a string) { s.Home = a }, []string{"http://shop.example.com/", "https://shop.example.com/", "mailto:a@b.c"}},
		{"Site.FooterURL", func(s *wechatgate.Site, a string) { s.Footer, s.FooterURL = "ICP", a }, nil},
	} {
		for _, address := range append(field.also, hostile...) {
			o := fake.Options(shopURL)
			field.set(&o.Site, address)
			_, err := wechatgate.New(o)
			var wrong *wechatgate.OptionError
			if assert.ErrorAs(t, err, &wrong, "%s %q", field.name, address) {
				assert.Equal(t, field.name, wrong.Field)
				assert.NotContains(t, wrong.Error(), "pass@")
			}
		}
	}
	for _, address := range []string{"/icp", "https://beian.miit.gov.cn/", "http://beian.gov.cn/", "mailto:a@b.example", "tel:+8610123"} {
		o := fake.Options(shopURL)
		o.Site.Footer, o.Site.FooterURL = "ICP", address
		_, err := wechatgate.New(o)
		assert.NoError(t, err, address)
	}
}

func TestPageIsAHandler(t *testing.T) {
	s := newShop(t, func(o *wechatgate.Options) {
		o.Site.Name = "Tea House"
		o.Page = func(w http.ResponseWriter, r *http.Request, p wechatgate.Page) {
			if p.Name == wechatgate.PageSignedOut {
				w.WriteHeader(p.Status)
				_, _ = io.WriteString(w, "the site's own page")
				return
			}
			p.ServeHTTP(w, r)
		}
	})
	g := s.guest(t, uaWeChat)
	assert.Equal(t, "the site's own page", g.open("/wechat/signed-out").Body.String())
	w := g.open("/wechat/callback")
	assert.Equal(t, http.StatusForbidden, w.Code, "the others are the built-in ones, with status, policy and site")
	assert.Equal(t, "Sign-in was not completed", title(w))
	assert.Contains(t, w.Body.String(), "Tea House")
	assert.NotEmpty(t, w.Header().Get("Content-Security-Policy"))

	for _, p := range []wechatgate.Page{
		{},
		{Name: wechatgate.PageError},
		{Name: wechatgate.PageError, Err: &wechatgate.Error{}},
		{Name: wechatgate.PageRetry, Lang: "xx", Err: &wechatgate.Error{Reason: wechatgate.ReasonState, Status: http.StatusForbidden}, Status: http.StatusForbidden},
		{Name: wechatgate.PageConsent, Lang: "en", SignInURL: "https://x.example/"},
		{Name: wechatgate.PageSignIn, FrameURL: "%zz"},
		{Name: wechatgate.PageOpenInWeChat, PageURL: "https://x.example/"},
	} {
		w := httptest.NewRecorder()
		assert.NotPanics(t, func() { p.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil)) }, "%+v", p)
	}
}

func TestUnionIDIsAskedForOnce(t *testing.T) {
	fake := wechattest.NewServer()
	defer fake.Close()
	synctest.Test(t, func(t *testing.T) {
		s := newShopAt(t, fake)
		s.handler = s.gate.RequireUnionID(shopPage)
		openID := wechattest.OpenID(fake.OfficialAccount.ID, wechattest.Person{Name: "alice"})
		g := s.guest(t, uaWeChat)
		_, w := g.follow("/page")
		require.Equal(t, "Share nickname and picture", title(w), "signed in silently, then asked")
		unbound := func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprintf(w, `{"openid":%q,"nickname":"Alice"}`, openID)
		}
		bare := func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprintf(w, `{"access_token":"AT","expires_in":7200,"refresh_token":"RT","openid":%q,"scope":"snsapi_userinfo"}`, openID)
		}
		fake.AnswerNext(wechat.OpExchange, bare)
		fake.AnswerNext(wechat.OpUserInfo, unbound)
		_, w = g.follow(link(t, w.Body.String(), `class="button"`))
		for range 2 { // never a loop, however often it is reloaded
			assert.Equal(t, http.StatusInternalServerError, w.Code, w.Body.String())
			assert.Equal(t, "Sign-in is unavailable", title(w))
			w = g.open("/page")
		}
		assert.Len(t, s.log.lines("绑定公众号"), 3, "the log has the hint")
		assert.Equal(t, http.StatusUnauthorized, g.fetch(http.MethodGet, "/api").Code)

		time.Sleep(10*time.Minute - 2*time.Second)
		assert.Equal(t, http.StatusInternalServerError, g.open("/page").Code)
		time.Sleep(2 * time.Second)
		w = g.open("/page")
		assert.Equal(t, "Share nickname and picture", title(w), "it may be bound by now")
		_, w = g.follow(link(t, w.Body.String(), `class="button"`))
		assert.Contains(t, w.Body.String(), wechattest.UnionID(wechattest.Person{Name: "alice"}))
	})
}

// A site that shows its own names supplies a profile at each sign-in, and WeChat was
// asked all the same.
func TestUnionIDIsAskedForOnceWhereOnLoginSuppliesTheProfile(t *testing.T) {
	s := newShop(t, func(o *wechatgate.Options) {
		o.OnLogin = func(_ *http.Request, login *wechatgate.Login) error {
			login.Profile = &wechat.Profile{Nickname: "known here"}
			return nil
		}
	})
	s.handler = s.gate.RequireUnionID(shopPage)
	openID := wechattest.OpenID(s.fake.OfficialAccount.ID, wechattest.Person{Name: "alice"})
	g := s.guest(t, uaWeChat)
	_, w := g.follow("/page")
	require.Equal(t, "Share nickname and picture", title(w), "what OnLogin says of a person who was not asked says nothing of the unionid")
	s.fake.AnswerNext(wechat.OpExchange, func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"access_token":"AT","expires_in":7200,"refresh_token":"RT","openid":%q,"scope":"snsapi_userinfo"}`, openID)
	})
	s.fake.AnswerNext(wechat.OpUserInfo, func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"openid":%q,"nickname":"Alice"}`, openID)
	})
	_, w = g.follow(link(t, w.Body.String(), `class="button"`))
	assert.Equal(t, http.StatusInternalServerError, w.Code, w.Body.String())
	s.handler = s.gate.RequireProfile(shopPage)
	assert.Contains(t, g.open("/page").Body.String(), `nickname="known here"`)
}

func TestOneScanIsEnough(t *testing.T) {
	person := wechattest.Person{Name: "bob", Nickname: "Bob"}
	for _, row := range []struct {
		name  string
		wrap  func(*shop)
		calls int // for the profile
	}{
		{"no page needs a profile", func(*shop) {}, 0},
		{"another page needs a profile", func(s *shop) { s.gate.RequireProfile(shopPage) }, 1},
		{"another page needs a unionid", func(s *shop) { s.gate.RequireUnionID(shopPage) }, 1},
		{"a program checks for a profile", func(s *shop) {
			_, _ = s.gate.CheckProfile(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil))
		}, 1},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := newShop(t)
			s.fake.SignInAs(person)
			row.wrap(s)
			g := s.guest(t, uaDesktop)
			g.arrive()
			assert.Len(t, s.fake.Calls(wechat.OpUserInfo), row.calls)
			if row.calls > 0 {
				s.handler = s.gate.RequireProfile(shopPage)
				assert.Contains(t, g.open("/page").Body.String(), `nickname="Bob"`, "without another scan")
			}
		})
	}

	t.Run("a profile that cannot be read fails no page that needs none", func(t *testing.T) {
		s := newShop(t)
		s.fake.SignInAs(person)
		profile := s.gate.RequireProfile(shopPage)
		g := s.guest(t, uaDesktop)
		s.fake.FailNext(wechat.OpUserInfo, -1, "")
		s.fake.FailNext(wechat.OpUserInfo, -1, "")
		g.arrive()
		assert.Contains(t, g.open("/page").Body.String(), `nickname=""`)
		assert.Len(t, s.log.lines("profile not read"), 1)
		s.handler = profile
		_, w := g.follow("/page")
		assert.NotEqual(t, http.StatusOK, w.Code, "here the profile is needed, and its failure shown")
	})
}

func TestSignedOutPages(t *testing.T) {
	s := newShop(t)
	g := s.guest(t, uaWeChat)
	assert.Equal(t, shopURL+"/wechat/signed-out", g.open("/wechat/logout").Header().Get("Location"), "nobody to sign out")
	w := g.open("/wechat/signed-out")
	assert.Equal(t, http.StatusOK, w.Code)
	assert.Equal(t, "You are signed out", title(w))
	assert.Equal(t, shopURL+"/wechat/login?return_to=%2F", link(t, w.Body.String(), `class="button"`))

	g.arrive()
	assert.Equal(t, shopURL+"/", g.open("/wechat/signed-out").Header().Get("Location"), "who is signed in is not told otherwise")
	w = g.open("/wechat/logout?return_to=%2Fbye")
	assert.Equal(t, "Sign out?", title(w))
	assert.Contains(t, w.Body.String(), `<form method="post" action="`+shopURL+`/wechat/logout?return_to=%2Fbye"`)
}

func TestThereIsNoSuchPage(t *testing.T) {
	g := newShop(t).guest(t, uaWeChat)
	w := g.open("/wechat/nothing")
	assert.Equal(t, http.StatusNotFound, w.Code)
	assert.Equal(t, "There is no such page", title(w))
	assert.NotContains(t, w.Body.String(), "/wechat/login", "signing in would not help")
	w = g.fetch(http.MethodGet, "/wechat/nothing")
	assert.Equal(t, http.StatusNotFound, w.Code)
	assert.Empty(t, title(w))
}

func TestMountPathThatIsNotStripped(t *testing.T) {
	fake := wechattest.NewServer()
	defer fake.Close()
	synctest.Test(t, func(t *testing.T) {
		s := newShopAt(t, fake, func(o *wechatgate.Options) { o.BaseURL = shopURL + "/shop" })
		s.base = shopURL // nothing is stripped
		g := s.guest(t, uaWeChat)
		for i := range 3 {
			_, w := g.follow("/shop/page")
			assert.Equal(t, http.StatusInternalServerError, w.Code, "a page, not a loop")
			assert.Equal(t, "Sign-in is unavailable", title(w))
			require.Len(t, s.log.lines("level=ERROR"), 1+i/2, "at most one record a minute")
			time.Sleep(40 * time.Second)
		}
		record := s.log.lines("level=ERROR")[0]
		assert.Contains(t, record, "path=/shop/wechat/callback")
		assert.Contains(t, record, "base_url="+shopURL+"/shop")
		assert.Contains(t, record, "http.StripPrefix")
		assert.NotContains(t, s.log.String(), "code=")
	})
}

// A sign-in that begins under another host or scheme than BaseURL's loses its
// cookies on the way.
func TestWrongHostIsNamedInTheLog(t *testing.T) {
	fake := wechattest.NewServer()
	defer fake.Close()
	for _, row := range []struct {
		name    string
		header  map[string]string
		beganAt string
	}{
		{"another host", map[string]string{"Host": "www.shop.example.com"}, "https://www.shop.example.com"},
		{"a host with a port", map[string]string{"Host": "SHOP.example.com:8443"}, "https://shop.example.com:8443"},
		{"a proxy that speaks http", map[string]string{"X-Forwarded-Proto": "http"}, "http://shop.example.com"},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newShopAt(t, fake)
				for i := range 3 {
					callback := s.guest(t, uaWeChat).leaveWith(row.header)
					assert.Len(t, s.log.lines("level=ERROR"), (i+1)/2, "to begin there is no mistake yet")
					g := s.guest(t, uaWeChat) // the cookies belong to the other host
					assert.Equal(t, http.StatusOK, g.open(callback).Code, "the page that loads again")
					w := g.open(callback + "&again=1")
					assert.Equal(t, http.StatusForbidden, w.Code)
					assert.Contains(t, w.Body.String(), "You opened an address that this site does not sign in at.")
					assert.Equal(t, shopURL+"/wechat/login?return_to=%2F", link(t, w.Body.String(), `class="button"`))
					require.Len(t, s.log.lines("level=ERROR"), 1+i/2, "at most one record a minute")
					time.Sleep(40 * time.Second)
				}
				record := s.log.lines("level=ERROR")[0]
				assert.Contains(t, record, "began_at="+row.beganAt+" ")
				assert.Contains(t, record, "base_url="+shopURL+" ")
				assert.Contains(t, record, "hint=")
			})
		})
	}

	t.Run("a proxy with a Host of its own, and cookies that arrive", func(t *testing.T) {
		s := newShop(t)
		g := s.guest(t, uaWeChat)
		s.handler = withHost("10.0.0.7:8080", s.handler)
		g.arrive()
		assert.Empty(t, s.log.lines("level=ERROR"))
	})
	t.Run("no attempt, and no other host", func(t *testing.T) {
		s := newShop(t)
		w := s.guest(t, uaWeChat).open(s.guest(t, uaWeChat).leave(t) + "&again=1")
		assert.NotContains(t, w.Body.String(), "You opened an address")
		assert.Empty(t, s.log.lines("level=ERROR"))
	})
}

func withHost(host string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r = r.Clone(r.Context())
		r.Host = host
		next.ServeHTTP(w, r)
	})
}

func TestGateThatIsNotMounted(t *testing.T) {
	fake := wechattest.NewServer()
	defer fake.Close()
	for _, mounted := range []bool{false, true} {
		t.Run(fmt.Sprint("mounted: ", mounted), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newShopAt(t, fake)
				mux := http.NewServeMux()
				mux.Handle("/page", s.gate.Require(shopPage))
				if mounted {
					mux.Handle("/wechat/", s.gate)
				}
				s.handler = mux
				g := s.guest(t, uaWeChat)
				for range 3 {
					g.leaveWith(nil)
					if mounted {
						g.open("/wechat/signed-out")
					}
					time.Sleep(5 * time.Second)
				}
				records := s.log.lines("level=ERROR")
				if mounted {
					assert.Empty(t, records)
					return
				}
				require.Len(t, records, 1)
				assert.Contains(t, records[0], "callback="+shopURL+"/wechat/callback")
				assert.Contains(t, records[0], "mux.Handle")
			})
		})
	}
}

func TestLoggerIsTheProgramsByDefault(t *testing.T) {
	log := &logBuffer{}
	before := slog.Default()
	slog.SetDefault(log.logger())
	defer slog.SetDefault(before)
	s := newShop(t, func(o *wechatgate.Options) { o.Logger = nil })
	s.guest(t, uaWeChat).arrive()
	assert.Len(t, log.lines("signed in"), 1)
}
