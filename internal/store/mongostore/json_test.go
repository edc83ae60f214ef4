package mongostore

import (
	"encoding/json"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// tokens is a value as the library's decoder reads it.
func tokens(dec *json.Decoder) (any, error) {
	tok, err := dec.Token()
	if err != nil {
		return nil, err
	}
	switch tok := tok.(type) {
	case json.Number:
		if n, err := tok.Int64(); err == nil {
			return numberOf(n), nil
		}
		return tok.Float64()
	case json.Delim:
		doc, list := bson.D{}, bson.A{}
		for dec.More() {
			key := ""
			if tok == '{' {
				name, err := dec.Token()
				if err != nil {
					return nil, err
				}
				key = name.(string)
			}
			v, err := tokens(dec)
			if err != nil {
				return nil, err
			}
			doc, list = append(doc, bson.E{Key: key, Value: v}), append(list, v)
		}
		_, err := dec.Token()
		if tok == '{' {
			return doc, err
		}
		return list, err
	}
	return tok, nil
}

// decodedObject is what jsonObject returns, read by the library.
func decodedObject(s string) (bson.D, error) {
	dec := json.NewDecoder(strings.NewReader(s))
	dec.UseNumber()
	v, err := tokens(dec)
	if err != nil {
		return nil, err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something follows")
	}
	doc, ok := v.(bson.D)
	if !ok {
		return nil, errors.New("another value")
	}
	return doc, nil
}

// FuzzJSONObject: an object is read as the library reads it.
func FuzzJSONObject(f *testing.F) {
	for _, s := range []string{
		"", "{}", " { } ", "[]", `"x"`, "1", "null", `{"a"}`, `{"a":1}x`, `{"a":1,}`, "{\"a\":\"\xff\"}", `{"":""}`,
		`{"source":"MX","from":"a@b.test","to":["c@d.test"],"origin":"192.0.2.1","time":"2026-11-27T07:00:00Z"}`,
		" {\t\"a\" : [ 1 , -2.5e3,true,false,null, {\"b\\\"\":{}} ,[] ]\r\n, \"\\u00fc\\ud83d\":\"\\\\\", \"a\":9007199254740993 } ",
		`{"a":1e999}`, `{"a":12345678901234567890}`, `{"a":-0}`, `{"a":[1,2],"b":{"c":[{}]}}`, `{"a":"\\"}`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, err := jsonObject(s)
		want, werr := decodedObject(s)
		if (err == nil) != (werr == nil) || err == nil && !reflect.DeepEqual(got, want) {
			t.Fatalf("%q is %#v, %v, want %#v, %v", s, got, err, want, werr)
		}
	})
}
