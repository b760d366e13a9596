// Command wechatgate is a gate for sites in any language: it keeps pages for
// visitors who have signed in with WeChat. With --upstream it is a reverse proxy;
// without, nginx, Caddy, Traefik and Envoy ask it who may pass. The site reads who
// the visitor is from headers.
//
//	go install github.com/wechatgate/wechatgate/cmd/wechatgate@latest
//	wechatgate --demo     # a fake WeChat and a small site, without an account
//	wechatgate --help     # all settings
//	wechatgate check      # asks WeChat whether IDs and secrets are right
//
// README.md, and [Sites in any language], say how to set it up.
//
// [Sites in any language]: https://github.com/wechatgate/wechatgate/blob/main/docs/any-language.md
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second one ends the program at once
	reload := make(chan os.Signal, 1)
	signal.Notify(reload, syscall.SIGHUP)
	p := &program{
		args:    os.Args[1:],
		environ: os.Environ(),
		stdout:  os.Stdout,
		stderr:  os.Stderr,
		reload:  reload,
		look:    2 * time.Second,
	}
	os.Exit(p.run(ctx)) //nolint:forbidigo // a program, not a library
}
