package redisstore_test

import (
	"bytes"
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
	"regexp"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wechatgate/wechatgate"
	"github.com/wechatgate/wechatgate/internal/instancetest"
	redisstore "github.com/wechatgate/wechatgate/stores/redis"
	"github.com/wechatgate/wechatgate/wechat"
	"github.com/wechatgate/wechatgate/wechattest"
)

func TestMain(m *testing.M) { instancetest.Main(m, newInstance) }

// instanceSettings is what several machines with one site have in common.
type instanceSettings struct {
	BaseURL, Redis string
	ID, Secret     string
	Key            []byte
	Endpoints      wechat.Endpoints
}

// newInstance makes the site of one of them.
func newInstance(settings []byte) (http.Handler, error) {
	var s instanceSettings
	if err := json.Unmarshal(settings, &s); err != nil {
		return nil, err
	}
	gate, err := wechatgate.New(wechatgate.Options{
		BaseURL:         s.BaseURL,
		OfficialAccount: wechatgate.App{ID: s.ID, Secret: s.Secret},
		SessionKeys:     [][]byte{s.Key},
		Endpoints:       s.Endpoints,
		CodeSignIn:      wechatgate.CodeSignIn{Scan: true, Codes: redisstore.Codes(redis.NewClient(&redis.Options{Addr: s.Redis}))},
	})
	if err != nil {
		return nil, err
	}
	return gate.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		u, _ := wechatgate.UserFromContext(r.Context())
		fmt.Fprintf(w, "%s at %s", u.OpenID, r.URL.Path)
	})), nil
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
	var instances [2]*instancetest.Instance
	for i := range instances {
		instances[i] = &instancetest.Instance{Address: "127.0.0.1:0", Settings: instanceSettings{
			BaseURL:   proxy.URL,
			Redis:     server.Address,
			ID:        options.OfficialAccount.ID,
			Secret:    options.OfficialAccount.Secret,
			Key:       options.SessionKeys[0],
			Endpoints: options.Endpoints,
		}}
		require.NoError(t, instances[i].Start(t.Context()))
		defer func() { instances[i].Kill() }()
		balancer.hosts[i] = instances[i].Address
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
	instances[0].Kill()
	everybody("the scan", func(_ int, v *visit) (err error) {
		link := scanLink.FindStringSubmatch(v.page.Body)
		if link == nil {
			return errors.New("no QR code on the page")
		}
		v.code, err = fake.Scan(v.person, html.UnescapeString(link[1]))
		return err
	})
	require.NoError(t, instances[0].Start(t.Context()))
	instances[1].Kill()
	everybody("the code", func(i int, v *visit) (err error) {
		v.page, err = v.computer.Press(t.Context(), v.page, "", url.Values{"code": {v.code}})
		if err == nil && v.page.Status != http.StatusOK {
			return fmt.Errorf("status %d at %s", v.page.Status, v.page.URL.Path)
		}
		return err
	})
	require.NoError(t, instances[1].Start(t.Context()))

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
