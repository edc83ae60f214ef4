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

// readMeta takes the fields out of a header that are about the message in its
// file and not of the message.
func readMeta(header []byte) mboxMeta {
	m := mboxMeta{rest: make([]byte, 0, len(header))}
	subject, imap := "", false
	for raw := range rawFields(header) {
		name, value, _ := bytes.Cut(raw, []byte(":"))
		text := unfold(value)
		switch strings.ToLower(string(bytes.TrimRight(name, " \t"))) {
		case "status", "x-status":
			m.status(text)
			continue
		case "x-keywords":
			m.addKeywords(text)
			continue
		case "x-mozilla-keys":
			m.addKeywords(text)
			continue
		case "x-mozilla-status":
			m.mozilla(text)
			continue
		case "x-imap", "x-imapbase":
			imap = true
			continue
		case "x-uid", "content-length", "x-mozilla-status2":
			continue
		case "date":
			if t, err := netmail.ParseDate(text); err == nil && m.date.IsZero() {
				m.date = t
			}
		case "subject":
			subject = text
		}
		m.rest = append(m.rest, raw...)
	}
	m.internal = imap && strings.HasPrefix(subject, "DON'T DELETE THIS MESSAGE")
	return m
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
