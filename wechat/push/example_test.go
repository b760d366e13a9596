package push_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/wechatgate/wechatgate/wechat/push"
)

func ExampleHandler() {
	handler := &push.Handler{
		AppID:          "wxba5fad812f8e6fb9",
		Token:          "AAAAA",                                       // from your settings
		EncodingAESKey: "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", // from your settings
		OnMessage: func(_ context.Context, m push.Message) (string, error) {
			if m.Type != "text" {
				return "", nil
			}
			return "You wrote: " + m.Content, nil
		},
	}
	if err := handler.Validate(); err != nil {
		fmt.Println(err)
		return
	}
	mux := http.NewServeMux()
	mux.Handle("/wechat/messages", handler)

	// What the console asks when its settings are saved.
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/wechat/messages?signature=f464b24fc39322e44b38aa78f5edd27bd1441696&timestamp=1714036504&nonce=1514711492&echostr=4375120948345356249", nil))
	fmt.Println(w.Code, w.Body)

	// A message that is not encrypted.
	w = httptest.NewRecorder()
	mux.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/wechat/messages?signature=f464b24fc39322e44b38aa78f5edd27bd1441696&timestamp=1714036504&nonce=1514711492",
		strings.NewReader("<xml><FromUserName>oXiaoMing</FromUserName></xml>")))
	fmt.Println(w.Code)

	fmt.Println(handler)
	// Output:
	// 200 4375120948345356249
	// 403
	// push.Handler(wxba5fad812f8e6fb9)
}

func ExampleHandler_Validate() {
	handler := &push.Handler{AppID: "gh_0123456789ab", Token: "my token", EncodingAESKey: "too short"}
	fmt.Println(handler.Validate())
	// Output:
	// push: Handler.AppID: want the account's AppID, which begins with wx
	// push: Handler.Token: want the 3 to 32 letters and digits of the console's 令牌(Token)
	// push: Handler.EncodingAESKey: want the 43 letters and digits of the console's 消息加解密密钥
}
