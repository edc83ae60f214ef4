package pebblestore

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
)

// constants returns the names and values of the constants of a file whose names begin
// with prefix. A value that stands for a position (iota) is the position.
func constants(t *testing.T, file, prefix string) map[string]string {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, d := range f.Decls {
		g, ok := d.(*ast.GenDecl)
		if !ok || g.Tok != token.CONST {
			continue
		}
		for i, spec := range g.Specs {
			v := spec.(*ast.ValueSpec)
			for j, name := range v.Names {
				if !strings.HasPrefix(name.Name, prefix) {
					continue
				}
				out[name.Name] = strconv.Itoa(i)
				if j < len(v.Values) {
					if lit, ok := v.Values[j].(*ast.BasicLit); ok {
						out[name.Name] = lit.Value
					}
				}
			}
		}
	}
	if len(out) == 0 {
		t.Fatalf("%s has no constants %s*", file, prefix)
	}
	return out
}

// document reads a page of the format's documentation.
func readDocument(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile("../../../docs/format/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// What is on the disk is in docs/format: tables, sections, kinds, limits, files and
// the version.
func TestFormatDocument(t *testing.T) {
	readme, keys, message := readDocument(t, "README.md"), readDocument(t, "pebble-keys.md"), readDocument(t, "message.md")
	must := func(page, name, text, why string) {
		t.Helper()
		if !strings.Contains(page, text) {
			t.Errorf("docs/format/%s does not have %q: %s", name, text, why)
		}
	}
	for name, value := range constants(t, "keys.go", "tab") {
		c, err := strconv.Unquote(value)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		must(keys, "pebble-keys.md", "\n| `"+c+"` ", "the table "+name)
	}
	for name, number := range constants(t, "document.go", "sec") {
		if name == "sections" {
			continue
		}
		must(message, "message.md", fmt.Sprintf("\n| %s | %s | ", strings.ToLower(strings.TrimPrefix(name, "sec")), number), "the section "+name)
	}
	for prefix, kinds := range map[string]map[string]string{"seg": constants(t, "layout.go", "seg"), "text": constants(t, "layout.go", "text")} {
		for name, number := range kinds {
			must(message, "message.md", fmt.Sprintf("\n| %s %s | ", number, strings.ToLower(strings.TrimPrefix(name, prefix))), "the constant "+name)
		}
	}
	for c := byte(1); ; c++ {
		name, ok := commandName(c)
		if !ok {
			break
		}
		must(keys, "pebble-keys.md", fmt.Sprintf("%d %s", c, name), "the command of the journal")
	}
	for _, file := range []string{formatFile, newFile, lockFile, runFile, runFile + ".new", dbDir + "/", blobDir + "/", blobDir + "/" + tempPrefix + "N", formatFile + ".new"} {
		must(readme, "README.md", "\n| `"+file+"` | ", "the file")
	}
	must(readme, "README.md", fmt.Sprintf("**format version %d**", formatVersion), "the version")
	must(readme, "README.md", fmt.Sprintf("%s%d`", formatMagic, formatVersion), "the file "+formatFile)
	must(keys, "pebble-keys.md", fmt.Sprintf("Format version %d.", formatVersion), "the version")
	must(readme, "README.md", fmt.Sprintf("format major version %d", pebble.FormatValueSeparation), "the database's version")
	must(readme, "README.md", fmt.Sprintf("values of %d octets and more", separateFrom), "the size from which values are apart")
	must(message, "message.md", "up to 131,072 octets", "the size from which content is a file")
	if blobFileFrom != 131_072+1 || inlineUpTo != 4<<10 || ownTextUpTo != 256<<10 || chunkSize != 128<<10 || shareFrom != 512 ||
		cutFrom != 2048 || maxWidth != 16384 || maxCuts != 1000 || entriesPerRow != 256 || hotSize != 62 {
		t.Error("a limit changed: correct docs/format, and this line")
	}
}
