package wechatgate_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wechatgate/wechatgate"
	"github.com/wechatgate/wechatgate/wechat"
)

// The tests of this file run on a clock of their own, without a network: WeChat
// is a RoundTripper, and requests are handed to the gate.

// silentAPI answers as WeChat's API does, after a while.
type silentAPI struct {
	wait  time.Duration // -1: for ever
	calls atomic.Int64
	drip  bool // the body comes a byte a second
}

func (a *silentAPI) RoundTrip(r *http.Request) (*http.Response, error) {
	a.calls.Add(1)
	if a.wait != 0 {
		timeout := make(<-chan time.Time)
		if a.wait > 0 {
			timeout = time.After(a.wait)
		}
		select {
		case <-timeout:
		case <-r.Context().Done():
			return nil, r.Context().Err()
		}
	}
	const answer = `{"access_token":"AT","expires_in":7200,"refresh_token":"RT","openid":"oPerson","scope":"snsapi_base"}`
	var body io.Reader = strings.NewReader(answer)
	if a.drip {
		body = &drip{ctx: r.Context(), rest: answer}
	}
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(body), Request: r}, nil
}

type drip struct {
	ctx  context.Context
	rest string
}

func (d *drip) Read(p []byte) (int, error) {
	select {
	case <-time.After(time.Second):
	case <-d.ctx.Done():
		return 0, d.ctx.Err()
	}
	if d.rest == "" {
		return 0, io.EOF
	}
	n := copy(p[:1], d.rest)
	d.rest = d.rest[n:]
	return n, nil
}

// clockedSite is a gate on the test's clock.
type clockedSite struct {
	gate    *wechatgate.Gate
	handler http.Handler
	api     *silentAPI
	log     *logBuffer
}

func newClockedSite(t *testing.T, change ...func(*wechatgate.Options)) *clockedSite {
	t.Helper()
	s := &clockedSite{api: &silentAPI{}, log: &logBuffer{}}
	o := wechatgate.Options{
		BaseURL:         "https://shop.example.com",
		OfficialAccount: wechatgate.App{ID: "wx0123456789abcdef", Secret: "secret"},
		SessionKeys:     [][]byte{[]byte("0123456789abcdef0123456789abcdef")},
		HTTPClient:      &http.Client{Transport: s.api},
		Logger:          s.log.logger(),
	}
	for _, f := range change {
		f(&o)
	}
	var err error
	s.gate, err = wechatgate.New(o)
	require.NoError(t, err)
	s.handler = s.gate.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		u, _ := wechatgate.UserFromContext(r.Context())
		_, _ = io.WriteString(w, "hello "+u.OpenID)
	}))
	return s
}

// visitor is a browser whose cookies last as long as their Max-Age, unless it
// keeps them all.
type visitor struct {
	*clockedSite
	cookies map[string]string
	ends    map[string]time.Time
	keeps   bool
}

func (s *clockedSite) visitor() *visitor {
	return &visitor{clockedSite: s, cookies: map[string]string{}, ends: map[string]time.Time{}}
}

func (v *visitor) get(ctx context.Context, target string) *httptest.ResponseRecorder {
	r := httptest.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	r.Header = http.Header{"Accept": {"text/html"}, "User-Agent": {uaWeChat}}
	for name, value := range v.cookies {
		if v.keeps || time.Now().Before(v.ends[name]) {
			r.AddCookie(&http.Cookie{Name: name, Value: value})
		}
	}
	w := httptest.NewRecorder()
	v.handler.ServeHTTP(w, r)
	v.keep(w)
	return w
}

func (v *visitor) keep(w *httptest.ResponseRecorder) {
	for _, c := range w.Result().Cookies() {
		v.cookies[c.Name], v.ends[c.Name] = c.Value, time.Now().Add(time.Duration(c.MaxAge)*time.Second)
		if c.MaxAge < 0 {
			delete(v.cookies, c.Name)
		}
	}
}

// leave begins a sign-in and returns the address that WeChat sends back to.
func (v *visitor) leave(t *testing.T) string {
	t.Helper()
	u, err := url.Parse(v.get(t.Context(), "/members").Header().Get("Location"))
	require.NoError(t, err)
	return "/wechat/callback?code=CODE&state=" + u.Query().Get("state")
}

func (v *visitor) signIn(t *testing.T) {
	t.Helper()
	w := v.get(t.Context(), v.leave(t))
	require.Equal(t, http.StatusSeeOther, w.Code, w.Body.String())
}

func (v *visitor) isIn(t *testing.T) bool {
	t.Helper()
	return strings.Contains(v.get(t.Context(), "/members").Body.String(), "hello oPerson")
}

func TestSilenceEndsAfterTenSeconds(t *testing.T) {
	for name, api := range map[string]*silentAPI{"no answer": {wait: -1}, "a slow drip": {drip: true}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newClockedSite(t, func(o *wechatgate.Options) { o.HTTPClient = &http.Client{Transport: api} })
				v := s.visitor()
				back := v.leave(t)
				start := time.Now()
				w := v.get(t.Context(), back)
				assert.Equal(t, http.StatusBadGateway, w.Code)
				assert.Equal(t, wechat.Timeout, time.Since(start))
				assert.EqualValues(t, 1, api.calls.Load(), "no second call with the code")
				assert.Contains(t, s.log.String(), "deadline exceeded")
				assert.Empty(t, v.cookies, "neither session nor attempt")
			})
		})
	}
}

func TestVisitorWhoLeavesCancelsTheCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newClockedSite(t)
		s.api.wait = 5 * time.Second
		v := s.visitor()
		back := v.leave(t)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		v.get(ctx, back)
		synctest.Wait() // nothing is left running
		assert.Equal(t, time.Second, time.Since(start))
		assert.EqualValues(t, 1, s.api.calls.Load())
		assert.NotContains(t, v.cookies, "__Host-wechatgate")
	})
}

func TestFirstCallbackThatLeavesDoesNotFailTheSecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newClockedSite(t)
		s.api.wait = 5 * time.Second
		first := s.visitor()
		back := first.leave(t)
		second := s.visitor()
		for name, value := range first.cookies {
			second.cookies[name], second.ends[name] = value, first.ends[name]
		}
		go func() {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			first.get(ctx, back)
		}()
		synctest.Wait()
		w := second.get(t.Context(), back)
		assert.Equal(t, http.StatusSeeOther, w.Code)
		assert.Contains(t, second.cookies, "__Host-wechatgate")
		assert.EqualValues(t, 1, s.api.calls.Load())
	})
}

func TestOnLoginThatDoesNotListenIsNotWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		s := newClockedSite(t, func(o *wechatgate.Options) {
			o.OnLogin = func(*http.Request, *wechatgate.Login) error {
				<-release
				return nil
			}
		})
		v := s.visitor()
		back := v.leave(t)
		start := time.Now()
		assert.Equal(t, http.StatusBadGateway, v.get(t.Context(), back).Code)
		assert.Equal(t, 25*time.Second, time.Since(start))
		close(release)
		synctest.Wait()
		assert.False(t, v.isIn(t))
	})
}

// pass lets time go by, in a bubble.
func pass(d time.Duration) { <-time.After(d) }

// How sessions end is told in session_test.go.
func TestOptionsSayWhenSessionsEnd(t *testing.T) {
	for name, change := range map[string]func(*wechatgate.Options){
		"SessionLifetime": func(o *wechatgate.Options) { o.SessionLifetime = 2 * time.Hour },
		"IdleTimeout":     func(o *wechatgate.Options) { o.IdleTimeout = 2 * time.Hour },
	} {
		synctest.Test(t, func(t *testing.T) {
			v := newClockedSite(t, change).visitor()
			v.keeps = true // the cookies: the sealed times have to do
			v.signIn(t)
			pass(time.Hour)
			assert.Equal(t, name == "IdleTimeout", len(v.get(t.Context(), "/members").Header()["Set-Cookie"]) > 0, "a page view renews last-seen alone")
			pass(time.Hour)
			assert.Equal(t, name == "IdleTimeout", v.isIn(t), name)
			pass(2 * time.Hour)
			assert.False(t, v.isIn(t), name)
		})
	}
}

func TestQRCodeReadsNoProfileThatNoPageNeeds(t *testing.T) {
	var calls atomic.Int64
	s := newClockedSite(t, func(o *wechatgate.Options) {
		o.Website, o.OfficialAccount = o.OfficialAccount, wechatgate.App{}
		o.Flow = func(*http.Request, wechatgate.Browser) wechatgate.Flow { return wechatgate.FlowQR }
		o.HTTPClient = &http.Client{Transport: roundTripper(func(r *http.Request) *http.Response {
			calls.Add(1)
			return tokenAnswer(r) // with the scope that a QR code has
		})}
	})
	s.visitor().signIn(t)
	assert.EqualValues(t, 1, calls.Load())
}

func TestNoSilentSignInForADay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newClockedSite(t).visitor()
		v.signIn(t)
		r := httptest.NewRequest(http.MethodPost, "/wechat/logout", nil)
		w := httptest.NewRecorder()
		v.handler.ServeHTTP(w, r)
		clear(v.cookies)
		v.keep(w)
		assert.Equal(t, http.StatusUnauthorized, v.get(t.Context(), "/members").Code)
		pass(24*time.Hour - time.Second)
		assert.Equal(t, http.StatusUnauthorized, v.get(t.Context(), "/members").Code)
		pass(2 * time.Second)
		assert.Equal(t, http.StatusFound, v.get(t.Context(), "/members").Code)
	})
}

func TestThousandFailuresLeaveNothingBehind(t *testing.T) {
	s := newSite(t)
	for i := range 1000 {
		s.wechat.AnswerNext(wechat.OpExchange, []http.HandlerFunc{
			hangUp,
			func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>") },
			func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/", http.StatusFound) },
			func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"errcode":99999}`) },
		}[i%4])
	}
	b := newBrowser(t, s.wechat, uaWeChat)
	b.open(s.URL + "/members") // the browser's own connections stay
	before := runtime.NumGoroutine()
	for s.calls(wechat.OpExchange) < 1000 {
		b.open(fmt.Sprintf("%s/members/%d", s.URL, s.calls(wechat.OpExchange)))
	}
	require.Eventually(t, func() bool { return runtime.NumGoroutine() <= before+10 }, 10*time.Second, 10*time.Millisecond,
		"goroutines, and with them connections, are left")
}
