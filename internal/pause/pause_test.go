package pause_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/wechatgate/wechatgate/internal/pause"
)

func TestPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s pause.Set
		assert.Zero(t, s.Left("a"), "none has begun")
		s.Begin("a", 30*time.Second)
		assert.Equal(t, 30*time.Second, s.Left("a"))
		assert.Zero(t, s.Left("b"), "another's")
		time.Sleep(10 * time.Second)
		assert.Equal(t, 20*time.Second, s.Left("a"))
		s.Begin("a", 5*time.Second)
		assert.Equal(t, 5*time.Second, s.Left("a"), "the newest counts")
		time.Sleep(6 * time.Second)
		assert.Zero(t, s.Left("a"), "it is over")
	})
}
