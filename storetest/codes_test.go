package storetest_test

import (
	"context"
	"errors"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/wechatgate/wechatgate"
	"github.com/wechatgate/wechatgate/storetest"
)

func TestGoodCodes(t *testing.T) {
	t.Parallel()
	storetest.RunCodes(t, newCodes(codeVices{}))
}

// codeMemory is a CodeStore that keeps the contract, but for its vices.
type codeMemory struct {
	codeVices

	mu   sync.Mutex
	kept map[string]keptCode
}

type keptCode struct {
	value []byte
	until time.Time
}

// codeVices are mistakes that CodeStores make.
type codeVices struct {
	replaces       bool // a value that is there
	saysAdded      bool // always
	forgets        bool
	neverRemoves   bool
	checksFirst    bool // whether there is a value, and adds later
	readsFirst     bool // the value, and removes it later
	keepsForever   bool
	countsMillis   bool // of ttl as if they were microseconds
	keepsAlive     bool // what a refused Add found
	findsExpired   bool // in Take
	nilForEmpty    bool
	emptyForAbsent bool
	failsForAbsent bool
	textOnly       bool
	cutsValues     bool
	cutsKeys       bool
	foldsCase      bool
	trimsKeys      bool
	keepsBuffer    bool // that is the caller's
	ignoresContext bool
}

func newCodes(v codeVices) func(*testing.T) wechatgate.CodeStore {
	return func(*testing.T) wechatgate.CodeStore { return &codeMemory{codeVices: v, kept: map[string]keptCode{}} }
}

func (m *codeMemory) Add(ctx context.Context, key string, value []byte, ttl time.Duration) (bool, error) {
	if err := ctx.Err(); err != nil && !m.ignoresContext {
		return false, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.countsMillis {
		ttl /= 1000
	}
	key, value = m.distort(key, value)
	found, ok := m.kept[key]
	if ok && (m.keepsForever || time.Now().Before(found.until)) && !m.replaces {
		if m.keepsAlive {
			found.until = time.Now().Add(ttl)
			m.kept[key] = found
		}
		return m.saysAdded, nil
	}
	if m.checksFirst {
		m.unlocked(aMoment)
	}
	if !m.forgets {
		m.kept[key] = keptCode{value, time.Now().Add(ttl)}
	}
	return true, nil
}

func (m *codeMemory) Take(ctx context.Context, key string) ([]byte, error) {
	if err := ctx.Err(); err != nil && !m.ignoresContext {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	key, _ = m.distort(key, nil)
	found, ok := m.kept[key]
	if m.readsFirst {
		m.unlocked(aMoment)
	}
	if !m.neverRemoves {
		delete(m.kept, key)
	}
	switch {
	case ok && (m.keepsForever || m.findsExpired || time.Now().Before(found.until)):
		if len(found.value) == 0 && m.nilForEmpty {
			return nil, nil
		}
		return found.value, nil
	case m.emptyForAbsent:
		return []byte{}, nil
	case m.failsForAbsent:
		return nil, errors.New("codeMemory: there is no such value")
	}
	return nil, nil
}

func (m *codeMemory) unlocked(f func()) {
	m.mu.Unlock()
	defer m.mu.Lock()
	f()
}

func (m *codeMemory) distort(key string, value []byte) (string, []byte) {
	if !m.keepsBuffer {
		value = append([]byte{}, value...)
	}
	if m.textOnly {
		value = []byte(strings.ToValidUTF8(string(value), "?"))
	}
	if m.cutsValues && len(value) > 1024 {
		value = value[:1024]
	}
	if m.cutsKeys && len(key) > 191 {
		key = key[:191]
	}
	if m.foldsCase {
		key = strings.ToLower(key)
	}
	if m.trimsKeys {
		key = strings.TrimSpace(key)
	}
	return key, value
}

// badCodes are what RunCodes has to find, and the subtests that find it.
var badCodes = []struct {
	name  string
	vices codeVices
	red   string // all others are green
}{
	{"replaces", codeVices{replaces: true}, "Add Expiry AddRace"},
	{"says that it added", codeVices{saysAdded: true}, "Add Expiry AddRace"},
	{"forgets", codeVices{forgets: true}, "Add Take Values Keys Expiry Context AddRace TakeRace"},
	{"never removes", codeVices{neverRemoves: true}, "Take TakeRace"},
	{"checks first and adds later", codeVices{checksFirst: true}, "AddRace"},
	{"reads first and removes later", codeVices{readsFirst: true}, "TakeRace"},
	{"keeps forever", codeVices{keepsForever: true}, "Expiry"},
	{"takes milliseconds for microseconds", codeVices{countsMillis: true}, "Expiry"},
	{"keeps alive what a refused Add found", codeVices{keepsAlive: true}, "Expiry"},
	{"finds what has expired", codeVices{findsExpired: true}, "Expiry"},
	{"returns nil for an empty value", codeVices{nilForEmpty: true}, "Values"},
	{"returns an empty value for none", codeVices{emptyForAbsent: true}, "Take Expiry TakeRace"},
	{"returns an error for none", codeVices{failsForAbsent: true}, "Take Expiry TakeRace"},
	{"keeps text only", codeVices{textOnly: true}, "Values"},
	{"cuts values", codeVices{cutsValues: true}, "Values"},
	{"cuts keys", codeVices{cutsKeys: true}, "Keys"},
	{"folds case", codeVices{foldsCase: true}, "Keys"},
	{"trims keys", codeVices{trimsKeys: true}, "Keys"},
	{"keeps the caller's buffer", codeVices{keepsBuffer: true}, "Values"},
	{"ignores its context", codeVices{ignoresContext: true}, "Context"},
}

func TestBadCodes(t *testing.T) {
	if os.Getenv(inside) == "" {
		t.Skip("TestBadCodesAreFound runs it")
	}
	for _, row := range badCodes {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			storetest.RunCodes(t, newCodes(row.vices))
		})
	}
}

func TestBadCodesAreFound(t *testing.T) {
	t.Parallel()
	output := runInside(t, "^TestBadCodes$")
	verdicts := map[string][]string{} // of each row: the subtests that ran
	red := map[string][]string{}
	for _, found := range regexp.MustCompile(`--- (PASS|FAIL): TestBadCodes/([^/\n]+)/(\w+) `).FindAllStringSubmatch(output, -1) {
		verdicts[found[2]] = append(verdicts[found[2]], found[3])
		if found[1] == "FAIL" {
			red[found[2]] = append(red[found[2]], found[3])
		}
	}
	for _, row := range badCodes {
		name := strings.ReplaceAll(row.name, " ", "_")
		assert.Len(t, verdicts[name], 8, row.name)
		assert.ElementsMatch(t, strings.Fields(row.red), red[name], "%s:\n%s", row.name, output)
	}
}
