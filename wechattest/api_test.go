package wechattest_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wechatgate/wechatgate/wechat"
	"github.com/wechatgate/wechatgate/wechattest"
)

func TestErrors(t *testing.T) {
	s := newServer(t)
	official, website := s.OfficialAccount, s.Website
	code := func() string { return newCode(t, s, wechat.ScopeUserInfo) }
	siteCode := newCode(t, s, wechat.ScopeLogin)
	spent := code()
	token := exchange(t, s, official, spent)
	base := exchange(t, s, official, newCode(t, s, wechat.ScopeBase))

	for _, test := range []struct {
		name string
		path string
		want int
	}{
		{"no appid", tokenPath("", official.Secret, code()), 41002},
		{"no secret", tokenPath(official.ID, "", code()), 41004},
		{"no code", tokenPath(official.ID, official.Secret, ""), 41008},
		{"another grant_type", strings.Replace(tokenPath(official.ID, official.Secret, code()), "authorization_code", "code", 1), 40002},
		{"as golang.org/x/oauth2 asks", "/sns/oauth2/access_token?client_id=" + official.ID + "&client_secret=x&code=x&grant_type=authorization_code", 41002},
		{"nobody's appid", tokenPath("wx0000000000000000", official.Secret, code()), 40013},
		{"an app's secret with a letter too many", tokenPath(official.ID, official.Secret+"0", code()), 40125},
		{"the other app's secret", tokenPath(official.ID, website.Secret, code()), 40125},
		{"nobody's code", tokenPath(official.ID, official.Secret, "0NOBODYS"), 40029},
		{"a code of the other app", tokenPath(official.ID, official.Secret, siteCode), 40029},
		{"a code of the other app, the other way round", tokenPath(website.ID, website.Secret, code()), 40029},
		{"a code a second time", tokenPath(official.ID, official.Secret, spent), 40163},
		{"a code that was refused", tokenPath(official.ID, official.Secret, "authdeny"), 40029},

		{"refresh: no appid", "/sns/oauth2/refresh_token?grant_type=refresh_token&refresh_token=" + token.RefreshToken, 41002},
		{"refresh: no token", "/sns/oauth2/refresh_token?appid=" + official.ID + "&grant_type=refresh_token", 41003},
		{"refresh: no grant_type", "/sns/oauth2/refresh_token?appid=" + official.ID + "&refresh_token=" + token.RefreshToken, 40002},
		{"refresh: nobody's appid", "/sns/oauth2/refresh_token?appid=wx0&grant_type=refresh_token&refresh_token=" + token.RefreshToken, 40013},
		{"refresh: nobody's token", "/sns/oauth2/refresh_token?appid=" + official.ID + "&grant_type=refresh_token&refresh_token=x", 40030},
		{"refresh: the other app", "/sns/oauth2/refresh_token?appid=" + website.ID + "&grant_type=refresh_token&refresh_token=" + token.RefreshToken, 40030},

		{"userinfo: no token", "/sns/userinfo?openid=" + token.OpenID, 41001},
		{"userinfo: no openid", "/sns/userinfo?access_token=" + token.AccessToken, 41009},
		{"userinfo: nobody's token", "/sns/userinfo?access_token=x&openid=" + token.OpenID, 40014},
		{"userinfo: a refresh token", "/sns/userinfo?access_token=" + token.RefreshToken + "&openid=" + token.OpenID, 40001},
		{"userinfo: nobody's openid", "/sns/userinfo?access_token=" + token.AccessToken + "&openid=x", 40003},
		{"userinfo: WeChat takes any language", "/sns/userinfo?lang=cn&access_token=" + token.AccessToken + "&openid=" + token.OpenID, 0},
		{"userinfo: also none", "/sns/userinfo?lang=&access_token=" + token.AccessToken + "&openid=" + token.OpenID, 0},
		{"userinfo: a silent sign-in", "/sns/userinfo?access_token=" + base.AccessToken + "&openid=" + base.OpenID, 48001},

		{"auth: nobody's token", "/sns/auth?access_token=x&openid=" + token.OpenID, 40014},
		{"auth: nobody's openid", "/sns/auth?access_token=" + token.AccessToken + "&openid=x", 40003},
	} {
		t.Run(test.name, func(t *testing.T) {
			response := visit(t, s, "", test.path)
			assert.Equal(t, http.StatusOK, response.status)
			assert.Equal(t, "text/plain", response.header.Get("Content-Type"))
			assert.Equal(t, test.want, errcodeOf(t, response.body))
			if test.want == 0 {
				return
			}
			assert.Regexp(t, `^\{"errcode":\d+,"errmsg":"[^"]+, rid: [0-9a-f]{8}-[0-9a-f]{8}-[0-9a-f]{8}"\}$`, response.body)
		})
	}
}

func TestErrcodesHaveWords(t *testing.T) {
	s := newServer(t)
	for _, errcode := range []int{
		-1, 10003, 10005, 10016, 40001, 40002, 40003, 40013, 40014, 40029, 40030, 40032, 40097, 40125, 40163, 40164, 40243, 41001, 41002, 41003, 41004, 41008, 41009,
		42001, 42002, 42003, 42007, 43001, 43002, 45009, 45011, 47001, 48001, 48004, 50001, 50002, 61004, 89503,
	} {
		s.FailNext(wechat.OpExchange, errcode, "")
		body := visit(t, s, "", "/sns/oauth2/access_token").body
		assert.Equal(t, errcode, errcodeOf(t, body))
		assert.Regexp(t, `"errmsg":"[a-zA-Z_]+ [^"]+, rid: `, body)
	}
}

func TestOtherMethodsAnswerNothing(t *testing.T) {
	s := newServer(t)
	code := newCode(t, s, wechat.ScopeBase)
	path := tokenPath(s.OfficialAccount.ID, s.OfficialAccount.Secret, code)
	for _, method := range []string{http.MethodPut, http.MethodHead, http.MethodDelete} {
		response := serve(t, s, httptest.NewRequestWithContext(t.Context(), method, path, nil))
		assert.Equal(t, 43001, errcodeOf(t, response.body), method)
	}
	for _, path := range []string{"/sns/auth", "/sns/userinfo", "/sns/oauth2/refresh_token"} {
		assert.Equal(t, 43001, errcodeOf(t, post(t, s, path, "{}")), path)
	}
	form := httptest.NewRequestWithContext(t.Context(), http.MethodPost, strings.Split(path, "&code=")[0], strings.NewReader("grant_type=authorization_code&code="+code))
	form.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	assert.Equal(t, 0, errcodeOf(t, serve(t, s, form).body), "a form will do for a code")
}

func TestWholeSignInWithClient(t *testing.T) {
	alice := wechattest.Person{Name: "alice", Nickname: `小艾 <b>"/`, AvatarURL: "http://thirdwx.qlogo.cn/mmopen/a/132"}
	s := newServer(t)
	s.SignInAs(alice)
	for _, test := range []struct {
		name    string
		app     wechat.App
		scope   wechat.Scope
		unionID string
	}{
		{"silently", s.OfficialAccount, wechat.ScopeBase, ""},
		{"with a profile", s.OfficialAccount, wechat.ScopeUserInfo, wechattest.UnionID(alice)},
		{"by QR code", s.Website, wechat.ScopeLogin, wechattest.UnionID(alice)},
	} {
		t.Run(test.name, func(t *testing.T) {
			token := exchange(t, s, test.app, newCode(t, s, test.scope))
			assert.Len(t, token.AccessToken, 512)
			assert.Len(t, token.RefreshToken, 512)
			assert.Equal(t, wechattest.OpenID(test.app.ID, alice), token.OpenID)
			assert.Equal(t, test.unionID, token.UnionID)
			assert.Equal(t, test.scope, token.Scope)
			assert.Equal(t, 2*time.Hour, token.ExpiresIn)
			assert.False(t, token.Snapshot)

			valid, err := client(s).CheckToken(t.Context(), token.AccessToken, token.OpenID)
			require.NoError(t, err)
			assert.True(t, valid)

			refreshed, err := client(s).Refresh(t.Context(), test.app.ID, token.RefreshToken)
			require.NoError(t, err)
			want := token
			want.UnionID = ""
			assert.True(t, want == refreshed, "the same but for the unionid")

			profile, err := client(s).UserInfo(t.Context(), token.AccessToken, token.OpenID, "en")
			if test.scope == wechat.ScopeBase {
				var e *wechat.Error
				require.ErrorAs(t, err, &e)
				assert.Equal(t, 48001, e.Code)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, wechat.Profile{
				OpenID:    token.OpenID,
				UnionID:   token.UnionID,
				Nickname:  alice.Nickname,
				AvatarURL: "https://thirdwx.qlogo.cn/mmopen/a/132",
				Privilege: []string{},
			}, profile)
		})
	}
}

func TestAnswersByteForByte(t *testing.T) {
	s := newServer(t)
	s.SignInAs(wechattest.Person{Name: "alice", Nickname: "小艾", AvatarURL: "http://thirdwx.qlogo.cn/mmopen/a/132"})
	token := exchange(t, s, s.OfficialAccount, newCode(t, s, wechat.ScopeUserInfo))
	of := "?access_token=" + token.AccessToken + "&openid=" + token.OpenID
	long := regexp.MustCompile(`[\w-]{512}`)
	first := visit(t, s, "", tokenPath(s.OfficialAccount.ID, s.OfficialAccount.Secret, newCode(t, s, wechat.ScopeUserInfo)))
	assert.Equal(t, `{"access_token":"LONG","expires_in":7200,"refresh_token":"LONG","openid":"`+token.OpenID+`","scope":"snsapi_userinfo","unionid":"`+token.UnionID+`"}`,
		long.ReplaceAllString(first.body, "LONG"))
	for _, test := range []struct {
		name, path, want string
	}{
		{"a token that is good", "/sns/auth" + of, `{"errcode":0,"errmsg":"ok"}`},
		{
			"a profile", "/sns/userinfo" + of,
			`{"openid":"` + token.OpenID + `","nickname":"小艾","sex":0,"language":"","city":"","province":"","country":"",` +
				`"headimgurl":"http:\/\/thirdwx.qlogo.cn\/mmopen\/a\/132","privilege":[],"unionid":"` + token.UnionID + `"}`,
		},
		{
			"a new token", "/sns/oauth2/refresh_token?appid=" + s.OfficialAccount.ID + "&grant_type=refresh_token&refresh_token=" + token.RefreshToken,
			`{"access_token":"` + token.AccessToken + `","expires_in":7200,"refresh_token":"` + token.RefreshToken +
				`","openid":"` + token.OpenID + `","scope":"snsapi_userinfo"}`,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			response := visit(t, s, "", test.path)
			assert.Equal(t, http.StatusOK, response.status)
			assert.Equal(t, "text/plain", response.header.Get("Content-Type"))
			assert.Equal(t, test.want, response.body)
		})
	}
}

func TestLifetimes(t *testing.T) {
	const day = 24 * time.Hour
	s := newServer(t) // outside of the bubbles, as it listens
	ok, codeExpired := 0, 42003
	for _, test := range []struct {
		name  string
		scope wechat.Scope
		age   time.Duration
		want  int
	}{
		{"an official account's code, just in time", wechat.ScopeBase, 5*time.Minute - time.Millisecond, ok},
		{"five minutes are too long", wechat.ScopeBase, 5 * time.Minute, codeExpired},
		{"with a profile as well", wechat.ScopeUserInfo, 5 * time.Minute, codeExpired},
		{"a website app's code, just in time", wechat.ScopeLogin, 10*time.Minute - time.Millisecond, ok},
		{"ten minutes are too long", wechat.ScopeLogin, 10 * time.Minute, codeExpired},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				code := newCode(t, s, test.scope)
				<-time.After(test.age)
				assert.Equal(t, test.want, errcodeOf(t, visit(t, s, "", tokenPathOf(s, test.scope, code)).body))
			})
		})
	}

	for _, test := range []struct {
		name string
		age  time.Duration
		path func(wechat.Token) string
		want int
	}{
		{"an access token, just in time", 2*time.Hour - time.Millisecond, authPath, ok},
		{"two hours are too long", 2 * time.Hour, authPath, 42001},
		{"a refresh token, just in time", 30*day - time.Millisecond, refreshPath(s), ok},
		{"thirty days are too long", 30 * day, refreshPath(s), 42002},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				token := tokenIn(t, visit(t, s, "", tokenPathOf(s, wechat.ScopeBase, newCode(t, s, wechat.ScopeBase))).body)
				<-time.After(test.age)
				assert.Equal(t, test.want, errcodeOf(t, visit(t, s, "", test.path(token)).body))
			})
		})
	}
}

func TestRefreshRenewsOrReplaces(t *testing.T) {
	s := newServer(t)
	synctest.Test(t, func(t *testing.T) {
		token := tokenIn(t, visit(t, s, "", tokenPathOf(s, wechat.ScopeBase, newCode(t, s, wechat.ScopeBase))).body)
		<-time.After(time.Hour)
		assert.True(t, token == tokenIn(t, visit(t, s, "", refreshPath(s)(token)).body), "a valid token stays the same")
		<-time.After(90 * time.Minute)
		assert.Equal(t, 0, errcodeOf(t, visit(t, s, "", authPath(token)).body), "and lives two hours more")
		<-time.After(time.Hour)
		other := tokenIn(t, visit(t, s, "", refreshPath(s)(token)).body)
		assert.False(t, token.AccessToken == other.AccessToken, "an old one is replaced")
		assert.Equal(t, 42001, errcodeOf(t, visit(t, s, "", authPath(token)).body))
		assert.Equal(t, 0, errcodeOf(t, visit(t, s, "", authPath(other)).body))
	})
}

func TestCodeWorksOnceHoweverManyTry(t *testing.T) {
	s := newServer(t)
	path := tokenPathOf(s, wechat.ScopeBase, newCode(t, s, wechat.ScopeBase))
	var mu sync.Mutex
	var tries sync.WaitGroup
	count := map[int]int{}
	for range 50 {
		tries.Go(func() {
			code := errcodeOf(t, visit(t, s, "", path).body)
			mu.Lock()
			defer mu.Unlock()
			count[code]++
		})
	}
	tries.Wait()
	assert.Equal(t, map[int]int{0: 1, 40163: 49}, count)
}

func TestSnapshot(t *testing.T) {
	s := newServer(t)
	alice := wechattest.Person{Name: "alice"}
	signIn := func(scope wechat.Scope) wechat.Token {
		app := s.OfficialAccount
		if scope == wechat.ScopeLogin {
			app = s.Website
		}
		return exchange(t, s, app, newCode(t, s, scope))
	}

	s.Snapshots(wechattest.SnapshotFlagged)
	s.Ask(wechattest.AskAlways) // a snapshot asks nobody
	first, second := signIn(wechat.ScopeUserInfo), signIn(wechat.ScopeUserInfo)
	s.Ask(wechattest.AskNever)
	for _, token := range []wechat.Token{first, second} {
		assert.True(t, token.Snapshot)
		assert.NotEqual(t, wechattest.UnionID(alice), token.UnionID)
		profile, err := client(s).UserInfo(t.Context(), token.AccessToken, token.OpenID, "")
		require.NoError(t, err)
		assert.Equal(t, "微信用户", profile.Nickname)
		assert.NotEmpty(t, profile.AvatarURL)
		refreshed, err := client(s).Refresh(t.Context(), s.OfficialAccount.ID, token.RefreshToken)
		require.NoError(t, err)
		assert.False(t, refreshed.Snapshot, "the flag is in the first answer alone")
	}
	assert.NotEqual(t, first.OpenID, second.OpenID)
	assert.Equal(t, first.UnionID, second.UnionID)
	assert.False(t, signIn(wechat.ScopeBase).Snapshot, "a silent sign-in is none")
	assert.False(t, signIn(wechat.ScopeLogin).Snapshot, "nor is a QR code")

	s.Snapshots(wechattest.SnapshotUnflagged)
	hidden := signIn(wechat.ScopeUserInfo)
	assert.False(t, hidden.Snapshot)
	assert.NotEqual(t, wechattest.OpenID(s.OfficialAccount.ID, alice), hidden.OpenID)
	_, err := client(s).UserInfo(t.Context(), hidden.AccessToken, hidden.OpenID, "")
	var e *wechat.Error
	require.ErrorAs(t, err, &e)
	assert.Equal(t, 48001, e.Code)

	s.Snapshots(wechattest.SnapshotNone)
	assert.Equal(t, wechattest.OpenID(s.OfficialAccount.ID, alice), signIn(wechat.ScopeUserInfo).OpenID)
}

func TestPeople(t *testing.T) {
	alice, bob := wechattest.Person{Name: "alice"}, wechattest.Person{Name: "bob", Nickname: "alice"}
	ids := map[string]bool{}
	for _, id := range []string{
		wechattest.OpenID("wx1", alice), wechattest.OpenID("wx2", alice), wechattest.UnionID(alice),
		wechattest.OpenID("wx1", bob), wechattest.OpenID("wx2", bob), wechattest.UnionID(bob),
	} {
		assert.Regexp(t, `^o[A-Za-z0-9_-]{27}$`, id)
		ids[id] = true
	}
	assert.Len(t, ids, 6, "each is another one")
	alice.Nickname = "another"
	assert.True(t, ids[wechattest.OpenID("wx1", alice)], "a nickname does not matter")
	assert.True(t, ids[wechattest.UnionID(alice)])
}

// newCode signs in as whoever signs in, and returns the code.
func newCode(t *testing.T, s *wechattest.Server, scope wechat.Scope) string {
	t.Helper()
	address := s.Endpoints().AuthorizeURL(s.OfficialAccount.ID, callback, scope, state)
	if scope == wechat.ScopeLogin {
		address = s.Endpoints().QRConnectURL(s.Website.ID, callback, state, "")
	}
	return codeIn(t, visit(t, s, weChat, address).location)
}

func exchange(t *testing.T, s *wechattest.Server, app wechat.App, code string) wechat.Token {
	t.Helper()
	token, err := client(s).Exchange(t.Context(), app, code)
	require.NoError(t, err)
	return token
}

func tokenPath(appID, secret, code string) string {
	return "/sns/oauth2/access_token?appid=" + appID + "&secret=" + secret + "&code=" + code + "&grant_type=authorization_code"
}

func tokenPathOf(s *wechattest.Server, scope wechat.Scope, code string) string {
	if scope == wechat.ScopeLogin {
		return tokenPath(s.Website.ID, s.Website.Secret, code)
	}
	return tokenPath(s.OfficialAccount.ID, s.OfficialAccount.Secret, code)
}

func authPath(token wechat.Token) string {
	return "/sns/auth?access_token=" + url.QueryEscape(token.AccessToken) + "&openid=" + token.OpenID
}

func refreshPath(s *wechattest.Server) func(wechat.Token) string {
	return func(token wechat.Token) string {
		return "/sns/oauth2/refresh_token?appid=" + s.OfficialAccount.ID + "&grant_type=refresh_token&refresh_token=" + token.RefreshToken
	}
}

func errcodeOf(t *testing.T, body string) int {
	t.Helper()
	var answer struct{ Errcode int }
	assert.NoError(t, json.Unmarshal([]byte(body), &answer), body)
	return answer.Errcode
}

func tokenIn(t *testing.T, body string) wechat.Token {
	t.Helper()
	var answer struct {
		AccessToken  string `json:"access_token"`
		RefreshToken string `json:"refresh_token"`
		OpenID       string
	}
	require.NoError(t, json.Unmarshal([]byte(body), &answer), body)
	require.NotEmpty(t, answer.AccessToken, body)
	return wechat.Token{AccessToken: answer.AccessToken, RefreshToken: answer.RefreshToken, OpenID: answer.OpenID}
}
