package bench

import (
	"fmt"
	"math/rand/v2"
)

type attachmentKind int

const (
	kindPDF attachmentKind = iota
	kindJPEG
	kindOffice
	kindCSV
	kindCalendar
)

// An attachment is a file as it stands in a message: the header of its part, and its base64 lines.
type attachment struct {
	header  string
	encoded []byte
}

var attachmentTypes = map[attachmentKind]struct{ contentType, suffix string }{
	kindPDF:      {"application/pdf", "pdf"},
	kindJPEG:     {"image/jpeg", "jpg"},
	kindOffice:   {"application/vnd.openxmlformats-officedocument.wordprocessingml.document", "docx"},
	kindCSV:      {"text/csv; charset=utf-8", "csv"},
	kindCalendar: {"application/ics", "ics"},
}

func (g *generator) newAttachment(rng *rand.Rand, kind attachmentKind, size int) attachment {
	t := attachmentTypes[kind]
	name := fmt.Sprintf("%s-%04d.%s", g.vocab.word(rng), rng.IntN(10000), t.suffix)
	var data []byte
	switch kind {
	case kindPDF:
		data = g.pdf(rng, size)
	case kindJPEG:
		data = append([]byte("\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00H\x00H\x00\x00"), randomBytes(rng, size)...)
	case kindOffice:
		data = append([]byte("PK\x03\x04\x14\x00\x06\x00\x08\x00\x00\x00!\x00"), randomBytes(rng, size)...)
	case kindCSV:
		data = g.table(rng, size)
	case kindCalendar:
		data = g.calendar(rng, size)
	}
	return attachment{
		header:  fmt.Sprintf("Content-Type: %s;\r\n\tname=\"%s\"\r\nContent-Disposition: attachment;\r\n\tfilename=\"%s\"; size=%d\r\nContent-Transfer-Encoding: base64\r\n\r\n", t.contentType, name, name, len(data)),
		encoded: appendBase64(make([]byte, 0, len(data)/57*78+80), data),
	}
}

// A PDF is compressed streams between objects of text: nine tenths cannot be compressed again.
func (g *generator) pdf(rng *rand.Rand, size int) []byte {
	b := append(make([]byte, 0, size+4096), "%PDF-1.7\n%\xe2\xe3\xcf\xd3\n"...)
	for n := 1; len(b) < size; n++ {
		stream := randomBytes(rng, min(1500+rng.IntN(8000), max(size-len(b), 64)))
		b = fmt.Appendf(b, "%d 0 obj\n<< /Type /XObject /Filter /FlateDecode /Length %d /Resources << /ProcSet [ /PDF /Text /ImageB ] /Font << /F1 %d 0 R >> >> >>\nstream\n", n, len(stream), n+1)
		b = append(b, stream...)
		b = append(b, "\nendstream\nendobj\n"...)
	}
	return append(b, "trailer\n<< /Root 1 0 R >>\n%%EOF\n"...)
}

func (g *generator) table(rng *rand.Rand, size int) []byte {
	b := append(make([]byte, 0, size+200), "date;customer;article;quantity;price;remark\n"...)
	for len(b) < size {
		b = fmt.Appendf(b, "2024-%02d-%02d;%06d;%s;%d;%d.%02d;", 1+rng.IntN(12), 1+rng.IntN(28), rng.IntN(1000000), g.vocab.word(rng), 1+rng.IntN(20), rng.IntN(500), rng.IntN(100))
		b = append(b, g.vocab.word(rng)...)
		b = append(b, '\n')
	}
	return b
}

func (g *generator) calendar(rng *rand.Rand, size int) []byte {
	b := append(make([]byte, 0, size+400), "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//Example//EN\r\n"...)
	for len(b) < size {
		b = fmt.Appendf(b, "BEGIN:VEVENT\r\nUID:%016x@example.net\r\nDTSTAMP:2024%02d%02dT080000Z\r\nDTSTART:2024%02d%02dT090000Z\r\nSUMMARY:", rng.Uint64(), 1+rng.IntN(12), 1+rng.IntN(28), 1+rng.IntN(12), 1+rng.IntN(28))
		b = g.vocab.appendSentence(b, rng)
		b = append(b, "\r\nEND:VEVENT\r\n"...)
	}
	return append(b, "END:VCALENDAR\r\n"...)
}

// ownAttachments gives one to three files that no other message has, of about size octets in all once encoded.
func (m *composer) ownAttachments(size int) []attachment {
	r := m.rng
	n := 1
	if size > 20_000 {
		n += r.IntN(3)
	}
	var files []attachment
	for range n {
		kind := kindCSV
		switch d := r.IntN(100); {
		case d < 35:
			kind = kindPDF
		case d < 65:
			kind = kindJPEG
		case d < 85:
			kind = kindOffice
		case d < 95:
			kind = kindCSV
		default:
			kind = kindCalendar
		}
		files = append(files, m.g.newAttachment(r, kind, size/n*57/78))
	}
	return files
}
