package mimetree

import "strings"

// Piece is a part of a rebuilt message: octets, or the body of a part.
type Piece struct {
	Text []byte
	Body *Node
}

// Pieces are what WildDuck rebuilds a message from, in order. header is that of the root. The bodies of embedded messages
// are whole.
func (n *Node) Pieces(header []string) []Piece {
	a := assembler{text: make([]byte, 0, headerLen(header)+256)}
	a.node(n, header)
	if n.LineCount > 1 {
		a.text = append(a.text, "\r\n"...)
	}
	a.flush()
	return a.out
}

func headerLen(header []string) int {
	n := 2
	for _, f := range header {
		n += len(f) + 2
	}
	return n
}

type assembler struct {
	out     []Piece
	text    []byte
	from    int // where the text of the next piece begins
	started bool
}

// separate ends what was written before.
func (a *assembler) separate() {
	if a.started {
		a.text = append(a.text, "\r\n"...)
	}
	a.started = true
}

func (a *assembler) flush() {
	if len(a.text) > a.from {
		a.out = append(a.out, Piece{Text: a.text[a.from:len(a.text):len(a.text)]})
		a.from = len(a.text)
	}
}

func (a *assembler) node(n *Node, header []string) {
	a.separate()
	for i, f := range header {
		if i > 0 {
			a.text = append(a.text, "\r\n"...)
		}
		a.text = append(a.text, f...)
	}
	a.text = append(a.text, "\r\n"...)
	a.separate()
	if !n.IsMultipart {
		a.flush()
		a.out = append(a.out, Piece{Body: n})
		return
	}
	a.text = append(a.text, n.Body...)
	a.text = append(append(a.text, "--"...), n.Boundary...)
	for i, c := range n.Children {
		if i > 0 {
			a.separate()
			a.text = append(append(a.text, "--"...), n.Boundary...)
		}
		a.node(c, c.Header)
	}
	a.separate()
	a.text = append(append(a.text, "--"...), n.Boundary...)
	a.text = append(a.text, "--\r\n"...)
}

// RuledSize is the size of the message by WildDuck's rules. It can be other than what Pieces amount to.
func (n *Node) RuledSize(header []string) int64 {
	s := sizer{}
	s.node(n, header)
	return s.n
}

type sizer struct {
	n       int64
	started bool
}

func (s *sizer) add(n int64) {
	if s.started {
		n += 2
	}
	s.n, s.started = s.n+n, true
}

func (s *sizer) node(n *Node, header []string) {
	h := 2
	for i, f := range header {
		if i > 0 {
			h += 2
		}
		h += len(f)
	}
	s.add(int64(h))
	if !n.IsMultipart {
		if n.Size > 0 {
			s.add(n.Size)
		}
		return
	}
	boundary := int64(2 + len(n.Boundary))
	s.add(n.Size + boundary)
	for i, c := range n.Children {
		if i > 0 {
			s.add(boundary)
		}
		s.node(c, c.Header)
	}
	s.add(boundary + 4)
}

// JoinHeader is a header as it stands at the beginning of a message, with its blank line.
func JoinHeader(fields []string) []byte {
	b := make([]byte, 0, headerLen(fields))
	for _, f := range fields {
		b = append(append(b, f...), "\r\n"...)
	}
	if len(fields) == 0 {
		b = append(b, "\r\n"...)
	}
	return append(b, "\r\n"...)
}

// latin1 reads octets as WildDuck keeps them in text: one character for each octet.
func latin1(s string) string {
	for i := range len(s) {
		if s[i] >= 0x80 {
			var b strings.Builder
			for k := range len(s) {
				b.WriteRune(rune(s[k]))
			}
			return b.String()
		}
	}
	return s
}

// octets undoes latin1.
func octets(s string) string {
	for i := range len(s) {
		if s[i] >= 0x80 {
			b := make([]byte, 0, len(s))
			for _, r := range s {
				b = append(b, byte(r))
			}
			return string(b)
		}
	}
	return s
}
