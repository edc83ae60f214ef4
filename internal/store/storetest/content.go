package storetest

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"mallard/internal/mail"
	"mallard/internal/search"
	"mallard/internal/store"
)

// part is a leaf of a message that is built for a test. body is as it stands in
// the message, encoded.
type part struct {
	typ, encoding string
	body          string
	attachment    bool
}

// content makes the content of a message with one leaf from its octets. The
// encoded forms stand for those of package message: an engine must not look into
// them, so they are made of a hash of the message and some octets that are
// special to careless code.
func content(raw []byte, encoding string) *store.Content {
	header := headerOf(raw)
	c := described(raw)
	c.Leaves = []store.Leaf{{
		Start: int64(len(header)), End: int64(len(raw)), Encoding: encoding, Type: "text/plain",
	}}
	return c
}

// described is a content without leaves.
func described(raw []byte) *store.Content {
	sum := sha256.Sum256(raw)
	mark := fmt.Sprintf("%x", sum[:6])
	return &store.Content{
		Source:        bytes.NewReader(raw),
		Size:          int64(len(raw)),
		Header:        headerOf(raw),
		Envelope:      []byte(`("envelope" "` + mark + `" {3}` + "\r\n\x80\xff\n)"),
		BodyStructure: []byte(`("structure" "` + mark + `")`),
		Tree:          append([]byte{0, 1, 0xff}, sum[:]...),
		Summary:       append([]byte{0xfe, 0}, sum[:7]...),
		Signature:     signature(string(raw)),
		References:    []string{mark + "@example.com"},
		Subject:       "subject " + mark,
		MessageID:     "<" + mark + "@example.com>",
		Date:          time.Date(2024, 1, 2, 3, 4, 5, 0, time.UTC),
	}
}

// headerOf returns the root header with its blank line, all when there is none.
func headerOf(raw []byte) []byte {
	for i := 0; i < len(raw); {
		end := bytes.IndexByte(raw[i:], '\n')
		if end < 0 {
			break
		}
		if line := raw[i : i+end]; len(line) == 0 || string(line) == "\r" {
			return raw[:i+end+1]
		}
		i += end + 1
	}
	return raw
}

// signature is the index entry of a text.
func signature(text string) []byte {
	var b search.SignatureBuilder
	_, _ = b.Write([]byte(search.FoldString(text))) // it never fails
	return b.Finish()
}

// note returns a small message; messages with different n differ.
func note(n int) *store.Content {
	return content(fmt.Appendf(nil, "Message-ID: <note%d@example.com>\r\nSubject: note %d\r\n\r\nNumber %d.\r\n", n, n, n), "7bit")
}

// sized returns a message of exactly n octets, at least 20.
func sized(n int) *store.Content {
	head := "Subject: sized\r\n\r\n"
	return content([]byte(head+strings.Repeat("x", n-len(head))), "7bit")
}

// multipart builds a message from leaves.
func multipart(subject string, parts ...part) *store.Content {
	var b bytes.Buffer
	fmt.Fprintf(&b, "Subject: %s\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=limit\r\n\r\n", subject)
	var leaves []store.Leaf
	for _, p := range parts {
		fmt.Fprintf(&b, "--limit\r\nContent-Type: %s\r\nContent-Transfer-Encoding: %s\r\n\r\n", p.typ, p.encoding)
		start := int64(b.Len())
		b.WriteString(p.body)
		leaves = append(leaves, store.Leaf{
			Start: start, End: int64(b.Len()), Encoding: p.encoding, Type: p.typ, Attachment: p.attachment,
		})
		b.WriteString("\r\n")
	}
	b.WriteString("--limit--\r\n")
	c := described(b.Bytes())
	c.Leaves = leaves
	for _, p := range parts {
		c.HasAttachments = c.HasAttachments || p.attachment
	}
	return c
}

// attachment is a base64 leaf of n pseudo-random octets in lines of width.
func attachment(n, width int, newline string, seed uint64) part {
	return part{
		typ: "application/octet-stream", encoding: "base64", attachment: true,
		body: wrap(base64.StdEncoding.EncodeToString(random(n, seed)), width, newline),
	}
}

// wrap cuts a text into lines, with no newline at the end.
func wrap(s string, width int, newline string) string {
	var lines []string
	for len(s) > width {
		lines = append(lines, s[:width])
		s = s[width:]
	}
	return strings.Join(append(lines, s), newline)
}

// random returns n octets that do not compress, the same for the same seed.
func random(n int, seed uint64) []byte {
	var key [32]byte
	key[0], key[1], key[2] = byte(seed), byte(seed>>8), byte(seed>>16)
	b := make([]byte, n)
	_, _ = rand.NewChaCha8(key).Read(b) // it never fails
	return b
}

// sourceOf returns the octets of a content.
func sourceOf(c *store.Content) []byte {
	b := make([]byte, c.Size)
	_, _ = c.Source.ReadAt(b, 0) // from memory
	return b
}

// thread returns a small message that belongs to a thread.
func thread(subject string, references ...string) *store.Content {
	c := content(fmt.Appendf(nil, "Subject: %s\r\nReferences: %s\r\n\r\nx\r\n", subject, strings.Join(references, " ")), "7bit")
	c.Subject, c.References = subject, references
	return c
}

// ranges returns a set from pairs of first and last UID.
func ranges(pairs ...mail.UID) mail.UIDSet {
	var out []mail.UIDRange
	for i := 0; i+1 < len(pairs); i += 2 {
		out = append(out, mail.UIDRange{First: pairs[i], Last: pairs[i+1]})
	}
	return mail.NormalizeUIDs(out)
}
