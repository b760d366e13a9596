package push

import (
	"errors"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Message is what a person sent to the account, or an event that they caused.
// All of it but Time and Raw is text as WeChat wrote it, and Content is a
// stranger's: escape it wherever it is shown. The fields that a type does not
// have are empty.
// https://developers.weixin.qq.com/doc/offiaccount/Message_Management/Receiving_standard_messages.html
type Message struct {
	ToUser   string    // the account's original ID (原始ID), which begins with gh_
	FromUser string    // the person's openid in this account
	Time     time.Time // when WeChat made it, to the second
	Type     string    // "text", "image", "voice", "event" …
	Event    string    // of type event: "subscribe", "SCAN", "CLICK" …
	EventKey string    // of type event: of the menu's button or the QR code
	Ticket   string    // of type event: of the QR code
	Content  string    // of type text
	ID       string    // MsgId; empty for events. WeChat repeats a message with the same one
	Raw      []byte    // the whole message, decrypted: XML with everything else
}

var errFields = errors.New("a message without ToUserName, FromUserName, CreateTime or MsgType as WeChat writes them")

func parseMessage(document []byte) (Message, error) {
	elements, err := readXML(document)
	if err != nil {
		return Message{}, err
	}
	m := Message{Raw: document}
	var created string
	for name, field := range map[string]*string{
		"ToUserName":   &m.ToUser,
		"FromUserName": &m.FromUser,
		"CreateTime":   &created,
		"MsgType":      &m.Type,
		"Event":        &m.Event,
		"EventKey":     &m.EventKey,
		"Ticket":       &m.Ticket,
		"Content":      &m.Content,
		"MsgId":        &m.ID,
	} {
		found, ok := elements[name]
		if ok && !found.leaf {
			return Message{}, errXMLForm
		}
		*field = found.text
	}
	seconds, ok := parseSeconds(created)
	if !ok || !isID(m.ToUser) || !isID(m.FromUser) || !isID(m.Type) || m.ID != "" && !isID(m.ID) {
		return Message{}, errFields
	}
	m.Time = time.Unix(seconds, 0)
	if m.Type == typeEvent {
		m.ID = ""
	}
	return m, nil
}

const (
	typeEvent = "event"
	maxReply  = 2048 // bytes, of WeChat's
)

// cleanReply makes a text one that WeChat takes: without control characters but
// line breaks, without what XML cannot hold, and cut between characters.
func cleanReply(text string) string {
	text = strings.Map(func(c rune) rune {
		if c != '\n' && unicode.IsControl(c) || c == utf8.RuneError || c == 0xfffe || c == 0xffff {
			return -1
		}
		return c
	}, text)
	if len(text) > maxReply {
		end := maxReply
		for !utf8.RuneStart(text[end]) {
			end--
		}
		text = text[:end]
	}
	return text
}

// replyXML is a passive reply of type text (被动回复) to m.
func (m Message) replyXML(text string, now time.Time) string {
	return "<xml><ToUserName>" + cdata(m.FromUser) + "</ToUserName><FromUserName>" + cdata(m.ToUser) +
		"</FromUserName><CreateTime>" + strconv.FormatInt(now.Unix(), 10) +
		"</CreateTime><MsgType>" + cdata("text") + "</MsgType><Content>" + cdata(text) + "</Content></xml>"
}

func cdata(text string) string {
	return "<![CDATA[" + strings.ReplaceAll(text, "]]>", "]]]]><![CDATA[>") + "]]>"
}

// parseSeconds reads a Unix time as WeChat writes it.
func parseSeconds(text string) (seconds int64, ok bool) {
	if text == "" || len(text) > 10 || text[0] == '0' || strings.Trim(text, "0123456789") != "" {
		return 0, false
	}
	seconds, err := strconv.ParseInt(text, 10, 64)
	return seconds, err == nil
}

// isID holds for openids, original IDs and names of types.
func isID(s string) bool {
	return s != "" && len(s) <= 64 && isAlphanumeric(strings.NewReplacer("_", "", "-", "").Replace(s))
}
