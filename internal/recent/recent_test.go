package recent

import (
	"iter"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestAValueIsFoundByExactlyItsBytes(t *testing.T) {
	table := New[string]()
	assert.Nil(t, table.Get("sealed"))
	require.NotNil(t, table.Put("sealed", "opened", 6))
	require.NotNil(t, table.Get("sealed"))
	assert.Equal(t, "opened", *table.Get("sealed"))
	for _, other := range []string{"", "seale", "sealed ", "Sealed", "sealee"} {
		assert.Nil(t, table.Get(other), other)
	}
	table.Remove("sealed")
	assert.Nil(t, table.Get("sealed"))
	assert.Zero(t, table.bytes.Load())
}

func TestWhatIsInStays(t *testing.T) {
	table := New[string]()
	table.Put("sealed", "first", 5)
	assert.Equal(t, "first", *table.Put("sealed", "second", 6))
	assert.Equal(t, "first", *table.Get("sealed"))
}

// A Cookie header has up to a megabyte, and a value is a piece of it.
func TestNothingOfTheHeaderIsKept(t *testing.T) {
	header := strings.Repeat("x", 1<<20) + "sealed"
	sealed := header[1<<20:]
	table := New[string]()
	table.Put(sealed, "opened", 6)
	for e := range table.all() {
		assert.NotSame(t, unsafe.StringData(sealed), unsafe.StringData(e.sealed))
	}
	assert.Nil(t, table.Put(strings.Repeat("x", MaxValue+1), "opened", 6), "longer ones are opened again")
}

// person is as large as what a gate keeps.
type person struct {
	payload string
	_       [176]byte
}

func TestATableIsBounded(t *testing.T) {
	// Some of these lengths are just beyond a step of the runtime's.
	for _, length := range []int{100, 260, 300, 516, 772, 900, MaxValue} {
		table := New[person]()
		before := heap()
		for i := range 60_000 {
			sealed := strconv.Itoa(i) + strings.Repeat("s", length)
			payload := strings.Repeat("p", length/2)
			table.Put(sealed[:length], person{payload: payload}, len(payload))
		}
		grown := heap() - before
		t.Logf("values of %d bytes: %d KB", length, grown>>10)
		assert.Less(t, grown, int64(8<<20), "%d bytes", length)
		runtime.KeepAlive(table)
	}
}

// A table fills with what will never be asked for again, such as sessions that
// ended. Those that come later may be larger.
func TestLargerValuesComeInWhereSmallerOnesWere(t *testing.T) {
	table := New[person]()
	for i := range 50_000 {
		table.Put("small "+strconv.Itoa(i)+strings.Repeat("s", 200), person{}, 100)
	}
	found := 0
	for range 50 {
		found = 0
		for i := range 1000 {
			sealed := "large " + strconv.Itoa(i) + strings.Repeat("s", 600)
			if table.Get(sealed) != nil {
				found++
			}
			table.Put(sealed, person{}, 300)
		}
	}
	assert.Greater(t, found, 500)
}

func TestMostOf4096ValuesAreFoundInTurns(t *testing.T) {
	table := New[int]()
	for i := range 4096 {
		table.Put(strconv.Itoa(i), i, 0)
	}
	found := 0
	for i := range 4096 {
		if v := table.Get(strconv.Itoa(i)); v != nil {
			assert.Equal(t, i, *v)
			found++
		}
	}
	assert.Greater(t, found, 4096*95/100)
}

func TestManyAtOnce(t *testing.T) {
	table := New[string]()
	var group sync.WaitGroup
	for g := range 16 {
		group.Go(func() {
			for i := range 20_000 {
				sealed := strconv.Itoa((i*7 + g) % 3000)
				if v := table.Get(sealed); v != nil {
					assert.Equal(t, "opened "+sealed, *v)
				}
				table.Put(sealed, "opened "+sealed, 10)
				if i%50 == 0 {
					table.Remove(sealed)
				}
			}
		})
	}
	group.Wait()
	var size int64
	for e := range table.all() {
		size += e.size
	}
	assert.Equal(t, size, table.bytes.Load())
}

// all yields the entries of a table with at least one.
func (t *Table[V]) all() iter.Seq[*entry[V]] {
	return func(yield func(*entry[V]) bool) {
		for i := range t.sets.Load() {
			s := t.set(uint64(i))
			for j := 0; s != nil && j < ways; j++ {
				if e := s.entries[j].Load(); e != nil && !yield(e) {
					return
				}
			}
		}
	}
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
