package wechatgate

import (
	"errors"
	"log/slog"
	"net/http"

	"github.com/wechatgate/wechatgate/wechat"
)

// signInRequest is a visitor who is to sign in, and how.
type signInRequest struct {
	flow     Flow
	target   string
	profile  bool // more than the openid is wanted
	asked    bool // the person pressed a button for it
	restarts int

	newNumber bool   // of FlowCode: not the number that waits already
	words     string // of the built-in page
}

// challenge answers a request for a gated page that may not pass.
func (g *Gate) challenge(v *visit, n need) {
	f := challengeFacts{need: n, navigation: isNavigation(v.r)}
	f.visitor = v.visitor()
	var q signInRequest
	if f.navigation {
		setOwnHeaders(v.w.Header())
		q = signInRequest{flow: flowFor(g.flow(v.r), n, f.visitor, g.have), target: g.targets.OfRequest(v.r)}
		q.profile = wantsProfile(q.flow, n, f.visitor)
		f.post = v.r.Method == http.MethodPost
		f.sameOrigin = f.post && g.isSameOrigin(v.r)
		f.keepFragment = g.options.KeepFragment
		f.signInFacts = g.signInFacts(v, q)
	}
	g.carryOut(v, q, decideChallenge(f), n)
}

// login starts a sign-in.
func (g *Gate) login(w http.ResponseWriter, r *http.Request) {
	if !allow(w, r, http.MethodGet) {
		return
	}
	v := &visit{w: w, r: r}
	if isBackground(r) {
		g.carryOut(v, signInRequest{}, stepUnauthorized, needSession)
		return
	}
	g.sessions.readInto(&v.lookup, r)
	if v.err != nil {
		g.fail(w, r, failure{err: newError(ReasonSession, v.err), target: "/"})
		return
	}
	q := signInRequest{
		flow:    g.flow(r),
		target:  g.targets.Local(parameter(r, "return_to")),
		profile: parameter(r, "scope") == string(wechat.ScopeUserInfo),
		// A script that leads here by itself says auto=1, unless it is another
		// site's.
		asked:     parameter(r, "auto") != "1" && !isCrossSite(r),
		newNumber: parameter(r, "new") == "1",
	}
	switch parameter(r, "flow") {
	case string(FlowQR):
		if g.have.website {
			q.flow = FlowQR
		}
	case string(FlowCode):
		if g.have.code() {
			q.flow = FlowCode
		}
	}
	if q.profile {
		q.flow = flowFor(q.flow, needProfile, v.visitor(), g.have)
	}
	g.signIn(v, q)
}

// signIn sends a visitor the way that the decision says.
func (g *Gate) signIn(v *visit, q signInRequest) {
	g.carryOut(v, q, decideSignIn(g.signInFacts(v, q)), needSession)
}

func (g *Gate) signInFacts(v *visit, q signInRequest) signInFacts {
	return signInFacts{
		flow:      q.flow,
		have:      g.have,
		visitor:   v.visitor(),
		profile:   q.profile,
		asked:     q.asked,
		signedOut: v.vault.Cookies.Has(suffixSignedOut),
		finished:  len(g.attemptsOf(v).finishes()),
	}
}

var (
	errNoApp          = errors.New("no app is set for this kind of browser, or Options.Flow chose one that is not set")
	errNoSessionStays = errors.New("signed in twice within two minutes, and still no session: the browser keeps no cookies, the Store forgets, or CheckSession refuses everybody")
	errTooMany        = errors.New("signed in five times within two minutes: a page or a script leads to the sign-in again and again")
	errNoUnionID      = errors.New("WeChat gave no unionid, though it was asked for the profile: bind the account to an Open Platform account (open.weixin.qq.com: 管理中心 - 公众号 - 绑定公众号)")
)

// carryOut does what was decided about a visitor who is to sign in.
func (g *Gate) carryOut(v *visit, q signInRequest, s step, n need) {
	switch s {
	case stepUnauthorized:
		g.unauthorized(v.w, v.r, n >= needProfile && v.signedIn)
	case stepNoUnionID:
		g.fail(v.w, v.r, failure{err: newError(ReasonConfig, errNoUnionID), target: q.target, attrs: userAttrs(v.user)})
	case stepKeepForm:
		g.keepForm(v, q)
	case stepFragment:
		g.showFragmentPage(v, q)
	case stepSignedOut:
		g.showPage(v.w, v.r, Page{Name: PageSignedOut, Status: http.StatusUnauthorized, SignInURL: g.signInURL(q.target)})
	case stepConsent:
		g.showPage(v.w, v.r, Page{Name: PageConsent, Status: http.StatusUnauthorized, SignInURL: g.signInURL(q.target, askForProfile)})
	case stepTooMany:
		g.fail(v.w, v.r, failure{err: newError(ReasonSession, &busyFor{errTooMany, finishedLifetime}), target: q.target, words: "too-many"})
	case stepLoop:
		g.fail(v.w, v.r, failure{err: newError(ReasonSession, &busyFor{errNoSessionStays, finishedLifetime}), target: q.target})
	case stepWeChat, stepQR:
		g.leave(v, q)
	case stepCode:
		g.showCodePage(v, q)
	case stepOpenInWeChat:
		g.showOpenInWeChat(v, q)
	default:
		g.fail(v.w, v.r, failure{err: newError(ReasonUnsupported, errNoApp), target: q.target, attrs: []slog.Attr{slog.String("flow", string(q.flow))}})
	}
}

// leave begins an attempt and sends the visitor to WeChat, or shows WeChat's
// frame.
func (g *Gate) leave(v *visit, q signInRequest) {
	a, ok := g.begin(v, g.attemptFor(q), "sign-in begun")
	if !ok {
		return
	}
	g.noticeUnmounted(v.r, v.held)
	callback := g.targets.Own(pathCallback)
	switch {
	case a.flow == FlowOfficialAccount:
		redirect(v.w, v.r, g.client.AuthorizeURL(a.appID, callback, a.scope, a.state))
	case g.options.EmbedQR:
		p := Page{
			Name:      PageSignIn,
			Status:    http.StatusUnauthorized,
			SignInURL: g.signInURL(a.target, "flow="+string(FlowQR)),
			FrameURL:  g.client.QRFrameURL(a.appID, callback, a.state, qrLanguage(v.r), g.options.QRStyle),
		}
		if g.have.code() {
			p.CodeSignInURL = g.signInURL(a.target, "flow="+string(FlowCode))
		}
		g.showPage(v.w, v.r, p)
	default:
		redirect(v.w, v.r, g.client.QRConnectURL(a.appID, callback, a.state, qrLanguage(v.r)))
	}
}

// begin stores an attempt in the browser, or answers that it cannot.
func (g *Gate) begin(v *visit, a attempt, event string) (attempt, bool) {
	a, err := g.attempts.begin(v.w, g.attemptsOf(v), a)
	if err != nil {
		g.fail(v.w, v.r, failure{err: newError(ReasonSession, err), target: "/"})
		return attempt{}, false
	}
	g.record(v.r, slog.LevelDebug, event, a.attrs()...)
	g.noteOrigin(v.r)
	return a, true
}

// attemptFor makes the attempt of a sign-in at WeChat.
func (g *Gate) attemptFor(q signInRequest) attempt {
	a := attempt{flow: q.flow, target: q.target, restarts: q.restarts}
	switch {
	case q.flow == FlowOfficialAccount && q.profile:
		a.appID, a.scope, a.profile = g.options.OfficialAccount.ID, wechat.ScopeUserInfo, profileNeeded
	case q.flow == FlowOfficialAccount:
		a.appID, a.scope = g.options.OfficialAccount.ID, wechat.ScopeBase
	case q.profile:
		a.appID, a.scope, a.profile = g.options.Website.ID, wechat.ScopeLogin, profileNeeded
	case g.profiles.Load():
		a.appID, a.scope, a.profile = g.options.Website.ID, wechat.ScopeLogin, profileWelcome
	default:
		a.appID, a.scope = g.options.Website.ID, wechat.ScopeLogin
	}
	return a
}

// showOpenInWeChat offers the page's address to WeChat, and the QR code of the
// website app to a second device.
func (g *Gate) showOpenInWeChat(v *visit, q signInRequest) {
	p := Page{Name: PageOpenInWeChat, Status: http.StatusUnauthorized, PageURL: g.targets.Location(q.target)}
	if g.have.website {
		p.SignInURL = g.signInURL(q.target, "flow="+string(FlowQR))
	}
	g.showPage(v.w, v.r, p)
}

// qrLanguage is the language of WeChat's QR page.
func qrLanguage(r *http.Request) string {
	if language(r.Header) == "en" {
		return "en"
	}
	return "cn"
}
