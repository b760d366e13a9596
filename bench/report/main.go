// Command report runs the benchmarks of the gate and of this module many times,
// in turns, and writes its tables into README.md. Run it in the directory bench:
//
//	go run ./report
//
// It takes about two minutes on a machine that does nothing else. On one that
// does, medians are worth little; the least of many short rounds is worth more.
package main

import (
	"bytes"
	"cmp"
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/perf/benchfmt"
	"golang.org/x/perf/benchmath"

	"github.com/wechatgate/wechatgate/bench/internal/markdown"
)

func main() {
	log.SetFlags(0)
	rounds := flag.Int("rounds", 20, "how often to run each benchmark")
	each := flag.Duration("benchtime", 50*time.Millisecond, "how long to run it each time")
	out := flag.String("out", "README.md", "file with the places for the tables")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *rounds, *each, *out); err != nil {
		log.Fatal("report: ", err)
	}
}

func run(ctx context.Context, rounds int, each time.Duration, out string) error {
	dir, err := os.MkdirTemp("", "report")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	var programs []string
	for i, directory := range []string{"..", "."} {
		program := filepath.Join(dir, fmt.Sprintf("%d.test", i))
		if _, err := output(ctx, directory, "go", "test", "-c", "-o", program, "."); err != nil {
			return err
		}
		programs = append(programs, program)
	}
	m := &measurements{values: map[string]map[string][]float64{}}
	for round := range rounds {
		for _, program := range programs {
			results, err := output(ctx, ".", program, "-test.run=^$", "-test.bench=.", "-test.benchtime="+each.String())
			if err != nil {
				return err
			}
			if err := m.add(results); err != nil {
				return err
			}
		}
		log.Printf("round %d of %d", round+1, rounds)
	}
	intro := fmt.Sprintf("%s; %d rounds of %v.\n\n", markdown.Machine(), rounds, each)
	for _, section := range []struct{ name, text string }{
		{"compared", intro + m.compared().String()},
		{"goals", m.goals().String()},
		{"paths", m.all("Page/", "SignIn/", "Public/").String()},
		{"growth", m.all("Growth/").String()},
	} {
		fmt.Println(section.text)
		if err := markdown.Replace(out, section.name, section.text); err != nil {
			return err
		}
	}
	return nil
}

func output(ctx context.Context, directory, name string, args ...string) ([]byte, error) {
	c := exec.CommandContext(ctx, name, args...) //nolint:gosec // go test, and what it built
	c.Dir = directory
	c.Stderr = os.Stderr
	stdout, err := c.Output()
	if err != nil {
		return nil, fmt.Errorf("%s: %w\n%s", strings.Join(c.Args, " "), err, stdout)
	}
	return stdout, nil
}

// measurements are one value for each round, by benchmark and unit.
type measurements struct {
	names  []string // in the order in which they ran
	values map[string]map[string][]float64
}

func (m *measurements) add(results []byte) error {
	reader := benchfmt.NewReader(bytes.NewReader(results), "benchmarks")
	for reader.Scan() {
		switch record := reader.Result().(type) {
		case *benchfmt.Result:
			name := withoutProcs(record.Name.Full())
			if m.values[name] == nil {
				m.names = append(m.names, name)
				m.values[name] = map[string][]float64{}
			}
			for _, value := range record.Values {
				m.values[name][value.Unit] = append(m.values[name][value.Unit], value.Value)
			}
		case *benchfmt.SyntaxError:
			return record
		}
	}
	return reader.Err()
}

// withoutProcs cuts off the number of cores, which is left out where it is 1.
func withoutProcs(name benchfmt.Name) string {
	_, parts := name.Parts()
	if len(parts) > 0 && parts[len(parts)-1][0] == '-' {
		return strings.TrimSuffix(string(name.Full()), string(parts[len(parts)-1]))
	}
	return string(name.Full())
}

// figure is what the rounds say about one thing.
type figure struct{ median, least, spread float64 }

func (m *measurements) figure(name, unit string) figure {
	return summarize(m.values[name][unit])
}

func summarize(values []float64) figure {
	if len(values) == 0 {
		return figure{}
	}
	s := benchmath.AssumeNothing.Summary(benchmath.NewSample(slices.Clone(values), &benchmath.DefaultThresholds), 0.95)
	return figure{median: s.Center, least: slices.Min(values), spread: (s.Hi - s.Lo) / 2}
}

// ratio is of what ran in the same round; least is the ratio of the two leasts.
func (m *measurements) ratio(name, other, unit string) figure {
	a, b := m.values[name][unit], m.values[other][unit]
	var ratios []float64
	for i := range min(len(a), len(b)) {
		ratios = append(ratios, a[i]/b[i])
	}
	f := summarize(ratios)
	f.least = m.figure(name, unit).least / m.figure(other, unit).least
	return f
}

func (m *measurements) starting(prefixes ...string) (names []string) {
	for _, name := range m.names {
		if slices.ContainsFunc(prefixes, func(prefix string) bool { return strings.HasPrefix(name, prefix) }) {
			names = append(names, name)
		}
	}
	return names
}

const (
	seconds     = "sec/op"
	bytesPer    = "B/op"
	allocations = "allocs/op"

	gate   = "Contenders/wechatgate"
	decode = "Contenders/securecookie.Decode_alone"
)

func (m *measurements) compared() markdown.Table {
	names := m.starting("Contenders/")
	slices.SortStableFunc(names, func(a, b string) int {
		return cmp.Compare(m.figure(a, seconds).least, m.figure(b, seconds).least)
	})
	t := markdown.Table{append(columns("a page view of a signed-in visitor"), "over the bare decode", "the gate is faster by")}
	for _, name := range names {
		row := append(m.row(name), fmt.Sprintf("%.2f", m.ratio(name, decode, seconds).median), "")
		if name != gate && name != decode && !strings.Contains(name, "no_session") {
			row[len(row)-1] = fmt.Sprintf("%.1f", m.ratio(name, gate, seconds).median)
		}
		t = append(t, row)
	}
	return t
}

func (m *measurements) all(prefixes ...string) markdown.Table {
	t := markdown.Table{columns("")}
	for _, name := range m.starting(prefixes...) {
		t = append(t, m.row(name))
	}
	return t
}

func columns(what string) []string {
	return []string{what, "µs, median", "±", "µs, least", "bytes", "allocations"}
}

func (m *measurements) row(name string) []string {
	group, shown, _ := strings.Cut(name, "/")
	if group == "SignIn" {
		shown = "sign-in, " + shown
	}
	time := m.figure(name, seconds)
	return []string{
		strings.ReplaceAll(strings.ReplaceAll(shown, "_", " "), "=", ": "),
		microseconds(time.median),
		microseconds(time.spread),
		microseconds(time.least),
		fmt.Sprintf("%.0f", m.figure(name, bytesPer).median),
		fmt.Sprintf("%.0f", m.figure(name, allocations).median),
	}
}

func microseconds(s float64) string { return fmt.Sprintf("%.2f", s*1e6) }

// goals are what the gate promises.
func (m *measurements) goals() markdown.Table {
	t := markdown.Table{{"goal", "want", "median", "least", ""}}
	add := func(what, sign string, want float64, is figure) {
		met := is.median <= want
		if sign == "≥" {
			met = is.median >= want
		}
		verdict := "met"
		if !met {
			verdict = "**not met**"
		}
		t = append(t, []string{what, fmt.Sprintf("%s %.2f", sign, want), fmt.Sprintf("%.2f", is.median), fmt.Sprintf("%.2f", is.least), verdict})
	}
	add("time of a signed-in page, over the bare decode", "≤", 1.3, m.ratio(gate, decode, seconds))
	add("its allocations, over the bare decode's", "≤", 1.2, m.ratio(gate, decode, allocations))
	add("faster than gorilla/sessions with gob, in its fastest form", "≥", 6, m.lead("Contenders/gorilla"))
	add("faster than scs, in its fastest form", "≥", 4.5, m.lead("Contenders/scs"))
	add("faster than a JWT in a cookie", "≥", 1.8, m.lead("Contenders/golang-jwt"))
	api, bare := m.figure("Page/Require,_anonymous_API_request", seconds), m.figure("Page/bare_handler", seconds)
	add("an anonymous API request over the bare handler, µs", "≤", 2, figure{
		median: 1e6 * (api.median - bare.median),
		least:  1e6 * (api.least - bare.least),
	})
	return t
}

// lead is over the fastest of some contenders.
func (m *measurements) lead(prefix string) figure {
	var fastest figure
	for i, name := range m.starting(prefix) {
		f := m.ratio(name, gate, seconds)
		if i == 0 || f.median < fastest.median {
			fastest = f
		}
	}
	return fastest
}
