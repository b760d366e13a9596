package wechatgate_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// mayImport says which packages of this module a package may import, by the
// first pattern that matches it. "x/…" is x and all below it.
var mayImport = []struct{ pattern, imports, why string }{
	{"wechattest", "wechatgate wechat/… internal/…", "it makes Options, and its browsers are the gate's kinds"},
	{"storetest", "wechatgate wechat/… wechattest internal/…", "it signs people in at a gate"},
	{"internal/gatesuite", "wechatgate wechat/… wechattest internal/…", "it holds gates behind routers to the same promises"},
	{"example", "wechatgate wechat/… wechattest internal/…", "it is a program"},

	{"wechatgate", "internal/… wechat/…", ""},
	{"internal/…", "internal/… wechat", "mechanism knows nothing of a Gate"},
	{"wechat", "internal/…", "the protocol serves people who need no gate"},
	{"wechat/…", "wechat internal/…", "these serve people who need no gate, too"},
}

// above are the packages that stand on the root, which nothing below it imports.
var above = []string{"wechattest", "storetest", "internal/gatesuite", "example"}

// TestWhatImportsWhat computes the picture in the README, and holds it to the
// rules of the house.
func TestWhatImportsWhat(t *testing.T) {
	drawn := map[string][]string{} // package to what it imports of this module
	for _, p := range packagesOfThisModule(t) {
		var names []string
		for _, path := range p.Imports {
			if name, ours := shortName(path); ours {
				names = append(names, name)
			}
		}
		name, _ := shortName(p.ImportPath)
		if slices.Sort(names); len(names) > 0 {
			drawn[name] = names
		}
	}
	require.Contains(t, drawn, "wechatgate")

	for name, imports := range drawn {
		t.Run(name, func(t *testing.T) {
			i := slices.IndexFunc(mayImport, func(rule struct{ pattern, imports, why string }) bool { return matches(rule.pattern, name) })
			require.GreaterOrEqual(t, i, 0, "a package that no rule speaks of")
			allowed := strings.Fields(mayImport[i].imports)
			for _, imported := range imports {
				assert.True(t, slices.ContainsFunc(allowed, func(pattern string) bool { return matches(pattern, imported) }),
					"%s imports %s, and may import %s (%s)", name, imported, mayImport[i].imports, mayImport[i].why)
				if !slices.Contains(above, name) {
					assert.NotContains(t, append(above, "wechatgate"), imported, "%s stands below it", name)
				}
			}
		})
	}

	text, err := os.ReadFile("README.md")
	require.NoError(t, err)
	block := regexp.MustCompile("(?s)```imports\n(.*?)```").FindSubmatch(text)
	want := picture(drawn)
	require.NotNil(t, block, "README.md has no picture of what imports what:\n```imports\n%s```", want)
	assert.Equal(t, want, string(block[1]), "the picture in README.md is not true")
}

// picture has a line for each package that imports others, the root first.
func picture(drawn map[string][]string) string {
	var lines []string
	for name, imports := range drawn {
		if name != "wechatgate" {
			lines = append(lines, name+" -> "+strings.Join(imports, " ")+"\n")
		}
	}
	slices.Sort(lines)
	return "wechatgate -> " + strings.Join(drawn["wechatgate"], " ") + "\n" + strings.Join(lines, "")
}

const thisModule = "github.com/wechatgate/wechatgate"

func shortName(path string) (name string, ours bool) {
	if path == thisModule {
		return "wechatgate", true
	}
	return strings.CutPrefix(path, thisModule+"/")
}

func matches(pattern, name string) bool {
	folder, all := strings.CutSuffix(pattern, "/…")
	return name == folder || all && strings.HasPrefix(name, folder+"/")
}

type listedPackage struct {
	ImportPath string
	Imports    []string // tests left out
}

func packagesOfThisModule(t *testing.T) []listedPackage {
	t.Helper()
	goCommand, err := exec.LookPath("go")
	if err != nil {
		t.Skip("the go command is not on PATH")
	}
	output, err := exec.CommandContext(t.Context(), goCommand, "list", "-json=ImportPath,Imports", "./...").Output()
	require.NoError(t, err)
	var packages []listedPackage
	for decoder := json.NewDecoder(bytes.NewReader(output)); ; {
		var p listedPackage
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			return packages
		} else if err != nil {
			require.NoError(t, err)
		}
		packages = append(packages, p)
	}
}
