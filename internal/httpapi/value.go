package httpapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
)

// A parameter value is one of nil, bool, number, string, []any, *object and
// *file, whatever part of the request it came from.

// number is a JSON number in its source form.
type number string

// file is an uploaded file of a multipart form.
type file struct {
	name, contentType string
	data              []byte
}

// object is a set of named values that keeps the order of the request, in
// which errors about unknown names are reported.
type object struct {
	keys []string
	vals map[string]any
	// raw is the JSON text that the object was read from, nil otherwise.
	raw []byte
}

func newObject() *object { return &object{vals: map[string]any{}} }

func (o *object) get(key string) (any, bool) {
	v, ok := o.vals[key]
	return v, ok
}

func (o *object) set(key string, v any) {
	if _, ok := o.vals[key]; !ok {
		o.keys = append(o.keys, key)
	}
	o.vals[key] = v
}

func (o *object) remove(key string) {
	if _, ok := o.vals[key]; !ok {
		return
	}
	delete(o.vals, key)
	o.keys = slices.DeleteFunc(o.keys, func(k string) bool { return k == key })
}

// Limits of one set of parameters.
const (
	maxDepth  = 24      // nesting of JSON and of bracketed names
	maxValues = 1 << 20 // values in one JSON body
	maxParams = 1000    // names in a query string or form
)

var (
	errTooDeep  = errors.New("nesting is too deep")
	errTooMany  = errors.New("too many values")
	errTrailing = errors.New("unexpected text after the value")
)

// parseJSON reads one JSON value with bounded depth and number of values.
func parseJSON(src []byte) (any, error) {
	p := jsonParser{src: src, dec: json.NewDecoder(bytes.NewReader(src))}
	p.dec.UseNumber()
	v, err := p.value(0)
	if err != nil {
		return nil, err
	}
	if _, err := p.dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errTrailing
	}
	return v, nil
}

type jsonParser struct {
	src   []byte
	dec   *json.Decoder
	count int
}

func (p *jsonParser) value(depth int) (any, error) {
	if depth > maxDepth {
		return nil, errTooDeep
	}
	if p.count++; p.count > maxValues {
		return nil, errTooMany
	}
	tok, err := p.dec.Token()
	if err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil, errors.New("unexpected end of JSON input")
		}
		return nil, err
	}
	switch t := tok.(type) {
	case json.Delim:
		if t == '{' {
			return p.object(depth)
		}
		return p.array(depth)
	case json.Number:
		return number(t), nil
	default:
		return t, nil // nil, bool or string
	}
}

func (p *jsonParser) object(depth int) (any, error) {
	start := p.dec.InputOffset() - 1
	o := newObject()
	for p.dec.More() {
		name, err := p.value(depth + 1)
		if err != nil {
			return nil, err
		}
		key, ok := name.(string)
		if !ok {
			return nil, fmt.Errorf("a name must be a string at offset %d", p.dec.InputOffset())
		}
		v, err := p.value(depth + 1)
		if err != nil {
			return nil, err
		}
		o.set(key, v)
	}
	if err := p.end(); err != nil {
		return nil, err
	}
	o.raw = p.src[start:p.dec.InputOffset()]
	return o, nil
}

func (p *jsonParser) array(depth int) (any, error) {
	list := []any{}
	for p.dec.More() {
		v, err := p.value(depth + 1)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	return list, p.end()
}

func (p *jsonParser) end() error {
	if _, err := p.dec.Token(); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return errors.New("unexpected end of JSON input")
		}
		return err
	}
	return nil
}

// marshalValue gives the JSON text of a value.
func marshalValue(v any) ([]byte, error) {
	switch t := v.(type) {
	case nil:
		return []byte("null"), nil
	case number:
		return []byte(t), nil
	case *file:
		return marshalString(string(t.data))
	case string:
		return marshalString(t)
	case []any:
		return marshalList(t)
	case *object:
		return marshalObject(t)
	default:
		return json.Marshal(t)
	}
}

func marshalList(list []any) ([]byte, error) {
	out := []byte{'['}
	for i, e := range list {
		if i > 0 {
			out = append(out, ',')
		}
		b, err := marshalValue(e)
		if err != nil {
			return nil, err
		}
		out = append(out, b...)
	}
	return append(out, ']'), nil
}

func marshalObject(o *object) ([]byte, error) {
	if o.raw != nil {
		var b bytes.Buffer
		if err := json.Compact(&b, o.raw); err != nil {
			return nil, fmt.Errorf("compact object: %w", err)
		}
		return b.Bytes(), nil
	}
	out := []byte{'{'}
	for i, key := range o.keys {
		if i > 0 {
			out = append(out, ',')
		}
		name, err := marshalString(key)
		if err != nil {
			return nil, err
		}
		b, err := marshalValue(o.vals[key])
		if err != nil {
			return nil, err
		}
		out = append(append(append(out, name...), ':'), b...)
	}
	return append(out, '}'), nil
}

// marshalString is json.Marshal without the escapes that only HTML needs.
func marshalString(s string) ([]byte, error) { return marshalPlain(s) }

// marshalPlain is json.Marshal without the escapes that only HTML needs.
func marshalPlain(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}
