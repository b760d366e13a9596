package wechatgate_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"unicode"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wechatgate/wechatgate"
)

// Every program of the English texts is compiled, and the Chinese texts have the
// same ones.
func TestProgramsInTheTexts(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) (file string) {
		file = filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(file, []byte(content), 0o600))
		return file
	}
	files := []string{write("assumed.go", whatTheTextsAssume)}
	for english, translation := range texts(t) {
		programs := goBlocks(t, english)
		assert.Equal(t, programs, goBlocks(t, translation), "%s and %s", english, translation)
		for i, program := range programs {
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

func TestReadmeBeginsWithTheProgram(t *testing.T) {
	programs := goBlocks(t, "README.md")
	require.NotEmpty(t, programs)
	require.True(t, strings.HasPrefix(programs[0], "package main\n"))
	file := filepath.Join(t.TempDir(), "main.go")
	require.NoError(t, os.WriteFile(file, []byte(programs[0]), 0o600))
	program := filepath.Join(t.TempDir(), "program")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", program, file)
	output, err := build.CombinedOutput()
	require.NoError(t, err, "%s", output)

	run := exec.CommandContext(t.Context(), program)
	run.Env = []string{}
	output, err = run.CombinedOutput()
	require.Error(t, err, "it must not start without what it needs")
	assert.Contains(t, string(output), "Options.OfficialAccount")
	assert.Contains(t, string(output), "Options.SessionKeys[0]")
}

func TestReadmeNamesEveryOptionAndEveryFile(t *testing.T) {
	row := regexp.MustCompile("(?m)^\\| `([^`]+)` \\|")
	files, err := filepath.Glob("*.go")
	require.NoError(t, err)
	for _, readme := range []string{"README.md", "README.zh-CN.md"} {
		var rows []string
		for _, match := range row.FindAllStringSubmatch(read(t, readme), -1) {
			rows = append(rows, match[1])
		}
		for _, field := range reflect.VisibleFields(reflect.TypeFor[wechatgate.Options]()) {
			assert.Contains(t, rows, field.Name, readme)
		}
		for _, file := range files {
			if !strings.HasSuffix(file, "_test.go") {
				assert.Contains(t, rows, file, readme)
			}
		}
	}
}

func TestLinksInTheTextsLeadSomewhere(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#\s]*)(?:#([^)\s]+))?\)`)
	for english, translation := range texts(t) {
		for _, from := range []string{english, translation} {
			for _, match := range link.FindAllStringSubmatch(read(t, from), -1) {
				if strings.HasPrefix(match[1], "https://") {
					continue
				}
				to := from
				if match[1] != "" {
					to = filepath.Join(filepath.Dir(from), match[1])
				}
				_, err := os.Stat(to)
				require.NoError(t, err, from)
				if match[2] != "" {
					assert.Contains(t, anchors(read(t, to)), match[2], "%s leads to %s", from, to)
				}
			}
		}
	}
}

// texts returns the name of the Chinese text for that of each English one.
func texts(t *testing.T) map[string]string {
	t.Helper()
	english, err := filepath.Glob("docs/*.md")
	require.NoError(t, err)
	chinese, err := filepath.Glob("docs/zh-CN/*.md")
	require.NoError(t, err)
	require.Len(t, chinese, len(english), "a text in one language only")
	all := map[string]string{"README.md": "README.zh-CN.md"}
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

// anchors returns what GitHub makes of a text's headings.
func anchors(text string) []string {
	var all []string
	for line := range strings.Lines(text) {
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
		"errors", "net/http", "time", "github.com/gorilla/sessions", "github.com/wechatgate/wechatgate",
	} {
		if strings.Contains(fragment, filepath.Base(path)+".") {
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
	gate    *wechatgate.Gate
	mux     *http.ServeMux
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
