package wechattest_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"

	"github.com/wechatgate/wechatgate"
	"github.com/wechatgate/wechatgate/wechat"
	"github.com/wechatgate/wechatgate/wechat/push"
	"github.com/wechatgate/wechatgate/wechattest"
)

// A whole test of a site: the visitor opens a page in WeChat, is signed in, and
// sees it.
func ExampleNewServer() {
	fake := wechattest.NewServer()
	defer fake.Close()
	fake.SignInAs(wechattest.Person{Name: "alice", Nickname: "小艾"})

	site := newShop(fake)
	defer site.Close()

	response, err := fake.Browser(wechatgate.BrowserWeChat).Get(site.URL + "/orders")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = response.Body.Close() }()
	page, _ := io.ReadAll(response.Body)
	fmt.Println(response.Request.URL.Path, response.StatusCode)
	fmt.Println(string(page) == "Orders of "+wechattest.OpenID(fake.OfficialAccount.ID, wechattest.Person{Name: "alice"}))
	fmt.Println(len(fake.Calls(wechat.OpExchange)), "call for a token")
	// Output:
	// /orders 200
	// true
	// 1 call for a token
}

// Two people with a browser each, at the same time.
func ExampleServer_BrowserAs() {
	fake := wechattest.NewServer()
	defer fake.Close()
	site := newShop(fake)
	defer site.Close()

	for _, name := range []string{"alice", "bob"} {
		person := wechattest.Person{Name: name}
		response, err := fake.BrowserAs(wechatgate.BrowserDesktop, person).Get(site.URL + "/orders")
		if err != nil {
			fmt.Println(err)
			return
		}
		page, _ := io.ReadAll(response.Body)
		_ = response.Body.Close()
		fmt.Println(name, string(page) == "Orders of "+wechattest.OpenID(fake.Website.ID, person))
	}
	// Output:
	// alice true
	// bob true
}

// What visitors see when WeChat is out of order.
func ExampleServer_FailNext() {
	fake := wechattest.NewServer()
	defer fake.Close()
	site := newShop(fake)
	defer site.Close()

	browser := fake.Browser(wechatgate.BrowserWeChat)
	for _, errcode := range []int{40125, 45011} {
		fake.FailNext(wechat.OpExchange, errcode, "")
		response, err := browser.Get(site.URL + "/orders")
		if err != nil {
			fmt.Println(err)
			return
		}
		_ = response.Body.Close()
		fmt.Println(errcode, "becomes", response.Status)
	}
	// Output:
	// 40125 becomes 500 Internal Server Error
	// 45011 becomes 503 Service Unavailable
}

// Somebody scans the QR code and presses the wrong button.
func ExampleServer_Deny() {
	fake := wechattest.NewServer()
	defer fake.Close()
	site := newShop(fake)
	defer site.Close()

	fake.Deny(wechattest.DenyAuthdeny)
	response, err := fake.Browser(wechatgate.BrowserDesktop).Get(site.URL + "/orders")
	if err != nil {
		fmt.Println(err)
		return
	}
	_ = response.Body.Close()
	fmt.Println(response.Request.URL.Path, response.Status)
	// Output:
	// /wechat/callback 403 Forbidden
}

// A link that asks for nickname and avatar without a click: WeChat shows the page
// as a snapshot, under a made-up account, which gets no session.
func ExampleServer_Snapshots() {
	fake := wechattest.NewServer()
	defer fake.Close()
	site := newShop(fake)
	defer site.Close()

	fake.Snapshots(wechattest.SnapshotFlagged)
	browser := fake.Browser(wechatgate.BrowserWeChat)
	response, err := browser.Get(site.URL + "/wechat/login?scope=snsapi_userinfo&return_to=/orders")
	if err != nil {
		fmt.Println(err)
		return
	}
	_ = response.Body.Close()
	fmt.Println(response.Request.URL.Path, response.Status)
	// Output:
	// /wechat/callback 403 Forbidden
}

// An answer that WeChat would not give.
func ExampleServer_AnswerNext() {
	fake := wechattest.NewServer()
	defer fake.Close()
	site := newShop(fake)
	defer site.Close()

	for range 2 { // the first one makes the gate start again
		fake.AnswerNext(wechat.OpExchange, func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "<html>a captive portal</html>")
		})
	}
	response, err := fake.Browser(wechatgate.BrowserWeChat).Get(site.URL + "/orders")
	if err != nil {
		fmt.Println(err)
		return
	}
	_ = response.Body.Close()
	fmt.Println(response.Request.URL.Path, response.Status)
	// Output:
	// /wechat/callback 502 Bad Gateway
}

// A visitor whose person presses the buttons of the gate's pages: on the page that
// asks for nickname and avatar, and in a form to sign out.
func ExampleServer_Visitor() {
	fake := wechattest.NewServer()
	defer fake.Close()
	site := newShop(fake)
	defer site.Close()

	ctx := context.Background()
	visitor := fake.Visitor(wechatgate.BrowserWeChat, wechattest.Habits{Person: &wechattest.Person{Name: "alice", Nickname: "小艾"}})
	page, err := visitor.Get(ctx, site.URL+"/profile")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(page.URL.Path, page.Status, page.Waits == wechattest.WaitConsent)
	page, err = visitor.Press(ctx, page, "", nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(page.URL.Path, page.Status, page.Body)

	page, err = visitor.PostForm(ctx, site.URL+"/wechat/logout", nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(page.URL.Path, page.Status, len(visitor.Cookies(site.URL)), "cookie, which says so")
	// Output:
	// /profile 401 true
	// /profile 200 Profile of 小艾
	// /wechat/signed-out 200 1 cookie, which says so
}

// People write to the account, and a message server of the site's own answers.
func ExampleServer_Chat() {
	fake := wechattest.NewServer()
	defer fake.Close()
	handler := &push.Handler{
		AppID:          fake.OfficialAccount.ID,
		Token:          "TokenOfTheConsole",
		EncodingAESKey: "0123456789abcdefghijklmnopqrstuvwxyzABCDEFG", // 43 characters
		OnMessage: func(_ context.Context, m push.Message) (string, error) {
			if m.Type != "text" {
				return "", nil
			}
			return "You wrote: " + m.Content, nil
		},
	}
	server := httptest.NewServer(handler)
	defer server.Close()

	ctx := context.Background()
	chat := fake.Chat(server.URL, wechattest.ChatSettings{Token: handler.Token, EncodingAESKey: handler.EncodingAESKey})
	fmt.Println(chat.Check(ctx)) // as the console does when it saves the address
	reply, err := chat.Text(ctx, wechattest.Person{Name: "alice"}, "Are you open today?")
	fmt.Println(reply, err)
	status, _, err := chat.Forge(ctx, wechattest.ForgeSignature, wechattest.Person{Name: "mallory"}, "I am alice")
	fmt.Println(status, err)
	// Output:
	// <nil>
	// You wrote: Are you open today? <nil>
	// 403 <nil>
}

// newShop starts the site under test.
func newShop(fake *wechattest.Server) *httptest.Server {
	var shop http.Handler
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { shop.ServeHTTP(w, r) }))
	gate, err := wechatgate.New(fake.Options(site.URL))
	if err != nil {
		panic(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/orders", func(w http.ResponseWriter, r *http.Request) {
		user, _ := wechatgate.UserFromContext(r.Context())
		_, _ = io.WriteString(w, "Orders of "+user.OpenID)
	})
	mux.Handle("/profile", gate.RequireProfile(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, _ := wechatgate.UserFromContext(r.Context())
		_, _ = io.WriteString(w, "Profile of "+user.Nickname)
	})))
	shop = gate.Require(mux)
	return site
}
