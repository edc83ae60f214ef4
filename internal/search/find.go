package search

import (
	"bytes"
	"strings"
)

// A Finder looks for needles in a text that comes in pieces. It finds a needle wherever the text is cut, takes time
// linear in the text for each needle whatever they are (Knuth-Morris-Pratt, with a fast search for the beginning of the
// needle in between), and keeps nothing of the text. Text and needles must be folded. The zero value has no needles; it
// must not be used concurrently.
type Finder struct {
	needles []*needle
	states  []int // how much of the needle the text so far ends with; -1 when the needle was found
	missing int
}

// NewFinder returns a Finder for the given needles. An empty needle is found at once.
func NewFinder(needles ...[]byte) *Finder {
	ns := make([]*needle, len(needles))
	for i, text := range needles {
		ns[i] = newNeedle(text)
	}
	f := &Finder{}
	f.reset(ns)
	return f
}

// Reset forgets the text, for another one.
func (f *Finder) Reset() { f.reset(f.needles) }

func (f *Finder) reset(needles []*needle) {
	f.needles = needles
	f.states = append(f.states[:0], make([]int, len(needles))...)
	f.missing = len(needles)
	for i, n := range needles {
		if len(n.text) == 0 {
			f.states[i] = -1
			f.missing--
		}
	}
}

// Write takes the next piece of the text. It always takes all of it; once Done it does nothing.
func (f *Finder) Write(p []byte) (int, error) {
	if f.missing == 0 {
		return len(p), nil
	}
	for i, n := range f.needles {
		if f.states[i] < 0 {
			continue
		}
		state, found := n.scan(f.states[i], p)
		if found {
			state = -1
			f.missing--
		}
		f.states[i] = state
	}
	return len(p), nil
}

// Found reports whether the needle with this index was found in the text so far.
func (f *Finder) Found(i int) bool { return f.states[i] < 0 }

// Done reports whether every needle was found, so that the rest of the text does not matter.
func (f *Finder) Done() bool { return f.missing == 0 }

// maxPrefix is how much of a needle is looked for with the fast search of package bytes.
const maxPrefix = 16

// A needle is a search string, prepared.
type needle struct {
	text   []byte
	prefix []byte // the beginning of text
	rarest int    // position in prefix of the octet that texts have least often
	fail   []int32
}

// newNeedle prepares a search string. The slice must not be changed afterwards.
func newNeedle(text []byte) *needle {
	n := &needle{text: text, prefix: text[:min(len(text), maxPrefix)], fail: make([]int32, len(text))}
	for i, c := range n.prefix {
		if commonness(c) < commonness(n.prefix[n.rarest]) {
			n.rarest = i
		}
	}
	for i, k := 1, int32(0); i < len(text); i++ {
		for k > 0 && text[i] != text[k] {
			k = n.fail[k-1]
		}
		if text[i] == text[k] {
			k++
		}
		n.fail[i] = k // length of the longest proper prefix of text[:i+1] that is also its end
	}
	return n
}

// commonOctets are the octets that folded texts in English, and languages like it, have most often, the rarest first.
const commonOctets = "zqxj-,.kvbywgpfmucdlhrsnioate "

// commonness says of two octets which is found more often in folded texts. Characters outside ASCII begin with one of few
// octets.
func commonness(c byte) int {
	if c >= 0xc0 {
		return len(commonOctets) / 2
	}
	return strings.IndexByte(commonOctets, c)
}

// index is bytes.Index for the prefix. It looks for the rarest octet, as long as that is a good sign.
func (n *needle) index(p []byte) int {
	after := len(n.prefix) - 1 - n.rarest
	for i, misses := 0, 0; i+len(n.prefix) <= len(p); misses++ {
		if misses > 16+i/16 {
			at := bytes.Index(p[i:], n.prefix)
			if at < 0 {
				return -1
			}
			return i + at
		}
		at := bytes.IndexByte(p[i+n.rarest:len(p)-after], n.prefix[n.rarest])
		if at < 0 {
			return -1
		}
		i += at
		if bytes.Equal(p[i:i+len(n.prefix)], n.prefix) {
			return i
		}
		i++
	}
	return -1
}

// in reports whether the needle is in a text that is there as a whole.
func (n *needle) in(text []byte) bool {
	if len(n.text) == 0 {
		return true
	}
	_, found := n.scan(0, text)
	return found
}

// scan searches on in a piece of text. state is how much of the needle the text before ends with.
func (n *needle) scan(state int, p []byte) (int, bool) {
	i := 0
	for i < len(p) {
		if state == 0 {
			at := n.index(p[i:])
			if at < 0 {
				// Only the last octets can be the beginning of a prefix that goes on in the next piece.
				i = max(i, len(p)-len(n.prefix)+1)
				for ; i < len(p); i++ {
					state = n.step(state, p[i])
				}
				return state, false
			}
			i += at + len(n.prefix)
			state = len(n.prefix)
			if state == len(n.text) {
				return state, true
			}
		}
		for i < len(p) && state > 0 {
			state = n.step(state, p[i])
			i++
			if state == len(n.text) {
				return state, true
			}
		}
	}
	return state, false
}

func (n *needle) step(state int, c byte) int {
	for state > 0 && n.text[state] != c {
		state = int(n.fail[state-1])
	}
	if n.text[state] == c {
		state++
	}
	return state
}
