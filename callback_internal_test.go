package wechatgate

import (
	"net/url"
	"testing"

	"github.com/stretchr/testify/assert"
)

// Whatever comes back, nothing but one state of ours and one plain code gets on
// to the attempt.
func FuzzCallbackQuery(f *testing.F) {
	f.Add("code=C&state=0123456789abcdef0123456789abcdef")
	f.Fuzz(func(t *testing.T, rawQuery string) {
		q, err := parseCallback(rawQuery)
		if err != nil {
			assert.Empty(t, q)
			return
		}
		values, err := url.ParseQuery(rawQuery)
		assert.NoError(t, err)
		assert.Regexp(t, `^[0-9a-f]{32}$`, q.state)
		assert.Equal(t, []string{q.state}, values["state"])
		if q.denied {
			assert.Contains(t, []string{"", "authdeny"}, q.code)
			return
		}
		assert.Regexp(t, `^[!-~]{1,512}$`, q.code)
		assert.Equal(t, []string{q.code}, values["code"])
		again, err := parseCallback(q.retryQuery())
		assert.NoError(t, err, "the reload reads the same")
		q.again = true
		assert.Equal(t, q, again)
	})
}
