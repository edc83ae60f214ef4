package migrate

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"
)

// differences lists the members in which two rows differ. Values count, not how they are
// written: times by their moment to the millisecond, which all engines keep; what is
// empty is as what is not there.
func differences(a, b any) []string {
	x, y := members(a), members(b)
	names := slices.Collect(maps.Keys(x))
	for name := range y {
		if _, ok := x[name]; !ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.DeleteFunc(names, func(name string) bool { return x[name] == y[name] })
}

// members are the members of a row that are not empty, each in a normal form.
func members(row any) map[string]string {
	text, err := json.Marshal(row)
	var all map[string]any
	if err == nil {
		d := json.NewDecoder(bytes.NewReader(text))
		d.UseNumber()
		err = d.Decode(&all)
	}
	if err != nil {
		return map[string]string{"row": err.Error()}
	}
	out := make(map[string]string, len(all))
	for name, value := range all {
		if v := normal(value); v != nil {
			out[name] = fmt.Sprint(v) // maps are printed in order
		}
	}
	return out
}

// normal returns a value in its normal form, nil for one that is empty.
func normal(value any) any {
	switch v := value.(type) {
	case string:
		if v == "" {
			return nil
		}
		if t, err := time.Parse(time.RFC3339Nano, v); err == nil {
			if t.IsZero() {
				return nil
			}
			return t.UTC().Truncate(time.Millisecond).String()
		}
		return fmt.Sprintf("%q", v)
	case json.Number:
		if v == "0" {
			return nil
		}
		return v.String()
	case bool:
		if !v {
			return nil
		}
		return v
	case []any:
		if len(v) == 0 {
			return nil
		}
		out := make([]any, len(v))
		for i := range v {
			out[i] = normal(v[i])
		}
		return out
	case map[string]any:
		out := make(map[string]any)
		for name, m := range v {
			if n := normal(m); n != nil {
				out[fmt.Sprintf("%q", name)] = n
			}
		}
		if len(out) == 0 {
			return nil
		}
		return out
	}
	return nil
}
