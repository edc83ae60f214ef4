package compose

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"strings"
	"time"
)

// Address is a mailbox with a display name, which may be empty.
type Address struct{ Name, Address string }

// Field is a header field. Key and Value may be anything; what cannot stand in a
// header is dropped or encoded.
type Field struct{ Key, Value string }

// Disposition says how an attachment is shown.
type Disposition string

// The dispositions. The zero value stands for DispositionAttachment, or for
// DispositionInline when there is a ContentID.
const (
	DispositionAttachment Disposition = "attachment"
	DispositionInline     Disposition = "inline"
)

// Attachment is a part beside the text.
type Attachment struct {
	Filename    string // "" for none
	ContentType string // "" or what is no media type: guessed from the file name
	ContentID   string // with or without brackets; makes it an embedded part of the HTML
	Disposition Disposition
	// TransferEncoding is base64 when empty; 7bit, 8bit and quoted-printable are
	// taken only when the content allows them. Messages are never encoded; their
	// lines get CRLF ends.
	TransferEncoding string
	Content          []byte
}

// Message is a message to be made. The zero value is a message without anything.
type Message struct {
	From          Address // nobody when Address is empty
	ReplyTo       []Address
	To, Cc, Bcc   []Address
	Subject       string
	Date          time.Time // now when zero
	MessageID     string    // made when empty; with or without brackets
	InReplyTo     string
	References    []string
	Text, HTML    string
	Attachments   []Attachment
	Fields        []Field // come first, in this order
	EmbedDataURIs bool    // images in data: URIs of the HTML become attachments
}

// own are the fields that the composer writes itself. A Field of that name takes
// the place of the composed one, for those where that makes sense.
func replaceable(name string) bool {
	switch name {
	case "message-id", "date", "in-reply-to", "references", "reply-to", "subject":
		return true
	}
	return false
}

// forbidden fields would contradict the structure of the message.
func forbidden(name string) bool {
	switch name {
	case "mime-version", "content-type", "content-transfer-encoding", "content-disposition", "content-id",
		"from", "to", "cc", "bcc", "return-path", "delivered-to":
		return true
	}
	return false
}

// WriteTo writes the message with CRLF line ends. It returns the number of
// octets, and the error of w.
func (m *Message) WriteTo(w io.Writer) (int64, error) {
	c, err := newComposer(w)
	if err != nil {
		return 0, err
	}
	root := c.structure(m)
	c.header(m)
	c.part(root)
	return c.n, c.err
}

// composer writes one message.
type composer struct {
	w    io.Writer
	n    int64
	err  error
	seed string
	next int
}

func newComposer(w io.Writer) (*composer, error) {
	var raw [12]byte
	if _, err := rand.Read(raw[:]); err != nil {
		return nil, fmt.Errorf("make a boundary: %w", err)
	}
	return &composer{w: w, seed: hex.EncodeToString(raw[:])}, nil
}

// boundary is unguessable, so that no content can end a part.
func (c *composer) boundary() string {
	c.next++
	return fmt.Sprintf("--_%s-%d", c.seed, c.next)
}

func (c *composer) write(parts ...string) {
	for _, p := range parts {
		if c.err != nil {
			return
		}
		n, err := io.WriteString(c.w, p)
		c.n += int64(n)
		c.err = err
	}
}

func (c *composer) header(m *Message) {
	given := map[string]bool{}
	for _, f := range m.Fields {
		name := fieldName(f.Key)
		low := strings.ToLower(name)
		if name == "" || forbidden(low) || replaceable(low) && given[low] {
			continue
		}
		given[low] = true
		c.field(name, encodeText(f.Value, structured(low)))
	}
	c.addresses("From", m.From)
	c.addresses("To", m.To...)
	c.addresses("Cc", m.Cc...)
	c.addresses("Bcc", m.Bcc...)
	if !given["reply-to"] {
		c.addresses("Reply-To", m.ReplyTo...)
	}
	if !given["in-reply-to"] && m.InReplyTo != "" {
		c.field("In-Reply-To", messageID(m.InReplyTo))
	}
	if !given["references"] {
		c.references(m.References)
	}
	if !given["subject"] && m.Subject != "" {
		c.field("Subject", encodeText(m.Subject, false))
	}
	if !given["date"] {
		c.field("Date", m.date().UTC().Format("Mon, 02 Jan 2006 15:04:05 +0000"))
	}
	if !given["message-id"] {
		c.field("Message-ID", messageID(m.id()))
	}
	c.field("MIME-Version", "1.0")
}

// structured fields hold message ids and the like, in which nothing is encoded.
func structured(name string) bool {
	switch name {
	case "message-id", "in-reply-to", "references", "list-id", "list-unsubscribe", "date":
		return true
	}
	return false
}

func (m *Message) date() time.Time {
	if m.Date.IsZero() {
		return time.Now()
	}
	return m.Date
}

func (m *Message) id() string {
	if m.MessageID != "" {
		return m.MessageID
	}
	_, domain, found := strings.Cut(m.From.Address, "@")
	if !found || !isToken(asciiDomain(domain)) {
		domain = "localhost"
	}
	return NewID(domain)
}

// NewID makes a Message-ID of this domain, without brackets.
func NewID(domain string) string {
	var raw [16]byte
	_, _ = rand.Read(raw[:]) // never fails
	h := hex.EncodeToString(raw[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:] + "@" + asciiDomain(domain)
}

func (c *composer) references(ids []string) {
	var out []string
	for _, id := range ids {
		if id = messageID(id); id != "<>" {
			out = append(out, id)
		}
	}
	if len(out) > 0 {
		c.field("References", strings.Join(out, " "))
	}
}

// messageID puts an id between brackets, without what would end it.
func messageID(id string) string {
	id = strings.Trim(strings.TrimSpace(id), "<>")
	return "<" + strings.Map(func(r rune) rune {
		if r <= ' ' || r >= 0x7f || r == '<' || r == '>' {
			return -1
		}
		return r
	}, id) + ">"
}

func (c *composer) addresses(name string, list ...Address) {
	var out []string
	for _, a := range list {
		if s := formatAddress(a); s != "" {
			out = append(out, s)
		}
	}
	if len(out) > 0 {
		c.field(name, strings.Join(out, ", "))
	}
}

// field writes a folded field.
func (c *composer) field(name, value string) { c.write(fold(name+": "+value), "\r\n") }
