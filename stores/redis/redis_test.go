package redisstore_test

import (
	"context"
	"errors"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/gorilla/sessions"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wechatgate/wechatgate"
	"github.com/wechatgate/wechatgate/internal/redistest"
	redisstore "github.com/wechatgate/wechatgate/stores/redis"
	"github.com/wechatgate/wechatgate/storetest"
)

// patience is for whatever Redis does while all is well. It is long because machines
// are slow, and costs nothing where they are not.
const patience = time.Minute

func TestSessions(t *testing.T) {
	server := startRedis(t)
	storetest.Run(t, func(t *testing.T) sessions.Store {
		t.Helper()
		return redisstore.Sessions(server.client(t), "shop:session:")
	})
}

func TestSessionsWhileRedisIsKilled(t *testing.T) {
	server := startRedis(t)
	storetest.RunOutage(t, redisstore.Sessions(server.client(t), "shop:session:"), server.Kill, server.Restart, storetest.Limits{})
}

func TestSessionsWhileRedisHangs(t *testing.T) {
	server := startRedis(t)
	storetest.RunOutage(t, redisstore.Sessions(server.clientThatWaits(t, time.Second), "shop:session:"), server.Signal(syscall.SIGSTOP), server.Signal(syscall.SIGCONT), storetest.Limits{})
}

func TestCodes(t *testing.T) {
	server := startRedis(t)
	storetest.RunCodes(t, func(t *testing.T) wechatgate.CodeStore {
		t.Helper()
		return redisstore.Codes(server.client(t))
	})
}

func TestCodesWhileRedisIsAway(t *testing.T) {
	for name, away := range map[string]func(redisServer) (stop, start func(*testing.T)){
		"killed": func(s redisServer) (stop, start func(*testing.T)) { return s.Kill, s.Restart },
		"hung": func(s redisServer) (stop, start func(*testing.T)) {
			return s.Signal(syscall.SIGSTOP), s.Signal(syscall.SIGCONT)
		},
	} {
		t.Run(name, func(t *testing.T) {
			server := startRedis(t)
			stop, start := away(server)
			store := redisstore.Codes(server.client(t))
			ctx := t.Context()
			added, err := store.Add(ctx, "kept", []byte("value"), time.Minute)
			require.NoError(t, err)
			require.True(t, added)

			stop(t)
			impatient := redisstore.Codes(server.clientThatWaits(t, 100*time.Millisecond))
			before := time.Now()
			added, err = impatient.Add(ctx, "ours", []byte("secret"), time.Minute)
			assert.Error(t, err)
			assert.False(t, added)
			assert.NotContains(t, err.Error(), "secret")
			assert.NotContains(t, err.Error(), "ours")
			value, err := impatient.Take(ctx, "taken")
			assert.Error(t, err, "an outage is not an absent value")
			assert.Nil(t, value)
			assert.Less(t, time.Since(before), patience/2, "the client's own time limit holds")
			limited, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
			defer cancel()
			before = time.Now()
			_, err = store.Take(limited, "taken")
			assert.Error(t, err)
			assert.Less(t, time.Since(before), patience/2, "and a shorter one of the context's")

			start(t)
			require.EventuallyWithT(t, func(c *assert.CollectT) {
				added, err := store.Add(ctx, "kept", []byte("other"), time.Minute)
				assert.NoError(c, err)
				assert.False(c, added)
			}, patience, 50*time.Millisecond)
			value, err = store.Take(ctx, "kept")
			require.NoError(t, err)
			assert.Equal(t, "value", string(value), "what was kept is still there")
		})
	}
}

// A connection that breaks after Redis has heard the command and before its
// answer arrives: nobody knows who was first, so nobody is told.
func TestCodesAreNotRepeated(t *testing.T) {
	for name, newClient := range map[string]func(address string) redis.UniversalClient{
		"one Redis": func(address string) redis.UniversalClient {
			return redis.NewClient(&redis.Options{Addr: address, MaxRetries: 3, Protocol: 2, DisableIdentity: true})
		},
		"a cluster": func(address string) redis.UniversalClient {
			return redis.NewClusterClient(&redis.ClusterOptions{
				ClusterSlots: func(context.Context) ([]redis.ClusterSlot, error) {
					return []redis.ClusterSlot{{End: 16383, Nodes: []redis.ClusterNode{{Addr: address}}}}, nil
				},
				MaxRetries: 3, Protocol: 2, DisableIdentity: true,
			})
		},
		"a ring": func(address string) redis.UniversalClient {
			return redis.NewRing(&redis.RingOptions{
				Addrs:              map[string]string{"a": address},
				HeartbeatFrequency: time.Hour, // whose answer could be the lost one
				MaxRetries:         3, Protocol: 2, DisableIdentity: true,
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			server := startRedis(t)
			proxy := server.losing(t)
			client := newClient(proxy.address)
			t.Cleanup(func() { _ = client.Close() })
			store := redisstore.Codes(client)
			_, err := store.Take(t.Context(), "no such") // connects
			require.NoError(t, err)
			direct := server.client(t)

			proxy.lose.Store(true)
			added, err := store.Add(t.Context(), "k", []byte("v"), time.Minute)
			assert.Error(t, err)
			assert.False(t, added)
			require.EventuallyWithT(t, func(c *assert.CollectT) {
				assert.EqualValues(c, 1, direct.Exists(context.Background(), "wechatgate:code:k").Val(), "Redis heard it")
			}, patience, 10*time.Millisecond)
			proxy.lose.Store(true)
			_, err = store.Take(t.Context(), "k")
			assert.Error(t, err, "and not nil, which says that there is no such code")
		})
	}
}

// The same with a new session: the ID is nobody else's, so the client's repeat
// saves it.
func TestASessionWhoseAnswerWasLost(t *testing.T) {
	server := startRedis(t)
	proxy := server.losing(t)
	client := redis.NewClient(&redis.Options{Addr: proxy.address, MaxRetries: 3, Protocol: 2, DisableIdentity: true})
	t.Cleanup(func() { _ = client.Close() })
	require.NoError(t, client.Ping(t.Context()).Err())

	proxy.lose.Store(true)
	id := save(t, redisstore.Sessions(client, "shop:session:"), map[any]any{"wechatgate": "x"})
	assert.False(t, proxy.lose.Load(), "an answer was lost")
	got, err := redisstore.Sessions(client, "shop:session:").New(request(id), "wechatgate")
	require.NoError(t, err)
	assert.Equal(t, map[any]any{"wechatgate": "x"}, got.Values)
}

// Each command has one key, so that a cluster takes it.
func TestInACluster(t *testing.T) {
	server := startRedis(t, "--cluster-enabled", "yes")
	direct := server.client(t)
	require.NoError(t, direct.ClusterAddSlotsRange(t.Context(), 0, 16383).Err())
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		assert.Contains(c, direct.ClusterInfo(context.Background()).Val(), "cluster_state:ok")
	}, patience, 20*time.Millisecond)
	client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{server.Address}, ContextTimeoutEnabled: true})
	t.Cleanup(func() { _ = client.Close() })
	t.Run("Codes", func(t *testing.T) {
		storetest.RunCodes(t, func(*testing.T) wechatgate.CodeStore { return redisstore.Codes(client) })
	})
	t.Run("Sessions", func(t *testing.T) {
		storetest.Run(t, func(*testing.T) sessions.Store { return redisstore.Sessions(client, "shop:session:") })
	})
}

func TestErrorsHoldNoKeyAndNoValue(t *testing.T) {
	// Redis quotes what it was sent where it does not know the command, as
	// before 6.2, and the client a reply that it cannot read.
	withoutCommands := startRedis(t, "--appendonly", "no",
		"--rename-command", "SET", "", "--rename-command", "GETDEL", "", "--rename-command", "GET", "", "--rename-command", "DEL", "")
	for name, address := range map[string]string{"a Redis without the commands": withoutCommands.Address, "a server that is no Redis": startEcho(t)} {
		t.Run(name, func(t *testing.T) {
			client := redis.NewClient(&redis.Options{Addr: address, MaxRetries: -1, Protocol: 2, DisableIdentity: true})
			t.Cleanup(func() { _ = client.Close() })
			ctx, r, id := t.Context(), request(strings.Repeat("A", 43)), strings.Repeat("A", 43)
			store := redisstore.Sessions(client, "secret:")
			began := sessions.NewSession(store, "wechatgate")
			began.Values, began.Options = map[any]any{"wechatgate": "secret"}, &sessions.Options{MaxAge: 60}
			ended := sessions.NewSession(store, "wechatgate")
			ended.ID, ended.Options = id, &sessions.Options{MaxAge: -1}
			_, add := redisstore.Codes(client).Add(ctx, "secret", []byte("secret"), time.Minute)
			_, take := redisstore.Codes(client).Take(ctx, "secret")
			_, open := store.New(r, "wechatgate")
			for call, err := range map[string]error{
				"Add": add, "Take": take, "New": open,
				"Save":   store.Save(r, httptest.NewRecorder(), began),
				"delete": store.Save(r, httptest.NewRecorder(), ended),
			} {
				require.ErrorContains(t, err, "redisstore: ", call)
				for ; err != nil; err = errors.Unwrap(err) {
					assert.NotContains(t, err.Error(), "secret", call)
				}
			}
		})
	}
}

func TestCodesAreNeverKeptForEver(t *testing.T) {
	server := startRedis(t)
	client := server.client(t)
	for _, ttl := range []time.Duration{0, -1, -time.Hour, time.Microsecond} {
		_, err := redisstore.Codes(client).Add(t.Context(), "k", nil, ttl)
		assert.Error(t, err, "%v", ttl)
	}
	assert.Empty(t, client.Keys(t.Context(), "*").Val())
}

func TestWhatRedisHolds(t *testing.T) {
	server := startRedis(t)
	client := server.client(t)
	store := redisstore.Sessions(client, "shop:session:")
	values := map[any]any{"wechatgate": "payload <>& 𠮷", "mark": "second"}
	id := save(t, store, values)
	keys := client.Keys(t.Context(), "*").Val()
	require.Len(t, keys, 1)
	assert.True(t, strings.HasPrefix(keys[0], "shop:session:"))
	assert.NotContains(t, keys[0], id, "who reads Redis has no cookie")
	assert.JSONEq(t, `{"wechatgate":"payload <>& 𠮷","mark":"second"}`, client.Get(t.Context(), keys[0]).Val())
	assert.InDelta(t, time.Hour, client.TTL(t.Context(), keys[0]).Val(), float64(patience))
	assert.Len(t, id, 43)

	got, err := store.New(request(id), "wechatgate")
	require.NoError(t, err)
	assert.Equal(t, values, got.Values)

	// Another site's, of the same Redis.
	other, err := redisstore.Sessions(client, "blog:session:").New(request(id), "wechatgate")
	require.NoError(t, err)
	assert.True(t, other.IsNew)

	for _, broken := range []string{"", "null", "[]", `"x"`, `{"wechatgate":1}`, `{"wechatgate":"x"`, "\xff"} {
		require.NoError(t, client.Set(t.Context(), keys[0], broken, time.Hour).Err())
		_, err = store.New(request(id), "wechatgate")
		assert.Error(t, err, "%q", broken)
	}
	require.NoError(t, client.Del(t.Context(), keys[0]).Err())
	require.NoError(t, client.HSet(t.Context(), keys[0], "a", "b").Err())
	_, err = store.New(request(id), "wechatgate")
	assert.Error(t, err, "a key of another type")
}

func TestRefusedSessions(t *testing.T) {
	server := startRedis(t)
	client := server.client(t)
	store := redisstore.Sessions(client, "shop:session:")
	for _, row := range []struct {
		name    string
		values  map[any]any
		options *sessions.Options
	}{
		{"a number", map[any]any{"wechatgate": 1}, &sessions.Options{MaxAge: 60}},
		{"bytes", map[any]any{"wechatgate": []byte("x")}, &sessions.Options{MaxAge: 60}},
		{"a key that is a number", map[any]any{1: "x"}, &sessions.Options{MaxAge: 60}},
		{"invalid UTF-8", map[any]any{"wechatgate": "\xff"}, &sessions.Options{MaxAge: 60}},
		{"a key in invalid UTF-8", map[any]any{"\xff": "x"}, &sessions.Options{MaxAge: 60}},
		{"a MaxAge that no time.Duration holds", map[any]any{"wechatgate": "x"}, &sessions.Options{MaxAge: math.MaxInt}},
		{"MaxAge 0", map[any]any{"wechatgate": "x"}, &sessions.Options{}},
		{"no Options", map[any]any{"wechatgate": "x"}, nil},
	} {
		session, err := store.New(request(""), "wechatgate")
		require.NoError(t, err)
		session.Values, session.Options = row.values, row.options
		w := httptest.NewRecorder()
		assert.Error(t, store.Save(request(""), w, session), row.name)
		assert.Empty(t, w.Header(), row.name)
	}
	assert.Empty(t, client.Keys(t.Context(), "*").Val())
}

func TestDeletedSessionsStayDeleted(t *testing.T) {
	server := startRedis(t)
	store := redisstore.Sessions(server.client(t), "shop:session:")
	id := save(t, store, map[any]any{"wechatgate": "x"})
	late, err := store.New(request(id), "wechatgate")
	require.NoError(t, err)
	gone, err := store.New(request(id), "wechatgate")
	require.NoError(t, err)
	gone.Options.MaxAge = -1
	require.NoError(t, store.Save(request(id), httptest.NewRecorder(), gone))
	assert.Error(t, store.Save(request(id), httptest.NewRecorder(), late))
	again, err := store.New(request(id), "wechatgate")
	require.NoError(t, err)
	assert.True(t, again.IsNew)
}

// Redis hears of nothing that no Save has written.
func TestCookiesThatAreNoIDs(t *testing.T) {
	store := redisstore.Sessions(redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", MaxRetries: -1}), "")
	for _, value := range []string{"x", strings.Repeat("A", 42), strings.Repeat("A", 44), strings.Repeat("A", 42) + "B", strings.Repeat("/", 43), strings.Repeat("A", 4000)} {
		session, err := store.New(request(value), "wechatgate")
		require.NoError(t, err, value)
		assert.True(t, session.IsNew)
	}
	_, err := store.New(request(strings.Repeat("A", 43)), "wechatgate")
	assert.Error(t, err, "the control")
}

func request(id string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	if id != "" {
		r.AddCookie(&http.Cookie{Name: "wechatgate", Value: id})
	}
	return r
}

func save(t *testing.T, store sessions.Store, values map[any]any) (id string) {
	t.Helper()
	session, err := store.New(request(""), "wechatgate")
	require.NoError(t, err)
	session.Values = values
	session.Options.MaxAge = 3600
	w := httptest.NewRecorder()
	require.NoError(t, store.Save(request(""), w, session))
	cookies := w.Result().Cookies()
	require.Len(t, cookies, 1)
	return cookies[0].Value
}

// redisServer is a Redis of the test's own.
type redisServer struct{ *redistest.Server }

func startRedis(t *testing.T, settings ...string) redisServer {
	t.Helper()
	return redisServer{redistest.Start(t, settings...)}
}

// client returns a new one, as another machine has.
func (s redisServer) client(t *testing.T) *redis.Client {
	t.Helper()
	return s.clientThatWaits(t, patience)
}

// clientThatWaits is client with another time limit, for a Redis that hangs.
func (s redisServer) clientThatWaits(t *testing.T, limit time.Duration) *redis.Client {
	t.Helper()
	client := redis.NewClient(&redis.Options{
		Addr:                  s.Address,
		DialTimeout:           limit,
		ReadTimeout:           limit,
		WriteTimeout:          limit,
		MaxRetries:            -1,
		ContextTimeoutEnabled: true,
	})
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// losingProxy stands before Redis.
type losingProxy struct {
	address string
	lose    atomic.Bool // the next answer, and its connection
}

func (s redisServer) losing(t *testing.T) *losingProxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	p := &losingProxy{address: listener.Addr().String()}
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			go p.serve(client, s.Address)
		}
	}()
	return p
}

func (p *losingProxy) serve(client net.Conn, address string) {
	defer client.Close()
	server, err := net.Dial("tcp", address)
	if err != nil {
		return
	}
	defer server.Close()
	go func() {
		defer server.Close()
		buffer := make([]byte, 4096)
		for {
			n, err := client.Read(buffer)
			if err != nil {
				return
			}
			if _, err := server.Write(buffer[:n]); err != nil {
				return
			}
		}
	}()
	buffer := make([]byte, 4096)
	for {
		n, err := server.Read(buffer)
		if err != nil || p.lose.CompareAndSwap(true, false) {
			return
		}
		if _, err := client.Write(buffer[:n]); err != nil {
			return
		}
	}
}

// startEcho starts a server that sends back what it hears, behind a word.
func startEcho(t *testing.T) (address string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			go echo(connection)
		}
	}()
	return listener.Addr().String()
}

func echo(connection net.Conn) {
	defer connection.Close()
	buffer := make([]byte, 4096)
	for {
		n, err := connection.Read(buffer)
		if err != nil {
			return
		}
		answer := "HTTP/1.1 400 " + strings.ReplaceAll(string(buffer[:n]), "\r\n", " ")
		if strings.Contains(answer, "hello") {
			answer = "-ERR unknown command" // as an old Redis says
		}
		_, _ = io.WriteString(connection, answer+"\r\n")
	}
}
