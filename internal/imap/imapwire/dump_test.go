package imapwire

import (
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"time"
)

// dump formats a value on one line: fields that are zero are left out, and
// types of this package that have a String method use it.
func dump(v any) string {
	var sb strings.Builder
	dumpValue(&sb, reflect.ValueOf(v))
	return sb.String()
}

func dumpValue(sb *strings.Builder, v reflect.Value) {
	if s, ok := stringOf(v); ok {
		sb.WriteString(s)
		return
	}
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			sb.WriteString("nil")
			return
		}
		dumpValue(sb, v.Elem())
	case reflect.Struct:
		dumpStruct(sb, v)
	case reflect.Slice:
		dumpSlice(sb, v)
	case reflect.String:
		fmt.Fprintf(sb, "%q", v.String())
	default:
		fmt.Fprintf(sb, "%v", v.Interface())
	}
}

func stringOf(v reflect.Value) (string, bool) {
	if !v.CanInterface() || v.Kind() == reflect.Pointer && v.IsNil() {
		return "", false
	}
	switch x := v.Interface().(type) {
	case time.Time:
		return x.Format("2006-01-02T15:04:05Z07:00"), true
	case NumSet:
		return x.String(), true
	case FetchItem:
		return x.String(), true
	case ResultRange:
		return x.String(), true
	case SearchKey:
		return x.String(), true
	}
	return "", false
}

func dumpStruct(sb *strings.Builder, v reflect.Value) {
	sb.WriteString(v.Type().Name())
	sb.WriteByte('{')
	first := true
	for i := range v.NumField() {
		f := v.Type().Field(i)
		empty := v.Field(i).Kind() == reflect.Slice && v.Field(i).Len() == 0 && v.Field(i).IsNil()
		if !f.IsExported() || v.Field(i).IsZero() || empty {
			continue
		}
		if set, ok := v.Field(i).Interface().(NumSet); ok && set.Empty() {
			continue
		}
		if !first {
			sb.WriteByte(' ')
		}
		first = false
		sb.WriteString(f.Name)
		sb.WriteByte(':')
		dumpValue(sb, v.Field(i))
	}
	sb.WriteByte('}')
}

func dumpSlice(sb *strings.Builder, v reflect.Value) {
	if v.Type().Elem().Kind() == reflect.Uint8 {
		fmt.Fprintf(sb, "%q", v.Bytes())
		return
	}
	sb.WriteByte('[')
	for i := range v.Len() {
		if i > 0 {
			sb.WriteByte(' ')
		}
		dumpValue(sb, v.Index(i))
	}
	sb.WriteByte(']')
}

// session runs everything that input holds through a Reader and returns what
// happened, a line for each event.
type session struct {
	r      *Reader
	events []string
}

func newSession(input io.Reader, limits Limits, opts ...func(*Options)) *session {
	s := &session{}
	opt := Options{Limits: limits, Continue: func() error {
		s.event("+")
		return nil
	}}
	for _, f := range opts {
		f(&opt)
	}
	s.r = NewReader(input, opt)
	return s
}

func (s *session) event(format string, args ...any) {
	s.events = append(s.events, fmt.Sprintf(format, args...))
}

// run reads commands until the stream ends or is given up.
func (s *session) run(state State) {
	for range 10000 {
		cmd, err := s.r.ReadCommand(state)
		if err != nil {
			if !s.failed(err) {
				return
			}
			continue
		}
		uid := ""
		if cmd.UID {
			uid = "UID "
		}
		s.event("%s %s%s %s", cmd.Tag, uid, cmd.Name, dump(cmd.Args))
		if a, ok := cmd.Args.(*Append); ok {
			s.append(a)
		}
	}
}

// failed records an error and reports whether the session goes on.
func (s *session) failed(err error) bool {
	var e *Error
	if !errors.As(err, &e) {
		s.event("! %v", err)
		return false
	}
	code := ""
	if e.Code != "" {
		code = "[" + string(e.Code) + "] "
	}
	s.event("%s %s %s%s", e.Tag, e.Kind, code, e.Text)
	return e.Kind != Bye
}

// append reads the messages of an APPEND.
func (s *session) append(a *Append) {
	for {
		m, err := a.Next()
		if err == io.EOF {
			s.event("  end")
			return
		}
		if err != nil {
			s.failed(err)
			return
		}
		s.event("  %s", dump(m))
		if m.Catenate {
			if !s.parts(m) {
				return
			}
			continue
		}
		body, err := m.Open()
		if err != nil {
			s.failed(err)
			return
		}
		data, err := io.ReadAll(body)
		s.event("  %q", data)
		if err != nil {
			s.event("  ! %v", err)
		}
	}
}

func (s *session) parts(m *AppendMessage) bool {
	for {
		part, err := m.NextPart()
		if err == io.EOF {
			return true
		}
		if err != nil {
			s.failed(err)
			return false
		}
		s.event("    %s", dump(part))
		if part.URL != "" {
			continue
		}
		body, err := part.Open()
		if err != nil {
			s.failed(err)
			return false
		}
		data, _ := io.ReadAll(body)
		s.event("    %q", data)
	}
}
