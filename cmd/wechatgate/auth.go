package main

import (
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/wechatgate/wechatgate"
)

// The paths that other proxies ask. They are compared with what was sent, byte for
// byte.
const (
	authPrefix    = "/auth/"
	askStatus     = "/auth/status"
	askChallenge  = "/auth/challenge"
	askEnvoy      = "/auth/envoy"
	askForwarded  = "/auth/forward"
	forwardedFrom = "X-Forwarded-"
)

// serveAuth answers other proxies, and visitors on the gate's own pages.
func (s *site) serveAuth(w http.ResponseWriter, r *http.Request) {
	asked := r.RequestURI
	switch {
	case strings.HasPrefix(asked, askStatus+"/"):
		s.answerStatus(w, r, asked[len(askStatus):])
	case strings.HasPrefix(asked, askChallenge+"/"):
		s.answerChallenge(w, r, asked[len(askChallenge):])
	case strings.HasPrefix(asked, askEnvoy+"/"):
		q, err := s.question(r, r.Method, asked[len(askEnvoy):])
		s.answer(w, r, withoutBody(q), err)
	case pathOf(asked) == askForwarded:
		q, err := s.forwardedQuestion(r)
		s.answer(w, r, withoutBody(q), err)
	case s.isVerifyFile(r):
		s.serveOwn(w, r)
	default:
		seen, inside := s.seen(r)
		if !inside {
			seen = r // the proxy has stripped the mount path
		}
		if !s.owns(seen) {
			s.refuse(w, http.StatusNotFound)
			return
		}
		s.serveOwn(w, seen)
	}
}

// answerStatus is for nginx's auth_request, which knows 200, 401 and 403 and makes
// 500 of the rest.
func (s *site) answerStatus(w http.ResponseWriter, r *http.Request, target string) {
	q, err := s.question(r, r.Method, target)
	if err != nil {
		s.forbid(w, r, err)
		return
	}
	user, err := s.check(w, q)
	if err != nil {
		// The challenge says more, 503 included, when a Store has failed.
		s.metrics.challenged.Inc()
		refuse(w, http.StatusUnauthorized)
		return
	}
	s.allow(w, q, user)
}

// answerChallenge answers, in nginx's place, whom auth_request has refused. It never
// says 2xx.
func (s *site) answerChallenge(w http.ResponseWriter, r *http.Request, target string) {
	q, err := s.question(r, r.Method, target)
	if err != nil {
		s.forbid(w, r, err)
		return
	}
	if _, err := s.check(w, q); err != nil {
		s.gate.Challenge(w, q, err)
		return
	}
	// The visitor has signed in meanwhile: another try will succeed.
	w.Header().Set("Retry-After", "1")
	refuse(w, http.StatusServiceUnavailable)
}

// answer is for proxies that hand on the gate's own answer when it is not 200.
func (s *site) answer(w http.ResponseWriter, r, q *http.Request, err error) {
	if err != nil {
		s.forbid(w, r, err)
		return
	}
	user, err := s.check(w, q)
	if err != nil {
		s.metrics.challenged.Inc()
		s.gate.Challenge(w, q, err)
		return
	}
	s.allow(w, q, user)
}

// allow is the one answer that lets a request pass.
func (s *site) allow(w http.ResponseWriter, q *http.Request, user wechatgate.User) {
	token, err := s.identity.token(user)
	if err != nil {
		s.forbid(w, q, err)
		return
	}
	s.metrics.allowed.Inc()
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Add("Vary", "Cookie")
	s.identity.set(h, user, token)
	h.Set("Content-Length", "0")
	w.WriteHeader(http.StatusOK)
}

var (
	errPeer      = errors.New("X-Forwarded-* count from --trusted-proxy alone, and the request came from elsewhere")
	errForwarded = errors.New("want each of X-Forwarded-Method, -Proto, -Host and -Uri once")
	errHost      = errors.New("X-Forwarded-Host is not the host of --base-url")
	errProto     = errors.New("X-Forwarded-Proto is not the scheme of --base-url")
	errTarget    = errors.New("the target is no path, has a dot segment, or is outside the mount path of --base-url")
	errOwn       = errors.New("the gate's own pages are not behind the gate: hand their requests to it")
)

// question returns the request that a proxy asks about.
func (s *site) question(r *http.Request, method, target string) (*http.Request, error) {
	for name, want := range map[string]string{"Host": s.base.Host(), "Proto": s.scheme()} {
		if said, ok := once(r.Header, name, false); len(r.Header[forwardedFrom+name]) > 0 && (!ok || strings.ToLower(said) != want) {
			if name == "Host" {
				return nil, errHost
			}
			return nil, errProto
		}
	}
	u, err := url.ParseRequestURI(target)
	if err != nil || !strings.HasPrefix(target, "/") || strings.Contains(target, "#") || hasDotSegment(pathOf(target)) {
		return nil, errTarget
	}
	u, inside := below(u, s.base.Mount)
	q := new(http.Request)
	*q = *r
	q.Method, q.URL, q.RequestURI, q.Host = method, u, target, s.base.Host()
	switch {
	case !inside:
		return nil, errTarget
	case s.owns(q):
		return nil, errOwn
	}
	return q, nil
}

// forwardedQuestion is question where the proxy says everything in headers.
func (s *site) forwardedQuestion(r *http.Request) (*http.Request, error) {
	if _, trusted := s.trusted.peer(r); !trusted {
		return nil, errPeer
	}
	method, ok1 := once(r.Header, "Method", false)
	_, ok2 := once(r.Header, "Proto", false)
	_, ok3 := once(r.Header, "Host", false)
	target, ok4 := once(r.Header, "Uri", true)
	if !ok1 || !ok2 || !ok3 || !ok4 || !isMethod(method) {
		return nil, errForwarded
	}
	return s.question(r, method, target)
}

// once returns the value of an X-Forwarded header that is there once.
func once(h http.Header, name string, comma bool) (string, bool) {
	values := h[forwardedFrom+name]
	if len(values) != 1 || values[0] == "" || !comma && strings.Contains(values[0], ",") {
		return "", false
	}
	return values[0], true
}

func isMethod(s string) bool {
	return strings.IndexFunc(s, func(c rune) bool { return (c < 'A' || c > 'Z') && c != '-' }) < 0
}

func (s *site) scheme() string {
	scheme, _, _ := strings.Cut(s.base.Origin, ":")
	return scheme
}

// withoutBody is for proxies that keep a form's body back: what was typed is lost,
// and the page that would keep it has to say so. It says so of what is no UTF-8.
func withoutBody(q *http.Request) *http.Request {
	if q != nil && q.Method == http.MethodPost {
		q.Body = io.NopCloser(strings.NewReader("%FF"))
	}
	return q
}

func (s *site) forbid(w http.ResponseWriter, r *http.Request, err error) {
	if s.metrics.notices.now(err) {
		s.log.WarnContext(r.Context(), "a proxy's question is refused", slog.String("event", "question refused"), slog.String("error", err.Error()))
	}
	s.refuse(w, http.StatusForbidden)
}

// notices are log records that would come with every request, at most one a minute
// for each mistake.
type notices struct {
	mu   sync.Mutex
	last map[string]time.Time
}

const maxNotices = 64 // kinds of mistakes

func (n *notices) now(err error) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	what := err.Error()
	last, found := n.last[what]
	if found && time.Since(last) < time.Minute || !found && len(n.last) >= maxNotices {
		return false
	}
	if n.last == nil {
		n.last = map[string]time.Time{}
	}
	n.last[what] = time.Now()
	return true
}
