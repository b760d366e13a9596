package target

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Public decides which requests need no sign-in, by the patterns of
// Options.Public. The nil Public names none.
//
// Programs differ in which path they route by: the decoded one, the one as it
// was sent, or the escaped one. So a request is public only if all of these
// match, each taken literally, and if nothing in the path has two meanings.
// Under "/assets/", "/%61ssets/x" is not public: some routers take its first
// segment for "%61ssets". "/assets/%E5%9B%BE.png" is: whatever a router makes
// of the name, it is below /assets/.
//
// A router that matches routes with the escaped path (UseEncodedPath of
// gorilla/mux, UseEscapedPath of gin) has to have routes beyond ASCII in the
// escaped spelling, with capital digits, as browsers send them.
type Public struct {
	literal *http.ServeMux // the patterns; for the decoded path, and for the path as it was sent
	escaped *http.ServeMux // the patterns in the spelling of URL.EscapedPath
}

// NewPublic compiles patterns of [http.ServeMux]. Its errs is nil if all of them
// are right; else errs[i] is the problem of patterns[i], or nil.
func NewPublic(patterns []string) (public *Public, errs []error) {
	if len(patterns) == 0 {
		return nil, nil
	}
	public = &Public{literal: http.NewServeMux(), escaped: http.NewServeMux()}
	for i, pattern := range patterns {
		if err := public.add(pattern); err != nil {
			if errs == nil {
				errs = make([]error, len(patterns))
			}
			errs[i] = err
		}
	}
	if errs != nil {
		return nil, errs
	}
	return public, nil
}

// Matches reports whether a request needs no sign-in. It looks at the method
// and the path, and at nothing else that a visitor sends.
func (p *Public) Matches(r *http.Request) bool { return p.MatchesTarget(r.Method, r.URL) }

// MatchesTarget is Matches for a request that somebody else received.
func (p *Public) MatchesTarget(method string, u *url.URL) bool {
	if p == nil || method == http.MethodConnect || !hasOneMeaning(u.Path, u.RawPath) {
		return false
	}
	escaped := u.EscapedPath()
	if len(escaped) > maxPath || !names(p.literal, method, u.Path) {
		return false
	}
	if escaped == u.Path {
		return true // all spellings are one
	}
	// RawPath is empty if the path was sent as Go would escape it. Then routers
	// for raw paths use the decoded one.
	if u.RawPath != "" && !names(p.literal, method, u.RawPath) {
		return false
	}
	return names(p.escaped, method, escaped)
}

// names reports whether a pattern of the mux matches a path, in which "%41" is
// three characters.
func names(mux *http.ServeMux, method, path string) bool {
	handler, _ := mux.Handler(&http.Request{Method: method, URL: &url.URL{Path: path}})
	_, ok := handler.(named)
	return ok
}

// named marks what a mux finds for a pattern of ours: the mux also answers with
// redirects to a path that would match, and those are not public.
type named struct{}

func (named) ServeHTTP(http.ResponseWriter, *http.Request) {}

// hasOneMeaning reports whether programs that treat a path alike, all decoded or
// all as it was sent, cannot disagree about its segments. It expects rawPath to
// be empty or another spelling of decoded.
func hasOneMeaning(decoded, rawPath string) bool {
	if len(decoded) > maxPath || len(rawPath) > maxPath || !strings.HasPrefix(decoded, "/") {
		return false
	}
	// ";" begins parameters that some servers drop, browsers take a backslash for
	// a slash, a "%" waits for the next decoding, and "?" or "#" would end the
	// path there.
	if strings.ContainsAny(decoded, `;\%?#`) || strings.IndexFunc(decoded, unicode.IsControl) >= 0 || !utf8.ValidString(decoded) {
		return false
	}
	if clean := path.Clean(decoded); decoded != clean && (clean == "/" || decoded != clean+"/") {
		return false
	}
	if rawPath == "" {
		return true
	}
	for i := strings.IndexByte(rawPath, '%'); i >= 0 && i+3 <= len(rawPath); {
		if escape := strings.ToLower(rawPath[i : i+3]); escape == "%2f" || escape == "%2e" {
			return false
		}
		next := strings.IndexByte(rawPath[i+1:], '%')
		if next < 0 {
			break
		}
		i += 1 + next
	}
	unescaped, err := url.PathUnescape(rawPath)
	return err == nil && unescaped == decoded
}

func (p *Public) add(pattern string) (err error) {
	method, pathPart := "", pattern
	if space := strings.IndexAny(pattern, " \t"); space >= 0 {
		method, pathPart = pattern[:space], strings.TrimLeft(pattern[space+1:], " \t")
	}
	// A Host header says whatever the visitor likes.
	if !strings.HasPrefix(pathPart, "/") {
		return errors.New(`want a pattern of http.ServeMux without a host, like "GET /static/"`)
	}
	if strings.Contains(pathPart, "*") {
		return fmt.Errorf(`"*" does not stand for anything: %s`, withoutStars(pattern))
	}
	if decoded, err := url.PathUnescape(pathPart); err != nil || method != strings.ToUpper(method) ||
		method == http.MethodConnect || !hasOneMeaning(decoded, pathPart) {
		return errors.New(`no request can match it: want a clean path without encoded slashes and dots, "\", ";", "%", "?", "#" and control characters, and a method in capitals other than CONNECT`)
	}
	defer func() {
		if problem := recover(); problem != nil {
			// Where in this package the mux was called helps no one.
			text := regexp.MustCompile(` \(registered at [^)]*\)`).ReplaceAllString(fmt.Sprint(problem), "")
			err = fmt.Errorf(`want a pattern of http.ServeMux, like "GET /static/": %s`, text)
		}
	}()
	p.literal.Handle(pattern, named{})
	p.escaped.Handle(strings.TrimLeft(method+" "+escapedPattern(pathPart), " "), named{})
	return nil
}

// withoutStars says what to write in place of a pattern with "*".
func withoutStars(pattern string) string {
	folder, last := pattern[:strings.LastIndexByte(pattern, '/')+1], pattern[strings.LastIndexByte(pattern, '/')+1:]
	if strings.HasPrefix(last, "*") && !strings.Contains(last, ".") && !strings.Contains(folder, "*") {
		return fmt.Sprintf("write %q for all paths that begin so", folder)
	}
	return `write "/static/" for all paths that begin so, and "/u/{id}/photo" for any one segment; part of a segment cannot be left open`
}

// escapedPattern returns the path of a pattern that matches escaped paths where
// the given one matches decoded paths: its literal segments in the spelling of
// URL.EscapedPath, escaped once more because a pattern is decoded.
func escapedPattern(pathPart string) string {
	segments := strings.Split(pathPart, "/")
	for i, segment := range segments {
		if strings.HasPrefix(segment, "{") {
			continue
		}
		decoded, err := url.PathUnescape(segment)
		if err != nil {
			continue // checked before
		}
		var b strings.Builder
		for i := range len(decoded) {
			if c := decoded[i]; staysInPaths(c) {
				b.WriteByte(c)
			} else {
				writeEscape(&b, c)
			}
		}
		segments[i] = url.PathEscape(b.String())
	}
	return strings.Join(segments, "/")
}

// staysInPaths reports whether URL.EscapedPath leaves c as browsers send it.
func staysInPaths(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-._~!$&'()*+,=:@[]", c) >= 0
}
