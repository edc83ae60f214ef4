package imapwire

import (
	"strconv"
	"time"
)

// FetchWriter writes one FETCH response, item by item, to the Encoder. It is
// ended with End before anything else is written.
type FetchWriter struct {
	e     *Encoder
	empty bool
}

// Fetch starts the FETCH response of a message.
func (e *Encoder) Fetch(seq uint32) FetchWriter {
	dst := append(e.start(), '*', ' ')
	dst = strconv.AppendUint(dst, uint64(seq), 10)
	e.buf = append(dst, " FETCH ("...)
	return FetchWriter{e: e, empty: true}
}

// item starts an item and returns the buffer.
func (f *FetchWriter) item(name string) []byte {
	f.checkLiteral()
	dst := f.e.start()
	if !f.empty {
		dst = append(dst, ' ')
	}
	f.empty = false
	if name == "" {
		return dst
	}
	return append(append(dst, name...), ' ')
}

// checkLiteral makes sure that the literal before was ended.
func (f *FetchWriter) checkLiteral() {
	if f.e.lit.open {
		f.e.lit.Close()
	}
}

// End ends the response.
func (f *FetchWriter) End() {
	f.checkLiteral()
	f.e.line(append(f.e.start(), ')'))
}

// UID writes the UID.
func (f *FetchWriter) UID(uid uint32) {
	f.e.buf = strconv.AppendUint(f.item("UID"), uint64(uid), 10)
}

// Flags writes the flags.
func (f *FetchWriter) Flags(flags []string) {
	f.e.buf = AppendFlags(f.item("FLAGS"), flags)
}

// ModSeq writes the mod-sequence.
func (f *FetchWriter) ModSeq(modseq uint64) {
	dst := append(f.item("MODSEQ"), '(')
	f.e.buf = append(strconv.AppendUint(dst, modseq, 10), ')')
}

// InternalDate writes the internal date in t's time zone.
func (f *FetchWriter) InternalDate(t time.Time) {
	f.e.buf = AppendDateTime(f.item("INTERNALDATE"), t)
}

// Size writes RFC822.SIZE.
func (f *FetchWriter) Size(n int64) {
	f.e.buf = strconv.AppendInt(f.item("RFC822.SIZE"), n, 10)
}

// SaveDate writes SAVEDATE; NIL for the zero time.
func (f *FetchWriter) SaveDate(t time.Time) {
	f.e.buf = AppendSaveDate(f.item("SAVEDATE"), t)
}

// EmailID writes EMAILID (RFC 8474).
func (f *FetchWriter) EmailID(id string) {
	f.e.buf = append(AppendAtom(append(f.item("EMAILID"), '('), id), ')')
}

// ThreadID writes THREADID; NIL for an empty id (RFC 8474).
func (f *FetchWriter) ThreadID(id string) {
	dst := f.item("THREADID")
	if id == "" {
		f.e.buf = AppendNil(dst)
		return
	}
	f.e.buf = append(AppendAtom(append(dst, '('), id), ')')
}

// Preview writes PREVIEW; NIL when there is none (RFC 8970).
func (f *FetchWriter) Preview(text string, ok bool) {
	dst := f.item("PREVIEW")
	if !ok {
		f.e.buf = AppendNil(dst)
		return
	}
	f.e.took(AppendString(dst, text, f.e.utf8))
}

// Raw writes an item whose value is in wire form already, such as a stored
// ENVELOPE or BODYSTRUCTURE. The value is not checked.
func (f *FetchWriter) Raw(kind FetchKind, value []byte) {
	f.e.took(append(f.item(fetchNames[kind]), value...))
}

// BinarySize writes the size of a decoded part (RFC 3516).
func (f *FetchWriter) BinarySize(item *FetchItem, n int64) {
	dst := append(item.AppendName(f.item("")), ' ')
	f.e.buf = strconv.AppendInt(dst, n, 10)
}

// Nil writes that a section does not exist.
func (f *FetchWriter) Nil(item *FetchItem) {
	f.e.buf = AppendNil(append(item.AppendName(f.item("")), ' '))
}

// Literal starts a section of size octets. The caller writes exactly so many
// and closes the writer, which is valid until the next item.
func (f *FetchWriter) Literal(item *FetchItem, size int64) *LiteralWriter {
	dst := append(item.AppendName(f.item("")), ' ')
	f.e.took(AppendLiteralHeader(dst, size))
	return f.e.literal(size)
}

// Literal8 is Literal for data that may have NUL octets: a decoded part of
// BINARY (RFC 3516).
func (f *FetchWriter) Literal8(item *FetchItem, size int64) *LiteralWriter {
	dst := append(item.AppendName(f.item("")), ' ', '~')
	f.e.took(AppendLiteralHeader(dst, size))
	return f.e.literal(size)
}
