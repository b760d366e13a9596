package wechat_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wechatgate/wechatgate/wechat"
)

var testApp = wechat.App{ID: "wx1234567890abcdef", Secret: "0f1e2d3c4b5a69788796a5b4c3d2e1f0"}

const (
	testCode    = "081AbCdEfGhIjKlMnOpQrStUvWxYz012"
	testAccess  = "ACCESS_kq7Zx0P-3vT9_wYb2mLr8Nc5"
	testRefresh = "REFRESH_h4Jd6S-1gF0_eUi3oKa7Vp2"
	testOpenID  = "oVo6Jt-3n_fZ2mQ1xYb7wKpLr8Nc"
	testUnionID = "o6_bmasdasdsad6_2sgVt7hMZOPfL"

	goodToken   = `{"access_token":"` + testAccess + `","expires_in":7200,"refresh_token":"` + testRefresh + `","openid":"` + testOpenID + `","scope":"snsapi_base"}`
	goodProfile = `{"openid":"` + testOpenID + `","nickname":"小明","sex":1,"province":"广东","city":"深圳","country":"中国","headimgurl":"https://thirdwx.qlogo.cn/mmopen/x/132","privilege":[]}`
)

// clientOf returns a client whose calls reach handler over real HTTP.
func clientOf(t *testing.T, handler http.HandlerFunc) wechat.Client {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return wechat.Client{Endpoints: wechat.Endpoints{API: server.URL}}
}

// clientThatHears returns a client to which WeChat answers body, labelled as
// WeChat labels it.
func clientThatHears(t *testing.T, body string) wechat.Client {
	t.Helper()
	return clientOf(t, func(w http.ResponseWriter, _ *http.Request) { answer(w, body) })
}

func answer(w http.ResponseWriter, body string) {
	w.Header().Set("Content-Type", "text/plain")
	_, _ = io.WriteString(w, body)
}

// calls are all the calls of a Client, for properties that each must have.
var calls = []struct {
	op   string
	make func(*testing.T, wechat.Client) error
}{
	{wechat.OpExchange, func(t *testing.T, c wechat.Client) error {
		_, err := c.Exchange(t.Context(), testApp, testCode)
		return err
	}},
	{wechat.OpRefresh, func(t *testing.T, c wechat.Client) error {
		_, err := c.Refresh(t.Context(), testApp.ID, testRefresh)
		return err
	}},
	{wechat.OpUserInfo, func(t *testing.T, c wechat.Client) error {
		_, err := c.UserInfo(t.Context(), testAccess, testOpenID, "")
		return err
	}},
	{wechat.OpCheckToken, func(t *testing.T, c wechat.Client) error {
		_, err := c.CheckToken(t.Context(), testAccess, testOpenID)
		return err
	}},
}

// The request lines are written out by hand from WeChat's documents.
func TestCallsAreSentAsDocumented(t *testing.T) {
	for _, tt := range []struct {
		name string
		call func(*testing.T, wechat.Client)
		want string
	}{
		{
			name: "exchange",
			call: func(t *testing.T, c wechat.Client) {
				_, _ = c.Exchange(t.Context(), wechat.App{ID: "wx1", Secret: "s3cret"}, "c0de")
			},
			want: "/sns/oauth2/access_token?appid=wx1&secret=s3cret&code=c0de&grant_type=authorization_code",
		},
		{
			name: "a code of a visitor's making adds no parameter",
			call: func(t *testing.T, c wechat.Client) {
				_, _ = c.Exchange(t.Context(), wechat.App{ID: "wx1", Secret: "s"}, "a&appid=wx2#b c%00+/")
			},
			want: "/sns/oauth2/access_token?appid=wx1&secret=s&code=a%26appid%3Dwx2%23b%20c%2500%2B%2F&grant_type=authorization_code",
		},
		{
			name: "refresh",
			call: func(t *testing.T, c wechat.Client) { _, _ = c.Refresh(t.Context(), "wx1", "r3fresh") },
			want: "/sns/oauth2/refresh_token?appid=wx1&grant_type=refresh_token&refresh_token=r3fresh",
		},
		{
			name: "user info, in simplified Chinese unless told",
			call: func(t *testing.T, c wechat.Client) { _, _ = c.UserInfo(t.Context(), "t0ken", "o1", "") },
			want: "/sns/userinfo?access_token=t0ken&openid=o1&lang=zh_CN",
		},
		{
			name: "user info in English",
			call: func(t *testing.T, c wechat.Client) { _, _ = c.UserInfo(t.Context(), "t0ken", "o1", "en") },
			want: "/sns/userinfo?access_token=t0ken&openid=o1&lang=en",
		},
		{
			name: "check",
			call: func(t *testing.T, c wechat.Client) { _, _ = c.CheckToken(t.Context(), "t0ken", "o1") },
			want: "/sns/auth?access_token=t0ken&openid=o1",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			tt.call(t, clientOf(t, func(_ http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				got = append(got, r.Method+" "+r.RequestURI+string(body))
				assert.Empty(t, r.Header.Values("Referer"))
				assert.Empty(t, r.Cookies())
			}))
			assert.Equal(t, []string{"GET " + tt.want}, got)
		})
	}
}

func TestTokenAnswers(t *testing.T) {
	base := wechat.Token{
		AccessToken: testAccess, RefreshToken: testRefresh, OpenID: testOpenID,
		Scope: wechat.ScopeBase, ExpiresIn: 2 * time.Hour,
	}
	with := func(change func(*wechat.Token)) wechat.Token {
		token := base
		change(&token)
		return token
	}
	for _, tt := range []struct {
		name string
		body string
		want wechat.Token
	}{
		{"of a silent sign-in", goodToken, base},
		{
			"with a unionid and two scopes",
			`{"access_token":"` + testAccess + `","expires_in":7200,"refresh_token":"` + testRefresh + `","openid":"` + testOpenID + `","scope":"snsapi_base,snsapi_userinfo","unionid":"` + testUnionID + `"}`,
			with(func(t *wechat.Token) { t.UnionID, t.Scope = testUnionID, "snsapi_base,snsapi_userinfo" }),
		},
		{
			"in another order, spread over lines, with a field nobody knows",
			"\r\n{\n\t\"scope\" : \"snsapi_base\" , \"openid\":\"" + testOpenID + "\",\"new\":{\"openid\":[1,null]}, \"refresh_token\":\"" + testRefresh + "\",\"expires_in\":7200,\n\"access_token\":\"" + testAccess + "\"\n}\n",
			base,
		},
		{
			"without refresh token, scope and lifetime, which nobody's identity hangs on",
			`{"access_token":"` + testAccess + `","openid":"` + testOpenID + `","unionid":""}`,
			wechat.Token{AccessToken: testAccess, OpenID: testOpenID},
		},
		{
			"with the longest openid",
			`{"access_token":"x","openid":"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"}`,
			wechat.Token{AccessToken: "x", OpenID: "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"},
		},
		{
			"with an openid in other letters beside the real one",
			`{"OpenID":"oSomebodyElse","access_token":"x","openid":"oMe","OPENID":"oSomebodyElse"}`,
			wechat.Token{AccessToken: "x", OpenID: "oMe"},
		},
		{
			"with an openid inside another field",
			`{"a":{"openid":"oSomebodyElse"},"access_token":"x","openid":"oMe"}`,
			wechat.Token{AccessToken: "x", OpenID: "oMe"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			token, err := clientThatHears(t, tt.body).Exchange(t.Context(), testApp, testCode)
			require.NoError(t, err)
			assertSame(t, tt.want, token)

			token, err = clientThatHears(t, tt.body).Refresh(t.Context(), testApp.ID, testRefresh)
			require.NoError(t, err)
			assertSame(t, tt.want, token)
		})
	}
}

// assertSame compares fields one by one, because a Token prints without its
// tokens.
func assertSame(t *testing.T, want, got wechat.Token) {
	t.Helper()
	assert.Equal(t, want.AccessToken, got.AccessToken, "access token")
	assert.Equal(t, want.RefreshToken, got.RefreshToken, "refresh token")
	assert.Equal(t, want, got)
}

// A snapshot account must not slip through because WeChat writes its mark
// another way.
func TestSnapshotFlag(t *testing.T) {
	for value, want := range map[string]bool{
		`1`: true, `true`: true, `"1"`: true, `"true"`: true, `null`: true, `2`: true, `-1`: true,
		`1.0`: true, `"0"`: true, `""`: true, `[]`: true, `{}`: true,
		`0`: false, `false`: false,
	} {
		t.Run(value, func(t *testing.T) {
			token, err := clientThatHears(t, `{"access_token":"x","openid":"oMe","is_snapshotuser": `+value+` }`).
				Exchange(t.Context(), testApp, testCode)
			require.NoError(t, err)
			assert.Equal(t, want, token.Snapshot)
		})
	}
}

func TestProfileAnswers(t *testing.T) {
	base := wechat.Profile{
		OpenID: testOpenID, Nickname: "小明", AvatarURL: "https://thirdwx.qlogo.cn/mmopen/x/132",
		Sex: 1, Province: "广东", City: "深圳", Country: "中国", Privilege: []string{},
	}
	with := func(change func(*wechat.Profile)) wechat.Profile {
		profile := base
		change(&profile)
		return profile
	}
	// body returns goodProfile with one field replaced.
	body := func(nickname, sex, headimgurl string) string {
		return `{"openid":"` + testOpenID + `","nickname":"` + nickname + `","sex":` + sex + `,"province":"广东","city":"深圳","country":"中国","headimgurl":"` + headimgurl + `","privilege":[]}`
	}
	const avatar = "https://thirdwx.qlogo.cn/mmopen/x/132"
	for _, tt := range []struct {
		name string
		body string
		want wechat.Profile
	}{
		{"as documented", goodProfile, base},
		{
			"with unionid and privileges",
			`{"openid":"` + testOpenID + `","unionid":"` + testUnionID + `","privilege":["PRIVILEGE1","PRIVILEGE2"]}`,
			wechat.Profile{OpenID: testOpenID, UnionID: testUnionID, Privilege: []string{"PRIVILEGE1", "PRIVILEGE2"}},
		},
		{"with nothing but an openid", `{"openid":"` + testOpenID + `"}`, wechat.Profile{OpenID: testOpenID}},
		{"sex as a string, as in old answers", body("小明", `"1"`, avatar), base},
		{"sex unknown", body("小明", `0`, avatar), with(func(p *wechat.Profile) { p.Sex = 0 })},
		{"picture by http with escaped slashes", body("小明", `1`, `http:\/\/thirdwx.qlogo.cn\/mmopen\/x\/132`), base},
		{"no picture", body("小明", `1`, ""), with(func(p *wechat.Profile) { p.AvatarURL = "" })},
		{"picture of another host by http is left alone", body("小明", `1`, "http://img.example.com/x"), with(func(p *wechat.Profile) { p.AvatarURL = "http://img.example.com/x" })},
		{"picture of a host that ends alike is left alone", body("小明", `1`, "http://evilqlogo.cn/x"), with(func(p *wechat.Profile) { p.AvatarURL = "http://evilqlogo.cn/x" })},
		{"picture that is a script", body("小明", `1`, "javascript:alert(1)"), with(func(p *wechat.Profile) { p.AvatarURL = "" })},
		{"picture that is a data URL", body("小明", `1`, "data:image/svg+xml,<svg/>"), with(func(p *wechat.Profile) { p.AvatarURL = "" })},
		{"picture without scheme", body("小明", `1`, "//thirdwx.qlogo.cn/x"), with(func(p *wechat.Profile) { p.AvatarURL = "" })},
		{"nickname with raw control characters", body("a\x00b\x01\n\t\x1fc\x7f", `1`, avatar), with(func(p *wechat.Profile) { p.Nickname = "a b    c\x7f" })},
		{"nickname with emoji, raw and escaped", body(`🐼👨‍👩‍👧\ud83d\ude00`, `1`, avatar), with(func(p *wechat.Profile) { p.Nickname = "🐼👨‍👩‍👧😀" })},
		{"nickname with half an emoji", body(`x\ud83dy`, `1`, avatar), with(func(p *wechat.Profile) { p.Nickname = "x\ufffdy" })},
		{"nickname in invalid UTF-8", body("x\xff\xc3(y", `1`, avatar), with(func(p *wechat.Profile) { p.Nickname = "x\ufffd\ufffd(y" })},
		{"nickname of markup", body(`<script>\"&'`, `1`, avatar), with(func(p *wechat.Profile) { p.Nickname = `<script>"&'` })},
		{"nickname that is an escaped NUL", body(`\u0000`, `1`, avatar), with(func(p *wechat.Profile) { p.Nickname = "\x00" })},
	} {
		t.Run(tt.name, func(t *testing.T) {
			profile, err := clientThatHears(t, tt.body).UserInfo(t.Context(), testAccess, testOpenID, "")
			require.NoError(t, err)
			assert.Equal(t, tt.want, profile)
		})
	}
}

func TestCheckTokenAnswers(t *testing.T) {
	for _, tt := range []struct {
		name    string
		body    string
		valid   bool
		wantErr string // what the error says, if there is one
	}{
		{"valid", `{"errcode":0,"errmsg":"ok"}`, true, ""},
		{"invalid credential", `{"errcode":40001,"errmsg":"x"}`, false, ""},
		{"invalid openid", `{"errcode":40003,"errmsg":"invalid openid"}`, false, ""},
		{"invalid token", `{"errcode":40014,"errmsg":"x"}`, false, ""},
		{"expired token", `{"errcode":42001,"errmsg":"x"}`, false, ""},
		{"busy is not invalid", `{"errcode":-1,"errmsg":"system error"}`, false, "errcode -1"},
		{"throttled is not invalid", `{"errcode":45011,"errmsg":"x"}`, false, "errcode 45011"},
		{"an unknown errcode is not invalid", `{"errcode":49999,"errmsg":"x"}`, false, "errcode 49999"},
		{"no errcode", `{"errmsg":"ok"}`, false, "without errcode"},
		{"an empty object", `{}`, false, "without errcode"},
		{"nothing", ``, false, "no JSON object"},
		{"errcode as a string", `{"errcode":"0","errmsg":"ok"}`, false, "errcode"},
		{"errcode null", `{"errcode":null,"errmsg":"ok"}`, false, "errcode"},
		{"two errcodes", `{"errcode":40001,"errcode":0}`, false, "twice"},
		{"errcode in capitals", `{"ERRCODE":0}`, false, "without errcode"},
		{"a token answer", goodToken, false, "without errcode"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			valid, err := clientThatHears(t, tt.body).CheckToken(t.Context(), testAccess, testOpenID)
			assert.Equal(t, tt.valid, valid)
			if tt.wantErr == "" {
				require.NoError(t, err)
				return
			}
			assert.ErrorContains(t, err, tt.wantErr)
		})
	}
}
