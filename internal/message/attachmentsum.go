package message

import (
	"crypto/sha256"
	"encoding/hex"
	"hash"
)

// AttachmentSum is the SHA-256 of an attachment's body as it is in the message:
// before its transfer encoding is undone, without the line break that belongs to
// the boundary. The zero value stands for an unknown one.
type AttachmentSum [sha256.Size]byte

// String is the sum in hexadecimal, "" when it is unknown.
func (s AttachmentSum) String() string {
	if s == (AttachmentSum{}) {
		return ""
	}
	return hex.EncodeToString(s[:])
}

// maxOpenSums is how many bodies are summed at a time: attached messages contain
// others, and each octet costs once for every one that is open. What is deeper
// has no sum.
const maxOpenSums = 3

// bodySum sums the body of a part that is open.
type bodySum struct {
	part *Part
	hash hash.Hash
	// held are the last octets, up to two: they may be the line break before a
	// boundary.
	held [2]byte
	n    int
}

// beginSum sums the body that starts at the current offset when it is that of an
// attachment.
func (p *Parser) beginSum(part *Part) {
	if p.open == maxOpenSums || part.InlineText() {
		return
	}
	if p.open == len(p.sums) {
		p.sums = append(p.sums, bodySum{hash: sha256.New()})
	}
	s := &p.sums[p.open]
	s.part, s.n = part, 0
	s.hash.Reset()
	p.open++
}

// sum takes octets that were consumed.
func (p *Parser) sum(b []byte) {
	for i := range p.sums[:p.open] {
		p.sums[i].add(b)
	}
}

func (s *bodySum) add(b []byte) {
	keep := min(len(b), len(s.held))
	if over := s.n + keep - len(s.held); over > 0 {
		s.hash.Write(s.held[:over])
		s.n = copy(s.held[:], s.held[over:s.n])
	}
	s.hash.Write(b[:len(b)-keep])
	s.n += copy(s.held[s.n:], b[len(b)-keep:])
}

// endSum ends the sum of a part, of which the end is known, at the current offset.
func (p *Parser) endSum(part *Part) {
	if p.open == 0 || p.sums[p.open-1].part != part {
		return
	}
	p.open--
	s := &p.sums[p.open]
	s.part = nil
	if n := s.n - int(p.off-part.BodyEnd); n > 0 {
		s.hash.Write(s.held[:n])
	}
	if part.Size() > 0 {
		s.hash.Sum(part.sum[:0])
	}
}
