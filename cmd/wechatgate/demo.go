package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"html/template"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/wechatgate/wechatgate/internal/env"
	"github.com/wechatgate/wechatgate/wechattest"
)

// demo is a WeChat that is a fake, and a site behind the gate.
type demo struct {
	wechat  *wechattest.Server
	site    *http.Server
	environ []string
}

// startDemo fills in what an account would have to say.
func startDemo(ctx context.Context, line *commandLine, environ []string) (*demo, error) {
	for _, flag := range []string{"upstream", "base-url", "official-account-id", "website-id", "config"} {
		if len(line.given[flag]) > 0 {
			return nil, fmt.Errorf("--demo brings its own --%s: leave it out", flag)
		}
	}
	address := "127.0.0.1:4180"
	if given := line.given["listen"]; len(given) > 0 {
		address = given[0]
	}
	_, port, err := net.SplitHostPort(address)
	if err != nil || port == "0" || strings.HasPrefix(address, "unix:") || strings.HasPrefix(address, "fd:") {
		return nil, errors.New("--listen: the demo wants host:port, with a port of your choice")
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	baseURL := "http://localhost:" + port
	d := &demo{wechat: wechattest.NewServer(), site: &http.Server{Handler: http.HandlerFunc(demoPage), ReadHeaderTimeout: readHeaderTimeout}} //nolint:contextcheck // ends with close
	go func() { _ = d.site.Serve(listener) }()
	d.wechat.Ask(wechattest.AskAlways)
	options := d.wechat.Options(baseURL)
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails
	for flag, value := range map[string]string{
		"base-url":            baseURL,
		"upstream":            "http://" + listener.Addr().String(),
		"official-account-id": options.OfficialAccount.ID,
		"website-id":          options.Website.ID,
	} {
		line.given[flag] = []string{value}
	}
	for _, pair := range environ {
		if !strings.HasPrefix(pair, "WECHATGATE_") {
			d.environ = append(d.environ, pair)
		}
	}
	d.environ = append(
		d.environ,
		env.OfficialAccountSecret+"="+options.OfficialAccount.Secret,
		env.WebsiteSecret+"="+options.Website.Secret,
		env.SessionKey+"="+base64.StdEncoding.EncodeToString(key),
		"WECHATGATE_WECHAT_OPEN="+options.Endpoints.Open,
		"WECHATGATE_WECHAT_API="+options.Endpoints.API,
	)
	return d, nil
}

func (d *demo) close() {
	_ = d.site.Close()
	d.wechat.Close()
}

// demoPage is what a site in any language does: it reads the headers.
func demoPage(w http.ResponseWriter, r *http.Request) {
	type row struct{ Name, Value string }
	var rows []row
	for _, name := range []string{"OPENID", "APPID", "UNIONID", "NICKNAME", "AVATAR"} {
		value, err := url.PathUnescape(r.Header.Get(defaultPrefix + name))
		if err != nil {
			value = ""
		}
		rows = append(rows, row{defaultPrefix + name, value})
	}
	page := template.Must(template.New("").Parse(`<!doctype html><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>wechatgate --demo</title><style>body{font:16px/1.5 system-ui;max-width:40em;margin:2em auto;padding:0 1em}td{padding:.2em 1em .2em 0;overflow-wrap:anywhere}</style>
<h1>You are signed in · 已登录</h1><p>This page comes from a site behind the gate. It got these headers:<br><span lang="zh">这一页来自 wechatgate 后面的网站，它收到这些请求头：</span></p>
<table>{{range .}}<tr><td><code>{{.Name}}</code><td>{{.Value}}{{end}}</table>
<p><a href="/wechat/logout">Sign out · 退出登录</a>`))
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_ = page.Execute(w, rows)
}
