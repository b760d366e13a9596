// Package wechat speaks the protocol of WeChat's web sign-in: it builds the
// addresses a visitor is sent to and makes the calls that turn the code they
// come back with into an openid.
//
//	var client wechat.Client
//	http.Redirect(w, r, client.AuthorizeURL(app.ID, callback, wechat.ScopeBase, state), http.StatusFound)
//	…
//	token, err := client.Exchange(r.Context(), app, r.FormValue("code"))
//	if err == nil && !token.Snapshot {
//		fmt.Fprintln(w, "Hello,", token.OpenID)
//	}
//
// It keeps no state, sets no cookies and knows nothing of sessions. Most
// programs want [package wechatgate] instead, which does all of that; this
// package serves those that need a call of their own, such as refreshing a
// token that [wechatgate.Options.OnLogin] handed over. Package
// [github.com/wechatgate/wechatgate/wechat/account] makes the calls that need the
// account's token, and package [github.com/wechatgate/wechatgate/wechat/push]
// receives what people send to the account.
//
// What an answer may look like is taken from WeChat's documents:
// https://developers.weixin.qq.com/doc/offiaccount/OA_Web_Apps/Wechat_webpage_authorization.html
// for official accounts (公众号) and
// https://developers.weixin.qq.com/doc/oplatform/Website_App/WeChat_Login/Wechat_Login.html
// for website apps (网站应用).
//
// The app secret, codes and tokens travel in query strings. They are kept out
// of every error, and of every printed, logged or marshalled [App] and [Token].
//
// [package wechatgate]: https://pkg.go.dev/github.com/wechatgate/wechatgate
// [wechatgate.Options.OnLogin]: https://pkg.go.dev/github.com/wechatgate/wechatgate#Options.OnLogin
package wechat
