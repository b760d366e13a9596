package seal_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/gorilla/securecookie"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wechatgate/wechatgate/internal/seal"
)

const gate = "https://example.com\ngate"

func key(first byte) []byte {
	return append([]byte{first}, "23456789abcdef0123456789abcdef!"...)
}

func sealer(keys ...byte) seal.Sealer {
	var all [][]byte
	for _, first := range keys {
		all = append(all, key(first))
	}
	return seal.New(all, "session", gate)
}

func mustSeal(tb testing.TB, s seal.Sealer, payload string) string {
	tb.Helper()
	value, err := s.Seal("name", payload)
	require.NoError(tb, err)
	return value
}

func TestSealedValuesAreOfOneKeyOnePurposeOneGateAndOneName(t *testing.T) {
	sealed := mustSeal(t, sealer('a', 'z'), "payload")
	for _, row := range []struct {
		what   string
		opener seal.Sealer
		name   string
		opens  bool
	}{
		{"the same", sealer('a', 'z'), "name", true},
		{"the same key, now the second", sealer('b', 'a'), "name", true},
		{"the same key, now the last of many", sealer('b', 'c', 'd', 'a'), "name", true},
		{"a key that opens, but does not seal", sealer('z'), "name", false},
		{"another key", sealer('b'), "name", false},
		{"another purpose", seal.New([][]byte{key('a')}, "attempt", gate), "name", false},
		{"another BaseURL", seal.New([][]byte{key('a')}, "session", "https://example.org\ngate"), "name", false},
		{"another CookieName", seal.New([][]byte{key('a')}, "session", "https://example.com\nother"), "name", false},
		{"another name", sealer('a'), "name-seen", false},
		{"a key that only begins the same", seal.New([][]byte{append(key('a'), 'x')}, "session", gate), "name", false},
		{"no key", sealer(), "name", false},
	} {
		payload, ok := row.opener.Open(row.name, sealed)
		assert.Equal(t, row.opens, ok, row.what)
		if row.opens {
			assert.Equal(t, "payload", payload, row.what)
		}
	}
}

// Another derivation or another format would sign everybody out. The keys were
// computed with Python's hmac.
func TestKeysAndFormatStayAsTheyAre(t *testing.T) {
	codec := securecookie.New(unhex(t, authentication), unhex(t, encryption)).SetSerializer(securecookie.NopEncoder{})
	var payload []byte
	require.NoError(t, codec.Decode("name", mustSeal(t, sealer('a'), "payload"), &payload))
	assert.Equal(t, "payload", string(payload))

	want := hmac.New(sha256.New, unhex(t, message))
	want.Write([]byte("nonce"))
	macs := sealer('a', 'b').MACs("nonce")
	require.Len(t, macs, 2)
	assert.Equal(t, want.Sum(nil), macs[0])
	assert.Equal(t, sealer('b').MACs("nonce")[0], macs[1])
}

const (
	authentication = "5b98fe246ded7cd916c3815217b07fb8ba69618b14f695f6ca72aa1a04ca601d"
	encryption     = "77e6a487b798cb0e3a62c5a080751b8b11ca5738cf9641e94e1af406097261d5"
	message        = "0d3b5d02fc9ce581653efb6c4abc636acc4bf800ea529abf2e32c0a34d529072"
)

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	require.NoError(t, err)
	return b
}

func TestSealedValuesHideTheirPayload(t *testing.T) {
	first, second := mustSeal(t, sealer('a'), "the same payload"), mustSeal(t, sealer('a'), "the same payload")
	assert.NotEqual(t, first, second)
	outer, err := base64.URLEncoding.DecodeString(first)
	require.NoError(t, err)
	inner, err := base64.URLEncoding.DecodeString(strings.Split(string(outer), "|")[1])
	require.NoError(t, err)
	assert.NotContains(t, string(inner), "payload")
}

func TestSealersPrintNoKeys(t *testing.T) {
	s := sealer('a')
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x"} {
		assert.Less(t, len(fmt.Sprintf(verb, struct{ S seal.Sealer }{s})), 80, verb)
	}
}

func TestChangedSealsDoNotOpen(t *testing.T) {
	s := sealer('a', 'b')
	// Three lengths, for the three ways in which base64 ends; the first is the
	// shortest there is.
	for _, payload := range []string{"1", "1\nwx\nopenid", "1\nwx\nopenid1", "1\nwx\nopenid12"} {
		sealed := mustSeal(t, s, payload)
		opened, ok := s.Open("name", sealed)
		require.True(t, ok)
		require.Equal(t, payload, opened)
		last := len(strings.TrimRight(sealed, "=")) - 1
		for at := range len(sealed) {
			for bit := range 8 {
				changed := []byte(sealed)
				changed[at] ^= 1 << bit
				if opened, ok := s.Open("name", string(changed)); ok {
					// base64 ignores the last bits of its last character:
					// another spelling of the same seal.
					assert.Equal(t, payload, opened)
					assert.Equal(t, last, at)
				}
			}
		}
		for n := range len(sealed) {
			_, ok := s.Open("name", sealed[:n])
			assert.False(t, ok, "cut to %d bytes", n)
			_, ok = s.Open("name", sealed[n+1:])
			assert.False(t, ok, "without its first %d bytes", n+1)
		}
		pipes := base64.URLEncoding.EncodeToString([]byte(strings.Repeat("|", 96)))
		for _, rubbish := range []string{sealed + sealed, sealed + "A", "A" + sealed, " " + sealed, sealed + "\r\n\r\n", strings.ToUpper(sealed), strings.Repeat("A", 64<<10), "||", "\x00", "店", pipes, strings.Repeat("=", 96), strings.Repeat("A", 95) + "="} {
			_, ok := s.Open("name", rubbish)
			assert.False(t, ok, rubbish[:min(20, len(rubbish))])
		}
	}
}

func TestSealRefusesWhatBrowsersWouldDrop(t *testing.T) {
	s, name, longest := sealer('a'), strings.Repeat("n", 60), 0
	for n := 2000; n < 3000; n++ {
		value, err := s.Seal(name, strings.Repeat("x", n))
		if err != nil {
			require.ErrorIs(t, err, seal.ErrTooLarge)
			break
		}
		longest = len(name) + len(value)
		_, ok := s.Open(name, value)
		require.True(t, ok)
	}
	assert.LessOrEqual(t, longest, seal.MaxCookie)
	assert.Greater(t, longest, seal.MaxCookie-8, "and nothing else")
	_, err := s.Seal(name, strings.Repeat("x", 10<<10))
	assert.ErrorIs(t, err, seal.ErrTooLarge)
}

// With the race detector, a sync.Pool drops things at random.
func skipUnderRace(t *testing.T) {
	t.Helper()
	if raceDetector {
		t.Skip("allocations are counted without the race detector")
	}
}

// forged returns values that are like sealed ones in all but their HMAC: 128 of a
// kind, with 24 KiB together.
func forged(tb testing.TB) (values []string) {
	tb.Helper()
	for range 128 {
		values = append(values, mustSeal(tb, sealer('x'), strings.Repeat("x", 30)))
	}
	require.LessOrEqual(tb, len(strings.Join(values, "")), 24<<10)
	return values
}

func TestValuesThatDoNotOpenCostNothing(t *testing.T) {
	skipUnderRace(t)
	s, values := sealer('a', 'b'), forged(t)
	valid := mustSeal(t, s, "payload")
	for range 128 {
		values = append(values,
			valid[:len(valid)-1]+"-",
			strings.Repeat("=", 96),
			base64.URLEncoding.EncodeToString([]byte(strings.Repeat("|", 96))),
			strings.Repeat("A", seal.MaxCookie-4),
			"short", strings.Repeat("?", 96), strings.Repeat("A", 1<<20))
	}
	var many seal.Cookies
	many.Scan(http.Header{"Cookie": {strings.Repeat("s=x; ", 9)}}, "s")
	payload, ok := s.OpenAmong(&many, "name", valid)
	assert.True(t, ok, "among many, too, what is sealed opens")
	assert.Equal(t, "payload", payload)
	assert.Zero(t, testing.AllocsPerRun(10, func() {
		for _, value := range values {
			if _, ok := s.OpenAmong(&many, "name", value); ok {
				panic("opened")
			}
		}
	}))
}

// What a whole request can cost: a header of 1 MB, three kinds of cookies, two
// keys.
func TestTheWorstRequestIsCheap(t *testing.T) {
	skipUnderRace(t)
	var line strings.Builder
	values := forged(t)
	for i := 0; line.Len() < 1<<20; i++ {
		for _, name := range []string{"s", "s-seen", fmt.Sprintf("s-login-%08d", i)} {
			line.WriteString(name + "=" + values[i%len(values)] + "; ")
		}
	}
	h, s, opened := http.Header{"Cookie": {line.String()}}, sealer('a', 'b'), 0
	answer := func() {
		var c seal.Cookies
		c.Scan(h, "s")
		for _, suffix := range []string{"", "-seen"} {
			for value := range c.Values(suffix) {
				_, _ = s.OpenAmong(&c, "s"+suffix, value)
				opened++
			}
		}
		for suffix, value := range c.WithPrefix("-login-") {
			_, _ = s.OpenAmong(&c, "s"+suffix, value)
			opened++
		}
	}
	answer()
	require.Equal(t, 3*128, opened)
	allocs := testing.AllocsPerRun(10, answer)
	assert.LessOrEqual(t, allocs, 200.0)

	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	answer()
	runtime.ReadMemStats(&after)
	assert.LessOrEqual(t, after.TotalAlloc-before.TotalAlloc, uint64(100<<10))
	t.Logf("%v allocations, %d bytes", allocs, after.TotalAlloc-before.TotalAlloc)
}

func TestOpenCostsTwoAllocationsMoreThanDecode(t *testing.T) {
	skipUnderRace(t)
	s := sealer('a', 'b')
	codec := securecookie.New(unhex(t, authentication), unhex(t, encryption)).SetSerializer(securecookie.NopEncoder{})
	value := mustSeal(t, s, strings.Repeat("x", 150))
	decode := testing.AllocsPerRun(100, func() {
		var payload []byte
		_ = codec.Decode("name", value, &payload)
	})
	open := testing.AllocsPerRun(100, func() { _, _ = s.Open("name", value) })
	assert.LessOrEqual(t, open, decode+2)
}

func BenchmarkOpen(b *testing.B) {
	s := sealer('a', 'b')
	codec := securecookie.New(key('a'), key('b')).SetSerializer(securecookie.NopEncoder{})
	direct, err := codec.Encode("name", []byte(strings.Repeat("x", 150)))
	require.NoError(b, err)
	first, second := mustSeal(b, s, strings.Repeat("x", 150)), mustSeal(b, sealer('b'), strings.Repeat("x", 150))
	b.Run("securecookie", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			var payload []byte
			_ = codec.Decode("name", direct, &payload)
		}
	})
	b.Run("first key", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, _ = s.Open("name", first)
		}
	})
	b.Run("second key", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, _ = s.Open("name", second)
		}
	})
	b.Run("128 forged", func(b *testing.B) {
		values := slices.Clone(forged(b))
		b.ReportAllocs()
		for b.Loop() {
			for _, value := range values {
				_, _ = s.Open("name", value)
			}
		}
	})
}
