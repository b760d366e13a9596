package wechatgate_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wechatgate/wechatgate"
	"github.com/wechatgate/wechatgate/internal/codes"
	"github.com/wechatgate/wechatgate/wechat/push"
)

// goodChat has secrets that the tests look for.
func goodChat() wechatgate.Chat {
	return wechatgate.Chat{AppID: "wxcccccccccccccccc", Name: "小店", Token: "5ecre7t0ken", EncodingAESKey: "5ecre7" + strings.Repeat("k", 37)}
}

func TestNewNamesMistakesInCodeSignIn(t *testing.T) {
	chat := func(change func(*wechatgate.Chat)) func(*wechatgate.Options) {
		return func(o *wechatgate.Options) {
			c := goodChat()
			change(&c)
			o.CodeSignIn.Chat = c
		}
	}
	for _, row := range []struct {
		wrong  string
		change func(*wechatgate.Options)
		field  string // "" for what is right
		right  string
	}{
		{"nothing, with a whole chat", chat(func(*wechatgate.Chat) {}), "", ""},
		{"nothing, with a chat that CodeFor serves", chat(func(c *wechatgate.Chat) { c.Token, c.EncodingAESKey = "", "" }), "", ""},
		{"nothing, with a chat alone", func(o *wechatgate.Options) {
			o.OfficialAccount, o.Website, o.CodeSignIn.Chat = wechatgate.App{}, wechatgate.App{}, goodChat()
		}, "", ""},
		{"nothing, with the official account's chat", chat(func(c *wechatgate.Chat) { c.AppID = "wxaaaaaaaaaaaaaaaa" }), "", ""},
		{"nothing, while the key changes", chat(func(c *wechatgate.Chat) { c.OldEncodingAESKey = strings.Repeat("o", 43) }), "", ""},
		{"nothing, with a QR code of this site", chat(func(c *wechatgate.Chat) { c.QRImage = "/qr.jpg" }), "", ""},
		{"nothing, with a QR code elsewhere", chat(func(c *wechatgate.Chat) { c.QRImage = "https://cdn.example.com/qr.jpg" }), "", ""},

		{"Scan without an official account", func(o *wechatgate.Options) { o.OfficialAccount, o.CodeSignIn.Scan = wechatgate.App{}, true }, "Scan", "needs OfficialAccount"},
		{"Codes alone", func(o *wechatgate.Options) { o.CodeSignIn.Codes = codes.NewMemory() }, "Codes", "needs Scan or Chat"},
		{"no AppID", chat(func(c *wechatgate.Chat) { c.AppID = "" }), "Chat.AppID", "is required"},
		{"a name alone", func(o *wechatgate.Options) { o.CodeSignIn.Chat.Name = "小店" }, "Chat.AppID", "is required"},
		{"an original ID", chat(func(c *wechatgate.Chat) { c.AppID = "gh_0123456789ab" }), "Chat.AppID", "which begins with wx"},
		{"an AppID with a space", chat(func(c *wechatgate.Chat) { c.AppID += " " }), "Chat.AppID", "letters and digits only"},
		{"an AppID that the message server would refuse", chat(func(c *wechatgate.Chat) { c.AppID = "cccccccccccccccc" }), "Chat.AppID", "which begins with wx"},
		{"the website app's AppID", chat(func(c *wechatgate.Chat) { c.AppID = "wxbbbbbbbbbbbbbbbb" }), "Chat.AppID", "has no chat"},
		{"a QR code over http", chat(func(c *wechatgate.Chat) { c.QRImage = "http://cdn.example.com/qr.jpg" }), "Chat.QRImage", "https"},
		{"a QR code at another host's path", chat(func(c *wechatgate.Chat) { c.QRImage = "//cdn.example.com/qr.jpg" }), "Chat.QRImage", "https"},
		{"a script in place of a QR code", chat(func(c *wechatgate.Chat) { c.QRImage = "javascript:alert(1)" }), "Chat.QRImage", "https"},
		{"a key without a Token", chat(func(c *wechatgate.Chat) { c.Token = "" }), "Chat.Token", "is missing"},
		{"an old key alone", chat(func(c *wechatgate.Chat) { c.Token, c.OldEncodingAESKey, c.EncodingAESKey = "", c.EncodingAESKey, "" }), "Chat.Token", "is missing"},
		{"a Token without a key", chat(func(c *wechatgate.Chat) { c.EncodingAESKey = "" }), "Chat.EncodingAESKey", "is missing"},
		{"a short Token", chat(func(c *wechatgate.Chat) { c.Token = "5e" }), "Chat.Token", "3 to 32"},
		{"a Token with a space", chat(func(c *wechatgate.Chat) { c.Token += " " }), "Chat.Token", "letters and digits"},
		{"a short key", chat(func(c *wechatgate.Chat) { c.EncodingAESKey = c.EncodingAESKey[:42] }), "Chat.EncodingAESKey", "43 letters and digits"},
		{"a key with an equals sign", chat(func(c *wechatgate.Chat) { c.EncodingAESKey += "=" }), "Chat.EncodingAESKey", "43 letters and digits"},
		{"a short old key", chat(func(c *wechatgate.Chat) { c.OldEncodingAESKey = "5ecre7" }), "Chat.OldEncodingAESKey", "43 letters and digits"},
		{"OnMessage, and no messages", chat(func(c *wechatgate.Chat) {
			c.Token, c.EncodingAESKey = "", ""
			c.OnMessage = func(context.Context, push.Message) (string, error) { return "", nil }
		}), "Chat.OnMessage", "needs Token and EncodingAESKey"},
	} {
		t.Run(row.wrong, func(t *testing.T) {
			o := goodOptions()
			o.Logger = slog.New(slog.DiscardHandler)
			row.change(&o)
			_, err := wechatgate.New(o)
			if row.field == "" {
				require.NoError(t, err)
				return
			}
			require.Error(t, err)
			assert.Len(t, mistakes(err), 1, "this mistake and no other: %v", err)
			assert.Contains(t, err.Error(), "wechatgate: Options.CodeSignIn."+row.field+": ")
			assert.Contains(t, err.Error(), row.right)
			assertNoSecrets(t, err.Error())
		})
	}
}

func TestNewWarnsOfCodesInMemory(t *testing.T) {
	for name, row := range map[string]struct {
		codes wechatgate.CodeStore
		chat  wechatgate.Chat
		want  int
	}{
		"memory":        {nil, goodChat(), 1},
		"a CodeStore":   {codes.NewMemory(), goodChat(), 0},
		"no CodeSignIn": {nil, wechatgate.Chat{}, 0},
	} {
		log := &logBuffer{}
		o := goodOptions()
		o.Logger = log.logger()
		o.CodeSignIn = wechatgate.CodeSignIn{Chat: row.chat, Codes: row.codes}
		_, err := wechatgate.New(o)
		require.NoError(t, err)
		assert.Len(t, log.lines("level=WARN"), row.want, name)
	}
}

func TestCodeSettingsPrintWithoutSecrets(t *testing.T) {
	o := goodOptions()
	o.CodeSignIn = wechatgate.CodeSignIn{Scan: true, Chat: goodChat()}
	o.CodeSignIn.Chat.OldEncodingAESKey = "5ecre7" + strings.Repeat("o", 37)
	for name, value := range map[string]any{
		"Chat": o.CodeSignIn.Chat, "*Chat": &o.CodeSignIn.Chat,
		"CodeSignIn": o.CodeSignIn, "*CodeSignIn": &o.CodeSignIn,
		"Options": o, "*Options": &o,
		"what holds one": struct{ Inner wechatgate.CodeSignIn }{o.CodeSignIn},
	} {
		var text bytes.Buffer
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			fmt.Fprintf(&text, verb+"\n", value)
		}
		slog.New(slog.NewTextHandler(&text, nil)).Info("", "value", value)
		if !strings.HasSuffix(name, "Options") { // package json takes no functions
			slog.New(slog.NewJSONHandler(&text, nil)).Info("", "value", value)
			marshalled, err := json.Marshal(value)
			require.NoError(t, err, name)
			text.Write(marshalled)
		}
		assertNoSecrets(t, text.String())
		assert.Contains(t, text.String(), o.OfficialAccount.ID[:2], name)
	}
}
