package wechatgate

import (
	"errors"
	"io/fs"
	"net/http"
	"strings"
	"time"

	"github.com/gorilla/securecookie"
	"github.com/gorilla/sessions"
)

// cookieVault keeps the string in the cookie itself, sealed. It cannot destroy
// a cookie that somebody copied.
type cookieVault struct {
	sealer sealer
	name   string
}

func (v cookieVault) find(r *http.Request, skip int) (payload string, next int, err error) {
	n := 0
	for value := range cookieValues(r.Header, v.name) {
		if n++; n <= skip {
			continue
		}
		if payload, ok := v.sealer.open(v.name, value); ok {
			return payload, n, nil
		}
	}
	return "", 0, nil
}

func (v cookieVault) replace(_ *http.Request, payload string) (string, error) {
	return v.sealer.seal(v.name, payload)
}

func (v cookieVault) destroy(*http.Request) error { return nil }

// storeVault keeps the string in a gorilla Store, under one key. It trusts the
// Store with keeping, and with nothing else.
type storeVault struct {
	store    sessions.Store
	name     string
	lifetime time.Duration
	secure   bool
}

const (
	storeKey = "wechatgate"
	// maxStoreLookups bounds what a request with many cookies of the
	// session's name can make the Store do.
	maxStoreLookups = 4
)

var (
	errStoreSession = errors.New("the Store returned no session")
	errStoreFixed   = errors.New("the Store returned an old session to a request without cookies")
	errStoreCookie  = errors.New("the Store set no cookie")
)

func (v storeVault) find(r *http.Request, skip int) (payload string, next int, err error) {
	for {
		_, s, next, err := v.lookup(r, skip)
		if err != nil || next == 0 {
			return "", 0, err
		}
		if payload, ok := s.Values[storeKey].(string); ok {
			return payload, next, nil
		}
		skip = next
	}
}

// replace deletes first and creates then, on a request that shows no cookie: the
// one order in which the new session has a new ID with every Store.
func (v storeVault) replace(r *http.Request, payload string) (string, error) {
	if err := v.destroy(r); err != nil {
		return "", err
	}
	request := withCookie(r, "")
	s, err := v.open(request)
	if err != nil {
		return "", err
	}
	if !s.IsNew {
		return "", errStoreFixed
	}
	s.Values = map[any]any{storeKey: payload}
	s.Options = v.options(int(v.lifetime / time.Second))
	header, err := v.save(request, s)
	if err != nil {
		return "", err
	}
	for _, line := range header["Set-Cookie"] {
		if c, err := http.ParseSetCookie(line); err == nil && c.Name == v.name && c.Value != "" && c.MaxAge >= 0 {
			return c.Value, nil
		}
	}
	return "", errStoreCookie
}

// destroy empties the session before it deletes it: the cookie with which
// gorilla's CookieStore deletes is a valid session otherwise.
func (v storeVault) destroy(r *http.Request) error {
	for skip := 0; ; {
		request, s, next, err := v.lookup(r, skip)
		if err != nil || next == 0 {
			return err
		}
		s.Values = map[any]any{}
		s.Options = v.options(-1)
		if _, err := v.save(request, s); err != nil && !meansNoSession(err) {
			return err
		}
		skip = next
	}
}

// lookup returns the next session that the request's cookies lead to, on a
// request that shows this one cookie, because Stores look at the first one only.
func (v storeVault) lookup(r *http.Request, skip int) (request *http.Request, s *sessions.Session, next int, err error) {
	n := 0
	for value := range cookieValues(r.Header, v.name) {
		if n++; n > maxStoreLookups {
			break
		}
		if n <= skip || value == "" || len(v.name)+len(value) > maxCookie {
			continue
		}
		request := withCookie(r, v.name+"="+value)
		s, err := v.open(request)
		if err != nil && !meansNoSession(err) {
			return nil, nil, 0, err
		}
		if err == nil && !s.IsNew {
			return request, s, n, nil
		}
	}
	return nil, nil, 0, nil
}

func (v storeVault) open(r *http.Request) (s *sessions.Session, err error) {
	defer containPanic("Store.New", &err)
	s, err = v.store.New(r, v.name)
	if err == nil && s == nil {
		err = errStoreSession
	}
	return s, err
}

// save returns the header that the Store wrote. Its cookie's attributes do not
// reach the visitor.
func (v storeVault) save(r *http.Request, s *sessions.Session) (header http.Header, err error) {
	defer containPanic("Store.Save", &err)
	header = http.Header{}
	err = v.store.Save(r, headerWriter(header), s)
	return header, err
}

func (v storeVault) options(maxAge int) *sessions.Options {
	return &sessions.Options{Path: "/", MaxAge: maxAge, HttpOnly: true, Secure: v.secure, SameSite: http.SameSiteLaxMode}
}

// withCookie returns a copy of the request that shows this cookie alone, or
// none. Stores keep things in a request's context and change its fields.
func withCookie(r *http.Request, cookie string) *http.Request {
	request := r.Clone(r.Context())
	request.Header.Del("Cookie")
	if cookie != "" {
		request.Header.Set("Cookie", cookie)
	}
	return request
}

// meansNoSession tells a cookie that leads nowhere from a Store that is out of
// order.
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

// headerWriter is a response that nobody gets.
type headerWriter http.Header

func (h headerWriter) Header() http.Header         { return http.Header(h) }
func (h headerWriter) Write(b []byte) (int, error) { return len(b), nil }
func (h headerWriter) WriteHeader(int)             {}
