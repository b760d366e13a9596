package wechatgate

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
	"testing/synctest"
	"time"

	"github.com/gorilla/securecookie"
	"github.com/gorilla/sessions"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// storeJar keeps sessions in a Store.
func storeJar(store sessions.Store) *sessionJar {
	j := testJar(0)
	j.vault = storeVault{store: store, name: sessionCookie, lifetime: j.lifetime, secure: true}
	return j
}

// gorillaStores are the two that come with gorilla/sessions, with options of
// their own that must not show.
func gorillaStores(t *testing.T) map[string]sessions.Store {
	t.Helper()
	odd := &sessions.Options{Path: "/odd", Domain: "example.com", MaxAge: 30 * 86400, SameSite: http.SameSiteNoneMode, Partitioned: true}
	cookie := sessions.NewCookieStore(testKey('s'), testKey('t'))
	cookie.Options = odd
	files := sessions.NewFilesystemStore(t.TempDir(), testKey('s'), testKey('t'))
	files.Options = odd
	return map[string]sessions.Store{"CookieStore": cookie, "FilesystemStore": files}
}

// storeFunc is a Store made for one test. A nil function does what a
// FilesystemStore does.
type storeFunc struct {
	sessions.Store
	onNew  func(r *http.Request, name string) (*sessions.Session, error)
	onSave func(r *http.Request, w http.ResponseWriter, s *sessions.Session) error
}

func (f storeFunc) New(r *http.Request, name string) (*sessions.Session, error) {
	if f.onNew == nil {
		return f.Store.New(r, name)
	}
	return f.onNew(r, name)
}

func (f storeFunc) Save(r *http.Request, w http.ResponseWriter, s *sessions.Session) error {
	if f.onSave == nil {
		return f.Store.Save(r, w, s)
	}
	return f.onSave(r, w, s)
}

func (f storeFunc) Get(*http.Request, string) (*sessions.Session, error) {
	panic("Get keeps sessions in the request, and would return the old one")
}

func TestSessionsInStores(t *testing.T) {
	for name, store := range gorillaStores(t) {
		t.Run(name, func(t *testing.T) {
			j, b := storeJar(store), tab{}
			s := aSession()
			w := httptest.NewRecorder()
			require.NoError(t, j.begin(w, b.request(), s))
			b.take(w)
			assert.Equal(t, http.Header{"Set-Cookie": {sessionCookie + "=" + b[sessionCookie] + "; Path=/; Max-Age=604800; HttpOnly; Secure; SameSite=Lax"}}, w.Header(), "whatever the Store's options say")
			v, setCookies := b.visit(t, j)
			assert.True(t, v.signedIn)
			assert.Equal(t, s, v.session)
			assert.Empty(t, setCookies)

			for _, broken := range []string{"", "broken", strings.Repeat("A", 5000), b[sessionCookie][:20], "A" + b[sessionCookie][1:]} {
				v, setCookies := tab{sessionCookie: broken}.visit(t, j)
				assert.False(t, v.signedIn)
				assert.Len(t, setCookies, 1, "a broken cookie is removed")
				for _, lines := range [][]string{{broken, b[sessionCookie]}, {b[sessionCookie], broken}} {
					r := httptest.NewRequest(http.MethodGet, "/", nil)
					for _, value := range lines {
						r.Header["Cookie"] = append(r.Header["Cookie"], sessionCookie+"="+value)
					}
					v, err := j.read(r)
					require.NoError(t, err)
					assert.True(t, v.signedIn, "a broken cookie hides no good one")
				}
			}
		})
	}
}

// Fixation: the visitor comes with a session that somebody else knows.
func TestSignInMakesANewSessionAndEndsTheOldOne(t *testing.T) {
	for name, store := range gorillaStores(t) {
		t.Run(name, func(t *testing.T) {
			j, attacker := storeJar(store), tab{}
			theirs := aSession()
			theirs.user.OpenID = "oAttacker"
			attacker.signIn(t, j, theirs)

			visitor := tab{sessionCookie: attacker[sessionCookie]}
			visitor.signIn(t, j, aSession())
			assert.NotEqual(t, attacker[sessionCookie], visitor[sessionCookie])
			v, _ := visitor.visit(t, j)
			assert.Equal(t, aToken().OpenID, v.user.OpenID)

			before, err := store.New(attacker.request(), sessionCookie)
			after, newErr := store.New(visitor.request(), sessionCookie)
			require.NoError(t, newErr)
			if name == "CookieStore" { // which has no IDs, and cannot end what was copied
				require.NoError(t, err)
				v, _ = attacker.visit(t, j)
				assert.Equal(t, "oAttacker", v.user.OpenID)
				return
			}
			require.ErrorIs(t, err, fs.ErrNotExist)
			assert.NotEqual(t, before.ID, after.ID)
			assert.False(t, attacker.signedIn(t, j), "the old session is dead")

			// A cookie whose session is gone fixes nothing, either.
			again := tab{sessionCookie: attacker[sessionCookie]}
			again.signIn(t, j, aSession())
			third, err := store.New(again.request(), sessionCookie)
			require.NoError(t, err)
			assert.NotEqual(t, before.ID, third.ID)
			assert.False(t, tab{sessionCookie: attacker[sessionCookie]}.signedIn(t, j))
		})
	}
}

func TestSignOutLeavesNothingToReplay(t *testing.T) {
	for name, store := range gorillaStores(t) {
		t.Run(name, func(t *testing.T) {
			var deleting []string // what the Store would have had the browser keep
			j := storeJar(storeFunc{Store: store, onSave: func(r *http.Request, w http.ResponseWriter, s *sessions.Session) error {
				err := store.Save(r, w, s)
				if s.Options.MaxAge < 0 {
					deleting = append(deleting, w.Header()["Set-Cookie"]...)
				}
				return err
			}})
			b := tab{}
			b.signIn(t, j, aSession())
			old := b[sessionCookie]
			w := httptest.NewRecorder()
			require.NoError(t, j.end(w, b.request()))
			b.take(w)
			assert.Empty(t, b)
			assert.Equal(t, http.Header{"Set-Cookie": {sessionCookie + "=; Path=/; Max-Age=0; HttpOnly; Secure; SameSite=Lax"}}, w.Header())

			require.Len(t, deleting, 1)
			c, err := http.ParseSetCookie(deleting[0])
			require.NoError(t, err)
			assert.False(t, tab{sessionCookie: c.Value}.signedIn(t, j))
			assert.Equal(t, name == "CookieStore", tab{sessionCookie: old}.signedIn(t, j))
			require.NoError(t, j.end(httptest.NewRecorder(), tab{sessionCookie: old}.request()), "signing out twice is fine")
		})
	}
}

func TestLifetimeHoldsWhateverTheStoreKeeps(t *testing.T) {
	for name, store := range gorillaStores(t) {
		synctest.Test(t, func(t *testing.T) {
			j, b := storeJar(store), tab{}
			b.signIn(t, j, aSession())
			pass(7*24*time.Hour - time.Millisecond)
			assert.True(t, b.signedIn(t, j), name)
			pass(time.Millisecond)
			assert.False(t, b.signedIn(t, j), name)
		})
	}
}

func TestOnlySignInAndSignOutWriteToAStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reads, writes := 0, 0
		store := sessions.NewFilesystemStore(t.TempDir(), testKey('s'))
		j := storeJar(storeFunc{
			onNew: func(r *http.Request, name string) (*sessions.Session, error) {
				reads++
				return store.New(r, name)
			},
			onSave: func(r *http.Request, w http.ResponseWriter, s *sessions.Session) error {
				writes++
				return store.Save(r, w, s)
			},
		})
		j.idle = time.Hour

		for _, anonymous := range []tab{{}, {"other": "cookie"}, {seenCookie: "x"}, {sessionCookie + "-login-00000000": "x"}, {sessionCookie: ""}, {sessionCookie: strings.Repeat("x", 5000)}} {
			assert.False(t, anonymous.signedIn(t, j))
			require.NoError(t, j.end(httptest.NewRecorder(), anonymous.request()))
		}
		assert.Zero(t, reads, "those who are not signed in never reach the Store")
		assert.Zero(t, writes)

		b := tab{}
		b.signIn(t, j, aSession())
		assert.Equal(t, 1, writes)
		reads = 0
		for range 100 {
			pass(7 * time.Minute)
			v, _ := b.visit(t, j)
			assert.True(t, v.signedIn)
		}
		assert.Equal(t, 100, reads)
		assert.Equal(t, 1, writes, "a page view never writes, renewed or not")

		reads = 0
		crowd := httptest.NewRequest(http.MethodGet, "/", nil)
		crowd.Header.Set("Cookie", strings.Repeat(sessionCookie+"=x; ", 1000))
		_, err := j.read(crowd)
		require.NoError(t, err)
		assert.LessOrEqual(t, reads, maxStoreLookups)
	})
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
		store    string
		onNew    func(*http.Request, string) (*sessions.Session, error)
		onSave   func(*http.Request, http.ResponseWriter, *sessions.Session) error
		readErr  string // "" where a cookie is no session, and nothing worse
		beginErr string // "" where a sign-in seems to succeed
	}{
		{store: "is down", onNew: func(*http.Request, string) (*sessions.Session, error) { return nil, down }, readErr: "connection refused", beginErr: "connection refused"},
		{store: "is down, and returns a session all the same", onNew: func(_ *http.Request, name string) (*sessions.Session, error) {
			return sessions.NewSession(nil, name), down
		}, readErr: "connection refused", beginErr: "connection refused"},
		{store: "is slow", onNew: func(*http.Request, string) (*sessions.Session, error) { return nil, context.DeadlineExceeded }, readErr: "deadline", beginErr: "deadline"},
		{store: "returns nothing at all", onNew: func(*http.Request, string) (*sessions.Session, error) { return nil, nil }, readErr: "returned no session", beginErr: "returned no session"},
		{store: "panics when read", onNew: func(*http.Request, string) (*sessions.Session, error) { panic(secret) }, readErr: "Store.New panicked with a string", beginErr: "Store.New panicked"},
		{store: "dereferences nil when read", onNew: func(*http.Request, string) (*sessions.Session, error) {
			var s *sessions.Session
			return nil, errors.New(s.ID)
		}, readErr: "Store.New panicked with a runtime.errorString", beginErr: "Store.New panicked"},
		{store: "panics when written", onSave: func(*http.Request, http.ResponseWriter, *sessions.Session) error { panic(errors.New(secret)) }, beginErr: "Store.Save panicked with a *errors.errorString"},
		{store: "cannot be written", onSave: func(*http.Request, http.ResponseWriter, *sessions.Session) error { return down }, beginErr: "connection refused"},
		{store: "writes what is too long", onSave: func(*http.Request, http.ResponseWriter, *sessions.Session) error {
			return errors.New("securecookie: the value is too long: 5000")
		}, beginErr: "too long"},
		{store: "knows everybody", onNew: newSession(false, nil), beginErr: "an old session to a request without cookies"},
		{store: "knows everybody as somebody else", onNew: newSession(false, map[any]any{storeKey: "rubbish"}), beginErr: "an old session to a request without cookies"},
		{store: "keeps something that is no string", onNew: newSession(false, map[any]any{storeKey: 7}), beginErr: "an old session"},
		{store: "forgets everybody", onNew: newSession(true, nil), onSave: sets(sessionCookie + "=id")},
		{store: "returns no values", onNew: newSession(true, nil), onSave: sets(sessionCookie + "=id; Path=/odd; Domain=example.com; SameSite=None")},
		{store: "sets no cookie", onSave: func(*http.Request, http.ResponseWriter, *sessions.Session) error { return nil }, beginErr: "set no cookie"},
		{store: "sets another cookie", onSave: sets("session=id"), beginErr: "set no cookie"},
		{store: "sets an empty cookie", onSave: sets(sessionCookie + "="), beginErr: "set no cookie"},
		{store: "removes its cookie", onSave: sets(sessionCookie + "=id; Max-Age=0"), beginErr: "set no cookie"},
		{store: "sets what is no cookie", onSave: sets("=;;="), beginErr: "set no cookie"},
		{store: "sets a cookie that browsers would drop", onSave: sets(sessionCookie + "=" + strings.Repeat("x", 4096)), beginErr: "larger than 4096 bytes"},
	} {
		t.Run(row.store, func(t *testing.T) {
			j := storeJar(storeFunc{Store: sessions.NewFilesystemStore(t.TempDir(), testKey('s')), onNew: row.onNew, onSave: row.onSave})
			b := tab{sessionCookie: "id"}

			v, err := j.read(b.request())
			assert.False(t, v.signedIn)
			if row.readErr == "" {
				require.NoError(t, err)
				assert.True(t, v.broken)
			} else {
				require.ErrorContains(t, err, row.readErr)
				assert.NotContains(t, err.Error(), secret)
				assert.False(t, v.broken, "nobody is signed out because a Store is away")
			}

			// A sign-in without a cookie: what is wrong shows in creating.
			w := httptest.NewRecorder()
			err = j.begin(w, tab{}.request(), aSession())
			if row.beginErr == "" {
				require.NoError(t, err)
				assert.Equal(t, []string{sessionCookie + "=id; Path=/; Max-Age=604800; HttpOnly; Secure; SameSite=Lax"}, w.Header()["Set-Cookie"])
				return
			}
			require.ErrorContains(t, err, row.beginErr)
			assert.NotContains(t, err.Error(), secret)
			assert.Empty(t, w.Header(), "no half sign-in")
		})
	}
}

func TestSignOutFailsWhenTheStoreDoes(t *testing.T) {
	store := sessions.NewFilesystemStore(t.TempDir(), testKey('s'))
	b := tab{}
	b.signIn(t, storeJar(store), aSession())
	for what, broken := range map[string]storeFunc{
		"reading": {Store: store, onNew: func(*http.Request, string) (*sessions.Session, error) { return nil, errors.New("down") }},
		"writing": {Store: store, onSave: func(*http.Request, http.ResponseWriter, *sessions.Session) error { return errors.New("down") }},
	} {
		w := httptest.NewRecorder()
		require.ErrorContains(t, storeJar(broken).end(w, b.request()), "down", what)
		assert.Empty(t, w.Header(), "the session is alive, and its cookie stays until somebody could end it")
	}
	assert.True(t, b.signedIn(t, storeJar(store)))
}

func TestStoresSeeACopyOfTheRequest(t *testing.T) {
	type key struct{}
	files := sessions.NewFilesystemStore(t.TempDir(), testKey('s'))
	touch := func(r *http.Request) {
		assert.LessOrEqual(t, len(r.Header["Cookie"]), 1)
		assert.NotContains(t, r.Header.Get("Cookie"), "other")
		r.Header.Set("X-Touched", "yes")
		r.Header.Del("Accept")
		r.URL.Path = "/touched"
		*r = *r.WithContext(context.WithValue(r.Context(), key{}, "touched"))
	}
	j := storeJar(storeFunc{
		onNew: func(r *http.Request, name string) (*sessions.Session, error) {
			s, err := files.New(r, name)
			touch(r)
			return s, err
		},
		onSave: func(r *http.Request, w http.ResponseWriter, s *sessions.Session) error {
			touch(r)
			return files.Save(r, w, s)
		},
	})
	b := tab{"other": "cookie"}
	b.signIn(t, j, aSession())
	r := b.request()
	r.Header.Set("Accept", "text/html")
	before := r.Clone(r.Context())
	ctx := r.Context()

	_, err := j.read(r)
	require.NoError(t, err)
	require.NoError(t, j.begin(httptest.NewRecorder(), r, aSession()))
	require.NoError(t, j.end(httptest.NewRecorder(), r))
	assert.Equal(t, before.Header, r.Header)
	assert.Equal(t, before.URL, r.URL)
	assert.Equal(t, ctx, r.Context())
	assert.Nil(t, r.Form)
}

func TestErrorsThatMeanNoSession(t *testing.T) {
	codec := securecookie.New(testKey('s'), nil)
	decode := func(value string, codecs ...securecookie.Codec) error {
		var id string
		return securecookie.DecodeMulti("name", value, &id, codecs...)
	}
	expired := securecookie.New(testKey('s'), nil)
	old, err := expired.Encode("name", "id")
	require.NoError(t, err)
	_, missing := os.ReadFile(t.TempDir() + "/session_x")

	for _, row := range []struct {
		what      string
		err       error
		noSession bool
	}{
		{"no error", nil, false},
		{"a value that does not decode", decode("rubbish", codec), true},
		{"a value that two keys do not open", decode("rubbish", codec, securecookie.New(testKey('t'), nil)), true},
		{"a seal of another key", securecookie.New(testKey('t'), nil).Decode("name", old, new(string)), true},
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
		{"a Store with a wrong block key", decode(old, securecookie.New(testKey('s'), []byte("short"))), false},
		{"a session file that may not be read", &fs.PathError{Op: "open", Path: "session_x", Err: fs.ErrPermission}, false},
		{"too many open files", &fs.PathError{Op: "open", Path: "session_x", Err: syscall.EMFILE}, false},
		{"a refused connection", &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}, false},
		{"a socket that vanished", &net.OpError{Op: "dial", Net: "unix", Err: os.NewSyscallError("connect", syscall.ENOENT)}, false},
		{"ErrNotExist alone", fs.ErrNotExist, false},
		{"a time-out", context.DeadlineExceeded, false},
		{"a visitor who left", context.Canceled, false},
		{"any other error", errors.New("redis: nil"), false},
	} {
		assert.Equal(t, row.noSession, meansNoSession(row.err), "%s: %v", row.what, row.err)
	}
}
