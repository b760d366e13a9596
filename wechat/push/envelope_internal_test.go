package push

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The reply in WeChat's document on message encryption, whose random bytes are
// given.
func TestReplyVector(t *testing.T) {
	key, err := parseKey("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")
	require.NoError(t, err)
	const appID, want = "wxba5fad812f8e6fb9", "ELGduP2YcVatjqIS+eZbp80MNLoAUWvzzyJxgGzxZO/5sAvd070Bs6qrLARC9nVHm48Y4hyRbtzve1L32tmxSQ=="
	encrypted, err := key.seal([randomLength]byte([]byte("707722b803182950")), `{"demo_resp":"good luck"}`, appID)
	require.NoError(t, err)
	assert.Equal(t, want, encrypted)
	assert.Equal(t, "1b9339964ed2e271e7c7b6ff2b0ef902fc94dea1", sign("AAAAA", "1713424427", "415670741", encrypted))

	message, err := key.open(want, appID)
	require.NoError(t, err)
	assert.JSONEq(t, `{"demo_resp":"good luck"}`, string(message))
}
