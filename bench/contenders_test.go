package bench

import (
	"context"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/gob"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/alexedwards/scs/v2"
	"github.com/alexedwards/scs/v2/memstore"
	"github.com/golang-jwt/jwt/v5"
	"github.com/gorilla/securecookie"
	"github.com/gorilla/sessions"
	"github.com/markbates/goth/gothic"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wechatgate/wechatgate"
	"github.com/wechatgate/wechatgate/wechat"
)

// contender is a way to remember a visitor from one request to the next.
type contender struct {
	name string
	// signIn leaves the user in a session.
	signIn func(w http.ResponseWriter, r *http.Request, u wechatgate.User)
	// require lets requests with a session through, the User in the context,
	// and answers others with 401.
	require func(next http.Handler) http.Handler
}

const lifetime = 7 * 24 * time.Hour

func key(first byte) []byte { return append([]byte{first}, "123456789abcdef0123456789abcdef"...) }

func cookieOptions() *sessions.Options {
	return &sessions.Options{Path: "/", MaxAge: int(lifetime / time.Second), HttpOnly: true, Secure: true, SameSite: http.SameSiteLaxMode}
}

func contenders(tb testing.TB) []contender {
	tb.Helper()
	gate, err := wechatgate.New(Options(TokenOf))
	require.NoError(tb, err)
	return []contender{
		{"no session at all", func(http.ResponseWriter, *http.Request, wechatgate.User) {}, nobody},
		bareDecode(tb),
		{"wechatgate", func(w http.ResponseWriter, _ *http.Request, u wechatgate.User) {
			cookies, err := SignIn(tb.Context(), gate, "42")
			require.NoError(tb, err)
			for _, c := range cookies {
				http.SetCookie(w, c)
			}
		}, gate.Require},
		gorillaStrings(tb, "gorilla sessions, strings in gob", key('h'), key('b')),
		gorillaStrings(tb, "gorilla sessions, strings in gob, signed only", key('h')),
		gorillaStruct(tb),
		gothicJSON(tb),
		scsStrings(),
		scsStruct(),
		jwtCookie(tb),
	}
}

// page is the same for all.
var page = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })

func passed(w http.ResponseWriter, r *http.Request, next http.Handler, u wechatgate.User) {
	next.ServeHTTP(w, r.WithContext(wechatgate.ContextWithUser(r.Context(), u)))
}

func unauthorized(w http.ResponseWriter) { w.WriteHeader(http.StatusUnauthorized) }

func nobody(next http.Handler) http.Handler { return next }

// bareDecode is the least that a sealed cookie can cost. Who it says the visitor
// is, is found out once.
func bareDecode(tb testing.TB) contender {
	tb.Helper()
	options := Options(TokenOf)
	gate, err := wechatgate.New(options)
	require.NoError(tb, err)
	cookies, err := SignIn(tb.Context(), gate, "42")
	require.NoError(tb, err)
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.AddCookie(cookies[0])
	user, err := gate.User(r)
	require.NoError(tb, err)

	subkey := func(use string) []byte {
		derived, err := hkdf.Key(sha256.New, options.SessionKeys[0], nil, "wechatgate v2\nsession\n"+use+"\n"+options.BaseURL+"\nwechatgate", 32)
		require.NoError(tb, err)
		return derived
	}
	codec := securecookie.New(subkey("authentication"), subkey("encryption"))
	codec.SetSerializer(securecookie.NopEncoder{})
	codec.MaxAge(0)
	return contender{
		"securecookie.Decode alone",
		func(w http.ResponseWriter, _ *http.Request, _ wechatgate.User) { http.SetCookie(w, cookies[0]) },
		func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				var payload []byte
				if r.Header["Cookie"] == nil || codec.Decode(cookies[0].Name, cookies[0].Value, &payload) != nil {
					unauthorized(w)
					return
				}
				passed(w, r, next, user)
			})
		},
	}
}

// values are those fields that most visitors have.
func values(u wechatgate.User) map[string]string {
	return map[string]string{
		"app_id":       u.AppID,
		"openid":       u.OpenID,
		"unionid":      u.UnionID,
		"scope":        string(u.Scope),
		"signed_in_at": strconv.FormatInt(u.SignedInAt.UnixMilli(), 10),
	}
}

func userFrom(value func(name string) string) (wechatgate.User, bool) {
	at, err := strconv.ParseInt(value("signed_in_at"), 10, 64)
	return wechatgate.User{
		AppID:      value("app_id"),
		OpenID:     value("openid"),
		UnionID:    value("unionid"),
		Scope:      wechat.Scope(value("scope")),
		SignedInAt: time.UnixMilli(at),
	}, err == nil
}

func gorillaStrings(tb testing.TB, name string, keys ...[]byte) contender {
	tb.Helper()
	store := sessions.NewCookieStore(keys...)
	store.Options = cookieOptions()
	return contender{
		name,
		func(w http.ResponseWriter, r *http.Request, u wechatgate.User) {
			s, err := store.New(r, "session")
			require.NoError(tb, err)
			for name, value := range values(u) {
				s.Values[name] = value
			}
			require.NoError(tb, s.Save(r, w))
		},
		func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				s, err := store.Get(r, "session")
				if err != nil {
					unauthorized(w)
					return
				}
				u, ok := userFrom(func(name string) string { value, _ := s.Values[name].(string); return value })
				if !ok {
					unauthorized(w)
					return
				}
				passed(w, r, next, u)
			})
		},
	}
}

func gorillaStruct(tb testing.TB) contender {
	tb.Helper()
	gob.Register(wechatgate.User{})
	store := sessions.NewCookieStore(key('h'), key('b'))
	store.Options = cookieOptions()
	return contender{
		"gorilla sessions, a struct in gob",
		func(w http.ResponseWriter, r *http.Request, u wechatgate.User) {
			s, err := store.New(r, "session")
			require.NoError(tb, err)
			s.Values["user"] = u
			require.NoError(tb, s.Save(r, w))
		},
		func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				s, err := store.Get(r, "session")
				if err != nil {
					unauthorized(w)
					return
				}
				u, ok := s.Values["user"].(wechatgate.User)
				if !ok {
					unauthorized(w)
					return
				}
				passed(w, r, next, u)
			})
		},
	}
}

// gothicJSON reads a session as goth's own callbacks do: gothic keeps one string
// for each provider, compressed, in a gorilla store.
func gothicJSON(tb testing.TB) contender {
	tb.Helper()
	store := sessions.NewCookieStore(key('h'), key('b'))
	store.Options = cookieOptions()
	gothic.Store = store
	return contender{
		"goth's gothic.GetFromSession, JSON",
		func(w http.ResponseWriter, r *http.Request, u wechatgate.User) {
			text, err := json.Marshal(u)
			require.NoError(tb, err)
			require.NoError(tb, gothic.StoreInSession("user", string(text), r, w))
		},
		func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				var u wechatgate.User
				text, err := gothic.GetFromSession("user", r)
				if err != nil || json.Unmarshal([]byte(text), &u) != nil {
					unauthorized(w)
					return
				}
				passed(w, r, next, u)
			})
		},
	}
}

func newSCS() *scs.SessionManager {
	manager := scs.New()
	manager.Store = memstore.NewWithCleanupInterval(0)
	manager.Lifetime = lifetime
	manager.Cookie.Secure = true
	return manager
}

func scsStrings() contender {
	manager := newSCS()
	return contender{
		"scs, memory store, strings",
		func(w http.ResponseWriter, r *http.Request, u wechatgate.User) {
			inSCS(manager, w, r, func(ctx context.Context) {
				for name, value := range values(u) {
					manager.Put(ctx, name, value)
				}
			})
		},
		func(next http.Handler) http.Handler {
			return manager.LoadAndSave(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				ctx := r.Context()
				u, ok := userFrom(func(name string) string { return manager.GetString(ctx, name) })
				if !ok {
					unauthorized(w)
					return
				}
				passed(w, r, next, u)
			}))
		},
	}
}

func scsStruct() contender {
	gob.Register(wechatgate.User{})
	manager := newSCS()
	return contender{
		"scs, memory store, a struct",
		func(w http.ResponseWriter, r *http.Request, u wechatgate.User) {
			inSCS(manager, w, r, func(ctx context.Context) { manager.Put(ctx, "user", u) })
		},
		func(next http.Handler) http.Handler {
			return manager.LoadAndSave(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				u, ok := manager.Get(r.Context(), "user").(wechatgate.User)
				if !ok {
					unauthorized(w)
					return
				}
				passed(w, r, next, u)
			}))
		},
	}
}

func inSCS(manager *scs.SessionManager, w http.ResponseWriter, r *http.Request, put func(context.Context)) {
	manager.LoadAndSave(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		put(r.Context())
		page(w, r)
	})).ServeHTTP(w, r)
}

type claims struct {
	jwt.RegisteredClaims
	AppID      string `json:"app_id"`
	UnionID    string `json:"unionid"`
	Scope      string `json:"scope"`
	SignedInAt int64  `json:"signed_in_at"` // ms; iat has seconds
}

// jwtCookie is signed and not encrypted: the browser can read who the visitor is.
func jwtCookie(tb testing.TB) contender {
	tb.Helper()
	parser := jwt.NewParser(jwt.WithValidMethods([]string{"HS256"}), jwt.WithExpirationRequired())
	secret := key('j')
	keyFunc := func(*jwt.Token) (any, error) { return secret, nil } //nolint:unparam // as the parser wants it
	return contender{
		"golang-jwt, HS256, in a cookie",
		func(w http.ResponseWriter, _ *http.Request, u wechatgate.User) {
			token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims{
				RegisteredClaims: jwt.RegisteredClaims{Subject: u.OpenID, ExpiresAt: jwt.NewNumericDate(u.SignedInAt.Add(lifetime))},
				AppID:            u.AppID,
				UnionID:          u.UnionID,
				Scope:            string(u.Scope),
				SignedInAt:       u.SignedInAt.UnixMilli(),
			}).SignedString(secret)
			require.NoError(tb, err)
			http.SetCookie(w, &http.Cookie{Name: "session", Value: token})
		},
		func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				var c claims
				cookie, err := r.Cookie("session")
				if err == nil {
					_, err = parser.ParseWithClaims(cookie.Value, &c, keyFunc)
				}
				if err != nil {
					unauthorized(w)
					return
				}
				passed(w, r, next, wechatgate.User{
					AppID:      c.AppID,
					OpenID:     c.Subject,
					UnionID:    c.UnionID,
					Scope:      wechat.Scope(c.Scope),
					SignedInAt: time.UnixMilli(c.SignedInAt),
				})
			})
		},
	}
}

func visitor42() wechatgate.User {
	t := TokenOf("42")
	return wechatgate.User{
		AppID:      "wx0123456789abcdef",
		OpenID:     t.OpenID,
		UnionID:    t.UnionID,
		Scope:      wechat.Scope(t.Scope),
		SignedInAt: time.UnixMilli(time.Now().UnixMilli()),
	}
}

// signedIn returns a page request of a visitor whom the contender knows.
func (c contender) signedIn(u wechatgate.User) *http.Request {
	w := httptest.NewRecorder()
	c.signIn(w, httptest.NewRequest(http.MethodGet, "/sign-in", nil), u)
	r := httptest.NewRequest(http.MethodGet, "/members", nil)
	for _, cookie := range w.Result().Cookies() {
		r.AddCookie(cookie)
	}
	return r
}

func TestContendersTellTheSameUser(t *testing.T) {
	want := visitor42()
	for _, c := range contenders(t)[1:] {
		served := 0
		handler := c.require(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			served++
			got, ok := wechatgate.UserFromContext(r.Context())
			assert.True(t, ok, c.name)
			assert.WithinDuration(t, want.SignedInAt, got.SignedInAt, time.Minute, c.name)
			got.SignedInAt, got.ExpiresAt = want.SignedInAt, want.ExpiresAt // the gate's alone
			assert.Equal(t, want, got, c.name)
		}))

		w := httptest.NewRecorder()
		handler.ServeHTTP(w, c.signedIn(want))
		assert.Equal(t, 1, served, c.name)
		assert.Empty(t, w.Header()["Set-Cookie"], c.name)

		w = httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/members", nil))
		assert.Equal(t, 1, served, "%s: not without a cookie", c.name)
		assert.Equal(t, http.StatusUnauthorized, w.Code, c.name)
	}
}

// So that there is no row for it: the keys of a session's values are of any type,
// and JSON has none but strings.
func TestGorillaCannotKeepASessionInJSON(t *testing.T) {
	store := sessions.NewCookieStore(key('h'), key('b'))
	for _, codec := range store.Codecs {
		sealer, ok := codec.(*securecookie.SecureCookie)
		require.True(t, ok)
		sealer.SetSerializer(securecookie.JSONEncoder{})
	}
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	s, err := store.New(r, "session")
	require.NoError(t, err)
	s.Values["openid"] = "oPerson"
	assert.ErrorContains(t, s.Save(r, httptest.NewRecorder()), "json: unsupported type: map[interface")
}

// BenchmarkContenders measures the gate again beside each of the others, so that
// what is compared ran one after the other.
func BenchmarkContenders(b *testing.B) {
	u := visitor42()
	all := contenders(b)
	gate := all[slices.IndexFunc(all, func(c contender) bool { return c.name == "wechatgate" })]
	for _, c := range all {
		if c.name == gate.name {
			continue
		}
		b.Run("beside="+c.name+"/what=wechatgate", func(b *testing.B) { serve(b, gate.require(page), gate.signedIn(u)) })
		b.Run("beside="+c.name+"/what=other", func(b *testing.B) { serve(b, c.require(page), c.signedIn(u)) })
	}
}

// serve gives the handler a new request each time: gorilla/sessions remembers in
// the request what it has read.
func serve(b *testing.B, handler http.Handler, request *http.Request) {
	b.Helper()
	w := &nowhere{header: http.Header{}}
	r := new(http.Request)
	b.ReportAllocs()
	for b.Loop() {
		*r = *request
		clear(w.header)
		handler.ServeHTTP(w, r)
		if w.status != http.StatusNoContent {
			b.Fatalf("status %d", w.status)
		}
	}
}

// nowhere is a response that costs nothing.
type nowhere struct {
	header http.Header
	status int
}

func (w *nowhere) Header() http.Header         { return w.header }
func (w *nowhere) Write(p []byte) (int, error) { return len(p), nil }
func (w *nowhere) WriteHeader(status int)      { w.status = status }
