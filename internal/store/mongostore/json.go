package mongostore

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// jsonObject is the document of a JSON object, with its members in their order. There is one with each message that is
// delivered; the decoder of the library makes ten times as many allocations to give tokens, and takes three times as long.
func jsonObject(s string) (bson.D, error) {
	if !json.Valid([]byte(s)) {
		return nil, errors.New("read a JSON object: it is no JSON")
	}
	r := &jsonReader{s}
	if !r.next('{') {
		return nil, errors.New("read a JSON object: it is another value")
	}
	doc, err := r.members()
	if err != nil {
		return nil, fmt.Errorf("read a JSON object: %w", err)
	}
	return doc, nil
}

// jsonReader reads JSON that is known to be valid; rest is what was not read.
type jsonReader struct{ rest string }

// next takes a character if it comes next but for white space.
func (r *jsonReader) next(c byte) bool {
	r.rest = strings.TrimLeft(r.rest, " \t\r\n")
	if r.rest == "" || r.rest[0] != c {
		return false
	}
	r.rest = r.rest[1:]
	return true
}

func (r *jsonReader) members() (bson.D, error) {
	out := bson.D{}
	for !r.next('}') {
		r.next(',')
		r.next('"')
		key, err := r.text()
		if err != nil {
			return nil, err
		}
		r.next(':')
		v, err := r.value()
		if err != nil {
			return nil, err
		}
		out = append(out, bson.E{Key: key, Value: v})
	}
	return out, nil
}

func (r *jsonReader) values() (bson.A, error) {
	out := bson.A{}
	for !r.next(']') {
		r.next(',')
		v, err := r.value()
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, nil
}

func (r *jsonReader) value() (any, error) {
	switch {
	case r.next('{'):
		return r.members()
	case r.next('['):
		return r.values()
	case r.next('"'):
		return r.text()
	}
	end := strings.IndexAny(r.rest, ",]} \t\r\n")
	word := r.rest[:end] // it is in an object, so that something follows
	r.rest = r.rest[end:]
	switch word {
	case "true", "false":
		return word == "true", nil
	case "null":
		return nil, nil
	}
	if n, err := json.Number(word).Int64(); err == nil {
		return numberOf(n), nil
	}
	return json.Number(word).Float64()
}

// text reads a string behind its first quote.
func (r *jsonReader) text() (string, error) {
	end, plain := 0, true
	for ; r.rest[end] != '"'; end++ {
		if r.rest[end] == '\\' {
			plain = false
			end++
		}
	}
	s := r.rest[:end]
	r.rest = r.rest[end+1:]
	if plain && utf8.ValidString(s) {
		return s, nil
	}
	var out string
	err := json.Unmarshal([]byte(`"`+s+`"`), &out)
	return out, err
}
