package wechat_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wechatgate/wechatgate/wechat"
)

// idForm is what an openid may look like, said in another way than the code says
// it.
var idForm = regexp.MustCompile(`\A[A-Za-z0-9_-]{1,64}\z`)

// Whatever WeChat answers, there is a person whose openid cannot be mistaken, or
// there is an error without a secret in it.
func FuzzTokenAnswer(f *testing.F) {
	f.Add([]byte(goodToken))
	f.Add([]byte(`{"errcode":40029,"errmsg":"invalid code ` + testCode + `, rid: 65a1b2c3-0d4e5f60-718293a4"}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		token, err := wechat.Client{HTTP: heard(string(body))}.Exchange(t.Context(), testApp, testCode)
		if err != nil {
			assert.Zero(t, token)
			assertTellsNone(t, err, testApp.Secret, testCode)
			return
		}
		fields := strictly(t, body)
		assert.Regexp(t, idForm, token.OpenID)
		assert.Equal(t, fields["openid"], token.OpenID)
		assert.NotEmpty(t, token.AccessToken)
		assert.Equal(t, fields["access_token"], token.AccessToken)
		assert.GreaterOrEqual(t, token.ExpiresIn, time.Duration(0))
		if token.UnionID != "" {
			assert.Regexp(t, idForm, token.UnionID)
		}
		if flag, ok := fields["is_snapshotuser"]; ok && fmt.Sprint(flag) != "0" && flag != false {
			assert.True(t, token.Snapshot)
		}
	})
}

// Whatever WeChat answers, a profile is that of the person who was asked for.
func FuzzProfileAnswer(f *testing.F) {
	f.Add([]byte(goodProfile))
	f.Add([]byte(`{"errcode":48001,"errmsg":"api unauthorized, ` + testAccess + `"}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		profile, err := wechat.Client{HTTP: heard(string(body))}.UserInfo(t.Context(), testAccess, testOpenID, "")
		if err != nil {
			assert.Zero(t, profile)
			assertTellsNone(t, err, testAccess)
			return
		}
		assert.Equal(t, testOpenID, profile.OpenID)
		if profile.UnionID != "" {
			assert.Regexp(t, idForm, profile.UnionID)
		}
		if profile.AvatarURL != "" {
			assert.Regexp(t, `\Ahttps?://`, profile.AvatarURL)
		}
		// Nicknames may hold raw control characters, which JSON does not allow.
		clean := bytes.Map(func(r rune) rune { return max(r, ' ') }, body)
		assert.Equal(t, testOpenID, strictly(t, clean)["openid"])
	})
}

// strictly reads a JSON object with encoding/json, and fails the test where a
// strict reader would not accept it: anything around it, a name twice, an
// errcode.
func strictly(t *testing.T, body []byte) map[string]any {
	t.Helper()
	var fields map[string]any
	require.NoError(t, json.Unmarshal(body, &fields))
	require.NotNil(t, fields)
	assert.NotContains(t, fields, "errcode")

	var names int // of the outermost object
	decoder := json.NewDecoder(bytes.NewReader(body))
	for depth, name := 0, false; ; {
		token, err := decoder.Token()
		if err == io.EOF {
			break
		}
		require.NoError(t, err)
		switch token {
		case json.Delim('{'), json.Delim('['):
			depth++
			name = depth == 1
			continue
		case json.Delim('}'), json.Delim(']'):
			depth--
			name = depth == 1
			continue
		}
		if depth != 1 {
			continue
		}
		if name {
			names++
		}
		name = !name
	}
	assert.Len(t, fields, names, "a name is there twice")
	return fields
}

func assertTellsNone(t *testing.T, err error, secrets ...string) {
	t.Helper()
	var e *wechat.Error
	require.ErrorAs(t, err, &e)
	text := fmt.Sprintf("%v %#v %+v %s", e, e, *e, e.RID())
	for _, secret := range secrets {
		if strings.Contains(text, secret) {
			t.Errorf("the error tells a secret: %s", text)
		}
	}
}
