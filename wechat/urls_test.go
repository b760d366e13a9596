package wechat_test

import (
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wechatgate/wechatgate/wechat"
)

// The addresses are written out by hand from WeChat's documents, so that a
// mistake in the code is not repeated in its test.
func TestAddressesAreWhatWeChatDocuments(t *testing.T) {
	const (
		appID    = "wx1234567890abcdef"
		callback = "https://shop.example.com/wechat/callback"
		state    = "0123456789abcdef0123456789abcdef"
	)
	var weChat wechat.Endpoints // the zero value is WeChat's own
	for _, tt := range []struct {
		name string
		got  string
		want string
	}{
		{
			name: "a silent sign-in inside WeChat",
			got:  weChat.AuthorizeURL(appID, callback, wechat.ScopeBase, state),
			want: "https://open.weixin.qq.com/connect/oauth2/authorize?appid=wx1234567890abcdef&redirect_uri=https%3A%2F%2Fshop.example.com%2Fwechat%2Fcallback&response_type=code&scope=snsapi_base&state=0123456789abcdef0123456789abcdef&connect_redirect=1#wechat_redirect",
		},
		{
			name: "a sign-in that asks for the profile",
			got:  weChat.AuthorizeURL(appID, callback, wechat.ScopeUserInfo, state),
			want: "https://open.weixin.qq.com/connect/oauth2/authorize?appid=wx1234567890abcdef&redirect_uri=https%3A%2F%2Fshop.example.com%2Fwechat%2Fcallback&response_type=code&scope=snsapi_userinfo&state=0123456789abcdef0123456789abcdef&connect_redirect=1#wechat_redirect",
		},
		{
			name: "a redirect_uri with everything in it that could end it early",
			got:  weChat.AuthorizeURL(appID, "http://127.0.0.1:8080/a b/微信?x=1&y=+%2F;z#f'", wechat.ScopeBase, "s"),
			want: "https://open.weixin.qq.com/connect/oauth2/authorize?appid=wx1234567890abcdef&redirect_uri=http%3A%2F%2F127.0.0.1%3A8080%2Fa%20b%2F%E5%BE%AE%E4%BF%A1%3Fx%3D1%26y%3D%2B%252F%3Bz%23f%27&response_type=code&scope=snsapi_base&state=s&connect_redirect=1#wechat_redirect",
		},
		{
			name: "no value can add a parameter or end the address",
			got:  weChat.AuthorizeURL("a&b", "c#d", "e&f=g", "h&i#j"),
			want: "https://open.weixin.qq.com/connect/oauth2/authorize?appid=a%26b&redirect_uri=c%23d&response_type=code&scope=e%26f%3Dg&state=h%26i%23j&connect_redirect=1#wechat_redirect",
		},
		{
			name: "WeChat's own page with a QR code",
			got:  weChat.QRConnectURL(appID, callback, state, ""),
			want: "https://open.weixin.qq.com/connect/qrconnect?appid=wx1234567890abcdef&redirect_uri=https%3A%2F%2Fshop.example.com%2Fwechat%2Fcallback&response_type=code&scope=snsapi_login&state=0123456789abcdef0123456789abcdef#wechat_redirect",
		},
		{
			name: "the same in English: optional parameters come after state",
			got:  weChat.QRConnectURL(appID, callback, state, "en"),
			want: "https://open.weixin.qq.com/connect/qrconnect?appid=wx1234567890abcdef&redirect_uri=https%3A%2F%2Fshop.example.com%2Fwechat%2Fcallback&response_type=code&scope=snsapi_login&state=0123456789abcdef0123456789abcdef&lang=en#wechat_redirect",
		},
		{
			name: "the QR code in a frame",
			got:  weChat.QRFrameURL(appID, callback, state, "", wechat.QRStyle{}),
			want: "https://open.weixin.qq.com/connect/qrconnect?appid=wx1234567890abcdef&redirect_uri=https%3A%2F%2Fshop.example.com%2Fwechat%2Fcallback&response_type=code&scope=snsapi_login&state=0123456789abcdef0123456789abcdef&login_type=jssdk&self_redirect=default",
		},
		{
			name: "a frame with white text, a style sheet and a language",
			got:  weChat.QRFrameURL(appID, callback, state, "cn", wechat.QRStyle{Color: "white", StyleSheet: "https://shop.example.com/qr.css?v=1"}),
			want: "https://open.weixin.qq.com/connect/qrconnect?appid=wx1234567890abcdef&redirect_uri=https%3A%2F%2Fshop.example.com%2Fwechat%2Fcallback&response_type=code&scope=snsapi_login&state=0123456789abcdef0123456789abcdef&login_type=jssdk&self_redirect=default&style=white&href=https%3A%2F%2Fshop.example.com%2Fqr.css%3Fv%3D1&lang=cn",
		},
		{
			name: "the small frame without fast login",
			got:  weChat.QRFrameURL(appID, callback, state, "en", wechat.QRStyle{Lite: true, NoFastLogin: true}),
			want: "https://open.weixin.qq.com/connect/qrconnect?appid=wx1234567890abcdef&redirect_uri=https%3A%2F%2Fshop.example.com%2Fwechat%2Fcallback&response_type=code&scope=snsapi_login&state=0123456789abcdef0123456789abcdef&login_type=jssdk&self_redirect=default&stylelite=1&fast_login=0&lang=en",
		},
		{
			name: "pages of a fake, though its calls go to WeChat",
			got:  wechat.Endpoints{Open: "http://127.0.0.1:9"}.QRConnectURL("wx1", "r", "s", ""),
			want: "http://127.0.0.1:9/connect/qrconnect?appid=wx1&redirect_uri=r&response_type=code&scope=snsapi_login&state=s#wechat_redirect",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			assert.Equal(t, tt.want, tt.got)
		})
	}
}

func TestRedirectURIAndStateComeBackByteForByte(t *testing.T) {
	callback := "https://shop.example.com/微信/callback?a=1&b=%2F+ #x"
	address := wechat.Endpoints{}.AuthorizeURL("wx1", callback, wechat.ScopeBase, "abc")

	u, err := url.Parse(address)
	require.NoError(t, err)
	assert.Equal(t, callback, u.Query().Get("redirect_uri"))
	assert.Equal(t, "abc", u.Query().Get("state"))
	assert.Equal(t, "wechat_redirect", u.Fragment)
}

func TestEndpointsDefaultToWeChat(t *testing.T) {
	assert.Equal(t,
		wechat.Endpoints{Open: "https://open.weixin.qq.com", API: "https://api.weixin.qq.com"},
		wechat.Endpoints{}.WithDefaults())
	assert.Equal(t,
		wechat.Endpoints{Open: "https://open.weixin.qq.com", API: "http://127.0.0.1:9"},
		wechat.Endpoints{API: "http://127.0.0.1:9"}.WithDefaults())
}

func TestQRStyleValidate(t *testing.T) {
	for _, tt := range []struct {
		name  string
		style wechat.QRStyle
		want  []string // fields that the error names, each on a line of its own
	}{
		{"WeChat's default", wechat.QRStyle{}, nil},
		{"black text", wechat.QRStyle{Color: "black"}, nil},
		{"white text", wechat.QRStyle{Color: "white"}, nil},
		{"a style sheet by https", wechat.QRStyle{StyleSheet: "https://shop.example.com/qr.css"}, nil},
		{"a style sheet in a data URL", wechat.QRStyle{StyleSheet: "data:text/css;base64,LmltcG93ZXJCb3h7fQ=="}, nil},
		{"the small frame", wechat.QRStyle{Lite: true}, nil},
		{"the small frame without fast login", wechat.QRStyle{Lite: true, NoFastLogin: true}, nil},
		{"a colour that WeChat does not know", wechat.QRStyle{Color: "red"}, []string{"Color"}},
		{"a colour in capitals", wechat.QRStyle{Color: "Black"}, []string{"Color"}},
		{"a style sheet by http, which the frame blocks", wechat.QRStyle{StyleSheet: "http://shop.example.com/qr.css"}, []string{"StyleSheet"}},
		{"a style sheet that is a script", wechat.QRStyle{StyleSheet: "javascript:alert(1)"}, []string{"StyleSheet"}},
		{"a style sheet that is a page", wechat.QRStyle{StyleSheet: "data:text/html,x"}, []string{"StyleSheet"}},
		{"a style sheet without a scheme", wechat.QRStyle{StyleSheet: "/qr.css"}, []string{"StyleSheet"}},
		{"a style sheet for the small frame", wechat.QRStyle{StyleSheet: "https://shop.example.com/qr.css", Lite: true}, []string{"StyleSheet"}},
		{"no fast login in the large frame", wechat.QRStyle{NoFastLogin: true}, []string{"NoFastLogin"}},
		{"everything at once", wechat.QRStyle{Color: "red", StyleSheet: "x", NoFastLogin: true}, []string{"Color", "StyleSheet", "NoFastLogin"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.style.Validate()
			if tt.want == nil {
				require.NoError(t, err)
				return
			}
			require.Error(t, err)
			var named []string
			for line := range strings.SplitSeq(err.Error(), "\n") {
				field, _, _ := strings.Cut(strings.TrimPrefix(line, "wechat: QRStyle."), ":")
				named = append(named, field)
			}
			assert.Equal(t, tt.want, named)
		})
	}
}

func TestScope(t *testing.T) {
	for _, tt := range []struct {
		scope   wechat.Scope
		base    bool
		profile bool
	}{
		{"", false, false},
		{"snsapi_base", true, false},
		{"snsapi_userinfo", false, true},
		{"snsapi_login", false, true},
		{"snsapi_base,snsapi_userinfo", true, true},
		{"snsapi_base, snsapi_login", true, true},
		{"snsapi_base,", true, false},
		{"snsapi_base2,xsnsapi_userinfo", false, false},
		{"SNSAPI_USERINFO", false, false},
		{"snsapi_base snsapi_userinfo", false, false},
	} {
		t.Run(string(tt.scope), func(t *testing.T) {
			assert.Equal(t, tt.base, tt.scope.Has(wechat.ScopeBase))
			assert.Equal(t, tt.profile, tt.scope.AllowsProfile())
		})
	}
}
