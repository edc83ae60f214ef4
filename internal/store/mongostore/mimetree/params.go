package mimetree

import "strings"

// maxParams is how many parameters a field may have; more are left out.
const maxParams = 200

// parseParams reads a value with parameters. Quotes do not protect a semicolon, as WildDuck reads them.
func parseParams(s string, media bool) Value {
	v := Value{kind: kindParams}
	first, rest, more := strings.Cut(s, ";")
	v.value = strings.TrimFunc(first, isJSSpace)
	typ := v.value
	if media {
		typ, v.subtype, _ = strings.Cut(v.value, "/")
		typ, v.subtype = strings.TrimFunc(typ, isJSSpace), strings.TrimFunc(v.subtype, isJSSpace)
	}
	v.typ = strings.ToLower(typ)
	for more {
		var part string
		part, rest, more = strings.Cut(rest, ";")
		key, value, _ := strings.Cut(part, "=")
		key = lowerName(strings.TrimFunc(key, isJSSpace))
		if key == "" || !goodKey(key) {
			continue
		}
		v.hasParams = true
		v.setParam(key, strings.TrimFunc(value, isQuoteOrSpace))
	}
	v.mergeParams()
	return v
}

func isQuoteOrSpace(r rune) bool { return r == '"' || r == '\'' || isJSSpace(r) }

func (v *Value) setParam(key, value string) {
	for i := range v.params {
		if v.params[i].key == key {
			v.params[i].value = value
			return
		}
	}
	if len(v.params) < maxParams {
		v.params = append(v.params, parameter{key, value})
	}
}

// mergeParams makes one parameter, an encoded word, of the pieces of RFC 2231.
func (v *Value) mergeParams() {
	var merged []parameter
	var charsets []string
	var rest []parameter
	for _, p := range v.params {
		name, number, extended := splitKey(p.key)
		if number < 0 {
			rest = append(rest, p)
			continue
		}
		at := -1
		for i := range merged {
			if merged[i].key == name {
				at = i
			}
		}
		if at < 0 {
			at = len(merged)
			merged, charsets = append(merged, parameter{key: name}), append(charsets, "UTF-8")
			if extended {
				charset, tail, _ := strings.Cut(p.value, "'")
				_, p.value, _ = strings.Cut(tail, "'")
				if charsets[at] = strings.ToUpper(charset); charset == "" {
					charsets[at] = "ISO-8859-1"
				}
			}
		}
		if extended {
			p.value = wordEscapes.Replace(p.value)
		}
		merged[at].value += p.value
	}
	if merged == nil {
		return
	}
	v.params = rest
	for i, m := range merged {
		v.setParam(m.key, "=?"+charsets[i]+"?Q?"+m.value+"?=")
	}
}

// wordEscapes turns percent escapes into those of an encoded word, and escapes what is special in one.
var wordEscapes = strings.NewReplacer("%", "=", "=", "=3D", "?", "=3F", "_", "=5F", " ", "=20")

// splitKey splits the name of a piece: name*, name*0, name*0*. number is -1 when it is none.
func splitKey(key string) (name string, number int, extended bool) {
	name, tail, ok := strings.Cut(key, "*")
	if !ok || name == "" {
		return key, -1, false
	}
	if tail == "" {
		return name, 0, true
	}
	digits, extended := strings.CutSuffix(tail, "*")
	for i := range len(digits) {
		if digits[i] < '0' || digits[i] > '9' {
			return key, -1, false
		}
	}
	if digits == "" {
		return key, -1, false
	}
	return name, 1, extended
}
