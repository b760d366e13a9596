package conformance_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/boj/redistore"
	"github.com/gomodule/redigo/redis"
	"github.com/gorilla/sessions"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wechatgate/wechatgate"
	"github.com/wechatgate/wechatgate/internal/redistest"
	"github.com/wechatgate/wechatgate/storetest"
	"github.com/wechatgate/wechatgate/wechat"
	"github.com/wechatgate/wechatgate/wechattest"
)

// newRediStore is the recipe in docs/stores.md, where limit is two seconds. Its
// error is that of a first PING: the Store works as soon as Redis is there.
func newRediStore(address string, limit time.Duration, keys ...[]byte) (*redistore.RediStore, error) {
	store, err := redistore.NewRediStoreWithPool(&redis.Pool{
		MaxIdle:     64,
		IdleTimeout: 4 * time.Minute,
		Dial: func() (redis.Conn, error) {
			return redis.Dial("tcp", address,
				redis.DialConnectTimeout(limit), redis.DialReadTimeout(limit), redis.DialWriteTimeout(limit))
		},
		TestOnBorrow: func(c redis.Conn, lastUsed time.Time) error {
			if time.Since(lastUsed) < time.Second {
				return nil
			}
			_, err := c.Do("PING")
			return err
		},
	}, keys...)
	store.SetKeyPrefix("wechatgate:")
	return store, err
}

func key() []byte { return []byte("0123456789abcdef0123456789abcdef") }

// patience is for whatever Redis does while all is well. It is long because machines
// are slow, and costs nothing where they are not.
const patience = time.Minute

func TestRediStore(t *testing.T) {
	server := startRedis(t)
	storetest.Run(t, func(t *testing.T) sessions.Store {
		t.Helper()
		return server.store(t)
	})
}

func TestRediStoreWithJSON(t *testing.T) {
	server := startRedis(t)
	storetest.Run(t, func(t *testing.T) sessions.Store {
		t.Helper()
		store := server.store(t)
		store.SetSerializer(redistore.JSONSerializer{})
		return store
	})
}

func TestRediStoreWhileRedisIsKilled(t *testing.T) {
	server := startRedis(t)
	storetest.RunOutage(t, server.store(t), server.Kill, server.Restart, storetest.Limits{})
}

func TestRediStoreWhileRedisHangs(t *testing.T) {
	server := startRedis(t)
	storetest.RunOutage(t, server.storeThatWaits(t, time.Second), server.Signal(syscall.SIGSTOP), server.Signal(syscall.SIGCONT), storetest.Limits{})
}

// Two gates with a Store each share nothing but their options and one Redis.
func TestTwoGatesWithOneRedis(t *testing.T) {
	server := startRedis(t)
	fake := wechattest.NewServer()
	t.Cleanup(fake.Close)
	var (
		gates     [2]atomic.Pointer[http.Handler]
		turn, let atomic.Int64
	)
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		(*gates[turn.Add(1)%2].Load()).ServeHTTP(w, r) // in turn
	}))
	t.Cleanup(site.Close)
	options := fake.Options(site.URL)
	restart := func(i int) {
		options := options
		options.Store = server.store(t)
		gate, err := wechatgate.New(options)
		require.NoError(t, err)
		handler := gate.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			let.Add(1)
			user, _ := wechatgate.UserFromContext(r.Context())
			_, _ = w.Write([]byte(user.OpenID))
		}))
		gates[i].Store(&handler)
	}
	restart(0)
	restart(1)

	people := make([]visitor, 6)
	for i := range people {
		person := wechattest.Person{Name: "visitor " + strconv.Itoa(i)}
		people[i] = visitor{t, fake.BrowserAs(wechatgate.BrowserWeChat, person), site.URL}
		status, body := people[i].do(http.MethodGet, "/", nil)
		require.Equal(t, http.StatusOK, status)
		require.Equal(t, wechattest.OpenID(fake.OfficialAccount.ID, person), body)
	}
	everybodyGets := func(want int, when string) {
		t.Helper()
		for _, v := range people {
			for range 2 { // one from each gate
				status, _ := v.fetch()
				assert.Equal(t, want, status, when)
			}
		}
	}
	everybodyGets(http.StatusOK, "on both gates")

	restart(1)
	everybodyGets(http.StatusOK, "after one gate was restarted")

	leaver := people[0]
	address, err := url.Parse(site.URL)
	require.NoError(t, err)
	kept := leaver.client.Jar.Cookies(address)
	leaver.do(http.MethodPost, "/wechat/logout", nil)
	for range 2 {
		leaver.client.Jar.SetCookies(address, kept)
		status, _ := leaver.fetch()
		assert.Equal(t, http.StatusUnauthorized, status, "after signing out at the other gate")
	}
	people = people[1:]

	server.Kill(t)
	before := let.Load()
	everybodyGets(http.StatusServiceUnavailable, "while Redis is away")
	restart(1)
	everybodyGets(http.StatusServiceUnavailable, "at a gate that was restarted while Redis is away")
	assert.Equal(t, before, let.Load(), "somebody was let in")

	server.Restart(t)
	everybodyGets(http.StatusOK, "when Redis is back")
	assert.Empty(t, fake.Calls(wechat.OpExchange)[6:], "nobody had to sign in again")
}

type visitor struct {
	t      *testing.T
	client *http.Client
	url    string
}

// fetch asks for a page as a script does, which is never sent to sign in.
func (v visitor) fetch() (status int, body string) {
	v.t.Helper()
	return v.do(http.MethodGet, "/", http.Header{"Accept": {"application/json"}})
}

func (v visitor) do(method, path string, header http.Header) (status int, body string) {
	v.t.Helper()
	r, err := http.NewRequestWithContext(v.t.Context(), method, v.url+path, nil)
	require.NoError(v.t, err)
	if header != nil {
		r.Header = header
	}
	response, err := v.client.Do(r)
	require.NoError(v.t, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	require.NoError(v.t, err)
	return response.StatusCode, string(text)
}

// redisServer is a Redis of the test's own.
type redisServer struct{ *redistest.Server }

func startRedis(t *testing.T) redisServer {
	t.Helper()
	return redisServer{redistest.Start(t)}
}

// store returns a new Store, as another machine has.
func (s redisServer) store(t *testing.T) *redistore.RediStore {
	t.Helper()
	return s.storeThatWaits(t, patience)
}

// storeThatWaits is store with another time limit, for a Redis that hangs.
func (s redisServer) storeThatWaits(t *testing.T, limit time.Duration) *redistore.RediStore {
	t.Helper()
	store, _ := newRediStore(s.Address, limit, key())
	t.Cleanup(func() { _ = store.Close() })
	return store
}
