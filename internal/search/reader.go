package search

import (
	"errors"
	"fmt"
	"io"
)

// A reader reads a document for a Program, each thing once at most where that is dear. Its buffers are used again.
type reader struct {
	doc     Document
	rec     *Record
	needles []*needle
	memo    []Tri // of the leaves above the record
	err     error // the first

	folder Folder
	chunk  []byte
	folded []byte

	headerText []byte // folded, when headerRead and no headerErr
	headerRead bool
	headerErr  error

	finder   Finder // of the needles in the text, when textRead
	textRead bool
	textErr  error
}

const (
	chunkSize = 16 << 10  // how much of a text is read at once, in octets
	maxKept   = 256 << 10 // the largest buffer that is kept for the next document
	maxIdle   = 100       // how often a text may give nothing before it is given up
)

// reset forgets the document.
func (d *reader) reset() {
	d.doc, d.rec, d.err = nil, nil, nil
	d.headerRead, d.headerErr = false, nil
	d.textRead, d.textErr = false, nil
	clear(d.memo)
	for _, buf := range []*[]byte{&d.chunk, &d.folded, &d.headerText} {
		if cap(*buf) > maxKept {
			*buf = nil
		}
	}
}

// decide decides a condition about the document with data up to the level. A condition about header or text may stay
// Unknown at the level of the header.
func (d *reader) decide(n *node, l level) Tri {
	switch n.op {
	case opThreadID:
		id, err := d.doc.ThreadID()
		return d.known(id == n.thread, "thread id", err)
	case opHasAttachment:
		has, err := d.doc.HasAttachment()
		return d.known(has, "attachments", err)
	case opSentDate:
		date, err := d.doc.SentDate()
		if date.IsZero() {
			date = d.rec.InternalDate
		}
		return d.known(n.compare.holds(DayOf(date), n.day), "date", err)
	case opHeader:
		values, err := d.doc.Header(n.str)
		return d.known(err == nil && d.anyContains(values, n.needle), "header", err)
	case opBody:
		return d.inText(n)
	}
	inHeader := d.inHeader(n) // opText
	if inHeader == Yes || l < levelText {
		return max(inHeader, Unknown)
	}
	return max(inHeader, d.inText(n))
}

// known turns what was read, or not, into a truth value.
func (d *reader) known(yes bool, what string, err error) Tri {
	if err == nil {
		return tri(yes)
	}
	if d.err == nil {
		d.err = fmt.Errorf("read %s: %w", what, err)
	}
	return Unknown
}

func (d *reader) fold(dst []byte, s string) []byte {
	d.chunk = append(d.chunk[:0], s...)
	return d.folder.Flush(d.folder.Append(dst, d.chunk))
}

func (d *reader) anyContains(values []string, n *needle) bool {
	for _, v := range values {
		d.folded = d.fold(d.folded[:0], v)
		if n.in(d.folded) {
			return true
		}
	}
	return false
}

func (d *reader) inHeader(n *node) Tri {
	if !d.headerRead {
		d.headerRead = true
		d.readHeader()
	}
	return d.known(d.headerErr == nil && n.needle.in(d.headerText), "header", d.headerErr)
}

func (d *reader) readHeader() {
	if folded, ok := d.doc.(FoldedDocument); ok {
		var text []byte
		if text, d.headerErr = folded.FoldedHeader(); d.headerErr == nil {
			d.headerText = append(d.headerText[:0], text...)
		}
		return
	}
	var text string
	if text, d.headerErr = d.doc.HeaderText(); d.headerErr == nil {
		d.headerText = d.fold(d.headerText[:0], text)
	}
}

// inText looks for all needles of the query at once, the first time.
func (d *reader) inText(n *node) Tri {
	if !d.textRead {
		d.textRead = true
		d.finder.reset(d.needles)
		d.textErr = d.scanText()
	}
	if d.finder.Found(n.text) {
		return Yes
	}
	return d.known(false, "text", d.textErr)
}

// scanText gives the text to the finder, until every needle was found.
func (d *reader) scanText() error {
	if folded, ok := d.doc.(FoldedDocument); ok {
		text, err := folded.FoldedText()
		if err == nil {
			_, _ = d.finder.Write(text)
		}
		return err
	}
	text, err := d.doc.Text()
	if err != nil {
		return err
	}
	if err := d.scan(text); err != nil {
		return errors.Join(err, text.Close())
	}
	return text.Close()
}

func (d *reader) scan(text io.Reader) error {
	if cap(d.chunk) < chunkSize {
		d.chunk = make([]byte, chunkSize)
	}
	chunk := d.chunk[:chunkSize]
	defer d.folder.Reset()
	for idle := 0; !d.finder.Done(); {
		n, err := text.Read(chunk)
		d.folded = d.folder.Append(d.folded[:0], chunk[:n])
		_, _ = d.finder.Write(d.folded)
		if err == io.EOF { // itself: one that is wrapped is a failure
			d.folded = d.folder.Flush(d.folded[:0])
			_, _ = d.finder.Write(d.folded)
			return nil
		}
		if err != nil {
			return err
		}
		if idle++; n > 0 {
			idle = 0
		}
		if idle == maxIdle {
			return io.ErrNoProgress
		}
	}
	return nil
}
