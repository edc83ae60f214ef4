package bench

import (
	"slices"
	"strings"
	"testing"
)

func TestNeedlesAreWhereTheyAreSaidToBe(t *testing.T) {
	corpus, err := NewCorpus(ProfileLetter, 5, 200)
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string]band{"rare": rare, "common": common} {
		found, err := needles(corpus, b, 10, 1)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if len(found) != 10 {
			t.Errorf("%s: %d words, not 10", name, len(found))
		}
		for _, n := range found {
			if share := len(n.in) * 100 / corpus.Len(); share < b.from || share > b.to {
				t.Errorf("%s: %q is in %d of 100 messages", name, n.word, share)
			}
			// What stands in a message as it is need not be decoded.
			for i := range corpus.Len() {
				if strings.Contains(strings.ToLower(string(corpus.Content(i))), n.word) && !slices.Contains(n.in, i) {
					t.Errorf("%s: %q is in message %d", name, n.word, i)
				}
			}
		}
	}
}

func TestSearchedDecodes(t *testing.T) {
	const content = "Subject: =?UTF-8?Q?Gr=C3=BC=C3=9Fe?=\r\nContent-Type: multipart/alternative; boundary=\"b\"\r\n\r\n" +
		"--b\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\nPlain\r\n" +
		"--b\r\nContent-Type: text/html\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n<p>soft=\r\nly</p>\r\n--b--\r\n"
	head, body, err := searched([]byte(content))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(head, "grüße") || !strings.Contains(body, "plain") || !strings.Contains(body, "softly") {
		t.Errorf("head %q, body %q", head, body)
	}
}
