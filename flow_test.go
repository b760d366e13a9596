package wechatgate

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

// TestChooseFlow is the table of section "who gets which flow", all of it.
func TestChooseFlow(t *testing.T) {
	const (
		official    = FlowOfficialAccount
		code        = FlowQR
		open        = FlowOpenInWeChat
		unsupported = flowUnsupported
	)
	for _, row := range []struct {
		who     string
		browser Browser
		phone   bool
		// What is set: both apps, the official account, the website app.
		both, officialOnly, websiteOnly Flow
	}{
		{"WeChat on a phone", BrowserWeChat, true, official, official, unsupported},
		{"WeChat's developer tools on a computer", BrowserWeChat, false, official, official, unsupported},
		{"a mini-program on a phone", BrowserMiniProgram, true, official, official, unsupported},
		{"a mini-program on a computer", BrowserMiniProgram, false, official, official, unsupported},
		{"WeChat on a computer", BrowserWeChatDesktop, false, official, official, code},
		{"a computer", BrowserDesktop, false, code, open, code},
		{"WeCom on a computer", BrowserWeCom, false, code, open, code},
		{"a phone", BrowserMobile, true, open, open, open},
		{"WeCom on a phone", BrowserWeCom, true, open, open, open},
	} {
		t.Run(row.who, func(t *testing.T) {
			assert.Equal(t, row.both, chooseFlow(row.browser, row.phone, means{officialAccount: true, website: true}), "both apps are set")
			assert.Equal(t, row.officialOnly, chooseFlow(row.browser, row.phone, means{officialAccount: true}), "an official account is set")
			assert.Equal(t, row.websiteOnly, chooseFlow(row.browser, row.phone, means{website: true}), "a website app is set")
		})
	}
}
