package wechattest

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// From WeChat's document on the JS-SDK.
func TestJSSignature(t *testing.T) {
	const ticket, nonce, timestamp = "sM4AOVdWfPE4DxkXGEs8VMCPGGVi4C3VM0P37wVUCFvkVAy_90u5h9nbSlYy3-Sl-HhTdfl2fzFy1AOcHKP7qg", "Wm3WZYTPz0wzccnW", 1414587457
	for page, want := range map[string]string{
		"http://mp.weixin.qq.com":              "f4d90daf4b3bca3078ab155816175ba34c443a7b",
		"http://mp.weixin.qq.com?params=value": "0f9de62fce790f9a083d5c99e95740ceb90c27ed",
	} {
		assert.Equal(t, want, jsSignature(ticket, nonce, timestamp, page))
		assert.Equal(t, want, jsSignature(ticket, nonce, timestamp, page+"#top"))
	}
}

// From WeChat's document on stable_token. Half a million calls are too many for a
// test from outside.
func TestDayLimitOfStableToken(t *testing.T) {
	s := NewServer()
	t.Cleanup(s.Close)
	assert.Equal(t, &limit{calls: 500_000, errcode: 45009}, s.limits[limitKey{OpStableToken, 24 * time.Hour}])
}

// What a good server never sends, so that it takes the chat's own encryption.
func TestRepliesThatAreWellEncrypted(t *testing.T) {
	s := NewServer()
	t.Cleanup(s.Close)
	chat := s.Chat("https://shop.example.com/", ChatSettings{AppID: "wx0", Token: "token", EncodingAESKey: strings.Repeat("A", 43)})
	message := chatMessage{ToUser: cdata("gh_0"), FromUser: cdata("oAlice")}
	text := func(content string) string {
		return "<xml><ToUserName>oAlice</ToUserName><FromUserName>gh_0</FromUserName><CreateTime>1</CreateTime><MsgType>text</MsgType><Content>" + content + "</Content></xml>"
	}
	for _, test := range []struct {
		name, appID, reply, problem string
	}{
		{"a text", "wx0", text("你好"), ""},
		{"of 2,048 bytes", "wx0", text(strings.Repeat("x", 2048)), ""},
		{"of 2,049", "wx0", text(strings.Repeat("x", 2049)), "more than 2,048 bytes"},
		{"without words", "wx0", text(""), "has no words"},
		{"a picture", "wx0", strings.Replace(text("x"), ">text<", ">image<", 1), "is no text"},
		{"without a time", "wx0", strings.Replace(text("x"), "<CreateTime>1</CreateTime>", "", 1), "holds no message"},
		{"no XML", "wx0", "success", "holds no message"},
		{"from another account", "wx0", strings.Replace(text("x"), "gh_0", "gh_1", 1), "for somebody else"},
		{"for another app", "wx1", text("x"), "this account's key and AppID"},
	} {
		t.Run(test.name, func(t *testing.T) {
			sealed := encrypt(chat.key, randomBytes(16), test.reply, test.appID)
			body := "<xml><Encrypt>" + sealed + "</Encrypt><MsgSignature>" + sign("token", "1", "n", sealed) + "</MsgSignature><TimeStamp>1</TimeStamp><Nonce>n</Nonce></xml>"
			_, err := chat.readReply(body, message)
			if test.problem == "" {
				assert.NoError(t, err)
				return
			}
			assert.ErrorContains(t, err, test.problem)
		})
	}
}

// From WeChat's document on the encryption of messages (消息加解密说明).
func TestChatEncryption(t *testing.T) {
	const (
		token, appID = "AAAAA", "wxba5fad812f8e6fb9"
		push         = "+qdx1OKCy+5JPCBFWw70tm0fJGb2Jmeia4FCB7kao+/Q5c/ohsOzQHi8khUOb05JCpj0JB4RvQMkUyus8TPxLKJGQqcvZqzDpVzazhZv6JsXUnnR8XGT740XgXZUXQ7vJVnAG+tE8NUd4yFyjPy7GgiaviNrlCTj+l5kdfMuFUPpRSrfMZuMcp3Fn2Pede2IuQrKEYwKSqFIZoNqJ4M8EajAsjLY2km32IIjdf8YL/P50F7mStwntrA2cPDrM1kb6mOcfBgRtWygb3VIYnSeOBrebufAlr7F9mFUPAJGj04="
		reply        = "ELGduP2YcVatjqIS+eZbp80MNLoAUWvzzyJxgGzxZO/5sAvd070Bs6qrLARC9nVHm48Y4hyRbtzve1L32tmxSQ=="
	)
	key, err := base64.StdEncoding.DecodeString("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")
	require.NoError(t, err)

	assert.Equal(t, "f464b24fc39322e44b38aa78f5edd27bd1441696", sign(token, "1714036504", "1514711492"), "GET")
	assert.Equal(t, "6c5c811b55cc85e0e1b54100749188c20beb3f5d", sign(token, "1714112445", "415670741"))
	assert.Equal(t, "046e02f8204d34f8ba5fa3b1db94908f3df2e9b3", sign(token, "1714112445", "415670741", push))
	assert.Equal(t, "1b9339964ed2e271e7c7b6ff2b0ef902fc94dea1", sign(token, "1713424427", "415670741", reply))

	assert.Equal(t, reply, encrypt(key, []byte("707722b803182950"), `{"demo_resp":"good luck"}`, appID))
	message, app, err := decrypt(key, reply)
	require.NoError(t, err)
	assert.Equal(t, `{"demo_resp":"good luck"}`, message) //nolint:testifylint // byte for byte
	assert.Equal(t, appID, app)
	message, app, err = decrypt(key, push)
	require.NoError(t, err)
	assert.True(t, json.Valid([]byte(message)), message)
	assert.Equal(t, appID, app)

	for _, wrong := range []string{"", "!", reply[4:], reply[:len(reply)-8] + "AAAAAAA=", base64.StdEncoding.EncodeToString(make([]byte, 32))} {
		_, _, err := decrypt(key, wrong)
		assert.Error(t, err, wrong)
	}
}
