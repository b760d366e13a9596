package wechatgate_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/sessions"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wechatgate/wechatgate"
	"github.com/wechatgate/wechatgate/internal/codes"
	"github.com/wechatgate/wechatgate/wechat"
	"github.com/wechatgate/wechatgate/wechat/push"
	"github.com/wechatgate/wechatgate/wechattest"
)

func TestSignInByScan(t *testing.T) {
	var seen []wechatgate.Login
	s := newCodeSite(t, func(o *wechatgate.Options) {
		o.OnLogin = func(_ *http.Request, login *wechatgate.Login) error {
			seen = append(seen, *login)
			return nil
		}
	})
	b := s.browser(t)

	p := b.open("/members?x=1")
	require.Equal(t, http.StatusUnauthorized, p.status)
	require.Equal(t, wechatgate.PageCode, p.page.Name)
	assert.Regexp(t, `^[0-9]{8}$`, p.page.Number)
	assert.Equal(t, -1, p.page.TriesLeft)
	assert.Equal(t, s.URL+"/wechat/code/"+p.page.Number, p.page.ScanURL)
	assert.Equal(t, s.URL+"/members?x=1", p.page.PageURL)
	assert.Equal(t, "小店", p.page.ChatName)
	assert.Equal(t, s.URL+"/chat.jpg", p.page.ChatQR)
	assert.Len(t, b.named("-login-"), 1)

	phone := s.wechat.Visitor(wechatgate.BrowserWeChat, wechattest.Habits{Person: &alice})
	shown, err := phone.Get(t.Context(), p.page.ScanURL)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, shown.Status)
	code := regexp.MustCompile(`id="code">([0-9]{3}) ([0-9]{3})<`).FindStringSubmatch(shown.Body)
	require.NotNil(t, code, shown.Body)
	assert.Empty(t, seen, "OnLogin is not asked about a scan")
	for _, c := range phone.Cookies(s.URL) {
		assert.NotEqual(t, "__Host-wechatgate", c.Name, "a scan begins no session")
	}

	p = b.enter(code[1] + " " + code[2])
	assert.Equal(t, http.StatusSeeOther, p.status)
	assert.Equal(t, s.URL+"/members?x=1#", p.location)
	openID := wechattest.OpenID(s.wechat.OfficialAccount.ID, alice)
	assert.Equal(t, openID, b.who())
	require.Len(t, seen, 1)
	assert.Equal(t, wechatgate.BrowserDesktop, seen[0].Browser)
	assert.Equal(t, wechat.ScopeBase, seen[0].User.Scope)
	assert.Equal(t, wechat.Token{OpenID: openID, Scope: wechat.ScopeBase}, seen[0].Token)
	assert.Equal(t, "/members?x=1", seen[0].ReturnTo)
	assert.Len(t, s.log.lines(`event="signed in"`), 1)

	shown, err = phone.Get(t.Context(), shown.URL.String())
	require.NoError(t, err)
	assert.Equal(t, http.StatusOK, shown.Status, "a reload of the phone's page is another scan")
	assert.NotContains(t, shown.Body, code[0])
}

func TestSignInByChat(t *testing.T) {
	var seen []wechatgate.Login
	var others []string
	s := newCodeSite(t, func(o *wechatgate.Options) {
		o.OfficialAccount, o.CodeSignIn.Scan = wechatgate.App{}, false
		o.OnLogin = func(_ *http.Request, login *wechatgate.Login) error {
			seen = append(seen, *login)
			return nil
		}
		o.CodeSignIn.Chat.OnMessage = func(_ context.Context, m push.Message) (string, error) {
			others = append(others, m.Type+" "+m.Event+m.Content)
			return "thank you", nil
		}
	})
	chat := s.chat()
	require.NoError(t, chat.Check(t.Context()))
	b := s.browser(t)
	p := b.open("/members")
	assert.Empty(t, p.page.ScanURL)
	assert.Empty(t, p.page.PageURL, "there is nothing to open in WeChat")

	reply, err := chat.Text(t.Context(), bob, " "+p.page.Number[:4]+" "+p.page.Number[4:]+"\n")
	require.NoError(t, err)
	code := codeIn(t, reply)
	host, _, _ := strings.Cut(strings.TrimPrefix(s.URL, "https://"), ":")
	assert.Regexp(t, `^验证码 [0-9]{3} [0-9]{3}，5 分钟内有效。只填在 `+regexp.QuoteMeta(host)+`\S* 的登录页。\n不是你本人在登录？不要告诉任何人。$`, reply)
	p = b.enter(code)
	assert.Equal(t, s.URL+"/members#", p.location)
	openID := wechattest.OpenID(chatAppID, bob)
	assert.Equal(t, openID, b.who())
	assert.Equal(t, "hello "+openID+" of "+chatAppID, b.open("/members").body)
	require.Len(t, seen, 1)
	assert.Equal(t, wechat.Token{OpenID: openID}, seen[0].Token, "and no scope")

	for _, text := range []string{"hello", "123456", "123456789"} {
		reply, err = chat.Text(t.Context(), bob, text)
		require.NoError(t, err)
		assert.Equal(t, "thank you", reply)
	}
	reply, err = chat.Event(t.Context(), bob, "subscribe", "12345678")
	require.NoError(t, err)
	assert.Equal(t, "thank you", reply)
	assert.Equal(t, []string{"text hello", "text 123456", "text 123456789", "event subscribe"}, others)
}

func TestHowNumbersAndCodesMayBeTyped(t *testing.T) {
	s := newClockedCodeSite(t)
	fullWidth := func(digits string) string {
		return strings.Map(func(c rune) rune { return c - '0' + '０' }, digits)
	}
	for name, write := range map[string]func(string) string{
		"as it is":   func(d string) string { return d },
		"spaces":     func(d string) string { return " " + d[:2] + " " + d[2:] + "  " },
		"hyphens":    func(d string) string { return d[:4] + "-" + d[4:] },
		"full width": fullWidth,
		"all of it":  func(d string) string { return "　" + fullWidth(d[:3]) + "－" + d[3:] },
	} {
		b := s.browser(t)
		b.open("/")
		code := s.codeFor(t, "oPerson", write(b.page.Number))
		assert.Equal(t, http.StatusSeeOther, b.enter(write(code)).status, name)
	}
}

func TestWhatIsNoCodeCostsNoTry(t *testing.T) {
	s := newClockedCodeSite(t)
	b := s.browser(t)
	number := b.open("/members").page.Number
	s.codes.reset()
	for _, typed := range []string{"", " ", "12345", "1234567", "abcdef", "12345x", number, strings.Repeat("1", 2000)} {
		p := b.enter(typed)
		assert.Equal(t, http.StatusUnauthorized, p.status, typed)
		assert.Equal(t, wechatgate.PageCode, p.page.Name)
		assert.Equal(t, number, p.page.Number)
		assert.Contains(t, p.body, "6", "and says what a code is")
		assert.Contains(t, p.body, `role="alert"`)
	}
	adds, takes := s.codes.calls()
	assert.Zero(t, adds+takes)
	assert.Equal(t, http.StatusSeeOther, b.enter(s.codeFor(t, "oPerson", number)).status)
}

func TestNumberStaysUntilItsTriesAreUsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newClockedCodeSite(t)
		b := s.browser(t)
		first := b.open("/members").page.Number
		assert.Equal(t, first, b.open("/members").page.Number, "a reload")
		assert.Equal(t, first, b.open("/wechat/login?flow=code&return_to=/members").page.Number, "another way to the same page")
		assert.NotEqual(t, first, b.open("/other").page.Number, "another page")
		b.open("/members")

		p := b.enter("000000")
		assert.Equal(t, http.StatusForbidden, p.status)
		assert.Equal(t, wechatgate.PageCode, p.page.Name)
		assert.Equal(t, 4, p.page.TriesLeft)
		assert.NotEmpty(t, p.page.Reference)
		assert.Len(t, s.log.lines("reference="+p.page.Reference), 1)
		assert.Equal(t, first, b.open("/members").page.Number)

		time.Sleep(time.Millisecond) // so that one is the newer
		drawn := b.open(strings.TrimPrefix(p.page.SignInURL, s.URL)).page.Number
		assert.NotEqual(t, first, drawn, "the page's link draws another")
		assert.Equal(t, drawn, b.open("/members").page.Number, "and that one stays")

		for left := 4; left > 0; left-- {
			assert.Equal(t, left, b.enter("000000").page.TriesLeft)
		}
		p = b.enter("000000")
		assert.Equal(t, http.StatusForbidden, p.status)
		assert.Equal(t, wechatgate.PageRetry, p.page.Name)
		assert.Equal(t, first, b.open(strings.TrimPrefix(p.page.SignInURL, s.URL)).page.Number, "the older one lives")

		time.Sleep(10*time.Minute + time.Millisecond)
		assert.NotEqual(t, first, b.open("/members").page.Number, "its ten minutes never begin anew")
	})
}

func TestTimesOfCodesAndNumbers(t *testing.T) {
	for _, row := range []struct {
		name   string
		before time.Duration // of the number, until the code is made
		wait   time.Duration // of the code
		status int
		page   wechatgate.PageName
	}{
		{"a fresh code", 0, 0, http.StatusSeeOther, ""},
		{"a code of five minutes", 0, 5*time.Minute - time.Millisecond, http.StatusSeeOther, ""},
		{"an older code", 0, 5*time.Minute + time.Millisecond, http.StatusForbidden, wechatgate.PageCode},
		{"a form of ten minutes", 8 * time.Minute, 2 * time.Minute, http.StatusSeeOther, ""},
		{"an expired form", 8 * time.Minute, 2*time.Minute + time.Millisecond, http.StatusUnauthorized, wechatgate.PageCode},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newClockedCodeSite(t)
				b := s.browser(t)
				number := b.open("/members").page.Number
				time.Sleep(row.before)
				code := s.codeFor(t, "oPerson", number)
				time.Sleep(row.wait)
				p := b.enter(code)
				assert.Equal(t, row.status, p.status)
				assert.Equal(t, row.page, p.page.Name)
				if row.status == http.StatusUnauthorized {
					assert.NotEqual(t, number, p.page.Number, "a new number")
					assert.Equal(t, s.URL+"/members", p.page.PageURL, "and the same page")
					assert.Equal(t, http.StatusSeeOther, b.enter(s.codeFor(t, "oPerson", p.page.Number)).status)
				}
			})
		})
	}
}

// A CodeStore may keep values for longer than it was told.
func TestCodeIsJudgedByItsOwnTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newClockedCodeSite(t, func(o *wechatgate.Options) { o.CodeSignIn.Codes = &hoarder{} })
		b := s.browser(t)
		code := s.codeFor(t, "oPerson", b.open("/").page.Number)
		time.Sleep(5*time.Minute + time.Millisecond)
		assert.Equal(t, http.StatusForbidden, b.enter(code).status)
		assert.Empty(t, b.who())
	})
}

// hoarder keeps everything for ever.
type hoarder struct{ all sync.Map }

func (h *hoarder) Add(_ context.Context, key string, value []byte, _ time.Duration) (bool, error) {
	_, there := h.all.LoadOrStore(key, value)
	return !there, nil
}

func (h *hoarder) Take(_ context.Context, key string) ([]byte, error) {
	value, _ := h.all.LoadAndDelete(key)
	kept, _ := value.([]byte)
	return kept, nil
}

// The attack table of the contract, a row each.
func TestAttacksOnCodes(t *testing.T) {
	for _, row := range []struct {
		name   string
		attack func(*testing.T, *codeSite)
	}{
		{"a QR code that is sent to a stranger", func(t *testing.T, s *codeSite) {
			attacker := s.browser(t)
			s.scan(t, alice, attacker.open("/members").page)
			assert.Equal(t, wechatgate.PageCode, attacker.open("/members").page.Name)
			assert.Empty(t, attacker.who(), "nothing comes back but by the stranger's own doing")
		}},
		{"a number that is sent to a stranger, for the chat", func(t *testing.T, s *codeSite) {
			attacker := s.browser(t)
			_, err := s.chat().Text(t.Context(), alice, attacker.open("/members").page.Number)
			require.NoError(t, err)
			assert.Equal(t, wechatgate.PageCode, attacker.open("/members").page.Name)
			assert.Empty(t, attacker.who())
		}},
		{"a code that is used in another browser", func(t *testing.T, s *codeSite) {
			victim, attacker := s.browser(t), s.browser(t)
			attacker.open("/members")
			code := s.scan(t, alice, victim.open("/members").page)
			assert.Equal(t, http.StatusForbidden, attacker.enter(code).status)
			attacker.page = victim.page // the form of the victim's page
			assert.Equal(t, http.StatusUnauthorized, attacker.enter(code).status)
			assert.Empty(t, attacker.who())
			assert.Equal(t, http.StatusSeeOther, victim.enter(code).status, "and the code is not used up")
		}},
		{"an old copy of the cookie", func(t *testing.T, s *codeSite) {
			b := s.browser(t)
			b.open("/members")
			old := b.clone()
			for range 5 {
				old.clone().enter("000000")
			}
			code := s.scan(t, alice, b.page)
			p := old.clone().enter(code)
			assert.Equal(t, http.StatusForbidden, p.status)
			assert.Equal(t, wechatgate.PageRetry, p.page.Name)
			assert.Empty(t, old.who())
		}},
		{"a sixth code of a number, by scan", func(t *testing.T, s *codeSite) {
			b := s.browser(t)
			b.open("/members")
			for range 5 {
				s.scan(t, bob, b.page)
			}
			phone := s.wechat.Visitor(wechatgate.BrowserWeChat, wechattest.Habits{Person: &alice})
			p, err := phone.Get(t.Context(), b.page.ScanURL)
			require.NoError(t, err)
			assert.Equal(t, http.StatusForbidden, p.Status)
			assert.Len(t, s.log.lines("reason=code"), 1)
			assert.NotContains(t, p.Body, "/wechat/code/"+b.page.Number, "the page with the number has another one; trying again would end here")
			reply, err := s.chat().Text(t.Context(), alice, b.page.Number)
			require.NoError(t, err)
			assert.NotRegexp(t, `[0-9]{3} [0-9]{3}`, reply, "and the chat counts along")
			assert.Contains(t, reply, "换一个数字")
		}},
		{"two codes of a number", func(t *testing.T, s *codeSite) {
			b := s.browser(t)
			number := b.open("/members").page
			first, second := s.scan(t, alice, number), s.scan(t, bob, number)
			old := b.clone()
			require.Equal(t, http.StatusSeeOther, b.enter(second).status)
			require.Equal(t, wechattest.OpenID(s.wechat.OfficialAccount.ID, bob), b.who())
			p := old.enter(first)
			assert.Equal(t, http.StatusUnauthorized, p.status)
			assert.NotEqual(t, number.Number, p.page.Number, "a new number")
			assert.Empty(t, old.who())
			assert.Len(t, old.named("-login-"), 1, "the old attempt is gone")
		}},
		{"a code that is used twice", func(t *testing.T, s *codeSite) {
			b := s.browser(t)
			code := s.scan(t, alice, b.open("/members").page)
			old := b.clone()
			require.Equal(t, http.StatusSeeOther, b.enter(code).status)
			assert.NotEqual(t, http.StatusSeeOther, old.enter(code).status)
			assert.Empty(t, old.who())
		}},
		{"a replayed push", func(t *testing.T, s *codeSite) {
			chat, b := s.chat(), s.browser(t)
			b.open("/members")
			twice := &repeated{next: chat.Transport}
			chat.Transport = twice
			reply, err := chat.Text(t.Context(), alice, b.page.Number)
			require.NoError(t, err)
			require.Equal(t, []int{http.StatusOK, http.StatusOK}, twice.statuses)
			require.Equal(t, http.StatusSeeOther, b.enter(codeIn(t, reply)).status, "any one of the codes works")
			for _, forgery := range []wechattest.Forgery{wechattest.ForgeReplay, wechattest.ForgePlain, wechattest.ForgeApp, wechattest.ForgeSignature, wechattest.ForgeKey} {
				adds, _ := s.codes.calls()
				status, _, err := chat.Forge(t.Context(), forgery, alice, b.page.Number)
				require.NoError(t, err)
				assert.Equal(t, http.StatusForbidden, status, "forgery %d", forgery)
				after, _ := s.codes.calls()
				assert.Equal(t, adds, after, "forgery %d makes no code", forgery)
			}
		}},
		{"another app's code", func(t *testing.T, s *codeSite) {
			b := s.browser(t)
			b.open("/members")
			_, mine, err := s.gate.CodeFor(t.Context(), "wx0000000000000000", "oPerson", b.page.Number)
			require.Error(t, err)
			assert.False(t, mine)
			// A gate that shares keys and CodeStore, and has another chat.
			o := s.options
			o.CodeSignIn.Chat.AppID = "wx0000000000000000"
			other, err := wechatgate.New(o)
			require.NoError(t, err)
			reply, _, err := other.CodeFor(t.Context(), "wx0000000000000000", "oPerson", b.page.Number)
			require.NoError(t, err)
			assert.Equal(t, http.StatusForbidden, b.enter(codeIn(t, reply)).status)
			assert.Empty(t, b.who())
		}},
		{"a value that is planted in the CodeStore", func(t *testing.T, s *codeSite) {
			b := s.browser(t)
			b.open("/members")
			own := s.codeFor(t, "oAttacker", "12345678")
			victims := s.codeFor(t, "oVictim", b.page.Number)
			var values [][]byte
			var keys []string
			for key, value := range s.codes.held {
				if len(value) > 0 {
					keys, values = append(keys, key), append(values, value)
				}
			}
			require.Len(t, keys, 2)
			for i, key := range keys {
				_, _ = s.codes.CodeStore.Take(t.Context(), key)
				_, err := s.codes.CodeStore.Add(t.Context(), key, values[1-i], time.Minute)
				require.NoError(t, err)
			}
			assert.Equal(t, http.StatusForbidden, b.enter(victims).status, "not as the attacker either")
			assert.Equal(t, http.StatusForbidden, b.enter(own).status)
			assert.Empty(t, b.who())
		}},
		{"a state that is swapped", func(t *testing.T, s *codeSite) {
			b := s.browser(t)
			one, two := b.open("/one").page, b.open("/two").page
			code := s.scan(t, alice, one)
			assert.Equal(t, http.StatusForbidden, b.post(url.Values{"state": {two.Hidden["state"]}, "code": {code}}).status)
			// One tab's cookie below the other's name.
			names := b.named("-login-")
			require.Len(t, names, 2)
			swapped := b.clone()
			swapped.cookies[names[0]], swapped.cookies[names[1]] = b.cookies[names[1]], b.cookies[names[0]]
			for _, state := range []string{one.Hidden["state"], two.Hidden["state"], "", "x", strings.Repeat("0", 32), one.Hidden["state"][:8] + strings.Repeat("0", 24)} {
				assert.Equal(t, http.StatusUnauthorized, swapped.clone().post(url.Values{"state": {state}, "code": {code}}).status, state)
			}
			assert.Equal(t, http.StatusSeeOther, b.post(url.Values{"state": {one.Hidden["state"]}, "code": {code}}).status)
		}},
		{"a form of another site", func(t *testing.T, s *codeSite) {
			b := s.browser(t)
			code := s.scan(t, alice, b.open("/members").page)
			form := url.Values{"state": {b.page.Hidden["state"]}, "code": {code}}
			s.codes.reset()
			for _, headers := range [][]string{
				{"Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example"},
				{"Sec-Fetch-Site", "same-site", "Origin", "https://blog.example.com"},
				{"Sec-Fetch-Site", "", "Origin", "https://evil.example"},
				{"Sec-Fetch-Site", "", "Origin", "null"},
			} {
				p := b.post(form, headers...)
				assert.Equal(t, http.StatusForbidden, p.status, headers)
				assert.Equal(t, wechatgate.PageRetry, p.page.Name)
			}
			adds, takes := s.codes.calls()
			assert.Zero(t, adds+takes, "no try")
			assert.Equal(t, http.StatusSeeOther, b.post(form, "Sec-Fetch-Site", "").status, "a browser that says where the form was, and no more")
		}},
		{"a scan with a snapshot account", func(t *testing.T, s *codeSite) {
			b := s.browser(t)
			b.open("/members")
			s.wechat.AnswerNext(wechat.OpExchange, func(w http.ResponseWriter, _ *http.Request) {
				fmt.Fprint(w, `{"access_token":"AT","expires_in":7200,"refresh_token":"RT","openid":"oPerson","scope":"snsapi_base","is_snapshotuser":1}`)
			})
			phone := s.wechat.Visitor(wechatgate.BrowserWeChat, wechattest.Habits{Person: &alice})
			p, err := phone.Get(t.Context(), b.page.ScanURL)
			require.NoError(t, err)
			assert.Equal(t, http.StatusForbidden, p.Status)
			assert.Len(t, s.log.lines("reason=snapshot"), 1)
			assert.Empty(t, s.codes.held, "no code, and none of the five")
		}},
		{"a scan's callback in place of a sign-in's", func(t *testing.T, s *codeSite) {
			phone := newBrowser(t, s.wechat, uaWeChat)
			scan := phone.openUntil(s.URL+"/wechat/code/12345678", "/wechat/callback")
			sign := phone.openUntil(s.URL+"/members", "/wechat/callback")
			// The code of the one with the state of the other.
			state := scan.next.Query().Get("state")
			p := phone.open(s.URL + "/wechat/callback?code=" + sign.next.Query().Get("code") + "&state=" + state)
			assert.NotContains(t, p.body, "hello")
			assert.Empty(t, sessionsOf(phone), "a scan's state begins no session, whatever the code")
			// A sign-in's state does not type codes.
			b := s.browser(t)
			for _, c := range phone.cookies() {
				b.cookies[c.Name] = c.Value
			}
			for _, state := range []string{state, sign.next.Query().Get("state")} {
				p := b.clone().post(url.Values{"state": {state}, "code": {s.codeFor(t, "oPerson", "12345678")}})
				assert.Equal(t, http.StatusUnauthorized, p.status)
				assert.Equal(t, wechatgate.PageCode, p.page.Name)
			}
		}},
		{"a callback with the state of a page with a number", func(t *testing.T, s *codeSite) {
			b := s.browser(t)
			b.open("/members")
			calls := len(s.wechat.Calls(wechat.OpExchange))
			p := b.open("/wechat/callback?again=1&code=abc&state=" + b.page.Hidden["state"])
			assert.Equal(t, http.StatusForbidden, p.status)
			assert.Len(t, s.wechat.Calls(wechat.OpExchange), calls, "WeChat is not asked")
			b.open("/wechat/callback?code=authdeny&state=" + b.page.Hidden["state"])
			assert.Len(t, b.named("-login-"), 1, "and the attempt lives on")
		}},
		{"a scan by a phone that is signed in", func(t *testing.T, s *codeSite) {
			b := s.browser(t)
			b.open("/members")
			phone := newBrowser(t, s.wechat, uaWeChat)
			s.wechat.SignInAs(alice)
			phone.open(s.URL + "/members")
			before := sessionsOf(phone)
			require.Len(t, before, 1)
			s.wechat.SignInAs(bob)
			p := phone.open(b.page.ScanURL)
			assert.Equal(t, http.StatusOK, p.status)
			assert.Contains(t, p.body, `id="code"`)
			assert.Equal(t, before, sessionsOf(phone), "it keeps its session")
			assert.Contains(t, phone.open(s.URL+"/members").body, wechattest.OpenID(s.wechat.OfficialAccount.ID, alice))
		}},
	} {
		t.Run(row.name, func(t *testing.T) { row.attack(t, newCodeSite(t)) })
	}
}

// repeated sends each request twice, and returns the second answer.
type repeated struct {
	next     http.RoundTripper
	statuses []int
}

func (r *repeated) RoundTrip(request *http.Request) (*http.Response, error) {
	body, err := request.GetBody()
	if err != nil {
		return nil, err
	}
	again := request.Clone(request.Context())
	again.Body = body
	for _, one := range []*http.Request{request, again} {
		response, err := r.next.RoundTrip(one)
		if err != nil {
			return nil, err
		}
		r.statuses = append(r.statuses, response.StatusCode)
		if one == again {
			return response, nil
		}
	}
	return nil, errors.New("never")
}

func sessionsOf(b *browser) (values []string) {
	for _, c := range b.cookies() {
		if c.Name == "__Host-wechatgate" {
			values = append(values, c.Value)
		}
	}
	return values
}

func TestSitesRefusalUsesTheNumberUp(t *testing.T) {
	s := newClockedCodeSite(t, func(o *wechatgate.Options) {
		o.OnLogin = func(*http.Request, *wechatgate.Login) error { return wechatgate.Refuse("not today") }
	})
	b := s.browser(t)
	number := b.open("/members").page.Number
	one, two := s.codeFor(t, "oPerson", number), s.codeFor(t, "oPerson", number)
	old := b.clone()
	p := b.enter(one)
	assert.Equal(t, http.StatusForbidden, p.status)
	assert.Equal(t, "not today", p.page.Message)
	assert.Empty(t, b.named("-login-"), "the attempt is dropped")
	assert.Equal(t, http.StatusUnauthorized, old.enter(two).status, "and an old copy of its cookie is no use")
	assert.Empty(t, old.who())
}

// A CodeStore that fails at any step ends in 503, and no session begins.
func TestBrokenCodeStore(t *testing.T) {
	for name, fails := range map[string]func(context.Context) error{
		"fails":  func(context.Context) error { return errors.New("connection refused") },
		"panics": func(context.Context) error { panic("oPerson") },
		"exits":  func(context.Context) error { runtime.Goexit(); return nil },
		"hangs": func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		},
		"hangs and ignores its context": func(ctx context.Context) error {
			time.Sleep(10 * time.Minute)
			return nil
		},
	} {
		for _, call := range []string{"Add 1", "Take 1", "Add 2"} {
			t.Run(name+" at "+call, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := newClockedCodeSite(t)
					b := s.browser(t)
					code := s.codeFor(t, "oPerson", b.open("/members").page.Number)
					s.codes.breakWith(func(ctx context.Context, got string) error {
						if got != call {
							return nil
						}
						return fails(ctx)
					})
					begun := time.Now()
					p := b.enter(code)
					assert.Equal(t, http.StatusServiceUnavailable, p.status)
					assert.Equal(t, wechatgate.PageError, p.page.Name)
					assert.Empty(t, b.who())
					assert.LessOrEqual(t, time.Since(begun), 3*time.Second)
					assert.Len(t, s.log.lines("reason=session"), 1)
					assert.NotContains(t, s.log.String(), "oPerson")
					s.codes.breakWith(nil)
					if call == "Add 1" {
						assert.Equal(t, http.StatusSeeOther, b.enter(code).status, "the code is not used up")
					}
					synctest.Wait()
					time.Sleep(11 * time.Minute) // what hangs, ends
				})
			})
		}
	}
}

func TestBrokenCodeStoreMakesNoCode(t *testing.T) {
	outage := func(context.Context, string) error { return errors.New("connection refused") }
	s := newCodeSite(t)
	b := s.browser(t)
	b.open("/members")
	s.codes.breakWith(outage)

	phone := s.wechat.Visitor(wechatgate.BrowserWeChat, wechattest.Habits{Person: &alice})
	p, err := phone.Get(t.Context(), b.page.ScanURL)
	require.NoError(t, err)
	assert.Equal(t, http.StatusServiceUnavailable, p.Status)
	assert.NotContains(t, p.Body, `id="code"`)

	reply, err := s.chat().Text(t.Context(), alice, b.page.Number)
	require.NoError(t, err)
	assert.Empty(t, reply)
	assert.Len(t, s.log.lines(`event="code not sent"`), 1)

	reply, mine, err := s.gate.CodeFor(t.Context(), chatAppID, "oPerson", b.page.Number)
	require.Error(t, err)
	assert.True(t, mine)
	assert.Empty(t, reply)
	var failed *wechatgate.Error
	require.ErrorAs(t, err, &failed)
	assert.Equal(t, wechatgate.ReasonSession, failed.Reason)

	s.codes.breakWith(nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, _, err = s.gate.CodeFor(ctx, chatAppID, "oPerson", b.page.Number)
	assert.Error(t, err, "a caller who has gone")
}

// liar says that nothing was added, and that there is a value.
type liar struct{ adds int }

func (l *liar) Add(_ context.Context, _ string, value []byte, _ time.Duration) (bool, error) {
	l.adds++
	return len(value) == 0, nil
}

func (l *liar) Take(context.Context, string) ([]byte, error) { return []byte("planted"), nil }

func TestCodeStoreThatLies(t *testing.T) {
	store := &liar{}
	s := newClockedCodeSite(t, func(o *wechatgate.Options) { o.CodeSignIn.Codes = store })
	b := s.browser(t)
	b.open("/members")
	_, _, err := s.gate.CodeFor(t.Context(), chatAppID, "oPerson", b.page.Number)
	require.Error(t, err)
	assert.Less(t, store.adds, 20, "drawing codes ends")
	assert.Equal(t, http.StatusForbidden, b.enter("123456").status)
	assert.Empty(t, b.who())
}

func TestFailingSessionStoreDropsTheAttempt(t *testing.T) {
	s := newClockedCodeSite(t, func(o *wechatgate.Options) { o.Store = failingStore{} })
	b := s.browser(t)
	p := b.open("/members")
	require.Equal(t, wechatgate.PageCode, p.page.Name)
	p = b.enter(s.codeFor(t, "oPerson", b.page.Number))
	assert.Equal(t, http.StatusServiceUnavailable, p.status)
	assert.Empty(t, b.cookies, "its number is used up")
}

func TestVisitorWhoLeavesDoesNotEndATryHalfway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newClockedCodeSite(t)
		b := s.browser(t)
		code := s.codeFor(t, "oPerson", b.open("/members").page.Number)
		gone := make(chan struct{})
		b.leaves = gone
		s.codes.breakWith(func(_ context.Context, call string) error {
			if call == "Take 1" {
				close(gone)
				time.Sleep(time.Second)
			}
			return nil
		})
		assert.Equal(t, http.StatusSeeOther, b.enter(code).status)
		assert.Len(t, s.log.lines(`event="signed in"`), 1)
	})
}

func TestCodeInADoubleClick(t *testing.T) {
	s := newClockedCodeSite(t)
	b := s.browser(t)
	code := s.codeFor(t, "oPerson", b.open("/members").page.Number)
	var together sync.WaitGroup
	in := make(chan bool, 8)
	for range cap(in) {
		c := b.clone()
		together.Go(func() { in <- c.enter(code).status == http.StatusSeeOther })
	}
	together.Wait()
	close(in)
	sessions := 0
	for one := range in {
		if one {
			sessions++
		}
	}
	assert.Equal(t, 1, sessions, "one session for one code")

	// One after the other: the second goes to the target, and signs in no more.
	b = s.browser(t)
	code = s.codeFor(t, "oPerson", b.open("/members").page.Number)
	require.Equal(t, http.StatusSeeOther, b.enter(code).status)
	before := b.clone().cookies
	p := b.enter(code)
	assert.Equal(t, http.StatusSeeOther, p.status)
	assert.Equal(t, s.URL+"/members#", p.location)
	assert.Equal(t, before, b.cookies)
}

func TestCodeSignInsCountForTheLoopGuard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newClockedCodeSite(t)
		b := s.browser(t)
		late := s.browser(t)
		for i := range 2 {
			b.open(fmt.Sprint("/", i))
			require.Equal(t, http.StatusSeeOther, b.enter(s.codeFor(t, "oPerson", b.page.Number)).status)
			late.cookies = b.cookies
			delete(b.cookies, "__Host-wechatgate") // the session does not stay
		}
		p := b.open("/members")
		assert.Equal(t, http.StatusServiceUnavailable, p.status)
		assert.Len(t, s.log.lines("reason=session"), 1)
		time.Sleep(2*time.Minute + time.Millisecond)
		assert.Equal(t, wechatgate.PageCode, b.open("/members").page.Name)
	})
}

// A form that is old enough goes past the guard of the page, and not of the code.
func TestLoopGuardHoldsForOpenForms(t *testing.T) {
	s := newClockedCodeSite(t)
	b := s.browser(t)
	var forms []wechatgate.Page
	for i := range 3 {
		forms = append(forms, b.open(fmt.Sprint("/", i)).page)
	}
	for i, form := range forms {
		b.page = form
		p := b.enter(s.codeFor(t, "oPerson", form.Number))
		delete(b.cookies, "__Host-wechatgate")
		want := http.StatusSeeOther
		if i == 2 {
			want = http.StatusServiceUnavailable
		}
		assert.Equal(t, want, p.status)
	}
}

func TestScansAreNoSignInsForTheLoopGuard(t *testing.T) {
	s := newCodeSite(t)
	phone := newBrowser(t, s.wechat, uaWeChat)
	for i := range 7 {
		p := phone.open(fmt.Sprintf("%s/wechat/code/1000000%d", s.URL, i))
		require.Equal(t, http.StatusOK, p.status)
	}
	assert.Equal(t, http.StatusOK, phone.open(s.URL+"/members").status)
}

func TestCodeSignInEndsASignOut(t *testing.T) {
	s := newClockedCodeSite(t)
	b := s.browser(t)
	b.cookies["__Host-wechatgate-signed-out"] = "1"
	b.open("/members")
	b.enter(s.codeFor(t, "oPerson", b.page.Number))
	assert.Empty(t, b.named("signed-out"))
	assert.Equal(t, "oPerson", b.who())
}

func TestPathsOfCodes(t *testing.T) {
	s := newCodeSite(t)
	scanOnly := newCodeSite(t, func(o *wechatgate.Options) { o.CodeSignIn.Chat = wechatgate.Chat{} })
	chatOnly := newCodeSite(t, func(o *wechatgate.Options) {
		o.CodeSignIn.Scan = false
		o.CodeSignIn.Chat.Token, o.CodeSignIn.Chat.EncodingAESKey = "", ""
	})
	off := newCodeSite(t, func(o *wechatgate.Options) { o.CodeSignIn = wechatgate.CodeSignIn{} })
	for _, row := range []struct {
		name         string
		site         *codeSite
		method, path string
		status       int
		location     string
	}{
		{"the form's address", s, http.MethodGet, "/wechat/code", http.StatusSeeOther, "/wechat/login?flow=code"},
		{"another method", s, http.MethodPut, "/wechat/code", http.StatusMethodNotAllowed, ""},
		{"the form without CodeSignIn", off, http.MethodPost, "/wechat/code", http.StatusNotFound, ""},
		{"its address without CodeSignIn", off, http.MethodGet, "/wechat/code", http.StatusNotFound, ""},
		{"a number outside of WeChat", s, http.MethodGet, "/wechat/code/12345678", http.StatusUnauthorized, ""},
		{"seven digits", s, http.MethodGet, "/wechat/code/1234567", http.StatusNotFound, ""},
		{"nine digits", s, http.MethodGet, "/wechat/code/123456789", http.StatusNotFound, ""},
		{"a number with a space", s, http.MethodGet, "/wechat/code/1234%205678", http.StatusNotFound, ""},
		{"full-width digits", s, http.MethodGet, "/wechat/code/%EF%BC%911234567", http.StatusNotFound, ""},
		{"no digits", s, http.MethodGet, "/wechat/code/", http.StatusNotFound, ""},
		{"a number and more", s, http.MethodGet, "/wechat/code/12345678/", http.StatusNotFound, ""},
		{"a number without Scan", chatOnly, http.MethodGet, "/wechat/code/12345678", http.StatusNotFound, ""},
		{"a number without CodeSignIn", off, http.MethodGet, "/wechat/code/12345678", http.StatusNotFound, ""},
		{"a number that is posted", s, http.MethodPost, "/wechat/code/12345678", http.StatusMethodNotAllowed, ""},
		{"messages without a signature", s, http.MethodPost, "/wechat/messages", http.StatusForbidden, ""},
		{"messages without a Token", chatOnly, http.MethodPost, "/wechat/messages", http.StatusNotFound, ""},
		{"messages without a chat", scanOnly, http.MethodGet, "/wechat/messages", http.StatusNotFound, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			b := row.site.browser(t)
			p := b.show(b.request(row.method, row.path))
			assert.Equal(t, row.status, p.status)
			if row.location != "" {
				assert.Equal(t, row.site.URL+row.location, p.location)
			}
			if row.status == http.StatusUnauthorized {
				assert.Equal(t, wechatgate.PageOpenInWeChat, p.page.Name)
				assert.Equal(t, row.site.URL+row.path, p.page.PageURL)
			}
			assert.Empty(t, b.cookies)
		})
	}
}

func TestWhoSignsInByCode(t *testing.T) {
	const (
		uaWeCom        = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/108.0 Safari/537.36 wxwork/4.1.0 MicroMessenger/7.0.1"
		uaWeComPhone   = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148 wxwork/4.1.0 MicroMessenger/7.0.1 Language/zh"
		uaMiniProgram  = uaWeChat + " miniProgram/wx0123456789abcdef"
		uaWeChatOnAPC  = "Mozilla/5.0 (Windows NT 10.0; WOW64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/107.0 Safari/537.36 MicroMessenger/7.0.20 NetType/WIFI MiniProgramEnv/Windows WindowsWechat"
		leaves         = "leaves for WeChat"
		pageCode       = string(wechatgate.PageCode)
		pageOpenWeChat = string(wechatgate.PageOpenInWeChat)
	)
	app := wechatgate.App{ID: "wxbbbbbbbbbbbbbbbb", Secret: otherSecret}
	chatAlone := func(o *wechatgate.Options) { o.OfficialAccount, o.CodeSignIn.Scan = wechatgate.App{}, false }
	both := func(o *wechatgate.Options) { o.Website = app }
	chatAndWebsite := func(o *wechatgate.Options) { chatAlone(o); both(o) }
	for _, row := range []struct {
		site   string
		change func(*wechatgate.Options)
		// what each browser gets
		wechat, mini, wechatPC, computer, wecom, wecomPhone, phone string
	}{
		{"an official account", func(*wechatgate.Options) {}, leaves, leaves, leaves, pageCode, pageCode, pageCode, pageCode},
		{"a chat alone", chatAlone, pageCode, pageCode, pageCode, pageCode, pageCode, pageCode, pageCode},
		{"both apps", both, leaves, leaves, leaves, leaves, leaves, pageCode, pageCode},
		{"a chat and a website app", chatAndWebsite, pageCode, pageCode, leaves, leaves, leaves, pageCode, pageCode},
		{"no CodeSignIn", func(o *wechatgate.Options) { o.CodeSignIn = wechatgate.CodeSignIn{} }, leaves, leaves, leaves, pageOpenWeChat, pageOpenWeChat, pageOpenWeChat, pageOpenWeChat},
	} {
		t.Run(row.site, func(t *testing.T) {
			s := newClockedCodeSite(t, row.change)
			for userAgent, want := range map[string]string{
				uaWeChat: row.wechat, uaMiniProgram: row.mini, uaWeChatOnAPC: row.wechatPC, uaDesktop: row.computer,
				uaWeCom: row.wecom, uaWeComPhone: row.wecomPhone, uaPhone: row.phone,
			} {
				b := s.browser(t)
				b.header.Set("User-Agent", userAgent)
				p := b.open("/members")
				got := string(p.page.Name)
				if p.status == http.StatusFound {
					got = leaves
				}
				assert.Equal(t, want, got, userAgent)
			}
		})
	}
}

func TestCodeIsTheSecondWayBesideAnEmbeddedQRCode(t *testing.T) {
	s := newClockedCodeSite(t, func(o *wechatgate.Options) {
		o.Website = wechatgate.App{ID: "wxbbbbbbbbbbbbbbbb", Secret: otherSecret}
		o.EmbedQR = true
	})
	b := s.browser(t)
	p := b.open("/members")
	require.Equal(t, wechatgate.PageSignIn, p.page.Name)
	assert.Contains(t, p.body, strings.ReplaceAll(p.page.CodeSignInURL, "&", "&amp;"))
	p = b.open(strings.TrimPrefix(p.page.CodeSignInURL, s.URL))
	require.Equal(t, wechatgate.PageCode, p.page.Name)
	number := p.page.Number

	s.codes.breakWith(func(context.Context, string) error { return errors.New("down") })
	p = b.enter("123456")
	require.Equal(t, http.StatusServiceUnavailable, p.status)
	s.codes.breakWith(nil)
	assert.Equal(t, number, b.open(strings.TrimPrefix(p.page.SignInURL, s.URL)).page.Number, "trying again leads back to the number")
	assert.Equal(t, s.URL+"/members#", b.enter(s.codeFor(t, "oPerson", number)).location)
}

func TestPagesThatWantMoreThanACodeBrings(t *testing.T) {
	website := func(o *wechatgate.Options) { o.Website = wechatgate.App{ID: "wxbbbbbbbbbbbbbbbb", Secret: otherSecret} }
	for _, row := range []struct {
		name   string
		change func(*wechatgate.Options)
		status int
		page   wechatgate.PageName
	}{
		{"without a website app", func(*wechatgate.Options) {}, http.StatusUnauthorized, wechatgate.PageOpenInWeChat},
		{"with one", website, http.StatusFound, ""},
	} {
		for _, path := range []string{"/profile/me", "/unionid/me", "/wechat/login?flow=code&scope=snsapi_userinfo&return_to=/profile/me"} {
			t.Run(row.name+", "+path, func(t *testing.T) {
				s := newClockedCodeSite(t, row.change)
				b := s.browser(t)
				b.header.Set("User-Agent", uaPhone)
				p := b.open("/profile/me")
				require.Equal(t, wechatgate.PageCode, p.page.Name, "signs in first, as everywhere")
				require.Equal(t, http.StatusSeeOther, b.enter(s.codeFor(t, "oPerson", p.page.Number)).status)
				p = b.open(path)
				assert.Equal(t, row.status, p.status)
				assert.Equal(t, row.page, p.page.Name)
			})
		}
	}
}

// The browser keeps what was typed, under the site's own origin and in its tab; a
// sign-in by code never leaves either.
func TestKeptFormWithACode(t *testing.T) {
	s := newClockedCodeSite(t)
	b := s.browser(t)
	r := b.requestOf(http.MethodPost, "/orders", "note=hello")
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	p := b.show(r)
	require.Equal(t, http.StatusUnauthorized, p.status)
	assert.Contains(t, p.body, `id="form-data"`, "kept, and not only talked about")
	link := regexp.MustCompile(`id="sign-in" href="([^"]+)"`).FindStringSubmatch(p.body)
	require.NotNil(t, link)
	p = b.open(strings.TrimPrefix(strings.ReplaceAll(link[1], "&amp;", "&"), s.URL))
	require.Equal(t, wechatgate.PageCode, p.page.Name)
	assert.Equal(t, s.URL+"/wechat/resend#", b.enter(s.codeFor(t, "oPerson", p.page.Number)).location)
}

// Guesses that are judged against the CodeStore, for one number and all that a
// stranger with the page can send.
func TestGuessesForANumber(t *testing.T) {
	for name, keys := range map[string]int{"one session key": 1, "while keys change": 2} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newClockedCodeSite(t, func(o *wechatgate.Options) {
					o.SessionKeys = [][]byte{aKey('a'), aKey('b')}[:keys]
				})
				b := s.browser(t)
				b.open("/members")
				for range 5 {
					s.codeFor(t, "oVictim", b.page.Number)
				}
				s.codes.reset()
				copies := b.clone()
				for i := range 300 { // all of its ten minutes
					copies.clone().enter(fmt.Sprintf("%06d", i))
					time.Sleep(2 * time.Second)
				}
				_, takes := s.codes.calls()
				assert.Equal(t, 5*keys, takes, "five guesses, each looked for under each key")
				assert.Empty(t, copies.who())
				t.Logf("300 POSTs, %d judged; with %d codes a guess hits with %d in a million", takes/keys, 5, 5)
			})
		})
	}
}

// Numbers of two visitors may be the same: their tries are counted apart.
func TestTriesAreCountedForTheAttempt(t *testing.T) {
	s := newClockedCodeSite(t)
	b := s.browser(t)
	b.open("/members")
	for range 5 {
		b.enter("000000")
	}
	b.open("/members")
	assert.Equal(t, 4, b.enter("000000").page.TriesLeft)
}

func FuzzCodeForm(f *testing.F) {
	f.Add("state=STATE&code=CODE", "same-origin")
	f.Add("code=+CODE-&state=STATE&state=x", "none")
	f.Add("state=x&state=STATE&code=CODE", "")
	f.Add("state=STATE&code=000000", "cross-site")
	f.Add("state=STATE;code=CODE&%%%", "")
	f.Fuzz(func(t *testing.T, body, from string) {
		s := newClockedCodeSite(t)
		b := s.browser(t)
		b.open("/members")
		code := s.codeFor(t, "oPerson", b.page.Number)
		body = strings.NewReplacer("STATE", b.page.Hidden["state"], "CODE", code).Replace(body)
		r := b.requestOf(http.MethodPost, "/wechat/code", body)
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Sec-Fetch-Site", from)
		p := b.show(r)
		in := b.who() == "oPerson"
		form, _ := url.ParseQuery(body)
		typed, _ := codes.ParseCode(form.Get("code"))
		right := form.Get("state") == b.page.Hidden["state"] && typed == code && (from == "same-origin" || from == "none" || from == "")
		if in && !right {
			t.Fatalf("in with %q from %q", body, from)
		}
		if in != (p.status == http.StatusSeeOther) || p.status >= 500 {
			t.Fatalf("status %d, in %t", p.status, in)
		}
	})
}

// Number, code and openid stand in no log record, CodeStore entry or error, and
// in no printed Page.
func TestMarkersOfCodes(t *testing.T) {
	s := newCodeSite(t)
	var printed strings.Builder
	markers := map[string]string{"openid of the scan": wechattest.OpenID(s.wechat.OfficialAccount.ID, alice), "openid of the chat": wechattest.OpenID(chatAppID, bob)}
	remember := func(what, value string) {
		markers[what] = value
		markers[what+", in groups"] = value[:len(value)/2] + " " + value[len(value)/2:]
	}
	b := s.browser(t)
	p := b.open("/members").page
	remember("number", p.Number)
	fmt.Fprintf(&printed, "%v %+v %#v %s", p, p, &p, p.CodePage)
	fmt.Fprint(&printed, p.LogValue(), p.CodePage.LogValue())
	scanned := s.scan(t, alice, p)
	remember("code of the scan", scanned)
	reply, err := s.chat().Text(t.Context(), bob, p.Number)
	require.NoError(t, err)
	chatted := codeIn(t, reply)
	remember("code of the chat", chatted)
	remember("what was typed wrong", "918273")
	b.enter("918273")
	b.enter("9182 73 8")
	require.Equal(t, http.StatusSeeOther, b.enter(scanned).status)

	// Everything that can fail.
	s.codes.breakWith(func(context.Context, string) error { return errors.New("connection refused") })
	late := s.browser(t)
	remember("second number", late.open("/members").page.Number)
	late.enter(chatted)
	_, _, err = s.gate.CodeFor(t.Context(), chatAppID, markers["openid of the chat"], late.page.Number)
	require.Error(t, err)
	printed.WriteString(err.Error())
	_, err = s.chat().Text(t.Context(), bob, late.page.Number)
	require.NoError(t, err)
	_, err = s.wechat.Scan(alice, late.page.ScanURL)
	require.Error(t, err)
	s.codes.breakWith(nil)
	_, _, err = s.gate.CodeFor(t.Context(), chatAppID, "no openid "+markers["openid of the chat"], late.page.Number)
	require.Error(t, err)
	printed.WriteString(err.Error())
	for range 6 {
		late.enter("918273")
	}
	_, err = s.chat().Text(t.Context(), bob, "and now for something else")
	require.NoError(t, err)

	places := map[string]string{
		"the log":         s.log.String(),
		"the CodeStore":   strings.Join(s.codes.all, "\n") + decoded(s.codes.all),
		"what is printed": printed.String(),
	}
	for place, text := range places {
		require.NotEmpty(t, text, place)
		for what, marker := range markers {
			assert.NotContains(t, text, marker, "%s in %s", what, place)
		}
	}
	// The control: the search finds what stands on the pages, and what is encoded.
	seen := b.open("/members").body + reply + decoded([]string{base64.RawURLEncoding.EncodeToString([]byte(late.page.Number))})
	for _, marker := range []string{markers["openid of the scan"], chatted[:3] + " " + chatted[3:], late.page.Number} {
		assert.Contains(t, seen, marker)
	}
}

// decoded returns what the base64 among some texts holds.
func decoded(texts []string) string {
	var b strings.Builder
	for _, text := range texts {
		for _, encoding := range []*base64.Encoding{base64.RawURLEncoding, base64.URLEncoding} {
			plain, _ := encoding.DecodeString(text)
			b.Write(plain)
		}
	}
	return b.String()
}

// failingStore is a sessions.Store that cannot save.
type failingStore struct{}

func (failingStore) Get(r *http.Request, name string) (*sessions.Session, error) {
	return failingStore{}.New(r, name)
}

func (failingStore) New(_ *http.Request, name string) (*sessions.Session, error) {
	s := sessions.NewSession(failingStore{}, name)
	s.IsNew = true
	return s, nil
}

func (failingStore) Save(*http.Request, http.ResponseWriter, *sessions.Session) error {
	return errors.New("disk full")
}
