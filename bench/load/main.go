// Command load measures what the gate does to a server's throughput and memory,
// by wrk, and writes its tables into README.md. load.sh runs it.
package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/wechatgate/wechatgate/bench/internal/markdown"
)

//go:embed cycle.lua
var cycleLua []byte

// settings are what one run does.
type settings struct {
	rounds   int
	each     time.Duration
	visitors int
	requests int64
	out      string
	serve    string // as the server, with this file for the cookies
}

func main() {
	log.SetFlags(0)
	var s settings
	flag.IntVar(&s.rounds, "rounds", 8, "how often to load each page with each number of connections")
	flag.DurationVar(&s.each, "each", 2*time.Second, "for how long, in whole seconds")
	flag.IntVar(&s.visitors, "visitors", 10_000, "signed-in visitors, at most a million")
	flag.Int64Var(&s.requests, "requests", 1_000_000, "how many requests may not fill the memory")
	flag.StringVar(&s.out, "out", "README.md", "file with the place for the tables")
	flag.StringVar(&s.serve, "serve", "", "be the server: for load's own use")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, 15*time.Minute)
	defer cancel()
	run := drive
	if s.serve != "" {
		run = func(ctx context.Context, s settings) error { return serveUntilEOF(ctx, s.serve, s.visitors) }
	}
	if err := run(ctx, s); err != nil {
		log.Fatal("load: ", err)
	}
}

func drive(ctx context.Context, s settings) error {
	dir, err := os.MkdirTemp("", "load")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	w := wrk{script: filepath.Join(dir, "cycle.lua"), cookies: filepath.Join(dir, "cookies")}
	if err := os.WriteFile(w.script, cycleLua, 0o600); err != nil {
		return err
	}
	server, stop, err := startServer(ctx, w.cookies, s.visitors)
	if err != nil {
		return err
	}
	defer stop()

	memory, err := remember(ctx, s, w, server)
	if err != nil {
		return err
	}
	throughput, err := compare(ctx, s, w, server)
	if err != nil {
		return err
	}
	text := fmt.Sprintf("%s; wrk on the same cores; %d rounds of %v.\n\n%s\n%d visitors take turns:\n\n%s",
		markdown.Machine(), s.rounds, s.each, throughput, s.visitors, memory)
	fmt.Println(text)
	return markdown.Replace(s.out, "load", text)
}

// startServer starts this program again, so that its memory is the server's
// alone.
func startServer(ctx context.Context, cookies string, visitors int) (addresses, func(), error) {
	self, err := os.Executable()
	if err != nil {
		return addresses{}, nil, err
	}
	c := exec.CommandContext(ctx, self, "-serve", cookies, "-visitors", strconv.Itoa(visitors)) //nolint:gosec // itself
	c.Stderr = os.Stderr
	stdin, err := c.StdinPipe()
	if err != nil {
		return addresses{}, nil, err
	}
	stdout, err := c.StdoutPipe()
	if err != nil {
		return addresses{}, nil, err
	}
	if err := c.Start(); err != nil {
		return addresses{}, nil, err
	}
	stop := func() {
		_ = stdin.Close()
		_ = c.Wait()
	}
	var a addresses
	if err := json.NewDecoder(stdout).Decode(&a); err != nil {
		stop()
		return addresses{}, nil, fmt.Errorf("the server did not start: %w", err)
	}
	return a, stop, nil
}

// remember reads the server's memory while requests come in.
func remember(ctx context.Context, s settings, w wrk, server addresses) (markdown.Table, error) {
	t := markdown.Table{{"requests behind the gate", "different visitors", "heap after collection, KiB", "resident, MiB", "goroutines"}}
	first, err := server.read(ctx)
	if err != nil {
		return nil, err
	}
	now := first
	const quarters = 4
	for quarter := int64(0); ; {
		t = append(t, []string{
			strconv.FormatInt(now.Requests-first.Requests, 10),
			strconv.Itoa(now.Visitors),
			strconv.FormatInt(now.Heap>>10, 10),
			strconv.FormatInt(now.Resident>>20, 10),
			strconv.Itoa(now.Goroutines),
		})
		if quarter++; quarter > quarters {
			return t, nil
		}
		for now.Requests-first.Requests < s.requests*quarter/quarters {
			if _, err := w.run(ctx, server.Site+"/behind/hello", 64, 2*time.Second); err != nil {
				return nil, err
			}
			if now, err = server.read(ctx); err != nil {
				return nil, err
			}
		}
		log.Printf("%d requests", now.Requests-first.Requests)
	}
}

func (a addresses) read(ctx context.Context) (reading, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, a.Control, http.NoBody)
	if err != nil {
		return reading{}, err
	}
	client := &http.Client{Timeout: 10 * time.Second}
	response, err := client.Do(r)
	if err != nil {
		return reading{}, err
	}
	defer response.Body.Close()
	var now reading
	return now, json.NewDecoder(response.Body).Decode(&now)
}

// compare loads each page with and without the gate, in turns.
func compare(ctx context.Context, s settings, w wrk, server addresses) (markdown.Table, error) {
	t := markdown.Table{{
		"page", "connections", "requests/s without, median", "best", "behind the gate, median", "best", "ratio, median", "of the best",
		"CPU/request without, µs, least", "behind", "p50 without, ms", "behind", "p99 without, ms", "behind",
	}}
	for _, path := range []string{"/hello", "/members"} {
		for _, connections := range []int{1, 16, 256} {
			var without, behind []load
			for range s.rounds {
				l, err := w.measure(ctx, server, "/without"+path, connections, s.each)
				if err != nil {
					return nil, err
				}
				gated, err := w.measure(ctx, server, "/behind"+path, connections, s.each)
				if err != nil {
					return nil, err
				}
				log.Printf("%s, %d connections: %.0f and %.0f requests/s", path, connections, l.perSecond, gated.perSecond)
				without, behind = append(without, l), append(behind, gated)
			}
			t = append(t, append([]string{path, strconv.Itoa(connections)}, comparison(without, behind)...))
		}
	}
	return t, nil
}

func comparison(without, behind []load) []string {
	rate := func(l load) float64 { return l.perSecond }
	cpu := func(l load) float64 { return l.cpu }
	p50 := func(l load) float64 { return l.p50 }
	p99 := func(l load) float64 { return l.p99 }
	rates, gatedRates := values(without, rate), values(behind, rate)
	ratios := make([]float64, len(rates))
	for i := range ratios {
		ratios[i] = gatedRates[i] / rates[i]
	}
	return []string{
		fmt.Sprintf("%.0f", median(rates)),
		fmt.Sprintf("%.0f", slices.Max(rates)),
		fmt.Sprintf("%.0f", median(gatedRates)),
		fmt.Sprintf("%.0f", slices.Max(gatedRates)),
		fmt.Sprintf("%.2f", median(ratios)),
		fmt.Sprintf("%.2f", slices.Max(gatedRates)/slices.Max(rates)),
		fmt.Sprintf("%.1f", slices.Min(values(without, cpu))),
		fmt.Sprintf("%.1f", slices.Min(values(behind, cpu))),
		fmt.Sprintf("%.2f", median(values(without, p50))),
		fmt.Sprintf("%.2f", median(values(behind, p50))),
		fmt.Sprintf("%.2f", median(values(without, p99))),
		fmt.Sprintf("%.2f", median(values(behind, p99))),
	}
}

// wrk loads an address as cycle.lua says.
type wrk struct{ script, cookies string }

// load is what one run of wrk found.
type load struct {
	requests  float64
	perSecond float64
	p50, p99  float64 // milliseconds
	cpu       float64 // of the server, microseconds for each request
}

// measure adds to what wrk finds what the server spends, which other programs
// on the machine disturb less.
func (w wrk) measure(ctx context.Context, server addresses, path string, connections int, d time.Duration) (load, error) {
	before, err := server.read(ctx)
	if err != nil {
		return load{}, err
	}
	l, err := w.run(ctx, server.Site+path, connections, d)
	if err != nil {
		return load{}, err
	}
	after, err := server.read(ctx)
	l.cpu = float64((after.CPU - before.CPU).Microseconds()) / l.requests
	return l, err
}

func (w wrk) run(ctx context.Context, address string, connections int, d time.Duration) (load, error) {
	c := exec.CommandContext(ctx, "wrk", //nolint:gosec // arguments of this program's own
		"--threads", strconv.Itoa(min(connections, runtime.NumCPU())),
		"--connections", strconv.Itoa(connections),
		"--duration", fmt.Sprintf("%.0fs", d.Seconds()),
		"--script", w.script, address, "--", w.cookies)
	output, err := c.CombinedOutput()
	if err != nil {
		return load{}, fmt.Errorf("wrk: %w\n%s", err, output)
	}
	_, result, _ := strings.Cut(string(output), "\nresult ")
	var requests, microseconds, failures, p50, p99 float64
	if _, err := fmt.Sscan(result, &requests, &microseconds, &failures, &p50, &p99); err != nil {
		return load{}, fmt.Errorf("wrk: no result: %w\n%s", err, output)
	}
	if failures > 0 || requests == 0 {
		return load{}, errors.New("wrk: requests failed\n" + string(output))
	}
	return load{requests: requests, perSecond: requests / microseconds * 1e6, p50: p50 / 1e3, p99: p99 / 1e3}, nil
}

func values(loads []load, of func(load) float64) []float64 {
	v := make([]float64, len(loads))
	for i, l := range loads {
		v[i] = of(l)
	}
	return v
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}
