// Command example is a small site behind a [wechatgate.Gate]:
//
//	go run ./example
//
// needs nothing and serves http://localhost:8080. A fake WeChat runs in the same
// process and lets you choose who signs in. To read it as an introduction, begin
// with newSite in site.go, where the gate is put in front of the pages; config.go
// fills in Options, and as.go is a stand-in for WeChat's own browser.
//
// With these variables of the environment the same site uses the real WeChat:
//
//	WECHATGATE_BASE_URL                 what visitors type, like https://shop.example.com
//	WECHATGATE_OFFICIAL_ACCOUNT_ID      公众号 AppID, for sign-in inside WeChat
//	WECHATGATE_OFFICIAL_ACCOUNT_SECRET
//	WECHATGATE_WEBSITE_ID               网站应用 AppID, for sign-in by QR code
//	WECHATGATE_WEBSITE_SECRET           at least one of the two apps is needed
//	WECHATGATE_SESSION_KEY              of openssl rand -base64 32; several with commas between
//	WECHATGATE_VERIFY_FILE              optional: where the console's MP_verify_….txt is
//	WECHATGATE_INSECURE_BASE_URL        optional: true for a test account on http, an IP address or a port
//
// WECHATGATE_EXAMPLE_ADDR is where to listen, localhost:8080 by default. For the
// real WeChat a proxy with TLS stands in front: nginx/nginx.conf is one for nginx.
// Its test uses WECHATGATE_EXAMPLE_WECHAT, where something on this computer plays
// WeChat, for a base URL on localhost or below .test alone.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/wechatgate/wechatgate"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the program at once
	if err := run(ctx, os.Getenv, os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "example:", err)
		os.Exit(1)
	}
}

// run serves the site until ctx ends, and then lets requests under way finish.
func run(ctx context.Context, getenv func(string) string, stdout, stderr io.Writer) error {
	config, err := readConfig(getenv)
	if err != nil {
		return fmt.Errorf("the environment does not fit together (with nothing set, WeChat is a fake):\n%w", err)
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", config.addr)
	if err != nil {
		return fmt.Errorf("%w; set %s to a free address (localhost:0 takes any free port)", err, addrVariable)
	}
	defer func() { _ = listener.Close() }()

	log := slog.New(slog.NewTextHandler(stderr, nil))
	options, fakeURL, phone, jweixin := config.options, "", "", "https://res.wx.qq.com/open/js/jweixin-1.6.0.js"
	var choices []disguise
	if config.fake {
		fake, err := startFake(ctx)
		if err != nil {
			return err
		}
		defer fake.close()
		options, fakeURL, choices = fake.options(localURL(listener)), fake.url, disguises()
		phone, jweixin = fake.url+phonePath, fake.url+"/jweixin.js"
	}
	options.Public = append(options.Public, "GET /{$}", "GET /assets/")
	options.Logger = log
	if options.OfficialAccount.ID != "" {
		options.AskFollower, options.JSSDK = true, true
		options.OnLogin = noteFollower
	}

	gate, err := wechatgate.New(options)
	if err != nil {
		return err
	}
	if !config.fake {
		// Better now than at the first visitor's sign-in. It asks BaseURL, too,
		// so the site has to be served meanwhile.
		go checkConfig(ctx, gate, log)
	}
	announce(stdout, options, listener, fakeURL)
	handler := newSite(gate, log, choices, phone, jweixin)
	if config.fake {
		handler = as(handler)
	}
	return serve(ctx, newServer(handler, log), listener)
}

func checkConfig(ctx context.Context, gate *wechatgate.Gate, log *slog.Logger) {
	if err := gate.CheckConfig(ctx); err != nil {
		log.ErrorContext(ctx, "the settings are wrong, or could not be checked", slog.Any("error", err))
	}
}

// announce says what to open, and nothing that is secret: an App prints without
// its secret.
func announce(w io.Writer, options wechatgate.Options, listener net.Listener, fakeURL string) {
	_, _ = fmt.Fprintf(w, "Open       %s\n", options.BaseURL)
	if fakeURL != "" {
		_, _ = fmt.Fprintf(w, "As WeChat  %s/as/wechat  (the page has a switch, too)\n", options.BaseURL)
		_, _ = fmt.Fprintf(w, "A phone    %s%s  (gives the code for signing in as a phone browser)\n", fakeURL, phonePath)
		_, _ = fmt.Fprintf(w, "WeChat is a fake here, at %s: it asks you who signs in.\n", fakeURL)
	} else {
		_, _ = fmt.Fprintf(w, "Listening  http://%s  (a proxy with TLS belongs in front)\n", listener.Addr())
		_, _ = fmt.Fprintf(w, "Signing in with WeChat: official account %v, website app %v\n", options.OfficialAccount, options.Website)
		if address := options.Endpoints.Open; address != "" {
			_, _ = fmt.Fprintf(w, "WeChat is none here, but %s: it can sign anybody in as anybody.\n", address)
		}
	}
	_, _ = fmt.Fprintln(w, "Stop with Ctrl-C.")
}

// localURL is what to type for a listener of this computer. The name localhost
// matters: cookies set for it do not reach 127.0.0.1, nor the reverse.
func localURL(listener net.Listener) string {
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		panic(err) // listeners on TCP have ports
	}
	return "http://localhost:" + port
}

func newServer(handler http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       15 * time.Second,
		WriteTimeout:      time.Minute, // a callback waits for WeChat, at most 10 s a call
		IdleTimeout:       2 * time.Minute,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelError),
	}
}

// serve returns nil when ctx ended and every request was answered.
func serve(ctx context.Context, server *http.Server, listener net.Listener) error {
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
	defer cancel()
	if err := server.Shutdown(grace); err != nil {
		return errors.Join(fmt.Errorf("some requests did not finish in time: %w", err), server.Close())
	}
	return nil
}
