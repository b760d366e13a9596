package e2e_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/markbates/goth/providers/wechat"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wechatgate/wechatgate"
	"github.com/wechatgate/wechatgate/wechattest"
)

// person is who a client says has signed in.
type person struct{ OpenID, UnionID, Nickname string }

const clientSite = "https://shop.example.com"

// Public clients, unchanged, take the fake for WeChat.
func TestPublicClients(t *testing.T) {
	npm, err := exec.LookPath("npm")
	if err != nil {
		t.Skip("npm is not installed")
	}
	directory := t.TempDir()
	require.NoError(t, os.CopyFS(directory, os.DirFS("clients")))
	require.NoError(t, os.RemoveAll(filepath.Join(directory, "node_modules")))
	limit, cancel := context.WithTimeout(t.Context(), 2*time.Minute) // a registry that hangs
	defer cancel()
	install := exec.CommandContext(limit, npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	install.Dir = directory
	if output, err := install.CombinedOutput(); err != nil {
		t.Skipf("npm cannot install the clients: %v\n%s", err, output)
	}
	fake, server, ca := weChatWithItsNames(t)
	for _, test := range []struct {
		client string
		app    wechatgate.App
		kind   wechatgate.Browser
	}{
		{"co-wechat-oauth", fake.OfficialAccount, wechatgate.BrowserWeChat},
		{"co-wechat-oauth, by QR code", fake.Website, wechatgate.BrowserDesktop},
		{"wechat-jssdk", fake.OfficialAccount, wechatgate.BrowserWeChat},
		{"Auth.js", fake.Website, wechatgate.BrowserDesktop},
	} {
		t.Run(test.client, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			defer cancel()
			node := exec.CommandContext(ctx, "node", "--import", "./lead.mjs", "sign-in.mjs", test.client, test.app.ID, test.app.Secret, clientSite)
			node.Dir, node.Stderr = directory, t.Output()
			_, port, err := net.SplitHostPort(server.Listener.Addr().String())
			require.NoError(t, err)
			node.Env = append(os.Environ(), "NODE_EXTRA_CA_CERTS="+ca, "FAKE_PORT="+port)
			in, err := node.StdinPipe()
			require.NoError(t, err)
			out, err := node.StdoutPipe()
			require.NoError(t, err)
			require.NoError(t, node.Start())
			t.Cleanup(func() { _ = node.Wait() })

			lines := bufio.NewScanner(out)
			var address string
			require.True(t, lines.Scan(), "the client sends nobody to WeChat")
			require.NoError(t, json.Unmarshal(lines.Bytes(), &address))
			_, err = fmt.Fprintln(in, callbackOf(t, fake, test.kind, address))
			require.NoError(t, err)
			var who person
			require.True(t, lines.Scan(), "the client does not say who it was")
			require.NoError(t, json.Unmarshal(lines.Bytes(), &who))
			assert.Equal(t, zoe(test.app), who)
		})
	}
}

func TestGoth(t *testing.T) {
	fake, server, _ := weChatWithItsNames(t)
	transport, ok := server.Client().Transport.(*http.Transport)
	require.True(t, ok)
	transport.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, server.Listener.Addr().String())
	}
	was := http.DefaultTransport // goth uses nothing else
	http.DefaultTransport = transport
	t.Cleanup(func() { http.DefaultTransport = was })

	provider := wechat.New(fake.Website.ID, fake.Website.Secret, clientSite+"/callback", wechat.WECHAT_LANG_CN)
	session, err := provider.BeginAuth("0123456789abcdef")
	require.NoError(t, err)
	address, err := session.GetAuthURL()
	require.NoError(t, err)
	callback, err := url.Parse(callbackOf(t, fake, wechatgate.BrowserDesktop, address))
	require.NoError(t, err)
	_, err = session.Authorize(provider, callback.Query())
	require.NoError(t, err)
	user, err := provider.FetchUser(session)
	require.NoError(t, err)
	who := person{user.UserID, fmt.Sprint(user.RawData["Unionid"]), user.NickName}
	assert.Equal(t, zoe(fake.Website), who)
}

func zoe(app wechatgate.App) person {
	p := wechattest.Person{Name: "zoe"}
	return person{wechattest.OpenID(app.ID, p), wechattest.UnionID(p), "佐伊 Zoë"}
}

// weChatWithItsNames is a fake that also answers to WeChat's own host names.
func weChatWithItsNames(t *testing.T) (fake *wechattest.Server, server *httptest.Server, caFile string) {
	t.Helper()
	fake = wechattest.NewServer()
	t.Cleanup(fake.Close)
	fake.Register(strings.TrimPrefix(clientSite, "https://"))
	fake.SignInAs(wechattest.Person{Name: "zoe", Nickname: "佐伊 Zoë", AvatarURL: "https://thirdwx.qlogo.cn/mmopen/zoe/132"})

	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "a fake WeChat"},
		DNSNames:  []string{"open.weixin.qq.com", "api.weixin.qq.com"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	server = httptest.NewUnstartedServer(fake)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{certificate}, PrivateKey: key}}}
	server.StartTLS()
	t.Cleanup(server.Close)
	caFile = filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(caFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate}), 0o600))
	return fake, server, caFile
}

// callbackOf visits the address to which a client sends somebody, and returns
// the one to which WeChat sends them back.
func callbackOf(t *testing.T, fake *wechattest.Server, kind wechatgate.Browser, address string) string {
	t.Helper()
	rest, found := strings.CutPrefix(address, "https://open.weixin.qq.com")
	require.True(t, found, address)
	page, err := fake.Visitor(kind, wechattest.Habits{}).GetUntil(t.Context(), fake.URL+rest, clientSite)
	require.NoError(t, err)
	require.NotNil(t, page.Next, "WeChat sends nobody back from %s: %s", address, page.Body)
	return page.Next.String()
}
