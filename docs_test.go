package wechatgate_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wechatgate/wechatgate"
)

// Texts in two languages drift apart unless something holds them together.
func TestBothLanguagesHaveTheSameHeadingsTablesAndCode(t *testing.T) {
	for english, chinese := range texts(t) {
		t.Run(english, func(t *testing.T) {
			assert.Equal(t, shape(read(t, english)), shape(read(t, chinese)), chinese)
		})
	}
}

func TestProgramsInTheTextsCompile(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) (file string) {
		file = filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(file, []byte(content), 0o600))
		return file
	}
	files := []string{write("assumed.go", whatTheTextsAssume)}
	for english := range texts(t) {
		for i, program := range goBlocks(t, english) {
			name := fmt.Sprintf("%s.block%d.go", strings.ReplaceAll(english, "/", "."), i+1)
			if strings.HasPrefix(program, "package ") {
				vet(t, write(name, program))
				continue
			}
			files = append(files, write(name, "package texts\n\n"+imports(program)+"\nfunc _() {\n"+program+"}\n"))
		}
	}
	vet(t, files...)
}

func TestReadmesProgramSaysWhatItNeeds(t *testing.T) {
	programs := goBlocks(t, "README.md")
	require.Len(t, programs, 1)
	file := filepath.Join(t.TempDir(), "main.go")
	require.NoError(t, os.WriteFile(file, []byte(programs[0]), 0o600))

	run := exec.CommandContext(t.Context(), "go", "run", file)
	run.Env = slices.DeleteFunc(os.Environ(), func(variable string) bool { return strings.HasPrefix(variable, "WECHATGATE_") })
	output, err := run.CombinedOutput()
	require.Error(t, err, "it must not start without what it needs")
	assert.Contains(t, string(output), "Options.OfficialAccount")
	assert.Contains(t, string(output), "Options.SessionKeys[0]")
}

func TestOptionsPageNamesEveryOption(t *testing.T) {
	var fields []string
	for _, field := range reflect.VisibleFields(reflect.TypeFor[wechatgate.Options]()) {
		fields = append(fields, field.Name)
	}
	var rows []string
	for _, match := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\|").FindAllStringSubmatch(read(t, "docs/options.md"), -1) {
		rows = append(rows, match[1])
	}
	assert.ElementsMatch(t, fields, rows)
}

// A reader of a Chinese text stays with Chinese ones, but for the link to its twin.
func TestLinksInTheTextsLeadSomewhere(t *testing.T) {
	pairs := texts(t)
	link := regexp.MustCompile(`(?:\]\(|src=")([^)#"\s]*)(?:#([^)"\s]+))?[)"]`)
	follow := func(from string) (targets []string) {
		for _, match := range link.FindAllStringSubmatch(withoutCode(read(t, from)), -1) {
			if strings.HasPrefix(match[1], "https://") {
				continue
			}
			to := from
			if match[1] != "" {
				to = filepath.Join(filepath.Dir(from), match[1])
			}
			_, err := os.Stat(to)
			if !assert.NoError(t, err, from) {
				continue
			}
			if match[2] != "" {
				assert.Contains(t, anchors(read(t, to)), match[2], "%s leads to %s", from, to)
			}
			targets = append(targets, to)
		}
		return targets
	}
	for english, chinese := range pairs {
		follow(english)
		for _, to := range follow(chinese) {
			if twin, translated := pairs[to]; translated && to != english {
				assert.Fail(t, "wrong language", "%s leads to %s, want %s", chinese, to, twin)
			}
		}
	}
	for _, file := range otherTexts() {
		follow(file)
	}
}

// otherTexts are those in one file, in one language or both.
func otherTexts() []string {
	return []string{"CHANGELOG.md", "CONTRIBUTING.md", "bench/README.md", "stores/redis/README.md"}
}

func TestEveryPageIsListedInTheReadme(t *testing.T) {
	readme := read(t, "README.md")
	pages, err := filepath.Glob("docs/*.md")
	require.NoError(t, err)
	for _, page := range pages {
		assert.Contains(t, readme, "]("+page+")")
	}
}

// Log records link to sections of docs/troubleshooting.md. The Chinese text has
// the same anchors, so a reader puts zh-CN/ into the address.
func TestLinksInLogRecordsLeadToASectionInBothLanguages(t *testing.T) {
	english, chinese := anchors(read(t, "docs/troubleshooting.md")), anchors(read(t, "docs/zh-CN/troubleshooting.md"))
	assert.Subset(t, chinese, english[1:])

	var sections []string
	files, err := filepath.Glob("*.go")
	require.NoError(t, err)
	for _, file := range files {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		require.NoError(t, err)
		for _, decl := range parsed.Decls {
			if f, ok := decl.(*ast.FuncDecl); ok && f.Name.Name == "troubleshooting" {
				sections = append(sections, stringsIn(t, f)...)
			}
		}
	}
	require.NotEmpty(t, sections, "which function chooses the section of a reason?")
	assert.Subset(t, english, sections)
}

func stringsIn(t *testing.T, f *ast.FuncDecl) (all []string) {
	t.Helper()
	ast.Inspect(f, func(n ast.Node) bool {
		if literal, ok := n.(*ast.BasicLit); ok && literal.Kind == token.STRING {
			s, err := strconv.Unquote(literal.Value)
			require.NoError(t, err)
			if s != "" {
				all = append(all, s)
			}
		}
		return true
	})
	return all
}

// texts returns the name of the Chinese text for that of each English one.
func texts(t *testing.T) map[string]string {
	t.Helper()
	english, err := filepath.Glob("docs/*.md")
	require.NoError(t, err)
	chinese, err := filepath.Glob("docs/zh-CN/*.md")
	require.NoError(t, err)
	require.Len(t, chinese, len(english), "a text in one language only")
	all := map[string]string{
		"README.md":                "README.zh-CN.md",
		"SECURITY.md":              "SECURITY.zh-CN.md",
		"cmd/wechatgate/README.md": "cmd/wechatgate/README.zh-CN.md",
	}
	for _, file := range english {
		all[file] = filepath.Join("docs", "zh-CN", filepath.Base(file))
	}
	return all
}

func read(t *testing.T, file string) string {
	t.Helper()
	content, err := os.ReadFile(file)
	require.NoError(t, err)
	return string(content)
}

// shape returns what a text and its translation have in common, in its order: the
// levels of headings, tables with their columns and the identifiers and errcodes
// of their first column, and code without comments.
func shape(text string) (all []string) {
	identifier := regexp.MustCompile("`[^`]+`|\\b[0-9]{5}\\b")
	language, inCode := "", false
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		switch fence, isFence := strings.CutPrefix(line, "```"); {
		case isFence:
			language, inCode = fence, !inCode
			all = append(all, line)
		case inCode:
			all = append(all, withoutComment(language, line))
		case strings.HasPrefix(line, "    "):
			all = append(all, line)
		case strings.HasPrefix(line, "#"):
			level, _, _ := strings.Cut(line, " ")
			all = append(all, level)
		case strings.HasPrefix(line, "|"):
			cells := strings.Split(strings.Trim(line, "|"), "|")
			all = append(all, fmt.Sprint(len(cells), " columns ", identifier.FindAllString(cells[0], -1)))
		}
	}
	return all
}

func withoutComment(language, line string) string {
	for _, mark := range map[string][]string{"go": {"//"}, "js": {"//"}, "sh": {"#"}, "nginx": {"#"}}[language] {
		for _, before := range []string{" ", "\t"} {
			line, _, _ = strings.Cut(line, before+mark)
		}
		if strings.HasPrefix(line, mark) {
			return ""
		}
	}
	return strings.TrimRight(line, " \t")
}

func withoutCode(text string) string {
	return regexp.MustCompile("(?ms)^```.*?^```$").ReplaceAllString(text, "")
}

// anchors returns what GitHub makes of a text's headings, and those that the text
// sets itself.
func anchors(text string) (all []string) {
	own := regexp.MustCompile(`^<a id="([^"]+)"></a>`)
	for line := range strings.Lines(withoutCode(text)) {
		if match := own.FindStringSubmatch(line); match != nil {
			all = append(all, match[1])
			continue
		}
		heading, found := strings.CutPrefix(strings.TrimLeft(line, "#"), " ")
		if !found || !strings.HasPrefix(line, "#") {
			continue
		}
		all = append(all, strings.Map(func(c rune) rune {
			switch {
			case c == ' ':
				return '-'
			case c == '-', c == '_', unicode.IsLetter(c), unicode.IsDigit(c):
				return unicode.ToLower(c)
			}
			return -1
		}, strings.TrimSpace(heading)))
	}
	return all
}

// goBlocks returns the Go programs that stand in a Markdown file.
func goBlocks(t *testing.T, file string) []string {
	t.Helper()
	var blocks []string
	_, rest, found := strings.Cut(read(t, file), "\n```go\n")
	for found {
		block, after, closed := strings.Cut(rest, "\n```\n")
		require.True(t, closed, "%s: a block does not end", file)
		blocks = append(blocks, block+"\n")
		_, rest, found = strings.Cut("\n"+after, "\n```go\n")
	}
	return blocks
}

// imports returns the import declarations that a fragment needs.
func imports(fragment string) string {
	var b strings.Builder
	for _, path := range []string{
		"fmt", "html", "net/http", "os", "time", "github.com/gorilla/sessions", "github.com/wechatgate/wechatgate",
	} {
		if regexp.MustCompile(`\b` + filepath.Base(path) + `\.[A-Z]`).MatchString(fragment) {
			fmt.Fprintf(&b, "import %q\n", path)
		}
	}
	return b.String()
}

// whatTheTextsAssume are the names that fragments use without declaring them.
const whatTheTextsAssume = `package texts

import (
	"context"
	"net/http"
	"time"

	"github.com/wechatgate/wechatgate"
)

var (
	w       http.ResponseWriter
	r       *http.Request
	gate    *wechatgate.Gate
	mux     *http.ServeMux
	server  *http.Server
	options wechatgate.Options
	people  interface {
		Note(ctx context.Context, key, unionID string) error
		Banned(ctx context.Context, key string) bool
		NotBefore(ctx context.Context, key string) time.Time
	}
	oldKey, newKey               []byte
	orders, profile, home, pages http.Handler
)
`

// vet compiles the files, as one package with the dependencies of this module, and
// looks for mistakes.
func vet(t *testing.T, files ...string) {
	t.Helper()
	output, err := exec.CommandContext(t.Context(), "go", append([]string{"vet"}, files...)...).CombinedOutput()
	assert.NoError(t, err, "%s", output)
}
