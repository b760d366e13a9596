package account_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wechatgate/wechatgate/wechat"
	"github.com/wechatgate/wechatgate/wechat/account"
)

var testApp = wechat.App{ID: "wx0123456789abcdef", Secret: "0f1e2d3c4b5a69788796a5b4c3d2e1f0"}

const (
	opToken     = "stable_token"
	opFollower  = "user/info"
	opFollowers = "user/info/batchget"
	opTicket    = "ticket/getticket"
	testPage    = "https://shop.example.com/cards?id=7"
)

// fake answers as WeChat does, without a network, unless a test says otherwise
// for an op.
type fake struct {
	mu    sync.Mutex
	calls []call
	says  map[string]func(n int, c call) (string, error) // n counts the op's calls from 1
	log   strings.Builder
}

type call struct {
	op, method, address, token, body string
	at                               time.Time
	ctx                              context.Context
	request                          *http.Request
}

func newFake() (*fake, *account.Account) {
	f := &fake{says: map[string]func(int, call) (string, error){}}
	a := account.New(testApp, wechat.Client{HTTP: &http.Client{Transport: f}})
	a.Logger = slog.New(slog.NewTextHandler(&f.log, nil))
	return f, a
}

func (f *fake) RoundTrip(r *http.Request) (*http.Response, error) {
	c := call{
		op:     strings.TrimPrefix(r.URL.Path, "/cgi-bin/"),
		method: r.Method, address: r.URL.String(), token: r.URL.Query().Get("access_token"),
		at: time.Now(), ctx: r.Context(), request: r,
	}
	if r.Body != nil {
		body, _ := io.ReadAll(r.Body)
		c.body = string(body)
	}
	f.mu.Lock()
	f.calls = append(f.calls, c)
	n := 0
	for _, earlier := range f.calls {
		if earlier.op == c.op {
			n++
		}
	}
	say := f.says[c.op]
	f.mu.Unlock()
	if say == nil {
		say = usual
	}
	text, err := say(n, c)
	if err != nil {
		return nil, err
	}
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"text/plain"}}, Body: io.NopCloser(strings.NewReader(text)), Request: r}, nil
}

// usual is what WeChat says when all is well, with a new token and ticket each
// time.
func usual(n int, c call) (string, error) {
	switch c.op {
	case opToken:
		return fmt.Sprintf(`{"access_token":"TOKEN-%d","expires_in":7200}`, n), nil
	case opTicket:
		return fmt.Sprintf(`{"errcode":0,"errmsg":"ok","ticket":"TICKET-%d","expires_in":7200}`, n), nil
	case opFollower:
		return person(c.request.URL.Query().Get("openid")), nil
	case opFollowers:
		var asked struct {
			List []struct {
				OpenID string `json:"openid"`
			} `json:"user_list"`
		}
		_ = json.Unmarshal([]byte(c.body), &asked)
		var people []string
		for _, user := range asked.List {
			people = append([]string{person(user.OpenID)}, people...) // another order than asked
		}
		return `{"user_info_list":[` + strings.Join(people, ",") + `]}`, nil
	}
	return `{"errcode":0,"errmsg":"ok"}`, nil
}

func person(openID string) string {
	return `{"subscribe":1,"openid":"` + openID + `","unionid":"u` + openID + `","subscribe_time":1700000000,"subscribe_scene":"ADD_SCENE_QR_CODE","remark":"a` + "\x01" + `b"}`
}

func refusal(code int) string {
	return fmt.Sprintf(`{"errcode":%d,"errmsg":"no, rid: 65a1b2c3-0d4e5f60-718293a4"}`, code)
}

// from makes an op give the answers in turn; the last one stays.
func (f *fake) from(op string, answers ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.says[op] = func(n int, _ call) (string, error) { return answers[min(n, len(answers))-1], nil }
}

func (f *fake) when(op string, say func(n int, c call) (string, error)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.says[op] = say
}

// hangs is a server that never answers.
func hangs(_ int, c call) (string, error) {
	<-c.ctx.Done()
	return "", c.ctx.Err()
}

var errDial = &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("connection refused")}

func offline(int, call) (string, error) { return "", errDial }

func (f *fake) made(op string) []call {
	f.mu.Lock()
	defer f.mu.Unlock()
	var made []call
	for _, c := range f.calls {
		if c.op == op {
			made = append(made, c)
		}
	}
	return made
}

func (f *fake) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.calls)
}

func (f *fake) records() int { return strings.Count(f.log.String(), "\n") }

func codeOf(err error) int {
	var e *wechat.Error
	if errors.As(err, &e) {
		return e.Code
	}
	return 0
}

func requireToken(t *testing.T, a *account.Account, want string) {
	t.Helper()
	token, err := a.Token(t.Context())
	require.NoError(t, err)
	require.Equal(t, want, token)
}

func TestTheTokenCallIsTheStableOne(t *testing.T) {
	f, a := newFake()
	requireToken(t, a, "TOKEN-1")
	calls := f.made(opToken)
	require.Len(t, calls, 1)
	assert.Equal(t, "POST https://api.weixin.qq.com/cgi-bin/stable_token", calls[0].method+" "+calls[0].address)
	assert.JSONEq(t, `{"grant_type":"client_credential","appid":"wx0123456789abcdef","secret":"0f1e2d3c4b5a69788796a5b4c3d2e1f0","force_refresh":false}`, calls[0].body)
	assert.Equal(t, "application/json; charset=utf-8", calls[0].request.Header.Get("Content-Type"))
}

func TestAThousandOnAColdAccountMakeOneCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, a := newFake()
		f.when(opToken, func(n int, c call) (string, error) { time.Sleep(2 * time.Second); return usual(n, c) })
		var all sync.WaitGroup
		for range 1000 {
			all.Go(func() {
				token, err := a.Token(t.Context())
				assert.NoError(t, err)
				assert.Equal(t, "TOKEN-1", token)
			})
		}
		all.Wait()
		assert.Equal(t, 1, f.count())
		for range 1000 {
			all.Go(func() {
				_, err := a.JSConfig(t.Context(), testPage)
				assert.NoError(t, err)
			})
		}
		all.Wait()
		assert.Equal(t, 2, f.count())
	})
}

func TestTheFetchOutlivesTheOneWhoBeganIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, a := newFake()
		f.when(opToken, func(n int, c call) (string, error) {
			select {
			case <-time.After(3 * time.Second):
				return usual(n, c)
			case <-c.ctx.Done():
				return "", c.ctx.Err()
			}
		})
		impatient, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		_, err := a.Token(impatient)
		require.Equal(t, context.DeadlineExceeded, err, "who leaves gets their own context's error")
		require.Equal(t, time.Second, time.Since(began))
		requireToken(t, a, "TOKEN-1")
		require.Equal(t, 3*time.Second, time.Since(began))
		require.Equal(t, 1, f.count())

		gone, leave := context.WithCancel(t.Context())
		leave()
		_, cold := newFake()
		_, err = cold.Token(gone)
		require.Equal(t, context.Canceled, err)
	})
}

func TestAFetchHasTenSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, a := newFake()
		f.when(opToken, hangs)
		began := time.Now()
		_, err := a.Token(t.Context())
		var e *wechat.Error
		require.ErrorAs(t, err, &e)
		assert.True(t, e.Timeout())
		assert.Equal(t, opToken, e.Op)
		assert.Equal(t, 10*time.Second, time.Since(began))
		assert.Equal(t, 1, f.records())

		f, a = newFake()
		f.when(opToken, func(n int, c call) (string, error) {
			if n == 1 {
				time.Sleep(8 * time.Second)
				return refusal(-1), nil
			}
			return hangs(n, c)
		})
		began = time.Now()
		_, err = a.Token(t.Context())
		require.Error(t, err)
		assert.Equal(t, 10*time.Second, time.Since(began), "the repetition included")
	})
}

func TestWhoLeavesGetsTheirContextsError(t *testing.T) {
	for _, op := range []string{opToken, opTicket, opFollower, opFollowers, "menu/get"} {
		synctest.Test(t, func(t *testing.T) {
			f, a := newFake()
			f.when(op, hangs)
			for name, ask := range map[string]func(context.Context) error{
				opToken:     func(ctx context.Context) error { _, err := a.Token(ctx); return err },
				opTicket:    func(ctx context.Context) error { _, err := a.JSConfig(ctx, testPage); return err },
				opFollower:  func(ctx context.Context) error { _, err := a.Follower(ctx, "oX"); return err },
				opFollowers: func(ctx context.Context) error { _, err := a.Followers(ctx, "oX"); return err },
				"menu/get":  func(ctx context.Context) error { return a.Call(ctx, "/cgi-bin/menu/get", nil, nil) },
			} {
				if op != opToken && op != name {
					continue
				}
				began := time.Now()
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				assert.Equal(t, context.DeadlineExceeded, ask(ctx), "%s while %s hangs", name, op)
				cancel()
				assert.Equal(t, time.Second, time.Since(began))
			}
			time.Sleep(10 * time.Second) // until the fetch has ended
		})
	}
}

func TestRenewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, a := newFake()
		requireToken(t, a, "TOKEN-1")
		time.Sleep(6900*time.Second - 1)
		requireToken(t, a, "TOKEN-1")
		synctest.Wait()
		require.Equal(t, 1, f.count(), "not before 300 s are left")

		f.when(opToken, func(n int, c call) (string, error) { time.Sleep(5 * time.Second); return usual(n, c) })
		time.Sleep(time.Nanosecond)
		before := time.Now()
		for range 100 {
			requireToken(t, a, "TOKEN-1") // the old one serves meanwhile
		}
		require.Equal(t, before, time.Now(), "nobody waits")
		time.Sleep(6 * time.Second)
		requireToken(t, a, "TOKEN-2")
		require.Equal(t, 2, f.count(), "one call in the background")
		time.Sleep(6893 * time.Second)
		requireToken(t, a, "TOKEN-2")
		synctest.Wait()
		require.Equal(t, 2, f.count(), "the new token's own time counts")
		time.Sleep(time.Second)
		requireToken(t, a, "TOKEN-2")
		synctest.Wait()
		require.Equal(t, 3, f.count(), "from when it was asked for")
		time.Sleep(5 * time.Second)
	})
}

// While WeChat has not renewed, it hands out the same token with the time that is
// left.
func TestRenewalsAreThirtySecondsApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, a := newFake()
		began := time.Now()
		f.when(opToken, func(int, call) (string, error) {
			return fmt.Sprintf(`{"access_token":"SAME","expires_in":%d}`, 400-int(time.Since(began).Seconds())), nil
		})
		for range 400 {
			requireToken(t, a, "SAME")
			time.Sleep(time.Second - 1)
		}
		calls := f.made(opToken)
		require.Len(t, calls, 11) // at 0 s, and 100 s to 399 s
		for i, c := range calls[1:] {
			assert.GreaterOrEqual(t, c.at.Sub(calls[i].at), 30*time.Second)
		}
	})
}

func TestAFailedRenewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, a := newFake()
		requireToken(t, a, "TOKEN-1")
		f.from(opToken, refusal(45009))
		time.Sleep(6927 * time.Second)
		for range 272 * 10 { // to 7,199 s
			requireToken(t, a, "TOKEN-1")
			synctest.Wait()
			time.Sleep(100 * time.Millisecond)
		}
		require.Equal(t, 1+10, f.count(), "every 30 s")
		require.Equal(t, 10, f.records(), "one record for each")

		time.Sleep(time.Second) // the token has ended; the last renewal was 3 s ago
		_, err := a.Token(t.Context())
		require.Equal(t, 45009, codeOf(err))
		require.Equal(t, 1+11, f.count(), "fetched, although a renewal has just failed")
		_, err = a.Token(t.Context())
		require.Equal(t, 45009, codeOf(err))
		require.Equal(t, 1+11, f.count(), "this fetch's own failure is remembered")

		f.when(opToken, usual)
		time.Sleep(5 * time.Second)
		requireToken(t, a, "TOKEN-13")
	})
}

func TestAnEndedTokenIsNotServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, a := newFake()
		f.from(opToken, `{"access_token":"SHORT","expires_in":10}`, `{"access_token":"NEXT","expires_in":7200}`)
		requireToken(t, a, "SHORT")
		time.Sleep(10*time.Second - 1)
		requireToken(t, a, "SHORT")
		time.Sleep(time.Nanosecond)
		requireToken(t, a, "NEXT")
		require.Equal(t, 2, f.count())
	})
}

func TestFailuresAreRemembered(t *testing.T) {
	for _, tt := range []struct {
		name string
		say  func(int, call) (string, error)
		kept time.Duration
	}{
		{"no network", offline, 5 * time.Second},
		{"a broken answer", func(int, call) (string, error) { return "<html>", nil }, 5 * time.Second},
		{"busy", func(int, call) (string, error) { return refusal(-1), nil }, 5 * time.Second},
		{"too many calls", func(int, call) (string, error) { return refusal(45009), nil }, 5 * time.Second},
		{"a transport that panics", func(int, call) (string, error) { panic("oh") }, 5 * time.Second},
		{"a transport that ends its goroutine", func(int, call) (string, error) { runtime.Goexit(); return "", nil }, 5 * time.Second},
		{"wrong secret", func(int, call) (string, error) { return refusal(40125), nil }, 30 * time.Second},
		{"wrong secret, another way", func(int, call) (string, error) { return refusal(40001), nil }, 30 * time.Second},
		{"wrong ID", func(int, call) (string, error) { return refusal(40013), nil }, 30 * time.Second},
		{"IP address", func(int, call) (string, error) { return refusal(40164), nil }, 30 * time.Second},
		{"frozen secret", func(int, call) (string, error) { return refusal(40243), nil }, 30 * time.Second},
	} {
		for _, op := range []string{opToken, opTicket} {
			if op == opTicket && (tt.name == "wrong secret, another way") {
				continue // 40001 is about the token there
			}
			t.Run(tt.name+" on "+op, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					f, a := newFake()
					f.when(op, tt.say)
					ask := func() error {
						_, err := a.JSConfig(t.Context(), testPage)
						if op == opToken {
							_, alone := a.Token(t.Context())
							require.Equal(t, err, alone)
						}
						return err
					}
					first := ask()
					var e *wechat.Error
					require.ErrorAs(t, first, &e)
					require.Equal(t, op, e.Op)
					calls := f.count()
					for range 100 { // a flood from a public page
						require.Equal(t, first, ask())
					}
					time.Sleep(tt.kept - 1)
					require.Equal(t, first, ask())
					require.Equal(t, calls, f.count(), "no call while the failure is remembered")
					require.Equal(t, 1, f.records(), "one log record for a failed fetch: %s", f.log.String())
					time.Sleep(time.Nanosecond)
					f.when(op, usual)
					require.NoError(t, ask())
				})
			})
		}
	}
}

func TestLogRecords(t *testing.T) {
	f, a := newFake()
	f.from(opToken, refusal(40164))
	_, err := a.Token(t.Context())
	require.Error(t, err)
	assert.Contains(t, f.log.String(), "level=ERROR")
	for _, attr := range []string{"app_id=wx0123456789abcdef", "op=stable_token", "errcode=40164", "rid=65a1b2c3-0d4e5f60-718293a4", "hint=", "IP白名单"} {
		assert.Contains(t, f.log.String(), attr)
	}

	f, a = newFake()
	f.from(opFollower, refusal(48001))
	_, err = a.Follower(t.Context(), "oX")
	require.Equal(t, 48001, codeOf(err))
	assert.Empty(t, f.log.String(), "a call's error is its caller's to log")
}

// A fetch has no request's goroutine, in which net/http would contain a panic.
func TestALoggerThatPanicsEndsNoProcess(t *testing.T) {
	f, a := newFake()
	f.from(opToken, refusal(40125))
	a.Logger = slog.New(slog.NewTextHandler(&f.log, &slog.HandlerOptions{
		ReplaceAttr: func([]string, slog.Attr) slog.Attr { panic("the Logger's own") },
	}))
	for range 2 {
		_, err := a.Token(t.Context())
		assert.Equal(t, 40125, codeOf(err))
	}
	assert.Len(t, f.made(opToken), 1, "the failure is remembered as ever")
}

func TestBusyAndUnsentCallsAreRepeatedOnce(t *testing.T) {
	asks := map[string]func(context.Context, *account.Account) error{
		opToken:     func(ctx context.Context, a *account.Account) error { _, err := a.Token(ctx); return err },
		opTicket:    func(ctx context.Context, a *account.Account) error { _, err := a.JSConfig(ctx, testPage); return err },
		opFollower:  func(ctx context.Context, a *account.Account) error { _, err := a.Follower(ctx, "oX"); return err },
		opFollowers: func(ctx context.Context, a *account.Account) error { _, err := a.Followers(ctx, "oX"); return err },
		"menu/create": func(ctx context.Context, a *account.Account) error {
			return a.Call(ctx, "/cgi-bin/menu/create", 1, nil)
		},
		"menu/get": func(ctx context.Context, a *account.Account) error { return a.Call(ctx, "/cgi-bin/menu/get", nil, nil) },
	}
	for _, tt := range []struct {
		name  string
		say   func(int, call) (string, error)
		again bool
	}{
		{"busy", func(int, call) (string, error) { return refusal(-1), nil }, true},
		{"never connected", offline, true},
		{"cut off", func(int, call) (string, error) { return "", io.ErrUnexpectedEOF }, false},
		{"another errcode", func(int, call) (string, error) { return refusal(45011), nil }, false},
		{"no answer", hangs, false},
	} {
		for op, ask := range asks {
			t.Run(tt.name+" on "+op, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					f, a := newFake()
					f.when(op, tt.say)
					began := time.Now()
					require.Error(t, ask(t.Context(), a))
					require.LessOrEqual(t, time.Since(began), 10*time.Second)
					calls := f.made(op)
					if !tt.again || strings.HasPrefix(op, "menu/") {
						require.Len(t, calls, 1)
						return
					}
					require.Len(t, calls, 2)
					require.Equal(t, 300*time.Millisecond, calls[1].at.Sub(calls[0].at))

					f, a = newFake()
					f.when(op, func(n int, c call) (string, error) {
						if n == 1 {
							return tt.say(n, c)
						}
						return usual(n, c)
					})
					require.NoError(t, ask(t.Context(), a))
				})
			})
		}
	}
}

func TestARefusedTokenIsReplacedOnce(t *testing.T) {
	good := func(tokens ...string) func(int, call) (string, error) {
		return func(n int, c call) (string, error) {
			if slices.Contains(tokens, c.token) {
				return usual(n, c)
			}
			return refusal(40001), nil
		}
	}
	t.Run("each errcode on each call", func(t *testing.T) {
		for _, code := range []int{40001, 40014, 42001} {
			for op, ask := range map[string]func(*account.Account) error{
				opFollower:    func(a *account.Account) error { _, err := a.Follower(t.Context(), "oX"); return err },
				opFollowers:   func(a *account.Account) error { _, err := a.Followers(t.Context(), "oX"); return err },
				opTicket:      func(a *account.Account) error { _, err := a.JSConfig(t.Context(), testPage); return err },
				"menu/create": func(a *account.Account) error { return a.Call(t.Context(), "/cgi-bin/menu/create", 1, nil) },
			} {
				f, a := newFake()
				f.when(op, func(n int, c call) (string, error) {
					if n == 1 {
						return refusal(code), nil
					}
					return usual(n, c)
				})
				require.NoError(t, ask(a), op)
				calls := f.made(op)
				require.Len(t, calls, 2, op)
				assert.Equal(t, "TOKEN-1", calls[0].token)
				assert.Equal(t, "TOKEN-2", calls[1].token)
				for _, c := range f.made(opToken) {
					assert.Contains(t, c.body, `"force_refresh":false`)
				}
			}
		}
	})
	t.Run("by all at once", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			f, a := newFake()
			f.when(opToken, func(n int, c call) (string, error) { time.Sleep(time.Second); return usual(n, c) })
			f.when(opFollower, good("TOKEN-2"))
			var all sync.WaitGroup
			for range 100 {
				all.Go(func() {
					_, err := a.Follower(t.Context(), "oX")
					assert.NoError(t, err)
				})
			}
			all.Wait()
			assert.Len(t, f.made(opToken), 2)
			assert.Len(t, f.made(opFollower), 200)
		})
	})
	t.Run("and then refused as well", func(t *testing.T) {
		f, a := newFake()
		f.when(opFollower, good())
		_, err := a.Follower(t.Context(), "oX")
		require.Equal(t, 40001, codeOf(err))
		require.Len(t, f.made(opFollower), 2)
		require.Len(t, f.made(opToken), 2)
	})
	t.Run("given out again", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			f, a := newFake()
			f.from(opToken, `{"access_token":"SAME","expires_in":7200}`)
			f.when(opFollower, good())
			ask := func() {
				t.Helper()
				_, err := a.Follower(t.Context(), "oX")
				require.Equal(t, 40001, codeOf(err))
			}
			ask()
			require.Len(t, f.made(opFollower), 1, "not with the same token again")
			require.Len(t, f.made(opToken), 2)
			for range 100 {
				ask()
			}
			time.Sleep(30*time.Second - 1)
			ask()
			require.Len(t, f.made(opToken), 2, "remembered for 30 s")
			time.Sleep(time.Nanosecond)
			ask()
			require.Len(t, f.made(opToken), 3)
		})
	})
	t.Run("given out by a fetch that began before", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			f, a := newFake()
			f.when(opToken, func(n int, c call) (string, error) {
				if n == 2 {
					time.Sleep(3 * time.Second) // in which WeChat ends TOKEN-1
					n = 1
				}
				return usual(n, c)
			})
			requireToken(t, a, "TOKEN-1")
			time.Sleep(6900 * time.Second)
			requireToken(t, a, "TOKEN-1") // which begins the renewal
			time.Sleep(time.Second)
			f.when(opFollower, good("TOKEN-3"))
			_, err := a.Follower(t.Context(), "oX")
			require.Equal(t, 40001, codeOf(err))
			_, err = a.Follower(t.Context(), "oX")
			require.NoError(t, err, "not remembered: WeChat was asked before it refused")
			require.Len(t, f.made(opToken), 3)
		})
	})
	t.Run("while it cannot be fetched", func(t *testing.T) {
		f, a := newFake()
		f.from(opToken, `{"access_token":"OLD","expires_in":7200}`, refusal(40243))
		f.when(opFollower, good())
		for range 10 {
			_, err := a.Follower(t.Context(), "oX")
			require.Equal(t, 40243, codeOf(err))
		}
		require.Len(t, f.made(opToken), 2)
		require.Len(t, f.made(opFollower), 1)
	})
	t.Run("not a newer one", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			f, a := newFake()
			f.when(opFollower, func(n int, c call) (string, error) {
				if n == 1 {
					time.Sleep(6 * time.Second) // while TOKEN-2 comes
				}
				return good("TOKEN-2")(n, c)
			})
			requireToken(t, a, "TOKEN-1")
			time.Sleep(6900 * time.Second)
			_, err := a.Follower(t.Context(), "oX")
			require.NoError(t, err)
			require.Len(t, f.made(opToken), 2)
			requireToken(t, a, "TOKEN-2")
		})
	})
}

// Those who wait for a fetch get what it brings, even if somebody forgets that
// token meanwhile.
func TestAFlightCarriesItsResult(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, a := newFake()
		f.when(opToken, func(n int, c call) (string, error) {
			if n == 1 {
				time.Sleep(time.Second)
				return usual(n, c)
			}
			return refusal(-1), nil
		})
		f.when(opFollower, func(int, call) (string, error) { return refusal(40001), nil })
		var all sync.WaitGroup
		for range 100 {
			all.Go(func() {
				token, err := a.Token(t.Context())
				assert.NoError(t, err)
				assert.Equal(t, "TOKEN-1", token)
			})
			all.Go(func() {
				_, err := a.Follower(t.Context(), "oX")
				assert.Error(t, err)
			})
		}
		all.Wait()
	})
}

func TestNoGoroutineIsLeftAfterFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // which fails if a goroutine of its bubble stays
		f, a := newFake()
		for i := range 1000 {
			f.when(opToken, [...]func(int, call) (string, error){offline, hangs, usual}[i%3])
			f.when(opTicket, [...]func(int, call) (string, error){offline, hangs}[i%2])
			ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
			_, err := a.JSConfig(ctx, testPage)
			cancel()
			require.Error(t, err)
			time.Sleep(6 * time.Second)
		}
	})
}
