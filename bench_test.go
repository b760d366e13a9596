package wechatgate_test

import (
	"crypto/hkdf"
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/securecookie"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wechatgate/wechatgate"
	"github.com/wechatgate/wechatgate/wechattest"
)

// nowhere is a response that costs nothing. Its header is emptied for each
// request, as a server makes a new one.
type nowhere struct{ header http.Header }

func (w *nowhere) Header() http.Header         { return w.header }
func (w *nowhere) Write(b []byte) (int, error) { return len(b), nil }
func (w *nowhere) WriteHeader(int)             {}

func (w *nowhere) reset() { clear(w.header) }

func serve(b *testing.B, handler http.Handler, r *http.Request) {
	b.Helper()
	w := &nowhere{header: http.Header{}}
	b.ReportAllocs()
	for b.Loop() {
		w.reset()
		handler.ServeHTTP(w, r)
	}
}

// benchGate is a gate on https with a signed-in visitor's Cookie header.
type benchGate struct {
	*wechatgate.Gate
	options wechatgate.Options
	cookie  string // the whole header
	value   string // of the session's cookie
}

func newBenchGate(tb testing.TB, change ...func(*wechatgate.Options)) benchGate {
	tb.Helper()
	fake := wechattest.NewServer()
	defer fake.Close()
	o := fake.Options("https://shop.example.com")
	for _, f := range change {
		f(&o)
	}
	gate, err := wechatgate.New(o)
	require.NoError(tb, err)
	g := benchGate{Gate: gate, options: o}
	handler := gate.Require(http.NotFoundHandler())

	// One sign-in by QR code, by hand, for openid and unionid.
	r := httptest.NewRequest(http.MethodGet, "/members", nil)
	r.Header = http.Header{"Accept": {"text/html"}, "User-Agent": {uaDesktop}}
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, r)
	client := fake.Browser(wechatgate.BrowserDesktop)
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	response, err := client.Get(w.Header().Get("Location"))
	require.NoError(tb, err)
	require.NoError(tb, response.Body.Close())
	r = httptest.NewRequest(http.MethodGet, response.Header.Get("Location"), nil)
	for _, c := range w.Result().Cookies() {
		r.AddCookie(&http.Cookie{Name: c.Name, Value: c.Value})
	}
	w = httptest.NewRecorder()
	handler.ServeHTTP(w, r)
	var pairs []string
	for _, c := range w.Result().Cookies() {
		if strings.Contains(c.Name, "-login-") || c.MaxAge < 0 {
			continue
		}
		pairs = append(pairs, c.Name+"="+c.Value)
		if c.Name == "__Host-wechatgate" {
			g.value = c.Value
		}
	}
	require.NotEmpty(tb, g.value, "signed in")
	g.cookie = strings.Join(pairs, "; ")
	return g
}

func (g benchGate) request(path string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, path, nil)
	r.Header = http.Header{"Cookie": {g.cookie}, "Accept": {"text/html"}, "User-Agent": {uaWeChat}}
	return r
}

var page204 = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })

// bareDecode is the least that a sealed session can cost: securecookie opens the
// same value, and the User is put into the context.
func bareDecode(tb testing.TB, g benchGate) http.Handler {
	tb.Helper()
	subkey := func(use string) []byte {
		key, err := hkdf.Key(sha256.New, g.options.SessionKeys[0], nil, "wechatgate v1 session "+use, 32)
		require.NoError(tb, err)
		return key
	}
	codec := securecookie.New(subkey("authentication"), subkey("encryption"))
	codec.SetSerializer(securecookie.NopEncoder{})
	codec.MaxAge(0)
	user, err := g.User(g.request("/"))
	require.NoError(tb, err)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var payload []byte
		if err := codec.Decode("__Host-wechatgate", g.value, &payload); err != nil {
			panic(err)
		}
		page204(w, r.WithContext(wechatgate.ContextWithUser(r.Context(), user)))
	})
}

func BenchmarkPage(b *testing.B) {
	g := newBenchGate(b)
	b.Run("bare handler", func(b *testing.B) { serve(b, page204, g.request("/")) })
	b.Run("bare decode", func(b *testing.B) { serve(b, bareDecode(b, g), g.request("/")) })
	b.Run("Require", func(b *testing.B) { serve(b, g.Require(page204), g.request("/")) })
	b.Run("Optional", func(b *testing.B) { serve(b, g.Optional(page204), g.request("/")) })
	b.Run("Optional, anonymous", func(b *testing.B) {
		serve(b, g.Optional(page204), httptest.NewRequest(http.MethodGet, "/", nil))
	})
	b.Run("Require, anonymous API request", func(b *testing.B) {
		serve(b, g.Require(page204), httptest.NewRequest(http.MethodGet, "/", nil))
	})
	b.Run("Require, anonymous navigation", func(b *testing.B) {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header = http.Header{"Accept": {"text/html"}, "User-Agent": {uaWeChat}}
		serve(b, g.Require(page204), r)
	})
	b.Run("Require, idle time, not due", func(b *testing.B) {
		g := newBenchGate(b, func(o *wechatgate.Options) { o.IdleTimeout = time.Hour })
		serve(b, g.Require(page204), g.request("/"))
	})
}

func BenchmarkPublic(b *testing.B) {
	for _, n := range []int{0, 10, 100} {
		g := newBenchGate(b, func(o *wechatgate.Options) {
			for i := range n {
				o.Public = append(o.Public, fmt.Sprintf("GET /public/%d/", i))
			}
		})
		b.Run(fmt.Sprintf("signed in, patterns=%d", n), func(b *testing.B) { serve(b, g.Require(page204), g.request("/members")) })
		b.Run(fmt.Sprintf("anonymous API, patterns=%d", n), func(b *testing.B) {
			serve(b, g.Require(page204), httptest.NewRequest(http.MethodGet, "/members", nil))
		})
	}
}

func BenchmarkKeys(b *testing.B) {
	for n := 1; n <= 5; n++ {
		g := newBenchGate(b)
		o := g.options
		for i := range n - 1 {
			o.SessionKeys = append([][]byte{[]byte(fmt.Sprintf("%032d", i))}, o.SessionKeys...)
		}
		gate, err := wechatgate.New(o)
		require.NoError(b, err)
		b.Run(fmt.Sprintf("the last of %d opens", n), func(b *testing.B) { serve(b, gate.Require(page204), g.request("/")) })
	}
}

func BenchmarkOtherCookies(b *testing.B) {
	g := newBenchGate(b)
	for _, n := range []int{0, 10, 50} {
		r := g.request("/")
		var others strings.Builder
		for i := range n {
			fmt.Fprintf(&others, "cookie%d=value%d; ", i, i)
		}
		r.Header.Set("Cookie", others.String()+g.cookie)
		b.Run(fmt.Sprintf("others=%d", n), func(b *testing.B) { serve(b, g.Require(page204), r) })
	}
}

// A later change must not lose what the page path was trimmed to.
func TestAllocationsOfAPage(t *testing.T) {
	g := newBenchGate(t)
	allocations := func(handler http.Handler, r *http.Request) float64 {
		w := &nowhere{header: http.Header{}}
		return testing.AllocsPerRun(100, func() {
			w.reset()
			handler.ServeHTTP(w, r)
		})
	}
	bare := allocations(bareDecode(t, g), g.request("/"))
	page := allocations(g.Require(page204), g.request("/"))
	t.Logf("bare decode %v, Require %v", bare, page)
	assert.LessOrEqual(t, page, bare*1.2, "a signed-in page")
	anonymous := allocations(g.Require(page204), httptest.NewRequest(http.MethodGet, "/", nil))
	t.Logf("anonymous API request %v", anonymous)
	assert.LessOrEqual(t, anonymous, 15.0, "an anonymous API request")
}
