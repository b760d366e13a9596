package wechat_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wechatgate/wechatgate/wechat"
)

// A person's identity hangs on these answers: in doubt there is none.
func TestTokenAnswersThatNameNobody(t *testing.T) {
	for _, tt := range []struct {
		name string
		body string
	}{
		{"nothing", ``},
		{"spaces", " \n "},
		{"an empty object", `{}`},
		{"null", `null`},
		{"a list", `[]`},
		{"a list around the answer", `[` + goodToken + `]`},
		{"a string", `"openid"`},
		{"a number", `1`},
		{"a page", `<html><body>` + goodToken + `</body></html>`},
		{"a query string", `access_token=x&openid=oMe`},
		{"a function call", `callback(` + goodToken + `);`},
		{"a byte order mark", "\ufeff" + goodToken},
		{"a NUL byte before", "\x00" + goodToken},
		{"UTF-16", "{\x00\"\x00}\x00"},
		{"half an answer", goodToken[:len(goodToken)/2]},
		{"an answer without its last byte", goodToken[:len(goodToken)-1]},
		{"rubbish behind", goodToken + `x`},
		{"a brace behind", goodToken + `}`},
		{"a NUL byte behind", goodToken + "\x00"},
		{"a second answer behind", goodToken + goodToken},
		{"a second answer on the next line", goodToken + "\n{}"},
		{"a comma at the end", `{"access_token":"x","openid":"oMe",}`},
		{"no comma between", `{"access_token":"x" "openid":"oMe"}`},
		{"no colon", `{"access_token":"x","openid" "oMe"}`},
		{"a bracket in place of the brace", `{"access_token":"x","openid":"oMe"]`},
		{"a name without quotes", `{"access_token":"x",openid:"oMe"}`},
		{"single quotes", `{'access_token':'x','openid':'oMe'}`},
		{"a comment", `{"access_token":"x","openid":"oMe"/**/}`},
		{"a raw control character in a string", "{\"access_token\":\"x\ny\",\"openid\":\"oMe\"}"},

		{"no openid", `{"access_token":"x"}`},
		{"no openid, but errcode 0", `{"errcode":0,"errmsg":"ok"}`},
		{"openid empty", `{"access_token":"x","openid":""}`},
		{"openid null", `{"access_token":"x","openid":null}`},
		{"openid a number", `{"access_token":"x","openid":12345}`},
		{"openid true", `{"access_token":"x","openid":true}`},
		{"openid a list", `{"access_token":"x","openid":["oMe"]}`},
		{"openid an object", `{"access_token":"x","openid":{"value":"oMe"}}`},
		{"openid of 65 characters", `{"access_token":"x","openid":"` + strings.Repeat("o", 65) + `"}`},
		{"openid with a newline at its end", `{"access_token":"x","openid":"oMe\n"}`},
		{"openid with a space", `{"access_token":"x","openid":"o Me"}`},
		{"openid with a colon, which parts the key of a user", `{"access_token":"x","openid":"wx2:oMe"}`},
		{"openid with a slash", `{"access_token":"x","openid":"../oMe"}`},
		{"openid with a NUL", `{"access_token":"x","openid":"oMe\u0000"}`},
		{"openid with markup", `{"access_token":"x","openid":"<b>"}`},
		{"openid with a letter that looks alike", `{"access_token":"x","openid":"οMe"}`},
		{"openid in invalid UTF-8", "{\"access_token\":\"x\",\"openid\":\"o\xff\"}"},
		{"openid in capitals only", `{"access_token":"x","OPENID":"oMe"}`},
		{"OpenID", `{"access_token":"x","OpenID":"oMe"}`},
		{"openId", `{"access_token":"x","openId":"oMe"}`},
		{"access token with a long s in its name, which encoding/json takes for an s", `{"acce\u017fs_token":"x","openid":"oMe"}`},
		{"openid inside another object only", `{"access_token":"x","data":{"openid":"oMe"}}`},

		{"two openids", `{"access_token":"x","openid":"oMe","openid":"oYou"}`},
		{"the same openid twice", `{"access_token":"x","openid":"oMe","openid":"oMe"}`},
		{"two openids, one of them escaped", `{"access_token":"x","openid":"oMe","open\u0069d":"oYou"}`},
		{"two access tokens", `{"access_token":"x","openid":"oMe","access_token":"y"}`},
		{"two unionids", `{"access_token":"x","openid":"oMe","unionid":"a","unionid":"b"}`},
		{"two snapshot flags", `{"access_token":"x","openid":"oMe","is_snapshotuser":1,"is_snapshotuser":0}`},
		{"a field twice that nobody reads", `{"access_token":"x","openid":"oMe","y":1,"y":1}`},

		{"errcode beside the openid", `{"errcode":40029,"errmsg":"invalid code","access_token":"x","openid":"oMe"}`},
		{"errcode 0 beside the openid", `{"errcode":0,"errmsg":"ok","access_token":"x","openid":"oMe"}`},
		{"errcode behind the openid", `{"access_token":"x","openid":"oMe","errcode":0}`},
		{"errcode as a string", `{"errcode":"40029","errmsg":"invalid code"}`},
		{"errcode as a string beside the openid", `{"errcode":"0","access_token":"x","openid":"oMe"}`},
		{"errcode null beside the openid", `{"errcode":null,"access_token":"x","openid":"oMe"}`},
		{"errcode with a fraction", `{"errcode":40029.5}`},
		{"errcode beyond all integers", `{"errcode":99999999999999999999}`},
		{"errcode true", `{"errcode":true}`},
		{"two errcodes", `{"errcode":40029,"errcode":0}`},

		{"no access token", `{"openid":"oMe"}`},
		{"access token empty", `{"access_token":"","openid":"oMe"}`},
		{"access token null", `{"access_token":null,"openid":"oMe"}`},
		{"access token a number", `{"access_token":1,"openid":"oMe"}`},
		{"refresh token a number", `{"access_token":"x","openid":"oMe","refresh_token":1}`},
		{"scope a list", `{"access_token":"x","openid":"oMe","scope":["snsapi_base"]}`},
		{"unionid a number", `{"access_token":"x","openid":"oMe","unionid":1}`},
		{"unionid null", `{"access_token":"x","openid":"oMe","unionid":null}`},
		{"unionid with a space", `{"access_token":"x","openid":"oMe","unionid":"a b"}`},
		{"unionid of 65 characters", `{"access_token":"x","openid":"oMe","unionid":"` + strings.Repeat("o", 65) + `"}`},
		{"lifetime a string", `{"access_token":"x","openid":"oMe","expires_in":"7200"}`},
		{"lifetime with a fraction", `{"access_token":"x","openid":"oMe","expires_in":7200.5}`},
		{"lifetime null", `{"access_token":"x","openid":"oMe","expires_in":null}`},
		{"lifetime below zero", `{"access_token":"x","openid":"oMe","expires_in":-1}`},
		{"lifetime that a time.Duration cannot hold", `{"access_token":"x","openid":"oMe","expires_in":9300000000}`},

		{"nested deep", strings.Repeat(`{"openid":`, 100_000)},
		{"a list nested deep", `{"access_token":"x","openid":` + strings.Repeat(`[`, 100_000)},
		{"a whole answer nested deep", `{"access_token":"x","openid":"oMe","y":` + strings.Repeat(`[`, 20_000) + strings.Repeat(`]`, 20_000) + `}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			client := clientThatHears(t, tt.body)

			token, err := client.Exchange(t.Context(), testApp, testCode)
			assertRefused(t, err, wechat.OpExchange)
			assert.Zero(t, token)

			token, err = client.Refresh(t.Context(), testApp.ID, testRefresh)
			assertRefused(t, err, wechat.OpRefresh)
			assert.Zero(t, token)
		})
	}
}

func TestProfileAnswersOfNobodyOrSomebodyElse(t *testing.T) {
	const me = `"openid":"` + testOpenID + `"`
	for _, tt := range []struct {
		name string
		body string
	}{
		{"nothing", ``},
		{"an empty object", `{}`},
		{"null", `null`},
		{"a list", `[` + goodProfile + `]`},
		{"a byte order mark", "\ufeff" + goodProfile},
		{"rubbish behind", goodProfile + `x`},
		{"a second answer behind", goodProfile + goodProfile},
		{"another person's openid", `{"openid":"oSomebodyElse","nickname":"x"}`},
		{"the openid in other letters", `{"openid":"` + strings.ToLower(testOpenID) + `"}`},
		{"the openid with a raw newline", "{\"openid\":\"" + testOpenID + "\n\"}"},
		{"the openid and more", `{"openid":"` + testOpenID + `x"}`},
		{"no openid", `{"nickname":"x"}`},
		{"openid empty", `{"openid":"","nickname":"x"}`},
		{"openid null", `{"openid":null,"nickname":"x"}`},
		{"openid a number", `{"openid":1,"nickname":"x"}`},
		{"openid in capitals only", `{"OPENID":"` + testOpenID + `"}`},
		{"two openids", `{` + me + `,"openid":"oSomebodyElse"}`},
		{"two unionids", `{` + me + `,"unionid":"a","unionid":"b"}`},
		{"two nicknames", `{` + me + `,"nickname":"a","nickname":"b"}`},
		{"errcode beside the openid", `{"errcode":48001,` + me + `}`},
		{"errcode 0 beside the openid", `{"errcode":0,` + me + `}`},
		{"unionid a number", `{` + me + `,"unionid":1}`},
		{"nickname a number", `{` + me + `,"nickname":1}`},
		{"picture an object", `{` + me + `,"headimgurl":{}}`},
		{"sex a word", `{` + me + `,"sex":"male"}`},
		{"privilege a string", `{` + me + `,"privilege":"x"}`},
		{"privilege a list of numbers", `{` + me + `,"privilege":[1]}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			profile, err := clientThatHears(t, tt.body).UserInfo(t.Context(), testAccess, testOpenID, "")
			assertRefused(t, err, wechat.OpUserInfo)
			assert.Zero(t, profile)
		})
	}
}

// An empty openid must never be the same as an openid that is not there.
func TestProfileWithoutAskingForAnyone(t *testing.T) {
	for _, body := range []string{`{}`, `{"openid":""}`, `{"nickname":"x"}`, goodProfile} {
		profile, err := clientThatHears(t, body).UserInfo(t.Context(), testAccess, "", "")
		require.Error(t, err)
		assert.Zero(t, profile)
	}
}

func assertRefused(t *testing.T, err error, op string) {
	t.Helper()
	var e *wechat.Error
	if assert.ErrorAs(t, err, &e) {
		assert.Equal(t, op, e.Op)
		assert.True(t, e.Sent(), "a code that WeChat has seen must not be sent again")
		assert.NotEqual(t, wechat.ClassBusy, e.Class())
	}
}
