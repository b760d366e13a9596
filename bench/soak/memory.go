//go:build linux

package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"
)

// memory samples what the processes use.
type memory struct {
	world *world

	mu      sync.Mutex
	samples map[string][]sample // by process
}

type sample struct {
	heap       int64 // after a collection; 0 for processes that are killed
	goroutines int64
	resident   int64
}

func newMemory(w *world) *memory { return &memory{world: w, samples: map[string][]sample{}} }

// watch asks until the end. Only of processes that are never killed, the heap says
// something.
func (m *memory) watch(ctx context.Context) {
	every := max(2*time.Second, m.world.settings.length/120)
	for sleep(ctx, every) {
		for i, p := range m.world.machines {
			s := sample{resident: resident(p.pid())}
			if i%2 == 0 {
				now, err := p.read(ctx)
				if err != nil {
					continue
				}
				s.heap, s.goroutines = now.Heap, int64(now.Goroutines)
			}
			m.add(p.name, s)
		}
		m.add("soak", sample{resident: resident(os.Getpid())})
	}
}

func (m *memory) add(name string, s sample) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.samples[name] = append(m.samples[name], s)
}

// thirds returns the medians of the first, the second and the last third.
func thirds(all []sample, of func(sample) int64) (medians [3]int64) {
	for i := range medians {
		var values []int64
		for _, s := range all[len(all)*i/3 : len(all)*(i+1)/3] {
			values = append(values, of(s))
		}
		slices.Sort(values)
		if len(values) > 0 {
			medians[i] = values[len(values)/2]
		}
	}
	return medians
}

func (s sample) ofHeap() int64       { return s.heap }
func (s sample) ofGoroutines() int64 { return s.goroutines }
func (s sample) ofResident() int64   { return s.resident }

// How much more the last third may have than the second.
const (
	growth          = 10 // percent, and
	heapGrowth      = 4 << 20
	goroutineGrowth = 20
)

// judge compares, for the processes that were never killed.
func (m *memory) judge(t *tally) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i, p := range m.world.machines {
		if i%2 != 0 {
			continue
		}
		all := m.samples[p.name]
		if len(all) < 3 {
			t.fail(failGrew, "%s: too few samples to tell", p.name)
			continue
		}
		heap, goroutines := thirds(all, sample.ofHeap), thirds(all, sample.ofGoroutines)
		if heap[2] > heap[1]+heap[1]*growth/100+heapGrowth {
			t.fail(failGrew, "%s: heap %d KiB, then %d KiB", p.name, heap[1]>>10, heap[2]>>10)
		}
		if goroutines[2] > goroutines[1]+goroutines[1]*growth/100+goroutineGrowth {
			t.fail(failGrew, "%s: %d goroutines, then %d", p.name, goroutines[1], goroutines[2])
		}
	}
}

func (m *memory) line() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var parts []string
	for i, p := range m.world.machines {
		if all := m.samples[p.name]; i%2 == 0 && len(all) > 0 {
			last := all[len(all)-1]
			parts = append(parts, fmt.Sprintf("%s heap %d KiB, %d goroutines", p.name, last.heap>>10, last.goroutines))
		}
	}
	return strings.Join(parts, "; ")
}

// print writes medians of the three thirds of the run.
func (m *memory) print() {
	m.mu.Lock()
	defer m.mu.Unlock()
	fmt.Println("\nMemory, medians of the first, second and last third of the run:")
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "process\theap, KiB\t\t\tgoroutines\t\t\tresident, KiB\t\t\t")
	row := func(name string, judged bool) {
		all := m.samples[name]
		fmt.Fprintf(table, "%s\t", name)
		for _, of := range []func(sample) int64{sample.ofHeap, sample.ofGoroutines, sample.ofResident} {
			unit := int64(1 << 10)
			if of(sample{goroutines: 1}) == 1 {
				unit = 1
			}
			for _, median := range thirds(all, of) {
				if !judged && of(sample{resident: 1}) != 1 {
					fmt.Fprint(table, "-\t")
					continue
				}
				fmt.Fprintf(table, "%d\t", median/unit)
			}
		}
		fmt.Fprintln(table)
	}
	for i, p := range m.world.machines {
		row(p.name, i%2 == 0)
	}
	row("soak", false)
	_ = table.Flush()
}
