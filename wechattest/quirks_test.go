package wechattest_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/wechatgate/wechatgate"
	"github.com/wechatgate/wechatgate/wechat"
	"github.com/wechatgate/wechatgate/wechattest"
)

func TestDoubleCallback(t *testing.T) {
	for _, test := range []struct {
		name  string
		quirk []wechattest.Quirk
		calls int
		codes int
	}{
		{"usually WeChat calls back once", nil, 1, 1},
		{"now and then twice with one code", []wechattest.Quirk{wechattest.DoubleCallback}, 2, 1},
		{"or with two", []wechattest.Quirk{wechattest.TwoCodes}, 2, 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newServer(t)
			codes, states, cookies := []string{}, map[string]bool{}, ""
			site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				codes, cookies = append(codes, r.FormValue("code")), r.Header.Get("Cookie")
				states[r.FormValue("state")] = true
				http.SetCookie(w, &http.Cookie{Name: "first", Value: "kept"})
			}))
			t.Cleanup(site.Close)
			s.Register(strings.TrimPrefix(site.URL, "http://"))
			s.Behave(test.quirk...)
			browser := s.Browser(wechatgate.BrowserWeChat)
			get(t, browser, s.Endpoints().AuthorizeURL(s.OfficialAccount.ID, site.URL, wechat.ScopeBase, state))
			assert.Len(t, codes, test.calls)
			assert.Equal(t, map[string]bool{state: true}, states)
			assert.Equal(t, test.calls == 2, cookies == "first=kept")
			different := map[string]bool{}
			for _, code := range codes {
				different[code] = true
			}
			assert.Len(t, different, test.codes)
			for code := range different {
				exchange(t, s, s.OfficialAccount, code)
			}
		})
	}
}

func TestFastLoginMisplacesTheCode(t *testing.T) {
	s := newServer(t)
	s.Behave(wechattest.FastLogin)
	qr := func(redirectURI string) string {
		return visit(t, s, chromium, s.Endpoints().QRConnectURL(s.Website.ID, redirectURI, state, "")).location
	}
	assert.Contains(t, qr(callback+"?a=1#/orders"), callback+"?a=1#/orders&code=")
	assert.Contains(t, qr(callback), callback+"?code=", "without a fragment there is but one place")
	link := s.Endpoints().AuthorizeURL(s.OfficialAccount.ID, callback+"#/orders", wechat.ScopeBase, state)
	assert.Contains(t, visit(t, s, weChat, link).location, callback+"?code=", "inside WeChat there is no fast login")
}

func TestAnswersThatDiffer(t *testing.T) {
	s := newServer(t)
	token := func(scope wechat.Scope) wechat.Token { return exchange(t, s, s.OfficialAccount, newCode(t, s, scope)) }

	assert.Empty(t, token(wechat.ScopeBase).UnionID)
	s.Behave(wechattest.BaseUnionID)
	assert.NotEmpty(t, token(wechat.ScopeBase).UnionID)
	assert.Empty(t, token(wechat.ScopeBase).UnionID)
	assert.NotEmpty(t, token(wechat.ScopeBase).UnionID)

	s.Behave(wechattest.SexAsString, wechattest.HintMessages)
	assert.Empty(t, token(wechat.ScopeBase).UnionID, "Behave replaces")
	visitor := token(wechat.ScopeUserInfo)
	path := "/sns/userinfo?access_token=" + visitor.AccessToken + "&openid="
	assert.Contains(t, visit(t, s, "", path+visitor.OpenID).body, `"sex":"0"`)
	assert.Regexp(t, `"invalid openid, hints: \[ req_id: [0-9a-f-]{17} \]"`, visit(t, s, "", path+"x").body)
	_, err := client(s).UserInfo(t.Context(), visitor.AccessToken, visitor.OpenID, "")
	assert.NoError(t, err)

	for _, granted := range []wechat.Scope{wechat.ScopeBase, "snsapi_base,snsapi_userinfo"} {
		s.Grant(granted)
		assert.Equal(t, granted, token(wechat.ScopeUserInfo).Scope)
	}
	s.Grant("")
	assert.Equal(t, wechat.ScopeUserInfo, token(wechat.ScopeUserInfo).Scope)
}

func TestQuirksOnTheWayBack(t *testing.T) {
	for _, test := range []struct {
		name    string
		quirk   wechattest.Quirk
		follows bool
		scope   wechat.Scope
		want    string // the query of the callback, or the page's headline
	}{
		{"a person who is asked may refuse", 0, true, wechat.ScopeUserInfo, "code=authdeny&state=" + state},
		{"a follower who comes from the menu is not asked", wechattest.FollowersFromMenu, true, wechat.ScopeUserInfo, "code=CODE&state=" + state},
		{"others are", wechattest.FollowersFromMenu, false, wechat.ScopeUserInfo, "code=authdeny&state=" + state},
		{"so is who scans a QR code", wechattest.FollowersFromMenu, true, wechat.ScopeLogin, "code=authdeny&state=" + state},
		{"a browser that appends to the state", wechattest.AppendedState, false, wechat.ScopeBase, "code=CODE&state=" + state + "mx"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newServer(t)
			s.Behave(test.quirk)
			s.Deny(wechattest.DenyAuthdeny)
			if test.follows {
				s.Follow(wechattest.Person{Name: "alice"})
			}
			link := s.Endpoints().AuthorizeURL(s.OfficialAccount.ID, callback, test.scope, state)
			if test.scope == wechat.ScopeLogin {
				link = s.Endpoints().QRConnectURL(s.Website.ID, callback, state, "")
			}
			location := visit(t, s, weChat, link).location
			assert.Equal(t, callback+"?"+test.want, regexp.MustCompile(`[0-9A-Z]{32}`).ReplaceAllString(location, "CODE"))
		})
	}
}

func TestWrongSecrets(t *testing.T) {
	s := newServer(t)
	for _, test := range []struct {
		quirk wechattest.Quirk
		want  int
	}{{0, 40125}, {wechattest.WrongSecretIs40001, 40001}} {
		s.Behave(test.quirk)
		wrong := strings.Replace(stableBody(s), s.OfficialAccount.Secret, "wrong", 1)
		assert.Equal(t, test.want, errcodeOf(t, visit(t, s, "", tokenPath(s.Website.ID, "wrong", "x")).body))
		assert.Equal(t, test.want, errcodeOf(t, post(t, s, "/cgi-bin/stable_token", wrong)))
		assert.Equal(t, test.want, errcodeOf(t, visit(t, s, "", "/cgi-bin/token?grant_type=client_credential&appid="+s.OfficialAccount.ID+"&secret=wrong").body))
	}
}

func TestForcedSnapshot(t *testing.T) {
	s := newServer(t)
	link := strings.Replace(s.Endpoints().AuthorizeURL(s.OfficialAccount.ID, callback, wechat.ScopeUserInfo, state), "#", "&forceSnapShot=true#", 1)
	assert.True(t, exchange(t, s, s.OfficialAccount, codeIn(t, visit(t, s, weChat, link).location)).Snapshot)
}

func TestLimits(t *testing.T) {
	s := newServer(t)
	link := s.Endpoints().AuthorizeURL(s.OfficialAccount.ID, callback, wechat.ScopeBase, state)
	synctest.Test(t, func(t *testing.T) {
		ask := func() int { return errcodeOf(t, visit(t, s, "", "/sns/auth").body) }
		s.LimitPerMinute(wechat.OpCheckToken, 2)
		s.LimitPerDay(wechat.OpCheckToken, 6)
		assert.Equal(t, []int{41001, 41001, 45011}, []int{ask(), ask(), ask()})
		<-time.After(time.Minute)
		assert.Equal(t, []int{41001, 41001, 45011}, []int{ask(), ask(), ask()})
		<-time.After(time.Minute)
		assert.Equal(t, 45009, ask(), "the day's calls are used up")
		<-time.After(24 * time.Hour)
		assert.Equal(t, 41001, ask())
		s.LimitPerMinute(wechat.OpCheckToken, 0)
		s.LimitPerDay(wechat.OpCheckToken, 0)
		for range 10 {
			assert.Equal(t, 41001, ask())
		}

		s.LimitPerMinute(wechattest.OpAuthorize, 1)
		assert.Equal(t, sentBack, outcomeOf(visit(t, s, weChat, link)))
		assert.Equal(t, "10009", outcomeOf(visit(t, s, weChat, link)))
	})
	assert.Panics(t, func() { s.LimitPerDay("callback", 1) })
}

func TestLimitsOfStableToken(t *testing.T) {
	s := newServer(t)
	synctest.Test(t, func(t *testing.T) {
		ask := func() int { return errcodeOf(t, post(t, s, "/cgi-bin/stable_token", "{}")) }
		for range 10_000 {
			s.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/cgi-bin/stable_token", nil))
		}
		assert.Equal(t, 45011, ask())
		<-time.After(time.Minute)
		assert.Equal(t, 41002, ask())
		s.LimitPerMinute(wechattest.OpStableToken, 0)
		for range 10_001 {
			s.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/cgi-bin/stable_token", nil))
		}
		assert.Equal(t, 41002, ask())
	})
}

func TestDrip(t *testing.T) {
	s := newServer(t) // outside of the bubble, as it listens
	synctest.Test(t, func(t *testing.T) {
		s.Drip(wechat.OpCheckToken, time.Second)
		begin := time.Now()
		body := visit(t, s, "", "/sns/auth").body
		assert.Equal(t, time.Duration(len(body))*time.Second, time.Since(begin))

		ctx, cancel := context.WithTimeout(t.Context(), 4500*time.Millisecond)
		defer cancel()
		w := httptest.NewRecorder()
		assert.PanicsWithValue(t, http.ErrAbortHandler, func() {
			s.ServeHTTP(w, httptest.NewRequestWithContext(ctx, http.MethodGet, "/sns/auth", nil))
		}, "nobody waits any more")
		assert.Equal(t, body[:4], w.Body.String())
		s.Drip(wechat.OpCheckToken, 0)
		begin = time.Now()
		visit(t, s, "", "/sns/auth")
		assert.Zero(t, time.Since(begin))
	})

	s.Drip(wechat.OpCheckToken, time.Nanosecond)
	s.AnswerNext(wechat.OpCheckToken, func(w http.ResponseWriter, _ *http.Request) {
		connection, _, err := http.NewResponseController(w).Hijack()
		if assert.NoError(t, err, "a scripted answer may end the connection") {
			_ = connection.Close()
		}
	})
	_, err := client(s).CheckToken(t.Context(), "x", "x")
	assert.Error(t, err)
}
