package httpapi

import (
	"errors"
	"net/url"
	"strconv"
	"strings"
)

// errTooManyParams is returned for more than maxParams names.
var errTooManyParams = errors.New("too many parameters")

// parseQuery reads a query string or a urlencoded body. Names nest with
// brackets and, when dots is set, with dots: or[from]=x, or.from=x. A name that
// comes again makes an array. A pair that cannot be percent-decoded is kept as
// it stands.
func parseQuery(raw string, dots bool) (*object, error) {
	o := newObject()
	n := 0
	for pair := range strings.SplitSeq(raw, "&") {
		if pair == "" {
			continue
		}
		if n++; n > maxParams {
			return nil, errTooManyParams
		}
		name, value, _ := strings.Cut(pair, "=")
		setNested(o, splitName(unescape(name), dots), unescape(value))
	}
	return o, nil
}

func unescape(s string) string {
	if out, err := url.QueryUnescape(s); err == nil {
		return out
	}
	return strings.ReplaceAll(s, "+", " ")
}

// splitName splits a[b][] into a, b and "". A name that is not well formed, or
// nests deeper than maxDepth, is one part.
func splitName(name string, dots bool) []string {
	base, rest := name, ""
	if i := strings.IndexByte(name, '['); i > 0 {
		base, rest = name[:i], name[i:]
	}
	parts := []string{base}
	if dots && strings.Contains(base, ".") && !strings.HasPrefix(base, ".") && !strings.HasSuffix(base, ".") {
		parts = strings.Split(base, ".")
	}
	for rest != "" {
		end := strings.IndexByte(rest, ']')
		if rest[0] != '[' || end < 0 {
			return []string{name}
		}
		parts = append(parts, rest[1:end])
		rest = rest[end+1:]
	}
	if len(parts) > maxDepth {
		return []string{name}
	}
	return parts
}

// setNested stores v under the path of names. "" and small numbers make arrays.
func setNested(o *object, parts []string, v any) {
	key := parts[0]
	old, exists := o.get(key)
	if len(parts) == 1 {
		if !exists {
			o.set(key, v)
			return
		}
		if list, ok := old.([]any); ok {
			o.set(key, append(list, v))
			return
		}
		o.set(key, []any{old, v})
		return
	}
	if isIndex(parts[1]) && len(parts) == 2 {
		list, _ := old.([]any)
		if exists && list == nil {
			list = []any{old}
		}
		o.set(key, append(list, v))
		return
	}
	if isIndex(parts[1]) && parts[1] != "" {
		setElement(o, key, parts[1:], v)
		return
	}
	child, ok := old.(*object)
	if !ok {
		child = newObject()
		o.set(key, child)
	}
	setNested(child, parts[1:], v)
}

// setElement stores a[1][name]=v: elements may only come in order.
func setElement(o *object, key string, parts []string, v any) {
	old, _ := o.get(key)
	list, _ := old.([]any)
	i, _ := strconv.Atoi(parts[0])
	if i >= len(list) {
		list = append(list, newObject())
		i = len(list) - 1
	}
	child, ok := list[i].(*object)
	if !ok {
		child = newObject()
		list[i] = child
	}
	o.set(key, list)
	setNested(child, parts[1:], v)
}

func isIndex(s string) bool {
	if s == "" {
		return true
	}
	n, err := strconv.Atoi(s)
	return err == nil && n >= 0 && n < maxParams && len(s) <= 3
}
