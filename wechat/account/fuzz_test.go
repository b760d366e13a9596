package account_test

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wechatgate/wechatgate/wechat"
	"github.com/wechatgate/wechatgate/wechat/account"
)

// idForm and pageForm say in another way than the code what an openid and a
// page's address look like.
var (
	idForm   = regexp.MustCompile(`\A[A-Za-z0-9_-]{1,64}\z`)
	pageForm = regexp.MustCompile(`\A(http|https)://([a-z0-9._-]+|\[[0-9a-f:]+\])(:[1-9][0-9]{0,4})?(/[!-"$->@-\[\]-~]*)?(\?[!-"$-~]*)?\z`)
)

// heard is an Account that gets body as the answer to op. Whatever is busy would
// take 300 ms for its repetition.
func heard(t *testing.T, op string, body []byte) *account.Account {
	t.Helper()
	if bytes.Contains(body, []byte("-1")) {
		t.Skip()
	}
	f := &fake{says: map[string]func(int, call) (string, error){}}
	a := account.New(testApp, wechat.Client{HTTP: &http.Client{Transport: f}})
	a.Logger = slog.New(slog.DiscardHandler)
	f.from(op, string(body))
	return a
}

// strictly reads an object whose fields stand there once each, by a decoder's
// tokens alone.
func strictly(t *testing.T, body []byte) map[string]any {
	t.Helper()
	body = bytes.Map(func(r rune) rune { return max(r, ' ') }, body)
	require.True(t, json.Valid(body))
	var fields map[string]any
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.UseNumber()
	require.NoError(t, decoder.Decode(&fields))
	_, err := decoder.Token()
	require.ErrorIs(t, err, io.EOF)
	names := 0
	depth := 0
	isName := true
	tokens := json.NewDecoder(bytes.NewReader(body))
	for {
		token, err := tokens.Token()
		if err != nil {
			break
		}
		switch token {
		case json.Delim('{'), json.Delim('['):
			depth++
			continue
		case json.Delim('}'), json.Delim(']'):
			depth--
			isName = true
			continue
		}
		if depth == 1 {
			if isName {
				names++
			}
			isName = !isName
		}
	}
	require.Len(t, fields, names, "a field twice")
	if code, ok := fields["errcode"]; ok {
		require.Equal(t, "0", strings.TrimLeft(string(code.(json.Number)), "-+")) //nolint:errcheck // a panic is a failure, too
	}
	return fields
}

func FuzzTokenAnswer(f *testing.F) {
	f.Add([]byte(`{"access_token":"T","expires_in":7200}`))
	f.Add([]byte(refusal(40164)))
	f.Fuzz(func(t *testing.T, body []byte) {
		token, err := heard(t, opToken, body).Token(t.Context())
		if err != nil {
			assert.Empty(t, token)
			var e *wechat.Error
			assert.ErrorAs(t, err, &e)
			return
		}
		fields := strictly(t, body)
		assert.Equal(t, fields["access_token"], token)
		assert.NotEmpty(t, token)
		assert.LessOrEqual(t, len(token), 1024)
		seconds, err := fields["expires_in"].(json.Number).Int64() //nolint:errcheck // a panic is a failure, too
		assert.NoError(t, err)
		assert.Positive(t, seconds)
	})
}

func FuzzTicketAnswer(f *testing.F) {
	f.Add([]byte(`{"errcode":0,"errmsg":"ok","ticket":"T","expires_in":7200}`))
	f.Add([]byte(refusal(48001)))
	f.Fuzz(func(t *testing.T, body []byte) {
		config, err := heard(t, opTicket, body).JSConfig(t.Context(), testPage)
		if err != nil {
			assert.Zero(t, config)
			return
		}
		ticket, _ := strictly(t, body)["ticket"].(string)
		assert.NotEmpty(t, ticket)
		assert.Equal(t, account.SignJS(ticket, config.NonceStr, config.Timestamp, testPage), config.Signature)
	})
}

func FuzzFollowerAnswer(f *testing.F) {
	f.Add([]byte(person("oX")))
	f.Add([]byte(`{"subscribe":0}`))
	f.Add([]byte(refusal(40003)))
	f.Fuzz(func(t *testing.T, body []byte) {
		follower, err := heard(t, opFollower, body).Follower(t.Context(), "oX")
		if err != nil {
			assert.Zero(t, follower)
			return
		}
		fields := strictly(t, body)
		assert.Equal(t, "oX", follower.OpenID)
		assertFollower(t, fields, follower)
		if follower.Follows {
			assert.Equal(t, "oX", fields["openid"])
		}
	})
}

func assertFollower(t *testing.T, fields map[string]any, follower account.Follower) {
	t.Helper()
	if !follower.Follows {
		assert.Equal(t, account.Follower{OpenID: follower.OpenID}, follower)
		return
	}
	assert.Contains(t, []any{json.Number("1"), json.Number("+1")}, fields["subscribe"])
	if follower.UnionID != "" {
		assert.Regexp(t, idForm, follower.UnionID)
		assert.Equal(t, fields["unionid"], follower.UnionID)
	}
	_, err := follower.Since.MarshalJSON()
	assert.NoError(t, err)
	assert.True(t, follower.Since.IsZero() || follower.Since.After(time.Unix(0, 0)))
}

func FuzzBatchAnswer(f *testing.F) {
	f.Add([]byte(`{"user_info_list":[{"subscribe":0,"openid":"oY"},` + person("oX") + `]}`))
	f.Add([]byte(`{"user_info_list":[{"subscribe":0},null]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		followers, err := heard(t, opFollowers, body).Followers(t.Context(), "oX", "oY")
		if err != nil {
			assert.Nil(t, followers)
			return
		}
		list, _ := strictly(t, body)["user_info_list"].([]any)
		require.Len(t, list, 2)
		require.Len(t, followers, 2)
		for i, id := range []string{"oX", "oY"} {
			assert.Equal(t, id, followers[i].OpenID)
			said := 0
			for _, item := range list {
				fields, _ := item.(map[string]any)
				if fields["openid"] == id {
					said++
					assertFollower(t, fields, followers[i])
				}
			}
			assert.Equal(t, 1, said)
		}
	})
}

// What is signed looks like an address of location.href, and is signed as it is.
func FuzzPageAddress(f *testing.F) {
	for _, address := range []string{testPage, "http://[::1]:3000/?a=b#c", "https://user:password@Shop.example.com:443/\\", `https://shop.example.com/?a=\b`, "https://shop.example.com/%zz"} {
		f.Add(address)
	}
	_, a := newFake()
	f.Fuzz(func(t *testing.T, address string) {
		config, err := a.JSConfig(t.Context(), address)
		bare, _, _ := strings.Cut(address, "#")
		if err != nil {
			require.ErrorIs(t, err, account.ErrURL)
			if parsed, err := url.Parse(bare); err == nil && pageForm.MatchString(bare) && len(bare) <= 8<<10 && parsed.Port() == "" && !strings.HasPrefix(parsed.Host, "[") {
				assert.Empty(t, strings.Trim(parsed.Host, "."), "refused without a reason")
			}
			return
		}
		assert.Regexp(t, pageForm, bare)
		assert.LessOrEqual(t, len(bare), 8<<10)
		assert.Equal(t, account.SignJS("TICKET-1", config.NonceStr, config.Timestamp, bare), config.Signature)
		if parsed, err := url.Parse(bare); err == nil {
			assert.Nil(t, parsed.User)
			assert.NotEmpty(t, parsed.Hostname())
			assert.NotContains(t, []string{"http:80", "https:443"}, parsed.Scheme+":"+parsed.Port())
		}
	})
}
