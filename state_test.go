package wechatgate

import (
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wechatgate/wechatgate/internal/seal"
	"github.com/wechatgate/wechatgate/internal/target"
	"github.com/wechatgate/wechatgate/wechat"
)

// tab is a browser that keeps what it is told to keep, and never forgets by
// itself: the sealed times have to do that.
type tab map[string]string

func (b tab) request() *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	for _, name := range slices.Sorted(maps.Keys(b)) {
		r.Header["Cookie"] = append(r.Header["Cookie"], name+"="+b[name])
	}
	return r
}

// take follows an answer's Set-Cookie headers.
func (b tab) take(w *httptest.ResponseRecorder) {
	for _, c := range w.Result().Cookies() {
		if c.MaxAge < 0 {
			delete(b, c.Name)
			continue
		}
		b[c.Name] = c.Value
	}
}

// size is that of all cookies, names and values.
func (b tab) size() int {
	n := 0
	for name, value := range b {
		n += len(name) + len(value)
	}
	return n
}

func testAttempts() attempts {
	return attempts{cookies: seal.Attributes{Secure: true}, sealer: seal.New([][]byte{testKey()}, "attempt", testBinding), base: sessionCookie}
}

// pass lets time go by, in a bubble of testing/synctest.
func pass(d time.Duration) { <-time.After(d) }

func anAttempt(target string) attempt {
	return attempt{appID: "wxaaaaaaaaaaaaaaaa", flow: FlowOfficialAccount, scope: wechat.ScopeBase, target: target}
}

// held reads the attempts that the browser holds.
func (s attempts) held(r *http.Request) heldAttempts {
	var cookies seal.Cookies
	cookies.Scan(r.Header, s.base)
	return s.read(&cookies)
}

func (b tab) rounds(s attempts) int { return len(s.held(b.request()).finishes()) }

func (b tab) begin(t *testing.T, s attempts, a attempt) attempt {
	t.Helper()
	w := httptest.NewRecorder()
	a, err := s.begin(w, s.held(b.request()), a)
	require.NoError(t, err)
	b.take(w)
	return a
}

func (b tab) finish(s attempts, a attempt) {
	w := httptest.NewRecorder()
	s.finish(w, a)
	b.take(w)
}

// holds tells which of the attempts the browser can still finish.
func (b tab) holds(s attempts, all ...attempt) (targets []string) {
	for _, a := range all {
		if found, err := s.held(b.request()).find(a.state); err == nil {
			targets = append(targets, found.target)
		}
	}
	return targets
}

func TestStatesAreRandom(t *testing.T) {
	seen := map[string]bool{}
	for range 1000 {
		state := newState()
		assert.True(t, isState(state), state)
		assert.False(t, seen[state[:8]], "the names of cookies, too")
		seen[state[:8]] = true
	}
	for _, no := range []string{"", "0", strings.Repeat("0", 31), strings.Repeat("0", 33), strings.Repeat("A", 32), strings.Repeat("g", 32), strings.Repeat("0", 31) + "\n", strings.Repeat("店", 32)} {
		assert.False(t, isState(no), no)
	}
}

func TestAttemptIsFoundAsItWasBegun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, b := testAttempts(), tab{}
		w := httptest.NewRecorder()
		begun := anAttempt("/orders?page=2#/店")
		begun.restarts, begun.profile, begun.number, begun.scan = 1, profileWelcome, "48213907", true
		begun, err := s.begin(w, s.held(b.request()), begun)
		require.NoError(t, err)
		b.take(w)
		assert.True(t, isState(begun.state))
		assert.True(t, begun.issued.Equal(time.Now()))

		name := "__Host-wechatgate-login-" + begun.state[:8]
		assert.Equal(t, []string{name + "=" + b[name] + "; Path=/; Max-Age=600; HttpOnly; Secure; SameSite=Lax"}, w.Header()["Set-Cookie"])
		assert.NotContains(t, b[name], begun.state)

		found, err := s.held(b.request()).find(begun.state)
		require.NoError(t, err)
		assert.True(t, begun.issued.Equal(found.issued))
		found.issued = begun.issued
		assert.Equal(t, begun, found)
	})
}

// What a valid seal holds, and which cookie it is in; see internal/seal for the rest.
func TestAttemptsThatDoNotCount(t *testing.T) {
	s := testAttempts()
	begun, other := tab{}, tab{}
	a := begun.begin(t, s, anAttempt("/a"))
	b := other.begin(t, s, anAttempt("/b"))
	name, good := s.name(a.state), begun[s.name(a.state)]

	sealed := func(payload string) string {
		value, err := s.sealer.Seal(name, payload)
		require.NoError(t, err)
		return value
	}
	issued := func(ago time.Duration) string {
		changed := a
		changed.issued = time.Now().Add(-ago)
		return sealed(changed.encode())
	}
	finished := func(ago time.Duration) string {
		changed := a
		changed.finished = time.Now().Add(-ago)
		return sealed(changed.encode())
	}
	sameBeginning := a.state[:8] + b.state[8:]

	for _, row := range []struct {
		what   string
		values []string // of the cookie with this attempt's name
		state  string
		want   error
	}{
		{"the attempt itself", []string{good}, a.state, nil},
		{"no cookie", nil, a.state, errNoAttempt},
		{"the cookie of another attempt", []string{good}, b.state, errNoAttempt},
		{"another state that begins the same", []string{good}, sameBeginning, errForeignState},
		{"another attempt under this name", []string{other[s.name(b.state)]}, a.state, errBadAttempt},
		{"rubbish", []string{"rubbish"}, a.state, errBadAttempt},
		{"a valid seal over rubbish", []string{sealed("rubbish")}, a.state, errBadAttempt},
		{"a valid seal over a session", []string{sealed(aSession().encode())}, a.state, errBadAttempt},
		{"a clock two minutes ahead", []string{issued(-2 * time.Minute)}, a.state, nil},
		{"an hour in the future", []string{issued(-time.Hour)}, a.state, errExpiredAttempt},
		{"just finished", []string{finished(time.Second)}, a.state, nil},
		{"finished in an hour", []string{finished(-time.Hour)}, a.state, errExpiredAttempt},
		{"a broken cookie and a good one", []string{"broken", good}, a.state, nil},
		{"an old cookie and a good one", []string{issued(time.Hour), good}, a.state, nil},
	} {
		t.Run(row.what, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			for _, value := range row.values {
				r.Header["Cookie"] = append(r.Header["Cookie"], name+"="+value)
			}
			found, err := s.held(r).find(row.state)
			if row.want == nil {
				require.NoError(t, err)
				assert.Equal(t, "/a", found.target)
				return
			}
			require.ErrorIs(t, err, row.want)
			assert.Equal(t, attempt{}, found)
		})
	}
}

func TestAttemptEndsAfterTenMinutesWhateverTheBrowserKeeps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, b := testAttempts(), tab{}
		a := b.begin(t, s, anAttempt("/a"))
		pass(10 * time.Minute)
		assert.NotEmpty(t, b.holds(s, a))
		pass(time.Millisecond)
		assert.Empty(t, b.holds(s, a))
		_, err := s.held(b.request()).find(a.state)
		assert.ErrorIs(t, err, errExpiredAttempt)
	})
}

func TestFinishedAttemptIsRememberedForTwoMinutes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, b := testAttempts(), tab{}
		a := b.begin(t, s, anAttempt("/a"))
		before := b.size()
		pass(9 * time.Minute)

		w := httptest.NewRecorder()
		s.finish(w, a)
		b.take(w)
		name := s.name(a.state)
		assert.Equal(t, []string{name + "=" + b[name] + "; Path=/; Max-Age=120; HttpOnly; Secure; SameSite=Lax"}, w.Header()["Set-Cookie"])
		assert.Equal(t, before, b.size(), "finishing makes no cookie larger")

		pass(2 * time.Minute)
		found, err := s.held(b.request()).find(a.state)
		require.NoError(t, err)
		assert.False(t, found.finished.IsZero())
		assert.Equal(t, 1, b.rounds(s))
		pass(time.Millisecond)
		assert.Empty(t, b.holds(s, a))
		assert.Zero(t, b.rounds(s))
	})
}

func TestDroppedAttemptIsGone(t *testing.T) {
	s, b := testAttempts(), tab{}
	a := b.begin(t, s, anAttempt("/a"))
	w := httptest.NewRecorder()
	s.drop(w, a.state)
	assert.Equal(t, []string{s.name(a.state) + "=; Path=/; Max-Age=0; HttpOnly; Secure; SameSite=Lax"}, w.Header()["Set-Cookie"])
	b.take(w)
	assert.Empty(t, b)
}

func TestFiveTabsAndTheSixth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, b := testAttempts(), tab{}
		var all []attempt
		for i := range 5 {
			all = append(all, b.begin(t, s, anAttempt("/"+strconv.Itoa(i))))
			pass(time.Second)
		}
		assert.Equal(t, []string{"/0", "/1", "/2", "/3", "/4"}, b.holds(s, all...))

		for _, i := range []int{3, 0, 4, 1, 2} {
			b.finish(s, all[i])
			assert.Len(t, b.holds(s, all...), 5, "no tab disturbs another")
		}
		pass(3 * time.Minute)
		all = nil
		for i := range 6 {
			all = append(all, b.begin(t, s, anAttempt("/"+strconv.Itoa(i))))
			pass(time.Second)
		}
		assert.Equal(t, []string{"/1", "/2", "/3", "/4", "/5"}, b.holds(s, all...), "the oldest goes first")
		assert.Len(t, b, 5)
	})
}

func TestAttemptsStaySmallTogether(t *testing.T) {
	for _, length := range []int{1, 200, 700, 1000, target.MaxTarget} {
		synctest.Test(t, func(t *testing.T) {
			s, b := testAttempts(), tab{}
			for range 60 {
				a := b.begin(t, s, anAttempt("/"+strings.Repeat("x", length-1)))
				assert.LessOrEqual(t, len(b), 5)
				assert.LessOrEqual(t, b.size(), 4096)
				assert.Len(t, b.holds(s, a), 1, "the newest is always there")
				pass(time.Second)
				if rand.IntN(2) == 0 {
					b.finish(s, a)
					assert.LessOrEqual(t, b.size(), 4096)
				}
			}
		})
	}
}

func TestLongTargetsPushOutTheOldest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, b := testAttempts(), tab{}
		short := b.begin(t, s, anAttempt("/short"))
		pass(time.Second)
		long := b.begin(t, s, anAttempt("/long?"+strings.Repeat("x", 1000)))
		pass(time.Second)
		assert.Len(t, b.holds(s, short, long), 2)
		longest := b.begin(t, s, anAttempt("/longest?"+strings.Repeat("x", target.MaxTarget-9)))
		// The second does not fit. The first would, but it is older.
		assert.Equal(t, []string{longest.target}, b.holds(s, short, long, longest))
		assert.Len(t, b, 1)
	})
}

func TestBeginRemovesWhatNoLongerCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, b := testAttempts(), tab{}
		expired := b.begin(t, s, anAttempt("/expired"))
		pass(6 * time.Minute)
		good := b.begin(t, s, anAttempt("/good"))
		pass(5 * time.Minute)
		b["__Host-wechatgate-login-00000000"] = "broken"
		b["__Host-wechatgate-login-11111111"] = b[s.name(good.state)]
		foreign, err := s.sealer.Seal("__Host-wechatgate-login-22222222", good.encode())
		require.NoError(t, err)
		b["__Host-wechatgate-login-22222222"] = foreign
		b["__Host-wechatgate"], b["other"] = "a session", "cookie"

		last := b.begin(t, s, anAttempt("/last"))
		assert.Equal(t, []string{"/good", "/last"}, b.holds(s, expired, good, last))
		assert.ElementsMatch(t, []string{s.name(good.state), s.name(last.state), "__Host-wechatgate", "other"}, slices.Collect(maps.Keys(b)))
	})
}

func TestManyForeignCookiesCostLittle(t *testing.T) {
	s, b := testAttempts(), tab{}
	for i := range 500 {
		b["__Host-wechatgate-login-"+strconv.Itoa(10000000+i)] = "broken"
	}
	w := httptest.NewRecorder()
	_, err := s.begin(w, s.held(b.request()), anAttempt("/a"))
	require.NoError(t, err)
	assert.Len(t, w.Header()["Set-Cookie"], maxAttemptsRead+1)
}

func TestAttemptTooLargeForACookieDoesNotBegin(t *testing.T) {
	s, b := testAttempts(), tab{}
	w := httptest.NewRecorder()
	_, err := s.begin(w, s.held(b.request()), anAttempt("/"+strings.Repeat("x", 4096)))
	require.ErrorIs(t, err, seal.ErrTooLarge)
	assert.Empty(t, w.Header())
}

func TestRoundsCountFinishedSignIns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, b := testAttempts(), tab{}
		assert.Zero(t, b.rounds(s))
		open := b.begin(t, s, anAttempt("/open"))
		assert.Zero(t, b.rounds(s), "an attempt that is not finished is none")
		for want := 1; want <= 3; want++ {
			b.finish(s, b.begin(t, s, anAttempt("/a")))
			assert.Equal(t, want, b.rounds(s))
			pass(time.Second)
		}

		pass(2 * time.Minute)
		assert.Zero(t, b.rounds(s))
		assert.Equal(t, []string{"/open"}, b.holds(s, open))
	})
}

// A target of 1,500 bytes leaves no room for a second attempt, so the finished
// ones that a loop is told by are pushed out.
func TestRoundsSurviveLongTargets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, b := testAttempts(), tab{}
		for want := 1; want <= 5; want++ {
			b.finish(s, b.begin(t, s, anAttempt("/?"+strings.Repeat("x", target.MaxTarget-2))))
			assert.Len(t, b, 1)
			assert.Equal(t, want, b.rounds(s))
			pass(10 * time.Second)
		}
	})
}

func TestParseAttemptRefusesWhatEncodeDoesNotWrite(t *testing.T) {
	a := anAttempt("/a")
	a.state, a.issued, a.profile = newState(), time.Now(), profileUnwanted
	good := strings.Split(a.encode(), "\n")
	_, ok := parseAttempt(a.encode())
	require.True(t, ok)
	with := func(field int, value string) string {
		changed := slices.Clone(good)
		changed[field] = value
		return strings.Join(changed, "\n")
	}
	for what, payload := range map[string]string{
		"nothing":                       "",
		"only line breaks":              strings.Repeat("\n", 11),
		"a field less":                  strings.Join(good[:11], "\n"),
		"a field more":                  a.encode() + "\nx",
		"another version":               with(0, "1"),
		"no version":                    with(0, ""),
		"a state that is too short":     with(1, a.state[:31]),
		"a state of other letters":      with(1, strings.ToUpper(strings.Repeat("ab", 16))),
		"a flow that leads nowhere":     with(3, string(FlowOpenInWeChat)),
		"no flow":                       with(3, ""),
		"no purpose":                    with(5, ""),
		"an unknown wish for a profile": with(5, "30"),
		"an unknown purpose":            with(5, "02"),
		"no time":                       with(7, ""),
		"a time that is no number":      with(7, "-"),
		"an end that is no number":      with(8, "%"),
		"no end":                        with(8, ""),
		"restarts that are no number":   with(9, "x"),
		"restarts below zero":           with(9, "-1"),
		"a finish that is no number":    with(10, "abcd-,abcd-"),
		"a finish without a time":       with(10, "abcd"),
		"a target elsewhere":            with(11, "https://evil.example/"),
		"no target":                     with(11, ""),
	} {
		_, ok := parseAttempt(payload)
		assert.False(t, ok, what)
	}
}

// FuzzAttempt fuzzes what stands under a valid seal: the seal says who wrote it,
// not that an older or newer release wrote the same.
func FuzzAttempt(f *testing.F) {
	a := anAttempt("/orders?page=2")
	a.state, a.issued, a.profile = strings.Repeat("0123abcd", 4), time.UnixMilli(1_700_000_000_000), profileUnwanted
	f.Add(a.encode())
	a.flow, a.scope, a.finished, a.restarts, a.earlier = FlowQR, wechat.ScopeLogin, a.issued.Add(time.Minute), 1, []finish{{"abcd", a.issued}}
	f.Add(a.encode())
	f.Add("")
	f.Add(strings.Repeat("\n", 11))
	f.Add(strings.Replace(a.encode(), "\n1\n2\n", "\n+1\n9223372036854775807\n", 1))
	f.Add(strings.Replace(a.encode(), "loyw3v28", "1y2p0ij32e8e7", 1))
	s := testAttempts()
	f.Fuzz(func(t *testing.T, payload string) {
		a, ok := parseAttempt(payload)
		name := s.base + suffixAttempt + "00000000"
		if ok {
			name = s.name(a.state)
			again, ok := parseAttempt(a.encode())
			require.True(t, ok)
			assert.Equal(t, a.encode(), again.encode())
			assert.Contains(t, []Flow{FlowOfficialAccount, FlowQR, FlowCode}, a.flow)
			assert.True(t, strings.HasPrefix(a.target, "/"))
		}
		value, err := s.sealer.Seal(name, payload)
		if err != nil {
			return
		}
		b := tab{name: value}
		held := s.held(b.request())
		assert.Equal(t, 1, len(held.live)+len(held.stale), "every cookie is an attempt, or is removed")
		if len(held.live) == 1 {
			found, err := s.held(b.request()).find(a.state)
			require.NoError(t, err)
			assert.Equal(t, a, found)
		}
		assert.GreaterOrEqual(t, b.rounds(s), 0)
	})
}
