package storetest_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/gorilla/sessions"
	"github.com/stretchr/testify/require"

	"github.com/wechatgate/wechatgate/storetest"
)

func key() []byte { return []byte("0123456789abcdef0123456789abcdef") }

func TestGoodStore(t *testing.T) {
	t.Parallel()
	storetest.Run(t, newStore(vices{}))
}

func TestCookieStore(t *testing.T) {
	t.Parallel()
	storetest.RunWith(t, newCookieStore, storetest.Limits{ReplayAfterSignOut: true, KeepsExpired: true})
}

func TestFilesystemStore(t *testing.T) {
	t.Parallel()
	storetest.RunWith(t, newFilesystemStore, storetest.Limits{KeepsExpired: true})
}

// A session file that is gone is no outage, so a directory that is gone is none.
func TestFilesystemStoreWithoutItsDirectory(t *testing.T) {
	t.Parallel()
	directory := filepath.Join(t.TempDir(), "sessions")
	require.NoError(t, os.Mkdir(directory, 0o700))
	storetest.RunOutage(t, sessions.NewFilesystemStore(directory, key()),
		func(t *testing.T) { require.NoError(t, os.Rename(directory, directory+"-away")) },
		func(t *testing.T) { require.NoError(t, os.Rename(directory+"-away", directory)) },
		storetest.Limits{HidesOutage: true})
}

// A directory that is there and cannot be read is an outage.
func TestFilesystemStoreWithABrokenDirectory(t *testing.T) {
	t.Parallel()
	directory := filepath.Join(t.TempDir(), "sessions")
	require.NoError(t, os.Mkdir(directory, 0o700))
	storetest.RunOutage(t, sessions.NewFilesystemStore(directory, key()),
		func(t *testing.T) {
			require.NoError(t, os.Rename(directory, directory+"-away"))
			require.NoError(t, os.WriteFile(directory, nil, 0o600))
		},
		func(t *testing.T) {
			require.NoError(t, os.Remove(directory))
			require.NoError(t, os.Rename(directory+"-away", directory))
		},
		storetest.Limits{})
}

func newCookieStore(*testing.T) sessions.Store { return sessions.NewCookieStore(key()) }

func newFilesystemStore(t *testing.T) sessions.Store {
	t.Helper()
	return sessions.NewFilesystemStore(t.TempDir(), key())
}

func newStore(v vices) func(*testing.T) sessions.Store {
	return func(*testing.T) sessions.Store { return newMemory(v) }
}

const (
	// usable are the subtests that a Store with which nobody can sign in fails.
	usable = "SignIn Rotation Fixation SignOut Replay Revocation Lifetime Expiry Resurrection PageViews UnknownCookies TwoCookies Attributes Outage Race"
	// ending are those that show sessions outliving their end.
	ending = "Rotation Fixation Replay Revocation Resurrection UnknownCookies Outage Race"
)

// badStores are what the suite has to find, and the subtests that find it.
var badStores = []struct {
	name     string
	newStore func(*testing.T) sessions.Store
	limits   storetest.Limits
	red      string // all others are green
	perhaps  string // by chance
}{
	{name: "forgets", newStore: newStore(vices{forgets: true}), red: usable + " Size"},
	{name: "counts nanoseconds", newStore: newStore(vices{countsNanos: true}), red: usable + " Size"},
	{name: "writes no cookie", newStore: newStore(vices{writesNoCookie: true}), red: usable},
	{name: "writes a huge cookie", newStore: newStore(vices{writesHugeCookie: true}), red: usable},
	{name: "resumes anyone's session", newStore: newStore(vices{resumesAnyone: true}), red: "SignIn Fixation SignOut UnknownCookies Outage Race"},
	{name: "recycles IDs", newStore: newStore(vices{recyclesIDs: true}), red: "Rotation Fixation Replay", perhaps: "Race"},
	{name: "never deletes", newStore: newStore(vices{neverDeletes: true}), red: ending},
	{name: "keeps forever", newStore: newStore(vices{keepsForever: true}), red: "Expiry"},
	{name: "invents errors", newStore: newStore(vices{inventsErrors: true}), red: "Fixation Expiry Resurrection UnknownCookies TwoCookies", perhaps: "Race"},
	{name: "cuts at 512 bytes", newStore: newStore(vices{cutsAt512: true}), red: "Size"},
	{name: "drops rare letters", newStore: newStore(vices{dropsRareLetters: true}), red: "Size"},
	{name: "refuses more than 512 bytes", newStore: newStore(vices{refusesAt512: true})}, // says so
	{name: "writes back what it read", newStore: newStore(vices{touches: true}), red: "Race"},
	{name: "writes back at the end", newStore: newStore(vices{savesAtEnd: true}), red: "Resurrection", perhaps: ending},
	{name: "shares a buffer", newStore: newStore(vices{sharesBuffer: true}), red: "Race"},
	{name: "CookieStore, no limit declared", newStore: newCookieStore, red: ending + " Expiry"},
	{name: "a replay that is none", newStore: newStore(vices{}), limits: storetest.Limits{ReplayAfterSignOut: true}, red: "Rotation Fixation Replay Revocation Resurrection Outage Race"},
	{name: "an expiry that is kept", newStore: newStore(vices{}), limits: storetest.Limits{KeepsExpired: true}, red: "Expiry"},
}

// inside makes the test binary run the suite on bad Stores, which fails.
const inside = "STORETEST_BAD_STORES"

func TestBadStores(t *testing.T) {
	if os.Getenv(inside) == "" {
		t.Skip("TestBadStoresAreFound runs it")
	}
	for _, row := range badStores {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			storetest.RunWith(t, row.newStore, row.limits)
		})
	}
}

func TestBadOutages(t *testing.T) {
	if os.Getenv(inside) == "" {
		t.Skip("TestBadStoresAreFound runs it")
	}
	for name, limits := range map[string]storetest.Limits{
		"hidden":              {},
		"hidden and declared": {HidesOutage: true},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMemory(vices{})
			storetest.RunOutage(t, m, func(*testing.T) { m.setDown(true) }, func(*testing.T) { m.setDown(false) }, limits)
		})
	}
	t.Run("declared and not hidden", func(t *testing.T) {
		f := &failing{Store: newMemory(vices{})}
		storetest.RunOutage(t, f, func(*testing.T) { f.fail.Store(true) }, func(*testing.T) { f.fail.Store(false) }, storetest.Limits{HidesOutage: true})
	})
}

// Some mistakes show only when requests meet, so the suite may need more than
// one run to find them all.
func TestBadStoresAreFound(t *testing.T) {
	t.Parallel()
	const runs = 5
	for run := 1; ; run++ {
		output := runInside(t, "^TestBad(Stores|Outages)$")
		wrong := misjudged(output)
		if len(wrong) == 0 {
			return
		}
		t.Logf("run %d: %q", run, wrong)
		require.Less(t, run, runs, "%s", output)
	}
}

// runInside runs tests of this binary that fail on purpose.
func runInside(t *testing.T, tests string) (output string) {
	t.Helper()
	binary, err := os.Executable()
	require.NoError(t, err)
	command := exec.CommandContext(t.Context(), binary, "-test.run="+tests, "-test.v", "-test.parallel=8", "-test.timeout=5m")
	command.Env = append(os.Environ(), inside+"=1")
	text, err := command.CombinedOutput()
	var failed *exec.ExitError
	require.ErrorAs(t, err, &failed, "%s", text)
	return string(text)
}

// misjudged names what is green and should be red, or the reverse.
func misjudged(output string) []string {
	verdicts := map[string]map[string]bool{} // of each row's subtests: red?
	for _, found := range regexp.MustCompile(`--- (PASS|FAIL): TestBad\w+/([^/\n]+)/(\w+) `).FindAllStringSubmatch(output, -1) {
		if verdicts[found[2]] == nil {
			verdicts[found[2]] = map[string]bool{}
		}
		verdicts[found[2]][found[3]] = found[1] == "FAIL"
	}
	var wrong []string
	for _, row := range badStores {
		found := verdicts[strings.ReplaceAll(row.name, " ", "_")]
		if len(found) != 16 {
			wrong = append(wrong, fmt.Sprintf("%s: %d subtests", row.name, len(found)))
		}
		for subtest, red := range found {
			chance := names(row.perhaps, subtest) && !names(row.red, subtest)
			if !chance && red != names(row.red, subtest) {
				wrong = append(wrong, fmt.Sprintf("%s: %s, red: %t", row.name, subtest, red))
			}
		}
	}
	for name, red := range map[string]bool{"hidden": true, "declared_and_not_hidden": true, "hidden_and_declared": false} {
		if verdict, found := verdicts[name]["RealOutage"]; !found || verdict != red {
			wrong = append(wrong, fmt.Sprintf("%s: red: %t", name, verdict))
		}
	}
	return wrong
}

func names(list, subtest string) bool { return slices.Contains(strings.Fields(list), subtest) }
