package wechatgate

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/wechatgate/wechatgate/wechat"
)

// Gate keeps pages for visitors who have signed in with WeChat. Make one with
// [New]. It never changes, and serves any number of goroutines.
//
// A Gate keeps no visitors: they live in sealed cookies, or in Options.Store, so
// that any instance with the same Options can finish what another began.
type Gate struct {
	options    Options
	targets    targets
	public     *publicMatcher
	cookies    cookies
	attempts   attempts
	sessions   *sessionJar
	client     wechat.Client
	flights    *flights
	sameOrigin *http.CrossOriginProtection
	openOrigin string // of WeChat's pages
	signedOut  string // name of the cookie that holds back silent sign-ins
}

// New returns a Gate, or every mistake in the options at once: an error that
// joins one error for each, naming its field and saying what would be right.
// It does not call WeChat; see [Gate.CheckConfig].
func New(options Options) (*Gate, error) {
	o := options.withDefaults()
	public, err := newPublicMatcher(o.Public)
	if err := errors.Join(o.validate(), err); err != nil {
		return nil, err
	}
	base, _ := parseBaseURL(o.BaseURL, o.InsecureBaseURL)
	sameOrigin := http.NewCrossOriginProtection()
	if err := sameOrigin.AddTrustedOrigin(base.origin); err != nil {
		return nil, optionError("BaseURL", "%w", err)
	}
	cookies := newCookies(base.secure)
	name := cookies.prefix + o.CookieName
	jar := &sessionJar{
		cookies:    cookies,
		name:       name,
		lifetime:   o.SessionLifetime,
		idle:       o.IdleTimeout,
		seenName:   name + "-seen",
		seenSealer: newSealer(o.SessionKeys, "last seen"),
	}
	for _, app := range [...]App{o.OfficialAccount, o.Website} {
		if app.ID != "" {
			jar.appIDs = append(jar.appIDs, app.ID)
		}
	}
	jar.vault = cookieVault{sealer: newSealer(o.SessionKeys, "session"), name: name}
	if o.Store != nil {
		jar.vault = storeVault{store: o.Store, name: name, lifetime: o.SessionLifetime, secure: base.secure}
	}
	targets := targets{base: base, prefix: o.Prefix}
	if o.Unauthorized == nil {
		o.Unauthorized = loginRequired(targets.own(pathLogin))
	}
	return &Gate{
		options:    o,
		targets:    targets,
		public:     public,
		cookies:    cookies,
		attempts:   attempts{cookies: cookies, sealer: newSealer(o.SessionKeys, "attempt"), prefix: name + "-login-"},
		sessions:   jar,
		client:     wechat.Client{HTTP: o.HTTPClient, Endpoints: o.Endpoints},
		flights:    newFlights(),
		sameOrigin: sameOrigin,
		openOrigin: originOf(o.Endpoints.Open),
		signedOut:  name + "-signed-out",
	}, nil
}

// Format writes which site the gate is for. It keeps secrets and keys in: package
// fmt looks into unexported fields.
func (g *Gate) Format(f fmt.State, _ rune) {
	_, _ = fmt.Fprint(f, "wechatgate.Gate(", g.targets.base, ")")
}

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
// Options.Unauthorized. When nobody can tell, because a Store failed, the gate
// stays closed.
//
// It serves the gate's own pages, too, so that
//
//	http.ListenAndServe(addr, gate.Require(mux))
//
// is a whole program. When single routes are wrapped instead, mount the gate as
// well: mux.Handle("/wechat/", gate).
//
// next gets the very same ResponseWriter, with Vary: Cookie and Cache-Control:
// private set, which it may replace.
func (g *Gate) Require(next http.Handler) http.Handler {
	mustHave("Require", next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if g.serveOwn(w, r) {
			return
		}
		v, err := g.visit(w, r)
		switch {
		case v.signedIn:
			g.pass(w, r, next, v.user)
		case g.public.matches(r):
			g.passAnonymous(w, r, next, err)
		case err != nil:
			g.fail(w, r, failure{err: err, target: g.targets.ofRequest(r)})
		default:
			g.turnAway(w, r)
		}
	})
}

// RequireProfile is Require for pages that show nickname and avatar: it lets a
// request through when both were read for this session.
//
// Inside WeChat the person is asked on a page that says why, with a button, as
// WeChat shows a snapshot page with a made-up account to those who are asked
// without one. By QR code, the profile comes with the sign-in. A profile that
// OnLogin supplies counts, so that nobody is asked twice.
func (g *Gate) RequireProfile(next http.Handler) http.Handler {
	mustHave("RequireProfile", next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if g.serveOwn(w, r) {
			return
		}
		v, err := g.visit(w, r)
		switch {
		case v.signedIn && v.hasProfile:
			g.pass(w, r, next, v.user)
		case g.public.matches(r) && v.signedIn:
			g.pass(w, r, next, v.user)
		case g.public.matches(r):
			g.passAnonymous(w, r, next, err)
		case err != nil:
			g.fail(w, r, failure{err: err, target: g.targets.ofRequest(r)})
		case v.signedIn:
			g.askForProfile(w, r)
		default:
			g.turnAwayForProfile(w, r)
		}
	})
}

// Optional lets every request through, with a [User] in its context if its
// visitor is signed in. It never redirects and never fails: with a Store that is
// out of order, everybody is anonymous, and the log says so.
//
// It serves the gate's own pages, as Require does.
func (g *Gate) Optional(next http.Handler) http.Handler {
	mustHave("Optional", next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if g.serveOwn(w, r) {
			return
		}
		v, err := g.visit(w, r)
		if v.signedIn {
			g.pass(w, r, next, v.user)
			return
		}
		g.passAnonymous(w, r, next, err)
	})
}

// ServeHTTP serves the gate's own pages: login, callback, logout and signed-out
// below Options.Prefix, and Options.VerifyFiles at the root.
func (g *Gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !g.serveOwn(w, r) {
		setOwnHeaders(w.Header())
		http.NotFound(w, r)
	}
}

// User returns the visitor of a request that did not pass the gate. The error is
// [ErrNotSignedIn], or an [*Error] with ReasonSession when nobody can tell. It
// writes no cookie.
func (g *Gate) User(r *http.Request) (User, error) {
	v, err := g.sessions.read(r)
	if err != nil {
		return User{}, newError(ReasonSession, err)
	}
	if !v.signedIn {
		return User{}, ErrNotSignedIn
	}
	err = g.checkSession(r, v.user)
	switch {
	case errors.Is(err, ErrSessionRevoked):
		return User{}, ErrNotSignedIn
	case err != nil:
		return User{}, newError(ReasonSession, err)
	}
	return v.user, nil
}

// serveOwn answers requests for the gate's own pages, and reports whether this
// was one.
func (g *Gate) serveOwn(w http.ResponseWriter, r *http.Request) bool {
	name, own := strings.CutPrefix(r.URL.Path, g.options.Prefix)
	if !own {
		return g.serveVerifyFile(w, r)
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
	default:
		http.NotFound(w, r)
	}
	return true
}

// serveVerifyFile answers WeChat's console, which proves a domain by a file at
// its root, without signing in.
func (g *Gate) serveVerifyFile(w http.ResponseWriter, r *http.Request) bool {
	if len(g.options.VerifyFiles) == 0 || !strings.HasPrefix(r.URL.Path, "/") {
		return false
	}
	content, ok := g.options.VerifyFiles[r.URL.Path[1:]]
	if !ok {
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

// visit finds out who the visitor is, ends sessions that CheckSession revokes,
// and writes the cookies that follow. Signed in or not, an error means that the
// visitor must not be let in as anybody.
func (g *Gate) visit(w http.ResponseWriter, r *http.Request) (visit, *Error) {
	v, err := g.sessions.read(r)
	if err != nil {
		return visit{}, newError(ReasonSession, err)
	}
	if v.signedIn {
		err = g.checkSession(r, v.user)
		if errors.Is(err, ErrSessionRevoked) {
			g.record(r, slog.LevelInfo, "session revoked", userAttrs(v.user)...)
			if err := g.sessions.end(w, r); err != nil {
				return visit{}, newError(ReasonSession, err)
			}
			return visit{}, nil
		}
		if err != nil {
			return visit{}, newError(ReasonSession, err)
		}
	}
	if err := g.sessions.tidy(w, v); err != nil {
		return visit{}, newError(ReasonSession, err)
	}
	return v, nil
}

func (g *Gate) checkSession(r *http.Request, u User) error {
	if g.options.CheckSession == nil {
		return nil
	}
	return g.options.CheckSession(r, u)
}

// pass hands the request of a signed-in visitor on.
func (g *Gate) pass(w http.ResponseWriter, r *http.Request, next http.Handler, u User) {
	setGatedHeaders(w.Header())
	next.ServeHTTP(w, r.WithContext(ContextWithUser(r.Context(), u)))
}

// passAnonymous hands a request on that needs no visitor.
func (g *Gate) passAnonymous(w http.ResponseWriter, r *http.Request, next http.Handler, err *Error) {
	if err != nil {
		g.record(r, slog.LevelError, "session unavailable", errorAttrs(err)...)
	}
	setGatedHeaders(w.Header())
	next.ServeHTTP(w, r)
}

// failure is what went wrong, and where the visitor wanted to go.
type failure struct {
	err    *Error
	target string
	attrs  []slog.Attr // for the log, beside the error's own
}

// fail answers with the page that goes with the error, and writes the one record
// that an operator can find by the reference on the page.
func (g *Gate) fail(w http.ResponseWriter, r *http.Request, f failure) {
	setOwnHeaders(w.Header())
	reference := rand.Text()[:8]
	attrs := append(errorAttrs(f.err), slog.String("reference", reference), slog.String("browser", string(ClassifyBrowser(r.UserAgent()))))
	if section := troubleshooting(f.err); section != "" {
		attrs = append(attrs, slog.String("docs", docsTroubleshooting+section))
	}
	level := slog.LevelInfo
	if f.err.Status >= http.StatusInternalServerError {
		level = slog.LevelError
	}
	g.record(r, level, "sign-in failed", append(attrs, f.attrs...)...)
	if seconds := retryAfter(f.err); seconds > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(seconds))
	}
	if !strings.HasPrefix(r.URL.Path, g.options.Prefix) && !isNavigation(r) {
		writeJSON(w, f.err.Status, encodeJSON(map[string]string{"error": string(f.err.Reason), "reference": reference}))
		return
	}
	p := Page{Name: PageError, Status: f.err.Status, Reference: reference, Err: f.err}
	switch f.err.Reason {
	case ReasonState, ReasonDenied, ReasonWeChat, ReasonBusy:
		p.Name, p.SignInURL = PageRetry, g.targets.signIn(f.target)
	case ReasonSnapshot:
		p.Name, p.SignInURL = PageSnapshot, g.targets.signIn(f.target)
	case ReasonSession:
		p.SignInURL = g.targets.signIn(f.target)
	}
	g.showPage(w, r, p)
}

const docsTroubleshooting = "https://github.com/wechatgate/wechatgate/blob/main/docs/troubleshooting.md#"

// troubleshooting is the section of the documentation that helps whoever reads
// the log. A visitor's refusal, and the site's own, need none.
func troubleshooting(err *Error) string {
	switch err.Reason {
	case ReasonState:
		return "reason-state-sign-in-was-not-completed"
	case ReasonSnapshot:
		return "the-page-says-使用完整服务"
	case ReasonUnsupported:
		return "please-open-this-page-in-wechat"
	case ReasonWeChat, ReasonConfig, ReasonBusy:
		return "errcodes-in-the-log"
	case ReasonSession:
		return "signing-in-goes-round-and-round"
	}
	return ""
}

// retryAfter is how many seconds from now another try may succeed, or 0.
func retryAfter(err *Error) int {
	switch {
	case errors.Is(err, errNoSessionStays):
		return int(finishedLifetime.Seconds())
	case err.Status == http.StatusServiceUnavailable:
		return 5
	}
	return 0
}

// unauthorized answers a request that no person looks at.
func (g *Gate) unauthorized(w http.ResponseWriter, r *http.Request) {
	setOwnHeaders(w.Header())
	g.options.Unauthorized.ServeHTTP(w, r)
}

// loginRequired is the default of Options.Unauthorized. Its answer is always the
// same: not to encode it again saves such a request a quarter of its cost.
func loginRequired(loginURL string) http.Handler {
	body := encodeJSON(struct {
		Error    string `json:"error"`
		LoginURL string `json:"login_url"`
	}{"login_required", loginURL})
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusUnauthorized, body)
	})
}

// record writes a log record. Event is its message and, so that it can be
// counted, an attribute, too.
func (g *Gate) record(r *http.Request, level slog.Level, event string, attrs ...slog.Attr) {
	g.options.Logger.LogAttrs(r.Context(), level, "wechatgate: "+event, append([]slog.Attr{slog.String("event", event)}, attrs...)...)
}

func userAttrs(u User) []slog.Attr {
	sum := sha256.Sum256([]byte(u.Key()))
	return []slog.Attr{
		slog.String("app_id", u.AppID),
		slog.String("user", hex.EncodeToString(sum[:4])),
	}
}

func errorAttrs(err *Error) []slog.Attr {
	attrs := []slog.Attr{slog.String("reason", string(err.Reason))}
	if err.Err != nil {
		attrs = append(attrs, slog.String("error", err.Err.Error()))
	}
	var answer *wechat.Error
	if errors.As(err, &answer) {
		attrs = append(attrs, slog.String("op", answer.Op), slog.Int("errcode", answer.Code))
		if rid := answer.RID(); rid != "" {
			attrs = append(attrs, slog.String("rid", rid))
		}
		if hint := answer.Hint(); hint != "" {
			attrs = append(attrs, slog.String("hint", hint))
		}
	}
	return attrs
}

// setOwnHeaders sets what every answer of the gate itself carries. No cache may
// keep them: browsers in WeChat keep even redirects.
func setOwnHeaders(h http.Header) {
	h.Set("Cache-Control", "no-store")
	vary(h, "Cookie, User-Agent")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
}

// setGatedHeaders sets what the handler's answers carry unless it says otherwise.
// The two values share one allocation, as each page view pays for it.
func setGatedHeaders(h http.Header) {
	if len(h["Vary"]) > 0 {
		h.Set("Cache-Control", "private")
		vary(h, "Cookie")
		return
	}
	values := []string{"private", "Cookie"}
	h["Cache-Control"], h["Vary"] = values[0:1:1], values[1:2:2]
}

// vary adds to what others said about Vary, once.
func vary(h http.Header, value string) {
	if !slices.Contains(h["Vary"], value) {
		h["Vary"] = append(h["Vary"], value)
	}
}

// allow answers other methods than these with 405.
func allow(w http.ResponseWriter, r *http.Request, methods ...string) bool {
	if slices.Contains(methods, r.Method) {
		return true
	}
	w.Header().Set("Allow", strings.Join(methods, ", "))
	http.Error(w, http.StatusText(http.StatusMethodNotAllowed), http.StatusMethodNotAllowed)
	return false
}

func writeJSON(w http.ResponseWriter, status int, body []byte) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

// encodeJSON is for what always has an encoding.
func encodeJSON(v any) []byte {
	body, err := json.Marshal(v)
	if err != nil {
		panic("wechatgate: " + err.Error())
	}
	return append(body, '\n')
}

func mustHave(method string, next http.Handler) {
	if next == nil {
		panic("wechatgate: " + method + " needs a handler")
	}
}
