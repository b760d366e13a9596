package redisstore_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wechatgate/wechatgate"
	redisstore "github.com/wechatgate/wechatgate/stores/redis"
	"github.com/wechatgate/wechatgate/wechat"
	"github.com/wechatgate/wechatgate/wechattest"
)

// instanceEnv makes the test binary run one instance of a gated site instead of
// the tests: its settings, as JSON.
const instanceEnv = "WECHATGATE_TEST_INSTANCE"

func TestMain(m *testing.M) {
	if settings := os.Getenv(instanceEnv); settings != "" {
		if err := runInstance(settings); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// instanceSettings is what several machines with one site have in common, and
// where this one listens.
type instanceSettings struct {
	Listen, BaseURL, Redis string
	ID, Secret             string
	Key                    []byte
	Endpoints              wechat.Endpoints
}

func runInstance(text string) error {
	var s instanceSettings
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		return err
	}
	gate, err := wechatgate.New(wechatgate.Options{
		BaseURL:         s.BaseURL,
		OfficialAccount: wechatgate.App{ID: s.ID, Secret: s.Secret},
		SessionKeys:     [][]byte{s.Key},
		Endpoints:       s.Endpoints,
		CodeSignIn:      wechatgate.CodeSignIn{Scan: true, Codes: redisstore.Codes(redis.NewClient(&redis.Options{Addr: s.Redis}))},
	})
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", s.Listen)
	if err != nil {
		return err
	}
	fmt.Println(listener.Addr())
	server := &http.Server{Handler: gate.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		u, _ := wechatgate.UserFromContext(r.Context())
		fmt.Fprintf(w, "%s at %s", u.OpenID, r.URL.Path)
	}))}
	return server.Serve(listener)
}

// instance is one running process of the site.
type instance struct {
	settings instanceSettings
	command  *exec.Cmd
}

// start returns when the process listens.
func (i *instance) start(ctx context.Context) error {
	text, err := json.Marshal(i.settings)
	if err != nil {
		return err
	}
	binary, err := os.Executable()
	if err != nil {
		return err
	}
	i.command = exec.CommandContext(ctx, binary)
	i.command.Env = append(os.Environ(), instanceEnv+"="+string(text))
	output, err := i.command.StdoutPipe()
	if err != nil {
		return err
	}
	if err := i.command.Start(); err != nil {
		return err
	}
	address, err := bufio.NewReader(output).ReadString('\n')
	i.settings.Listen = strings.TrimSpace(address) // again, after a restart
	return err
}

// kill ends the process as a power failure does.
func (i *instance) kill() {
	_ = i.command.Process.Kill()
	_ = i.command.Wait() // says that it was killed
}

// nextUpstream sends requests to the instances in turn, and to the other one where
// the first does not listen. As nginx by default, it keeps no connection.
type nextUpstream struct {
	hosts     [2]string
	turn      atomic.Uint64
	transport http.Transport
}

func (n *nextUpstream) RoundTrip(r *http.Request) (*http.Response, error) {
	var body []byte
	if r.Body != nil {
		var err error
		if body, err = io.ReadAll(r.Body); err != nil {
			return nil, err
		}
	}
	first := int(n.turn.Add(1) % 2)
	var errs [2]error
	for i := range n.hosts {
		attempt := r.Clone(r.Context())
		attempt.URL.Host = n.hosts[(first+i)%2]
		attempt.Body = io.NopCloser(bytes.NewReader(body))
		response, err := n.transport.RoundTrip(attempt)
		if err == nil {
			return response, nil
		}
		errs[i] = err
		var dial *net.OpError
		if r.Method == http.MethodPost && (!errors.As(err, &dial) || dial.Op != "dial") {
			break // it may have been heard
		}
	}
	return nil, errors.Join(errs[:]...)
}

// Two processes share keys and a Redis. Each step of two hundred sign-ins by code
// goes on at the process that is left: the one that showed the number may be gone
// when the phone scans, and the one that made the code when it is typed.
func TestInstancesFinishEachOthersCodes(t *testing.T) {
	const visitors = 200
	server := startRedis(t)
	fake := wechattest.NewServer()
	defer fake.Close()
	balancer := &nextUpstream{transport: http.Transport{DisableKeepAlives: true}}
	var sessions atomic.Int64
	proxy := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.Out.URL.Scheme = "http" },
		Transport: balancer,
		ModifyResponse: func(r *http.Response) error {
			for _, c := range r.Cookies() {
				if c.Name == "wechatgate" && c.Value != "" {
					sessions.Add(1)
				}
			}
			return nil
		},
	})
	defer proxy.Close()
	options := fake.Options(proxy.URL)
	var instances [2]*instance
	for i := range instances {
		instances[i] = &instance{settings: instanceSettings{
			Listen:    "127.0.0.1:0",
			BaseURL:   proxy.URL,
			Redis:     server.Address,
			ID:        options.OfficialAccount.ID,
			Secret:    options.OfficialAccount.Secret,
			Key:       options.SessionKeys[0],
			Endpoints: options.Endpoints,
		}}
		require.NoError(t, instances[i].start(t.Context()))
		defer func() { instances[i].kill() }()
		balancer.hosts[i] = instances[i].settings.Listen
	}

	type visit struct {
		person   wechattest.Person
		computer *wechattest.Visitor
		page     *wechattest.Page
		code     string
	}
	people := make([]visit, visitors)
	at := func(i int) string { return fmt.Sprintf("%s/page/%d", proxy.URL, i) }
	everybody := func(step string, do func(i int, v *visit) error) {
		t.Helper()
		var together sync.WaitGroup
		places := make(chan struct{}, 20) // the gate waits for Redis for 3 s at most, and slow machines serve no 200 at once in that
		for i := range people {
			places <- struct{}{}
			together.Go(func() {
				defer func() { <-places }()
				assert.NoError(t, do(i, &people[i]), "%s of visitor %d", step, i)
			})
		}
		together.Wait()
		require.False(t, t.Failed(), step)
	}

	scanLink := regexp.MustCompile(`id="scan-link"[^>]* href="([^"]+)"`)
	everybody("the number", func(i int, v *visit) (err error) {
		v.person = wechattest.Person{Name: fmt.Sprintf("visitor %d", i)}
		v.computer = fake.Visitor(wechatgate.BrowserDesktop, wechattest.Habits{})
		v.page, err = v.computer.Get(t.Context(), at(i))
		return err
	})
	instances[0].kill()
	everybody("the scan", func(_ int, v *visit) (err error) {
		link := scanLink.FindStringSubmatch(v.page.Body)
		if link == nil {
			return errors.New("no QR code on the page")
		}
		v.code, err = fake.Scan(v.person, html.UnescapeString(link[1]))
		return err
	})
	require.NoError(t, instances[0].start(t.Context()))
	instances[1].kill()
	everybody("the code", func(i int, v *visit) (err error) {
		v.page, err = v.computer.Press(t.Context(), v.page, "", url.Values{"code": {v.code}})
		if err == nil && v.page.Status != http.StatusOK {
			return fmt.Errorf("status %d at %s", v.page.Status, v.page.URL.Path)
		}
		return err
	})
	require.NoError(t, instances[1].start(t.Context()))

	// And nobody's code opens anything again, at either process.
	everybody("the page", func(i int, v *visit) error {
		want := fmt.Sprintf("%s at /page/%d", wechattest.OpenID(options.OfficialAccount.ID, v.person), i)
		for range 2 {
			p, err := v.computer.Get(t.Context(), at(i))
			if err != nil || p.Body != want {
				return fmt.Errorf("%q, want %q: %w", p.Body, want, err)
			}
		}
		return nil
	})
	assert.EqualValues(t, visitors, sessions.Load(), "none is in twice")
	t.Logf("%d visitors, %d sessions, %d exchanges", visitors, sessions.Load(), len(fake.Calls(wechat.OpExchange)))
}
