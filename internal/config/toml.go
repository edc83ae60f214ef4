package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// decode reads TOML over c and returns the line of each key that it sets.
func decode(c *Config, file string, b []byte) (map[string]int, error) {
	if err := refuseIncludes(file, b); err != nil {
		return nil, err
	}
	// A file that lists interfaces replaces those of the default.
	interfaces := c.IMAP.Interfaces
	c.IMAP.Interfaces = nil
	d := toml.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(c); err != nil {
		return nil, explain(file, err)
	}
	lines := keyLines(b)
	var given map[string]any
	if err := toml.Unmarshal(b, &given); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if err := strict(file, given, lines); err != nil {
		return nil, err
	}
	if c.IMAP.Interfaces == nil {
		c.IMAP.Interfaces = interfaces
		return lines, nil
	}
	c.completeInterfaces(given)
	return lines, nil
}

// strict refuses what the decoder takes: keys in other letters, of which two could
// say different things, and numbers for times, which would be nanoseconds.
func strict(file string, given map[string]any, lines map[string]int) error {
	known, tables := make(map[string]key), make(map[string]bool)
	for _, k := range schema() {
		known[k.path] = k
		for i, r := range k.path {
			if r == '.' {
				tables[k.path[:i]] = true
			}
		}
	}
	var problems []error
	walk(given, nil, "", func(path toml.Key, line string, value any) bool {
		name := strings.Join(path, ".")
		k, ok := known[name]
		switch {
		case !ok && !tables[name]:
			problems = append(problems, fmt.Errorf("%s:%d: %s", file, lines[line], unknownKey(path)))
			return false
		case ok && k.value.Type() == reflect.TypeFor[Duration]():
			if _, text := value.(string); !text {
				problems = append(problems, fmt.Errorf("%s:%d: %s: this needs %s", file, lines[line], name, k.wants()))
			}
		case ok && k.value.Kind() == reflect.Interface:
			return false // the keys of its table are read by who uses them
		}
		return true
	})
	return errors.Join(problems...)
}

// walk calls f for each key and table in order, with its path and the name that
// keyLines has for it; it goes below a table when f returns true.
func walk(table map[string]any, at toml.Key, line string, f func(path toml.Key, line string, value any) bool) {
	for _, name := range slices.Sorted(maps.Keys(table)) {
		value := table[name]
		path, place := append(slices.Clone(at), name), strings.TrimPrefix(line+"."+name, ".")
		if !f(path, place, value) {
			continue
		}
		switch v := value.(type) {
		case map[string]any:
			walk(v, path, place, f)
		case []any:
			for i, element := range v {
				if t, ok := element.(map[string]any); ok {
					walk(t, path, fmt.Sprintf("%s.%d", place, i+1), f)
				}
			}
		}
	}
}

// completeInterfaces gives the interfaces of a file what they leave out: a port
// that is listed is meant to be served, and not to everybody.
func (c *Config) completeInterfaces(given map[string]any) {
	imap, _ := given["imap"].(map[string]any)
	list, _ := imap["interface"].([]any)
	for i := range min(len(list), len(c.IMAP.Interfaces)) {
		keys, _ := list[i].(map[string]any)
		l := &c.IMAP.Interfaces[i]
		if _, ok := keys["enabled"]; !ok {
			l.Enabled = true
		}
		if _, ok := keys["host"]; !ok {
			l.Host = defaultHost
		}
	}
}

// refuseIncludes finds WildDuck's include directive, which is a comment in TOML:
// what it names would be left out without a word.
func refuseIncludes(file string, b []byte) error {
	n := 0
	for line := range bytes.Lines(b) {
		n++
		rest, ok := bytes.CutPrefix(bytes.TrimSpace(line), []byte("#"))
		if !ok {
			continue
		}
		if what, ok := bytes.CutPrefix(bytes.TrimSpace(rest), []byte("@include ")); ok {
			return fmt.Errorf("%s:%d: other files cannot be included: put the keys of %s here, see docs/configuration.md", file, n, bytes.TrimSpace(what))
		}
	}
	return nil
}

// explain turns a decoder's error into one line for each problem.
func explain(file string, err error) error {
	var strict *toml.StrictMissingError
	if errors.As(err, &strict) {
		var all []error
		for i := range strict.Errors {
			e := &strict.Errors[i]
			row, _ := e.Position()
			all = append(all, fmt.Errorf("%s:%d: %s", file, row, unknownKey(e.Key())))
		}
		return errors.Join(all...)
	}
	var dec *toml.DecodeError
	if !errors.As(err, &dec) {
		return fmt.Errorf("%s: %w", file, err)
	}
	row, col := dec.Position()
	path := strings.Join(dec.Key(), ".")
	for _, k := range schema() {
		switch {
		case k.path == path:
			return fmt.Errorf("%s:%d:%d: %s: this needs %s", file, row, col, path, k.wants())
		case strings.HasPrefix(k.path, path+"."):
			return fmt.Errorf("%s:%d:%d: %s: this is a table: write [%s] and its keys below", file, row, col, path, path)
		}
	}
	return fmt.Errorf("%s:%d:%d: this is not TOML: %s", file, row, col, strings.TrimPrefix(dec.Error(), "toml: "))
}

func unknownKey(k toml.Key) string {
	path := strings.Join(k, ".")
	if hint := wildDuckHint(path); hint != "" {
		return fmt.Sprintf("%q is a key of WildDuck: %s", path, hint)
	}
	table := strings.Join(k[:len(k)-1], ".")
	where := "at the top level"
	if table != "" {
		where = "in [" + table + "]"
	}
	return fmt.Sprintf("unknown key %q %s; allowed are: %s", path, where, strings.Join(allowed(table), ", "))
}

// keyLines finds the line on which each key stands. It is only used for errors
// about values, so it gives up quietly where the decoder would have failed.
func keyLines(b []byte) map[string]int {
	lines := make(map[string]int)
	var p unstable.Parser
	p.Reset(b)
	table, interfaces := "", 0
	for p.NextExpression() {
		e := p.Expression()
		var parts []string
		line := 0
		for it := e.Key(); it.Next(); {
			n := it.Node()
			parts = append(parts, string(n.Data))
			line = p.Shape(n.Raw).Start.Line
		}
		path := strings.Join(parts, ".")
		switch e.Kind {
		case unstable.Table, unstable.ArrayTable:
			if path == interfaceTable {
				interfaces++
				path = fmt.Sprintf("%s.%d", path, interfaces)
			}
			table = path
		case unstable.KeyValue:
			if table != "" {
				path = table + "." + path
			}
		default:
		}
		lines[path] = line
	}
	return lines
}

// Print writes the configuration in force as a TOML file with explanations. A
// secret that is set is only written when secrets is true; what stands in its place
// otherwise is refused when it is read.
func (c *Config) Print(w io.Writer, secrets bool) error {
	var b bytes.Buffer
	printer{&b, secrets}.table(reflect.ValueOf(c).Elem(), "")
	_, err := w.Write(b.Bytes())
	return err
}

type printer struct {
	b       *bytes.Buffer
	secrets bool
}

func (p printer) table(v reflect.Value, table string) {
	var nested []func()
	for _, f := range flatten(v) {
		name := f.field.Tag.Get("toml")
		path := strings.TrimPrefix(table+"."+name, ".")
		switch {
		case f.value.Kind() == reflect.Struct:
			nested = append(nested, func() {
				fmt.Fprintf(p.b, "\n[%s]\n", path)
				p.table(f.value, path)
			})
		case isTables(f.value.Type()):
			nested = append(nested, func() {
				for i := range f.value.Len() {
					fmt.Fprintf(p.b, "\n[[%s]]\n", path)
					p.table(f.value.Index(i), path)
				}
			})
		default:
			p.key(name, f)
		}
	}
	for _, n := range nested {
		n()
	}
}

func (p printer) key(name string, f flatField) {
	if doc := f.field.Tag.Get("doc"); doc != "" {
		fmt.Fprintf(p.b, "# %s%s\n", doc, f.limits())
	}
	value := f.value.Interface()
	if !p.secrets {
		value = hide(f.field.Tag.Get("secret"), value)
	}
	enc := toml.NewEncoder(p.b).SetTablesInline(true)
	if err := enc.Encode(map[string]any{name: value}); err != nil {
		fmt.Fprintf(p.b, "# %s: %v\n", name, err)
	}
}

// limits are the values that a key may have, in brackets.
func (f flatField) limits() string {
	if allow := f.field.Tag.Get("allow"); allow != "" {
		return " (" + strings.ReplaceAll(allow, ",", ", ") + ")"
	}
	if low, high, ok := strings.Cut(f.field.Tag.Get("range"), ".."); ok {
		return " (" + low + " to " + high + ")"
	}
	return ""
}

type flatField struct {
	field reflect.StructField
	value reflect.Value
}

// flatten lists the fields of a struct with those of embedded ones in place.
func flatten(v reflect.Value) []flatField {
	var out []flatField
	for i := range v.Type().NumField() {
		f := v.Type().Field(i)
		if f.Anonymous {
			out = append(out, flatten(v.Field(i))...)
			continue
		}
		out = append(out, flatField{f, v.Field(i)})
	}
	return out
}
