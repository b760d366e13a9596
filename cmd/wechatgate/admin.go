package main

import (
	"io"
	"net/http"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// metrics are what /metrics shows. They outlive a reload.
type metrics struct {
	registry *prometheus.Registry
	pages    *prometheus.CounterVec
	signIns  prometheus.Counter
	signOuts prometheus.Counter
	upstream *prometheus.CounterVec
	inFlight prometheus.Gauge
	reloads  *prometheus.CounterVec

	allowed, challenged, own, refused prometheus.Counter // requests, by what became of them

	notices notices
}

func newMetrics() *metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "wechatgate", Name: name, Help: help}, labels)
	}
	requests := counter("requests_total", "Requests by what became of them: allowed, challenged, own (a page of the gate's), refused.", "outcome")
	m := &metrics{
		registry: prometheus.NewRegistry(),
		pages:    counter("pages_total", "Pages of the gate by name and, where something failed, reason.", "page", "reason"),
		signIns:  prometheus.NewCounter(prometheus.CounterOpts{Namespace: "wechatgate", Name: "sign_ins_total", Help: "Finished sign-ins."}),
		signOuts: prometheus.NewCounter(prometheus.CounterOpts{Namespace: "wechatgate", Name: "sign_outs_total", Help: "Sign-outs."}),
		upstream: counter("upstream_failures_total", "Requests that the upstream did not answer, by the visitor's status.", "status"),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "wechatgate", Name: "upstream_requests_in_flight", Help: "Requests, streams and upgraded connections at the upstream."}),
		reloads:  counter("reloads_total", "Reloads of the settings by result: ok, failed.", "result"),

		allowed:    requests.WithLabelValues("allowed"), // found once, as each request needs one
		challenged: requests.WithLabelValues("challenged"),
		own:        requests.WithLabelValues("own"),
		refused:    requests.WithLabelValues("refused"),
	}
	m.registry.MustRegister(
		requests, m.pages, m.signIns, m.signOuts, m.upstream, m.inFlight, m.reloads,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	return m
}

// newAdmin serves the port that the site's operators use.
func newAdmin(m *metrics, draining *atomic.Bool) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok\n") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if draining.Load() {
			http.Error(w, "draining", http.StatusServiceUnavailable)
			return
		}
		_, _ = io.WriteString(w, "ok\n")
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{}))
	return mux
}
