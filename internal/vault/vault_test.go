package vault_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gorilla/securecookie"
	"github.com/gorilla/sessions"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wechatgate/wechatgate/internal/seal"
	"github.com/wechatgate/wechatgate/internal/vault"
)

const (
	name    = "__Host-gate"
	binding = "https://example.com\ngate"
)

func key(first byte) []byte {
	return append([]byte{first}, "23456789abcdef0123456789abcdef!"...)
}

func inCookie() *vault.Vault {
	return vault.InCookie(seal.New([][]byte{key('a')}, "session", binding), name)
}

func inStore(s sessions.Store, binding string) *vault.Vault {
	return vault.InStore(s, name, binding, time.Hour, true)
}

// look is a request with these session cookies, and the vault's look at it.
func look(v *vault.Vault, values ...string) *vault.Lookup {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	for _, value := range values {
		r.Header["Cookie"] = append(r.Header["Cookie"], name+"="+value)
	}
	return lookAt(v, r)
}

func keep(t *testing.T, v *vault.Vault, payload string) (cookieValue string) {
	t.Helper()
	value, err := look(v).Replace(payload)
	require.NoError(t, err)
	return value
}

// payloads is all that Next has to say.
func payloads(t *testing.T, l *vault.Lookup) (all []string) {
	t.Helper()
	for {
		payload, ok, err := l.Next()
		require.NoError(t, err)
		if !ok {
			return all
		}
		all = append(all, payload)
	}
}

// counting is a Store that counts its calls, and does something else where a
// test says so.
type counting struct {
	sessions.Store
	onNew       func(r *http.Request, name string) (*sessions.Session, error)
	onSave      func(r *http.Request, w http.ResponseWriter, s *sessions.Session) error
	news, saves int
}

func (c *counting) New(r *http.Request, name string) (*sessions.Session, error) {
	c.news++
	if c.onNew == nil {
		return c.Store.New(r, name)
	}
	return c.onNew(r, name)
}

func (c *counting) Save(r *http.Request, w http.ResponseWriter, s *sessions.Session) error {
	c.saves++
	if c.onSave == nil {
		return c.Store.Save(r, w, s)
	}
	return c.onSave(r, w, s)
}

func (c *counting) Get(*http.Request, string) (*sessions.Session, error) {
	panic("Get keeps sessions in the request, and would return the old one")
}

func files(t *testing.T) *counting {
	t.Helper()
	return &counting{Store: sessions.NewFilesystemStore(t.TempDir(), key('s'), key('t'))}
}

func TestNextFindsWhatWasKept(t *testing.T) {
	for what, v := range map[string]*vault.Vault{
		"in a cookie":            inCookie(),
		"in a CookieStore":       inStore(sessions.NewCookieStore(key('s')), binding),
		"in a FilesystemStore":   inStore(files(t), binding),
		"in a Store without IDs": inStore(plain{}, binding),
	} {
		one, two := keep(t, v, "one\nwith a line"), keep(t, v, "two")
		assert.Equal(t, []string{"one\nwith a line"}, payloads(t, look(v, one)), what)
		assert.Equal(t, []string{"two", "one\nwith a line"}, payloads(t, look(v, "", "broken", two, one[:10], strings.Repeat("A", 5000), one)), "%s, among broken cookies", what)
		assert.Empty(t, payloads(t, look(v, "broken")), what)
	}
}

// plain keeps the string in the cookie as it is: the worst of Stores with
// unsigned IDs.
type plain struct{ sessions.Store }

func (plain) New(r *http.Request, name string) (*sessions.Session, error) {
	s := sessions.NewSession(nil, name)
	c, err := r.Cookie(name)
	s.IsNew = err != nil || !strings.HasPrefix(c.Value, "id.")
	if !s.IsNew {
		s.Values["wechatgate"] = strings.ReplaceAll(c.Value[3:], ".", "\n")
	}
	return s, nil
}

func (plain) Save(_ *http.Request, w http.ResponseWriter, s *sessions.Session) error {
	kept, _ := s.Values["wechatgate"].(string)
	w.Header().Set("Set-Cookie", s.Name()+"=id."+strings.ReplaceAll(kept, "\n", "."))
	return nil
}

func TestAStoreIsAskedOnceForEachCookie(t *testing.T) {
	store := files(t)
	v := inStore(store, binding)
	old := keep(t, v, "old")
	for _, row := range []struct {
		what        string
		act         func(*vault.Lookup) error
		news, saves int
	}{
		{"a look", func(l *vault.Lookup) error { payloads(t, l); payloads(t, l); return nil }, 1, 0},
		{"none", func(*vault.Lookup) error { return nil }, 0, 0},
		{"a look, and a sign-in: the new session's New and two Saves", func(l *vault.Lookup) (err error) {
			payloads(t, l)
			old, err = l.Replace("new")
			return err
		}, 2, 2},
		{"a sign-in without a look", func(l *vault.Lookup) (err error) { old, err = l.Replace("new"); return err }, 2, 2},
		{"a look, and a sign-out twice", func(l *vault.Lookup) error {
			payloads(t, l)
			return errors.Join(l.Destroy(), l.Destroy())
		}, 1, 1},
		{"a look at a dead cookie, and a sign-out", func(l *vault.Lookup) error { payloads(t, l); return l.Destroy() }, 1, 0},
	} {
		store.news, store.saves = 0, 0
		require.NoError(t, row.act(look(v, old, old)), row.what)
		assert.Equal(t, []int{row.news, row.saves}, []int{store.news, store.saves}, row.what)
	}
	for _, anonymous := range []*vault.Lookup{look(v), look(v, ""), look(v, strings.Repeat("x", 5000))} {
		store.news, store.saves = 0, 0
		assert.Empty(t, payloads(t, anonymous))
		require.NoError(t, anonymous.Destroy())
		assert.Zero(t, store.news+store.saves, "those who are not signed in never reach the Store")
	}
}

func TestLookupsAndPayloadsAreBounded(t *testing.T) {
	store := files(t)
	var broken []string
	for i := range 1000 {
		broken = append(broken, fmt.Sprint("broken", i))
	}
	l := look(inStore(store, binding), broken...)
	assert.Empty(t, payloads(t, l))
	require.NoError(t, l.Destroy())
	assert.Equal(t, 4, store.news)

	v := inCookie()
	one := keep(t, v, "one")
	assert.Len(t, payloads(t, look(v, one, one, one, one, one, one)), 4)
}

func TestWhatIsNewToAStoreIsNotDestroyed(t *testing.T) {
	store := files(t)
	store.onNew = func(_ *http.Request, name string) (*sessions.Session, error) {
		s := sessions.NewSession(nil, name)
		s.IsNew = true
		return s, nil
	}
	l := look(inStore(store, binding), "id")
	assert.Empty(t, payloads(t, l))
	require.NoError(t, l.Destroy())
	assert.Zero(t, store.saves)
}

func TestNextFindsNothingAfterDestroy(t *testing.T) {
	v := inCookie()
	l := look(v, keep(t, v, "payload"))
	require.NoError(t, l.Destroy())
	assert.Empty(t, payloads(t, l))
}

func TestReplaceAndDestroyEndAllThatTheCookiesLeadTo(t *testing.T) {
	store := files(t)
	v := inStore(store, binding)
	for what, act := range map[string]func(*vault.Lookup) error{
		"Destroy": (*vault.Lookup).Destroy,
		"Replace": func(l *vault.Lookup) error { _, err := l.Replace("new"); return err },
	} {
		for looks := range 4 {
			one, two, three := keep(t, v, "one"), keep(t, v, "two"), keep(t, v, "three")
			l := look(v, one, "broken", two, three)
			for range looks {
				_, _, err := l.Next()
				require.NoError(t, err)
			}
			require.NoError(t, act(l))
			assert.Empty(t, payloads(t, look(v, one, two, three)), "%s after %d looks", what, looks)
			assert.Empty(t, payloads(t, l), what)
		}
	}
	before := keep(t, v, "before")
	after, err := look(v, before).Replace("after")
	require.NoError(t, err)
	assert.NotEqual(t, before, after)
	assert.Equal(t, []string{"after"}, payloads(t, look(v, after)))
}

func TestDestroyEmptiesWhatItDeletes(t *testing.T) {
	var deleting string
	inner := sessions.NewCookieStore(key('s'))
	store := &counting{Store: inner, onSave: func(r *http.Request, w http.ResponseWriter, s *sessions.Session) error {
		err := inner.Save(r, w, s)
		if c, parseErr := http.ParseSetCookie(w.Header().Get("Set-Cookie")); parseErr == nil && s.Options.MaxAge < 0 {
			deleting = c.Value
		}
		return err
	}}
	v := inStore(store, binding)
	require.NoError(t, look(v, keep(t, v, "old")).Destroy())
	require.NotEmpty(t, deleting)
	assert.Empty(t, payloads(t, look(v, deleting)), "CookieStore deletes with a cookie that is valid")
}

func TestTwoGatesWithOneStoreNeverOpenEachOthersSessions(t *testing.T) {
	for what, store := range map[string]sessions.Store{"signed IDs": files(t), "no IDs": plain{}} {
		ours, theirs := inStore(store, binding), inStore(store, "https://example.org\ngate")
		value := keep(t, theirs, "theirs")
		l := look(ours, value)
		assert.Empty(t, payloads(t, l), what)
		require.NoError(t, l.Destroy(), what)
		_, err := look(ours, value).Replace("ours")
		require.NoError(t, err, what)
		assert.Equal(t, []string{"theirs"}, payloads(t, look(theirs, value)), "%s: and it is not ours to end", what)
	}
}

func TestSessionsWithoutAMarkAreEnded(t *testing.T) {
	for what, kept := range map[string]any{"of the form before marks": "1\nwx\nopenid", "of nobody": nil, "of another type": 7} {
		store := sessions.NewFilesystemStore(t.TempDir(), key('s'))
		r, w := httptest.NewRequest(http.MethodGet, "/", nil), httptest.NewRecorder()
		s, err := store.New(r, name)
		require.NoError(t, err)
		s.Values["wechatgate"] = kept
		require.NoError(t, store.Save(r, w, s))
		value := w.Result().Cookies()[0].Value

		l := look(inStore(store, binding), value)
		assert.Empty(t, payloads(t, l), what)
		require.NoError(t, l.Destroy(), what)
		r.Header.Set("Cookie", name+"="+value)
		_, err = store.New(r, name)
		assert.ErrorIs(t, err, fs.ErrNotExist, what)
	}
}

func TestStoresThatMisbehave(t *testing.T) {
	down := &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	const secret = "what-was-panicked-with"
	newSession := func(isNew bool, values map[any]any) func(*http.Request, string) (*sessions.Session, error) {
		return func(_ *http.Request, name string) (*sessions.Session, error) {
			s := sessions.NewSession(nil, name)
			s.IsNew, s.Values = isNew, values
			return s, nil
		}
	}
	sets := func(line string) func(*http.Request, http.ResponseWriter, *sessions.Session) error {
		return func(_ *http.Request, w http.ResponseWriter, _ *sessions.Session) error {
			w.Header().Add("Set-Cookie", line)
			return nil
		}
	}
	for _, row := range []struct {
		store      string
		onNew      func(*http.Request, string) (*sessions.Session, error)
		onSave     func(*http.Request, http.ResponseWriter, *sessions.Session) error
		nextErr    string // "" where a cookie is no session, and nothing worse
		replaceErr string // "" where a sign-in seems to succeed
	}{
		{store: "is down", onNew: func(*http.Request, string) (*sessions.Session, error) { return nil, down }, nextErr: "connection refused", replaceErr: "connection refused"},
		{store: "is down, and returns a session all the same", onNew: func(_ *http.Request, name string) (*sessions.Session, error) {
			return sessions.NewSession(nil, name), down
		}, nextErr: "connection refused", replaceErr: "connection refused"},
		{store: "returns nothing at all", onNew: func(*http.Request, string) (*sessions.Session, error) { return nil, nil }, nextErr: "returned no session", replaceErr: "returned no session"},
		{store: "panics when read", onNew: func(*http.Request, string) (*sessions.Session, error) { panic(secret) }, nextErr: "Store.New panicked with a string", replaceErr: "Store.New panicked"},
		{store: "panics when written", onSave: func(*http.Request, http.ResponseWriter, *sessions.Session) error { panic(errors.New(secret)) }, replaceErr: "Store.Save panicked with a *errors.errorString"},
		{store: "cannot be written", onSave: func(*http.Request, http.ResponseWriter, *sessions.Session) error { return down }, replaceErr: "connection refused"},
		{store: "writes what is too long", onSave: func(*http.Request, http.ResponseWriter, *sessions.Session) error {
			return errors.New("securecookie: the value is too long: 5000")
		}, replaceErr: "too long"},
		{store: "knows everybody", onNew: newSession(false, nil), onSave: sets(name + "=id"), replaceErr: "an old session to a request without cookies"},
		{store: "forgets everybody", onNew: newSession(true, nil), onSave: sets(name + "=id")},
		{store: "sets odd attributes", onNew: newSession(true, nil), onSave: sets(name + "=id; Path=/odd; Domain=example.com; SameSite=None")},
		{store: "sets no cookie", onSave: func(*http.Request, http.ResponseWriter, *sessions.Session) error { return nil }, replaceErr: "set no cookie"},
		{store: "sets another cookie", onSave: sets("session=id"), replaceErr: "set no cookie"},
		{store: "sets an empty cookie", onSave: sets(name + "="), replaceErr: "set no cookie"},
		{store: "removes its cookie", onSave: sets(name + "=id; Max-Age=0"), replaceErr: "set no cookie"},
		{store: "sets what is no cookie", onSave: sets("=;;="), replaceErr: "set no cookie"},
		{store: "sets a cookie that browsers would drop", onSave: sets(name + "=" + strings.Repeat("x", 4096)), replaceErr: seal.ErrTooLarge.Error()},
	} {
		t.Run(row.store, func(t *testing.T) {
			store := files(t)
			store.onNew, store.onSave = row.onNew, row.onSave
			v := inStore(store, binding)

			l := look(v, "id", "another")
			_, ok, err := l.Next()
			assert.False(t, ok)
			if row.nextErr == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, row.nextErr)
				assert.NotContains(t, err.Error(), secret)
				_, _, again := l.Next()
				_, replace := l.Replace("payload")
				assert.Equal(t, []error{err, err, err}, []error{again, replace, l.Destroy()}, "it stays")
				assert.Equal(t, 1, store.news)
			}

			// Without a cookie, what is wrong shows in creating.
			value, err := look(v).Replace("payload")
			if row.replaceErr == "" {
				require.NoError(t, err)
				assert.Equal(t, "id", value)
				return
			}
			require.ErrorContains(t, err, row.replaceErr)
			assert.NotContains(t, err.Error(), secret)
		})
	}
}

func TestDestroyFailsWhenTheStoreDoes(t *testing.T) {
	store := files(t)
	v := inStore(store, binding)
	value := keep(t, v, "payload")
	store.onSave = func(*http.Request, http.ResponseWriter, *sessions.Session) error { return errors.New("down") }
	l := look(v, value)
	assert.Equal(t, []string{"payload"}, payloads(t, l))
	assert.EqualError(t, l.Destroy(), "down")
	_, err := l.Replace("new")
	assert.EqualError(t, err, "down", "nothing new while the old session lives")
	store.onSave = nil
	assert.Equal(t, []string{"payload"}, payloads(t, look(v, value)))
}

func TestTheStoreGetsTheGatesOptions(t *testing.T) {
	inner := sessions.NewCookieStore(key('s'))
	var got []sessions.Options
	store := &counting{Store: inner, onSave: func(r *http.Request, w http.ResponseWriter, s *sessions.Session) error {
		got = append(got, *s.Options)
		return inner.Save(r, w, s)
	}}
	v := inStore(store, binding)
	require.NoError(t, look(v, keep(t, v, "payload")).Destroy())
	want := sessions.Options{Path: "/", MaxAge: 3600, HttpOnly: true, Secure: true, SameSite: http.SameSiteLaxMode}
	ended := want
	ended.MaxAge = -1
	assert.Equal(t, []sessions.Options{want, ended}, got)
}

func TestStoresSeeACopyOfTheRequest(t *testing.T) {
	type touched struct{}
	store := files(t)
	inner := store.Store
	touch := func(r *http.Request) {
		assert.LessOrEqual(t, len(r.Header["Cookie"]), 1)
		assert.NotContains(t, r.Header.Get("Cookie"), "other")
		assert.Contains(t, []string{"text/html", ""}, r.Header.Get("Accept"))
		r.Header.Set("X-Touched", "yes")
		r.Header["Accept"][0] = ""
		r.URL.Path = "/touched"
		*r = *r.WithContext(context.WithValue(r.Context(), touched{}, "yes"))
	}
	store.onNew = func(r *http.Request, name string) (*sessions.Session, error) {
		s, err := inner.New(r, name)
		touch(r)
		return s, err
	}
	store.onSave = func(r *http.Request, w http.ResponseWriter, s *sessions.Session) error {
		touch(r)
		return inner.Save(r, w, s)
	}
	v := inStore(store, binding)
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header.Set("Accept", "text/html")
	r.Header.Set("Cookie", "other=1; "+name+"=broken")
	before := r.Clone(r.Context())
	ctx := r.Context()
	value, err := lookAt(v, r).Replace("payload")
	require.NoError(t, err)
	assert.Equal(t, before.Header, r.Header)
	r.Header.Set("Cookie", "other=1; "+name+"="+value)
	l := lookAt(v, r)
	assert.Len(t, payloads(t, l), 1)
	require.NoError(t, l.Destroy())
	assert.Equal(t, "text/html", r.Header.Get("Accept"))
	assert.Empty(t, r.Header.Get("X-Touched"))
	assert.Equal(t, before.URL, r.URL)
	assert.Equal(t, ctx, r.Context())
}

func lookAt(v *vault.Vault, r *http.Request) *vault.Lookup {
	l := &vault.Lookup{}
	v.Look(r, l)
	return l
}

func TestARequestWithManyHeaderLinesIsNotCopied(t *testing.T) {
	store := files(t)
	inner := store.Store
	store.onNew = func(r *http.Request, name string) (*sessions.Session, error) {
		assert.Len(t, r.Header, 1, "the cookie alone")
		return inner.New(r, name)
	}
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	for i := range 200 {
		r.Header.Set(fmt.Sprint("X-", i), "x")
	}
	r.Header["X-Again"] = make([]string, 100_000)
	r.Header.Set("Cookie", name+"=1; "+name+"=2; "+name+"=3; "+name+"=4")
	v := inStore(store, binding)
	lookAt(v, r)
	assert.Less(t, testing.AllocsPerRun(5, func() { _, _, _ = lookAt(v, r).Next() }), 150.0)
	assert.Positive(t, store.news)
}

// A signed-in request with a sealed cookie pays for opening the seal, and for
// nothing else.
func TestALookAtASealedCookieAllocatesNothingOfItsOwn(t *testing.T) {
	s := seal.New([][]byte{key('a')}, "session", binding)
	v := vault.InCookie(s, name)
	value := keep(t, v, "payload")
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header.Set("Cookie", "a=1; "+name+"="+value)
	open := testing.AllocsPerRun(1000, func() { _, _ = s.Open(name, value) })
	whole := testing.AllocsPerRun(1000, func() {
		var l vault.Lookup
		v.Look(r, &l)
		_, _, _ = l.Next()
	})
	assert.InDelta(t, open, whole, 0.9) // sync.Pool gives up things at random under -race
}

func TestErrorsThatMeanNoSession(t *testing.T) {
	codec := securecookie.New(key('s'), nil)
	decode := func(value string, codecs ...securecookie.Codec) error {
		var id string
		return securecookie.DecodeMulti("name", value, &id, codecs...)
	}
	expired := securecookie.New(key('s'), nil)
	old, err := expired.Encode("name", "id")
	require.NoError(t, err)
	_, missing := os.ReadFile(t.TempDir() + "/session_x")

	for _, row := range []struct {
		what      string
		err       error
		noSession bool
	}{
		{"a value that does not decode", decode("rubbish", codec), true},
		{"a value that two keys do not open", decode("rubbish", codec, securecookie.New(key('t'), nil)), true},
		{"a seal of another key", securecookie.New(key('t'), nil).Decode("name", old, new(string)), true},
		{"a seal that is too old", expired.MaxAge(1).MinAge(3600).Decode("name", old, new(string)), true},
		{"a seal over another type", codec.Decode("name", old, new(int)), true},
		{"a value that is too long", decode(strings.Repeat("A", 5000), codec), true},
		{"a value that is too long, to one key", codec.Decode("name", strings.Repeat("A", 5000), new(string)), true},
		{"a decode error, wrapped", fmt.Errorf("store: %w", decode("rubbish", codec)), true},
		{"a session file that is gone", missing, true},
		{"a session file that is gone, wrapped", fmt.Errorf("store: %w", missing), true},

		{"a Store without a key", decode(old, securecookie.New(nil, nil)), false},
		{"a Store with one key that is none", decode("rubbish", codec, securecookie.New(nil, nil)), false},
		{"a Store without keys", decode(old), false},
		{"a Store with a wrong block key", decode(old, securecookie.New(key('s'), []byte("short"))), false},
		{"a session file that may not be read", &fs.PathError{Op: "open", Path: "session_x", Err: fs.ErrPermission}, false},
		{"too many open files", &fs.PathError{Op: "open", Path: "session_x", Err: syscall.EMFILE}, false},
		{"a refused connection", &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}, false},
		{"a socket that vanished", &net.OpError{Op: "dial", Net: "unix", Err: os.NewSyscallError("connect", syscall.ENOENT)}, false},
		{"ErrNotExist alone", fs.ErrNotExist, false},
		{"a time-out", context.DeadlineExceeded, false},
		{"a visitor who left", context.Canceled, false},
		{"any other error", errors.New("redis: nil"), false},
	} {
		store := files(t)
		store.onNew = func(*http.Request, string) (*sessions.Session, error) { return nil, row.err }
		_, ok, err := look(inStore(store, binding), "id").Next()
		assert.False(t, ok, row.what)
		assert.Equal(t, row.noSession, err == nil, "%s: %v", row.what, row.err)
	}
}
