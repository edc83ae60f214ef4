package lint

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// pkg is a package of this module, without its tests.
type pkg struct {
	dir     string // slash-separated, relative to the module
	name    string
	comment string
	imports []string
	files   []file
}

type file struct {
	path  string
	lines int
	ast   *ast.File
}

// root is the module's directory.
func root(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "go.mod")); err != nil {
		t.Fatal(err)
	}
	return dir
}

// load parses the packages of the module.
func load(t *testing.T) []*pkg {
	t.Helper()
	top := root(t)
	byDir := map[string]*pkg{}
	err := filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() {
			if name == "testdata" || name == "node_modules" || strings.HasPrefix(name, ".") || strings.HasPrefix(name, "zz") || name == "tools" {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		rel, err := filepath.Rel(top, path)
		if err != nil {
			return err
		}
		return addFile(byDir, path, filepath.ToSlash(rel))
	})
	if err != nil {
		t.Fatal(err)
	}
	var out []*pkg
	for _, p := range byDir {
		slices.Sort(p.imports)
		p.imports = slices.Compact(p.imports)
		out = append(out, p)
	}
	slices.SortFunc(out, func(a, b *pkg) int { return strings.Compare(a.dir, b.dir) })
	if len(out) < 10 {
		t.Fatalf("found only %d packages", len(out))
	}
	return out
}

func addFile(byDir map[string]*pkg, path, rel string) error {
	src, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	f, err := parser.ParseFile(token.NewFileSet(), path, src, parser.ParseComments)
	if err != nil {
		return err
	}
	dir := rel[:strings.LastIndexByte(rel, '/')]
	p := byDir[dir]
	if p == nil {
		p = &pkg{dir: dir, name: f.Name.Name}
		byDir[dir] = p
	}
	if f.Doc != nil {
		p.comment = f.Doc.Text()
	}
	for _, i := range f.Imports {
		imp, err := strconv.Unquote(i.Path.Value)
		if err != nil {
			return err
		}
		p.imports = append(p.imports, imp)
	}
	p.files = append(p.files, file{path: rel, lines: strings.Count(string(src), "\n"), ast: f})
	return nil
}
