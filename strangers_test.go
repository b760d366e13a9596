package wechatgate_test

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wechatgate/wechatgate"
)

// The tests of this file are about visitors who want something else than to sign
// in: that WeChat is asked without end, somebody else's session, a secret. They
// hand requests to a gate; WeChat is a function.

// strangeSite is a gate, and who stands in for WeChat.
type strangeSite struct {
	options wechatgate.Options
	gate    *wechatgate.Gate
	handler http.Handler
	log     *logBuffer
	answer  func(*http.Request) string // WeChat's, by request; default: signs in
	asked   atomic.Int64               // how often WeChat was
}

// newStrangeSite has gated pages, and public ones below /public/. Pages say who is seen, and the gate's pages their name.
func newStrangeSite(t *testing.T, change ...func(*wechatgate.Options)) *strangeSite {
	t.Helper()
	s := &strangeSite{log: &logBuffer{}}
	s.options = wechatgate.Options{
		BaseURL:         "https://shop.example.com",
		OfficialAccount: wechatgate.App{ID: "wx0123456789abcdef", Secret: "the-accounts-secret"},
		Website:         wechatgate.App{ID: "wx89abcdef01234567", Secret: "the-websites-secret"},
		SessionKeys:     [][]byte{[]byte("0123456789abcdef0123456789abcdef"), []byte("another key of thirty-two letters")},
		Public:          []string{"/public/"},
		Page: func(w http.ResponseWriter, _ *http.Request, p wechatgate.Page) {
			w.WriteHeader(p.Status)
			_, _ = io.WriteString(w, string(p.Name))
		},
		Logger: s.log.logger(),
	}
	s.options.HTTPClient = &http.Client{Transport: weChatAnswer(func(r *http.Request) (*http.Response, error) {
		s.asked.Add(1)
		text := signsIn
		if s.answer != nil {
			text = s.answer(r)
		}
		if err := r.Context().Err(); err != nil {
			return nil, err
		}
		return answered(r, text)
	})}
	for _, f := range change {
		f(&s.options)
	}
	var err error
	s.gate, err = wechatgate.New(s.options)
	require.NoError(t, err)
	s.handler = gated(s.gate, http.HandlerFunc(sayWho))
	return s
}

const signsIn = `{"access_token":"AT","expires_in":7200,"refresh_token":"RT","openid":"oPerson","scope":"snsapi_base"}`

func errcode(code int) string { return fmt.Sprintf(`{"errcode":%d,"errmsg":"made up"}`, code) }

func sayWho(w http.ResponseWriter, r *http.Request) {
	u, ok := wechatgate.UserFromContext(r.Context())
	if !ok {
		u.OpenID = "nobody"
	}
	_, _ = io.WriteString(w, "hello "+u.OpenID)
}

func (s *strangeSite) visitor() *visitor { return newVisitor(s.handler, uaWeChat) }

func TestAtMost256ExchangesAreUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStrangeSite(t)
		release := make(chan struct{})
		s.answer = func(*http.Request) string { <-release; return signsIn }
		var visitors sync.WaitGroup
		var in atomic.Int64
		for i := range 256 {
			v := s.visitor()
			state := v.begin(t)
			visitors.Go(func() {
				if v.open(callbackOf(fmt.Sprint("CODE", i), state)).Code == http.StatusSeeOther {
					in.Add(1)
				}
			})
		}
		synctest.Wait()
		require.EqualValues(t, 256, s.asked.Load())

		late := s.visitor()
		state, start := late.begin(t), time.Now()
		w := late.open(callbackOf("CODE256", state))
		assert.Equal(t, http.StatusServiceUnavailable, w.Code)
		assert.Zero(t, time.Since(start), "at once")
		assert.NotEmpty(t, w.Header().Get("Retry-After"))
		assert.Len(t, s.log.lines("reason=busy"), 1)
		assert.EqualValues(t, 256, s.asked.Load())

		close(release)
		visitors.Wait()
		assert.EqualValues(t, 256, in.Load())
		assert.Equal(t, http.StatusSeeOther, late.open(callbackOf("CODE256", state)).Code, "the code was not spent")
	})
}

func TestWeChatIsLeftAloneWhenItSaysSo(t *testing.T) {
	const profileLogin = "/wechat/login?scope=snsapi_userinfo&return_to=/"
	for _, row := range []struct {
		name, login string
		op          string // of WeChat's address
		code        int
	}{
		{"45009 for a code", "/wechat/login", "/oauth2/access_token", 45009},
		{"45011 for a code", "/wechat/login", "/oauth2/access_token", 45011},
		{"45009 for a profile", profileLogin, "/userinfo", 45009},
		{"45011 for a profile", profileLogin, "/userinfo", 45011},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStrangeSite(t)
				throttled := true
				s.answer = func(r *http.Request) string {
					switch {
					case throttled && strings.HasSuffix(r.URL.Path, row.op):
						return errcode(row.code)
					case strings.HasSuffix(r.URL.Path, "/userinfo"):
						return `{"openid":"oPerson","nickname":"alice"}`
					}
					return strings.Replace(signsIn, "snsapi_base", "snsapi_userinfo", 1)
				}
				comeBack := func(v *visitor, code string) (status, retryAfter int, asked int64) {
					address, err := url.Parse(v.open(row.login).Header().Get("Location"))
					require.NoError(t, err)
					before := s.asked.Load()
					w := v.open(callbackOf(code, address.Query().Get("state")))
					retryAfter, _ = strconv.Atoi(w.Header().Get("Retry-After"))
					return w.Code, retryAfter, s.asked.Load() - before
				}
				first := s.visitor()
				status, wait, _ := comeBack(first, "FIRST")
				require.Equal(t, http.StatusServiceUnavailable, status)
				require.Equal(t, 30, wait)
				throttled = false

				waiting := s.visitor()
				state := waiting.begin(t)
				for left := wait; left > 0; left -= 10 {
					status, retryAfter, asked := comeBack(s.visitor(), "OTHER")
					assert.Equal(t, http.StatusServiceUnavailable, status)
					assert.Equal(t, left, retryAfter)
					assert.Zero(t, asked, "%d s before the end", left)
					assert.Equal(t, http.StatusServiceUnavailable, waiting.open(callbackOf("WAITING", state)).Code)
					if left > 10 {
						pass(10 * time.Second)
					} else {
						pass(9999 * time.Millisecond)
					}
				}
				assert.Zero(t, func() int64 { _, _, asked := comeBack(s.visitor(), "EARLY"); return asked }())
				byQRCode := newVisitor(s.handler, uaDesktop)
				status, _, asked := comeBack(byQRCode, "QR")
				assert.Equal(t, http.StatusSeeOther, status, "the other app")
				assert.Positive(t, asked)
				pass(time.Millisecond)
				status, _, asked = comeBack(s.visitor(), "LATE")
				assert.Equal(t, http.StatusSeeOther, status)
				assert.Positive(t, asked)
				assert.Equal(t, http.StatusSeeOther, waiting.open(callbackOf("WAITING", state)).Code, "that code was not spent")
			})
		})
	}
}

func TestKeptResultServesItsOwnCodeForAWhile(t *testing.T) {
	for _, row := range []struct {
		name   string
		before func(t *testing.T, victim *visitor)
		code   string
		times  int
		served int
	}{
		{name: "the same code, at once", code: "CODE", times: 1, served: 1},
		{name: "the same code, within 30 seconds", before: func(*testing.T, *visitor) { pass(30*time.Second - time.Millisecond) }, code: "CODE", times: 1, served: 1},
		{name: "the same code, after 30 seconds", before: func(*testing.T, *visitor) { pass(30*time.Second + time.Millisecond) }, code: "CODE", times: 1},
		{name: "the same code, again and again", code: "CODE", times: 20, served: 16},
		{name: "another code", code: "MADE-UP", times: 1},
		{name: "the same code, after a sign-out", before: func(t *testing.T, victim *visitor) { t.Helper(); victim.signOut(t) }, code: "CODE", times: 1},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStrangeSite(t)
				spent := false
				s.answer = func(r *http.Request) string {
					if r.URL.Query().Get("code") != "CODE" {
						return errcode(40029)
					}
					if spent {
						return errcode(40163)
					}
					spent = true
					return signsIn
				}
				victim := s.visitor()
				state := victim.begin(t)
				copied := victim.clone()
				require.Equal(t, http.StatusSeeOther, victim.open(callbackOf("CODE", state)).Code)
				require.True(t, victim.isIn())
				if row.before != nil {
					row.before(t, victim)
				}
				served := 0
				for range row.times {
					before := s.asked.Load()
					v := copied.clone()
					v.open(callbackOf(row.code, state))
					if v.hasSession() {
						served++
						assert.Equal(t, before, s.asked.Load(), "without asking WeChat")
					} else {
						assert.EqualValues(t, 2, s.asked.Load(), "WeChat decides")
					}
				}
				assert.Equal(t, row.served, served)
			})
		})
	}
}

// Gates that share keys, a Store or both are strangers to each other, as soon as
// BaseURL or CookieName differ.
func TestGatesNeverOpenEachOthersCookies(t *testing.T) {
	for kept, idle := range map[string]time.Duration{
		"in cookies": 0, "in cookies, with an idle time": 10 * time.Minute,
		"in a Store": 0, "in a Store, with an idle time": 10 * time.Minute,
	} {
		for name, differ := range map[string]func(*wechatgate.Options){
			"another BaseURL":    func(o *wechatgate.Options) { o.BaseURL = "https://admin.example.com" },
			"another mount path": func(o *wechatgate.Options) { o.BaseURL += "/admin" },
			"another CookieName": func(o *wechatgate.Options) { o.CookieName = "admin" },
		} {
			t.Run(kept+", "+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					store := &plainStore{}
					shared := func(o *wechatgate.Options) {
						o.IdleTimeout = idle
						if strings.HasPrefix(kept, "in a Store") {
							o.Store = store
						}
					}
					shop, admin := newStrangeSite(t, shared), newStrangeSite(t, shared, differ)
					// carry shows a browser's cookies at the other gate, by its names.
					carry := func(from *visitor, part string, to *visitor) {
						base := "__Host-wechatgate"
						if admin.options.CookieName != "" {
							base = "__Host-" + admin.options.CookieName
						}
						for name, value := range from.cookies {
							if suffix := strings.TrimPrefix(name, "__Host-wechatgate"); part == "everything" || strings.Contains(suffix, part) {
								to.cookies[base+suffix] = value
							}
						}
					}
					customer := shop.visitor()
					customer.signIn(t)
					require.True(t, customer.isIn())

					thief := admin.visitor()
					carry(customer, "everything", thief)
					assert.False(t, thief.isIn(), "a session")
					assert.True(t, customer.isIn(), "which is left alone")

					leaving := shop.visitor()
					state := leaving.begin(t)
					thief = admin.visitor()
					carry(leaving, "-login-", thief)
					asked := admin.asked.Load()
					assert.NotEqual(t, http.StatusSeeOther, thief.open(callbackOf("CODE", state)+"&again=1").Code, "an attempt")
					assert.Equal(t, asked, admin.asked.Load())

					if idle == 0 {
						return
					}
					pass(time.Second)
					member := admin.visitor()
					member.signIn(t)
					require.True(t, member.isIn())
					carry(customer, "-seen", member)
					assert.False(t, member.isIn(), "when the visitor was last seen")
				})
			})
		}
	}
}

func TestLateRenewalEndsNoNewerSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStrangeSite(t, func(o *wechatgate.Options) { o.IdleTimeout = 10 * time.Minute })
		v := s.visitor()
		v.signIn(t)
		pass(2 * time.Minute)
		late := v.clone().open("/members").Result().Cookies() // of the first session
		require.Len(t, late, 1)
		v.signIn(t)
		v.cookies[late[0].Name] = late[0].Value // the answer arrives now
		assert.True(t, v.isIn())
		pass(9 * time.Minute)
		assert.True(t, v.isIn(), "the sign-in counts as the last use")
		pass(10 * time.Minute)
		assert.False(t, v.isIn())
	})
}

func TestSignInThatAnotherSiteBegins(t *testing.T) {
	for _, row := range []struct {
		name, site, parameters string
		signedOut              bool
		want                   string // a page, or "" for WeChat
	}{
		{"another site, after a sign-out", "cross-site", "", true, "signed-out"},
		{"a script of our own, after a sign-out", "same-origin", "?auto=1", true, "signed-out"},
		{"a link of our own, after a sign-out", "same-origin", "", true, ""},
		{"a link of another host of ours, after a sign-out", "same-site", "", true, ""},
		{"an address that was typed, after a sign-out", "none", "", true, ""},
		{"a browser that does not say, after a sign-out", "", "", true, ""},
		{"another site", "cross-site", "", false, ""},
		{"another site that wants the profile", "cross-site", "?scope=snsapi_userinfo", false, "consent"},
		{"a script of our own that wants the profile", "same-origin", "?scope=snsapi_userinfo&auto=1", false, "consent"},
		{"a button of our own that asks for the profile", "same-origin", "?scope=snsapi_userinfo", false, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := newStrangeSite(t)
			v := s.visitor()
			if row.signedOut {
				v.signIn(t)
				v.signOut(t)
			}
			r := v.request(http.MethodGet, "/wechat/login"+row.parameters)
			if row.site != "" {
				r.Header.Set("Sec-Fetch-Site", row.site)
				r.Header.Set("Sec-Fetch-Mode", "navigate")
				r.Header.Set("Sec-Fetch-Dest", "document")
			}
			w := v.send(r)
			if row.want == "" {
				assert.Equal(t, http.StatusFound, w.Code, w.Body)
				return
			}
			assert.Equal(t, http.StatusUnauthorized, w.Code)
			assert.Equal(t, row.want, w.Body.String())
			assert.Empty(t, v.attempt(), "nothing has begun")
		})
	}
}

// A CDN may keep the answer of a public page, and its cookies with it.
func TestPublicAnswersCarryNoCookies(t *testing.T) {
	type signedIn struct {
		after   time.Duration
		broken  bool
		revoked bool
	}
	for _, row := range []struct {
		name          string
		visitor       *signedIn
		public, gated string // the suffix of the cookie that the answer sets or removes
		sees          string
	}{
		{"who is not signed in", nil, "none", "-login-", "nobody"},
		{"who was seen a moment ago", &signedIn{after: 30 * time.Second}, "none", "none", "oPerson"},
		{"who was seen two minutes ago", &signedIn{after: 2 * time.Minute}, "none", "-seen", "oPerson"},
		{"who was seen almost five minutes ago", &signedIn{after: 5*time.Minute - time.Second}, "none", "-seen", "oPerson"},
		{"who was seen five minutes ago", &signedIn{after: 5 * time.Minute}, "-seen", "-seen", "oPerson"},
		{"whose session is broken", &signedIn{broken: true}, "none", "", "nobody"},
		{"whose session is revoked", &signedIn{revoked: true}, "none", "", "nobody"},
		{"whose session was revoked six minutes later", &signedIn{after: 6 * time.Minute, revoked: true}, "none", "", "nobody"},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				revoked := false
				s := newStrangeSite(t, func(o *wechatgate.Options) {
					o.IdleTimeout = 10 * time.Minute
					o.CheckSession = func(*http.Request, wechatgate.User) error {
						if revoked {
							return wechatgate.ErrSessionRevoked
						}
						return nil
					}
				})
				v := s.visitor()
				if row.visitor != nil {
					v.signIn(t)
					pass(row.visitor.after)
					revoked = row.visitor.revoked
					if row.visitor.broken {
						v.cookies["__Host-wechatgate"] += "x"
					}
				}
				for path, want := range map[string]string{"/public/page": row.public, "/members": row.gated} {
					w := v.clone().open(path)
					var set []string
					for _, c := range w.Result().Cookies() {
						set = append(set, strings.TrimPrefix(c.Name, "__Host-wechatgate"))
					}
					switch want {
					case "none":
						assert.Empty(t, set, path)
					case "-login-":
						assert.Len(t, set, 1, path)
						assert.Contains(t, set[0], want)
					default:
						assert.Contains(t, set, want, path)
					}
					if path == "/public/page" {
						assert.Equal(t, "hello "+row.sees, w.Body.String())
					}
				}
			})
		})
	}
}

func TestNothingPrintsASecret(t *testing.T) {
	s := newStrangeSite(t)
	o := s.options
	o.Page, o.HTTPClient, o.Logger = nil, nil, nil // JSON knows no functions
	// Whatever a Chat holds, but for what its account is called.
	chat := reflect.ValueOf(&o.CodeSignIn.Chat).Elem()
	for i := range chat.NumField() {
		if name := chat.Type().Field(i).Name; chat.Field(i).Kind() == reflect.String && strings.Contains(name, "Token") || strings.Contains(name, "Key") {
			chat.Field(i).SetString("the-chats-" + name)
		}
	}
	secrets := []string{o.OfficialAccount.Secret, o.Website.Secret, "the-chats-"}
	for _, key := range o.SessionKeys {
		secrets = append(secrets, string(key))
	}
	forms := func(secret string) []string {
		bytes := fmt.Sprint([]byte(secret))
		text, err := json.Marshal([]byte(secret))
		require.NoError(t, err)
		return []string{
			secret, hex.EncodeToString([]byte(secret)), strings.ToUpper(hex.EncodeToString([]byte(secret))),
			strings.Trim(bytes, "[]"), fmt.Sprintf("%#v", []byte(secret)), strings.Trim(string(text), `"`),
		}
	}
	values := map[string]any{
		"a gate":                            s.gate,
		"a gate by value":                   *s.gate,
		"a gate in a struct":                struct{ Gate *wechatgate.Gate }{s.gate},
		"a gate by value in a struct":       struct{ Gate wechatgate.Gate }{*s.gate},
		"a gate in a field of no export":    struct{ gate *wechatgate.Gate }{s.gate},
		"a value in a field of no export":   struct{ gate wechatgate.Gate }{*s.gate},
		"a pointer to a struct with a gate": &struct{ gate wechatgate.Gate }{*s.gate},
		"a gate that is embedded":           struct{ *wechatgate.Gate }{s.gate},
		"gates in a slice":                  []*wechatgate.Gate{s.gate},
		"gates by value in a slice":         []wechatgate.Gate{*s.gate},
		"gates in an array":                 [1]wechatgate.Gate{*s.gate},
		"gates in a map":                    map[string]*wechatgate.Gate{"": s.gate},
		"gates as keys":                     map[wechatgate.Gate]bool{*s.gate: true},
		"no gate":                           wechatgate.Gate{},
		"options":                           o,
		"a pointer to options":              &o,
		"options in a struct":               struct{ Options wechatgate.Options }{o},
		"options in a slice":                []wechatgate.Options{o},
		"options in a map":                  map[string]wechatgate.Options{"": o},
		"an app":                            o.Website,
		"apps in a struct":                  &struct{ App wechatgate.App }{o.Website},
		"code sign-in":                      o.CodeSignIn,
		"a chat":                            o.CodeSignIn.Chat,
		"a pointer to a chat":               &o.CodeSignIn.Chat,
		"a chat in a slice":                 []wechatgate.Chat{o.CodeSignIn.Chat},
	}
	printed := func(value any) map[string]string {
		texts := map[string]string{}
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x", "%X"} {
			texts[verb] = fmt.Sprintf(verb, value)
		}
		var text, objects strings.Builder
		slog.New(slog.NewTextHandler(&text, nil)).Info("", "value", value, slog.Group("group", "value", value))
		slog.New(slog.NewJSONHandler(&objects, nil)).Info("", "value", value, slog.Group("group", "value", value))
		texts["slog's text"], texts["slog's JSON"] = text.String(), objects.String()
		encoded, _ := json.Marshal(value) // where there is no JSON of it, there is nothing to find
		texts["JSON"] = string(encoded)
		return texts
	}
	for what, value := range values {
		for how, text := range printed(value) {
			for _, secret := range secrets {
				for _, form := range forms(secret) {
					assert.NotContains(t, text, form, "%s of %s", how, what)
				}
			}
		}
	}
	// The search finds what is there.
	for how, text := range printed(map[string]any{"text": o.Website.Secret, "bytes": o.SessionKeys[0]}) {
		found := 0
		for _, secret := range secrets {
			for _, form := range forms(secret) {
				found += strings.Count(strings.ReplaceAll(text, `\`, ""), form)
			}
		}
		assert.Positive(t, found, "%s: %s", how, text)
	}
}

func TestOuterGatesUserDoesNotShowThroughAnInnerGate(t *testing.T) {
	outer := newStrangeSite(t, func(o *wechatgate.Options) { o.CookieName = "outer" })
	inner := newStrangeSite(t)
	for path, handler := range map[string]http.Handler{
		"/optional/page": outer.gate.Require(inner.gate.Optional(http.HandlerFunc(sayWho))),
		"/public/page":   outer.gate.Require(inner.gate.Require(http.HandlerFunc(sayWho))),
	} {
		v := newVisitor(handler, uaWeChat)
		v.signIn(t)
		assert.Equal(t, "hello nobody", v.open(path).Body.String(), path)
		// The inner gate's own visitor is seen.
		known := newVisitor(inner.handler, uaWeChat)
		known.signIn(t)
		maps.Copy(v.cookies, known.cookies)
		assert.Equal(t, "hello oPerson", v.open(path).Body.String(), path)
	}
}

type contextKey struct{}

// Once OnLogin is called it has its 10 seconds, even if the visitor leaves. It sees
// the values of the request until that request's handler returns.
func TestContextOfOnLogin(t *testing.T) {
	type seen struct {
		err           error
		left          time.Duration
		before, after any
	}
	for _, row := range []struct {
		name   string
		leaves time.Duration // 0: the visitor stays
		takes  time.Duration // OnLogin
		want   seen
	}{
		{"a visitor who stays", 0, 3 * time.Second, seen{left: 10 * time.Second, before: "value", after: "value"}},
		{"a visitor who leaves", time.Second, 3 * time.Second, seen{left: 10 * time.Second, before: "value", after: nil}},
		{"an OnLogin that is too slow", 0, 12 * time.Second, seen{err: context.DeadlineExceeded, left: 10 * time.Second, before: "value", after: "value"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var got seen
				s := newStrangeSite(t, func(o *wechatgate.Options) {
					o.OnLogin = func(r *http.Request, _ *wechatgate.Login) error {
						ctx := r.Context()
						deadline, _ := ctx.Deadline()
						got.left, got.before = time.Until(deadline), ctx.Value(contextKey{})
						pass(row.takes)
						got.err, got.after = ctx.Err(), ctx.Value(contextKey{})
						return nil
					}
				})
				v := s.visitor()
				ctx, cancel := context.WithCancel(context.WithValue(t.Context(), contextKey{}, "value"))
				defer cancel()
				if row.leaves > 0 {
					time.AfterFunc(row.leaves, cancel)
				}
				back := v.leave(t)
				start := time.Now()
				v.get(ctx, back)
				if row.leaves > 0 {
					assert.Equal(t, row.leaves, time.Since(start), "nobody waits for a visitor who has left")
				}
				pass(time.Minute)
				synctest.Wait()
				assert.Equal(t, row.want, got)
			})
		})
	}
}

func TestErrorsOfTheAccountAreNotTheVisitors(t *testing.T) {
	for _, code := range []int{48004, 50002, 40243} {
		t.Run(strconv.Itoa(code), func(t *testing.T) {
			s := newStrangeSite(t)
			s.answer = func(*http.Request) string { return errcode(code) }
			v := s.visitor()
			w := v.open(v.leave(t))
			assert.Equal(t, http.StatusInternalServerError, w.Code)
			assert.Equal(t, string(wechatgate.PageError), w.Body.String())
			records := s.log.lines("reason=config")
			require.Len(t, records, 1)
			assert.Contains(t, records[0], "level=ERROR")
			assert.Contains(t, records[0], "errcode="+strconv.Itoa(code))
			assert.Contains(t, records[0], "hint=")
			assert.False(t, v.hasSession())
		})
	}
}

// A service worker that answers with fetch(e.request) hands navigations on with
// an empty destination.
func TestServiceWorkersNavigationIsANavigation(t *testing.T) {
	for _, row := range []struct {
		name, mode, dest string
		want             int
	}{
		{"a navigation that a service worker hands on", "navigate", "empty", http.StatusFound},
		{"a fetch of its own", "cors", "empty", http.StatusUnauthorized},
		{"a frame", "navigate", "iframe", http.StatusUnauthorized},
	} {
		for _, path := range []string{"/members", "/wechat/login"} {
			t.Run(row.name+", "+path, func(t *testing.T) {
				v := newStrangeSite(t).visitor()
				r := v.request(http.MethodGet, path)
				r.Header.Set("Sec-Fetch-Mode", row.mode)
				r.Header.Set("Sec-Fetch-Dest", row.dest)
				assert.Equal(t, row.want, v.send(r).Code)
			})
		}
	}
}

// Browsers ask again before they show a page that they kept, unless the handler
// says otherwise.
func TestGatedAnswersAreAskedForAgain(t *testing.T) {
	s := newStrangeSite(t)
	v := s.visitor()
	v.signIn(t)
	for _, path := range []string{"/members", "/optional/", "/public/"} {
		assert.Equal(t, []string{"private, no-cache"}, v.open(path).Header()["Cache-Control"], path)
	}
	v.handler = s.gate.Require(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Cache-Control", "no-store") }))
	assert.Equal(t, []string{"no-store"}, v.open("/members").Header()["Cache-Control"])
}

func TestManySignInsEnd(t *testing.T) {
	for _, row := range []struct {
		name     string
		forgets  bool // the session does not stay
		finished int
	}{
		{"signed in", false, 5},
		{"not signed in", true, 2},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStrangeSite(t)
				v := s.visitor()
				for range row.finished {
					v.signIn(t)
					if row.forgets {
						delete(v.cookies, "__Host-wechatgate")
					}
					pass(10 * time.Second)
				}
				asked := s.asked.Load()
				for _, address := range []string{"/wechat/login", "/wechat/login?auto=1", "/wechat/login?scope=snsapi_userinfo&return_to=/members"} {
					w := v.open(address)
					assert.Equal(t, http.StatusServiceUnavailable, w.Code, address)
					assert.Equal(t, string(wechatgate.PageError), w.Body.String(), address)
					assert.NotEmpty(t, w.Header().Get("Retry-After"), address)
				}
				assert.Equal(t, asked, s.asked.Load())
				assert.NotEmpty(t, s.log.lines("reason=session"))
				pass(2 * time.Minute)
				v.signIn(t)
				assert.True(t, v.isIn())
			})
		})
	}
}

func TestStoreIsAskedOnceForARequest(t *testing.T) {
	var revoked error
	store := &plainStore{}
	s := newStrangeSite(t, func(o *wechatgate.Options) {
		o.Store = store
		o.CheckSession = func(*http.Request, wechatgate.User) error { return revoked }
	})
	get := func(path string) func(*visitor) *http.Request {
		return func(v *visitor) *http.Request { return v.request(http.MethodGet, path) }
	}
	post := func(path string) func(*visitor) *http.Request {
		return func(v *visitor) *http.Request { return v.request(http.MethodPost, path) }
	}
	back := func(code string) func(*visitor) *http.Request {
		return func(v *visitor) *http.Request {
			session := v.cookies["__Host-wechatgate"]
			state := v.begin(t)
			v.cookies["__Host-wechatgate"] = session // one that is broken was removed
			return v.request(http.MethodGet, callbackOf(code, state))
		}
	}
	for _, row := range []struct {
		name     string
		signedIn bool // else the cookie leads nowhere
		revoked  error
		request  func(*visitor) *http.Request
		want     int
	}{
		{"a page", true, nil, get("/members"), http.StatusOK},
		{"an optional page", true, nil, get("/optional/"), http.StatusOK},
		{"a public page", true, nil, get("/public/"), http.StatusOK},
		{"a redirect", false, nil, get("/members"), http.StatusFound},
		{"a form", false, nil, post("/members"), http.StatusUnauthorized},
		{"login", true, nil, get("/wechat/login"), http.StatusFound},
		{"a callback", false, nil, back("CODE"), http.StatusSeeOther},
		{"a callback that replaces a session", true, nil, back("CODE"), http.StatusSeeOther},
		{"a restart", false, nil, back("BAD"), http.StatusFound},
		{"a restart of a visitor who is signed in", true, nil, back("BAD"), http.StatusFound},
		{"who am I", true, nil, get("/wechat/user"), http.StatusOK},
		{"a session that is revoked", true, wechatgate.ErrSessionRevoked, get("/members"), http.StatusFound},
		{"a sign-out", true, nil, post("/wechat/logout"), http.StatusSeeOther},
		{"a sign-out by link", true, nil, get("/wechat/logout"), http.StatusOK},
	} {
		t.Run(row.name, func(t *testing.T) {
			s.answer = nil
			v := s.visitor()
			v.cookies["__Host-wechatgate"] = "GONE"
			if row.signedIn {
				v.signIn(t)
			}
			s.answer = func(r *http.Request) string {
				if r.URL.Query().Get("code") == "BAD" {
					return errcode(40029)
				}
				return signsIn
			}
			r := row.request(v)
			revoked = row.revoked
			store.questions()
			w := v.send(r)
			assert.Equal(t, row.want, w.Code, w.Body)
			assert.Equal(t, 1, store.questions())
			revoked = nil
		})
	}
}
