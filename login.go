package wechatgate

import (
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"strings"

	"github.com/wechatgate/wechatgate/wechat"
)

// flow chooses for a request. The User-Agent opens no door here: whoever lies
// about it gets a way to sign in that does not work.
func (g *Gate) flow(r *http.Request) Flow {
	b := ClassifyBrowser(r.UserAgent())
	if g.options.Flow != nil {
		if f := g.options.Flow(r, b); f != FlowDefault {
			return f
		}
	}
	phone := isPhone(strings.ToLower(r.UserAgent()))
	return chooseFlow(b, phone, g.options.OfficialAccount.ID != "", g.options.Website.ID != "")
}

// turnAway answers an anonymous request for a gated page.
func (g *Gate) turnAway(w http.ResponseWriter, r *http.Request) {
	if d, ok := g.departureOf(w, r); ok {
		g.askToSignIn(w, r, d)
	}
}

// turnAwayForProfile is turnAway for a page that needs a profile. A QR code is
// scanned once and brings it along; inside WeChat the person is asked later, on
// a page with a button.
func (g *Gate) turnAwayForProfile(w http.ResponseWriter, r *http.Request) {
	if d, ok := g.departureOf(w, r); ok {
		d.profile = d.flow == FlowQR
		g.askToSignIn(w, r, d)
	}
}

// departureOf returns how a visitor who asks for a page would leave for WeChat.
// A request that nobody looks at is answered here, and goes nowhere.
func (g *Gate) departureOf(w http.ResponseWriter, r *http.Request) (departure, bool) {
	if !isNavigation(r) {
		g.unauthorized(w, r)
		return departure{}, false
	}
	setOwnHeaders(w.Header())
	return departure{flow: g.flow(r), target: g.targets.ofRequest(r)}, true
}

func (g *Gate) askToSignIn(w http.ResponseWriter, r *http.Request, d departure) {
	if g.options.KeepFragment && r.Method != http.MethodPost {
		g.showFragmentPage(w, r, d)
		return
	}
	g.departUnasked(w, r, d)
}

// departUnasked is depart for a visitor who has pressed nothing. After a sign-out
// WeChat would sign them in again before they have seen that they are out.
func (g *Gate) departUnasked(w http.ResponseWriter, r *http.Request, d departure) {
	if d.flow == FlowOfficialAccount && hasCookie(r.Header, g.signedOut) {
		g.showPage(w, r, Page{Name: PageSignedOut, Status: http.StatusUnauthorized, SignInURL: g.targets.signIn(d.target)})
		return
	}
	g.depart(w, r, d)
}

// askForProfile answers a signed-in visitor whose profile is not known.
func (g *Gate) askForProfile(w http.ResponseWriter, r *http.Request) {
	d, ok := g.departureOf(w, r)
	if !ok {
		return
	}
	if d.flow != FlowOfficialAccount {
		d.profile = true
		g.depart(w, r, d)
		return
	}
	// WeChat shows a snapshot page, with a made-up account, to people who are
	// asked without having pressed anything.
	g.showPage(w, r, Page{
		Name:      PageConsent,
		Status:    http.StatusUnauthorized,
		SignInURL: g.targets.signIn(d.target, "scope="+string(wechat.ScopeUserInfo)),
	})
}

// login starts a sign-in. A script that leads there by itself says auto=1; all
// others have been asked for by a click.
func (g *Gate) login(w http.ResponseWriter, r *http.Request) {
	if !allow(w, r, http.MethodGet) {
		return
	}
	if isBackground(r) {
		g.unauthorized(w, r)
		return
	}
	query := r.URL.Query()
	d := departure{
		flow:    g.flow(r),
		target:  g.targets.localTarget(query.Get("return_to")),
		profile: query.Get("scope") == string(wechat.ScopeUserInfo),
	}
	if query.Get("flow") == string(FlowQR) && g.options.Website.ID != "" {
		d.flow = FlowQR
	}
	if query.Get("auto") == "1" {
		g.departUnasked(w, r, d)
		return
	}
	g.depart(w, r, d)
}

// departure is a visitor about to leave for WeChat.
type departure struct {
	flow     Flow
	target   string
	profile  bool // nickname and avatar are wanted
	restarts int
}

var errNoApp = errors.New("no app is set for this kind of browser, or Options.Flow chose one that is not set")

// depart sends the visitor the way that the flow says.
func (g *Gate) depart(w http.ResponseWriter, r *http.Request, d departure) {
	switch {
	case d.flow == FlowOfficialAccount && g.options.OfficialAccount.ID != "":
		scope := wechat.ScopeBase
		if d.profile {
			scope = wechat.ScopeUserInfo
		}
		g.leave(w, r, d, attempt{appID: g.options.OfficialAccount.ID, flow: d.flow, scope: scope})
	case d.flow == FlowQR && g.options.Website.ID != "":
		scope := wechat.ScopeLogin
		if d.profile {
			scope = wechat.ScopeUserInfo // of the attempt; WeChat's page knows one scope
		}
		g.leave(w, r, d, attempt{appID: g.options.Website.ID, flow: d.flow, scope: scope})
	case d.flow == FlowOpenInWeChat:
		p := Page{Name: PageOpenInWeChat, Status: http.StatusUnauthorized, PageURL: g.targets.location(d.target)}
		if g.options.Website.ID != "" {
			p.SignInURL = g.targets.signIn(d.target, "flow="+string(FlowQR))
		}
		g.showPage(w, r, p)
	default:
		g.fail(w, r, failure{err: newError(ReasonUnsupported, errNoApp), target: d.target, attrs: []slog.Attr{slog.String("flow", string(d.flow))}})
	}
}

// maxRounds is how many sign-ins may succeed one after the other, within two
// minutes, and leave no session.
const maxRounds = 2

var errNoSessionStays = errors.New("signed in twice within two minutes, and still no session: the browser keeps no cookies, the Store forgets, or CheckSession refuses everybody")

// leave begins an attempt and sends the visitor to WeChat, or shows WeChat's
// frame.
func (g *Gate) leave(w http.ResponseWriter, r *http.Request, d departure, a attempt) {
	a.target, a.restarts = d.target, d.restarts
	v, err := g.sessions.read(r)
	if err != nil {
		g.fail(w, r, failure{err: newError(ReasonSession, err), target: d.target})
		return
	}
	if !v.signedIn {
		a.rounds = g.attempts.rounds(r)
	}
	if a.rounds >= maxRounds {
		g.fail(w, r, failure{err: newError(ReasonSession, errNoSessionStays), target: d.target})
		return
	}
	a, err = g.attempts.begin(w, r, a)
	if err != nil {
		g.fail(w, r, failure{err: newError(ReasonSession, err), target: "/"})
		return
	}
	g.record(r, slog.LevelDebug, "sign-in begun", slog.String("flow", string(a.flow)), slog.String("app_id", a.appID))
	callback := g.targets.own(pathCallback)
	switch {
	case a.flow == FlowOfficialAccount:
		redirect(w, r, g.client.AuthorizeURL(a.appID, callback, a.scope, a.state))
	case g.options.EmbedQR:
		g.showPage(w, r, Page{
			Name:      PageSignIn,
			Status:    http.StatusUnauthorized,
			SignInURL: g.targets.signIn(a.target, "flow="+string(FlowQR)),
			FrameURL:  g.client.QRFrameURL(a.appID, callback, a.state, qrLanguage(r), g.options.QRStyle),
		})
	default:
		redirect(w, r, g.client.QRConnectURL(a.appID, callback, a.state, qrLanguage(r)))
	}
}

// redirect uses 303 where a form was posted, so that it is not posted again.
func redirect(w http.ResponseWriter, r *http.Request, location string) {
	status := http.StatusFound
	if r.Method == http.MethodPost {
		status = http.StatusSeeOther
	}
	w.Header().Set("Location", location)
	w.WriteHeader(status)
}

// qrLanguage is the language of WeChat's QR page.
func qrLanguage(r *http.Request) string {
	if language(r.Header) == "en" {
		return "en"
	}
	return "cn"
}

// showFragmentPage fetches the part of the address that browsers do not send.
func (g *Gate) showFragmentPage(w http.ResponseWriter, r *http.Request, d departure) {
	parameters := []string{"auto=1"}
	if d.profile {
		parameters = append(parameters, "scope="+string(wechat.ScopeUserInfo))
	}
	html, csp, err := renderFragment(language(r.Header), g.targets.signIn(d.target, parameters...))
	writePage(w, http.StatusUnauthorized, html, csp, err)
}

// logout ends the session when a form of our own site asks for it, and offers
// such a form to those who follow a link.
func (g *Gate) logout(w http.ResponseWriter, r *http.Request) {
	if !allow(w, r, http.MethodGet, http.MethodPost) {
		return
	}
	if r.Method == http.MethodGet {
		address := g.targets.own(pathLogout)
		if target := r.URL.Query().Get("return_to"); target != "" {
			address += "?return_to=" + url.QueryEscape(g.targets.localTarget(target))
		}
		g.showPage(w, r, Page{Name: PageSignOut, Status: http.StatusOK, SignOutURL: address})
		return
	}
	if err := g.sameOrigin.Check(r); err != nil {
		g.record(r, slog.LevelInfo, "sign-out refused", slog.String("error", err.Error()))
		http.Error(w, "wechatgate: a page of another site may not sign you out", http.StatusForbidden)
		return
	}
	destination := g.targets.own(pathSignedOut)
	if target := logoutTarget(w, r); target != "" {
		destination = g.targets.location(g.targets.localTarget(target))
	}
	v, err := g.sessions.read(r)
	if err == nil {
		err = g.sessions.end(w, r)
	}
	if err != nil {
		g.fail(w, r, failure{err: newError(ReasonSession, err), target: "/"})
		return
	}
	g.attempts.forgetFinished(w, r)
	g.cookies.set(w, g.signedOut, "1", g.options.SignedOutFor)
	if v.signedIn {
		g.record(r, slog.LevelInfo, "signed out", userAttrs(v.user)...)
		if g.options.OnLogout != nil {
			g.options.OnLogout(r, v.user)
		}
	}
	redirect(w, r, destination)
}

// logoutTarget reads return_to from the query or the form.
func logoutTarget(w http.ResponseWriter, r *http.Request) string {
	if target := r.URL.Query().Get("return_to"); target != "" {
		return target
	}
	form := r.WithContext(r.Context()) // parsing changes a request
	form.Body = http.MaxBytesReader(w, r.Body, 64<<10)
	return form.PostFormValue("return_to")
}

func (g *Gate) signedOutPage(w http.ResponseWriter, r *http.Request) {
	if !allow(w, r, http.MethodGet, http.MethodHead) {
		return
	}
	g.showPage(w, r, Page{Name: PageSignedOut, Status: http.StatusUnauthorized, SignInURL: g.targets.signIn("/")})
}
