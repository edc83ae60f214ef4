package config

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// EnvPrefix starts the names of environment variables that override keys:
// MALLARD_IMAP_PORT is port in [imap].
const EnvPrefix = "MALLARD_"

// key is one leaf of the configuration.
type key struct {
	path  string // imap.port
	value reflect.Value
	field reflect.StructField
}

// keys lists all leaves below v.
func keys(v reflect.Value, prefix string) []key {
	var out []key
	t := v.Type()
	for i := range t.NumField() {
		f := t.Field(i)
		name := f.Tag.Get("toml")
		switch {
		case f.Anonymous:
			out = append(out, keys(v.Field(i), prefix)...)
		case f.Type.Kind() == reflect.Struct:
			out = append(out, keys(v.Field(i), prefix+name+".")...)
		default:
			out = append(out, key{prefix + name, v.Field(i), f})
		}
	}
	return out
}

func (c *Config) keys() []key { return keys(reflect.ValueOf(c).Elem(), "") }

// allowed lists the keys of a table, for the error about an unknown one.
func (c *Config) allowed(table string) []string {
	var out []string
	prefix := table
	if prefix != "" {
		prefix += "."
	}
	for _, k := range c.keys() {
		rest, ok := strings.CutPrefix(k.path, prefix)
		if !ok {
			continue
		}
		first, _, nested := strings.Cut(rest, ".")
		if nested {
			first = "[" + prefix + first + "]"
		}
		if !slices.Contains(out, first) {
			out = append(out, first)
		}
	}
	slices.Sort(out)
	return out
}

// EnvName is the variable that overrides a key.
func EnvName(path string) string {
	return EnvPrefix + strings.ToUpper(strings.ReplaceAll(path, ".", "_"))
}

// applyEnv sets keys from the environment and returns which variable set which key.
func applyEnv(c *Config, environ []string) (map[string]string, error) {
	byName := make(map[string]key)
	for _, k := range c.keys() {
		byName[EnvName(k.path)] = k
	}
	set := make(map[string]string)
	var problems []error
	for _, e := range environ {
		name, value, _ := strings.Cut(e, "=")
		if !strings.HasPrefix(name, EnvPrefix) || reserved(name) {
			continue
		}
		k, ok := byName[name]
		if !ok {
			problems = append(problems, fmt.Errorf("environment: %s names no key of the configuration; `mallard config print` lists them", name))
			continue
		}
		if err := setText(k.value, value); err != nil {
			problems = append(problems, fmt.Errorf("environment: %s: %w", name, err))
			continue
		}
		set[k.path] = "environment: " + name
	}
	return set, errors.Join(problems...)
}

// reserved are variables with the prefix that are no keys: those of the test suite.
func reserved(name string) bool {
	return name == "MALLARD_CI" || strings.HasPrefix(name, "MALLARD_TEST_")
}

func setText(v reflect.Value, text string) error {
	if u, ok := v.Addr().Interface().(interface{ UnmarshalText([]byte) error }); ok {
		return u.UnmarshalText([]byte(text))
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
	case reflect.Bool:
		b, err := strconv.ParseBool(text)
		if err != nil {
			return fmt.Errorf("%q is not true or false", text)
		}
		v.SetBool(b)
	case reflect.Int, reflect.Int64:
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return fmt.Errorf("%q is not a whole number", text)
		}
		v.SetInt(n)
	case reflect.Slice:
		if v.Type().Elem().Kind() != reflect.String {
			return errors.New("this key can only be set in the file")
		}
		v.Set(reflect.ValueOf(strings.Split(text, ",")))
	default:
		return errors.New("this key can only be set in the file")
	}
	return nil
}

// validate checks values; origin says where a key was set.
func (c *Config) validate(origin func(key string) string) error {
	var problems []error
	bad := func(key, format string, args ...any) {
		problems = append(problems, fmt.Errorf("%s: %s", origin(key), fmt.Sprintf(format, args...)))
	}
	for _, k := range c.keys() {
		if allow := k.field.Tag.Get("allow"); allow != "" && !slices.Contains(strings.Split(allow, ","), k.value.String()) {
			bad(k.path, "%q is not allowed; use one of %s", k.value.String(), strings.ReplaceAll(allow, ",", ", "))
		}
		if d, ok := k.value.Interface().(Duration); ok && d < 0 {
			bad(k.path, "%s is negative", time.Duration(d))
		}
		if name := k.field.Tag.Get("toml"); name == "port" && (k.value.Int() < 0 || k.value.Int() > 65535) {
			bad(k.path, "%d is not a port; use 0 to 65535, 0 for any free one", k.value.Int())
		}
	}
	for _, n := range []struct {
		key      string
		v        int64
		min, max int64
	}{
		{"store.cacheMB", int64(c.Store.CacheMB), 8, 1 << 20},
		{"store.memTableMB", int64(c.Store.MemTableMB), 4, 1024},
		{"store.spoolMB", int64(c.Store.SpoolMB), 1, 64},
		{"imap.maxMB", int64(c.IMAP.MaxMB), 1, 1024},
		{"imap.maxLineLength", int64(c.IMAP.MaxLineLength), 1024, 16 << 20},
		{"imap.maxConnections", int64(c.IMAP.MaxConnections), 1, 1 << 20},
		{"lmtp.maxMB", int64(c.LMTP.MaxMB), 1, 1024},
		{"lmtp.maxRecipients", int64(c.LMTP.MaxRecipients), 100, 1 << 20},
		{"lmtp.maxLineLength", int64(c.LMTP.MaxLineLength), 512, 64 << 10},
		{"lmtp.maxErrors", int64(c.LMTP.MaxErrors), 1, 1 << 20},
		{"lmtp.minRate", c.LMTP.MinRate, 1, 1 << 30},
		{"api.maxMB", int64(c.API.MaxMB), 1, 2048},
		{"maxStorage", c.MaxStorage, 0, 1 << 40},
	} {
		if n.v < n.min || n.v > n.max {
			bad(n.key, "%d is out of range; use %d to %d", n.v, n.min, n.max)
		}
	}
	if c.Store.Path == "" {
		bad("store.path", "a directory is needed")
	}
	if (c.TLS.Key == "") != (c.TLS.Cert == "") {
		bad("tls.key", "tls.key and tls.cert go together: set both or none")
	}
	return errors.Join(problems...)
}

// Environ is the environment that Load is normally given.
func Environ() []string { return os.Environ() }
