package httpapi

import (
	"encoding/hex"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf16"

	"mallard/internal/address"
)

// customParam is a parameter type with a form of its own.
type customParam interface {
	// decodeParam reads a value that is present. It reports what is wrong to d.
	decodeParam(d *decoder, at place, r *rules, v any)
	// paramSchema describes the JSON form for the OpenAPI document.
	paramSchema() schema
}

var (
	timeType   = reflect.TypeFor[time.Time]()
	customType = reflect.TypeFor[customParam]()
)

func isCustom(t reflect.Type) bool { return reflect.PointerTo(t).Implements(customType) }

// place names a parameter in messages.
type place struct {
	path  []string // for details: names and indexes
	text  string   // for messages: or.from, targets[0]
	label string   // in place of text, when set
}

func (p place) child(name, label string) place {
	text := name
	if p.text != "" {
		text = p.text + "." + name
	}
	return place{path: append(slices.Clone(p.path), name), text: text, label: label}
}

func (p place) item(i int) place {
	n := strconv.Itoa(i)
	return place{path: append(slices.Clone(p.path), n), text: p.text + "[" + n + "]"}
}

func (p place) String() string {
	if p.label != "" {
		return p.label
	}
	return p.text
}

// decoder fills parameter structs and collects what is wrong.
type decoder struct {
	issues       []issue
	allowUnknown bool
}

type issue struct{ key, message string }

// maxIssues bounds what a reply to bad input can hold.
const maxIssues = 100

// fail notes `"name" text`.
func (d *decoder) fail(at place, text string) {
	d.note(at, `"`+at.String()+`" `+text)
}

// note notes a message in full.
func (d *decoder) note(at place, message string) {
	if len(d.issues) < maxIssues {
		d.issues = append(d.issues, issue{strings.Join(at.path, ","), message})
	}
}

// err returns what is wrong as one error, nil when nothing is.
func (d *decoder) err() error {
	if len(d.issues) == 0 {
		return nil
	}
	e := invalid("")
	e.Details = &orderedStrings{}
	texts := make([]string, 0, len(d.issues))
	for _, i := range d.issues {
		texts = append(texts, i.message)
		e.Details.addFirst(i.key, i.message)
	}
	e.Message = strings.Join(texts, ". ")
	return e
}

// decode fills dst, a pointer to the plan's struct, from the parameters.
func (p *plan) decode(params any, dst any, allowUnknown bool) error {
	d := &decoder{allowUnknown: allowUnknown}
	o, ok := params.(*object)
	if !ok {
		d.fail(place{path: []string{""}, text: "value"}, "must be of type object")
		return d.err()
	}
	d.object(p, place{}, o, reflect.ValueOf(dst).Elem())
	return d.err()
}

func (d *decoder) object(p *plan, at place, o *object, dst reflect.Value) {
	for _, f := range p.fields {
		v, ok := o.get(f.name)
		where := at.child(f.name, f.rules.label)
		if ok && f.rules.blank && isBlank(v, f.rules.trim) {
			ok = false
		}
		if !ok {
			d.missing(f, where, dst)
			continue
		}
		d.field(f, where, v, dst)
	}
	if d.allowUnknown {
		return
	}
	for _, key := range o.keys {
		if p.byName[key] == nil {
			d.fail(at.child(key, ""), "is not allowed")
		}
	}
}

func isBlank(v any, trim bool) bool {
	s, ok := v.(string)
	return ok && (s == "" || trim && strings.TrimSpace(s) == "")
}

func (d *decoder) missing(f *field, at place, dst reflect.Value) {
	if f.rules.hasDef {
		d.field(f, at, f.rules.def, dst)
		return
	}
	if f.rules.required {
		d.fail(at, "is required")
	}
}

func (d *decoder) field(f *field, at place, v any, dst reflect.Value) {
	target := reflect.New(f.typ).Elem()
	if !d.value(f.sub, at, &f.rules, f.items, v, target) {
		if f.rules.hasDef {
			d.missing(f, at, dst)
		}
		return
	}
	slot := dst.FieldByIndex(f.index)
	if f.ptr {
		slot.Set(target.Addr())
		return
	}
	slot.Set(target)
}

// value reads one value. It reports false when the value counts as not given.
func (d *decoder) value(sub *plan, at place, r, items *rules, v any, dst reflect.Value) bool {
	if c, ok := dst.Addr().Interface().(customParam); ok {
		c.decodeParam(d, at, r, v)
		return true
	}
	if dst.Type() == timeType {
		t, ok := d.time(at, v)
		dst.Set(reflect.ValueOf(t))
		return ok
	}
	switch dst.Kind() {
	case reflect.String:
		s, _ := d.str(at, r, v)
		dst.SetString(s)
	case reflect.Bool:
		if v == "" {
			return false
		}
		b, ok := parseBool(v)
		if !ok {
			d.fail(at, "must be a boolean")
		}
		dst.SetBool(b)
	case reflect.Int, reflect.Int64, reflect.Uint32:
		n := d.number(at, r, v)
		if dst.CanUint() {
			dst.SetUint(uint64(min(max(n, 0), math.MaxUint32)))
		} else {
			dst.SetInt(int64(n))
		}
	case reflect.Array:
		d.id(at, r, v, dst)
	case reflect.Slice:
		d.slice(sub, at, r, items, v, dst)
	case reflect.Struct:
		o, ok := v.(*object)
		if !ok {
			d.fail(at, "must be of type object")
			return true
		}
		d.object(sub, at, o, dst)
	default:
		panic(fmt.Sprintf("httpapi: parameter %s has the unusable type %s", at, dst.Type()))
	}
	return true
}

func (d *decoder) slice(sub *plan, at place, r, items *rules, v any, dst reflect.Value) {
	list, ok := v.([]any)
	if !ok && r.single {
		list, ok = []any{v}, true
	}
	if !ok {
		d.fail(at, "must be an array")
		return
	}
	out := reflect.MakeSlice(dst.Type(), 0, min(len(list), 64))
	seen := map[any]bool{}
	for i, e := range list {
		if items.blank && isBlank(e, items.trim) {
			continue
		}
		elem := reflect.New(dst.Type().Elem()).Elem()
		before := len(d.issues)
		if !d.value(sub, at.item(i), items, nil, e, elem) {
			continue
		}
		if r.unique && len(d.issues) == before {
			if seen[elem.Interface()] {
				d.fail(at.item(i), "contains a duplicate value")
			}
			seen[elem.Interface()] = true
		}
		out = reflect.Append(out, elem)
	}
	if r.hasMax && float64(len(list)) > r.max {
		d.fail(at, fmt.Sprintf("must contain less than or equal to %s items", formatNumber(r.max)))
	}
	dst.Set(out)
}

// id reads an identifier of 24 hexadecimal digits. The zero value stands for none.
func (d *decoder) id(at place, r *rules, v any, dst reflect.Value) {
	idRules := *r
	idRules.hex, idRules.lower = true, true
	idRules.length = 2 * dst.Len()
	s, ok := d.str(at, &idRules, v)
	if !ok {
		return
	}
	raw, err := hex.DecodeString(s)
	if err != nil || len(raw) != dst.Len() {
		d.fail(at, "must only contain hexadecimal characters")
		return
	}
	reflect.Copy(dst, reflect.ValueOf(raw))
}

// str reads a string and applies the rules. It reports whether all held.
func (d *decoder) str(at place, r *rules, v any) (string, bool) {
	if f, ok := v.(*file); ok {
		v = string(f.data)
	}
	s, ok := v.(string)
	if r.in != nil && (!ok || !slices.Contains(r.in, s)) {
		if len(r.in) == 1 {
			d.fail(at, "must be ["+r.in[0]+"]")
		} else {
			d.fail(at, "must be one of ["+strings.Join(r.in, ", ")+"]")
		}
		return "", false
	}
	if !ok {
		d.fail(at, "must be a string")
		return "", false
	}
	if r.trim {
		s = strings.TrimSpace(s)
	}
	if r.lower {
		s = strings.ToLower(s)
	}
	if r.upper {
		s = strings.ToUpper(s)
	}
	if s == "" {
		if !r.empty {
			d.fail(at, "is not allowed to be empty")
		}
		return s, r.empty
	}
	return s, d.checkString(at, r, s)
}

func (d *decoder) checkString(at place, r *rules, s string) bool {
	before := len(d.issues)
	if r.hex && !isHex(s) {
		d.fail(at, "must only contain hexadecimal characters")
	}
	if r.length > 0 && utf16Len(s) != r.length {
		d.fail(at, fmt.Sprintf("length must be %d characters long", r.length))
	}
	if r.hasMin && float64(utf16Len(s)) < r.min {
		d.fail(at, fmt.Sprintf("length must be at least %s characters long", formatNumber(r.min)))
	}
	if r.hasMax && float64(utf16Len(s)) > r.max {
		d.fail(at, fmt.Sprintf("length must be less than or equal to %s characters long", formatNumber(r.max)))
	}
	if r.pattern != "" {
		if text := checkPattern(r.pattern, s); text != "" {
			d.fail(at, text)
		}
	}
	switch r.format {
	case "email":
		if !address.ValidEmail(s) {
			d.fail(at, "must be a valid email")
		}
	case "login":
		if !address.ValidUsername(s) && !address.ValidEmail(s) {
			d.fail(at, "does not match any of the allowed types")
		}
	case "uri":
		if !validURI(s, r.schemes) {
			d.fail(at, uriMessage(r.schemes))
		}
	}
	return len(d.issues) == before
}

// number reads a JSON number or a numeric string.
func (d *decoder) number(at place, r *rules, v any) float64 {
	var text string
	switch t := v.(type) {
	case number:
		text = string(t)
	case string:
		text = strings.TrimSpace(t)
	}
	n, ok := parseNumber(text)
	if !ok {
		d.fail(at, "must be a number")
		return 0
	}
	if math.Abs(n) > maxSafe {
		d.fail(at, "must be a safe number")
		return 0
	}
	if n != math.Trunc(n) {
		d.fail(at, "must be an integer")
		return 0
	}
	if r.hasMin && n < r.min {
		d.fail(at, "must be greater than or equal to "+formatNumber(r.min))
	}
	if r.hasMax && n > r.max {
		d.fail(at, "must be less than or equal to "+formatNumber(r.max))
	}
	return n
}

// maxSafe is the greatest integer that a double holds exactly.
const maxSafe = 1<<53 - 1

// parseNumber reads decimal numbers only: no hexadecimal, infinity or underscore.
func parseNumber(s string) (float64, bool) {
	if s == "" || len(s) > 64 || strings.Trim(s, "0123456789+-.eE") != "" {
		return 0, false
	}
	n, err := strconv.ParseFloat(s, 64)
	if err != nil && !math.IsInf(n, 0) {
		return 0, false
	}
	return n, true
}

func formatNumber(n float64) string { return strconv.FormatFloat(n, 'f', -1, 64) }

// parseBool reads the forms of a boolean.
func parseBool(v any) (value, ok bool) {
	var text string
	switch t := v.(type) {
	case bool:
		return t, true
	case string:
		text = strings.ToLower(t)
	case number:
		text = string(t)
	}
	switch text {
	case "true", "yes", "y", "on", "1":
		return true, true
	case "false", "no", "n", "off", "0":
		return false, true
	}
	return false, false
}

func (d *decoder) time(at place, v any) (time.Time, bool) {
	t, ok := parseTime(v)
	if !ok {
		d.fail(at, "must be a valid date")
	}
	return t, ok
}

// parseTime reads an ISO 8601 date, or milliseconds since the epoch.
func parseTime(v any) (time.Time, bool) {
	var text string
	switch t := v.(type) {
	case number:
		text = string(t)
	case string:
		text = strings.TrimSpace(t)
	}
	if n, ok := parseNumber(text); ok {
		const maxMillis = 8.64e15 // what an ECMAScript date can hold
		if math.Abs(n) > maxMillis {
			return time.Time{}, false
		}
		return time.UnixMilli(int64(n)).UTC(), true
	}
	for _, layout := range []string{
		time.RFC3339Nano, "2006-01-02T15:04:05.999999999", "2006-01-02T15:04Z07:00", "2006-01-02T15:04",
		"2006-01-02 15:04:05Z07:00", "2006-01-02 15:04:05", "2006-01-02", "2006-01",
		"2006-01-02T15:04:05.999999999Z0700", time.RFC1123Z, time.RFC1123,
		"2 Jan 2006 15:04:05 -0700", "Mon, 2 Jan 2006 15:04:05 -0700",
	} {
		if t, err := time.Parse(layout, text); err == nil {
			return t.UTC(), true
		}
	}
	return time.Time{}, false
}

func isHex(s string) bool {
	return strings.Trim(s, "0123456789abcdefABCDEF") == "" && s != ""
}

func utf16Len(s string) int {
	n := 0
	for _, r := range s {
		n += max(utf16.RuneLen(r), 1)
	}
	return n
}
