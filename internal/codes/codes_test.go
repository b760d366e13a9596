package codes_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/wechatgate/wechatgate/internal/codes"
)

func TestWhatPeopleType(t *testing.T) {
	for _, tt := range []struct {
		name string
		text string
		want string // "" where it is neither a number nor a code
	}{
		{"a number", "48213907", "48213907"},
		{"a code", "482913", "482913"},
		{"a number as the page shows it", "4821 3907", "48213907"},
		{"a code as the phone shows it", "482 913", "482913"},
		{"zeros in front", "000 012", "000012"},
		{"zeros alone", "00000000", "00000000"},
		{"full-width digits", "４８２９１３", "482913"},
		{"full-width and half-width digits", "48２９13", "482913"},
		{"a full-width space", "482　913", "482913"},
		{"a no-break space", "482\u00a0913", "482913"},
		{"a hyphen", "4821-3907", "48213907"},
		{"a full-width hyphen", "4821－3907", "48213907"},
		{"a dash and a minus sign", "48–21−3907", "48213907"},
		{"a space between all digits", "4 8 2 9 1 3", "482913"},
		{"spaces and line breaks around", " \t\r\n482913\n ", "482913"},
		{"hyphens around", "-482913-", "482913"},

		{"nothing", "", ""},
		{"spaces", "   ", ""},
		{"hyphens", "------", ""},
		{"five digits", "48291", ""},
		{"seven digits", "4821390", ""},
		{"nine digits", "482139071", ""},
		{"thousands of digits", strings.Repeat("4", 100_000), ""},
		{"a word in front", "code 482913", ""},
		{"a full stop behind", "482913。", ""},
		{"a letter among them", "48291O", ""},
		{"a plus sign", "+482913", ""},
		{"a fraction", "4829.13", ""},
		{"a comma", "482,913", ""},
		{"a line break between", "4821\n3907", ""},
		{"a NUL between", "482\x00913", ""},
		{"digits of another script", "४८२९१३", ""},
		{"superscript digits", "⁴⁸²⁹¹³", ""},
		{"Chinese numerals", "四八二九一三", ""},
		{"digits in circles", "④⑧②⑨①③", ""},
		{"the character after the full-width nine", "48291：", ""},
		{"the character before the full-width zero", "48291／", ""},
		{"invalid UTF-8", "482\xff913", ""},
		{"half a full-width digit", "482913\xef\xbc", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			number, isNumber := codes.ParseNumber(tt.text)
			code, isCode := codes.ParseCode(tt.text)
			assert.Equal(t, len(tt.want) == 8, isNumber)
			assert.Equal(t, len(tt.want) == 6, isCode)
			assert.Equal(t, tt.want, number+code)
		})
	}
}

func TestGroup(t *testing.T) {
	assert.Equal(t, "4821 3907", codes.Group("48213907"))
	assert.Equal(t, "482 913", codes.Group("482913"))
}

// Taking each byte modulo 10 would make 0 to 5 more frequent than 6 to 9, by
// 1,300 to 2,000 of the 84,000 that are expected here. Chance makes 5 times 275
// once in a million runs.
func TestNumbersAndCodesAreFair(t *testing.T) {
	const rounds = 60_000
	var together [10]int
	for _, kind := range []struct {
		name   string
		make   func() string
		digits int
	}{
		{"number", codes.NewNumber, 8},
		{"code", codes.NewCode, 6},
	} {
		counts := make([][10]int, kind.digits)
		for range rounds {
			digits := kind.make()
			if len(digits) != kind.digits {
				t.Fatalf("a %s has %d characters", kind.name, len(digits))
			}
			for i, c := range []byte(digits) {
				counts[i][c-'0']++
				together[c-'0']++
			}
		}
		for i := range counts {
			for digit, n := range counts[i] {
				assert.InDelta(t, rounds/10, n, 600, "%s, place %d, digit %d", kind.name, i, digit)
			}
		}
	}
	for digit, n := range together {
		assert.InDelta(t, 14*rounds/10, n, 1375, "digit %d", digit)
	}
}

// Whatever is typed: a code has six digits, and stands in the text in this
// order, with nothing around it but what may be left out.
func FuzzTypedCode(f *testing.F) {
	f.Add("482913")
	f.Add(" ４８２ － 913\n")
	f.Add("4821 3907")
	allowed := regexp.MustCompile(`\A[0-9０-９\p{Zs}\s\x{0b}\x{85}\x{2028}\x{2029}\-‐‑‒–—−﹣－]*\z`)
	toHalfWidth := strings.NewReplacer("０", "0", "１", "1", "２", "2", "３", "3", "４", "4", "５", "5", "６", "6", "７", "7", "８", "8", "９", "9")
	others := regexp.MustCompile(`[^0-9]`)
	f.Fuzz(func(t *testing.T, text string) {
		code, isCode := codes.ParseCode(text)
		number, isNumber := codes.ParseNumber(text)
		if isCode && isNumber {
			t.Fatal("both a code and a number")
		}
		if !isCode && !isNumber {
			assert.Empty(t, code+number)
			return
		}
		assert.Regexp(t, allowed, text)
		assert.Equal(t, others.ReplaceAllString(toHalfWidth.Replace(text), ""), code+number)
		assert.Len(t, code+number, map[bool]int{true: 6, false: 8}[isCode])

		again, ok := codes.ParseCode(codes.Group(code + number))
		assert.Equal(t, isCode, ok)
		assert.Equal(t, code, again)
	})
}
