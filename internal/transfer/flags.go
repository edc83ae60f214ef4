package transfer

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"mallard/internal/mail"
)

// forwarded is the keyword of the Maildir flag P.
const forwarded = "$Forwarded"

// maxLetters is how many keywords the file names of a Maildir can express.
const maxLetters = 26

// maildirFlags reads the letters behind ":2,".
func maildirFlags(letters string, keywords []string) mail.Flags {
	var sys mail.SystemFlags
	var kw []string
	for _, c := range []byte(letters) {
		switch {
		case c == 'S':
			sys |= mail.Seen
		case c == 'R':
			sys |= mail.Answered
		case c == 'F':
			sys |= mail.Flagged
		case c == 'T':
			sys |= mail.Deleted
		case c == 'D':
			sys |= mail.Draft
		case c == 'P':
			kw = append(kw, forwarded)
		case 'a' <= c && c <= 'z' && int(c-'a') < len(keywords) && keywords[c-'a'] != "":
			kw = append(kw, keywords[c-'a'])
		}
	}
	return mail.NewFlags(sys, kw...)
}

// keywordTable gives keywords their letters.
type keywordTable struct {
	names   []string // index 0 is a
	changed bool
}

// letters writes flags as letters in ascending order. Keywords that get no letter
// come back in rest.
func (t *keywordTable) letters(f mail.Flags) (letters string, rest []string) {
	var out []byte
	for _, p := range []struct {
		flag   mail.SystemFlags
		letter byte
	}{{mail.Draft, 'D'}, {mail.Flagged, 'F'}, {mail.Answered, 'R'}, {mail.Seen, 'S'}, {mail.Deleted, 'T'}} {
		if f.Has(p.flag) {
			out = append(out, p.letter)
		}
	}
	for k := range f.Keywords() {
		if strings.EqualFold(k, forwarded) {
			out = append(out, 'P')
			continue
		}
		i := t.index(k)
		if i < 0 {
			rest = append(rest, k)
			continue
		}
		out = append(out, 'a'+byte(i))
	}
	slices.Sort(out)
	return string(out), rest
}

// index finds or makes the place of a keyword, -1 when there is no room.
func (t *keywordTable) index(keyword string) int {
	for i, n := range t.names {
		if strings.EqualFold(n, keyword) {
			return i
		}
	}
	if len(t.names) >= maxLetters {
		return -1
	}
	t.names, t.changed = append(t.names, keyword), true
	return len(t.names) - 1
}

// readKeywords reads the file dovecot-keywords: a number and a keyword on each
// line. Lines that are something else are left out.
func readKeywords(r io.Reader) ([]string, error) {
	names := make([]string, maxLetters)
	last := 0
	sc := bufio.NewScanner(io.LimitReader(r, 1<<20))
	for sc.Scan() {
		number, name, _ := strings.Cut(strings.TrimSpace(sc.Text()), " ")
		i, err := strconv.Atoi(number)
		if err != nil || i < 0 || i >= maxLetters || mail.ValidKeyword(name) != nil {
			continue
		}
		names[i], last = name, max(last, i+1)
	}
	if err := sc.Err(); err != nil {
		return nil, fmt.Errorf("read keywords: %w", err)
	}
	return names[:last], nil
}

// writeKeywords writes that file.
func writeKeywords(w io.Writer, names []string) error {
	for i, n := range names {
		if n == "" {
			continue
		}
		if _, err := fmt.Fprintf(w, "%d %s\n", i, n); err != nil {
			return err
		}
	}
	return nil
}
