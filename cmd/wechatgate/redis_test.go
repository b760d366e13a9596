package main

import (
	"net/http"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wechatgate/wechatgate/wechattest"
)

// With Redis a session can be ended from the server's side, and all machines know
// it.
func TestSessionsInRedis(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "redis")
	command := exec.Command(find(t, "redis-server"), "--port", "0", "--unixsocket", socket, "--save", "", "--appendonly", "no")
	require.NoError(t, command.Start())
	t.Cleanup(func() {
		_ = command.Process.Kill()
		_ = command.Wait()
	})
	client := redis.NewClient(&redis.Options{Network: "unix", Addr: socket, MaxRetries: -1})
	t.Cleanup(func() { _ = client.Close() })
	require.Eventually(t, func() bool { return client.Ping(t.Context()).Err() == nil }, patience, 20*time.Millisecond)

	f := &front{fake: wechattest.NewServer(), site: newUpstream(t)}
	t.Cleanup(f.fake.Close)
	port := freePort(t)
	f.url = "http://localhost:" + port
	f.fake.Register("localhost:" + port)
	f.gate = run(t, append(environFor(f.fake), "WECHATGATE_REDIS_URL=unix://"+socket), "--listen", "127.0.0.1:"+port, "--base-url", f.url,
		"--website-id", f.fake.Website.ID, "--official-account-id", f.fake.OfficialAccount.ID, "--upstream", f.site.URL)
	v := f.signedIn(t)
	assert.Equal(t, http.StatusOK, v.get("/api", "Accept", "application/json").status)
	keys, err := client.Keys(t.Context(), "wechatgate:session:*").Result()
	require.NoError(t, err)
	require.Len(t, keys, 1)
	require.NoError(t, client.Del(t.Context(), keys...).Err())
	assert.Equal(t, http.StatusUnauthorized, v.get("/api", "Accept", "application/json").status)

	v = f.signedIn(t)
	require.NoError(t, command.Process.Kill())
	_, _ = command.Process.Wait()
	assert.Equal(t, http.StatusServiceUnavailable, v.get("/api", "Accept", "application/json").status, "without Redis the gate stays closed")
}
