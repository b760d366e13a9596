package wechatgate_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wechatgate/wechatgate"
	"github.com/wechatgate/wechatgate/wechat"
	"github.com/wechatgate/wechatgate/wechattest"
)

// network is what CheckConfig finds: WeChat, and whatever stands at BaseURL.
type network struct {
	fake     *wechattest.Server
	site     func(*http.Request) (*http.Response, error)
	asked    []string // of the site: scheme, host and path
	strayers []string // requests for others
}

func (n *network) RoundTrip(r *http.Request) (*http.Response, error) {
	address := r.URL.Scheme + "://" + r.URL.Host + r.URL.Path
	switch {
	case len(n.asked) == 10:
		return nil, errors.New("asked too often")
	case strings.HasPrefix(address, shopURL+"/"):
		n.asked = append(n.asked, address)
		return n.site(r)
	case strings.HasPrefix(r.URL.Host, "127.0.0.1:"):
		return handlerTransport{n.fake}.RoundTrip(r)
	}
	n.strayers = append(n.strayers, address)
	return nil, errors.New("out of bounds")
}

func TestCheckConfigAsksBaseURL(t *testing.T) {
	fake := wechattest.NewServer()
	defer fake.Close()
	otherKey := []byte("another site's key, of 32 bytes.")
	handler := func(h http.Handler) func(*http.Request) (*http.Response, error) { return handlerTransport{h}.RoundTrip }
	answer := func(status int, header, body string) func(*wechatgate.Gate, wechatgate.Options) func(*http.Request) (*http.Response, error) {
		return func(*wechatgate.Gate, wechatgate.Options) func(*http.Request) (*http.Response, error) {
			return handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				if header != "" {
					w.Header().Set("Location", header)
				}
				w.WriteHeader(status)
				_, _ = io.WriteString(w, body)
			}))
		}
	}
	for _, row := range []struct {
		name  string
		mount string
		// site is what stands there, for the gate that asks and its options.
		site func(*wechatgate.Gate, wechatgate.Options) func(*http.Request) (*http.Response, error)
		says string // empty: all is right
	}{
		{"this gate", "", func(g *wechatgate.Gate, _ wechatgate.Options) func(*http.Request) (*http.Response, error) {
			return handler(g.Require(shopPage))
		}, ""},
		{"another machine whose first key is not ours", "", func(_ *wechatgate.Gate, o wechatgate.Options) func(*http.Request) (*http.Response, error) {
			o.SessionKeys = [][]byte{otherKey, o.SessionKeys[0]}
			return handler(newGate(t, o))
		}, "another gate"},
		{"another machine whose keys are ahead of ours", "", func(_ *wechatgate.Gate, o wechatgate.Options) func(*http.Request) (*http.Response, error) {
			o.SessionKeys = [][]byte{o.SessionKeys[1], o.SessionKeys[0]}
			return handler(newGate(t, o))
		}, ""},
		{"below a mount path that is stripped", "/shop", func(g *wechatgate.Gate, _ wechatgate.Options) func(*http.Request) (*http.Response, error) {
			return handler(http.StripPrefix("/shop", g))
		}, ""},

		{"below a mount path that is not stripped", "/shop", func(g *wechatgate.Gate, _ wechatgate.Options) func(*http.Request) (*http.Response, error) {
			return handler(g)
		}, `the mount path "/shop" is not stripped`},
		{"nobody listens", "", func(*wechatgate.Gate, wechatgate.Options) func(*http.Request) (*http.Response, error) {
			return func(*http.Request) (*http.Response, error) { return nil, errors.New("dial tcp: connection refused") }
		}, "does not answer: nothing listens there yet"},
		{"http where BaseURL says https", "", func(*wechatgate.Gate, wechatgate.Options) func(*http.Request) (*http.Response, error) {
			return func(*http.Request) (*http.Response, error) { return nil, http.ErrSchemeMismatch }
		}, "the scheme is wrong"},
		{"another program", "", answer(http.StatusOK, "", "<h1>It works!</h1>"), "is answered with 200 by something else than a gate"},
		{"another program's JSON", "", answer(http.StatusOK, "", `{"ok":true}`), "by something else than a gate"},
		{"a page that is not there", "", answer(http.StatusNotFound, "", "404"), "is answered with 404"},
		{"an endless answer", "", answer(http.StatusOK, "", strings.Repeat("x", 1<<20)), "by something else than a gate"},
		{"another gate", "", func(_ *wechatgate.Gate, o wechatgate.Options) func(*http.Request) (*http.Response, error) {
			o.SessionKeys = [][]byte{otherKey}
			return handler(newGate(t, o))
		}, "is answered by another gate"},
		{"a gate with another BaseURL", "", func(_ *wechatgate.Gate, o wechatgate.Options) func(*http.Request) (*http.Response, error) {
			o.BaseURL = "https://www.shop.example.com"
			return handler(newGate(t, o))
		}, "is answered by another gate"},
		{"an answer of this gate to another question", "", func(g *wechatgate.Gate, _ wechatgate.Options) func(*http.Request) (*http.Response, error) {
			return handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				r.URL.RawQuery = "nonce=0123456789abcdef0123456789abcdef"
				g.ServeHTTP(w, r)
			}))
		}, "is answered by another gate"},
		{"an answer that is no proof", "", answer(http.StatusOK, "", `{"proof":"zz"}`), "is answered by another gate"},
		{"a redirect to another scheme", "", answer(http.StatusMovedPermanently, "http://shop.example.com/wechat/check", ""), "a redirect to another scheme: http://shop.example.com/wechat/check"},
		{"a redirect to another host", "", answer(http.StatusFound, "https://www.shop.example.com/wechat/check", ""), "a redirect to another host: https://www.shop.example.com"},
		{"a redirect to another port", "", answer(http.StatusFound, "https://shop.example.com:8443/wechat/check", ""), "a redirect to another port: https://shop.example.com:8443"},
		{"a redirect to another path", "", answer(http.StatusFound, "/login", ""), "a redirect to another path: https://shop.example.com/login"},
		{"a redirect to itself", "", answer(http.StatusFound, "/wechat/check?x=1", ""), "a redirect to itself"},
		{"a redirect that cannot be read", "", answer(http.StatusFound, "https://%zz/", ""), "a redirect that cannot be read"},
	} {
		t.Run(row.name, func(t *testing.T) {
			n := &network{fake: fake}
			o := fake.Options(shopURL + row.mount)
			o.SessionKeys = append(o.SessionKeys, []byte("the site's older key of 32 bytes"))
			o.HTTPClient, o.Logger = &http.Client{Transport: n}, (&logBuffer{}).logger()
			gate := newGate(t, o)
			n.site = row.site(gate, o)
			err := gate.CheckConfig(t.Context())
			assert.Equal(t, []string{shopURL + row.mount + "/wechat/check"}, n.asked, "asked once")
			assert.Empty(t, n.strayers, "never another host, and no redirect is followed")
			if row.says == "" {
				assert.NoError(t, err)
				return
			}
			var wrong *wechatgate.OptionError
			require.ErrorAs(t, err, &wrong)
			assert.Equal(t, "BaseURL", wrong.Field)
			assert.Contains(t, wrong.Problem, row.says)
			assert.NotContains(t, err.Error(), "nonce", "nothing of the question")
			assert.NotContains(t, err.Error(), "\n", "one mistake")
		})
	}
}

func newGate(t *testing.T, o wechatgate.Options) *wechatgate.Gate {
	t.Helper()
	gate, err := wechatgate.New(o)
	require.NoError(t, err)
	return gate
}

func TestCheckConfigEndsAfterTenSeconds(t *testing.T) {
	fake := wechattest.NewServer()
	defer fake.Close()
	for name, site := range map[string]func(*http.Request) (*http.Response, error){
		"no answer": func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		},
		"an answer without an end": func(r *http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(endless{r.Context()}), Request: r}, nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := fake.Options(shopURL)
				o.HTTPClient = &http.Client{Transport: &network{fake: fake, site: site}}
				began := time.Now()
				err := newGate(t, o).CheckConfig(t.Context())
				assert.Equal(t, 10*time.Second, time.Since(began))
				assert.ErrorContains(t, err, "BaseURL: "+shopURL+"/wechat/check does not answer")
			})
		})
	}
}

// endless is a body that brings a byte a second.
type endless struct{ ctx context.Context }

func (e endless) Read(p []byte) (int, error) {
	select {
	case <-e.ctx.Done():
		return 0, e.ctx.Err()
	case <-time.After(time.Second):
		return copy(p, " "), nil
	}
}

func TestCheckConfigNamesEveryMistake(t *testing.T) {
	fake := wechattest.NewServer()
	defer fake.Close()
	o := fake.Options(shopURL)
	o.OfficialAccount.Secret, o.Website.Secret = "wrong", "wrong"
	n := &network{fake: fake, site: handlerTransport{http.NotFoundHandler()}.RoundTrip}
	o.HTTPClient = &http.Client{Transport: n}
	err := newGate(t, o).CheckConfig(t.Context())
	var fields []string
	for line := range strings.SplitSeq(err.Error(), "\n") {
		field, _, _ := strings.Cut(strings.TrimPrefix(line, "wechatgate: Options."), ":")
		fields = append(fields, field)
	}
	assert.Equal(t, []string{"OfficialAccount", "Website", "BaseURL"}, fields)
	assert.Empty(t, fake.Calls(wechattest.OpStableToken, wechattest.OpAccountToken))
}

func TestCheckAnswersAQuestionAlone(t *testing.T) {
	g := newShop(t).guest(t, uaWeChat)
	const nonce = "0123456789abcdef0123456789abcdef"
	w := g.fetch(http.MethodGet, "/wechat/check?nonce="+nonce)
	assert.Equal(t, http.StatusOK, w.Code)
	assertOwnHeaders(t, w.Header())
	assert.Regexp(t, `^{"proof":"[0-9a-f]{64}"}\n$`, w.Body.String())
	for _, query := range []string{"", "?nonce=", "?nonce=" + nonce[1:], "?nonce=" + nonce + "0", "?nonce=" + strings.ToUpper(nonce)} {
		assert.Equal(t, http.StatusBadRequest, g.fetch(http.MethodGet, "/wechat/check"+query).Code, query)
	}
	assert.Equal(t, http.StatusMethodNotAllowed, g.fetch(http.MethodPost, "/wechat/check?nonce="+nonce).Code)
}

// Require is the gate's own pages, Check and Challenge: a program that answers
// itself says the same. Set-Cookie is compared by names, and what is random not
// at all.
func TestCheckAndChallengeAnswerAsRequireDoes(t *testing.T) {
	type header = map[string]string
	script := header{"Accept": "*/*", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"}
	requests := []struct {
		method, target string
		header         header
		body           string
	}{
		{http.MethodGet, "/page?x=1", nil, ""},
		{http.MethodHead, "/page", nil, ""},
		{http.MethodGet, "/page", script, ""},
		{http.MethodPost, "/page", nil, "a=b"},
		{http.MethodPost, "/page", header{"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"}, "a=b"},
		{http.MethodPost, "/page", script, "a=b"},
		{http.MethodPut, "/page", nil, "a=b"},
		{http.MethodGet, "/public/a", nil, ""},
		{http.MethodGet, "/wechat/user", script, ""},
		{http.MethodGet, "/wechat/login?return_to=%2Fx", nil, ""},
		{http.MethodGet, "/wechat/logout", nil, ""},
		{http.MethodGet, "/wechat/nothing", nil, ""},
		{http.MethodGet, "/wechat/", nil, ""},
		{http.MethodGet, "/wechat", nil, ""},
		{http.MethodGet, "/MP_verify_x.txt", nil, ""},
		{http.MethodPost, "/MP_verify_x.txt", nil, ""},
		{http.MethodGet, "/shop/wechat/callback?code=C&state=S", nil, ""},
	}
	type answer struct {
		status int
		header http.Header
		body   string
		asked  int64 // how often the Store was
	}
	random := regexp.MustCompile(`[0-9a-f]{32}|<code>[A-Z2-7]{8}</code>|"reference":"[A-Z2-7]{8}"`)
	store := &faultyStore{}
	ask := func(handler http.Handler, g *guest, i int) answer {
		request := requests[i]
		g.shop.handler = handler
		before := store.news.Load()
		other := &guest{g.clone(), g.t, g.shop}
		w := other.ask(request.method, request.target, request.header, request.body)
		h := w.Header().Clone()
		var cookies []string
		for _, c := range w.Result().Cookies() {
			name, _, _ := strings.Cut(c.Name, "-login-")
			cookies = append(cookies, fmt.Sprint(name, c.MaxAge))
		}
		if h.Del("Set-Cookie"); cookies != nil {
			h["Set-Cookie"] = cookies
		}
		if location := h.Get("Location"); location != "" {
			h.Set("Location", random.ReplaceAllString(location, "…"))
		}
		if strings.HasPrefix(w.Body.String(), "openid=") { // Check writes no headers for the handler's answer
			h.Del("Cache-Control")
			h.Del("Vary")
		}
		return answer{status: w.Code, header: h, body: random.ReplaceAllString(w.Body.String(), "…"), asked: store.news.Load() - before}
	}
	common := func(o *wechatgate.Options) {
		o.BaseURL = shopURL + "/shop"
		o.Public = []string{"/public/"}
		o.VerifyFiles = map[string]string{"MP_verify_x.txt": "x"}
	}
	stripped := func(s *shop) { s.handler = http.StripPrefix("/shop", s.handler) }
	type state struct {
		name string
		open func(t *testing.T) *guest
	}
	states := []state{
		{"anonymous", func(t *testing.T) *guest { return newShop(t, common).guest(t, uaWeChat) }},
		{"anonymous, on a computer", func(t *testing.T) *guest { return newShop(t, common).guest(t, uaDesktop) }},
		{"anonymous, on a phone", func(t *testing.T) *guest { return newShop(t, common).guest(t, uaPhone) }},
		{"anonymous, where the fragment is kept", func(t *testing.T) *guest {
			return newShop(t, common, func(o *wechatgate.Options) { o.KeepFragment = true }).guest(t, uaWeChat)
		}},
		{"signed in", func(t *testing.T) *guest {
			s := newShop(t, common)
			stripped(s)
			g := s.guest(t, uaWeChat)
			g.arriveAt("/shop/page")
			return g
		}},
		{"signed in with a profile", func(t *testing.T) *guest {
			s := newShop(t, common, func(o *wechatgate.Options) {
				o.OnLogin = func(_ *http.Request, l *wechatgate.Login) error {
					l.Profile = &wechat.Profile{Nickname: "Li"}
					return nil
				}
			})
			stripped(s)
			g := s.guest(t, uaWeChat)
			g.arriveAt("/shop/page")
			return g
		}},
		{"a session that is revoked", func(t *testing.T) *guest {
			revoked := false
			s := newShop(t, common, func(o *wechatgate.Options) {
				o.CheckSession = func(*http.Request, wechatgate.User) error {
					if revoked {
						return wechatgate.ErrSessionRevoked
					}
					return nil
				}
			})
			stripped(s)
			g := s.guest(t, uaWeChat)
			g.arriveAt("/shop/page")
			revoked = true
			return g
		}},
		{"a cookie that does not open", func(t *testing.T) *guest {
			g := newShop(t, common).guest(t, uaWeChat)
			g.cookies["__Host-wechatgate"] = "rubbish"
			return g
		}},
		{"a session that the Store does not know", func(t *testing.T) *guest {
			store.newErr = nil
			g := newShop(t, common, func(o *wechatgate.Options) { o.Store = store }).guest(t, uaWeChat)
			g.cookies["__Host-wechatgate"] = "some-id"
			return g
		}},
		{"a Store that failed", func(t *testing.T) *guest {
			store.newErr = errors.New("connection refused")
			g := newShop(t, common, func(o *wechatgate.Options) { o.Store = store }).guest(t, uaWeChat)
			g.cookies["__Host-wechatgate"] = "some-id"
			return g
		}},
	}
	for _, state := range states {
		t.Run(state.name, func(t *testing.T) {
			g := state.open(t)
			gate := g.shop.gate
			by := func(check func(http.ResponseWriter, *http.Request) (wechatgate.User, error)) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if gate.Owns(r) {
						gate.ServeHTTP(w, r)
						return
					}
					u, err := check(w, r)
					if err != nil {
						gate.Challenge(w, r, err)
						return
					}
					shopPage(w, r.WithContext(wechatgate.ContextWithUser(r.Context(), u)))
				})
			}
			for i, request := range requests {
				name := fmt.Sprint(request.method, " ", request.target, " ", request.header)
				want, got := ask(gate.Require(shopPage), g, i), ask(by(gate.Check), g, i)
				assert.Equal(t, want, got, "Check: %s", name)
				assert.LessOrEqual(t, got.asked, int64(1), "the Store is asked once: %s", name)
				want, got = ask(gate.RequireProfile(shopPage), g, i), ask(by(gate.CheckProfile), g, i)
				assert.Equal(t, want, got, "CheckProfile: %s", name)
				assert.LessOrEqual(t, got.asked, int64(1), "the Store is asked once: %s", name)
			}
		})
	}
}

// arriveAt is arrive for a page below a mount path.
func (g *guest) arriveAt(target string) {
	g.t.Helper()
	base := g.shop.base
	g.shop.base = shopURL
	_, w := g.follow(target)
	g.shop.base = base
	require.Contains(g.t, w.Body.String(), "openid=")
}

func TestCheckSaysWhy(t *testing.T) {
	s := newShop(t)
	g := s.guest(t, uaWeChat)
	var user wechatgate.User
	var errs [2]error
	s.handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, errs[0] = s.gate.Check(w, r)
		_, errs[1] = s.gate.CheckProfile(w, r)
	})
	w := g.open("/page")
	assert.ErrorIs(t, errs[0], wechatgate.ErrNotSignedIn)
	assert.ErrorIs(t, errs[1], wechatgate.ErrNotSignedIn)
	assert.Empty(t, w.Header(), "it writes no answer")
	look := s.handler
	s.handler = s.gate.Require(shopPage)
	g.arrive()
	s.handler = look
	g.open("/page")
	assert.NoError(t, errs[0])
	assert.Equal(t, wechattest.OpenID(s.fake.OfficialAccount.ID, wechattest.Person{Name: "alice"}), user.OpenID)
	assert.ErrorIs(t, errs[1], wechatgate.ErrProfileRequired)
	assert.NotErrorIs(t, errs[1], wechatgate.ErrNotSignedIn)
}

func TestChallengeTakesErrorsOfOthers(t *testing.T) {
	for _, row := range []struct {
		name   string
		err    error
		status int
		title  string
	}{
		{"none", nil, http.StatusFound, ""},
		{"not signed in", wechatgate.ErrNotSignedIn, http.StatusFound, ""},
		{"wrapped", fmt.Errorf("proxy: %w", wechatgate.ErrNotSignedIn), http.StatusFound, ""},
		{"a site that does not answer in time", &wechatgate.Error{Reason: wechatgate.ReasonUpstream, Status: http.StatusGatewayTimeout, Err: errors.New("time-out of 10.0.0.7")}, http.StatusGatewayTimeout, "The site cannot be reached"},
		{"without a status", &wechatgate.Error{Reason: wechatgate.ReasonUpstream}, http.StatusBadGateway, "The site cannot be reached"},
		{"a status that is none", &wechatgate.Error{Reason: wechatgate.ReasonUpstream, Status: 7}, http.StatusBadGateway, "The site cannot be reached"},
		{"another error", errors.New("boom"), http.StatusInternalServerError, "The site has a fault"},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := newShop(t)
			s.handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.gate.Challenge(w, r, row.err) })
			g := s.guest(t, uaWeChat)
			w := g.open("/page?x=1")
			assert.Equal(t, row.status, w.Code)
			assert.Equal(t, row.title, title(w))
			assertOwnHeaders(t, w.Header())
			if row.title == "" {
				return
			}
			assert.NotContains(t, w.Body.String(), "10.0.0.7")
			assert.Len(t, s.log.lines("level=ERROR"), 1, "one record")
			w = g.fetch(http.MethodGet, "/api")
			assert.Equal(t, row.status, w.Code)
			assert.Contains(t, w.Body.String(), `"error":`)
		})
	}
}
