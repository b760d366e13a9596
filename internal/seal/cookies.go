package seal

import (
	"iter"
	"net/http"
	"strings"
	"time"
)

// MaxCookie is what a browser stores of a cookie, name and value together.
const MaxCookie = 4096

// Attributes writes cookies: host-only, for all paths, out of reach of scripts,
// and withheld from cross-site requests other than navigations.
type Attributes struct {
	// Secure, for sites on https, keeps cookies to https and lets their names
	// begin with "__Host-".
	Secure bool
}

// Name returns the cookie's full name.
func (a Attributes) Name(base string) string {
	if a.Secure {
		return "__Host-" + base
	}
	return base
}

// Set writes a cookie of that full name. Its lifetime has seconds.
func (a Attributes) Set(w http.ResponseWriter, name, value string, lifetime time.Duration) {
	http.SetCookie(w, a.cookie(name, value, int(lifetime/time.Second)))
}

// Remove makes the browser forget the cookie of that full name.
func (a Attributes) Remove(w http.ResponseWriter, name string) {
	http.SetCookie(w, a.cookie(name, "", -1))
}

func (a Attributes) cookie(name, value string, maxAge int) *http.Cookie {
	return &http.Cookie{
		Name:     name,
		Value:    value,
		Path:     "/",
		MaxAge:   maxAge,
		HttpOnly: true,
		Secure:   a.Secure,
		SameSite: http.SameSiteLaxMode,
	}
}

// Cookies are a gate's cookies of one request. A name can come twice: a browser
// sends what any page of the host set. Its methods name a cookie by its suffix,
// the part of the name behind the base.
type Cookies struct {
	few     [4]cookie // enough for almost all requests
	many    []cookie  // what comes after them
	n       int
	present [kinds]bool
	count   [kinds]int
	bytes   [kinds]int
}

type cookie struct {
	suffix, value string
}

// Bounds for each kind of cookie. A browser of ours sends one session, five
// attempts of 4 KiB together, and little else.
const (
	maxCount = 128
	maxBytes = 24 << 10 // suffixes and values
)

// The kinds of cookies, by their suffix.
const (
	kindSession = iota
	kindSeen
	kindLogin
	kindSignedOut
	kinds
)

// Scan reads a Cookie header, into Cookies that are empty. Of each kind of cookie (the session, "-seen",
// "-login-…", "-signed-out") it keeps the first 128, as far as they have
// 24 KiB together. It ignores all other names.
//
// Unlike Request.Cookies it does not give up on requests with very many cookies.
func (c *Cookies) Scan(h http.Header, base string) {
	for _, line := range h["Cookie"] {
		c.scan(line, base)
	}
}

func (c *Cookies) scan(line, base string) {
	for {
		at := strings.Index(line, base)
		if at < 0 {
			return
		}
		before := strings.TrimRight(line[:at], " \t")
		pair, rest, _ := strings.Cut(line[at+len(base):], ";")
		if before == "" || before[len(before)-1] == ';' {
			c.add(len(base), strings.TrimRight(pair, " \t"))
		}
		if rest == "" {
			return
		}
		line = rest
	}
}

// add keeps a cookie, from its suffix on.
func (c *Cookies) add(baseLength int, pair string) {
	suffix, value, ok := strings.Cut(pair, "=")
	if !ok {
		return
	}
	kind, ok := kindOf(suffix)
	if !ok {
		return
	}
	c.present[kind] = true
	if baseLength+len(suffix)+len(value) > MaxCookie {
		value = "" // no browser keeps it, so nothing of ours is in it
	}
	size := len(suffix) + len(value)
	if baseLength+len(suffix) > MaxCookie || c.count[kind] == maxCount || c.bytes[kind]+size > maxBytes {
		return
	}
	c.count[kind]++
	c.bytes[kind] += size
	if c.n < len(c.few) {
		c.few[c.n] = cookie{suffix, value}
	} else {
		c.many = append(c.many, cookie{suffix, value})
	}
	c.n++
}

func kindOf(suffix string) (kind int, ok bool) {
	switch {
	case suffix == "":
		return kindSession, true
	case suffix == "-seen":
		return kindSeen, true
	case strings.HasPrefix(suffix, "-login-"):
		return kindLogin, true
	case suffix == "-signed-out":
		return kindSignedOut, true
	}
	return 0, false
}

func (c *Cookies) at(i int) cookie {
	if i < len(c.few) {
		return c.few[i]
	}
	return c.many[i-len(c.few)]
}

// Has reports whether the request has a cookie of that suffix, be it empty or
// too long to be opened.
func (c *Cookies) Has(suffix string) bool {
	kind, ok := kindOf(suffix)
	if !ok || kind != kindLogin {
		return ok && c.present[kind]
	}
	for i := range c.n {
		if c.at(i).suffix == suffix {
			return true
		}
	}
	return false
}

// Values yields the values of the cookies with that suffix, in the request's
// order. It leaves out what is empty or, with its name, longer than MaxCookie.
func (c *Cookies) Values(suffix string) iter.Seq[string] {
	return func(yield func(value string) bool) {
		for value, next := c.Next(suffix, 0); next > 0; value, next = c.Next(suffix, next) {
			if !yield(value) {
				return
			}
		}
	}
}

// Next is Values for callers that go on later: begin with from 0, go on with
// next, which is 0 when there is nothing more.
func (c *Cookies) Next(suffix string, from int) (value string, next int) {
	for i := from; i < c.n; i++ {
		if found := c.at(i); found.value != "" && found.suffix == suffix {
			return found.value, i + 1
		}
	}
	return "", 0
}

// WithPrefix yields suffix and value of the cookies whose suffix begins with the
// prefix, in the request's order. The value is "" where a cookie is empty or
// too long: it never opens, but can be removed.
func (c *Cookies) WithPrefix(prefix string) iter.Seq2[string, string] {
	return func(yield func(suffix, value string) bool) {
		for i := range c.n {
			found := c.at(i)
			if strings.HasPrefix(found.suffix, prefix) && !yield(found.suffix, found.value) {
				return
			}
		}
	}
}
