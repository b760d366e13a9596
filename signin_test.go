package wechatgate_test

import (
	"html"
	"net/http"
	"net/url"
	"regexp"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wechatgate/wechatgate"
	"github.com/wechatgate/wechatgate/wechat"
	"github.com/wechatgate/wechatgate/wechattest"
)

var (
	alice = wechattest.Person{Name: "alice", Nickname: "小艾 <b>", AvatarURL: "http://thirdwx.qlogo.cn/mmopen/alice/132"}
	bob   = wechattest.Person{Name: "bob", Nickname: "阿宝"}
)

func TestSignInInsideWeChatIsSilent(t *testing.T) {
	s := newSite(t)
	s.wechat.SignInAs(alice)
	b := newBrowser(t, s.wechat, uaWeChat)

	p := b.open(s.URL + "/members/a//b?x=1&u=https://x/y")

	assert.Equal(t, http.StatusOK, p.status)
	assert.Contains(t, p.body, s.greeting(alice))
	assert.Contains(t, p.body, "at /members/a//b?x=1&u=https://x/y")
	assert.Equal(t, s.URL+"/members/a//b?x=1&u=https://x/y", p.address.String(), "and nothing of #wechat_redirect")
	assert.Equal(t, 1, p.shown, "no page in between: %q", p.trail)
	assert.Equal(t, 1, s.calls(wechat.OpExchange))
	assert.Zero(t, s.calls(wechat.OpUserInfo))

	p = b.open(s.URL + "/again")
	assert.Contains(t, p.body, s.greeting(alice))
	assert.Equal(t, 1, s.calls(wechat.OpExchange), "a signed-in visitor costs no call")
	assert.Empty(t, p.header["Set-Cookie"])
}

func TestProfileIsAskedForWithAButtonInsideWeChat(t *testing.T) {
	s := newSite(t)
	s.wechat.SignInAs(alice)
	b := newBrowser(t, s.wechat, uaWeChat)

	p := b.open(s.URL + "/profile/me?tab=2")
	require.Equal(t, http.StatusUnauthorized, p.status)
	assert.Zero(t, s.calls(wechat.OpUserInfo))
	assert.Zero(t, s.served.Load())
	assert.Contains(t, b.open(s.URL+"/members").body, s.greeting(alice), "signed in, though without a profile")

	p = b.press(p, "")
	assert.Equal(t, s.URL+"/profile/me?tab=2", p.address.String())
	assert.Contains(t, p.body, alice.Nickname)
	assert.Contains(t, p.body, wechattest.UnionID(alice), "snsapi_userinfo tells it")
	assert.Equal(t, 2, s.calls(wechat.OpExchange))
	assert.Equal(t, 1, s.calls(wechat.OpUserInfo))
}

func TestProfileThatOnLoginSuppliesIsNotAskedFor(t *testing.T) {
	s := newSite(t, func(o *wechatgate.Options) {
		o.OnLogin = func(_ *http.Request, login *wechatgate.Login) error {
			login.Profile = &wechat.Profile{Nickname: "known here"}
			return nil
		}
	})
	p := newBrowser(t, s.wechat, uaWeChat).open(s.URL + "/profile/")
	assert.Contains(t, p.body, "known here")
	assert.Zero(t, s.calls(wechat.OpUserInfo))
}

func TestPersonWithoutNicknameAndAvatarHasAProfile(t *testing.T) {
	s := newSite(t)
	s.wechat.SignInAs(wechattest.Person{Name: "nobody"})
	p := newBrowser(t, s.wechat, uaDesktop).open(s.URL + "/profile/")
	assert.Equal(t, http.StatusOK, p.status, "%q", p.trail)
}

func TestOnLoginSeesTheSignIn(t *testing.T) {
	var seen wechatgate.Login
	s := newSite(t, func(o *wechatgate.Options) {
		o.OnLogin = func(r *http.Request, login *wechatgate.Login) error {
			seen = *login
			assert.Equal(t, "/wechat/callback", r.URL.Path)
			login.User.OpenID = "changed" // is ignored
			login.ReturnTo = "/welcome"
			return nil
		}
	})
	s.wechat.SignInAs(alice)
	p := newBrowser(t, s.wechat, uaWeChat).open(s.URL + "/members?x=1")

	assert.Equal(t, s.URL+"/welcome", p.address.String())
	assert.Contains(t, p.body, s.greeting(alice))
	assert.Equal(t, wechattest.OpenID(s.wechat.OfficialAccount.ID, alice), seen.User.OpenID)
	assert.Equal(t, s.wechat.OfficialAccount.ID, seen.User.AppID)
	assert.Equal(t, wechat.ScopeBase, seen.User.Scope)
	assert.NotEmpty(t, seen.Token.AccessToken)
	assert.Nil(t, seen.Profile)
	assert.Equal(t, wechatgate.BrowserWeChat, seen.Browser)
	assert.Equal(t, "/members?x=1", seen.ReturnTo)
}

func TestOnLoginCannotSendTheVisitorAway(t *testing.T) {
	s := newSite(t, func(o *wechatgate.Options) {
		o.OnLogin = func(_ *http.Request, login *wechatgate.Login) error {
			login.ReturnTo = "https://evil.example/"
			return nil
		}
	})
	assert.Equal(t, s.URL+"/", newBrowser(t, s.wechat, uaWeChat).open(s.URL+"/members").address.String())
}

func TestFlowOfOptionsIsFollowed(t *testing.T) {
	s := newSite(t, func(o *wechatgate.Options) {
		o.Flow = func(_ *http.Request, b wechatgate.Browser) wechatgate.Flow {
			if b == wechatgate.BrowserDesktop {
				return wechatgate.FlowOpenInWeChat
			}
			return wechatgate.FlowDefault
		}
	})
	p := newBrowser(t, s.wechat, uaDesktop).open(s.URL + "/members?x=1")
	assert.Equal(t, http.StatusUnauthorized, p.status)
	assert.Contains(t, html.UnescapeString(p.body), s.URL+"/members?x=1", "the address to open in WeChat")
	assert.Empty(t, s.wechat.Calls())
	p = newBrowser(t, s.wechat, uaWeChat).open(s.URL + "/members")
	assert.Equal(t, http.StatusOK, p.status)
}

func TestPhoneBrowserIsToldToOpenWeChat(t *testing.T) {
	s := newSite(t)
	b := newBrowser(t, s.wechat, uaPhone)
	p := b.open(s.URL + "/members?x=1")
	assert.Equal(t, http.StatusUnauthorized, p.status)
	assert.Contains(t, html.UnescapeString(p.body), s.URL+"/members?x=1")
	assert.Empty(t, b.named("login"), "no attempt for a page that leads nowhere")

	p = b.press(p, "用另一台手机扫码登录")
	assert.Equal(t, s.URL+"/members?x=1", p.address.String(), "the QR code, for a second device")
	assert.Contains(t, p.body, "hello")
}

func TestWeChatWithoutOfficialAccountIsUnsupported(t *testing.T) {
	s := newSite(t, func(o *wechatgate.Options) { o.OfficialAccount = wechatgate.App{} })
	p := newBrowser(t, s.wechat, uaWeChat).open(s.URL + "/members")
	assert.Equal(t, http.StatusForbidden, p.status)
	assert.Len(t, s.log.lines("reason=unsupported"), 1)
}

func TestQRCodeIsForcedOnlyWhereThereIsAWebsiteApp(t *testing.T) {
	s := newSite(t)
	p := newBrowser(t, s.wechat, uaWeChat).openUntil(s.URL+"/wechat/login?flow=qr", "/connect/")
	assert.Contains(t, p.next.String(), "/connect/qrconnect?")
	s = newSite(t, func(o *wechatgate.Options) { o.Website = wechatgate.App{} })
	p = newBrowser(t, s.wechat, uaWeChat).openUntil(s.URL+"/wechat/login?flow=qr", "/connect/")
	assert.Contains(t, p.next.String(), "/connect/oauth2/authorize?")
}

func TestScriptsAreNotAskedForAProfile(t *testing.T) {
	s := newSite(t)
	b := newBrowser(t, s.wechat, uaWeChat)
	b.open(s.URL + "/members")
	response, body := b.fetch(http.MethodGet, s.URL+"/profile/api", nil)
	assert.Equal(t, http.StatusUnauthorized, response.StatusCode)
	assert.JSONEq(t, `{"error":"profile_required","login_url":"`+s.URL+`/wechat/login?scope=snsapi_userinfo"}`, body)
}

func TestEmbeddedQRCode(t *testing.T) {
	s := newSite(t, func(o *wechatgate.Options) {
		o.EmbedQR = true
		o.QRStyle = wechat.QRStyle{Color: "white"}
	})
	b := newBrowser(t, s.wechat, uaDesktop)
	p := b.open(s.URL + "/members")
	assert.Equal(t, http.StatusUnauthorized, p.status)
	assert.Len(t, b.named("-login-"), 1, "the attempt is minted with the page")
	frame := regexp.MustCompile(`<iframe[^>]+src="([^"]+)"`).FindStringSubmatch(p.body)
	require.NotNil(t, frame)
	src := html.UnescapeString(frame[1])
	assert.Contains(t, src, s.wechat.URL+"/connect/qrconnect?appid="+s.wechat.Website.ID)
	assert.Contains(t, src, "&login_type=jssdk&self_redirect=default&style=white")
	assert.Contains(t, p.header.Get("Content-Security-Policy"), "frame-src "+s.wechat.URL)
}

func TestKeepFragmentAsksTheBrowserFirst(t *testing.T) {
	s := newSite(t, func(o *wechatgate.Options) { o.KeepFragment = true })
	b := newBrowser(t, s.wechat, uaWeChat)
	response, _ := b.fetch(http.MethodGet, s.URL+"/app?x=1", http.Header{"Accept": {"text/html"}})
	require.Equal(t, http.StatusUnauthorized, response.StatusCode)
	assert.Empty(t, b.named("-login-"))
	p := b.open(s.URL + "/app?x=1#/orders/7?tab=1")
	assert.Equal(t, 2, p.shown, "the page that keeps the fragment, and ours: %q", p.trail)
	assert.Equal(t, s.URL+"/app?x=1#/orders/7?tab=1", p.address.String())
	assert.Contains(t, p.body, "hello")
}

func TestKeepFragmentThroughPagesThatWait(t *testing.T) {
	s := newSite(t, func(o *wechatgate.Options) { o.KeepFragment = true })
	b := newBrowser(t, s.wechat, uaWeChat)
	b.post(s.URL+"/wechat/logout", url.Values{})
	p := b.open(s.URL + "/app?x=1#/orders/7")
	assert.Equal(t, http.StatusUnauthorized, p.status, "signed out a moment ago")
	assert.Equal(t, s.URL+"/app?x=1#/orders/7", b.press(p, "").address.String())

	p = newBrowser(t, s.wechat, uaPhone).open(s.URL + "/app?x=1#/orders/7")
	assert.Contains(t, html.UnescapeString(p.body), s.URL+"/app?x=1#/orders/7", "the address to open in WeChat")
}
