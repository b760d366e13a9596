package main

import (
	"context"
	"crypto/rand"
	_ "embed"
	"html/template"
	"net/http"
	"strings"
	"sync/atomic"

	"github.com/wechatgate/wechatgate"
	"github.com/wechatgate/wechatgate/wechat/push"
	"github.com/wechatgate/wechatgate/wechattest"
)

// Signing in with a code takes a phone: one that scans the QR code on a page, or
// on which somebody writes to the account. This file is that phone, as a page of
// the fake. A site of your own needs none of it, but for its CodeSignIn.

//go:embed phone.html
var phonePage string

const (
	phonePath   = "/phone"
	chatAccount = "示例小店"
	chatAppID   = "wx5e0f5e0f5e0f5e0f"
	maxTyped    = 4 << 10 // bytes
)

type phone struct {
	wechat *wechattest.Server
	page   *template.Template
	chat   atomic.Pointer[wechattest.Chat] // nil until there is a site
	site   atomic.Pointer[string]
}

func newPhone(server *wechattest.Server) *phone {
	return &phone{wechat: server, page: template.Must(template.New("phone").Parse(phonePage))}
}

// pairWith makes the account's chat the site's, and returns what the site needs
// for it. A console would show Token and key.
func (p *phone) pairWith(baseURL string) wechatgate.CodeSignIn {
	settings := wechattest.ChatSettings{AppID: chatAppID, Token: rand.Text(), EncodingAESKey: (rand.Text() + rand.Text())[:42] + "A"}
	p.chat.Store(p.wechat.Chat(baseURL+"/wechat/messages", settings))
	p.site.Store(&baseURL)
	return wechatgate.CodeSignIn{
		Scan: true,
		Chat: wechatgate.Chat{
			AppID:          settings.AppID,
			Name:           chatAccount,
			Token:          settings.Token,
			EncodingAESKey: settings.EncodingAESKey,
			OnMessage: func(context.Context, push.Message) (string, error) {
				return "发送登录页上的 8 位数字，就能得到验证码。\nSend the number on the sign-in page to get a code.", nil
			},
		},
	}
}

// before serves the phone's page, and leaves all else to next.
func (p *phone) before(next http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", next)
	mux.HandleFunc("GET "+phonePath, func(w http.ResponseWriter, _ *http.Request) { p.show(w, "alice", "") })
	mux.Handle("POST "+phonePath, http.NewCrossOriginProtection().Handler(http.HandlerFunc(p.use)))
	return mux
}

// use does what somebody pressed.
func (p *phone) use(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxTyped)
	person := wechattest.Person{Name: r.PostFormValue("person")}
	chat, site := p.chat.Load(), p.site.Load()
	if chat == nil {
		http.NotFound(w, r)
		return
	}
	var said string
	var err error
	address, text := strings.TrimSpace(r.PostFormValue("address")), r.PostFormValue("text")
	switch {
	case r.PostFormValue("do") == "chat", address == "" && text != "": // or the Enter key
		said, err = chat.Text(r.Context(), person, text)
	case strings.HasPrefix(address, *site+"/"): // the phone opens no other site
		if said, err = p.wechat.Scan(person, address); err == nil { //nolint:contextcheck // it has a time limit of its own
			said = "验证码 Code: " + said
		}
	default:
		said = "请粘贴登录页上的链接，要整条粘贴。\nPaste the whole address that the sign-in page shows."
	}
	if err != nil {
		said = err.Error()
	}
	p.show(w, person.Name, said)
}

func (p *phone) show(w http.ResponseWriter, person, said string) {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
	_ = p.page.Execute(w, struct {
		Person, Said, Account string
		People                []string
	}{person, said, chatAccount, []string{"alice", "bob", "carol"}})
}
