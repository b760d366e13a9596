package wechatgate_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wechatgate/wechatgate"
	"github.com/wechatgate/wechatgate/internal/pipetest"
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
	response, err := answered(r, signsIn)
	if a.drip {
		response.Body = io.NopCloser(&drip{ctx: r.Context(), rest: signsIn})
	}
	return response, err
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

func (s *clockedSite) visitor() *visitor { return newVisitor(s.handler, uaWeChat) }

func TestSilenceEndsAfterTenSeconds(t *testing.T) {
	for name, api := range map[string]*silentAPI{"no answer": {wait: -1}, "a slow drip": {drip: true}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newClockedSite(t, func(o *wechatgate.Options) { o.HTTPClient = &http.Client{Transport: api} })
				v := s.visitor()
				back := v.leave(t)
				start := time.Now()
				w := v.open(back)
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
		second := first.clone()
		go func() {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			first.get(ctx, back)
		}()
		synctest.Wait()
		w := second.open(back)
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
		assert.Equal(t, http.StatusBadGateway, v.open(back).Code)
		assert.Equal(t, 25*time.Second, time.Since(start))
		close(release)
		synctest.Wait()
		assert.False(t, v.isIn())
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
			v.signIn(t)
			pass(time.Hour)
			assert.Equal(t, name == "IdleTimeout", len(v.open("/members").Header()["Set-Cookie"]) > 0, "a page view renews last-seen alone")
			pass(time.Hour)
			assert.Equal(t, name == "IdleTimeout", v.isIn(), name)
			pass(2 * time.Hour)
			assert.False(t, v.isIn(), name)
		})
	}
}

func TestQRCodeReadsNoProfileThatNoPageNeeds(t *testing.T) {
	var calls atomic.Int64
	s := newClockedSite(t, func(o *wechatgate.Options) {
		o.Website, o.OfficialAccount = o.OfficialAccount, wechatgate.App{}
		o.Flow = func(*http.Request, wechatgate.Browser) wechatgate.Flow { return wechatgate.FlowQR }
		o.HTTPClient = &http.Client{Transport: weChatAnswer(func(r *http.Request) (*http.Response, error) {
			calls.Add(1)
			return tokenAnswer(r) // with the scope that a QR code has
		})}
	})
	s.visitor().signIn(t)
	assert.EqualValues(t, 1, calls.Load())
}

func TestNoSilentSignInForADay(t *testing.T) {
	v := newClockedSite(t).visitor()
	v.signIn(t)
	marker := v.signOut(t).Result().Cookies()
	marker = slices.DeleteFunc(marker, func(c *http.Cookie) bool { return c.MaxAge < 0 })
	require.Len(t, marker, 1)
	assert.Equal(t, 24*60*60, marker[0].MaxAge)
	assert.Equal(t, http.StatusUnauthorized, v.open("/members").Code)
	delete(v.cookies, marker[0].Name) // a day later
	assert.Equal(t, http.StatusFound, v.open("/members").Code)
}

// Anybody can begin a form and never end it. A server without ReadTimeout would wait
// for ever; one whose ReadTimeout is shorter than the gate's waits that long.
func TestFormsThatDoNotEnd(t *testing.T) {
	for what, row := range map[string]struct {
		target              string
		readTimeout, answer time.Duration
	}{
		"a form that is kept":                  {"/members", 0, time.Minute},
		"a sign-out":                           {"/wechat/logout", 0, time.Minute},
		"a code":                               {"/wechat/code", 0, time.Minute},
		"a form at a server that waits longer": {"/members", time.Hour, time.Minute},
		"a form at a server that waits less":   {"/members", 10 * time.Second, 10 * time.Second},
	} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newClockedSite(t, func(o *wechatgate.Options) { o.CodeSignIn.Scan = true })
				client := pipetest.Dial(t, &http.Server{Handler: s.handler, ReadTimeout: row.readTimeout})
				_, err := io.WriteString(client, post(row.target, 1000, "return_to="))
				require.NoError(t, err)
				start := time.Now()
				answer, err := io.ReadAll(client)
				require.NoError(t, err)
				assert.Regexp(t, "^HTTP/1.1 [34]", string(answer))
				assert.Equal(t, row.answer, time.Since(start).Truncate(time.Second))
			})
		})
	}
}

// The limit is for a form that the gate reads, and not for its connection, nor for
// what goes to the site.
func TestFormsTimeIsItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newClockedSite(t)
		v := s.visitor()
		v.signIn(t)
		site := s.gate.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			n, err := io.Copy(io.Discard, r.Body)
			fmt.Fprint(w, n, err, r.Context().Err())
		}))
		client := pipetest.Dial(t, &http.Server{Handler: site})
		answers := bufio.NewReader(client)
		read := func() (int, string) {
			response, err := http.ReadResponse(answers, nil)
			require.NoError(t, err)
			body, err := io.ReadAll(response.Body)
			require.NoError(t, err)
			return response.StatusCode, string(body)
		}
		_, err := io.WriteString(client, post("/members", 10, "return_to="))
		require.NoError(t, err)
		status, _ := read()
		require.Equal(t, http.StatusUnauthorized, status, "the form is kept")
		pass(5 * time.Minute)
		_, err = io.WriteString(client, post("/upload", 180, "", "Cookie: "+v.cookieLine()))
		require.NoError(t, err)
		for range 180 {
			pass(time.Second)
			_, err = io.WriteString(client, "x")
			require.NoError(t, err)
		}
		status, body := read()
		assert.Equal(t, http.StatusOK, status)
		assert.Equal(t, "180 <nil> <nil>", body)
	})
}

// post is a person's form for a page, of so many bytes.
func post(target string, length int, begins string, headers ...string) string {
	headers = append([]string{
		"POST " + target + " HTTP/1.1", "Host: shop.example.com", "Origin: https://shop.example.com",
		"Accept: text/html", "Content-Type: application/x-www-form-urlencoded", fmt.Sprint("Content-Length: ", length),
	}, headers...)
	return strings.Join(headers, "\r\n") + "\r\n\r\n" + begins
}

// Sign-ins that this browser finished count against the next one, so that loops
// end. A sign-out is no loop, wherever it is answered.
func TestSignOutOnAMachineWhoseClockIsAheadLeavesNoFinishedSignIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newClockedSite(t).visitor()
		v.signIn(t)
		require.NotEmpty(t, v.named("-login-"))
		time.Sleep(4 * time.Minute)
		v.signOut(t)
		assert.Empty(t, v.named("-login-"))
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
	require.Eventually(t, func() bool { return runtime.NumGoroutine() <= before+10 }, time.Minute, 10*time.Millisecond,
		"goroutines, and with them connections, are left")
}
