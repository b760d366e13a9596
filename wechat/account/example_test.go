package account_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"

	"github.com/wechatgate/wechatgate/wechat"
	"github.com/wechatgate/wechatgate/wechat/account"
)

// standIn is a server that answers like WeChat, for programs that run without it.
func standIn(answers map[string]string) (client wechat.Client, stop func()) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, answers[r.URL.Path])
	}))
	return wechat.Client{Endpoints: wechat.Endpoints{API: server.URL}}, server.Close
}

var exampleApp = wechat.App{ID: "wx1234567890abcdef", Secret: "the-secret"}

const exampleToken = `{"access_token":"the-token","expires_in":7200}`

// One token serves all who ask, until shortly before it ends.
func ExampleAccount_Token() {
	client, stop := standIn(map[string]string{"/cgi-bin/stable_token": exampleToken})
	defer stop() // in programs, leave the client's Endpoints empty

	shop := account.New(wechat.App{ID: "wx1234567890abcdef", Secret: "the-secret"}, client)
	for range 2 {
		token, err := shop.Token(context.Background())
		fmt.Println(len(token), err) // asked for once, and kept
	}
	// Output:
	// 9 <nil>
	// 9 <nil>
}

// A wrong setting is an error that says what to mend.
func ExampleAccount_Token_wrongSetting() {
	client, stop := standIn(map[string]string{"/cgi-bin/stable_token": `{"errcode":40164,"errmsg":"invalid ip"}`})
	defer stop()
	shop := account.New(exampleApp, client)
	shop.Logger = slog.New(slog.DiscardHandler)

	_, err := shop.Token(context.Background())
	var failure *wechat.Error
	if errors.As(err, &failure) && failure.Class() == wechat.ClassConfig {
		fmt.Println(failure)
		fmt.Println(failure.Hint())
	}
	// Output:
	// wechat: stable_token: errcode 40164: this server's IP address is not allowed
	// Add the server's public IP address to IP白名单 at 微信开发者平台 → 我的业务 → 服务号 → 基础信息 → 开发密钥.
}

func ExampleAccount_Follower() {
	client, stop := standIn(map[string]string{
		"/cgi-bin/stable_token": exampleToken,
		"/cgi-bin/user/info":    `{"subscribe":1,"openid":"oAbc","unionid":"uAbc","subscribe_time":1700000000,"subscribe_scene":"ADD_SCENE_QR_CODE"}`,
	})
	defer stop()

	follower, err := account.New(exampleApp, client).Follower(context.Background(), "oAbc")
	fmt.Println(follower.Follows, follower.UnionID, follower.Since.Format("2006-01-02"), follower.Scene, err)
	// Output: true uAbc 2023-11-14 ADD_SCENE_QR_CODE <nil>
}

func ExampleAccount_Followers() {
	client, stop := standIn(map[string]string{
		"/cgi-bin/stable_token":       exampleToken,
		"/cgi-bin/user/info/batchget": `{"user_info_list":[{"subscribe":0,"openid":"oDef"},{"subscribe":1,"openid":"oAbc"}]}`,
	})
	defer stop()

	followers, err := account.New(exampleApp, client).Followers(context.Background(), "oAbc", "oDef")
	for _, follower := range followers {
		fmt.Println(follower.OpenID, follower.Follows)
	}
	fmt.Println(err)
	// Output:
	// oAbc true
	// oDef false
	// <nil>
}

func ExampleAccount_JSConfig() {
	client, stop := standIn(map[string]string{
		"/cgi-bin/stable_token":     exampleToken,
		"/cgi-bin/ticket/getticket": `{"errcode":0,"errmsg":"ok","ticket":"the-ticket","expires_in":7200}`,
	})
	defer stop()
	shop := account.New(exampleApp, client)

	config, err := shop.JSConfig(context.Background(), "https://shop.example.com/cards?id=7#top")
	if err != nil {
		fmt.Println(err)
		return
	}
	config.Timestamp, config.NonceStr, config.Signature = 1700000000, "…", "…" // they differ each time
	text, _ := json.Marshal(config)
	fmt.Println("wx.config(Object.assign(" + string(text) + `, {jsApiList: ["updateAppMessageShareData"]}))`)

	_, err = shop.JSConfig(context.Background(), "/cards?id=7")
	fmt.Println(errors.Is(err, account.ErrURL))
	// Output:
	// wx.config(Object.assign({"appId":"wx1234567890abcdef","timestamp":1700000000,"nonceStr":"…","signature":"…"}, {jsApiList: ["updateAppMessageShareData"]}))
	// true
}

func ExampleAccount_Call() {
	client, stop := standIn(map[string]string{
		"/cgi-bin/stable_token":  exampleToken,
		"/cgi-bin/qrcode/create": `{"ticket":"gQH…","expire_seconds":600,"url":"http://weixin.qq.com/q/kZgfwMTm72WWPkovabbI"}`,
	})
	defer stop()

	type object = map[string]any
	var code struct {
		URL     string `json:"url"`
		Seconds int    `json:"expire_seconds"`
	}
	err := account.New(exampleApp, client).Call(context.Background(), "/cgi-bin/qrcode/create", object{
		"expire_seconds": 600,
		"action_name":    "QR_STR_SCENE",
		"action_info":    object{"scene": object{"scene_str": "table-7"}},
	}, &code)
	fmt.Println(code.URL, code.Seconds, err)
	// Output: http://weixin.qq.com/q/kZgfwMTm72WWPkovabbI 600 <nil>
}

func ExampleSignJS() {
	// The example of Tencent's documentation.
	fmt.Println(account.SignJS(
		"sM4AOVdWfPE4DxkXGEs8VMCPGGVi4C3VM0P37wVUCFvkVAy_90u5h9nbSlYy3-Sl-HhTdfl2fzFy1AOcHKP7qg",
		"Wm3WZYTPz0wzccnW", 1414587457, "http://mp.weixin.qq.com?params=value"))
	// Output: 0f9de62fce790f9a083d5c99e95740ceb90c27ed
}

// However an Account is printed, logged or marshalled, its secrets stay inside.
func ExampleAccount() {
	shop := account.New(exampleApp, wechat.Client{})
	fmt.Println(shop)
	fmt.Printf("%#v\n", shop)
	fmt.Println(shop.LogValue())
	text, err := json.Marshal(shop)
	fmt.Println(string(text), err)
	// Output:
	// Account(wx1234567890abcdef)
	// Account(wx1234567890abcdef)
	// wx1234567890abcdef
	// {"ID":"wx1234567890abcdef"} <nil>
}
