package account_test

import (
	"context"
	"encoding/json"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wechatgate/wechatgate/wechat/account"
)

// The vectors of Tencent's documentation.
func TestSignJS(t *testing.T) {
	const (
		ticket = "sM4AOVdWfPE4DxkXGEs8VMCPGGVi4C3VM0P37wVUCFvkVAy_90u5h9nbSlYy3-Sl-HhTdfl2fzFy1AOcHKP7qg"
		nonce  = "Wm3WZYTPz0wzccnW"
		at     = 1414587457
	)
	for _, tt := range []struct{ page, want string }{
		{"http://mp.weixin.qq.com", "f4d90daf4b3bca3078ab155816175ba34c443a7b"},
		{"http://mp.weixin.qq.com?params=value", "0f9de62fce790f9a083d5c99e95740ceb90c27ed"},
		{"http://mp.weixin.qq.com?params=value#a#b", "0f9de62fce790f9a083d5c99e95740ceb90c27ed"},
	} {
		assert.Equal(t, tt.want, account.SignJS(ticket, nonce, at, tt.page), tt.page)
	}
}

func TestJSConfig(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a := newFake()
		nonces := map[string]bool{}
		for range 1000 {
			c, err := a.JSConfig(t.Context(), testPage+"#/route?x=1")
			require.NoError(t, err)
			require.Equal(t, testApp.ID, c.AppID)
			require.Equal(t, time.Now().Unix(), c.Timestamp)
			require.Regexp(t, `\A[A-Za-z0-9]{16,64}\z`, c.NonceStr)
			require.Equal(t, account.SignJS("TICKET-1", c.NonceStr, c.Timestamp, testPage), c.Signature)
			nonces[c.NonceStr] = true
		}
		require.Len(t, nonces, 1000)
	})
	text, err := json.Marshal(account.JSConfig{AppID: "wx1", Timestamp: 2, NonceStr: "n", Signature: "s"})
	require.NoError(t, err)
	assert.JSONEq(t, `{"appId":"wx1","timestamp":2,"nonceStr":"n","signature":"s"}`, string(text))
}

func TestPageAddresses(t *testing.T) {
	longest := "https://shop.example.com/" + strings.Repeat("a", 8<<10-len("https://shop.example.com/"))
	for _, address := range []string{
		"https://shop.example.com/", "http://shop.example.com/", "https://shop.example.com", "http://mp.weixin.qq.com?params=value",
		"https://shop.example.com:8443/a", "http://shop.example.com:443/", "https://shop.example.com:80/",
		"http://127.0.0.1:3000/", "http://[::1]:3000/", "http://[2001:db8::1]/", "http://localhost/", "https://xn--fiqs8s.example/",
		"https://shop.example.com/%E5%BE%AE%e4%bf%a1?q=%20+%2F%zz&a=b&&c", "https://shop.example.com/a//b/;c@d:e?u=https://x.example/?y",
		`https://shop.example.com/?a=\b`, "https://shop.example.com/?", "https://shop.example.com/A?B=C'(*)!$,~[]{}|^`", longest, longest + "#" + longest,
		"https://shop.example.com/#微信 \\", "https://shop.example.com/#",
	} {
		f, a := newFake()
		c, err := a.JSConfig(t.Context(), address)
		require.NoError(t, err, address)
		bare, _, _ := strings.Cut(address, "#")
		assert.Equal(t, account.SignJS("TICKET-1", c.NonceStr, c.Timestamp, bare), c.Signature, "signed as it is")
		assert.Equal(t, 2, f.count())
	}

	f, a := newFake()
	for _, address := range []string{
		"", "#", "/", "shop.example.com", "//shop.example.com/", "/cards?id=7", "https:/shop.example.com/", "https:shop.example.com",
		"ftp://shop.example.com/", "javascript://shop.example.com/", "file:///etc/passwd", "HTTPS://shop.example.com/", "Http://shop.example.com/", " https://shop.example.com/", "https ://shop.example.com/",
		"https://", "https:///", "https:///path", "https://?q", "https://:8443/", "https://./", "https://#x",
		"https://Shop.example.com/", "https://shop.EXAMPLE.com/", "https://shop.example.com:443/", "http://shop.example.com:80/", "http://shop.example.com:80",
		"https://shop.example.com:/", "https://shop.example.com:0/", "https://shop.example.com:08443/", "https://shop.example.com:65536/", "https://shop.example.com:8a/", "https://shop.example.com:+1/", "https://a:1:2/",
		"https://user@shop.example.com/", "https://user:password@shop.example.com/", "https://@shop.example.com/", "https://:@shop.example.com/",
		"https://shop.example.com/a b", "https://shop.example.com/a\tb", "https://shop.example.com/\n", "https://shop.example.com/\x00", "https://shop.example.com/\x7f", "https://shop.example.com/\r\nx",
		"https://shop.example.com/微信", "https://shop.example.com/?q=é", "https://微信.example/", "https://shop.example.com/\xff",
		`https://shop.example.com\@evil.example/`, `https://shop.example.com/a\b`, `https:\\shop.example.com/`, `https://shop.example.com\?a`, `https://shop.example.com/a\?b=c`,
		"https://shop%2eexample.com/", "https://shop.example.com<x>/", "https://[::1/", "https://[::1]x/", "https://::1]/", "https://[]/", "https://[127.0.0.1]/", "https://[::A]/", "https://[fe80::1%25eth0]/",
		longest + "a",
	} {
		_, err := a.JSConfig(t.Context(), address)
		assert.ErrorIs(t, err, account.ErrURL, "%q", address)
	}
	assert.Zero(t, f.count(), "no call for an address that is none")
}

// signer tells which ticket signed.
func signer(t *testing.T, a *account.Account) string {
	t.Helper()
	c, err := a.JSConfig(t.Context(), testPage)
	require.NoError(t, err)
	for n := range 2000 {
		ticket := "TICKET-" + itoa(n)
		if account.SignJS(ticket, c.NonceStr, c.Timestamp, testPage) == c.Signature {
			return ticket
		}
	}
	return "none"
}

func itoa(n int) string { b, _ := json.Marshal(n); return string(b) }

func TestTheTicketGrowsOld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, a := newFake()
		require.Equal(t, "TICKET-1", signer(t, a))
		require.Equal(t, "GET https://api.weixin.qq.com/cgi-bin/ticket/getticket?access_token=TOKEN-1&type=jsapi", f.made(opTicket)[0].method+" "+f.made(opTicket)[0].address)
		time.Sleep(5*time.Minute - 1)
		require.Equal(t, "TICKET-1", signer(t, a))
		require.Len(t, f.made(opTicket), 1)

		f.when(opTicket, func(n int, c call) (string, error) { time.Sleep(900 * time.Millisecond); return usual(n, c) })
		time.Sleep(time.Nanosecond)
		began := time.Now()
		var all sync.WaitGroup
		for range 100 {
			all.Go(func() { assert.Equal(t, "TICKET-2", signer(t, a), "the call that finds it old waits") })
		}
		all.Wait()
		require.Equal(t, 900*time.Millisecond, time.Since(began))
		require.Len(t, f.made(opTicket), 2)
	})
}

func TestAnOldTicketServesWhileANewOneIsSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, a := newFake()
		require.Equal(t, "TICKET-1", signer(t, a))
		f.when(opTicket, func(n int, c call) (string, error) { time.Sleep(4 * time.Second); return usual(n, c) })
		time.Sleep(5 * time.Minute)
		began := time.Now()
		require.Equal(t, "TICKET-1", signer(t, a))
		require.Equal(t, time.Second, time.Since(began), "waits for a second")
		require.Equal(t, "TICKET-1", signer(t, a))
		require.Equal(t, time.Second, time.Since(began), "of that fetch")
		time.Sleep(3*time.Second + 1)
		require.Equal(t, "TICKET-2", signer(t, a))
		require.Len(t, f.made(opTicket), 2)

		time.Sleep(5 * time.Minute)
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		_, err := a.JSConfig(ctx, testPage)
		require.Equal(t, context.DeadlineExceeded, err)
		time.Sleep(4 * time.Second)
	})
}

func TestAnOldTicketServesForAnHour(t *testing.T) {
	for _, tt := range []struct {
		name string
		op   string
		say  func(int, call) (string, error)
	}{
		{"the ticket fails", opTicket, func(int, call) (string, error) { return refusal(45009), nil }},
		{"the account may not", opTicket, func(int, call) (string, error) { return refusal(48001), nil }},
		{"no answer", opTicket, hangs},
		{"the token fails", opToken, func(int, call) (string, error) { return refusal(40164), nil }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f, a := newFake()
				f.from(opToken, `{"access_token":"T","expires_in":300}`)
				require.Equal(t, "TICKET-1", signer(t, a))
				began := time.Now()
				f.when(tt.op, tt.say)
				time.Sleep(5 * time.Minute)
				for time.Since(began) < time.Hour-10*time.Second {
					before := time.Now()
					require.Equal(t, "TICKET-1", signer(t, a))
					require.LessOrEqual(t, time.Since(before), time.Second)
					time.Sleep(4 * time.Second)
				}
				time.Sleep(time.Until(began.Add(time.Hour)))
				_, err := a.JSConfig(t.Context(), testPage)
				require.Error(t, err)
				made := len(f.made(tt.op))
				require.LessOrEqual(t, made, 3301/5+3)
				if tt.name == "the token fails" || tt.name == "the account may not" {
					require.LessOrEqual(t, made, 3301/30+3, "a wrong setting: every 30 s")
				}
				require.LessOrEqual(t, f.records(), made, "one record for each failed fetch")
			})
		})
	}
}

func TestAFloodWithAWrongSecretIsOneCallInThirtySeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, a := newFake()
		f.from(opToken, refusal(40125))
		for range 3000 {
			_, err := a.JSConfig(t.Context(), testPage)
			require.Equal(t, 40125, codeOf(err))
			time.Sleep(100 * time.Millisecond)
		}
		require.Equal(t, 10, f.count())
		require.Equal(t, 10, f.records())
	})
}

func BenchmarkJSConfigWarm(b *testing.B) {
	f, a := newFake()
	ctx := context.Background()
	if _, err := a.JSConfig(ctx, testPage); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		c, err := a.JSConfig(ctx, testPage)
		if err != nil || len(c.Signature) != 40 {
			b.Fatal(err)
		}
	}
	b.StopTimer()
	if f.count() != 2 {
		b.Fatal("a warm signature made a call")
	}
}
