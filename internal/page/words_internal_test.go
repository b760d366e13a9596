package page

import (
	"html"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestWordsAreCompleteInEveryLanguage(t *testing.T) {
	reference := pageWords["zh-CN"]
	for lang, all := range pageWords {
		assert.ElementsMatch(t, slices.Collect(maps.Keys(reference)), slices.Collect(maps.Keys(all)), lang)
		for key, texts := range all {
			assert.ElementsMatch(t, slices.Collect(maps.Keys(reference[key])), slices.Collect(maps.Keys(texts)), "%s in %s", key, lang)
			for use, text := range texts {
				assert.Equal(t, reference[key][use] == "", text == "", "%s, %s in %s", key, use, lang)
				assert.Equal(t, strings.TrimSpace(text), text)
			}
			if try := texts["button"]; strings.HasPrefix(key, "failed.") {
				assert.Equal(t, all["retry"]["button"], try, "one word for trying again: %s in %s", key, lang)
			}
		}
		assert.Contains(t, all["snapshot"]["next"], "使用完整服务", "what the button in WeChat says, in %s", lang)
	}
}

// audiences are who reads a page, and what does not belong on theirs.
var audiences = []struct {
	name            string
	weChat, phone   bool
	foreign, except *regexp.Regexp
}{
	{"inside WeChat there are no settings of a browser", true, true, regexp.MustCompile(`(?i)设置中|設定中|cookie|settings|微信“扫一扫”|複製連結，在 WeChat|复制链接，在微信`), nil},
	{"a phone reads nothing for computers", false, true, regexp.MustCompile(`(?i)电脑|電腦|computer|ctrl`), regexp.MustCompile(`^failed\.unsupported$`)},
	{"a computer reads nothing for phones", false, false, regexp.MustCompile(`(?i)长按|長按|press and hold|点“|點「|\btap\b`), regexp.MustCompile(`^snapshot$|^open-in-wechat$`)},
}

func TestNobodyReadsWhatTheyCannotDo(t *testing.T) {
	for _, audience := range audiences {
		for lang, all := range pageWords {
			for key := range all {
				name, variant, _ := strings.Cut(key, ".")
				if name == "failed" {
					name = "error"
				}
				inWeChatToo := name != "open-in-wechat" && name != "code" && name != "sign-in" && key != "shared"
				if audience.weChat && !inWeChatToo || audience.except != nil && audience.except.MatchString(key) {
					continue
				}
				v := newView(Data{Name: name, Words: variant, Lang: lang, InWeChat: audience.weChat, Phone: audience.phone, Form: FormData{CannotKeep: variant}})
				if key == "shared" {
					v.words = []words{all[key]}
				}
				for use := range all[key] {
					use, _, _ = strings.Cut(use, ":")
					assert.NotRegexp(t, audience.foreign, v.Text(use), "%s: %s, %s in %s", audience.name, key, use, lang)
				}
			}
		}
	}
}

func TestTraditionalChineseIsItsOwn(t *testing.T) {
	mainland := regexp.MustCompile(`微信|登录|昵称|二维码|网|页|链接|验证码|扫|点|复制|账号|打开`)
	for key, texts := range pageWords["zh-TW"] {
		for use, text := range texts {
			assert.NotRegexp(t, mainland, text, "%s, %s", key, use)
		}
	}
}

func TestTermsStayOnOneLine(t *testing.T) {
	for lang, term := range map[string]string{"zh-CN": "二维码", "zh-TW": "QR Code", "en": "QR code"} {
		for key := range pageWords[lang] {
			v := newView(Data{Name: key, Lang: lang})
			for use := range pageWords[lang][key] {
				said := string(v.Say(use))
				assert.Equal(t, strings.Count(said, term), strings.Count(said, `<span class="one">`+term+`</span>`), said)
			}
		}
	}
	assert.Equal(t, `&lt;<span class="one">二维码</span>&gt;`, string(view{words: []words{{"x": "<二维码>"}}}.Say("x")))
	assert.Contains(t, string(pageStyle.element), ".one { white-space: nowrap; }")
}

func TestDrawing(t *testing.T) {
	for _, length := range []int{40, 2331, 2332, 2953} {
		drawn := draw(strings.Repeat("a", length))
		require.NotNil(t, drawn, "%d bytes", length)
		modules := fill(t, drawn)
		assert.Zero(t, strings.Count(strings.Join(modules[:4], ""), "#"), "four white modules above")
		assert.Zero(t, strings.Count(strings.Join(modules[drawn.Width-4:], ""), "#"), "and below")
		for i, finder := range []string{"#######", "#.....#", "#.###.#", "#.###.#", "#.###.#", "#.....#", "#######"} {
			assert.Equal(t, "...."+finder+".", modules[4+i][:12], "the corner that scanners look for")
		}
	}
	assert.Nil(t, draw(strings.Repeat("a", 2954)), "too long for any QR code")
	assert.Nil(t, draw(""))

	body, _, err := Render(Data{Name: "open-in-wechat", Lang: "en", PageURL: strings.Repeat("a", 2954)})
	require.NoError(t, err)
	assert.NotContains(t, html.UnescapeString(string(body)), pageWords["en"]["open-in-wechat"]["scan"], "no code, no word of it")
	assert.NotContains(t, string(body), `class="qr"`)
}

var rectangle = regexp.MustCompile(`M(\d+) (\d+)h(\d+)v1h-(\d+)z`)

// fill draws the rectangles of a path.
func fill(t *testing.T, d *drawing) []string {
	t.Helper()
	lines := slices.Repeat([]string{strings.Repeat(".", d.Width)}, d.Width)
	found := rectangle.FindAllStringSubmatch(d.Path, -1)
	length := 0
	for _, m := range found {
		length += len(m[0])
		x, y, width := atoi(m[1]), atoi(m[2]), atoi(m[3])
		require.Equal(t, m[3], m[4])
		lines[y] = lines[y][:x] + strings.Repeat("#", width) + lines[y][x+width:]
	}
	require.Len(t, d.Path, length, "nothing else is drawn")
	return lines
}

func atoi(digits string) int {
	n := 0
	for _, digit := range digits {
		n = 10*n + int(digit-'0')
	}
	return n
}
