package bench

import (
	"bytes"
	"fmt"
)

// A tally counts how often each message of a corpus came back.
type tally struct {
	counts []uint16
	bytes  int64 // octets of the literals read
}

func newTally(messages int) *tally { return &tally{counts: make([]uint16, messages)} }

func (t *tally) add(serial int) error {
	if serial >= len(t.counts) {
		return fmt.Errorf("message %d came back, but only %d were sent", serial, len(t.counts))
	}
	t.counts[serial]++
	return nil
}

// each checks that every message came back exactly want times.
func (t *tally) each(want int) error {
	for serial, n := range t.counts {
		if int(n) != want {
			return fmt.Errorf("message %d of %d came back %d times, not %d", serial, len(t.counts), n, want)
		}
	}
	return nil
}

// A bodyReader fetches whole messages and compares every octet with the corpus while it reads.
type bodyReader struct {
	c      *imapConn
	corpus *Corpus
	tally  *tally
}

// fetch reads all messages of set ("1:*") and returns how many there were.
func (b *bodyReader) fetch(set string) (int, error) {
	tag, err := b.c.send("FETCH " + set + " BODY.PEEK[]")
	if err != nil {
		return 0, fmt.Errorf("send FETCH: %w", err)
	}
	batch := b.c.batch(b.coming(set))
	defer batch.end()
	messages := 0
	for {
		line, err := b.c.line()
		if err != nil {
			return messages, fmt.Errorf("read the answer to FETCH: %w", err)
		}
		if size, ok := literalSize(line); ok {
			batch.got(size)
			if !bytes.Contains(line, []byte("BODY[] {")) {
				return messages, fmt.Errorf("FETCH: a literal that was not asked for: %q", line)
			}
			if err := b.compare(size); err != nil {
				return messages, fmt.Errorf("message %d of the mailbox: %w", messages+1, err)
			}
			messages++
			continue
		}
		if done, err := tagged(line, tag, "FETCH"); done || err != nil {
			return messages, err
		}
	}
}

// coming is what a mailbox with the whole corpus in it gives at least. Of a part of it nothing is known.
func (b *bodyReader) coming(set string) int64 {
	if set != "1:*" || b.c.exists < b.corpus.Len() {
		return 0
	}
	return b.corpus.Bytes()
}

// headLimit is how much a server may put before a message.
const headLimit = 16 << 10

// compare reads one literal of size octets.
func (b *bodyReader) compare(size int) error {
	head, err := b.c.r.Peek(min(size, headLimit))
	if err != nil {
		return fmt.Errorf("read a message: %w", err)
	}
	at, digits := findID(head)
	if at < 0 {
		return fmt.Errorf("not a message of this run: it begins %.200q", head)
	}
	if err := prepended(head[:at]); err != nil {
		return err
	}
	serial, ok := b.corpus.serial(digits)
	if !ok {
		return fmt.Errorf("message %s is of another run: the mailbox was not empty", digits)
	}
	want := b.corpus.Content(serial)
	if size-at != len(want) {
		return fmt.Errorf("message %d has %d octets, sent were %d", serial, size-at, len(want))
	}
	b.tally.bytes += int64(size)
	if _, err := b.c.r.Discard(at + idLine); err != nil {
		return fmt.Errorf("read a message: %w", err)
	}
	for done := idLine; done < len(want); {
		if b.c.r.Buffered() == 0 {
			if _, err := b.c.r.Peek(1); err != nil {
				return fmt.Errorf("read a message: %w", err)
			}
		}
		n := min(b.c.r.Buffered(), len(want)-done)
		got, _ := b.c.r.Peek(n)
		if !bytes.Equal(got, want[done:done+n]) {
			return fmt.Errorf("message %d differs from what was sent between octets %d and %d", serial, done, done+n)
		}
		b.c.r.Discard(n)
		done += n
	}
	return b.tally.add(serial)
}

// prepended checks that the server added nothing but the fields that a delivery adds.
func prepended(head []byte) error {
	for len(head) > 0 {
		end := bytes.IndexByte(head, '\n') + 1
		if end == 0 {
			return fmt.Errorf("something that is not a header field was added: %q", head)
		}
		line := head[:end]
		head = head[end:]
		switch {
		case line[0] == ' ' || line[0] == '\t':
		case hasFieldName(line, "Return-Path"), hasFieldName(line, "Delivered-To"), hasFieldName(line, "Received"):
		default:
			return fmt.Errorf("a field was added that is none of Return-Path, Delivered-To, Received: %q", line)
		}
	}
	return nil
}

func hasFieldName(line []byte, name string) bool {
	return len(line) > len(name) && line[len(name)] == ':' && bytes.EqualFold(line[:len(name)], []byte(name))
}

// metaFields are the header fields that a mail client asks for to show a list.
var metaFields = []string{"From", "To", "Subject", "Date", "Message-ID", "References"}

const metaItems = "(ENVELOPE BODYSTRUCTURE BODY.PEEK[HEADER.FIELDS (FROM TO SUBJECT DATE MESSAGE-ID REFERENCES)])"

// metaHeader is what a server must answer for metaFields: the fields as they stand, in their order, and an empty line.
func metaHeader(content []byte) []byte {
	var out []byte
	keep := false
	for len(content) > 0 {
		end := bytes.IndexByte(content, '\n') + 1
		line := content[:end]
		content = content[end:]
		if len(line) == 2 {
			break
		}
		if line[0] != ' ' && line[0] != '\t' {
			keep = false
			for _, name := range metaFields {
				keep = keep || hasFieldName(line, name)
			}
		}
		if keep {
			out = append(out, line...)
		}
	}
	return append(out, '\r', '\n')
}

// A metaReader fetches what a list of messages needs, and compares it with the corpus.
type metaReader struct {
	c       *imapConn
	corpus  *Corpus
	headers [][]byte // metaHeader of each message
	tally   *tally
	text    []byte // one response, without the literal of the header fields
	serial  int    // of the response being read; -1 before its header was seen
}

func newMetaReader(c *imapConn, corpus *Corpus) *metaReader {
	m := &metaReader{c: c, corpus: corpus, headers: make([][]byte, corpus.Len()), tally: newTally(corpus.Len()), serial: -1}
	for i := range m.headers {
		m.headers[i] = metaHeader(corpus.Content(i))
	}
	return m
}

func (m *metaReader) fetch(set string) (int, error) {
	tag, err := m.c.send("FETCH " + set + " " + metaItems)
	if err != nil {
		return 0, fmt.Errorf("send FETCH: %w", err)
	}
	messages := 0
	for {
		line, err := m.c.line()
		if err != nil {
			return messages, fmt.Errorf("read the answer to FETCH: %w", err)
		}
		if len(m.text) == 0 {
			if done, err := tagged(line, tag, "FETCH"); done || err != nil {
				return messages, err
			}
			if !bytes.Contains(line[:min(len(line), 30)], []byte(" FETCH (")) {
				continue
			}
		}
		m.text = append(m.text, line...)
		m.tally.bytes += int64(len(line))
		if size, ok := literalSize(line); ok {
			if err := m.literal(line, size); err != nil {
				return messages, err
			}
			continue
		}
		messages++
		if err := m.endOfResponse(); err != nil {
			return messages, fmt.Errorf("message %d of the mailbox: %w", messages, err)
		}
	}
}

// literal reads one literal: the header fields, or a string of the envelope.
func (m *metaReader) literal(line []byte, size int) error {
	if size > readBuffer {
		return fmt.Errorf("FETCH: a literal of %d octets where header fields were asked for", size)
	}
	isHeader := bytes.Contains(line, []byte("BODY[HEADER.FIELDS"))
	got, err := m.c.r.Peek(size)
	if err != nil {
		return fmt.Errorf("read a literal: %w", err)
	}
	m.tally.bytes += int64(size)
	if isHeader {
		_, digits := findID(got)
		serial, ok := m.corpus.serial(digits)
		if !ok || serial >= len(m.headers) {
			return fmt.Errorf("the header is of no message of this run: %.200q", got)
		}
		if !bytes.Equal(got, m.headers[serial]) {
			return fmt.Errorf("header fields of message %d are %q, sent were %q", serial, got, m.headers[serial])
		}
		m.serial = serial
	} else {
		m.text = append(m.text, got...)
	}
	m.c.r.Discard(size)
	return nil
}

func (m *metaReader) endOfResponse() error {
	text, serial := m.text, m.serial
	m.text, m.serial = m.text[:0], -1
	if serial < 0 {
		return fmt.Errorf("no header fields in %.300q", text)
	}
	id := m.corpus.id(serial)
	_, envelope, ok := bytes.Cut(text, []byte("ENVELOPE ("))
	if !ok || !bytes.Contains(envelope, id[:]) {
		return fmt.Errorf("no envelope with the Message-ID of message %d in %.300q", serial, text)
	}
	if !bytes.Contains(text, []byte("BODYSTRUCTURE (")) {
		return fmt.Errorf("no body structure of message %d in %.300q", serial, text)
	}
	return m.tally.add(serial)
}
