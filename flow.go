package wechatgate

// Flow is a way to sign in.
type Flow string

const (
	FlowDefault         Flow = ""                 // the gate chooses, by browser and apps
	FlowOfficialAccount Flow = "official-account" // inside WeChat, silently
	FlowQR              Flow = "qr"               // by QR code, with the website app
	FlowOpenInWeChat    Flow = "open-in-wechat"   // a page that says to open WeChat
	FlowCode            Flow = "code"             // by a code from WeChat, with Options.CodeSignIn

	flowUnsupported Flow = "unsupported" // no app serves this browser
)

// means are the ways to sign in that a site has set up.
type means struct {
	officialAccount, website bool
	scan, chat               bool // of CodeSignIn
}

func (m means) code() bool { return m.scan || m.chat }

// chooseFlow is the table of who signs in how. phone tells WeCom on a phone from
// WeCom on a computer.
func chooseFlow(b Browser, phone bool, have means) Flow {
	switch {
	case b.InWeChat() && have.officialAccount:
		return FlowOfficialAccount
	case b == BrowserWeChat || b == BrowserMiniProgram:
		if have.chat {
			return FlowCode
		}
		// A QR code on the screen of the phone that has to scan it is no use.
		return flowUnsupported
	case b == BrowserMobile || b == BrowserWeCom && phone:
		if have.code() {
			return FlowCode
		}
		return FlowOpenInWeChat
	case have.website:
		return FlowQR
	case have.code():
		return FlowCode
	}
	return FlowOpenInWeChat
}

// serves reports whether a flow can be followed at all: Options.Flow may answer
// one that is not set up.
func (m means) serves(f Flow) bool {
	switch f {
	case FlowOfficialAccount:
		return m.officialAccount
	case FlowQR:
		return m.website
	case FlowCode:
		return m.code()
	}
	return f == FlowOpenInWeChat
}
