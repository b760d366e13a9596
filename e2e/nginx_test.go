package e2e_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wechatgate/wechatgate/wechat"
	"github.com/wechatgate/wechatgate/wechattest"
)

const (
	shopHost = "shop.test"
	shopURL  = "https://" + shopHost + "/shop" // BaseURL of the example behind nginx
)

func TestSignInBehindNginx(t *testing.T) {
	shop := startShop(t)
	for _, test := range []struct {
		name   string
		device device
		asks   wechattest.Asking
	}{
		{"a computer", computer(), wechattest.AskAlways},
		{"WeChat, silently", phoneInWeChat(), wechattest.AskNever},
	} {
		t.Run(test.name, func(t *testing.T) {
			shop.wechat.Ask(test.asks)
			tab := shop.openChromium(t, test.device)
			tab.open("http://"+shopHost+"/shop/", `a[href="members"]`)
			assert.Equal(t, []document{{shopURL + "/", 200}}, tab.shown(), "http leads to https")

			if test.asks == wechattest.AskAlways {
				tab.click(`main a[href="members"]`, scan)
				tab.click(scan, "dl")
			} else {
				tab.click(`main a[href="members"]`, "dl")
			}
			assert.Equal(t, shopURL+"/members", tab.address().String())
			assert.Empty(t, tab.eval("location.hash"))
			assertIsPerson(t, wechattest.Person{Name: "alice"}, tab.text("dl"))
			assert.Equal(t, shopURL+"/wechat/callback", shop.lastRedirectURI())
			assertSealedToHost(t, tab, "__Host-wechatgate", "__Host-wechatgate-login-")

			tab.click(".sign-out button", `a[href*="/wechat/login"]`)
			assert.Equal(t, shopURL+"/wechat/signed-out", tab.address().String())
			assertSealedToHost(t, tab, "__Host-wechatgate-signed-out")
		})
	}
	for _, instance := range shop.instances {
		shop.waitForLog(t, func(line string) bool { return strings.HasSuffix(line, " "+instance.address) }, "each instance has its turn")
	}
	log := shop.log(t)
	assert.Contains(t, log, `"GET /shop/wechat/callback HTTP/2.0" 303 `)
	assert.NotContains(t, log, "code=")
	assert.NotContains(t, log, "state=")
}

// assertSealedToHost looks at what Chromium has kept. names may be prefixes, as
// those of attempts end in something random.
func assertSealedToHost(t *testing.T, tab *tab, names ...string) {
	t.Helper()
	found := []string{}
	for _, cookie := range tab.cookies() {
		name, state, isAttempt := strings.Cut(cookie.Name, "-login-")
		if isAttempt {
			name = strings.TrimSuffix(cookie.Name, state)
		}
		found = append(found, name)
		assert.True(t, cookie.Secure, cookie.Name)
		assert.True(t, cookie.HTTPOnly, cookie.Name)
		assert.Equal(t, network.CookieSameSiteLax, cookie.SameSite, cookie.Name)
		assert.Equal(t, "/", cookie.Path, cookie.Name)
		assert.Equal(t, shopHost, cookie.Domain, "%s: one with a Domain begins with a dot here", cookie.Name)
	}
	assert.ElementsMatch(t, names, found)
}

// Instances share no memory: one that is gone takes nothing along.
func TestInstanceIsGone(t *testing.T) {
	t.Run("it stops while the visitor is with WeChat", func(t *testing.T) {
		shop := startShop(t)
		shop.wechat.Ask(wechattest.AskAlways)
		tab := shop.openChromium(t, computer())
		tab.open(shopURL+"/members", scan)
		gone := shop.instances[0]
		gone.end(t, os.Interrupt)
		tab.shown()

		tab.click(scan, "dl")
		tab.reload("dl")
		tab.reload("dl")
		assert.Equal(t, slices.Repeat([]document{{shopURL + "/members", 200}}, 3), tab.shown())
		shop.waitForLog(t, func(line string) bool {
			return strings.HasSuffix(line, " "+gone.address+", "+shop.instances[1].address)
		}, "nginx has asked the one that is gone, and then the other")
	})

	// WeChat has taken the code, and its answer is lost.
	t.Run("it dies in the middle of a callback", func(t *testing.T) {
		shop := startShop(t)
		before := len(shop.wechat.Calls(wechat.OpExchange))
		shop.killAtNextExchange()
		tab := shop.openChromium(t, phoneInWeChat())

		tab.open(shopURL+"/members", "dl")
		assert.Equal(t, []document{{shopURL + "/members", 200}}, tab.shown(), "the visitor notices nothing")
		assertIsPerson(t, wechattest.Person{Name: "alice"}, tab.text("dl"))
		assert.Len(t, shop.wechat.Calls(wechat.OpExchange)[before:], 3, "one lost, one of the same code, one of a new code")
	})
}

// More than nginx lets through by default, in both directions.
func TestLargeCookiesBehindNginx(t *testing.T) {
	shop := startShop(t)
	large := shop.do(t, shop.client(t), http.MethodGet, shopURL+"/", header("Cookie", "one="+strings.Repeat("x", 12<<10)))
	assert.Equal(t, "HTTP/1.1", large.Proto, "there, all cookies stand in one line")
	assert.Equal(t, http.StatusOK, large.StatusCode)

	tab := shop.openChromium(t, phoneInWeChat())
	tab.open(shopURL+"/", `a[href="members"]`)
	for _, name := range []string{"one", "two"} {
		tab.eval(`document.cookie = "` + name + `=" + "x".repeat(3500) + "; Secure; Path=/"`)
	}
	long := shopURL + "/members?" + strings.Repeat("x", 1400)
	tab.open(long, "dl")
	assert.Equal(t, long, tab.address().String())
}

// A form is lost when its visitor has to sign in first. The page that held it is
// not.
func TestPostBehindNginx(t *testing.T) {
	shop := startShop(t)
	t.Run("a browser comes back to the page with the form", func(t *testing.T) {
		tab := shop.openChromium(t, phoneInWeChat())
		// The example's own policy has form-action 'self', and Chromium holds
		// redirects to that, too: it would not leave for WeChat.
		read(tab, "lift the policy", func(ctx context.Context, target *chromedp.Target) (cdp.Empty, error) {
			return cdp.Call(ctx, target, page.SetBypassCSP, page.SetBypassCSPParams{Enabled: true})
		})
		tab.open(shopURL+"/?page=2", `a[href="members"]`)
		tab.eval(`document.body.insertAdjacentHTML("beforeend", '<form method="post" action="members"><button id="send">Send</button></form>'), ""`)
		tab.click("#send", ".sign-out")
		assert.Equal(t, shopURL+"/?page=2", tab.address().String())
		shop.waitForLog(t, func(line string) bool { return strings.Contains(line, `"POST /shop/members HTTP/2.0" 303 `) }, "the form met the sign-in")
	})
	for _, test := range []struct{ name, referer, want string }{
		{"a form of a page that is gated, back to it", shopURL + "/members?page=2", shopURL + "/members?page=2#"},
		{"one from beside the mount path, not there", "https://" + shopHost + "/forum", shopURL + "/#"},
		{"one of another site, not there", "https://evil.test/shop/members", shopURL + "/#"},
	} {
		t.Run(test.name, func(t *testing.T) {
			answers := shop.follow(t, http.MethodPost, shopURL+"/members", header("Referer", test.referer))
			assert.Equal(t, http.StatusSeeOther, answers[0].StatusCode)
			assert.Equal(t, test.want, arrival(t, answers))
			assert.Equal(t, http.StatusOK, answers[len(answers)-1].StatusCode)
		})
	}
}

// What nginx passes on as Host is the name of its upstream. Old browsers say no
// more than Origin, which is compared with BaseURL's.
func TestSignOutBehindNginx(t *testing.T) {
	shop := startShop(t)
	for _, test := range []struct {
		name, origin string
		status       int
	}{
		{"a page of the site may", "https://" + shopHost, http.StatusSeeOther},
		{"one of another site may not", "https://evil.test", http.StatusForbidden},
		{"one whose origin is hidden may not", "null", http.StatusForbidden},
	} {
		t.Run(test.name, func(t *testing.T) {
			answer := shop.do(t, shop.client(t), http.MethodPost, shopURL+"/wechat/logout", header("Origin", test.origin))
			assert.Equal(t, test.status, answer.StatusCode)
		})
	}
}

func TestAddressesBehindNginx(t *testing.T) {
	shop := startShop(t)

	for _, test := range []struct{ name, path string }{
		{"two slashes", "/a//b"},
		{"an encoded slash", "/a%2Fb%2fc"},
		{"letters of any script, percent-encoded", "/%E8%8C%B6%e5%ae%a4/~%7E"},
		{"a query with an address in it", "/members?u=https://x/y&v=%2F&w=a+b%20c&&"},
	} {
		t.Run(test.name+" come back byte for byte", func(t *testing.T) {
			answers := shop.follow(t, http.MethodGet, shopURL+test.path, nil)
			assert.Equal(t, shopURL+test.path+"#", arrival(t, answers))
		})
	}

	for _, test := range []struct {
		name   string
		change func(*http.Request)
	}{
		{"Host", func(r *http.Request) { r.Host = "evil.test" }},
		{"X-Forwarded-Host", header("X-Forwarded-Host", "evil.test")},
		{"X-Forwarded-Proto", header("X-Forwarded-Proto", "http")},
		{"X-Forwarded-Port", header("X-Forwarded-Port", "8080")},
		{"X-Forwarded-Prefix", header("X-Forwarded-Prefix", "/evil")},
		{"Forwarded", header("Forwarded", "host=evil.test;proto=http")},
		{"X-Original-URL", header("X-Original-Url", "/evil")},
		{"X-Rewrite-URL", header("X-Rewrite-Url", "/evil")},
	} {
		t.Run(test.name+" of a visitor changes nothing", func(t *testing.T) {
			answers := shop.follow(t, http.MethodGet, shopURL+"/members", test.change)
			assert.Equal(t, shopURL+"/wechat/callback", shop.lastRedirectURI())
			assert.Equal(t, shopURL+"/members#", arrival(t, answers))
			assert.Equal(t, http.StatusOK, answers[len(answers)-1].StatusCode)
		})
	}

	for _, test := range []struct {
		name, address  string
		status         int
		location, body string
	}{
		{"http leads to https", "http://" + shopHost + "/shop/members?a=%2F", 301, shopURL + "/members?a=%2F", ""},
		{"the mount path without its slash leads to it", "https://" + shopHost + "/shop?a=b", 301, shopURL + "/?a=b", ""},
		{"WeChat's console finds its file at the root", "https://" + shopHost + "/MP_verify_x1.txt", 200, "", "x1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			answer := shop.do(t, shop.client(t), http.MethodGet, test.address, nil)
			assert.Equal(t, test.status, answer.StatusCode)
			assert.Equal(t, test.location, answer.Header.Get("Location"))
			assert.Contains(t, answer.body, test.body)
		})
	}

	t.Run("redirects of the program stay below the mount path", func(t *testing.T) {
		answers := shop.follow(t, http.MethodGet, shopURL+"/assets", nil)
		assert.Equal(t, shopURL+"/assets/", answers[len(answers)-1].Request.URL.String())
	})
}

// shop is the example in two processes behind nginx, with a fake WeChat.
type shop struct {
	wechat      *wechattest.Server
	instances   []*instance
	certificate *x509.Certificate
	nginx       map[string]string // what visitors dial, and where nginx listens for it
	accessLog   string

	mu           sync.Mutex // of all that follows
	redirectURIs []string   // as WeChat got them
	kill         bool
}

func startShop(t *testing.T) *shop {
	t.Helper()
	fake := wechattest.NewServer()
	t.Cleanup(fake.Close)
	fake.Register(shopHost)
	s := &shop{wechat: fake}

	program := buildExample(t)
	folder := t.TempDir()
	verify := filepath.Join(folder, "MP_verify_x1.txt")
	require.NoError(t, os.WriteFile(verify, []byte("x1"), 0o600))
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails
	for range 2 {
		instance := &instance{ended: make(chan struct{})}
		standIn := httptest.NewServer(s.standIn(instance))
		t.Cleanup(standIn.Close)
		instance.start(t, program,
			"WECHATGATE_EXAMPLE_ADDR=127.0.0.1:0",
			"WECHATGATE_EXAMPLE_WECHAT="+standIn.URL,
			"WECHATGATE_BASE_URL="+shopURL,
			"WECHATGATE_OFFICIAL_ACCOUNT_ID="+fake.OfficialAccount.ID,
			"WECHATGATE_OFFICIAL_ACCOUNT_SECRET="+fake.OfficialAccount.Secret,
			"WECHATGATE_WEBSITE_ID="+fake.Website.ID,
			"WECHATGATE_WEBSITE_SECRET="+fake.Website.Secret,
			"WECHATGATE_SESSION_KEY="+base64.StdEncoding.EncodeToString(key),
			"WECHATGATE_VERIFY_FILE="+verify,
		)
		s.instances = append(s.instances, instance)
	}
	s.startNginx(t, folder)
	return s
}

// standIn is WeChat for one instance.
func (s *shop) standIn(i *instance) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		if redirectURI := r.URL.Query().Get("redirect_uri"); redirectURI != "" {
			s.redirectURIs = append(s.redirectURIs, redirectURI)
		}
		kill := s.kill && r.URL.Path == "/sns/oauth2/access_token"
		if kill {
			s.kill = false
		}
		s.mu.Unlock()
		if kill {
			s.wechat.ServeHTTP(httptest.NewRecorder(), r) // spends the code
			_ = i.process.Kill()
			<-i.ended
			panic(http.ErrAbortHandler)
		}
		s.wechat.ServeHTTP(w, r)
	})
}

// killAtNextExchange kills the instance that exchanges the next code, after
// WeChat has taken the code and before it answers.
func (s *shop) killAtNextExchange() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kill = true
}

// lastRedirectURI returns where WeChat was last asked to send somebody, once.
func (s *shop) lastRedirectURI() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.redirectURIs) == 0 {
		return ""
	}
	last := s.redirectURIs[len(s.redirectURIs)-1]
	s.redirectURIs = nil
	return last
}

func buildExample(t *testing.T) (program string) {
	t.Helper()
	program = filepath.Join(t.TempDir(), "example")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", program, "./example")
	build.Dir = ".."
	output, err := build.CombinedOutput()
	require.NoError(t, err, "%s", output)
	return program
}

// instance is a process of the example.
type instance struct {
	address string
	process *os.Process
	ended   chan struct{}
}

func (i *instance) start(t *testing.T, program string, env ...string) {
	t.Helper()
	command := exec.Command(program)
	command.Env = env
	var log bytes.Buffer
	command.Stderr = &log
	stdout, err := command.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, command.Start())
	i.process = command.Process
	t.Cleanup(func() {
		i.end(t, os.Interrupt)
		if t.Failed() {
			t.Logf("the log of the instance at %s:\n%s", i.address, log.String())
		}
	})
	lines := bufio.NewScanner(stdout)
	for lines.Scan() && i.address == "" {
		if rest, found := strings.CutPrefix(lines.Text(), "Listening  http://"); found {
			i.address, _, _ = strings.Cut(rest, " ")
		}
	}
	go func() {
		_, _ = io.Copy(io.Discard, stdout)
		_ = command.Wait()
		close(i.ended)
	}()
	require.NotEmpty(t, i.address, "the example says where it listens")
}

// end returns when the process has ended.
func (i *instance) end(t *testing.T, signal os.Signal) {
	t.Helper()
	_ = i.process.Signal(signal) // it may have ended
	select {
	case <-i.ended:
	case <-time.After(patience):
		_ = i.process.Kill()
		t.Errorf("the instance at %s does not end", i.address)
	}
}

// startNginx starts nginx with the configuration that is documented, but for the
// values that everybody has to put in.
func (s *shop) startNginx(t *testing.T, folder string) {
	t.Helper()
	program, err := exec.LookPath("nginx")
	if err != nil { // not everybody's PATH has sbin
		program, err = exec.LookPath("/usr/sbin/nginx")
	}
	if err != nil && os.Getenv("CI") != "true" {
		t.Skip("nginx is not installed")
	}
	require.NoError(t, err, "CI needs nginx")

	certificateFile, keyFile := s.makeCertificate(t, folder)
	s.accessLog = filepath.Join(folder, "access.log")
	http, https := freeAddress(t), freeAddress(t)
	s.nginx = map[string]string{shopHost + ":80": http, shopHost + ":443": https}

	documented, err := os.ReadFile("../example/nginx/nginx.conf")
	require.NoError(t, err)
	config := string(documented)
	for _, put := range [...][2]string{
		{"/etc/nginx/tls/shop.example.com.pem", certificateFile},
		{"/etc/nginx/tls/shop.example.com.key", keyFile},
		{"/var/log/nginx/shop.log", s.accessLog},
		{"listen 80;", "listen " + http + ";"},
		{"listen 443 ", "listen " + https + " "},
		{"127.0.0.1:8081", s.instances[0].address},
		{"127.0.0.1:8082", s.instances[1].address},
		{"shop.example.com", shopHost},
	} {
		require.Contains(t, config, put[0])
		config = strings.ReplaceAll(config, put[0], put[1])
	}
	require.NoError(t, os.WriteFile(filepath.Join(folder, "shop.conf"), []byte(config), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(folder, "nginx.conf"), []byte(mainConfig(t)), 0o600))

	nginx := exec.Command(program, "-p", folder, "-c", "nginx.conf", "-e", "stderr")
	var log bytes.Buffer
	nginx.Stderr = &log
	require.NoError(t, nginx.Start())
	ended := make(chan error, 1)
	go func() { ended <- nginx.Wait() }()
	t.Cleanup(func() {
		_ = nginx.Process.Signal(os.Interrupt)
		select {
		case err := <-ended:
			assert.NoError(t, err, "nginx")
		case <-time.After(patience):
			_ = nginx.Process.Kill()
			t.Error("nginx does not end")
		}
		if t.Failed() {
			t.Logf("nginx's log:\n%s", log.String())
		}
	})
	for _, address := range s.nginx {
		require.EventuallyWithT(t, func(c *assert.CollectT) {
			connection, err := new(net.Dialer).DialContext(t.Context(), "tcp", address)
			require.NoError(c, err)
			_ = connection.Close()
		}, patience, 20*time.Millisecond, "nginx listens")
	}
}

// mainConfig keeps nginx in its folder, with the rights of whoever runs the test.
func mainConfig(t *testing.T) string {
	t.Helper()
	config := `
daemon off;
pid nginx.pid;
worker_processes 1;
events {}
http {
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    include shop.conf;
}
`
	who, err := user.Current()
	require.NoError(t, err)
	if who.Uid == "0" { // or nginx's workers are somebody else, who may not enter the folder
		group, err := user.LookupGroupId(who.Gid)
		require.NoError(t, err)
		config = fmt.Sprintf("user %s %s;%s", who.Username, group.Name, config)
	}
	return config
}

func (s *shop) makeCertificate(t *testing.T, folder string) (certificateFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		DNSNames:     []string{shopHost},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	s.certificate, err = x509.ParseCertificate(der)
	require.NoError(t, err)
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)

	certificateFile, keyFile = filepath.Join(folder, "shop.pem"), filepath.Join(folder, "shop.key")
	require.NoError(t, os.WriteFile(certificateFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	require.NoError(t, os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), 0o600))
	return certificateFile, keyFile
}

// freeAddress is free until somebody else takes it: nginx, which cannot tell
// which port it got, has to be faster.
func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, listener.Close())
	return listener.Addr().String()
}

func (s *shop) log(t *testing.T) string {
	t.Helper()
	log, err := os.ReadFile(s.accessLog)
	require.NoError(t, err)
	return string(log)
}

// waitForLog waits for a line in the access log: nginx writes it after the answer.
func (s *shop) waitForLog(t *testing.T, wanted func(line string) bool, what string) {
	t.Helper()
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		log := s.log(t)
		assert.True(c, slices.ContainsFunc(strings.Split(log, "\n"), wanted), "%s:\n%s", what, log)
	}, patience, 50*time.Millisecond)
}

// openChromium starts a Chromium for which this nginx is the shop's host. It
// trusts the test's certificate, and no other that is wrong.
func (s *shop) openChromium(t *testing.T, d device) *tab {
	t.Helper()
	program, err := exec.LookPath("chromium")
	if err != nil && os.Getenv("CI") != "true" {
		t.Skip("chromium is not on PATH")
	}
	require.NoError(t, err, "CI needs chromium")
	var rules []string
	for host, address := range s.nginx {
		rules = append(rules, "MAP "+host+" "+address)
	}
	key := sha256.Sum256(s.certificate.RawSubjectPublicKeyInfo)
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(program),
		chromedp.NoSandbox, // it cannot be had as root
		chromedp.DisableGPU,
		chromedp.WindowSize(int(d.width), int(d.height)),
		chromedp.Flag("accept-lang", d.language),
		chromedp.Flag("disable-component-update", true),
		// Chromium would try https first, by itself.
		chromedp.Flag("disable-features", "Translate,BackForwardCache,HttpsUpgrades,HttpsFirstBalancedModeAutoEnable"),
		chromedp.Flag("disable-quic", true),
		chromedp.Flag("host-resolver-rules", strings.Join(rules, ",")),
		chromedp.Flag("ignore-certificate-errors-spki-list", base64.StdEncoding.EncodeToString(key[:])),
	)
	if d.userAgent != "" {
		options = append(options, chromedp.UserAgent(d.userAgent))
	}
	ctx, stop := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(stop)
	return newTab(ctx, t, d)
}

// answer is a response that was read.
type answer struct {
	*http.Response
	body string
}

// follow goes from redirect to redirect, as a new visitor on a computer, and
// returns all answers. change alters the requests to the shop, and may be nil.
func (s *shop) follow(t *testing.T, method, address string, change func(*http.Request)) []answer {
	t.Helper()
	client := s.client(t)
	var answers []answer
	for len(answers) < 10 {
		alter := change
		if !strings.HasPrefix(address, "https://") {
			alter = nil
		}
		next := s.do(t, client, method, address, alter)
		answers = append(answers, next)
		location, err := next.Location()
		if err != nil { // there is none
			return answers
		}
		method, address = http.MethodGet, location.String()
	}
	t.Fatal("a loop")
	return nil
}

// client returns a client that has no cookies yet, reaches the shop's host at
// nginx, checks its certificate and follows no redirects.
func (s *shop) client(t *testing.T) *http.Client {
	t.Helper()
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	pool := x509.NewCertPool()
	pool.AddCert(s.certificate)
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12},
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			if nginx, found := s.nginx[address]; found {
				address = nginx
			}
			return new(net.Dialer).DialContext(ctx, network, address)
		},
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{
		Jar:           jar,
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       patience,
	}
}

func (s *shop) do(t *testing.T, client *http.Client, method, address string, change func(*http.Request)) answer {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, address, nil)
	require.NoError(t, err)
	r.Header.Set("Accept", "text/html")
	r.Header.Set("User-Agent", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/150.0.0.0 Safari/537.36")
	if change != nil {
		change(r)
	}
	response, err := client.Do(r)
	require.NoError(t, err)
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return answer{response, string(body)}
}

func header(name, value string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set(name, value) }
}

// arrival returns where the callback led.
func arrival(t *testing.T, answers []answer) string {
	t.Helper()
	i := slices.IndexFunc(answers, func(a answer) bool { return strings.HasSuffix(a.Request.URL.Path, "/wechat/callback") })
	require.GreaterOrEqual(t, i, 0, "no callback")
	return answers[i].Header.Get("Location")
}
