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

	"github.com/wechatgate/wechatgate/internal/once"
	"github.com/wechatgate/wechatgate/internal/pause"
	"github.com/wechatgate/wechatgate/internal/recent"
	"github.com/wechatgate/wechatgate/internal/seal"
	"github.com/wechatgate/wechatgate/internal/target"
	"github.com/wechatgate/wechatgate/internal/vault"
	"github.com/wechatgate/wechatgate/wechat"
	"github.com/wechatgate/wechatgate/wechat/account"
	"github.com/wechatgate/wechatgate/wechat/push"
)

// Gate keeps pages for visitors who have signed in with WeChat. Make one with
// [New]. Its settings are fixed by New and by wrapping handlers; it serves any
// number of goroutines.
//
// A Gate keeps no visitors: they live in sealed cookies, or in Options.Store, so
// that any instance with the same Options can finish what another began. What it
// remembers besides, such as exchanges under way, is bounded and never lets
// anyone in.
type Gate struct {
	// Behind a pointer, because package fmt prints unexported fields: a Gate
	// inside another value would show its keys.
	*gate
}

type gate struct {
	options    *Options // never changed; a pointer for the same reason, as a verb that does not fit follows one
	have       means
	targets    target.Targets
	mountPath  string // of BaseURL, decoded
	public     *target.Public
	cookies    seal.Attributes
	attempts   attempts
	sessions   *sessionJar
	checks     seal.Sealer // for CheckConfig's question
	client     wechat.Client
	exchanges  *once.Group[exchangeResult]
	pauses     *pause.Set       // by AppID, where WeChat said that it was asked too often
	account    *account.Account // nil without OfficialAccount
	codes      codeBook
	chatServer *push.Handler // nil without a chat's server
	sameOrigin *http.CrossOriginProtection
	openOrigin string // of WeChat's pages

	loginRequired, profileRequired preparedChallenge

	profiles atomic.Bool // some page needs more than an openid, so every QR sign-in reads the profile
	notices  notices
}

// New returns a Gate, or every mistake in the options at once: an error that
// joins an [*OptionError] for each, naming its field and saying what would be
// right. It does not call WeChat; see [Gate.CheckConfig].
func New(options Options) (*Gate, error) { return newGate(options, nil) }

// newGate makes a Gate that goes on with what an earlier one remembers, if there
// is one.
func newGate(options Options, earlier *gate) (*Gate, error) {
	o := options.withDefaults()
	public, err := o.validate()
	if err != nil {
		return nil, err
	}
	base, _ := target.ParseBase(o.BaseURL, o.InsecureBaseURL)
	sameOrigin := http.NewCrossOriginProtection()
	if err := sameOrigin.AddTrustedOrigin(base.Origin); err != nil {
		return nil, optionError("BaseURL", "%w", err)
	}
	var (
		targets = target.Targets{Base: base, Prefix: o.Prefix}
		cookies = seal.Attributes{Secure: base.Secure}
		name    = cookies.Name(o.CookieName)
		binding = base.String() + "\n" + o.CookieName
		sealer  = func(purpose string) seal.Sealer { return seal.New(o.SessionKeys, purpose, binding) }
	)
	kept := vault.InCookie(sealer("session"), name)
	if o.Store != nil {
		kept = vault.InStore(o.Store, name, binding, o.SessionLifetime, base.Secure)
	}
	var lately *recent.Table[opened]
	if o.Store == nil {
		lately = recent.New[opened]()
	}
	mountPath, err := url.PathUnescape(base.Mount)
	if err != nil {
		return nil, optionError("BaseURL", "%w", err)
	}
	g := &gate{
		options:   &o,
		have:      o.means(),
		targets:   targets,
		mountPath: mountPath,
		public:    public,
		cookies:   cookies,
		attempts:  attempts{cookies: cookies, sealer: sealer("attempt"), base: name},
		sessions: &sessionJar{
			vault:    kept,
			cookies:  cookies,
			name:     name,
			appIDs:   o.appIDs(),
			lifetime: o.SessionLifetime,
			idle:     o.IdleTimeout,
			seen:     sealer("last seen"),
			recent:   lately,
		},
		checks:     sealer("check"),
		client:     wechat.Client{HTTP: o.HTTPClient, Endpoints: o.Endpoints},
		exchanges:  newExchanges(),
		pauses:     &pause.Set{},
		sameOrigin: sameOrigin,
		openOrigin: originOf(o.Endpoints.Open),

		loginRequired:   newChallenge("login_required", targets.Own(pathLogin)),
		profileRequired: newChallenge("profile_required", targets.Own(pathLogin)+"?"+askForProfile),
	}
	if o.OfficialAccount.ID != "" {
		g.account = account.New(o.OfficialAccount, g.client)
		g.account.Logger = o.Logger
	}
	g.inherit(earlier)
	gate := &Gate{g}
	if g.have.code() {
		gate.openCodes(sealer("codes"), earlier)
	}
	return gate, nil
}

// Format writes which site the gate is for, whatever the verb. It keeps secrets
// and keys in.
func (g Gate) Format(f fmt.State, _ rune) {
	if g.gate == nil {
		_, _ = fmt.Fprint(f, "wechatgate.Gate(none)")
		return
	}
	_, _ = fmt.Fprint(f, "wechatgate.Gate(", g.targets.Base, ")")
}

// LogValue returns what Format writes.
func (g Gate) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(g)) }

// originOf returns the origin of an address that was found to be one.
func originOf(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return address
	}
	return u.Scheme + "://" + u.Host
}

// Require lets a request through when its visitor is signed in, with the [User]
// in its context. Others are sent to sign in and come back to the page they
// asked for; requests of scripts and images are answered with
// Options.Unauthorized. When a Store or CheckSession fails, the gate stays closed
// and answers 503.
//
// It serves the gate's own pages, too, so that
//
//	http.ListenAndServe(addr, gate.Require(mux))
//
// is a whole program. When single routes are wrapped instead, mount the gate as
// well: mux.Handle("/wechat/", gate).
//
// next gets the very same ResponseWriter, with Vary: Cookie and Cache-Control:
// private, no-cache set, which it may replace. With no-store, the Back button
// shows nothing after a sign-out.
func (g *Gate) Require(next http.Handler) http.Handler { return g.wrap("Require", needSession, next) }

// RequireProfile is Require for pages that show nickname and picture: it lets a
// request through when both were read for this session.
//
// Inside WeChat the person is asked on a page that says why, with a button, as
// WeChat shows a snapshot page with a made-up account to those who are asked
// without one. By QR code, the profile comes with the sign-in: where RequireProfile
// or RequireUnionID wraps anything, every QR sign-in reads it, so that one scan is
// enough. A profile that OnLogin supplies counts, so that nobody is asked twice.
func (g *Gate) RequireProfile(next http.Handler) http.Handler {
	g.profiles.Store(true)
	return g.wrap("RequireProfile", needProfile, next)
}

// RequireUnionID is Require for pages that need to know who a person is across
// the apps of one Open Platform account. A session with a unionid passes. Inside
// WeChat the person is asked for the profile, which brings it; by QR code it comes
// with the sign-in.
//
// Where WeChat was asked within the last 10 minutes and gave none, because the
// account is bound to no Open Platform account, the page is 500 with
// [ReasonConfig], and the log has the hint.
func (g *Gate) RequireUnionID(next http.Handler) http.Handler {
	g.profiles.Store(true)
	return g.wrap("RequireUnionID", needUnionID, next)
}

// Optional lets every request through, with a [User] in its context if its
// visitor is signed in. It never redirects and never fails: while a Store or
// CheckSession fails, the visitor is anonymous, and the log says why.
//
// It serves the gate's own pages, as Require does.
func (g *Gate) Optional(next http.Handler) http.Handler {
	return g.wrap("Optional", needNothing, next)
}

func (g *Gate) wrap(method string, n need, next http.Handler) http.Handler {
	if next == nil {
		panic("wechatgate: " + method + " needs a handler")
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if g.serveOwn(w, r) {
			return
		}
		v := &visit{w: w, r: r} // on the stack
		g.sessions.readInto(&v.lookup, r)
		switch a, err := g.admit(v, n); a {
		case accessGranted:
			setGatedHeaders(w.Header())
			next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), userKey{}, &v.opened.user)))
		case accessAnonymous:
			if err != nil {
				g.record(r, slog.LevelError, "session unavailable", errorAttrs(err)...)
			}
			setGatedHeaders(w.Header())
			if ctx := contextWithoutUser(r.Context()); ctx != r.Context() {
				r = r.WithContext(ctx)
			}
			next.ServeHTTP(w, r)
		case accessUnavailable:
			g.fail(w, r, failure{err: err, target: g.targets.OfRequest(r)})
		default:
			g.challenge(v, n)
		}
	})
}

// Check decides as [Gate.Require] does, for programs that answer themselves: a
// reverse proxy, or one that other proxies ask. It writes at most the cookies that
// renew or end a session, and no answer.
//
// A nil error lets the request through; the User is zero for an anonymous visitor
// of Options.Public. Otherwise hand the error to [Gate.Challenge]: it is
// [ErrNotSignedIn], or an [*Error] with ReasonSession when a Store or CheckSession
// failed.
//
// Check knows nothing of the gate's own pages, to which everybody has access: ask
// [Gate.Owns] first.
func (g *Gate) Check(w http.ResponseWriter, r *http.Request) (User, error) {
	return g.check(w, r, needSession)
}

// CheckProfile is Check, deciding as [Gate.RequireProfile] does. For a visitor
// who is signed in, and whose profile is not known, the error is
// [ErrProfileRequired].
func (g *Gate) CheckProfile(w http.ResponseWriter, r *http.Request) (User, error) {
	g.profiles.Store(true)
	return g.check(w, r, needProfile)
}

func (g *Gate) check(w http.ResponseWriter, r *http.Request, n need) (User, error) {
	v := g.visit(w, r)
	switch a, err := g.admit(v, n); a {
	case accessGranted:
		return v.user, nil
	case accessAnonymous:
		if err != nil {
			g.record(r, slog.LevelError, "session unavailable", errorAttrs(err)...)
		}
		return User{}, nil
	case accessUnavailable:
		return User{}, err
	}
	cause := ErrNotSignedIn
	if v.signedIn {
		cause = ErrProfileRequired
	}
	return User{}, &challengeError{error: cause, need: n, visit: v}
}

// challengeError carries what Check found to Challenge, so that a Store is asked
// once for a request.
type challengeError struct {
	error
	need  need
	visit *visit
}

func (e *challengeError) Unwrap() error { return e.error }

// Challenge answers a request that [Gate.Check] or [Gate.CheckProfile] refused, as
// Require or RequireProfile would have: err says which. An [*Error] gets the page
// that goes with its Reason, with its Status (that of the Reason where it is none),
// and one log record. A nil error counts as [ErrNotSignedIn], any other as
// [ReasonInternal].
func (g *Gate) Challenge(w http.ResponseWriter, r *http.Request, err error) {
	var (
		refused *challengeError
		failed  *Error
	)
	switch {
	case errors.As(err, &refused):
		v := refused.visit
		v.w, v.r = w, r
		g.challenge(v, refused.need)
	case errors.Is(err, ErrProfileRequired):
		g.challenge(g.visit(w, r), needProfile)
	case errors.As(err, &failed):
		if failed.Status < http.StatusBadRequest || failed.Status > 599 {
			failed = newError(failed.Reason, failed.Err)
		}
		g.fail(w, r, failure{err: failed, target: g.targets.OfRequest(r)})
	case err == nil || errors.Is(err, ErrNotSignedIn):
		g.challenge(g.visit(w, r), needSession)
	default:
		g.fail(w, r, failure{err: newError(ReasonInternal, err), target: "/"})
	}
}

// User returns the visitor of a request that did not pass the gate. The error is
// [ErrNotSignedIn], or an [*Error] with ReasonSession when a Store or CheckSession
// failed. It writes no cookie.
func (g *Gate) User(r *http.Request) (User, error) {
	l := g.sessions.read(r)
	if l.err != nil {
		return User{}, newError(ReasonSession, l.err)
	}
	if !l.signedIn {
		return User{}, ErrNotSignedIn
	}
	err := g.checkSession(r, l.user)
	switch {
	case errors.Is(err, ErrSessionRevoked):
		return User{}, ErrNotSignedIn
	case err != nil:
		return User{}, newError(ReasonSession, err)
	}
	return l.user, nil
}

// visit is a request at the gate, and what was read of its cookies, once.
type visit struct {
	w http.ResponseWriter
	r *http.Request
	lookup

	heldRead bool
	held     heldAttempts
}

func (g *Gate) visit(w http.ResponseWriter, r *http.Request) *visit {
	v := &visit{w: w, r: r}
	g.sessions.readInto(&v.lookup, r)
	return v
}

// attemptsOf reads the attempts of a visit where they are needed first.
func (g *Gate) attemptsOf(v *visit) heldAttempts {
	if !v.heldRead {
		v.held, v.heldRead = g.attempts.read(&v.vault.Cookies), true
	}
	return v.held
}

// admit finds the facts about a visit, carries out what CheckSession says, and
// writes the cookies that are due. The error goes with accessUnavailable, or says
// why the visitor of an open page is anonymous.
func (g *Gate) admit(v *visit, n need) (access, *Error) {
	if v.signedIn {
		switch err := g.checkSession(v.r, v.user); {
		case errors.Is(err, ErrSessionRevoked):
			return g.revoke(v, n)
		case err != nil:
			v.err = err
		}
	}
	due := v.err == nil && g.sessions.due(&v.lookup)
	facts := v.visitor()
	public := (due || facts.unavailable || !facts.has(n)) && g.public.Matches(v.r)
	if due && (!public || g.sessions.dueOnPublic(&v.lookup)) {
		if err := g.sessions.renew(v.w, &v.lookup); err != nil {
			v.err = err
			facts.unavailable = true
		}
	}
	a := decideAccess(n, facts, public)
	if v.err != nil {
		return a, newError(ReasonSession, v.err)
	}
	return a, nil
}

// revoke ends a session that CheckSession does not accept. The answer of a public
// page stays free of cookies; there the visitor is anonymous.
func (g *Gate) revoke(v *visit, n need) (access, *Error) {
	g.record(v.r, slog.LevelInfo, "session revoked", userAttrs(v.user)...)
	public := g.public.Matches(v.r)
	if !public {
		if err := g.sessions.end(v.w, &v.lookup); err != nil {
			v.err = err
		}
	}
	v.signedIn = false
	a := decideAccess(n, v.visitor(), public)
	if v.err != nil {
		return a, newError(ReasonSession, v.err)
	}
	return a, nil
}

func (g *Gate) checkSession(r *http.Request, u User) error {
	if g.options.CheckSession == nil {
		return nil
	}
	return g.options.CheckSession(r, u)
}

// app returns the app with that ID, if it is one of this gate's.
func (g *Gate) app(id string) (App, bool) {
	switch {
	case id == "":
		return App{}, false
	case id == g.options.OfficialAccount.ID:
		return g.options.OfficialAccount, true
	case id == g.options.Website.ID:
		return g.options.Website, true
	}
	return App{}, false
}

// flow chooses for a request. The User-Agent never grants access: a visitor who
// lies about it gets a way to sign in that does not work.
func (g *Gate) flow(r *http.Request) Flow {
	b := ClassifyBrowser(r.UserAgent())
	if g.options.Flow != nil {
		if f := g.options.Flow(r, b); f != FlowDefault {
			return f
		}
	}
	onPhone := b == BrowserMobile || b == BrowserWeCom && isOnPhone(r.UserAgent())
	return chooseFlow(b, onPhone, g.have)
}

// isOwn reports whether a path is one of the gate's own, and its name.
func (g *Gate) isOwn(path string) (name string, own bool) {
	return strings.CutPrefix(path, g.options.Prefix)
}
