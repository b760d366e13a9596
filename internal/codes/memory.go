package codes

import (
	"container/heap"
	"context"
	"errors"
	"sync"
	"time"
)

// Capacity is how many values a Memory holds at most.
const Capacity = 65_536

// ErrFull says that a Memory holds as many values as it may, and that none of
// them has expired.
var ErrFull = errors.New("codes: the memory is full")

var errTTL = errors.New("codes: a value has to be kept for some time")

// Memory is a wechatgate.CodeStore in the memory of one process. When it is
// full it refuses to add: it never drops a value before its time, because tries
// are counted by them. It starts no goroutine. Expired values are cleared by the
// next call, each at the cost of one removal from a heap.
type Memory struct {
	mu     sync.Mutex
	byKey  map[string]*entry
	expiry byExpiry // the same entries
}

type entry struct {
	key   string
	value []byte
	until time.Time
	index int // in the heap
}

// NewMemory returns an empty Memory.
func NewMemory() *Memory { return &Memory{byKey: map[string]*entry{}} }

// Add keeps a copy of value under key for ttl, unless there is a value already,
// and reports whether it did. Its errors are ErrFull, that of the context, and
// one for a ttl that is not positive.
func (m *Memory) Add(ctx context.Context, key string, value []byte, ttl time.Duration) (added bool, err error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	if ttl <= 0 {
		return false, errTTL
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	m.clear(now)
	if _, found := m.byKey[key]; found {
		return false, nil
	}
	if len(m.byKey) >= Capacity {
		return false, ErrFull
	}
	e := &entry{key: key, value: append([]byte{}, value...), until: now.Add(ttl)}
	m.byKey[key] = e
	heap.Push(&m.expiry, e)
	return true, nil
}

// Take returns the value under key and removes it, or nil where there is none.
// Its only error is that of the context.
func (m *Memory) Take(ctx context.Context, key string) (value []byte, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.clear(time.Now())
	e, found := m.byKey[key]
	if !found {
		return nil, nil
	}
	delete(m.byKey, key)
	heap.Remove(&m.expiry, e.index)
	return e.value, nil
}

// clear removes what has expired, and looks at one entry that has not.
func (m *Memory) clear(now time.Time) {
	for len(m.expiry) > 0 && !now.Before(m.expiry[0].until) {
		e := m.expiry[0]
		heap.Pop(&m.expiry)
		delete(m.byKey, e.key)
	}
}

// byExpiry is a heap of entries, the first to expire in front.
type byExpiry []*entry

func (h byExpiry) Len() int           { return len(h) }
func (h byExpiry) Less(i, j int) bool { return h[i].until.Before(h[j].until) }

func (h byExpiry) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

// Push is for package heap.
func (h *byExpiry) Push(x any) {
	e, _ := x.(*entry)
	e.index = len(*h)
	*h = append(*h, e)
}

// Pop is for package heap.
func (h *byExpiry) Pop() any {
	last := len(*h) - 1
	e := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return e
}
