package wechattest

import (
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"sync"
)

// jar keeps cookies as Chromium does, where [cookiejar.Jar] is more lenient. Seen
// in Chromium 156: on a loopback address plain http counts as secure, so that
// Secure cookies and those with a prefix are kept and sent there; on other http
// hosts they are dropped; SameSite=None without Secure is dropped everywhere.
type jar struct {
	inner   *cookiejar.Jar
	refuses bool // cookies are off

	mu       sync.Mutex
	sameSite map[string]http.SameSite // by host and name
	dropped  []string
}

func newJar(refuses bool) *jar {
	inner, err := cookiejar.New(nil)
	if err != nil {
		panic("wechattest: " + err.Error()) // New never fails
	}
	return &jar{inner: inner, refuses: refuses, sameSite: map[string]http.SameSite{}}
}

// Cookies returns the cookies for a visit that begins at u. Which of them a
// request from elsewhere brings is the browser's to say.
func (j *jar) Cookies(u *url.URL) []*http.Cookie { return j.inner.Cookies(asSecure(u)) }

func (j *jar) SetCookies(u *url.URL, cookies []*http.Cookie) {
	if j.refuses {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	var kept []*http.Cookie
	for _, c := range cookies {
		if problem := cookieProblem(u, c); problem != "" {
			j.dropped = append(j.dropped, c.Name+": "+problem)
			continue
		}
		kept = append(kept, c)
		j.sameSite[cookieKey(u, c.Name)] = c.SameSite
	}
	j.inner.SetCookies(asSecure(u), kept)
}

func (j *jar) sameSiteOf(u *url.URL, name string) http.SameSite {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.sameSite[cookieKey(u, name)]
}

func cookieKey(u *url.URL, name string) string { return u.Hostname() + " " + name }

const maxCookie = 4096 // bytes of name and value

// cookieProblem says why Chromium drops a cookie, or nothing.
func cookieProblem(u *url.URL, c *http.Cookie) string {
	name := strings.ToLower(c.Name) // Chromium's prefixes know no case
	switch {
	case len(c.Name)+len(c.Value) > maxCookie:
		return "longer than 4,096 bytes"
	case c.Secure && !isSecure(u):
		return "Secure, but not from https or a loopback address"
	case c.SameSite == http.SameSiteNoneMode && !c.Secure:
		return "SameSite=None, but not Secure"
	case strings.HasPrefix(name, "__secure-") && !c.Secure:
		return "the prefix __Secure- demands Secure"
	case strings.HasPrefix(name, "__host-") && (!c.Secure || c.Path != "/" || c.Domain != ""):
		return "the prefix __Host- demands Secure, Path=/ and no Domain"
	}
	return ""
}

// isSecure reports whether Chromium trusts an address: https, and what never
// leaves the computer.
func isSecure(u *url.URL) bool {
	name := strings.ToLower(u.Hostname())
	ip := net.ParseIP(name)
	return u.Scheme == "https" || name == "localhost" || strings.HasSuffix(name, ".localhost") || ip != nil && ip.IsLoopback()
}

func asSecure(u *url.URL) *url.URL {
	if !isSecure(u) {
		return u
	}
	secure := *u
	secure.Scheme = "https"
	return &secure
}
