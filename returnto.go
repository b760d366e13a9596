package wechatgate

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// maxTarget is how long a target may be, in bytes, to come back byte for byte.
// A longer one shrinks to its path, a longer path to "/": it has to travel in a
// cookie, and a request's cookies have to stay far below 8 KB.
const maxTarget = 1500

// The gate's own paths, below Options.Prefix.
const (
	pathLogin     = "login"
	pathCallback  = "callback"
	pathLogout    = "logout"
	pathSignedOut = "signed-out"
)

// targets decides where a visitor may be sent. A target is a path below BaseURL
// with an optional query and fragment; it always begins with one slash.
type targets struct {
	base   baseURL
	prefix string // the gate's own paths are no targets
}

// localTarget turns an untrusted "where next" into a target: raw itself where
// it is one, "/" where it is anything else. It never repairs: what a browser
// could read in another way than this function is refused.
func (t targets) localTarget(raw string) string {
	if !strings.HasPrefix(raw, "/") || strings.HasPrefix(raw, "//") {
		return "/"
	}
	if strings.IndexFunc(raw, isControl) >= 0 {
		return "/"
	}
	pathPart, _, _ := strings.Cut(raw, "#")
	pathPart, _, _ = strings.Cut(pathPart, "?")
	// Browsers take a backslash for a slash.
	if strings.Contains(pathPart, `\`) {
		return "/"
	}
	decoded, err := url.PathUnescape(pathPart)
	if err != nil || t.leavesSite(decoded) {
		return "/"
	}
	if len(raw) <= maxTarget {
		return raw
	}
	if len(pathPart) <= maxTarget {
		return pathPart
	}
	return "/"
}

// leavesSite reports whether a path belongs to the gate, or could climb out of
// the mount path. Encoded dots, slashes and backslashes count: some programs on
// the way decode them. A ".." after two slashes is one thing to a browser and
// another to path.Clean, and no browser sends any, so none is taken.
func (t targets) leavesSite(decodedPath string) bool {
	segments := strings.FieldsFunc(decodedPath, func(c rune) bool { return c == '/' || c == '\\' })
	return slices.Contains(segments, ".") || slices.Contains(segments, "..") ||
		strings.HasPrefix("/"+strings.Join(segments, "/")+"/", t.prefix)
}

// ofRequest returns the page that a request asks for. A form that was posted is
// lost; its visitor returns to the page that held it.
func (t targets) ofRequest(r *http.Request) string {
	if r.Method == http.MethodPost {
		return t.ofReferer(r.Referer())
	}
	target := r.URL.EscapedPath()
	if r.URL.RawQuery != "" || r.URL.ForceQuery {
		target += "?" + r.URL.RawQuery
	}
	return t.localTarget(target)
}

func (t targets) ofReferer(referer string) string {
	rest, ours := strings.CutPrefix(referer, t.base.String())
	if !ours {
		return "/"
	}
	if strings.HasPrefix(rest, "?") {
		rest = "/" + rest
	}
	return t.localTarget(rest)
}

// location returns the address of a target, for the Location header or a link.
// What a header cannot carry is percent-encoded, as browsers do themselves.
func (t targets) location(target string) string {
	address := t.base.String() + target
	var b strings.Builder
	for i := range len(address) {
		if c := address[i]; c <= ' ' || c >= 0x7f {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// locationWithFragment is location with a fragment even where the target has
// none: without it, a browser keeps "#wechat_redirect" from WeChat's address.
// Seen in Chromium 156.
func (t targets) locationWithFragment(target string) string {
	address := t.location(target)
	if !strings.Contains(address, "#") {
		address += "#"
	}
	return address
}

// own returns the address of one of the gate's own paths.
func (t targets) own(name string) string { return t.base.String() + t.prefix + name }

// signIn returns the address that starts a sign-in which ends at target.
func (t targets) signIn(target string, parameters ...string) string {
	address := t.own(pathLogin)
	parameters = append(parameters, "return_to="+url.QueryEscape(target))
	return address + "?" + strings.Join(parameters, "&")
}

func isControl(c rune) bool { return c < ' ' || c == 0x7f }
