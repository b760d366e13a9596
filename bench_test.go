package wechatgate_test

import (
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/securecookie"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wechatgate/wechatgate"
	"github.com/wechatgate/wechatgate/wechat"
)

// The module in bench/ compares these figures with what others need, and has a
// table of them.

// BenchmarkPage is what a request costs that asks for a page of the site.
func BenchmarkPage(b *testing.B) {
	g := newBenchGate(b, nil)
	idle := newBenchGate(b, func(o *wechatgate.Options) { o.IdleTimeout = time.Hour })
	profile := newBenchGate(b, knowsProfile)
	for _, row := range []struct {
		what    string
		handler http.Handler
		request *http.Request
		want    outcome
	}{
		{"bare handler", page204, g.page("/"), outcome{status: 204}},
		{"bare decode", bareDecode(b, g), g.page("/"), outcome{status: 204}},
		{"Require", g.Require(page204), g.page("/"), outcome{status: 204}},
		{"Require, seen lately", idle.Require(page204), idle.page("/"), outcome{status: 204}},
		{"Require, renewal due", idle.Require(page204), idle.pageSeen(b, 10*time.Minute), outcome{status: 204, setsCookie: true}},
		{"RequireProfile", profile.RequireProfile(page204), profile.page("/"), outcome{status: 204}},
		{"Optional", g.Optional(page204), g.page("/"), outcome{status: 204}},
		{"Optional, anonymous", g.Optional(page204), navigation("/"), outcome{status: 204}},
		{"Require, anonymous API request", g.Require(page204), apiRequest("/"), outcome{status: 401}},
		{"Require, anonymous navigation", g.Require(page204), navigation("/"), outcome{status: 302, setsCookie: true}},
	} {
		b.Run(row.what, func(b *testing.B) { serve(b, row.handler, row.request, row.want) })
	}
}

// BenchmarkSignIn is what a sign-in costs, without the time that WeChat takes.
func BenchmarkSignIn(b *testing.B) {
	g := newBenchGate(b, nil)
	b.Run("start", func(b *testing.B) {
		serve(b, g, navigation("/wechat/login?return_to=/members"), outcome{status: 302, setsCookie: true})
	})
	b.Run("callback", func(b *testing.B) {
		w := &nowhere{header: http.Header{}}
		b.ReportAllocs()
		for b.Loop() {
			b.StopTimer() // an attempt works once
			callback := begin(b, g.Gate)
			w.reset()
			b.StartTimer()
			g.ServeHTTP(w, callback)
			if w.status != http.StatusSeeOther {
				b.Fatalf("status %d", w.status)
			}
		}
	})
}

// BenchmarkPublic should be flat: net/http finds a pattern by a tree.
func BenchmarkPublic(b *testing.B) {
	for _, n := range []int{0, 10, 100} {
		g := newBenchGate(b, func(o *wechatgate.Options) {
			for i := range n {
				o.Public = append(o.Public, fmt.Sprintf("GET /public/%d/", i))
			}
		})
		handler := g.Require(page204)
		b.Run(fmt.Sprintf("signed in, patterns=%d", n), func(b *testing.B) {
			serve(b, handler, g.page("/members"), outcome{status: 204})
		})
		b.Run(fmt.Sprintf("anonymous API request, patterns=%d", n), func(b *testing.B) {
			serve(b, handler, apiRequest("/members"), outcome{status: 401})
		})
		if n == 0 {
			continue
		}
		b.Run(fmt.Sprintf("anonymous on a public page, patterns=%d", n), func(b *testing.B) {
			serve(b, handler, apiRequest(fmt.Sprintf("/public/%d/x", n-1)), outcome{status: 204})
		})
	}
}

// A later change must not lose what these paths were trimmed to.
func TestAllocations(t *testing.T) {
	if !countsAllocations {
		t.Skip("the race detector makes sync.Pool forget")
	}
	g := newBenchGate(t, nil)
	public := newBenchGate(t, func(o *wechatgate.Options) { o.Public = []string{"GET /public/"} })
	profile := newBenchGate(t, knowsProfile)
	other := newBenchGate(t, nil)
	require.Positive(t, allocations(bareDecode(t, g), g.page("/")))
	for _, row := range []struct {
		what    string
		handler http.Handler
		request *http.Request
		most    float64
	}{
		{"a browser seen lately costs the headers, the User's place in the context and the request that carries it", g.Require(page204), g.page("/"), 3},
		{"so does one on a page that needs a profile", profile.RequireProfile(page204), profile.page("/"), 3},
		{"so does one on a page that needs no sign-in", g.Optional(page204), g.page("/"), 3},
		{"so does one of a site with public pages", public.Require(page204), public.page("/"), 3},
		{"so does one whose cookie another instance sealed", other.Require(page204), g.page("/"), 3},
		{"an anonymous page that needs no sign-in costs the headers", g.Optional(page204), navigation("/"), 1},
		{"an anonymous API request costs the headers of its answer", g.Require(page204), apiRequest("/"), 5},
	} {
		got := allocations(row.handler, row.request)
		t.Logf("%s: %v of %v", row.what, got, row.most)
		assert.LessOrEqual(t, got, row.most, row.what)
	}
}

func allocations(handler http.Handler, r *http.Request) float64 {
	w := &nowhere{header: http.Header{}}
	return testing.AllocsPerRun(100, func() {
		w.reset()
		handler.ServeHTTP(w, r)
	})
}

// outcome is how one knows that a benchmark measures what it says.
type outcome struct {
	status     int
	setsCookie bool
}

func serve(b *testing.B, handler http.Handler, r *http.Request, want outcome) {
	b.Helper()
	w := &nowhere{header: http.Header{}}
	handler.ServeHTTP(w, r)
	require.Equal(b, want, outcome{w.status, len(w.header["Set-Cookie"]) > 0})
	b.ReportAllocs()
	for b.Loop() {
		w.reset()
		handler.ServeHTTP(w, r)
	}
}

// nowhere is a response that costs nothing. Its header is emptied for each
// request, as a server makes a new one.
type nowhere struct {
	header http.Header
	status int
}

func (w *nowhere) Header() http.Header         { return w.header }
func (w *nowhere) Write(b []byte) (int, error) { return len(b), nil }
func (w *nowhere) WriteHeader(status int)      { w.status = status }

func (w *nowhere) reset() { clear(w.header) }

var page204 = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })

// bareDecode is the least that a sealed session can cost: securecookie opens the
// same value, and the User is put into the context.
func bareDecode(tb testing.TB, g benchGate) http.Handler {
	tb.Helper()
	codec := codecOf(tb, g.options.SessionKeys[0], "session")
	user, err := g.User(g.page("/"))
	require.NoError(tb, err)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var payload []byte
		if err := codec.Decode(benchCookie, g.cookies[benchCookie], &payload); err != nil {
			panic(err)
		}
		page204(w, r.WithContext(wechatgate.ContextWithUser(r.Context(), user)))
	})
}

// codecOf opens and makes what a gate of newBenchGate seals for a purpose.
func codecOf(tb testing.TB, key []byte, purpose string) *securecookie.SecureCookie {
	tb.Helper()
	return codecFor(tb, "https://shop.example.com", key, purpose)
}

func codecFor(tb testing.TB, baseURL string, key []byte, purpose string) *securecookie.SecureCookie {
	tb.Helper()
	subkey := func(use string) []byte {
		derived, err := hkdf.Key(sha256.New, key, nil, "wechatgate v2\n"+purpose+"\n"+use+"\n"+baseURL+"\nwechatgate", 32)
		require.NoError(tb, err)
		return derived
	}
	codec := securecookie.New(subkey("authentication"), subkey("encryption"))
	codec.SetSerializer(securecookie.NopEncoder{})
	codec.MaxAge(0)
	return codec
}

const (
	benchCookie = "__Host-wechatgate"
	seenCookie  = "__Host-wechatgate-seen"
)

// benchGate is a gate that somebody has signed in to, with the cookies of that
// visitor. There is no network: WeChat is an http.RoundTripper.
type benchGate struct {
	*wechatgate.Gate
	options wechatgate.Options
	cookies map[string]string
}

func newBenchGate(tb testing.TB, change func(*wechatgate.Options)) benchGate {
	tb.Helper()
	g := benchGate{
		options: wechatgate.Options{
			BaseURL:         "https://shop.example.com",
			OfficialAccount: wechatgate.App{ID: "wx0123456789abcdef", Secret: "0123456789abcdef0123456789abcdef"},
			Website:         wechatgate.App{ID: "wxfedcba9876543210", Secret: "fedcba9876543210fedcba9876543210"},
			SessionKeys:     [][]byte{[]byte("0123456789abcdef0123456789abcdef")},
			HTTPClient:      &http.Client{Transport: weChatAnswer(tokenAnswer)},
			Logger:          slog.New(slog.DiscardHandler),
		},
		cookies: map[string]string{},
	}
	if change != nil {
		change(&g.options)
	}
	var err error
	g.Gate, err = wechatgate.New(g.options)
	require.NoError(tb, err)

	w := httptest.NewRecorder()
	g.ServeHTTP(w, begin(tb, g.Gate))
	for _, c := range w.Result().Cookies() {
		if c.Name == benchCookie || c.Name == seenCookie {
			g.cookies[c.Name] = c.Value
		}
	}
	require.NotEmpty(tb, g.cookies[benchCookie], "signed in")
	return g
}

func knowsProfile(o *wechatgate.Options) {
	o.OnLogin = func(_ *http.Request, login *wechatgate.Login) error {
		login.Profile = &wechat.Profile{Nickname: "小艾", AvatarURL: "https://thirdwx.qlogo.cn/mmopen/vi_32/" + strings.Repeat("A", 88) + "/132"}
		return nil
	}
}

// page returns the signed-in visitor's request.
func (g benchGate) page(target string) *http.Request {
	r := navigation(target)
	for name, value := range g.cookies {
		r.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	return r
}

// pageSeen returns the request of a visitor whose last one was so long ago.
func (g benchGate) pageSeen(tb testing.TB, ago time.Duration) *http.Request {
	tb.Helper()
	var session []byte
	key := g.options.SessionKeys[0]
	require.NoError(tb, codecOf(tb, key, "session").Decode(benchCookie, g.cookies[benchCookie], &session))
	sum := sha256.Sum256(session)
	signedIn := strings.Split(string(session), "\n")[5]
	seen := base64.RawURLEncoding.EncodeToString(sum[:12]) + "\n" + strconv.FormatInt(time.Now().Add(-ago).UnixMilli(), 36) + "\n" + signedIn
	value, err := codecOf(tb, key, "last seen").Encode(seenCookie, []byte(seen))
	require.NoError(tb, err)
	g.cookies = map[string]string{benchCookie: g.cookies[benchCookie], seenCookie: value}
	return g.page("/")
}

// begin starts a sign-in by QR code and returns the request with which WeChat
// sends the visitor back.
func begin(tb testing.TB, gate *wechatgate.Gate) *http.Request {
	tb.Helper()
	w := httptest.NewRecorder()
	r := navigation("/wechat/login?return_to=/members")
	r.Header.Set("User-Agent", uaDesktop)
	gate.ServeHTTP(w, r)
	location, err := url.Parse(w.Header().Get("Location"))
	require.NoError(tb, err)
	callback := navigation("/wechat/callback?code=benchmark&state=" + location.Query().Get("state"))
	for _, c := range w.Result().Cookies() {
		callback.AddCookie(c)
	}
	return callback
}

func navigation(target string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, target, nil)
	r.Header = http.Header{"Accept": {"text/html"}, "User-Agent": {uaWeChat}}
	return r
}

func apiRequest(target string) *http.Request {
	r := navigation(target)
	r.Header.Set("Accept", "application/json")
	return r
}

// tokenAnswer is WeChat's, with openid and unionid as long as they are there.
func tokenAnswer(r *http.Request) (*http.Response, error) {
	return answered(r, `{"access_token":"AT","expires_in":7200,"refresh_token":"RT",`+
		`"openid":"oBench0123456789abcdefghijkl","scope":"snsapi_login","unionid":"oUnion0123456789abcdefghijkl"}`)
}
