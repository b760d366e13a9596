package push_test

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wechatgate/wechatgate/internal/pipetest"
	"github.com/wechatgate/wechatgate/wechat/push"
)

const (
	testAppID  = "wx1234567890abcdef"
	testToken  = "ZqTokenZq"
	testKey    = "ZqKey0123456789ZqKey0123456789ZqKey01234567"
	testOldKey = "ZqOld0123456789ZqOld0123456789ZqOld01234567"
	person     = "oPersonOne_-1"
	account    = "gh_account"
)

// console is what an account's console says, and sends as WeChat does. It
// shares no code with the package.
type console struct{ appID, token, key string }

var good = console{testAppID, testToken, testKey}

func (c console) signature(parts ...string) string {
	parts = append(parts, c.token)
	slices.Sort(parts)
	return fmt.Sprintf("%x", sha1.Sum([]byte(strings.Join(parts, ""))))
}

func (c console) cipher() (cipher.Block, []byte) {
	key, err := base64.StdEncoding.DecodeString(c.key + "=")
	if err != nil {
		panic(err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err)
	}
	return block, key[:16]
}

func (c console) encrypt(message string) string {
	plain := c.plain(message)
	n := 32 - len(plain)%32
	return c.encryptRaw(plain + strings.Repeat(string(rune(n)), n))
}

func (c console) plain(message string) string {
	return "random, 16 bytes" + string(binary.BigEndian.AppendUint32(nil, uint32(len(message)))) + message + c.appID
}

func (c console) encryptRaw(padded string) string {
	block, iv := c.cipher()
	data := []byte(padded)
	cipher.NewCBCEncrypter(block, iv).CryptBlocks(data, data)
	return base64.StdEncoding.EncodeToString(data)
}

func (c console) decrypt(t *testing.T, encrypted string) string {
	t.Helper()
	block, iv := c.cipher()
	data, err := base64.StdEncoding.DecodeString(encrypted)
	require.NoError(t, err)
	require.Zero(t, len(data)%32)
	cipher.NewCBCDecrypter(block, iv).CryptBlocks(data, data)
	n := int(data[len(data)-1])
	require.Equal(t, bytes.Repeat([]byte{byte(n)}, n), data[len(data)-n:])
	data = data[16 : len(data)-n]
	length := binary.BigEndian.Uint32(data)
	require.Equal(t, c.appID, string(data[4+length:]))
	return string(data[4 : 4+length])
}

// sent is a request that WeChat makes.
type sent struct {
	method string
	query  url.Values
	body   string
}

func (c console) push(message string) sent { return c.pushAt(time.Now(), c.encrypt(message)) }

func (c console) pushAt(when time.Time, encrypted string) sent {
	timestamp := strconv.FormatInt(when.Unix(), 10)
	return sent{
		http.MethodPost,
		url.Values{
			"signature":     {c.signature(timestamp, "415670741")},
			"timestamp":     {timestamp},
			"nonce":         {"415670741"},
			"openid":        {person},
			"encrypt_type":  {"aes"},
			"msg_signature": {c.signature(timestamp, "415670741", encrypted)},
		},
		"<xml>\n    <ToUserName><![CDATA[" + account + "]]></ToUserName>\n    <Encrypt><![CDATA[" + encrypted + "]]></Encrypt>\n</xml>",
	}
}

func (c console) check(echo string) sent {
	return sent{http.MethodGet, url.Values{
		"signature": {c.signature("1714036504", "1514711492")},
		"timestamp": {"1714036504"}, "nonce": {"1514711492"}, "echostr": {echo},
	}, ""}
}

func (s sent) to(h http.Handler) *httptest.ResponseRecorder {
	r := httptest.NewRequest(s.method, "https://shop.example.com/wechat/messages?"+s.query.Encode(), strings.NewReader(s.body))
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func textAt(when time.Time, id, content string) string {
	return fmt.Sprintf("<xml><ToUserName><![CDATA[%s]]></ToUserName>\n<FromUserName><![CDATA[%s]]></FromUserName>\n<CreateTime>%d</CreateTime>\n"+
		"<MsgType><![CDATA[text]]></MsgType>\n<Content><![CDATA[%s]]></Content>\n<MsgId>%s</MsgId>\n</xml>", account, person, when.Unix(), content, id)
}

func text(id, content string) string { return textAt(time.Now(), id, content) }

// server is a Handler, what it heard and what it logged.
type server struct {
	push.Handler
	mu    sync.Mutex
	heard []push.Message
	log   bytes.Buffer
}

func newServer(reply string) *server {
	s := &server{}
	s.Handler = push.Handler{
		AppID: testAppID, Token: testToken, EncodingAESKey: testKey,
		OnMessage: func(_ context.Context, m push.Message) (string, error) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.heard = append(s.heard, m)
			return reply, nil
		},
		Logger: slog.New(slog.NewTextHandler(&s.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	return s
}

// The vectors of WeChat's document on message encryption.
const (
	vectorToken = "AAAAA"
	vectorKey   = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
	vectorAppID = "wxba5fad812f8e6fb9"

	vectorGet = "signature=f464b24fc39322e44b38aa78f5edd27bd1441696&timestamp=1714036504&nonce=1514711492&echostr="

	vectorPush    = "timestamp=1714112445&nonce=415670741&signature=6c5c811b55cc85e0e1b54100749188c20beb3f5d&encrypt_type=aes&msg_signature=046e02f8204d34f8ba5fa3b1db94908f3df2e9b3"
	vectorEncrypt = "+qdx1OKCy+5JPCBFWw70tm0fJGb2Jmeia4FCB7kao+/Q5c/ohsOzQHi8khUOb05JCpj0JB4RvQMkUyus8TPxLKJGQqcvZqzDpVzazhZv6JsXUnnR8XGT740XgXZUXQ7vJVnAG+tE8NUd4yFyjPy7GgiaviNrlCTj+l5kdfMuFUPpRSrfMZuMcp3Fn2Pede2IuQrKEYwKSqFIZoNqJ4M8EajAsjLY2km32IIjdf8YL/P50F7mStwntrA2cPDrM1kb6mOcfBgRtWygb3VIYnSeOBrebufAlr7F9mFUPAJGj04="
)

func TestVectors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer("")
		s.AppID, s.Token, s.EncodingAESKey = vectorAppID, vectorToken, vectorKey
		do := func(method, query, body string) (*httptest.ResponseRecorder, string) {
			s.log.Reset()
			w := httptest.NewRecorder()
			s.ServeHTTP(w, httptest.NewRequest(method, "/?"+query, strings.NewReader(body)))
			return w, s.log.String()
		}
		w, _ := do(http.MethodGet, vectorGet+"4375120948345356249", "")
		assert.Equal(t, http.StatusOK, w.Code)
		assert.Equal(t, "4375120948345356249", w.Body.String())

		envelope := "<xml><ToUserName><![CDATA[gh_97417a04a28d]]></ToUserName><Encrypt><![CDATA[" + vectorEncrypt + "]]></Encrypt></xml>"
		w, log := do(http.MethodPost, vectorPush, envelope)
		assert.Equal(t, http.StatusForbidden, w.Code)
		assert.Contains(t, log, "not within five minutes")

		time.Sleep(time.Until(time.Unix(1714112445, 0)))
		w, log = do(http.MethodPost, vectorPush, envelope)
		assert.Equal(t, http.StatusForbidden, w.Code)
		assert.Contains(t, log, "JSON where XML is expected", "it was decrypted, and holds JSON")

		for _, spoilt := range []string{strings.Replace(vectorPush, "046e", "046f", 1), strings.Replace(vectorPush, "nonce=4", "nonce=5", 1)} {
			w, log = do(http.MethodPost, spoilt, envelope)
			assert.Equal(t, http.StatusForbidden, w.Code)
			assert.Contains(t, log, "the signature is wrong")
		}
		w, log = do(http.MethodPost, vectorPush, strings.Replace(envelope, "+qdx", "+qdy", 1))
		assert.Equal(t, http.StatusForbidden, w.Code)
		assert.Contains(t, log, "the signature is wrong")
	})
}

func TestCheck(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(q url.Values)
		want   int
	}{
		{"as the console asks", func(url.Values) {}, http.StatusOK},
		{"128 bytes to echo", func(q url.Values) { q.Set("echostr", strings.Repeat("é", 64)) }, http.StatusOK},
		{"a page to echo", func(q url.Values) { q.Set("echostr", "<script>alert(1)</script>") }, http.StatusOK},
		{"parameters of the site's own", func(q url.Values) { q["site"] = []string{"a", "b"} }, http.StatusOK},
		{"129 bytes to echo", func(q url.Values) { q.Set("echostr", strings.Repeat("e", 129)) }, http.StatusForbidden},
		{"nothing to echo", func(q url.Values) { q.Set("echostr", "") }, http.StatusForbidden},
		{"no echostr", func(q url.Values) { q.Del("echostr") }, http.StatusForbidden},
		{"another signature", func(q url.Values) { q.Set("signature", strings.Repeat("0", 40)) }, http.StatusForbidden},
		{"half the signature", func(q url.Values) { q.Set("signature", q.Get("signature")[:20]) }, http.StatusForbidden},
		{"the signature in capitals", func(q url.Values) { q.Set("signature", strings.ToUpper(q.Get("signature"))) }, http.StatusForbidden},
		{"no signature", func(q url.Values) { q.Del("signature") }, http.StatusForbidden},
		{"an empty signature", func(q url.Values) { q.Set("signature", "") }, http.StatusForbidden},
		{"the signature as msg_signature", func(q url.Values) { q["msg_signature"] = q["signature"]; q.Del("signature") }, http.StatusForbidden},
		{"another nonce", func(q url.Values) { q.Set("nonce", "1514711493") }, http.StatusForbidden},
		{"another timestamp", func(q url.Values) { q.Set("timestamp", "1714036505") }, http.StatusForbidden},
		{"digits moved from timestamp to nonce", func(q url.Values) { q.Set("timestamp", "17140365"); q.Set("nonce", "041514711492") }, http.StatusForbidden},
		{"no timestamp", func(q url.Values) { q.Del("timestamp") }, http.StatusForbidden},
		{"no nonce", func(q url.Values) { q.Del("nonce") }, http.StatusForbidden},
		{"two signatures", func(q url.Values) { q.Add("signature", "x") }, http.StatusForbidden},
		{"two echostrs", func(q url.Values) { q.Add("echostr", "x") }, http.StatusForbidden},
		{"a query of 5,000 bytes", func(q url.Values) { q.Set("site", strings.Repeat("x", 5000)) }, http.StatusForbidden},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newServer("reply")
			request := good.check("4375120948345356249")
			tt.change(request.query)
			w := request.to(s)
			assert.Equal(t, tt.want, w.Code)
			want := request.query.Get("echostr")
			if tt.want != http.StatusOK {
				want = "forbidden\n"
				assert.Contains(t, s.log.String(), "服务器配置")
			}
			assert.Equal(t, want, w.Body.String())
			assert.Equal(t, http.Header{
				"Cache-Control":          {"no-store"},
				"Content-Type":           {"text/plain; charset=utf-8"},
				"X-Content-Type-Options": {"nosniff"},
			}, w.Header())
			assert.Empty(t, s.heard)
		})
	}
}

func TestMessages(t *testing.T) {
	now := time.Now().Truncate(time.Second)
	from := "<ToUserName>gh_account</ToUserName><FromUserName>oPersonOne_-1</FromUserName><CreateTime>" + strconv.FormatInt(now.Unix(), 10) + "</CreateTime>"
	for _, tt := range []struct {
		name    string
		message string
		want    push.Message // but ToUser, FromUser, Time and Raw
	}{
		{"a text", text("7", "你好"), push.Message{Type: "text", Content: "你好", ID: "7"}},
		{"a text without CDATA", "<xml>" + from + "<MsgType>text</MsgType><Content>a &amp; b&#33;</Content><MsgId>7</MsgId></xml>", push.Message{Type: "text", Content: "a & b!", ID: "7"}},
		{"a text of two CDATAs", "<xml>" + from + "<MsgType>text</MsgType><Content><![CDATA[a]]]]><![CDATA[>b]]></Content></xml>", push.Message{Type: "text", Content: "a]]>b"}},
		{"a text that looks like XML", text("7", "</Content><MsgId>8</MsgId><!DOCTYPE x>"), push.Message{Type: "text", Content: "</Content><MsgId>8</MsgId><!DOCTYPE x>", ID: "7"}},
		{"an XML declaration", `<?xml version="1.0" encoding="UTF-8"?>` + "\n" + text("7", "x") + "\n", push.Message{Type: "text", Content: "x", ID: "7"}},
		{"a type that the package does not know", "<xml>" + from + "<MsgType>miniprogrampage</MsgType><Title>x</Title><MsgId>7</MsgId></xml>", push.Message{Type: "miniprogrampage", ID: "7"}},
		{"a scan", "<xml>" + from + "<MsgType>event</MsgType><Event>SCAN</Event><EventKey>123</EventKey><Ticket>TICKET</Ticket></xml>", push.Message{Type: "event", Event: "SCAN", EventKey: "123", Ticket: "TICKET"}},
		{"an event with a list", "<xml>" + from + "<MsgType>event</MsgType><Event>pic_weixin</Event><EventKey>6</EventKey><SendPicsInfo><Count>2</Count><PicList><item><PicMd5Sum>a</PicMd5Sum></item><item><PicMd5Sum>b</PicMd5Sum></item></PicList></SendPicsInfo></xml>", push.Message{Type: "event", Event: "pic_weixin", EventKey: "6"}},
		{"an event with an ID of another thing", "<xml>" + from + "<MsgType>event</MsgType><Event>TEMPLATESENDJOBFINISH</Event><MsgID>7</MsgID><MsgId>7</MsgId></xml>", push.Message{Type: "event", Event: "TEMPLATESENDJOBFINISH"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newServer("")
			w := good.push(tt.message).to(s)
			assert.Equal(t, http.StatusOK, w.Code)
			assert.Equal(t, "success", w.Body.String())
			require.Len(t, s.heard, 1)
			got := s.heard[0]
			assert.WithinDuration(t, now, got.Time, time.Minute)
			want := tt.want
			want.ToUser, want.FromUser, want.Time, want.Raw = account, person, got.Time, []byte(tt.message)
			assert.Equal(t, want, got)
			assert.Empty(t, s.log.String())
		})
	}
}

func TestRefusedPushes(t *testing.T) {
	const token, key, mode, format, clock, form = "令牌(Token) has", "消息加解密密钥(EncodingAESKey) has", "消息加解密方式 has to be 安全模式", "数据格式 has to be XML", "the clock of this machine", "WeChat does not write this where"
	now := time.Now()
	message := text("7", "secret words")
	encrypted := good.encrypt(message)
	fitting := message + strings.Repeat(" ", 32-len(good.plain(message))%32) // needs a whole block of padding
	envelope := func(body string) func() sent {
		return func() sent {
			s := good.pushAt(time.Now(), encrypted)
			s.body = strings.ReplaceAll(body, "{encrypted}", encrypted)
			return s
		}
	}
	holding := func(message string) func() sent { return func() sent { return good.push(message) } }
	raw := func(padded string) func() sent {
		return func() sent { return good.pushAt(time.Now(), good.encryptRaw(padded)) }
	}
	inner := func(old, replacement string) func() sent {
		return holding(strings.Replace(message, old, replacement, 1))
	}
	changed := func(change func(s *sent)) func() sent {
		return func() sent {
			s := good.push(message)
			change(&s)
			return s
		}
	}
	for _, tt := range []struct {
		name string
		sent func() sent
		hint string
	}{
		{"明文模式: no encrypt_type", changed(func(s *sent) { s.query.Del("encrypt_type"); s.body = message }), mode},
		{"明文模式: encrypt_type raw", changed(func(s *sent) { s.query.Set("encrypt_type", "raw"); s.body = message }), mode},
		{"downgraded: encrypt_type left out", changed(func(s *sent) { s.query.Del("encrypt_type") }), mode},
		{"downgraded: a plain message with encrypt_type aes", changed(func(s *sent) { s.body = message }), mode},
		{"兼容模式: both", envelope(strings.Replace(message, "</xml>", "<Encrypt>{encrypted}</Encrypt></xml>", 1)), mode},
		{"a plain Content beside Encrypt", envelope("<xml><Encrypt>{encrypted}</Encrypt><Content>x</Content></xml>"), mode},
		{"no Encrypt", envelope("<xml><ToUserName>gh_account</ToUserName></xml>"), mode},
		{"an empty Encrypt", envelope("<xml><Encrypt></Encrypt></xml>"), mode},
		{"JSON outside", envelope(`{"ToUserName":"gh_account","Encrypt":"{encrypted}"}`), format},
		{"JSON inside", holding(`{"ToUserName":"gh_account","FromUserName":"oPersonOne","MsgType":"text"}`), format},

		{"another Token", func() sent { return console{testAppID, "another", testKey}.push(message) }, token},
		{"the signature of no message", changed(func(s *sent) { s.query["msg_signature"] = s.query["signature"] }), token},
		{"no msg_signature", changed(func(s *sent) { s.query.Del("msg_signature") }), token},
		{"msg_signature in capitals", changed(func(s *sent) { s.query.Set("msg_signature", strings.ToUpper(s.query.Get("msg_signature"))) }), token},
		{"two msg_signatures", changed(func(s *sent) { s.query.Add("msg_signature", "x") }), token},
		{"two encrypt_types", changed(func(s *sent) { s.query.Add("encrypt_type", "raw") }), token},
		{"another timestamp", changed(func(s *sent) { s.query.Set("timestamp", strconv.FormatInt(time.Now().Unix()-60, 10)) }), token},
		{"another nonce", changed(func(s *sent) { s.query.Set("nonce", "1") }), token},
		{"a timestamp that is no number", changed(func(s *sent) { s.query.Set("timestamp", "now") }), token},
		{"an Encrypt of another message", changed(func(s *sent) {
			s.body = strings.Replace(s.body, encrypted[:60], good.encrypt("x")[:60], 1)
			s.query.Set("nonce", "2")
		}), token},

		{"another key", func() sent { return console{testAppID, testToken, testOldKey}.push(message) }, key},
		{"another account", func() sent { return console{"wxother", testToken, testKey}.push(message) }, key},
		{"no account", func() sent { return console{"", testToken, testKey}.push(message) }, key},
		{"an account with something behind", func() sent { return console{testAppID + "x", testToken, testKey}.push(message) }, key},
		{"no base64", func() sent { return good.pushAt(now, "!!!") }, key},
		{"half a block", func() sent { return good.pushAt(now, base64.StdEncoding.EncodeToString(make([]byte, 16))) }, key},
		{"a broken block", func() sent { return good.pushAt(now, base64.StdEncoding.EncodeToString(make([]byte, 33))) }, key},
		{"padding of 0", raw(strings.Repeat("\x00", 64)), key},
		{"padding of 64", raw(good.plain(fitting) + strings.Repeat("@", 64)), key},
		{"padding of two values", raw(good.plain(fitting) + strings.Repeat(" ", 29) + "\x1f\x20\x20"), key},
		{"padding alone", raw(strings.Repeat("\x20", 32)), key},
		{"nothing behind the random bytes", raw(strings.Repeat("r", 16) + strings.Repeat("\x10", 16)), key},
		{"a length beyond the end", raw("random, 16 bytes\xff\xff\xff\xff" + strings.Repeat("\x0c", 12)), key},
		{"a length that takes the account in", raw("random, 16 bytes\x00\x00\x00\x12" + testAppID + strings.Repeat("\x1a", 26)), key},

		{"a timestamp of six minutes ago", func() sent { return good.pushAt(now.Add(-6*time.Minute), encrypted) }, clock},
		{"a timestamp in six minutes", func() sent { return good.pushAt(now.Add(6*time.Minute), encrypted) }, clock},
		{"a message of six minutes ago", holding(textAt(now.Add(-6*time.Minute), "7", "x")), clock},
		{"a message in six minutes", holding(textAt(now.Add(6*time.Minute), "7", "x")), clock},

		{"an empty body", envelope(""), form},
		{"a body of more than 64 KiB", changed(func(s *sent) { s.body += strings.Repeat(" ", 64<<10) }), form},
		{"a DOCTYPE outside", envelope("<!DOCTYPE xml><xml><Encrypt>{encrypted}</Encrypt></xml>"), form},
		{"a DOCTYPE with an entity", envelope(`<!DOCTYPE xml [<!ENTITY e "{encrypted}">]><xml><Encrypt>&e;</Encrypt></xml>`), form},
		{"two Encrypts", envelope("<xml><Encrypt>{encrypted}</Encrypt><Encrypt>{encrypted}</Encrypt></xml>"), form},
		{"a second document outside", envelope("<xml><Encrypt>{encrypted}</Encrypt></xml><xml></xml>"), form},
		{"words behind the document", envelope("<xml><Encrypt>{encrypted}</Encrypt></xml>x"), form},
		{"words before the document", envelope("x<xml><Encrypt>{encrypted}</Encrypt></xml>"), form},
		{"a byte order mark", envelope("\ufeff<xml><Encrypt>{encrypted}</Encrypt></xml>"), form},
		{"an element in Encrypt", envelope("<xml><Encrypt>{encrypted}<a></a></Encrypt></xml>"), form},
		{"an attribute", envelope(`<xml><Encrypt a="b">{encrypted}</Encrypt></xml>`), form},
		{"a namespace", envelope(`<xml xmlns="urn:x"><Encrypt>{encrypted}</Encrypt></xml>`), form},
		{"a prefix", envelope("<xml><x:Encrypt>{encrypted}</x:Encrypt></xml>"), form},
		{"another root", envelope("<html><Encrypt>{encrypted}</Encrypt></html>"), form},
		{"half a document", envelope("<xml><Encrypt>{encrypted}</Encrypt>"), form},

		{"a DOCTYPE inside", holding("<!DOCTYPE xml>" + message), form},
		{"an entity inside", inner("secret words", "]]>&e;<![CDATA["), form},
		{"another charset", holding(`<?xml version="1.0" encoding="GB18030"?>` + message), form},
		{"an XML declaration in the middle", inner("<MsgType>", `<?xml version="1.0"?><MsgType>`), form},
		{"a processing instruction", holding("<?x y?>" + message), form},
		{"a comment in a text", inner("<MsgId>7", "<MsgId>7<!-- -->8"), form},
		{"two FromUserNames", inner("<FromUserName>", "<FromUserName>oOther</FromUserName><FromUserName>"), form},
		{"two elements of an unknown name", inner("<MsgType>", "<X></X><X></X><MsgType>"), form},
		{"a second message behind", holding(message + message), form},
		{"words behind the message", holding(message + "x"), form},
		{"words between elements", inner("<MsgType>", "x<MsgType>"), form},
		{"invalid UTF-8", inner("secret", "\xff"), form},
		{"invalid UTF-8 where encoding/xml does not look", holding("<?xml version=\"1.0\" \xff?>" + message), form},
		{"a NUL", inner("secret", "\x00"), form},
		{"an element in FromUserName", inner("<![CDATA["+person+"]]>", person+"<a></a>"), form},
		{"an element for a text in Content", inner("<![CDATA[secret words]]>", "<a>secret words</a>"), form},
		{"no FromUserName", inner(person, ""), form},
		{"a FromUserName with a slash", inner(person, "../x"), form},
		{"a FromUserName of 65 letters", inner(person, strings.Repeat("o", 65)), form},
		{"no ToUserName", inner(account, ""), form},
		{"no MsgType", inner("<MsgType><![CDATA[text]]></MsgType>", ""), form},
		{"no CreateTime", inner("CreateTime>", "Created>"), form},
		{"a CreateTime with a sign", inner("<CreateTime>", "<CreateTime>+"), form},
		{"a MsgId with a space", inner("<MsgId>7", "<MsgId>7 8"), form},
		{"an empty message", holding(""), form},
		{"elements in elements without end", inner("<MsgType>", strings.Repeat("<x>", 40)+strings.Repeat("</x>", 40)+"<MsgType>"), form},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newServer("reply")
			w := tt.sent().to(s)
			assert.Equal(t, http.StatusForbidden, w.Code)
			assert.Equal(t, "forbidden\n", w.Body.String())
			assert.Empty(t, s.heard)
			assert.Contains(t, s.log.String(), tt.hint)
			assert.Equal(t, 1, strings.Count(s.log.String(), "\n"), "one record")
			for _, private := range []string{testToken, testKey, person, "secret", "oOther", "words", encrypted[:20]} {
				assert.NotContains(t, s.log.String(), private)
			}
		})
	}
}

func TestTimesAtTheirLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(24 * 365 * time.Hour)
		for offset, want := range map[time.Duration]int{
			-5 * time.Minute: 200, -5*time.Minute - time.Second: 403, 5 * time.Minute: 200, 5*time.Minute + time.Second: 403,
		} {
			then := time.Now().Add(offset)
			s := newServer("")
			assert.Equal(t, want, good.pushAt(then, good.encrypt(text("1", "x"))).to(s).Code, "timestamp %v", offset)
			assert.Equal(t, want, good.push(textAt(then, "2", "x")).to(s).Code, "CreateTime %v", offset)
		}
	})
}

func TestOtherMethods(t *testing.T) {
	for _, method := range []string{http.MethodHead, http.MethodPut, http.MethodDelete, http.MethodOptions} {
		request := good.push(text("1", "x"))
		request.method = method
		w := request.to(newServer("reply"))
		assert.Equal(t, http.StatusMethodNotAllowed, w.Code)
		assert.Equal(t, "GET, POST", w.Header().Get("Allow"))
	}
}

func TestBadSettings(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(h *push.Handler)
		field  string // "" where the settings are good
	}{
		{"good settings", func(*push.Handler) {}, ""},
		{"an old key", func(h *push.Handler) { h.OldEncodingAESKey = testOldKey }, ""},
		{"no OnMessage and no Logger", func(h *push.Handler) { h.OnMessage, h.Logger = nil, nil }, ""},
		{"a key whose last bits are not zero", func(h *push.Handler) { h.EncodingAESKey = testKey[:42] + "9" }, ""},
		{"no AppID", func(h *push.Handler) { h.AppID = "" }, "AppID"},
		{"an original ID", func(h *push.Handler) { h.AppID = "gh_123" }, "AppID"},
		{"an AppID with a space", func(h *push.Handler) { h.AppID += " " }, "AppID"},
		{"no Token", func(h *push.Handler) { h.Token = "" }, "Token"},
		{"a Token of two letters", func(h *push.Handler) { h.Token = "ab" }, "Token"},
		{"a Token of 33 letters", func(h *push.Handler) { h.Token = strings.Repeat("a", 33) }, "Token"},
		{"a Token with a newline", func(h *push.Handler) { h.Token = testToken + "\n" }, "Token"},
		{"no key", func(h *push.Handler) { h.EncodingAESKey = "" }, "EncodingAESKey"},
		{"no key but an old one", func(h *push.Handler) { h.EncodingAESKey, h.OldEncodingAESKey = "", testKey }, "EncodingAESKey"},
		{"a key of 42 letters", func(h *push.Handler) { h.EncodingAESKey = testKey[1:] }, "EncodingAESKey"},
		{"a key with its padding", func(h *push.Handler) { h.EncodingAESKey = testKey + "=" }, "EncodingAESKey"},
		{"a key with a slash", func(h *push.Handler) { h.EncodingAESKey = "/" + testKey[1:] }, "EncodingAESKey"},
		{"a key with a newline", func(h *push.Handler) { h.EncodingAESKey = testKey[:42] + "\n" }, "EncodingAESKey"},
		{"a bad old key", func(h *push.Handler) { h.OldEncodingAESKey = "short" }, "OldEncodingAESKey"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newServer("")
			tt.change(&s.Handler)
			err := s.Validate()
			if tt.field == "" {
				require.NoError(t, err)
				assert.Equal(t, http.StatusOK, good.check("x").to(s).Code)
				return
			}
			require.ErrorContains(t, err, "push: Handler."+tt.field+": ")
			assert.NotContains(t, err.Error(), "Zq")
			// Signed with whatever the settings are.
			sender := console{s.AppID, s.Token, testKey}
			for _, request := range []sent{sender.check("x"), sender.push(text("1", "x"))} {
				s.log.Reset()
				assert.Equal(t, http.StatusForbidden, request.to(s).Code)
				assert.Contains(t, s.log.String(), "Handler."+tt.field)
				assert.NotContains(t, s.log.String(), "Zq")
			}
			assert.Empty(t, s.heard)
		})
	}
	assert.ErrorContains(t, (&push.Handler{}).Validate(), "Token")
	assert.Equal(t, http.StatusForbidden, good.check("x").to(&push.Handler{}).Code)
}

// reply decrypts an answer as WeChat does.
func reply(t *testing.T, c console, w *httptest.ResponseRecorder) (content string) {
	t.Helper()
	require.Equal(t, http.StatusOK, w.Code)
	assert.Equal(t, "text/xml; charset=utf-8", w.Header().Get("Content-Type"))
	var envelope struct {
		XMLName                                 xml.Name `xml:"xml"`
		Encrypt, MsgSignature, TimeStamp, Nonce string
	}
	require.NoError(t, xml.Unmarshal(w.Body.Bytes(), &envelope))
	assert.Equal(t, c.signature(envelope.TimeStamp, envelope.Nonce, envelope.Encrypt), envelope.MsgSignature)
	assert.Equal(t, strconv.FormatInt(time.Now().Unix(), 10), envelope.TimeStamp)
	var message struct {
		XMLName                                                xml.Name `xml:"xml"`
		ToUserName, FromUserName, CreateTime, MsgType, Content string
	}
	require.NoError(t, xml.Unmarshal([]byte(c.decrypt(t, envelope.Encrypt)), &message))
	assert.Equal(t, person, message.ToUserName)
	assert.Equal(t, account, message.FromUserName)
	assert.Equal(t, envelope.TimeStamp, message.CreateTime)
	assert.Equal(t, "text", message.MsgType)
	return message.Content
}

func TestReplies(t *testing.T) {
	for _, tt := range []struct {
		name, reply, want string // want "" is no reply
	}{
		{"a text", "验证码 482 913", "验证码 482 913"},
		{"markup", `<a href="x">&amp;</a>`, `<a href="x">&amp;</a>`},
		{"the end of CDATA", "a]]>b]]]>", "a]]>b]]]>"},
		{"line breaks", "a\r\nb\n", "a\nb\n"},
		{"control characters", "a\x00\x1b[2J\tb\x7f\u0085", "a[2Jb"},
		{"what XML cannot hold", "a\ufffe\uffffb", "ab"},
		{"invalid UTF-8", "a\xff\xe9b", "ab"},
		{"2,048 bytes", strings.Repeat("a", 2048), strings.Repeat("a", 2048)},
		{"2,049 bytes", strings.Repeat("a", 2049), strings.Repeat("a", 2048)},
		{"characters of three bytes", strings.Repeat("中", 1000), strings.Repeat("中", 682)},
		{"characters of four bytes, one of which ends at 2,049", "a" + strings.Repeat("𠮷", 1000), "a" + strings.Repeat("𠮷", 511)},
		{"nothing", "", ""},
		{"control characters alone", "\x00\r", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := good.push(text("7", "x")).to(newServer(tt.reply))
				if tt.want == "" {
					assert.Equal(t, "success", w.Body.String())
					return
				}
				assert.Equal(t, tt.want, reply(t, good, w))
			})
		})
	}
}

// Some adapters make requests that way.
func TestNoBodyAtAll(t *testing.T) {
	request := good.push(text("7", "x"))
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "/?"+request.query.Encode(), nil)
	require.NoError(t, err)
	w := httptest.NewRecorder()
	newServer("").ServeHTTP(w, r)
	assert.Equal(t, http.StatusForbidden, w.Code)
}

func TestNoOnMessage(t *testing.T) {
	s := newServer("")
	s.OnMessage = nil
	assert.Equal(t, "success", good.push(text("7", "x")).to(s).Body.String())
}

func TestReplyUsesTheKeyThatOpened(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer("reply")
		s.OldEncodingAESKey = testOldKey
		old := console{testAppID, testToken, testOldKey}
		assert.Equal(t, "reply", reply(t, old, old.push(text("1", "x")).to(s)))
		assert.Equal(t, "reply", reply(t, good, good.push(text("2", "x")).to(s)))
		assert.Equal(t, "reply", reply(t, good, good.push(text("1", "x")).to(s)), "a repeat under the other key")
		assert.Len(t, s.heard, 2)
	})
}

func TestRepliesDiffer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // at the same time
		s := newServer("reply")
		request := good.push(text("7", "x"))
		first, second := request.to(s).Body.String(), request.to(s).Body.String()
		for _, name := range []string{"Encrypt", "Nonce"} {
			_, one, _ := strings.Cut(first, "<"+name+">")
			_, other, _ := strings.Cut(second, "<"+name+">")
			assert.NotEqual(t, one[:30], other[:30], name)
		}
	})
}

func TestOnMessageThatFails(t *testing.T) {
	for _, tt := range []struct {
		name      string
		onMessage func(context.Context, push.Message) (string, error)
		logged    string
		takes     time.Duration
	}{
		{"an error", func(_ context.Context, m push.Message) (string, error) {
			return "not sent", errors.New(m.FromUser + " wrote " + m.Content)
		}, "it returned a *errors.errorString", 0},
		{"a panic", func(_ context.Context, m push.Message) (string, error) { panic(m.FromUser + m.Content) }, "it panicked with a string", 0},
		{"a panic with an error", func(context.Context, push.Message) (string, error) { panic(http.ErrAbortHandler) }, "it panicked with a *errors.errorString", 0},
		{"an end of its goroutine", func(context.Context, push.Message) (string, error) { runtime.Goexit(); return "", nil }, "it ended its goroutine", 0},
		{"too long", func(context.Context, push.Message) (string, error) { time.Sleep(time.Hour); return "late", nil }, "it took longer than 4s", 4 * time.Second},
		{"too long, until its context ends", func(ctx context.Context, _ push.Message) (string, error) {
			<-ctx.Done()
			time.Sleep(time.Second)
			return "", ctx.Err()
		}, "it took longer than 4s", 4 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newServer("")
				var calls atomic.Int64
				s.OnMessage = func(ctx context.Context, m push.Message) (string, error) {
					calls.Add(1)
					return tt.onMessage(ctx, m)
				}
				start := time.Now()
				request := good.push(text("7", "secret words"))
				w := request.to(s)
				assert.Equal(t, http.StatusOK, w.Code)
				assert.Equal(t, "success", w.Body.String())
				assert.Equal(t, tt.takes, time.Since(start))
				assert.Contains(t, s.log.String(), tt.logged)
				assert.Contains(t, s.log.String(), "level=ERROR")
				assert.NotContains(t, s.log.String(), person)
				assert.NotContains(t, s.log.String(), "secret")

				assert.Equal(t, "success", request.to(s).Body.String())
				assert.EqualValues(t, 1, calls.Load(), "the repeat has the same answer")
				time.Sleep(2 * time.Hour) // in which the late one returns
			})
		})
	}
}

func TestSlowButInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer("")
		type key struct{}
		s.OnMessage = func(ctx context.Context, _ push.Message) (string, error) {
			time.Sleep(4*time.Second - time.Nanosecond)
			assert.NoError(t, ctx.Err(), "whatever becomes of the connection")
			value, _ := ctx.Value(key{}).(string)
			return value, nil
		}
		request := good.push(text("7", "x"))
		ctx, cancel := context.WithCancel(context.WithValue(t.Context(), key{}, "in time"))
		time.AfterFunc(time.Second, cancel)
		w := httptest.NewRecorder()
		s.ServeHTTP(w, httptest.NewRequestWithContext(ctx, http.MethodPost, "/?"+request.query.Encode(), strings.NewReader(request.body)))
		assert.Equal(t, "in time", reply(t, good, w))
	})
}

func TestRepeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer("")
		var calls atomic.Int64
		s.OnMessage = func(context.Context, push.Message) (string, error) {
			time.Sleep(2 * time.Second)
			return "answer " + strconv.FormatInt(calls.Add(1), 10), nil
		}
		ask := func(message string) string { return reply(t, good, good.push(message).to(s)) }
		assert.Equal(t, "answer 1", ask(text("7", "x")))
		assert.Equal(t, "answer 1", ask(text("7", "x")), "a repeat")
		assert.Equal(t, "answer 2", ask(text("8", "x")), "another message")
		good.push(strings.Replace(text("7", "x"), person, "oPersonTwo", 1)).to(s)
		assert.EqualValues(t, 3, calls.Load(), "another person's, whatever its number")
	})
}

func TestWhenRepeatsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer("")
		send := func(message string) { require.Equal(t, "success", good.push(message).to(s).Body.String()) }
		send(text("7", "x"))
		time.Sleep(time.Minute - time.Nanosecond)
		send(text("7", "x"))
		assert.Len(t, s.heard, 1)
		time.Sleep(time.Nanosecond)
		send(text("7", "x"))
		assert.Len(t, s.heard, 2, "after a minute")

		for i := range 5000 {
			send(text("1"+strconv.Itoa(i), "x"))
		}
		s.heard = nil
		send(text("14999", "x"))
		assert.Empty(t, s.heard, "the newest is remembered")
		send(text("10", "x"))
		assert.Len(t, s.heard, 1, "the oldest of five thousand is not: the memory is bounded")

		event := strings.NewReplacer("[text]", "[event]", "Content>", "Event>").Replace(text("7", "CLICK"))
		s.heard = nil
		send(event)
		send(event)
		withoutID := strings.ReplaceAll(text("7", "x"), "<MsgId>7</MsgId>", "")
		send(withoutID)
		send(withoutID)
		assert.Len(t, s.heard, 4, "what has no MsgId is never a repeat")
	})
}

func TestRepeatsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer("")
		var calls atomic.Int64
		s.OnMessage = func(context.Context, push.Message) (string, error) {
			time.Sleep(3 * time.Second)
			return "answer " + strconv.FormatInt(calls.Add(1), 10), nil
		}
		original := s.Handler // whose copies are made before the first message
		request := good.push(text("7", "x"))
		var all sync.WaitGroup
		for range 50 {
			all.Go(func() { assert.Equal(t, "answer 1", reply(t, good, request.to(s))) })
		}
		all.Wait()
		assert.EqualValues(t, 1, calls.Load())

		after := s.Handler
		assert.Equal(t, "answer 1", reply(t, good, request.to(&after)), "a copy made later remembers")
		assert.Equal(t, "answer 2", reply(t, good, request.to(&original)), "one made before does not")
	})
}

func TestHandlerTellsNoSecret(t *testing.T) {
	s := newServer("")
	s.OldEncodingAESKey = testOldKey
	good.push(text("7", "ZqContent")).to(s)
	h := s.Handler
	type holder struct {
		Handler push.Handler
		Pointer *push.Handler
		Any     any
	}
	control := struct{ Token string }{testToken}
	show := func(value any) string {
		var b bytes.Buffer
		for verb := range strings.FieldsSeq("%v %+v %#v %s %q %x %X %d %t %U %10v") {
			fmt.Fprintf(&b, verb, value)
		}
		fmt.Fprint(&b, value)
		for _, handler := range []slog.Handler{slog.NewTextHandler(&b, nil), slog.NewJSONHandler(&b, nil)} {
			slog.New(handler).Info("x", "value", value, slog.Group("g", slog.Any("value", value)))
		}
		encoded, err := json.Marshal(value)
		assert.NoError(t, err)
		b.Write(encoded)
		return b.String()
	}
	found := func(shown string) bool {
		return strings.Contains(shown, "Zq") || strings.Contains(strings.ToLower(shown), fmt.Sprintf("%x", "Zq"))
	}
	for name, value := range map[string]any{"value": h, "pointer": &h, "slice": []push.Handler{h}, "map": map[string]*push.Handler{"a": &h}} {
		shown := show(value)
		assert.False(t, found(shown), "%s: %s", name, shown)
		assert.Contains(t, shown, testAppID)
	}
	assert.True(t, found(show(control)), "the control")
	assert.Equal(t, slog.KindString, slog.AnyValue(h).Resolve().Kind(), "whatever writes the log")
	text := fmt.Sprintf("%v %+v %#v", holder{h, &h, h}, &holder{h, &h, &h}, holder{h, &h, h})
	assert.False(t, found(text), text)
}

// Who sends is not known before the body is read.
func TestSlowBodies(t *testing.T) {
	for name, test := range map[string]struct {
		server time.Duration // its ReadTimeout
		change func(url.Values)
		want   time.Duration
	}{
		"of a push":                   {0, func(url.Values) {}, 5 * time.Second},
		"of a refused request":        {0, func(q url.Values) { q.Del("encrypt_type") }, 5 * time.Second},
		"at a server that waits less": {2 * time.Second, func(url.Values) {}, 2 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				request := good.push(text("7", "x"))
				test.change(request.query)
				start := time.Now()
				client := pipetest.Dial(t, &http.Server{Handler: newServer(""), ReadTimeout: test.server})
				_, err := fmt.Fprintf(client, "POST /?%s HTTP/1.1\r\nHost: shop.example.com\r\nContent-Length: 1000\r\n\r\n<xml>", request.query.Encode())
				require.NoError(t, err)
				answer, err := io.ReadAll(client)
				require.NoError(t, err)
				assert.Contains(t, string(answer), "403 Forbidden")
				assert.Equal(t, test.want, time.Since(start).Truncate(time.Second))
			})
		})
	}
}

// Anybody can send what is not signed, and reading it must cost little more than
// sending it did.
func TestTheWorstRequestsAreCheap(t *testing.T) {
	var elements strings.Builder
	for i := 0; elements.Len() < 64<<10-20; i++ {
		fmt.Fprintf(&elements, "<a%d/>", i)
	}
	signed := good.push(text("7", "x")).query.Encode()
	for _, tt := range []struct{ name, query, body string }{
		{"elements", signed, "<xml>" + elements.String() + "</xml>"},
		{"elements in elements", signed, "<xml>" + strings.Repeat("<a>", 21000)},
		{"attributes", signed, "<xml " + strings.Repeat("a='' ", 13000) + "/>"},
		{"CDATA", signed, "<xml><Encrypt>" + strings.Repeat("<![CDATA[]]>", 5400) + "</Encrypt></xml>"},
		{"entities", signed, "<xml><Encrypt>" + strings.Repeat("&amp;", 13000) + "</Encrypt></xml>"},
		{"a long name", signed, "<xml><" + strings.Repeat("a", 65000) + "/></xml>"},
		{"a directive", signed, "<!DOCTYPE " + strings.Repeat("<", 65000)},
		{"a message", signed, "<xml><Encrypt>" + good.encrypt(text("7", strings.Repeat("x", 45000))) + "</Encrypt></xml>"},
		{"2 KiB of parameters", strings.Repeat("+&", 1<<10), ""},
		{"4 KiB of parameters", strings.Repeat("+&", 2<<10), ""},
		{"a megabyte of parameters", strings.Repeat("+&", 512<<10), ""},
	} {
		require.LessOrEqual(t, len(tt.body), 64<<10)
		s := newServer("")
		r, w := httptest.NewRequest(http.MethodPost, "/?"+tt.query, strings.NewReader(tt.body)), httptest.NewRecorder()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		s.ServeHTTP(w, r)
		runtime.ReadMemStats(&after)
		assert.Equal(t, http.StatusForbidden, w.Code, tt.name)
		assert.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(1<<20), "bytes for %s", tt.name)
		assert.Less(t, after.Mallocs-before.Mallocs, uint64(2000), "allocations for %s", tt.name)
	}
}

// On a real connection, too, with a body that has no end.
func TestEndlessBody(t *testing.T) {
	s := newServer("")
	web := httptest.NewServer(s)
	defer web.Close()
	request := good.push(text("7", "x"))
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, web.URL+"/?"+request.query.Encode(), io.MultiReader(strings.NewReader(request.body), endless{}))
	require.NoError(t, err)
	response, err := web.Client().Do(r)
	if err != nil {
		return // the connection was closed while the body was sent
	}
	defer response.Body.Close()
	assert.Equal(t, http.StatusForbidden, response.StatusCode)
}

type endless struct{}

func (endless) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = ' '
	}
	return len(b), nil
}
