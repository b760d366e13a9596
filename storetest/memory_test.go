package storetest_test

import (
	"context"
	"crypto/rand"
	"errors"
	"maps"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/sessions"
)

// memory is a Store that keeps the contract, but for its vices.
type memory struct {
	vices

	mu     sync.Mutex
	kept   map[string]record // by ID, which is the cookie's value
	freed  []string          // IDs of sessions that are gone
	buffer map[any]any       // of what is being saved
	down   bool
}

type record struct {
	values map[any]any
	until  time.Time
}

// vices are mistakes that Stores make.
type vices struct {
	forgets          bool // nothing is found again
	recyclesIDs      bool // a new session gets the ID of one that is gone
	neverDeletes     bool
	keepsForever     bool // whatever MaxAge says
	countsNanos      bool // takes MaxAge for nanoseconds
	inventsErrors    bool // for an ID that it does not know
	resumesAnyone    bool // a request without a cookie gets somebody's session
	writesNoCookie   bool
	writesHugeCookie bool
	cutsAt512        bool // bytes of a value
	refusesAt512     bool
	dropsRareLetters bool // those of four bytes
	touches          bool // New writes back what it read, to renew it
	savesAtEnd       bool // of each request, what New has read
	sharesBuffer     bool // among all requests
}

func newMemory(v vices) *memory { return &memory{vices: v, kept: map[string]record{}} }

func (m *memory) Get(r *http.Request, name string) (*sessions.Session, error) {
	return sessions.GetRegistry(r).Get(m, name)
}

var errNotFound = errors.New("memory: there is no session of that ID")

func (m *memory) New(r *http.Request, name string) (*sessions.Session, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := sessions.NewSession(m, name)
	s.IsNew = true
	cookie, err := r.Cookie(name)
	if err != nil {
		for id, found := range m.kept {
			if m.resumesAnyone {
				s.ID, s.Values, s.IsNew = id, maps.Clone(found.values), false
			}
		}
		return s, nil
	}
	found, ok := m.kept[cookie.Value]
	if !ok || m.forgets || m.down || !m.keepsForever && time.Now().After(found.until) {
		if m.inventsErrors {
			return s, errNotFound
		}
		return s, nil
	}
	s.ID, s.Values, s.IsNew = cookie.Value, maps.Clone(found.values), false
	if m.touches {
		if !strings.HasPrefix(r.URL.Path, "/wechat/") {
			m.unlocked(aMoment) // in which the person signs out
		}
		m.kept[s.ID] = found
	}
	if m.savesAtEnd {
		id := s.ID
		context.AfterFunc(r.Context(), func() {
			m.mu.Lock()
			defer m.mu.Unlock()
			m.kept[id] = found
		})
	}
	return s, nil
}

func (m *memory) unlocked(f func()) {
	m.mu.Unlock()
	defer m.mu.Lock()
	f()
}

// aMoment is what a database takes to answer, and enough for another request.
func aMoment() { <-time.After(50 * time.Millisecond) }

var (
	errTooLong = errors.New("memory: the value is too long")
	errDown    = errors.New("memory: out of order")
)

func (m *memory) Save(_ *http.Request, w http.ResponseWriter, s *sessions.Session) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.down {
		return errDown
	}
	if s.Options.MaxAge < 0 {
		if !m.neverDeletes {
			delete(m.kept, s.ID)
			m.freed = append(m.freed, s.ID)
		}
		http.SetCookie(w, sessions.NewCookie(s.Name(), "", s.Options))
		return nil
	}
	id := rand.Text()
	if n := len(m.freed); n > 0 && m.recyclesIDs {
		id, m.freed = m.freed[n-1], m.freed[:n-1]
	}
	values := maps.Clone(s.Values)
	if m.sharesBuffer {
		m.buffer = values
		m.unlocked(aMoment)
		values = m.buffer
	}
	for k, v := range values {
		text, _ := v.(string)
		switch {
		case len(text) > 512 && m.cutsAt512:
			values[k] = text[:512]
		case len(text) > 512 && m.refusesAt512:
			return errTooLong
		case m.dropsRareLetters:
			values[k] = strings.Map(func(c rune) rune {
				if c > 0xffff {
					return '?'
				}
				return c
			}, text)
		}
	}
	unit := time.Second
	if m.countsNanos {
		unit = time.Nanosecond
	}
	m.kept[id] = record{values, time.Now().Add(time.Duration(s.Options.MaxAge) * unit)}
	switch {
	case m.writesNoCookie:
		return nil
	case m.writesHugeCookie:
		id += strings.Repeat("x", 4096)
	}
	http.SetCookie(w, sessions.NewCookie(s.Name(), id, s.Options))
	return nil
}

// setDown makes the Store find nothing and say nothing of it.
func (m *memory) setDown(down bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.down = down
}

// failing is a Store that says when it is unavailable.
type failing struct {
	sessions.Store
	fail atomic.Bool
}

func (f *failing) New(r *http.Request, name string) (*sessions.Session, error) {
	if f.fail.Load() {
		return nil, errDown
	}
	return f.Store.New(r, name)
}

func (f *failing) Save(r *http.Request, w http.ResponseWriter, s *sessions.Session) error {
	if f.fail.Load() {
		return errDown
	}
	return f.Store.Save(r, w, s)
}
