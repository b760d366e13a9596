package wechatgate

import (
	"encoding/hex"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"strings"

	"github.com/wechatgate/wechatgate/wechat"
)

// The gate's own paths, below Options.Prefix.
const (
	pathLogin     = "login"
	pathCallback  = "callback"
	pathLogout    = "logout"
	pathSignedOut = "signed-out"
	pathUser      = "user"
	pathResend    = "resend"
	pathCheck     = "check"
	pathCode      = "code"
	pathMessages  = "messages"
	pathJSConfig  = "js-config"
)

// ServeHTTP serves the gate's own pages below Options.Prefix, and
// Options.VerifyFiles at the root.
func (g *Gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !g.serveOwn(w, r) {
		setOwnHeaders(w.Header())
		http.NotFound(w, r)
	}
}

// Owns reports whether a request is for one of the gate's own pages, or one of
// Options.VerifyFiles: what [Gate.ServeHTTP] answers, and Require without asking
// who the visitor is.
func (g *Gate) Owns(r *http.Request) bool {
	if _, own := g.isOwn(r.URL.Path); own {
		return true
	}
	_, isFile := g.verifyFile(r.URL.Path)
	return isFile || g.isUnstripped(r.URL.Path)
}

// serveOwn answers requests for the gate's own pages, and reports whether this
// was one.
func (g *Gate) serveOwn(w http.ResponseWriter, r *http.Request) bool {
	name, own := g.isOwn(r.URL.Path)
	if !own {
		return g.serveVerifyFile(w, r) || g.serveUnstripped(w, r)
	}
	if !g.notices.served.Load() {
		g.notices.served.Store(true)
	}
	setOwnHeaders(w.Header())
	switch name {
	case pathLogin:
		g.login(w, r)
	case pathCallback:
		g.callback(w, r)
	case pathLogout:
		g.logout(w, r)
	case pathSignedOut:
		g.signedOutPage(w, r)
	case pathUser:
		g.whoAmI(w, r)
	case pathResend:
		g.resendPage(w, r)
	case pathCheck:
		g.answerCheck(w, r, false)
	case pathCode:
		g.codeForm(w, r)
	case pathMessages:
		g.messages(w, r)
	case pathJSConfig:
		g.jsConfigPage(w, r)
	default:
		if number, scanned := strings.CutPrefix(name, pathCode+"/"); scanned {
			g.scanned(w, r, number)
			return true
		}
		g.notFound(w, r)
	}
	return true
}

func (g *Gate) verifyFile(path string) (content string, found bool) {
	if len(g.options.VerifyFiles) == 0 || !strings.HasPrefix(path, "/") {
		return "", false
	}
	content, found = g.options.VerifyFiles[path[1:]]
	return content, found
}

// serveVerifyFile answers WeChat's console, which proves a domain by a file at
// its root, without signing in.
func (g *Gate) serveVerifyFile(w http.ResponseWriter, r *http.Request) bool {
	content, found := g.verifyFile(r.URL.Path)
	if !found {
		return false
	}
	setOwnHeaders(w.Header())
	if !allow(w, r, http.MethodGet, http.MethodHead) {
		return true
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write([]byte(content))
	return true
}

// isUnstripped reports whether a path is one of the gate's own, with the mount
// path of BaseURL still in front of it.
func (g *Gate) isUnstripped(path string) bool {
	return g.mountPath != "" && strings.HasPrefix(path, g.mountPath) && strings.HasPrefix(path[len(g.mountPath):], g.options.Prefix)
}

var errUnstripped = errors.New("the request's path begins with the mount path of BaseURL, which has to be stripped before the gate")

// serveUnstripped ends a loop: visitors who come back from WeChat to a path that
// no page of the gate has would be sent to sign in again.
func (g *Gate) serveUnstripped(w http.ResponseWriter, r *http.Request) bool {
	if !g.isUnstripped(r.URL.Path) {
		return false
	}
	g.notices.served.Store(true)
	setOwnHeaders(w.Header())
	if strings.TrimPrefix(r.URL.Path, g.mountPath+g.options.Prefix) == pathCheck {
		g.answerCheck(w, r, true)
		return true
	}
	if g.notices.mount.now() {
		g.record(r, slog.LevelError, "the mount path is not stripped",
			slog.String("path", head(r.URL.Path)),
			slog.String("base_url", g.targets.Base.String()),
			slog.String("hint", `the gate sees paths below BaseURL: wrap it in http.StripPrefix("`+g.mountPath+`", …), or let the proxy strip it`),
			slog.String("docs", docsTroubleshooting+"the-mount-path-is-not-stripped"))
	}
	err := newError(ReasonConfig, errUnstripped)
	g.showPageWith(w, r, Page{Name: PageError, Status: err.Status, Err: err}, "mount")
	return true
}

// notFound answers below Prefix where there is no page.
func (g *Gate) notFound(w http.ResponseWriter, r *http.Request) {
	if !isNavigation(r) {
		http.NotFound(w, r)
		return
	}
	g.showBuiltIn(w, r, Page{Name: PageError, Status: http.StatusNotFound}, "not-found")
}

// whoAmI tells a script who is signed in.
func (g *Gate) whoAmI(w http.ResponseWriter, r *http.Request) {
	if !allow(w, r, http.MethodGet, http.MethodHead) {
		return
	}
	v := g.visit(w, r)
	switch a, err := g.admit(v, needSession); {
	case a == accessUnavailable || err != nil:
		g.failJSON(w, r, err)
	case v.signedIn:
		writeJSON(w, http.StatusOK, encodeJSON(v.user))
	default:
		g.unauthorized(w, r, false)
	}
}

// failJSON is fail for a page that only scripts ask for.
func (g *Gate) failJSON(w http.ResponseWriter, r *http.Request, err *Error) {
	g.record(r, slog.LevelError, "session unavailable", errorAttrs(err)...)
	w.Header().Set("Retry-After", "5")
	writeJSON(w, err.Status, encodeJSON(map[string]string{"error": string(err.Reason)}))
}

// signInURL returns the address that starts a sign-in which ends at target.
func (g *Gate) signInURL(target string, parameters ...string) string {
	parameters = append(parameters, "return_to="+url.QueryEscape(target))
	return g.targets.Own(pathLogin) + "?" + strings.Join(parameters, "&")
}

const askForProfile = "scope=" + string(wechat.ScopeUserInfo)

// LoginURL returns the address that starts a sign-in, absolute, for a link. The
// visitor comes back to returnTo, a path of this site below BaseURL; anything
// else becomes "/".
func (g *Gate) LoginURL(returnTo string) string { return g.signInURL(g.targets.Local(returnTo)) }

// LogoutURL returns the address to which a form posts to sign out, absolute; a
// link to it leads to a page with such a form. The visitor comes to returnTo
// afterwards, a path of this site below BaseURL; "" leads to the page that says
// that they are signed out.
func (g *Gate) LogoutURL(returnTo string) string {
	address := g.targets.Own(pathLogout)
	if returnTo == "" {
		return address
	}
	return address + "?return_to=" + url.QueryEscape(g.targets.Local(returnTo))
}

// checkAnswer is what the page "check" says to CheckConfig.
type checkAnswer struct {
	Proof      string `json:"proof"`                // of the nonce, with this gate's keys
	Unstripped bool   `json:"unstripped,omitempty"` // the mount path stands in the path that arrived
}

// answerCheck proves to CheckConfig that an address leads to this gate. Whoever
// asks learns nothing but that.
func (g *Gate) answerCheck(w http.ResponseWriter, r *http.Request, unstripped bool) {
	if !allow(w, r, http.MethodGet) {
		return
	}
	nonce := parameter(r, "nonce")
	if !isState(nonce) {
		http.Error(w, "wechatgate: want a nonce of 32 hexadecimal digits", http.StatusBadRequest)
		return
	}
	writeJSON(w, http.StatusOK, encodeJSON(checkAnswer{Proof: hex.EncodeToString(g.checks.MACs(nonce)[0]), Unstripped: unstripped}))
}
