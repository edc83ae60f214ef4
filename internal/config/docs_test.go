package config

import (
	"bytes"
	"flag"
	"os"
	"strings"
	"testing"
)

var rewrite = flag.Bool("rewrite", false, "write the list of keys in docs/configuration.md anew")

// The documentation lists every key with its default, as `mallard config print`
// does.
func TestDocumentation(t *testing.T) {
	const file, begin, end = "../../docs/configuration.md", "```toml\n", "```\n"
	doc, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := Default().Print(&b, false); err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(doc), begin)
	old, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no list of keys", file)
	}
	if old == b.String() {
		return
	}
	if !*rewrite {
		t.Fatalf("%s is out of date: go test ./internal/config -rewrite", file)
	}
	if err := os.WriteFile(file, []byte(before+begin+b.String()+end+after), 0o644); err != nil {
		t.Fatal(err)
	}
}
