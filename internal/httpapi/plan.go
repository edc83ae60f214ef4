package httpapi

import (
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// A plan says how the parameters of one struct type are read. It is made once,
// from the tags of the fields:
//
//	api:"name,rule,rule=value;item rule,item rule" doc:"what it means"
//
// Rules: path (comes from the path), required, blank (an empty string counts as
// not given), empty (an empty string is a value), default=, min=, max= (length
// of strings in UTF-16 units, items of arrays, or the number itself), len=,
// lower, upper, trim, hex, in=a|b, pattern= (see patterns), format= (email or
// username), schemes=a|b (a URI with one of these), single (a lone value is an
// array of one), unique, label=. Rules after the semicolon are for the items of
// an array.
type plan struct {
	typ    reflect.Type
	fields []*field // in the order in which errors are reported
	byName map[string]*field
}

// field is one parameter.
type field struct {
	name  string
	index []int
	typ   reflect.Type // without pointer
	ptr   bool
	doc   string
	rules rules
	items *rules
	sub   *plan // of a struct, or of the items of an array
}

// rules are the checks of one value.
type rules struct {
	path, required, blank, empty, single, unique bool
	lower, upper, trim, hex                      bool
	hasMin, hasMax                               bool
	min, max                                     float64
	length                                       int
	in                                           []string
	pattern                                      string
	format                                       string
	schemes                                      []string
	label                                        string
	def                                          string
	hasDef                                       bool
}

// newPlan reads the tags of a struct type. A mistake in a tag is a mistake of
// the program: it panics.
func newPlan(t reflect.Type) *plan {
	p := &plan{typ: t, byName: map[string]*field{}}
	p.add(t, nil)
	slices.SortStableFunc(p.fields, func(a, b *field) int {
		switch {
		case a.rules.path == b.rules.path:
			return 0
		case a.rules.path:
			return 1
		}
		return -1
	})
	return p
}

func (p *plan) add(t reflect.Type, prefix []int) {
	for i := range t.NumField() {
		sf := t.Field(i)
		index := append(slices.Clone(prefix), i)
		if sf.Anonymous {
			p.add(sf.Type, index)
			continue
		}
		tag, ok := sf.Tag.Lookup("api")
		if !ok {
			continue
		}
		f := newField(sf, tag, index)
		if p.byName[f.name] != nil {
			panic(fmt.Sprintf("httpapi: %s has two parameters named %s", p.typ, f.name))
		}
		p.fields = append(p.fields, f)
		p.byName[f.name] = f
	}
}

func newField(sf reflect.StructField, tag string, index []int) *field {
	main, items, hasItems := strings.Cut(tag, ";")
	name, list, _ := strings.Cut(main, ",")
	f := &field{name: name, index: index, typ: sf.Type, doc: sf.Tag.Get("doc")}
	if f.typ.Kind() == reflect.Pointer {
		f.typ, f.ptr = f.typ.Elem(), true
	}
	f.rules = parseRules(sf.Name, list)
	if hasItems {
		r := parseRules(sf.Name, items)
		f.items = &r
	}
	elem := f.typ
	if elem.Kind() == reflect.Slice {
		if f.items == nil {
			f.items = &rules{}
		}
		elem = elem.Elem()
	}
	if elem.Kind() == reflect.Struct && !isCustom(elem) && elem != timeType {
		f.sub = newPlan(elem)
	}
	return f
}

func parseRules(owner, list string) rules {
	var r rules
	for rule := range strings.SplitSeq(list, ",") {
		if rule == "" {
			continue
		}
		key, val, _ := strings.Cut(rule, "=")
		if flag := r.flag(key); flag != nil {
			*flag = true
			continue
		}
		if !r.setValue(key, val) {
			panic(fmt.Sprintf("httpapi: field %s has an unknown rule %q", owner, rule))
		}
	}
	return r
}

func (r *rules) flag(key string) *bool {
	switch key {
	case "path":
		r.required = true
		return &r.path
	case "required":
		return &r.required
	case "blank":
		return &r.blank
	case "empty":
		return &r.empty
	case "single":
		return &r.single
	case "unique":
		return &r.unique
	case "lower":
		return &r.lower
	case "upper":
		return &r.upper
	case "trim":
		return &r.trim
	case "hex":
		return &r.hex
	}
	return nil
}

func (r *rules) setValue(key, val string) bool {
	num := func() float64 {
		n, err := strconv.ParseFloat(val, 64)
		if err != nil || math.IsNaN(n) {
			panic(fmt.Sprintf("httpapi: rule %s=%q is not a number", key, val))
		}
		return n
	}
	switch key {
	case "min":
		r.min, r.hasMin = num(), true
	case "max":
		r.max, r.hasMax = num(), true
	case "len":
		r.length = int(num())
	case "in":
		r.in = strings.Split(val, "|")
	case "pattern":
		r.pattern = val
	case "format":
		r.format = val
	case "schemes":
		r.schemes = strings.Split(val, "|")
	case "label":
		r.label = val
	case "default":
		r.def, r.hasDef = val, true
	default:
		return false
	}
	return true
}
