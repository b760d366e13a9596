package vault

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"io/fs"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/gorilla/securecookie"
	"github.com/gorilla/sessions"

	"github.com/wechatgate/wechatgate/internal/contain"
	"github.com/wechatgate/wechatgate/internal/seal"
)

// store is a sessions.Store and what its sessions are kept with.
type store struct {
	sessions sessions.Store
	name     string
	mark     string // of the gate
	lifetime time.Duration
	secure   bool
}

const (
	// storeKey is what a session keeps its one string under: the gate's mark, a
	// line break and the payload.
	storeKey = "wechatgate"
	// maxLookups bounds what a request with many cookies of the session's name
	// can make the Store do.
	maxLookups = 4
)

var (
	errStoreSession = errors.New("the Store returned no session")
	errStoreFixed   = errors.New("the Store returned an old session to a request without cookies")
	errStoreCookie  = errors.New("the Store set no cookie")
)

func newStore(s sessions.Store, name, binding string, lifetime time.Duration, secure bool) *store {
	sum := sha256.Sum256([]byte(binding))
	return &store{
		sessions: s,
		name:     name,
		mark:     base64.RawURLEncoding.EncodeToString(sum[:12]),
		lifetime: lifetime,
		secure:   secure,
	}
}

// found is what a Lookup knows from the Store.
type found struct {
	values []string // asked for
	live   []stored // not destroyed yet
	err    error
}

// stored is a session, on the request for which the Store returned it.
type stored struct {
	request *http.Request
	session *sessions.Session
}

func (l *Lookup) nextStored() (payload string, ok bool, err error) {
	for {
		s, ok, err := l.ask()
		if err != nil || !ok {
			return "", false, err
		}
		if payload, ok := l.vault.store.payload(s.session); ok {
			return payload, true, nil
		}
	}
}

func (l *Lookup) destroyStored() error {
	for {
		for l.stored != nil && len(l.stored.live) > 0 {
			if err := l.vault.store.destroy(l.stored.live[0]); err != nil {
				return err
			}
			l.stored.live = l.stored.live[1:]
		}
		if _, ok, err := l.ask(); err != nil || !ok {
			return err
		}
	}
}

// ask returns the next session that the request's cookies lead to, other than
// sessions of other gates.
func (l *Lookup) ask() (s stored, ok bool, err error) {
	if l.stored == nil {
		l.stored = &found{}
	}
	f, v := l.stored, l.vault.store
	for f.err == nil && len(f.values) < maxLookups {
		value, next := l.Cookies.Next("", l.next)
		if next == 0 {
			break
		}
		l.next = next
		if slices.Contains(f.values, value) {
			continue
		}
		f.values = append(f.values, value)
		// Stores look at the first cookie only, so each has a request of its own.
		request := withCookie(l.request, v.name+"="+value)
		session, err := v.open(request)
		if err != nil && !meansNoSession(err) {
			f.err = err
			break
		}
		if err != nil || session.IsNew || v.isAnotherGates(session) {
			continue
		}
		s := stored{request, session}
		f.live = append(f.live, s)
		return s, true, nil
	}
	return stored{}, false, f.err
}

func (v *store) payload(s *sessions.Session) (payload string, ok bool) {
	kept, _ := s.Values[storeKey].(string)
	mark, payload, ok := strings.Cut(kept, "\n")
	return payload, ok && mark == v.mark
}

// isAnotherGates tells a session that another gate keeps in the same Store from
// one that nobody signed in for.
func (v *store) isAnotherGates(s *sessions.Session) bool {
	kept, _ := s.Values[storeKey].(string)
	mark, _, ok := strings.Cut(kept, "\n")
	return ok && mark != v.mark && len(mark) == len(v.mark)
}

func (v *store) create(r *http.Request, payload string) (cookieValue string, err error) {
	request := withCookie(r, "")
	s, err := v.open(request)
	if err != nil {
		return "", err
	}
	if !s.IsNew {
		return "", errStoreFixed
	}
	s.Values = map[any]any{storeKey: v.mark + "\n" + payload}
	s.Options = v.options(int(v.lifetime / time.Second))
	header, err := v.save(request, s)
	if err != nil {
		return "", err
	}
	for _, line := range header["Set-Cookie"] {
		c, err := http.ParseSetCookie(line)
		if err != nil || c.Name != v.name || c.Value == "" || c.MaxAge < 0 {
			continue
		}
		if len(v.name)+len(c.Value) > seal.MaxCookie {
			return "", seal.ErrTooLarge
		}
		return c.Value, nil
	}
	return "", errStoreCookie
}

// destroy empties the session before it deletes it: the cookie with which
// gorilla's CookieStore deletes is a valid session otherwise.
func (v *store) destroy(s stored) error {
	s.session.Values = map[any]any{}
	s.session.Options = v.options(-1)
	if _, err := v.save(s.request, s.session); err != nil && !meansNoSession(err) {
		return err
	}
	return nil
}

func (v *store) open(r *http.Request) (s *sessions.Session, err error) {
	defer contain.Panic("Store.New", &err)
	s, err = v.sessions.New(r, v.name)
	if err == nil && s == nil {
		err = errStoreSession
	}
	return s, err
}

// save returns the header that the Store wrote. Its cookie's attributes do not
// reach the visitor.
func (v *store) save(r *http.Request, s *sessions.Session) (header http.Header, err error) {
	defer contain.Panic("Store.Save", &err)
	header = http.Header{}
	err = v.sessions.Save(r, discarded(header), s)
	return header, err
}

func (v *store) options(maxAge int) *sessions.Options {
	return &sessions.Options{Path: "/", MaxAge: maxAge, HttpOnly: true, Secure: v.secure, SameSite: http.SameSiteLaxMode}
}

// maxHeaders is how many other header lines of a request a Store gets to see. A
// request can have a hundred thousand, and each lookup copies them.
const maxHeaders = 100

// withCookie returns a copy of the request that shows this cookie alone, or
// none. Stores keep things in a request's context and change its fields. Of a
// request with very many header lines they see none but the cookie.
func withCookie(r *http.Request, cookie string) *http.Request {
	bare := r.WithContext(r.Context())
	bare.Header, bare.Trailer = nil, nil
	request := bare.Clone(r.Context())
	request.Header = otherHeaders(r.Header)
	if cookie != "" {
		request.Header.Set("Cookie", cookie)
	}
	return request
}

// otherHeaders copies all but the cookies, or nothing if that is too much.
func otherHeaders(h http.Header) http.Header {
	lines := 0
	for name, values := range h {
		if name != "Cookie" {
			lines += len(values)
		}
	}
	others := http.Header{}
	if lines > maxHeaders {
		return others
	}
	for name, values := range h {
		if name != "Cookie" {
			others[name] = slices.Clone(values)
		}
	}
	return others
}

// meansNoSession tells a cookie that leads nowhere from a Store that is
// unavailable.
func meansNoSession(err error) bool {
	if err == nil {
		return false
	}
	var sealed securecookie.Error
	if errors.As(err, &sealed) && sealed.IsDecode() && !sealed.IsUsage() {
		return true
	}
	// securecookie says this one with a plain error.
	if strings.HasPrefix(err.Error(), "securecookie: the value is too long") {
		return true
	}
	// A file of FilesystemStore that is gone. Not errors.Is alone: a socket
	// that vanished says fs.ErrNotExist, too.
	var file *fs.PathError
	return errors.As(err, &file) && errors.Is(file, fs.ErrNotExist)
}

// discarded is a response that nobody gets, but for its header.
type discarded http.Header

func (h discarded) Header() http.Header         { return http.Header(h) }
func (h discarded) Write(b []byte) (int, error) { return len(b), nil }
func (h discarded) WriteHeader(int)             {}
