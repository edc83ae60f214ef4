package httpapi

import (
	"reflect"
	"strings"
)

// dropFields sets the parameters to "not given" that a role may not write. Path
// parameters and the session pair are not attributes.
func dropFields(p *plan, g grant, in any) {
	if !g.limited() {
		return
	}
	v := reflect.ValueOf(in).Elem()
	for _, f := range p.fields {
		if f.rules.path || f.name == "sess" || f.name == "ip" || f.name == "protocol" || g.allows(f.name) {
			continue
		}
		v.FieldByIndex(f.index).SetZero()
	}
}

// hideFields returns v, a struct, without the members that a role may not read.
// Entries of a member results are filtered in its place.
func hideFields(g grant, v any) any {
	if !g.limited() {
		return v
	}
	rv := reflect.ValueOf(v)
	for rv.Kind() == reflect.Pointer {
		if rv.IsNil() {
			return v
		}
		rv = rv.Elem()
	}
	if rv.Kind() != reflect.Struct {
		return v
	}
	var fields []reflect.StructField
	var values []reflect.Value
	collect(rv, func(sf reflect.StructField, fv reflect.Value) {
		name, _, _ := strings.Cut(sf.Tag.Get("json"), ",")
		if name == "results" && fv.Kind() == reflect.Slice {
			fv = hideEach(g, fv)
			sf.Type = fv.Type()
		} else if name != "success" && !g.allows(name) {
			return
		}
		fields = append(fields, reflect.StructField{Name: sf.Name, Type: sf.Type, Tag: sf.Tag})
		values = append(values, fv)
	})
	out := reflect.New(reflect.StructOf(fields)).Elem()
	for i, fv := range values {
		out.Field(i).Set(fv)
	}
	return out.Interface()
}

// collect visits the fields of a struct in the order of its JSON form.
func collect(v reflect.Value, visit func(reflect.StructField, reflect.Value)) {
	t := v.Type()
	for i := range t.NumField() {
		sf := t.Field(i)
		switch {
		case sf.Anonymous:
			collect(v.Field(i), visit)
		case sf.IsExported() && sf.Tag.Get("json") != "" && sf.Tag.Get("json") != "-":
			visit(sf, v.Field(i))
		}
	}
}

func hideEach(g grant, list reflect.Value) reflect.Value {
	out := make([]any, 0, list.Len())
	for i := range list.Len() {
		out = append(out, hideFields(g, list.Index(i).Interface()))
	}
	return reflect.ValueOf(out)
}
