package mimetree

import "strings"

// Limits of a tree. A message beyond them is given a tree of one node, see Tree.Flat.
const (
	// maxDepth is how many parts and embedded messages may contain one another. A document may be nested 100 levels deep.
	maxDepth = 24
	// maxNodes is the number of parts.
	maxNodes = 2048
	// maxHeader is the size of all header fields, in octets. They are in the document three times over.
	maxHeader = 1 << 20
	// maxInline is the size of all bodies in the tree, in octets.
	maxInline = 6 << 20
	// maxFlatHeader is the size of the fields in a tree of one node.
	maxFlatHeader = 256 << 10
	// maxScans is how many times its size a message may be read for the sake of embedded messages.
	maxScans = 3
	// inlineText is the size from which on text is cut out too.
	inlineText = 307200
)

// Node is a part of a message. The strings of Header are octets, those of Parsed are UTF-8.
type Node struct {
	Header      []string // fields as they are, folded with CRLF
	Parsed      ParsedHeader
	IsMultipart bool
	Multipart   string // the subtype as it stands
	Boundary    string
	Children    []*Node
	Message     *Node // of message/rfc822; not for rebuilding
	LineCount   int64
	Size        int64 // of the body with CRLF at all line ends

	// Body is the body with CRLF at all line ends, nil while it was not read or when it is cut out.
	Body []byte
	// AttachmentID is that of a body that is cut out.
	AttachmentID string

	// Start and End are where in the message the body is, as it came: it has CRLF at all line ends already if Exact. They
	// are not set in a multipart, whose own text is in pieces.
	Start, End int64
	Exact      bool

	own    []span // of a multipart: where its own text is
	bareNL int64  // line feeds without CR in the body
}

// span is a range of octets.
type span struct{ start, end int64 }

// contentType is the media type in lower case.
func (n *Node) contentType() string {
	if v := n.Parsed.get("content-type"); v != nil {
		return strings.ToLower(v.value)
	}
	return ""
}

// ContentType is the media type in lower case.
func (n *Node) ContentType() string { return n.contentType() }

// disposition is attachment, inline or another token in lower case, "" for none.
func (n *Node) disposition() string {
	if v := n.Parsed.get("content-disposition"); v != nil {
		return v.typ
	}
	return ""
}

// TransferEncoding is the transfer encoding in lower case, 7bit when there is none.
func (n *Node) TransferEncoding() string {
	if v := n.Parsed.get("content-transfer-encoding"); v != nil {
		if s := strings.ToLower(strings.TrimSpace(v.text)); s != "" {
			return s
		}
	}
	return "7bit"
}

// inlineText says whether the part is text that readers see in place.
func (n *Node) inlineText() bool {
	if d := n.disposition(); d != "" && d != "inline" {
		return false
	}
	switch n.contentType() {
	case "text/plain", "text/html", "text/rfc822-headers", "message/delivery-status":
		return true
	}
	return false
}

// cutOut says whether the body is kept apart.
func (n *Node) cutOut() bool {
	if n.IsMultipart || n.Size == 0 || strings.HasPrefix(n.contentType(), "multipart/") {
		return false
	}
	return !n.inlineText() || n.Size > inlineText
}

// place is where a node is among others.
type place struct {
	related     bool // it or something around it is multipart/related
	alternative bool // something around it is multipart/alternative
}

// walk visits the nodes that are searched for texts and attachments: a part, the children of the message in it, its
// own children. The body of an embedded message that has no parts is not among them.
func (n *Node) walk(at place, visit func(*Node, place)) {
	subtype := strings.ToLower(n.Multipart)
	at.related = at.related || subtype == "related"
	visit(n, at)
	at.alternative = at.alternative || subtype == "alternative"
	if n.Message != nil {
		for _, c := range n.Message.Children {
			c.walk(at, visit)
		}
	}
	for _, c := range n.Children {
		c.walk(at, visit)
	}
}
