package account_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wechatgate/wechatgate/wechat"
	"github.com/wechatgate/wechatgate/wechat/account"
)

// longID is an openid of 64 bytes.
var longID = strings.Repeat("o", 64)

func TestFollowerAnswers(t *testing.T) {
	since := time.Unix(1700000000, 0).UTC()
	for _, tt := range []struct {
		name   string
		answer string
		want   account.Follower // the zero value: an error
	}{
		{"a follower", person("oX"), account.Follower{OpenID: "oX", Follows: true, UnionID: "uoX", Since: since, Scene: "ADD_SCENE_QR_CODE"}},
		{"a follower of an account without Open Platform", `{"subscribe":1,"openid":"oX","subscribe_time":1700000000}`, account.Follower{OpenID: "oX", Follows: true, Since: since}},
		{"a follower, as a sign-in answer would say it", `{"errcode":0,"subscribe":1,"openid":"oX"}`, account.Follower{OpenID: "oX", Follows: true}},
		{"nobody", `{"subscribe":0,"openid":"oX"}`, account.Follower{OpenID: "oX"}},
		{"nobody, without an openid", `{"subscribe":0}`, account.Follower{OpenID: "oX"}},
		{"nobody, with a unionid", `{"subscribe":0,"openid":"oX","unionid":"uX","subscribe_time":1700000000,"subscribe_scene":"S"}`, account.Follower{OpenID: "oX"}},

		{"another person", person("oY"), account.Follower{}},
		{"another person who does not follow", `{"subscribe":0,"openid":"oY"}`, account.Follower{}},
		{"a follower without an openid", `{"subscribe":1}`, account.Follower{}},
		{"two openids", `{"subscribe":1,"openid":"oY","openid":"oX"}`, account.Follower{}},
		{"two answers", `{"subscribe":0,"subscribe":1,"openid":"oX"}`, account.Follower{}},
		{"no subscribe", `{"openid":"oX"}`, account.Follower{}},
		{"Subscribe", `{"Subscribe":1,"openid":"oX"}`, account.Follower{}},
		{"subscribe 2", `{"subscribe":2,"openid":"oX"}`, account.Follower{}},
		{"subscribe -1", `{"subscribe":-1,"openid":"oX"}`, account.Follower{}},
		{"subscribe true", `{"subscribe":true,"openid":"oX"}`, account.Follower{}},
		{"subscribe in quotes", `{"subscribe":"1","openid":"oX"}`, account.Follower{}},
		{"subscribe null", `{"subscribe":null,"openid":"oX"}`, account.Follower{}},
		{"an openid that is a number", `{"subscribe":1,"openid":7}`, account.Follower{}},
		{"a unionid that is none", `{"subscribe":1,"openid":"oX","unionid":"u X"}`, account.Follower{}},
		{"a unionid that is null", `{"subscribe":1,"openid":"oX","unionid":null}`, account.Follower{}},
		{"a time before 1970", `{"subscribe":1,"openid":"oX","subscribe_time":-1}`, account.Follower{}},
		{"a time after the year 9999", `{"subscribe":1,"openid":"oX","subscribe_time":253402300800}`, account.Follower{}},
		{"a time in words", `{"subscribe":1,"openid":"oX","subscribe_time":"now"}`, account.Follower{}},
		{"a scene that is a number", `{"subscribe":1,"openid":"oX","subscribe_scene":1}`, account.Follower{}},
		{"trailing bytes", person("oX") + "x", account.Follower{}},
		{"cut short", person("oX")[:40], account.Follower{}},
		{"a list", "[" + person("oX") + "]", account.Follower{}},
		{"nothing", "", account.Follower{}},
		{"an empty object", "{}", account.Follower{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f, a := newFake()
			f.from(opFollower, tt.answer)
			got, err := a.Follower(t.Context(), "oX")
			assert.Equal(t, tt.want, got)
			if tt.want == (account.Follower{}) {
				var e *wechat.Error
				require.ErrorAs(t, err, &e)
				assert.Equal(t, opFollower, e.Op)
				assert.Zero(t, e.Code)
				return
			}
			require.NoError(t, err)
			calls := f.made(opFollower)
			require.Len(t, calls, 1)
			assert.Equal(t, "GET https://api.weixin.qq.com/cgi-bin/user/info?access_token=TOKEN-1&openid=oX&lang=zh_CN", calls[0].method+" "+calls[0].address)
		})
	}
}

func TestFollowerAsJSON(t *testing.T) {
	_, a := newFake()
	follower, err := a.Follower(t.Context(), "oX")
	require.NoError(t, err)
	text, err := json.Marshal(follower)
	require.NoError(t, err)
	assert.JSONEq(t, `{"open_id":"oX","follows":true,"union_id":"uoX","since":"2023-11-14T22:13:20Z","scene":"ADD_SCENE_QR_CODE"}`, string(text))
	text, err = json.Marshal(account.Follower{OpenID: "oX"})
	require.NoError(t, err)
	assert.JSONEq(t, `{"open_id":"oX","follows":false}`, string(text))
}

func TestOpenIDsThatCannotBe(t *testing.T) {
	f, a := newFake()
	for _, id := range []string{"", " ", "o X", "o\n", "oX&lang=en", "o/X", "oé", "o微", longID + "o"} {
		_, err := a.Follower(t.Context(), id)
		require.ErrorIs(t, err, account.ErrOpenID, id)
		_, err = a.Followers(t.Context(), "oX", id)
		require.ErrorIs(t, err, account.ErrOpenID, id)
	}
	assert.Zero(t, f.count())
	f.from(opFollower, `{"subscribe":0}`)
	_, err := a.Follower(t.Context(), longID)
	assert.NoError(t, err)
}

func TestFollowersInTheOrderAsked(t *testing.T) {
	for _, n := range []int{0, 1, 99, 100, 101, 250} {
		f, a := newFake()
		var ids []string
		for i := range n {
			ids = append(ids, fmt.Sprintf("o%d", i))
		}
		rand.Shuffle(n, func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })
		if n > 0 {
			ids = append(ids, ids[0], ids[n/2]) // some twice
		}
		got, err := a.Followers(t.Context(), ids...)
		require.NoError(t, err)
		require.NotNil(t, got)
		var order []string
		for _, follower := range got {
			require.True(t, follower.Follows)
			require.Equal(t, "u"+follower.OpenID, follower.UnionID)
			order = append(order, follower.OpenID)
		}
		require.Equal(t, ids, order)
		calls := f.made(opFollowers)
		require.Len(t, calls, (n+99)/100)
		for _, c := range calls {
			require.LessOrEqual(t, strings.Count(c.body, "openid"), 100)
			require.Equal(t, "POST https://api.weixin.qq.com/cgi-bin/user/info/batchget?access_token=TOKEN-1", c.method+" "+c.address)
		}
	}
}

func TestBatchAnswers(t *testing.T) {
	gone := `{"subscribe":0,"openid":"oY"}`
	for _, tt := range []struct {
		name   string
		answer string
		fine   bool
	}{
		{"both", `{"user_info_list":[` + gone + `,` + person("oX") + `]}`, true},
		{"one left out", `{"user_info_list":[` + person("oX") + `]}`, false},
		{"one added", `{"user_info_list":[` + person("oX") + `,` + gone + `,` + person("oZ") + `]}`, false},
		{"one doubled", `{"user_info_list":[` + person("oX") + `,` + gone + `,` + gone + `]}`, false},
		{"one doubled, one left out", `{"user_info_list":[` + person("oX") + `,` + person("oX") + `]}`, false},
		{"another person", `{"user_info_list":[` + person("oX") + `,` + person("oZ") + `]}`, false},
		{"one without a name", `{"user_info_list":[` + person("oX") + `,{"subscribe":0}]}`, false},
		{"two openids in one", `{"user_info_list":[` + person("oX") + `,{"subscribe":0,"openid":"oZ","openid":"oY"}]}`, false},
		{"a broken one", `{"user_info_list":[` + person("oX") + `,{"subscribe":3,"openid":"oY"}]}`, false},
		{"null for one", `{"user_info_list":[` + person("oX") + `,null]}`, false},
		{"two lists", `{"user_info_list":[],"user_info_list":[` + person("oX") + `,` + gone + `]}`, false},
		{"no list", `{}`, false},
		{"null", `{"user_info_list":null}`, false},
		{"an object", `{"user_info_list":` + person("oX") + `}`, false},
		{"trailing bytes", `{"user_info_list":[` + person("oX") + `,` + gone + `]}]`, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f, a := newFake()
			f.from(opFollowers, tt.answer)
			got, err := a.Followers(t.Context(), "oX", "oY")
			if tt.fine {
				require.NoError(t, err)
				require.Len(t, got, 2)
				assert.True(t, got[0].Follows)
				assert.Equal(t, account.Follower{OpenID: "oY"}, got[1])
				return
			}
			assert.Nil(t, got)
			var e *wechat.Error
			require.ErrorAs(t, err, &e)
			assert.Equal(t, opFollowers, e.Op)
		})
	}

	t.Run("the second batch fails", func(t *testing.T) {
		f, a := newFake()
		f.when(opFollowers, func(n int, c call) (string, error) {
			if n == 2 {
				return refusal(45009), nil
			}
			return usual(n, c)
		})
		ids := make([]string, 150)
		for i := range ids {
			ids[i] = fmt.Sprintf("o%d", i)
		}
		got, err := a.Followers(t.Context(), ids...)
		assert.Equal(t, 45009, codeOf(err))
		assert.Nil(t, got, "no partial list")
	})
}

func TestTokenAnswers(t *testing.T) {
	long := strings.Repeat("t", 1024)
	for _, tt := range []struct {
		name   string
		answer string
		want   string // "": an error
	}{
		{"a token", `{"access_token":"T","expires_in":7200}`, "T"},
		{"the longest", `{"access_token":"` + long + `","expires_in":1}`, long},
		{"too long", `{"access_token":"` + long + `t","expires_in":7200}`, ""},
		{"empty", `{"access_token":"","expires_in":7200}`, ""},
		{"none", `{"expires_in":7200}`, ""},
		{"null", `{"access_token":null,"expires_in":7200}`, ""},
		{"a number", `{"access_token":7,"expires_in":7200}`, ""},
		{"two", `{"access_token":"S","access_token":"T","expires_in":7200}`, ""},
		{"other case", `{"Access_Token":"T","expires_in":7200}`, ""},
		{"no time", `{"access_token":"T"}`, ""},
		{"time 0", `{"access_token":"T","expires_in":0}`, ""},
		{"time -1", `{"access_token":"T","expires_in":-1}`, ""},
		{"time in quotes", `{"access_token":"T","expires_in":"7200"}`, ""},
		{"time with a fraction", `{"access_token":"T","expires_in":7200.5}`, ""},
		{"time without end", `{"access_token":"T","expires_in":99999999999}`, ""},
		{"trailing bytes", `{"access_token":"T","expires_in":7200}{}`, ""},
		{"a control character", `{"access_token":"T` + "\x01" + `","expires_in":7200}`, ""},
		{"errcode and token", `{"errcode":40013,"access_token":"T","expires_in":7200}`, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f, a := newFake()
			f.from(opToken, tt.answer)
			got, err := a.Token(t.Context())
			assert.Equal(t, tt.want, got)
			assert.Equal(t, tt.want == "", err != nil)
		})
	}
}

func TestTicketAnswers(t *testing.T) {
	for _, tt := range []struct {
		name   string
		answer string
		fine   bool
	}{
		{"a ticket", `{"errcode":0,"errmsg":"ok","ticket":"T","expires_in":7200}`, true},
		{"without the rest", `{"ticket":"T"}`, true},
		{"empty", `{"errcode":0,"ticket":"","expires_in":7200}`, false},
		{"none", `{"errcode":0,"errmsg":"ok"}`, false},
		{"a number", `{"errcode":0,"ticket":7}`, false},
		{"two", `{"errcode":0,"ticket":"S","ticket":"T"}`, false},
		{"time in words", `{"errcode":0,"ticket":"T","expires_in":"soon"}`, false},
		{"a control character", `{"ticket":"T` + "\n" + `"}`, false},
		{"errcode in quotes", `{"errcode":"0","ticket":"T"}`, false},
		{"trailing bytes", `{"errcode":0,"ticket":"T"} x`, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f, a := newFake()
			f.from(opTicket, tt.answer)
			got, err := a.JSConfig(t.Context(), testPage)
			if tt.fine {
				require.NoError(t, err)
				assert.Equal(t, account.SignJS("T", got.NonceStr, got.Timestamp, testPage), got.Signature)
				return
			}
			assert.Zero(t, got)
			var e *wechat.Error
			require.ErrorAs(t, err, &e)
			assert.Equal(t, opTicket, e.Op)
		})
	}
}
