// Package recent remembers what was opened lately, so that a browser's next
// request need not open the same seal again.
package recent

import (
	"hash/maphash"
	"math/rand/v2"
	"strings"
	"sync/atomic"
)

const (
	sets = 1024
	ways = 8 // entries of one set; a set is chosen by the value's hash

	// maxBytes bounds what a Table holds, with what an entry costs besides its
	// strings. What does not fit is opened again.
	maxBytes  = 6 << 20
	entryCost = 320
	// replaceOneIn is how many values come before one takes another's place. Where
	// more browsers take turns than there is room for, those that are in stay, and
	// are found; to give each newcomer a place would only cost.
	replaceOneIn = 8
	// MaxValue is how long a sealed value may be that is remembered, in bytes.
	MaxValue = 1024
)

// Table remembers opened values by their sealed form. It answers only for exactly
// the bytes that were opened before: the hash chooses where to look, and the whole
// value is compared. It needs no lock, since entries never change once they are
// in. Memory is taken as it fills. The zero value is not usable; see [New].
//
// It says nothing about time: who asks judges whether what was opened still
// counts, on each hit.
type Table[V any] struct {
	seed  maphash.Seed
	bytes atomic.Int64
	sets  [sets]atomic.Pointer[set[V]]
}

type set[V any] [ways]atomic.Pointer[entry[V]]

type entry[V any] struct {
	sealed string // a copy: a piece of a request's header would keep all of it
	size   int64
	v      V
}

// New returns an empty Table.
func New[V any]() *Table[V] { return &Table[V]{seed: maphash.MakeSeed()} }

// Get returns what was kept for a sealed value, or nil. What it points to is
// shared: it must not be changed.
func (t *Table[V]) Get(sealed string) *V {
	s := t.sets[t.hash(sealed)%sets].Load()
	if s == nil {
		return nil
	}
	for i := range s {
		if e := s[i].Load(); e != nil && e.sealed == sealed {
			return &e.v
		}
	}
	return nil
}

// Put keeps v for a sealed value, now and then in place of an older entry where
// there is no room. payload is how many bytes v holds. It returns where v is kept,
// or nil.
func (t *Table[V]) Put(sealed string, v V, payload int) *V {
	if len(sealed) > MaxValue {
		return nil
	}
	s := t.set(t.hash(sealed) % sets)
	var place *atomic.Pointer[entry[V]]
	for i := range s {
		old := s[i].Load()
		if old != nil && old.sealed == sealed {
			return &old.v
		}
		if old == nil {
			place = &s[i]
		}
	}
	size := int64(len(sealed) + payload + entryCost)
	if place == nil || t.bytes.Load()+size > maxBytes {
		chance := rand.Uint32() //nolint:gosec // decides who is remembered, and nothing else
		if chance%replaceOneIn != 0 {
			return nil
		}
		place = &s[chance/replaceOneIn%ways]
	}
	old := place.Load()
	if grows := size - sizeOf(old); grows > 0 && t.bytes.Load()+grows > maxBytes {
		return nil
	}
	e := &entry[V]{sealed: strings.Clone(sealed), size: size, v: v}
	if !place.CompareAndSwap(old, e) {
		return nil // somebody else's entry is as good
	}
	t.bytes.Add(e.size - sizeOf(old))
	return &e.v
}

// Remove forgets a sealed value, because what was opened no longer counts.
func (t *Table[V]) Remove(sealed string) {
	s := t.sets[t.hash(sealed)%sets].Load()
	if s == nil {
		return
	}
	for i := range s {
		if e := s[i].Load(); e != nil && e.sealed == sealed && s[i].CompareAndSwap(e, nil) {
			t.bytes.Add(-e.size)
		}
	}
}

func (t *Table[V]) set(i uint64) *set[V] {
	if s := t.sets[i].Load(); s != nil {
		return s
	}
	t.sets[i].CompareAndSwap(nil, new(set[V]))
	return t.sets[i].Load()
}

// hash is keyed by chance, so that the sets that values share cannot be chosen.
func (t *Table[V]) hash(sealed string) uint64 { return maphash.String(t.seed, sealed) }

func sizeOf[V any](e *entry[V]) int64 {
	if e == nil {
		return 0
	}
	return e.size
}
