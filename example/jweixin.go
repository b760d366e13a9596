package main

import (
	_ "embed"
	"io"
	"net/http"
	"strconv"

	"github.com/wechatgate/wechatgate/wechat/account"
	"github.com/wechatgate/wechatgate/wechattest"
)

// WeChat's script for share cards does nothing outside of WeChat. This one stands
// in for it, and asks the fake what the real one would say. It is the fake's: a
// site of your own loads WeChat's.

//go:embed jweixin.js
var jweixinScript string

func serveJWeixin(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/javascript; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = io.WriteString(w, jweixinScript)
}

// verifyConfig answers in the words of wx.config.
func verifyConfig(fake *wechattest.Server) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		timestamp, _ := strconv.ParseInt(r.PostFormValue("timestamp"), 10, 64)
		err := fake.VerifyJSConfig(r.PostFormValue("page"), account.JSConfig{
			AppID:     r.PostFormValue("appId"),
			Timestamp: timestamp,
			NonceStr:  r.PostFormValue("nonceStr"),
			Signature: r.PostFormValue("signature"),
		})
		answer := "config:ok"
		if err != nil {
			answer = "config:" + err.Error()
		}
		w.Header().Set("Access-Control-Allow-Origin", "*") // the page is on another port
		_, _ = io.WriteString(w, answer)
	}
}
