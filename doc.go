// Package wechatgate keeps pages for visitors who have signed in with WeChat. It
// stands in front of any [net/http.Handler]: inside WeChat visitors are signed in
// silently, on a computer by QR code, and the handler finds a [User] in its
// request's context.
//
//	gate, err := wechatgate.New(wechatgate.Options{
//		BaseURL:         "https://shop.example.com",
//		OfficialAccount: wechatgate.App{ID: id, Secret: secret},
//		SessionKeys:     [][]byte{key},
//	})
//	if err != nil {
//		log.Fatal(err)
//	}
//	log.Fatal(http.ListenAndServe(addr, gate.Require(mux)))
//
// The whole site is closed then, but for the gate's own pages below
// Options.Prefix. Options.Public opens paths, [Gate.Optional] wants nobody to
// sign in, and [Gate.RequireProfile] wants nickname and avatar, too. To close
// single routes instead, wrap those, and mount the [Gate], which is a handler,
// at its prefix.
//
// # Signing in
//
// An anonymous visitor who opens a page is sent to WeChat: with
// Options.OfficialAccount (公众号) inside WeChat, with Options.Website (网站应用)
// to a QR code on a computer. What that sign-in will need later is sealed in a
// cookie of its own, the attempt. WeChat sends the visitor back to the callback,
// where the gate looks for the attempt first, and only then asks WeChat who it
// was. It calls Options.OnLogin, begins a fresh session, and leads on to the page
// that was asked for. [ClassifyBrowser] tells one browser from another;
// Options.Flow overrides what follows from it.
//
// Scripts, images and what else is not a page for somebody to look at are never
// redirected: the gate answers 401, with JSON that says where to sign in.
//
// # Sessions
//
// A session is a sealed cookie, so that nothing is kept on the server, and any
// machine with the same options serves any visitor. It ends Options.SessionLifetime
// after the sign-in. A sealed cookie cannot be taken back: Options.CheckSession
// can refuse it, and Options.Store keeps sessions on the server instead. No
// request of a signed-in visitor calls WeChat.
//
// [User.Key] is what to store things under. Options.Public, Options.Flow and all
// else that goes by a path or a User-Agent choose how to sign in or what is open
// to everybody, and never who somebody is.
//
// # Failures
//
// A visitor who is turned away gets a page in plain words, with a short
// reference; Options.Logger gets a record with the same reference, the [Reason],
// and what WeChat's console has to be set to where a setting is wrong. Options.Page
// replaces the pages.
//
// # Limits
//
// WeChat has no sign-in for other browsers on a phone: visitors there get a page
// that helps them to open WeChat. The gate keeps neither users nor tokens, sends
// no messages and limits no rates. Whoever has a session key can make sessions for
// anybody; docs/security.md has the rest of the model.
//
// # Where next
//
// Package wechat has the calls by themselves, for programs without a gate and for
// the token that OnLogin gets. Package wechattest is a fake WeChat for tests. The
// program in example/ runs without any account, and docs/ has a page for each
// question that came up.
package wechatgate
