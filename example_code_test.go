package wechatgate_test

import (
	"context"
	"errors"
	"fmt"
	"html"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"

	"github.com/wechatgate/wechatgate"
	"github.com/wechatgate/wechatgate/wechattest"
)

// A computer signs in with a code from the person's phone: the site has an official
// account and no website app.
func ExampleOptions_codeSignIn() {
	fake := wechattest.NewServer()
	defer fake.Close()
	site := httptest.NewUnstartedServer(nil)
	options := fake.Options("http://" + site.Listener.Addr().String())
	options.Website = wechatgate.App{}
	options.CodeSignIn = wechatgate.CodeSignIn{Scan: true}
	gate, err := wechatgate.New(options)
	if err != nil {
		panic(err)
	}
	site.Config.Handler = gate.Require(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprint(w, "your orders")
	}))
	site.Start()
	defer site.Close()

	fmt.Println(signInByScan(fake, site.URL+"/orders"))
	// Output:
	// your orders <nil>
}

// signInByScan is a person at a computer, with a phone.
func signInByScan(fake *wechattest.Server, address string) (body string, err error) {
	ctx := context.Background()
	computer := fake.Visitor(wechatgate.BrowserDesktop, wechattest.Habits{})
	page, err := computer.Get(ctx, address)
	if err != nil {
		return "", err
	}
	link := regexp.MustCompile(`id="scan-link"[^>]* href="([^"]+)"`).FindStringSubmatch(page.Body)
	if link == nil {
		return "", errors.New("no QR code")
	}
	code, err := fake.Scan(wechattest.Person{Name: "alice"}, html.UnescapeString(link[1]))
	if err != nil {
		return "", err
	}
	page, err = computer.Press(ctx, page, "", url.Values{"code": {code}})
	if err != nil {
		return "", err
	}
	return page.Body, nil
}

// A site that has a message server already asks the gate about each text.
func ExampleGate_CodeFor() {
	gate, err := wechatgate.New(wechatgate.Options{
		BaseURL:     "https://shop.example.com",
		SessionKeys: [][]byte{[]byte("0123456789abcdef0123456789abcdef")},
		CodeSignIn:  wechatgate.CodeSignIn{Chat: wechatgate.Chat{AppID: "wx1234567890abcdef", Name: "小店"}},
	})
	if err != nil {
		panic(err)
	}
	for _, text := range []string{"4821 3907", "Are you open today?"} {
		reply, mine, err := gate.CodeFor(context.Background(), "wx1234567890abcdef", "oPerson", text)
		_, advice, _ := strings.Cut(reply, "，") // behind the code
		fmt.Println(mine, err, advice)
	}
	// Output:
	// true <nil> 5 分钟内有效。只填在 shop.example.com 的登录页。
	// 不是你本人在登录？不要告诉任何人。
	// false <nil>
}
