package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wechatgate/wechatgate"
	"github.com/wechatgate/wechatgate/wechattest"
)

// patience is for whatever a program does. It is long because machines are slow, and
// costs nothing where they are not.
const patience = time.Minute

// running is the program in this process.
type running struct {
	address string
	admin   string
	log     *logBuffer
	stdout  *logBuffer
	reload  chan os.Signal
	program *program
	stop    func()
	ended   chan struct{}
	status  int
}

// run starts the program and waits until it listens.
func run(t *testing.T, environ []string, args ...string) *running {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	g := &running{log: &logBuffer{}, stdout: &logBuffer{}, reload: make(chan os.Signal), stop: cancel, ended: make(chan struct{})}
	listening := make(chan struct{})
	g.program = &program{
		args: args, environ: environ, stdout: g.stdout, stderr: g.log, reload: g.reload, look: 20 * time.Millisecond,
		ready: func(address, admin net.Addr) {
			g.address = address.String()
			if admin != nil {
				g.admin = "http://" + admin.String()
			}
			close(listening)
		},
	}
	go func() {
		defer close(g.ended)
		g.status = g.program.run(ctx)
	}()
	t.Cleanup(func() { g.end(t) })
	select {
	case <-listening:
	case <-g.ended:
		t.Fatalf("the program has ended:\n%s", g.log)
	case <-time.After(patience):
		t.Fatalf("the program does not listen:\n%s", g.log)
	}
	return g
}

// end ends the program and returns its exit status.
func (g *running) end(t *testing.T) int {
	t.Helper()
	g.stop()
	select {
	case <-g.ended:
	case <-time.After(patience):
		t.Fatalf("the program does not end:\n%s", g.log)
	}
	return g.status
}

// logBuffer collects what a program writes.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// upstreamSite is the site behind, and what it saw.
type upstreamSite struct {
	*httptest.Server
	count atomic.Int64
	last  atomic.Pointer[http.Request]
	step  chan string // of /events and /slow
}

func newUpstream(t *testing.T) *upstreamSite {
	t.Helper()
	u := &upstreamSite{step: make(chan string)}
	u.Server = httptest.NewServer(http.HandlerFunc(u.serve))
	t.Cleanup(u.Close)
	return u
}

func (u *upstreamSite) serve(w http.ResponseWriter, r *http.Request) {
	u.count.Add(1)
	if strings.Contains(strings.Join(r.Header["Upgrade"], ","), "h2c") {
		u.last.Store(r)
		u.tunnel(w)
		return
	}
	body := ""
	if r.Header.Get("Upgrade") == "" && r.URL.Path != "/events" {
		content, _ := io.ReadAll(r.Body)
		body = string(content)
	}
	u.last.Store(r)
	switch r.URL.Path {
	case "/events":
		w.Header().Set("Content-Type", "text/event-stream")
		w.WriteHeader(http.StatusOK)
		flush := http.NewResponseController(w)
		_ = flush.Flush()
		for {
			select {
			case text := <-u.step:
				if text == "" {
					return
				}
				_, _ = io.WriteString(w, "data: "+text+"\n\n")
				_ = flush.Flush()
			case <-r.Context().Done():
				return
			}
		}
	case "/socket":
		c, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true})
		if err != nil {
			return
		}
		defer func() { _ = c.CloseNow() }()
		for {
			kind, message, err := c.Read(r.Context())
			if err != nil {
				return
			}
			if c.Write(r.Context(), kind, append([]byte("echo "), message...)) != nil {
				return
			}
		}
	case "/early":
		w.Header().Set("Link", "</style.css>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
	case "/trailer":
		w.Header().Set("Trailer", "X-Sum")
		_, _ = io.WriteString(w, "body")
		w.Header().Set("X-Sum", "42")
	default:
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{"target": r.RequestURI, "method": r.Method, "host": r.Host, "body": body})
	}
}

// tunnel speaks another protocol, in which a request needs to pass no gate.
func (u *upstreamSite) tunnel(w http.ResponseWriter) {
	c, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Second))
	_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n")
	if r, err := http.ReadRequest(buffered.Reader); err == nil {
		u.last.Store(r)
	}
}

// tell makes /events say something, and end with "".
func (u *upstreamSite) tell(ctx context.Context, text string) {
	select {
	case u.step <- text:
	case <-ctx.Done():
	}
}

// front is something that visitors meet: the program itself, or a proxy that asks
// it.
type front struct {
	name string
	url  string
	gate *running
	site *upstreamSite
	fake *wechattest.Server
}

// kinds of fronts.
var fronts = []struct {
	name  string
	start func(*testing.T, ...string) *front
}{
	{"proxy", startProxy},
	{"nginx", startNginx},
	{"Caddy", startCaddy},
}

// overAllFronts runs a test with each front whose program is installed.
func overAllFronts(t *testing.T, test func(*testing.T, *front), flags ...string) {
	t.Helper()
	for _, kind := range fronts {
		t.Run(kind.name, func(t *testing.T) {
			f := kind.start(t, flags...)
			f.name = kind.name
			test(t, f)
		})
	}
}

// environFor are the secrets of a fake WeChat.
func environFor(fake *wechattest.Server) []string {
	key := make([]byte, 32)
	_, _ = rand.Read(key)
	return []string{
		"WECHATGATE_OFFICIAL_ACCOUNT_SECRET=" + fake.OfficialAccount.Secret,
		"WECHATGATE_WEBSITE_SECRET=" + fake.Website.Secret,
		"WECHATGATE_SESSION_KEY=" + base64.StdEncoding.EncodeToString(key),
		"WECHATGATE_WECHAT_OPEN=" + fake.Endpoints().Open,
		"WECHATGATE_WECHAT_API=" + fake.Endpoints().API,
	}
}

func newFront(t *testing.T) (f *front, cert, key string) {
	t.Helper()
	port := freePort(t)
	f = &front{url: "https://localhost:" + port, site: newUpstream(t), fake: wechattest.NewServer()}
	t.Cleanup(f.fake.Close)
	f.fake.Register("localhost:" + port)
	cert, key = certificate(t)
	return f, cert, key
}

func (f *front) port() string { return f.url[strings.LastIndexByte(f.url, ':')+1:] }

func (f *front) start(t *testing.T, listen string, flags ...string) {
	t.Helper()
	f.gate = run(t, environFor(f.fake), append([]string{
		"--listen", listen, "--admin-listen", "127.0.0.1:0", "--base-url", f.url,
		"--official-account-id", f.fake.OfficialAccount.ID, "--website-id", f.fake.Website.ID,
		"--public", "/open/",
	}, flags...)...)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log of the program:\n%s", f.gate.log)
		}
	})
}

func startProxy(t *testing.T, flags ...string) *front {
	t.Helper()
	f, cert, key := newFront(t)
	f.start(t, "127.0.0.1:"+f.port(), append([]string{"--upstream", f.site.URL, "--tls-cert-file", cert, "--tls-key-file", key}, flags...)...)
	return f
}

func startNginx(t *testing.T, flags ...string) *front {
	t.Helper()
	program := find(t, "nginx", "/usr/sbin/nginx")
	f, cert, key := newFront(t)
	f.start(t, "127.0.0.1:0", flags...)
	folder := t.TempDir()
	config := edited(t, "nginx.conf", [][2]string{
		{"server 127.0.0.1:4180;", "server " + f.gate.address + ";"},
		{"server 127.0.0.1:3000;", "server " + f.site.Listener.Addr().String() + ";"},
		{"listen 443 ssl http2 default_server;", "listen 127.0.0.1:" + f.port() + " ssl http2 default_server;"},
		{"listen 443 ssl http2;", "listen 127.0.0.1:" + f.port() + " ssl http2;"},
		{"server_name shop.example.com;", "server_name localhost;"},
		{"/etc/nginx/tls/shop.example.com.pem", cert},
		{"/etc/nginx/tls/shop.example.com.key", key},
	})
	require.NoError(t, os.WriteFile(filepath.Join(folder, "nginx.conf"), []byte(
		"daemon off;\npid nginx.pid;\nerror_log stderr warn;\nevents {}\nhttp {\naccess_log off;\n"+
			"client_body_temp_path body;\nproxy_temp_path proxy;\nfastcgi_temp_path fastcgi;\nuwsgi_temp_path uwsgi;\nscgi_temp_path scgi;\n"+
			config+"}\n"), 0o600))
	start(t, f, exec.Command(program, "-p", folder, "-c", "nginx.conf", "-e", "stderr"))
	return f
}

func startCaddy(t *testing.T, flags ...string) *front {
	t.Helper()
	program := find(t, "caddy")
	f, cert, key := newFront(t)
	f.start(t, "127.0.0.1:0", flags...)
	folder := t.TempDir()
	config := edited(t, "Caddyfile", [][2]string{
		{"\nshop.example.com {\n", "\nhttps://localhost:" + f.port() + " {\n\tbind 127.0.0.1\n\ttls " + cert + " " + key + "\n"},
		{"127.0.0.1:4180", f.gate.address},
		{"127.0.0.1:3000", f.site.Listener.Addr().String()},
	})
	file := filepath.Join(folder, "Caddyfile")
	require.NoError(t, os.WriteFile(file, []byte("{\n\tadmin off\n\tauto_https disable_redirects\n\tstorage file_system "+folder+"\n}\n"+config), 0o600))
	command := exec.Command(program, "run", "--adapter", "caddyfile", "--config", file)
	command.Env = append(os.Environ(), "HOME="+folder, "XDG_DATA_HOME="+folder, "XDG_CONFIG_HOME="+folder)
	start(t, f, command)
	return f
}

// find returns a program's path, or skips the test. CI has all of them.
func find(t *testing.T, names ...string) string {
	t.Helper()
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s is not installed, and CI needs it", names[0])
	}
	t.Skipf("%s is not installed", names[0])
	return ""
}

// edited returns a file of deploy/ with this test's addresses.
func edited(t *testing.T, name string, replace [][2]string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("..", "..", "deploy", name))
	require.NoError(t, err)
	text := string(content)
	for _, r := range replace {
		require.Contains(t, text, r[0], name)
		text = strings.ReplaceAll(text, r[0], r[1])
	}
	return text
}

// start starts a proxy and waits until it answers.
func start(t *testing.T, f *front, command *exec.Cmd) {
	t.Helper()
	log := &logBuffer{}
	command.Stdout, command.Stderr = log, log
	require.NoError(t, command.Start())
	ended := make(chan struct{})
	go func() {
		_ = command.Wait()
		close(ended)
	}()
	t.Cleanup(func() {
		_ = command.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(patience):
			_ = command.Process.Kill()
			<-ended
		}
		if t.Failed() {
			t.Logf("log of %s:\n%s", command.Path, log)
		}
	})
	dialer := &net.Dialer{Timeout: time.Second}
	require.Eventually(t, func() bool {
		c, err := dialer.DialContext(t.Context(), "tcp", "127.0.0.1:"+f.port())
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	}, patience, 10*time.Millisecond, "%s", log)
}

// freePort returns a port for a program that has to be told one. It is free until the
// program listens: systems give ports from 32768 on to those who ask for any, as
// this test's other servers do in between, and none of those below.
func freePort(t *testing.T) string {
	t.Helper()
	for range 100 {
		port := strconv.Itoa(20000 + mathrand.IntN(12000))
		l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:"+port)
		if err == nil {
			require.NoError(t, l.Close())
			return port
		}
	}
	require.Fail(t, "no port is free")
	return ""
}

func certificate(t *testing.T) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"localhost"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	encodedKey, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	folder := t.TempDir()
	certFile, keyFile = filepath.Join(folder, "cert.pem"), filepath.Join(folder, "key.pem")
	require.NoError(t, os.WriteFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}), 0o600))
	require.NoError(t, os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encodedKey}), 0o600))
	return certFile, keyFile
}

// visitor is a browser at a front.
type visitor struct {
	t *testing.T
	f *front
	*http.Client
}

func (f *front) visitor(t *testing.T, kind wechatgate.Browser) visitor {
	t.Helper()
	return visitor{t, f, f.fake.Browser(kind)}
}

// signedIn is a visitor who has signed in.
func (f *front) signedIn(t *testing.T) visitor {
	t.Helper()
	v := f.visitor(t, wechatgate.BrowserWeChat)
	a := v.get("/")
	require.Equal(t, http.StatusOK, a.status, a.body)
	return v
}

type answer struct {
	status int
	header http.Header
	body   string
	url    string
	proto  string
}

func (v visitor) get(path string, header ...string) answer {
	v.t.Helper()
	return v.do(http.MethodGet, path, "", header...)
}

// do sends a request with headers in pairs.
func (v visitor) do(method, path, body string, header ...string) answer {
	v.t.Helper()
	ctx, cancel := context.WithTimeout(v.t.Context(), patience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, v.f.url+path, strings.NewReader(body))
	require.NoError(v.t, err)
	for i := 0; i < len(header); i += 2 {
		r.Header[header[i]] = append(r.Header[header[i]], header[i+1])
	}
	response, err := v.Do(r)
	require.NoError(v.t, err)
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	require.NoError(v.t, err)
	return answer{response.StatusCode, response.Header, string(content), response.Request.URL.String(), response.Proto}
}

// stay makes the browser follow no redirects.
func (v visitor) stay() visitor {
	c := *v.Client
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	v.Client = &c
	return v
}

// cookies are the visitor's, as a Cookie header.
func (v visitor) cookies() string {
	r, err := http.NewRequestWithContext(v.t.Context(), http.MethodGet, v.f.url+"/", http.NoBody)
	require.NoError(v.t, err)
	var pairs []string
	for _, c := range v.Jar.Cookies(r.URL) {
		pairs = append(pairs, c.Name+"="+c.Value)
	}
	return strings.Join(pairs, "; ")
}

// raw sends a request line and headers as they stand, and returns the answer.
func (f *front) raw(t *testing.T, line string, headers ...string) answer {
	t.Helper()
	dialer := &tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true, ServerName: "localhost"}}
	c, err := dialer.DialContext(t.Context(), "tcp", "127.0.0.1:"+f.port())
	require.NoError(t, err)
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	text := line + "\r\n"
	if len(headers) == 0 || !strings.HasPrefix(headers[0], "Host:") {
		text += "Host: " + strings.TrimPrefix(f.url, "https://") + "\r\n"
	}
	for _, header := range headers {
		text += header + "\r\n"
	}
	if !strings.Contains(text, "Connection:") {
		text += "Connection: close\r\n"
	}
	_, err = io.WriteString(c, text+"\r\n")
	require.NoError(t, err)
	content, _ := io.ReadAll(c)
	if len(content) == 0 {
		return answer{}
	}
	head, body, _ := strings.Cut(string(content), "\r\n\r\n")
	a := answer{header: http.Header{}, body: body}
	first, rest, _ := strings.Cut(head, "\r\n")
	_, err = fmt.Sscanf(first, "HTTP/1.1 %d", &a.status)
	assert.NoError(t, err, first)
	for line := range strings.SplitSeq(rest, "\r\n") {
		if name, value, ok := strings.Cut(line, ": "); ok {
			a.header.Add(name, value)
		}
	}
	return a
}
