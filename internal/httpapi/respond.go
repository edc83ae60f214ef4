package httpapi

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	typeJSON      = "application/json; charset=utf-8"
	typePlainJSON = "application/json"
)

// orderedStrings is an object of strings that keeps the order of insertion.
type orderedStrings struct {
	keys []string
	vals map[string]string
}

func (o *orderedStrings) addFirst(key, value string) {
	if o.vals == nil {
		o.vals = map[string]string{}
	}
	if _, ok := o.vals[key]; ok {
		return
	}
	o.keys = append(o.keys, key)
	o.vals[key] = value
}

// MarshalJSON writes the members in order.
func (o *orderedStrings) MarshalJSON() ([]byte, error) {
	out := []byte{'{'}
	for i, k := range o.keys {
		if i > 0 {
			out = append(out, ',')
		}
		name, err := marshalString(k)
		if err != nil {
			return nil, err
		}
		val, err := marshalString(o.vals[k])
		if err != nil {
			return nil, err
		}
		out = append(append(append(out, name...), ':'), val...)
	}
	return append(out, '}'), nil
}

// errorBody is the reply to an Error.
type errorBody struct {
	Error    string          `json:"error" doc:"What went wrong"`
	Code     string          `json:"code,omitempty" doc:"Kind of the failure"`
	Details  *orderedStrings `json:"details,omitempty" doc:"First message of each parameter that is wrong, by its path"`
	ID       string          `json:"id,omitempty" doc:"User id, for a failed login of a known user"`
	Username string          `json:"username,omitempty" doc:"User name of an account that could not be made"`
}

// transportBody is the reply to a transportError.
type transportBody struct {
	Code    string `json:"code" doc:"Kind of the failure"`
	Message string `json:"message" doc:"What went wrong"`
}

// encodeJSON gives the form of every reply: indented by two spaces, with a final newline.
func encodeJSON(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

func writeBytes(w http.ResponseWriter, status int, contentType string, body []byte) {
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	// The client may be gone; there is nobody to tell.
	_, _ = w.Write(body)
}

// writeError writes the reply to any failure.
func (a *API) writeError(w http.ResponseWriter, plain bool, err error) {
	if t, ok := err.(*transportError); ok {
		if t.allow != nil {
			w.Header().Set("Allow", strings.Join(t.allow, ", "))
		}
		a.writeBody(w, t.status, typePlainJSON, transportBody{Code: t.code, Message: t.message})
		return
	}
	e := a.asError(err)
	ctype := typeJSON
	if plain {
		ctype = typePlainJSON
	}
	a.writeBody(w, e.Status, ctype, errorBody{
		Error: e.Message, Code: e.Code, Details: e.Details, ID: e.ID, Username: e.Username,
	})
}

func (a *API) writeBody(w http.ResponseWriter, status int, contentType string, v any) {
	body, err := encodeJSON(v)
	if err != nil {
		a.log.Error("encode reply", "err", err)
		status, body = http.StatusInternalServerError, []byte("{\n  \"error\": \"Internal error\",\n  \"code\": \"InternalError\"\n}\n")
	}
	writeBytes(w, status, contentType, body)
}

// Date is a time as replies show it: ISO 8601 in UTC with milliseconds.
type Date time.Time

const dateLayout = "2006-01-02T15:04:05.000Z"

// MarshalJSON writes null for the zero time.
func (d Date) MarshalJSON() ([]byte, error) {
	t := time.Time(d)
	if t.IsZero() {
		return []byte("null"), nil
	}
	return []byte(`"` + t.UTC().Format(dateLayout) + `"`), nil
}

// UnmarshalJSON reads what MarshalJSON writes.
func (d *Date) UnmarshalJSON(b []byte) error {
	var s *string
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	if s == nil {
		*d = Date{}
		return nil
	}
	t, err := time.Parse(dateLayout, *s)
	*d = Date(t)
	return err
}

// IsZero reports whether there is no date, for omitzero.
func (d Date) IsZero() bool { return time.Time(d).IsZero() }

// rawObject is a stored JSON object, {} when there is none or it is damaged.
type rawObject string

// MarshalJSON writes the object.
func (r rawObject) MarshalJSON() ([]byte, error) {
	b := []byte(r)
	if len(b) == 0 || b[0] != '{' || !json.Valid(b) {
		return []byte("{}"), nil
	}
	return b, nil
}

// orFalse is a value that is shown as false when it is missing.
type orFalse[T any] struct{ v *T }

func some[T any](v T) orFalse[T] { return orFalse[T]{&v} }

// MarshalJSON writes the value or false.
func (o orFalse[T]) MarshalJSON() ([]byte, error) {
	if o.v == nil {
		return []byte("false"), nil
	}
	return marshalPlain(o.v)
}

// nullString is a string that is shown as null when it is empty.
type nullString string

// MarshalJSON writes the string or null.
func (s nullString) MarshalJSON() ([]byte, error) {
	if s == "" {
		return []byte("null"), nil
	}
	return marshalString(string(s))
}
