package wechatgate

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// failure is what went wrong, and where the visitor wanted to go.
type failure struct {
	err    *Error
	target string
	again  string // where trying again leads; default: the sign-in that ends at target
	words  string // of the page, where the reason alone does not choose them
	attrs  []slog.Attr
}

// wordsCodeLimit are for a phone that has had five codes for one number.
const wordsCodeLimit = "code-limit"

// fail answers with the page that goes with the error, and writes its record.
func (g *Gate) fail(w http.ResponseWriter, r *http.Request, f failure) {
	setOwnHeaders(w.Header())
	reference := g.recordFailure(r, f.err, f.attrs)
	if seconds := retryAfter(f.err); seconds > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(seconds))
	}
	if _, own := g.isOwn(r.URL.Path); !own && !isNavigation(r) {
		writeJSON(w, f.err.Status, encodeJSON(map[string]string{"error": string(f.err.Reason), "reference": reference}))
		return
	}
	again := f.again
	if again == "" {
		again = g.signInURL(f.target)
	}
	p := Page{Name: PageError, Status: f.err.Status, Reference: reference, Err: f.err}
	switch f.err.Reason {
	case ReasonState, ReasonDenied, ReasonWeChat, ReasonBusy, ReasonCode:
		p.Name, p.SignInURL = PageRetry, again
	case ReasonSnapshot:
		p.Name, p.SignInURL = PageSnapshot, again
	case ReasonSession:
		p.SignInURL = again
	case ReasonUnsupported:
		p.PageURL = g.targets.Location(f.target)
	case ReasonUpstream:
		p.SignInURL = g.targets.Location(g.targets.OfRequest(r))
	}
	if f.words == wordsCodeLimit {
		p.SignInURL = "" // the same number gets no more codes
	}
	var refused *refusal
	if errors.As(f.err, &refused) {
		p.Message = refused.message
	}
	g.showPageWith(w, r, p, f.words)
}

// recordFailure writes the one record of a failed sign-in, which an operator can
// find by the reference on the page.
func (g *Gate) recordFailure(r *http.Request, err *Error, more []slog.Attr) (reference string) {
	reference = rand.Text()[:8]
	attrs := append(errorAttrs(err), slog.String("reference", reference), browserAttr(r))
	if section := troubleshooting(err); section != "" {
		attrs = append(attrs, slog.String("docs", docsTroubleshooting+section))
	}
	level := slog.LevelInfo
	if err.Status >= http.StatusInternalServerError && !errors.Is(err, context.Canceled) {
		level = slog.LevelError
	}
	g.record(r, level, "sign-in failed", append(attrs, more...)...)
	return reference
}

// busyFor is an error that ends by itself.
type busyFor struct {
	error
	left time.Duration
}

func (e *busyFor) Unwrap() error { return e.error }

// retryAfter is how many seconds from now another try may succeed, or 0.
func retryAfter(err *Error) int {
	var busy *busyFor
	switch {
	case errors.As(err, &busy):
		return max(1, int((busy.left+time.Second-1)/time.Second))
	case err.Status == http.StatusServiceUnavailable:
		return 5
	}
	return 0
}

// Challenge is why a non-navigation request gets 401, and where its visitor can
// sign in.
type Challenge struct {
	Error    string `json:"error"`     // "login_required", or "profile_required" for a visitor who is signed in and lacks a profile or unionid
	LoginURL string `json:"login_url"` // absolute; add return_to, a path below BaseURL
}

type challengeKey struct{}

// ChallengeFromContext returns why a request got to Options.Unauthorized. It
// reports false for every other request.
func ChallengeFromContext(ctx context.Context) (Challenge, bool) {
	c, ok := ctx.Value(challengeKey{}).(Challenge)
	return c, ok
}

// unauthorized answers a request that no person looks at. Nothing about it is
// sealed or opened.
func (g *Gate) unauthorized(w http.ResponseWriter, r *http.Request, profile bool) {
	setOwnHeaders(w.Header())
	c := &g.loginRequired
	if profile {
		c = &g.profileRequired
	}
	if g.options.Unauthorized == nil {
		writeJSON(w, http.StatusUnauthorized, c.body)
		return
	}
	g.options.Unauthorized.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), challengeKey{}, c.Challenge)))
}

// preparedChallenge has its JSON at hand: to encode it for each request would cost
// more than all the rest of the answer.
type preparedChallenge struct {
	Challenge
	body []byte
}

func newChallenge(code, loginURL string) preparedChallenge {
	c := Challenge{Error: code, LoginURL: loginURL}
	return preparedChallenge{c, encodeJSON(c)}
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
		h.Set("Cache-Control", gatedCacheControl)
		vary(h, "Cookie")
		return
	}
	values := []string{gatedCacheControl, "Cookie"}
	h["Cache-Control"], h["Vary"] = values[0:1:1], values[1:2:2]
}

// gatedCacheControl makes a browser ask again before it shows a page that it
// kept: the session may have ended. The Back button does not ask; only no-store
// closes that.
const gatedCacheControl = "private, no-cache"

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

// redirect uses 303 where a form was posted, so that it is not posted again.
func redirect(w http.ResponseWriter, r *http.Request, location string) {
	status := http.StatusFound
	if r.Method == http.MethodPost {
		status = http.StatusSeeOther
	}
	w.Header().Set("Location", location)
	w.WriteHeader(status)
}

// arriveAt leads the visitor to a target, with a fragment of its own: without
// one, browsers keep "#wechat_redirect" from WeChat's address.
func (g *Gate) arriveAt(w http.ResponseWriter, target string) {
	w.Header().Set("Location", g.targets.LocationWithFragment(target))
	w.WriteHeader(http.StatusSeeOther)
}

func writeJSON(w http.ResponseWriter, status int, body []byte) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

// encodeJSON is for what always has an encoding.
func encodeJSON(v any) []byte {
	var b strings.Builder
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false) // addresses hold "&"
	if err := encoder.Encode(v); err != nil {
		panic("wechatgate: " + err.Error())
	}
	return []byte(b.String())
}

// parameter returns the first value of a query's parameter. Unlike url.ParseQuery
// it costs next to nothing for a query of a megabyte, of which it reads the
// beginning.
func parameter(r *http.Request, name string) string {
	rest := r.URL.RawQuery[:min(len(r.URL.RawQuery), maxQueryRead)]
	for range maxParameters {
		var pair string
		pair, rest, _ = strings.Cut(rest, "&")
		key, value, _ := strings.Cut(pair, "=")
		if key == name {
			value, err := url.QueryUnescape(value)
			if err != nil {
				return ""
			}
			return value
		}
		if rest == "" {
			return ""
		}
	}
	return ""
}

const (
	maxQueryRead  = 32 << 10 // a target of 6 KB, percent-encoded, and more
	maxParameters = 64
)
