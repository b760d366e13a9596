// Package wechat speaks the protocol of WeChat's web sign-in: it builds the
// addresses a visitor is sent to and makes the calls that turn the code they
// come back with into an openid.
//
// It keeps no state, sets no cookies and knows nothing of sessions. Most
// programs want package wechatgate instead, which does all of that; this
// package serves those that need a call of their own, such as refreshing a
// token that [wechatgate.Options.OnLogin] handed over.
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
// [wechatgate.Options.OnLogin]: https://pkg.go.dev/github.com/wechatgate/wechatgate#Options
package wechat
