package gatesuite

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/wechatgate/wechatgate"
	"github.com/wechatgate/wechatgate/wechattest"
)

// Example is a site with a gate and a fake WeChat, and somebody with WeChat's
// browser, for examples.
type Example struct {
	fake    *wechattest.Server
	server  *httptest.Server
	browser *http.Client
}

// NewExample serves what build makes.
func NewExample(build func(*wechatgate.Gate) http.Handler) *Example {
	e := &Example{fake: wechattest.NewServer(), server: httptest.NewUnstartedServer(nil)}
	e.browser = e.fake.Browser(wechatgate.BrowserWeChat)
	options := e.fake.Options("http://" + e.server.Listener.Addr().String())
	options.Logger = slog.New(slog.DiscardHandler)
	gate, err := wechatgate.New(options)
	if err != nil {
		panic(err)
	}
	e.server.Config.Handler = build(gate)
	e.server.Start()
	return e
}

// Open prints the status and the text that a page ends in.
func (e *Example) Open(path string) {
	request, err := http.NewRequestWithContext(context.Background(), http.MethodGet, e.server.URL+path, http.NoBody)
	if err != nil {
		panic(err)
	}
	response, err := e.browser.Do(request)
	if err != nil {
		panic(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		panic(err)
	}
	fmt.Println(response.StatusCode, strings.TrimSpace(string(body))) //nolint:forbidigo // the output of an Example
}

// Close ends both servers.
func (e *Example) Close() {
	e.server.Close()
	e.fake.Close()
}

// RunExample builds the program in a directory, starts it with an address as its
// argument, and signs somebody in. The program's WeChat is a fake of its own.
func RunExample(t *testing.T, directory string) {
	t.Helper()
	program := filepath.Join(t.TempDir(), "example")
	if output, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, directory).CombinedOutput(); err != nil { //nolint:gosec // the caller is a test
		t.Fatalf("%s: %s", err, output)
	}
	address := freeAddress(t)
	command := exec.CommandContext(t.Context(), program, address) //nolint:gosec // just built
	// Why it ended, if it did.
	command.Stderr = t.Output()
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = command.Wait() }) // by then, the test's context has ended it
	waitFor(t, address)

	fake := wechattest.NewServer()
	defer fake.Close()
	s := &site{T: t, url: "http://" + address}
	v := &visitor{t, s, fake.Browser(wechatgate.BrowserWeChat)}
	got := v.open("/")
	if got.status != http.StatusOK || !strings.HasPrefix(got.body, "hello o") {
		t.Errorf("got %d %q, want 200 and a greeting by openid", got.status, got.body)
	}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // closed at once
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// waitFor waits until somebody listens.
func waitFor(t *testing.T, address string) {
	t.Helper()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for limit := time.After(timeLimit); ; {
		var dialer net.Dialer
		connection, err := dialer.DialContext(t.Context(), "tcp", address)
		if err == nil {
			_ = connection.Close()
			return
		}
		select {
		case <-ticker.C:
		case <-limit:
			t.Fatalf("nobody listens: %v", err)
		}
	}
}
