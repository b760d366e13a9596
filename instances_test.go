package wechatgate_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wechatgate/wechatgate"
	"github.com/wechatgate/wechatgate/internal/instancetest"
	"github.com/wechatgate/wechatgate/wechat"
	"github.com/wechatgate/wechatgate/wechattest"
)

func TestMain(m *testing.M) { instancetest.Main(m, newInstance) }

// instanceSettings is what several machines with one site have in common.
type instanceSettings struct {
	BaseURL    string
	ID, Secret string
	Key        []byte
	Endpoints  wechat.Endpoints
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
	})
	if err != nil {
		return nil, err
	}
	return gate.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		u, _ := wechatgate.UserFromContext(r.Context())
		fmt.Fprintf(w, "%s at %s", u.OpenID, r.URL.Path)
	})), nil
}

// nextUpstream sends requests to the instances in turn and, as nginx does, to
// the other one when the first gives no answer.
type nextUpstream struct {
	hosts [2]string
	turn  atomic.Uint64
}

func (n *nextUpstream) RoundTrip(r *http.Request) (*http.Response, error) {
	first := int(n.turn.Add(1) % 2)
	var errs [2]error
	for i := range n.hosts {
		attempt := r.Clone(r.Context())
		attempt.URL.Host = n.hosts[(first+i)%2]
		response, err := http.DefaultTransport.RoundTrip(attempt)
		if err == nil {
			return response, nil
		}
		errs[i] = err
	}
	return nil, errors.Join(errs[:]...)
}

// Two processes with the same keys finish each other's sign-ins, while one of
// them is killed and comes back.
func TestInstancesFinishEachOthersSignIns(t *testing.T) {
	const visitors = 200
	fake := wechattest.NewServer()
	defer fake.Close()
	balancer := &nextUpstream{}
	var sessions, callbacks atomic.Int64
	aQuarter, threeQuarters := make(chan struct{}), make(chan struct{})
	proxy := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme = "http"
			if r.In.URL.Path == "/wechat/callback" && callbacks.Add(1) == visitors/4 {
				close(aQuarter)
			}
		},
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
	fake.Delay(wechat.OpExchange, 50*time.Millisecond) // so that callbacks are under way when it happens
	options := fake.Options(proxy.URL)
	var instances [2]*instancetest.Instance
	for i := range instances {
		instances[i] = &instancetest.Instance{Address: "127.0.0.1:0", Settings: instanceSettings{
			BaseURL:   proxy.URL,
			ID:        options.OfficialAccount.ID,
			Secret:    options.OfficialAccount.Secret,
			Key:       options.SessionKeys[0],
			Endpoints: options.Endpoints,
		}}
		require.NoError(t, instances[i].Start(t.Context()))
		defer func() { instances[i].Kill() }()
		balancer.hosts[i] = instances[i].Address
	}

	var in atomic.Int64
	var waiting sync.WaitGroup
	for i := range visitors {
		person := wechattest.Person{Name: fmt.Sprintf("visitor %d", i)}
		want := fmt.Sprintf("%s at /page/%d", wechattest.OpenID(options.OfficialAccount.ID, person), i)
		waiting.Go(func() {
			if i >= visitors*3/4 {
				<-threeQuarters // these come when the instance is back
			}
			client := fake.BrowserAs(wechatgate.BrowserWeChat, person)
			for range 2 { // signs in, and comes again
				body, err := get(client, fmt.Sprintf("%s/page/%d", proxy.URL, i))
				if !assert.NoError(t, err) || !assert.Equal(t, want, body, person.Name) {
					return
				}
			}
			in.Add(1)
		})
	}
	<-aQuarter
	instances[0].Kill()
	require.NoError(t, instances[0].Start(t.Context()))
	close(threeQuarters)
	waiting.Wait()

	assert.EqualValues(t, visitors, in.Load(), "none is lost")
	assert.EqualValues(t, visitors, sessions.Load(), "none is in twice")
	// A callback that died with its instance starts again, once.
	t.Logf("%d visitors, %d sessions, %d exchanges", visitors, sessions.Load(), len(fake.Calls(wechat.OpExchange)))
}

func get(client *http.Client, address string) (string, error) {
	r, err := http.NewRequest(http.MethodGet, address, nil)
	if err != nil {
		return "", err
	}
	response, err := client.Do(r)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return string(body), err
}
