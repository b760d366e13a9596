module github.com/wechatgate/wechatgate/adapters/routers

go 1.25.0

replace github.com/wechatgate/wechatgate => ../..

require (
	github.com/go-chi/chi/v5 v5.5.0
	github.com/gorilla/mux v1.8.1
	github.com/julienschmidt/httprouter v1.3.0
	github.com/wechatgate/wechatgate v0.0.0
)

require (
	github.com/gorilla/securecookie v1.1.2 // indirect
	github.com/gorilla/sessions v1.4.0 // indirect
	rsc.io/qr v0.2.0 // indirect
)
