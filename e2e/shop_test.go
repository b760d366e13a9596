package e2e_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wechatgate/wechatgate/wechat"
	"github.com/wechatgate/wechatgate/wechattest"
)

// shop is the example in two processes behind nginx, with a fake WeChat.
type shop struct {
	wechat      *wechattest.Server
	instances   []*process
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
		instance := &process{}
		standIn := httptest.NewServer(s.standIn(instance))
		t.Cleanup(standIn.Close)
		instance.start(t, exec.Command(program), []string{
			"WECHATGATE_EXAMPLE_ADDR=127.0.0.1:0",
			"WECHATGATE_EXAMPLE_WECHAT=" + standIn.URL,
			"WECHATGATE_BASE_URL=" + shopURL,
			"WECHATGATE_OFFICIAL_ACCOUNT_ID=" + fake.OfficialAccount.ID,
			"WECHATGATE_OFFICIAL_ACCOUNT_SECRET=" + fake.OfficialAccount.Secret,
			"WECHATGATE_WEBSITE_ID=" + fake.Website.ID,
			"WECHATGATE_WEBSITE_SECRET=" + fake.Website.Secret,
			"WECHATGATE_SESSION_KEY=" + base64.StdEncoding.EncodeToString(key),
			"WECHATGATE_VERIFY_FILE=" + verify,
		}, "Listening  http://")
		s.instances = append(s.instances, instance)
	}
	s.startNginx(t, folder)
	return s
}

// standIn is WeChat for one instance.
func (s *shop) standIn(i *process) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		if redirectURI := r.URL.Query().Get("redirect_uri"); redirectURI != "" {
			s.redirectURIs = append(s.redirectURIs, redirectURI)
		}
		kill := s.kill && r.URL.Path == "/sns/oauth2/access_token"
		s.kill = s.kill && !kill
		s.mu.Unlock()
		if kill {
			s.wechat.ServeHTTP(httptest.NewRecorder(), r) // spends the code
			i.kill()
			panic(http.ErrAbortHandler)
		}
		s.wechat.ServeHTTP(w, r)
	})
}

// killAtNextExchange kills the instance that exchanges the next code, after
// WeChat has taken the code and before it answers. The instances exchange one
// that does not exist when they start.
func (s *shop) killAtNextExchange(t *testing.T) {
	t.Helper()
	require.Eventually(t, func() bool { return len(s.wechat.Calls(wechat.OpExchange)) >= 4 }, patience, 20*time.Millisecond)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kill = true
}

// lastRedirectURI returns where WeChat was last asked to send somebody, once.
func (s *shop) lastRedirectURI() (last string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.redirectURIs); n > 0 {
		last, s.redirectURIs = s.redirectURIs[n-1], nil
	}
	return last
}

// startNginx starts nginx with the configuration that is documented, but for the
// values that everybody has to put in.
func (s *shop) startNginx(t *testing.T, folder string) {
	t.Helper()
	nginx := lookPath(t, "nginx", "/usr/sbin/nginx") // not everybody's PATH has sbin
	certificate, key := s.makeCertificate(t, folder)
	s.accessLog = filepath.Join(folder, "access.log")
	http, https := freeAddresses(t)
	s.nginx = map[string]string{shopHost + ":80": http, shopHost + ":443": https}

	documented, err := os.ReadFile("../example/nginx/nginx.conf")
	require.NoError(t, err)
	config := string(documented)
	for _, put := range [...][2]string{
		{"/etc/nginx/tls/shop.example.com.pem", certificate},
		{"/etc/nginx/tls/shop.example.com.key", key},
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
	main := "daemon off; pid nginx.pid; worker_processes 1; events {}\n" +
		"http { client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi; include shop.conf; }\n"
	if os.Getuid() == 0 { // or nginx's workers are somebody else, who may not enter the folder
		main = "user root; " + main
	}
	require.NoError(t, os.WriteFile(filepath.Join(folder, "nginx.conf"), []byte(main), 0o600))

	(&process{}).start(t, exec.Command(nginx, "-p", folder, "-c", "nginx.conf", "-e", "stderr"), nil, "")
	for _, address := range s.nginx {
		require.EventuallyWithT(t, func(c *assert.CollectT) {
			connection, err := new(net.Dialer).DialContext(t.Context(), "tcp", address)
			require.NoError(c, err)
			_ = connection.Close()
		}, patience, 20*time.Millisecond, "nginx listens")
	}
}

func (s *shop) makeCertificate(t *testing.T, folder string) (certificateFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{shopHost}, NotAfter: time.Now().Add(time.Hour)}
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

// freeAddresses are two, and free until somebody else takes them: nginx, which cannot
// tell which ports it got, has to be faster.
func freeAddresses(t *testing.T) (one, other string) {
	t.Helper()
	var addresses [2]string
	for i := range addresses {
		listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
		require.NoError(t, err)
		defer func() { _ = listener.Close() }() // after the other is found
		addresses[i] = listener.Addr().String()
	}
	return addresses[0], addresses[1]
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
	var rules []string
	for host, address := range s.nginx {
		rules = append(rules, "MAP "+host+" "+address)
	}
	key := sha256.Sum256(s.certificate.RawSubjectPublicKeyInfo)
	return openChromium(t, d,
		chromedp.Flag("ignore-certificate-errors", false),
		chromedp.Flag("host-resolver-rules", strings.Join(rules, ",")),
		chromedp.Flag("ignore-certificate-errors-spki-list", base64.StdEncoding.EncodeToString(key[:])),
	)
}

// answer is a response that was read.
type answer struct {
	*http.Response
	body string
}

// follow goes from redirect to redirect, as a new visitor on a computer, and
// returns all answers. change alters the requests to the shop, and may be nil.
func (s *shop) follow(t *testing.T, address string, change func(*http.Request)) (answers []answer) {
	t.Helper()
	s.wechat.Ask(wechattest.AskNever)
	client := s.client(t)
	for len(answers) < 10 {
		alter := change
		if !strings.HasPrefix(address, "https://") {
			alter = nil
		}
		next := s.do(t, client, http.MethodGet, address, alter)
		answers = append(answers, next)
		location, err := next.Location()
		if err != nil { // there is none
			return answers
		}
		address = location.String()
	}
	require.Fail(t, "a loop")
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
	stay := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &http.Client{Jar: jar, Transport: transport, CheckRedirect: stay, Timeout: patience}
}

func (s *shop) do(t *testing.T, client *http.Client, method, address string, change func(*http.Request)) answer {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, address, nil)
	require.NoError(t, err)
	r.Header.Set("Accept", "text/html")
	r.Header.Set("User-Agent", computer().userAgent)
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
	return func(r *http.Request) {
		r.Header.Set(name, value)
		if name == "Host" {
			r.Host = value
		}
	}
}

// arrival returns where the callback led.
func arrival(t *testing.T, answers []answer) string {
	t.Helper()
	i := slices.IndexFunc(answers, func(a answer) bool { return strings.HasSuffix(a.Request.URL.Path, "/wechat/callback") })
	require.GreaterOrEqual(t, i, 0, "no callback")
	return answers[i].Header.Get("Location")
}
