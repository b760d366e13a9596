//go:build linux

package main

import (
	"errors"
	"io"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Headers that the balancer adds to answers.
const (
	headerProcess = "Soak-Process" // whose answer it is
	headerNobody  = "Soak-Nobody"  // no process has answered
)

// balancer sends each request of a site to any of its processes. As nginx does, it
// goes on to another one when the first gives no answer, unless the request may
// have been heard and is not idempotent.
type balancer struct {
	tally     *tally
	transport *http.Transport
	server    *httptest.Server

	mu    sync.Mutex
	hosts map[string]string // by the process's name
}

// newBalancer listens at once, so that the site has its BaseURL.
func newBalancer(t *tally) *balancer {
	b := &balancer{
		tally:     t,
		transport: &http.Transport{MaxIdleConnsPerHost: 8, IdleConnTimeout: 10 * time.Second},
		hosts:     map[string]string{},
	}
	b.server = httptest.NewServer(&httputil.ReverseProxy{
		Rewrite:        func(r *httputil.ProxyRequest) { r.Out.URL.Scheme = "http" },
		Transport:      b,
		ModifyResponse: b.count,
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) {
			t.addStatus("502 of the balancer")
			w.Header().Set(headerNobody, "1")
			w.WriteHeader(http.StatusBadGateway)
		},
		ErrorLog: log.New(io.Discard, "", 0), // an answer that is cut off; its reader counts it
	})
	return b
}

func (b *balancer) close() {
	b.server.Close()
	b.transport.CloseIdleConnections()
}

// set says where a process listens now.
func (b *balancer) set(process, host string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.hosts[process] = host
}

// shuffled returns the processes in random order.
func (b *balancer) shuffled() (names, hosts []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for name := range b.hosts {
		names = append(names, name)
	}
	rand.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] }) //nolint:gosec // no secret
	for _, name := range names {
		hosts = append(hosts, b.hosts[name])
	}
	return names, hosts
}

var errNobody = errors.New("no process answers")

func (b *balancer) RoundTrip(r *http.Request) (*http.Response, error) {
	b.tally.add(countRequests)
	body := ""
	if r.Body != nil {
		text, err := io.ReadAll(io.LimitReader(r.Body, 64<<10))
		if err != nil {
			return nil, err
		}
		body = string(text)
	}
	idempotent := r.Method == http.MethodGet || r.Method == http.MethodHead
	names, hosts := b.shuffled()
	for i, name := range names {
		if i > 0 {
			b.tally.add(countRetries)
		}
		attempt := r.Clone(r.Context())
		attempt.URL.Host = hosts[i]
		attempt.Body, attempt.GetBody = http.NoBody, nil
		if body != "" {
			attempt.Body = io.NopCloser(strings.NewReader(body))
		}
		response, err := b.transport.RoundTrip(attempt)
		if err == nil {
			response.Header.Set(headerProcess, name)
			return response, nil
		}
		var network *net.OpError
		notHeard := errors.As(err, &network) && network.Op == "dial"
		if r.Context().Err() != nil || !idempotent && !notHeard {
			return nil, err
		}
	}
	return nil, errNobody
}

// count looks at what an answer says, and changes nothing.
func (b *balancer) count(r *http.Response) error {
	b.tally.addStatus(strconv.Itoa(r.StatusCode))
	if r.StatusCode != http.StatusOK {
		return nil
	}
	for _, c := range r.Cookies() {
		if strings.HasSuffix(c.Name, "-seen") && c.MaxAge > 0 {
			b.tally.add(countRenewals)
		}
	}
	return nil
}
