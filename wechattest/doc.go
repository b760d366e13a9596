// Package wechattest is a fake WeChat for tests and for trying things out, as
// [net/http/httptest] is a fake network: the pages to which visitors are sent,
// the calls with which a server asks who they are, the chat of an account, and
// clients that behave like WeChat's browser and others.
//
//	fake := wechattest.NewServer()
//	defer fake.Close()
//	gate, err := wechatgate.New(fake.Options("http://" + host))
//	…
//	response, err := fake.Browser(wechatgate.BrowserWeChat).Get(page)
//
// It takes what WeChat takes and refuses what WeChat refuses, as far as WeChat's
// documents and people's trouble reports tell: the order and the encoding of the
// parameters, the callback's host, the kind of account ([Server.AccountIs]), the
// browser, codes that work once. It refuses as WeChat does: with a page that
// names a number and leads nowhere (an error of [Server.Browser], a page for
// [Server.Visitor]), or with HTTP status 200 and an errcode. Where reports disagree
// it does what is more common, and a [Quirk] chooses the other. Where all are
// silent it takes the harder way.
//
// It differs from WeChat in that it counts calls only when told to
// ([Server.LimitPerMinute], [Server.LimitPerDay]; stable_token has its own limits
// always), has no list of allowed IP addresses until [Server.AllowIPs], and takes
// a loopback host for that of a test account (see [Server.Register]); it keeps
// all it hears of until [Server.Close].
//
// A [Server] is an [http.Handler], too. Called directly, it works in a bubble of
// testing/synctest, where codes and tokens grow old at once. Make it outside of
// the bubble: it listens.
package wechattest
