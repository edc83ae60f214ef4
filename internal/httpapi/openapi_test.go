package httpapi

import (
	"encoding/json"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"mallard/internal/mail"
)

func document(t *testing.T, w *world) map[string]any {
	t.Helper()
	r := w.call("GET", "/openapi.json", "")
	if r.status != 200 || !strings.HasPrefix(r.header.Get("Content-Type"), "application/json") {
		t.Fatalf("got %d %s", r.status, r.header)
	}
	var doc map[string]any
	must(t, json.Unmarshal([]byte(r.body), &doc))
	return doc
}

func TestOpenAPIHasEveryRoute(t *testing.T) {
	w := newWorld(t)
	doc := document(t, w)
	if doc["openapi"] != "3.1.0" {
		t.Errorf("version %v", doc["openapi"])
	}
	paths := doc["paths"].(map[string]any)
	n, names := 0, map[string]bool{}
	for _, item := range paths {
		n += len(item.(map[string]any))
	}
	if n != len(w.api.routes) {
		t.Errorf("%d operations for %d routes", n, len(w.api.routes))
	}
	templates := map[string]string{}
	for path := range paths {
		s := shapeOf(path)
		if other, ok := templates[s]; ok {
			t.Errorf("%s and %s are the same path, which OpenAPI forbids", path, other)
		}
		templates[s] = path
	}
	for _, r := range w.api.routes {
		path := templates[shapeOf(openapiPath(r.Pattern))]
		item, _ := paths[path].(map[string]any)
		op, _ := item[strings.ToLower(r.Method)].(map[string]any)
		if op == nil {
			t.Errorf("%s %s is missing", r.Method, r.Pattern)
			continue
		}
		if r.Name == "" || names[r.Name] || r.Summary == "" || r.Tag == "" {
			t.Errorf("%s %s: name %q, summary %q and tag %q must be there, the name once", r.Method, r.Pattern, r.Name, r.Summary, r.Tag)
		}
		names[r.Name] = true
		checkOperation(t, r, path, op)
	}
}

var templateName = regexp.MustCompile(`\{[^}]*\}`)

// shapeOf is a path without the names of its parameters.
func shapeOf(path string) string { return templateName.ReplaceAllString(path, "{}") }

// checkOperation wants every parameter of the route in its place.
func checkOperation(t *testing.T, r *Route, path string, op map[string]any) {
	t.Helper()
	var inPath []string
	params, _ := op["parameters"].([]any)
	for _, p := range params {
		p := p.(map[string]any)
		if p["in"] == "path" {
			inPath = append(inPath, p["name"].(string))
			if p["required"] != true {
				t.Errorf("%s: path parameter %v is not required", r.Name, p["name"])
			}
		}
		if p["description"] == nil || p["schema"] == nil {
			t.Errorf("%s: parameter %v needs a description and a schema", r.Name, p["name"])
		}
	}
	slices.Sort(inPath)
	var want []string
	for _, name := range templateName.FindAllString(path, -1) {
		want = append(want, strings.Trim(name, "{}"))
	}
	slices.Sort(want)
	if !slices.Equal(inPath, want) {
		t.Errorf("%s: path parameters %v, want %v", r.Name, inPath, want)
	}
	hasBody := op["requestBody"] != nil
	if hasBody != (r.Method == "POST" || r.Method == "PUT") {
		t.Errorf("%s: requestBody is %v", r.Name, hasBody)
	}
	responses := op["responses"].(map[string]any)
	for _, status := range []string{"200", "400", "403", "404", "500"} {
		if responses[status] == nil {
			t.Errorf("%s: no response %s", r.Name, status)
		}
	}
}

func TestOpenAPIReferencesResolve(t *testing.T) {
	doc := document(t, newWorld(t))
	used := map[string]bool{}
	walk(doc, "#", func(path string, v map[string]any) {
		target, ok := v["$ref"].(string)
		if !ok {
			return
		}
		used[target] = true
		var at any = doc
		for _, step := range strings.Split(strings.TrimPrefix(target, "#/"), "/") {
			m, _ := at.(map[string]any)
			at = m[step]
		}
		if at == nil {
			t.Errorf("%s refers to %s, which does not exist", path, target)
		}
	})
	for name := range doc["components"].(map[string]any)["schemas"].(map[string]any) {
		if !used["#/components/schemas/"+name] {
			t.Errorf("schema %s is never used", name)
		}
	}
}

func walk(v any, path string, visit func(string, map[string]any)) {
	switch t := v.(type) {
	case map[string]any:
		visit(path, t)
		for _, k := range slices.Sorted(maps.Keys(t)) {
			walk(t[k], path+"/"+k, visit)
		}
	case []any:
		for _, e := range t {
			walk(e, path+"/-", visit)
		}
	}
}

// TestOpenAPISchemas holds all schemas to the vocabulary of JSON Schema 2020-12.
func TestOpenAPISchemas(t *testing.T) {
	doc := document(t, newWorld(t))
	kinds := []string{"string", "integer", "number", "boolean", "object", "array", "null"}
	var check func(path string, v any)
	check = func(path string, v any) {
		s, ok := v.(map[string]any)
		if !ok {
			t.Errorf("%s is no schema: %v", path, v)
			return
		}
		for key, val := range s {
			switch key {
			case "type":
				list, isList := val.([]any)
				if !isList {
					list = []any{val}
				}
				for _, k := range list {
					if name, ok := k.(string); !ok || !slices.Contains(kinds, name) {
						t.Errorf("%s: type %v", path, k)
					}
				}
			case "properties":
				for name, p := range val.(map[string]any) {
					check(path+"/"+name, p)
				}
			case "items", "additionalProperties":
				if _, isBool := val.(bool); !isBool {
					check(path+"/"+key, val)
				}
			case "anyOf":
				for _, e := range val.([]any) {
					check(path+"/anyOf", e)
				}
			case "required":
				props, _ := s["properties"].(map[string]any)
				for _, name := range val.([]any) {
					if props[name.(string)] == nil {
						t.Errorf("%s requires %v, which it does not have", path, name)
					}
				}
			case "minimum", "maximum", "minLength", "maxLength", "maxItems":
				if _, isNum := val.(float64); !isNum {
					t.Errorf("%s: %s is %v", path, key, val)
				}
			case "$ref", "description", "format", "pattern", "enum", "const", "default", "uniqueItems", "examples", "contentMediaType":
			default:
				t.Errorf("%s has the unknown keyword %s", path, key)
			}
		}
	}
	for name, s := range doc["components"].(map[string]any)["schemas"].(map[string]any) {
		check(name, s)
	}
}

func TestEveryReplyMemberIsDescribed(t *testing.T) {
	w := newWorld(t)
	var visit func(owner string, rt reflect.Type)
	seen := map[reflect.Type]bool{}
	visit = func(owner string, rt reflect.Type) {
		for rt.Kind() == reflect.Pointer || rt.Kind() == reflect.Slice {
			rt = rt.Elem()
		}
		if rt.Kind() != reflect.Struct || seen[rt] || rt.PkgPath() != reflect.TypeFor[API]().PkgPath() {
			return
		}
		seen[rt] = true
		for i := range rt.NumField() {
			f := rt.Field(i)
			if !f.Anonymous && f.Tag.Get("json") != "" && f.Tag.Get("doc") == "" {
				t.Errorf("%s: %s.%s has no doc", owner, rt, f.Name)
			}
			visit(owner, f.Type)
		}
	}
	for _, r := range w.api.routes {
		visit(r.Name, r.out)
	}
}

// TestCodeTable holds the table of codes complete.
func TestCodeTable(t *testing.T) {
	table := codeTable()
	for c := mail.Code(0); !strings.HasPrefix(c.String(), "code-"); c++ {
		m, ok := table[c]
		if !ok || m.status < 400 || m.code == "" {
			t.Errorf("%s: %+v", c, m)
		}
	}
}
