package wechatgate_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"html/template"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/sessions"

	"github.com/wechatgate/wechatgate"
	"github.com/wechatgate/wechatgate/wechat"
	"github.com/wechatgate/wechatgate/wechattest"
)

// In these examples WeChat is a fake, which hands out the options. A program of
// its own sets BaseURL, an app and a session key. What start, open and fetch do
// is at the end of the file.

func Example() {
	fake := wechattest.NewServer()
	defer fake.Close()
	alice := wechattest.Person{Name: "alice"}
	names := map[string]string{ // the site's own records
		fake.OfficialAccount.ID + ":" + wechattest.OpenID(fake.OfficialAccount.ID, alice): "Alice",
	}

	site := start(fake, func(options wechatgate.Options) http.Handler {
		gate, err := wechatgate.New(options)
		if err != nil {
			panic(err)
		}
		return gate.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			user, _ := wechatgate.UserFromContext(r.Context())
			fmt.Fprintln(w, "Orders of", names[user.Key()])
		}))
	})
	defer site.Close()

	open(fake.BrowserAs(wechatgate.BrowserWeChat, alice), site.URL+"/orders?page=2")
	// Output:
	// 200 /orders?page=2: Orders of Alice
}

// New finds every mistake at once.
func ExampleNew() {
	_, err := wechatgate.New(wechatgate.Options{
		BaseURL:         "shop.example.com",
		OfficialAccount: wechatgate.App{ID: "gh_0123456789ab", Secret: "0123456789abcdef"},
		SessionKeys:     [][]byte{[]byte("secret")},
		SignedOutFor:    -time.Hour,
	})
	fmt.Println(err)
	// Output:
	// wechatgate: Options.BaseURL: want scheme and host, like "https://shop.example.com"
	// wechatgate: Options.OfficialAccount.ID: is an original ID (原始ID): want the AppID, which begins with wx
	// wechatgate: Options.SessionKeys[0]: has 6 bytes, want at least 32 random ones: openssl rand -base64 32
	// wechatgate: Options.SignedOutFor: is -1h0m0s, want a second or more
}

// Pages lead to WeChat and back. Scripts are told where to sign in.
func ExampleGate_Require() {
	fake := wechattest.NewServer()
	defer fake.Close()
	site := start(fake, func(options wechatgate.Options) http.Handler {
		gate := must(wechatgate.New(options))
		mux := http.NewServeMux()
		mux.HandleFunc("GET /orders", text("your orders"))
		mux.HandleFunc("GET /api/orders", text("[]"))
		return gate.Require(mux)
	})
	defer site.Close()

	browser := fake.Browser(wechatgate.BrowserWeChat)
	fetch(browser, site.URL+"/api/orders")
	open(browser, site.URL+"/orders")
	fetch(browser, site.URL+"/api/orders")
	open(fake.Browser(wechatgate.BrowserMobile), site.URL+"/orders")
	// Output:
	// 401 /api/orders: {"error":"login_required","login_url":"http://site/wechat/login"}
	// 200 /orders: your orders
	// 200 /api/orders: []
	// 401 /orders: 请在微信中打开
}

// Inside WeChat a person is asked for nickname and avatar on a page with a
// button. What the button leads to is Page.SignInURL.
func ExampleGate_RequireProfile() {
	fake := wechattest.NewServer()
	defer fake.Close()
	site := start(fake, func(options wechatgate.Options) http.Handler {
		gate := must(wechatgate.New(options))
		mux := http.NewServeMux()
		mux.HandleFunc("GET /orders", text("your orders"))
		mux.Handle("GET /profile", gate.RequireProfile(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			user, _ := wechatgate.UserFromContext(r.Context())
			fmt.Fprintln(w, "Hello,", user.Nickname)
		})))
		return gate.Require(mux)
	})
	defer site.Close()

	browser := fake.Visitor(wechatgate.BrowserWeChat, wechattest.Habits{
		Person: &wechattest.Person{Name: "alice", Nickname: "小艾"},
		Reads:  []wechattest.Wait{wechattest.WaitConsent},
	}).Client
	open(browser, site.URL+"/orders")
	open(browser, site.URL+"/profile")
	open(browser, site.URL+"/wechat/login?scope=snsapi_userinfo&return_to=/profile") // the button
	// Output:
	// 200 /orders: your orders
	// 401 /profile: 授权昵称和头像
	// 200 /profile: Hello, 小艾
}

// Who follows the account brings a unionid along, with Options.AskFollower. Others
// are asked on a page with a button.
func ExampleGate_RequireUnionID() {
	fake := wechattest.NewServer()
	defer fake.Close()
	alice, bob := wechattest.Person{Name: "alice"}, wechattest.Person{Name: "bob"}
	fake.Follow(alice)
	site := start(fake, func(options wechatgate.Options) http.Handler {
		options.AskFollower = true
		gate := must(wechatgate.New(options))
		return gate.RequireUnionID(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			user, _ := wechatgate.UserFromContext(r.Context())
			fmt.Fprintln(w, "Points of alice:", user.UnionID == wechattest.UnionID(alice))
		}))
	})
	defer site.Close()

	open(fake.BrowserAs(wechatgate.BrowserWeChat, alice), site.URL+"/points")
	another := fake.Visitor(wechatgate.BrowserWeChat, wechattest.Habits{Person: &bob, Reads: []wechattest.Wait{wechattest.WaitConsent}})
	open(another.Client, site.URL+"/points")
	// Output:
	// 200 /points: Points of alice: true
	// 401 /points: 授权昵称和头像
}

// A page whose share card a script sets up. The handler signs the page that it is
// about to render; no option is needed for that.
func ExampleGate_JSConfig() {
	fake := wechattest.NewServer()
	defer fake.Close()
	fake.RegisterJS("shop.example.com") // JS接口安全域名
	gate := must(wechatgate.New(fake.Options("https://shop.example.com")))

	page := template.Must(template.New("").Parse(`
		<script src="https://res.wx.qq.com/open/js/jweixin-1.6.0.js"></script>
		<script>
		var config = {{.}};
		config.jsApiList = ["updateAppMessageShareData", "updateTimelineShareData"];
		wx.config(config);
		</script>`))
	handler := gate.Optional(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		config, err := gate.JSConfig(r)
		if err != nil {
			// The page is worth more than its share card. The log has the reason.
			http.Error(w, "no share card today", http.StatusOK)
			return
		}
		_ = page.Execute(w, config)
		fmt.Println("wx.config says:", fake.VerifyJSConfig("https://shop.example.com/tea?id=7", config))
	}))

	w := httptest.NewRecorder()
	handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/tea?id=7", nil))
	fmt.Println(strings.Contains(w.Body.String(), `"appId":"`+fake.OfficialAccount.ID+`"`))
	// Output:
	// wx.config says: <nil>
	// true
}

// The gate's Account does whatever else the account's own servers do, with the
// token that the gate uses.
func ExampleGate_Account() {
	fake := wechattest.NewServer()
	defer fake.Close()
	alice := wechattest.Person{Name: "alice"}
	fake.Follow(alice)
	gate := must(wechatgate.New(fake.Options("https://shop.example.com")))

	ctx := context.Background()
	follower, err := gate.Account().Follower(ctx, wechattest.OpenID(fake.OfficialAccount.ID, alice))
	fmt.Println(follower.Follows, err)
	_, err = gate.Account().JSConfig(ctx, "https://shop.example.com/")
	fmt.Println(err, len(fake.Calls(wechattest.OpStableToken)), "token")
	// Output:
	// true <nil>
	// <nil> 1 token
}

// A page for everybody that greets those who are signed in.
func ExampleGate_Optional() {
	fake := wechattest.NewServer()
	defer fake.Close()
	site := start(fake, func(options wechatgate.Options) http.Handler {
		gate := must(wechatgate.New(options))
		return gate.Optional(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, signedIn := wechatgate.UserFromContext(r.Context())
			fmt.Fprintln(w, "signed in:", signedIn)
		}))
	})
	defer site.Close()

	browser := fake.Browser(wechatgate.BrowserWeChat)
	open(browser, site.URL+"/")
	open(browser, site.URL+"/wechat/login?return_to=/welcome")
	// Output:
	// 200 /: signed in: false
	// 200 /welcome: signed in: true
}

// With single routes behind the gate, mount the gate as well: the sign-in comes
// back to a path below it, and WeChat's console asks for its file.
func ExampleGate_ServeHTTP() {
	fake := wechattest.NewServer()
	defer fake.Close()
	site := start(fake, func(options wechatgate.Options) http.Handler {
		options.VerifyFiles = map[string]string{"MP_verify_x.txt": "x"}
		gate := must(wechatgate.New(options))
		mux := http.NewServeMux()
		mux.Handle("/wechat/", gate)
		mux.Handle("/MP_verify_x.txt", gate)
		mux.HandleFunc("GET /{$}", text("for everybody"))
		mux.Handle("GET /orders", gate.Require(text("your orders")))
		return mux
	})
	defer site.Close()

	browser := fake.Browser(wechatgate.BrowserWeChat)
	open(browser, site.URL+"/")
	open(browser, site.URL+"/orders")
	open(browser, site.URL+"/MP_verify_x.txt")
	// Output:
	// 200 /: for everybody
	// 200 /orders: your orders
	// 200 /MP_verify_x.txt: x
}

// A handler that did not pass the gate can ask it who the visitor is.
func ExampleGate_User() {
	fake := wechattest.NewServer()
	defer fake.Close()
	gate := must(wechatgate.New(fake.Options("https://shop.example.com")))
	handler := func(w http.ResponseWriter, r *http.Request) {
		user, err := gate.User(r)
		var failed *wechatgate.Error
		switch {
		case errors.Is(err, wechatgate.ErrNotSignedIn):
			fmt.Fprintln(w, "nobody is signed in")
		case errors.As(err, &failed): // the Store is unavailable
			http.Error(w, "try again later", failed.Status)
		default:
			fmt.Fprintln(w, "signed in:", user.Key())
		}
	}

	w := httptest.NewRecorder()
	handler(w, httptest.NewRequest(http.MethodGet, "/", nil))
	fmt.Print(w.Body)
	// Output:
	// nobody is signed in
}

// Called when the program listens, CheckConfig finds mistakes before a visitor
// does.
func ExampleGate_CheckConfig() {
	fake := wechattest.NewServer()
	defer fake.Close()
	var gate, swapped *wechatgate.Gate
	site := start(fake, func(options wechatgate.Options) http.Handler {
		gate = must(wechatgate.New(options))
		options.Website.Secret = options.OfficialAccount.Secret
		swapped = must(wechatgate.New(options))
		return gate.Require(text("your orders"))
	})
	defer site.Close()

	fmt.Println(gate.CheckConfig(context.Background()))
	err := swapped.CheckConfig(context.Background())
	var (
		mistake *wechatgate.OptionError
		answer  *wechat.Error
	)
	if errors.As(err, &mistake) && errors.As(err, &answer) {
		problem, _, _ := strings.Cut(answer.Hint(), ",")
		fmt.Println(mistake.Field, answer.Code, problem)
	}
	// Output:
	// <nil>
	// Website 40125 The AppSecret does not belong to this AppID
}

func ExampleUserFromContext() {
	handler := func(w http.ResponseWriter, r *http.Request) {
		user, signedIn := wechatgate.UserFromContext(r.Context())
		if !signedIn {
			fmt.Fprintln(w, "Hello, whoever you are")
			return
		}
		fmt.Fprintln(w, "Hello,", user.Nickname)
	}

	w := httptest.NewRecorder()
	handler(w, httptest.NewRequest(http.MethodGet, "/", nil))
	fmt.Print(w.Body)
	// Output:
	// Hello, whoever you are
}

// A handler is tested with a signed-in visitor, and without any gate.
func ExampleContextWithUser() {
	handler := func(w http.ResponseWriter, r *http.Request) {
		user, _ := wechatgate.UserFromContext(r.Context())
		fmt.Fprintln(w, "Orders of", user.OpenID)
	}

	r := httptest.NewRequest(http.MethodGet, "/orders", nil)
	user := wechatgate.User{AppID: "wx0123456789abcdef", OpenID: "oAlice"}
	w := httptest.NewRecorder()
	handler(w, r.WithContext(wechatgate.ContextWithUser(r.Context(), user)))
	fmt.Print(w.Body)
	// Output:
	// Orders of oAlice
}

// Key is what to store things under. UnionID links what two apps know of one
// person, where there is one.
func ExampleUser_Key() {
	inWeChat := wechatgate.User{AppID: "wx0000000000000001", OpenID: "oAlice1", UnionID: "oAliceU"}
	onComputer := wechatgate.User{AppID: "wx0000000000000002", OpenID: "oAlice2", UnionID: "oAliceU"}
	fmt.Println(inWeChat.Key())
	fmt.Println(onComputer.Key())
	fmt.Println("one person:", inWeChat.UnionID != "" && inWeChat.UnionID == onComputer.UnionID)
	// Output:
	// wx0000000000000001:oAlice1
	// wx0000000000000002:oAlice2
	// one person: true
}

func ExampleClassifyBrowser() {
	for _, userAgent := range []string{
		"Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148 MicroMessenger/8.0.60 Language/zh_CN",
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) Chrome/132.0.0.0 Safari/537.36 MicroMessenger/7.0.20 WindowsWechat(0x63090c33)",
		"Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) Mobile/15E148 wxwork/4.1.36 MicroMessenger/7.0.1 Language/zh",
		"Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) Version/18.5 Mobile/15E148 Safari/604.1",
		"Mozilla/5.0 (X11; Linux x86_64) Chrome/138.0.0.0 Safari/537.36",
	} {
		fmt.Println(wechatgate.ClassifyBrowser(userAgent))
	}
	// Output:
	// wechat
	// wechat-desktop
	// wecom
	// mobile
	// desktop
}

func ExampleBrowser_InWeChat() {
	fmt.Println(wechatgate.BrowserWeChatDesktop.InWeChat(), wechatgate.BrowserWeCom.InWeChat())
	// Output:
	// true false
}

// What needs no sign-in is named; whatever is added later is closed.
func ExampleOptions_public() {
	fake := wechattest.NewServer()
	defer fake.Close()
	site := start(fake, func(options wechatgate.Options) http.Handler {
		options.Public = []string{"GET /{$}", "GET /static/"}
		return must(wechatgate.New(options)).Require(text("the page"))
	})
	defer site.Close()

	browser := fake.Browser(wechatgate.BrowserMobile)
	open(browser, site.URL+"/")
	fetch(browser, site.URL+"/static/site.css")
	open(browser, site.URL+"/new")
	// Output:
	// 200 /: the page
	// 200 /static/site.css: the page
	// 401 /new: 请在微信中打开
}

// On the way to a new key, the old one still opens what it sealed.
func ExampleOptions_sessionKeys() {
	fake := wechattest.NewServer()
	defer fake.Close()
	site := start(fake, func(options wechatgate.Options) http.Handler {
		yesterday := must(wechatgate.New(options))
		newKey := []byte("stands for 32 random bytes or more")
		options.SessionKeys = [][]byte{newKey, options.SessionKeys[0]}
		today := must(wechatgate.New(options))

		mux := http.NewServeMux()
		mux.Handle("/", yesterday.Require(text("signed in yesterday")))
		mux.Handle("GET /today", today.Require(text("and still today")))
		return mux
	})
	defer site.Close()

	browser := fake.Browser(wechatgate.BrowserWeChat)
	open(browser, site.URL+"/")
	fetch(browser, site.URL+"/today")
	// Output:
	// 200 /: signed in yesterday
	// 200 /today: and still today
}

// OnLogin refuses a person, and hands over a profile that the site has already,
// so that RequireProfile does not ask.
func ExampleOptions_onLogin() {
	fake := wechattest.NewServer()
	defer fake.Close()
	alice, mallory := wechattest.Person{Name: "alice"}, wechattest.Person{Name: "mallory"}
	app := fake.OfficialAccount.ID
	banned := map[string]bool{app + ":" + wechattest.OpenID(app, mallory): true}
	nicknames := map[string]string{app + ":" + wechattest.OpenID(app, alice): "小艾"}

	site := start(fake, func(options wechatgate.Options) http.Handler {
		options.OnLogin = func(_ *http.Request, login *wechatgate.Login) error {
			key := login.User.Key()
			if banned[key] {
				return errors.New("banned")
			}
			if name, known := nicknames[key]; known && login.Profile == nil {
				login.Profile = &wechat.Profile{Nickname: name}
			}
			return nil
		}
		return must(wechatgate.New(options)).RequireProfile(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			user, _ := wechatgate.UserFromContext(r.Context())
			fmt.Fprintln(w, "Hello,", user.Nickname)
		}))
	})
	defer site.Close()

	open(fake.BrowserAs(wechatgate.BrowserWeChat, alice), site.URL+"/profile")
	open(fake.BrowserAs(wechatgate.BrowserWeChat, mallory), site.URL+"/profile")
	// Output:
	// 200 /profile: Hello, 小艾
	// 403 /wechat/callback: 暂无访问权限
}

// One person is signed out everywhere: sessions that began before a time do not
// count. A real program keeps the times in its database, and looks at them less
// often than on each request where that is too slow.
func ExampleOptions_checkSession() {
	var (
		mu        sync.RWMutex
		notBefore = map[string]time.Time{} // by User.Key
	)
	checkSession := func(_ *http.Request, user wechatgate.User) error {
		mu.RLock()
		defer mu.RUnlock()
		if user.SignedInAt.Before(notBefore[user.Key()]) {
			return wechatgate.ErrSessionRevoked
		}
		return nil
	}

	fake := wechattest.NewServer()
	defer fake.Close()
	site := start(fake, func(options wechatgate.Options) http.Handler {
		options.CheckSession = checkSession
		gate := must(wechatgate.New(options))
		mux := http.NewServeMux()
		mux.HandleFunc("GET /orders", text("your orders"))
		mux.HandleFunc("POST /sign-out-everywhere", func(w http.ResponseWriter, r *http.Request) {
			if err := gate.SignOut(w, r); err != nil { // here, and not silently in again
				http.Error(w, "try again later", http.StatusServiceUnavailable)
				return
			}
			user, _ := wechatgate.UserFromContext(r.Context())
			mu.Lock()
			defer mu.Unlock()
			notBefore[user.Key()] = time.Now()
			http.Redirect(w, r, "/wechat/signed-out", http.StatusSeeOther)
		})
		return http.NewCrossOriginProtection().Handler(gate.Require(mux))
	})
	defer site.Close()

	alice, bob := wechattest.Person{Name: "alice"}, wechattest.Person{Name: "bob"}
	phone, computer := fake.BrowserAs(wechatgate.BrowserWeChat, alice), fake.BrowserAs(wechatgate.BrowserWeChatDesktop, alice)
	others := fake.BrowserAs(wechatgate.BrowserWeChat, bob)
	for _, browser := range []*http.Client{phone, computer, others} {
		open(browser, site.URL+"/orders")
	}
	submit(phone, site.URL+"/sign-out-everywhere")
	for _, browser := range []*http.Client{phone, computer, others} {
		fetch(browser, site.URL+"/orders")
	}
	// Output:
	// 200 /orders: your orders
	// 200 /orders: your orders
	// 200 /orders: your orders
	// 200 /wechat/signed-out: 已退出登录
	// 401 /orders: {"error":"login_required","login_url":"http://site/wechat/login"}
	// 401 /orders: {"error":"login_required","login_url":"http://site/wechat/login"}
	// 200 /orders: your orders
}

// OnLogout hears of a sign-out. After it, WeChat does not sign the visitor in
// silently for a while; the button on the page does.
func ExampleOptions_onLogout() {
	fake := wechattest.NewServer()
	defer fake.Close()
	site := start(fake, func(options wechatgate.Options) http.Handler {
		options.OnLogout = func(_ *http.Request, user wechatgate.User) {
			fmt.Println("signed out of", user.AppID == fake.OfficialAccount.ID)
		}
		return must(wechatgate.New(options)).Require(text("your orders"))
	})
	defer site.Close()

	browser := fake.Browser(wechatgate.BrowserWeChat)
	open(browser, site.URL+"/orders")
	submit(browser, site.URL+"/wechat/logout")
	open(browser, site.URL+"/orders")
	open(browser, site.URL+"/wechat/login?return_to=/orders") // the button
	// Output:
	// 200 /orders: your orders
	// signed out of true
	// 200 /wechat/signed-out: 已退出登录
	// 401 /orders: 已退出登录
	// 200 /orders: your orders
}

// A site's own page says what the gate has to say. Everything in Page but Err
// may be shown; Err.Reason chooses the words.
func ExampleOptions_page() {
	page := template.Must(template.New("").Parse(`<!DOCTYPE html>
<html lang="{{.Lang}}">
<title>Shop: {{.Name}}</title>
{{with .Err}}<p>{{.Reason}}</p>{{end}}
{{with .PageURL}}<p>Open in WeChat: {{.}}</p>{{end}}
{{with .FrameURL}}<iframe src="{{.}}" width="300" height="400" sandbox="allow-scripts allow-same-origin allow-top-navigation"></iframe>{{end}}
{{with .SignInURL}}<a href="{{.}}">Sign in</a>{{end}}
{{with .SignOutURL}}<form method="post" action="{{.}}"><button>Sign out</button></form>{{end}}
{{with .Reference}}<p>Mention {{.}} when you call us.</p>{{end}}
</html>
`))

	fake := wechattest.NewServer()
	defer fake.Close()
	site := start(fake, func(options wechatgate.Options) http.Handler {
		options.Page = func(w http.ResponseWriter, _ *http.Request, p wechatgate.Page) {
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			w.WriteHeader(p.Status)
			_ = page.Execute(w, p)
		}
		return must(wechatgate.New(options)).Require(text("your orders"))
	})
	defer site.Close()

	open(fake.Browser(wechatgate.BrowserMobile), site.URL+"/orders")
	open(fake.Browser(wechatgate.BrowserDesktop), site.URL+"/wechat/callback?state=forged")
	// Output:
	// 401 /orders: Shop: open-in-wechat
	// 403 /wechat/callback: Shop: retry
}

// Phones outside of WeChat get the QR code at once, for a second phone.
func ExampleOptions_flow() {
	fake := wechattest.NewServer()
	defer fake.Close()
	site := start(fake, func(options wechatgate.Options) http.Handler {
		options.Flow = func(_ *http.Request, browser wechatgate.Browser) wechatgate.Flow {
			if browser == wechatgate.BrowserMobile {
				return wechatgate.FlowQR
			}
			return wechatgate.FlowDefault
		}
		return must(wechatgate.New(options)).Require(text("your orders"))
	})
	defer site.Close()

	open(fake.Browser(wechatgate.BrowserMobile), site.URL+"/orders") // and scan
	// Output:
	// 200 /orders: your orders
}

// The log has one record for each sign-in, sign-out, refusal and failure. Event
// and reason are there to be counted.
func ExampleOptions_logger() {
	fake := wechattest.NewServer()
	defer fake.Close()
	site := start(fake, func(options wechatgate.Options) http.Handler {
		options.Logger = slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{
			ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
				switch a.Key {
				case slog.TimeKey, "app_id", "user", "reference": // differ each time
					return slog.Attr{}
				}
				return a
			},
		}))
		return must(wechatgate.New(options)).Require(text("your orders"))
	})
	defer site.Close()

	browser := fake.Browser(wechatgate.BrowserWeChat)
	open(browser, site.URL+"/orders")
	open(browser, site.URL+"/wechat/callback?state=forged")
	// Output:
	// level=INFO msg="wechatgate: signed in" event="signed in" flow=official-account browser=wechat
	// 200 /orders: your orders
	// level=INFO msg="wechatgate: sign-in failed" event="sign-in failed" reason=state error="the callback's code or state is missing, doubled or malformed" browser=wechat docs=https://github.com/wechatgate/wechatgate/blob/main/docs/troubleshooting.md#reason-state-sign-in-was-not-completed
	// 403 /wechat/callback: 登录没有完成
}

// Sessions on the server, in any Store of gorilla/sessions.
func ExampleOptions_store() {
	fake := wechattest.NewServer()
	defer fake.Close()
	dir, err := os.MkdirTemp("", "sessions")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	site := start(fake, func(options wechatgate.Options) http.Handler {
		options.Store = sessions.NewFilesystemStore(dir, options.SessionKeys[0])
		return must(wechatgate.New(options)).Require(text("your orders"))
	})
	defer site.Close()

	open(fake.Browser(wechatgate.BrowserWeChat), site.URL+"/orders")
	files, err := os.ReadDir(dir)
	fmt.Println("files:", len(files), err)
	// Output:
	// 200 /orders: your orders
	// files: 1 <nil>
}

// A program for a thousand sites, each with a host, an account and keys of its own.
// The host chooses the Gate; a host that is none of them is answered without one,
// so that made-up hosts fill no memory.
//
// Gates share nothing in memory. Two sites of one official account have a Gate and
// an Account each, and WeChat gives both the same stable token.
func Example_tenants() {
	type tenant struct {
		appID, secret string
		key           []byte
	}
	tenants := map[string]tenant{} // from the site's own records
	for i := range 1000 {
		key := sha256.Sum256(fmt.Appendf(nil, "made with openssl rand, number %d", i))
		tenants[fmt.Sprintf("shop%d.example.com", i)] = tenant{fmt.Sprintf("wx%016d", i), "AppSecret", key[:]}
	}
	shop := func(w http.ResponseWriter, r *http.Request) {
		user, _ := wechatgate.UserFromContext(r.Context())
		fmt.Fprintln(w, "the shop at", r.Host, "for", user.Key())
	}

	var (
		mu    sync.Mutex
		sites = map[string]http.Handler{} // made when they are visited first
	)
	siteOf := func(host string) (http.Handler, bool) {
		mu.Lock()
		defer mu.Unlock()
		if site, made := sites[host]; made {
			return site, true
		}
		t, known := tenants[host]
		if !known {
			return nil, false
		}
		gate, err := wechatgate.New(wechatgate.Options{
			BaseURL:         "https://" + host, // of the records, not of the request
			OfficialAccount: wechatgate.App{ID: t.appID, Secret: t.secret},
			SessionKeys:     [][]byte{t.key},
		})
		if err != nil {
			slog.Error("a tenant's settings are wrong", "host", host, "error", err)
			return nil, false
		}
		sites[host] = gate.Require(http.HandlerFunc(shop))
		return sites[host], true
	}
	program := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		site, known := siteOf(strings.ToLower(r.Host)) // behind a proxy that hands Host on
		if !known {
			http.Error(w, "no such site", http.StatusMisdirectedRequest)
			return
		}
		site.ServeHTTP(w, r)
	})

	for _, address := range []string{"https://shop7.example.com/tea", "https://SHOP42.example.com/", "https://shop1000.example.com/"} {
		r := httptest.NewRequest(http.MethodGet, address, nil)
		r.Header.Set("User-Agent", "MicroMessenger/8.0 Mobile")
		r.Header.Set("Accept", "text/html")
		w := httptest.NewRecorder()
		program.ServeHTTP(w, r)
		if w.Code != http.StatusFound {
			fmt.Println(w.Code)
			continue
		}
		weChat, _ := url.Parse(w.Header().Get("Location"))
		fmt.Println(w.Code, weChat.Query().Get("appid"), weChat.Query().Get("redirect_uri"))
	}
	fmt.Println(len(sites), "gates")
	// Output:
	// 302 wx0000000000000007 https://shop7.example.com/wechat/callback
	// 302 wx0000000000000042 https://shop42.example.com/wechat/callback
	// 421
	// 2 gates
}

// A failure has a Reason for the visitor, and a cause for the log.
func ExampleError() {
	fake := wechattest.NewServer()
	defer fake.Close()
	options := fake.Options("https://shop.example.com")
	options.Page = func(w http.ResponseWriter, _ *http.Request, p wechatgate.Page) {
		w.WriteHeader(p.Status)
		if p.Err != nil {
			fmt.Println(p.Name, p.Err.Status, p.Err.Reason == wechatgate.ReasonState)
			fmt.Println(p.Err)
		}
	}
	gate := must(wechatgate.New(options))
	gate.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/wechat/callback?state=forged", nil))
	// Output:
	// retry 403 true
	// wechatgate: state: the callback's code or state is missing, doubled or malformed
}

// Mistakes have a field each, for programs that read their settings from elsewhere
// and have other names for them.
func ExampleOptionError() {
	_, err := wechatgate.New(wechatgate.Options{
		BaseURL:         "https://shop.example.com",
		OfficialAccount: wechatgate.App{ID: "wx1234567890abcdef"},
		SessionKeys:     [][]byte{[]byte("stands for 32 random bytes or more")},
	})
	var mistake *wechatgate.OptionError
	if errors.As(err, &mistake) { // the first of them
		names := map[string]string{"OfficialAccount.Secret": "SHOP_APP_SECRET"}
		fmt.Println(names[mistake.Field]+":", mistake.Problem)
	}
	// Output:
	// SHOP_APP_SECRET: is missing, though the ID is set
}

// A reverse proxy answers itself: it asks Check, and hands what Check refuses to
// Challenge. A header tells the site behind it who the visitor is; what a visitor
// sends under that name is taken out. Command wechatgate is such a proxy, complete.
func ExampleGate_Check() {
	fake := wechattest.NewServer()
	defer fake.Close()
	alice := wechattest.Person{Name: "alice"}
	key := fake.OfficialAccount.ID + ":" + wechattest.OpenID(fake.OfficialAccount.ID, alice)

	behind := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, "it is alice:", r.Header.Get("X-User") == key)
	}))
	defer behind.Close()
	address, err := url.Parse(behind.URL)
	if err != nil {
		panic(err)
	}
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(address)
		r.Out.Header.Del("X-User")
		if user, signedIn := wechatgate.UserFromContext(r.In.Context()); signedIn {
			r.Out.Header.Set("X-User", user.Key())
		}
	}}

	site := start(fake, func(options wechatgate.Options) http.Handler {
		gate := must(wechatgate.New(options))
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if gate.Owns(r) {
				gate.ServeHTTP(w, r)
				return
			}
			user, err := gate.Check(w, r)
			if err != nil {
				gate.Challenge(w, r, err)
				return
			}
			if user != (wechatgate.User{}) { // anonymous visitors pass on public paths
				r = r.WithContext(wechatgate.ContextWithUser(r.Context(), user))
			}
			proxy.ServeHTTP(w, r)
		})
	})
	defer site.Close()

	browser := fake.BrowserAs(wechatgate.BrowserWeChat, alice)
	fetch(browser, site.URL+"/")
	open(browser, site.URL+"/")
	// Output:
	// 401 /: {"error":"login_required","login_url":"http://site/wechat/login"}
	// 200 /: it is alice: true
}

// A program takes up new settings without a restart. Handlers are wrapped anew,
// and one pointer leads new requests to them.
func ExampleGate_Renew() {
	fake := wechattest.NewServer()
	defer fake.Close()
	var reload func()
	site := start(fake, func(options wechatgate.Options) http.Handler {
		gate := must(wechatgate.New(options))
		var current atomic.Pointer[http.Handler]
		use := func(g *wechatgate.Gate) {
			handler := g.Require(text("the page"))
			current.Store(&handler)
			gate = g
		}
		use(gate)
		reload = func() { // on a signal, one at a time
			options.Public = []string{"GET /news"}
			renewed, err := gate.Renew(options)
			if err != nil {
				fmt.Println(err) // the old settings stay
				return
			}
			use(renewed)
		}
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { (*current.Load()).ServeHTTP(w, r) })
	})
	defer site.Close()

	visitor, stranger := fake.Browser(wechatgate.BrowserWeChat), fake.Browser(wechatgate.BrowserMobile)
	open(visitor, site.URL+"/orders")
	open(stranger, site.URL+"/news")
	reload()
	fetch(visitor, site.URL+"/orders") // still signed in
	open(stranger, site.URL+"/news")
	// Output:
	// 200 /orders: the page
	// 401 /news: 请在微信中打开
	// 200 /orders: the page
	// 200 /news: the page
}

// A handler that signs the visitor out and answers by itself. It checks first that
// the request comes from this site.
func ExampleGate_SignOut() {
	fake := wechattest.NewServer()
	defer fake.Close()
	site := start(fake, func(options wechatgate.Options) http.Handler {
		gate := must(wechatgate.New(options))
		mux := http.NewServeMux()
		mux.HandleFunc("GET /orders", text("your orders"))
		mux.HandleFunc("POST /account/close", func(w http.ResponseWriter, r *http.Request) {
			if err := gate.SignOut(w, r); err != nil { // the Store is unavailable
				http.Error(w, "try again later", http.StatusServiceUnavailable)
				return
			}
			fmt.Fprintln(w, "Goodbye.")
		})
		return http.NewCrossOriginProtection().Handler(gate.Require(mux))
	})
	defer site.Close()

	browser := fake.Browser(wechatgate.BrowserWeChat)
	open(browser, site.URL+"/orders")
	submit(browser, site.URL+"/account/close")
	open(browser, site.URL+"/orders")
	// Output:
	// 200 /orders: your orders
	// 200 /account/close: Goodbye.
	// 401 /orders: 已退出登录
}

// A menu has a link to sign in, and a form to sign out: a form does it at once.
func ExampleGate_LoginURL() {
	menu := template.Must(template.New("").Parse(`{{with .SignedIn}}<form method="post" action="{{$.Out}}"><button>Sign out</button></form>
{{else}}<a href="{{$.In}}">Sign in</a>
{{end}}`))

	fake := wechattest.NewServer()
	defer fake.Close()
	gate := must(wechatgate.New(fake.Options("https://shop.example.com")))
	handler := gate.Optional(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, signedIn := wechatgate.UserFromContext(r.Context())
		_ = menu.Execute(w, map[string]any{
			"SignedIn": signedIn,
			"In":       gate.LoginURL(r.URL.Path),
			"Out":      gate.LogoutURL("/"),
		})
	}))

	w := httptest.NewRecorder()
	handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/cart", nil))
	fmt.Print(w.Body)
	fmt.Println(gate.LogoutURL("/"))
	// Output:
	// <a href="https://shop.example.com/wechat/login?return_to=%2Fcart">Sign in</a>
	// https://shop.example.com/wechat/logout?return_to=%2F
}

// The visitor reads why. The text of any other error goes to the log alone.
func ExampleRefuse() {
	fake := wechattest.NewServer()
	defer fake.Close()
	alice := wechattest.Person{Name: "alice"}
	members := map[string]bool{wechattest.OpenID(fake.OfficialAccount.ID, alice): true}
	site := start(fake, func(options wechatgate.Options) http.Handler {
		options.OnLogin = func(_ *http.Request, login *wechatgate.Login) error {
			if !members[login.User.OpenID] {
				return wechatgate.Refuse("This shop is for members. Ask at the counter.")
			}
			return nil
		}
		options.Page = func(w http.ResponseWriter, _ *http.Request, p wechatgate.Page) {
			http.Error(w, p.Message, p.Status) // the built-in page shows it, too
		}
		return must(wechatgate.New(options)).Require(text("your orders"))
	})
	defer site.Close()

	open(fake.BrowserAs(wechatgate.BrowserWeChat, alice), site.URL+"/orders")
	open(fake.BrowserAs(wechatgate.BrowserWeChat, wechattest.Person{Name: "bob"}), site.URL+"/orders")
	// Output:
	// 200 /orders: your orders
	// 403 /wechat/callback: This shop is for members. Ask at the counter.
}

// An API in a format of its own says why it refuses, and where to sign in.
func ExampleChallengeFromContext() {
	fake := wechattest.NewServer()
	defer fake.Close()
	site := start(fake, func(options wechatgate.Options) http.Handler {
		options.Unauthorized = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			challenge, _ := wechatgate.ChallengeFromContext(r.Context()) // here there always is one
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(http.StatusUnauthorized)
			fmt.Fprintf(w, `{"title": %q, "instance": %q}`, challenge.Error, challenge.LoginURL)
		})
		return must(wechatgate.New(options)).Require(text("your orders"))
	})
	defer site.Close()

	fetch(fake.Browser(wechatgate.BrowserDesktop), site.URL+"/api/orders")
	// Output:
	// 401 /api/orders: {"title": "login_required", "instance": "http://site/wechat/login"}
}

// start serves the handler that build makes, with options that fit its address.
func start(fake *wechattest.Server, build func(wechatgate.Options) http.Handler) *httptest.Server {
	site := httptest.NewUnstartedServer(nil)
	options := fake.Options("http://" + site.Listener.Addr().String())
	options.Logger = slog.New(slog.DiscardHandler) // or else, slog.Default()
	site.Config.Handler = build(options)
	site.Start()
	return site
}

func must(gate *wechatgate.Gate, err error) *wechatgate.Gate {
	if err != nil {
		panic(err)
	}
	return gate
}

func text(s string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, s) }
}

// open opens a page as a person does, and prints where that ended: a page's
// title, or else its text.
func open(browser *http.Client, url string) { send(browser, http.MethodGet, url, "") }

// submit sends a form of the same site, and prints where that ended.
func submit(browser *http.Client, url string) { send(browser, http.MethodPost, url, "") }

// fetch asks as a script does, and prints the answer.
func fetch(browser *http.Client, url string) { send(browser, http.MethodGet, url, "*/*") }

func send(browser *http.Client, method, url, accept string) {
	r, err := http.NewRequestWithContext(context.Background(), method, url, nil)
	if err != nil {
		panic(err)
	}
	if accept != "" {
		r.Header.Set("Accept", accept)
	}
	response, err := browser.Do(r)
	if err != nil {
		panic(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		panic(err)
	}
	u := response.Request.URL
	text := strings.ReplaceAll(string(body), u.Host, "site")
	if _, after, found := strings.Cut(text, "<title>"); found {
		text, _, _ = strings.Cut(after, "</title>")
	}
	if strings.HasPrefix(u.Path, "/wechat/") {
		u.RawQuery = ""
	}
	fmt.Printf("%d %s: %s\n", response.StatusCode, u.RequestURI(), strings.TrimSpace(text))
}
