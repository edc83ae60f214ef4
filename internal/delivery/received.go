package delivery

import (
	"cmp"
	"strings"

	"mallard/internal/message"
)

// received is what the last server but this one says of a message.
type received struct {
	from, with, id string
}

// maxReceivedWord bounds what is kept of each.
const maxReceivedWord = 255

// lastReceived reads the first Received field of a header, of which each server puts
// one on top (RFC 5321, 4.4), for who gave the message to the server before, how, and
// under which name. Where it has no name, what the second one says counts, as with
// WildDuck. An empty word was not said.
func lastReceived(header []byte) (r received) {
	n := 0
	for f := range message.Fields(header) {
		if !strings.EqualFold(string(f.Name), "Received") {
			continue
		}
		words := receivedWords(string(f.Value))
		r = received{cmp.Or(words.from, r.from), cmp.Or(words.with, r.with), words.id}
		if n++; r.id != "" || n == 2 {
			break
		}
	}
	return r
}

// receivedWords takes what follows the words from, with and id, up to white space:
// the first of each, outside of comments.
func receivedWords(value string) (r received) {
	depth, into := 0, (*string)(nil)
	for _, word := range strings.Fields(value) {
		inside := depth > 0 || strings.HasPrefix(word, "(")
		depth = max(depth+strings.Count(word, "(")-strings.Count(word, ")"), 0)
		if inside {
			continue
		}
		if into != nil {
			*into, into = word[:min(len(word), maxReceivedWord)], nil
			continue
		}
		switch name := strings.ToLower(word); {
		case name == "from" && r.from == "":
			into = &r.from
		case name == "with" && r.with == "":
			into = &r.with
		case name == "id" && r.id == "":
			into = &r.id
		}
	}
	return r
}
