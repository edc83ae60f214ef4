package mongostore

import (
	"os"
	"strings"
	"testing"
)

// Every member of our own in a message is in the document that says what it means.
func TestFormatDocument(t *testing.T) {
	text, err := os.ReadFile("../../../docs/format/mongodb-messages.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{
		keySize, keyOf, keyDate, keyHeaderSum, keyPrefix, keyHeader, keyEnvelope, keyBodyStructure, keyTree, keySummary, keySignature,
		keyKept, keyEdits, keyRebuilt, keyInfo, rawKey,
	} {
		if !strings.Contains(string(text), "`"+key+"`") {
			t.Errorf("docs/format/mongodb-messages.md does not say what %q is", key)
		}
	}
}
