// Package target decides about paths: where a visitor may be sent, and which
// requests need no sign-in.
//
// A target is a path below BaseURL with an optional query and fragment. It
// begins with exactly one slash.
package target

import (
	"net/http"
	"net/url"
	"strings"
)

// MaxTarget is how long a target may be, in bytes, to come back byte for byte.
// A longer one is cut to its path, and a longer path becomes "/": a target
// travels in a cookie, and a request's cookies have to stay far below 8 KB.
const MaxTarget = 1500

// maxPath is how long a path or an address may be, in bytes, to be looked at
// where it need not be a target.
const maxPath = 8 << 10

// Targets decides where a visitor may be sent.
type Targets struct {
	Base   Base
	Prefix string // the gate's own paths, such as "/wechat/": they are not targets
}

// Local returns raw, an untrusted "where next", if it is a target, and "/" if
// it is anything else. Anything ambiguous becomes "/": what a browser could
// read in another way than this function is refused, and never repaired.
//
// The gate's own paths become "/", but for Prefix + "resend", where a form that
// was kept waits for its visitor.
func (t Targets) Local(raw string) string {
	if !isLocal(raw) {
		return "/"
	}
	path := pathOf(raw)
	// Before decoding: a path costs no more than a target may be long.
	if len(path) > MaxTarget {
		return "/"
	}
	segments, ok := decodedSegments(path)
	if !ok || t.ownsPath(segments) && !t.isResend(path, raw) {
		return "/"
	}
	if len(raw) > MaxTarget {
		return path
	}
	return raw
}

// isResend reports whether raw is the resend page in its one spelling.
func (t Targets) isResend(path, raw string) bool {
	return path == t.Prefix+"resend" && !strings.Contains(raw, "#")
}

// ownsPath takes a path's decoded segments. An empty one counts as absent,
// because some routers remove it.
func (t Targets) ownsPath(segments string) bool { return strings.HasPrefix(segments, t.Prefix) }

// OfRequest returns the page that a request asks for. A form that was posted
// leads back to the page that held it.
func (t Targets) OfRequest(r *http.Request) string {
	if r.Method == http.MethodPost {
		return t.OfReferer(r.Referer())
	}
	// Escaping never shortens a path, and lengthens it three times at most.
	if len(r.URL.Path) > MaxTarget || len(r.URL.RawPath) > 3*MaxTarget {
		return "/"
	}
	path, query := r.URL.EscapedPath(), r.URL.RawQuery
	if query == "" && !r.URL.ForceQuery {
		return t.Local(path)
	}
	if len(path)+len("?")+len(query) > MaxTarget {
		if hasControl(query) {
			return "/"
		}
		return t.Local(path) // without a copy of the query, which would be cut
	}
	return t.Local(path + "?" + query)
}

// OfReferer returns the target of the page that a Referer header names, and "/"
// if that page is not below BaseURL.
func (t Targets) OfReferer(referer string) string {
	rest, ok := strings.CutPrefix(referer, t.Base.String())
	// A query of the root that is too long is not worth a copy: it would be cut.
	if !ok || strings.HasPrefix(rest, "?") && len(rest) >= MaxTarget {
		return "/"
	}
	return t.Local(fromRoot(rest))
}

// Below returns the part of an absolute URL below BaseURL as it is, whatever
// its length, the gate's own paths included. It is not ok if the URL is not
// below BaseURL, if it could be read as not below it (dot segments in any
// spelling, a backslash, two slashes after BaseURL), or if it is longer than
// 8 KB.
func (t Targets) Below(rawURL string) (target string, ok bool) {
	if len(rawURL) > maxPath {
		return "", false
	}
	rest, ok := strings.CutPrefix(rawURL, t.Base.String())
	target = fromRoot(rest)
	if !ok || !isLocal(target) {
		return "", false
	}
	if _, ok := decodedSegments(pathOf(target)); !ok {
		return "", false
	}
	return target, true
}

// fromRoot gives what follows BaseURL the slash that browsers leave out or add
// there.
func fromRoot(rest string) string {
	if rest == "" || rest[0] == '?' || rest[0] == '#' {
		return "/" + rest
	}
	return rest
}

// Location returns the absolute address of a target, for the Location header or
// a link. What a header cannot carry is percent-encoded, as browsers do. The
// address always has BaseURL's origin: what does not begin with a slash is
// taken for "/".
func (t Targets) Location(target string) string {
	if !strings.HasPrefix(target, "/") {
		target = "/"
	}
	address := t.Base.String() + target
	extra := 0
	for i := range len(address) {
		if !isPrintable(address[i]) {
			extra += 2
		}
	}
	if extra == 0 {
		return address
	}
	var b strings.Builder
	b.Grow(len(address) + extra)
	for i := range len(address) {
		if c := address[i]; isPrintable(c) {
			b.WriteByte(c)
		} else {
			writeEscape(&b, c)
		}
	}
	return b.String()
}

// LocationWithFragment is Location with a fragment even where the target has
// none: without it, a browser keeps "#wechat_redirect" from WeChat's address.
// Seen in Chromium 156.
func (t Targets) LocationWithFragment(target string) string {
	address := t.Location(target)
	if !strings.Contains(address, "#") {
		address += "#"
	}
	return address
}

// Own returns the absolute address of one of the gate's own pages.
func (t Targets) Own(name string) string { return t.Base.String() + t.Prefix + name }

// isLocal reports whether raw begins with exactly one slash and holds nothing
// that browsers drop or turn into a slash.
func isLocal(raw string) bool {
	return strings.HasPrefix(raw, "/") && !strings.HasPrefix(raw, "//") &&
		!hasControl(raw) && !strings.Contains(pathOf(raw), `\`)
}

// pathOf returns the path of a target, as it is escaped.
func pathOf(target string) string {
	if end := strings.IndexAny(target, "?#"); end >= 0 {
		return target[:end]
	}
	return target
}

// decodedSegments returns a path's segments, decoded, each with a slash before
// it, and one slash at the end; empty segments are left out. It is not ok with
// a segment "." or "..", which could climb out of the mount path. Encoded dots,
// slashes and backslashes count: some programs on the way decode them. A ".."
// after two slashes is one thing to a browser and another to path.Clean, and
// browsers send none, so all of them are refused.
func decodedSegments(path string) (segments string, ok bool) {
	decoded, err := url.PathUnescape(path)
	if err != nil {
		return "", false
	}
	var b strings.Builder
	b.Grow(len(decoded) + 2)
	for segment := range strings.FieldsFuncSeq(decoded, func(c rune) bool { return c == '/' || c == '\\' }) {
		// Some servers drop ";" and what follows it from a segment.
		if name, _, _ := strings.Cut(segment, ";"); name == "." || name == ".." {
			return "", false
		}
		b.WriteByte('/')
		b.WriteString(segment)
	}
	b.WriteByte('/')
	return b.String(), true
}

func hasControl(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] == 0x7f {
			return true
		}
	}
	return false
}

// isPrintable reports whether a header may carry c as it is.
func isPrintable(c byte) bool { return c > ' ' && c < 0x7f }

func writeEscape(b *strings.Builder, c byte) {
	const hex = "0123456789ABCDEF"
	b.WriteByte('%')
	b.WriteByte(hex[c>>4])
	b.WriteByte(hex[c&15])
}
