package page

import (
	"net/http"
	"strings"
)

// Visitors choose how long these headers are. What is beyond is not read.
const (
	maxHeader = 1024
	maxTag    = 35 // RFC 5646, section 4.4.1
)

// Language returns "zh-CN", "zh-TW" or "en": what WeChat is set to, or what the
// browser asks for, or else "zh-CN".
func Language(h http.Header) string {
	if lang := weChatLanguage(head(h.Get("User-Agent"))); lang != "" {
		return lang
	}
	best, bestQ := "zh-CN", 0
	left := maxHeader
	for _, line := range h["Accept-Language"] {
		if left <= 0 {
			break
		}
		rest := line[:min(left, len(line))]
		left -= len(line) + 1
		if left < 0 { // what was cut in two may mean something else
			rest = rest[:max(0, strings.LastIndexByte(rest, ','))]
		}
		for part := range strings.SplitSeq(rest, ",") {
			tag, parameter, _ := strings.Cut(part, ";")
			lang := matchLanguage(strings.TrimSpace(tag))
			if lang == "" {
				continue
			}
			if q := quality(parameter); q > bestQ {
				best, bestQ = lang, q
			}
		}
	}
	return best
}

// weChatLanguage reads WeChat's own language, with which it ends its
// User-Agent: "… Language/zh_CN".
func weChatLanguage(userAgent string) string {
	const mark = " language/"
	for i := range max(0, len(userAgent)-len(mark)) {
		if userAgent[i] == ' ' && strings.EqualFold(userAgent[i:i+len(mark)], mark) {
			setting, _, _ := strings.Cut(userAgent[i+len(mark):], " ")
			return matchLanguage(setting)
		}
	}
	return ""
}

func head(s string) string { return s[:min(len(s), maxHeader)] }

// matchLanguage returns our language for a tag like "zh-Hant-HK" or "en_US", or
// "" for one that we do not speak.
func matchLanguage(tag string) string {
	if tag == "" || len(tag) > maxTag {
		return ""
	}
	subtag, rest := cutSubtag(tag)
	switch {
	case strings.EqualFold(subtag, "en"):
		return "en"
	case subtag == "*":
		return "zh-CN"
	case !strings.EqualFold(subtag, "zh"):
		return ""
	}
	for rest != "" { // the script stands before the region
		subtag, rest = cutSubtag(rest)
		if strings.EqualFold(subtag, "hans") {
			return "zh-CN"
		}
		for _, own := range [...]string{"hant", "tw", "hk", "mo"} {
			if strings.EqualFold(subtag, own) {
				return "zh-TW"
			}
		}
	}
	return "zh-CN"
}

func cutSubtag(tag string) (subtag, rest string) {
	if i := strings.IndexAny(tag, "-_"); i >= 0 {
		return tag[:i], tag[i+1:]
	}
	return tag, ""
}

// quality reads "q=0.8" in thousandths. It is 1000 where nothing is said, and 0
// where what is said makes no sense.
func quality(parameter string) int {
	parameter = strings.TrimSpace(parameter)
	if parameter == "" {
		return 1000
	}
	name, value, _ := strings.Cut(parameter, "=")
	whole, decimals, _ := strings.Cut(value, ".")
	if !strings.EqualFold(name, "q") || len(whole) != 1 || len(decimals) > 3 {
		return 0
	}
	q := 0
	for _, digit := range []byte((whole + decimals + "000")[:4]) {
		if digit < '0' || digit > '9' {
			return 0
		}
		q = 10*q + int(digit-'0')
	}
	if q > 1000 {
		return 0
	}
	return q
}
