package mailbox

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"time"

	"mallard/internal/mail"
	"mallard/internal/message"
	"mallard/internal/search"
	"mallard/internal/store"
)

// document shows a message of the store to a search.
type document struct {
	row  *store.Row
	rec  search.Record
	sum  *message.Summary
	text *textReader
}

func (d *document) Record() *search.Record { return &d.rec }

func (d *document) ThreadID() (mail.ThreadID, error) { return d.row.ThreadID, nil }

func (d *document) summary() (*message.Summary, error) {
	if d.sum != nil {
		return d.sum, nil
	}
	var err error
	d.sum, err = decodeSummary(d.row.Summary)
	return d.sum, err
}

func decodeSummary(b []byte) (*message.Summary, error) {
	sum, err := message.DecodeSummary(b)
	if err != nil {
		return nil, mail.WrapError(mail.CodeCorrupt, "A message is damaged in the store", fmt.Errorf("decode summary: %w", err))
	}
	return sum, nil
}

func (d *document) HasAttachment() (bool, error) {
	sum, err := d.summary()
	if err != nil {
		return false, err
	}
	return sum.HasAttachments, nil
}

func (d *document) SentDate() (time.Time, error) {
	sum, err := d.summary()
	if err != nil {
		return time.Time{}, err
	}
	return sum.Date, nil
}

func (d *document) Header(field string) ([]string, error) {
	return headerValues(d.row.Header, field), nil
}

func headerValues(header []byte, field string) []string {
	var out []string
	for f := range message.Fields(header) {
		if strings.EqualFold(string(f.Name), field) {
			out = append(out, message.DecodeHeader(f.Value))
		}
	}
	return out
}

func (d *document) HeaderText() (string, error) {
	return string(message.AppendHeaderText(nil, d.row.Header)), nil
}

func (d *document) Text() (io.ReadCloser, error) {
	b, err := d.row.Open()
	if err != nil {
		return nil, err
	}
	defer b.Close()
	return d.text.read(b, d.row.PrefixLen)
}

// textReader parses messages once more and collects what the parser takes for
// text: the very text that was indexed when the message came. It is used again
// for all messages of a search; it holds no more than message.Limits.TextBytes.
type textReader struct {
	parser *message.Parser
	text   bytes.Buffer
}

func (t *textReader) read(b store.Body, from int64) (io.ReadCloser, error) {
	if t.parser == nil {
		t.parser = message.NewParser(message.Limits{})
		t.parser.Text = func(_ message.TextKind, _ *message.Part, utf8 []byte) { t.text.Write(utf8) }
	}
	t.parser.Reset()
	t.text.Reset()
	if err := b.WriteRange(t.parser, from, b.Size()-from); err != nil {
		return nil, fmt.Errorf("read text: %w", err)
	}
	if _, err := t.parser.Close(); err != nil {
		return nil, fmt.Errorf("read text: %w", err)
	}
	return io.NopCloser(&t.text), nil
}
