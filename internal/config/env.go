package config

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"strconv"
	"strings"
)

// EnvPrefix starts the names of environment variables that override keys:
// MALLARD_IMAP_PORT is port in [imap], MALLARD_IMAP_INTERFACE_1_PORT in the first
// [[imap.interface]].
const EnvPrefix = "MALLARD_"

// maxInterfaces is the greatest number of an [[imap.interface]] in a variable.
const maxInterfaces = 64

// Environ is the environment that Load is normally given.
func Environ() []string { return os.Environ() }

// EnvName is the variable that overrides a key.
func EnvName(path string) string {
	return EnvPrefix + strings.ToUpper(strings.ReplaceAll(path, ".", "_"))
}

// applyEnv sets keys from the environment and returns which variable set which key.
func applyEnv(c *Config, environ []string) (map[string]string, error) {
	c.addInterfaces(environ)
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
			problems = append(problems, fmt.Errorf("environment: %s: %w; it needs %s", name, err, k.wants()))
			continue
		}
		set[k.path] = "environment: " + name
	}
	return set, errors.Join(problems...)
}

// addInterfaces makes the further ports that variables name beyond those that there
// are. A number may not be left out.
func (c *Config) addInterfaces(environ []string) {
	named := make(map[int]bool)
	for _, e := range environ {
		name, _, _ := strings.Cut(e, "=")
		rest, ok := strings.CutPrefix(name, EnvName(interfaceTable)+"_")
		if !ok {
			continue
		}
		number, _, _ := strings.Cut(rest, "_")
		if n, err := strconv.Atoi(number); err == nil && n <= maxInterfaces {
			named[n] = true
		}
	}
	for named[len(c.IMAP.Interfaces)+1] {
		c.IMAP.Interfaces = append(c.IMAP.Interfaces, Interface{Listener: Listener{Enabled: true, Host: defaultHost}})
	}
}

// reserved are variables with the prefix that are no keys: those of the test suite.
func reserved(name string) bool {
	return name == "MALLARD_CI" || strings.HasPrefix(name, "MALLARD_TEST_") || strings.HasPrefix(name, "MALLARD_E2E_")
}

func setText(v reflect.Value, text string) error {
	if u, ok := v.Addr().Interface().(interface{ UnmarshalText([]byte) error }); ok {
		return u.UnmarshalText([]byte(text))
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
	case reflect.Interface: // of a URL: a table cannot be a variable
		v.Set(reflect.ValueOf(text))
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
	case reflect.Slice: // of strings: there is no other
		list := []string{}
		for part := range strings.SplitSeq(text, ",") {
			if part = strings.TrimSpace(part); part != "" {
				list = append(list, part)
			}
		}
		v.Set(reflect.ValueOf(list))
	default:
		return fmt.Errorf("a %s cannot be set here", v.Kind())
	}
	return nil
}
