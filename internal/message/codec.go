package message

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// ErrCorrupt is wrapped by the errors of DecodeTree and DecodeSummary.
var ErrCorrupt = errors.New("corrupt encoding")

// The primitives of both codecs. Numbers are unsigned varints. A string is a
// number: 2*i+1 for words[i], 2*n for n octets that follow.

func appendUint(dst []byte, n uint64) []byte { return binary.AppendUvarint(dst, n) }

func appendStr(dst []byte, s string) []byte {
	if i, ok := wordIndex[s]; ok {
		return appendUint(dst, uint64(i)<<1|1)
	}
	dst = appendUint(dst, uint64(len(s))<<1)
	return append(dst, s...)
}

func appendStrs(dst []byte, list []string) []byte {
	dst = appendUint(dst, uint64(len(list)))
	for _, s := range list {
		dst = appendStr(dst, s)
	}
	return dst
}

func appendParamList(dst []byte, params []Param) []byte {
	dst = appendUint(dst, uint64(len(params)))
	for i := range params {
		dst = appendStr(dst, params[i].Name)
		dst = appendStr(dst, params[i].Value)
	}
	return dst
}

// Which strings of an address are there.
const (
	addrName = 4 << iota
	addrRoute
	addrMailbox
	addrHost
)

func appendAddrs(dst []byte, list []Address) []byte {
	dst = appendUint(dst, uint64(len(list)))
	for i := range list {
		a := &list[i]
		at := len(dst)
		dst = append(dst, byte(a.Kind))
		for bit, s := range [...]string{a.Name, a.Route, a.Mailbox, a.Host} {
			if s != "" {
				dst[at] |= addrName << bit
				dst = appendStr(dst, s)
			}
		}
	}
	return dst
}

// reader decodes. After the first error everything reads as zero.
type reader struct {
	b   []byte
	s   string // b, from which strings are cut
	pos int
	err error
}

func newReader(b []byte) *reader { return &reader{b: b, s: string(b)} }

func (r *reader) fail(what string) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: %s at octet %d of %d", ErrCorrupt, what, r.pos, len(r.b))
		r.pos = len(r.b)
	}
}

func (r *reader) byte() byte {
	if r.pos >= len(r.b) {
		r.fail("end of data")
		return 0
	}
	r.pos++
	return r.b[r.pos-1]
}

func (r *reader) uint() uint64 {
	n, size := binary.Uvarint(r.b[r.pos:])
	if size <= 0 {
		r.fail("bad number")
		return 0
	}
	r.pos += size
	return n
}

// size reads an offset or size, which never exceeds 1<<56.
func (r *reader) size() int64 {
	n := r.uint()
	if n > 1<<56 {
		r.fail("number too large")
		return 0
	}
	return int64(n)
}

// count reads the length of a list of which every entry takes at least one
// octet.
func (r *reader) count() int {
	n := r.uint()
	if n > uint64(len(r.b)-r.pos) {
		r.fail("list longer than the data")
		return 0
	}
	return int(n)
}

func (r *reader) str() string {
	n := r.uint()
	if n&1 == 1 {
		if n>>1 >= uint64(len(words)) {
			r.fail("unknown word")
			return ""
		}
		return words[n>>1]
	}
	n >>= 1
	if n > uint64(len(r.b)-r.pos) {
		r.fail("string longer than the data")
		return ""
	}
	s := r.s[r.pos : r.pos+int(n)]
	r.pos += int(n)
	return s
}

// fill reads as many octets as dst has.
func (r *reader) fill(dst []byte) {
	if len(dst) > len(r.b)-r.pos {
		r.fail("end of data")
		return
	}
	r.pos += copy(dst, r.b[r.pos:])
}

func (r *reader) strs() []string {
	n := r.count()
	if n == 0 {
		return nil
	}
	list := make([]string, 0, min(n, 64))
	for i := 0; i < n && r.err == nil; i++ {
		list = append(list, r.str())
	}
	return list
}

func (r *reader) params() []Param {
	n := r.count()
	if n == 0 {
		return nil
	}
	list := make([]Param, 0, min(n, 64))
	for i := 0; i < n && r.err == nil; i++ {
		list = append(list, Param{Name: r.str(), Value: r.str()})
	}
	return list
}

func (r *reader) addrs() []Address {
	n := r.count()
	if n == 0 {
		return nil
	}
	list := make([]Address, 0, min(n, 64))
	for i := 0; i < n && r.err == nil; i++ {
		flags := r.byte()
		a := Address{Kind: AddressKind(flags & 3)}
		if a.Kind > GroupEnd {
			r.fail("unknown address kind")
		}
		for bit, s := range [...]*string{&a.Name, &a.Route, &a.Mailbox, &a.Host} {
			if flags&(addrName<<bit) != 0 {
				*s = r.str()
			}
		}
		list = append(list, a)
	}
	return list
}
