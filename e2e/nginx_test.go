package e2e_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/wechatgate/wechatgate/wechat"
	"github.com/wechatgate/wechatgate/wechattest"
)

const (
	shopHost = "shop.test"
	shopURL  = "https://" + shopHost + "/shop" // BaseURL of the example behind nginx
)

func TestBehindNginx(t *testing.T) {
	shop := startShop(t)
	for _, test := range []struct {
		name   string
		device device
		asks   wechattest.Asking
	}{
		{"a computer signs in and out", computer(), wechattest.AskAlways},
		{"WeChat signs in silently, and out", phoneInWeChat(), wechattest.AskNever},
	} {
		t.Run(test.name, func(t *testing.T) {
			shop.wechat.Ask(test.asks)
			tab := shop.openChromium(t, test.device)
			tab.open("http://"+shopHost+"/shop/", `a[href="members"]`)
			assert.Equal(t, []document{{shopURL + "/", 200}}, tab.shown(), "http leads to https")
			if test.asks == wechattest.AskAlways {
				tab.click(`main a[href="members"]`, scan)
				tab.click(scan, "dl")
			} else {
				tab.click(`main a[href="members"]`, "dl")
			}
			assert.Equal(t, shopURL+"/members", tab.address().String())
			assertIsPerson(t, wechattest.Person{Name: "alice"}, tab.text("dl"))
			assert.Equal(t, shopURL+"/wechat/callback", shop.lastRedirectURI())
			for _, cookie := range tab.cookies() {
				assert.True(t, strings.HasPrefix(cookie.Name, "__Host-wechatgate") && cookie.Secure, cookie.Name)
			}
			tab.click(".sign-out button", signInButton)
			assert.Equal(t, shopURL+"/wechat/signed-out", tab.address().String())
		})
	}
	for _, instance := range shop.instances {
		shop.waitForLog(t, func(line string) bool { return strings.HasSuffix(line, " "+instance.address) }, "each instance has its turn")
	}
	shop.waitForLog(t, func(line string) bool { return strings.Contains(line, `"GET /shop/wechat/callback HTTP/2.0" 303 `) }, "the callback")
	assert.NotRegexp(t, "code=|state=", shop.log(t))

	t.Run("a form is kept, and sent below the mount path", func(t *testing.T) {
		tab := shop.openChromium(t, phoneInWeChat())
		tab.open(shopURL+"/?page=2", `a[href="members"]`)
		tab.eval(`document.body.insertAdjacentHTML("beforeend", '<form method="post" action="members?a=b"><button id="post">Send</button></form>'), ""`)
		tab.click("#post", "#sign-in")
		assert.Equal(t, shopURL+"/?page=2", tab.eval(`document.querySelector("#lost a").href`), "the way back to the form, without scripts")
		tab.click("#sign-in", "#send")
		assert.Equal(t, shopURL+"/wechat/resend", tab.address().String())
		tab.click("#send", "body")
		shop.waitForLog(t, func(line string) bool { return strings.Contains(line, `"POST /shop/members HTTP/2.0" 405 `) }, "the example has only pages to read")
	})

	// More than nginx lets through by default, in both directions.
	t.Run("large cookies and long addresses come through", func(t *testing.T) {
		large := shop.do(t, shop.client(t), http.MethodGet, shopURL+"/", header("Cookie", "one="+strings.Repeat("x", 12<<10)))
		assert.Equal(t, "HTTP/1.1", large.Proto, "there, all cookies stand in one line")
		assert.Equal(t, http.StatusOK, large.StatusCode)

		tab := shop.openChromium(t, phoneInWeChat())
		tab.open(shopURL+"/", `a[href="members"]`)
		for _, name := range []string{"one", "two"} {
			tab.eval(`document.cookie = "` + name + `=" + "x".repeat(3500) + "; Secure; Path=/"`)
		}
		long := shopURL + "/members?" + strings.Repeat("x", 1400)
		tab.open(long, "dl")
		assert.Equal(t, long, tab.address().String())
	})

	// What nginx passes on as Host is the name of its upstream. Old browsers say
	// no more than Origin, which is compared with BaseURL's.
	for origin, status := range map[string]int{"https://" + shopHost: 303, "https://evil.test": 403, "null": 403} {
		t.Run("a page of "+origin+" signs out, or may not", func(t *testing.T) {
			answer := shop.do(t, shop.client(t), http.MethodPost, shopURL+"/wechat/logout", header("Origin", origin))
			assert.Equal(t, status, answer.StatusCode)
		})
	}

	for name, path := range map[string]string{
		"two slashes":                               "/a//b",
		"an encoded slash":                          "/a%2Fb%2fc",
		"letters of any script, percent-encoded":    "/%E8%8C%B6%e5%ae%a4/~%7E",
		"a query with an address in it":             "/members?u=https://x/y&v=%2F&w=a+b%20c&&",
		"a path that repeats the name of the mount": "/shop/shop",
	} {
		t.Run(name+" comes back byte for byte", func(t *testing.T) {
			assert.Equal(t, shopURL+path+"#", arrival(t, shop.follow(t, shopURL+path, nil)))
		})
	}

	for name, value := range map[string]string{
		"Host":               "evil.test",
		"X-Forwarded-Host":   "evil.test",
		"X-Forwarded-Proto":  "http",
		"X-Forwarded-Port":   "8080",
		"X-Forwarded-Prefix": "/evil",
		"Forwarded":          "host=evil.test;proto=http",
		"X-Original-Url":     "/evil",
		"X-Rewrite-Url":      "/evil",
	} {
		t.Run(name+" of a visitor changes nothing", func(t *testing.T) {
			answers := shop.follow(t, shopURL+"/members", header(name, value))
			assert.Equal(t, shopURL+"/wechat/callback", shop.lastRedirectURI())
			assert.Equal(t, shopURL+"/members#", arrival(t, answers))
			assert.Equal(t, http.StatusOK, answers[len(answers)-1].StatusCode)
		})
	}

	for _, test := range []struct{ name, from, to, body string }{
		{"http leads to https", "http://" + shopHost + "/shop/members?a=%2F", shopURL + "/members?a=%2F", ""},
		{"the mount path without its slash leads to it", "https://" + shopHost + "/shop?a=b", shopURL + "/?a=b", ""},
		{"WeChat's console finds its file at the root", "https://" + shopHost + "/MP_verify_x1.txt", "", "x1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			answer := shop.do(t, shop.client(t), http.MethodGet, test.from, nil)
			assert.Equal(t, test.to, answer.Header.Get("Location"))
			assert.Contains(t, answer.body, test.body)
		})
	}
	t.Run("redirects of the program stay below the mount path", func(t *testing.T) {
		answers := shop.follow(t, shopURL+"/assets", nil)
		assert.Equal(t, shopURL+"/assets/", answers[len(answers)-1].Request.URL.String())
	})
}

// Instances share no memory: one that is gone takes nothing along.
func TestInstanceIsGone(t *testing.T) {
	t.Run("it stops while the visitor is with WeChat", func(t *testing.T) {
		shop := startShop(t)
		shop.wechat.Ask(wechattest.AskAlways)
		tab := shop.openChromium(t, computer())
		tab.open(shopURL+"/members", scan)
		gone := shop.instances[0]
		gone.end(t)
		tab.shown()

		tab.click(scan, "dl")
		tab.reload("dl")
		tab.reload("dl")
		assert.Equal(t, slices.Repeat([]document{{shopURL + "/members", 200}}, 3), tab.shown())
		shop.waitForLog(t, func(line string) bool {
			return strings.HasSuffix(line, " "+gone.address+", "+shop.instances[1].address)
		}, "nginx has asked the one that is gone, and then the other")
	})

	// WeChat has taken the code, and its answer is lost.
	t.Run("it dies in the middle of a callback", func(t *testing.T) {
		shop := startShop(t)
		shop.killAtNextExchange(t)
		before := len(shop.wechat.Calls(wechat.OpExchange))
		tab := shop.openChromium(t, phoneInWeChat())

		tab.open(shopURL+"/members", "dl")
		assert.Equal(t, []document{{shopURL + "/members", 200}}, tab.shown(), "the visitor notices nothing")
		assertIsPerson(t, wechattest.Person{Name: "alice"}, tab.text("dl"))
		assert.Len(t, shop.wechat.Calls(wechat.OpExchange)[before:], 3, "one lost, one of the same code, one of a new code")
	})
}
