package redisstore

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"time"
	"unicode/utf8"

	"github.com/gorilla/sessions"
	"github.com/redis/go-redis/v9"
)

// Sessions returns a Store that keeps sessions in Redis and their IDs, 256
// random bits each, in cookies. Nothing is signed: an ID cannot be guessed, and
// is all that a cookie has to prove. Redis has a hash of it behind keyPrefix:
// reading Redis gives nobody a cookie. Two sites that share a Redis need
// different prefixes.
//
// It keeps what the gate keeps: strings under keys that are strings, both valid
// UTF-8. It refuses to save anything else. A session lives for Options.MaxAge,
// which is never prolonged, and has to be positive, or negative to delete the
// session. A session that was deleted meanwhile cannot be saved again.
//
// A cookie that leads nowhere is a new session. Everything else that goes wrong
// is an error.
func Sessions(client redis.UniversalClient, keyPrefix string) sessions.Store {
	return &store{client, keyPrefix}
}

type store struct {
	client redis.UniversalClient
	prefix string
}

const idBytes = 32

// defaultMaxAge is for those who use the Store without a gate, which sets its
// own.
const defaultMaxAge = 24 * 60 * 60

// maxMaxAge is what a time.Duration can hold. A longer one would be negative,
// which the client takes for no expiry at all.
const maxMaxAge = math.MaxInt64 / int64(time.Second)

var (
	errMaxAge  = errors.New("redisstore: Options.MaxAge has to be positive and below 292 years, or negative to delete the session")
	errValues  = errors.New("redisstore: a session's keys and values have to be strings of valid UTF-8")
	errContent = errors.New("redisstore: Redis has something else than a session under a session's key")
	errGone    = errors.New("redisstore: the session was deleted meanwhile")
)

// Get returns the request's session of this name, the same one each time.
func (s *store) Get(r *http.Request, name string) (*sessions.Session, error) {
	return sessions.GetRegistry(r).Get(s, name)
}

// New returns what the request's cookie leads to, or a new session. It writes
// nothing.
func (s *store) New(r *http.Request, name string) (*sessions.Session, error) {
	session := sessions.NewSession(s, name)
	session.Options = &sessions.Options{Path: "/", MaxAge: defaultMaxAge, HttpOnly: true, Secure: true, SameSite: http.SameSiteLaxMode}
	session.IsNew = true
	id := cookieID(r, name)
	if id == "" {
		return session, nil
	}
	data, err := s.client.Get(r.Context(), s.key(id)).Bytes()
	if errors.Is(err, redis.Nil) {
		return session, nil
	}
	if err != nil {
		return session, failed(err)
	}
	var values map[string]string
	if json.Unmarshal(data, &values) != nil || values == nil {
		return session, errContent // without encoding/json's error, which quotes
	}
	for k, v := range values {
		session.Values[k] = v
	}
	session.ID, session.IsNew = id, false
	return session, nil
}

// Save keeps the session and writes its cookie, or deletes both.
func (s *store) Save(r *http.Request, w http.ResponseWriter, session *sessions.Session) error {
	options := session.Options
	switch {
	case options == nil || options.MaxAge == 0 || int64(options.MaxAge) > maxMaxAge:
		return errMaxAge
	case options.MaxAge < 0:
		return s.remove(r.Context(), w, session)
	}
	data, err := encode(session.Values)
	if err != nil {
		return err
	}
	id, mode := session.ID, "xx"
	if id == "" {
		// Without "nx": nobody else can have this ID, and a client that repeats
		// a command whose answer was lost would be told that it is taken.
		id, mode = newID(), ""
	}
	err = s.client.SetArgs(r.Context(), s.key(id), data, redis.SetArgs{Mode: mode, TTL: time.Duration(options.MaxAge) * time.Second}).Err()
	if errors.Is(err, redis.Nil) {
		return errGone
	}
	if err != nil {
		return failed(err)
	}
	session.ID = id
	http.SetCookie(w, sessions.NewCookie(session.Name(), id, options))
	return nil
}

func (s *store) remove(ctx context.Context, w http.ResponseWriter, session *sessions.Session) error {
	if session.ID != "" {
		if err := s.client.Del(ctx, s.key(session.ID)).Err(); err != nil {
			return failed(err)
		}
	}
	session.ID = "" // so that Save cannot use it again
	http.SetCookie(w, sessions.NewCookie(session.Name(), "", session.Options))
	return nil
}

func (s *store) key(id string) string {
	sum := sha256.Sum256([]byte(id))
	return s.prefix + base64.RawURLEncoding.EncodeToString(sum[:])
}

func newID() string {
	var random [idBytes]byte
	_, _ = rand.Read(random[:]) // never fails
	return base64.RawURLEncoding.EncodeToString(random[:])
}

// cookieID returns the ID that the request shows, or "" for what no Save has
// written, which Redis need not hear of.
func cookieID(r *http.Request, name string) string {
	for _, cookie := range r.CookiesNamed(name) {
		decoded, err := base64.RawURLEncoding.Strict().DecodeString(cookie.Value)
		if err == nil && len(decoded) == idBytes {
			return cookie.Value
		}
	}
	return ""
}

func encode(values map[any]any) ([]byte, error) {
	text := map[string]string{}
	for k, v := range values {
		key, isKey := k.(string)
		value, isValue := v.(string)
		// encoding/json would replace invalid UTF-8.
		if !isKey || !isValue || !utf8.ValidString(key) || !utf8.ValidString(value) {
			return nil, errValues
		}
		text[key] = value
	}
	return json.Marshal(text)
}
