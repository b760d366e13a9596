package wechatgate

// Gate is written next.
type Gate struct{}

// Flow is how a visitor signs in.
type Flow string

const (
	FlowDefault         Flow = ""                 // the gate chooses
	FlowOfficialAccount Flow = "official-account" // silently, inside WeChat
	FlowQR              Flow = "qr"               // by QR code, with the website app
	FlowOpenInWeChat    Flow = "open-in-wechat"   // a page that says to open WeChat
)
