package transfer

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strconv"
	"strings"
	"time"
)

// maxFromLine is how much of a "From " line is looked at.
const maxFromLine = 512

// indexer finds the messages of an mbox file.
type indexer struct {
	file   io.ReaderAt
	size   int64
	r      *bufio.Reader
	at     int64 // of the next line
	format MboxFormat
	told   int64
	spans  []span
}

// index reads a file from start to end and returns where its messages are. What
// stands before the first "From " line is left out.
func index(file io.ReaderAt, size int64, format MboxFormat, progress func(int64)) ([]span, error) {
	x := &indexer{file: file, size: size, format: format}
	x.seek(0)
	var cur *span
	blank, blankLen := true, int64(0) // the line before was empty, and how long it was
	for {
		start := x.at
		line, whole, err := x.line()
		if len(line) == 0 && errors.Is(err, io.EOF) {
			break
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		progress(x.at - x.told)
		x.told = max(x.told, x.at)
		if whole && blank && isFrom(line, len(x.spans) == 0 && cur == nil) {
			x.finish(cur, start-blankLen)
			cur = &span{start: start, body: x.at}
			if end, ok := x.counted(cur.body); ok {
				cur.end, cur.counted = end, true
				x.seek(end)
			}
			blank, blankLen = false, 0
			continue
		}
		blank = whole && (len(line) == 1 || len(line) == 2 && line[0] == '\r')
		blankLen = 0
		if blank {
			blankLen = int64(len(line))
		}
	}
	x.finish(cur, x.size-blankLen)
	return x.spans, nil
}

// finish ends a message before the empty line that stands before the next one.
func (x *indexer) finish(s *span, end int64) {
	if s == nil {
		return
	}
	if !s.counted {
		s.end = max(end, s.body)
	}
	x.spans = append(x.spans, *s)
}

func (x *indexer) seek(off int64) {
	const buffer = 256 << 10
	section := io.NewSectionReader(x.file, off, x.size-off)
	if x.r == nil {
		x.r = bufio.NewReaderSize(section, buffer)
	} else {
		x.r.Reset(section)
	}
	x.at = off
}

// line reads a line, or the first part of a long one: then the rest is skipped.
// whole says that the line ended with LF.
func (x *indexer) line() (line []byte, whole bool, err error) {
	line, err = x.r.ReadSlice('\n')
	x.at += int64(len(line))
	if !errors.Is(err, bufio.ErrBufferFull) {
		return line, err == nil, err
	}
	for errors.Is(err, bufio.ErrBufferFull) {
		var more []byte
		more, err = x.r.ReadSlice('\n')
		x.at += int64(len(more))
	}
	return []byte("a long line"), false, err
}

// counted follows the Content-Length of a message, if it has one and it leads to
// the next message or to the end of the file.
func (x *indexer) counted(body int64) (end int64, ok bool) {
	if x.format != MboxAuto && x.format != MboxCL2 {
		return 0, false
	}
	header, err := headerAt(x.file, span{body: body, end: x.size})
	if err != nil || isOwn(header) {
		return 0, false
	}
	length := int64(-1)
	for name, value := range headerFields(header) {
		if strings.EqualFold(name, "Content-Length") {
			if n, err := strconv.ParseInt(strings.TrimSpace(value), 10, 64); err == nil {
				length = n
			}
		}
	}
	end = body + int64(len(header)) + length
	if length < 0 || end > x.size || end < body {
		return 0, false
	}
	if end == x.size {
		return end, true
	}
	next := make([]byte, min(maxFromLine, x.size-end))
	if _, err := x.file.ReadAt(next, end); err != nil && !errors.Is(err, io.EOF) {
		return 0, false
	}
	after := bytes.TrimLeft(next, "\r\n")
	if len(after) == len(next) {
		return 0, false // a message ends at the end of a line
	}
	return end, end+int64(len(next)-len(after)) == x.size || isFrom(after, false)
}

// isFrom reports whether a line starts a message. Only the first one of a file
// need not have a date.
func isFrom(line []byte, first bool) bool {
	if !bytes.HasPrefix(line, []byte("From ")) {
		return false
	}
	if first {
		return true
	}
	_, ok := fromDate(line)
	return ok
}

// fromDate reads the date of a "From " line: the sender, which may have spaces,
// and a date in the form of asctime, with a zone in one of several places.
func fromDate(line []byte) (time.Time, bool) {
	if len(line) > maxFromLine {
		line = line[:maxFromLine]
	}
	if i := bytes.IndexByte(line, '\n'); i >= 0 {
		line = line[:i]
	}
	text, _, _ := strings.Cut(string(line), " remote from ")
	words := strings.Fields(text)
	for i := 1; i < len(words); i++ {
		if !isWeekday(words[i]) {
			continue
		}
		if t, ok := asctime(words[i:]); ok {
			return t, true
		}
	}
	return time.Time{}, false
}

func isWeekday(w string) bool {
	return len(w) == 3 && strings.Contains("Mon Tue Wed Thu Fri Sat Sun", w)
}

// asctime reads the words of a date. Without a zone it is UTC.
func asctime(words []string) (time.Time, bool) {
	text := strings.Join(words, " ")
	for _, layout := range []string{
		"Mon Jan 2 15:04:05 2006", "Mon Jan 2 15:04 2006",
		"Mon Jan 2 15:04:05 -0700 2006", "Mon Jan 2 15:04:05 2006 -0700",
		"Mon Jan 2 15:04:05 MST 2006", "Mon Jan 2 15:04 MST 2006", "Mon Jan 2 15:04:05 2006 MST",
	} {
		if t, err := time.Parse(layout, text); err == nil && t.Year() >= 1970 {
			return t.UTC(), true
		}
	}
	return time.Time{}, false
}
