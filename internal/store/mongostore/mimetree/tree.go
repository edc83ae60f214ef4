package mimetree

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Tree is a message that was taken apart.
type Tree struct {
	Root *Node
	// Cut are the parts whose bodies are kept apart, in the order of their ids.
	Cut []*Node
	// Flat says that the message was beyond the limits of a tree: there is one part, whose body is everything behind the
	// header, or behind as much of the header as is kept.
	Flat bool

	src  io.ReaderAt
	mem  []byte
	size int64
}

// Parse takes a message of size octets apart. mem is the message when it is in memory, else nil; it must stay as it is while
// the tree is used, and so must the source until the tree's documents are made. The errors are those of the source. It
// takes memory for headers and the bodies that stay in the tree, at most some 8 MiB, and a window of 1 MiB.
func Parse(src io.ReaderAt, size int64, mem []byte) (*Tree, error) {
	t := &Tree{src: src, mem: mem, size: size}
	p := &parser{src: src, mem: mem, scanned: maxScans*size + 1<<20}
	root, err := p.message(0, size, 0)
	if err == nil {
		t.Root = root
		err = t.load()
	}
	if errors.Is(err, errLimits) {
		return t, t.flatten()
	}
	return t, err
}

// load marks what is cut out and reads the bodies that stay.
func (t *Tree) load() error {
	t.Root.walk(place{}, func(n *Node, _ place) {
		if n.cutOut() {
			t.Cut = append(t.Cut, n)
			n.AttachmentID = fmt.Sprintf("ATT%05d", len(t.Cut))
		}
	})
	budget := int64(maxInline)
	err := t.loadBodies(t.Root, &budget)
	if !errors.Is(err, errLimits) {
		return err
	}
	// Embedded messages are there twice, as they are and taken apart; the latter can be done without.
	t.Cut = nil
	dropMessages(t.Root)
	t.Root.walk(place{}, func(n *Node, _ place) {
		n.AttachmentID = ""
		if n.cutOut() {
			t.Cut = append(t.Cut, n)
			n.AttachmentID = fmt.Sprintf("ATT%05d", len(t.Cut))
		}
	})
	budget = maxInline
	return t.loadBodies(t.Root, &budget)
}

func dropMessages(n *Node) {
	n.Message = nil
	for _, c := range n.Children {
		dropMessages(c)
	}
}

func (t *Tree) loadBodies(n *Node, budget *int64) error {
	if n.AttachmentID == "" && n.Body == nil {
		if *budget -= n.Size; *budget < 0 {
			return errLimits
		}
		if err := t.loadBody(n); err != nil {
			return err
		}
	}
	if n.Message != nil {
		if err := t.loadBodies(n.Message, budget); err != nil {
			return err
		}
	}
	for _, c := range n.Children {
		if err := t.loadBodies(c, budget); err != nil {
			return err
		}
	}
	return nil
}

func (t *Tree) loadBody(n *Node) error {
	if !n.IsMultipart {
		raw, err := t.read(span{n.Start, n.End})
		if err != nil {
			return err
		}
		n.Body = Normalize(raw, n.Exact)
		return nil
	}
	body := []byte{}
	for _, s := range n.own {
		raw, err := t.read(s)
		if err != nil {
			return err
		}
		body = append(body, raw...)
	}
	if len(body) > 0 && body[len(body)-1] != '\n' {
		body = append(body, "\r\n"...)
	}
	n.Body = Normalize(body, false)
	n.Size = int64(len(n.Body))
	return nil
}

// read returns octets of the message. They may be the message's own.
func (t *Tree) read(s span) ([]byte, error) {
	if t.mem != nil {
		return t.mem[s.start:s.end:s.end], nil
	}
	b := make([]byte, s.end-s.start)
	return b, readFull(t.src, b, s.start)
}

// Normalize makes CRLF of each line feed that has no CR before it. The result is raw itself when there are none, which
// exact says if it is known.
func Normalize(raw []byte, exact bool) []byte {
	if exact {
		return raw
	}
	n := 0
	for i := 0; i < len(raw); i++ {
		k := bytes.IndexByte(raw[i:], '\n')
		if k < 0 {
			break
		}
		if i += k; i == 0 || raw[i-1] != '\r' {
			n++
		}
	}
	if n == 0 {
		return raw
	}
	out := make([]byte, 0, len(raw)+n)
	for i, c := range raw {
		if c == '\n' && (i == 0 || raw[i-1] != '\r') {
			out = append(out, '\r')
		}
		out = append(out, c)
	}
	return out
}

// flatten gives the message a tree of one part.
func (t *Tree) flatten() error {
	t.Flat = true
	s := newScanner(t.src, t.mem, 0, t.size)
	b := &builder{n: &Node{}}
	p := &parser{src: t.src, mem: t.mem}
	body := int64(0)
	for {
		ln, err := s.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if p.header+ln.end-ln.start > maxFlatHeader {
			break
		}
		if ln.start == ln.end {
			body = ln.next
			break
		}
		if err := p.headerLine(b, ln); err != nil {
			break
		}
		body = ln.next
	}
	p.endHeader(b, body)
	n := b.n
	n.IsMultipart, n.Multipart, n.Boundary = false, "", ""
	n.Parsed.set("content-type", Value{kind: kindParams, value: "application/octet-stream", typ: "application", subtype: "octet-stream"})
	n.Parsed.set("content-transfer-encoding", Value{text: "binary"})
	n.Start, n.End = body, t.size
	if err := t.countLines(n); err != nil {
		return err
	}
	t.Root, t.Cut = n, nil
	if n.Size == 0 {
		n.Body = []byte{}
		return nil
	}
	n.AttachmentID = "ATT00001"
	t.Cut = []*Node{n}
	return nil
}

// countLines finds the lines and the size of a body.
func (t *Tree) countLines(n *Node) error {
	s := newScanner(t.src, t.mem, n.Start, n.End)
	n.Size = n.End - n.Start
	for {
		ln, err := s.next()
		if errors.Is(err, io.EOF) {
			n.Exact = n.Size == n.End-n.Start
			return nil
		}
		if err != nil {
			return err
		}
		if ln.last {
			continue
		}
		n.LineCount++
		if ln.bare {
			n.Size++
		}
	}
}

// Prefixed is the root's header with header lines put before it, as a delivery does.
type Prefixed struct {
	Header []string
	Parsed ParsedHeader
}

// Prefixed puts complete header lines before the message.
func (t *Tree) Prefixed(prefix []byte) *Prefixed {
	if len(prefix) == 0 {
		return &Prefixed{t.Root.Header, t.Root.Parsed}
	}
	fields := prefixFields(prefix)
	own := t.Root.Header
	out := &Prefixed{Header: append(fields[:len(fields):len(fields)], own...)}
	if trace := traceOf(fields); trace != nil {
		out.Parsed = append(make(ParsedHeader, 0, len(t.Root.Parsed)+2), t.Root.Parsed...)
		for i := len(trace) - 1; i >= 0; i-- {
			out.Parsed.set(trace[i].Key, trace[i].Value)
		}
		return out
	}
	out.Parsed = parseHeader(out.Header)
	if t.Flat {
		for _, key := range []string{"content-type", "content-transfer-encoding"} {
			out.Parsed.set(key, *t.Root.Parsed.get(key))
		}
	}
	return out
}

// prefixFields splits header lines.
func prefixFields(prefix []byte) []string {
	b := &builder{n: &Node{}}
	p := &parser{mem: prefix}
	s := newScanner(nil, prefix, 0, int64(len(prefix)))
	for {
		ln, err := s.next()
		if err != nil {
			break
		}
		if ln.start == ln.end && ln.last || p.headerLine(b, ln) != nil {
			break
		}
	}
	out := make([]string, len(b.fields))
	for i, f := range b.fields {
		out[i] = string(f)
	}
	return out
}

// traceOf reads Delivered-To and Return-Path when the prefix is just these two. Their values have brackets then.
func traceOf(fields []string) ParsedHeader {
	if len(fields) != 2 {
		return nil
	}
	to, ok := strings.CutPrefix(fields[0], "Delivered-To: ")
	from, ok2 := strings.CutPrefix(fields[1], "Return-Path: <")
	if !ok || !ok2 {
		return nil
	}
	return ParsedHeader{
		{"delivered-to", Value{text: "<" + validText(unfold(to)) + ">"}},
		{"return-path", Value{text: "<" + validText(unfold(from))}},
	}
}
