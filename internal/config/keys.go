package config

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// key is one leaf of the configuration.
type key struct {
	path  string // imap.port, or imap.interface.1.port for the first further port
	value reflect.Value
	field reflect.StructField
}

// keys lists all leaves below v.
func keys(v reflect.Value, prefix string) []key {
	var out []key
	t := v.Type()
	for i := range t.NumField() {
		f := t.Field(i)
		name := prefix + f.Tag.Get("toml")
		switch {
		case f.Anonymous:
			out = append(out, keys(v.Field(i), prefix)...)
		case f.Type.Kind() == reflect.Struct:
			out = append(out, keys(v.Field(i), name+".")...)
		case isTables(f.Type):
			for n := range v.Field(i).Len() {
				out = append(out, keys(v.Field(i).Index(n), fmt.Sprintf("%s.%d.", name, n+1))...)
			}
		default:
			out = append(out, key{name, v.Field(i), f})
		}
	}
	return out
}

// isTables reports whether a type is an array of tables.
func isTables(t reflect.Type) bool {
	return t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Struct
}

func (c *Config) keys() []key { return keys(reflect.ValueOf(c).Elem(), "") }

// interfaceTable is the only array of tables.
const interfaceTable = "imap.interface"

// schema lists the keys that a file can have: those of an array of tables once,
// without a number.
func schema() []key {
	c := Default()
	c.IMAP.Interfaces = []Interface{{}}
	out := c.keys()
	for i := range out {
		if rest, ok := strings.CutPrefix(out[i].path, interfaceTable+".1."); ok {
			out[i].path = interfaceTable + "." + rest
		}
	}
	return out
}

// allowed lists the keys of a table, for the error about an unknown one.
func allowed(table string) []string {
	var out []string
	prefix := table
	if prefix != "" {
		prefix += "."
	}
	for _, k := range schema() {
		rest, ok := strings.CutPrefix(k.path, prefix)
		if !ok {
			continue
		}
		first, _, nested := strings.Cut(rest, ".")
		switch {
		case nested && prefix+first == interfaceTable:
			first = "[[" + interfaceTable + "]]"
		case nested:
			first = "[" + prefix + first + "]"
		}
		if !slices.Contains(out, first) {
			out = append(out, first)
		}
	}
	slices.Sort(out)
	return out
}

// wants says which values a key takes.
func (k key) wants() string {
	low, high, bounded := strings.Cut(k.field.Tag.Get("range"), "..")
	switch k.value.Interface().(type) {
	case Duration:
		return fmt.Sprintf("a time such as \"90s\", \"30m\" or \"2h\", from %s to %s", low, high)
	case bool:
		return "true or false"
	case []string:
		if example := k.field.Tag.Get("example"); example != "" {
			return "a list such as " + example
		}
		return `a list of texts such as ["a", "b"]`
	case nil, map[string]any:
		return wantsRedis
	case string:
		if k.value.Kind() == reflect.Interface {
			return wantsRedis
		}
		if allow := k.field.Tag.Get("allow"); allow != "" {
			return "one of " + strings.ReplaceAll(allow, ",", ", ")
		}
		return "a text in quotes"
	}
	if bounded {
		return fmt.Sprintf("a whole number from %s to %s", low, high)
	}
	return "a whole number"
}

// wantsRedis says what the only key with several forms takes.
const wantsRedis = `a URL such as "redis://127.0.0.1:6379/3" or a table such as {host = "127.0.0.1", port = 6379, db = 3}`
