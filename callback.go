package wechatgate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/wechatgate/wechatgate/internal/contain"
	"github.com/wechatgate/wechatgate/internal/once"
	"github.com/wechatgate/wechatgate/wechat"
)

// callback takes a visitor back from WeChat.
func (g *Gate) callback(w http.ResponseWriter, r *http.Request) {
	if !allow(w, r, http.MethodGet) {
		return
	}
	query, err := parseCallback(r.URL.RawQuery)
	if err != nil {
		g.fail(w, r, failure{err: newError(ReasonState, err), target: "/"})
		return
	}
	v := g.visit(w, r)
	held := g.attemptsOf(v)
	a, err := held.findReturn(query.state)
	step := decideReturn(returnFacts{
		denied:   query.denied,
		again:    query.again,
		attempt:  a.status(err),
		scan:     a.scan,
		visitor:  v.visitor(),
		finished: len(held.finishes()),
	})
	switch step {
	case returnUnavailable:
		// The code is not spent: reloading the page can still succeed.
		g.fail(w, r, failure{err: newError(ReasonSession, v.err), target: "/"})
	case returnDenied:
		g.denied(v, a, err)
	case returnHome:
		g.arriveAt(w, "/")
	case returnReload:
		g.showReloadPage(w, r, g.targets.Own(pathCallback)+"?"+query.retryQuery())
	case returnInvalid:
		g.invalid(v, err)
	case returnTarget:
		g.arriveAt(w, a.target)
	case returnSpent:
		g.fail(w, r, failure{err: newError(ReasonState, errSpentAttempt), target: a.target, attrs: a.attrs()})
	case returnLoop:
		g.fail(w, r, failure{err: newError(ReasonSession, &busyFor{errNoSessionStays, finishedLifetime}), target: a.target, attrs: a.attrs()})
	case returnExchange:
		g.finish(v, a, query.code) //nolint:contextcheck // the exchange serves others, too
	}
}

var (
	errSpentAttempt = errors.New("this sign-in was finished already")
	errBadCallback  = errors.New("the callback's code or state is missing, doubled or malformed")
	errDenied       = errors.New("the visitor refused")
	errSnapshot     = errors.New("a snapshot account: WeChat showed the page without the visitor's consent")
	errOtherUnionID = errors.New("token and profile have different unionids")
	errUnknownApp   = errors.New("the attempt's app is none of this gate's: the options were changed meanwhile")
	errPaused       = errors.New("WeChat has said that it was asked too often: it is not asked again before Retry-After")
	errManyUnderWay = errors.New("too many sign-ins ask WeChat at once")
	errBadData      = fmt.Errorf("Login.Data: want at most %d bytes of UTF-8", maxData)
)

// callbackQuery is what WeChat sends back.
type callbackQuery struct {
	code, state string
	denied      bool
	again       bool // reloaded from our own site
}

const (
	maxCallbackQuery = 4096
	maxCode          = 512
)

// parseCallback reads the query of a callback. It is strict: WeChat sends
// exactly one code and one state.
func parseCallback(rawQuery string) (callbackQuery, error) {
	if len(rawQuery) > maxCallbackQuery {
		return callbackQuery{}, errBadCallback
	}
	values, err := url.ParseQuery(rawQuery)
	if err != nil || len(values["state"]) != 1 || !isState(values["state"][0]) || len(values["code"]) > 1 {
		return callbackQuery{}, errBadCallback
	}
	q := callbackQuery{state: values.Get("state"), code: values.Get("code"), again: values.Get("again") == "1"}
	// Three generations of refusals: this code, none at all, and no callback.
	q.denied = q.code == "authdeny" || !values.Has("code")
	if !q.denied && (q.code == "" || len(q.code) > maxCode || strings.IndexFunc(q.code, notCodeChar) >= 0) {
		return callbackQuery{}, errBadCallback
	}
	return q, nil
}

func notCodeChar(c rune) bool { return c <= ' ' || c > '~' }

// retryQuery is the same query, marked as the second try.
func (q callbackQuery) retryQuery() string {
	return "code=" + url.QueryEscape(q.code) + "&state=" + q.state + "&again=1"
}

func (g *Gate) denied(v *visit, a attempt, err error) {
	f := failure{err: newError(ReasonDenied, errDenied), target: "/"}
	if err == nil {
		f.target, f.again, f.attrs = a.target, g.again(a), a.attrs()
		if a.finished.IsZero() {
			g.attempts.drop(v.w, a.state)
		}
	}
	g.fail(v.w, v.r, f)
}

// invalid answers a callback that belongs to no attempt of this browser. If
// sign-ins begin under another address than BaseURL's, that is why.
func (g *Gate) invalid(v *visit, err error) {
	f := failure{err: newError(ReasonState, err), target: "/"}
	if errors.Is(err, errNoAttempt) && g.noticeOrigin(v.r) {
		f.words = "wrong-host"
	}
	g.fail(v.w, v.r, f)
}

// exchangeResult is what became of a code. It is kept for a short while, and
// holds nothing of the request.
type exchangeResult struct {
	session   session
	target    string
	code      string // for a phone that has scanned
	err       *Error
	restart   bool // a new code may help
	codeUsed  bool
	retryable bool // the same code may still succeed
}

const (
	maxUnderWay = 256              // exchanges, at once
	resultKept  = 30 * time.Second // for callbacks that come twice
	resultUses  = 16
	maxResults  = 1024
	// maxExchange is how long a visitor waits: for WeChat and for OnLogin, each
	// of which is told to end after 10 seconds, and a little for those that do
	// not listen.
	maxExchange = 25 * time.Second
)

func newExchanges() *once.Group[exchangeResult] {
	return once.New[exchangeResult](once.Config{Limit: maxUnderWay, Kept: resultKept, Uses: resultUses, MaxKept: maxResults, MaxWait: maxExchange})
}

// finish exchanges the code of an attempt that belongs to this browser, and
// begins the session. WeChat calls back twice, at the same time or one after the
// other, with one code or with two, and a code works once: all callbacks of one
// attempt share one exchange.
func (g *Gate) finish(v *visit, a attempt, code string) {
	var over atomic.Bool
	defer over.Store(true)
	result, err := g.exchanges.Do(v.r.Context(), a.state, code, func(ctx context.Context) (exchangeResult, bool) {
		result := g.exchange(v.r.WithContext(handlerValues{ctx, &over}), a, code) //nolint:contextcheck // handlerValues inherits from ctx
		return result, !result.retryable
	})
	if err != nil {
		g.fail(v.w, v.r, failure{err: exchangeError(err), target: a.target, again: g.again(a), attrs: a.attrs()})
		return
	}
	f := failure{err: result.err, target: a.target, attrs: a.attrs()}
	f.again = g.again(a)
	if a.scan && result.err != nil && result.err.Reason == ReasonCode {
		f.words = wordsCodeLimit
	}
	switch decideOutcome(result, a.restarts, v.signedIn, a.scan) {
	case outcomeTarget:
		g.attempts.finish(v.w, a)
		g.arriveAt(v.w, a.target)
	case outcomeRestart:
		g.restart(v, a, result.err)
	case outcomeFail:
		g.attempts.drop(v.w, a.state)
		g.fail(v.w, v.r, f)
	case outcomeRetry:
		g.fail(v.w, v.r, f)
	case outcomeCode:
		g.showCode(v, a, result.code)
	case outcomeSignIn:
		g.completeSignIn(v, a, result)
	}
}

// again is where trying once more leads: for a phone, to the address that it
// scanned.
func (g *Gate) again(a attempt) string {
	if a.scan {
		return g.targets.Location(a.target)
	}
	return ""
}

// exchangeError gives a reason to an error that is not WeChat's.
func exchangeError(err error) *Error {
	switch {
	case errors.Is(err, once.ErrBusy):
		return newError(ReasonBusy, errManyUnderWay)
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return newError(ReasonWeChat, err)
	}
	return newError(ReasonInternal, err)
}

// handlerValues is a context whose values end with the handler of the request
// that they belong to. OnLogin can go on after that, when a framework has given
// those values to another request.
type handlerValues struct {
	context.Context
	over *atomic.Bool
}

func (c handlerValues) Value(key any) any {
	if c.over.Load() {
		return nil
	}
	return c.Context.Value(key)
}

// completeSignIn writes the session.
func (g *Gate) completeSignIn(v *visit, a attempt, result exchangeResult) {
	if err := g.sessions.begin(v.w, &v.lookup, result.session); err != nil {
		if a.flow == FlowCode {
			g.attempts.drop(v.w, a.state) // its number is used up
		}
		g.fail(v.w, v.r, failure{err: newError(ReasonSession, err), target: a.target, attrs: a.attrs()})
		return
	}
	g.attempts.finish(v.w, a)
	if v.vault.Cookies.Has(suffixSignedOut) {
		g.cookies.Remove(v.w, g.attempts.base+suffixSignedOut)
	}
	g.record(v.r, slog.LevelInfo, "signed in", append(userAttrs(result.session.user),
		slog.String("flow", string(a.flow)), browserAttr(v.r))...)
	g.arriveAt(v.w, result.target)
}

// restart begins the attempt anew, once.
func (g *Gate) restart(v *visit, a attempt, cause *Error) {
	g.record(v.r, slog.LevelWarn, "sign-in restarted", append(errorAttrs(cause), a.attrs()...)...)
	g.attempts.drop(v.w, a.state)
	if a.scan {
		g.leaveToScan(v, a.number, a.restarts+1)
		return
	}
	g.signIn(v, signInRequest{
		flow:     a.flow,
		target:   a.target,
		profile:  a.profile == profileNeeded,
		asked:    true,
		restarts: a.restarts + 1,
	})
}

// exchange asks WeChat and the site who the visitor is. It runs once for all
// callbacks of an attempt, and r's context does not end with any one of them.
func (g *Gate) exchange(r *http.Request, a attempt, code string) exchangeResult {
	app, ok := g.app(a.appID)
	if !ok {
		return exchangeResult{err: newError(ReasonState, errUnknownApp)}
	}
	if left := g.pauses.Left(app.ID); left > 0 {
		return exchangeResult{err: newError(ReasonBusy, &busyFor{errPaused, left}), retryable: true}
	}
	ctx, cancel := context.WithTimeout(r.Context(), wechat.Timeout)
	defer cancel()
	token, err := g.exchangeWithRetry(ctx, app, code)
	if err != nil {
		return g.classifyError(app, err)
	}
	if token.Snapshot {
		return exchangeResult{err: newError(ReasonSnapshot, errSnapshot)}
	}
	if a.scan {
		return g.mintForScan(r, a, token)
	}
	profile, failed := g.readProfile(ctx, r, a, app, token)
	if failed != nil {
		return *failed
	}
	until, _ := ctx.Deadline()
	return g.admitLogin(r, until, a, token, profile)
}

// readProfile reads the profile where it is wanted and granted. Where no page
// needs it, the sign-in goes on without.
func (g *Gate) readProfile(ctx context.Context, r *http.Request, a attempt, app App, token wechat.Token) (*wechat.Profile, *exchangeResult) {
	if a.profile == profileUnwanted || !token.Scope.AllowsProfile() {
		return nil, nil
	}
	p, err := g.client.UserInfo(ctx, token.AccessToken, token.OpenID, strings.ReplaceAll(language(r.Header), "-", "_"))
	switch {
	case err != nil:
		result := g.classifyError(app, err)
		if a.profile == profileWelcome && result.err.Reason != ReasonSnapshot {
			g.record(r, slog.LevelWarn, "profile not read", append(errorAttrs(result.err), a.attrs()...)...)
			return nil, nil
		}
		return nil, &result
	case token.UnionID != "" && p.UnionID != "" && token.UnionID != p.UnionID:
		return nil, &exchangeResult{err: newError(ReasonWeChat, errOtherUnionID)}
	}
	return &p, nil
}

// busyWait is how long the gate waits before it asks a busy WeChat once more.
const busyWait = 300 * time.Millisecond

// exchangeWithRetry exchanges the code, once more where WeChat says that it was
// busy or where it cannot have seen the code.
func (g *Gate) exchangeWithRetry(ctx context.Context, app App, code string) (wechat.Token, error) {
	token, err := g.client.Exchange(ctx, app, code)
	var answer *wechat.Error
	if !errors.As(err, &answer) || answer.Class() != wechat.ClassBusy {
		return token, err
	}
	select {
	case <-ctx.Done():
		return token, err
	case <-time.After(busyWait):
		return g.client.Exchange(ctx, app, code)
	}
}

// classifyError turns an error of WeChat's into a result, and begins a pause
// where WeChat says that it is asked too often.
func (g *Gate) classifyError(app App, err error) exchangeResult {
	var answer *wechat.Error
	if !errors.As(err, &answer) {
		return exchangeResult{err: newError(ReasonWeChat, err)}
	}
	switch answer.Class() {
	case wechat.ClassRestart, wechat.ClassToken:
		return exchangeResult{err: newError(ReasonWeChat, err), restart: true}
	case wechat.ClassUsedCode:
		return exchangeResult{err: newError(ReasonWeChat, err), restart: true, codeUsed: true}
	case wechat.ClassThrottled:
		g.pauses.Begin(app.ID, pauseLength)
		return exchangeResult{err: newError(ReasonBusy, &busyFor{err, pauseLength}), retryable: answer.Op == wechat.OpExchange}
	case wechat.ClassBusy:
		return exchangeResult{err: newError(ReasonBusy, err), retryable: answer.Op == wechat.OpExchange}
	case wechat.ClassConfig:
		return exchangeResult{err: newError(ReasonConfig, err)}
	case wechat.ClassBlocked:
		return exchangeResult{err: newError(ReasonRefused, err)}
	case wechat.ClassScope:
		if answer.Op == wechat.OpUserInfo {
			return exchangeResult{err: newError(ReasonSnapshot, fmt.Errorf("%w: %w", errSnapshot, err))}
		}
		return exchangeResult{err: newError(ReasonConfig, err)}
	}
	// Whether an answer that broke has spent the code is unknown. A visitor who
	// has waited for the whole time limit is not sent on a second round.
	return exchangeResult{err: newError(ReasonWeChat, err), restart: answer.Code == 0 && !answer.Timeout()}
}

// admitLogin asks who follows, if it should, and the site, and makes the session.
// WeChat is asked until then at most.
func (g *Gate) admitLogin(r *http.Request, until time.Time, a attempt, token wechat.Token, profile *wechat.Profile) exchangeResult {
	s := newSession(a.appID, token)
	if profile != nil {
		s = s.withProfile(*profile, profileFromWeChat)
	}
	follower := g.askFollower(r, until, &s)
	login := &Login{
		User:     s.user,
		Follower: follower,
		Token:    token,
		Profile:  profile,
		Browser:  ClassifyBrowser(r.UserAgent()),
		ReturnTo: a.target,
	}
	if err := g.askSite(r, login); err != nil {
		return exchangeResult{err: err}
	}
	if len(login.Data) > maxData || !utf8.ValidString(login.Data) {
		return exchangeResult{err: newError(ReasonConfig, errBadData)}
	}
	from := profileFromSite
	if profile != nil {
		from = profileFromWeChat // it was asked, whatever OnLogin made of the answer
	}
	if login.Profile != nil {
		s = s.withProfile(*login.Profile, from)
	}
	s.user.Data = strings.Clone(login.Data)
	return exchangeResult{session: s, target: g.targets.Local(login.ReturnTo)}
}

// askSite calls OnLogin. Once called, it has its time: it does not end with the
// visitors who wait for it.
func (g *Gate) askSite(r *http.Request, login *Login) *Error {
	if g.options.OnLogin == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), wechat.Timeout)
	defer cancel()
	var refused, panicked error
	func() {
		defer contain.Panic("OnLogin", &panicked)
		refused = g.options.OnLogin(r.WithContext(ctx), login)
	}()
	switch {
	case panicked != nil:
		return newError(ReasonInternal, panicked)
	case refused != nil:
		return newError(ReasonRefused, refused)
	}
	return nil
}

// pauseLength is how long the gate leaves WeChat alone after 45009 or 45011.
const pauseLength = 30 * time.Second
