//go:build linux

package main

import (
	"fmt"
	"log"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
)

// What is counted. Each is a row of the table, in this order, also where it is 0.
const (
	countRequests    = "requests"
	countPages       = "pages and answers that named the visitor"
	countSignIns     = "sign-ins"
	countCodeSignIns = "sign-ins by code"
	countAtKill      = "sign-ins begun just before a kill"
	countRestarts    = "sign-ins that the gate began again"
	countAgain       = "sign-ins that the visitor began again"
	countSignOuts    = "sign-outs"
	countRenewals    = "renewals of last-seen"
	countEndedIdle   = "sessions ended by idleness or age"
	countPauses      = "pauses of more than a tenth of the idle timeout"
	countKills       = "processes killed"
	countStarts      = "processes started again"
	countRetries     = "requests that went to another process"
	countCutOff      = "answers cut off by a kill"
	countOutages     = "Redis outages"
	countUnavailable = "answers 503 while Redis was away"
)

// What must not happen. A single one ends the run with status 1.
const (
	failLost       = "LOST: signed in, and asked to sign in"
	failSwapped    = "SWAPPED: another visitor's page"
	failRevived    = "REVIVED: let in after the session had ended"
	failLetIn      = "LET IN: while Redis was away"
	failUnexpected = "UNEXPECTED: an answer of another kind"
	failProcess    = "PROCESS: ended, or wrote something, by itself"
	failGrew       = "GREW: memory or goroutines"
)

// tally counts, for all goroutines.
type tally struct {
	mu       sync.Mutex
	counts   map[string]int
	statuses map[string]int
	events   map[string]int
	failures map[string]int
	shown    int
}

func newTally() *tally {
	return &tally{counts: map[string]int{}, statuses: map[string]int{}, events: map[string]int{}, failures: map[string]int{}}
}

func (t *tally) add(what string) { t.addTo(t.counts, what) }

func (t *tally) addStatus(status string) { t.addTo(t.statuses, status) }

// addEvent counts a record of a gate's log.
func (t *tally) addEvent(event string) { t.addTo(t.events, event) }

func (t *tally) addTo(m map[string]int, what string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	m[what]++
}

func (t *tally) set(what string, n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.counts[what] = n
}

const maxShown = 25 // failures in words

// fail counts what must not happen, and writes the first ones to the log. The
// detail holds no cookie, code, token or state.
func (t *tally) fail(what, format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.failures[what]++
	if t.shown++; t.shown <= maxShown {
		log.Printf("%s: %s", what, fmt.Sprintf(format, args...))
	}
}

func (t *tally) failed() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.failures) > 0
}

func (t *tally) line() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	bad := 0
	for _, n := range t.failures {
		bad += n
	}
	return fmt.Sprintf("%d requests, %d pages, %d sign-ins, %d sign-outs, %d kills, %d Redis outages, %d lost, %d swapped, %d failures in all",
		t.counts[countRequests], t.counts[countPages], t.counts[countSignIns], t.counts[countSignOuts], t.counts[countKills], t.counts[countOutages],
		t.failures[failLost], t.failures[failSwapped], bad)
}

func (t *tally) print() {
	t.mu.Lock()
	defer t.mu.Unlock()
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	rows := []string{
		countRequests, countPages, countSignIns, countCodeSignIns, countAtKill, countRestarts, countAgain, countSignOuts, countRenewals,
		countPauses, countEndedIdle, countKills, countStarts, countRetries, countCutOff, countOutages, countUnavailable,
	}
	for _, other := range slices.Sorted(maps.Keys(t.counts)) {
		if !slices.Contains(rows, other) {
			rows = append(rows, other)
		}
	}
	for _, row := range rows {
		fmt.Fprintf(table, "%s\t%d\n", row, t.counts[row])
	}
	for _, status := range slices.Sorted(maps.Keys(t.statuses)) {
		fmt.Fprintf(table, "answers %s\t%d\n", status, t.statuses[status])
	}
	for _, event := range slices.Sorted(maps.Keys(t.events)) {
		fmt.Fprintf(table, "log: %s\t%d\n", event, t.events[event])
	}
	for _, failure := range []string{failLost, failSwapped, failRevived, failLetIn, failUnexpected, failProcess, failGrew} {
		what, _, _ := strings.Cut(failure, ":")
		fmt.Fprintf(table, "%s\t%d\n", what, t.failures[failure])
	}
	_ = table.Flush()
}
