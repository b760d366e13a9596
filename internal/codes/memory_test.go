package codes_test

import (
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wechatgate/wechatgate"
	"github.com/wechatgate/wechatgate/internal/codes"
	"github.com/wechatgate/wechatgate/storetest"
)

func TestMemoryIsACodeStore(t *testing.T) {
	storetest.RunCodes(t, func(*testing.T) wechatgate.CodeStore { return codes.NewMemory() })
}

func TestFullMemoryRefusesAndDropsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := codes.NewMemory()
		ctx := t.Context()
		add := func(key string, ttl time.Duration) error {
			_, err := m.Add(ctx, key, []byte(key), ttl)
			return err
		}
		const early = 1000 // expire after a minute, the others after five
		for i := range codes.Capacity {
			ttl := 5 * time.Minute
			if i%64 == 0 && i/64 < early {
				ttl = time.Minute
			}
			require.NoError(t, add(strconv.Itoa(i), ttl))
		}
		require.ErrorIs(t, add("one more", time.Hour), codes.ErrFull)
		added, err := m.Add(ctx, "7", nil, time.Hour)
		assert.False(t, added, "what is there is told apart from what has no room")
		require.NoError(t, err)

		value, err := m.Take(ctx, "7")
		require.NoError(t, err)
		assert.Equal(t, "7", string(value))
		require.NoError(t, add("in its place", time.Hour))
		require.ErrorIs(t, add("one more", time.Hour), codes.ErrFull)

		time.Sleep(time.Minute)
		for i := range early {
			require.NoError(t, add("later "+strconv.Itoa(i), time.Hour))
		}
		require.ErrorIs(t, add("one more", time.Hour), codes.ErrFull)
		for i := range codes.Capacity {
			value, err := m.Take(ctx, strconv.Itoa(i))
			require.NoError(t, err)
			if i == 7 || i%64 == 0 && i/64 < early {
				require.Nil(t, value)
			} else {
				require.Equal(t, strconv.Itoa(i), string(value))
			}
		}
	})
}

func TestMemoryKeepsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := codes.NewMemory()
		kept := []byte("kept")
		for _, key := range []string{"a", "b", "c"} {
			added, err := m.Add(t.Context(), key, kept, 5*time.Minute)
			require.NoError(t, err)
			require.True(t, added)
		}
		kept[0] = 'x' // the caller's again

		time.Sleep(5*time.Minute - time.Nanosecond)
		value, err := m.Take(t.Context(), "a")
		require.NoError(t, err)
		assert.Equal(t, "kept", string(value))
		added, err := m.Add(t.Context(), "b", kept, time.Hour)
		require.NoError(t, err)
		assert.False(t, added, "and that does not make it live longer")

		time.Sleep(time.Nanosecond)
		for _, key := range []string{"b", "c"} {
			value, err := m.Take(t.Context(), key)
			require.NoError(t, err)
			assert.Nil(t, value)
		}
		added, err = m.Add(t.Context(), "b", nil, time.Hour)
		require.NoError(t, err)
		assert.True(t, added)
		_, err = m.Add(t.Context(), "d", nil, 0)
		require.Error(t, err, "for ever is not what anybody asked for")
	})
}

// The end of a value that was taken is not the end of the next one under its key.
func TestMemoryForgetsWhatWasTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := codes.NewMemory()
		_, err := m.Add(t.Context(), "a", []byte("first"), time.Minute)
		require.NoError(t, err)
		_, err = m.Take(t.Context(), "a")
		require.NoError(t, err)
		_, err = m.Add(t.Context(), "a", []byte("second"), time.Hour)
		require.NoError(t, err)
		time.Sleep(30 * time.Minute)
		value, err := m.Take(t.Context(), "a")
		require.NoError(t, err)
		assert.Equal(t, "second", string(value))
	})
}

// A value that is there and one that has expired cost the same in a full
// Memory as in an empty one, but for the heap.
func BenchmarkMemory(b *testing.B) {
	for _, kept := range []int{0, codes.Capacity - 1} {
		b.Run(strconv.Itoa(kept), func(b *testing.B) {
			m := codes.NewMemory()
			for i := range kept {
				_, _ = m.Add(b.Context(), strconv.Itoa(i), nil, time.Hour)
			}
			for b.Loop() {
				_, _ = m.Add(b.Context(), "x", nil, time.Minute)
				_, _ = m.Take(b.Context(), "x")
			}
		})
	}
}
