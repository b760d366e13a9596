package wechatgate_test

import (
	"context"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wechatgate/wechatgate"
	"github.com/wechatgate/wechatgate/wechattest"
)

const (
	uaWeChat  = "Mozilla/5.0 (Linux; Android 14; 23127PN0CC Build/UKQ1; wv) AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 Chrome/126.0.6478.188 Mobile Safari/537.36 XWEB/1260117 MMWEBSDK/20240501 MMWEBID/1 MicroMessenger/8.0.50.2701(0x28003253) WeChat/arm64 Weixin NetType/WIFI Language/zh_CN ABI/arm64"
	uaDesktop = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36"
	uaPhone   = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Mobile/15E148 Safari/604.1"
)

// browser is a wechattest.Visitor for the tests with a network. What goes wrong,
// a cookie that browsers drop included, fails the test.
type browser struct {
	*wechattest.Visitor
	t         *testing.T
	userAgent string
	fake      *wechattest.Server
}

func newBrowser(t *testing.T, fake *wechattest.Server, userAgent string) *browser {
	t.Helper()
	return newBrowserWith(t, fake, wechattest.Habits{UserAgent: userAgent})
}

func newBrowserWith(t *testing.T, fake *wechattest.Server, habits wechattest.Habits) *browser {
	t.Helper()
	v := fake.Visitor(wechatgate.ClassifyBrowser(habits.UserAgent), habits)
	t.Cleanup(func() { assert.Empty(t, v.DroppedCookies(), "cookies that browsers drop") })
	return &browser{Visitor: v, t: t, userAgent: habits.UserAgent, fake: fake}
}

// page is where a browser ends up.
type page struct {
	address *url.URL // as the address bar shows it
	status  int
	header  http.Header
	body    string
	trail   []string // every address on the way, the last one included
	shown   int      // documents that were rendered on the way
	next    *url.URL // where a redirect leads that was not followed
	whole   *wechattest.Page
}

func (b *browser) arrive(p *wechattest.Page, err error) page {
	b.t.Helper()
	require.NoError(b.t, err)
	return page{address: p.URL, status: p.Status, header: p.Header, body: p.Body, trail: p.Trail, shown: p.Shown, next: p.Next, whole: p}
}

// open navigates to an address, as if it were typed, and follows every redirect
// and every page that leads on by itself.
func (b *browser) open(address string) page {
	b.t.Helper()
	return b.arrive(b.Get(b.t.Context(), address))
}

// openUntil is open, but does not follow a redirect to an address that contains
// stop.
func (b *browser) openUntil(address, stop string) page {
	b.t.Helper()
	return b.arrive(b.GetUntil(b.t.Context(), address, stop))
}

// post submits a form of a page of the same site.
func (b *browser) post(address string, form url.Values) page {
	b.t.Helper()
	return b.arrive(b.PostForm(b.t.Context(), address, form))
}

// press presses a button or link of a page of the gate, as Visitor.Press does.
func (b *browser) press(p page, name string) page {
	b.t.Helper()
	return b.arrive(b.Press(b.t.Context(), p.whole, name, nil))
}

// fetch makes one request as a script would, or any other with these headers.
func (b *browser) fetch(method, address string, header http.Header) (*http.Response, string) {
	b.t.Helper()
	request, err := http.NewRequestWithContext(b.t.Context(), method, address, nil)
	require.NoError(b.t, err)
	request.Header["Accept"] = nil // else it is a navigation
	maps.Copy(request.Header, header)
	client := *b.Client
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	response, err := client.Do(request)
	require.NoError(b.t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	require.NoError(b.t, err)
	return response, string(body)
}

// allSites is where all sites of the tests keep their cookies: they are told apart
// by port, of which cookies know nothing.
const allSites = "https://127.0.0.1/"

func (b *browser) cookies() []*http.Cookie { return b.Cookies(allSites) }

// cookieLine is the Cookie header for our site.
func (b *browser) cookieLine() string {
	var pairs []string
	for _, c := range b.cookies() {
		pairs = append(pairs, c.Name+"="+c.Value)
	}
	return strings.Join(pairs, "; ")
}

// named returns the names of the cookies that contain part.
func (b *browser) named(part string) []string {
	var names []string
	for _, c := range b.cookies() {
		if strings.Contains(c.Name, part) {
			names = append(names, c.Name)
		}
	}
	return names
}

// plant sets a cookie as the site does, or removes it if value is empty.
func (b *browser) plant(name, value string) {
	b.t.Helper()
	c := &http.Cookie{Name: name, Value: value, Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode}
	if value == "" {
		c.MaxAge = -1
	}
	u, err := url.Parse(allSites)
	require.NoError(b.t, err)
	b.Client.Jar.SetCookies(u, []*http.Cookie{c})
}

// clone is another browser with the same cookies.
func (b *browser) clone(userAgent string) *browser {
	b.t.Helper()
	other := newBrowser(b.t, b.fake, userAgent)
	for _, c := range b.cookies() {
		other.plant(c.Name, c.Value)
	}
	return other
}

// visitor is a browser for the tests without a network, on a clock of their own
// or not: it hands its requests to a handler, and follows no redirect. It keeps
// cookies for ever, so that the gate has to know how old they are.
type visitor struct {
	handler http.Handler
	header  http.Header // of its navigations
	cookies map[string]string
}

func newVisitor(handler http.Handler, userAgent string) *visitor {
	header := http.Header{"Accept": {"text/html"}, "User-Agent": {userAgent}}
	return &visitor{handler: handler, header: header, cookies: map[string]string{}}
}

// request is a person's navigation, with the cookies.
func (v *visitor) request(method, target string) *http.Request {
	return v.requestOf(method, target, "")
}

// requestOf is request with a body.
func (v *visitor) requestOf(method, target, body string) *http.Request {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	r.Host = "shop.example.com"
	r.Header = v.header.Clone()
	if len(v.cookies) > 0 {
		r.Header.Set("Cookie", v.cookieLine())
	}
	return r
}

// send hands a request over and keeps the cookies that come back.
func (v *visitor) send(r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	v.handler.ServeHTTP(w, r)
	for _, c := range w.Result().Cookies() {
		v.cookies[c.Name] = c.Value
		if c.MaxAge < 0 {
			delete(v.cookies, c.Name)
		}
	}
	return w
}

func (v *visitor) open(target string) *httptest.ResponseRecorder {
	return v.send(v.request(http.MethodGet, target))
}

// get is open for a visitor who leaves when the context ends.
func (v *visitor) get(ctx context.Context, target string) *httptest.ResponseRecorder {
	return v.send(v.request(http.MethodGet, target).WithContext(ctx))
}

// begin begins a sign-in and returns its state.
func (v *visitor) begin(t *testing.T) (state string) {
	t.Helper()
	w := v.open("/wechat/login?return_to=/members")
	address, err := url.Parse(w.Header().Get("Location"))
	require.NoError(t, err)
	state = address.Query().Get("state")
	require.NotEmpty(t, state, "%d %s", w.Code, w.Body)
	return state
}

// leave begins a sign-in and returns the address that WeChat sends back to.
func (v *visitor) leave(t *testing.T) string {
	t.Helper()
	return callbackOf("CODE", v.begin(t))
}

func callbackOf(code, state string) string {
	return "/wechat/callback?code=" + code + "&state=" + state
}

func (v *visitor) signIn(t *testing.T) {
	t.Helper()
	w := v.open(v.leave(t))
	require.Equal(t, http.StatusSeeOther, w.Code, w.Body.String())
}

func (v *visitor) signOut(t *testing.T) *httptest.ResponseRecorder {
	t.Helper()
	w := v.send(v.request(http.MethodPost, "/wechat/logout"))
	require.Equal(t, http.StatusSeeOther, w.Code)
	return w
}

func (v *visitor) isIn() bool { return v.open("/members").Code == http.StatusOK }

// hasSession reports whether there is a cookie for one, whatever it is worth.
func (v *visitor) hasSession() bool { return v.cookies["__Host-wechatgate"] != "" }

func (v *visitor) cookieLine() string {
	var pairs []string
	for _, name := range v.named("") {
		pairs = append(pairs, name+"="+v.cookies[name])
	}
	return strings.Join(pairs, "; ")
}

// named returns the names of the cookies that contain part, in order.
func (v *visitor) named(part string) []string {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(v.cookies)), func(name string) bool { return !strings.Contains(name, part) })
}

// attempt returns name and value of an attempt's cookie, or nothing.
func (v *visitor) attempt() string {
	for _, name := range v.named("-login-") {
		return name + "=" + v.cookies[name]
	}
	return ""
}

// clone is a thief with the same cookies.
func (v *visitor) clone() *visitor {
	return &visitor{handler: v.handler, header: v.header, cookies: maps.Clone(v.cookies)}
}
