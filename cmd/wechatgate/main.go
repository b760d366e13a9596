// Command wechatgate is a gate for sites in any language: it keeps pages for
// visitors who have signed in with WeChat. With --upstream it is a reverse proxy;
// without, nginx, Caddy, Traefik and Envoy ask it who may pass. README.md says how.
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
