package mimetree

import (
	"strings"
	"testing"
)

// TestNothingIndexedHasNUL covers a message that a server refuses by chance: what goes into its index of texts must be
// without NUL.
func TestNothingIndexedHasNUL(t *testing.T) {
	raw := []byte("Subject: a\x00b =?utf-8?q?c=00d?=\r\n\r\none\x00two\x00\r\n")
	tree, err := Parse(strings.NewReader(string(raw)), int64(len(raw)), raw)
	if err != nil {
		t.Fatal(err)
	}
	texts, err := tree.Texts()
	if err != nil {
		t.Fatal(err)
	}
	if texts.Text != "one two " {
		t.Errorf("text is %q", texts.Text)
	}
	if got, want := show(t, tree.Prefixed(nil).Index()), `{"v":[{"key":"subject","value":"a b c d"}]}`; got != want {
		t.Errorf("headers are %s, want %s", got, want)
	}
}
