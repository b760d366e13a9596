// Package vault keeps a session's string for a browser, which shows a cookie for
// it. The string is in the cookie itself, sealed, or in a [sessions.Store].
package vault

import (
	"net/http"
	"time"

	"github.com/gorilla/sessions"

	"github.com/wechatgate/wechatgate/internal/seal"
)

// Vault keeps one string, the payload, for each browser. It is safe for
// concurrent use, as far as its Store is.
type Vault struct {
	name   string
	sealer seal.Sealer // where there is no Store
	store  *store
}

// maxPayloads bounds what a request can cost that repeats an old session of its
// own a thousand times. A browser has one; two, where it was tricked.
const maxPayloads = 4

// InCookie keeps payloads in cookies of that full name, sealed. It cannot
// destroy a cookie that somebody copied.
func InCookie(s seal.Sealer, name string) *Vault {
	return &Vault{name: name, sealer: s}
}

// InStore keeps payloads in a Store, under cookies of that full name. It trusts
// the Store with keeping, and with nothing else: what is kept begins with a mark
// of the binding (BaseURL, a line break and CookieName), and a session with
// another gate's mark counts as none and is left alone. Panics of the Store
// become errors.
func InStore(s sessions.Store, name, binding string, lifetime time.Duration, secure bool) *Vault {
	return &Vault{name: name, store: newStore(s, name, binding, lifetime, secure)}
}

// Look begins a look at the session cookies of a request, with a zero Lookup. It
// asks the Store nothing yet.
func (v *Vault) Look(r *http.Request, l *Lookup) {
	l.vault, l.request = v, r
	l.Cookies.Scan(r.Header, v.name)
}

// Lookup is one request's look at its session. The Store is asked once for each
// cookie: what ends or replaces the session uses what was found before. A Lookup
// serves one goroutine.
type Lookup struct {
	Cookies seal.Cookies // of the request

	vault   *Vault
	request *http.Request
	next    int // where to go on in the cookies
	given   int // payloads
	stored  *found
}

// Next returns the next payload that a cookie of the request leads to. With ok
// false there is no more. Cookies that lead nowhere are passed over; an error
// means that the Store is unavailable, and Next, Replace and Destroy of this
// Lookup return it again. It returns at most 4 payloads and asks the Store at
// most 4 times.
func (l *Lookup) Next() (payload string, ok bool, err error) {
	if l.given == maxPayloads {
		return "", false, nil
	}
	if l.vault.store != nil {
		payload, ok, err = l.nextStored()
	} else {
		payload, ok = l.nextSealed()
	}
	if ok {
		l.given++
	}
	return payload, ok, err
}

// Replace destroys whatever the request's cookies lead to, keeps the payload
// under a fresh name, and returns the value for the cookie. A name and value
// that do not fit a cookie are seal.ErrTooLarge.
func (l *Lookup) Replace(payload string) (cookieValue string, err error) {
	if l.vault.store == nil {
		return l.vault.sealer.Seal(l.vault.name, payload)
	}
	// Deleted first and created then, on a request that shows no cookie: the
	// one order in which the new session has a new ID with every Store.
	if err := l.Destroy(); err != nil {
		return "", err
	}
	return l.vault.store.create(l.request, payload)
}

// Destroy makes the request's cookies lead nowhere, as far as the vault can.
// Next finds nothing afterwards.
func (l *Lookup) Destroy() error {
	if l.vault.store != nil {
		if err := l.destroyStored(); err != nil {
			return err
		}
	}
	l.given = maxPayloads
	return nil
}

func (l *Lookup) nextSealed() (payload string, ok bool) {
	for {
		value, next := l.Cookies.Next("", l.next)
		if next == 0 {
			return "", false
		}
		l.next = next
		if payload, ok := l.vault.sealer.OpenAmong(&l.Cookies, l.vault.name, value); ok {
			return payload, true
		}
	}
}
