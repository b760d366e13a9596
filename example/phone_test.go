package main

import (
	"html"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestPhoneSignsInAnotherBrowser(t *testing.T) {
	base := startExample(t)
	for name, form := range map[string]func(page string) url.Values{
		"by scan": func(page string) url.Values {
			return url.Values{"do": {"scan"}, "address": {found(t, page, `id="scan-link"[^>]* href="([^"]+)"`)}}
		},
		"by chat": func(page string) url.Values {
			number := found(t, page, `/wechat/code/([0-9]{8})"`)
			return url.Values{"do": {"chat"}, "text": {number}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			browser := newBrowser(t)
			phone := phoneAddress(t, browser, base)
			get(t, browser, base+"/as/phone", navigation())
			page := get(t, browser, base+"/members", navigation())
			require.Equal(t, 401, page.status)

			sent := form(page.body)
			sent.Set("person", "bob")
			said := post(t, browser, phone, sent)
			code := found(t, found(t, said, `(?s)id="said"[^>]*>(.*?)</p>`), `([0-9]{3} ?[0-9]{3})`)
			body := post(t, browser, base+"/wechat/code", url.Values{"state": {found(t, page.body, `name="state" value="([^"]+)"`)}, "code": {code}})
			assert.Contains(t, body, "You see this page because you have signed in.")
		})
	}
}

func TestPhoneOpensNoOtherSite(t *testing.T) {
	base := startExample(t)
	browser := newBrowser(t)
	phone := phoneAddress(t, browser, base)
	for _, address := range []string{"", "https://evil.example/", base + ".evil.example/", "javascript:alert(1)"} {
		assert.Contains(t, post(t, browser, phone, url.Values{"do": {"scan"}, "person": {"bob"}, "address": {address}}), "请粘贴", address)
	}
	assert.Contains(t, post(t, browser, phone, url.Values{"do": {"chat"}, "person": {"bob"}, "text": {"hello"}}), "8 位数字")
}

// phoneAddress is where the fake is to which a computer is sent.
func phoneAddress(t *testing.T, browser *http.Client, base string) string {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, base+"/members", nil)
	require.NoError(t, err)
	r.Header.Set("Accept", "text/html")
	response, err := browser.Do(r)
	require.NoError(t, err)
	defer response.Body.Close()
	return "http://" + response.Request.URL.Host + phonePath
}

func post(t *testing.T, browser *http.Client, address string, form url.Values) (body string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, address, strings.NewReader(form.Encode()))
	require.NoError(t, err)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Accept", "text/html")
	response, err := browser.Do(r)
	require.NoError(t, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return string(text)
}

func found(t *testing.T, text, pattern string) string {
	t.Helper()
	match := regexp.MustCompile(pattern).FindStringSubmatch(text)
	require.NotNil(t, match, "no %s in %s", pattern, text)
	return html.UnescapeString(match[1])
}
