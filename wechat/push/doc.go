// Package push receives what people send to an official account (公众号): the
// server that the console calls 服务器配置.
//
//	handler := &push.Handler{
//		AppID:          "wx1234567890abcdef",
//		Token:          token,          // 令牌(Token)
//		EncodingAESKey: encodingAESKey, // 消息加解密密钥
//		OnMessage: func(ctx context.Context, m push.Message) (string, error) {
//			return "You wrote: " + m.Content, nil
//		},
//	}
//	if err := handler.Validate(); err != nil {
//		log.Fatal(err)
//	}
//	mux.Handle("/wechat/messages", handler)
//
// Set 消息加解密方式 to 安全模式 and 数据格式 to XML. Nothing else is accepted: the
// signature of the other modes covers no message, so that anybody who has seen
// one address can write any message to it, from any person, for ever.
//
// Switching the server on switches the console's own automatic replies and menu
// off. Accounts of any kind can have a server, a personal subscription account
// (个人订阅号) as well.
// https://developers.weixin.qq.com/doc/offiaccount/Basic_Information/Access_Overview.html
package push
