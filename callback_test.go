package wechatgate_test

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/sessions"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wechatgate/wechatgate"
	"github.com/wechatgate/wechatgate/wechat"
	"github.com/wechatgate/wechatgate/wechattest"
)

// callbackError is one way in which coming back can fail, with what the visitor
// and the operator get.
type callbackError struct {
	name      string
	options   func(*wechatgate.Options)
	prepare   func(*site)
	path      string // what is asked for; "/members" if empty
	status    int
	reason    wechatgate.Reason
	exchanges int    // calls to the token endpoint, restarts included
	logged    string // in the record, beside the reason
	keeps     bool   // the attempt: the same code may still succeed
}

// fails makes the next calls fail with an errcode.
func fails(op string, codes ...int) func(*site) {
	return func(s *site) {
		for _, code := range codes {
			s.wechat.FailNext(op, code, "")
		}
	}
}

// answers makes the next calls to the token endpoint get this body.
func answers(times int, body string) func(*site) {
	return answersWith(wechat.OpExchange, times, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		_, _ = io.WriteString(w, body)
	})
}

func answersWith(op string, times int, answer http.HandlerFunc) func(*site) {
	return func(s *site) {
		for range times {
			s.wechat.AnswerNext(op, answer)
		}
	}
}

func hangUp(w http.ResponseWriter, _ *http.Request) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err == nil {
		_ = conn.Close()
	}
}

// callbackErrors names every error of the callback.
func callbackErrors() []callbackError {
	const token = `"access_token":"AT","expires_in":7200,"refresh_token":"RT","scope":"snsapi_base"`
	onLogin := func(f func(*http.Request, *wechatgate.Login) error) func(*wechatgate.Options) {
		return func(o *wechatgate.Options) { o.OnLogin = f }
	}
	withProfile := "/wechat/login?scope=snsapi_userinfo&return_to=/profile/"
	rows := []callbackError{
		{name: "the visitor refuses: code=authdeny", prepare: func(s *site) { s.wechat.Deny(wechattest.DenyAuthdeny) }, path: withProfile, status: 403, reason: wechatgate.ReasonDenied},
		{name: "the visitor refuses: no code", prepare: func(s *site) { s.wechat.Deny(wechattest.DenyNoCode) }, path: withProfile, status: 403, reason: wechatgate.ReasonDenied},
		{name: "a snapshot, by flag", prepare: func(s *site) { s.wechat.Snapshots(wechattest.SnapshotFlagged) }, path: withProfile, status: 403, reason: wechatgate.ReasonSnapshot, exchanges: 1},
		{name: "a snapshot, by 48001", prepare: func(s *site) { s.wechat.Snapshots(wechattest.SnapshotUnflagged) }, path: withProfile, status: 403, reason: wechatgate.ReasonSnapshot, exchanges: 1, logged: "errcode=48001"},
		{name: "OnLogin refuses", options: onLogin(func(*http.Request, *wechatgate.Login) error { return errors.New("banned") }), status: 403, reason: wechatgate.ReasonRefused, exchanges: 1, logged: "banned"},
		{name: "OnLogin panics", options: onLogin(func(*http.Request, *wechatgate.Login) error { panic("no") }), status: 500, reason: wechatgate.ReasonInternal, exchanges: 1, logged: "panicked with a string at"},
		{name: "OnLogin aborts", options: onLogin(func(*http.Request, *wechatgate.Login) error { panic(http.ErrAbortHandler) }), status: 500, reason: wechatgate.ReasonInternal, exchanges: 1},
		{name: "busy twice", prepare: fails(wechat.OpExchange, -1, -1), status: 503, reason: wechatgate.ReasonBusy, exchanges: 2, logged: "errcode=-1", keeps: true},
		{name: "throttled by the minute", prepare: fails(wechat.OpExchange, 45011), status: 503, reason: wechatgate.ReasonBusy, exchanges: 1, logged: "errcode=45011", keeps: true},
		{name: "throttled by the day", prepare: fails(wechat.OpExchange, 45009), status: 503, reason: wechatgate.ReasonBusy, exchanges: 1, logged: "errcode=45009", keeps: true},
		{name: "an unknown errcode", prepare: fails(wechat.OpExchange, 99999), status: 502, reason: wechatgate.ReasonWeChat, exchanges: 1, logged: "errcode=99999"},
		{name: "userinfo is busy", prepare: fails(wechat.OpUserInfo, -1), path: withProfile, status: 503, reason: wechatgate.ReasonBusy, exchanges: 1, logged: "op=userinfo"},
		{name: "userinfo is about somebody else", prepare: answersWith(wechat.OpUserInfo, 2, func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, `{"openid":"oSomebodyElse","nickname":"x"}`)
		}), path: withProfile, status: 502, reason: wechatgate.ReasonWeChat, exchanges: 2},
		{name: "token and profile have different unionids", prepare: func(s *site) {
			s.wechat.SignInAs(alice)
			s.wechat.AnswerNext(wechat.OpUserInfo, func(w http.ResponseWriter, _ *http.Request) {
				_, _ = fmt.Fprintf(w, `{"openid":%q,"unionid":"oSomebodyElse"}`, wechattest.OpenID(s.wechat.OfficialAccount.ID, alice))
			})
		}, path: withProfile, status: 502, reason: wechatgate.ReasonWeChat, exchanges: 1, logged: "unionid"},
		{name: "userinfo's token is bad twice", prepare: fails(wechat.OpUserInfo, 40001, 40001), path: withProfile, status: 502, reason: wechatgate.ReasonWeChat, exchanges: 2, logged: "errcode=40001"},
		{name: "a redirect, twice", prepare: answersWith(wechat.OpExchange, 2, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://127.0.0.1:1/", http.StatusFound)
		}), status: 502, reason: wechatgate.ReasonWeChat, exchanges: 2, logged: "HTTP status 302"},
		{name: "HTML, twice", prepare: answers(2, "<html>"), status: 502, reason: wechatgate.ReasonWeChat, exchanges: 2},
		{name: "a hundred megabytes, twice", prepare: answersWith(wechat.OpExchange, 2, func(w http.ResponseWriter, _ *http.Request) {
			chunk := bytes.Repeat([]byte(" "), 1<<20)
			for range 100 {
				if _, err := w.Write(chunk); err != nil {
					return
				}
			}
		}), status: 502, reason: wechatgate.ReasonWeChat, exchanges: 2, logged: "longer than 1 MiB"},
		{name: "a gzip bomb, twice", prepare: answersWith(wechat.OpExchange, 2, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			chunk := bytes.Repeat([]byte(" "), 1<<20)
			for range 100 {
				if _, err := z.Write(chunk); err != nil {
					return
				}
			}
			_ = z.Close()
		}), status: 502, reason: wechatgate.ReasonWeChat, exchanges: 2, logged: "longer than 1 MiB"},
		{name: "a connection closed without an answer, twice", prepare: answersWith(wechat.OpExchange, 2, hangUp), status: 502, reason: wechatgate.ReasonWeChat, exchanges: 2},
		{name: "the Store fails", options: func(o *wechatgate.Options) { o.Store = &faultyStore{saveErr: errors.New("disk full")} }, status: 503, reason: wechatgate.ReasonSession, exchanges: 1, logged: "disk full", keeps: true},
		{name: "the Store panics", options: func(o *wechatgate.Options) { o.Store = &faultyStore{panics: true} }, status: 503, reason: wechatgate.ReasonSession, exchanges: 1, logged: "Store.New panicked", keeps: true},
		{name: "the Store has no session", options: func(o *wechatgate.Options) { o.Store = &faultyStore{returnsNil: true} }, status: 503, reason: wechatgate.ReasonSession, exchanges: 1, keeps: true},
		{name: "a session that fits no cookie", options: func(o *wechatgate.Options) { o.Store = &faultyStore{cookie: strings.Repeat("x", 4096)} }, status: 503, reason: wechatgate.ReasonSession, exchanges: 1, logged: "larger than 4096 bytes", keeps: true},
	}
	for _, code := range []int{40029, 42003, 41008, 40030, 42002, 42007, 41003, 40163} {
		rows = append(rows, callbackError{
			name: fmt.Sprintf("errcode %d, twice", code), prepare: fails(wechat.OpExchange, code, code),
			status: 502, reason: wechatgate.ReasonWeChat, exchanges: 2, logged: fmt.Sprintf("errcode=%d", code),
		})
	}
	for _, code := range []int{40013, 40125, 41002, 41004, 40001, 40164, 10003, 48004, 50002, 40243} {
		rows = append(rows, callbackError{
			name: fmt.Sprintf("errcode %d", code), prepare: fails(wechat.OpExchange, code),
			status: 500, reason: wechatgate.ReasonConfig, exchanges: 1, logged: "hint=",
		})
	}
	for _, code := range []int{50001} {
		rows = append(rows, callbackError{
			name: fmt.Sprintf("errcode %d", code), prepare: fails(wechat.OpExchange, code),
			status: 403, reason: wechatgate.ReasonRefused, exchanges: 1, logged: fmt.Sprintf("errcode=%d", code),
		})
	}
	for _, body := range []string{
		"", "null", "[]", "{}", `"openid"`, "\ufeff{" + token + `,"openid":"oX"}`,
		"{" + token + "}", "{" + token + `,"openid":""}`, "{" + token + `,"openid":null}`, "{" + token + `,"openid":7}`,
		"{" + token + `,"openid":["oX"]}`, "{" + token + `,"openid":"oX\n"}`, "{" + token + `,"openid":"` + strings.Repeat("o", 65) + `"}`,
		"{" + token + `,"openid":"oX","openid":"oY"}`, "{" + token + `,"OpenID":"oX"}`, "{" + token + `,"openid":"oX"} {}`,
		"{" + token + `,"openid":"oX"}x`, `{"errcode":0,"openid":"oX",` + token + "}", `{"errcode":40029,"openid":"oX",` + token + "}",
		`{"openid":"oX","scope":"snsapi_base"}`, "{" + token + `,"openid":"oX"`,
	} {
		rows = append(rows, callbackError{
			name: "the answer " + body + ", twice", prepare: answers(2, body),
			status: 502, reason: wechatgate.ReasonWeChat, exchanges: 2,
		})
	}
	return rows
}

func TestCallbackErrors(t *testing.T) {
	for _, row := range callbackErrors() {
		t.Run(row.name, func(t *testing.T) {
			var token wechat.Token
			s := newSite(t, func(o *wechatgate.Options) {
				if row.options != nil {
					row.options(o)
				}
				if hook := o.OnLogin; hook != nil {
					o.OnLogin = func(r *http.Request, l *wechatgate.Login) error {
						token = l.Token
						return hook(r, l)
					}
				}
			})
			if row.prepare != nil {
				row.prepare(s)
			}
			b := newBrowser(t, s.wechat, uaWeChat)
			p := b.open(s.URL + cmp.Or(row.path, "/members"))

			assert.Equal(t, row.status, p.status, "%q", p.trail)
			assert.Equal(t, "/wechat/callback", p.address.Path)
			assert.Zero(t, s.served.Load(), "the handler was called")
			assert.Equal(t, row.exchanges, s.calls(wechat.OpExchange))
			assert.NotContains(t, b.named(""), "__Host-wechatgate", "a session")
			assert.Equal(t, row.keeps, len(b.named("-login-")) == 1, "the attempt")
			assert.Equal(t, row.status == http.StatusServiceUnavailable, p.header.Get("Retry-After") != "")
			records := s.log.lines("sign-in failed")
			require.Len(t, records, 1, "one record for one failure")
			assert.Contains(t, records[0], "reason="+string(row.reason))
			assert.Contains(t, records[0], row.logged)
			assert.Contains(t, records[0], "flow=official-account")
			assertDocs(t, records[0])
			assertOwnHeaders(t, p.header)
			s.assertSecretsStayIn(b, p, token)
		})
	}
}

// assertSecretsStayIn looks for what the fake and the gate handed out in the log,
// the page and its headers.
func (s *site) assertSecretsStayIn(b *browser, p page, token wechat.Token) {
	b.t.Helper()
	secrets := []string{s.options.OfficialAccount.Secret, s.options.Website.Secret, token.AccessToken, token.RefreshToken}
	for _, address := range p.trail {
		u, err := url.Parse(address)
		require.NoError(b.t, err)
		secrets = append(secrets, u.Query().Get("code"), u.Query().Get("state"))
	}
	assert.Contains(b.t, strings.Join(p.trail, " "), secrets[len(secrets)-1], "the search finds what is there")
	for _, c := range b.cookies() {
		secrets = append(secrets, c.Value)
	}
	var header strings.Builder
	require.NoError(b.t, p.header.WriteSubset(&header, map[string]bool{"Set-Cookie": true}))
	for _, secret := range secrets {
		if secret != "" && secret != "authdeny" {
			assert.NotContains(b.t, s.log.String()+p.body+header.String(), secret)
		}
	}
}

var docsLink = regexp.MustCompile(`docs="?https://github.com/wechatgate/wechatgate/blob/main/(docs/[a-z-]+\.md)#([^"\s]+)`)

// assertDocs follows the link of a log record to the section that it names.
func assertDocs(t *testing.T, record string) {
	t.Helper()
	link := docsLink.FindStringSubmatch(record)
	if link == nil {
		assert.Regexp(t, "reason=(denied|refused|internal)", record, "which need no help")
		return
	}
	assert.Contains(t, anchors(read(t, link[1])), link[2])
}

// assertOwnHeaders holds an answer of the gate to literals of the standards.
func assertOwnHeaders(t *testing.T, h http.Header) {
	t.Helper()
	assert.Equal(t, []string{"no-store"}, h["Cache-Control"])
	assert.Equal(t, []string{"Cookie, User-Agent"}, h["Vary"])
	assert.Equal(t, []string{"no-referrer"}, h["Referrer-Policy"])
	assert.Equal(t, []string{"nosniff"}, h["X-Content-Type-Options"])
	if strings.HasPrefix(h.Get("Content-Type"), "text/html") {
		csp := h.Get("Content-Security-Policy")
		assert.Contains(t, csp, "default-src 'none'")
		assert.Contains(t, csp, "frame-ancestors 'none'")
		assert.NotContains(t, csp, "unsafe")
	}
}

// What FuzzCallbackQuery refuses spends neither an attempt nor a code, and what
// stands alone asks WeChat nothing.
func TestMalformedCallbackAsksNothing(t *testing.T) {
	s := newSite(t)
	b := newBrowser(t, s.wechat, uaWeChat)
	back := b.openUntil(s.URL+"/members", "/wechat/callback").next
	state := back.Query().Get("state")
	long := strings.Repeat("x", 64<<10)
	for _, query := range []string{
		"", "code=C", "code=&state=", "code=C&state=", "code=C&state=short", "code=C&state=" + long,
		"code=C&state=" + state + "&state=" + state, "code=C&code=D&state=" + state, "code=&state=" + state,
		"code=C&state=" + strings.ToUpper(state), "code=C&state=" + state + "maxthon", "code=C&state=" + state[:31], "code=C&state=" + state + "%00",
		"code=" + strings.Repeat("x", 513) + "&state=" + state, "code=" + long + "&state=" + state, "code=C&state=" + state + "&x=" + long,
		"code=C%0a&state=" + state, "code=C%20D&state=" + state, "code=%ff&state=" + state, "code=%zz&state=" + state, "code=C;state=" + state,
		"code=C&state=" + state + "&x=%zz",
	} {
		p := b.open(s.URL + "/wechat/callback?" + query)
		assert.Equal(t, http.StatusForbidden, p.status, query)
		assert.Equal(t, 1, p.shown, "no reload: it would not help: %s", query)
		assert.Empty(t, p.header["Set-Cookie"], query)
	}
	assert.Empty(t, s.wechat.Calls(wechat.OpExchange))
	assert.Contains(t, b.open(back.String()).body, "hello")
}

func TestCallbackTakesNoOtherMethod(t *testing.T) {
	s := newSite(t)
	b := newBrowser(t, s.wechat, uaWeChat)
	back := b.openUntil(s.URL+"/members", "/wechat/callback").next
	for _, method := range []string{http.MethodHead, http.MethodPost, http.MethodPut, http.MethodOptions, http.MethodDelete} {
		response, _ := b.fetch(method, back.String(), nil)
		assert.Equal(t, http.StatusMethodNotAllowed, response.StatusCode, method)
		assert.Equal(t, "GET", response.Header.Get("Allow"), method)
		assert.Empty(t, response.Header["Set-Cookie"], method)
	}
	assert.Zero(t, s.calls(wechat.OpExchange))
	assert.Contains(t, b.open(back.String()).body, "hello", "neither code nor attempt was spent")
}

func TestStateBelongsToTheBrowser(t *testing.T) {
	s := newSite(t)
	attacker := newBrowser(t, s.wechat, uaWeChat)
	back := attacker.openUntil(s.URL+"/members", "/wechat/callback").next.String()

	victim := newBrowser(t, s.wechat, uaWeChat)
	victim.openUntil(s.URL+"/members", "/wechat/callback")
	p := victim.open(back)

	assert.Equal(t, http.StatusForbidden, p.status)
	assert.NotContains(t, victim.named(""), "__Host-wechatgate")
	assert.Zero(t, s.calls(wechat.OpExchange), "nobody else's code is spent")
	assert.Contains(t, attacker.open(back).body, "hello")
}

func TestStateIsNotChosenByTheVisitor(t *testing.T) {
	const state = "0123456789abcdef0123456789abcdef"
	s := newSite(t)
	p := newBrowser(t, s.wechat, uaWeChat).openUntil(s.URL+"/wechat/login?return_to=/&state="+state, "/connect/")
	assert.NotContains(t, p.next.String(), state)
}

func TestReplayOfAFinishedCallback(t *testing.T) {
	s := newSite(t)
	b := newBrowser(t, s.wechat, uaWeChat)
	before := b.openUntil(s.URL+"/members?x=1", "/wechat/callback")
	stranger := b.clone(uaWeChat) // the cookies of before
	assert.Contains(t, b.open(before.next.String()).body, "hello")

	p := b.open(before.next.String())
	assert.Equal(t, s.URL+"/members?x=1", p.address.String(), "the Back button leads on")
	assert.Contains(t, p.body, "hello")
	assert.Equal(t, 1, s.calls(wechat.OpExchange))

	b.plant("__Host-wechatgate", "")
	p = b.open(before.next.String())
	assert.Equal(t, http.StatusForbidden, p.status, "it never makes a session")
	assert.NotContains(t, b.named(""), "__Host-wechatgate")
	assert.Equal(t, 1, s.calls(wechat.OpExchange))

	p = stranger.open(before.next.String())
	assert.Contains(t, p.body, "hello", "who holds the attempt shares the result, for a moment")
	assert.Equal(t, 1, s.calls(wechat.OpExchange))
}

func TestSharedCallbackAddressLeadsASignedInVisitorHome(t *testing.T) {
	s := newSite(t)
	b := newBrowser(t, s.wechat, uaWeChat)
	b.open(s.URL + "/members")
	p := b.open(s.URL + "/wechat/callback?code=C&state=0123456789abcdef0123456789abcdef")
	assert.Equal(t, s.URL+"/", strings.TrimSuffix(p.address.String(), "#"))
	assert.Contains(t, p.body, "hello")
	assert.Equal(t, 1, s.calls(wechat.OpExchange))
}

func TestBrokenCallbackCostsNoSession(t *testing.T) {
	s := newSite(t)
	b := newBrowser(t, s.wechat, uaWeChat)
	b.open(s.URL + "/members")
	for _, query := range []string{"", "state=0123456789abcdef0123456789abcdef", "code=authdeny&state=0123456789abcdef0123456789abcdef", "code=C&state=x"} {
		b.open(s.URL + "/wechat/callback?" + query)
		assert.Contains(t, b.open(s.URL+"/members").body, "hello", query)
	}
	s.wechat.FailNext(wechat.OpExchange, 40013, "")
	assert.Equal(t, http.StatusInternalServerError, b.open(s.URL+"/wechat/login").status)
	assert.Contains(t, b.open(s.URL+"/members").body, "hello", "after a sign-in that failed")
	assert.Equal(t, 2, s.calls(wechat.OpExchange))
}

// WeChat calls back twice, at the same time, with one code or with two.
func TestCallbacksAtTheSameTimeMakeOneCall(t *testing.T) {
	for name, codes := range map[string][2]string{"the same code": {"CODE", "CODE"}, "two codes": {"CODE", "ANOTHER"}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var logins atomic.Int64
				s := newStrangeSite(t, func(o *wechatgate.Options) {
					o.OnLogin = func(*http.Request, *wechatgate.Login) error {
						logins.Add(1)
						pass(time.Second) // which begins when the other callback waits, too
						return nil
					}
				})
				v := s.visitor()
				state := v.begin(t)
				var both sync.WaitGroup
				for _, code := range codes {
					other := v.clone()
					both.Go(func() {
						w := other.open(callbackOf(code, state))
						assert.Equal(t, http.StatusSeeOther, w.Code)
						assert.Equal(t, s.options.BaseURL+"/members#", w.Header().Get("Location"))
						assert.True(t, other.hasSession())
					})
				}
				both.Wait()
				assert.EqualValues(t, 1, s.asked.Load())
				assert.EqualValues(t, 1, logins.Load())
			})
		})
	}
}

func TestStoreOutageAtTheCallbackSpendsNoCode(t *testing.T) {
	store := &faultyStore{newErr: errors.New("connection refused")}
	s := newSite(t, func(o *wechatgate.Options) { o.Store = store })
	b := newBrowser(t, s.wechat, uaWeChat)
	back := b.openUntil(s.URL+"/members", "/wechat/callback").next.String()
	b.plant("__Host-wechatgate", "some-id")
	p := b.open(back)
	assert.Equal(t, http.StatusServiceUnavailable, p.status)
	assert.Zero(t, s.calls(wechat.OpExchange))
	assert.Len(t, b.named("-login-"), 1, "a reload can still succeed")
}

func TestAppOfTheAttemptIsAsked(t *testing.T) {
	s := newSite(t)
	b := newBrowser(t, s.wechat, uaDesktop)
	back := b.openUntil(s.URL+"/members", "/wechat/callback").next
	assert.Contains(t, b.clone(uaWeChat).open(back.String()).body, "hello", "whatever the browser says now")
	calls := s.wechat.Calls(wechat.OpExchange)
	require.Len(t, calls, 1)
	assert.Equal(t, s.wechat.Website.ID, calls[0].AppID)
}

func TestAnotherGateWithTheSameKeysAcceptsNeitherSessionNorAttempt(t *testing.T) {
	s := newSite(t)
	b := newBrowser(t, s.wechat, uaWeChat)
	b.open(s.URL + "/members")
	back := b.openUntil(s.URL+"/wechat/login", "/wechat/callback").next

	other := s.options
	other.OfficialAccount = wechatgate.App{ID: "wxother", Secret: "other"}
	other.Website = wechatgate.App{}
	gate, err := wechatgate.New(other)
	require.NoError(t, err)
	for _, target := range []string{"/members", back.RequestURI()} {
		r := httptest.NewRequest(http.MethodGet, target, nil)
		r.Header.Set("Cookie", b.cookieLine())
		r.Header.Set("User-Agent", uaWeChat)
		w := httptest.NewRecorder()
		gate.Require(s.page()).ServeHTTP(w, r)
		assert.Contains(t, []int{http.StatusUnauthorized, http.StatusForbidden}, w.Code, target)
	}
	assert.Equal(t, 1, s.calls(wechat.OpExchange))
}

func TestCookiesThatComeLateGetOneReload(t *testing.T) {
	s := newSite(t)
	b := newBrowserWith(t, s.wechat, wechattest.Habits{UserAgent: uaWeChat, HoldsLax: true})
	p := b.open(s.URL + "/members")
	assert.Contains(t, p.body, "hello")
	assert.Equal(t, s.URL+"/members", p.address.String())
	assert.Equal(t, 1, s.calls(wechat.OpExchange))
	for _, address := range p.trail[len(p.trail)-1:] {
		assert.NotContains(t, address, "code=")
	}
}

func TestWithoutCookiesThereIsAPageAndNoLoop(t *testing.T) {
	s := newSite(t)
	b := newBrowserWith(t, s.wechat, wechattest.Habits{UserAgent: uaWeChat, NoCookies: true})
	p := b.open(s.URL + "/members")
	assert.Equal(t, http.StatusForbidden, p.status)
	assert.Equal(t, "1", p.address.Query().Get("again"))
	assert.Equal(t, 2, p.shown, "the reload and the explanation: %q", p.trail)
	assert.Zero(t, s.calls(wechat.OpExchange))
}

func TestSessionsThatDoNotStayEndInAPageAfterTwoRounds(t *testing.T) {
	rows := []struct {
		name   string
		change func(*wechatgate.Options)
		path   string
	}{
		{"a Store that forgets", func(o *wechatgate.Options) { o.Store = &faultyStore{cookie: "id"} }, "/members"},
		{"a Store that forgets, and a long target", func(o *wechatgate.Options) { o.Store = &faultyStore{cookie: "id"} }, "/" + strings.Repeat("a", 1400)},
		{"a CheckSession that refuses everybody", func(o *wechatgate.Options) {
			o.CheckSession = func(*http.Request, wechatgate.User) error { return wechatgate.ErrSessionRevoked }
		}, "/members"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			s := newSite(t, row.change)
			p := newBrowser(t, s.wechat, uaWeChat).open(s.URL + row.path)
			assert.Equal(t, http.StatusServiceUnavailable, p.status)
			assert.Equal(t, "120", p.header.Get("Retry-After"))
			assert.Equal(t, 2, s.calls(wechat.OpExchange))
			assert.Zero(t, s.served.Load())
			assert.Len(t, s.log.lines("reason=session"), 1)
		})
	}
}

// The longest chain of errors that WeChat can make.
func TestHandMadeChainOfErrorsEnds(t *testing.T) {
	for _, codes := range [][]int{{40029, 40163}, {40163, 42003}, {-1, 40029, -1, -1}, {40029, -1, 40029}} {
		s := newSite(t)
		fails(wechat.OpExchange, codes...)(s)
		p := newBrowser(t, s.wechat, uaWeChat).open(s.URL + "/members")
		assert.GreaterOrEqual(t, p.status, 500, "%v", codes)
		assert.Equal(t, len(codes), s.calls(wechat.OpExchange), "%v", codes)
	}
}

func TestOneErrorIsMendedWithoutTheVisitorNoticing(t *testing.T) {
	rows := []struct {
		name      string
		prepare   func(*site)
		exchanges int
	}{
		{"busy: the same code again", fails(wechat.OpExchange, -1), 2},
		{"invalid code: a new one", fails(wechat.OpExchange, 40029), 2},
		{"spent code: a new one", fails(wechat.OpExchange, 40163), 2},
		{"a broken answer: a new code", answers(1, `{"openid":`), 2},
		{"no answer: a new code", answersWith(wechat.OpExchange, 1, hangUp), 2},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			s := newSite(t)
			row.prepare(s)
			p := newBrowser(t, s.wechat, uaWeChat).open(s.URL + "/members?x=1")
			assert.Contains(t, p.body, "hello")
			assert.Equal(t, s.URL+"/members?x=1", p.address.String())
			assert.Equal(t, 1, p.shown)
			assert.Equal(t, row.exchanges, s.calls(wechat.OpExchange))
		})
	}
}

func TestProfileIsNotReadWithoutTheScope(t *testing.T) {
	s := newSite(t)
	answers(1, `{"access_token":"AT","expires_in":7200,"openid":"oX","scope":"snsapi_base"}`)(s)
	p := newBrowser(t, s.wechat, uaWeChat).open(s.URL + "/wechat/login?scope=snsapi_userinfo&return_to=/members")
	assert.Contains(t, p.body, "hello oX")
	assert.Zero(t, s.calls(wechat.OpUserInfo), "what came back counts, not what was asked for")
}

func TestSpentCodeWithASessionLeadsOn(t *testing.T) {
	s := newSite(t)
	b := newBrowser(t, s.wechat, uaWeChat)
	b.open(s.URL + "/members")
	s.wechat.FailNext(wechat.OpExchange, 40163, "")
	p := b.open(s.URL + "/wechat/login?return_to=/there")
	assert.Equal(t, s.URL+"/there", p.address.String())
	assert.Equal(t, 2, s.calls(wechat.OpExchange))
}

// faultyStore is a gorilla Store that is unavailable.
type faultyStore struct {
	newErr, saveErr    error
	panics, returnsNil bool
	cookie             string // what it sets; nothing of it is ever found again
	news, saves        atomic.Int64
}

var _ sessions.Store = (*faultyStore)(nil)

func (s *faultyStore) Get(r *http.Request, name string) (*sessions.Session, error) {
	return s.New(r, name)
}

func (s *faultyStore) New(_ *http.Request, name string) (*sessions.Session, error) {
	s.news.Add(1)
	if s.panics {
		panic("out of order")
	}
	if s.returnsNil {
		return nil, s.newErr
	}
	session := sessions.NewSession(s, name)
	session.IsNew = true
	return session, s.newErr
}

func (s *faultyStore) Save(_ *http.Request, w http.ResponseWriter, session *sessions.Session) error {
	s.saves.Add(1)
	if s.saveErr == nil && session.Options.MaxAge > 0 {
		http.SetCookie(w, sessions.NewCookie(session.Name(), s.cookie, session.Options))
	}
	return s.saveErr
}
