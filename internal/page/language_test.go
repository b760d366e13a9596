package page_test

import (
	"net/http"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/wechatgate/wechatgate/internal/page"
)

func TestLanguage(t *testing.T) {
	const weChat = "Mozilla/5.0 (Linux; Android 14) MicroMessenger/8.0.50 NetType/WIFI "
	far := strings.Repeat("fr,", 400) // 1,200 bytes
	for _, test := range []struct{ name, userAgent, accept, want string }{
		{"nothing is said", "", "", "zh-CN"},
		{"WeChat in simplified Chinese", weChat + "Language/zh_CN", "en", "zh-CN"},
		{"WeChat for Taiwan", weChat + "Language/zh_TW", "en", "zh-TW"},
		{"WeChat for Hong Kong", weChat + "Language/zh_HK", "en", "zh-TW"},
		{"WeChat in English", weChat + "Language/en", "zh-CN", "en"},
		{"WeChat in English, and more after it", weChat + "Language/en ABI/arm64", "zh-CN", "en"},
		{"WeChat in a language that we do not speak", weChat + "Language/th", "zh-TW,en;q=0.5", "zh-TW"},
		{"the end of another word", "SpeechLanguage/en", "zh-CN", "zh-CN"},
		{"the end of the header", weChat + "Language/", "en", "en"},
		{"beyond what is read", strings.Repeat("x", 1020) + " Language/en", "", "zh-CN"},

		{"simplified Chinese", "", "zh-CN,zh;q=0.9,en;q=0.8", "zh-CN"},
		{"Chinese of no country", "", "zh", "zh-CN"},
		{"Singapore", "", "zh-SG", "zh-CN"},
		{"Taiwan", "", "zh-TW,zh;q=0.9,en;q=0.8", "zh-TW"},
		{"Macao", "", "zh-MO", "zh-TW"},
		{"the script stands before the region", "", "zh-Hans-HK", "zh-CN"},
		{"the script alone", "", "zh-Hant", "zh-TW"},
		{"in any case", "", "ZH-hant-hk", "zh-TW"},
		{"British English", "", "en-GB", "en"},
		{"the highest quality", "", "zh-CN;q=0.3, en;q=0.7, zh-TW;q=0.5", "en"},
		{"the first of equals", "", "en,zh-TW", "en"},
		{"a language that we do not speak comes first", "", "fr-FR,fr;q=0.9,en;q=0.8", "en"},
		{"only languages that we do not speak", "", "fr-FR,fr;q=0.9", "zh-CN"},
		{"a word that begins like ours", "", "enm,zha;q=0.9", "zh-CN"},
		{"anything, or else English", "", "*,en;q=0.5", "zh-CN"},
		{"English, or else anything", "", "en,*;q=0.5", "en"},
		{"not acceptable", "", "en;q=0", "zh-CN"},
		{"spaces", "", " en ; q=0.9 , zh-TW ; q=1 ", "zh-TW"},
		{"qualities that make no sense", "", "en;q=2,en;q=-1,en;q=NaN,en;q=,en;q=.9,en;q=0.9999,en;q=0.9x,en;level=1,zh-TW;q=0.1", "zh-TW"},
		{"rubbish", "", ";;,,=,q=1", "zh-CN"},
		{"a tag of 35 bytes", "", "en-" + strings.Repeat("x", 32), "en"},
		{"a longer one", "", "en-" + strings.Repeat("x", 33), "zh-CN"},
		{"beyond what is read", "", far + "en", "zh-CN"},
		{"cut in two by what is read", "", far[:1020] + "  enm", "zh-CN"},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := http.Header{}
			h.Set("User-Agent", test.userAgent)
			h.Set("Accept-Language", test.accept)
			assert.Equal(t, test.want, page.Language(h))
		})
	}
	assert.Equal(t, "zh-TW", page.Language(http.Header{"Accept-Language": {"en;q=0.5", "zh-TW"}}), "two lines are one list")
	assert.Equal(t, "zh-CN", page.Language(http.Header{"Accept-Language": {far, "en"}}), "and are read as far as one")
}

func TestLanguageOfLongHeadersCostsLittle(t *testing.T) {
	const length = 1 << 20
	for _, test := range []struct {
		name string
		h    http.Header
	}{
		{"dashes", http.Header{"Accept-Language": {strings.Repeat("-", length)}}},
		{"commas", http.Header{"Accept-Language": {strings.Repeat(",", length)}}},
		{"capitals", http.Header{"Accept-Language": {strings.Repeat("E,", length/2)}}},
		{"lines", http.Header{"Accept-Language": make([]string, length)}},
		{"qualities", http.Header{"Accept-Language": {strings.Repeat("en;q=0.x,", length/9)}}},
		{"a User-Agent of dashes", http.Header{"User-Agent": {" language/" + strings.Repeat("-", length)}}},
		{"a User-Agent of languages", http.Header{"User-Agent": {strings.Repeat(" LANGUAGE/", length/10)}}},
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		page.Language(test.h)
		runtime.ReadMemStats(&after)
		assert.Less(t, after.Mallocs-before.Mallocs, uint64(50), test.name)
		assert.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(64<<10), test.name)
	}
}
