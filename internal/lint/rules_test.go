package lint

import (
	"go/ast"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// maxFileLines is where a file stops being one subject.
const maxFileLines = 700

func TestPackagesSayWhatTheyAre(t *testing.T) {
	for _, p := range load(t) {
		if len(strings.Fields(p.comment)) < 8 {
			t.Errorf("%s has no package comment that says what it owns and what it must not import", p.dir)
		}
		for _, bad := range []string{"util", "utils", "common", "helpers", "misc", "types", "shared"} {
			if p.name == bad {
				t.Errorf("%s: a package name says what is inside; %q does not", p.dir, bad)
			}
		}
	}
}

func TestFilesAreOneSubject(t *testing.T) {
	for _, p := range load(t) {
		for _, f := range p.files {
			if f.lines > maxFileLines && !generated(f.ast) {
				t.Errorf("%s has %d lines, more than %d: it holds more than one subject", f.path, f.lines, maxFileLines)
			}
		}
	}
}

func generated(f *ast.File) bool { return ast.IsGenerated(f) }

func TestNoInitAndNoMutableGlobals(t *testing.T) {
	for _, p := range load(t) {
		if testOnly(p.dir) {
			continue
		}
		for _, f := range p.files {
			for _, d := range f.ast.Decls {
				if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
					t.Errorf("%s has an init function: what happens before main cannot be tested or configured", f.path)
				}
				g, ok := d.(*ast.GenDecl)
				if !ok || g.Tok != token.VAR {
					continue
				}
				for _, s := range g.Specs {
					checkGlobal(t, f.path, s.(*ast.ValueSpec))
				}
			}
		}
	}
}

// checkGlobal accepts what never changes: errors, compiled expressions, tables
// made by a call or literal, embedded files, interface checks. A variable without
// a value is one that somebody sets later.
func checkGlobal(t *testing.T, path string, v *ast.ValueSpec) {
	t.Helper()
	for _, n := range v.Names {
		if n.Name == "_" || len(v.Values) > 0 {
			continue
		}
		if sel, ok := v.Type.(*ast.SelectorExpr); ok && sel.Sel.Name == "FS" {
			continue // go:embed fills it
		}
		t.Errorf("%s: the global %s has no value and so is set later: pass it in", path, n.Name)
	}
}

// What a reader of the repository cannot know has no place in it.
func TestNoWorkplaceInTrackedFiles(t *testing.T) {
	top := root(t)
	cmd := exec.Command("git", "ls-files")
	cmd.Dir = top
	out, err := cmd.Output()
	switch {
	case err != nil && os.Getenv("MALLARD_CI") == "1":
		t.Fatalf("list the files of the checkout: %v", err)
	case err != nil:
		t.Skipf("not a git checkout: %v", err)
	}
	bad := regexp.MustCompile(`(^|[\s"'=(])/` + `work/|\.` + `library/|\.\./` + `shared/`)
	for name := range strings.Lines(string(out)) {
		name = strings.TrimSpace(name)
		b, err := os.ReadFile(filepath.Join(top, name))
		if err != nil || len(b) > 1<<20 {
			continue
		}
		for i, line := range strings.Split(string(b), "\n") {
			if bad.MatchString(line) {
				t.Errorf("%s:%d names a path of somebody's machine: %.100s", name, i+1, line)
			}
		}
	}
}

// A promise in place of a feature.
func TestNoPromises(t *testing.T) {
	words := []string{"TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK"}
	for _, p := range load(t) {
		for _, f := range p.files {
			for _, g := range f.ast.Comments {
				if slices.ContainsFunc(words, func(w string) bool { return strings.Contains(g.Text(), w) }) {
					t.Errorf("%s: a comment promises something: do it, or write down in docs/known-differences.md that it is missing", f.path)
				}
			}
		}
	}
}
