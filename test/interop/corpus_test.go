//go:build e2e

package interop

import (
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
)

// simple is a small message with a text of its own.
func simple(text string) string {
	return "From: Sender <sender@example.net>\r\nTo: reader@interop.test\r\nSubject: " + text +
		"\r\nDate: Mon, 02 Nov 2026 08:00:00 +0000\r\nMessage-ID: <" + fmt.Sprint(names.Add(1)) + "@interop.test>\r\n\r\n" + text + "\r\n"
}

// A sample is a message of the corpus. The stored form of an exact one gives back its octets; of the others something
// is rebuilt otherwise (an end of a line, a blank line), by rules that both servers must follow.
type sample struct {
	name, text string
	exact      bool
}

// lmtp tells whether it can be sent by LMTP as it is: DATA ends with a line end.
func (s sample) lmtp() bool { return strings.HasSuffix(s.text, "\r\n") }

// delivered is the corpus without what only APPEND can bring.
func delivered() []sample {
	return slices.DeleteFunc(corpus(), func(s sample) bool { return !s.lmtp() })
}

// octets makes data that does not compress and is the same in every run.
func octets(seed uint64, n int) []byte {
	rng := rand.New(rand.NewPCG(seed, 7))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}

// encoded is base64 in lines of a length.
func encoded(data []byte, width int) string {
	s := base64.StdEncoding.EncodeToString(data)
	var b strings.Builder
	for len(s) > width {
		b.WriteString(s[:width] + "\r\n")
		s = s[width:]
	}
	return b.String() + s
}

func head(subject, more string) string {
	return "From: =?utf-8?Q?J=C3=B6rg?= <sender@example.net>\r\nTo: reader@interop.test, \"Other, One\" <other@example.net>\r\n" +
		"Cc: group: a@example.net, b@example.net;\r\nSubject: " + subject + "\r\nDate: Mon, 02 Nov 2026 08:00:00 +0100\r\n" +
		"Message-ID: <" + strings.ReplaceAll(subject, " ", ".") + "@interop.test>\r\nMIME-Version: 1.0\r\n" + more
}

func part(header, body string) string { return "--b1\r\n" + header + "\r\n" + body + "\r\n" }

const mixed = "Content-Type: multipart/mixed; boundary=\"b1\"\r\n\r\n"

// corpus is mail of every shape that the stored form treats in a way of its own.
func corpus() []sample {
	pdf := "Content-Type: application/pdf; name=\"a.pdf\"\r\nContent-Disposition: attachment; filename=\"a.pdf\"\r\nContent-Transfer-Encoding: base64\r\n"
	text := "Content-Type: text/plain; charset=utf-8\r\n"
	inner := "From: inner@example.net\r\nSubject: inner\r\nContent-Type: multipart/mixed; boundary=\"in\"\r\n\r\n--in\r\n\r\ninner text\r\n--in\r\n" +
		pdf + "\r\n" + encoded(octets(5, 600), 76) + "\r\n--in--\r\n"
	return []sample{
		{"one line", head("one line", "") + "\r\nonly this\r\n", true},
		{"two lines", head("two lines", "") + "\r\nfirst\r\nsecond\r\nthird\r\n", true},
		{"no line end", head("no line end", "") + "\r\nfirst\r\nno end", true},
		{"empty body", head("empty body", "") + "\r\n", false},
		{"dots", head("dots", "") + "\r\n.\r\n..\r\n.x\r\nend\r\n", true},
		{"8bit", head("8bit", text+"Content-Transfer-Encoding: 8bit\r\n") + "\r\nGrüße aus Tübingen, 日本語, привет\r\n", true},
		{"latin1", head("latin1", "Content-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: 8bit\r\n") + "\r\nGr\xfc\xdfe\r\nmehr\r\n", true},
		{"quoted printable", head("quoted printable", text+"Content-Transfer-Encoding: quoted-printable\r\n") + "\r\nGr=C3=BC=C3=9Fe =\r\nzusammen=20\r\n", true},
		{"folded header", head("folded header", "X-Long: one\r\n two\r\n\tthree\r\nReferences: <a@b>\r\n <c@d>\r\nX-Empty:\r\nX-Empty: \r\n") + "\r\ntext\r\n", true},
		{"raw 8bit header", head("raw 8bit header", "X-Raw: Gr\xc3\xbc\xc3\x9fe \xff\xfe\r\n") + "\r\ntext\r\n", true},
		{"alternative", head("alternative", "Content-Type: multipart/alternative; boundary=\"b1\"\r\n\r\n") +
			part(text, "plain") + part("Content-Type: text/html; charset=utf-8\r\n", "<p>html <b>text</b></p>") + "--b1--\r\n", true},
		{"attachment", head("attachment", mixed) + part(text, "see attached") + part(pdf, encoded(octets(1, 40_000), 76)) + "--b1--\r\n", true},
		{"attachment 64", head("attachment 64", mixed) + part(text, "see attached") + part(pdf, encoded(octets(2, 4_000), 64)) + "--b1--\r\n", true},
		{"attachment one line", head("attachment one line", mixed) + part(text, "x") + part(pdf, encoded(octets(3, 700), 900)) + "--b1--\r\n", true},
		{"attachment odd lines", head("attachment odd lines", mixed) + part(text, "x") + part(pdf, "AAAA\r\n"+encoded(octets(4, 500), 76)) + "--b1--\r\n", true},
		{"attachment blank line", head("attachment blank line", mixed) + part(text, "x") + part(pdf, encoded(octets(6, 500), 76)+"\r\n") + "--b1--\r\n", false},
		{"small calendar", head("small calendar", mixed) + part(text, "x") + part("Content-Type: text/calendar; method=REQUEST\r\n", "B") + "--b1--\r\n", true},
		{"attached text", head("attached text", mixed) + part(text, "x") + part(text+"Content-Disposition: attachment; filename*=utf-8''%C3%BC.txt\r\n", "attached\r\ntext") + "--b1--\r\n", true},
		{"embedded message", head("embedded message", mixed) + part(text, "forwarded") + part("Content-Type: message/rfc822\r\nContent-Disposition: attachment\r\n", inner) + "--b1--\r\n", true},
		{"nested", head("nested", mixed) + part("Content-Type: multipart/related; boundary=\"b2\"\r\n",
			"--b2\r\nContent-Type: text/html\r\n\r\n<img src=\"cid:i1\">\r\n--b2\r\nContent-Type: image/png\r\nContent-ID: <i1>\r\nContent-Transfer-Encoding: base64\r\n\r\n"+
				encoded(octets(8, 900), 76)+"\r\n--b2--\r\n") + "--b1--\r\n", true},
		{"preamble", head("preamble", mixed) + "This is a multipart message.\r\n" + part(text, "x") + "--b1--\r\nepilogue\r\n", false},
		{"unterminated", head("unterminated", mixed) + part(text, "x") + "--b1\r\n" + text + "\r\nno end", false},
		{"part without header", head("part without header", mixed) + "--b1\r\n\r\njust text\r\n--b1--\r\n", false},
		{"empty part", head("empty part", mixed) + part(text, "") + part(pdf, "") + "--b1--\r\n", false},
		{"large text", head("large text", text) + "\r\n" + strings.Repeat("a line of a text that is too large to stay where it is\r\n", 6000), true},
		{"large attachment", head("large attachment", mixed) + part(text, "x") + part(pdf, encoded(octets(9, 900_000), 76)) + "--b1--\r\n", true},
		{"root attachment", head("root attachment", pdf) + "\r\n" + encoded(octets(10, 3000), 76) + "\r\n", true},
		{"no message id", strings.Replace(head("no message id", ""), "Message-ID", "X-Was", 1) + "\r\ntext\r\n", true},
		{"no header at all", "\r\nonly text\r\n", false},
		{"broken mime", head("broken mime", "Content-Type: multipart/mixed\r\n") + "\r\n--b1\r\n\r\nno boundary parameter\r\n--b1--\r\n", true},
	}
}
