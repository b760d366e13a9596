package page_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"html"
	"maps"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wechatgate/wechatgate/internal/page"
)

const (
	open   = "https://open.weixin.qq.com"
	signIn = "https://shop.example.com/wechat/login?return_to=%2Fa%2F%2Fb%3Fx%3D1%26y&flow=qr"
	frame  = open + "/connect/qrconnect?appid=wx1&redirect_uri=https%3A%2F%2Fshop.example.com%2Fwechat%2Fcallback&state=0a1b"
	opened = "https://shop.example.com/a//b?x=1&y=%E5%BE%AE#c"
	home   = "https://shop.example.com/"
	scan   = "https://shop.example.com/wechat/code/48213907"
)

var languages = []string{"zh-CN", "zh-TW", "en"}

// everything has all that a page may show. Each page takes its own.
func everything(name, words string) page.Data {
	return page.Data{
		Name: name, Words: words, Lang: "en",
		Site: page.Site{
			Name: "Green Hill Books", Logo: "https://img.example.com/logo.png", Home: home,
			Footer: "京ICP备12345678号-1", FooterURL: "https://beian.miit.gov.cn/",
		},
		SignInURL: signIn, SignOutURL: "/wechat/logout?return_to=%2Fbye", FrameURL: frame, PageURL: opened,
		CodeSignInURL: "/wechat/login?flow=code", BackURL: "/back", NotNowURL: "/not-now",
		Reference: "7f3a9c21", OpenOrigin: open, CleanAddress: true,
		Form:   page.FormData{Action: "/comments?x=1", Back: "/form", Fields: []page.Field{{Name: "text", Value: "你好"}}},
		Number: "48213907", Code: "482913", ScanURL: scan, CodeURL: "/wechat/code",
		ChatName: "Green Hill", ChatQR: "/chat.png", Host: "shop.example.com", TriesLeft: 3,
		Hidden: map[string]string{"state": "0a1b", "at": "2"},
	}
}

func keepForm(cannot string) page.Data {
	d := everything("keep-form", "")
	d.Form.CannotKeep = cannot
	return d
}

type row struct {
	says   string
	data   page.Data
	leads  []string // where its links, buttons and forms lead, beside home and footer
	policy map[string]string
}

const self = "'self'"

// every page of the gate
func every() []row {
	failure := func(name, words string) row {
		leads := []string{"copy", signIn, "/back"}
		if words == "cross-site-sign-out" {
			leads = []string{"copy", signIn, "/wechat/logout?return_to=%2Fbye", "/back"}
		}
		return row{name + " " + words, everything(name, words), leads, nil}
	}
	rows := []row{
		{"WeChat's QR code in our page", everything("sign-in", ""), []string{signIn, signIn, "/wechat/login?flow=code"}, map[string]string{"frame-src": open}},
		{"asking for a profile", everything("consent", ""), []string{signIn, "/not-now"}, nil},
		{"a form that signs out, and may end at WeChat", everything("sign-out", ""), []string{"POST /wechat/logout?return_to=%2Fbye", "/back"}, map[string]string{"form-action": "'self' " + open}},
		{"signed out", everything("signed-out", ""), []string{signIn}, nil},
		{"open in WeChat", everything("open-in-wechat", ""), []string{"copy", signIn}, nil},
		{"open a scan in WeChat", everything("open-in-wechat", "scan"), []string{"copy", signIn}, nil},
		{"the button of a snapshot is WeChat's", everything("snapshot", "snapshot"), nil, nil},
		{"loading the callback once more", everything("reload", ""), []string{signIn}, nil},
		{"fetching the fragment", everything("fragment", ""), []string{signIn}, nil},
		{"a form that is kept", keepForm(""), []string{signIn, "/form", "/form"}, nil},
		{"what is kept", everything("resend", ""), []string{"send", "discard"}, map[string]string{"form-action": ""}},
		{"a code that is shown", everything("code-shown", ""), nil, nil},
	}
	phone := everything("code", "")
	phone.Phone = true
	rows = append(rows, row{"typing a code on a phone", phone, []string{"scan-copy", scan, "POST /wechat/code", signIn, "copy"}, map[string]string{"form-action": "", "img-src": "https://img.example.com 'self'"}})
	phone.PageURL, phone.ChatQR = "", ""
	rows = append(rows, row{"typing a code on a phone, with nothing else", phone, []string{"scan-copy", scan, "POST /wechat/code", signIn}, map[string]string{"form-action": ""}})
	alone := everything("error", "config")
	alone.SignInURL, alone.PageURL, alone.BackURL = "", "", ""
	rows = append(rows, row{"a failure that no button of its own mends", alone, nil, nil})
	for _, words := range []string{"", "code", "not-a-code", "new-number"} {
		rows = append(rows, row{"typing a code " + words, everything("code", words), []string{scan, "POST /wechat/code", signIn, "copy"}, map[string]string{"form-action": "", "img-src": "https://img.example.com 'self'"}})
	}
	for _, cannot := range []string{"files", "too-large", "unreadable", "other-browser", "none"} {
		rows = append(rows, row{"a form that is not kept: " + cannot, keepForm(cannot), []string{"/form"}, nil})
	}
	for _, words := range []string{"", "state", "denied", "wechat", "busy", "code", "code-limit", "wrong-host", "tomorrow"} {
		rows = append(rows, failure("retry", words))
	}
	for _, words := range []string{"", "snapshot", "refused", "unsupported", "config", "session", "internal", "upstream", "not-found", "too-many", "mount", "cross-site-sign-out", "tomorrow"} {
		rows = append(rows, failure("error", words))
	}
	return rows
}

func TestEveryPageInEveryLanguage(t *testing.T) {
	for _, test := range every() {
		for _, lang := range languages {
			t.Run(test.says+" in "+lang, func(t *testing.T) {
				d := test.data
				d.Lang = lang
				body, csp := render(t, d)
				elements := parse(t, body)

				assert.Equal(t, lang, one(t, elements, "html").attr["lang"])
				assert.Len(t, filter(elements, "main"), 1, "one landmark holds everything")
				assert.Len(t, filter(elements, "h1"), 1)
				assert.Regexp(t, `^\S.* · Green Hill Books$`, elements[slices.IndexFunc(elements, isNamed("title"))].text)
				assert.Equal(t, "7f3a9c21", one(t, elements, "code").text)
				for _, leftover := range []string{"{{", "}}", "{tries}", "{chat}", "ZgotmplZ", "no value", "%!"} {
					assert.NotContains(t, body, leftover)
				}

				assert.Equal(t, test.leads, leads(elements))
				assert.Equal(t, slices.Contains(leads(elements), "copy") || slices.Contains(leads(elements), "scan-copy"), strings.Contains(body, "execCommand"), "who copies needs the script")
				assert.Equal(t, strings.HasPrefix(test.says, "retry") && d.Words != "denied" || d.Name == "error", strings.Contains(body, `class="mark failure"`), "to decline is no failure")
				assert.Equal(t, home, elements[slices.IndexFunc(elements, isNamed("a"))].attr["href"], "the site's name leads home")
				assert.Contains(t, html.UnescapeString(body), `<footer><a href="https://beian.miit.gov.cn/">京ICP备12345678号-1</a></footer>`)

				assert.Equal(t, wantPolicy(elements, test.policy), directives(csp))
				ids := map[string]bool{}
				for _, e := range elements {
					assert.False(t, e.attr["id"] != "" && ids[e.attr["id"]], "two elements are called %q", e.attr["id"])
					ids[e.attr["id"]] = true
					for name, value := range e.attr {
						assert.NotEqual(t, "style", name, "the policy forbids it on <%s>", e.name)
						assert.False(t, strings.HasPrefix(name, "on"), "the policy forbids %s on <%s>", name, e.name)
						if name == "src" {
							assert.Contains(t, []string{frame, "https://img.example.com/logo.png", "/chat.png"}, value, "nothing else is loaded")
						}
					}
				}
			})
		}
	}
}

// leads returns where a page leads, in its order, without the site's own links.
func leads(elements []element) []string {
	var all []string
	for _, e := range elements {
		target := e.attr["href"]
		switch {
		case e.name == "form" && e.attr["method"] == "post":
			target = "POST " + e.attr["action"]
		case e.name == "button" && e.attr["type"] == "button":
			target = e.attr["id"]
		case e.name != "a" || target == home || strings.Contains(target, "beian"):
			continue
		}
		all = append(all, target)
	}
	return all
}

// wantPolicy names what a page may do. Its hashes are computed from the page, as
// a browser does.
func wantPolicy(elements []element, more map[string]string) map[string]string {
	want := map[string]string{
		"default-src":     "'none'",
		"base-uri":        "'none'",
		"frame-ancestors": "'none'",
		"form-action":     "'none'",
		"img-src":         "https://img.example.com",
	}
	for _, e := range elements {
		if e.name == "style" || e.name == "script" && e.attr["type"] == "" {
			sum := sha256.Sum256([]byte(e.text))
			source := " 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
			want[e.name+"-src"] = strings.TrimSpace(want[e.name+"-src"] + source)
		}
	}
	maps.Copy(want, more)
	maps.DeleteFunc(want, func(_, sources string) bool { return sources == "" })
	return want
}

func TestImagesThatThePolicyAllows(t *testing.T) {
	for _, test := range []struct{ logo, chatQR, want string }{
		{"", "", ""},
		{"/logo.png", "/chat.png", self},
		{"https://img.example.com:8443/a;b,c.png", "", "https://img.example.com:8443"},
		{"https://img.example.com/a.png", "https://img.example.com/b.png", "https://img.example.com"},
		{"https://a.example.com; script-src *", "https://b.example.com/q.png", "https://b.example.com"},
		{"https://*", "data:image/png;base64,AAAA", ""},
		{"javascript:alert(1)", "//evil.example", ""},
	} {
		d := everything("code", "")
		d.Site.Logo, d.ChatQR = test.logo, test.chatQR
		_, csp := render(t, d)
		assert.Equal(t, test.want, directives(csp)["img-src"], "%s, %s", test.logo, test.chatQR)
		assert.Len(t, directives(csp)["script-src"], len("'sha256-")+45+1+len("'sha256-")+45, "two scripts")
	}
}

func TestPagesAreTheSameWhateverStandsInThem(t *testing.T) {
	const hostile = `/"'><script>alert(1)</script></textarea></title><img src=x onerror=alert(1)>{{.}}{number}<!--` + "\u2028"
	for _, test := range every() {
		t.Run(test.says, func(t *testing.T) {
			test.data.Message = "No."
			harmless, harmlessCSP := render(t, test.data)
			d := test.data
			d.Form.Fields = slices.Clone(d.Form.Fields)
			d.Hidden = map[string]string{"at" + hostile: hostile, "state" + hostile: hostile}
			spoil(reflect.ValueOf(&d).Elem(), hostile)
			d.Number, d.Code = test.data.Number, test.data.Code
			body, csp := render(t, d)

			assert.Equal(t, outline(t, harmless), outline(t, body))
			assert.Equal(t, harmlessCSP, csp)
			assert.NotContains(t, body, "<script>alert")
		})
	}
}

// spoil appends text to all texts that come from outside.
func spoil(v reflect.Value, text string) {
	for i := range v.NumField() {
		switch name, field := v.Type().Field(i).Name, v.Field(i); {
		case slices.Contains([]string{"Name", "Words", "Lang", "OpenOrigin", "CannotKeep"}, name) && v.Type().Name() != "Site" && v.Type().Name() != "Field":
		case field.Kind() == reflect.String && field.String() != "":
			field.SetString(field.String() + text)
		case field.Kind() == reflect.Struct:
			spoil(field, text)
		case field.Kind() == reflect.Slice:
			for i := range field.Len() {
				spoil(field.Index(i), text)
			}
		}
	}
}

// outline is a page without its texts and addresses.
func outline(t *testing.T, body string) []string {
	t.Helper()
	var names []string
	for _, e := range parse(t, body) {
		names = append(names, e.name+" "+strings.Join(slices.Sorted(maps.Keys(e.attr)), " "))
	}
	return names
}

func TestAddressesOfScriptsAreNoLinks(t *testing.T) {
	for _, test := range every() {
		d := test.data
		for _, address := range []*string{
			&d.Site.Logo, &d.Site.Home, &d.Site.FooterURL, &d.SignInURL, &d.SignOutURL, &d.FrameURL, &d.CodeSignInURL,
			&d.HomeURL, &d.BackURL, &d.NotNowURL, &d.Form.Back, &d.ScanURL, &d.CodeURL, &d.ChatQR,
		} {
			*address = "javascript:alert(1)"
		}
		body, _ := render(t, d)
		for _, e := range parse(t, body) {
			for _, name := range []string{"href", "src", "action"} {
				assert.NotContains(t, e.attr[name], "javascript:", test.says)
			}
		}
	}
}

func TestKeptFormsSurviveThePage(t *testing.T) {
	const markup = `</script><!--<script>"'&amp;&lt;\u0041` + "\u2028\u2029\x00\ufeff"
	form := page.FormData{Action: "/comments?a=1&b=%3C", Fields: []page.Field{
		{Name: "text", Value: "第一行\r\n第二行\r\n\r\n"},
		{Name: "tag", Value: "b"},
		{Name: "tag", Value: "a"},
		{Name: "tag", Value: ""},
		{Name: markup, Value: markup},
		{Name: "😀", Value: "tab\tlone\rlone\n"},
		{Name: "long", Value: strings.Repeat("長文 <&> ", 5000)},
	}}
	d := everything("keep-form", "")
	d.Form = form
	body, csp := render(t, d)

	i := slices.IndexFunc(parse(t, body), func(e element) bool { return e.attr["id"] == "form-data" })
	data := parse(t, body)[i]
	assert.Equal(t, "application/json", data.attr["type"], "no script that runs")
	var kept struct {
		Action string
		Fields [][2]string
	}
	require.NoError(t, json.Unmarshal([]byte(data.text), &kept))
	assert.Equal(t, form.Action, kept.Action)
	require.Len(t, kept.Fields, len(form.Fields))
	for i, field := range form.Fields {
		assert.Equal(t, [2]string{field.Name, field.Value}, kept.Fields[i])
	}
	assert.Less(t, len(csp), 600)

	d.Form.CannotKeep = "too-large"
	body, csp = render(t, d)
	assert.NotContains(t, body, "第一行")
	assert.NotContains(t, body, "form-data")
	assert.Len(t, filter(parse(t, body), "script"), 1, "the one that cleans the address")
	assert.NotEmpty(t, csp)
}

func TestKeptFormsWithoutScript(t *testing.T) {
	body, _ := render(t, everything("keep-form", ""))
	kept := slices.IndexFunc(parse(t, body), func(e element) bool { return e.attr["id"] == "kept" })
	assert.Contains(t, parse(t, body)[kept].attr, "hidden", "nothing is promised before it is done")
	without := inside(t, body, "<noscript>", "</noscript>")
	assert.Contains(t, without, "type it again")
	assert.Equal(t, []string{"/form"}, leads(parse(t, without)))
}

func TestPagesThatPostSendTheirOrigin(t *testing.T) {
	for _, test := range every() {
		body, _ := render(t, test.data)
		posts := slices.Contains([]string{"sign-out", "code", "resend"}, test.data.Name)
		assert.Equal(t, posts, strings.Contains(body, `<meta name="referrer" content="same-origin">`), test.says)
	}
}

func TestCodePage(t *testing.T) {
	for _, test := range []struct {
		says string
		set  func(*page.Data)
		has  []string
		not  []string
	}{
		{
			"a scan and a chat",
			func(*page.Data) {},
			[]string{`>4821 3907</b>`, `class="qr" role="img"`, `href="` + scan + `"`, `src="/chat.png"`, "Green Hill", `name="state" value="0a1b"`, `inputmode="numeric" autocomplete="one-time-code"`},
			[]string{`id="scan-copy"`, "Tries left"},
		},
		{"a scan alone", func(d *page.Data) { d.ChatName = "" }, []string{`href="` + scan + `"`}, []string{"4821 3907", "/chat.png"}},
		{"a chat alone", func(d *page.Data) { d.ScanURL, d.PageURL = "", "" }, []string{"4821 3907"}, []string{`role="img"`, scan, "<textarea", "<script>(function"}},
		{"a phone copies what it cannot scan", func(d *page.Data) { d.Phone = true }, []string{`id="scan-copy"`, `href="` + scan + `"`}, []string{"that your phone shows"}},
		{"wrong", func(d *page.Data) { d.Words = "code" }, []string{"wrong or has expired", "Tries left: 3", `aria-describedby="notice"`}, nil},
		{"the last try", func(d *page.Data) { d.Words, d.TriesLeft = "code", 0 }, []string{"Tries left: 0"}, nil},
		{"tries are not said", func(d *page.Data) { d.Words, d.TriesLeft = "code", -1 }, []string{"wrong or has expired"}, []string{"Tries left"}},
		{"no code", func(d *page.Data) { d.Words = "not-a-code" }, []string{"6 digits"}, []string{"wrong or has"}},
		{"another number", func(d *page.Data) { d.Words = "new-number" }, []string{"get a new one"}, []string{"Tries left"}},
		{"no number", func(d *page.Data) { d.Number = "" }, nil, []string{`id="number"`}},
	} {
		d := everything("code", "")
		test.set(&d)
		body, _ := render(t, d)
		text := tags(body)
		for _, has := range test.has {
			assert.True(t, strings.Contains(body, has) || strings.Contains(text, has), "%s: no %s", test.says, has)
		}
		for _, not := range test.not {
			assert.False(t, strings.Contains(body, not) || strings.Contains(text, not), "%s: %s", test.says, not)
		}
	}

	body, _ := render(t, everything("code-shown", ""))
	assert.Contains(t, body, `id="code">482 913</p>`)
	assert.Contains(t, body, "shop.example.com")
	assert.NotContains(t, body, "482913")
}

func TestWaysOn(t *testing.T) {
	for _, test := range every() {
		if test.data.Name == "reload" || test.data.Name == "fragment" || test.data.Name == "code-shown" {
			continue // they lead on by themselves, or on another screen
		}
		t.Run(test.says, func(t *testing.T) {
			d := page.Data{Name: test.data.Name, Words: test.data.Words, Lang: "en", Form: test.data.Form, HomeURL: home}
			d.Form.Back, d.TriesLeft = "", -1
			body, csp := render(t, d)
			_, main, _ := strings.Cut(body, "<main>")
			ways := filter(parse(t, main), "a")
			assert.True(t, slices.ContainsFunc(ways, func(e element) bool { return e.attr["href"] == home }), "nothing set but home, and it leads there")
			assert.NotContains(t, csp, "img-src")
			assert.NotContains(t, body, "<header>")
			assert.NotContains(t, body, "<footer>")
			assert.NotContains(t, body, `href=""`, "no way is no link")
		})
	}
}

func TestRefusalInTheSitesOwnWords(t *testing.T) {
	d := everything("error", "refused")
	own, _ := render(t, d)
	d.Message = "Members <only>.\nAsk us."
	body, _ := render(t, d)
	assert.Contains(t, own, "cannot enter")
	assert.NotContains(t, body, "cannot enter")
	assert.Contains(t, body, "Members &lt;only&gt;.\nAsk us.")
}

func TestCleanAddress(t *testing.T) {
	d := page.Data{Name: "retry", Lang: "en"}
	body, csp := render(t, d)
	assert.NotContains(t, body, "<script")
	assert.NotContains(t, csp, "script-src")
	d.CleanAddress = true
	body, _ = render(t, d)
	assert.Contains(t, one(t, parse(t, body), "script").text, "history.replaceState(null, \"\", location.pathname);")
}

func TestSignInFrame(t *testing.T) {
	for _, test := range []struct{ style, class string }{
		{"", ""},
		{"&style=black", ""},
		{"&style=white", "dark"}, // white text on white paper is none
	} {
		d := everything("sign-in", "")
		d.FrameURL += test.style
		body, _ := render(t, d)
		frame := one(t, parse(t, body), "iframe")
		assert.Equal(t, test.class, frame.attr["class"])
		assert.Equal(t, d.FrameURL, frame.attr["src"])
		assert.Equal(t, "allow-scripts allow-same-origin allow-top-navigation", frame.attr["sandbox"])
		assert.Equal(t, "300 × 400", frame.attr["width"]+" × "+frame.attr["height"])
		assert.Equal(t, "570", frame.attr["data-seconds"], "before the ten minutes are over")
		assert.NotEmpty(t, frame.attr["title"])
		assert.Equal(t, []string{signIn}, leads(parse(t, inside(t, body, "<noscript>", "</noscript>"))))
	}
}

func TestPagesThatLeadOn(t *testing.T) {
	const callback = "https://shop.example.com/wechat/callback?code=0'1;%22+2&state=ab&again=1"
	reload, csp := render(t, page.Data{Name: "reload", Lang: "zh-TW", SignInURL: callback})
	assert.Equal(t, "0; url="+callback, refresh(parse(t, reload)))
	assert.Equal(t, strings.ReplaceAll(callback, "'", "%27"), one(t, parse(t, reload), "a").attr["href"])
	assert.NotContains(t, csp, "script-src")

	fragment, _ := render(t, page.Data{Name: "fragment", Lang: "en", SignInURL: signIn})
	assert.Equal(t, "continue", one(t, parse(t, fragment), "a").attr["id"], "the script reads the address there")
	without := inside(t, fragment, "<noscript>", "</noscript>")
	assert.Equal(t, "0; url="+signIn, refresh(parse(t, without)))
	assert.Empty(t, refresh(parse(t, strings.ReplaceAll(fragment, without, ""))), "with script the fragment must not be lost")
}

func TestNoPageOfAnUnknownNameOrLanguage(t *testing.T) {
	for _, d := range []page.Data{{Name: "consent", Lang: "tlh"}, {Name: "failed", Lang: "en"}, {Name: "layout", Lang: "en"}, {}} {
		_, _, err := page.Render(d)
		assert.EqualError(t, err, `wechatgate: no page "`+d.Name+`" in "`+d.Lang+`"`)
	}
}

func refresh(elements []element) string {
	for _, e := range elements {
		if e.name == "meta" && e.attr["http-equiv"] == "refresh" {
			return e.attr["content"]
		}
	}
	return ""
}

func inside(t *testing.T, text, begin, end string) string {
	t.Helper()
	_, after, found := strings.Cut(text, begin)
	require.True(t, found)
	within, _, found := strings.Cut(after, end)
	require.True(t, found)
	return within
}

func render(t *testing.T, d page.Data) (body, csp string) {
	t.Helper()
	b, csp, err := page.Render(d)
	require.NoError(t, err)
	return string(b), csp
}

func directives(csp string) map[string]string {
	policy := map[string]string{}
	for directive := range strings.SplitSeq(csp, "; ") {
		name, sources, _ := strings.Cut(directive, " ")
		policy[name] = sources
	}
	return policy
}

// element is a start tag of a page. Its text goes on to the next tag, or, in
// elements that hold nothing but text, to the end.
type element struct {
	name string
	attr map[string]string
	text string
}

// parse reads a page as a browser does, as far as our pages go.
func parse(t *testing.T, body string) []element {
	t.Helper()
	var elements []element
	for {
		_, rest, found := strings.Cut(body, "<")
		if !found {
			return elements
		}
		if rest[0] == '/' || rest[0] == '!' {
			body = rest
			continue
		}
		e := element{attr: map[string]string{}}
		end := strings.IndexAny(rest, " >")
		require.Positive(t, end)
		e.name, rest = strings.TrimSuffix(rest[:end], "/"), rest[end:]
		for rest = strings.TrimLeft(rest, " /"); rest[0] != '>'; rest = strings.TrimLeft(rest, " /") {
			end := strings.IndexAny(rest, "= >")
			name := rest[:end]
			require.NotContains(t, e.attr, name)
			e.attr[name] = ""
			if rest = rest[end:]; rest[0] == '=' {
				require.Equal(t, byte('"'), rest[1], "%s of <%s> is quoted", name, e.name)
				value, after, closed := strings.Cut(rest[2:], `"`)
				require.True(t, closed)
				e.attr[name], rest = html.UnescapeString(value), after
			}
		}
		body = rest[1:]
		switch e.name {
		case "style", "script":
			e.text, body, found = strings.Cut(body, "</"+e.name+">")
			require.True(t, found)
		case "title", "textarea":
			e.text, body, found = strings.Cut(body, "</"+e.name+">")
			require.True(t, found)
			e.text = html.UnescapeString(e.text)
		default:
			text, _, _ := strings.Cut(body, "<")
			e.text = html.UnescapeString(text)
		}
		elements = append(elements, e)
	}
}

// tags returns what a person reads in the body of a page.
func tags(body string) string {
	_, body, _ = strings.Cut(body, "<main>")
	var b strings.Builder
	for part := range strings.SplitSeq(body, "<") {
		_, text, found := strings.Cut(part, ">")
		if found && !strings.HasPrefix(part, "script") && !strings.HasPrefix(part, "textarea") {
			b.WriteString(text)
		}
	}
	return html.UnescapeString(b.String())
}

func isNamed(name string) func(element) bool {
	return func(e element) bool { return e.name == name }
}

func filter(elements []element, name string) []element {
	return slices.DeleteFunc(slices.Clone(elements), func(e element) bool { return e.name != name })
}

func one(t *testing.T, elements []element, name string) element {
	t.Helper()
	found := filter(elements, name)
	require.Len(t, found, 1, "<%s>", name)
	return found[0]
}

// Where a kept form was going has to pass the check of the page that sends it, or
// what was typed would be lost after all.
func TestWhereAKeptFormMayGo(t *testing.T) {
	script, err := os.ReadFile("files/resend.js")
	require.NoError(t, err)
	found := regexp.MustCompile(`&& /(\^.*\$)/\.test\(action\)`).FindSubmatch(script)
	require.NotNil(t, found)
	local := regexp.MustCompile(string(found[1])) // of the syntax that Go and browsers share
	for action, may := range map[string]bool{
		"/":                          true,
		"/?":                         true,
		"/shop/order?id=3":           true,
		"/a%20b/%E5%AD%97%2f%5c":     true,
		`/open?path=C:\new&u=//x?y`:  true, // browsers leave a backslash in a query
		"/a//b;c=d":                  true,
		"":                           false,
		"order":                      false,
		"//evil.example/":            false,
		`/\evil.example/`:            false,
		`/a\..\..\b`:                 false,
		"/\t/evil.example/":          false,
		"/ /evil.example/":           false,
		"/a?b\nc":                    false,
		"/a#b":                       false,
		"https://evil.example/":      false,
		"javascript:alert(1)//?x=\\": false,
	} {
		assert.Equal(t, may, local.MatchString(action), "%q", action)
	}
}
