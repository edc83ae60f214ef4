package storetest

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"

	"mallard/internal/mail"
	"mallard/internal/store"
)

func contentCases() []caseFunc {
	return []caseFunc{
		{"Verbatim", contentVerbatim},
		{"Attachments", contentAttachments},
		{"SameAttachment", contentSameAttachment},
		{"Nested", contentNested},
		{"Large", contentLarge},
		{"Ranges", contentRanges},
		{"BadRanges", contentBadRanges},
		{"WriterFails", contentWriterFails},
		{"HeaderOnly", contentHeaderOnly},
	}
}

// nasty are messages that a careless store would change.
func nasty() map[string]string {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	return map[string]string{
		"empty":             "",
		"one octet":         "x",
		"one line feed":     "\n",
		"one CR":            "\r",
		"one NUL":           "\x00",
		"CRLF alone":        "\r\n",
		"no header":         "just text",
		"no body":           "Subject: x\r\n\r\n",
		"no blank line":     "Subject: x\r\n",
		"no final newline":  "Subject: x\r\n\r\nend",
		"bare LF":           "Subject: x\n\nline\nline\n",
		"bare CR":           "Subject: x\r\rline\rline\r",
		"mixed ends":        "Subject: x\r\nA: b\n\r\none\ntwo\r\nthree\rfour\n\r\r\n\n",
		"NULs":              "Subject: \x00\r\n\r\n\x00\x00a\x00",
		"8-bit":             "Subject: \xe4\xf6\xff\r\n\r\n" + string(all),
		"invalid UTF-8":     "Subject: x\r\n\r\n\xc3\x28\xa0\xa1\xf0\x28\x8c\xbc",
		"dots":              "Subject: x\r\n\r\n.\r\n..\r\n.x\r\n.",
		"From lines":        "Subject: x\r\n\r\nFrom a\r\n>From b\r\nFrom c\n",
		"trailing spaces":   "Subject: x  \r\n\t folded \r\n\r\n  a  \r\n \r\n\r\n\r\n",
		"Ctrl-Z":            "Subject: x\r\n\r\na\x1ab\x04",
		"64 KiB line":       "Subject: x\r\n\r\n" + strings.Repeat("a", 1<<16) + "\r\n",
		"1 MiB line":        "Subject: x\r\n\r\n" + strings.Repeat("ab", 1<<19),
		"huge header":       "Subject: " + strings.Repeat("h", 200_000) + "\r\n\r\nbody\r\n",
		"100,000 newlines":  strings.Repeat("\n", 100_000),
		"repeats":           "Subject: x\r\n\r\n" + strings.Repeat("the same line again\r\n", 20_000),
		"not compressible":  "Subject: x\r\n\r\n" + string(random(150_000, 11)),
		"looks like prefix": "Return-Path: <x>\r\nDelivered-To: y\r\nSubject: x\r\n\r\nReturn-Path: <z>\r\n",
	}
}

// verbatim stores a content, with and without a prefix, and reads it back.
func (f *fixture) verbatim(name string, c *store.Content) {
	f.Helper()
	raw := sourceOf(c)
	for _, prefix := range []string{"", "Delivered-To: x\r\n"} {
		a := f.append(f.inbox, c, store.Append{Prefix: []byte(prefix)})
		want := append([]byte(prefix), raw...)
		if got := f.content(f.inbox, a.UID); !bytes.Equal(got, want) {
			f.Errorf("%s: %s", name, difference(got, want))
		}
		r := f.row(f.inbox, a.UID)
		if r.Size != int64(len(want)) || !bytes.Equal(r.Header, append([]byte(prefix), c.Header...)) {
			f.Errorf("%s: size %d, want %d; header %q, want %q", name, r.Size, len(want), cut(r.Header), cut(c.Header))
		}
		if !bytes.Equal(r.Envelope, c.Envelope) || !bytes.Equal(r.BodyStructure, c.BodyStructure) || !bytes.Equal(r.Tree, c.Tree) || !bytes.Equal(r.Summary, c.Summary) {
			f.Errorf("%s: the encoded forms changed: %+v", name, r)
		}
	}
}

// difference says where octets begin to differ.
func difference(got, want []byte) string {
	i := 0
	for i < len(got) && i < len(want) && got[i] == want[i] {
		i++
	}
	return fmt.Sprintf("%d octets, want %d; from octet %d on they are %q, want %q", len(got), len(want), i, cut(got[i:]), cut(want[i:]))
}

func contentVerbatim(f *fixture) {
	for name, raw := range nasty() {
		for _, encoding := range []string{"7bit", "base64", "quoted-printable", ""} {
			if len(raw) > 10_000 && encoding != "7bit" && encoding != "base64" {
				continue
			}
			f.verbatim(name+" as "+encoding, content([]byte(raw), encoding))
		}
		f.verbatim(name+" without leaves", described([]byte(raw)))
	}
}

// oddBase64 are bodies that call themselves base64 and that decoding and encoding
// again would change, or would change if done carelessly.
func oddBase64() map[string]string {
	data := base64.StdEncoding.EncodeToString(random(60_001, 21))
	even := base64.StdEncoding.EncodeToString(random(60_000, 22))
	uneven := ""
	for i, rest := 0, data; len(rest) > 0; i++ {
		n := min(len(rest), 1+i*7%77)
		uneven, rest = uneven+rest[:n]+"\r\n", rest[n:]
	}
	return map[string]string{
		"lines of 76":          wrap(data, 76, "\r\n"),
		"lines of 76, end":     wrap(data, 76, "\r\n") + "\r\n",
		"lines of 76, two":     wrap(data, 76, "\r\n") + "\r\n\r\n",
		"lines of 76, LF":      wrap(data, 76, "\n"),
		"lines of 76, LF end":  wrap(even, 76, "\n") + "\n",
		"lines of 60":          wrap(data, 60, "\r\n"),
		"lines of 64, LF":      wrap(even, 64, "\n") + "\n",
		"lines of 77":          wrap(data, 77, "\r\n"),
		"lines of 4":           wrap(data, 4, "\r\n"),
		"lines of 1":           wrap(data[:4000], 1, "\n"),
		"lines of 998":         wrap(data, 998, "\r\n"),
		"one line":             data,
		"uneven lines":         uneven,
		"mixed ends":           wrap(data[:760], 76, "\r\n") + "\n" + wrap(data[760:], 76, "\r\n"),
		"last line LF":         wrap(data, 76, "\r\n") + "\n",
		"bare CR":              wrap(data, 76, "\r"),
		"no padding":           strings.TrimRight(wrap(data, 76, "\r\n"), "="),
		"too much padding":     wrap(data, 76, "\r\n") + "==",
		"padding inside":       wrap(data, 76, "\r\n") + "\r\n" + wrap(even, 76, "\r\n"),
		"trailing bits":        wrap(even, 76, "\r\n") + "\r\nQR==",
		"trailing text":        wrap(even, 76, "\r\n") + "\r\n-- \r\nsent from my phone\r\n",
		"leading text":         "hello!\r\n" + wrap(even, 76, "\r\n"),
		"leading blank line":   "\r\n" + wrap(even, 76, "\r\n"),
		"blank lines":          wrap(even[:7600], 76, "\r\n") + "\r\n\r\n" + wrap(even[7600:], 76, "\r\n"),
		"spaces at line ends":  wrap(even, 76, " \r\n"),
		"tabs":                 wrap(even, 76, "\r\n\t"),
		"URL alphabet":         strings.NewReplacer("+", "-", "/", "_").Replace(wrap(even, 76, "\r\n")),
		"a NUL":                wrap(even[:30_000], 76, "\r\n") + "\x00" + wrap(even[30_000:], 76, "\r\n"),
		"8-bit":                wrap(even[:30_000], 76, "\r\n") + "\xff" + wrap(even[30_000:], 76, "\r\n"),
		"cut in a quantum":     wrap(even, 76, "\r\n")[:50_001],
		"only padding":         "====",
		"only newlines":        strings.Repeat("\r\n", 5000),
		"lower case only":      strings.ToLower(wrap(even, 76, "\r\n")),
		"first line is longer": even[:100] + "\r\n" + wrap(even[100:], 76, "\r\n"),
		"last line is longer":  wrap(even[:7600], 76, "\r\n") + "\r\n" + even[7600:7700],
	}
}

func contentAttachments(f *fixture) {
	for name, body := range oddBase64() {
		att := part{typ: "application/pdf", encoding: "base64", body: body, attachment: true}
		f.verbatim(name, multipart(name, att))
		if len(body) < 10_000 {
			continue
		}
		text := part{typ: "text/plain", encoding: "quoted-printable", body: "a=\r\nb=3D\xff"}
		f.verbatim(name+" between", multipart(name, text, att, text, att))
	}
	for _, n := range []int{0, 1, 2, 3, 56, 57, 58, 1 << 10, 4095, 4096, 1 << 15, 1<<15 + 1, 1 << 16, 1 << 17} {
		f.verbatim(fmt.Sprint(n), multipart("size", attachment(n, 76, "\r\n", uint64(n))))
	}
}

// The same file in many messages, wrapped differently, costs the account its full
// size each time and comes back as it was each time, also when others go.
func contentSameAttachment(f *fixture) {
	var want [][]byte
	var uids []mail.UID
	for i, width := range []int{76, 60, 76, 72, 1000, 76} {
		newline := []string{"\r\n", "\n"}[i/3]
		c := multipart(fmt.Sprint("same ", i), attachment(200_000, width, newline, 33), part{typ: "text/plain", encoding: "7bit", body: fmt.Sprint(i)})
		want = append(want, sourceOf(c))
		uids = append(uids, f.append(f.inbox, c, store.Append{}).UID)
	}
	var total int64
	for _, w := range want {
		total += int64(len(w))
		if f.engine.CountsCRLF {
			total += int64(bytes.Count(w, []byte("\n")) - bytes.Count(w, []byte("\r\n")))
		}
	}
	if f.used() != total {
		f.Errorf("StorageUsed is %d, want %d", f.used(), total)
	}
	for i := range uids {
		for k := i; k < len(uids); k++ {
			if got := f.content(f.inbox, uids[k]); !bytes.Equal(got, want[k]) {
				f.Errorf("with %d gone, message %d: %s", i, k, difference(got, want[k]))
			}
		}
		f.expunge(f.inbox, uids[i])
		f.maintain()
	}
}

// Leaves deep in a message, empty ones and ones that touch.
func contentNested(f *fixture) {
	var b strings.Builder
	b.WriteString("Content-Type: multipart/mixed; boundary=0\r\n\r\n")
	var leaves []store.Leaf
	for i := range 200 {
		fmt.Fprintf(&b, "--%d\r\nContent-Type: multipart/mixed; boundary=%d\r\n\r\n--%d\r\n\r\n", i, i+1, i+1)
		start := int64(b.Len())
		if i%3 > 0 {
			b.WriteString(wrap(base64.StdEncoding.EncodeToString(random(i*50, uint64(i))), 76, "\r\n"))
		}
		leaves = append(leaves, store.Leaf{Start: start, End: int64(b.Len()), Encoding: "base64", Type: "image/png", Attachment: true})
		b.WriteString("\r\n")
	}
	c := described([]byte(b.String()))
	c.Leaves, c.HasAttachments = leaves, true
	f.verbatim("nested", c)
	raw := random(50_000, 12)
	c = described(raw)
	for i := range 5 {
		c.Leaves = append(c.Leaves, store.Leaf{Start: int64(i * 10_000), End: int64((i + 1) * 10_000), Encoding: "binary", Type: "application/x", Attachment: i%2 == 0})
	}
	f.verbatim("touching", c)
}

func contentLarge(f *fixture) {
	size := scale(5<<20, 5<<20, 64<<20)
	f.verbatim("large attachment", multipart("large", attachment(size, 76, "\r\n", 8), part{typ: "text/plain", encoding: "7bit", body: "end"}))
	f.verbatim("large text", content([]byte("Subject: x\r\n\r\n"+string(random(size, 9))), "8bit"))
}

func contentRanges(f *fixture) {
	text := part{typ: "text/plain", encoding: "7bit", body: strings.Repeat("text line\r\n", 30)}
	c := multipart("ranges", text, attachment(70_000, 76, "\r\n", 13), text, attachment(9_000, 60, "\n", 14))
	raw := append([]byte("Prefix: 1\r\n"), sourceOf(c)...)
	a := f.append(f.inbox, c, store.Append{Prefix: []byte("Prefix: 1\r\n")})
	edges := []int64{0, 11, 11 + int64(len(c.Header)), int64(len(raw))}
	for _, l := range c.Leaves {
		edges = append(edges, 11+l.Start, 11+l.End)
	}
	for _, k := range []int64{76, 78, 4096, 32 << 10, 64 << 10} {
		edges = append(edges, k, 11+c.Leaves[1].Start+k)
	}
	b, err := f.s.Open(f.ctx, f.acct, f.inbox, a.UID)
	f.must(err)
	defer b.Close()
	var points []int64
	for _, e := range edges {
		for _, p := range []int64{e - 1, e, e + 1} {
			if 0 <= p && p <= int64(len(raw)) {
				points = append(points, p)
			}
		}
	}
	for _, from := range points {
		for _, to := range points {
			if from > to {
				continue
			}
			var w bytes.Buffer
			if err := b.WriteRange(&w, from, to-from); err != nil || !bytes.Equal(w.Bytes(), raw[from:to]) {
				f.Fatalf("octets %d to %d: %s (%v)", from, to, difference(w.Bytes(), raw[from:to]), err)
			}
		}
	}
}

func contentBadRanges(f *fixture) {
	for _, c := range []*store.Content{note(1), content(nil, "7bit"), multipart("x", attachment(100_000, 76, "\r\n", 15))} {
		a := f.append(f.inbox, c, store.Append{})
		b, err := f.s.Open(f.ctx, f.acct, f.inbox, a.UID)
		f.must(err)
		size := b.Size()
		for _, r := range [][2]int64{{-1, 1}, {0, -1}, {0, size + 1}, {size, 1}, {size + 1, 0}, {1, size}, {1 << 62, 1 << 62}, {1, 1<<63 - 1}, {-1 << 63, 1}} {
			var w bytes.Buffer
			f.wants(fmt.Sprint("range ", r), b.WriteRange(&w, r[0], r[1]), mail.CodeInvalid)
			if w.Len() > 0 {
				f.Errorf("range %v of %d wrote %d octets", r, size, w.Len())
			}
		}
		f.must(b.WriteRange(io.Discard, size, 0))
		f.must(b.WriteRange(io.Discard, 0, 0))
		f.must(b.Close())
	}
}

func contentWriterFails(f *fixture) {
	c := multipart("x", attachment(200_000, 76, "\r\n", 16))
	a := f.append(f.inbox, c, store.Append{})
	b, err := f.s.Open(f.ctx, f.acct, f.inbox, a.UID)
	f.must(err)
	for _, n := range []int64{0, 1, 100, 5000, 70_000, c.Size - 1} {
		if err := b.WriteRange(&limitedWriter{n, errPipe}, 0, c.Size); !errors.Is(err, errPipe) {
			f.Errorf("a writer that fails after %d octets: error %v, want its own", n, err)
		}
	}
	f.must(b.WriteRange(&limitedWriter{c.Size, errPipe}, 0, c.Size))
	f.must(b.Close())
}

// A header that was cut at a limit is given back as it was cut.
func contentHeaderOnly(f *fixture) {
	raw := []byte("Subject: " + strings.Repeat("long ", 1000) + "\r\n\r\nbody")
	c := content(raw, "7bit")
	c.Header = raw[:100]
	a := f.append(f.inbox, c, store.Append{Prefix: []byte("P: 1\r\n")})
	if r := f.row(f.inbox, a.UID); string(r.Header) != "P: 1\r\n"+string(raw[:100]) {
		f.Errorf("header is %q", cut(r.Header))
	}
	if got := f.content(f.inbox, a.UID); string(got) != "P: 1\r\n"+string(raw) {
		f.Errorf("content is %q", cut(got))
	}
}
