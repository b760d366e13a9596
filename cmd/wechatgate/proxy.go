package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/wechatgate/wechatgate"
)

// serveProxy answers a visitor: with a page of the gate's own, with what the site
// behind says, or as the gate answers whom it refuses.
func (s *site) serveProxy(w http.ResponseWriter, r *http.Request) {
	if strings.ToLower(r.Host) != s.base.Host() {
		s.refuse(w, http.StatusMisdirectedRequest)
		return
	}
	target, ok := rawTarget(r)
	if !ok || hasDotSegment(pathOf(target)) {
		s.refuse(w, http.StatusBadRequest)
		return
	}
	seen, inside := s.seen(r)
	switch {
	case !inside && s.isVerifyFile(r):
		s.serveOwn(w, r)
		return
	case !inside && pathOf(target) == s.base.Mount && (r.Method == http.MethodGet || r.Method == http.MethodHead):
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("Location", s.base.String()+"/"+target[len(s.base.Mount):])
		w.WriteHeader(http.StatusFound)
		return
	case !inside:
		s.refuse(w, http.StatusNotFound)
		return
	case s.owns(seen):
		s.serveOwn(w, seen)
		return
	}
	p := &passage{site: s, seen: seen, path: pathOf(target)}
	var err error
	if p.user, err = s.check(w, seen); err != nil {
		s.metrics.challenged.Inc()
		s.gate.Challenge(w, seen, err)
		return
	}
	if p.token, err = s.identity.token(p.user); err != nil {
		s.gate.Challenge(w, seen, err)
		return
	}
	if r.URL.EscapedPath() != p.path && strings.HasPrefix(p.path, "//") {
		s.refuse(w, http.StatusBadRequest) // it cannot be handed on as it was sent
		return
	}
	p.cookies = w.Header()["Set-Cookie"]
	delete(w.Header(), "Set-Cookie")
	s.metrics.allowed.Inc()
	s.metrics.inFlight.Inc()
	defer s.metrics.inFlight.Dec()
	s.proxy.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), passageKey{}, p)))
}

func (s *site) refuse(w http.ResponseWriter, status int) {
	s.metrics.refused.Inc()
	refuse(w, status)
}

// seen returns a request as the gate sees it, below the mount path of BaseURL.
func (s *site) seen(r *http.Request) (*http.Request, bool) {
	u, inside := below(r.URL, s.base.Mount)
	if !inside || u == r.URL {
		return r, inside
	}
	seen := new(http.Request)
	*seen = *r
	seen.URL = u
	return seen, true
}

// passage is a request that may pass.
type passage struct {
	site  *site
	seen  *http.Request // as the gate saw it
	path  string        // as the visitor sent it
	user  wechatgate.User
	token string
	// cookies renew a session. ReverseProxy would forget them after an answer like
	// 103, so they wait for the last one.
	cookies []string
}

type passageKey struct{}

func (s *site) newProxy(earlier *site) {
	s.transport = newTransport(s.settings)
	if earlier != nil && earlier.transport != nil && *earlier.upstream == *s.upstream && earlier.upstreamTimeout == s.upstreamTimeout {
		s.transport = earlier.transport
	}
	s.proxy = &httputil.ReverseProxy{
		Rewrite:        rewrite,
		Transport:      s.transport,
		FlushInterval:  -1,
		ModifyResponse: markAsGated,
		ErrorHandler:   unanswered,
		BufferPool:     &buffers{},
		ErrorLog:       slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
}

func newTransport(s *settings) *http.Transport {
	dialer := &net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}
	t := &http.Transport{
		DialContext:           dialer.DialContext,
		TLSClientConfig:       &tls.Config{MinVersion: tls.VersionTLS12},
		ForceAttemptHTTP2:     true,
		TLSHandshakeTimeout:   10 * time.Second,
		ResponseHeaderTimeout: s.upstreamTimeout,
		ExpectContinueTimeout: time.Second,
		IdleConnTimeout:       30 * time.Second,
		MaxIdleConnsPerHost:   256,
		DisableCompression:    true, // the visitor and the site agree about that
	}
	if socket := s.upstream.socket; socket != "" {
		t.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, "unix", socket)
		}
	}
	return t
}

// rewrite makes the request for the site from the visitor's. Headers that Connection
// names are gone already, so that a visitor cannot have the gate's removed.
func rewrite(r *httputil.ProxyRequest) {
	p, _ := r.In.Context().Value(passageKey{}).(*passage)
	s := p.site
	out := r.Out
	out.URL.Scheme, out.URL.Host = s.upstream.scheme, s.upstream.host
	out.Host = s.base.Host()
	// ReverseProxy drops what it cannot parse, a ";" for instance.
	out.URL.RawQuery, out.URL.ForceQuery = r.In.URL.RawQuery, r.In.URL.ForceQuery
	if out.URL.EscapedPath() != p.path {
		out.URL.Opaque = p.path
	}
	out.Trailer = nil

	h := out.Header
	if !strings.EqualFold(h.Get("Upgrade"), "websocket") {
		// A tunnel of another protocol, h2c above all, takes requests to the site
		// that no gate has seen.
		delete(h, "Connection")
		delete(h, "Upgrade")
		delete(h, "Http2-Settings")
	}
	s.identity.strip(h)
	s.identity.set(h, p.user, p.token)
	scheme, _, _ := strings.Cut(s.base.Origin, ":")
	values := []string{s.base.Host(), scheme, s.trusted.visitor(r.In)}
	h["X-Forwarded-Host"], h["X-Forwarded-Proto"] = values[0:1:1], values[1:2:2]
	if values[2] != "" {
		h["X-Forwarded-For"] = values[2:3:3]
	}
}

// markAsGated says what Require says of the pages behind it, where the site says
// nothing itself.
func markAsGated(r *http.Response) error {
	p, _ := r.Request.Context().Value(passageKey{}).(*passage)
	if len(p.cookies) > 0 {
		r.Header["Set-Cookie"] = append(r.Header["Set-Cookie"], p.cookies...)
	}
	if r.StatusCode == http.StatusSwitchingProtocols {
		return nil
	}
	if len(r.Header["Cache-Control"]) == 0 {
		r.Header["Cache-Control"] = []string{"private, no-cache"}
	}
	if !slices.ContainsFunc(r.Header["Vary"], func(value string) bool { return strings.Contains(strings.ToLower(value), "cookie") }) {
		r.Header.Add("Vary", "Cookie")
	}
	return nil
}

// unanswered is for a site that is down or silent.
func unanswered(w http.ResponseWriter, r *http.Request, err error) {
	p, _ := r.Context().Value(passageKey{}).(*passage)
	if errors.Is(err, context.Canceled) && r.Context().Err() != nil {
		return // the visitor has left
	}
	failure := &wechatgate.Error{Reason: wechatgate.ReasonUpstream, Status: http.StatusBadGateway, Err: describe(err)}
	var timeout interface{ Timeout() bool }
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout() {
		failure.Status = http.StatusGatewayTimeout
	}
	if len(p.cookies) > 0 {
		w.Header()["Set-Cookie"] = p.cookies
	}
	p.site.metrics.upstream.WithLabelValues(fmt.Sprint(failure.Status)).Inc()
	p.site.gate.Challenge(w, p.seen, failure)
}

// describe says what an error is for the log. The text of some has parts of what
// the site answered.
func describe(err error) error {
	var operation *net.OpError
	var timeout interface{ Timeout() bool }
	switch {
	case errors.As(err, &operation):
		return operation
	case errors.As(err, &timeout) && timeout.Timeout():
		return errors.New("no answer within --upstream-timeout")
	}
	return fmt.Errorf("the answer cannot be read (%T)", err)
}

// buffers are used again, as each copy of a body needs one.
type buffers struct{ pool sync.Pool }

const bufferSize = 32 << 10

// Get is for ReverseProxy.
func (b *buffers) Get() []byte {
	if buffer, ok := b.pool.Get().(*[bufferSize]byte); ok {
		return buffer[:]
	}
	return make([]byte, bufferSize)
}

// Put is for ReverseProxy.
func (b *buffers) Put(buffer []byte) { b.pool.Put((*[bufferSize]byte)(buffer)) }
