// Package wechattest is a fake WeChat for tests and for trying things out, as
// [net/http/httptest] is a fake network: the pages to which visitors are sent,
// the calls with which a server asks who they are, and clients that behave like
// WeChat's browser and others.
//
//	fake := wechattest.NewServer()
//	defer fake.Close()
//	gate, err := wechatgate.New(fake.Options("http://" + host))
//	…
//	response, err := fake.Browser(wechatgate.BrowserWeChat).Get(page)
//
// It is as strict as WeChat's documents and people's trouble reports say WeChat
// is: the order and the encoding of the parameters, the callback's host, the
// kind of app, the browser, codes that work once. Where those are silent it
// takes the harder way. What it refuses, it refuses as WeChat does: with a page
// that names a number and leads nowhere, or with HTTP status 200 and an errcode.
//
// It differs from WeChat in that it counts no calls, has no list of allowed IP
// addresses, and takes a loopback host for that of a test account (see
// [Server.Register]); it keeps all it hears of until [Server.Close].
//
// A [Server] is an [http.Handler], too. Called directly, it works in a bubble of
// testing/synctest, where codes and tokens grow old at once. Make it outside of
// the bubble: it listens.
package wechattest
