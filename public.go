package wechatgate

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path"
	"strings"
)

// publicMatcher decides which requests need no sign-in, by the patterns of
// Options.Public. The nil matcher lets nothing through.
type publicMatcher struct{ mux *http.ServeMux }

// newPublicMatcher compiles patterns, and returns every mistake in them.
func newPublicMatcher(patterns []string) (*publicMatcher, error) {
	if len(patterns) == 0 {
		return nil, nil
	}
	m := &publicMatcher{mux: http.NewServeMux()}
	var errs []error
	for i, pattern := range patterns {
		if err := m.add(pattern); err != nil {
			errs = append(errs, optionError(fmt.Sprintf("Public[%d]", i), "%q: %w", pattern, err))
		}
	}
	return m, errors.Join(errs...)
}

func (m *publicMatcher) add(pattern string) (err error) {
	method, pathPart, hasMethod := strings.Cut(pattern, " ")
	if !hasMethod {
		pathPart = pattern
	}
	// A Host header says whatever the visitor likes.
	if pathPart = strings.TrimLeft(pathPart, " \t"); !strings.HasPrefix(pathPart, "/") {
		return errors.New(`want a pattern of http.ServeMux without a host, like "GET /static/"`)
	}
	defer func() {
		if problem := recover(); problem != nil {
			err = fmt.Errorf(`want a pattern of http.ServeMux, like "GET /static/": %v`, problem)
		}
	}()
	m.mux.Handle(pattern, public{})
	if decoded, err := url.PathUnescape(pathPart); err != nil || method == http.MethodConnect || !isPlainPath(decoded, pathPart) {
		return errors.New(`no request can match it: want a clean path without encoded slashes, "\", "#" and control characters, and not CONNECT`)
	}
	return nil
}

// public marks what the mux found for a pattern of ours: the mux also answers
// with redirects to a path that would match, and those are not public.
type public struct{}

func (public) ServeHTTP(http.ResponseWriter, *http.Request) {}

// matches reports whether a request may pass without signing in. Only a path
// that every program on the way reads alike can be public.
func (m *publicMatcher) matches(r *http.Request) bool {
	if m == nil || r.Method == http.MethodConnect || !isPlainPath(r.URL.Path, r.URL.RawPath) {
		return false
	}
	handler, _ := m.mux.Handler(r)
	_, ok := handler.(public)
	return ok
}

func isPlainPath(p, rawPath string) bool {
	if !strings.HasPrefix(p, "/") || strings.IndexFunc(p, isControl) >= 0 || strings.ContainsAny(p, `\#`) {
		return false
	}
	// RawPath is set where the path holds an encoded slash, among others.
	if strings.Contains(strings.ToLower(rawPath), "%2f") {
		return false
	}
	clean := path.Clean(p)
	return p == clean || clean != "/" && p == clean+"/"
}
