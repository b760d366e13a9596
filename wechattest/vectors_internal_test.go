package wechattest

import (
	"testing"

	"github.com/stretchr/testify/assert"
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
