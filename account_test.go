package wechatgate_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wechatgate/wechatgate"
	"github.com/wechatgate/wechatgate/wechat"
	"github.com/wechatgate/wechatgate/wechat/account"
	"github.com/wechatgate/wechatgate/wechattest"
)

// What a gate does with the official account's own API. That API's rules are
// tested in package account.

// onLogins keeps what OnLogin sees.
func onLogins(logins *[]wechatgate.Login) func(*wechatgate.Options) {
	var mu sync.Mutex
	return func(o *wechatgate.Options) {
		o.AskFollower = true
		o.OnLogin = func(_ *http.Request, l *wechatgate.Login) error {
			mu.Lock()
			defer mu.Unlock()
			*logins = append(*logins, *l)
			return nil
		}
	}
}

func TestFollowerAtSignIn(t *testing.T) {
	const login = "/wechat/login?return_to=/members"
	off := func(o *wechatgate.Options) { o.AskFollower = false }
	for _, row := range []struct {
		name      string
		path      string
		userAgent string
		follows   bool
		change    func(*wechatgate.Options)
		asked     bool
		unionID   bool
		calls     []string // of this second sign-in
	}{
		{name: "who follows", path: login, follows: true, asked: true, unionID: true, calls: []string{wechat.OpExchange, wechattest.OpUser}},
		{name: "who does not follow", path: login, asked: true, calls: []string{wechat.OpExchange, wechattest.OpUser}},
		{name: "with a profile", path: login + "&scope=snsapi_userinfo", follows: true, asked: true, unionID: true, calls: []string{wechat.OpExchange, wechat.OpUserInfo, wechattest.OpUser}},
		{name: "by QR code", path: login, userAgent: uaDesktop, follows: true, unionID: true, calls: []string{wechat.OpExchange, wechat.OpUserInfo}},
		{name: "without the option", path: login, follows: true, change: off, calls: []string{wechat.OpExchange}},
	} {
		t.Run(row.name, func(t *testing.T) {
			var logins []wechatgate.Login
			s := newSite(t, onLogins(&logins), func(o *wechatgate.Options) {
				if row.change != nil {
					row.change(o)
				}
			})
			s.wechat.SignInAs(alice)
			if row.follows {
				s.wechat.Follow(alice)
			}
			if row.userAgent == "" {
				row.userAgent = uaWeChat
			}
			newBrowser(t, s.wechat, uaWeChat).open(s.URL + login) // fetches the account's token, which serves all for two hours
			assert.LessOrEqual(t, s.apiCalls(), 3, "of the first sign-in of all")
			before := s.apiCalls()

			p := newBrowser(t, s.wechat, row.userAgent).open(s.URL + row.path)

			require.Equal(t, http.StatusOK, p.status, p.trail)
			require.Len(t, logins, 2)
			got := logins[1]
			assert.Equal(t, row.unionID, got.User.UnionID == wechattest.UnionID(alice), got.User.UnionID)
			assert.Equal(t, row.unionID, strings.Contains(p.body, wechattest.UnionID(alice)), "and the session says the same")
			assert.Equal(t, row.asked, got.Follower != nil)
			if row.asked {
				assert.Equal(t, row.follows, got.Follower.Follows)
				assert.Equal(t, got.User.OpenID, got.Follower.OpenID)
			}
			var calls []string
			for _, call := range s.wechat.Calls(apiOps...)[before:] {
				calls = append(calls, call.Op)
			}
			assert.Equal(t, row.calls, calls)
		})
	}
}

// apiOps are the calls that a server makes.
var apiOps = []string{
	wechat.OpExchange, wechat.OpUserInfo, wechattest.OpStableToken, wechattest.OpAccountToken, wechattest.OpUser,
	wechattest.OpUsers, wechattest.OpTicket,
}

func (s *site) apiCalls() int { return s.calls(apiOps...) }

// accountAPI answers, on the test's clock, as WeChat's API does. What it says is a
// marker: none of it belongs on a page or in a log.
type accountAPI struct {
	mu      sync.Mutex
	calls   []string
	seen    string            // every request, as it was sent
	answers map[string]string // by path, in place of the usual one
	waits   map[string]time.Duration
}

const (
	exchangePath = "/sns/oauth2/access_token"
	tokenPath    = "/cgi-bin/stable_token"
	userPath     = "/cgi-bin/user/info"
	ticketPath   = "/cgi-bin/ticket/getticket"

	forEver = time.Hour
)

func (a *accountAPI) RoundTrip(r *http.Request) (*http.Response, error) {
	body := ""
	if r.Body != nil {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		body = string(b)
	}
	a.mu.Lock()
	a.calls = append(a.calls, r.URL.Path)
	a.seen += r.URL.String() + " " + body + "\n"
	answer, changed := a.answers[r.URL.Path]
	wait := a.waits[r.URL.Path]
	a.mu.Unlock()
	select {
	case <-time.After(wait):
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
	if !changed {
		answer = map[string]string{
			exchangePath: `{"access_token":"MARKER-visitor","expires_in":7200,"refresh_token":"MARKER-refresh","openid":"oPerson","scope":"snsapi_base"}`,
			tokenPath:    `{"access_token":"MARKER-token","expires_in":7200}`,
			userPath:     `{"subscribe":1,"openid":"oPerson","unionid":"uPerson","subscribe_time":1382694957,"subscribe_scene":"ADD_SCENE_QR_CODE"}`,
			ticketPath:   `{"errcode":0,"errmsg":"ok","ticket":"MARKER-ticket","expires_in":7200}`,
		}[r.URL.Path]
	}
	// Error messages of WeChat's can echo what was sent.
	echo, _ := json.Marshal(r.URL.String() + " " + body)
	answer = strings.ReplaceAll(answer, `"ECHO"`, string(echo))
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(answer)), Request: r}, nil
}

func (a *accountAPI) answer(path, answer string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.answers[path] = answer
}

func (a *accountAPI) wait(path string, d time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.waits[path] = d
}

func (a *accountAPI) recover() {
	a.mu.Lock()
	defer a.mu.Unlock()
	clear(a.answers)
	clear(a.waits)
}

// count returns how often a path was asked; all paths without one.
func (a *accountAPI) count(path string) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	n := 0
	for _, call := range a.calls {
		if path == "" || call == path {
			n++
		}
	}
	return n
}

const markedSecret = "MARKER-secret"

func newAccountSite(t *testing.T, change ...func(*wechatgate.Options)) (*clockedSite, *accountAPI) {
	t.Helper()
	api := &accountAPI{answers: map[string]string{}, waits: map[string]time.Duration{}}
	before := func(o *wechatgate.Options) {
		o.OfficialAccount.Secret = markedSecret
		o.HTTPClient = &http.Client{Transport: api}
		o.JSSDK = true
	}
	return newClockedSite(t, slices.Concat([]func(*wechatgate.Options){before}, change)...), api
}

func TestSignInGoesOnWhereTheFollowerCannotBeAsked(t *testing.T) {
	const (
		throttled = `{"errcode":45009,"errmsg":"reach max api daily quota limit"}`
		noRight   = `{"errcode":48001,"errmsg":"api unauthorized"}`
		wrongIP   = `{"errcode":40164,"errmsg":"invalid ip"}`
	)
	for _, row := range []struct {
		name    string
		prepare func(*accountAPI)
		takes   time.Duration
		pause   time.Duration
	}{
		{"an error", func(a *accountAPI) { a.answer(userPath, throttled) }, 0, 5 * time.Second},
		{"no JSON", func(a *accountAPI) { a.answer(userPath, "<html>") }, 0, 5 * time.Second},
		{"silence", func(a *accountAPI) { a.wait(userPath, forEver) }, 3 * time.Second, 5 * time.Second},
		{"silence about the token", func(a *accountAPI) { a.wait(tokenPath, forEver) }, 3 * time.Second, 5 * time.Second},
		{"silence after a slow exchange", func(a *accountAPI) { a.wait(exchangePath, 8*time.Second); a.wait(userPath, forEver) }, 10 * time.Second, 5 * time.Second},
		{"an account that may not", func(a *accountAPI) { a.answer(userPath, noRight) }, 0, 30 * time.Second},
		{"an address that is not on the IP list", func(a *accountAPI) { a.answer(tokenPath, wrongIP) }, 0, 30 * time.Second},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var logins []wechatgate.Login
				s, api := newAccountSite(t, onLogins(&logins))
				row.prepare(api)
				start := time.Now()
				s.visitor().signIn(t)
				failed := time.Now()
				assert.Equal(t, row.takes, failed.Sub(start))
				require.Len(t, logins, 1)
				assert.Nil(t, logins[0].Follower)
				assert.Len(t, s.log.lines("follower not known"), 1)
				assert.Contains(t, s.log.lines("follower not known")[0], "level=WARN")

				api.recover()
				time.Sleep(row.pause - time.Millisecond)
				asked := api.count(userPath) + api.count(tokenPath)
				s.visitor().signIn(t)
				assert.Equal(t, asked, api.count(userPath)+api.count(tokenPath), "not asked again so soon")
				assert.Nil(t, logins[1].Follower)

				time.Sleep(time.Until(failed.Add(row.pause)) + 10*time.Second) // and any fetch of a token has ended
				s.visitor().signIn(t)
				assert.NotNil(t, logins[2].Follower, s.log.String())
				assert.Len(t, s.log.lines("follower not known"), 1)
			})
		})
	}
}

// The pause of 30 seconds is for settings alone.
func TestFollowerIsAskedAgainAfterFiveSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var logins []wechatgate.Login
		s, api := newAccountSite(t, onLogins(&logins))
		api.answer(userPath, `{"errcode":45009,"errmsg":"ECHO"}`)
		s.visitor().signIn(t)
		api.recover()
		time.Sleep(5 * time.Second)
		s.visitor().signIn(t)
		assert.NotNil(t, logins[1].Follower)
	})
}

func TestVisitorWhoLeavesHoldsBackNoQuestion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var logins []wechatgate.Login
		s, api := newAccountSite(t, onLogins(&logins))
		api.wait(userPath, forEver)
		v := s.visitor()
		back := v.leave(t)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		v.get(ctx, back)
		synctest.Wait()
		assert.Empty(t, s.log.lines("follower not known"))

		api.recover()
		s.visitor().signIn(t)
		assert.NotNil(t, logins[len(logins)-1].Follower)
	})
}

func TestAnotherUnionIDOfAFollowerIsNotTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var logins []wechatgate.Login
		s, api := newAccountSite(t, onLogins(&logins))
		api.answer(exchangePath, `{"access_token":"AT","expires_in":7200,"refresh_token":"RT","openid":"oPerson","scope":"snsapi_base","unionid":"uOfTheSignIn"}`)
		s.visitor().signIn(t)
		require.Len(t, logins, 1)
		assert.Equal(t, "uOfTheSignIn", logins[0].User.UnionID)
		assert.True(t, logins[0].Follower.Follows)
		assert.Empty(t, logins[0].Follower.UnionID)
		records := s.log.lines("another unionid of a follower")
		require.Len(t, records, 1)
		assert.Contains(t, records[0], "level=WARN")
		assert.NotContains(t, s.log.String(), "uPerson", "a person's ID")
	})
}

func TestUnionIDOfAFollowerIsEnoughForRequireUnionID(t *testing.T) {
	for _, row := range []struct {
		name   string
		follow bool
		status int
	}{
		{"who follows sees the page at once", true, http.StatusOK},
		{"who does not is asked for the profile", false, http.StatusUnauthorized},
	} {
		t.Run(row.name, func(t *testing.T) {
			fake := wechattest.NewServer()
			defer fake.Close()
			fake.SignInAs(alice)
			if row.follow {
				fake.Follow(alice)
			}
			server := httptest.NewUnstartedServer(nil)
			o := fake.Options("http://" + server.Listener.Addr().String())
			o.AskFollower = true
			o.Logger = slog.New(slog.DiscardHandler)
			gate, err := wechatgate.New(o)
			require.NoError(t, err)
			server.Config.Handler = gate.RequireUnionID(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				u, _ := wechatgate.UserFromContext(r.Context())
				_, _ = io.WriteString(w, u.UnionID)
			}))
			server.Start()
			defer server.Close()

			p := newBrowser(t, fake, uaWeChat).open(server.URL + "/points")
			assert.Equal(t, row.status, p.status)
			assert.Equal(t, row.follow, p.body == wechattest.UnionID(alice))
			assert.Empty(t, fake.Calls(wechat.OpUserInfo), "nothing was asked of the person")
		})
	}
}

// jsSite is a site at https://shop.example.com/mall whose gate is called without
// a network. WeChat's is one.
type jsSite struct {
	wechat *wechattest.Server
	gate   *wechatgate.Gate
	log    *logBuffer
}

const jsBase = "https://shop.example.com/mall"

func newJSSite(t *testing.T, change ...func(*wechatgate.Options)) *jsSite {
	t.Helper()
	s := &jsSite{wechat: wechattest.NewServer(), log: &logBuffer{}}
	t.Cleanup(s.wechat.Close)
	s.wechat.RegisterJS("shop.example.com")
	o := s.wechat.Options(jsBase)
	o.JSSDK = true
	o.Logger = s.log.logger()
	for _, f := range change {
		f(&o)
	}
	var err error
	s.gate, err = wechatgate.New(o)
	require.NoError(t, err)
	return s
}

// ask asks the page js-config, as an anonymous visitor's script does.
func ask(gate http.Handler, method, query string, header http.Header) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "/wechat/js-config"+query, nil)
	r.Header = http.Header{"Accept": {"*/*"}, "Sec-Fetch-Mode": {"cors"}, "Sec-Fetch-Dest": {"empty"}}
	maps.Copy(r.Header, header)
	w := httptest.NewRecorder()
	gate.ServeHTTP(w, r)
	return w
}

func TestJSConfigSignsAddressesOfThisSite(t *testing.T) {
	s := newJSSite(t)
	for _, row := range []struct {
		name, address string
		signed        bool
	}{
		{"the root", jsBase + "/", true},
		{"a page", jsBase + "/orders/7", true},
		{"a query", jsBase + "/orders?id=7&from=singlemessage&isappinstalled=0", true},
		{"a fragment", jsBase + "/orders?id=7#/detail?x=1", true},
		{"escapes, in their spelling", jsBase + "/%e5%ba%97/%E5%BA%97?q=%20+%2f", true},
		{"dots that are no segment", jsBase + "/a..b/.c/d...", true},
		{"dots in the query", jsBase + "/?next=../../x", true},
		{"one of the gate's own pages", jsBase + "/wechat/signed-out", true},
		{"8 KB", jsBase + "/" + strings.Repeat("x", 8<<10-len(jsBase)-1), true},

		{"nothing", "", false},
		{"a path alone", "/mall/orders", false},
		{"a relative scheme", "//shop.example.com/mall/orders", false},
		{"no address", "nonsense", false},
		{"a script", "javascript:alert(1)", false},
		{"plain http", "http://shop.example.com/mall/orders", false},
		{"a port", "https://shop.example.com:8443/mall/orders", false},
		{"the scheme's own port", "https://shop.example.com:443/mall/orders", false},
		{"another host", "https://evil.example/mall/orders", false},
		{"a host that begins like ours", "https://shop.example.com.evil.example/mall/", false},
		{"our host as a user name", "https://shop.example.com@evil.example/mall/", false},
		{"a user name", "https://me@shop.example.com/mall/orders", false},
		{"a host in capitals", "https://SHOP.example.com/mall/orders", false},
		{"above the mount path", "https://shop.example.com/", false},
		{"a path that begins like the mount path", jsBase + "ory/orders", false},
		{"two slashes after the mount path", jsBase + "//evil.example/", false},
		{"a dot segment", jsBase + "/../admin", false},
		{"a dot segment at the end", jsBase + "/x/..", false},
		{"a single dot", jsBase + "/./orders", false},
		{"dots that are escaped", jsBase + "/%2e%2e/admin", false},
		{"dots, one of them escaped", jsBase + "/.%2E/admin", false},
		{"a single dot that is escaped", jsBase + "/%2e/orders", false},
		{"a slash that is escaped", jsBase + "/..%2fadmin", false},
		{"a slash before it that is escaped", jsBase + "/x%2F../admin", false},
		{"a backslash", jsBase + `/..\admin`, false},
		{"a backslash that is escaped", jsBase + "/..%5cadmin", false},
		{"a path parameter", jsBase + "/..;x=1/admin", false},
		{"a broken escape", jsBase + "/%zz", false},
		{"a space", jsBase + "/a b", false},
		{"letters that are not escaped", jsBase + "/店", false},
		{"a line break", jsBase + "/a\nb", false},
		{"more than 8 KB", jsBase + "/" + strings.Repeat("x", 8<<10), false},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := ask(s.gate, http.MethodGet, "?url="+url.QueryEscape(row.address), nil)
			if !row.signed {
				assert.Equal(t, http.StatusBadRequest, w.Code)
				assert.JSONEq(t, `{"error":"url"}`, w.Body.String())
				return
			}
			require.Equal(t, http.StatusOK, w.Code, w.Body.String())
			var config account.JSConfig
			decoder := json.NewDecoder(w.Body)
			decoder.DisallowUnknownFields()
			require.NoError(t, decoder.Decode(&config))
			assert.NoError(t, s.wechat.VerifyJSConfig(row.address, config))
		})
	}
	assert.Equal(t, http.StatusBadRequest, ask(s.gate, http.MethodGet, "", nil).Code, "without url")
	assert.Equal(t, http.StatusBadRequest, ask(s.gate, http.MethodGet, "?url=%zz", nil).Code, "with a broken one")
	assert.Len(t, s.wechat.Calls(wechattest.OpTicket), 1, "one ticket signs all")
}

func TestWhoMayAskForJSConfig(t *testing.T) {
	s := newJSSite(t)
	off := newJSSite(t, func(o *wechatgate.Options) { o.JSSDK = false })
	good := "?url=" + url.QueryEscape(jsBase+"/")
	const crossSite = `{"error":"cross_site"}`
	site := func(value string) http.Header { return http.Header{"Sec-Fetch-Site": {value}} }
	from := func(value string) http.Header { return http.Header{"Origin": {value}} }
	for _, row := range []struct {
		name   string
		site   *jsSite
		method string
		header http.Header
		status int
		body   string
		allow  string
	}{
		{name: "a browser that does not say", status: 200},
		{name: "a script of this site", header: site("same-origin"), status: 200},
		{name: "an address that was typed", header: site("none"), status: 200},
		{name: "a script that names its origin", header: from("https://shop.example.com"), status: 200},
		{name: "another site", header: site("cross-site"), status: 403, body: crossSite},
		{name: "another host of this site", header: site("same-site"), status: 403, body: crossSite},
		{name: "a word that is not known", header: site("same-origin, cross-site"), status: 403, body: crossSite},
		{name: "another origin", header: from("https://evil.example"), status: 403, body: crossSite},
		{name: "an origin that begins like ours", header: from("https://shop.example.com.evil.example"), status: 403, body: crossSite},
		{name: "another port", header: from("https://shop.example.com:8443"), status: 403, body: crossSite},
		{name: "plain http", header: from("http://shop.example.com"), status: 403, body: crossSite},
		{name: "a sandboxed frame", header: from("null"), status: 403, body: crossSite},
		{name: "HEAD", method: http.MethodHead, status: 405, allow: "GET"},
		{name: "POST", method: http.MethodPost, status: 405, allow: "GET"},
		{name: "a preflight", method: http.MethodOptions, header: from("https://evil.example"), status: 405, allow: "GET"},
		{name: "without the option", site: off, status: 404},
		{name: "POST without the option", site: off, method: http.MethodPost, status: 404},
	} {
		t.Run(row.name, func(t *testing.T) {
			if row.site == nil {
				row.site = s
			}
			if row.method == "" {
				row.method = http.MethodGet
			}
			w := ask(row.site.gate, row.method, good, row.header)
			assert.Equal(t, row.status, w.Code)
			if row.body != "" {
				assert.JSONEq(t, row.body, w.Body.String())
			}
			assert.Equal(t, row.allow, w.Header().Get("Allow"))
			assertJSConfigHeaders(t, w)
		})
	}
	assert.Empty(t, off.wechat.Calls(apiOps...))
}

// assertJSConfigHeaders checks what every answer has, and that no other site may
// read it.
func assertJSConfigHeaders(t *testing.T, w *httptest.ResponseRecorder) {
	t.Helper()
	assert.Equal(t, "no-store", w.Header().Get("Cache-Control"))
	assert.Equal(t, "nosniff", w.Header().Get("X-Content-Type-Options"))
	assert.NotContains(t, w.Header(), "Set-Cookie")
	for name := range w.Header() {
		assert.NotContains(t, name, "Access-Control-")
	}
	if strings.HasPrefix(w.Body.String(), "{") {
		assert.Equal(t, "application/json; charset=utf-8", w.Header().Get("Content-Type"))
	}
}

func TestJSConfigWhereWeChatGivesNoTicket(t *testing.T) {
	const busy, wrong = `{"error":"busy"}`, `{"error":"config"}`
	for _, row := range []struct {
		op         string
		code       int
		status     int
		body       string
		retryAfter string
		logged     string
	}{
		{wechattest.OpTicket, 45009, 503, busy, "5", "errcode=45009"},
		{wechattest.OpStableToken, 45011, 503, busy, "5", "errcode=45011"},
		{wechattest.OpStableToken, 40164, 500, wrong, "", "IP白名单"},
		{wechattest.OpStableToken, 40125, 500, wrong, "", "hint="},
		{wechattest.OpTicket, 48001, 500, wrong, "", "hint="},
		{wechattest.OpTicket, 50002, 500, wrong, "", "hint="},
	} {
		t.Run(fmt.Sprint(row.op, " ", row.code), func(t *testing.T) {
			s := newJSSite(t)
			s.wechat.FailNext(row.op, row.code, "")
			for range 2 { // a failure is remembered
				w := ask(s.gate, http.MethodGet, "?url="+url.QueryEscape(jsBase+"/"), nil)
				assert.Equal(t, row.status, w.Code)
				assert.JSONEq(t, row.body, w.Body.String())
				assert.Equal(t, row.retryAfter, w.Header().Get("Retry-After"))
				assertJSConfigHeaders(t, w)
			}
			assert.Len(t, s.wechat.Calls(row.op), 1)
			assert.Len(t, s.log.lines(row.logged), 1, s.log.String())
		})
	}
}

// Everybody may ask for signatures. What they cost does not depend on how many do.
func TestFloodOfJSConfigWithAWrongSecret(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, api := newAccountSite(t)
		api.answer(tokenPath, `{"errcode":40125,"errmsg":"invalid appsecret"}`)
		good := "?url=" + url.QueryEscape("https://shop.example.com/")
		var all sync.WaitGroup
		for range 1000 {
			all.Go(func() {
				assert.Equal(t, http.StatusInternalServerError, ask(s.gate, http.MethodGet, good, nil).Code)
			})
		}
		all.Wait()
		for range 299 {
			time.Sleep(100 * time.Millisecond)
			ask(s.gate, http.MethodGet, good, nil)
		}
		assert.Equal(t, 1, api.count(""), "in 29.9 seconds")
		time.Sleep(100 * time.Millisecond)
		ask(s.gate, http.MethodGet, good, nil)
		assert.Equal(t, 2, api.count(""), "and the next in 30")
		assert.Len(t, s.log.lines("errcode=40125"), 2)
	})
}

func TestJSConfigOfTheRequestInHand(t *testing.T) {
	s := newJSSite(t, func(o *wechatgate.Options) { o.JSSDK = false })
	var (
		config account.JSConfig
		failed error
	)
	handler := http.StripPrefix("/mall", s.gate.Optional(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		config, failed = s.gate.JSConfig(r)
	})))
	for _, path := range []string{
		"/", "/orders", "/orders/", "/orders?id=7&from=singlemessage", "/orders?", "/?a=b?c", "/a//b", "/a%2Fb", "/a%2fb",
		"/%E5%BA%97", "/%e5%ba%97", "/%41", "/a|b", "/a'b(c)*!", "/a;b=c", "/x?q=%20+%2F|'&&=&%41", "/a%25b",
	} {
		r := httptest.NewRequest(http.MethodGet, "/mall"+path, nil)
		r.Host = "another.example" // is not believed
		handler.ServeHTTP(httptest.NewRecorder(), r)
		require.NoError(t, failed, path)
		assert.NoError(t, s.wechat.VerifyJSConfig(jsBase+path, config), path)
		assert.Error(t, s.wechat.VerifyJSConfig(jsBase+path+"x", config), path)
	}
}

func TestJSConfigNeedsAnOfficialAccount(t *testing.T) {
	s := newJSSite(t, func(o *wechatgate.Options) { o.JSSDK, o.OfficialAccount = false, wechatgate.App{} })
	config, err := s.gate.JSConfig(httptest.NewRequest(http.MethodGet, "/", nil))
	require.ErrorContains(t, err, "OfficialAccount")
	assert.Zero(t, config)
	assert.Nil(t, s.gate.Account())
}

func TestAccountIsTheOneThatTheGateUses(t *testing.T) {
	s := newJSSite(t)
	first := s.gate.Account()
	require.NotNil(t, first)
	assert.Same(t, first, s.gate.Account())
	_, err := first.Token(t.Context())
	require.NoError(t, err)
	assert.Equal(t, http.StatusOK, ask(s.gate, http.MethodGet, "?url="+url.QueryEscape(jsBase+"/"), nil).Code)
	assert.Len(t, s.wechat.Calls(wechattest.OpStableToken), 1)
}

func TestOptionsOfTheAccountNeedOne(t *testing.T) {
	for field, change := range map[string]func(*wechatgate.Options){
		"AskFollower": func(o *wechatgate.Options) { o.AskFollower = true },
		"JSSDK":       func(o *wechatgate.Options) { o.JSSDK = true },
	} {
		o := goodOptions()
		change(&o)
		_, err := wechatgate.New(o)
		require.NoError(t, err, field)
		o.OfficialAccount = wechatgate.App{}
		_, err = wechatgate.New(o)
		var mistake *wechatgate.OptionError
		require.ErrorAs(t, err, &mistake, field)
		assert.Equal(t, field, mistake.Field)
		assert.Contains(t, mistake.Problem, "needs OfficialAccount")
	}
}

// Whatever fails, and whatever WeChat says about it, secret, token and ticket stay
// in.
func TestSecretsOfTheAccountStayIn(t *testing.T) {
	paths := []string{tokenPath, userPath, ticketPath}
	answers := []string{
		"", `{"errcode":40164,"errmsg":"ECHO"}`, `{"errcode":45009,"errmsg":"ECHO"}`, `{"errcode":40001,"errmsg":"ECHO"}`,
		`{"errcode":48001,"errmsg":"ECHO"}`, `{"errcode":-1,"errmsg":"ECHO"}`, `"ECHO"`, `{"access_token":"MARKER-token","ticket":"MARKER-ticket","openid":"ECHO"}`,
	}
	signed := 0
	for _, path := range paths {
		for _, answer := range answers {
			synctest.Test(t, func(t *testing.T) {
				s, api := newAccountSite(t, func(o *wechatgate.Options) { o.AskFollower = true })
				if answer != "" {
					api.answer(path, answer)
				}
				shown := &strings.Builder{}
				v := s.visitor()
				w := v.get(t.Context(), v.leave(t))
				fmt.Fprintln(shown, w.Body, w.Header()["Location"])
				w = ask(s.gate, http.MethodGet, "?url="+url.QueryEscape("https://shop.example.com/"), nil)
				fmt.Fprintln(shown, w.Body, w.Header())
				config, err := s.gate.JSConfig(httptest.NewRequest(http.MethodGet, "/", nil))
				_, errFollower := s.gate.Account().Follower(t.Context(), "oPerson")
				for _, value := range []any{s.gate, *s.gate, s.gate.Account(), *s.gate.Account(), config, err, errFollower} {
					encoded, _ := json.Marshal(value)
					fmt.Fprintf(shown, "%v %+v %#v %s\n", value, value, value, encoded)
				}
				fmt.Fprint(shown, s.log.String())
				assert.NotContains(t, shown.String(), "MARKER", "%s %s", path, answer)

				// The search would find them: they were in use.
				require.Contains(t, api.seen, markedSecret)
				if path != tokenPath || answer == "" {
					require.Contains(t, api.seen, "MARKER-token")
				}
				if err == nil {
					signed++
					assert.Equal(t, account.SignJS("MARKER-ticket", config.NonceStr, config.Timestamp, "https://shop.example.com/"), config.Signature)
				}
			})
		}
	}
	assert.GreaterOrEqual(t, signed, len(answers))
}
