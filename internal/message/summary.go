package message

import (
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
	"time"
)

// Summary is what message lists, threads and the HTTP API show of a message.
// All strings are valid UTF-8; names and subject are decoded.
type Summary struct {
	// Subject is decoded, with white space collapsed.
	Subject string
	// The address fields as they are in the header: Sender and ReplyTo are
	// empty if the message has none. Hosts are as written (IDN not converted).
	From, Sender, ReplyTo, To, Cc, Bcc []Address
	// MessageID is the Message-ID as it stands, usually in angle brackets.
	MessageID string
	// InReplyTo is the In-Reply-To as it stands.
	InReplyTo string
	// References are the ids of the References field, in angle brackets.
	References []string
	// ThreadIndex is the conversation part of Outlook's Thread-Index: its
	// first 22 characters.
	ThreadIndex string
	// ListID is the identifier of RFC 2919, without description and brackets.
	ListID string
	// Date is the Date field in its own zone, zero if missing or unreadable.
	Date time.Time
	// Intro is a preview of at most 128 characters (and an ellipsis), empty if
	// Parser.Preview was not set.
	Intro string
	// ContentType is the media type in lower case, Params its parameters.
	ContentType string
	Params      []Param
	// Encrypted says that the message is PGP/MIME or S/MIME encrypted.
	Encrypted bool
	// Attachments are the parts that are no inline text.
	Attachments []Attachment
	// HasAttachments says that one of them is not Related.
	HasAttachments bool
}

// Attachment describes one part for message lists.
type Attachment struct {
	// ID is "ATT00001" and so on in the order of the parts, as WildDuck counts
	// them.
	ID string
	// Section is the IMAP part number.
	Section []int
	// Filename is decoded; a part without name has one made up from its type.
	Filename string
	// ContentType is in lower case.
	ContentType string
	// Disposition is "attachment", "inline" or another token, "" if none.
	Disposition string
	// TransferEncoding is in lower case.
	TransferEncoding string
	// ContentID has its angle brackets, "" if none.
	ContentID string
	// Related says that the part is inside a multipart/related.
	Related bool
	// Size is that of the body as it is, in octets.
	Size int64
	// DecodedSize is Part.DecodedSize.
	DecodedSize int64
	// Sum is there when the parser saw the body.
	Sum AttachmentSum
}

// wholeTextMax is the size in octets up to which inline text is never counted
// as a stored attachment by WildDuck, of which the ids are kept.
const wholeTextMax = 300 << 10

// Summary derives the summary of a message that came from a parser. What was
// read by DecodeTree has no header, so that only attachments are there.
func (m *Message) Summary() Summary {
	var s Summary
	if e := m.Root.Envelope; e != nil {
		s.fromEnvelope(e)
	}
	for f := range Fields(m.Header) {
		s.field(view(f.Name), f.Value)
	}
	s.Intro = m.intro
	s.ContentType = validText(m.Root.ContentType())
	for _, p := range m.Root.Params {
		s.Params = append(s.Params, Param{Name: validText(p.Name), Value: validText(p.Value)})
	}
	s.Encrypted = m.Root.encrypted()
	s.Attachments = m.Attachments()
	for i := range s.Attachments {
		s.HasAttachments = s.HasAttachments || !s.Attachments[i].Related
	}
	return s
}

func (s *Summary) fromEnvelope(e *Envelope) {
	s.Subject = collapseSpace(decodeHeader(e.Subject.Value))
	s.From, s.To, s.Cc, s.Bcc = decodeAddresses(e.From), decodeAddresses(e.To), decodeAddresses(e.Cc), decodeAddresses(e.Bcc)
	if !e.senderImplied {
		s.Sender = decodeAddresses(e.Sender)
	}
	if !e.replyToImplied {
		s.ReplyTo = decodeAddresses(e.ReplyTo)
	}
	s.MessageID = validText(e.MessageID.Value)
	s.InReplyTo = validText(e.InReplyTo.Value)
	if t, ok := ParseDate(e.Date.Value); ok {
		s.Date = t
	}
}

// field takes a field that is not in the envelope.
func (s *Summary) field(name string, value []byte) {
	switch len(name) {
	case 7:
		if equalFoldASCII(name, "List-ID") {
			s.ListID = listID(DecodeHeader(value))
		}
	case 10:
		if equalFoldASCII(name, "References") {
			s.References = MessageIDs(validText(string(value)))
		}
	case 12:
		if equalFoldASCII(name, "Thread-Index") {
			v := validText(removeWSP(string(value)))
			s.ThreadIndex = string(validPrefix([]byte(v), 22))
		}
	}
}

func listID(value string) string {
	if open := strings.LastIndexByte(value, '<'); open >= 0 {
		value, _, _ = strings.Cut(value[open+1:], ">")
	}
	return strings.TrimSpace(value)
}

// validText makes a header value that is not to be decoded valid UTF-8 without
// control characters.
func validText(s string) string {
	if isPlainText(s) {
		return s
	}
	return string(cleanControls(appendTolerantUTF8(nil, []byte(s))))
}

// DecodeAddresses returns a copy of list with readable names and valid UTF-8.
func DecodeAddresses(list []Address) []Address { return decodeAddresses(list) }

func decodeAddresses(list []Address) []Address {
	if len(list) == 0 {
		return nil
	}
	out := slices.Clone(list)
	for i := range out {
		a := &out[i]
		a.Name = collapseSpace(decodeHeader(a.Name))
		a.Route, a.Mailbox, a.Host = validText(a.Route), validText(a.Mailbox), validText(a.Host)
	}
	return out
}

// encrypted reports whether a message is encrypted as a whole (RFC 3156 4,
// RFC 8551 3.3 and 3.4).
func (p *Part) encrypted() bool {
	switch {
	case p.Type == "MULTIPART":
		return p.Subtype == "ENCRYPTED"
	case p.Type == "APPLICATION" && (p.Subtype == "PKCS7-MIME" || p.Subtype == "X-PKCS7-MIME"):
		kind := p.Param("SMIME-TYPE")
		return strings.EqualFold(kind, "enveloped-data") || strings.EqualFold(kind, "authEnveloped-data")
	}
	return false
}

// Attachments lists the attachments of the message, those of embedded messages
// included.
func (m *Message) Attachments() []Attachment {
	c := attachmentCollector{path: make([]int, 0, 16)}
	if m.Root.IsMultipart() {
		c.part(m.Root, false)
	} else {
		c.path = append(c.path, 1)
		c.part(m.Root, false)
	}
	return c.list
}

type attachmentCollector struct {
	list  []Attachment
	count int
	path  []int
}

func (c *attachmentCollector) part(p *Part, related bool) {
	related = related || p.Type == "MULTIPART" && p.Subtype == "RELATED"
	if !p.IsMultipart() && p.Size() > 0 {
		inline := p.InlineText()
		if !inline || p.Size() > wholeTextMax {
			c.count++
		}
		if !inline {
			c.list = append(c.list, c.describe(p, related))
		}
	}
	c.children(p, related)
	if p.Message != nil {
		// The embedded message itself is the attachment that contains it.
		c.children(p.Message, related || p.Message.Type == "MULTIPART" && p.Message.Subtype == "RELATED")
	}
}

func (c *attachmentCollector) children(p *Part, related bool) {
	for i, child := range p.Children {
		c.path = append(c.path, i+1)
		c.part(child, related)
		c.path = c.path[:len(c.path)-1]
	}
}

func (c *attachmentCollector) describe(p *Part, related bool) Attachment {
	a := Attachment{
		ID:               fmt.Sprintf("ATT%05d", c.count),
		Section:          slices.Clone(c.path),
		Filename:         p.Filename(),
		ContentType:      validText(p.ContentType()),
		Disposition:      validText(lowerWord(p.Disposition)),
		TransferEncoding: validText(lowerWord(p.Encoding)),
		ContentID:        validText(p.ID),
		Related:          related,
		Size:             p.Size(),
		DecodedSize:      p.DecodedSize,
		Sum:              p.sum,
	}
	if a.Filename == "" {
		h := fnv.New32a()
		fmt.Fprintf(h, "%s %d %d", a.ID, p.BodyStart, p.BodyEnd)
		a.Filename = fmt.Sprintf("%08x.%s", h.Sum32(), extension(a.ContentType))
	}
	return a
}

// extension is the usual file name extension of a media type.
func extension(contentType string) string {
	switch contentType {
	case "message/rfc822", "message/global":
		return "eml"
	case "text/plain":
		return "txt"
	case "text/html":
		return "html"
	case "text/calendar":
		return "ics"
	case "text/x-vcard", "text/vcard", "text/directory":
		return "vcf"
	case "image/jpeg", "image/jpg", "image/pjpeg":
		return "jpg"
	case "image/svg+xml":
		return "svg"
	case "image/tiff":
		return "tif"
	case "audio/mpeg":
		return "mp3"
	case "application/msword":
		return "doc"
	case "application/vnd.ms-excel":
		return "xls"
	case "application/vnd.ms-powerpoint":
		return "ppt"
	case "application/vnd.openxmlformats-officedocument.wordprocessingml.document":
		return "docx"
	case "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet":
		return "xlsx"
	case "application/vnd.openxmlformats-officedocument.presentationml.presentation":
		return "pptx"
	case "application/pgp-signature", "application/pgp-encrypted":
		return "asc"
	case "application/pkcs7-signature", "application/x-pkcs7-signature":
		return "p7s"
	case "application/pkcs7-mime", "application/x-pkcs7-mime":
		return "p7m"
	case "application/gzip", "application/x-gzip":
		return "gz"
	case "text/csv", "text/xml", "image/png", "image/gif", "image/webp", "image/bmp", "application/pdf",
		"application/zip", "application/json", "application/xml", "application/rtf", "text/rtf", "video/mp4", "audio/ogg":
		return contentType[strings.IndexByte(contentType, '/')+1:]
	}
	return "bin"
}

// Extension is the usual file name extension of a media type in lower case, without a dot; "bin" for unknown ones.
func Extension(contentType string) string { return extension(contentType) }
