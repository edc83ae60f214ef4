package message

import "strings"

// Message is what one parse found. It holds no octet of a body and shares no
// memory with the input.
type Message struct {
	// Size is the number of octets of the message.
	Size int64
	// Lines is the number of line feeds in the message.
	Lines int64
	// Header is the message's header as it came, with the empty line that ends
	// it, cut at Limits.MaxHeaderBytes. It must not be changed. It is nil in a
	// Message made by DecodeTree.
	Header []byte
	// HeaderEnd is where the body begins, also when Header was cut.
	HeaderEnd int64
	// Root is the part that is the whole message. It is never nil.
	Root *Part

	// Has8Bit says that some octet is above 127.
	Has8Bit bool
	// HasNUL says that the message contains a NUL octet.
	HasNUL bool
	// HasBareLF says that some line ends without CR.
	HasBareLF bool
	// Limited says that a limit kept something from being interpreted.
	Limited bool
	// TextLimited says that Parser.Text was not given all text. It is false in
	// a Message made by DecodeTree.
	TextLimited bool

	intro string
}

// Param is one parameter of Content-Type or Content-Disposition. Name is in
// upper case. Continuations (RFC 2231 3) are joined, as its section 6 asks of
// IMAP servers; a Name that ends in '*' has a Value in the extended syntax
// charset'language'percent-encoded (RFC 2231 4). Values have their quoting
// removed and are otherwise as in the header.
type Param struct {
	Name, Value string
}

// Part is a node of the tree: a leaf, a multipart (Children) or an embedded
// message (Message). Offsets count octets from the start of the whole message.
// Strings are as in the header, unfolded, not decoded.
type Part struct {
	// HeaderStart to BodyStart is the header with its empty line; BodyStart to
	// BodyEnd is the body. The line break before a boundary belongs to the
	// boundary (RFC 2046 5.1.1).
	HeaderStart, BodyStart, BodyEnd int64
	// Lines is the number of line feeds in the body.
	Lines int64
	// DecodedSize is the size of the body after its transfer encoding is
	// removed: exact for identity encodings and for base64 without foreign
	// characters, else an upper estimate.
	DecodedSize int64

	// sum is that of an attachment; it is not in the encoded tree.
	sum AttachmentSum

	// Type and Subtype are in upper case and never empty.
	Type, Subtype string
	// MediaType is the type as it stands in the header ("Text/Plain"), empty
	// if the part has none.
	MediaType string
	Params    []Param
	// Encoding is the transfer encoding in upper case, "7BIT" by default.
	Encoding    string
	ID          string
	Description string
	MD5         string
	// Disposition is in upper case, empty if absent.
	Disposition       string
	DispositionParams []Param
	Language          []string
	Location          string

	// Implied says that there was no usable Content-Type.
	Implied bool
	// Opaque says that the part is a multipart or a message that was not
	// looked into (a limit, or an encoding that RFC 2045 6.4 forbids). IMAP is
	// shown APPLICATION/OCTET-STREAM.
	Opaque bool

	// Children are the parts of a multipart. A multipart in which no boundary
	// was found has one implied text part that covers its body.
	Children []*Part
	// Message is the root of the message that a MESSAGE/RFC822 part contains.
	Message *Part
	// Envelope is set on the root of a message and of each embedded message.
	Envelope *Envelope
}

// Size is the length of the body in octets.
func (p *Part) Size() int64 { return p.BodyEnd - p.BodyStart }

// IsMultipart reports whether the part's body is made of Children.
func (p *Part) IsMultipart() bool { return len(p.Children) > 0 }

// Param returns the value of a Content-Type parameter, "" if there is none.
// name is compared without case.
func (p *Part) Param(name string) string { return paramValue(p.Params, name) }

// Charset is the declared charset of the part in lower case, "" if none.
func (p *Part) Charset() string {
	return strings.ToLower(strings.Trim(p.Param("CHARSET"), " \t'\""))
}

// ContentType is the media type in lower case, "text/plain".
func (p *Part) ContentType() string {
	return strings.ToLower(p.Type) + "/" + strings.ToLower(p.Subtype)
}

func paramValue(params []Param, name string) string {
	for i := range params {
		if strings.EqualFold(params[i].Name, name) {
			return params[i].Value
		}
	}
	return ""
}

// Section finds the part that an IMAP section number names (RFC 3501 6.4.5):
// the parts of a multipart count from 1, part 1 of anything else is its body,
// and numbers below a MESSAGE/RFC822 part count in the embedded message. It
// returns nil if there is no such part. The empty path is the message itself.
func (m *Message) Section(path []int) *Part {
	in, found := m.Root, m.Root
	for _, n := range path {
		if in == nil || n < 1 {
			return nil
		}
		found = in.member(n)
		if found == nil {
			return nil
		}
		in = found.container()
	}
	return found
}

// member is part n of a message root or multipart.
func (p *Part) member(n int) *Part {
	if p.IsMultipart() {
		if n > len(p.Children) {
			return nil
		}
		return p.Children[n-1]
	}
	if n == 1 {
		return p
	}
	return nil
}

// container is what section numbers below p count in.
func (p *Part) container() *Part {
	if p.IsMultipart() {
		return p
	}
	return p.Message
}

// SectionKind is the text part of an IMAP section specification.
type SectionKind uint8

// The kinds of RFC 3501 6.4.5. With an empty path SectionBody is the whole
// message, SectionHeader and SectionText its two halves.
const (
	SectionBody   SectionKind = iota // BODY[] and BODY[1.2]
	SectionHeader                    // HEADER, also of HEADER.FIELDS
	SectionText                      // TEXT
	SectionMIME                      // MIME
)

// SectionRange gives the octets of an IMAP section as offsets in the message.
// ok is false if there is no such part, for MIME without a part number, and
// for HEADER and TEXT of a part that is no embedded message.
func (m *Message) SectionRange(path []int, kind SectionKind) (start, end int64, ok bool) {
	p := m.Section(path)
	if p == nil {
		return 0, 0, false
	}
	if len(path) == 0 {
		switch kind {
		case SectionBody:
			return 0, m.Size, true
		case SectionHeader:
			return p.HeaderStart, p.BodyStart, true
		case SectionText:
			return p.BodyStart, p.BodyEnd, true
		}
		return 0, 0, false
	}
	switch kind {
	case SectionBody:
		return p.BodyStart, p.BodyEnd, true
	case SectionMIME:
		return p.HeaderStart, p.BodyStart, true
	}
	if p.Message == nil {
		return 0, 0, false
	}
	if kind == SectionHeader {
		return p.Message.HeaderStart, p.Message.BodyStart, true
	}
	return p.Message.BodyStart, p.Message.BodyEnd, true
}

// Walk calls visit for every part in the order of their section numbers, a
// part before what it contains. path is the IMAP section of the part, valid
// during the call; it is empty for the root when that is a multipart. The root
// of an embedded message is visited (with the path of its only part, or that
// of the embedding part followed by nothing if it is a multipart) after the
// embedding part. Walk stops when visit returns false.
func (m *Message) Walk(visit func(path []int, p *Part) bool) {
	walkRoot(m.Root, make([]int, 0, 16), visit)
}

func walkRoot(root *Part, path []int, visit func([]int, *Part) bool) bool {
	if root.IsMultipart() {
		return walkPart(root, path, visit)
	}
	return walkPart(root, append(path, 1), visit)
}

func walkPart(p *Part, path []int, visit func([]int, *Part) bool) bool {
	if !visit(path, p) {
		return false
	}
	for i, c := range p.Children {
		if !walkPart(c, append(path, i+1), visit) {
			return false
		}
	}
	if p.Message != nil {
		return walkRoot(p.Message, path, visit)
	}
	return true
}
