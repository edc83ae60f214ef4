package httpapi

import (
	"fmt"
	"slices"
	"strings"

	"mallard/internal/message"
)

// headerMap is the whole header of a message: lower-case names, the last field
// first. Values are text, parsed for fields of addresses and media types; a name
// that comes more than once has an array.
type headerMap struct {
	names  []string
	values map[string][]any
}

// maxHeaderMap is the greatest number of fields that are shown.
const maxHeaderMap = 1000

// headerType is a parsed Content-Type or Content-Disposition.
type headerType struct {
	Value     string            `json:"value"`
	Type      string            `json:"type,omitempty"`
	Subtype   string            `json:"subtype,omitempty"`
	Params    map[string]string `json:"params"`
	HasParams bool              `json:"hasParams,omitempty"`
}

// newHeaderMap reads a header of which the first prefix octets were put before the
// message. The address of their Delivered-To is shown in brackets, as WildDuck does. A
// message without Content-Type is shown with the one that it means (RFC 2045, 5.2).
func newHeaderMap(header []byte, prefix int64) *headerMap {
	m := &headerMap{values: map[string][]any{}}
	prefix = min(prefix, int64(len(header)))
	m.add(header[:prefix])
	for i, v := range m.values["delivered-to"] {
		m.values["delivered-to"][i] = fmt.Sprintf("<%v>", v)
	}
	before := len(m.names)
	m.add(header[prefix:])
	if m.values[fieldContentType] == nil {
		m.names = slices.Insert(m.names, before, fieldContentType)
		m.values[fieldContentType] = []any{newHeaderType("text/plain")}
	}
	return m
}

const fieldContentType = "content-type"

func (m *headerMap) add(header []byte) {
	n := 0
	for f := range message.Fields(header) {
		if n++; n > maxHeaderMap {
			break
		}
		name := strings.ToLower(string(f.Name))
		if name == "" {
			continue
		}
		if _, ok := m.values[name]; !ok {
			m.names = append(m.names, name)
		}
		m.values[name] = append(m.values[name], headerValue(name, f.Value))
	}
}

func headerValue(name string, value []byte) any {
	switch name {
	case "from", "to", "cc", "bcc", "sender", "reply-to":
		return addrs(message.DecodeAddresses(message.ParseAddressList(value)))
	case fieldContentType, "content-disposition":
		return newHeaderType(message.DecodeHeader(value))
	}
	return strings.ReplaceAll(strings.TrimSpace(message.DecodeHeader(value)), "\t", " ")
}

func newHeaderType(text string) headerType {
	value, rest, _ := strings.Cut(text, ";")
	t := headerType{Value: strings.ToLower(strings.TrimSpace(value)), Params: map[string]string{}}
	t.Type, t.Subtype, _ = strings.Cut(t.Value, "/")
	for part := range strings.SplitSeq(rest, ";") {
		k, v, found := strings.Cut(part, "=")
		if k = strings.ToLower(strings.TrimSpace(k)); found && k != "" {
			t.Params[k] = strings.Trim(strings.TrimSpace(v), `"`)
		}
	}
	t.HasParams = len(t.Params) > 0
	return t
}

// MarshalJSON writes the members in order. Address fields of one name are one list.
func (m *headerMap) MarshalJSON() ([]byte, error) {
	out := []byte{'{'}
	for i := len(m.names) - 1; i >= 0; i-- {
		if len(out) > 1 {
			out = append(out, ',')
		}
		name, err := marshalString(m.names[i])
		if err != nil {
			return nil, err
		}
		val, err := marshalPlain(m.value(m.names[i]))
		if err != nil {
			return nil, err
		}
		out = append(append(append(out, name...), ':'), val...)
	}
	return append(out, '}'), nil
}

func (m *headerMap) value(name string) any {
	values := m.values[name]
	if len(values) == 1 {
		return values[0]
	}
	if _, ok := values[0].([]addr); !ok {
		return values
	}
	var all []addr
	for _, v := range values {
		if part, ok := v.([]addr); ok {
			all = append(all, part...)
		}
	}
	return all
}

func (*headerMap) replySchema() schema { return schema{"type": "object"} }
