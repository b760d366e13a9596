// Package pause remembers whom not to ask for a while.
package pause

import (
	"sync"
	"time"
)

// Set is the pauses that are under way, by name. The zero value has none. It is safe
// for concurrent use.
type Set struct {
	mu    sync.Mutex
	until map[string]time.Time
}

// Begin begins a pause, in place of one of that name.
func (s *Set) Begin(name string, length time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.until == nil {
		s.until = map[string]time.Time{}
	}
	s.until[name] = time.Now().Add(length)
}

// Left returns how long a pause still lasts, or 0.
func (s *Set) Left(name string) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return max(0, time.Until(s.until[name]))
}
