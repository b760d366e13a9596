package main

import (
	"net/http"
	"net/textproto"
	"slices"
	"strings"

	"github.com/wechatgate/wechatgate"
)

// identity writes who a visitor is into headers for the site, and removes from a
// visitor's request what a site could take for that.
type identity struct {
	prefix                                              string // normal
	openID, appID, unionID, nickname, avatar, assertion string // canonical names
	cookie                                              string // the gate's session cookie
	assertions                                          *assertions
}

func newIdentity(prefix, cookie string, a *assertions) *identity {
	name := func(what string) string { return textproto.CanonicalMIMEHeaderKey(prefix + what) }
	return &identity{
		prefix:     normal(prefix),
		openID:     name("OPENID"),
		appID:      name("APPID"),
		unionID:    name("UNIONID"),
		nickname:   name("NICKNAME"),
		avatar:     name("AVATAR"),
		assertion:  name("ASSERTION"),
		cookie:     cookie,
		assertions: a,
	}
}

// token signs who a visitor is. It is empty for a visitor who is not signed in, and
// where nothing is to be signed.
func (i *identity) token(u wechatgate.User) (string, error) {
	if i.assertions == nil || u.OpenID == "" {
		return "", nil
	}
	return i.assertions.sign(u)
}

// set writes all headers. What is unknown is empty, and there: a header that is
// missing says that the gate was not asked.
func (i *identity) set(h http.Header, u wechatgate.User, token string) {
	values := []string{ // of one allocation
		encodeURIComponent(u.OpenID), encodeURIComponent(u.AppID), encodeURIComponent(u.UnionID),
		encodeURIComponent(u.Nickname), encodeURIComponent(u.AvatarURL), token,
	}
	h[i.openID] = values[0:1:1]
	h[i.appID] = values[1:2:2]
	h[i.unionID] = values[2:3:3]
	h[i.nickname] = values[3:4:4]
	h[i.avatar] = values[4:5:5]
	if i.assertions != nil {
		h[i.assertion] = values[5:6:6]
	}
}

// strip removes what a visitor may not say: identity headers and addresses in every
// spelling that a site could read as one of them, and the gate's cookies.
func (i *identity) strip(h http.Header) {
	for name := range h {
		if i.foreign(name) {
			delete(h, name)
		}
	}
	i.stripCookies(h)
}

func (i *identity) foreign(name string) bool {
	if name == "" || name[0] != 'X' && name[0] != 'x' && name[0] != 'F' && name[0] != 'f' {
		return false // no other name can be one
	}
	n := normal(name)
	return strings.HasPrefix(n, "x-wx-") || strings.HasPrefix(n, i.prefix) ||
		n == "forwarded" || strings.HasPrefix(n, "x-forwarded") || n == "x-real-ip" ||
		strings.HasPrefix(n, "x-original-") || n == "x-rewrite-url"
}

// normal is a header's name as the least careful reader sees it: CGI makes one
// character of all that are no letters and digits.
func normal(name string) string {
	plain := true
	for i := range len(name) {
		c := name[i]
		plain = plain && (c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-')
	}
	if plain {
		return name
	}
	b := []byte(name)
	for i, c := range b {
		switch {
		case c >= 'A' && c <= 'Z':
			b[i] = c + 'a' - 'A'
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9':
		default:
			b[i] = '-'
		}
	}
	return string(b)
}

// stripCookies leaves the site's own cookies as they were sent.
func (i *identity) stripCookies(h http.Header) {
	lines := h["Cookie"]
	if !slices.ContainsFunc(lines, func(line string) bool { return strings.Contains(line, i.cookie) }) {
		return
	}
	var kept []string
	for _, line := range lines {
		var own []string
		for pair := range strings.SplitSeq(line, ";") {
			if !i.isGates(pair) {
				own = append(own, pair)
			}
		}
		if rest := strings.TrimSpace(strings.Join(own, ";")); rest != "" {
			kept = append(kept, rest)
		}
	}
	if len(kept) == 0 {
		delete(h, "Cookie")
		return
	}
	h["Cookie"] = kept
}

func (i *identity) isGates(pair string) bool {
	name, _, _ := strings.Cut(pair, "=")
	suffix, ours := strings.CutPrefix(strings.TrimSpace(name), i.cookie)
	return ours && (suffix == "" || suffix == "-seen" || suffix == "-signed-out" || strings.HasPrefix(suffix, "-login-"))
}

// encodeURIComponent is JavaScript's, for UTF-8.
func encodeURIComponent(s string) string {
	const hex = "0123456789ABCDEF"
	plain := true
	for i := range len(s) {
		plain = plain && staysPlain(s[i])
	}
	if plain {
		return s
	}
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; staysPlain(c) {
			b.WriteByte(c)
		} else {
			b.Write([]byte{'%', hex[c>>4], hex[c&15]})
		}
	}
	return b.String()
}

func staysPlain(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-_.!~*'()", c) >= 0
}
