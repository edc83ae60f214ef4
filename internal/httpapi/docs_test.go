package httpapi

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
)

var rewriteDocs = flag.Bool("rewrite", false, "write the list of routes in docs/api.md anew")

// The documentation lists every route.
func TestDocumentation(t *testing.T) {
	const file, begin, end = "../../docs/api.md", "|---|---|---|\n", "\n## Things"
	doc, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var rows strings.Builder
	for _, r := range newWorld(t).api.routes {
		fmt.Fprintf(&rows, "| %s | `%s` | %s |\n", r.Method, r.Pattern, r.Summary)
	}
	before, rest, ok := strings.Cut(string(doc), begin)
	old, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no list of routes", file)
	}
	if old == rows.String() {
		return
	}
	if !*rewriteDocs {
		t.Fatalf("%s is out of date: go test ./internal/httpapi -run Documentation -rewrite", file)
	}
	if err := os.WriteFile(file, []byte(before+begin+rows.String()+end+after), 0o644); err != nil {
		t.Fatal(err)
	}
}
