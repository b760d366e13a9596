package e2e_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wechatgate/wechatgate"
	"github.com/wechatgate/wechatgate/wechattest"
)

// readCode lets a phone open what a page's QR code says, in WeChat, and reads the
// code there.
func readCode(tab, phone *tab) string {
	phone.open(tab.eval(`document.getElementById("scan-link").href`), "#code")
	return phone.text("#code")
}

// A computer shows a number, a phone in WeChat a code for it, and the computer is
// signed in as the phone's person.
func TestSignInWithACode(t *testing.T) {
	bob := wechattest.Person{Name: "bob"}
	byScan := func(_ site, tab, phone *tab) string { return readCode(tab, phone) }
	byChat := func(s site, tab, _ *tab) string {
		number := tab.text("#number")
		reply, mine, err := s.gate.CodeFor(t.Context(), chatAppID, wechattest.OpenID(chatAppID, bob), " "+number+"\n")
		require.NoError(t, err)
		require.True(t, mine)
		return string([]rune(reply)[4:11])
	}
	for _, test := range []struct {
		name      string
		device    device
		noScripts bool
		site      func(*wechatgate.Options, screen)
		appID     func(site) string
		code      func(_ site, tab, phone *tab) string
	}{
		{"a computer, by scanning", computer(), false, withCodes, accountID, byScan},
		{"without scripts", computer(), true, withCodes, accountID, byScan},
		{"a phone's browser, with a second phone", screen{device: "phone", language: "en"}.deviceOf(false), false, withCodes, accountID, byScan},
		{"a computer, by chat", computer(), false, withCodes, chatID, byChat},
		{"WeChat itself, where there is a chat alone", phoneInWeChat(), false, chatAlone, chatID, byChat},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := startSite(t, func(o *wechatgate.Options) { test.site(o, screen{device: "computer"}) })
			s.wechat.SignInAs(bob)
			tab, phone := openChromium(t, test.device), openChromium(t, phoneInWeChat())
			if test.noScripts {
				tab.turnScriptsOff()
				phone.turnScriptsOff()
			}
			tab.open(s.url+"/one?x=1", "#code-input")
			code := test.code(s, tab, phone)
			tab.enterCode("000 000", "#notice")
			assert.Equal(t, s.url+"/wechat/code", tab.address().String())
			tab.enterCode(code, onPage("/one?x=1"))
			assert.Equal(t, s.url+"/one?x=1", tab.address().String())
			assert.Equal(t, wechattest.OpenID(test.appID(s), bob), tab.text("#openid"))
			for _, cookie := range phone.cookies() {
				assert.NotEqual(t, "wechatgate", cookie.Name, "the phone is not signed in by this")
			}
			tab.open(s.url+"/two", onPage("/two"))
		})
	}
}

// The phone has one browser, and drops the page while its person is in WeChat.
func TestCodePageComesBack(t *testing.T) {
	s := startSite(t, func(o *wechatgate.Options) { withCodes(o, screen{}) })
	tab := openChromium(t, screen{device: "phone", language: "en"}.deviceOf(false))
	wechat := tab.incognito(t, phoneInWeChat())
	tab.mayReadClipboard()
	tab.open(s.url+"/one", "#scan-copy")
	tab.click("#scan-copy", "#scan-copied:not(:empty)")
	wechat.open(tab.evalPromise("navigator.clipboard.readText()"), "#code")
	code := wechat.text("#code")
	tab.open(s.url+"/one", "#code-input")
	tab.enterCode(code, onPage("/one"))
}

const chatAppID = "wx00000000000000ca"

func accountID(s site) string { return s.wechat.OfficialAccount.ID }
func chatID(site) string      { return chatAppID }
