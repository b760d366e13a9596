// Package routers has no code: a wechatgate.Gate fits chi, gorilla/mux, httprouter
// and every other router of net/http as it is. Its tests show how, and hold these
// three to what the gate promises.
package routers
