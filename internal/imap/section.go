package imap

import (
	"bytes"
	"fmt"

	"mallard/internal/imap/imapwire"
	"mallard/internal/mail"
	"mallard/internal/message"
	"mallard/internal/store"
)

// source gives the content of the message of a row, opened and decoded once.
type source struct {
	row     *store.Row
	body    store.Body
	decoded *message.Message
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

// section writes BODY[...] and its older forms.
func (f *fetching) section(w *imapwire.FetchWriter, item *imapwire.FetchItem, src *source) error {
	sec := item.Section
	switch item.Kind {
	case imapwire.FetchRFC822Header:
		sec.Kind = imapwire.SectionHeader
	case imapwire.FetchRFC822Text:
		sec.Kind = imapwire.SectionText
	default:
	}
	if sec.Kind == imapwire.SectionHeaderFields || sec.Kind == imapwire.SectionHeaderFieldsNot {
		return f.headerFields(w, item, src)
	}
	if sec.Kind == imapwire.SectionHeader && len(sec.Part) == 0 {
		if end, err := src.headerEnd(); err == nil && end == int64(len(src.row.Header)) {
			return f.literal(w, item, src.row.Header)
		}
	}
	start, end, ok, err := f.extent(&sec, src)
	if err != nil {
		return err
	}
	if !ok {
		w.Nil(item)
		return nil
	}
	start, end = cut(start, end, item.Partial)
	lit := w.Literal(item, end-start)
	if start == end {
		return lit.Close()
	}
	b, err := src.open()
	if err != nil {
		return f.broken(err)
	}
	if end > b.Size() {
		return f.broken(corrupt("structure", errSectionRange))
	}
	if err := b.WriteRange(lit, start, end-start); err != nil {
		return f.broken(err)
	}
	return lit.Close()
}

// broken ends the connection: a literal was announced and cannot be sent, so
// that the client would take what follows for message text.
func (f *fetching) broken(err error) error {
	f.s.log.Error("message text cannot be sent", "error", err)
	f.s.done = true
	return err
}

// extent finds a section as octets of the message, prefix included. ok is false
// when there is no such section.
func (f *fetching) extent(sec *imapwire.Section, src *source) (start, end int64, ok bool, err error) {
	if len(sec.Part) == 0 {
		switch sec.Kind {
		case imapwire.SectionHeader:
			end, err = src.headerEnd()
			return 0, end, true, err
		case imapwire.SectionText:
			start, err = src.headerEnd()
			return start, src.row.Size, true, err
		default:
			return 0, src.row.Size, true, nil
		}
	}
	m, err := src.tree()
	if err != nil {
		return 0, 0, false, err
	}
	path := make([]int, len(sec.Part))
	for i, n := range sec.Part {
		path[i] = int(n)
	}
	start, end, ok = m.SectionRange(path, sectionKind(sec.Kind))
	return start + src.row.PrefixLen, end + src.row.PrefixLen, ok, nil
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

// headerFields writes HEADER.FIELDS and HEADER.FIELDS.NOT.
func (f *fetching) headerFields(w *imapwire.FetchWriter, item *imapwire.FetchItem, src *source) error {
	header := src.row.Header
	if len(item.Section.Part) > 0 {
		start, end, ok, err := f.extent(&item.Section, src)
		if err != nil {
			return err
		}
		if !ok {
			w.Nil(item)
			return nil
		}
		if header, err = readHeader(src, start, end); err != nil {
			return err
		}
	}
	not := item.Section.Kind == imapwire.SectionHeaderFieldsNot
	f.buf = message.AppendHeaderFields(f.buf[:0], header, item.Section.Fields, not)
	return f.literal(w, item, f.buf)
}

// readHeader reads the header of an embedded message, as much of it as the
// parser would look at.
func readHeader(src *source, start, end int64) ([]byte, error) {
	b, err := src.open()
	if err != nil {
		return nil, err
	}
	if end > b.Size() || start > end {
		return nil, corrupt("structure", errSectionRange)
	}
	n := min(end-start, int64(message.DefaultLimits().MaxHeaderBytes))
	var buf bytes.Buffer
	if err := b.WriteRange(&buf, start, n); err != nil {
		return nil, mail.WrapError(mail.CodeOf(err), mail.PublicText(err), fmt.Errorf("read embedded header: %w", err))
	}
	return buf.Bytes(), nil
}
