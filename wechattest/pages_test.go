package wechattest_test

import (
	"context"
	"html"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wechatgate/wechatgate/wechat"
	"github.com/wechatgate/wechatgate/wechattest"
)

const (
	weChat   = "Mozilla/5.0 (Linux; Android 14) AppleWebKit/537.36 Chrome/130.0 Mobile Safari/537.36 MicroMessenger/8.0.56.2800(0x28003855) Language/zh_CN"
	weCom    = "Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 Chrome/116.0 Safari/537.36 wxwork/4.1.33 MicroMessenger/7.0.1 WindowsWechat"
	chromium = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/138.0.0.0 Safari/537.36"

	callback = "https://shop.example.com/wechat/callback"
	state    = "0123456789abcdef0123456789abcdef"
)

func newServer(t *testing.T) *wechattest.Server {
	t.Helper()
	s := wechattest.NewServer()
	t.Cleanup(s.Close)
	s.Register("shop.example.com")
	return s
}

// The answers of a page, as outcomeOf names them. WeChat's errors are named by
// their number.
const (
	sentBack   = "sent back"
	brokenLink = "该链接无法访问"
	notWeChat  = "请在微信客户端打开链接"
	badState   = "state 参数错误"
	badAppID   = "AppID 参数错误"
)

var (
	errcode  = regexp.MustCompile(`data-errcode="(\d+)"`)
	headline = regexp.MustCompile(`<h1>([^<]*)`)
	hiddenID = regexp.MustCompile(`name="id" value="([^"]+)"`)
	goesOn   = regexp.MustCompile(`id="continue" href="([^"]+)" target="([^"]+)"`)
)

func TestAuthorize(t *testing.T) {
	s := newServer(t)
	s.Register("127.0.0.1:8080")
	good := s.Endpoints().AuthorizeURL(s.OfficialAccount.ID, callback, wechat.ScopeBase, state)
	to := func(redirectURI string) string {
		return s.Endpoints().AuthorizeURL(s.OfficialAccount.ID, redirectURI, wechat.ScopeBase, state)
	}
	without := func(parameter string) string {
		return regexp.MustCompile(parameter+`=[^&#]*`).ReplaceAllString(good, parameter+"=")
	}

	for _, test := range []struct {
		name      string
		address   string
		userAgent string
		want      string
	}{
		{"what wechat.AuthorizeURL builds is right", good, weChat, sentBack},
		{"for a profile, too", s.Endpoints().AuthorizeURL(s.OfficialAccount.ID, callback, wechat.ScopeUserInfo, state), weChat, sentBack},
		{"an undocumented parameter may be left out", strings.Replace(good, "&connect_redirect=1", "", 1), weChat, sentBack},
		{"optional parameters have no order", strings.Replace(good, "&connect_redirect=1", "&forcePopup=true&connect_redirect=1", 1), weChat, sentBack},

		{"neither have their values", strings.Replace(good, "#", "&forcePopup=false&forceSnapShot=true#", 1), weChat, sentBack},

		{"another browser is told to open WeChat", good, chromium, notWeChat},
		{"WeCom is another browser, whatever it says", good, weCom, notWeChat},
		{"a browser that says nothing, too", good, "", notWeChat},

		{"no scope", without("scope"), weChat, "10010"},
		{"no redirect_uri", without("redirect_uri"), weChat, "10011"},
		{"no appid", without("appid"), weChat, "10012"},
		{"no state", without("state"), weChat, "10013"},
		{"a state that is not even named", strings.Replace(good, "&state="+state, "", 1), weChat, "10013"},
		{"no response_type", without("response_type"), weChat, brokenLink},
		{"another response_type", strings.Replace(good, "=code", "=token", 1), weChat, brokenLink},
		{"no query at all", s.URL + "/connect/oauth2/authorize", weChat, brokenLink},

		{"sorted, as url.Values.Encode does it", sorted(t, good), weChat, brokenLink},
		{"an optional parameter before the state", strings.Replace(good, "&state", "&connect_redirect=1&state", 1), weChat, brokenLink},
		{"two parameters in each other's place", strings.Replace(good, "&scope=snsapi_base&state="+state, "&state="+state+"&scope=snsapi_base", 1), weChat, brokenLink},
		{"a parameter twice", strings.Replace(good, "#", "&state="+state+"#", 1), weChat, brokenLink},
		{"an optional parameter twice", strings.Replace(good, "#", "&connect_redirect=1#", 1), weChat, brokenLink},
		{"a parameter that WeChat does not know", strings.Replace(good, "#", "&lang=en#", 1), weChat, brokenLink},
		{"a value that WeChat does not know", strings.Replace(good, "connect_redirect=1", "connect_redirect=2", 1), weChat, brokenLink},
		{"an ampersand too many", strings.Replace(good, "#", "&#", 1), weChat, brokenLink},

		{"redirect_uri as it is", strings.Replace(good, url.QueryEscape(callback), callback, 1), weChat, brokenLink},
		{"redirect_uri with its slashes as they are", strings.Replace(good, "%2F", "/", 2), weChat, brokenLink},
		{"redirect_uri with its colon as it is", strings.Replace(good, "%3A", ":", 1), weChat, brokenLink},
		{"redirect_uri with a plus for a space", strings.Replace(good, "callback", "call+back", 1), weChat, brokenLink},
		{"redirect_uri with half an escape", strings.Replace(good, "callback", "callback%2", 1), weChat, brokenLink},

		{"another host", to("https://evil.example.com/"), weChat, "10003"},
		{"a host below the registered one", to("https://www.shop.example.com/"), weChat, "10003"},
		{"the registered host in the user's place", to("https://shop.example.com@evil.example.com/"), weChat, "10003"},
		{"the registered host with a user", to("https://me@shop.example.com/"), weChat, "10003"},
		{"a port", to("https://shop.example.com:443/"), weChat, "10003"},
		{"plain http", to("http://shop.example.com/"), weChat, "10003"},
		{"another scheme", to("ftp://shop.example.com/"), weChat, "10003"},
		{"no scheme", to("//shop.example.com/"), weChat, "10003"},
		{"a path alone", to("/wechat/callback"), weChat, "10003"},
		{"a space", to(callback + " "), weChat, "10003"},
		{"a letter that no URL has", to(callback + "回"), weChat, "10003"},
		{"a line break", to(callback + "\r\nSet-Cookie: a=b"), weChat, "10003"},
		{"a test account may use http, an IP address and a port", to("http://127.0.0.1:8080/callback"), weChat, sentBack},
		{"but not another port", to("http://127.0.0.1:8081/callback"), weChat, "10003"},
		{"nor another address", to("http://127.0.0.2:8080/callback"), weChat, "10003"},

		{"a state of 128 characters", strings.Replace(good, state, strings.Repeat("aA0z", 32), 1), weChat, sentBack},
		{"a state of 129", strings.Replace(good, state, strings.Repeat("a", 129), 1), weChat, badState},
		{"a state with a hyphen", strings.Replace(good, state, "a-b", 1), weChat, badState},
		{"a state with an escape", strings.Replace(good, state, "a%2Fb", 1), weChat, badState},

		{"a website app's ID", strings.Replace(good, s.OfficialAccount.ID, s.Website.ID, 1), weChat, "10016"},
		{"nobody's ID", strings.Replace(good, s.OfficialAccount.ID, "wx0000000000000000", 1), weChat, badAppID},
		{"a website app's scope", strings.Replace(good, "snsapi_base", "snsapi_login", 1), weChat, "10005"},
		{"two scopes", strings.Replace(good, "snsapi_base", "snsapi_base,snsapi_userinfo", 1), weChat, "10005"},
	} {
		t.Run(test.name, func(t *testing.T) {
			assert.Equal(t, test.want, outcomeOf(visit(t, s, test.userAgent, test.address)))
		})
	}
}

func TestQRConnect(t *testing.T) {
	s := newServer(t)
	good := s.Endpoints().QRConnectURL(s.Website.ID, callback, state, "")
	frame := func(style wechat.QRStyle) string {
		return s.Endpoints().QRFrameURL(s.Website.ID, callback, state, "en", style)
	}
	plus := func(parameters string) string { return strings.Replace(good, "#", parameters+"#", 1) }

	for _, test := range []struct {
		name    string
		address string
		want    string
	}{
		{"what wechat.QRConnectURL builds is right", good, sentBack},
		{"with a language, too", s.Endpoints().QRConnectURL(s.Website.ID, callback, state, "cn"), sentBack},
		{"what wechat.QRFrameURL builds is right", frame(wechat.QRStyle{}), sentBack},
		{"in white", frame(wechat.QRStyle{Color: "white"}), sentBack},
		{"with a style sheet", frame(wechat.QRStyle{StyleSheet: "https://shop.example.com/qr.css"}), sentBack},
		{"with a style sheet in its address", frame(wechat.QRStyle{StyleSheet: "data:text/css;base64,LmEgeyB9"}), sentBack},
		{"without fast login", frame(wechat.QRStyle{Lite: true, NoFastLogin: true}), sentBack},
		{"with all that wxLogin.js leaves empty", plus("&login_type=jssdk&self_redirect=false&styletype=&sizetype=&bgcolor=&rst="), sentBack},

		{"as wxLogin.js writes it", wxLogin(s, state, "&styletype=&sizetype=&bgcolor=&rst=&style=black&href=data:text/css;base64,LmEgeyB9&lang=en&stylelite=1&fast_login=0"), sentBack},
		{"as wxLogin.js writes it without a state", wxLogin(s, "undefined", ""), sentBack},
		{"an unknown language", s.Endpoints().QRConnectURL(s.Website.ID, callback, state, "zh_CN"), sentBack},
		{"an unknown parameter", plus("&size=300"), sentBack},
		{"another kind of frame", plus("&login_type=iframe"), sentBack},
		{"no fast login without the newer frame", frame(wechat.QRStyle{NoFastLogin: true}), sentBack},
		{"a style sheet for the newer frame", frame(wechat.QRStyle{Lite: true, StyleSheet: "https://shop.example.com/qr.css"}), sentBack},
		{"an official account's parameter", plus("&connect_redirect=1"), sentBack},
		{"sorted, as url.Values.Encode does it", sorted(t, s.Endpoints().QRConnectURL(s.Website.ID, callback, state, "cn")), sentBack},
		{"no response_type", strings.Replace(good, "&response_type=code", "", 1), sentBack},
		{"an empty state", strings.Replace(good, state, "", 1), sentBack},
		{"no state", strings.Replace(good, "&state="+state, "", 1), sentBack},
		{"a state of 200 characters", strings.Replace(good, state, strings.Repeat("aA0z", 50), 1), sentBack},
		{"a state with a hyphen and an underscore", strings.Replace(good, state, "a-b_c", 1), sentBack},
		{"two scopes", strings.Replace(good, "snsapi_login", "snsapi_login,snsapi_userinfo", 1), sentBack},
		{"two scopes, encoded", strings.Replace(good, "snsapi_login", "snsapi_login%2Csnsapi_userinfo", 1), sentBack},

		{"no appid", strings.Replace(good, s.Website.ID, "", 1), "10012"},
		{"no redirect_uri", strings.Replace(good, url.QueryEscape(callback), "", 1), "10011"},
		{"no scope", strings.Replace(good, "snsapi_login", "", 1), "10010"},
		{"nobody's ID", strings.Replace(good, s.Website.ID, "wx0000000000000000", 1), badAppID},
		{"a parameter twice", plus("&scope=snsapi_login"), brokenLink},
		{"another response_type", strings.Replace(good, "=code", "=token", 1), brokenLink},
		{"redirect_uri as it is", strings.Replace(good, url.QueryEscape(callback), callback, 1), brokenLink},
		{"an official account's ID", strings.Replace(good, s.Website.ID, s.OfficialAccount.ID, 1), "10005"},
		{"an official account's scope", strings.Replace(good, "snsapi_login", "snsapi_userinfo", 1), "10005"},
		{"another host", strings.Replace(good, "shop", "evil", 1), "10003"},
	} {
		t.Run(test.name, func(t *testing.T) {
			assert.Equal(t, test.want, outcomeOf(visit(t, s, chromium, test.address)))
		})
	}
}

// wxLogin is the address of the frame that WeChat's own script makes.
func wxLogin(s *wechattest.Server, state, more string) string {
	return s.URL + "/connect/qrconnect?appid=" + s.Website.ID + "&scope=snsapi_login&redirect_uri=" + url.QueryEscape(callback) +
		"&state=" + state + "&login_type=jssdk&self_redirect=default" + more
}

func TestWayBack(t *testing.T) {
	s := newServer(t)
	for _, test := range []struct {
		name        string
		redirectURI string
		want        string // CODE stands for the code
	}{
		{"code and state are the query", callback, callback + "?code=CODE&state=" + state},
		{"or the rest of it", callback + "?a=1&b=%2F", callback + "?a=1&b=%2F&code=CODE&state=" + state},
		{"a parameter openId gets lost", callback + "?a=1&openId=x&b=2", callback + "?a=1&b=2&code=CODE&state=" + state},
		{"also when it is the only one", callback + "?openId=x", callback + "?code=CODE&state=" + state},
		{"one of another name does not", callback + "?openid=x", callback + "?openid=x&code=CODE&state=" + state},
		{"they stand before a fragment", callback + "?a=1#/orders?b", callback + "?a=1&code=CODE&state=" + state + "#/orders?b"},
	} {
		t.Run(test.name, func(t *testing.T) {
			response := visit(t, s, weChat, s.Endpoints().AuthorizeURL(s.OfficialAccount.ID, test.redirectURI, wechat.ScopeBase, state))
			assert.Equal(t, http.StatusFound, response.status)
			assert.Equal(t, test.want, regexp.MustCompile(`[0-9A-Z]{32}`).ReplaceAllString(response.location, "CODE"))
		})
	}
}

func TestFrameMovesItsWindow(t *testing.T) {
	s := newServer(t)
	for _, test := range []struct {
		selfRedirect string
		window       string
	}{
		{"default", "_top"},
		{"false", "_top"},
		{"true", "_self"},
	} {
		t.Run(test.selfRedirect, func(t *testing.T) {
			address := s.Endpoints().QRFrameURL(s.Website.ID, callback, state, "", wechat.QRStyle{})
			response := visit(t, s, chromium, strings.Replace(address, "=default", "="+test.selfRedirect, 1))
			assert.Equal(t, http.StatusOK, response.status, "a redirect would stay in the frame")
			match := goesOn.FindStringSubmatch(response.body)
			require.NotNil(t, match)
			assert.Contains(t, match[1], callback)
			assert.Equal(t, test.window, match[2])
			assert.Contains(t, response.body, ".location.href = ")
		})
	}
}

func TestDenial(t *testing.T) {
	s := newServer(t)
	links := map[wechat.Scope]string{
		wechat.ScopeBase:     s.Endpoints().AuthorizeURL(s.OfficialAccount.ID, callback, wechat.ScopeBase, state),
		wechat.ScopeUserInfo: s.Endpoints().AuthorizeURL(s.OfficialAccount.ID, callback, wechat.ScopeUserInfo, state),
		wechat.ScopeLogin:    s.Endpoints().QRConnectURL(s.Website.ID, callback, state, ""),
	}
	for _, test := range []struct {
		name  string
		kind  wechattest.Denial
		scope wechat.Scope
		want  string // the query of the callback
	}{
		{"code=authdeny", wechattest.DenyAuthdeny, wechat.ScopeUserInfo, "?code=authdeny&state=" + state},
		{"by QR code, too", wechattest.DenyAuthdeny, wechat.ScopeLogin, "?code=authdeny&state=" + state},
		{"a state without code", wechattest.DenyNoCode, wechat.ScopeUserInfo, "?state=" + state},
		{"nothing", wechattest.DenyNoCallback, wechat.ScopeUserInfo, ""},
		{"nobody can refuse a silent sign-in", wechattest.DenyNoCallback, wechat.ScopeBase, "?code="},
		{"nobody refuses any more", wechattest.DenyNone, wechat.ScopeUserInfo, "?code="},
	} {
		t.Run(test.name, func(t *testing.T) {
			s.Deny(test.kind)
			response := visit(t, s, weChat, links[test.scope])
			if test.want == "" {
				assert.Equal(t, http.StatusOK, response.status)
				assert.Equal(t, "你已取消登录", outcomeOf(response))
				return
			}
			assert.Equal(t, http.StatusFound, response.status)
			assert.True(t, strings.HasPrefix(response.location, callback+test.want), response.location)
		})
	}
}

func TestAsk(t *testing.T) {
	alice, bob, zoe := wechattest.Person{Name: "alice"}, wechattest.Person{Name: "bob"}, wechattest.Person{Name: "zoe", Nickname: "<Zoë>"}
	for _, test := range []struct {
		name   string
		scope  wechat.Scope
		choose string // a field of the form
		want   wechattest.Person
		refuse bool
	}{
		{"a QR code is scanned by the first person", wechat.ScopeLogin, "person=alice", alice, false},
		{"or by another one", wechat.ScopeLogin, "person=bob", bob, false},
		{"or by one of the test's", wechat.ScopeLogin, "person=zoe", zoe, false},
		{"or refused", wechat.ScopeLogin, "action=refuse", alice, true},
		{"inside WeChat a person allows", wechat.ScopeUserInfo, "person=alice", alice, false},
		{"or refuses", wechat.ScopeUserInfo, "action=refuse", alice, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newServer(t)
			s.SignInAs(zoe)
			s.SignInAs(alice)
			s.Ask(wechattest.AskAlways)
			id, page := ask(t, s, test.scope)
			assert.Contains(t, page, `data-person="alice" data-action="allow"`)
			assert.Contains(t, page, `data-person="bob"`)
			assert.Contains(t, page, "&lt;Zoë&gt;")
			assert.Contains(t, page, `data-action="refuse"`)
			assert.NotContains(t, page, state)
			assert.NotContains(t, page, "shop.example.com", "the form carries no more than an ID")

			response := submit(t, s, "/connect/confirm", id, test.choose)
			if test.refuse {
				assert.Equal(t, "你已取消登录", outcomeOf(response))
				return
			}
			assert.Equal(t, http.StatusSeeOther, response.status)
			assert.Equal(t, test.want.Name, whoCame(t, s, response.location))
			again := submit(t, s, "/connect/confirm", id, "person=carol")
			assert.Equal(t, response.location, again.location, "the first choice counts")
		})
	}
}

func TestAskNobodyForASilentSignIn(t *testing.T) {
	s := newServer(t)
	s.Ask(wechattest.AskAlways)
	response := visit(t, s, weChat, s.Endpoints().AuthorizeURL(s.OfficialAccount.ID, callback, wechat.ScopeBase, state))
	assert.Equal(t, sentBack, outcomeOf(response))
}

func TestAskRefusesAsDenySays(t *testing.T) {
	s := newServer(t)
	s.Ask(wechattest.AskAlways)
	s.Deny(wechattest.DenyNoCode)
	id, _ := ask(t, s, wechat.ScopeUserInfo)
	assert.Equal(t, callback+"?state="+state, submit(t, s, "/connect/confirm", id, "action=refuse").location)
}

func TestAskForASnapshot(t *testing.T) {
	s := newServer(t)
	s.Ask(wechattest.AskAlways)
	id, page := ask(t, s, wechat.ScopeUserInfo)
	assert.Contains(t, page, `data-action="snapshot"`)
	token, err := client(s).Exchange(t.Context(), s.OfficialAccount, codeIn(t, submit(t, s, "/connect/confirm", id, "action=snapshot").location))
	require.NoError(t, err)
	assert.True(t, token.Snapshot)

	id, page = ask(t, s, wechat.ScopeLogin)
	assert.NotContains(t, page, `data-action="snapshot"`, "only official accounts know snapshots")
	assert.Equal(t, brokenLink, outcomeOf(submit(t, s, "/connect/confirm", id, "action=snapshot")))
}

func TestAskRefusesWhatItDidNotOffer(t *testing.T) {
	s := newServer(t)
	s.Ask(wechattest.AskAlways)
	id, _ := ask(t, s, wechat.ScopeLogin)
	for _, choose := range []string{"", "person=mallory", "action=sneak", "action=sneak&person=alice", "action=somebody&name=+"} {
		assert.Equal(t, brokenLink, outcomeOf(submit(t, s, "/connect/confirm", id, choose)), choose)
	}
	assert.Equal(t, brokenLink, outcomeOf(submit(t, s, "/connect/confirm", "NOBODYSID", "person=alice")))
}

func TestScanOnAnotherDevice(t *testing.T) {
	for _, test := range []struct {
		name   string
		choose string
		status int // of what the computer waits for
	}{
		{"the computer goes on when the phone allows", "person=bob", http.StatusOK},
		{"and stays when the phone refuses", "action=refuse", http.StatusGone},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newServer(t)
			s.Ask(wechattest.AskAlways)
			id, page := ask(t, s, wechat.ScopeLogin)
			assert.Contains(t, page, "<svg")
			require.Contains(t, page, `href="/connect/scan?id=`+id+`"`)
			require.Contains(t, page, `data-wait="/connect/wait?id=`+id+`"`)

			waited := make(chan response)
			go func() { waited <- visit(t, s, chromium, s.URL+"/connect/wait?id="+id) }()
			phone := visit(t, s, weChat, s.URL+"/connect/scan?id="+id)
			assert.Contains(t, phone.body, `action="/connect/scan"`)
			assert.Equal(t, "请回到电脑上继续", outcomeOf(submit(t, s, "/connect/scan", id, test.choose)))

			computer := <-waited
			assert.Equal(t, test.status, computer.status)
			if test.status == http.StatusOK {
				assert.Equal(t, "bob", whoCame(t, s, computer.body))
			}
		})
	}
}

func TestOtherMethodsOpenNoPage(t *testing.T) {
	s := newServer(t)
	for _, method := range []string{http.MethodPost, http.MethodHead, http.MethodPut} {
		address, _, _ := strings.Cut(s.Endpoints().QRConnectURL(s.Website.ID, callback, state, ""), "#")
		response := serve(t, s, httptest.NewRequestWithContext(t.Context(), method, address, nil))
		assert.Equal(t, brokenLink, outcomeOf(response), method)
	}
}

func TestFailNextOnAPage(t *testing.T) {
	s := newServer(t)
	link := s.Endpoints().AuthorizeURL(s.OfficialAccount.ID, callback, wechat.ScopeBase, state)
	s.FailNext(wechattest.OpAuthorize, 10006, "")
	s.FailNext(wechattest.OpAuthorize, 10009, "慢一点")
	response := visit(t, s, weChat, link)
	assert.Equal(t, "10006", outcomeOf(response))
	assert.Contains(t, response.body, "必须关注此测试号")
	response = visit(t, s, weChat, link)
	assert.Equal(t, "10009", outcomeOf(response))
	assert.Contains(t, response.body, "慢一点")
	assert.Equal(t, sentBack, outcomeOf(visit(t, s, weChat, link)))
}

func TestNumbersThatWeChatShows(t *testing.T) {
	s := newServer(t)
	pages := map[string]string{
		wechattest.OpAuthorize: s.Endpoints().AuthorizeURL(s.OfficialAccount.ID, callback, wechat.ScopeBase, state),
		wechattest.OpQRConnect: s.Endpoints().QRConnectURL(s.Website.ID, callback, state, ""),
	}
	for number, words := range map[int]string{
		10003: "redirect_uri 域名与后台配置不一致",
		10004: "此公众号被封禁",
		10005: "Scope 参数错误或没有 Scope 权限",
		10006: "必须关注此测试号",
		10009: "操作太频繁了，请稍后重试",
		10010: "scope 不能为空",
		10011: "redirect_uri 不能为空",
		10012: "appid 不能为空",
		10013: "state 不能为空",
		10015: "公众号未授权第三方平台",
		10016: "不支持微信开放平台的 AppID，请使用公众号 AppID",
	} {
		for op, address := range pages {
			s.FailNext(op, number, "")
			response := visit(t, s, weChat, address)
			assert.Equal(t, strconv.Itoa(number), outcomeOf(response), op)
			assert.Contains(t, response.body, "<h1>"+words+"<", op)
		}
	}
}

func TestTooLongForms(t *testing.T) {
	s := newServer(t)
	s.Ask(wechattest.AskAlways)
	id, _ := ask(t, s, wechat.ScopeLogin)
	for _, path := range []string{"/connect/confirm", "/connect/scan"} {
		response := submit(t, s, path, id, "person=alice&x="+strings.Repeat("x", 1<<16))
		assert.Equal(t, http.StatusRequestEntityTooLarge, response.status, path)
	}
	for _, path := range []string{"/sns/oauth2/access_token", "/cgi-bin/stable_token", "/cgi-bin/user/info/batchget"} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, path, strings.NewReader(strings.Repeat(" ", 1<<16+1)))
		assert.Equal(t, http.StatusRequestEntityTooLarge, serve(t, s, r).status, path)
	}
	assert.Equal(t, "alice", whoCame(t, s, submit(t, s, "/connect/confirm", id, "person=alice").location))
}

type response struct {
	status         int
	location, body string
	header         http.Header
}

// visit opens an address without the network, and follows no redirect.
func visit(t *testing.T, s *wechattest.Server, userAgent, address string) response {
	t.Helper()
	address, _, _ = strings.Cut(address, "#") // as browsers do
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	r.Header.Set("User-Agent", userAgent)
	return serve(t, s, r)
}

func submit(t *testing.T, s *wechattest.Server, path, id, choose string) response {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, path, strings.NewReader("id="+id+"&"+choose))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return serve(t, s, r)
}

func serve(t *testing.T, s *wechattest.Server, r *http.Request) response {
	t.Helper()
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	body, err := io.ReadAll(w.Result().Body)
	assert.NoError(t, err)
	return response{w.Code, w.Header().Get("Location"), string(body), w.Header()}
}

// outcomeOf says where a page leads: back, or nowhere for the reason it shows.
func outcomeOf(r response) string {
	if r.location != "" {
		return sentBack
	}
	if goesOn.MatchString(r.body) {
		return sentBack
	}
	if r.status != http.StatusOK {
		return http.StatusText(r.status)
	}
	if match := errcode.FindStringSubmatch(r.body); match != nil {
		return match[1]
	}
	if match := headline.FindStringSubmatch(r.body); match != nil {
		return match[1]
	}
	return "a page without a headline"
}

func sorted(t *testing.T, address string) string {
	t.Helper()
	u, err := url.Parse(address)
	require.NoError(t, err)
	u.RawQuery = u.Query().Encode()
	return u.String()
}

// ask opens the page that asks, and returns the ID in its form.
func ask(t *testing.T, s *wechattest.Server, scope wechat.Scope) (id, page string) {
	t.Helper()
	address := s.Endpoints().AuthorizeURL(s.OfficialAccount.ID, callback, scope, state)
	if scope == wechat.ScopeLogin {
		address = s.Endpoints().QRConnectURL(s.Website.ID, callback, state, "")
	}
	response := visit(t, s, weChat, address)
	match := hiddenID.FindStringSubmatch(response.body)
	require.NotNil(t, match, response.body)
	return match[1], response.body
}

func codeIn(t *testing.T, location string) string {
	t.Helper()
	u, err := url.Parse(html.UnescapeString(location))
	require.NoError(t, err)
	require.NotEmpty(t, u.Query().Get("code"), location)
	return u.Query().Get("code")
}

func client(s *wechattest.Server) wechat.Client { return wechat.Client{Endpoints: s.Endpoints()} }

// whoCame exchanges the code in a callback and returns the person's name.
func whoCame(t *testing.T, s *wechattest.Server, location string) string {
	t.Helper()
	code := codeIn(t, location)
	for _, app := range []wechat.App{s.Website, s.OfficialAccount} {
		token, err := client(s).Exchange(context.WithoutCancel(t.Context()), app, code)
		if err != nil {
			continue
		}
		for _, name := range []string{"alice", "bob", "carol", "zoe", "dora"} {
			if token.OpenID == wechattest.OpenID(app.ID, wechattest.Person{Name: name}) {
				return name
			}
		}
	}
	return "nobody"
}
