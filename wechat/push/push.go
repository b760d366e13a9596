package push

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/wechatgate/wechatgate/internal/arrival"
)

// Handler is the server of one account. It serves the console's address, which
// may have any path and a query of its own.
//
// It answers the console's check, and hands each message to OnMessage once it
// knows that WeChat wrote it, for this account and within the last five minutes.
// Everything else gets 403 and a log record that names the setting to mend.
// Without AppID, Token or a good EncodingAESKey that is everything. A request has
// 5 seconds to arrive, where the server can limit that (see
// [http.ResponseController]).
//
// A message that WeChat repeats within a minute gets the same answer, and
// OnMessage does not hear of it. That is remembered in this process, for some
// thousand messages. On several machines, and for events, which WeChat does not
// number, OnMessage may be called again. It may as well when somebody who has
// recorded a message repeats it: they can for five minutes.
//
// A Handler prints, logs (log/slog) and marshals (encoding/json) without its
// Token and keys. Its logs hold no message and no openid. It is safe for many
// goroutines at once, as long as nobody changes a field. A copy made after the
// first message remembers together with its original.
type Handler struct {
	// AppID is the account's, which begins with wx.
	AppID string
	// Token is the console's 令牌(Token): 3 to 32 letters and digits.
	Token string
	// EncodingAESKey is the console's 消息加解密密钥: 43 letters and digits.
	EncodingAESKey string
	// OldEncodingAESKey is the key before, accepted while the console changes
	// it. A reply uses the key that opened the message. Default: none.
	OldEncodingAESKey string

	// OnMessage gets every message and event, and returns a text to reply, or
	// "" for none. Control characters but line breaks are taken out of it, and
	// it is cut at 2,048 bytes. Default nil: no replies.
	//
	// It has 4 seconds, because WeChat waits 5 and then repeats the message:
	// then its context ends, and the answer is no reply, as after an error or a
	// panic. Each makes a log record, which names the error's type alone, since
	// its text may hold what somebody wrote. The context has the values of the
	// request's, and does not end with its connection.
	OnMessage func(context.Context, Message) (reply string, err error)

	// Logger gets a record of each refusal and failure. Default: none.
	Logger *slog.Logger

	// seen points to a *memory, made by the first message. It is no
	// atomic.Pointer, so that a Handler may be copied.
	seen unsafe.Pointer
}

const (
	maxBody       = 64 << 10
	maxQuery      = 2 << 10
	maxEcho       = 128
	maxNonce      = 128
	maxAge        = 5 * time.Minute // of a message, in both directions
	readTimeout   = 5 * time.Second // of a request: WeChat waits no longer for its answer
	answerTimeout = 4 * time.Second
	remembered    = time.Minute
)

// Validate returns every mistake in the settings at once, each naming its field,
// and none of their values.
func (h *Handler) Validate() error {
	_, _, err := h.keys()
	return err
}

// ServeHTTP answers WeChat.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	arrival.Limit(w, r, readTimeout) // also for the rest of a body that is refused
	key, old, err := h.keys()
	if err != nil {
		h.refuse(w, r, refusal{err, "push.Handler takes AppID, Token and EncodingAESKey from the console's 开发密钥 and 服务器配置"}, slog.LevelError)
		return
	}
	switch r.Method {
	case http.MethodGet:
		h.check(w, r)
	case http.MethodPost:
		h.receive(w, r, key, old)
	default:
		w.Header().Set("Allow", "GET, POST")
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
	}
}

// Format writes the AppID alone, whatever the verb.
func (h Handler) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, h.String()) }

// String returns the AppID.
func (h Handler) String() string { return "push.Handler(" + h.AppID + ")" }

// LogValue returns the AppID alone.
func (h Handler) LogValue() slog.Value { return slog.StringValue(h.String()) }

// MarshalJSON writes the AppID alone.
func (h Handler) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct{ AppID string }{h.AppID})
}

// keys returns the keys of the settings; old is nil where there is none.
func (h *Handler) keys() (key aesKey, old *aesKey, err error) {
	var errs []error
	if len(h.AppID) > 64 || !strings.HasPrefix(h.AppID, "wx") || !isAlphanumeric(h.AppID) {
		errs = append(errs, errors.New("push: Handler.AppID: want the account's AppID, which begins with wx"))
	}
	if len(h.Token) < 3 || len(h.Token) > 32 || !isAlphanumeric(h.Token) {
		errs = append(errs, errors.New("push: Handler.Token: want the 3 to 32 letters and digits of the console's 令牌(Token)"))
	}
	key, err = parseKey(h.EncodingAESKey)
	if err != nil {
		errs = append(errs, fmt.Errorf("push: Handler.EncodingAESKey: %w", err))
	}
	if h.OldEncodingAESKey != "" {
		parsed, err := parseKey(h.OldEncodingAESKey)
		if err != nil {
			errs = append(errs, fmt.Errorf("push: Handler.OldEncodingAESKey: %w", err))
		}
		old = &parsed
	}
	return key, old, errors.Join(errs...)
}

// refusal is why a request gets 403, and which setting to look at.
type refusal struct {
	err  error
	hint string
}

func (h *Handler) refuse(w http.ResponseWriter, r *http.Request, why refusal, level slog.Level) {
	h.log().LogAttrs(r.Context(), level, "push refused",
		slog.String("app_id", h.AppID), slog.String("error", why.err.Error()), slog.String("hint", why.hint))
	http.Error(w, "forbidden", http.StatusForbidden)
}

func (h *Handler) log() *slog.Logger {
	if h.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return h.Logger
}

const (
	hintToken  = "服务器配置: 令牌(Token) has to be Handler.Token. Requests that are not WeChat's end here, too"
	hintKey    = "服务器配置: 消息加解密密钥(EncodingAESKey) has to be Handler.EncodingAESKey, or OldEncodingAESKey while it changes, and the account has to be that of Handler.AppID"
	hintMode   = "服务器配置: 消息加解密方式 has to be 安全模式"
	hintFormat = "服务器配置: 数据格式 has to be XML"
	hintClock  = "the clock of this machine has to be right within five minutes. Somebody may be repeating an old message"
	hintForm   = "WeChat does not write this where 服务器配置 says 安全模式 and XML: somebody else, or something on the way, did"
)

var (
	errQuery     = errors.New("a query that WeChat does not write")
	errSignature = errors.New("the signature is wrong")
	errEcho      = errors.New("an echostr that is not of 1 to 128 bytes")
	errBody      = errors.New("the body cannot be read within 5 seconds, or has more than 64 KiB")
	errPlain     = errors.New("a message in plain text")
	errStale     = errors.New("the time is not within five minutes of now")
)

// check answers the console, which asks when the settings are saved. That
// signature covers no message and holds for ever: it opens nothing but this.
func (h *Handler) check(w http.ResponseWriter, r *http.Request) {
	q, ok := parseQuery(r.URL.RawQuery)
	switch {
	case !ok:
		h.refuse(w, r, refusal{errQuery, hintToken}, slog.LevelWarn)
	case !signedBy(q.signature, h.Token, q.timestamp, q.nonce):
		h.refuse(w, r, refusal{errSignature, hintToken}, slog.LevelWarn)
	case len(q.echo) < 1 || len(q.echo) > maxEcho:
		h.refuse(w, r, refusal{errEcho, hintForm}, slog.LevelWarn)
	default:
		writeText(w, q.echo)
	}
}

func (h *Handler) receive(w http.ResponseWriter, r *http.Request, key aesKey, old *aesKey) {
	message, opened, why := h.open(w, r, key, old)
	if why.err != nil {
		h.refuse(w, r, why, slog.LevelWarn)
		return
	}
	reply := h.answer(r.Context(), message)
	if reply == "" {
		writeText(w, noReply)
		return
	}
	now := time.Now()
	encrypted, err := opened.seal(freshRandom(), message.replyXML(reply, now), h.AppID)
	if err != nil {
		h.log().LogAttrs(r.Context(), slog.LevelError, "push reply not encrypted", slog.String("app_id", h.AppID), slog.String("error", err.Error()))
		writeText(w, noReply)
		return
	}
	timestamp, nonce := strconv.FormatInt(now.Unix(), 10), freshNonce()
	w.Header().Set("Content-Type", "text/xml; charset=utf-8")
	_, _ = io.WriteString(w, "<xml><Encrypt>"+cdata(encrypted)+"</Encrypt><MsgSignature>"+cdata(sign(h.Token, timestamp, nonce, encrypted))+
		"</MsgSignature><TimeStamp>"+timestamp+"</TimeStamp><Nonce>"+cdata(nonce)+"</Nonce></xml>")
}

// open returns the request's message and the key that opened it, or why it is
// refused.
func (h *Handler) open(w http.ResponseWriter, r *http.Request, key aesKey, old *aesKey) (Message, aesKey, refusal) {
	q, ok := parseQuery(r.URL.RawQuery)
	if !ok {
		return Message{}, aesKey{}, refusal{errQuery, hintToken}
	}
	if q.encryptType != "aes" {
		return Message{}, aesKey{}, refusal{errPlain, hintMode}
	}
	body, err := readBody(w, r)
	if err != nil {
		return Message{}, aesKey{}, refusal{errBody, hintForm}
	}
	envelope, err := readEnvelope(body)
	if err != nil {
		return Message{}, aesKey{}, formRefusal(err)
	}
	for name := range envelope {
		if name != "ToUserName" && name != "Encrypt" {
			return Message{}, aesKey{}, refusal{errPlain, hintMode} // 兼容模式 sends both
		}
	}
	encrypted := envelope["Encrypt"]
	switch {
	case encrypted.text == "":
		return Message{}, aesKey{}, refusal{errPlain, hintMode}
	case !encrypted.leaf:
		return Message{}, aesKey{}, formRefusal(errXMLForm)
	case !signedBy(q.msgSignature, h.Token, q.timestamp, q.nonce, encrypted.text):
		return Message{}, aesKey{}, refusal{errSignature, hintToken}
	}
	if seconds, ok := parseSeconds(q.timestamp); !ok || !isFresh(time.Unix(seconds, 0)) {
		return Message{}, aesKey{}, refusal{errStale, hintClock}
	}

	plain, err := key.open(encrypted.text, h.AppID)
	if err != nil && old != nil {
		if plain, oldErr := old.open(encrypted.text, h.AppID); oldErr == nil {
			return freshMessage(plain, *old)
		}
	}
	if err != nil {
		return Message{}, aesKey{}, refusal{err, hintKey}
	}
	return freshMessage(plain, key)
}

func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if r.Body == nil { // a request that a program made by hand
		return nil, nil
	}
	return io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
}

func freshMessage(plain []byte, opened aesKey) (Message, aesKey, refusal) {
	m, err := parseMessage(plain)
	if err != nil {
		return Message{}, aesKey{}, formRefusal(err)
	}
	if !isFresh(m.Time) {
		return Message{}, aesKey{}, refusal{errStale, hintClock}
	}
	return m, opened, refusal{}
}

func formRefusal(err error) refusal {
	if errors.Is(err, errJSON) {
		return refusal{err, hintFormat}
	}
	return refusal{err, hintForm}
}

func isFresh(t time.Time) bool { return time.Since(t).Abs() <= maxAge }

// query is what WeChat adds to the address.
type query struct {
	signature, msgSignature, timestamp, nonce, echo, encryptType string
}

// parseQuery refuses parameters of WeChat's that are there twice: who reads the
// first and who reads the last would see two requests.
func parseQuery(raw string) (q query, ok bool) {
	if len(raw) > maxQuery {
		return query{}, false
	}
	values, err := url.ParseQuery(raw)
	if err != nil {
		return query{}, false
	}
	for name, field := range map[string]*string{
		"signature":     &q.signature,
		"msg_signature": &q.msgSignature,
		"timestamp":     &q.timestamp,
		"nonce":         &q.nonce,
		"echostr":       &q.echo,
		"encrypt_type":  &q.encryptType,
	} {
		switch given := values[name]; len(given) {
		case 0:
		case 1:
			*field = given[0]
		default:
			return query{}, false
		}
	}
	_, isTime := parseSeconds(q.timestamp)
	return q, isTime && q.nonce != "" && len(q.nonce) <= maxNonce
}

// noReply tells WeChat that all is well.
const noReply = "success"

func writeText(w http.ResponseWriter, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = io.WriteString(w, text)
}

// answer asks OnMessage, or remembers what it said.
func (h *Handler) answer(ctx context.Context, m Message) (reply string) {
	if h.OnMessage == nil {
		return ""
	}
	if m.ID == "" {
		return h.ask(ctx, m)
	}
	return h.memory().once(ctx, m.FromUser+" "+m.ID, func() string { return h.ask(ctx, m) })
}

func (h *Handler) memory() *memory {
	if p := atomic.LoadPointer(&h.seen); p != nil {
		return (*memory)(p)
	}
	atomic.CompareAndSwapPointer(&h.seen, nil, unsafe.Pointer(newMemory())) //nolint:gosec // the reason stands at Handler.seen
	return (*memory)(atomic.LoadPointer(&h.seen))
}

// ask returns OnMessage's reply as WeChat takes it, or "" and a log record.
func (h *Handler) ask(ctx context.Context, m Message) (reply string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), answerTimeout)
	defer cancel()
	type result struct{ reply, problem string }
	answered := make(chan result, 1)
	go func() {
		got := result{problem: "it ended its goroutine"}
		defer func() {
			if v := recover(); v != nil {
				got = result{problem: fmt.Sprintf("it panicked with a %T", v)}
			}
			answered <- got
		}()
		reply, err := h.OnMessage(ctx, m)
		got = result{reply: reply}
		if err != nil {
			got = result{problem: fmt.Sprintf("it returned a %T", err)}
		}
	}()
	got := result{problem: "it took longer than " + answerTimeout.String()}
	select {
	case got = <-answered:
	case <-ctx.Done():
	}
	if got.problem == "" {
		return cleanReply(got.reply)
	}
	h.log().LogAttrs(ctx, slog.LevelError, "push: OnMessage failed", slog.String("app_id", h.AppID), slog.String("error", got.problem))
	return ""
}
