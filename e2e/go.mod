module github.com/wechatgate/wechatgate/e2e

go 1.25.0

require (
	github.com/chromedp/cdproto v0.159.0
	github.com/chromedp/chromedp v0.22.1
	github.com/markbates/goth v1.82.0
	github.com/stretchr/testify v1.12.1
	github.com/wechatgate/wechatgate v0.0.0
)

require (
	github.com/go-json-experiment/json v0.0.0-20260213210345-44df1a37e875 // indirect
	github.com/gorilla/securecookie v1.1.2 // indirect
	github.com/gorilla/sessions v1.4.0 // indirect
	go.yaml.in/yaml/v3 v3.0.5 // indirect
	golang.org/x/oauth2 v0.27.0 // indirect
	rsc.io/qr v0.2.0 // indirect
)

replace github.com/wechatgate/wechatgate => ..
