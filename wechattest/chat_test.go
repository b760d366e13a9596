package wechattest_test

import (
	"context"
	"encoding/xml"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wechatgate/wechatgate/wechat/push"
	"github.com/wechatgate/wechatgate/wechattest"
)

// over answers requests without the network, and leaves when their context ends.
type over struct{ http.Handler }

func (o over) RoundTrip(r *http.Request) (*http.Response, error) {
	answered := make(chan *http.Response, 1)
	go func() {
		w := httptest.NewRecorder()
		o.ServeHTTP(w, r)
		answered <- w.Result()
	}()
	select {
	case response := <-answered:
		return response, nil
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
}

func chatWith(s *wechattest.Server, handler http.Handler) *wechattest.Chat {
	chat := s.Chat("https://shop.example.com/wechat/messages?x=1", chatSettings())
	chat.Transport = over{handler}
	return chat
}

func chatSettings() wechattest.ChatSettings {
	return wechattest.ChatSettings{AppID: "wxba5fad812f8e6fb9", Token: "AAAAA", EncodingAESKey: strings.Repeat("A", 43)}
}

func pushServer(onMessage func(context.Context, push.Message) (string, error)) *push.Handler {
	settings := chatSettings()
	return &push.Handler{AppID: settings.AppID, Token: settings.Token, EncodingAESKey: settings.EncodingAESKey, OnMessage: onMessage}
}

func TestChat(t *testing.T) {
	s := newServer(t)
	alice := wechattest.Person{Name: "alice"}
	var heard []push.Message
	reply := "你好 <b>]]>&"
	chat := chatWith(s, pushServer(func(_ context.Context, m push.Message) (string, error) {
		heard = append(heard, m)
		return reply, nil
	}))

	require.NoError(t, chat.Check(t.Context()))
	got, err := chat.Text(t.Context(), alice, "4821 3907 ]]> & <x>")
	require.NoError(t, err)
	assert.Equal(t, reply, got)
	reply = ""
	got, err = chat.Event(t.Context(), alice, "SCAN", "key")
	require.NoError(t, err)
	assert.Empty(t, got)

	require.Len(t, heard, 2)
	for i, want := range []push.Message{
		{Type: "text", Content: "4821 3907 ]]> & <x>"},
		{Type: "event", Event: "SCAN", EventKey: "key"},
	} {
		m := heard[i]
		assert.Equal(t, wechattest.OpenID(chatSettings().AppID, alice), m.FromUser)
		assert.Regexp(t, `^gh_[0-9a-f]{12}$`, m.ToUser)
		assert.WithinDuration(t, time.Now(), m.Time, time.Minute)
		assert.Equal(t, want.Type == "text", m.ID != "", "events have no MsgId")
		assert.Equal(t, [4]string{want.Type, want.Content, want.Event, want.EventKey}, [4]string{m.Type, m.Content, m.Event, m.EventKey})
	}
}

func TestTheAccountKnowsWhoChats(t *testing.T) {
	s := newServer(t)
	alice := wechattest.Person{Name: "alice"}
	about := func() string {
		body := visit(t, s, "", userPath(s, accountTokenOf(t, s), alice)).body
		return regexp.MustCompile(`"(errcode|subscribe)":\d+`).FindString(body)
	}
	settings := chatSettings()
	chat := func() *wechattest.Chat {
		c := s.Chat("https://shop.example.com/", settings)
		c.Transport = over{http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})}
		return c
	}
	_, err := chat().Event(t.Context(), alice, "subscribe", "")
	require.NoError(t, err)
	assert.Equal(t, `"errcode":40003`, about(), "another account's chat")
	settings.AppID = ""
	for _, step := range []struct {
		event, want string // no event: a text
	}{
		{"", `"subscribe":0`},
		{"subscribe", `"subscribe":1`},
		{"CLICK", `"subscribe":1`},
		{"unsubscribe", `"subscribe":0`},
	} {
		send := func() (string, error) { return chat().Event(t.Context(), alice, step.event, "") }
		if step.event == "" {
			send = func() (string, error) { return chat().Text(t.Context(), alice, "hello") }
		}
		_, err := send()
		require.NoError(t, err)
		assert.Equal(t, step.want, about(), step.event)
	}
}

func TestForgedMessages(t *testing.T) {
	s := newServer(t)
	alice := wechattest.Person{Name: "alice"}
	heard := 0
	chat := chatWith(s, pushServer(func(context.Context, push.Message) (string, error) {
		heard++
		return "", nil
	}))
	for name, kind := range map[string]wechattest.Forgery{
		"replayed":             wechattest.ForgeReplay,
		"plain":                wechattest.ForgePlain,
		"for another app":      wechattest.ForgeApp,
		"without the token":    wechattest.ForgeSignature,
		"with another key":     wechattest.ForgeKey,
		"(what is not forged)": 0,
	} {
		t.Run(name, func(t *testing.T) {
			heard = 0
			status, _, err := chat.Forge(t.Context(), kind, alice, "48213907")
			require.NoError(t, err)
			if kind == 0 {
				assert.Equal(t, http.StatusOK, status, "each other one differs from it in one thing")
				assert.Equal(t, 1, heard)
				return
			}
			assert.Equal(t, http.StatusForbidden, status)
			assert.Zero(t, heard)
		})
	}
}

func TestMessagesAreRepeated(t *testing.T) {
	s := newServer(t) // outside of the bubbles, as it listens
	alice := wechattest.Person{Name: "alice"}
	for _, test := range []struct {
		name   string
		answer func(w http.ResponseWriter, try int)
		tries  int
		took   time.Duration
		fails  bool
	}{
		{"an answer at once", func(http.ResponseWriter, int) {}, 1, 0, false},
		{"an answer in time", func(http.ResponseWriter, int) { <-time.After(4900 * time.Millisecond) }, 1, 4900 * time.Millisecond, false},
		{"an answer too late", func(http.ResponseWriter, int) { <-time.After(6 * time.Second) }, 3, 15 * time.Second, true},
		{"an answer to the third", func(_ http.ResponseWriter, try int) {
			if try < 3 {
				<-time.After(6 * time.Second)
			}
		}, 3, 10 * time.Second, false},
		{"an error", func(w http.ResponseWriter, _ int) { w.WriteHeader(http.StatusInternalServerError) }, 3, 0, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var mu sync.Mutex
				tries, signatures := 0, map[string]bool{}
				chat := chatWith(s, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					mu.Lock()
					tries++
					try := tries
					signatures[r.FormValue("msg_signature")] = true
					mu.Unlock()
					test.answer(w, try)
				}))
				begin := time.Now()
				_, err := chat.Text(t.Context(), alice, "hello")
				assert.Equal(t, test.fails, errors.Is(err, wechattest.ErrChatFailed), err)
				assert.Equal(t, test.took, time.Since(begin))
				<-time.After(time.Minute) // late answers
				mu.Lock()
				defer mu.Unlock()
				assert.Equal(t, test.tries, tries)
				assert.Len(t, signatures, test.tries, "each encrypted anew")
			})
		})
	}

	var ids []string
	chat := chatWith(s, firstFail(pushServer(func(_ context.Context, m push.Message) (string, error) {
		ids = append(ids, m.ID)
		return "", nil
	})))
	_, err := chat.Text(t.Context(), alice, "hello")
	require.NoError(t, err)
	assert.Len(t, ids, 1, "the same MsgId: the server takes it for one message")
}

// firstFail lets a server answer, but loses its first answer.
func firstFail(next http.Handler) http.Handler {
	first := true
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if first {
			first = false
			next.ServeHTTP(httptest.NewRecorder(), r)
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func TestRepliesThatWeChatRefuses(t *testing.T) {
	s := newServer(t)
	for _, test := range []struct {
		name, body, want string
	}{
		{"success is no reply", "success", ""},
		{"nor is a line break", "\n", ""},
		{"words", "hello", "nor encrypted XML"},
		{"a plain reply", "<xml><ToUserName>o</ToUserName><MsgType>text</MsgType><Content>hello</Content></xml>", "nor encrypted XML"},
		{"no signature", "<xml><Encrypt>AAAA</Encrypt></xml>", "a wrong MsgSignature"},
	} {
		t.Run(test.name, func(t *testing.T) {
			chat := chatWith(s, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, test.body) }))
			_, err := chat.Text(t.Context(), wechattest.Person{Name: "alice"}, "hello")
			if test.want == "" {
				assert.NoError(t, err)
				return
			}
			assert.ErrorContains(t, err, test.want)
		})
	}

	// A reply to somebody else, though well encrypted.
	var other []byte
	server := pushServer(func(context.Context, push.Message) (string, error) { return "for bob", nil })
	record := chatWith(s, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		recorder := httptest.NewRecorder()
		server.ServeHTTP(recorder, r)
		other = recorder.Body.Bytes()
		_, _ = w.Write(other)
	}))
	_, err := record.Text(t.Context(), wechattest.Person{Name: "bob"}, "hello")
	require.NoError(t, err)
	require.NoError(t, xml.Unmarshal(other, new(struct{ Encrypt string })))
	replayed := chatWith(s, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(other) }))
	_, err = replayed.Text(t.Context(), wechattest.Person{Name: "alice"}, "hello")
	assert.ErrorContains(t, err, "for somebody else")
}

func TestChatSettings(t *testing.T) {
	s := newServer(t)
	settings := chatSettings()
	settings.EncodingAESKey = "short"
	_, err := s.Chat("https://shop.example.com/", settings).Text(t.Context(), wechattest.Person{}, "x")
	assert.ErrorContains(t, err, "EncodingAESKey")
	assert.ErrorContains(t, s.Chat("https://shop.example.com/", settings).Check(t.Context()), "EncodingAESKey")
	wrong := chatWith(s, http.NotFoundHandler())
	assert.ErrorIs(t, wrong.Check(t.Context()), wechattest.ErrChatFailed)
	echoes := chatWith(s, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.FormValue("echostr")+"\n")
	}))
	assert.ErrorContains(t, echoes.Check(t.Context()), "alone")
}

func TestScan(t *testing.T) {
	s := newServer(t)
	var who string
	var page string
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue("code") == "" {
			http.Redirect(w, r, s.Endpoints().AuthorizeURL(s.OfficialAccount.ID, "http://"+r.Host+"/back", "snsapi_base", state), http.StatusFound)
			return
		}
		token, err := client(s).Exchange(r.Context(), s.OfficialAccount, r.FormValue("code"))
		assert.NoError(t, err)
		who = token.OpenID
		_, _ = io.WriteString(w, page)
	}))
	t.Cleanup(site.Close)
	s.Register(strings.TrimPrefix(site.URL, "http://"))
	bob := wechattest.Person{Name: "bob"}
	for _, test := range []struct{ page, want string }{
		{`<p class="big" id="code">482 913</p>`, "482913"},
		{`<p data-code="482913">482&nbsp;913</p>`, "482913"},
		{"<p data-code>482\u00a0913</p>", "482913"},
		{`<p id="code">482 91</p>`, ""},
		{`<p id="number">482 913</p>`, ""},
	} {
		page, who = test.page, ""
		code, err := s.Scan(bob, site.URL+"/wechat/code/48213907")
		assert.Equal(t, test.want, code, test.page)
		assert.Equal(t, test.want == "", err != nil, test.page)
		assert.Equal(t, wechattest.OpenID(s.OfficialAccount.ID, bob), who)
	}
}
