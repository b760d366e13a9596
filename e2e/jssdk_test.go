package e2e_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// The example's pages with a share card. A stand-in for jweixin asks the fake what
// wx.config would say, on iOS about the address that was loaded first.

func iPhoneInWeChat() device {
	return device{
		width: 390, height: 844, phone: true, language: "en",
		userAgent: "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) " +
			"Mobile/15E148 MicroMessenger/8.0.60(0x18003c2f) NetType/WIFI",
	}
}

func weChatOnAComputer() device {
	return device{
		width: 1280, height: 800, language: "en",
		userAgent: "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/132.0.0.0 Safari/537.36 " +
			"NetType/WIFI MicroMessenger/7.0.20.1781(0x6700143B) WindowsWechat(0x63090c33) XWEB/14185",
	}
}

func TestShareCardOfAPage(t *testing.T) {
	base := startExample(t)
	for name, device := range map[string]device{"android": phoneInWeChat(), "ios": iPhoneInWeChat(), "computer": weChatOnAComputer()} {
		t.Run(name, func(t *testing.T) {
			tab := openChromium(t, device)
			tab.open(base+"/share?from=singlemessage&isappinstalled=0#card", `#wx-answer[data-said]`)
			assert.Equal(t, "config:ok", tab.text("#wx-answer"))
			assert.Contains(t, tab.text("#follower"), "follows", "alice does")
			assert.Contains(t, tab.text("h1"), "谢谢关注")
			tab.screenshot(name)
		})
	}
}

func TestShareCardOfASinglePageApp(t *testing.T) {
	base := startExample(t)
	for name, device := range map[string]device{"android": phoneInWeChat(), "ios": iPhoneInWeChat()} {
		t.Run(name, func(t *testing.T) {
			tab := openChromium(t, device)
			// The first signing in leads elsewhere: this is where the app lands.
			tab.open(base+"/app?tea=puer", `#wx-answer[data-said][data-at="?tea=puer"]`)
			assert.Equal(t, "config:ok", tab.text("#wx-answer"))
			tab.shown()

			tab.click(`a[href*="oolong"]`, `#wx-answer[data-at="?tea=oolong"]`)
			assert.Equal(t, "oolong", tab.text("#tea"))
			assert.Equal(t, "config:ok", tab.text("#wx-answer"))
			tab.click(`a[href*="green"]`, `#wx-answer[data-at="?tea=green&year=2026"]`)
			assert.Equal(t, "config:ok", tab.text("#wx-answer"))
			assert.Empty(t, tab.shown(), "no page was loaded")
			tab.screenshot(name)

			// The stand-in tells right from wrong.
			tab.eval(`(wx.error((problem) => { document.querySelector("#wx-answer").dataset.wrong = problem.errMsg; }), wx.config({
				appId: "wx", timestamp: 1, nonceStr: "n", signature: "s", jsApiList: ["x"] }), "")`)
			tab.wait(`#wx-answer[data-wrong="config:invalid signature"]`)
		})
	}
}

// Outside of WeChat there is no share card, and no script of WeChat's.
func TestShareCardOutsideOfWeChat(t *testing.T) {
	base := startExample(t)
	tab := openChromium(t, computer())
	tab.open(base+"/share", `button[data-person="bob"]`)
	tab.click(`button[data-person="bob"]`, "#follower")
	assert.Contains(t, tab.text("#follower"), "not known")
	assert.Equal(t, "0", tab.eval(`String(document.querySelectorAll("script").length)`))
	tab.screenshot("share")
	tab.open(base+"/app", "#tea")
	tab.click(`a[href*="oolong"]`, `#tea`)
	assert.Equal(t, "oolong", strings.TrimSpace(tab.text("#tea")))
	tab.screenshot("app")
}
