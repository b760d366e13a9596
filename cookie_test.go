package wechatgate

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func testKey(first byte) []byte {
	return append([]byte{first}, "23456789abcdef0123456789abcdef!"...)
}

func TestCookiesHaveTheseAttributesAndNoOthers(t *testing.T) {
	for _, row := range []struct {
		what   string
		secure bool
		write  func(http.ResponseWriter, cookies)
		want   string
	}{
		{"set over https", true, func(w http.ResponseWriter, c cookies) { c.set(w, c.prefix+"wechatgate", "value", 7*24*time.Hour) }, "__Host-wechatgate=value; Path=/; Max-Age=604800; HttpOnly; Secure; SameSite=Lax"},
		{"removed over https", true, func(w http.ResponseWriter, c cookies) { c.remove(w, c.prefix+"wechatgate") }, "__Host-wechatgate=; Path=/; Max-Age=0; HttpOnly; Secure; SameSite=Lax"},
		{"set over http", false, func(w http.ResponseWriter, c cookies) { c.set(w, c.prefix+"wechatgate", "value", 10*time.Minute) }, "wechatgate=value; Path=/; Max-Age=600; HttpOnly; SameSite=Lax"},
		{"removed over http", false, func(w http.ResponseWriter, c cookies) { c.remove(w, c.prefix+"wechatgate") }, "wechatgate=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax"},
	} {
		w := httptest.NewRecorder()
		row.write(w, newCookies(row.secure))
		assert.Equal(t, http.Header{"Set-Cookie": {row.want}}, w.Header(), row.what)
	}
}

func cookiesOf(h http.Header, prefix string) (pairs []string) {
	for name, value := range eachCookie(h, prefix) {
		pairs = append(pairs, name+"="+value)
	}
	return pairs
}

func TestEachCookie(t *testing.T) {
	for _, row := range []struct {
		what  string
		lines []string
		want  []string
	}{
		{"none", nil, nil},
		{"an empty header", []string{""}, nil},
		{"one", []string{"s=1"}, []string{"s=1"}},
		{"one among others", []string{"a=1; s=2; b=3"}, []string{"s=2"}},
		{"a longer name", []string{"s-login-1=x; other=y"}, []string{"s-login-1=x"}},
		{"a name twice", []string{"s=1; s=2"}, []string{"s=1", "s=2"}},
		{"several headers", []string{"s=1; a=2", "s=3"}, []string{"s=1", "s=3"}},
		{"no spaces", []string{"a=1;s=2;s=3"}, []string{"s=2", "s=3"}},
		{"many spaces", []string{"  a=1 ;\ts=2 \t;  "}, []string{"s=2"}},
		{"equals signs in a value", []string{"s=a=b=="}, []string{"s=a=b=="}},
		{"an empty value", []string{"s="}, []string{"s="}},
		{"no value at all", []string{"s; s=1"}, []string{"s=1"}},
		{"only semicolons", []string{";;; ;"}, nil},
		{"the name as a value", []string{"a=s=1"}, nil},
	} {
		assert.Equal(t, row.want, cookiesOf(http.Header{"Cookie": row.lines}, "s"), row.what)
	}
}

func TestCookieValuesAreOfThatNameAlone(t *testing.T) {
	h := http.Header{"Cookie": {"s=1; s-login-a=2; S=3; s=4; ss=5"}}
	assert.Equal(t, []string{"1", "4"}, slices.Collect(cookieValues(h, "s")))
	assert.True(t, hasCookie(h, "s"))
	assert.True(t, hasCookie(h, "S"))
	assert.False(t, hasCookie(h, "s-login-"))
	for name := range eachCookie(h, "") {
		assert.Equal(t, "s", name)
		break // and the rest is left alone
	}
}

func TestThreeThousandCookiesHideNothing(t *testing.T) {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header.Set("Cookie", strings.Repeat("s=broken; ", 3000)+"s=good")
	assert.Empty(t, r.Cookies(), "net/http gives up")

	values := slices.Collect(cookieValues(r.Header, "s"))
	assert.Len(t, values, 3001)
	assert.Equal(t, "good", values[3000])
}

func TestReadingCookiesAllocatesNothing(t *testing.T) {
	h := http.Header{"Cookie": {"a=1; b=2; s=3; c=4"}}
	assert.Zero(t, testing.AllocsPerRun(100, func() {
		for range cookieValues(h, "s") {
			continue
		}
	}))
}

// FuzzCookieHeader holds eachCookie to net/http: it finds, in the same order,
// every cookie that net/http finds.
func FuzzCookieHeader(f *testing.F) {
	for _, line := range []string{
		"", "s=1", "a=1; s=2; s-login-00=3", "s", "s=", "=s", ";s=1;;", "s=1=2", "  s=1\t;", `s="quoted"`, "s=a b", "s=a,b", "s=\x00", "s=店", "s =1", "S=1", strings.Repeat("s=1;", 100),
	} {
		f.Add(line, "s")
	}
	f.Fuzz(func(t *testing.T, line, prefix string) {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header["Cookie"] = []string{line}
		found := cookiesOf(r.Header, prefix)
		for _, pair := range found {
			assert.True(t, strings.HasPrefix(pair, prefix))
			assert.NotContains(t, pair, ";")
		}
		if strings.ContainsAny(line, "\r\n") || strings.Contains(line, " =") || strings.Contains(line, "\t=") {
			return // no server lets the first through, no browser sends the others
		}
		for _, cookie := range r.Cookies() {
			// "s" alone is to net/http what "s=" is.
			if cookie.Value == "" || cookie.Quoted || !strings.HasPrefix(cookie.Name+"="+cookie.Value, prefix) {
				continue
			}
			pair := cookie.Name + "=" + cookie.Value
			at := slices.Index(found, pair)
			require.GreaterOrEqual(t, at, 0, "%q is not among %q", pair, found)
			found = found[at+1:]
		}
	})
}

func TestSealedValuesAreOfOneKeyOnePurposeAndOneName(t *testing.T) {
	key, other := testKey('a'), testKey('b')
	sealed, err := newSealer([][]byte{key}, "session").seal("name", "payload")
	require.NoError(t, err)
	for _, row := range []struct {
		what   string
		opener sealer
		name   string
		opens  bool
	}{
		{"the same", newSealer([][]byte{key}, "session"), "name", true},
		{"the same key, now the second", newSealer([][]byte{other, key}, "session"), "name", true},
		{"the same key, now the last of many", newSealer([][]byte{testKey('c'), testKey('d'), other, key}, "session"), "name", true},
		{"another key", newSealer([][]byte{other}, "session"), "name", false},
		{"another purpose", newSealer([][]byte{key}, "attempt"), "name", false},
		{"another name", newSealer([][]byte{key}, "session"), "name-seen", false},
		{"a key that only begins the same", newSealer([][]byte{append(slices.Clone(key), 'x')}, "session"), "name", false},
		{"no key", newSealer(nil, "session"), "name", false},
	} {
		payload, ok := row.opener.open(row.name, sealed)
		assert.Equal(t, row.opens, ok, row.what)
		if row.opens {
			assert.Equal(t, "payload", payload, row.what)
		}
	}
}

func TestFirstKeySeals(t *testing.T) {
	old, next := testKey('a'), testKey('b')
	sealed, err := newSealer([][]byte{next, old}, "session").seal("name", "payload")
	require.NoError(t, err)
	_, ok := newSealer([][]byte{next}, "session").open("name", sealed)
	assert.True(t, ok)
	_, ok = newSealer([][]byte{old}, "session").open("name", sealed)
	assert.False(t, ok)
}

// A subkey that served two purposes would let one kind of cookie pass for
// another, and one that served both uses would weaken the seal.
func TestSubkeysDiffer(t *testing.T) {
	seen := map[string]string{}
	for _, purpose := range []string{"session", "attempt", "last seen"} {
		for _, use := range []string{"authentication", "encryption"} {
			for _, key := range [][]byte{testKey('a'), testKey('b')} {
				sub := subkey(key, purpose, use)
				what := fmt.Sprintf("%s %s %c", purpose, use, key[0])
				assert.Len(t, sub, 32)
				assert.NotContains(t, seen, string(sub), what)
				seen[string(sub)] = what
				assert.NotEqual(t, key, sub)
			}
		}
	}
	// Another derivation would sign everybody out. Computed with Python's hmac.
	assert.Equal(t, "380104c79c20799e3f57291445678c70915bbb8a71fdf62694f11030a1d4e787", hex.EncodeToString(subkey(testKey('a'), "session", "authentication")))
	assert.Equal(t, "aef4a6bdb4404faf94109a698805f67a2f924e1e507194382733e1a2a1a826f0", hex.EncodeToString(subkey(testKey('a'), "session", "encryption")))
}

func TestSealedValuesHideTheirPayload(t *testing.T) {
	s := newSealer([][]byte{testKey('a')}, "session")
	first, err := s.seal("name", "the same payload")
	require.NoError(t, err)
	second, err := s.seal("name", "the same payload")
	require.NoError(t, err)
	assert.NotEqual(t, first, second)
	outer, err := base64.URLEncoding.DecodeString(first)
	require.NoError(t, err)
	inner, err := base64.URLEncoding.DecodeString(strings.Split(string(outer), "|")[1])
	require.NoError(t, err)
	assert.NotContains(t, string(inner), "payload")
}

func TestChangedSealsDoNotOpen(t *testing.T) {
	s := newSealer([][]byte{testKey('a'), testKey('b')}, "session")
	// Three lengths, for the three ways in which base64 ends.
	for _, payload := range []string{"1\nwx\nopenid", "1\nwx\nopenid1", "1\nwx\nopenid12"} {
		sealed, err := s.seal("name", payload)
		require.NoError(t, err)
		body := len(strings.TrimRight(sealed, "="))
		refused := 0
		for at := range len(sealed) {
			for bit := range 8 {
				changed := []byte(sealed)
				changed[at] ^= 1 << bit
				opened, ok := s.open("name", string(changed))
				if !ok {
					refused++
					continue
				}
				// base64 ignores the last bits of its last character: another
				// spelling of the same seal.
				assert.Equal(t, payload, opened)
				assert.Equal(t, body-1, at)
			}
		}
		assert.GreaterOrEqual(t, refused, 8*len(sealed)-4)

		for n := range len(sealed) {
			_, ok := s.open("name", sealed[:n])
			assert.False(t, ok, "cut to %d bytes", n)
			_, ok = s.open("name", sealed[n+1:])
			assert.False(t, ok, "without its first %d bytes", n+1)
		}
		for _, rubbish := range []string{sealed + sealed, sealed + "A", "A" + sealed, " " + sealed, strings.ToUpper(sealed), strings.Repeat("A", 64<<10), "||", "\x00", "店"} {
			_, ok := s.open("name", rubbish)
			assert.False(t, ok, rubbish[:min(20, len(rubbish))])
		}
	}
}

func TestSealRefusesWhatBrowsersWouldDrop(t *testing.T) {
	s := newSealer([][]byte{testKey('a')}, "session")
	name := strings.Repeat("n", 60)
	longest := 0
	for n := 2000; n < 3000; n++ {
		value, err := s.seal(name, strings.Repeat("x", n))
		if err != nil {
			require.ErrorIs(t, err, errCookieTooLarge)
			break
		}
		longest = len(name) + len(value)
		assert.LessOrEqual(t, longest, 4096)
	}
	assert.Greater(t, longest, 4096-8, "and nothing else")
	_, err := s.seal(name, strings.Repeat("x", 10<<10))
	assert.ErrorIs(t, err, errCookieTooLarge)
}
