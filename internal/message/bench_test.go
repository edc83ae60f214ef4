package message

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

// samplePlain is a typical plain message with a body of about n octets.
func samplePlain(n int) []byte {
	var b bytes.Buffer
	b.WriteString("Return-Path: <alice@example.org>\r\n" +
		"Received: from mx.example.org (mx.example.org [192.0.2.1])\r\n\tby mail.example.com with ESMTPS id 12345\r\n\tfor <bob@example.com>; Mon, 02 Feb 2026 10:01:05 +0200\r\n" +
		"DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=example.org; s=mail;\r\n\th=from:to:subject:date; bh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=;\r\n\tb=" + strings.Repeat("A1b2C3d4", 30) + "\r\n" +
		"Date: Mon, 02 Feb 2026 10:01:05 +0200\r\nFrom: \"Alice Example\" <alice@example.org>\r\n" +
		"To: Bob <bob@example.com>, =?utf-8?Q?J=C3=BCrgen?= <juergen@example.com>\r\nCc: carol@example.net\r\n" +
		"Subject: Re: the =?utf-8?Q?gr=C3=BC=C3=9Fe?= you sent\r\nMessage-ID: <1234567890@example.org>\r\n" +
		"In-Reply-To: <0987654321@example.com>\r\nReferences: <a@example.com>\r\n <0987654321@example.com>\r\n" +
		"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n")
	for i := 0; b.Len() < n; i++ {
		fmt.Fprintf(&b, "Line %d of the text that Alice wrote to Bob about the weather, grün.\r\n", i)
	}
	return b.Bytes()
}

// sampleAttachment is a multipart message with text and a base64 attachment of
// about n octets.
func sampleAttachment(n int) []byte {
	head := samplePlain(0)
	i := bytes.Index(head, []byte("Content-Type:"))
	var b bytes.Buffer
	b.Write(head[:i])
	b.WriteString("Content-Type: multipart/mixed; boundary=\"----=_Part_1\"\r\n\r\n------=_Part_1\r\n" +
		"Content-Type: multipart/alternative; boundary=\"----=_Part_2\"\r\n\r\n------=_Part_2\r\n" +
		"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n")
	for i := range 20 {
		fmt.Fprintf(&b, "Line %d of the text that Alice wrote about the weather, gr=C3=BCn =\r\nand grey.\r\n", i)
	}
	b.WriteString("\r\n------=_Part_2\r\nContent-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n<html><head><style>p{color:red}</style></head><body>")
	for i := range 20 {
		fmt.Fprintf(&b, "<p class=3D\"x\">Line %d of the text that Alice wrote about the weather, gr=C3=BCn =\r\n&amp; grey.</p>\r\n", i)
	}
	b.WriteString("</body></html>\r\n------=_Part_2--\r\n\r\n------=_Part_1\r\nContent-Type: application/pdf; name=\"report.pdf\"\r\n" +
		"Content-Disposition: attachment; filename=\"report.pdf\"\r\nContent-Transfer-Encoding: base64\r\n\r\n")
	line := strings.Repeat("QUJDREVGR0hJSktM", 5)[:76] + "\r\n"
	for b.Len() < n {
		b.WriteString(line)
	}
	b.WriteString("------=_Part_1--\r\n")
	return b.Bytes()
}

func benchParse(b *testing.B, msg []byte, text bool) {
	p := NewParser(Limits{})
	p.Preview = true
	octets := 0
	if text {
		p.Text = func(_ TextKind, _ *Part, utf8 []byte) { octets += len(utf8) }
	}
	var buf []byte
	b.SetBytes(int64(len(msg)))
	b.ReportAllocs()
	for b.Loop() {
		p.Reset()
		for rest := msg; len(rest) > 0; {
			n := min(len(rest), 64<<10)
			_, _ = p.Write(rest[:n])
			rest = rest[n:]
		}
		m, err := p.Close()
		if err != nil {
			b.Fatal(err)
		}
		buf = AppendEnvelope(buf[:0], m.Root.Envelope)
		buf = AppendBodyStructure(buf, m.Root, true)
		buf = AppendTree(buf, m)
		s := m.Summary()
		buf = AppendSummary(buf, &s)
	}
}

func BenchmarkPlain4k(b *testing.B)       { benchParse(b, samplePlain(4<<10), true) }
func BenchmarkPlain4kNoText(b *testing.B) { benchParse(b, samplePlain(4<<10), false) }
func BenchmarkMultipart30k(b *testing.B)  { benchParse(b, sampleAttachment(30<<10), true) }
func BenchmarkAttachment10M(b *testing.B) { benchParse(b, sampleAttachment(10<<20), true) }
