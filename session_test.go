package wechatgate

import (
	"maps"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wechatgate/wechatgate/internal/recent"
	"github.com/wechatgate/wechatgate/internal/seal"
	"github.com/wechatgate/wechatgate/internal/vault"
	"github.com/wechatgate/wechatgate/wechat"
)

const (
	sessionCookie = "__Host-wechatgate"
	seenCookie    = "__Host-wechatgate-seen"
)

// testJar keeps sessions in cookies.
func testJar(idle time.Duration) *sessionJar {
	keys := [][]byte{testKey()}
	return &sessionJar{
		vault:    vault.InCookie(seal.New(keys, "session", testBinding), sessionCookie),
		cookies:  seal.Attributes{Secure: true},
		name:     sessionCookie,
		appIDs:   []string{"wxaaaaaaaaaaaaaaaa", "wxbbbbbbbbbbbbbbbb"},
		lifetime: 7 * 24 * time.Hour,
		idle:     idle,
		seen:     seal.New(keys, "last seen", testBinding),
		recent:   recent.New[opened](),
	}
}

func aToken() wechat.Token {
	return wechat.Token{OpenID: "oLVPpjqs9BhvzwPj5A-vTYAX3GLc", UnionID: "o6_bmasdasdsad6_2sgVt7hMZOPf", Scope: wechat.ScopeBase}
}

func aSession() session { return newSession("wxaaaaaaaaaaaaaaaa", aToken()) }

// testBinding is the site that these tests' cookies belong to.
const testBinding = "https://shop.example.com\nwechatgate"

func testKey() []byte { return []byte("0123456789abcdef0123456789abcdef") }

func (j *sessionJar) testRead(t *testing.T, r *http.Request) *lookup {
	t.Helper()
	l := j.read(r)
	require.NoError(t, l.err)
	return l
}

func (b tab) signIn(t *testing.T, j *sessionJar, s session) {
	t.Helper()
	w := httptest.NewRecorder()
	require.NoError(t, j.begin(w, j.read(b.request()), s))
	b.take(w)
}

// visit is a page view: it reads, and writes the cookies that follow.
func (b tab) visit(t *testing.T, j *sessionJar) (v *lookup, setCookies []string) {
	t.Helper()
	v = j.testRead(t, b.request())
	w := httptest.NewRecorder()
	if j.due(v) {
		require.NoError(t, j.renew(w, v))
	}
	b.take(w)
	return v, w.Header()["Set-Cookie"]
}

func (b tab) signedIn(t *testing.T, j *sessionJar) bool {
	t.Helper()
	return j.testRead(t, b.request()).signedIn
}

func TestSessionIsReadAsItWasBegun(t *testing.T) {
	profile := wechat.Profile{Nickname: "茶 <b>&amp;</b> 🫖", AvatarURL: "https://thirdwx.qlogo.cn/mmopen/a/132"}
	union := aToken()
	union.UnionID = ""
	for what, s := range map[string]session{
		"openid and unionid":                aSession(),
		"no unionid":                        newSession("wxbbbbbbbbbbbbbbbb", union),
		"a profile":                         newSession("wxaaaaaaaaaaaaaaaa", aToken()).withProfile(profile, profileFromWeChat),
		"a profile of somebody without one": newSession("wxaaaaaaaaaaaaaaaa", aToken()).withProfile(wechat.Profile{}, profileFromWeChat),
		"several scopes":                    newSession("wxaaaaaaaaaaaaaaaa", wechat.Token{OpenID: "o", Scope: "snsapi_base,snsapi_userinfo"}),
		"an openid of 64 letters":           newSession("wxaaaaaaaaaaaaaaaa", wechat.Token{OpenID: strings.Repeat("o", 64)}),
	} {
		j, b := testJar(0), tab{}
		b.signIn(t, j, s)
		v, setCookies := b.visit(t, j)
		assert.True(t, v.signedIn, what)
		s.user.ExpiresAt = s.user.SignedInAt.Add(j.lifetime)
		assert.Equal(t, s, v.session, what)
		assert.Empty(t, setCookies, what)
	}
}

func TestSessionCookie(t *testing.T) {
	w := httptest.NewRecorder()
	j := testJar(0)
	require.NoError(t, j.begin(w, j.read(tab{}.request()), aSession()))
	cookie, err := http.ParseSetCookie(w.Header().Get("Set-Cookie"))
	require.NoError(t, err)
	assert.Equal(t, []string{sessionCookie + "=" + cookie.Value + "; Path=/; Max-Age=604800; HttpOnly; Secure; SameSite=Lax"}, w.Header()["Set-Cookie"])
	assert.LessOrEqual(t, len(cookie.Value), 320)
	t.Logf("a session of openid and unionid: %d bytes", len(cookie.Value))

	const ended = "=; Path=/; Max-Age=0; HttpOnly; Secure; SameSite=Lax"
	for idle, want := range map[time.Duration][]string{0: {sessionCookie + ended}, time.Hour: {sessionCookie + ended, seenCookie + ended}} {
		w = httptest.NewRecorder()
		require.NoError(t, testJar(idle).end(w, j.read(tab{}.request())))
		assert.Equal(t, want, w.Header()["Set-Cookie"])
	}
}

func TestVisitorWithoutCookieGetsNone(t *testing.T) {
	v, setCookies := tab{"other": "cookie", seenCookie: "x"}.visit(t, testJar(time.Hour))
	assert.False(t, v.signedIn || v.broken)
	assert.Empty(t, setCookies)
}

func TestHostileProfilesFitIntoASession(t *testing.T) {
	for what, nickname := range map[string]string{
		"line breaks":             "a\nb\r\nc\n1\n",
		"a field of its own":      "x\nhttps://evil.example/\n",
		"all control characters":  "\x00\x01\x07\x1b[31m\x7f\u0080\u0085\u009f",
		"no UTF-8":                "\xff\xfe茶\xc3",
		"half a surrogate":        "\xed\xa0\x80",
		"10 KB":                   strings.Repeat("x", 10<<10),
		"10 KB of long letters":   strings.Repeat("🫖", 10<<8),
		"a letter across the end": strings.Repeat("x", maxNickname-1) + "茶",
		"markup":                  `<script>alert("1")</script>`,
	} {
		t.Run(what, func(t *testing.T) {
			s := aSession().withProfile(wechat.Profile{
				Nickname:  nickname,
				AvatarURL: "https://thirdwx.qlogo.cn/" + nickname,
				UnionID:   nickname,
			}, profileFromWeChat)
			j, b := testJar(0), tab{}
			b.signIn(t, j, s)
			v, _ := b.visit(t, j)
			require.True(t, v.signedIn)
			s.user.ExpiresAt = s.user.SignedInAt.Add(j.lifetime)
			assert.Equal(t, s, v.session)
			assert.Equal(t, aToken().OpenID, v.user.OpenID)
			for _, text := range []string{v.user.Nickname, v.user.AvatarURL, v.user.UnionID} {
				assert.True(t, utf8.ValidString(text))
				assert.Equal(t, -1, strings.IndexFunc(text, unicode.IsControl))
			}
			assert.LessOrEqual(t, len(v.user.Nickname), maxNickname)
			assert.Greater(t, len(v.user.Nickname)+4, min(maxNickname, len(printable(nickname))), "and no more is cut than has to be")
			assert.LessOrEqual(t, len(v.user.AvatarURL), maxAvatarURL)
		})
	}
}

func TestUnionIDOfAProfileFillsAGap(t *testing.T) {
	without := aToken()
	without.UnionID = ""
	for _, row := range []struct {
		what              string
		token             wechat.Token
		profiles, unionID string
	}{
		{"the token's stays", aToken(), "oOther", aToken().UnionID},
		{"the profile's fills the gap", without, "oOther", "oOther"},
		{"one that ends a line does not", without, "o\nx", ""},
		{"one that is no ID does not", without, strings.Repeat("o", 65), ""},
	} {
		s := newSession("wxaaaaaaaaaaaaaaaa", row.token).withProfile(wechat.Profile{UnionID: row.profiles}, profileFromWeChat)
		assert.Equal(t, row.unionID, s.user.UnionID, row.what)
	}
}

// What a valid seal holds. That others do not open, and how many cookies are read,
// is told in internal/seal and internal/vault.
func TestSessionsThatDoNotCount(t *testing.T) {
	j := testJar(0)
	good := aSession()
	b := tab{}
	b.signIn(t, j, good)
	sealed := b[sessionCookie]
	payload := func(payload string) string {
		value, err := seal.New([][]byte{testKey()}, "session", testBinding).Seal(sessionCookie, payload)
		require.NoError(t, err)
		return value
	}
	with := func(change func(*session)) string {
		s := good
		change(&s)
		return payload(s.encode())
	}
	at := func(ago time.Duration) string {
		return with(func(s *session) { s.user.SignedInAt = time.Now().Add(-ago) })
	}
	field := func(n int, value string) string {
		fields := strings.Split(good.encode(), "\n")
		fields[n] = value
		return payload(strings.Join(fields, "\n"))
	}
	attempt := anAttempt("/")
	attempt.state, attempt.issued = newState(), time.Now()

	for _, row := range []struct {
		what   string
		values []string
		good   bool
	}{
		{"the session itself", []string{sealed}, true},
		{"rubbish", []string{"rubbish"}, false},
		{"a valid seal over nothing", []string{payload("\n")}, false},
		{"a valid seal over rubbish", []string{payload("rubbish")}, false},
		{"a valid seal over an attempt", []string{payload(attempt.encode())}, false},
		{"a valid seal with a field less", []string{payload(good.encode()[:strings.LastIndex(good.encode(), "\n")])}, false},
		{"data of two lines", []string{payload(good.encode() + "\n")}, true},
		{"data that is too long", []string{payload(good.encode() + strings.Repeat("x", maxData+1))}, false},
		{"another version", []string{field(0, "1")}, false},
		{"an app that was removed", []string{field(1, "wxcccccccccccccccc")}, false},
		{"the other app", []string{field(1, "wxbbbbbbbbbbbbbbbb")}, true},
		{"no openid", []string{field(2, "")}, false},
		{"an openid with a space", []string{field(2, "o x")}, false},
		{"an openid of 65 letters", []string{field(2, strings.Repeat("o", 65))}, false},
		{"no time", []string{field(5, "")}, false},
		{"a time that is no number", []string{field(5, "?")}, false},
		{"a profile from an unknown source", []string{field(6, "3")}, false},
		{"just now", []string{at(0)}, true},
		{"nearly the whole lifetime", []string{at(7*24*time.Hour - time.Minute)}, true},
		{"more than the lifetime", []string{at(7*24*time.Hour + time.Minute)}, false},
		{"the beginning of time", []string{field(5, "-1y2p0ij32e8e8")}, false},
		{"the end of time", []string{field(5, "1y2p0ij32e8e7")}, false},
		{"a clock two minutes ahead", []string{at(-2 * time.Minute)}, true},
		{"an hour in the future", []string{at(-time.Hour)}, false},
		{"a broken cookie and a good one", []string{"broken", sealed}, true},
		{"an expired cookie and a good one", []string{at(30 * 24 * time.Hour), sealed}, true},
	} {
		t.Run(row.what, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			for _, value := range row.values {
				r.Header["Cookie"] = append(r.Header["Cookie"], sessionCookie+"="+value)
			}
			v := j.testRead(t, r)
			assert.Equal(t, row.good, v.signedIn)
			w := httptest.NewRecorder()
			if j.due(v) {
				require.NoError(t, j.renew(w, v))
			}
			if row.good {
				assert.Empty(t, w.Header())
				return
			}
			assert.Equal(t, http.Header{"Set-Cookie": {sessionCookie + "=; Path=/; Max-Age=0; HttpOnly; Secure; SameSite=Lax"}}, w.Header())
		})
	}
}

func TestSessionEndsAfterItsLifetimeHoweverOftenItIsUsed(t *testing.T) {
	for _, idle := range []time.Duration{0, time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			j, b := testJar(idle), tab{}
			b.signIn(t, j, aSession())
			end := time.Now().Add(7 * 24 * time.Hour)
			for time.Now().Add(30 * time.Minute).Before(end) {
				pass(30 * time.Minute)
				v, setCookies := b.visit(t, j)
				require.True(t, v.signedIn)
				require.Equal(t, idle > 0, len(setCookies) > 0, "a page view renews last-seen alone")
			}
			pass(time.Until(end) - time.Millisecond)
			assert.True(t, b.signedIn(t, j))
			pass(time.Millisecond)
			assert.False(t, b.signedIn(t, j))
		})
	}
}

func TestIdleSessionEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j, b := testJar(30*time.Minute), tab{}
		b.signIn(t, j, aSession())
		pass(30*time.Minute - time.Millisecond)
		assert.True(t, b.signedIn(t, j))
		pass(time.Millisecond)
		v, setCookies := b.visit(t, j)
		assert.False(t, v.signedIn)
		assert.Len(t, setCookies, 1)
	})
}

func TestLastSeenIsRenewedOncePerTenthOfTheIdleTime(t *testing.T) {
	for _, idle := range []time.Duration{time.Second, 10 * time.Second, 30 * time.Minute} {
		synctest.Test(t, func(t *testing.T) {
			j, b := testJar(idle), tab{}
			pass(900 * time.Millisecond) // seconds do not begin when sessions do
			b.signIn(t, j, aSession())
			renewed := 0
			for i := 1; i <= 100; i++ { // ten times within a tenth
				pass(idle / 100)
				v, setCookies := b.visit(t, j)
				require.True(t, v.signedIn)
				if len(setCookies) == 0 {
					assert.NotZero(t, i%10)
					continue
				}
				assert.Zero(t, i%10, "after a tenth, and not before")
				assert.Equal(t, []string{seenCookie + "=" + b[seenCookie] + "; Path=/; Max-Age=" + strconv.Itoa(int(idle.Seconds())) + "; HttpOnly; Secure; SameSite=Lax"}, setCookies)
				renewed++
			}
			assert.Equal(t, 10, renewed)
		})
	}
}

func TestLastSeenCookieIsOfItsSessionAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := testJar(time.Hour)
		b := tab{}
		b.signIn(t, j, aSession())
		pass(time.Second)
		later := tab{}
		later.signIn(t, j, aSession())
		late := maps.Clone(later)
		late[seenCookie] = b[seenCookie]
		assert.True(t, late.signedIn(t, j), "a late answer to an older session does not end a newer one")
		sealed := func(payload string) string {
			value, err := seal.New([][]byte{testKey()}, "last seen", testBinding).Seal(seenCookie, payload)
			require.NoError(t, err)
			return value
		}
		mark := aSessionMark(t, j, b)
		at := func(ago time.Duration) string {
			return mark + "\n" + formatTime(time.Now().Add(-ago)) + "\n" + formatTime(time.Now())
		}
		for _, row := range []struct {
			what, seen string
			signedIn   bool
		}{
			{"its own", b[seenCookie], true},
			{"its own, made by hand", sealed(at(0)), true},
			{"that of a later session of the same person", later[seenCookie], false},
			{"none", "", false},
			{"a valid seal over rubbish", sealed("rubbish"), false},
			{"a valid seal without a time", sealed(mark), false},
			{"nearly an hour ago", sealed(at(time.Hour - time.Second)), true},
			{"an hour ago", sealed(at(time.Hour)), false},
			{"a clock two minutes ahead", sealed(at(-2 * time.Minute)), true},
			{"an hour in the future", sealed(at(-time.Hour)), false},
		} {
			with := maps.Clone(b)
			with[seenCookie] = row.seen
			assert.Equal(t, row.signedIn, with.signedIn(t, j), row.what)

			r := with.request()
			r.Header["Cookie"] = append([]string{seenCookie + "=broken"}, append(r.Header["Cookie"], seenCookie+"=")...)
			v := j.testRead(t, r)
			assert.Equal(t, row.signedIn, v.signedIn, "%s, between broken ones", row.what)
		}
		delete(b, seenCookie)
		assert.False(t, b.signedIn(t, j), "a cookie that is missing means idle")
	})
}

func aSessionMark(t *testing.T, j *sessionJar, b tab) string {
	t.Helper()
	v := j.testRead(t, b.request())
	require.True(t, v.signedIn)
	return v.mark
}

func TestNothingIsRememberedOfSessionsThatEnd(t *testing.T) {
	j := testJar(0)
	b := tab{}
	b.signIn(t, j, aSession())
	for what, end := range map[string]func(*lookup) error{
		"a sign-out":     func(l *lookup) error { return j.end(httptest.NewRecorder(), l) },
		"a next sign-in": func(l *lookup) error { return j.begin(httptest.NewRecorder(), l, aSession()) },
	} {
		require.True(t, j.testRead(t, b.request()).signedIn, what)
		require.NotNil(t, j.recent.Get(b[sessionCookie]), what)
		require.NoError(t, end(j.testRead(t, b.request())))
		assert.Nil(t, j.recent.Get(b[sessionCookie]), what)
	}
}

func TestRenewalThatRacesASignOutBringsNothingBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j, b := testJar(time.Hour), tab{}
		b.signIn(t, j, aSession())
		pass(10 * time.Minute)
		v := j.testRead(t, b.request())
		require.True(t, j.due(v))

		signOut, renewal := httptest.NewRecorder(), httptest.NewRecorder()
		require.NoError(t, j.end(signOut, j.read(b.request())))
		require.NoError(t, j.renew(renewal, v))
		b.take(signOut)
		b.take(renewal)
		assert.False(t, b.signedIn(t, j))
	})
}

func TestSessionTooLargeForACookieDoesNotBegin(t *testing.T) {
	for _, idle := range []time.Duration{0, time.Hour} {
		s := aSession()
		s.user.Scope = wechat.Scope(strings.Repeat("x", 4096))
		w := httptest.NewRecorder()
		j := testJar(idle)
		require.ErrorIs(t, j.begin(w, j.read(tab{}.request()), s), seal.ErrTooLarge)
		assert.Empty(t, w.Header(), "no half sign-in")
	}
}

func TestLargestSessionFitsIntoACookie(t *testing.T) {
	s := newSession(strings.Repeat("w", 32), wechat.Token{OpenID: strings.Repeat("o", 64), UnionID: strings.Repeat("o", 64), Scope: "snsapi_base,snsapi_userinfo,snsapi_login"}).
		withProfile(wechat.Profile{Nickname: strings.Repeat("茶", 100), AvatarURL: "https://" + strings.Repeat("a", maxAvatarURL-8)}, profileFromWeChat)
	s.user.Data = strings.Repeat("d", maxData)
	b := tab{}
	b.signIn(t, testJar(0), s)
	assert.Less(t, b.size(), 4096)
	assert.Len(t, s.user.AvatarURL, maxAvatarURL)
}

// FuzzSession fuzzes what stands under a valid seal, and what a Store may have
// kept for us.
func FuzzSession(f *testing.F) {
	s := aSession()
	s.user.SignedInAt = time.UnixMilli(1_700_000_000_000)
	f.Add(s.encode())
	f.Add(s.withProfile(wechat.Profile{Nickname: "茶", AvatarURL: "https://thirdwx.qlogo.cn/a"}, profileFromSite).encode())
	f.Add("")
	f.Add(strings.Repeat("\n", 9))
	f.Add(strings.Replace(s.encode(), "oLVP", "", 1) + "\n")
	f.Add("1\nwxaaaaaaaaaaaaaaaa\n\n\n\n0\n0\n\n")
	f.Add("1\nwxaaaaaaaaaaaaaaaa\no\n\n\n1y2p0ij32e8e7\n1\n\n")
	j := testJar(0)
	sealer := seal.New([][]byte{testKey()}, "session", testBinding)
	f.Fuzz(func(t *testing.T, payload string) {
		s, ok := parseSession(payload)
		if ok {
			again, ok := parseSession(s.encode())
			require.True(t, ok)
			assert.Equal(t, s, again)
			assert.NotEmpty(t, s.user.OpenID)
			assert.NotContains(t, s.user.Key(), "\n")
		}
		value, err := sealer.Seal(sessionCookie, payload)
		if err != nil {
			return
		}
		v := j.testRead(t, tab{sessionCookie: value}.request())
		assert.NotEqual(t, v.signedIn, v.broken)
		if v.signedIn {
			assert.True(t, ok)
			s.user.ExpiresAt = s.user.SignedInAt.Add(j.lifetime)
			assert.Equal(t, s, v.session)
			assert.Contains(t, j.appIDs, v.user.AppID)
		}
	})
}
