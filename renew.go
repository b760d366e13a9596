package wechatgate

// Renew returns a Gate with other options, for programs that take up new settings
// without a restart: it is [New], and the new Gate goes on with what this one
// remembers besides its settings:
//
//   - codes of CodeSignIn and their tries, where both keep them in this process's
//     memory,
//   - sign-ins under way at WeChat, and pauses after WeChat said that it was asked
//     too often,
//   - the official account's token and ticket, where OfficialAccount, HTTPClient
//     and Endpoints are the same.
//
// Visitors stay signed in as far as the new options open their cookies, as after a
// restart. On an error nothing has changed. The old Gate goes on to serve: requests
// under way can end there, while new ones go to the new Gate. What was wrapped by
// the old Gate's Require and the like stays with the old one.
func (g *Gate) Renew(options Options) (*Gate, error) { return newGate(options, g.gate) }

// inherit takes over what an earlier gate remembers. Nothing in it depends on the
// options that may differ: attempts are known by states that cannot be guessed, and
// pauses by app.
func (g *gate) inherit(earlier *gate) {
	if earlier == nil {
		return
	}
	g.pauses = earlier.pauses
	g.exchanges = earlier.exchanges
	if earlier.notices.served.Load() {
		g.notices.served.Store(true)
	}
	o, before := g.options, earlier.options
	if g.account != nil && earlier.account != nil && o.OfficialAccount == before.OfficialAccount &&
		o.HTTPClient == before.HTTPClient && o.Endpoints == before.Endpoints {
		account := *earlier.account // shares what it knows
		account.Logger = o.Logger
		g.account = &account
	}
}
