package wechattest_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wechatgate/wechatgate"
	"github.com/wechatgate/wechatgate/wechat"
	"github.com/wechatgate/wechatgate/wechattest"
)

func TestServersShareNothing(t *testing.T) {
	seen := map[string]bool{}
	for range 2 {
		s := newServer(t)
		for _, app := range []wechatgate.App{s.OfficialAccount, s.Website} {
			assert.Regexp(t, `^wx[0-9a-f]{16}$`, app.ID)
			assert.Regexp(t, `^[0-9a-f]{32}$`, app.Secret)
			seen[app.ID], seen[app.Secret] = true, true
		}
		seen[s.URL], seen[s.Endpoints().API] = true, true
	}
	assert.Len(t, seen, 12)
}

func TestPagesAndCallsAreApart(t *testing.T) {
	s := newServer(t)
	for _, test := range []struct {
		name, url string
		want      int
	}{
		{"a page where visitors go", s.Endpoints().Open + "/mmopen/alice/132", http.StatusOK},
		{"a call where servers go", s.Endpoints().API + "/sns/auth", http.StatusOK},
		{"a page where servers go", s.Endpoints().API + "/mmopen/alice/132", http.StatusNotFound},
		{"a call where visitors go", s.Endpoints().Open + "/sns/auth", http.StatusNotFound},
		{"an address that WeChat does not have", s.Endpoints().API + "/sns/oauth2/token", http.StatusNotFound},
	} {
		t.Run(test.name, func(t *testing.T) {
			status, _ := get(t, s.Browser(wechatgate.BrowserDesktop), test.url)
			assert.Equal(t, test.want, status)
		})
	}
}

func TestOptions(t *testing.T) {
	for _, test := range []struct {
		name     string
		baseURL  string
		callback string
		want     string
	}{
		{"the callback's host is registered", "https://Shop.example.com/shop", "https://shop.example.com/shop/wechat/callback", sentBack},
		{"and no other", "https://shop.example.com", "https://example.com/wechat/callback", "10003"},
		{"an https site cannot go back by http", "https://shop.example.com", "http://shop.example.com/wechat/callback", "10003"},
		{"a test server is like a test account", "http://127.0.0.1:54321", "http://127.0.0.1:54321/wechat/callback", sentBack},
		{"so is localhost", "http://localhost", "http://localhost/wechat/callback", sentBack},
		{"and http for those who insist", "http://shop.example.com", "http://shop.example.com/wechat/callback", sentBack},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := wechattest.NewServer()
			t.Cleanup(s.Close)
			options := s.Options(test.baseURL)
			assert.Equal(t, test.baseURL, options.BaseURL)
			assert.Equal(t, s.OfficialAccount, options.OfficialAccount)
			assert.Equal(t, s.Website, options.Website)
			assert.Equal(t, s.Endpoints(), options.Endpoints)
			require.Len(t, options.SessionKeys, 1)
			assert.Len(t, options.SessionKeys[0], 32)
			assert.NotEqual(t, options.SessionKeys, s.Options(test.baseURL).SessionKeys)

			link := s.Endpoints().QRConnectURL(s.Website.ID, test.callback, state, "")
			assert.Equal(t, test.want, outcomeOf(visit(t, s, chromium, link)))
		})
	}
}

func TestOptionsAreReadyForNew(t *testing.T) {
	s := newServer(t)
	for _, baseURL := range []string{"http://127.0.0.1:8080", "https://shop.example.com"} {
		_, err := wechatgate.New(s.Options(baseURL))
		assert.NoError(t, err, baseURL)
	}
	_, err := wechatgate.New(s.Options("://"))
	assert.Error(t, err, "New finds what is wrong")
}

func TestScriptedAnswers(t *testing.T) {
	s := newServer(t)
	code := newCode(t, s, wechat.ScopeBase)
	path := tokenPath(s.OfficialAccount.ID, s.OfficialAccount.Secret, code)
	s.FailNext(wechat.OpExchange, -1, "")
	s.AnswerNext(wechat.OpExchange, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusBadGateway)
		_, _ = io.WriteString(w, "<html>")
	})
	s.FailNext(wechat.OpExchange, 45011, "api minute-quota reach limit")
	s.FailNext(wechat.OpUserInfo, 48001, "")

	assert.Regexp(t, `^\{"errcode":-1,"errmsg":"system error, rid: [0-9a-f-]{26}"\}$`, visit(t, s, "", path).body)
	response := visit(t, s, "", path)
	assert.Equal(t, http.StatusBadGateway, response.status)
	assert.Equal(t, "<html>", response.body)
	assert.Regexp(t, `^\{"errcode":45011,"errmsg":"api minute-quota reach limit, rid: `, visit(t, s, "", path).body)
	exchange(t, s, s.OfficialAccount, code) // the code was not spent
	assert.Equal(t, 48001, errcodeOf(t, visit(t, s, "", "/sns/userinfo").body), "each operation has a queue of its own")
	assert.Equal(t, 41001, errcodeOf(t, visit(t, s, "", "/sns/userinfo").body))
}

func TestUnknownOperationsPanic(t *testing.T) {
	s := newServer(t)
	assert.Panics(t, func() { s.FailNext("access-token", -1, "") })
	assert.Panics(t, func() { s.AnswerNext("", http.NotFound) })
	assert.Panics(t, func() { s.AnswerNext(wechat.OpExchange, nil) }, "no handler")
	assert.Panics(t, func() { s.Delay("callback", time.Second) })
}

func TestDelay(t *testing.T) {
	s := newServer(t) // outside of the bubble, as it listens
	synctest.Test(t, func(t *testing.T) {
		s.Delay(wechat.OpExchange, time.Hour)
		code := newCode(t, s, wechat.ScopeBase)
		path := tokenPath(s.OfficialAccount.ID, s.OfficialAccount.Secret, code)

		begin := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		assert.PanicsWithValue(t, http.ErrAbortHandler, func() {
			s.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, http.MethodGet, path, nil))
		}, "nobody waits any more")
		assert.Equal(t, 10*time.Second, time.Since(begin))

		begin = time.Now()
		assert.Equal(t, 40163, errcodeOf(t, visit(t, s, "", path).body), "the code was spent all the same")
		assert.Equal(t, time.Hour, time.Since(begin))

		s.Delay(wechat.OpExchange, 0)
		begin = time.Now()
		visit(t, s, "", path)
		assert.Zero(t, time.Since(begin))
	})
}

func TestCloseEndsWhatWaits(t *testing.T) {
	s := wechattest.NewServer()
	arrived := make(chan struct{}, 2)
	var ended atomic.Int32
	waits := func(r *http.Request) {
		arrived <- struct{}{}
		<-r.Context().Done()
		<-time.After(50 * time.Millisecond) // a handler may need a moment to end
		ended.Add(1)
	}
	s.Delay(wechat.OpCheckToken, time.Hour)
	s.AnswerNext(wechat.OpUserInfo, func(_ http.ResponseWriter, r *http.Request) { waits(r) })
	s.AnswerNext(wechat.OpRefresh, func(w http.ResponseWriter, r *http.Request) {
		connection, _, err := http.NewResponseController(w).Hijack()
		if !assert.NoError(t, err) {
			return
		}
		defer func() { _ = connection.Close() }()
		waits(r)
	})
	errs := make(chan error, 3)
	ask := func(path string) {
		response, err := s.Browser(wechatgate.BrowserDesktop).Get(s.Endpoints().API + path)
		if err == nil {
			_ = response.Body.Close()
		}
		errs <- err
	}
	go ask("/sns/userinfo")
	go ask("/sns/oauth2/refresh_token")
	<-arrived
	<-arrived
	go ask("/sns/auth")
	s.Close()
	assert.EqualValues(t, 2, ended.Load(), "Close waits for handlers")
	for range 3 {
		assert.Error(t, <-errs)
	}
	s.Close() // a second time does nothing

	_, err := net.Dial("tcp", strings.TrimPrefix(s.URL, "http://"))
	assert.Error(t, err, "nobody listens any more")
}

func TestCalls(t *testing.T) {
	s := newServer(t)
	code := newCode(t, s, wechat.ScopeLogin)
	token := exchange(t, s, s.Website, code)
	visit(t, s, "", authPath(token))
	visit(t, s, "", tokenPath(s.OfficialAccount.Secret, "x", "x"))

	var ops, appIDs []string
	for _, call := range s.Calls() {
		ops, appIDs = append(ops, call.Op), append(appIDs, call.AppID)
		assert.WithinDuration(t, time.Now(), call.Time, time.Minute)
	}
	assert.Equal(t, []string{wechattest.OpQRConnect, wechat.OpExchange, wechat.OpCheckToken, wechat.OpExchange}, ops)
	assert.Equal(t, []string{s.Website.ID, s.Website.ID, s.Website.ID, ""}, appIDs)
	assert.Len(t, s.Calls(wechat.OpExchange), 2)
	assert.Empty(t, s.Calls(wechattest.OpStableToken))

	printed := fmt.Sprintf("%+v %#v", s.Calls(), s.Calls())
	for _, secret := range []string{code, token.AccessToken, token.RefreshToken, s.Website.Secret, s.OfficialAccount.Secret} {
		assert.NotContains(t, printed, secret)
	}
	assert.Contains(t, printed, s.Website.ID)
}

func TestTwoHundredPeopleAtOnce(t *testing.T) {
	s := newServer(t)
	site := newSite(t, s)
	link := s.Endpoints().AuthorizeURL(s.OfficialAccount.ID, site.URL, wechat.ScopeBase, state)
	var people sync.WaitGroup
	for i := range 200 {
		people.Go(func() {
			p := wechattest.Person{Name: fmt.Sprint("person ", i)}
			s.SignInAs(wechattest.Person{Name: "somebody else"})
			status, body := get(t, s.BrowserAs(wechatgate.BrowserWeChat, p), link)
			assert.Equal(t, http.StatusOK, status)
			query, err := url.ParseQuery(body)
			assert.NoError(t, err)
			token, err := client(s).Exchange(t.Context(), s.OfficialAccount, query.Get("code"))
			assert.NoError(t, err)
			assert.Equal(t, wechattest.OpenID(s.OfficialAccount.ID, p), token.OpenID)
		})
	}
	people.Wait()
	assert.Len(t, s.Calls(wechat.OpExchange), 200)
}

func TestAvatarsOfBuiltInPeople(t *testing.T) {
	s := newServer(t)
	token := exchange(t, s, s.Website, newCode(t, s, wechat.ScopeLogin))
	profile, err := client(s).UserInfo(t.Context(), token.AccessToken, token.OpenID, "")
	require.NoError(t, err)
	status, body := get(t, s.Browser(wechatgate.BrowserDesktop), profile.AvatarURL)
	assert.Equal(t, http.StatusOK, status)
	assert.Contains(t, body, "<svg")
	assert.Contains(t, body, ">A</text>")
}

// newSite starts a site that answers with the query it was called with.
func newSite(t *testing.T, s *wechattest.Server) *httptest.Server {
	t.Helper()
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.URL.RawQuery)
	}))
	t.Cleanup(site.Close)
	s.Register(strings.TrimPrefix(site.URL, "http://"))
	return site
}

func get(t *testing.T, browser *http.Client, address string) (status int, body string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	if !assert.NoError(t, err) {
		return 0, ""
	}
	return do(t, browser, r)
}

func do(t *testing.T, browser *http.Client, r *http.Request) (status int, body string) {
	t.Helper()
	response, err := browser.Do(r)
	if !assert.NoError(t, err) {
		return 0, ""
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	assert.NoError(t, err)
	return response.StatusCode, string(text)
}
