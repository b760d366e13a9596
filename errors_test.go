package wechatgate

import (
	"errors"
	"fmt"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestReasons holds names and statuses still: sites count them and choose pages
// by them.
func TestReasons(t *testing.T) {
	for _, row := range []struct {
		reason Reason
		name   string
		status int
	}{
		{ReasonState, "state", http.StatusForbidden},
		{ReasonDenied, "denied", http.StatusForbidden},
		{ReasonSnapshot, "snapshot", http.StatusForbidden},
		{ReasonRefused, "refused", http.StatusForbidden},
		{ReasonUnsupported, "unsupported", http.StatusForbidden},
		{ReasonWeChat, "wechat", http.StatusBadGateway},
		{ReasonConfig, "config", http.StatusInternalServerError},
		{ReasonBusy, "busy", http.StatusServiceUnavailable},
		{ReasonSession, "session", http.StatusServiceUnavailable},
		{"something new", "something new", http.StatusInternalServerError},
	} {
		cause := errors.New("the cause")
		err := newError(row.reason, cause)
		assert.Equal(t, row.name, string(err.Reason))
		assert.Equal(t, row.status, err.Status, row.name)
		assert.EqualError(t, err, "wechatgate: "+row.name+": the cause")
		require.ErrorIs(t, err, cause)
	}
}

func TestErrorIsFoundInWhatWrapsIt(t *testing.T) {
	wrapped := fmt.Errorf("site: %w", newError(ReasonBusy, errNoAttempt))
	var err *Error
	require.ErrorAs(t, wrapped, &err)
	assert.Equal(t, ReasonBusy, err.Reason)
	assert.ErrorIs(t, wrapped, errNoAttempt)
	assert.EqualError(t, &Error{Reason: ReasonDenied}, "wechatgate: denied")
}
