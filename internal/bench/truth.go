package bench

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/mail"
	"slices"
	"strings"
)

// A needle is a word with the messages whose text it is in, as RFC 3501 section 6.4.4 has it: a substring of the decoded
// text, whatever its case.
type needle struct {
	word string
	in   []int // serial numbers, ascending
}

// A band says how many messages of a hundred have a word, at least and at most.
type band struct{ from, to int }

var (
	rare   = band{1, 10}
	common = band{50, 100}
)

// needles finds up to n words that are in the text of so many messages, and in the header of no other, so that it is no
// matter whether a search looks there as well.
func needles(corpus *Corpus, b band, n int, seed uint64) ([]needle, error) {
	bodies, heads := make([]string, corpus.Len()), make([]string, corpus.Len())
	for i := range bodies {
		var err error
		if heads[i], bodies[i], err = searched(corpus.Content(i)); err != nil {
			return nil, fmt.Errorf("message %d of the corpus: %w", i, err)
		}
	}
	words := b.words(bodies)
	rng := rand.New(rand.NewPCG(seed, 0x6e6565646c65))
	rng.Shuffle(len(words), func(i, j int) { words[i], words[j] = words[j], words[i] })
	var found []needle
	for _, word := range words {
		if len(found) == n {
			break
		}
		in, ok := occurrences(word, heads, bodies)
		if ok && len(in) > 0 && len(in)*100 >= b.from*corpus.Len() && len(in)*100 <= b.to*corpus.Len() {
			found = append(found, needle{word, in})
		}
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("no word to search for in %d messages", corpus.Len())
	}
	return found, nil
}

// markup is everything but written text that the HTML of the corpus has.
const markup = htmlHead + ` width="100%" cellpadding="0" cellspacing="0" border="0" align="left" valign="top" style="margin: 0 0 12px 0"
 href="https://www.example.com/t/" style="color: #0066cc" class="footer" copy; Example Ltd.`

// words lists the words of the vocabulary with four letters and more that stand by themselves in so many texts, in
// alphabetical order. What is in markup is left out, because servers may search it or not.
func (b band) words(texts []string) []string {
	counts, noText := map[string]int{}, strings.ToLower(markup)
	for _, text := range texts {
		once := map[string]bool{}
		for _, word := range strings.FieldsFunc(text, func(c rune) bool { return c < 'a' || c > 'z' }) {
			once[word] = true
		}
		for word := range once {
			counts[word]++
		}
	}
	var words []string
	for _, word := range newVocabulary(1).words {
		n := counts[word]
		if len(word) >= 4 && n*100 >= b.from*len(texts) && n*100 <= b.to*len(texts) && !strings.Contains(noText, word) {
			words = append(words, word)
		}
	}
	slices.Sort(words)
	return words
}

// occurrences lists the texts with the word; it reports false when the word is in the header of another message.
func occurrences(word string, heads, bodies []string) ([]int, bool) {
	var in []int
	for i, body := range bodies {
		switch {
		case strings.Contains(body, word):
			in = append(in, i)
		case strings.Contains(heads[i], word):
			return nil, false
		}
	}
	return in, true
}

// searched gives the header, as it stands and decoded, and the decoded text of a message of ProfileLetter, in lower case.
func searched(content []byte) (head, body string, err error) {
	msg, err := mail.ReadMessage(bytes.NewReader(content))
	if err != nil {
		return "", "", fmt.Errorf("read the header: %w", err)
	}
	rawHead, _, _ := bytes.Cut(content, []byte("\r\n\r\n"))
	h := string(rawHead)
	subject, err := new(mime.WordDecoder).DecodeHeader(msg.Header.Get("Subject"))
	if err != nil {
		return "", "", fmt.Errorf("decode the subject: %w", err)
	}
	h += "\n" + subject
	text, err := decodedText(msg.Header.Get("Content-Type"), msg.Header.Get("Content-Transfer-Encoding"), msg.Body)
	return strings.ToLower(h), strings.ToLower(text), err
}

func decodedText(contentType, encoding string, r io.Reader) (string, error) {
	kind, params, err := mime.ParseMediaType(contentType)
	if err != nil {
		return "", fmt.Errorf("read Content-Type: %w", err)
	}
	if !strings.HasPrefix(kind, "multipart/") {
		if encoding == "quoted-printable" {
			r = quotedprintable.NewReader(r)
		}
		b, err := io.ReadAll(r)
		return string(b), err
	}
	var all strings.Builder
	parts := multipart.NewReader(r, params["boundary"])
	for {
		p, err := parts.NextRawPart()
		if err == io.EOF {
			return all.String(), nil
		}
		if err != nil {
			return "", fmt.Errorf("read a part: %w", err)
		}
		text, err := decodedText(p.Header.Get("Content-Type"), p.Header.Get("Content-Transfer-Encoding"), p)
		if err != nil {
			return "", err
		}
		all.WriteString(text)
		all.WriteByte('\n')
	}
}
