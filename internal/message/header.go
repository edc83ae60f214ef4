package message

import (
	"bytes"
	"iter"
	"strings"
	"unsafe"
)

// Field is one field of a header block.
type Field struct {
	// Name is the field name without white space, as written. It is empty for
	// a line that is no field (no colon, or an impossible name).
	Name []byte
	// Raw is the field with all its line breaks.
	Raw []byte
	// Value is what follows the colon, white space and the last line break
	// trimmed, folding kept. For a line that is no field it is the line.
	Value []byte
}

// Fields iterates over the fields of a header block as they stand. It ends at
// the empty line or at the end of header. The slices alias header.
func Fields(header []byte) iter.Seq[Field] {
	return func(yield func(Field) bool) {
		for len(header) > 0 {
			b := nextField(view(header))
			if b.blank {
				return
			}
			f := Field{Raw: header[:b.end:b.end], Value: header[b.value:b.valueEnd:b.valueEnd]}
			if b.name > 0 {
				f.Name = header[:b.name:b.name]
			}
			if !yield(f) {
				return
			}
			header = header[b.end:]
		}
	}
}

// view looks at b as a string without copying. The result must not outlive
// the call in which it was made, nor be kept where b can change.
func view(b []byte) string {
	return unsafe.String(unsafe.SliceData(b), len(b))
}

// fieldBounds are the offsets of one field in a header block.
type fieldBounds struct {
	name            int // end of the name, 0 if the line is no field
	value, valueEnd int
	end             int  // end of the field with its line break
	blank           bool // the empty line
}

// nextField finds the bounds of the field at the start of h, which is not
// empty.
func nextField(h string) fieldBounds {
	end := lineEnd(h, 0)
	b := fieldBounds{end: end}
	first := h[:end]
	if isBlankLine(first) {
		b.blank = true
		return b
	}
	for b.end < len(h) && isWSP(h[b.end]) {
		b.end = lineEnd(h, b.end)
	}
	if colon := strings.IndexByte(first, ':'); colon > 0 {
		if n := fieldNameLen(first[:colon]); n > 0 {
			b.name, b.value = n, colon+1
		}
	}
	b.valueEnd = b.end
	for b.valueEnd > b.value && isSpace(h[b.valueEnd-1]) {
		b.valueEnd--
	}
	for b.value < b.valueEnd && isSpace(h[b.value]) {
		b.value++
	}
	return b
}

func lineEnd(h string, from int) int {
	i := strings.IndexByte(h[from:], '\n')
	if i < 0 {
		return len(h)
	}
	return from + i + 1
}

// fieldNameLen is the length of the field name in s, which ends before the
// colon, or 0 if it cannot be one. White space before the colon is obsolete
// syntax (RFC 5322 4.5).
func fieldNameLen(s string) int {
	n := len(s)
	for n > 0 && isWSP(s[n-1]) {
		n--
	}
	for i := range n {
		if s[i] <= ' ' || s[i] >= 0x7f {
			return 0
		}
	}
	return n
}

// isBlankLine reports whether a line (with its line break) is empty. CR CR LF
// counts as a line break, as gateways produce it.
func isBlankLine[T string | []byte](line T) bool {
	n := len(line)
	if n == 0 || line[n-1] != '\n' {
		return false
	}
	for i := range n - 1 {
		if line[i] != '\r' {
			return false
		}
	}
	return true
}

func isWSP(c byte) bool   { return c == ' ' || c == '\t' }
func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }

// unfold removes the line breaks of a folded value and keeps its white space
// (RFC 5322 2.2.3).
func unfold(s string) string {
	if strings.IndexByte(s, '\n') < 0 {
		return s
	}
	var b strings.Builder
	b.Grow(len(s))
	for s != "" {
		i := strings.IndexByte(s, '\n')
		if i < 0 {
			b.WriteString(s)
			break
		}
		b.WriteString(strings.TrimRight(s[:i], "\r"))
		s = s[i+1:]
	}
	return b.String()
}

// appendUnfolded appends what unfold makes of a value.
func appendUnfolded(dst, value []byte) []byte {
	for {
		i := bytes.IndexByte(value, '\n')
		if i < 0 {
			return append(dst, value...)
		}
		dst = append(dst, bytes.TrimRight(value[:i], "\r")...)
		value = value[i+1:]
	}
}

// Unfold removes the line breaks of a folded field value and keeps its white
// space (RFC 5322 2.2.3).
func Unfold(value []byte) string { return unfold(string(value)) }

// HeaderField returns the unfolded value of the last field of that name, and
// whether there is one. name is compared without case.
func HeaderField(header []byte, name string) (value string, ok bool) {
	var last []byte
	for f := range Fields(header) {
		if len(f.Name) == len(name) && strings.EqualFold(view(f.Name), name) {
			last, ok = f.Value, true
		}
	}
	return Unfold(last), ok
}

// AppendHeaderFields appends the result of BODY[HEADER.FIELDS (names)], or of
// HEADER.FIELDS.NOT if not is set (RFC 3501 6.4.5): the fields of header whose
// name is, or is not, among names, octet for octet, and an empty line, always.
// Names are compared without case. Lines that are no field belong to the NOT
// form only. It allocates nothing but dst.
func AppendHeaderFields(dst, header []byte, names []string, not bool) []byte {
	h := view(header)
	from, to := 0, 0 // a run of wanted fields, copied at once
	for pos := 0; pos < len(h); {
		b := nextField(h[pos:])
		if b.blank {
			break
		}
		want := hasName(names, h[pos:pos+b.name]) != not
		if want && to == pos {
			to = pos + b.end
		} else if want {
			dst = append(dst, header[from:to]...)
			from, to = pos, pos+b.end
		}
		pos += b.end
	}
	dst = append(dst, header[from:to]...)
	if to > from && header[to-1] != '\n' {
		dst = append(dst, '\r', '\n')
	}
	return append(dst, '\r', '\n')
}

func hasName(names []string, name string) bool {
	if name == "" {
		return false
	}
	for _, n := range names {
		if len(n) == len(name) && equalFoldASCII(n, name) {
			return true
		}
	}
	return false
}

// equalFoldASCII compares strings of equal length without ASCII case.
func equalFoldASCII(a, b string) bool {
	for i := range len(a) {
		x, y := a[i], b[i]
		if x != y && (x|0x20 != y|0x20 || x|0x20 < 'a' || x|0x20 > 'z') {
			return false
		}
	}
	return true
}
