package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// decode reads TOML over c and returns the line of each key that it sets.
func decode(c *Config, file string, b []byte) (map[string]int, error) {
	// A file that lists interfaces replaces those of the default.
	interfaces := c.IMAP.Interfaces
	c.IMAP.Interfaces = nil
	d := toml.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(c); err != nil {
		return nil, explain(c, file, err)
	}
	lines := keyLines(b)
	if c.IMAP.Interfaces == nil {
		if _, ok := lines["imap.interface"]; !ok {
			c.IMAP.Interfaces = interfaces
		}
	}
	return lines, nil
}

// explain turns a decoder's error into one line for each problem.
func explain(c *Config, file string, err error) error {
	var strict *toml.StrictMissingError
	if errors.As(err, &strict) {
		var all []error
		for i := range strict.Errors {
			e := &strict.Errors[i]
			row, _ := e.Position()
			k := e.Key()
			table := strings.Join(k[:len(k)-1], ".")
			where := "at the top level"
			if table != "" {
				where = "in [" + table + "]"
			}
			all = append(all, fmt.Errorf("%s:%d: unknown key %q %s; allowed are: %s",
				file, row, strings.Join(k, "."), where, strings.Join(c.allowed(table), ", ")))
		}
		return errors.Join(all...)
	}
	var dec *toml.DecodeError
	if errors.As(err, &dec) {
		row, col := dec.Position()
		return fmt.Errorf("%s:%d:%d: %s: %s", file, row, col, strings.Join(dec.Key(), "."), strings.TrimPrefix(dec.Error(), "toml: "))
	}
	return fmt.Errorf("%s: %w", file, err)
}

// keyLines finds the line on which each key stands. It is only used for errors
// about values, so it gives up quietly where the decoder would have failed.
func keyLines(b []byte) map[string]int {
	lines := make(map[string]int)
	var p unstable.Parser
	p.Reset(b)
	table := ""
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
			table = path
			lines[path] = line
		case unstable.KeyValue:
			if table != "" {
				path = table + "." + path
			}
			lines[path] = line
		default:
		}
	}
	return lines
}

// Print writes the configuration in force as a TOML file with explanations.
// Secrets are replaced unless they are empty.
func (c *Config) Print(w io.Writer) error {
	var b bytes.Buffer
	printTable(&b, reflect.ValueOf(c).Elem(), "")
	_, err := w.Write(b.Bytes())
	return err
}

func printTable(b *bytes.Buffer, v reflect.Value, table string) {
	var nested []func()
	for _, f := range flatten(v) {
		name := f.field.Tag.Get("toml")
		path := strings.TrimPrefix(table+"."+name, ".")
		switch {
		case f.value.Kind() == reflect.Struct:
			nested = append(nested, func() {
				fmt.Fprintf(b, "\n[%s]\n", path)
				printTable(b, f.value, path)
			})
		case f.value.Kind() == reflect.Slice && f.value.Type().Elem().Kind() == reflect.Struct:
			nested = append(nested, func() {
				for i := range f.value.Len() {
					fmt.Fprintf(b, "\n[[%s]]\n", path)
					printTable(b, f.value.Index(i), path)
				}
			})
		default:
			printKey(b, name, f)
		}
	}
	for _, n := range nested {
		n()
	}
}

func printKey(b *bytes.Buffer, name string, f flatField) {
	if doc := f.field.Tag.Get("doc"); doc != "" {
		fmt.Fprintf(b, "# %s", doc)
		if allow := f.field.Tag.Get("allow"); allow != "" {
			fmt.Fprintf(b, " (%s)", strings.ReplaceAll(allow, ",", ", "))
		}
		b.WriteByte('\n')
	}
	value := f.value.Interface()
	if f.field.Tag.Get("secret") == "true" && !f.value.IsZero() {
		value = "[redacted]"
	}
	text, err := toml.Marshal(map[string]any{name: value})
	if err != nil {
		fmt.Fprintf(b, "# %s: %v\n", name, err)
		return
	}
	b.Write(text)
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
