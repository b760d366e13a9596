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
	ways = 16 // entries of one set; a set is chosen by the value's hash

	// maxBytes bounds what a Table holds: with its own sets of pointers, that is less
	// than 8 MB. What does not fit is opened again.
	maxBytes = 29 << 18
	// entryCost is what an entry takes besides its strings, for a V of up to 200 bytes.
	entryCost = 224
	// replaceOneIn is how many values come before one takes another's place. Where
	// more browsers take turns than there is room for, those that are in stay, and
	// are found; to give each newcomer a place would only cost.
	replaceOneIn = 16
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
	sets  atomic.Pointer[[sets]atomic.Pointer[set[V]]] // nil before the first Put
}

// set has a part of each entry's hash beside it, so that a look passes over others'
// entries without touching their memory.
type set[V any] struct {
	tags    [ways]atomic.Uint32
	entries [ways]atomic.Pointer[entry[V]]
}

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
	hash := t.hash(sealed)
	s := t.set(hash)
	if s == nil {
		return nil
	}
	if e, _ := s.find(hash, sealed); e != nil {
		return &e.v
	}
	return nil
}

// find returns the entry of a sealed value and where it is, or nil.
func (s *set[V]) find(hash uint64, sealed string) (*entry[V], int) {
	for i := range s.tags {
		if s.tags[i].Load() != tagOf(hash) {
			continue
		}
		if e := s.entries[i].Load(); e != nil && e.sealed == sealed {
			return e, i
		}
	}
	return nil, 0
}

func tagOf(hash uint64) uint32 { return uint32(hash >> 32) }

// Put keeps v for a sealed value, now and then in place of an older entry where
// there is no room. payload is how many bytes v holds. It returns where v is kept,
// or nil.
func (t *Table[V]) Put(sealed string, v V, payload int) *V {
	if len(sealed) > MaxValue {
		return nil
	}
	size := allocated(len(sealed)) + allocated(payload) + entryCost
	chance := rand.Uint32() //nolint:gosec // decides who is remembered, and nothing else
	mayReplace := chance%replaceOneIn == 0
	full := t.bytes.Load()+size > maxBytes
	if full && !mayReplace {
		return nil
	}
	hash := t.hash(sealed)
	s := t.newSet(hash)
	if e, _ := s.find(hash, sealed); e != nil {
		return &e.v
	}
	place := s.free()
	if full || place < 0 {
		if !mayReplace {
			return nil
		}
		place = int(chance / replaceOneIn % ways)
	}
	old := s.entries[place].Load()
	grows := size - sizeOf(old)
	// Counted first: of many that come at once, none takes what another was given.
	if t.bytes.Add(grows) > maxBytes && grows > 0 {
		t.bytes.Add(-grows)
		// Entries that are never asked for again would keep out larger ones for ever.
		t.drop(s, place, old)
		return nil
	}
	e := &entry[V]{sealed: strings.Clone(sealed), size: size, v: v}
	if !s.entries[place].CompareAndSwap(old, e) {
		t.bytes.Add(-grows)
		return nil // somebody else's entry is as good
	}
	s.tags[place].Store(tagOf(hash))
	return &e.v
}

// Remove forgets a sealed value, because what was opened no longer counts.
func (t *Table[V]) Remove(sealed string) {
	hash := t.hash(sealed)
	s := t.set(hash)
	if s == nil {
		return
	}
	if e, i := s.find(hash, sealed); e != nil {
		t.drop(s, i, e)
	}
}

// drop empties a place, if e is still there. A nil e is none.
func (t *Table[V]) drop(s *set[V], place int, e *entry[V]) {
	if e != nil && s.entries[place].CompareAndSwap(e, nil) {
		t.bytes.Add(-e.size)
	}
}

// set returns where values of that hash are kept, or nil.
func (t *Table[V]) set(hash uint64) *set[V] {
	if all := t.sets.Load(); all != nil {
		return all[hash%sets].Load()
	}
	return nil
}

// newSet is set where a value is to be put in.
func (t *Table[V]) newSet(hash uint64) *set[V] {
	if t.sets.Load() == nil {
		t.sets.CompareAndSwap(nil, new([sets]atomic.Pointer[set[V]]))
	}
	at := &t.sets.Load()[hash%sets]
	if at.Load() == nil {
		at.CompareAndSwap(nil, new(set[V]))
	}
	return at.Load()
}

// free returns a place without an entry, or -1.
func (s *set[V]) free() int {
	for i := range s.entries {
		if s.entries[i].Load() == nil {
			return i
		}
	}
	return -1
}

// hash is keyed by chance, so that the sets that values share cannot be chosen.
func (t *Table[V]) hash(sealed string) uint64 { return maphash.String(t.seed, sealed) }

// allocated is what n bytes take: the runtime hands out steps, of up to a quarter of
// the length.
func allocated(n int) int64 {
	step := 16
	for n > 12*step {
		step *= 2
	}
	return int64((n + step - 1) / step * step)
}

func sizeOf[V any](e *entry[V]) int64 {
	if e == nil {
		return 0
	}
	return e.size
}
