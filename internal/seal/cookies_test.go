package seal_test

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wechatgate/wechatgate/internal/seal"
)

func TestCookiesHaveTheseAttributesAndNoOthers(t *testing.T) {
	https, http1 := seal.Attributes{Secure: true}, seal.Attributes{}
	for _, row := range []struct {
		what  string
		write func(http.ResponseWriter)
		want  string
	}{
		{"set over https", func(w http.ResponseWriter) { https.Set(w, https.Name("gate"), "value", 7*24*time.Hour) }, "__Host-gate=value; Path=/; Max-Age=604800; HttpOnly; Secure; SameSite=Lax"},
		{"removed over https", func(w http.ResponseWriter) { https.Remove(w, https.Name("gate")) }, "__Host-gate=; Path=/; Max-Age=0; HttpOnly; Secure; SameSite=Lax"},
		{"set over http", func(w http.ResponseWriter) { http1.Set(w, http1.Name("gate"), "value", 10*time.Minute) }, "gate=value; Path=/; Max-Age=600; HttpOnly; SameSite=Lax"},
		{"removed over http", func(w http.ResponseWriter) { http1.Remove(w, http1.Name("gate")) }, "gate=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax"},
	} {
		w := httptest.NewRecorder()
		row.write(w)
		assert.Equal(t, http.Header{"Set-Cookie": {row.want}}, w.Header(), row.what)
	}
}

func scan(lines ...string) *seal.Cookies {
	var c seal.Cookies
	c.Scan(http.Header{"Cookie": lines}, "s")
	return &c
}

func TestScanFindsTheSessionsCookies(t *testing.T) {
	for _, row := range []struct {
		what  string
		lines []string
		want  []string
	}{
		{"none", nil, nil},
		{"an empty header", []string{""}, nil},
		{"one", []string{"s=1"}, []string{"1"}},
		{"one among others", []string{"a=1; s=2; b=3"}, []string{"2"}},
		{"a longer name", []string{"ss=1; s-login-a=2; s=3"}, []string{"3"}},
		{"another case", []string{"S=1; s=2"}, []string{"2"}},
		{"a name twice", []string{"s=1; s=2"}, []string{"1", "2"}},
		{"several headers, as HTTP/2 sends them", []string{"s=1; a=2", "s=3", "b=4"}, []string{"1", "3"}},
		{"no spaces", []string{"a=1;s=2;s=3"}, []string{"2", "3"}},
		{"many spaces", []string{"  a=1 ;\ts=2 \t;  "}, []string{"2"}},
		{"equals signs in a value", []string{"s=a=b=="}, []string{"a=b=="}},
		{"an empty value", []string{"s=; s=1"}, []string{"1"}},
		{"no value at all", []string{"s; s=1"}, []string{"1"}},
		{"only semicolons", []string{";;; ;"}, nil},
		{"the name as a value", []string{"a=s=1; s=2"}, []string{"2"}},
		{"the name at the end of another", []string{"as=1; b s=2; s=3"}, []string{"3"}},
		{"more than fit inline", []string{"s=1; s=2; s=3; s=4; s=5; s=6"}, []string{"1", "2", "3", "4", "5", "6"}},
	} {
		assert.Equal(t, row.want, slices.Collect(scan(row.lines...).Values("")), row.what)
	}
}

func TestScanTellsTheKindsApart(t *testing.T) {
	c := scan("s-seen=1; s-login-a=2; s=3; s-signed-out=4; s-login-b=5; s-other=6; s-signed=7; s-seen-x=8; s-login=9; s-login-c=")
	for suffix, want := range map[string][]string{
		"": {"3"}, "-seen": {"1"}, "-login-a": {"2"}, "-login-b": {"5"}, "-signed-out": {"4"},
		"-login-": nil, "-other": nil, "-signed": nil, "-seen-x": nil, "-login": nil, "-login-x": nil,
	} {
		assert.Equal(t, want, slices.Collect(c.Values(suffix)), suffix)
		assert.Equal(t, want != nil, c.Has(suffix), suffix)
	}
	var attempts []string
	for suffix, value := range c.WithPrefix("-login-") {
		attempts = append(attempts, suffix+"="+value)
	}
	assert.Equal(t, []string{"-login-a=2", "-login-b=5", "-login-c="}, attempts, "an empty one can be removed")
}

func TestWhatNoBrowserKeepsIsPresentAndNotOpened(t *testing.T) {
	longest := strings.Repeat("x", seal.MaxCookie-len("s"))
	assert.Equal(t, []string{longest}, slices.Collect(scan("s="+longest).Values("")))
	for what, cookies := range map[string]*seal.Cookies{
		"one byte too long": scan("s=x" + longest),
		"empty":             scan("s="),
	} {
		assert.Empty(t, slices.Collect(cookies.Values("")), what)
		assert.True(t, cookies.Has(""), what)
	}
	for suffix, value := range scan("s-login-a=" + longest + "; s-login-" + longest + "=x").WithPrefix("-login-") {
		assert.Equal(t, "-login-a", suffix, "a name that is too long itself cannot even be removed")
		assert.Empty(t, value)
	}
}

func TestScanKeepsABoundedPartOfEachKind(t *testing.T) {
	for _, row := range []struct {
		what         string
		line         string
		kept, longer int // how many values, and of how many bytes in all
	}{
		{"128 of a name", strings.Repeat("s=1234567890; ", 3000), 128, 1280},
		{"24 KiB of values", strings.Repeat("s="+strings.Repeat("x", 4000)+"; ", 200), 6, 24000},
	} {
		c := scan(row.line + "s-seen=1; s-login-a=2")
		values := slices.Collect(c.Values(""))
		assert.Len(t, values, row.kept, row.what)
		assert.Len(t, strings.Join(values, ""), row.longer, row.what)
		assert.True(t, c.Has("-seen") && c.Has("-login-a"), "%s hide no other kind", row.what)
	}
	many := scan(strings.Repeat("s-login-"+strings.Repeat("n", 4000)+"=x; ", 200))
	names := 0
	for suffix := range many.WithPrefix("-login-") {
		names += len(suffix)
	}
	assert.LessOrEqual(t, names, 24<<10, "long names count, too")
}

func TestScanningAUsualRequestAllocatesNothing(t *testing.T) {
	h := http.Header{"Cookie": {"a=1; s-seen=2; s=3; s-login-a=4; s-login-b=5; c=6"}}
	found := 0
	assert.Zero(t, testing.AllocsPerRun(100, func() {
		var c seal.Cookies
		c.Scan(h, "s")
		for range c.Values("") {
			found++
		}
		for range c.WithPrefix("-login-") {
			found++
		}
		if c.Has("-seen") {
			found++
		}
	}))
	assert.Zero(t, found%4)
}

// FuzzScan holds Scan to net/http: it finds, in the same order, every cookie
// that net/http finds.
func FuzzScan(f *testing.F) {
	for _, line := range []string{
		"", "s=1", "a=1; s=2; s-login-00=3", "s", "s=", "=s", ";s=1;;", "s=1=2", "  s=1\t;", `s="quoted"`, "s=a b", "s=a,b", "s=\x00", "s=店", "s =1", "S=1", "as=1;s=2", strings.Repeat("s=1;", 100),
	} {
		f.Add(line, "s")
	}
	f.Add("aaa=1;aa=2;a=3", "aa")
	f.Fuzz(func(t *testing.T, line, base string) {
		if base == "" || strings.ContainsAny(base, "; \t=") || strings.ContainsAny(line, "\r\n") || strings.Contains(line, " =") || strings.Contains(line, "\t=") || len(line) > 4000 || strings.Count(line, ";") > 100 {
			return // no cookie's name, no server lets it through, no browser sends it, or beyond the bounds
		}
		r := &http.Request{Header: http.Header{"Cookie": {line}}}
		var c seal.Cookies
		c.Scan(r.Header, base)
		found := slices.Collect(c.Values(""))
		for _, value := range found {
			require.Contains(t, line, base+"="+value)
			require.NotContains(t, value, ";")
		}
		for _, cookie := range r.CookiesNamed(base) {
			if cookie.Value == "" || cookie.Quoted {
				continue
			}
			at := slices.Index(found, cookie.Value)
			require.GreaterOrEqual(t, at, 0, "%q is not among %q", cookie.Value, found)
			found = found[at+1:]
		}
	})
}

// BenchmarkScan shows what headers of 1 MB cost that are made to be slow.
func BenchmarkScan(b *testing.B) {
	const base = "__Host-wechatgate"
	for what, line := range map[string]string{
		"usual":      "a=1; " + base + "=" + strings.Repeat("x", 320) + "; b=2",
		"semicolons": strings.Repeat(";", 1<<20),
		"spaces":     strings.Repeat(" ", 1<<20) + base + "=1",
		"names":      strings.Repeat(base, 1<<16),
		"sessions":   strings.Repeat(base+"=;", 1<<20/19),
		"nearly":     strings.Repeat("__Host-wechatgat;", 1<<20/17),
	} {
		b.Run(what, func(b *testing.B) {
			h := http.Header{"Cookie": {line}}
			b.ReportAllocs()
			for b.Loop() {
				var c seal.Cookies
				c.Scan(h, base)
				_ = c.Has("")
			}
		})
	}
}
