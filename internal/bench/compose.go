package bench

import (
	"encoding/base64"
	"encoding/binary"
	"math/rand/v2"
	"strings"
	"time"
)

// A composer writes one message.
type composer struct {
	g      *generator
	rng    *rand.Rand
	serial int
	b      []byte
	date   time.Time
}

var (
	givenNames = strings.Fields("Anna Björn Carla Daniel Eva Frédéric Grace Hans Irene Jürgen Kaja Liam Maria Niels Olga Peter Quentin Rosa Stefan Tanja Ursula Viktor Wanda Xaver Yvonne Zoë")
	surnames   = strings.Fields("Andersen Berg Carter Dubois Eriksson Fischer Gonzalez Huber Ivanov Jensen Keller Lehmann Meier Novak Olsen Petrov Quinn Rossi Schmidt Tamm Ullrich Virtanen Weber Young Zimmermann")
	domains    = strings.Fields("example.com example.net example.org mail.example.com corp.example.net lists.example.org shop.example.com uni.example.edu")
	agents     = []string{
		"Mozilla Thunderbird", "Apple Mail (2.3774.600.62)", "Microsoft Outlook 16.0", "Mutt/2.2.12 (2023-09-09)",
		"K-9 Mail for Android", "Evolution 3.46.4-2", "iPhone Mail (21E236)", "Roundcube Webmail/1.6.5",
	}
)

func (m *composer) str(s ...string) {
	for _, p := range s {
		m.b = append(m.b, p...)
	}
}

func pick(rng *rand.Rand, from []string) string { return from[rng.IntN(len(from))] }

type person struct{ name, address string }

// Mail comes from few people often and from many seldom.
func (m *composer) person() person {
	r := m.rng
	first, last := givenNames[r.IntN(1+r.IntN(len(givenNames)))], surnames[r.IntN(1+r.IntN(len(surnames)))]
	local := strings.ToLower(strings.Map(func(c rune) rune {
		if c > 0x7f {
			return -1
		}
		return c
	}, first+"."+last))
	return person{first + " " + last, local + "@" + domains[r.IntN(1+r.IntN(len(domains)))]}
}

func (m *composer) mailbox(p person) {
	if isASCII(p.name) {
		m.str(p.name)
	} else {
		m.str("=?UTF-8?Q?", string(encodedWord(p.name)), "?=")
	}
	m.str(" <", p.address, ">")
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// encodedWord is the Q encoding of RFC 2047, for short texts.
func encodedWord(s string) []byte {
	var b []byte
	for _, c := range []byte(s) {
		switch {
		case c == ' ':
			b = append(b, '_')
		case c >= 0x80 || c == '=' || c == '?' || c == '_' || c == ',' || c == ':' || c == '.':
			b = append(b, '=', hexDigits[c>>4], hexDigits[c&15])
		default:
			b = append(b, c)
		}
	}
	return b
}

func (m *composer) token(n int, alphabet string) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = alphabet[m.rng.IntN(len(alphabet))]
	}
	return string(b)
}

const (
	upperDigits = "0123456789ABCDEFGHIJKLMNPQRSTUVWXYZ"
	lowerHex    = "0123456789abcdef"
)

// random gives n octets that no compressor can shorten.
func (m *composer) random(n int) []byte { return randomBytes(m.rng, n) }

func randomBytes(rng *rand.Rand, n int) []byte {
	b := make([]byte, (n+7)/8*8)
	for i := 0; i < len(b); i += 8 {
		binary.LittleEndian.PutUint64(b[i:], rng.Uint64())
	}
	return b[:n]
}

// header writes everything up to the MIME fields. It is about 2 kB, as headers of delivered mail are today.
func (m *composer) header() {
	r := m.rng
	c := Corpus{tag: m.g.tag}
	id := c.id(m.serial)
	m.str(idPrefix, string(id[:]), idSuffix)
	m.date = time.Date(2024, 1, 1, 6, 0, 0, 0, time.UTC).Add(time.Duration(m.serial)*97*time.Second + time.Duration(r.IntN(90))*time.Second)
	from, to := m.person(), m.person()
	m.trace(from)
	m.dkim(from)
	m.str("From: ")
	m.mailbox(from)
	m.str("\r\nTo: ")
	m.mailbox(to)
	for range r.IntN(3) {
		m.str(",\r\n ")
		m.mailbox(m.person())
	}
	if r.IntN(5) == 0 {
		m.str("\r\nCc: ")
		m.mailbox(m.person())
	}
	m.str("\r\nSubject: ")
	m.subject()
	m.str("\r\nDate: ", m.date.Format("Mon, 2 Jan 2006 15:04:05 -0700"), "\r\n")
	m.references(c)
	if r.IntN(6) == 0 {
		m.str("List-Id: <", pick(r, surnames), ".lists.example.org>\r\nList-Unsubscribe: <https://lists.example.org/u/", m.token(40, lowerHex), ">,\r\n <mailto:leave-", m.token(24, lowerHex), "@lists.example.org>\r\nPrecedence: bulk\r\n")
	}
	m.str("User-Agent: ", pick(r, agents), "\r\nMIME-Version: 1.0\r\n")
}

func (m *composer) trace(from person) {
	r := m.rng
	at := m.date.Add(9 * time.Second)
	for range 2 + r.IntN(3) {
		host := pick(r, []string{"mx", "out", "relay", "smtp", "edge"}) + string(rune('0'+r.IntN(10))) + "." + pick(r, domains)
		m.str("Received: from ", host, " (", host, " [192.0.2.")
		m.b = appendNumber(m.b, r.IntN(256))
		m.str("])\r\n\tby ", pick(r, domains), " (Postfix) with ESMTPS id ", m.token(10, upperDigits), "\r\n\tfor <", from.address, ">; ", at.Format("Mon, 2 Jan 2006 15:04:05 -0700"), " (UTC)\r\n")
		at = at.Add(-time.Duration(1+r.IntN(4)) * time.Second)
	}
	m.str("Authentication-Results: mx.example.net; dkim=pass header.d=", from.address[strings.IndexByte(from.address, '@')+1:],
		" header.s=s2024;\r\n\tspf=pass smtp.mailfrom=", from.address, "; dmarc=pass\r\n")
}

func (m *composer) dkim(from person) {
	b64 := func(n int) string { return base64.StdEncoding.EncodeToString(m.random(n)) }
	m.str("DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=", from.address[strings.IndexByte(from.address, '@')+1:],
		";\r\n\ts=s2024; t=")
	m.b = appendNumber(m.b, int(m.date.Unix()))
	m.str("; h=from:to:subject:date:message-id:mime-version:content-type;\r\n\tbh=", b64(32), ";\r\n\tb=")
	sig := b64(256)
	for len(sig) > 72 {
		m.str(sig[:72], "\r\n\t ")
		sig = sig[72:]
	}
	m.str(sig, "\r\n")
}

func (m *composer) subject() {
	r := m.rng
	if r.IntN(2) == 0 {
		m.str("Re: ")
	}
	var s []string
	for range 2 + r.IntN(6) {
		s = append(s, m.g.vocab.word(r))
	}
	text := strings.Join(s, " ")
	if r.IntN(8) == 0 {
		m.str("=?UTF-8?Q?", string(encodedWord("Grüße: "+text)), "?=")
		return
	}
	m.str(strings.ToUpper(text[:1]), text[1:])
}

// references makes threads: an answer names a few earlier messages of the corpus.
func (m *composer) references(c Corpus) {
	r := m.rng
	if m.serial == 0 || r.IntN(5) < 2 {
		return
	}
	n := 1 + r.IntN(3)
	var refs []string
	for at := m.serial; n > 0 && at > 0; n-- {
		at -= 1 + r.IntN(min(at, 40))
		id := c.id(at)
		refs = append(refs, "<"+string(id[:])+".bench@mail.example.net>")
	}
	m.str("In-Reply-To: ", refs[0], "\r\nReferences:")
	for i := len(refs) - 1; i >= 0; i-- {
		m.str(" ", refs[i])
		if i > 0 {
			m.str("\r\n")
		}
	}
	m.str("\r\n")
}

// prose is flowing text with quoted lines and a signature, about n octets, lines end in CRLF. One in fifty begins
// a line with a dot, which the DATA phase must carry through.
func (m *composer) prose(n int) []byte {
	r := m.rng
	b := make([]byte, 0, n+600)
	for len(b) < n {
		prefix := ""
		if r.IntN(4) == 0 {
			prefix = "> "
		}
		b = appendWrapped(b, m.g.vocab.appendParagraph(nil, r), 72, prefix)
		b = append(b, '\r', '\n')
	}
	if r.IntN(50) == 0 {
		b = append(b, ".\r\n..hidden lines\r\n"...)
	}
	b = append(b, "-- \r\n"...)
	p := m.person()
	b = append(b, p.name...)
	b = append(b, "\r\nTel. +49 30 "...)
	b = appendNumber(b, 1000000+r.IntN(9000000))
	return append(b, "\r\n"...)
}

const htmlHead = `<!DOCTYPE html>
<html><head><meta http-equiv="Content-Type" content="text/html; charset=utf-8">
<style type="text/css">body { font-family: Arial, Helvetica, sans-serif; font-size: 14px; color: #333333 }
div.footer { color: #888888; font-size: 11px; border-top: 1px solid #dddddd }</style></head><body>
`

// hypertext is HTML of about n octets.
func (m *composer) hypertext(n int) []byte {
	r := m.rng
	b := append(make([]byte, 0, n+600), strings.ReplaceAll(htmlHead, "\n", "\r\n")...)
	if n < 1200 {
		b = append(b[:0], "<html><body>\r\n"...)
	}
	for len(b) < n {
		switch r.IntN(8) {
		case 0:
			b = append(b, `<p><a href="https://www.example.com/t/`...)
			b = append(b, m.token(24, lowerHex)...)
			b = append(b, `" style="color: #0066cc">`...)
			b = m.g.vocab.appendSentence(b, r)
			b = append(b, "</a></p>\r\n"...)
		case 1:
			b = append(b, `<table width="100%" cellpadding="0" cellspacing="0" border="0"><tr><td align="left" valign="top">`...)
			b = m.g.vocab.appendSentence(b, r)
			b = append(b, "</td></tr></table>\r\n"...)
		default:
			b = append(b, `<p style="margin: 0 0 12px 0">`...)
			b = m.g.vocab.appendParagraph(b, r)
			b = append(b, "</p>\r\n"...)
		}
	}
	return append(b, "<div class=\"footer\">&copy; Example Ltd.</div></body></html>\r\n"...)
}

func (m *composer) boundary() string { return "=_" + m.token(28, upperDigits) }

// text writes a whole message without attachments of about size octets.
func (m *composer) text(size int, html bool) {
	m.b = make([]byte, 0, size+2048)
	m.header()
	m.body(max(size-len(m.b), 200), html)
}

// body writes a text part, or text and HTML as alternatives, headers of the part included.
func (m *composer) body(size int, html bool) {
	if !html {
		m.str("Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n")
		m.b = append(m.b, m.prose(max(size-280, 80))...)
		return
	}
	bound := m.boundary()
	m.str("Content-Type: multipart/alternative; boundary=\"", bound, "\"\r\n\r\n--", bound,
		"\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n")
	m.b = append(m.b, m.prose(max(size*3/10-150, 80))...)
	m.str("\r\n--", bound, "\r\nContent-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n")
	m.b = appendQuotedPrintable(m.b, m.hypertext(max(size*6/10-500, 80)))
	m.str("\r\n--", bound, "--\r\n")
}

func (m *composer) withAttachments(textSize int, files []attachment) {
	total := textSize + 4096
	for _, f := range files {
		total += len(f.encoded) + 300
	}
	m.b = make([]byte, 0, total)
	m.header()
	bound := m.boundary()
	m.str("Content-Type: multipart/mixed; boundary=\"", bound, "\"\r\n\r\nThis is a multi-part message in MIME format.\r\n--", bound, "\r\n")
	m.body(max(textSize-len(m.b), 200), m.rng.IntN(2) == 0)
	for _, f := range files {
		m.str("\r\n--", bound, "\r\n", f.header)
		m.b = append(m.b, f.encoded...)
	}
	m.str("\r\n--", bound, "--\r\n")
}

// big writes a message of size octets, short of it by less than two lines of base64.
func (m *composer) big(size int) {
	m.b = make([]byte, 0, size)
	m.header()
	bound := m.boundary()
	m.str("Content-Type: multipart/mixed; boundary=\"", bound, "\"\r\n\r\n--", bound, "\r\n")
	m.body(2000, false)
	m.str("\r\n--", bound, "\r\nContent-Type: application/octet-stream; name=\"archive.bin\"\r\nContent-Disposition: attachment; filename=\"archive.bin\"\r\nContent-Transfer-Encoding: base64\r\n\r\n")
	rest := size - len(m.b) - len("\r\n--"+bound+"--\r\n")
	m.b = appendBase64(m.b, m.random(rest/78*57))
	m.str("\r\n--", bound, "--\r\n")
}
