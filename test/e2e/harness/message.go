//go:build e2e

package harness

import (
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"strings"
)

// Message makes message n of a test, lines ended by CRLF: every third has an attachment, some have lines that begin
// with a dot or octets above 127, so that a client or server that changes any of it is noticed.
func Message(n int) string {
	rng := rand.New(rand.NewPCG(uint64(n), 99))
	var b strings.Builder
	fmt.Fprintf(&b, "From: Sender %d <sender@example.net>\r\nTo: reader@%s\r\nSubject: message %d\r\n", n, Domain, n)
	fmt.Fprintf(&b, "Date: Mon, 01 Jan 2024 %02d:%02d:00 +0000\r\nMessage-ID: <m%d@example.net>\r\nMIME-Version: 1.0\r\n", n/60%24, n%60, n)
	text := fmt.Sprintf("This is message %d.\r\n.leading dot\r\n..two of them\r\nGrüße aus Tübingen\r\n\r\n%s\r\n", n, strings.Repeat("words and more words ", rng.IntN(40)))
	if n%3 != 0 {
		b.WriteString("Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n" + text)
		return b.String()
	}
	data := make([]byte, 3000+rng.IntN(200_000))
	for i := range data {
		data[i] = byte(rng.Uint32())
	}
	encoded := base64.StdEncoding.EncodeToString(data)
	b.WriteString("Content-Type: multipart/mixed; boundary=\"=_b\"\r\n\r\n--=_b\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n" + text +
		"\r\n--=_b\r\nContent-Type: application/octet-stream; name=\"a.bin\"\r\nContent-Disposition: attachment; filename=\"a.bin\"\r\nContent-Transfer-Encoding: base64\r\n\r\n")
	for len(encoded) > 76 {
		b.WriteString(encoded[:76] + "\r\n")
		encoded = encoded[76:]
	}
	b.WriteString(encoded + "\r\n--=_b--\r\n")
	return b.String()
}
