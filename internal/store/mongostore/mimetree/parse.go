package mimetree

import (
	"errors"
	"io"
	"strings"
)

// errLimits ends the parsing of a message that is beyond the limits of a tree.
var errLimits = errors.New("the message is beyond the limits of a tree")

// parser makes the tree of a message.
type parser struct {
	src     io.ReaderAt
	mem     []byte // the whole message when it is in memory
	nodes   int
	header  int64 // octets of fields so far
	scanned int64 // octets that may still be read
	window  int64 // of the scanner, the usual one when zero
}

// builder is a node that is being read.
type builder struct {
	n      *Node
	parent *builder
	depth  int
	inBody bool
	lines  int64
	fields [][]byte
}

// message parses a range of the source as a message.
func (p *parser) message(start, end int64, depth int) (*Node, error) {
	if p.scanned -= end - start; p.scanned < 0 || depth > maxDepth {
		return nil, errLimits
	}
	s := newScanner(p.src, p.mem, start, end)
	if p.window > 0 {
		s.window = p.window
	}
	root, err := p.open(nil, depth)
	if err != nil {
		return nil, err
	}
	cur := root
	brk := span{start, start} // the break before the line
	bare := false
	for {
		ln, err := s.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		switch {
		case !cur.inBody:
			err = p.headerLine(cur, ln)
		default:
			cur, err = p.bodyLine(cur, ln, brk, bare)
		}
		if err != nil {
			return nil, err
		}
		brk, bare = span{ln.end, ln.next}, ln.bare
	}
	if !cur.inBody { // the source ended in a header
		p.endHeader(cur, end)
	}
	return root.n, p.finish(root.n, depth, true)
}

// open begins a node.
func (p *parser) open(parent *builder, depth int) (*builder, error) {
	if p.nodes++; p.nodes > maxNodes || depth > maxDepth {
		return nil, errLimits
	}
	b := &builder{n: &Node{}, parent: parent, depth: depth}
	if parent != nil {
		parent.n.Children = append(parent.n.Children, b.n)
	}
	return b, nil
}

func (p *parser) headerLine(b *builder, ln line) error {
	if ln.start == ln.end {
		p.endHeader(b, ln.next)
		return nil
	}
	if p.header += ln.end - ln.start + 2; ln.cut || p.header > maxHeader {
		return errLimits
	}
	if n := len(b.fields); n > 0 && isBlank(ln.text[0]) {
		b.fields[n-1] = append(append(b.fields[n-1], "\r\n"...), ln.text...)
		return nil
	}
	// The text is the scanner's; a field that goes on is appended to, and must not write into it.
	text := ln.text[:len(ln.text):len(ln.text)]
	if p.mem == nil {
		text = append([]byte(nil), text...)
	}
	b.fields = append(b.fields, text)
	return nil
}

// isBlank says whether a line that begins with c goes on with the field before it. 0xA0 is a space in JavaScript, which
// reads headers octet for octet as Latin-1.
func isBlank(c byte) bool { return c == ' ' || c >= '\t' && c <= '\r' || c == 0xa0 }

// endHeader interprets the header; the body starts at the offset.
func (p *parser) endHeader(b *builder, body int64) {
	b.inBody = true
	n := b.n
	n.Start, n.End, n.Exact = body, body, true
	n.Header = make([]string, len(b.fields))
	for i, f := range b.fields {
		n.Header[i] = string(f)
	}
	b.fields = nil
	n.Parsed = parseHeader(n.Header)
	typ := n.Parsed.get("content-type")
	if typ == nil || typ.typ != "multipart" {
		return
	}
	if boundary, ok := typ.param("boundary"); ok && boundary != "" {
		n.IsMultipart, n.Multipart, n.Boundary = true, typ.subtype, boundary
	}
}

// bodyLine takes a line of a body and returns the node to which the next one belongs. brk is the break before the line.
func (p *parser) bodyLine(b *builder, ln line, brk span, bare bool) (*builder, error) {
	if len(ln.text) >= 2 && ln.text[0] == '-' && ln.text[1] == '-' && !ln.cut {
		next, err := p.boundary(b, ln.text[2:])
		if next != nil || err != nil {
			return next, err
		}
	}
	n := b.n
	if b.lines++; b.lines == 1 {
		brk = span{ln.start, ln.start}
		n.Start = ln.start
	} else {
		n.LineCount++
		if bare {
			n.bareNL++
		}
	}
	n.End = ln.end
	if n.IsMultipart {
		n.addOwn(span{brk.start, ln.end})
	}
	return b, nil
}

// addOwn adds a piece of a multipart's own text.
func (n *Node) addOwn(s span) {
	if last := len(n.own) - 1; last >= 0 && n.own[last].end == s.start {
		n.own[last].end = s.end
		return
	}
	n.own = append(n.own, s)
}

// boundary acts on a line of two dashes and text. A node knows its own boundary and that of the part it is in. It returns
// nil when the line is none of these.
func (p *parser) boundary(b *builder, text []byte) (*builder, error) {
	for _, owner := range [...]*builder{b, b.parent} {
		if owner == nil || !owner.n.IsMultipart {
			continue
		}
		rest, ok := strings.CutPrefix(string(text), owner.n.Boundary)
		switch {
		case ok && rest == "":
			return p.open(owner, owner.depth+1)
		case ok && rest == "--":
			return owner, nil
		}
	}
	return nil, nil
}

// finish fills in what is known when all was read, and parses the messages inside.
func (p *parser) finish(n *Node, depth int, root bool) error {
	n.Size = n.End - n.Start + n.bareNL
	n.Exact = n.bareNL == 0
	if n.IsMultipart {
		n.Size = n.bareNL
		for _, s := range n.own {
			n.Size += s.end - s.start
		}
	}
	for _, c := range n.Children {
		if err := p.finish(c, depth+1, false); err != nil {
			return err
		}
	}
	if n.IsMultipart || !n.embeds(root) {
		return nil
	}
	nodes, header := p.nodes, p.header
	m, err := p.message(n.Start, n.End, depth+1)
	if errors.Is(err, errLimits) {
		p.nodes, p.header = nodes, header
		return nil // an attachment like any other
	}
	n.Message = m
	return err
}

// embeds says whether the body is read as a message.
func (n *Node) embeds(root bool) bool {
	v := n.Parsed.get("content-type")
	if v == nil || v.value != "message/rfc822" {
		return false
	}
	e := n.Parsed.get("content-transfer-encoding")
	if e == nil || root {
		return true
	}
	switch e.text {
	case "7bit", "8bit", "binary":
		return true
	}
	return false
}
