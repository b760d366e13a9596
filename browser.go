package wechatgate

import "strings"

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

// ClassifyBrowser tells the kind of browser from the first 1,024 bytes of its
// User-Agent. A User-Agent can say anything, so nothing that matters to security
// may depend on the answer.
func ClassifyBrowser(userAgent string) Browser {
	ua := strings.ToLower(head(userAgent))
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

// isOnPhone tells a phone from a computer, for WeCom too.
func isOnPhone(userAgent string) bool { return isPhone(strings.ToLower(head(userAgent))) }

// isPhone is isOnPhone for a User-Agent in lower case. WeCom on a computer says
// WindowsWechat or MacWechat, but not all of these words.
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
