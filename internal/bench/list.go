package bench

import (
	"bytes"
	"fmt"
	"strconv"
)

// listItems are what a client asks for to show the messages of a mailbox.
const listItems = "(UID FLAGS INTERNALDATE RFC822.SIZE ENVELOPE BODYSTRUCTURE)"

// A listed is what is known of a message that was listed.
type listed struct{ uid, serial int }

// A listReader fetches listItems and finds out which message of the corpus each is.
type listReader struct {
	c      *imapConn
	corpus *Corpus
	tally  *tally
	all    []listed // in the order of the mailbox
	text   []byte   // of one response, its literals among it
}

func (l *listReader) fetch(set string) error {
	tag, err := l.c.send("FETCH " + set + " " + listItems)
	if err != nil {
		return fmt.Errorf("send FETCH: %w", err)
	}
	for {
		line, err := l.c.line()
		if err != nil {
			return fmt.Errorf("read the answer to FETCH: %w", err)
		}
		if len(l.text) == 0 {
			if done, err := tagged(line, tag, "FETCH"); done || err != nil {
				return err
			}
			if !bytes.Contains(line[:min(len(line), 30)], []byte(" FETCH (")) {
				continue
			}
		}
		l.text = append(l.text, line...)
		l.tally.bytes += int64(len(line))
		if size, ok := literalSize(line); ok {
			if err := l.literal(size); err != nil {
				return err
			}
			continue
		}
		if err := l.endOfResponse(); err != nil {
			return fmt.Errorf("message %d of the mailbox: %w", len(l.all)+1, err)
		}
	}
}

func (l *listReader) literal(size int) error {
	got, err := l.c.r.Peek(size)
	if err != nil {
		return fmt.Errorf("read a literal of %d octets: %w", size, err)
	}
	l.text = append(l.text, got...)
	l.tally.bytes += int64(size)
	l.c.r.Discard(size)
	return nil
}

// endOfResponse looks for what was asked for. The Message-ID is the last thing in an envelope, behind In-Reply-To.
func (l *listReader) endOfResponse() error {
	text := l.text
	l.text = l.text[:0]
	for _, item := range []string{"FLAGS (", "INTERNALDATE \"", "ENVELOPE (", "BODYSTRUCTURE ("} {
		if !bytes.Contains(text, []byte(item)) {
			return fmt.Errorf("no %s in %.300q", item, text)
		}
	}
	at := bytes.LastIndex(text, []byte(idSuffix[:len(idSuffix)-2]))
	if at < idDigits {
		return fmt.Errorf("no Message-ID in %.300q", text)
	}
	serial, ok := l.corpus.serial(text[at-idDigits : at])
	if !ok {
		return fmt.Errorf("not a message of this run: %.300q", text)
	}
	uid, err := numberAfter(text, "UID ")
	if err != nil {
		return err
	}
	size, err := numberAfter(text, "RFC822.SIZE ")
	if err != nil {
		return err
	}
	if content := len(l.corpus.Content(serial)); size < content || size > content+headLimit {
		return fmt.Errorf("RFC822.SIZE is %d of a message that was sent with %d octets", size, content)
	}
	if n := len(l.all); n > 0 && l.all[n-1].uid >= uid {
		return fmt.Errorf("UID %d comes after %d", uid, l.all[n-1].uid)
	}
	l.all = append(l.all, listed{uid, serial})
	return l.tally.add(serial)
}

func numberAfter(text []byte, item string) (int, error) {
	_, rest, ok := bytes.Cut(text, []byte(item))
	end := 0
	for end < len(rest) && rest[end] >= '0' && rest[end] <= '9' {
		end++
	}
	n, err := strconv.Atoi(string(rest[:end]))
	if !ok || err != nil {
		return 0, fmt.Errorf("no number after %s in %.300q", item, text)
	}
	return n, nil
}
