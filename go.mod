module github.com/wechatgate/wechatgate

go 1.25.0

require (
	github.com/gorilla/securecookie v1.1.2
	github.com/gorilla/sessions v1.4.0
	github.com/stretchr/testify v1.12.1
	rsc.io/qr v0.2.0
)

require go.yaml.in/yaml/v3 v3.0.5 // indirect
