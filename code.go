package wechatgate

// CodeSignIn is how people sign in with a code.
type CodeSignIn struct {
	Scan bool
	Chat Chat
}

// Chat is the account whose chat hands out codes.
type Chat struct{ AppID string }

func (c Chat) isSet() bool { return c != (Chat{}) }

func (g *Gate) showCodePage(v *visit, q signInRequest) {
	g.showOpenInWeChat(v, q)
}
