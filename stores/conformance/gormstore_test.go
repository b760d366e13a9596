package conformance_test

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sync"
	"testing"

	"github.com/glebarez/sqlite"
	"github.com/gorilla/sessions"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/wader/gormstore/v2"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/wechatgate/wechatgate/storetest"
)

// Its New sets the maximum age of the codecs that all requests share: a data race,
// without which it keeps the contract.
func TestGormstoreOneRequestAtATime(t *testing.T) {
	storetest.Run(t, func(t *testing.T) sessions.Store {
		t.Helper()
		return &oneAtATime{Store: gormstore.New(openDB(t), key())}
	})
}

// It takes a database that fails for a session that is not there.
func TestGormstoreHidesOutages(t *testing.T) {
	db := openDB(t)
	run := func(statement string) func(*testing.T) {
		return func(t *testing.T) { require.NoError(t, db.Exec(statement).Error) }
	}
	storetest.RunOutage(t, &oneAtATime{Store: gormstore.New(db, key())},
		run("ALTER TABLE sessions RENAME TO away"), run("ALTER TABLE away RENAME TO sessions"),
		storetest.Limits{HidesOutage: true})
}

// inside makes the test binary run the suite on gormstore as it is.
const inside = "CONFORMANCE_GORMSTORE"

func TestGormstoreInside(t *testing.T) {
	if os.Getenv(inside) == "" {
		t.Skip("TestGormstoreHasADataRace runs it")
	}
	storetest.Run(t, func(t *testing.T) sessions.Store {
		t.Helper()
		return gormstore.New(openDB(t), key())
	})
}

func TestGormstoreHasADataRace(t *testing.T) {
	if !raceDetector {
		t.Skip("needs -race")
	}
	binary, err := os.Executable()
	require.NoError(t, err)
	command := exec.CommandContext(t.Context(), binary, "-test.run=^TestGormstoreInside$", "-test.v")
	command.Env = append(os.Environ(), inside+"=1")
	output, err := command.CombinedOutput()
	var failed *exec.ExitError
	require.ErrorAs(t, err, &failed, "the data race is gone: docs/stores.md has to change\n%s", output)
	var red []string
	for _, found := range regexp.MustCompile(`--- FAIL: TestGormstoreInside/(\w+)`).FindAllSubmatch(output, -1) {
		red = append(red, string(found[1]))
	}
	assert.Equal(t, []string{"Race"}, red, "%s", output)
	assert.Contains(t, string(output), "WARNING: DATA RACE")
	assert.Contains(t, string(output), "gormstore/v2.(*Store).MaxAge()")
}

func openDB(t *testing.T) *gorm.DB {
	t.Helper()
	file := filepath.Join(t.TempDir(), "sessions.db")
	db, err := gorm.Open(sqlite.Open("file:"+file+"?_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)"),
		&gorm.Config{Logger: logger.Discard})
	require.NoError(t, err)
	pool, err := db.DB()
	require.NoError(t, err)
	t.Cleanup(func() { _ = pool.Close() })
	return db
}

// oneAtATime is the remedy in docs/stores.md for a Store that cannot serve many
// goroutines at once.
type oneAtATime struct {
	sessions.Store
	mu sync.Mutex
}

func (o *oneAtATime) New(r *http.Request, name string) (*sessions.Session, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.Store.New(r, name)
}

func (o *oneAtATime) Save(r *http.Request, w http.ResponseWriter, s *sessions.Session) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.Store.Save(r, w, s)
}
