package wechatgate

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
)

// userAgents are what browsers really say, and what the gate makes of it.
func userAgents() []struct {
	name      string
	userAgent string
	browser   Browser
	phone     bool // tells WeCom on a phone from WeCom on a computer
} {
	return []struct {
		name      string
		userAgent string
		browser   Browser
		phone     bool
	}{
		{"WeChat on Android", "Mozilla/5.0 (Linux; Android 14; 23127PN0CC Build/UKQ1.230804.001; wv) AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 Chrome/126.0.6478.188 Mobile Safari/537.36 XWEB/1260117 MMWEBSDK/20240404 MMWEBID/8311 MicroMessenger/8.0.49.2600(0x2800315A) WeChat/arm64 Weixin NetType/WIFI Language/zh_CN ABI/arm64", BrowserWeChat, true},
		{"WeChat on an Android tablet", "Mozilla/5.0 (Linux; Android 13; SM-X700 Build/TP1A.220624.014; wv) AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 Chrome/116.0.0.0 Safari/537.36 XWEB/1160065 MMWEBSDK/20231002 MicroMessenger/8.0.43.2480(0x28002B35) WeChat/arm64 Weixin NetType/WIFI Language/en ABI/arm64", BrowserWeChat, true},
		{"WeChat on an iPhone", "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148 MicroMessenger/8.0.50(0x1800323d) NetType/WIFI Language/zh_CN", BrowserWeChat, true},
		{"WeChat on an iPad", "Mozilla/5.0 (iPad; CPU OS 16_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148 MicroMessenger/8.0.42(0x18002a2a) NetType/WIFI Language/zh_CN", BrowserWeChat, true},
		{"WeChat on HarmonyOS", "Mozilla/5.0 (Phone; OpenHarmony 5.0) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/114.0.0.0 Safari/537.36 ArkWeb/4.1.6.1 Mobile XWEB/1140 MMWEBSDK/20241202 MicroMessenger/8.0.6.33(0x28000653) Weixin NetType/WIFI Language/zh_CN", BrowserWeChat, true},
		{"WeChat in capital letters", "MOZILLA/5.0 (LINUX; ANDROID 14) MICROMESSENGER/8.0.49", BrowserWeChat, true},
		{"WeChat's developer tools", "Mozilla/5.0 (iPhone; CPU iPhone OS 13_2_3 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/13.0.3 Mobile/15E148 Safari/604.1 wechatdevtools/1.06.2401020 MicroMessenger/8.0.5 Language/zh_CN webview/16999", BrowserWeChat, true},
		{"an Android page that says MiniProgramEnv", "Mozilla/5.0 (Linux; Android 12; M2102K1C Build/SKQ1.211006.001; wv) AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 Chrome/86.0.4240.99 XWEB/4317 MMWEBSDK/20220505 Mobile Safari/537.36 MMWEBID/2529 MicroMessenger/8.0.23.2160(0x28001757) WeChat/arm64 Weixin NetType/WIFI Language/zh_CN ABI/arm64 MiniProgramEnv/android", BrowserWeChat, true},

		{"WeChat on Windows, old", "Mozilla/5.0 (Windows NT 6.1; WOW64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/53.0.2785.116 Safari/537.36 QBCore/4.0.1301.400 QQBrowser/9.0.2524.400 Mozilla/5.0 (Windows NT 6.1; WOW64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/81.0.4044.138 Safari/537.36 NetType/WIFI MicroMessenger/7.0.20.1781(0x6700143B) WindowsWechat", BrowserWeChatDesktop, false},
		{"WeChat on Windows, 3.9", "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/116.0.0.0 Safari/537.36 NetType/WIFI MicroMessenger/7.0.20.1781(0x6700143B) WindowsWechat(0x63090a13) XWEB/8555 Flue", BrowserWeChatDesktop, false},
		{"WeChat on Windows, 4", "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/132.0.0.0 Safari/537.36 NetType/WIFI MicroMessenger/7.0.20.1781(0x6700143B) UnifiedPCWindowsWechat(0xf254032b) XWEB/13655 Flue", BrowserWeChatDesktop, false},
		{"a mini-program's own page on Windows", "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/116.0.0.0 Safari/537.36 MicroMessenger/7.0.20.1781(0x6700143B) NetType/WIFI MiniProgramEnv/Windows WindowsWechat/WMPF WindowsWechat(0x63090a13) XWEB/8555", BrowserWeChatDesktop, false},
		{"WeChat on a Mac, old", "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) MicroMessenger/6.8.0(0x16080000) MacWechat/3.8.4(0x13080410) NetType/WIFI WindowsWechat", BrowserWeChatDesktop, false},
		{"WeChat on a Mac, 3.8", "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/107.0.0.0 Safari/537.36 MicroMessenger/6.8.0(0x16080000) NetType/WIFI MacWechat/3.8.7(0x13080712) XWEB/1191 Flue", BrowserWeChatDesktop, false},
		{"WeChat on a Mac, 4", "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/132.0.0.0 Safari/537.36 NetType/WIFI MicroMessenger/6.8.0(0x16080000) UnifiedPCMacWechat(0xf2640328) XWEB/14304 Flue", BrowserWeChatDesktop, false},
		{"WeChat on Linux, old", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/98.0.4758.82 Safari/537.36 MicroMessenger/7.0.4.501 NetType/WIFI WindowsWechat", BrowserWeChatDesktop, false},
		{"WeChat on Linux, 4", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36 NetType/WIFI MicroMessenger/7.0.20.1781(0x6700143B) UnifiedPCLinuxWechat(0xf2640320) XWEB/1260", BrowserWeChatDesktop, false},

		{"a mini-program on an iPhone", "Mozilla/5.0 (iPhone; CPU iPhone OS 15_2 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148 MicroMessenger/8.0.16(0x1800103a) NetType/WIFI Language/zh_CN miniProgram/wx0123456789abcdef", BrowserMiniProgram, true},
		{"a mini-program on Android", "Mozilla/5.0 (Linux; Android 12; M2102K1C; wv) AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 Chrome/86.0.4240.99 XWEB/4317 MMWEBSDK/20220505 Mobile Safari/537.36 MMWEBID/2529 MicroMessenger/8.0.23.2160(0x28001757) WeChat/arm64 Weixin NetType/WIFI Language/zh_CN ABI/arm64 MiniProgramEnv/android miniProgram/wx0123456789abcdef", BrowserMiniProgram, true},
		{"a mini-program that only says so", "Mozilla/5.0 (Linux; Android 9; wv) Version/4.0 Chrome/78.0 Mobile Safari/537.36 MicroMessenger/7.0.22 NetType/4G Language/zh_CN ABI/arm64 miniProgram", BrowserMiniProgram, true},
		{"a mini-program on Windows", "Mozilla/5.0 (Windows NT 10.0; WOW64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/98.0 Safari/537.36 MicroMessenger/7.0.20.1781(0x6700143B) NetType/WIFI MiniProgramEnv/Windows WindowsWechat/WMPF miniProgram/wx0123456789abcdef", BrowserMiniProgram, false},

		{"WeCom on Android", "Mozilla/5.0 (Linux; Android 13; V2183A Build/TP1A.220624.014; wv) AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 Chrome/111.0 Mobile Safari/537.36 wxwork/4.1.20 ColorScheme/Light wxworklog MicroMessenger/7.0.1 appname/wxwork NetType/WIFI Language/zh Lang/zh", BrowserWeCom, true},
		{"WeCom on an iPhone", "Mozilla/5.0 (iPhone; CPU iPhone OS 16_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148 wxwork/4.1.8 MicroMessenger/7.0.1 Language/zh ColorScheme/Light", BrowserWeCom, true},
		{"WeCom on Windows", "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/108.0.5359.220 Safari/537.36 wxwork/4.1.16 (MicroMessenger/6.2) WindowsWechat  MailPlugin_Electron WeMail embeddisk wwmver/3.26.16.603", BrowserWeCom, false},
		{"WeCom on a Mac", "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) wxwork/4.1.12 (MicroMessenger/6.2) WeChat/2.0.4 MacWechat", BrowserWeCom, false},
		{"a mini-program in WeCom", "Mozilla/5.0 (iPhone; CPU iPhone OS 16_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148 wxwork/4.1.8 MicroMessenger/7.0.1 Language/zh miniProgram/wx0123456789abcdef", BrowserWeCom, true},

		{"Chrome on Android", "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Mobile Safari/537.36", BrowserMobile, true},
		{"Chrome on an Android tablet", "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36", BrowserMobile, true},
		{"Chrome on an iPhone", "Mozilla/5.0 (iPhone; CPU iPhone OS 17_7 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) CriOS/130.0.6723.37 Mobile/15E148 Safari/604.1", BrowserMobile, true},
		{"Safari on an iPhone", "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0 Mobile/15E148 Safari/604.1", BrowserMobile, true},
		{"Firefox on Android", "Mozilla/5.0 (Android 14; Mobile; rv:131.0) Gecko/131.0 Firefox/131.0", BrowserMobile, true},
		{"UC Browser", "Mozilla/5.0 (Linux; U; Android 12; zh-CN; PEGM00 Build/SKQ1.210216.001) AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 Chrome/100.0.4896.58 UCBrowser/16.2.8.1304 Mobile Safari/537.36", BrowserMobile, true},
		{"QQ Browser", "Mozilla/5.0 (Linux; U; Android 13; zh-cn; 2211133C Build/TKQ1.220905.001) AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 Chrome/109.0.5414.86 MQQBrowser/14.8 Mobile Safari/537.36 COVC/046517", BrowserMobile, true},
		{"Huawei's browser on HarmonyOS", "Mozilla/5.0 (Phone; OpenHarmony 5.0) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/114.0.0.0 Safari/537.36 ArkWeb/4.1.6.1 Mobile HuaweiBrowser/5.0.4.300", BrowserMobile, true},
		{"HarmonyOS without the word Mobile", "Mozilla/5.0 (Tablet; OpenHarmony 5.0) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/114.0.0.0 Safari/537.36 ArkWeb/4.1.6.1", BrowserMobile, true},
		{"a phone that says no more", "Mozilla/5.0 (Phone; 1.0)", BrowserMobile, true},
		{"Googlebot for phones", "Mozilla/5.0 (Linux; Android 6.0.1; Nexus 5X Build/MMB29P) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Mobile Safari/537.36 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)", BrowserMobile, true},

		{"Chrome on Windows", "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36", BrowserDesktop, false},
		{"Edge on Windows", "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36 Edg/130.0.0.0", BrowserDesktop, false},
		{"Safari on a Mac", "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0 Safari/605.1.15", BrowserDesktop, false},
		{"Firefox on Linux", "Mozilla/5.0 (X11; Linux x86_64; rv:131.0) Gecko/20100101 Firefox/131.0", BrowserDesktop, false},
		{"QQ Browser on Windows", "Mozilla/5.0 (Windows NT 10.0; WOW64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/94.0.4606.71 Safari/537.36 Core/1.94.225.400 QQBrowser/12.2.5544.400", BrowserDesktop, false},
		{"Googlebot", "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)", BrowserDesktop, false},
		{"curl", "curl/8.5.0", BrowserDesktop, false},
		{"nothing", "", BrowserDesktop, false},
		{"a page about WeChat's browser", "Mozilla/5.0 (X11; Linux x86_64) MicroMessenger", BrowserDesktop, false},
	}
}

func TestClassifyBrowser(t *testing.T) {
	for _, row := range userAgents() {
		t.Run(row.name, func(t *testing.T) {
			assert.Equal(t, row.browser, ClassifyBrowser(row.userAgent))
			assert.Equal(t, row.phone, isPhone(strings.ToLower(row.userAgent)))
		})
	}
}

func TestInWeChat(t *testing.T) {
	for browser, in := range map[Browser]bool{
		BrowserWeChat: true, BrowserWeChatDesktop: true, BrowserMiniProgram: true,
		BrowserWeCom: false, BrowserMobile: false, BrowserDesktop: false, "": false,
	} {
		assert.Equal(t, in, browser.InWeChat(), browser)
	}
}

func FuzzClassifyBrowser(f *testing.F) {
	for _, row := range userAgents() {
		f.Add(row.userAgent)
	}
	f.Fuzz(func(t *testing.T, userAgent string) {
		userAgent = head(userAgent) // more is not read
		browser := ClassifyBrowser(userAgent)
		assert.Contains(t, []Browser{BrowserWeChat, BrowserWeChatDesktop, BrowserMiniProgram, BrowserWeCom, BrowserMobile, BrowserDesktop}, browser)

		says := func(word string) bool { return strings.Contains(strings.ToLower(userAgent), word) }
		assert.Equal(t, says("wxwork/"), browser == BrowserWeCom, "WeCom is told first, and by one word")
		if browser.InWeChat() {
			assert.True(t, says("micromessenger/") || says("miniprogram"))
			assert.False(t, says("wxwork/"))
		}
		if browser == BrowserWeChatDesktop || browser == BrowserDesktop {
			assert.False(t, isPhone(strings.ToLower(userAgent)))
		}
		// Letters that have another case outside of ASCII only (K for k) may
		// change what is said; ASCII must not.
		if utf8.ValidString(userAgent) && utf8.RuneCountInString(userAgent) == len(userAgent) {
			assert.Equal(t, browser, ClassifyBrowser(strings.ToUpper(userAgent)))
		}
	})
}
