//go:build linux

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/wechatgate/wechatgate"
	redisstore "github.com/wechatgate/wechatgate/stores/redis"
	"github.com/wechatgate/wechatgate/wechat"
)

// shared is what all processes of the two sites have in common. It comes on their
// standard input, as it holds secrets.
type shared struct {
	SealedURL, StoreURL          string
	AccountID, AccountSecret     string
	WebsiteID, WebsiteSecret     string
	Key                          []byte
	Endpoints                    wechat.Endpoints
	ChatToken, ChatKey           string
	Redis                        string
	IdleTimeout, SessionLifetime time.Duration
}

// addresses is what a process says on its standard output.
type addresses struct{ Sealed, Store, Control string }

// reading is what it answers on its control address.
type reading struct {
	Now        time.Time // by the process's own clock
	Heap       int64     // bytes in use after a collection
	Goroutines int
}

// memoryLimit keeps a process that leaks from taking the machine's memory.
const memoryLimit = 512 << 20

// serveUntilEOF is one process of both sites. It ends when its parent does.
func serveUntilEOF(ctx context.Context, stdin io.Reader) error {
	debug.SetMemoryLimit(memoryLimit)
	var s shared
	if err := json.NewDecoder(stdin).Decode(&s); err != nil {
		return err
	}
	client := redis.NewClient(&redis.Options{
		Addr:                  s.Redis,
		DialTimeout:           2 * time.Second,
		ReadTimeout:           2 * time.Second,
		WriteTimeout:          2 * time.Second,
		ContextTimeoutEnabled: true,
	})
	logger := slog.New(slog.NewJSONHandler(os.Stderr, nil))
	account := wechatgate.App{ID: s.AccountID, Secret: s.AccountSecret}
	sealed := wechatgate.Options{
		BaseURL:         s.SealedURL,
		OfficialAccount: account,
		Website:         wechatgate.App{ID: s.WebsiteID, Secret: s.WebsiteSecret},
		SessionKeys:     [][]byte{s.Key},
		IdleTimeout:     s.IdleTimeout,
		CookieName:      "sealed",
		Endpoints:       s.Endpoints,
		Logger:          logger,
	}
	stored := wechatgate.Options{
		BaseURL:         s.StoreURL,
		OfficialAccount: account,
		SessionKeys:     [][]byte{s.Key},
		SessionLifetime: s.SessionLifetime,
		Store:           redisstore.Sessions(client, "soak:session:"),
		CookieName:      "stored",
		CodeSignIn: wechatgate.CodeSignIn{
			Scan:  true,
			Chat:  wechatgate.Chat{AppID: s.AccountID, Token: s.ChatToken, EncodingAESKey: s.ChatKey},
			Codes: redisstore.Codes(client),
		},
		Endpoints: s.Endpoints,
		Logger:    logger,
	}
	var a addresses
	for address, options := range map[*string]wechatgate.Options{&a.Sealed: sealed, &a.Store: stored} {
		gate, err := wechatgate.New(options)
		if err != nil {
			return err
		}
		if *address, err = listen(ctx, gate.Require(http.HandlerFunc(page))); err != nil {
			return err
		}
	}
	var err error
	if a.Control, err = listen(ctx, http.HandlerFunc(readMemory)); err != nil {
		return err
	}
	if err := json.NewEncoder(os.Stdout).Encode(a); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, stdin)
	return err
}

// silent is for go-redis, which writes to standard error when Redis is away.
type silent struct{}

func (silent) Printf(context.Context, string, ...any) {}

func listen(ctx context.Context, handler http.Handler) (address string, err error) {
	var config net.ListenConfig
	l, err := config.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = server.Serve(l) }() // until the process ends
	return l.Addr().String(), nil
}

// page names the visitor and itself.
func page(w http.ResponseWriter, r *http.Request) {
	u, _ := wechatgate.UserFromContext(r.Context())
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = io.WriteString(w, pageText(u.OpenID, r.URL.Path))
}

func pageText(openID, path string) string { return openID + " at " + path + "\n" }

func readMemory(w http.ResponseWriter, _ *http.Request) {
	runtime.GC()
	runtime.GC() // what had a finalizer
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	_ = json.NewEncoder(w).Encode(reading{
		Now:        time.Now(),
		Heap:       int64(m.HeapAlloc), //nolint:gosec // far below 2^63
		Goroutines: runtime.NumGoroutine(),
	})
}

// resident is what Linux says of a process, or 0 when it is gone.
func resident(pid int) int64 {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	_, after, _ := strings.Cut(string(status), "VmRSS:")
	var kB int64
	_, _ = fmt.Sscan(after, &kB)
	return kB << 10
}
