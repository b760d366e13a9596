package wechattest_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wechatgate/wechatgate/wechat"
	"github.com/wechatgate/wechatgate/wechat/account"
	"github.com/wechatgate/wechatgate/wechattest"
)

func TestErrorsOfTheAccount(t *testing.T) {
	s := newServer(t)
	alice := wechattest.Person{Name: "alice"}
	s.Follow(alice)
	official := s.OfficialAccount
	visitor := exchange(t, s, official, newCode(t, s, wechat.ScopeBase))
	token := accountTokenOf(t, s)
	good := stableBody(s)
	const stable, legacy, batch = "/cgi-bin/stable_token", "/cgi-bin/token?grant_type=client_credential&appid=", "/cgi-bin/user/info/batchget?access_token="
	people := func(n int) string {
		one := `{"openid":"` + wechattest.OpenID(official.ID, alice) + `"}`
		return `{"user_list":[` + strings.TrimSuffix(strings.Repeat(one+",", n), ",") + `]}`
	}
	for _, test := range []struct {
		name       string
		path, body string // GET without a body
		want       int
	}{
		{"stable_token", stable, good, 0},
		{"stable_token: GET", stable + "?grant_type=client_credential&appid=" + official.ID + "&secret=" + official.Secret, "", 43002},
		{"stable_token: a form", stable, "grant_type=client_credential&appid=" + official.ID + "&secret=" + official.Secret, 41002},
		{"stable_token: no appid", stable, strings.Replace(good, official.ID, "", 1), 41002},
		{"stable_token: no secret", stable, strings.Replace(good, official.Secret, "", 1), 41004},
		{"stable_token: another grant_type", stable, strings.Replace(good, "client_credential", "authorization_code", 1), 40002},
		{"stable_token: nobody's appid", stable, strings.Replace(good, official.ID, "wx0000000000000000", 1), 40013},
		{"stable_token: a website app has none", stable, strings.Replace(good, official.ID, s.Website.ID, 1), 40013},
		{"stable_token: the wrong secret", stable, strings.Replace(good, official.Secret, s.Website.Secret, 1), 40125},
		{"token: POST", legacy + official.ID + "&secret=" + official.Secret, "{}", 43001},
		{"token: a website app has none", legacy + s.Website.ID + "&secret=" + s.Website.Secret, "", 40013},
		{"token: the wrong secret", legacy + official.ID + "&secret=" + s.Website.Secret, "", 40125},

		{"user/info: no token", userPath(s, "", alice), "", 41001},
		{"user/info: nonsense", userPath(s, "nonsense", alice), "", 40014},
		{"user/info: a visitor's token", userPath(s, visitor.AccessToken, alice), "", 40001},
		{"user/info: no openid", "/cgi-bin/user/info?access_token=" + token, "", 41009},
		{"user/info: an openid of the other app", "/cgi-bin/user/info?access_token=" + token + "&openid=" + wechattest.OpenID(s.Website.ID, alice), "", 40003},
		{"user/info: POST", userPath(s, token, alice), "{}", 43001},
		{"batchget", batch + token, people(100), 0},
		{"batchget: GET", batch + token, "", 43002},
		{"batchget: nonsense", batch + "nonsense", people(1), 40014},
		{"batchget: no JSON", batch + token, "user_list=x", 47001},
		{"batchget: too many", batch + token, people(101), 40032},
		{"batchget: nobody", batch + token, `{"user_list":[]}`, 40032},
		{"batchget: somebody whom the account does not know", batch + token, `{"user_list":[{"openid":"o"}]}`, 40003},
		{"getticket", ticketPath(token), "", 0},
		{"getticket: nonsense", ticketPath("nonsense"), "", 40014},
		{"getticket: no type", strings.TrimSuffix(ticketPath(token), "&type=jsapi"), "", 40097},
		{"sns: the account's token", "/sns/userinfo?access_token=" + token + "&openid=" + visitor.OpenID, "", 40001},
	} {
		t.Run(test.name, func(t *testing.T) {
			body := visit(t, s, "", test.path).body
			if test.body != "" {
				body = post(t, s, test.path, test.body)
			}
			assert.Equal(t, test.want, errcodeOf(t, body))
			if test.want != 0 {
				assert.Regexp(t, `, rid: [0-9a-f]{8}-[0-9a-f]{8}-[0-9a-f]{8}"\}$`, body)
			}
		})
	}
}

func TestLifeOfAStableToken(t *testing.T) {
	s := newServer(t) // outside of the bubbles, as it listens
	alice := wechattest.Person{Name: "alice"}
	s.Follow(alice)
	works := func(t *testing.T, token string) int {
		t.Helper()
		return errcodeOf(t, visit(t, s, "", userPath(s, token, alice)).body)
	}
	ask := func(t *testing.T, body string) (token string, lives int) {
		t.Helper()
		var answer struct {
			AccessToken string `json:"access_token"`
			ExpiresIn   int    `json:"expires_in"`
		}
		require.NoError(t, json.Unmarshal([]byte(post(t, s, "/cgi-bin/stable_token", body)), &answer))
		return answer.AccessToken, answer.ExpiresIn
	}
	synctest.Test(t, func(t *testing.T) {
		first, lives := ask(t, stableBody(s))
		assert.Len(t, first, 512)
		assert.Equal(t, 7200, lives)
		<-time.After(6900 * time.Second)
		same, lives := ask(t, stableBody(s))
		assert.True(t, first == same, "the same for everybody who asks")
		assert.Equal(t, 300, lives, "with the time that is left")
		<-time.After(time.Second)
		second, lives := ask(t, stableBody(s))
		assert.False(t, first == second, "renewed in the last five minutes")
		assert.Equal(t, 7200, lives)
		assert.Equal(t, []int{0, 0}, []int{works(t, first), works(t, second)}, "both are good meanwhile")
		<-time.After(299 * time.Second)
		assert.Equal(t, []int{42001, 0}, []int{works(t, first), works(t, second)})
	})
	force := strings.Replace(stableBody(s), "{", `{"force_refresh":true,`, 1)
	synctest.Test(t, func(t *testing.T) {
		first, _ := ask(t, stableBody(s))
		second, _ := ask(t, force)
		assert.Equal(t, []int{40001, 0}, []int{works(t, first), works(t, second)}, "not the latest any more")
		third, _ := ask(t, force)
		assert.True(t, second == third, "30 seconds apart, or nothing is refreshed")
		for range 19 {
			<-time.After(30 * time.Second)
			other, _ := ask(t, force)
			assert.False(t, second == other)
			second = other
		}
		<-time.After(30 * time.Second)
		assert.Equal(t, 45009, errcodeOf(t, post(t, s, "/cgi-bin/stable_token", force)), "20 a day")
		last, _ := ask(t, stableBody(s))
		assert.True(t, second == last)
		<-time.After(24 * time.Hour)
		assert.Equal(t, 0, errcodeOf(t, post(t, s, "/cgi-bin/stable_token", force)))
	})
}

func TestTokenEndsItsPredecessorAndNoStableOne(t *testing.T) {
	s := newServer(t)
	alice := wechattest.Person{Name: "alice"}
	s.Follow(alice)
	stable := accountTokenOf(t, s)
	legacy := func() string {
		return accountTokenIn(t, visit(t, s, "", "/cgi-bin/token?grant_type=client_credential&appid="+s.OfficialAccount.ID+"&secret="+s.OfficialAccount.Secret).body)
	}
	first, second := legacy(), legacy()
	for token, want := range map[string]int{stable: 0, first: 40001, second: 0} {
		assert.Equal(t, want, errcodeOf(t, visit(t, s, "", userPath(s, token, alice)).body))
	}
	assert.Len(t, s.Calls(wechattest.OpAccountToken), 2)
	post(t, s, "/cgi-bin/stable_token", strings.Replace(stableBody(s), "{", `{"force_refresh":true,`, 1))
	for token, want := range map[string]int{stable: 40001, second: 0} {
		assert.Equal(t, want, errcodeOf(t, visit(t, s, "", userPath(s, token, alice)).body), "force ends the stable one alone")
	}
}

func TestAllowIPs(t *testing.T) {
	s := newServer(t)
	token := func(remote string) string {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/cgi-bin/stable_token", strings.NewReader(stableBody(s)))
		r.RemoteAddr = remote
		return serve(t, s, r).body
	}
	s.AllowIPs("192.0.2.1", "2001:db8::1")
	assert.Equal(t, 0, errcodeOf(t, token("192.0.2.1:1234")))
	assert.Equal(t, 0, errcodeOf(t, token("[2001:db8::1]:1234")))
	assert.Regexp(t, `^\{"errcode":40164,"errmsg":"invalid ip 192.0.2.2 ipv6 ::ffff:192.0.2.2, not in whitelist, rid: `, token("192.0.2.2:1234"))
	legacy := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/cgi-bin/token?grant_type=client_credential&appid="+s.OfficialAccount.ID+"&secret="+s.OfficialAccount.Secret, nil)
	legacy.RemoteAddr = "192.0.2.2:1234"
	assert.Equal(t, 40164, errcodeOf(t, serve(t, s, legacy).body))
	exchange(t, s, s.OfficialAccount, newCode(t, s, wechat.ScopeBase)) // the list is for the account's token alone
	s.AllowIPs()
	assert.Equal(t, 0, errcodeOf(t, token("192.0.2.2:1234")))
}

func TestFollowers(t *testing.T) {
	s := newServer(t)
	alice, bob := wechattest.Person{Name: "alice", Nickname: "nickname"}, wechattest.Person{Name: "bob", Nickname: "nickname"}
	synctest.Test(t, func(t *testing.T) {
		token := accountTokenOf(t, s)
		info := func(p wechattest.Person) string { return visit(t, s, "", userPath(s, token, p)).body }
		s.SignInAs(alice)
		newCode(t, s, wechat.ScopeBase)
		s.Follow(bob)
		idOf := func(p wechattest.Person) string { return wechattest.OpenID(s.OfficialAccount.ID, p) }
		aboutAlice := `{"subscribe":0,"openid":"` + idOf(alice) + `"}`
		aboutBob := `{"subscribe":1,"openid":"` + idOf(bob) + `","language":"zh_CN","subscribe_time":946684800,"unionid":"` + wechattest.UnionID(bob) + `","subscribe_scene":"ADD_SCENE_QR_CODE"}`
		assert.Equal(t, aboutAlice, info(alice), "no follower, no unionid")
		assert.Equal(t, aboutBob, info(bob))
		both := `{"user_list":[{"openid":"` + idOf(bob) + `","lang":"zh_CN"},{"openid":"` + idOf(alice) + `"}]}`
		assert.Equal(t, `{"user_info_list":[`+aboutBob+`,`+aboutAlice+`]}`, post(t, s, "/cgi-bin/user/info/batchget?access_token="+token, both))
		s.Unfollow(bob)
		assert.Equal(t, `{"subscribe":0,"openid":"`+idOf(bob)+`"}`, info(bob))
		s.Behave(wechattest.BareNonFollowers)
		assert.Equal(t, `{"subscribe":0}`, info(bob))
	})
}

func TestTicket(t *testing.T) {
	s := newServer(t)
	synctest.Test(t, func(t *testing.T) {
		var answer struct {
			Errcode   *int
			Errmsg    string
			Ticket    string
			ExpiresIn int `json:"expires_in"`
		}
		ask := func() string {
			require.NoError(t, json.Unmarshal([]byte(visit(t, s, "", ticketPath(accountTokenOf(t, s))).body), &answer))
			require.NotNil(t, answer.Errcode)
			assert.Equal(t, 0, *answer.Errcode)
			assert.Equal(t, "ok", answer.Errmsg)
			assert.Equal(t, 7200, answer.ExpiresIn, "whatever is left")
			return answer.Ticket
		}
		first := ask()
		<-time.After(2*time.Hour - time.Second)
		assert.True(t, first == ask())
		<-time.After(time.Second)
		assert.False(t, first == ask())
	})
}

func TestVerifyJSConfig(t *testing.T) {
	s := newServer(t)
	s.RegisterJS("shop.example.com")
	const page = "https://shop.example.com/cart?a=%2F&b"
	good, err := account.New(s.OfficialAccount, client(s)).JSConfig(t.Context(), page)
	require.NoError(t, err)
	for _, test := range []struct {
		name   string
		page   string
		change func(*account.JSConfig)
		want   error
	}{
		{"what package account signs", page, func(*account.JSConfig) {}, nil},
		{"a fragment does not count", page + "#/top", func(*account.JSConfig) {}, nil},
		{"another path", page + "c", func(*account.JSConfig) {}, wechattest.ErrSignature},
		{"the same address, spelt otherwise", strings.Replace(page, "%2F", "%2f", 1), func(*account.JSConfig) {}, wechattest.ErrSignature},
		{"another host", "https://www.shop.example.com/", func(*account.JSConfig) {}, wechattest.ErrURLDomain},
		{"a port", "https://shop.example.com:8443/", func(*account.JSConfig) {}, wechattest.ErrURLDomain},
		{"another app", page, func(c *account.JSConfig) { c.AppID = s.Website.ID }, wechattest.ErrSignature},
		{"another nonce", page, func(c *account.JSConfig) { c.NonceStr += "x" }, wechattest.ErrSignature},
		{"another time", page, func(c *account.JSConfig) { c.Timestamp++ }, wechattest.ErrSignature},
		{"an upper-case signature", page, func(c *account.JSConfig) { c.Signature = strings.ToUpper(c.Signature) }, wechattest.ErrSignature},
		{"nothing", page, func(c *account.JSConfig) { *c = account.JSConfig{} }, wechattest.ErrSignature},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := good
			test.change(&c)
			assert.ErrorIs(t, s.VerifyJSConfig(test.page, c), test.want)
		})
	}
}

func TestSignaturesEndWithTheirTicket(t *testing.T) {
	s := newServer(t)
	s.RegisterJS("shop.example.com")
	synctest.Test(t, func(t *testing.T) {
		const page = "https://shop.example.com/"
		var answer struct{ Ticket string }
		require.NoError(t, json.Unmarshal([]byte(visit(t, s, "", ticketPath(accountTokenOf(t, s))).body), &answer))
		c := account.JSConfig{AppID: s.OfficialAccount.ID, Timestamp: 1, NonceStr: "n", Signature: account.SignJS(answer.Ticket, "n", 1, page)}
		<-time.After(2*time.Hour - time.Second)
		assert.NoError(t, s.VerifyJSConfig(page, c))
		<-time.After(time.Second)
		assert.ErrorIs(t, s.VerifyJSConfig(page, c), wechattest.ErrSignature)
	})
}

func post(t *testing.T, s *wechattest.Server, path, body string) string {
	t.Helper()
	return serve(t, s, httptest.NewRequestWithContext(t.Context(), http.MethodPost, path, strings.NewReader(body))).body
}

func stableBody(s *wechattest.Server) string {
	return `{"grant_type":"client_credential","appid":"` + s.OfficialAccount.ID + `","secret":"` + s.OfficialAccount.Secret + `"}`
}

func accountTokenOf(t *testing.T, s *wechattest.Server) string {
	t.Helper()
	return accountTokenIn(t, post(t, s, "/cgi-bin/stable_token", stableBody(s)))
}

func accountTokenIn(t *testing.T, body string) string {
	t.Helper()
	var answer struct {
		AccessToken string `json:"access_token"`
	}
	require.NoError(t, json.Unmarshal([]byte(body), &answer), body)
	require.NotEmpty(t, answer.AccessToken, body)
	return answer.AccessToken
}

func userPath(s *wechattest.Server, token string, p wechattest.Person) string {
	return "/cgi-bin/user/info?lang=zh_CN&access_token=" + token + "&openid=" + wechattest.OpenID(s.OfficialAccount.ID, p)
}

func ticketPath(token string) string {
	return "/cgi-bin/ticket/getticket?access_token=" + token + "&type=jsapi"
}
