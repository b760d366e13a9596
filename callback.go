package wechatgate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/wechatgate/wechatgate/wechat"
)

// callback takes a visitor back from WeChat. The order of its checks is what
// keeps others out: nothing is asked of WeChat, and nothing of the visitor's is
// changed, before state and attempt are known to belong to this browser.
func (g *Gate) callback(w http.ResponseWriter, r *http.Request) {
	if !allow(w, r, http.MethodGet) {
		return
	}
	query, err := parseCallback(r.URL.RawQuery)
	if err != nil {
		g.fail(w, r, failure{err: newError(ReasonState, err), target: "/"})
		return
	}
	v, err := g.sessions.read(r)
	if err != nil {
		// The code is not spent: reloading the page can still succeed.
		g.fail(w, r, failure{err: newError(ReasonSession, err), target: "/"})
		return
	}
	a, err := g.attempts.find(r, query.state)
	switch {
	case query.denied:
		g.denied(w, r, a, err)
	case err != nil && v.signedIn:
		// The Back button, or an address that somebody shared.
		g.arriveAt(w, "/")
	case errors.Is(err, errNoAttempt) && !query.again:
		html, csp, err := renderReload(language(r.Header), g.targets.own(pathCallback)+"?"+query.again1())
		writePage(w, http.StatusOK, html, csp, err)
	case err != nil:
		g.fail(w, r, failure{err: newError(ReasonState, err), target: "/"})
	case !a.finished.IsZero() && v.signedIn:
		g.arriveAt(w, a.target)
	case !a.finished.IsZero():
		g.fail(w, r, failure{err: newError(ReasonState, errSpentAttempt), target: a.target, attrs: a.attrs()})
	case !v.signedIn && g.attempts.rounds(r) >= maxRounds:
		g.fail(w, r, failure{err: newError(ReasonSession, errNoSessionStays), target: a.target, attrs: a.attrs()})
	default:
		g.finish(w, r, a, query.code, v.signedIn)
	}
}

var (
	errSpentAttempt = errors.New("this sign-in was finished already")
	errBadCallback  = errors.New("the callback's code or state is missing, doubled or malformed")
	errDenied       = errors.New("the visitor refused")
	errSnapshot     = errors.New("a snapshot account: WeChat showed the page without the visitor's consent")
	errOtherUnionID = errors.New("token and profile have different unionids")
	errUnknownApp   = errors.New("the attempt's app is none of this gate's: the options were changed meanwhile")
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

// again1 is the same query, marked as the second try.
func (q callbackQuery) again1() string {
	return "code=" + url.QueryEscape(q.code) + "&state=" + q.state + "&again=1"
}

// attrs describes the attempt in the log.
func (a attempt) attrs() []slog.Attr {
	return []slog.Attr{slog.String("flow", string(a.flow)), slog.String("app_id", a.appID)}
}

// arriveAt sends the visitor to a target.
func (g *Gate) arriveAt(w http.ResponseWriter, target string) {
	w.Header().Set("Location", g.targets.locationWithFragment(target))
	w.WriteHeader(http.StatusSeeOther)
}

func (g *Gate) denied(w http.ResponseWriter, r *http.Request, a attempt, err error) {
	f := failure{err: newError(ReasonDenied, errDenied), target: "/"}
	if err == nil {
		f.target, f.attrs = a.target, a.attrs()
		if a.finished.IsZero() {
			g.attempts.drop(w, a.state)
		}
	}
	g.fail(w, r, f)
}

// finish exchanges the code of an attempt that belongs to this browser, and
// begins the session.
func (g *Gate) finish(w http.ResponseWriter, r *http.Request, a attempt, code string, signedIn bool) {
	came, err := g.flights.do(r.Context(), a.state, func(ctx context.Context) arrival {
		return g.exchange(r.WithContext(ctx), a, code)
	})
	switch {
	case err != nil: // the visitor has left
		g.fail(w, r, failure{err: newError(ReasonWeChat, err), target: a.target, attrs: a.attrs()})
	case came.codeUsed && signedIn:
		g.attempts.finish(w, a)
		g.arriveAt(w, a.target)
	case came.restart && a.restarts == 0:
		g.restart(w, r, a, came.err)
	case came.err != nil:
		if !came.passing {
			g.attempts.drop(w, a.state)
		}
		g.fail(w, r, failure{err: came.err, target: a.target, attrs: a.attrs()})
	default:
		g.welcome(w, r, a, came)
	}
}

// welcome writes the session. It is the only place that does.
func (g *Gate) welcome(w http.ResponseWriter, r *http.Request, a attempt, came arrival) {
	if err := g.sessions.begin(w, r, came.session); err != nil {
		g.fail(w, r, failure{err: newError(ReasonSession, err), target: a.target, attrs: a.attrs()})
		return
	}
	g.attempts.finish(w, a)
	if hasCookie(r.Header, g.signedOut) {
		g.cookies.remove(w, g.signedOut)
	}
	g.record(r, slog.LevelInfo, "signed in", append(userAttrs(came.session.user),
		slog.String("flow", string(a.flow)),
		slog.String("browser", string(ClassifyBrowser(r.UserAgent()))))...)
	g.arriveAt(w, came.target)
}

// restart begins the attempt anew, once.
func (g *Gate) restart(w http.ResponseWriter, r *http.Request, a attempt, cause *Error) {
	g.record(r, slog.LevelWarn, "sign-in restarted", append(errorAttrs(cause), a.attrs()...)...)
	g.attempts.drop(w, a.state)
	g.depart(w, r, departure{
		flow:     a.flow,
		target:   a.target,
		profile:  a.scope == wechat.ScopeUserInfo,
		restarts: a.restarts + 1,
	})
}

// exchange asks WeChat and the site who the visitor is. It runs once for all
// callbacks of an attempt, and r's context does not end with any one of them.
func (g *Gate) exchange(r *http.Request, a attempt, code string) arrival {
	ctx, cancel := context.WithTimeout(r.Context(), wechat.Timeout)
	defer cancel()
	app, ok := g.app(a.appID)
	if !ok {
		return arrival{err: newError(ReasonState, errUnknownApp)}
	}
	token, err := g.redeem(ctx, app, code)
	if err != nil {
		return judge(err)
	}
	if token.Snapshot {
		return arrival{err: newError(ReasonSnapshot, errSnapshot)}
	}
	var profile *wechat.Profile
	if a.scope == wechat.ScopeUserInfo && token.Scope.AllowsProfile() {
		p, err := g.client.UserInfo(ctx, token.AccessToken, token.OpenID, wechatLanguage(r))
		if err != nil {
			return judge(err)
		}
		if token.UnionID != "" && p.UnionID != "" && token.UnionID != p.UnionID {
			return arrival{err: newError(ReasonWeChat, errOtherUnionID)}
		}
		profile = &p
	}
	return g.admit(r, a, token, profile)
}

// busyWait is how long the gate waits before it asks a busy WeChat once more.
const busyWait = 300 * time.Millisecond

// redeem exchanges the code, once more where WeChat says that it was busy or
// where it cannot have seen the code.
func (g *Gate) redeem(ctx context.Context, app App, code string) (wechat.Token, error) {
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

// judge turns an error of WeChat's into an answer for the visitor.
func judge(err error) arrival {
	var answer *wechat.Error
	if !errors.As(err, &answer) {
		return arrival{err: newError(ReasonWeChat, err)}
	}
	switch answer.Class() {
	case wechat.ClassRestart, wechat.ClassToken:
		return arrival{err: newError(ReasonWeChat, err), restart: true}
	case wechat.ClassUsedCode:
		return arrival{err: newError(ReasonWeChat, err), restart: true, codeUsed: true}
	case wechat.ClassBusy, wechat.ClassThrottled:
		return arrival{err: newError(ReasonBusy, err), passing: answer.Op == wechat.OpExchange}
	case wechat.ClassConfig:
		return arrival{err: newError(ReasonConfig, err)}
	case wechat.ClassBlocked:
		return arrival{err: newError(ReasonRefused, err)}
	case wechat.ClassScope:
		if answer.Op == wechat.OpUserInfo {
			return arrival{err: newError(ReasonSnapshot, fmt.Errorf("%w: %w", errSnapshot, err))}
		}
		return arrival{err: newError(ReasonConfig, err)}
	}
	// Nobody knows whether an answer that broke has spent the code. A visitor
	// who has waited for the whole time limit is not sent on a second round.
	return arrival{err: newError(ReasonWeChat, err), restart: answer.Code == 0 && !answer.Timeout()}
}

// admit asks the site, and makes the session.
func (g *Gate) admit(r *http.Request, a attempt, token wechat.Token, profile *wechat.Profile) arrival {
	came := arrival{session: newSession(a.appID, token, profile), target: a.target}
	if g.options.OnLogin == nil {
		return came
	}
	ctx, cancel := context.WithTimeout(r.Context(), wechat.Timeout)
	defer cancel()
	login := &Login{
		User:     came.session.user,
		Token:    token,
		Profile:  profile,
		Browser:  ClassifyBrowser(r.UserAgent()),
		ReturnTo: a.target,
	}
	if err := g.options.OnLogin(r.WithContext(ctx), login); err != nil {
		return arrival{err: newError(ReasonRefused, err)}
	}
	if login.Profile != nil {
		came.session = came.session.withProfile(*login.Profile)
	}
	came.target = g.targets.localTarget(login.ReturnTo)
	return came
}

func (g *Gate) app(id string) (App, bool) {
	switch id {
	case "":
		return App{}, false
	case g.options.OfficialAccount.ID:
		return g.options.OfficialAccount, true
	case g.options.Website.ID:
		return g.options.Website, true
	}
	return App{}, false
}

// wechatLanguage is the language of places in a profile.
func wechatLanguage(r *http.Request) string {
	return strings.ReplaceAll(language(r.Header), "-", "_")
}
