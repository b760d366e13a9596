package page

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"encoding/json"
	"html/template"
	"strings"
)

// What follows is made once from the files in files/, and never changed.
var (
	//go:embed files
	pageFiles embed.FS

	pageTemplates = template.Must(template.ParseFS(pageFiles, "files/*.html"))
	pageStyle     = mustInline("style", "page.css")
	pageScripts   = map[string]inline{
		"sign-in":   mustInline("script", "sign-in.js"),
		"fragment":  mustInline("script", "fragment.js"),
		"keep-form": mustInline("script", "keep-form.js"),
		"resend":    mustInline("script", "resend.js"),
	}
	copyScript         = mustInline("script", "copy.js")
	cleanAddressScript = mustInline("script", "clean-address.js")

	// pageWords are the texts by language, page or failure, and use.
	pageWords = map[string]map[string]words{
		"zh-CN": mustWords("zh-CN.json"),
		"zh-TW": mustWords("zh-TW.json"),
		"en":    mustWords("en.json"),
	}

	// pageTerms keeps a term on one line: browsers break Chinese between any two
	// characters. A longer term stands before one that it begins with.
	pageTerms = terms(
		"“使用完整服务”", "「使用完整服務」", "“文件传输助手”", "「檔案傳輸」", "“扫一扫”", "「掃一掃」",
		"“复制链接”", "「複製連結」", "二维码", "验证码", "驗證碼", "公众号", "公眾號", "电脑", "電腦", "浏览器", "瀏覽器",
		"再试一次", "再試一次", "再扫一次", "再掃一次",
		"微信", "WeChat", "登录", "登入", "网站", "網站", "链接", "連結", "昵称", "暱稱", "头像", "頭像", "数字", "數字", "手机", "手機",
		"QR Code", "QR code", "Cookie", "6-digit", "6 位", "30 分", "5 分",
	)
)

// inline is a style or a script that stands in a page, and the source expression
// that allows it in a Content-Security-Policy.
type inline struct {
	element template.HTML
	source  string
}

func mustInline(tag, file string) inline {
	content := mustRead(file)
	sum := sha256.Sum256(content)
	return inline{
		element: template.HTML("<" + tag + ">" + string(content) + "</" + tag + ">\n"), //nolint:gosec // our own file
		source:  "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'",
	}
}

func mustWords(file string) map[string]words {
	var texts map[string]words
	if err := json.Unmarshal(mustRead(file), &texts); err != nil {
		panic("wechatgate: " + file + ": " + err.Error())
	}
	return texts
}

func terms(all ...string) *strings.Replacer {
	var pairs []string
	for _, term := range all {
		pairs = append(pairs, term, `<span class="one">`+term+"</span>")
	}
	return strings.NewReplacer(pairs...)
}

// mustRead reads a file in files/ with the line ends that browsers hash, however
// it was checked out.
func mustRead(file string) []byte {
	content, err := pageFiles.ReadFile("files/" + file)
	if err != nil {
		panic("wechatgate: " + err.Error())
	}
	return bytes.ReplaceAll(content, []byte("\r\n"), []byte("\n"))
}
