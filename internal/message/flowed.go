package message

import "bytes"

// flowedText joins the lines of format=flowed (RFC 3676) as text comes in.
type flowedText struct {
	delSp bool
	line  []byte // the line that is being read, bounded
	long  bool   // the line was longer than that
	soft  bool   // the line before it goes on
	depth int    // its quote depth
}

// maxFlowedLine is the longest line that can be flowed, in octets.
const maxFlowedLine = 4096

func (f *flowedText) append(dst, src []byte) []byte {
	for len(src) > 0 {
		n := bytes.IndexByte(src, '\n') + 1
		whole := n > 0
		if !whole {
			n = len(src)
		}
		if room := maxFlowedLine - len(f.line); n > room {
			n, whole = room, false
		}
		f.line = append(f.line, src[:n]...)
		src = src[n:]
		if whole || len(f.line) == maxFlowedLine {
			dst = f.endLine(dst, whole)
		}
	}
	return dst
}

func (f *flowedText) finish(dst []byte) []byte {
	if len(f.line) > 0 || f.soft {
		dst = f.endLine(dst, false)
	}
	return dst
}

// endLine writes the line that was read. A line break is written with the
// line after it, once it is known that it is hard.
func (f *flowedText) endLine(dst []byte, whole bool) []byte {
	line := f.line
	f.line = f.line[:0]
	if whole {
		line = bytes.TrimSuffix(line[:len(line)-1], []byte{'\r'})
	}
	if f.long {
		f.long = !whole
		dst = append(dst, line...)
		if whole {
			dst = append(dst, '\n')
		}
		return dst
	}
	depth := 0
	for depth < len(line) && line[depth] == '>' {
		depth++
	}
	text := bytes.TrimPrefix(line[depth:], []byte{' '})
	signature := string(text) == "-- "
	if f.soft && (signature || depth != f.depth) {
		dst = append(dst, '\n')
		f.soft = false
	}
	if !f.soft && depth > 0 {
		dst = append(dst, line[:depth]...)
		dst = append(dst, ' ')
	}
	f.long = !whole
	f.soft = whole && !signature && len(text) > 0 && text[len(text)-1] == ' '
	f.depth = depth
	if f.soft && f.delSp {
		text = text[:len(text)-1]
	}
	dst = append(dst, text...)
	if whole && !f.soft {
		dst = append(dst, '\n')
	}
	return dst
}
