package wechatgate

import (
	"errors"
	"log/slog"
	"net/http"
	"slices"

	"github.com/wechatgate/wechatgate/internal/contain"
)

// logout ends the session when a form of our own site asks for it, and offers
// such a form to those who follow a link.
func (g *Gate) logout(w http.ResponseWriter, r *http.Request) {
	if !allow(w, r, http.MethodGet, http.MethodPost) {
		return
	}
	if r.Method == http.MethodGet {
		g.logoutPage(w, r)
		return
	}
	if !g.isSameOrigin(r) {
		g.record(r, slog.LevelInfo, "sign-out refused", slog.String("error", "a page of another site asked for it"))
		if isScript(r) {
			http.Error(w, "wechatgate: a page of another site may not sign you out", http.StatusForbidden)
			return
		}
		g.showBuiltIn(w, r, Page{Name: PageError, Status: http.StatusForbidden, SignOutURL: g.targets.Own(pathLogout)}, "cross-site-sign-out")
		return
	}
	destination := g.targets.Own(pathSignedOut)
	if target := logoutTarget(w, r); target != "" {
		destination = g.targets.Location(g.targets.Local(target))
	}
	if err := g.signOut(g.visit(w, r)); err != nil {
		g.fail(w, r, failure{err: err, target: "/"})
		return
	}
	if isScript(r) {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	redirect(w, r, destination)
}

// logoutPage is a button that posts. Who is not signed in needs none.
func (g *Gate) logoutPage(w http.ResponseWriter, r *http.Request) {
	if _, err := g.User(r); errors.Is(err, ErrNotSignedIn) {
		redirect(w, r, g.targets.Own(pathSignedOut))
		return
	}
	g.showPage(w, r, Page{Name: PageSignOut, Status: http.StatusOK, SignOutURL: g.LogoutURL(parameter(r, "return_to"))})
}

// SignOut ends the visitor's session, for a handler of the site's own. It does
// what POST logout does, but writes headers only: the answer is the handler's. It
// does not check where the request comes from: the handler has to be safe from
// other sites' forms, for instance behind [http.CrossOriginProtection]. The error is
// an [*Error] with ReasonSession when a Store failed; nobody is signed out then.
func (g *Gate) SignOut(w http.ResponseWriter, r *http.Request) error {
	if err := g.signOut(g.visit(w, r)); err != nil {
		return err
	}
	return nil
}

func (g *Gate) signOut(v *visit) *Error {
	err := v.err
	if err == nil {
		err = g.sessions.end(v.w, &v.lookup)
	}
	if err != nil {
		return newError(ReasonSession, err)
	}
	held := g.attemptsOf(v)
	// To a machine whose clock is ahead, a sign-in that has just finished may look
	// old. Left behind, it would count against the next one.
	for _, a := range slices.Concat(held.live, held.stale) {
		if !a.finished.IsZero() {
			g.attempts.drop(v.w, a.state)
		}
		// A copy of the attempt's cookie must not sign in with what is kept of
		// its exchange.
		g.exchanges.Forget(a.state)
	}
	g.cookies.Set(v.w, g.attempts.base+suffixSignedOut, "1", g.options.SignedOutFor)
	if v.signedIn {
		g.record(v.r, slog.LevelInfo, "signed out", userAttrs(v.user)...)
		g.tellSite(v)
	}
	return nil
}

// tellSite calls OnLogout. A panic in it is logged and no more: net/http would drop
// the answer, and with it the cookies that sign the visitor out.
func (g *Gate) tellSite(v *visit) {
	if g.options.OnLogout == nil {
		return
	}
	var panicked error
	func() {
		defer contain.Panic("OnLogout", &panicked)
		g.options.OnLogout(v.r, v.user)
	}()
	if panicked != nil {
		g.record(v.r, slog.LevelError, "OnLogout panicked", errorAttrs(newError(ReasonInternal, panicked))...)
	}
}

// isSameOrigin reports whether a request that changes something comes from a page
// of BaseURL's origin.
func (g *Gate) isSameOrigin(r *http.Request) bool {
	return len(r.Header.Get("Origin")) <= maxHeaderRead && g.sameOrigin.Check(r) == nil
}

// logoutTarget reads return_to from the query or the form.
func logoutTarget(w http.ResponseWriter, r *http.Request) string {
	if target := parameter(r, "return_to"); target != "" {
		return target
	}
	return formAlone(w, r, maxForm).PostFormValue("return_to")
}

func (g *Gate) signedOutPage(w http.ResponseWriter, r *http.Request) {
	if !allow(w, r, http.MethodGet, http.MethodHead) {
		return
	}
	if _, err := g.User(r); err == nil {
		redirect(w, r, g.targets.Location("/"))
		return
	}
	g.showPage(w, r, Page{Name: PageSignedOut, Status: http.StatusOK, SignInURL: g.signInURL("/")})
}
