package storetest_test

import (
	"testing"

	"github.com/gorilla/sessions"

	"github.com/wechatgate/wechatgate/storetest"
)

// In a test of your own, with the Store that your site uses.
func ExampleRun() {
	_ = func(t *testing.T) { // func TestMyStore(t *testing.T)
		storetest.Run(t, func(t *testing.T) sessions.Store {
			t.Helper()
			return sessions.NewFilesystemStore(t.TempDir(), []byte("0123456789abcdef0123456789abcdef"))
		})
	}
}

// A limit that is known and accepted. The suite makes sure that it is really
// there.
func ExampleRunWith() {
	_ = func(t *testing.T) { // func TestMyStore(t *testing.T)
		storetest.RunWith(t, func(*testing.T) sessions.Store {
			return sessions.NewCookieStore([]byte("0123456789abcdef0123456789abcdef"))
		}, storetest.Limits{ReplayAfterSignOut: true})
	}
}
