package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"runtime/debug"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// program is one run.
type program struct {
	args, environ  []string
	stdout, stderr io.Writer
	reload         <-chan os.Signal
	look           time.Duration                 // how often files are looked at
	ready          func(address, admin net.Addr) // for tests; admin may be nil

	line    commandLine
	level   slog.LevelVar
	log     *slog.Logger
	metrics *metrics
	site    atomic.Pointer[site]
	watched map[string]stamp
	looked  map[string]stamp // at the last look
}

// run returns the exit status.
func (p *program) run(ctx context.Context) int {
	var err error
	p.line, err = parseCommandLine(p.args, p.stdout)
	switch {
	case err != nil:
		return p.explain(err)
	case p.line.helped:
		return 0
	case p.line.version:
		_, _ = fmt.Fprintln(p.stdout, "wechatgate", version())
		return 0
	}
	if p.line.demo {
		demo, err := startDemo(ctx, &p.line, p.environ)
		if err != nil {
			return p.explain(err)
		}
		defer demo.close()
		p.environ = demo.environ
	}
	settings, err := readSettings(p.line, p.environ)
	if err != nil {
		status := p.explain(err)
		for _, warning := range settings.warnings { // such as the misspelt name of what is missing
			_, _ = fmt.Fprintln(p.stderr, "wechatgate: warning:", warning)
		}
		_, _ = fmt.Fprintln(p.stderr, "wechatgate --help lists the settings; wechatgate --demo needs none")
		return status
	}
	p.log = p.newLog(settings)
	p.metrics = newMetrics()
	p.warn(settings)
	site, err := newSite(settings, p.metrics, p.log, nil)
	if err != nil {
		return p.explain(err)
	}
	defer func() { p.site.Load().release(nobody()) }()
	p.site.Store(site)
	p.remember(settings)
	if p.line.check {
		return p.check(ctx)
	}
	if err := p.serve(ctx); err != nil {
		return p.explain(err)
	}
	return 0
}

// nobody goes on with nothing.
func nobody() *site { return &site{} }

// explain writes every mistake on a line.
func (p *program) explain(err error) int {
	for _, one := range optionErrors(err) {
		_, _ = fmt.Fprintln(p.stderr, "wechatgate:", one)
	}
	return 1
}

func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "(devel)"
	}
	return info.Main.Version
}

func (p *program) newLog(s *settings) *slog.Logger {
	p.level.Set(s.logLevel)
	options := &slog.HandlerOptions{Level: &p.level}
	if s.logFormat == "json" {
		return slog.New(slog.NewJSONHandler(p.stderr, options))
	}
	return slog.New(slog.NewTextHandler(p.stderr, options))
}

func (p *program) warn(s *settings) {
	for _, warning := range s.warnings {
		p.log.Warn(warning, slog.String("event", "settings"))
	}
}

// remember notes how the files are that settings were read from. What was noted
// before they were read stays: a change in between is still to be seen.
func (p *program) remember(s *settings) {
	noted := map[string]stamp{}
	for _, file := range s.watched {
		before, found := p.watched[file]
		if !found {
			before = stampOf(file)
		}
		noted[file] = before
	}
	p.watched = noted
}

// hasChanged reports whether files have changed, and were left alone since the last
// look: half a file may be good settings, without those that keep somebody out.
func (p *program) hasChanged() bool {
	looked := p.looked
	p.looked = map[string]stamp{}
	changed := false
	for file, before := range p.watched {
		p.looked[file] = stampOf(file)
		changed = changed || p.looked[file] != before
	}
	return changed && maps.Equal(p.looked, looked)
}

// keepUp reads settings and lists again when they change, until ctx ends.
func (p *program) keepUp(ctx context.Context) {
	ticker := time.NewTicker(p.look)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.reload:
			p.readAgain()
		case <-ticker.C:
			if p.hasChanged() {
				p.readAgain()
			}
			p.site.Load().lists.look()
		}
	}
}

// readAgain swaps in a site with the settings as they are now. A mistake keeps the
// old one.
func (p *program) readAgain() {
	before := p.site.Load()
	for file := range p.watched {
		p.watched[file] = stampOf(file) // a mistake is said once for each change
	}
	settings, err := readSettings(p.line, p.environ)
	var next *site
	if err == nil {
		next, err = newSite(settings, p.metrics, p.log, before)
	}
	if err != nil {
		p.metrics.reloads.WithLabelValues("failed").Inc()
		for _, one := range optionErrors(err) {
			p.log.Error("the settings are wrong: the old ones still hold", slog.String("event", "reload failed"), slog.String("error", one.Error()))
		}
		return
	}
	for _, fixed := range []struct {
		flag   string
		before any
		after  any
	}{
		{"listen", before.listen, settings.listen},
		{"admin-listen", before.adminListen, settings.adminListen},
		{"log-format", before.logFormat, settings.logFormat},
		{"tls-cert-file", before.tlsCert != "", settings.tlsCert != ""},
	} {
		if !reflect.DeepEqual(fixed.before, fixed.after) {
			p.log.Warn("--"+fixed.flag+" has changed: that takes a restart", slog.String("event", "settings"))
		}
	}
	p.level.Set(settings.logLevel)
	p.warn(settings)
	p.site.Store(next)
	before.release(next)
	p.remember(settings)
	p.metrics.reloads.WithLabelValues("ok").Inc()
	p.log.Info("the settings were read again", slog.String("event", "reloaded"))
}

// serve answers until ctx ends, and then lets requests under way finish.
func (p *program) serve(ctx context.Context) error {
	settings := p.site.Load().settings
	listener, err := listen(ctx, "listen", settings.listen)
	if err != nil {
		return err
	}
	defer func() { _ = listener.Close() }()
	var draining atomic.Bool
	var adminAddress net.Addr
	if settings.adminListen.isSet() {
		adminListener, err := listen(ctx, "admin-listen", settings.adminListen)
		if err != nil {
			return err
		}
		adminAddress = adminListener.Addr()
		admin := &http.Server{Handler: newAdmin(p.metrics, &draining), ReadHeaderTimeout: readHeaderTimeout}
		go func() { _ = admin.Serve(adminListener) }()
		defer func() { _ = admin.Close() }()
	}

	base, endStreams := context.WithCancel(context.WithoutCancel(ctx))
	defer endStreams()
	var serving sync.WaitGroup
	server := p.newServer(base, &serving)
	failed := make(chan error, 1)
	go func() {
		if settings.tlsCert != "" {
			failed <- server.ServeTLS(listener, "", "")
			return
		}
		failed <- server.Serve(listener)
	}()
	watching, stopWatching := context.WithCancel(ctx)
	defer stopWatching()
	go p.keepUp(watching)

	p.announce(settings, listener.Addr())
	if p.ready != nil {
		p.ready(listener.Addr(), adminAddress)
	}
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	draining.Store(true)
	p.log.InfoContext(base, "ending: requests under way may finish", slog.String("event", "draining"))
	return p.drain(base, server, &serving, endStreams)
}

const readHeaderTimeout = 10 * time.Second

// newServer has no limits but for a request's headers: streams take their time.
func (p *program) newServer(base context.Context, serving *sync.WaitGroup) *http.Server {
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(true)
	return &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			serving.Add(1)
			defer serving.Done()
			p.site.Load().ServeHTTP(w, r)
		}),
		Protocols: &protocols,
		// "OPTIONS *" is refused like all that is no path.
		DisableGeneralOptionsHandler: true,
		ReadHeaderTimeout:            readHeaderTimeout,
		IdleTimeout:                  2 * time.Minute,
		BaseContext:                  func(net.Listener) context.Context { return base },
		ErrorLog:                     slog.NewLogLogger(p.log.Handler(), slog.LevelDebug),
		TLSConfig: &tls.Config{
			MinVersion: tls.VersionTLS12,
			GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
				if c := p.site.Load().certificate; c != nil {
					return c, nil
				}
				return nil, errors.New("no certificate")
			},
		},
	}
}

var errCut = errors.New("--shutdown-timeout has passed: requests under way were cut off")

// drain waits for requests, and then ends connections that were upgraded.
func (p *program) drain(base context.Context, server *http.Server, serving *sync.WaitGroup, endStreams func()) error {
	limit, cancel := context.WithTimeout(context.WithoutCancel(base), p.site.Load().shutdownTimeout)
	defer cancel()
	err := server.Shutdown(limit)
	endStreams()
	if err != nil {
		_ = server.Close()
		err = errCut
	}
	ended := make(chan struct{})
	go func() {
		serving.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-time.After(5 * time.Second):
		err = errCut
	}
	return err
}

func (p *program) announce(s *settings, address net.Addr) {
	mode := "other proxies ask"
	if s.upstream != nil {
		mode = "reverse proxy"
	}
	p.log.Info("listening", slog.String("event", "listening"), slog.String("address", address.String()), slog.String("mode", mode), slog.String("base_url", s.base.String()))
	if p.line.demo {
		_, _ = fmt.Fprintf(p.stdout, "Open  %s\nWeChat is a fake here: it asks you who signs in.\n", s.base)
	}
}

// listen opens a flag's address. A Unix socket that a program has left behind is
// replaced, one that is in use is not.
func listen(ctx context.Context, flag string, a address) (listener net.Listener, err error) {
	switch a.network {
	case "fd":
		number, _ := strconv.Atoi(a.value)
		file := os.NewFile(uintptr(number), "fd:"+a.value)
		if file == nil {
			return nil, fmt.Errorf("--%s: there is no fd:%s", flag, a.value)
		}
		defer file.Close()
		listener, err = net.FileListener(file)
	case "unix":
		if info, failed := os.Lstat(a.value); failed == nil && info.Mode()&os.ModeSocket != 0 {
			if c, inUse := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "unix", a.value); inUse == nil {
				_ = c.Close()
				return nil, fmt.Errorf("--%s: another program listens at %s", flag, filepath.Base(a.value))
			} else if errors.Is(inUse, syscall.ECONNREFUSED) {
				_ = os.Remove(a.value)
			}
		}
		listener, err = new(net.ListenConfig).Listen(ctx, "unix", a.value)
	default:
		listener, err = new(net.ListenConfig).Listen(ctx, "tcp", a.value)
	}
	if err != nil {
		return nil, fmt.Errorf("--%s: %w", flag, err)
	}
	return listener, nil
}
