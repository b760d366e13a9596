// Package wechatgate keeps pages for visitors who have signed in with WeChat. It
// stands in front of any [net/http.Handler]: inside WeChat visitors are signed in
// silently, on a computer by QR code, and the handler finds a [User] in its
// request's context.
//
//	gate, err := wechatgate.New(wechatgate.Options{
//		BaseURL:         "https://shop.example.com",
//		OfficialAccount: wechatgate.App{ID: id, Secret: secret},
//		SessionKeys:     [][]byte{key}, // openssl rand -base64 32, decoded
//	})
//	if err != nil {
//		log.Fatal(err)
//	}
//	log.Fatal(http.ListenAndServe(addr, gate.Require(mux)))
//
// A handler behind it asks who the visitor is:
//
//	user, _ := wechatgate.UserFromContext(r.Context())
//	fmt.Fprintln(w, "Hello,", user.Key())
//
// [Gate.Require] closes the whole site, except for the gate's own pages below
// Options.Prefix and the paths of Options.Public. [Gate.Optional] lets everybody
// pass and knows those who are signed in; [Gate.RequireProfile] and
// [Gate.RequireUnionID] ask for more than a sign-in. To close single routes
// instead, wrap those, and mount the [Gate], which is a handler, at its prefix.
//
// # Signing in
//
// An anonymous visitor who opens a page is sent to WeChat: inside WeChat with
// Options.OfficialAccount (公众号), on a computer to a QR code with
// Options.Website (网站应用). Where WeChat offers neither, Options.CodeSignIn lets
// people type a code that WeChat shows them. What a sign-in needs later is sealed
// in a cookie of its own, the attempt. WeChat sends the visitor back to the
// callback, where the gate looks for the attempt first, and only then asks WeChat
// who it was. It calls Options.OnLogin, begins a fresh session, and leads on to the
// page that was asked for. [ClassifyBrowser] tells one browser from another, and
// Options.Flow can choose another way to sign in.
//
// Non-navigation requests (scripts, images, WebSockets) are never redirected: they
// get 401, with JSON that says where to sign in. See [Challenge].
//
// # Sessions
//
// A session is a sealed cookie. Any machine with the same options serves any
// visitor, without a database. It ends Options.SessionLifetime after the sign-in.
// Options.CheckSession can refuse it earlier, and Options.Store keeps sessions on
// the server instead. A page view of a signed-in visitor never calls WeChat.
//
// [User.Key] is the key to store a person's things under. What goes by a path or a
// User-Agent, such as Options.Public and Options.Flow, decides what is open to
// everybody and how people sign in. It never decides who somebody is.
//
// # Failures
//
// A visitor who is turned away gets a page in plain words, with a short
// reference. Options.Logger gets a record with the same reference, the [Reason],
// and, where a setting is wrong, what to set in WeChat's console. Options.Page
// replaces the pages.
//
// # Limits
//
// WeChat has no sign-in for other browsers on a phone: visitors there get a page
// that helps them to open WeChat, or a code. The gate keeps neither users nor
// tokens and limits no rates. With a session key anybody can make sessions for
// everybody; [the security model] says what else the gate relies on.
//
// # Where next
//
//   - [Options] has every setting, with its default and an Example for many.
//   - [The documentation] leads from getting an account to going live.
//   - Package [github.com/wechatgate/wechatgate/wechattest] is a fake WeChat, for
//     tests and to try things without an account; go run ./example uses it.
//   - Package [github.com/wechatgate/wechatgate/wechat/account] makes the official
//     account's own calls: followers, the JS-SDK, everything else. [Gate.Account] is
//     the gate's own.
//   - Package [github.com/wechatgate/wechatgate/wechat/push] is the account's message
//     server.
//   - Package [github.com/wechatgate/wechatgate/wechat] has the calls of the sign-in
//     itself, for the token that OnLogin gets and for programs without a gate.
//   - Package [github.com/wechatgate/wechatgate/storetest] tells whether a Store is
//     safe behind a gate.
//   - Modules adapters/gin, adapters/echo, adapters/echo4 and stores/redis, and the
//     command cmd/wechatgate, which serves sites in any language, are in the same
//     repository.
//
// [The documentation]: https://github.com/wechatgate/wechatgate#documentation
// [the security model]: https://github.com/wechatgate/wechatgate/blob/main/docs/security.md
package wechatgate
