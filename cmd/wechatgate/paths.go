package main

import (
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"
)

// rawTarget returns path and query as they were sent, without the scheme and host
// of an absolute-form target. It is not ok for what is no path: "*", and targets
// of CONNECT.
func rawTarget(r *http.Request) (target string, ok bool) {
	target = r.RequestURI
	if !strings.HasPrefix(target, "/") {
		_, rest, absolute := strings.Cut(target, "://")
		slash := strings.IndexAny(rest, "/?#")
		if !absolute || slash < 0 || rest[slash] != '/' {
			return "", false
		}
		target = rest[slash:]
	}
	return target, r.Method != http.MethodConnect && !strings.Contains(target, "#")
}

// pathOf returns the path of a target.
func pathOf(target string) string {
	path, _, _ := strings.Cut(target, "?")
	return path
}

// hasDotSegment reports whether any program could find a segment "." or ".." in a
// path: encoded once or several times, between backslashes, with parameters, a
// space or a control character behind it, or in overlong UTF-8. A path that is
// still not decoded after several rounds counts as one.
func hasDotSegment(path string) bool {
	if !strings.ContainsAny(path, "%;\\") && !strings.Contains(path, "/.") && utf8.ValidString(path) {
		return false // almost all paths
	}
	for range maxRounds {
		if dotSegment(path) {
			return true
		}
		decoded := unescape(path)
		if decoded == path {
			return false
		}
		path = decoded
	}
	return true
}

const maxRounds = 5

func dotSegment(path string) bool {
	path = strings.NewReplacer("\xc0\xae", ".", "\xc0\xaf", "/", "\xc1\x9c", "/", "\xe0\x80\xae", ".", "\xe0\x80\xaf", "/").Replace(path)
	for segment := range strings.FieldsFuncSeq(path, func(c rune) bool { return c == '/' || c == '\\' }) {
		end := strings.IndexFunc(segment, func(c rune) bool { return c <= ' ' || c == ';' || c == 0x7f || c == '?' || c == '#' })
		if end >= 0 {
			segment = segment[:end]
		}
		if segment == "." || segment == ".." {
			return true
		}
	}
	return false
}

// unescape decodes what can be decoded, and leaves the rest.
func unescape(s string) string {
	if !strings.Contains(s, "%") {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			if decoded, err := url.PathUnescape(s[i : i+3]); err == nil {
				b.WriteString(decoded)
				i += 2
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// below returns a URL as the gate sees it, without the mount path of the base URL,
// which has to stand there byte for byte.
func below(u *url.URL, mount string) (*url.URL, bool) {
	if mount == "" {
		return u, strings.HasPrefix(u.Path, "/")
	}
	decoded, err := url.PathUnescape(mount)
	if err != nil || !strings.HasPrefix(u.EscapedPath(), mount+"/") || !strings.HasPrefix(u.Path, decoded+"/") {
		return nil, false
	}
	stripped := *u
	stripped.Path = u.Path[len(decoded):]
	if u.RawPath != "" {
		if !strings.HasPrefix(u.RawPath, mount+"/") {
			return nil, false
		}
		stripped.RawPath = u.RawPath[len(mount):]
	}
	return &stripped, true
}
