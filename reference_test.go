package wechatgate_test

import (
	"go/ast"
	"go/doc"
	"go/doc/comment"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// importable are the directories with a page of their own in the Go reference.
func importable() []string {
	return []string{
		".", "wechat", "wechat/account", "wechat/push", "wechattest", "storetest",
		"adapters/gin", "adapters/echo", "adapters/echo4", "stores/redis", "cmd/wechatgate",
	}
}

// The Go reference shows brackets as a link where they name something, and else,
// as in comments of fields and of values in a group, as they stand.
func TestBracketsInDocCommentsAreLinks(t *testing.T) {
	name := regexp.MustCompile(`(?:^|[\s(])(\[\*?\pL[\w./]*\])`)
	for _, dir := range importable() {
		p := packageDoc(t, dir)
		eachComment(p, func(owner, text string) {
			for _, plain := range plainTexts(p.Parser().Parse(text).Content) {
				assert.NotRegexp(t, name, plain, "%s: %s", dir, owner)
			}
		})
		eachDecl(p, func(decl ast.Decl) {
			ast.Inspect(decl, func(n ast.Node) bool {
				if group, ok := n.(*ast.CommentGroup); ok {
					assert.NotRegexp(t, name, group.Text(), dir)
				}
				return true
			})
		})
	}
}

// Links to the Go reference and to files of this repository by their full address.
func TestFullAddressesLeadSomewhere(t *testing.T) {
	reference := regexp.MustCompile(`https://pkg\.go\.dev/` + thisModule + `(?:/([\w/]+))?(?:#([\w.-]+))?`)
	file := regexp.MustCompile(`https://github\.com/wechatgate/wechatgate/(?:blob|tree)/main/([\w./-]+)(?:#([^\s)"]+))?`)
	found := 0
	for _, source := range sources(t) {
		content := read(t, source)
		for _, match := range reference.FindAllStringSubmatch(content, -1) {
			found++
			dir := filepath.Join(".", match[1])
			if assert.Contains(t, importable(), dir, source) && match[2] != "" {
				assert.Contains(t, namesIn(packageDoc(t, dir)), match[2], source)
			}
		}
		for _, match := range file.FindAllStringSubmatch(content, -1) {
			found++
			_, err := os.Stat(match[1])
			if assert.NoError(t, err, source) && match[2] != "" {
				assert.Contains(t, anchors(read(t, match[1])), match[2], source)
			}
		}
	}
	assert.NotZero(t, found)
}

// sources are the texts, and the Go files that the reference shows.
func sources(t *testing.T) (files []string) {
	t.Helper()
	for english, chinese := range texts(t) {
		files = append(files, english, chinese)
	}
	files = append(files, otherTexts()...)
	for _, dir := range importable() {
		matches, err := filepath.Glob(filepath.Join(dir, "*.go"))
		require.NoError(t, err)
		files = append(files, slices.DeleteFunc(matches, func(name string) bool { return strings.HasSuffix(name, "_test.go") })...)
	}
	return files
}

// packageDoc reads what the reference shows of a package, its Examples included.
func packageDoc(t *testing.T, dir string) *doc.Package {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*.go"))
	require.NoError(t, err)
	fset := token.NewFileSet()
	var files []*ast.File
	for _, name := range names {
		parsed, err := parser.ParseFile(fset, name, nil, parser.ParseComments)
		require.NoError(t, err)
		files = append(files, parsed)
	}
	p, err := doc.NewFromFiles(fset, files, strings.TrimSuffix(thisModule+"/"+dir, "/."))
	require.NoError(t, err)
	return p
}

// eachComment calls f for the comment of a package and those of its names.
func eachComment(p *doc.Package, f func(owner, text string)) {
	values := func(all []*doc.Value) {
		for _, v := range all {
			f(strings.Join(v.Names, ", "), v.Doc)
		}
	}
	functions := func(owner string, all []*doc.Func) {
		for _, function := range all {
			f(owner+function.Name, function.Doc)
		}
	}
	f("package", p.Doc)
	values(p.Consts)
	values(p.Vars)
	functions("", p.Funcs)
	for _, named := range p.Types {
		f(named.Name, named.Doc)
		values(named.Consts)
		values(named.Vars)
		functions("", named.Funcs)
		functions(named.Name+".", named.Methods)
	}
}

// eachDecl calls f for each declaration that the reference shows as source.
func eachDecl(p *doc.Package, f func(ast.Decl)) {
	values := slices.Concat(p.Consts, p.Vars)
	for _, named := range p.Types {
		f(named.Decl)
		values = slices.Concat(values, named.Consts, named.Vars)
	}
	for _, v := range values {
		f(v.Decl)
	}
}

// plainTexts returns what of a comment is neither code nor a link.
func plainTexts(blocks []comment.Block) (all []string) {
	add := func(texts []comment.Text) {
		for _, text := range texts {
			if plain, ok := text.(comment.Plain); ok {
				all = append(all, string(plain))
			}
		}
	}
	for _, block := range blocks {
		switch block := block.(type) {
		case *comment.Paragraph:
			add(block.Text)
		case *comment.Heading:
			add(block.Text)
		case *comment.List:
			for _, item := range block.Items {
				all = append(all, plainTexts(item.Content)...)
			}
		}
	}
	return all
}

// namesIn returns the anchors that pkg.go.dev makes of a package: its names,
// methods, fields and Examples.
func namesIn(p *doc.Package) (all []string) {
	examples := func(owner string, list []*doc.Example) {
		for _, example := range list {
			id := "example-" + owner
			if example.Suffix != "" {
				id += "-" + strings.ToUpper(example.Suffix[:1]) + example.Suffix[1:]
			}
			all = append(all, id)
		}
	}
	functions := func(owner string, list []*doc.Func) {
		for _, function := range list {
			all = append(all, owner+function.Name)
			examples(owner+function.Name, function.Examples)
		}
	}
	examples("package", p.Examples)
	functions("", p.Funcs)
	for _, named := range p.Types {
		all = append(all, named.Name)
		examples(named.Name, named.Examples)
		functions("", named.Funcs)
		functions(named.Name+".", named.Methods)
		for _, v := range slices.Concat(named.Consts, named.Vars) {
			all = append(all, v.Names...)
		}
		ast.Inspect(named.Decl, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncType: // its parameters have no anchors
				return false
			case *ast.Field:
				for _, name := range n.Names {
					all = append(all, named.Name+"."+name.Name)
				}
			}
			return true
		})
	}
	for _, v := range slices.Concat(p.Consts, p.Vars) {
		all = append(all, v.Names...)
	}
	return all
}
