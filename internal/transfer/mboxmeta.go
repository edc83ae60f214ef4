package transfer

import (
	"bytes"
	"iter"
	netmail "net/mail"
	"strconv"
	"strings"
	"time"

	"mallard/internal/mail"
)

// mboxMeta is what programs write into the header of a message in an mbox file.
type mboxMeta struct {
	rest     []byte // the header without that
	sys      mail.SystemFlags
	keywords []string
	date     time.Time // of the Date field
	internal bool      // it is no message
	expunged bool      // it was deleted and is still in the file
	own      bool      // written by this package
}

func (m *mboxMeta) flags() mail.Flags { return mail.NewFlags(m.sys, m.keywords...) }

// headerFields yields the fields of a header: name and unfolded value.
func headerFields(header []byte) iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for raw := range rawFields(header) {
			name, value, ok := bytes.Cut(raw, []byte(":"))
			if !ok {
				continue
			}
			if !yield(string(bytes.TrimRight(name, " \t")), unfold(value)) {
				return
			}
		}
	}
}

func unfold(value []byte) string {
	return strings.TrimSpace(strings.NewReplacer("\r\n", "", "\n", "").Replace(string(value)))
}

// rawFields yields the lines of a header, continuation lines with the line that
// they belong to.
func rawFields(header []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for len(header) > 0 {
			end := 0
			for {
				i := bytes.IndexByte(header[end:], '\n')
				if i < 0 {
					end = len(header)
					break
				}
				end += i + 1
				if end == len(header) || header[end] != ' ' && header[end] != '\t' {
					break
				}
			}
			if !yield(header[:end]) {
				return
			}
			header = header[end:]
		}
	}
}

// isOwn reports whether a header is that of a message that mboxWriter wrote.
func isOwn(header []byte) bool { return bytes.HasPrefix(header, []byte(ownField+":")) }

// readMeta takes the fields out of a header that are about the message in its
// file and not of the message. counted says that Content-Length is one of them.
func readMeta(header []byte, counted bool) mboxMeta {
	m := mboxMeta{own: isOwn(header)}
	if m.own {
		m.readOwn(header)
		return m
	}
	m.rest = make([]byte, 0, len(header))
	subject, imap := "", false
	for raw := range rawFields(header) {
		name, value, _ := bytes.Cut(raw, []byte(":"))
		text := unfold(value)
		switch field := strings.ToLower(string(bytes.TrimRight(name, " \t"))); field {
		case "x-imap", "x-imapbase":
			imap = true
			continue
		case "content-length":
			if counted {
				continue
			}
		case "date":
			if t, err := netmail.ParseDate(text); err == nil && m.date.IsZero() {
				m.date = t
			}
		case "subject":
			subject = text
		default:
			if m.take(field, text) {
				continue
			}
		}
		m.rest = append(m.rest, raw...)
	}
	m.internal = imap && strings.HasPrefix(subject, "DON'T DELETE THIS MESSAGE")
	return m
}

// take reads a field about the message in its file and reports whether it is one.
func (m *mboxMeta) take(field, text string) bool {
	switch field {
	case "status", "x-status":
		m.status(text)
	case "x-keywords", "x-mozilla-keys":
		m.addKeywords(text)
	case "x-mozilla-status":
		m.mozilla(text)
	case "x-uid", "x-mozilla-status2":
	default:
		return false
	}
	return true
}

// ownFields is how many fields mboxWriter writes.
const ownFields = 4

// readOwn takes away the fields that mboxWriter wrote.
func (m *mboxMeta) readOwn(header []byte) {
	m.rest = header
	for range ownFields {
		line, rest, _ := bytes.Cut(m.rest, []byte("\n"))
		name, value, _ := bytes.Cut(line, []byte(":"))
		m.take(strings.ToLower(string(name)), unfold(value))
		m.rest = rest
	}
}

// status reads the letters of Status and X-Status.
func (m *mboxMeta) status(letters string) {
	for _, c := range letters {
		switch c {
		case 'R':
			m.sys |= mail.Seen
		case 'A':
			m.sys |= mail.Answered
		case 'F':
			m.sys |= mail.Flagged
		case 'D':
			m.sys |= mail.Deleted
		case 'T':
			m.sys |= mail.Draft
		}
	}
}

func (m *mboxMeta) addKeywords(text string) {
	for _, k := range strings.FieldsFunc(text, func(r rune) bool { return r == ' ' || r == ',' || r == '\t' }) {
		if mail.ValidKeyword(k) == nil && len(m.keywords) < mail.MaxKeywords {
			m.keywords = append(m.keywords, k)
		}
	}
}

// mozilla reads the bits of Thunderbird.
func (m *mboxMeta) mozilla(text string) {
	bits, err := strconv.ParseUint(text, 16, 32)
	if err != nil {
		return
	}
	for _, b := range []struct {
		bit  uint64
		flag mail.SystemFlags
	}{{0x1, mail.Seen}, {0x2, mail.Answered}, {0x4, mail.Flagged}} {
		if bits&b.bit != 0 {
			m.sys |= b.flag
		}
	}
	m.expunged = bits&0x8 != 0
	if bits&0x1000 != 0 {
		m.addKeywords(forwarded)
	}
}
