package imap

import (
	"bytes"
	"fmt"

	"mallard/internal/imap/imapwire"
	"mallard/internal/message"
	"mallard/internal/store"
)

// source gives the content of the message of a row, opened and decoded once.
type source struct {
	row     *store.Row
	body    store.Body
	decoded *message.Message
	summary *message.Summary
}

func (s *source) close() {
	if s.body != nil {
		_ = s.body.Close() // nothing was written to it
	}
}

func (s *source) open() (store.Body, error) {
	if s.body == nil {
		b, err := s.row.Open()
		if err != nil {
			return nil, err
		}
		s.body = b
	}
	return s.body, nil
}

func (s *source) tree() (*message.Message, error) {
	if s.decoded == nil {
		m, err := message.DecodeTree(s.row.Tree)
		if err != nil {
			return nil, corrupt("structure", err)
		}
		s.decoded = m
	}
	return s.decoded, nil
}

func (s *source) summarize() error {
	sum, err := message.DecodeSummary(s.row.Summary)
	if err != nil {
		return corrupt("summary", err)
	}
	s.summary = sum
	return nil
}

// headerEnd is where the header of the message ends, prefix included. The row
// holds the whole header unless it is larger than the parser keeps.
func (s *source) headerEnd() (int64, error) {
	n := int64(len(s.row.Header))
	if n < int64(message.DefaultLimits().MaxHeaderBytes) {
		return n, nil
	}
	if s.row.Tree == nil {
		return s.findHeaderEnd()
	}
	m, err := s.tree()
	if err != nil {
		return 0, err
	}
	return s.row.PrefixLen + m.HeaderEnd, nil
}

// findHeaderEnd reads the message up to the empty line behind a huge header.
func (s *source) findHeaderEnd() (int64, error) {
	b, err := s.open()
	if err != nil {
		return 0, err
	}
	p := message.NewParser(message.Limits{MaxHeaderBytes: 1, MaxParts: 1})
	if err := b.WriteRange(p, s.row.PrefixLen, b.Size()-s.row.PrefixLen); err != nil {
		return 0, err
	}
	m, err := p.Close()
	if err != nil {
		return 0, err
	}
	return s.row.PrefixLen + m.HeaderEnd, nil
}

// extent is where the text of an item is.
type extent struct {
	missing    bool   // there is no such section
	header     bool   // data holds all of it
	data       []byte // header text: the fields are picked from it when it is written
	start, end int64  // else these octets of the message, prefix included
}

// locate finds the text of BODY[...] and its older forms and makes sure that it
// can be read.
func (f *fetching) locate(item *imapwire.FetchItem, src *source) (extent, error) {
	sec := item.Section
	switch item.Kind {
	case imapwire.FetchRFC822Header:
		sec.Kind = imapwire.SectionHeader
	case imapwire.FetchRFC822Text:
		sec.Kind = imapwire.SectionText
	default:
	}
	picked := sec.Kind == imapwire.SectionHeaderFields || sec.Kind == imapwire.SectionHeaderFieldsNot
	if picked && len(sec.Part) == 0 {
		return extent{header: true, data: src.row.Header}, nil
	}
	x, err := f.extent(&sec, src)
	if err != nil || x.missing {
		return x, err
	}
	if sec.Kind == imapwire.SectionHeader && len(sec.Part) == 0 && x.end == int64(len(src.row.Header)) {
		return extent{header: true, data: src.row.Header}, nil
	}
	x.header = picked
	if x.start == x.end {
		return x, nil
	}
	b, err := src.open()
	if err != nil {
		return x, err
	}
	if x.start > x.end || x.end > b.Size() {
		return x, corrupt("structure", errSectionRange)
	}
	if picked {
		x.data, err = readHeader(b, x.start, x.end)
	}
	return x, err
}

// section writes the text of an item.
func (f *fetching) section(w *imapwire.FetchWriter, item *imapwire.FetchItem, x *extent, src *source) error {
	if x.missing {
		w.Nil(item)
		return nil
	}
	if kind := item.Section.Kind; x.header && (kind == imapwire.SectionHeaderFields || kind == imapwire.SectionHeaderFieldsNot) {
		not := kind == imapwire.SectionHeaderFieldsNot
		f.buf = message.AppendHeaderFields(f.buf[:0], x.data, item.Section.Fields, not)
		return f.literal(w, item, f.buf)
	}
	if x.header {
		return f.literal(w, item, x.data)
	}
	start, end := cut(x.start, x.end, item.Partial)
	lit := w.Literal(item, end-start)
	if start < end {
		f.sent += end - start
		if err := src.body.WriteRange(lit, start, end-start); err != nil {
			return err
		}
	}
	return lit.Close()
}

// extent finds a section as octets of the message, prefix included.
func (f *fetching) extent(sec *imapwire.Section, src *source) (x extent, err error) {
	if len(sec.Part) == 0 {
		x.end = src.row.Size
		switch sec.Kind {
		case imapwire.SectionHeader:
			x.end, err = src.headerEnd()
		case imapwire.SectionText:
			x.start, err = src.headerEnd()
		default:
		}
		return x, err
	}
	m, err := src.tree()
	if err != nil {
		return x, err
	}
	path := make([]int, len(sec.Part))
	for i, n := range sec.Part {
		path[i] = int(n)
	}
	start, end, ok := m.SectionRange(path, sectionKind(sec.Kind))
	return extent{start: start + src.row.PrefixLen, end: end + src.row.PrefixLen, missing: !ok}, nil
}

func sectionKind(k imapwire.SectionKind) message.SectionKind {
	switch k {
	case imapwire.SectionHeader, imapwire.SectionHeaderFields, imapwire.SectionHeaderFieldsNot:
		return message.SectionHeader
	case imapwire.SectionText:
		return message.SectionText
	case imapwire.SectionMIME:
		return message.SectionMIME
	default:
		return message.SectionBody
	}
}

// cut applies <offset.length> (RFC 3501, 6.4.5). What lies beyond the end is empty.
func cut(start, end int64, p *imapwire.Partial) (int64, int64) {
	if p == nil {
		return start, end
	}
	size := uint64(end - start)
	from := min(p.Offset, size)
	n := size - from
	if p.Length > 0 {
		n = min(n, p.Length)
	}
	return start + int64(from), start + int64(from+n)
}

// literal writes octets that are in memory.
func (f *fetching) literal(w *imapwire.FetchWriter, item *imapwire.FetchItem, p []byte) error {
	from, to := cut(0, int64(len(p)), item.Partial)
	lit := w.Literal(item, to-from)
	if _, err := lit.Write(p[from:to]); err != nil {
		return err
	}
	return lit.Close()
}

// readHeader reads the header of an embedded message, as much of it as the parser
// looks at in the header of a message.
func readHeader(b store.Body, start, end int64) ([]byte, error) {
	n := min(end-start, int64(message.DefaultLimits().MaxHeaderBytes))
	var buf bytes.Buffer
	if err := b.WriteRange(&buf, start, n); err != nil {
		return nil, fmt.Errorf("read embedded header: %w", err)
	}
	return buf.Bytes(), nil
}
