package wechat

import (
	"errors"
	"strings"

	"github.com/wechatgate/wechatgate/internal/call"
)

// Endpoints are the two base addresses of WeChat, without a trailing slash. An
// empty field means WeChat's own. Tests point them at a fake.
type Endpoints struct {
	Open string // pages that visitors see; "https://open.weixin.qq.com"
	API  string // calls that servers make; "https://api.weixin.qq.com"
}

// WithDefaults returns e with WeChat's own addresses in its empty fields.
func (e Endpoints) WithDefaults() Endpoints {
	if e.Open == "" {
		e.Open = "https://open.weixin.qq.com"
	}
	if e.API == "" {
		e.API = "https://api.weixin.qq.com"
	}
	return e
}

// AuthorizeURL returns the address that signs a visitor in inside WeChat, with
// an official account. WeChat sends them back to redirectURI with the query
// parameters code and state.
//
// The host of redirectURI must be a 网页授权域名 of the account. The state must
// be 1 to 128 letters and digits, or WeChat shows an error page.
func (e Endpoints) AuthorizeURL(appID, redirectURI string, scope Scope, state string) string {
	// WeChat matches the parameters strictly, in this order, optional ones
	// last; url.Values.Encode would sort them. connect_redirect=1 is
	// undocumented and widely sent: it saves a hop and most double callbacks.
	return e.WithDefaults().Open + "/connect/oauth2/authorize?appid=" + escape(appID) +
		"&redirect_uri=" + escape(redirectURI) +
		"&response_type=code&scope=" + escape(string(scope)) +
		"&state=" + escape(state) +
		"&connect_redirect=1#wechat_redirect"
}

// QRConnectURL returns the address of WeChat's own page with a QR code, for a
// website app and a browser outside WeChat. lang is the page's language, "cn"
// or "en"; empty leaves it to WeChat.
//
// The host of redirectURI must be the 授权域名 of the website app.
func (e Endpoints) QRConnectURL(appID, redirectURI, state, lang string) string {
	return e.qrConnect(appID, redirectURI, state) + langParameter(lang) + "#wechat_redirect"
}

// QRFrameURL returns the address of the QR code alone, for an iframe of
// 300 × 400 pixels in a page of one's own. It is what WeChat's wxLogin.js
// makes; no third-party script is needed.
//
// The frame moves the top window when the visitor has scanned: give the iframe
// sandbox="allow-scripts allow-same-origin allow-top-navigation", or none.
func (e Endpoints) QRFrameURL(appID, redirectURI, state, lang string, style QRStyle) string {
	return e.qrConnect(appID, redirectURI, state) +
		"&login_type=jssdk&self_redirect=default" + style.parameters() + langParameter(lang)
}

func (e Endpoints) qrConnect(appID, redirectURI, state string) string {
	return e.WithDefaults().Open + "/connect/qrconnect?appid=" + escape(appID) +
		"&redirect_uri=" + escape(redirectURI) +
		"&response_type=code&scope=" + string(ScopeLogin) +
		"&state=" + escape(state)
}

// QRStyle is how the embedded QR code of [Endpoints.QRFrameURL] looks. The zero
// value is WeChat's default.
type QRStyle struct {
	Color       string // of the text: "black" or "white"; empty is black
	StyleSheet  string // an https: or data: URL of CSS for the frame; not with Lite
	Lite        bool   // WeChat's newer, smaller frame
	NoFastLogin bool   // always the code, even where a WeChat client runs; needs Lite
}

// Validate returns an error that names what does not fit together.
func (s QRStyle) Validate() error {
	var errs []error
	if s.Color != "" && s.Color != "black" && s.Color != "white" {
		errs = append(errs, errors.New(`wechat: QRStyle.Color: want "black", "white" or nothing`))
	}
	if s.StyleSheet != "" && !strings.HasPrefix(s.StyleSheet, "https://") && !strings.HasPrefix(s.StyleSheet, "data:text/css") {
		errs = append(errs, errors.New("wechat: QRStyle.StyleSheet: want an https:// or data:text/css URL"))
	}
	if s.StyleSheet != "" && s.Lite {
		errs = append(errs, errors.New("wechat: QRStyle.StyleSheet: WeChat ignores it together with Lite"))
	}
	if s.NoFastLogin && !s.Lite {
		errs = append(errs, errors.New("wechat: QRStyle.NoFastLogin: WeChat ignores it without Lite"))
	}
	return errors.Join(errs...)
}

func (s QRStyle) parameters() string {
	var b strings.Builder
	if s.Color != "" {
		b.WriteString("&style=" + escape(s.Color))
	}
	if s.StyleSheet != "" {
		b.WriteString("&href=" + escape(s.StyleSheet))
	}
	if s.Lite {
		b.WriteString("&stylelite=1")
	}
	if s.NoFastLogin {
		b.WriteString("&fast_login=0")
	}
	return b.String()
}

func langParameter(lang string) string {
	if lang == "" {
		return ""
	}
	return "&lang=" + escape(lang)
}

func escape(s string) string { return call.Escape(s) }
