package wechat_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"time"

	"github.com/wechatgate/wechatgate/wechat"
)

// fakeWeChat answers as WeChat does. In programs, leave Client.Endpoints empty.
func fakeWeChat() (fake *httptest.Server, client wechat.Client) {
	fake = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		query := r.URL.Query()
		switch {
		case query.Get("code") == "used-code":
			_, _ = io.WriteString(w, `{"errcode":40163,"errmsg":"code been used, rid: 65a1b2c3-0d4e5f60-718293a4"}`)
		case query.Has("secret") && query.Get("secret") != "the-app-secret":
			_, _ = io.WriteString(w, `{"errcode":40125,"errmsg":"invalid appsecret, rid: 65a1b2c3-0d4e5f60-718293a4"}`)
		case r.URL.Path == "/sns/userinfo":
			_, _ = io.WriteString(w, `{"openid":"oXiaoMing","nickname":"小明","sex":0,"headimgurl":"http:\/\/thirdwx.qlogo.cn\/x\/132","privilege":[]}`)
		case r.URL.Path == "/sns/auth":
			_, _ = io.WriteString(w, `{"errcode":0,"errmsg":"ok"}`)
		default:
			_, _ = io.WriteString(w, `{"access_token":"access","expires_in":7200,"refresh_token":"refresh","openid":"oXiaoMing","scope":"snsapi_userinfo"}`)
		}
	}))
	return fake, wechat.Client{Endpoints: wechat.Endpoints{API: fake.URL}}
}

var exampleApp = wechat.App{ID: "wx1234567890abcdef", Secret: "the-app-secret"}

func ExampleClient_Exchange() {
	fake, client := fakeWeChat()
	defer fake.Close()

	token, err := client.Exchange(context.Background(), exampleApp, "the-code")
	if err != nil {
		fmt.Println(err)
		return
	}
	if token.Snapshot {
		fmt.Println("a made-up account: nobody has signed in")
		return
	}
	fmt.Println(token.OpenID, token.Scope, token.ExpiresIn)
	fmt.Println(token)
	// Output:
	// oXiaoMing snsapi_userinfo 2h0m0s
	// Token(oXiaoMing snsapi_userinfo)
}

func ExampleClient_Refresh() {
	fake, client := fakeWeChat()
	defer fake.Close()

	token, err := client.Refresh(context.Background(), exampleApp.ID, "refresh")
	fmt.Println(token.OpenID, token.ExpiresIn, err)
	// Output: oXiaoMing 2h0m0s <nil>
}

func ExampleClient_UserInfo() {
	fake, client := fakeWeChat()
	defer fake.Close()

	token, err := client.Exchange(context.Background(), exampleApp, "the-code")
	if err != nil || !token.Scope.AllowsProfile() {
		fmt.Println("no profile to be had", err)
		return
	}
	profile, err := client.UserInfo(context.Background(), token.AccessToken, token.OpenID, "zh_CN")
	fmt.Println(profile.Nickname, profile.AvatarURL, err)
	// Output: 小明 https://thirdwx.qlogo.cn/x/132 <nil>
}

func ExampleClient_CheckToken() {
	fake, client := fakeWeChat()
	defer fake.Close()

	valid, err := client.CheckToken(context.Background(), "access", "oXiaoMing")
	if err != nil {
		fmt.Println("WeChat could not be asked:", err)
		return
	}
	fmt.Println(valid)
	// Output: true
}

func ExampleClient() {
	fake, client := fakeWeChat()
	defer fake.Close()

	// Through the company's proxy, and with less patience than the 10 seconds
	// that hold in any case.
	client.HTTP = &http.Client{
		Transport: &http.Transport{Proxy: http.ProxyFromEnvironment},
		Timeout:   5 * time.Second,
	}
	token, err := client.Exchange(context.Background(), exampleApp, "the-code")
	fmt.Println(token.OpenID, err)
	// Output: oXiaoMing <nil>
}

func ExampleEndpoints_AuthorizeURL() {
	var weChat wechat.Endpoints
	fmt.Println(weChat.AuthorizeURL("wx1234567890abcdef", "https://shop.example.com/wechat/callback", wechat.ScopeBase, "5f2b7c"))
	// Output: https://open.weixin.qq.com/connect/oauth2/authorize?appid=wx1234567890abcdef&redirect_uri=https%3A%2F%2Fshop.example.com%2Fwechat%2Fcallback&response_type=code&scope=snsapi_base&state=5f2b7c&connect_redirect=1#wechat_redirect
}

func ExampleEndpoints_QRConnectURL() {
	var weChat wechat.Endpoints
	fmt.Println(weChat.QRConnectURL("wx1234567890abcdef", "https://shop.example.com/wechat/callback", "5f2b7c", "en"))
	// Output: https://open.weixin.qq.com/connect/qrconnect?appid=wx1234567890abcdef&redirect_uri=https%3A%2F%2Fshop.example.com%2Fwechat%2Fcallback&response_type=code&scope=snsapi_login&state=5f2b7c&lang=en#wechat_redirect
}

func ExampleEndpoints_QRFrameURL() {
	var weChat wechat.Endpoints
	style := wechat.QRStyle{Lite: true, NoFastLogin: true}
	fmt.Println(weChat.QRFrameURL("wx1234567890abcdef", "https://shop.example.com/wechat/callback", "5f2b7c", "cn", style))
	// Output: https://open.weixin.qq.com/connect/qrconnect?appid=wx1234567890abcdef&redirect_uri=https%3A%2F%2Fshop.example.com%2Fwechat%2Fcallback&response_type=code&scope=snsapi_login&state=5f2b7c&login_type=jssdk&self_redirect=default&stylelite=1&fast_login=0&lang=cn
}

func ExampleEndpoints_WithDefaults() {
	fmt.Println(wechat.Endpoints{API: "http://127.0.0.1:8081"}.WithDefaults())
	// Output: {https://open.weixin.qq.com http://127.0.0.1:8081}
}

func ExampleQRStyle_Validate() {
	fmt.Println(wechat.QRStyle{Color: "red", NoFastLogin: true}.Validate())
	// Output:
	// wechat: QRStyle.Color: want "black", "white" or nothing
	// wechat: QRStyle.NoFastLogin: WeChat ignores it without Lite
}

func ExampleScope_Has() {
	granted := wechat.Scope("snsapi_base,snsapi_userinfo")
	fmt.Println(granted.Has(wechat.ScopeBase), granted.Has(wechat.ScopeLogin))
	// Output: true false
}

func ExampleScope_AllowsProfile() {
	fmt.Println(wechat.ScopeBase.AllowsProfile(), wechat.ScopeUserInfo.AllowsProfile(), wechat.ScopeLogin.AllowsProfile())
	// Output: false true true
}

func ExampleApp() {
	fmt.Printf("%v %+v\n", exampleApp, []wechat.App{exampleApp})
	log := slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		},
	}))
	log.Info("starting", "app", exampleApp)
	// Output:
	// App(wx1234567890abcdef) [App(wx1234567890abcdef)]
	// level=INFO msg=starting app=wx1234567890abcdef
}

func ExampleError_Class() {
	fake, client := fakeWeChat()
	defer fake.Close()

	_, err := client.Exchange(context.Background(), exampleApp, "used-code")
	var failure *wechat.Error
	if !errors.As(err, &failure) {
		return
	}
	switch failure.Class() {
	case wechat.ClassRestart, wechat.ClassUsedCode, wechat.ClassToken:
		fmt.Println("sign in again, once")
	case wechat.ClassBusy:
		fmt.Println("the same call once more, after a moment")
	case wechat.ClassThrottled:
		fmt.Println("come back later")
	default:
		fmt.Println("give up")
	}
	fmt.Println(failure)
	// Output:
	// sign in again, once
	// wechat: access_token: errcode 40163: code used already (rid 65a1b2c3-0d4e5f60-718293a4)
}

func ExampleError_Hint() {
	fake, client := fakeWeChat()
	defer fake.Close()

	_, err := client.Exchange(context.Background(), wechat.App{ID: "wx1234567890abcdef", Secret: "an-old-secret"}, "the-code")
	var failure *wechat.Error
	if errors.As(err, &failure) && failure.Class() == wechat.ClassConfig {
		fmt.Println(failure.Hint())
	}
	// Output: The AppSecret does not belong to this AppID, or was reset. Get a new one from 微信开发者平台 → 我的业务 → 服务号 → 基础信息 → 开发密钥 (official account) or from 开放平台 → 管理中心 → 网站应用 or 微信开发者平台 → 我的业务 → 网站应用 (website app); the secrets of the two must not be swapped.
}

func ExampleError_RID() {
	failure := &wechat.Error{Op: wechat.OpExchange, Code: 40029, Message: "invalid code, rid: 65a1b2c3-0d4e5f60-718293a4"}
	fmt.Println(failure.RID())
	// Output: 65a1b2c3-0d4e5f60-718293a4
}

func ExampleError_Sent() {
	// A client that cannot reach WeChat: nobody has seen the code.
	offline := httptest.NewServer(nil)
	offline.Close()
	client := wechat.Client{Endpoints: wechat.Endpoints{API: offline.URL}}

	_, err := client.Exchange(context.Background(), exampleApp, "the-code")
	var failure *wechat.Error
	if errors.As(err, &failure) {
		fmt.Println(failure.Sent(), failure.Class())
	}
	// Output: false busy
}

func ExampleError_Timeout() {
	fake, client := fakeWeChat()
	defer fake.Close()

	ctx, cancel := context.WithDeadline(context.Background(), time.Unix(0, 0))
	defer cancel()
	_, err := client.Exchange(ctx, exampleApp, "the-code")
	var failure *wechat.Error
	fmt.Println(errors.As(err, &failure) && failure.Timeout())
	// Output: true
}
