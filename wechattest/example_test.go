package wechattest_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"

	"github.com/wechatgate/wechatgate"
	"github.com/wechatgate/wechatgate/wechat"
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

// newShop starts the site under test.
func newShop(fake *wechattest.Server) *httptest.Server {
	var shop http.Handler
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { shop.ServeHTTP(w, r) }))
	gate, err := wechatgate.New(fake.Options(site.URL))
	if err != nil {
		panic(err)
	}
	shop = gate.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, _ := wechatgate.UserFromContext(r.Context())
		_, _ = io.WriteString(w, "Orders of "+user.OpenID)
	}))
	return site
}
