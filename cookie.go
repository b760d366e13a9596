package wechatgate

import (
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"iter"
	"net/http"
	"strings"
	"time"

	"github.com/gorilla/securecookie"
)

// maxCookie is what a browser stores of a cookie, name and value together.
const maxCookie = 4096

// clockSkew is how far the clocks of two machines may differ.
const clockSkew = 5 * time.Minute

var errCookieTooLarge = errors.New("the cookie would be larger than 4096 bytes, and browsers would drop it")

// cookies writes cookies with the gate's attributes: host-only, for all paths,
// out of reach of scripts, and withheld from cross-site requests other than
// navigations.
type cookies struct {
	prefix string // "__Host-" on https
	secure bool
}

func newCookies(secure bool) cookies {
	if secure {
		return cookies{prefix: "__Host-", secure: true}
	}
	return cookies{}
}

func (c cookies) set(w http.ResponseWriter, name, value string, lifetime time.Duration) {
	http.SetCookie(w, c.cookie(name, value, int(lifetime/time.Second)))
}

func (c cookies) remove(w http.ResponseWriter, name string) {
	http.SetCookie(w, c.cookie(name, "", -1))
}

func (c cookies) cookie(name, value string, maxAge int) *http.Cookie {
	return &http.Cookie{
		Name:     name,
		Value:    value,
		Path:     "/",
		MaxAge:   maxAge,
		HttpOnly: true,
		Secure:   c.secure,
		SameSite: http.SameSiteLaxMode,
	}
}

// eachCookie yields the name and value of every cookie whose name begins with
// prefix. A name can come twice: a browser sends what any page of the host set.
// It allocates nothing and, unlike Request.Cookies, does not give up on
// requests with very many cookies.
func eachCookie(h http.Header, prefix string) iter.Seq2[string, string] {
	return func(yield func(name, value string) bool) {
		for _, line := range h["Cookie"] {
			for line != "" {
				var pair string
				pair, line, _ = strings.Cut(line, ";")
				pair = strings.Trim(pair, " \t")
				if !strings.HasPrefix(pair, prefix) {
					continue
				}
				if name, value, ok := strings.Cut(pair, "="); ok && !yield(name, value) {
					return
				}
			}
		}
	}
}

// cookieValues yields the value of every cookie of that name.
func cookieValues(h http.Header, name string) iter.Seq[string] {
	return func(yield func(value string) bool) {
		for found, value := range eachCookie(h, name) {
			if found == name && !yield(value) {
				return
			}
		}
	}
}

func hasCookie(h http.Header, name string) bool {
	for range cookieValues(h, name) {
		return true
	}
	return false
}

// sealer encrypts and authenticates what goes into cookies of one purpose. What
// was sealed for another purpose, or under another cookie name, does not open.
type sealer struct {
	codecs []*securecookie.SecureCookie // the first seals, all open
}

// newSealer derives a pair of keys for the purpose from each session key.
func newSealer(sessionKeys [][]byte, purpose string) sealer {
	var s sealer
	for _, key := range sessionKeys {
		codec := securecookie.New(subkey(key, purpose, "authentication"), subkey(key, purpose, "encryption"))
		codec.SetSerializer(securecookie.NopEncoder{})
		codec.MaxAge(0) // each payload carries its own time
		s.codecs = append(s.codecs, codec)
	}
	return s
}

func subkey(sessionKey []byte, purpose, use string) []byte {
	key, err := hkdf.Key(sha256.New, sessionKey, nil, "wechatgate v1 "+purpose+" "+use, 32)
	if err != nil {
		panic("wechatgate: " + err.Error()) // only if 32 bytes were too many for SHA-256
	}
	return key
}

// seal returns a cookie's value.
func (s sealer) seal(name, payload string) (string, error) {
	value, err := s.codecs[0].Encode(name, []byte(payload))
	if err != nil || len(name)+len(value) > maxCookie {
		return "", errCookieTooLarge
	}
	return value, nil
}

// open returns what a cookie's value holds, and whether it was sealed here.
func (s sealer) open(name, value string) (string, bool) {
	var payload []byte
	for _, codec := range s.codecs {
		if codec.Decode(name, value, &payload) == nil {
			return string(payload), true
		}
	}
	return "", false
}
