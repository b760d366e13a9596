package push

import (
	"context"
	"sync"
	"time"
)

// memory remembers for a minute what was replied to which message. When it is
// full it forgets the oldest, whose repeat then counts as a new message.
type memory struct {
	mu      sync.Mutex
	byKey   map[string]*answered
	inOrder []*answered // oldest first
}

// answered is a message that OnMessage has heard of.
type answered struct {
	key   string
	until time.Time
	done  chan struct{} // closed when reply is there
	reply string
}

// maxRemembered replies of 2 KiB are 8 MiB.
const maxRemembered = 4096

func newMemory() *memory { return &memory{byKey: map[string]*answered{}} }

// once returns what ask returned for this key, and calls it where it was not
// called within the last minute. Who comes while it is being asked waits.
func (m *memory) once(ctx context.Context, key string, ask func() string) (reply string) {
	a, isNew := m.enter(key, time.Now())
	if isNew {
		defer close(a.done)
		a.reply = ask()
		return a.reply
	}
	select {
	case <-a.done:
		return a.reply
	case <-ctx.Done():
		return ""
	}
}

func (m *memory) enter(key string, now time.Time) (a *answered, isNew bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for len(m.inOrder) > 0 && !now.Before(m.inOrder[0].until) {
		m.forgetOldest()
	}
	if a, found := m.byKey[key]; found {
		return a, false
	}
	if len(m.inOrder) >= maxRemembered {
		m.forgetOldest()
	}
	a = &answered{key: key, until: now.Add(remembered), done: make(chan struct{})}
	m.byKey[key] = a
	m.inOrder = append(m.inOrder, a)
	return a, true
}

func (m *memory) forgetOldest() {
	delete(m.byKey, m.inOrder[0].key)
	m.inOrder[0] = nil
	m.inOrder = m.inOrder[1:]
}
