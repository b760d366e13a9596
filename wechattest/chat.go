package wechattest

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha1" //nolint:gosec // WeChat's signatures
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// ChatSettings is what the console's 服务器配置 holds, in 安全模式 and XML.
type ChatSettings struct {
	AppID          string // of the account whose chat it is; empty: the server's official account
	Token          string // 令牌
	EncodingAESKey string // 消息加解密密钥, 43 characters
}

// Chat is the chat of an account whose messages go to a server of the site's, as
// WeChat sends them: encrypted, three times until there is an answer, each time
// for 5 seconds. It may be used by many goroutines at once.
//
// https://developers.weixin.qq.com/doc/offiaccount/Message_Management/Message_encryption_and_decryption_instructions.html
type Chat struct {
	// Transport makes the requests; nil: the network. Set it before use.
	Transport http.RoundTripper

	serverURL string
	settings  ChatSettings
	key       []byte
	keyError  error
	network   http.RoundTripper
	server    *Server
}

// Chat returns the chat of an account. serverURL is the address that the console
// holds (服务器地址), for a gate its page "messages".
func (s *Server) Chat(serverURL string, settings ChatSettings) *Chat {
	if settings.AppID == "" {
		settings.AppID = s.OfficialAccount.ID
	}
	c := &Chat{serverURL: serverURL, settings: settings, network: s.browsers, server: s}
	c.key, c.keyError = base64.StdEncoding.DecodeString(settings.EncodingAESKey + "=")
	if len(settings.EncodingAESKey) != 43 || c.keyError != nil {
		c.keyError = errors.New("wechattest: ChatSettings.EncodingAESKey is not 43 characters of base64")
	}
	return c
}

// The limits of WeChat's side.
const (
	chatTries     = 3
	chatTimeLimit = 5 * time.Second
	maxReply      = 2048 // bytes of a text
)

// ErrChatFailed is in the error for a message that got no good answer. People in
// the chat then read 该公众号提供的服务出现故障.
var ErrChatFailed = errors.New("the server of the chat has no good answer")

// Check does what the console does when 服务器配置 is saved: it sends an echostr,
// which has to come back within 5 seconds. It refuses a wrong EncodingAESKey.
func (c *Chat) Check(ctx context.Context) error {
	if c.keyError != nil {
		return c.keyError
	}
	timestamp, nonce := now(), randomHex(5)
	echo := strconv.FormatUint(randomNumber(), 10)
	query := url.Values{"signature": {sign(c.settings.Token, timestamp, nonce)}, "timestamp": {timestamp}, "nonce": {nonce}, "echostr": {echo}}
	status, body, err := c.request(ctx, http.MethodGet, query.Encode(), "")
	if err != nil {
		return fmt.Errorf("wechattest: %w: %w", ErrChatFailed, err)
	}
	if status != http.StatusOK || body != echo {
		return fmt.Errorf("wechattest: %w: status %d, and the echostr did not come back alone", ErrChatFailed, status)
	}
	return nil
}

// Text sends what a person types into the chat, and returns the text that the
// server replies, or "" for none. The account then knows the person's openid,
// follower or not.
func (c *Chat) Text(ctx context.Context, from Person, text string) (reply string, err error) {
	c.meet(from, "")
	return c.send(ctx, c.text(from, text, time.Now()))
}

// Event sends what a person does: event is WeChat's name, such as "subscribe",
// "SCAN" or "CLICK", and key its EventKey. Events have no MsgId. In the chat of
// the server's official account, "subscribe" is [Server.Follow] and "unsubscribe"
// is [Server.Unfollow], too.
func (c *Chat) Event(ctx context.Context, from Person, event, key string) (reply string, err error) {
	c.meet(from, event)
	return c.send(ctx, chatMessage{
		ToUser: cdata(c.name()), FromUser: cdata(OpenID(c.settings.AppID, from)), Time: time.Now().Unix(),
		Type: cdata("event"), Event: &cdataElement{event}, EventKey: &cdataElement{key},
	})
}

// meet makes the official account know who writes in its chat.
func (c *Chat) meet(p Person, event string) {
	switch {
	case c.settings.AppID != c.server.OfficialAccount.ID:
	case event == "subscribe":
		c.server.Follow(p)
	case event == "unsubscribe":
		c.server.Unfollow(p)
	default:
		c.server.mu.Lock()
		defer c.server.mu.Unlock()
		c.server.openIDs[OpenID(c.settings.AppID, p)] = true
	}
}

// Forgery is what somebody sends who is not WeChat.
type Forgery int

const (
	ForgeReplay    Forgery = iota + 1 // a message that WeChat sent ten minutes ago, byte for byte
	ForgePlain                        // a plain message with a good signature, which covers no body
	ForgeApp                          // a message for another app's chat
	ForgeSignature                    // a msg_signature made without the token
	ForgeKey                          // a message encrypted with another key
)

// Forge sends a text that WeChat did not, once, and returns how the server
// answered. A good server refuses each kind.
func (c *Chat) Forge(ctx context.Context, kind Forgery, from Person, text string) (status int, body string, err error) {
	if c.keyError != nil {
		return 0, "", c.keyError
	}
	at := time.Now()
	if kind == ForgeReplay {
		at = at.Add(-10 * time.Minute)
	}
	message := c.text(from, text, at)
	timestamp, nonce := strconv.FormatInt(at.Unix(), 10), randomHex(5)
	query := url.Values{"timestamp": {timestamp}, "nonce": {nonce}, "signature": {sign(c.settings.Token, timestamp, nonce)}, "openid": {message.FromUser.Text}}
	if kind == ForgePlain {
		return c.request(ctx, http.MethodPost, query.Encode(), toXML(message))
	}
	appID, key, token := c.settings.AppID, c.key, c.settings.Token
	switch kind {
	case ForgeApp:
		appID = "wx" + randomHex(8)
	case ForgeKey:
		key = randomBytes(32)
	case ForgeSignature:
		token = randomHex(8)
	}
	sealed := encrypt(key, randomBytes(16), toXML(message), appID)
	query.Set("encrypt_type", "aes")
	query.Set("msg_signature", sign(token, timestamp, nonce, sealed))
	return c.request(ctx, http.MethodPost, query.Encode(), toXML(chatEnvelope{ToUser: cdata(c.name()), Encrypt: cdata(sealed)}))
}

// name is the account's own in its chat.
func (c *Chat) name() string {
	sum := sha256.Sum256([]byte(c.settings.AppID))
	return "gh_" + hex.EncodeToString(sum[:6])
}

func (c *Chat) text(from Person, text string, at time.Time) chatMessage {
	return chatMessage{
		ToUser: cdata(c.name()), FromUser: cdata(OpenID(c.settings.AppID, from)), Time: at.Unix(),
		Type: cdata("text"), Content: &cdataElement{text}, ID: randomNumber(),
	}
}

// send asks three times at most, with the same MsgId.
func (c *Chat) send(ctx context.Context, message chatMessage) (reply string, err error) {
	if c.keyError != nil {
		return "", c.keyError
	}
	for range chatTries {
		timestamp, nonce := now(), randomHex(5)
		sealed := encrypt(c.key, randomBytes(16), toXML(message), c.settings.AppID)
		query := url.Values{
			"signature": {sign(c.settings.Token, timestamp, nonce)}, "timestamp": {timestamp}, "nonce": {nonce},
			"openid": {message.FromUser.Text}, "encrypt_type": {"aes"},
			"msg_signature": {sign(c.settings.Token, timestamp, nonce, sealed)},
		}
		var status int
		var body string
		status, body, err = c.request(ctx, http.MethodPost, query.Encode(), toXML(chatEnvelope{ToUser: cdata(c.name()), Encrypt: cdata(sealed)}))
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
		if err == nil && status == http.StatusOK {
			return c.readReply(body, message)
		}
		if err == nil {
			err = fmt.Errorf("status %d", status)
		}
	}
	return "", fmt.Errorf("wechattest: %w: %w", ErrChatFailed, err)
}

func (c *Chat) request(ctx context.Context, method, query, body string) (status int, answer string, err error) {
	ctx, cancel := context.WithTimeout(ctx, chatTimeLimit)
	defer cancel()
	separator := "?"
	if strings.Contains(c.serverURL, "?") {
		separator = "&"
	}
	r, err := http.NewRequestWithContext(ctx, method, c.serverURL+separator+query, strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	r.Header.Set("User-Agent", "Mozilla/4.0")
	r.Header.Set("Accept", "*/*")
	if body != "" {
		r.Header.Set("Content-Type", "text/xml")
	}
	transport := c.Transport
	if transport == nil {
		transport = c.network
	}
	response, err := transport.RoundTrip(r)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	return response.StatusCode, string(text), err
}

// readReply takes a reply as WeChat does: encrypted for this account, a text for
// whom it answers.
func (c *Chat) readReply(body string, message chatMessage) (string, error) {
	if body = strings.TrimSpace(body); body == "" || body == "success" {
		return "", nil
	}
	problem := func(what string) (string, error) {
		return "", fmt.Errorf("wechattest: %w: the reply %s", ErrChatFailed, what)
	}
	var sealed struct {
		Encrypt, MsgSignature, TimeStamp, Nonce string
	}
	if xml.Unmarshal([]byte(body), &sealed) != nil || sealed.Encrypt == "" {
		return problem("is neither empty, nor success, nor encrypted XML")
	}
	if sealed.MsgSignature != sign(c.settings.Token, sealed.TimeStamp, sealed.Nonce, sealed.Encrypt) {
		return problem("has a wrong MsgSignature")
	}
	text, appID, err := decrypt(c.key, sealed.Encrypt)
	if err != nil || appID != c.settings.AppID {
		return problem("is not encrypted with this account's key and AppID")
	}
	var reply struct {
		ToUserName, FromUserName, MsgType, Content string
		CreateTime                                 int64
	}
	switch err := xml.Unmarshal([]byte(text), &reply); {
	case err != nil || reply.CreateTime == 0:
		return problem("holds no message")
	case reply.ToUserName != message.FromUser.Text || reply.FromUserName != message.ToUser.Text:
		return problem("is for somebody else")
	case reply.MsgType != "text":
		return problem("is no text")
	case reply.Content == "" || len(reply.Content) > maxReply:
		return problem("has no words, or more than 2,048 bytes")
	}
	return reply.Content, nil
}

// chatMessage is what WeChat sends about a person.
type chatMessage struct {
	XMLName  xml.Name      `xml:"xml"`
	ToUser   cdataElement  `xml:"ToUserName"`
	FromUser cdataElement  `xml:"FromUserName"`
	Time     int64         `xml:"CreateTime"`
	Type     cdataElement  `xml:"MsgType"`
	Content  *cdataElement `xml:"Content,omitempty"`
	Event    *cdataElement `xml:"Event,omitempty"`
	EventKey *cdataElement `xml:"EventKey,omitempty"`
	ID       uint64        `xml:"MsgId,omitempty"`
}

type chatEnvelope struct {
	XMLName xml.Name     `xml:"xml"`
	ToUser  cdataElement `xml:"ToUserName"`
	Encrypt cdataElement `xml:"Encrypt"`
}

type cdataElement struct {
	Text string `xml:",cdata"`
}

func cdata(text string) cdataElement { return cdataElement{text} }

func toXML(v any) string {
	text, err := xml.Marshal(v)
	if err != nil {
		panic("wechattest: " + err.Error()) // structs of strings and numbers can be marshalled
	}
	return string(text)
}

// sign joins the sorted parts.
func sign(parts ...string) string {
	slices.Sort(parts)
	sum := sha1.Sum([]byte(strings.Join(parts, ""))) //nolint:gosec // WeChat's signatures
	return hex.EncodeToString(sum[:])
}

const chatBlock = 32 // bytes to which messages are padded

// encrypt is written apart from package push's, so that each judges the other.
func encrypt(key, random []byte, message, appID string) string {
	plain := slices.Clone(random)
	plain = binary.BigEndian.AppendUint32(plain, uint32(len(message))) //nolint:gosec // texts are short
	plain = append(append(plain, message...), appID...)
	padding := chatBlock - len(plain)%chatBlock
	plain = append(plain, bytes.Repeat([]byte{byte(padding)}, padding)...)
	block, err := aes.NewCipher(key)
	if err != nil {
		panic("wechattest: " + err.Error()) // the key has 32 bytes
	}
	cipher.NewCBCEncrypter(block, key[:aes.BlockSize]).CryptBlocks(plain, plain)
	return base64.StdEncoding.EncodeToString(plain)
}

func decrypt(key []byte, sealed string) (message, appID string, err error) {
	bad := errors.New("wechattest: not encrypted as WeChat does")
	text, err := base64.StdEncoding.DecodeString(sealed)
	if err != nil || len(text) < chatBlock || len(text)%chatBlock != 0 {
		return "", "", bad
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return "", "", bad
	}
	cipher.NewCBCDecrypter(block, key[:aes.BlockSize]).CryptBlocks(text, text)
	padding := int(text[len(text)-1])
	if padding < 1 || padding > chatBlock || !bytes.HasSuffix(text, bytes.Repeat([]byte{byte(padding)}, padding)) {
		return "", "", bad
	}
	text = text[:len(text)-padding]
	if len(text) < 20 {
		return "", "", bad
	}
	length := int(binary.BigEndian.Uint32(text[16:20]))
	if text = text[20:]; length > len(text) {
		return "", "", bad
	}
	return string(text[:length]), string(text[length:]), nil
}

func now() string { return strconv.FormatInt(time.Now().Unix(), 10) }

func randomBytes(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return b
}

func randomNumber() uint64 { return binary.BigEndian.Uint64(randomBytes(8))>>1 | 1<<62 }
