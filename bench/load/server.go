package main

import (
	"bufio"
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"html/template"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/wechatgate/wechatgate"
	"github.com/wechatgate/wechatgate/bench"
)

//go:embed members.html
var membersHTML string

// addresses is what the server says on its standard output.
type addresses struct{ Site, Control string }

// reading is what it answers on its control address.
type reading struct {
	Requests   int64 // of pages
	Visitors   int   // different ones
	Heap       int64 // bytes in use after a collection
	Resident   int64 // bytes
	Goroutines int
	CPU        time.Duration // of all cores, since the server began
}

// serveUntilEOF signs visitors in, writes their cookies into a file, and serves
// a page with and without a gate until whoever started it goes away.
func serveUntilEOF(ctx context.Context, cookieFile string, visitors int) error {
	gate, err := wechatgate.New(bench.Options(bench.TokenOf))
	if err != nil {
		return err
	}
	if err := writeCookies(ctx, gate, cookieFile, visitors); err != nil {
		return err
	}
	members, err := template.New("members").Parse(membersHTML)
	if err != nil {
		return err
	}
	p := &pages{membersHTML: members, seen: make([]atomic.Bool, visitors)}
	mux := http.NewServeMux()
	for path, page := range map[string]http.HandlerFunc{"/hello": p.hello, "/members": p.members} {
		mux.Handle("/without"+path, page)
		mux.Handle("/behind"+path, gate.Require(page))
	}
	site, err := listen(ctx, mux)
	if err != nil {
		return err
	}
	control, err := listen(ctx, http.HandlerFunc(p.report))
	if err != nil {
		return err
	}
	if err := json.NewEncoder(os.Stdout).Encode(addresses{site, control}); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

func writeCookies(ctx context.Context, gate http.Handler, file string, visitors int) error {
	f, err := os.Create(file) //nolint:gosec // the driver's own temporary directory
	if err != nil {
		return err
	}
	defer f.Close()
	w := bufio.NewWriter(f)
	for i := range visitors {
		cookies, err := bench.SignIn(ctx, gate, fmt.Sprintf("%06d", i))
		if err != nil {
			return err
		}
		fmt.Fprintf(w, "%s=%s\n", cookies[0].Name, cookies[0].Value)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return f.Close()
}

func listen(ctx context.Context, handler http.Handler) (address string, err error) {
	var config net.ListenConfig
	l, err := config.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = server.Serve(l) }() // until the process ends
	return "http://" + l.Addr().String(), nil
}

// pages answer with and without a gate in front.
type pages struct {
	membersHTML *template.Template
	requests    atomic.Int64
	seen        []atomic.Bool // by visitor
}

// hello is as little as a page can be.
func (p *pages) hello(w http.ResponseWriter, r *http.Request) {
	p.count(r)
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = io.WriteString(w, "hello\n")
}

// members greets the visitor, by html/template, as the example does.
func (p *pages) members(w http.ResponseWriter, r *http.Request) {
	u, ok := p.count(r)
	if !ok {
		u = wechatgate.User{AppID: "wx0123456789abcdef", OpenID: "oOpenxxxxxxxxxxxxxxxxx000000", UnionID: "oUnionxxxxxxxxxxxxxxxx000000"}
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_ = p.membersHTML.Execute(w, u)
}

func (p *pages) count(r *http.Request) (wechatgate.User, bool) {
	p.requests.Add(1)
	u, ok := wechatgate.UserFromContext(r.Context())
	if ok {
		if n, err := strconv.Atoi(u.OpenID[len(u.OpenID)-6:]); err == nil {
			p.seen[n].Store(true)
		}
	}
	return u, ok
}

func (p *pages) report(w http.ResponseWriter, _ *http.Request) {
	runtime.GC()
	runtime.GC() // what had a finalizer
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	now := reading{
		Requests:   p.requests.Load(),
		Heap:       int64(m.HeapAlloc), //nolint:gosec // far below 2^63
		Resident:   resident(),
		Goroutines: runtime.NumGoroutine(),
		CPU:        cpu(),
	}
	for i := range p.seen {
		if p.seen[i].Load() {
			now.Visitors++
		}
	}
	_ = json.NewEncoder(w).Encode(now)
}

// resident is what Linux says, and 0 elsewhere.
func resident() int64 {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	_, after, _ := strings.Cut(string(status), "VmRSS:")
	var kB int64
	_, _ = fmt.Sscan(after, &kB)
	return kB << 10
}

func cpu() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
