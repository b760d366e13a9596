package push_test

import (
	"context"
	"encoding/xml"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wechatgate/wechatgate/wechat/push"
)

// written are the elements of a message that a Message shows, as encoding/xml
// reads them: of two it takes the last.
type written struct {
	ToUserName, FromUserName, CreateTime, MsgType, Event, EventKey, Ticket, Content string
	ID                                                                              string `xml:"MsgId"`
}

// now stands in seeds for the time of the run.
const now = "1700000000"

func atOnce(text string) string {
	return strings.ReplaceAll(text, now, strconv.FormatInt(time.Now().Unix(), 10))
}

// Whatever an encrypted message holds, it is refused, or OnMessage gets what
// another reader finds in it.
func FuzzMessage(f *testing.F) {
	f.Add("<xml><ToUserName><![CDATA[gh_account]]></ToUserName><FromUserName>oPerson</FromUserName><CreateTime>" + now + "</CreateTime><MsgType>text</MsgType><Content>a</Content><MsgId>1</MsgId></xml>")
	f.Add("<xml><ToUserName>g</ToUserName><FromUserName>o</FromUserName><CreateTime>" + now + "</CreateTime><MsgType>event</MsgType><Event>SCAN</Event><List><item>1</item><item>2</item></List></xml>")
	f.Fuzz(func(t *testing.T, message string) {
		message = atOnce(message)
		s := newServer("a]]>b")
		w := good.push(message).to(s)
		if w.Code != http.StatusOK {
			assert.Equal(t, http.StatusForbidden, w.Code)
			assert.Empty(t, s.heard)
			return
		}
		require.Len(t, s.heard, 1)
		got := s.heard[0]
		assert.Equal(t, message, string(got.Raw))
		var want written
		require.NoError(t, xml.Unmarshal([]byte(message), &want))
		if want.MsgType == "event" {
			want.ID = ""
		}
		assert.Equal(t, want, written{got.ToUser, got.FromUser, strconv.FormatInt(got.Time.Unix(), 10), got.Type, got.Event, got.EventKey, got.Ticket, got.Content, got.ID})
		assert.Regexp(t, `\A[A-Za-z0-9_-]{1,64}\z`, got.FromUser)
		assert.NotRegexp(t, `<!DOCTYPE`, regexp.MustCompile(`(?s)<!\[CDATA\[.*?\]\]>`).ReplaceAllString(message, ""))
	})
}

// Whatever stands around a good message, OnMessage gets that message or none.
func FuzzBody(f *testing.F) {
	const encrypted = "{encrypted}"
	f.Add("<xml><ToUserName>gh_account</ToUserName><Encrypt><![CDATA[" + encrypted + "]]></Encrypt></xml>")
	f.Add("<xml><Encrypt>" + encrypted + "</Encrypt><Content>x</Content></xml>")
	f.Add(`{"Encrypt":"` + encrypted + `"}`)
	f.Fuzz(func(t *testing.T, body string) {
		message := text("7", "x")
		sealed := good.encrypt(message)
		request := good.pushAt(time.Now(), sealed)
		request.body = strings.ReplaceAll(body, encrypted, sealed)
		s := newServer("")
		if w := request.to(s); w.Code != http.StatusOK {
			assert.Equal(t, http.StatusForbidden, w.Code)
			assert.Empty(t, s.heard)
			return
		}
		require.Len(t, s.heard, 1)
		assert.Equal(t, message, string(s.heard[0].Raw))
		assert.Equal(t, 1, strings.Count(request.body, sealed))
		assert.NotContains(t, request.body, "FromUserName")
	})
}

// Whatever the query, nothing is answered that Token did not sign.
func FuzzQuery(f *testing.F) {
	f.Add("signature={get}&timestamp=1714036504&nonce=1514711492&echostr=x", false)
	f.Add("encrypt_type=aes&msg_signature={push}&timestamp="+now+"&nonce=415670741", true)
	f.Add("encrypt_type=raw&signature={get}&timestamp="+now+"&nonce=415670741", true)
	f.Fuzz(func(t *testing.T, query string, post bool) {
		query = atOnce(query)
		sealed := good.encrypt(text("7", "x"))
		at := strconv.FormatInt(time.Now().Unix(), 10)
		query = strings.NewReplacer("{get}", good.signature("1714036504", "1514711492"), "{push}", good.signature(at, "415670741", sealed)).Replace(query)
		h := &push.Handler{AppID: testAppID, Token: testToken, EncodingAESKey: testKey, OnMessage: func(context.Context, push.Message) (string, error) { return "", nil }}
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		if post {
			r = httptest.NewRequest(http.MethodPost, "/", strings.NewReader("<xml><Encrypt>"+sealed+"</Encrypt></xml>"))
		}
		r.URL.RawQuery = query
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != http.StatusOK {
			assert.Equal(t, "forbidden\n", w.Body.String())
			return
		}
		values, err := url.ParseQuery(query)
		require.NoError(t, err)
		for _, name := range []string{"signature", "msg_signature", "timestamp", "nonce", "echostr", "encrypt_type"} {
			assert.LessOrEqual(t, len(values[name]), 1, name)
		}
		if post {
			assert.Equal(t, "aes", values.Get("encrypt_type"))
			assert.Equal(t, good.signature(values.Get("timestamp"), values.Get("nonce"), sealed), values.Get("msg_signature"))
			assert.Equal(t, "success", w.Body.String())
			return
		}
		assert.Equal(t, good.signature(values.Get("timestamp"), values.Get("nonce")), values.Get("signature"))
		assert.Equal(t, values.Get("echostr"), w.Body.String())
	})
}
