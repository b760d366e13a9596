package wechatgate

import (
	"net/http"
	"strings"
)

// Browser is the kind of browser a visitor uses, as far as it matters to
// signing in. It chooses a way to sign in, and never lets anyone in.
type Browser string

const (
	BrowserWeChat        Browser = "wechat"         // WeChat on a phone, its developer tools included
	BrowserWeChatDesktop Browser = "wechat-desktop" // WeChat on a computer
	BrowserMiniProgram   Browser = "mini-program"   // the web-view of a mini-program
	BrowserWeCom         Browser = "wecom"          // 企业微信; it cannot sign in to an official account
	BrowserMobile        Browser = "mobile"         // another browser on a phone
	BrowserDesktop       Browser = "desktop"        // everything else
)

// ClassifyBrowser tells the kind of browser from its User-Agent. A User-Agent can
// say anything, so nothing that matters to security may hang on the answer.
func ClassifyBrowser(userAgent string) Browser {
	ua := strings.ToLower(userAgent)
	switch {
	case strings.Contains(ua, "wxwork/"): // says MicroMessenger, too
		return BrowserWeCom
	case isMiniProgram(ua):
		return BrowserMiniProgram
	case strings.Contains(ua, "micromessenger/"):
		if isWeChatOnComputer(ua) {
			return BrowserWeChatDesktop
		}
		return BrowserWeChat
	case isPhone(ua):
		return BrowserMobile
	}
	return BrowserDesktop
}

// InWeChat reports whether the browser is WeChat's own, where signing in is
// silent.
func (b Browser) InWeChat() bool {
	return b == BrowserWeChat || b == BrowserWeChatDesktop || b == BrowserMiniProgram
}

// isMiniProgram looks for "miniProgram" that does not go on as "Env": an Android
// page outside of a mini-program may carry "MiniProgramEnv/android".
func isMiniProgram(lowerUA string) bool {
	for rest := lowerUA; ; {
		_, after, found := strings.Cut(rest, "miniprogram")
		if !found {
			return false
		}
		if !strings.HasPrefix(after, "env") {
			return true
		}
		rest = after
	}
}

func isWeChatOnComputer(lowerUA string) bool {
	// The client names of 2024 and later, such as UnifiedPCMacWechat, contain
	// the old ones, except on Linux.
	return strings.Contains(lowerUA, "windowswechat") ||
		strings.Contains(lowerUA, "macwechat") ||
		strings.Contains(lowerUA, "unifiedpc")
}

// isPhone tells a phone from a computer. WeCom on a computer says WindowsWechat
// or MacWechat, but not all of these words.
func isPhone(lowerUA string) bool {
	if isWeChatOnComputer(lowerUA) {
		return false
	}
	for _, word := range [...]string{"mobile", "android", "iphone", "openharmony", "phone;"} {
		if strings.Contains(lowerUA, word) {
			return true
		}
	}
	return false
}

// Flow is a way to sign in.
type Flow string

const (
	FlowDefault         Flow = ""                 // the gate chooses, by browser and apps
	FlowOfficialAccount Flow = "official-account" // inside WeChat, silently
	FlowQR              Flow = "qr"               // by QR code, with the website app
	FlowOpenInWeChat    Flow = "open-in-wechat"   // a page that says to open WeChat

	flowUnsupported Flow = "unsupported" // no app serves this browser
)

// chooseFlow is the table of who signs in how. phone tells WeCom on a phone from
// WeCom on a computer.
func chooseFlow(b Browser, phone, officialAccount, website bool) Flow {
	switch {
	case b.InWeChat() && officialAccount:
		return FlowOfficialAccount
	case b == BrowserWeChat || b == BrowserMiniProgram:
		// A code on the screen of the phone that has to scan it is no use.
		return flowUnsupported
	case b == BrowserMobile || b == BrowserWeCom && phone:
		return FlowOpenInWeChat
	case website:
		return FlowQR
	}
	return FlowOpenInWeChat
}

// isNavigation reports whether a person is looking at this request, so that it
// makes sense to send them to sign in: it is a page for the top window, and not
// fetched in advance. Requests of scripts, images and frames are answered 401.
func isNavigation(r *http.Request) bool {
	if r.Method != http.MethodGet && r.Method != http.MethodHead && r.Method != http.MethodPost {
		return false
	}
	if isBackground(r) {
		return false
	}
	if hasFetchMetadata(r.Header) {
		return true
	}
	for _, accept := range r.Header["Accept"] {
		if strings.Contains(strings.ToLower(accept), "text/html") {
			return true
		}
	}
	return false
}

// isBackground reports whether the browser says that nobody is looking at this
// request.
func isBackground(r *http.Request) bool {
	if isPrefetch(r.Header) {
		return true
	}
	if hasFetchMetadata(r.Header) {
		mode, dest := r.Header.Get("Sec-Fetch-Mode"), r.Header.Get("Sec-Fetch-Dest")
		return mode != "" && mode != "navigate" || dest != "" && dest != "document"
	}
	// Android WeChat sends its package name here on every page.
	return strings.EqualFold(r.Header.Get("X-Requested-With"), "XMLHttpRequest")
}

// hasFetchMetadata reports whether the browser says what a request is for:
// https://www.w3.org/TR/fetch-metadata/.
func hasFetchMetadata(h http.Header) bool {
	return h.Get("Sec-Fetch-Mode") != "" || h.Get("Sec-Fetch-Dest") != ""
}

// isPrefetch reports whether the browser only prepares for a visit that may
// never come. A sign-in that nobody waits for must not begin.
func isPrefetch(h http.Header) bool {
	for _, name := range [...]string{"Sec-Purpose", "Purpose", "X-Moz"} {
		value := strings.ToLower(h.Get(name))
		if strings.Contains(value, "prefetch") || strings.Contains(value, "prerender") || strings.Contains(value, "preview") {
			return true
		}
	}
	return false
}
