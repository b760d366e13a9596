package wechatgate_test

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wechatgate/wechatgate"
)

// What a gate remembers decides nothing: it answers every mixture of cookies as a
// gate that has seen none of them, whatever time it is.
func TestAGateThatRemembersAnswersAsANewOne(t *testing.T) {
	for what, change := range map[string]func(*wechatgate.Options){
		"as it is":     func(*wechatgate.Options) {},
		"idle time":    func(o *wechatgate.Options) { o.IdleTimeout = 20 * time.Minute },
		"public pages": func(o *wechatgate.Options) { o.Public = []string{"GET /{$}"} },
		"CheckSession": func(o *wechatgate.Options) {
			o.CheckSession = func(r *http.Request, u wechatgate.User) error {
				switch {
				case strings.HasSuffix(u.OpenID, "banned"):
					return wechatgate.ErrSessionRevoked
				case strings.HasSuffix(u.OpenID, "unknown"):
					return errors.New("the directory is away")
				}
				return nil
			}
		},
	} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { compareWithNew(t, change) })
		})
	}
}

func compareWithNew(t *testing.T, change func(*wechatgate.Options)) {
	t.Helper()
	options := wechatgate.Options{
		BaseURL:         "https://shop.example.com",
		OfficialAccount: wechatgate.App{ID: "wx0123456789abcdef", Secret: "0123456789abcdef0123456789abcdef"},
		SessionKeys:     [][]byte{[]byte("0123456789abcdef0123456789abcdef"), []byte("an older key of 32 bytes or more")},
		Logger:          slog.New(slog.DiscardHandler),
	}
	change(&options)
	remembers, err := wechatgate.New(options)
	require.NoError(t, err)
	values := sessionsOfAllKinds(t, options)
	var lines [][]string
	for _, a := range values {
		lines = append(lines, []string{a})
	}
	for _, a := range values {
		for i, b := range values {
			lines = append(lines, [][]string{{a, b}, {"x=y; " + a + "; " + b}}[i%2])
		}
	}
	// In the end, the first session is over by its lifetime.
	for _, wait := range []time.Duration{0, 10 * time.Minute, 15 * time.Minute, 7*24*time.Hour - 25*time.Minute} {
		pass(wait + time.Millisecond)
		for _, line := range lines {
			for name, ask := range waysIn {
				isNew, err := wechatgate.New(options)
				require.NoError(t, err)
				require.Equal(t, ask(isNew, line), ask(remembers, line), "%s, %v later, of %q", name, wait, line)
			}
		}
	}
}

// sessionsOfAllKinds returns cookies, good ones and others.
func sessionsOfAllKinds(t *testing.T, o wechatgate.Options) []string {
	t.Helper()
	now := time.Now()
	payload := func(app, openID string, at time.Time, unionID, profile, nickname string) string {
		return strings.Join([]string{"2", app, openID, unionID, "snsapi_base", strconv.FormatInt(at.UnixMilli(), 36), profile, nickname, "", "data"}, "\n")
	}
	app := o.OfficialAccount.ID
	sealed := func(base string, key []byte, payload string) string {
		value, err := codecFor(t, base, key, "session").Encode(benchCookie, []byte(payload))
		require.NoError(t, err)
		return benchCookie + "=" + value
	}
	here := func(payload string) string { return sealed(o.BaseURL, o.SessionKeys[0], payload) }
	good := here(payload(app, "oAlice", now, "oUnion", "2", "alice"))
	seen, err := codecFor(t, o.BaseURL, o.SessionKeys[0], "last seen").Encode(seenCookie, []byte("other\n"+strconv.FormatInt(now.UnixMilli(), 36)+"\n"+strconv.FormatInt(now.Add(-time.Hour).UnixMilli(), 36)))
	require.NoError(t, err)
	return []string{
		good,
		here(payload(app, "oBob", now, "", "0", "")),
		here(payload(app, "oBanned-banned", now, "oUnion", "1", "b")),
		here(payload(app, "oUnknown-unknown", now, "oUnion", "1", "c")),
		here(payload("wxgone", "oGone", now, "oUnion", "2", "gone")),
		here(payload(app, "oEarly", now.Add(5*time.Minute+time.Second), "oUnion", "2", "early")),
		here(payload(app, "oOld", now.Add(-7*24*time.Hour+12*time.Minute), "oUnion", "2", "old")),
		here("2\nrubbish"),
		sealed(o.BaseURL, o.SessionKeys[1], payload(app, "oOlderKey", now, "oUnion", "2", "older")),
		sealed(o.BaseURL, []byte("a key of nobody's, 32 bytes long"), payload(app, "oForged", now, "oUnion", "2", "forged")),
		sealed("https://other.example.com", o.SessionKeys[0], payload(app, "oElsewhere", now, "oUnion", "2", "elsewhere")),
		good[:len(good)-4],
		benchCookie + "=",
		seenCookie + "=" + seen,
	}
}

var waysIn = map[string]func(*wechatgate.Gate, []string) string{
	"Require":        func(g *wechatgate.Gate, c []string) string { return through(g.Require(tellAll), c, "/") },
	"RequireProfile": func(g *wechatgate.Gate, c []string) string { return through(g.RequireProfile(tellAll), c, "/") },
	"RequireUnionID": func(g *wechatgate.Gate, c []string) string { return through(g.RequireUnionID(tellAll), c, "/") },
	"Optional":       func(g *wechatgate.Gate, c []string) string { return through(g.Optional(tellAll), c, "/") },
	"user":           func(g *wechatgate.Gate, c []string) string { return through(g, c, "/wechat/user") },
	"logout":         func(g *wechatgate.Gate, c []string) string { return through(g, c, "/wechat/logout") },
	"User": func(g *wechatgate.Gate, c []string) string {
		u, err := g.User(with(c, "/"))
		return fmt.Sprint(u, err)
	},
	"Check": func(g *wechatgate.Gate, c []string) string {
		w := httptest.NewRecorder()
		u, err := g.CheckProfile(w, with(c, "/"))
		return fmt.Sprint(u, err, cookieNames(w))
	},
	"SignOut": func(g *wechatgate.Gate, c []string) string {
		w := httptest.NewRecorder()
		err := g.SignOut(w, with(c, "/"))
		return fmt.Sprint(err, cookieNames(w))
	},
}

func with(lines []string, target string) *http.Request {
	r := apiRequest(target)
	r.Header["Cookie"] = lines
	return r
}

func through(h http.Handler, lines []string, target string) string {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, with(lines, target))
	body, _ := io.ReadAll(w.Result().Body)
	if w.Code >= 500 {
		body = nil // a reference
	}
	return fmt.Sprint(w.Code, string(body), cookieNames(w), w.Header()["Vary"], w.Header()["Cache-Control"])
}

func cookieNames(w *httptest.ResponseRecorder) (names []string) {
	for _, c := range w.Result().Cookies() {
		names = append(names, fmt.Sprint(c.Name, c.MaxAge))
	}
	return names
}

var tellAll = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	u, ok := wechatgate.UserFromContext(r.Context())
	fmt.Fprint(w, u, u.Data, ok)
})

// A remembered session is shared by requests. What a handler or a hook does to what
// it was given reaches no other request.
func TestHandlersCannotChangeWhatOthersSee(t *testing.T) {
	hooks := func(o *wechatgate.Options) {
		o.OnLogout = func(_ *http.Request, u wechatgate.User) { u.OpenID = "changed" }
		o.CheckSession = func(_ *http.Request, u wechatgate.User) error {
			u.OpenID = "changed"
			return nil
		}
	}
	for _, change := range []func(*wechatgate.Options){nil, hooks} {
		g := newBenchGate(t, change)
		cookies := g.visitors(t, 50)
		var group sync.WaitGroup
		for k := range 8 {
			group.Go(func() {
				for i := range 300 {
					n := (i*7 + k) % len(cookies)
					want := fmt.Sprintf("oLVPpjqs9BhvzwPj5A-%09d", n)
					request := func() *http.Request {
						r := navigation("/")
						r.Header.Set("Cookie", cookies[n])
						return r
					}
					g.Require(g.Optional(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						u, _ := wechatgate.UserFromContext(r.Context())
						assert.Equal(t, want, u.OpenID)
						assert.Equal(t, []string{"Cookie"}, w.Header()["Vary"])
						u.OpenID, u.ExpiresAt = "changed", time.Time{}
						w.Header()["Vary"][0] = "changed"
						r.Header.Set("Cookie", "changed")
					}))).ServeHTTP(httptest.NewRecorder(), request())
					assert.NoError(t, g.SignOut(httptest.NewRecorder(), request()))
				}
			})
		}
		group.Wait()
	}
}
