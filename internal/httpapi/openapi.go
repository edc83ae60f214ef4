package httpapi

import (
	"encoding"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"time"
)

// schema is a JSON Schema of draft 2020-12, or another part of the document.
type schema = map[string]any

// document builds the OpenAPI 3.1 document from the table of routes.
func (a *API) document() schema {
	g := &generator{schemas: schema{}}
	paths := schema{}
	templates := map[string]*Route{}
	for _, r := range a.routes {
		g.template = firstOf(templates, r)
		path := openapiPath(g.template.Pattern)
		item, _ := paths[path].(schema)
		if item == nil {
			item = schema{}
			paths[path] = item
		}
		item[strings.ToLower(r.Method)] = g.operation(r)
	}
	g.schemas["Error"] = g.structSchema(reflect.TypeFor[errorBody]())
	g.schemas["TransportError"] = g.structSchema(reflect.TypeFor[transportBody]())
	return schema{
		"openapi":           "3.1.0",
		"jsonSchemaDialect": "https://json-schema.org/draft/2020-12/schema",
		"info": schema{
			"title": "Mallard API", "version": orUnknown(a.opt.Version),
			"description": "The HTTP API of Mallard. It is compatible with that of WildDuck.",
			"license":     schema{"name": "Apache-2.0", "identifier": "Apache-2.0"},
		},
		"servers": []schema{{"url": "/"}},
		"tags":    a.tags(),
		"paths":   paths,
		"security": []schema{
			{"tokenHeader": []string{}}, {"bearer": []string{}}, {"tokenQuery": []string{}}, {},
		},
		"components": schema{
			"schemas":   g.schemas,
			"responses": errorResponses(),
			"securitySchemes": schema{
				"tokenHeader": schema{"type": "apiKey", "in": "header", "name": "X-Access-Token"},
				"tokenQuery":  schema{"type": "apiKey", "in": "query", "name": tokenParam},
				"bearer":      schema{"type": "http", "scheme": "bearer"},
			},
		},
	}
}

func orUnknown(version string) string {
	if version == "" {
		return "unknown"
	}
	return version
}

func (a *API) tags() []schema {
	var out []schema
	seen := map[string]bool{}
	for _, r := range a.routes {
		if !seen[r.Tag] {
			seen[r.Tag] = true
			out = append(out, schema{"name": r.Tag})
		}
	}
	return out
}

// errorResponses are the replies that are not specific to a route.
func errorResponses() schema {
	one := func(text string, names ...string) schema {
		forms := []schema{}
		for _, n := range names {
			forms = append(forms, ref("schemas", n))
		}
		s := forms[0]
		if len(forms) > 1 {
			s = schema{"anyOf": forms}
		}
		return schema{"description": text, "content": schema{typePlainJSON: schema{"schema": s}}}
	}
	return schema{
		"BadRequest":  one("A parameter is wrong, or the call cannot be made as it stands", "Error", "TransportError"),
		"Forbidden":   one("The token is not valid, or its role may not make this call", "Error", "TransportError"),
		"NotFound":    one("What the path names does not exist", "Error"),
		"ServerError": one("The call failed", "Error"),
		"TooLarge":    one("The body is larger than the limit", "Error"),
	}
}

func ref(kind, name string) schema { return schema{"$ref": "#/components/" + kind + "/" + name} }

func openapiPath(pattern string) string {
	parts := strings.Split(pattern, "/")
	for i, p := range parts {
		if name, ok := strings.CutPrefix(p, ":"); ok {
			parts[i] = "{" + name + "}"
		}
	}
	return strings.Join(parts, "/")
}

// firstOf is the first route with the path of r. Paths that differ only in the names
// of their parameters are one path of a document, and must be there once (OpenAPI
// 3.1, 4.8.8).
func firstOf(templates map[string]*Route, r *Route) *Route {
	parts := strings.Split(r.Pattern, "/")
	for i, p := range parts {
		if strings.HasPrefix(p, ":") {
			parts[i] = ":"
		}
	}
	path := strings.Join(parts, "/")
	if templates[path] == nil {
		templates[path] = r
	}
	return templates[path]
}

// generator collects the named schemas of a document.
type generator struct {
	schemas  schema
	template *Route // of which the current operation takes the names in its path
}

func (g *generator) operation(r *Route) schema {
	op := schema{
		"operationId": r.Name, "tags": []string{r.Tag}, "summary": r.Summary,
		"responses": schema{
			"200": g.success(r),
			"400": ref("responses", "BadRequest"), "403": ref("responses", "Forbidden"),
			"404": ref("responses", "NotFound"), "500": ref("responses", "ServerError"),
		},
	}
	if text := g.description(r); text != "" {
		op["description"] = text
	}
	inBody := r.Method == http.MethodPost || r.Method == http.MethodPut
	var params []schema
	for _, f := range r.in.fields {
		if !inBody || f.rules.path {
			params = append(params, g.parameter(r, f))
		}
	}
	if len(params) > 0 {
		op["parameters"] = params
	}
	if inBody {
		op["requestBody"] = g.requestBody(r)
		op["responses"].(schema)["413"] = ref("responses", "TooLarge")
	}
	return op
}

func (g *generator) description(r *Route) string {
	parts := []string{}
	if r.Description != "" {
		parts = append(parts, r.Description)
	}
	if r.Perm.Resource != "" {
		whose := "any"
		if r.Perm.Scope == ScopeUser || r.Perm.Scope == ScopeListing || r.Perm.Scope == ScopeHandler {
			whose = "own or any"
		}
		parts = append(parts, fmt.Sprintf("Needs the right to %s %s %s.", r.Perm.Action, whose, r.Perm.Resource))
	}
	if r.AllowUnknown {
		parts = append(parts, "Unknown parameters are ignored.")
	}
	return strings.Join(parts, "\n\n")
}

func (g *generator) parameter(r *Route, f *field) schema {
	name, in := f.name, "query"
	if f.rules.path {
		name, in = g.template.names[slices.Index(r.names, f.name)], "path"
	}
	p := schema{"name": name, "in": in, "schema": g.field(f)}
	if f.rules.required {
		p["required"] = true
	}
	if f.doc != "" {
		p["description"] = f.doc
	}
	if f.sub != nil && f.items == nil {
		p["style"], p["explode"] = "deepObject", true
	}
	return p
}

func (g *generator) requestBody(r *Route) schema {
	name := upperFirst(r.Name) + "Request"
	g.schemas[name] = g.object(r.in, r.AllowUnknown)
	content := schema{}
	for _, media := range []string{mediaJSON, mediaForm, mediaMultipart} {
		content[media] = schema{"schema": ref("schemas", name)}
	}
	if r.Raw {
		content["message/rfc822"] = schema{"schema": schema{"type": "string", "contentMediaType": "message/rfc822"}}
	}
	body := schema{"content": content}
	if required, _ := g.schemas[name].(schema)["required"].([]string); len(required) > 0 {
		body["required"] = true
	}
	return body
}

// object is the schema of a parameter struct, without path parameters.
func (g *generator) object(p *plan, allowUnknown bool) schema {
	props := schema{}
	var required []string
	for _, f := range p.fields {
		if f.rules.path {
			continue
		}
		s := g.field(f)
		if f.doc != "" {
			s["description"] = f.doc
		}
		props[f.name] = s
		if f.rules.required {
			required = append(required, f.name)
		}
	}
	out := schema{"type": "object", "properties": props}
	if required != nil {
		out["required"] = required
	}
	if !allowUnknown {
		out["additionalProperties"] = false
	}
	return out
}

func (g *generator) field(f *field) schema { return g.param(f.typ, f.sub, &f.rules, f.items) }

func (g *generator) param(t reflect.Type, sub *plan, r, items *rules) schema {
	if isCustom(t) {
		s := reflect.New(t).Interface().(customParam).paramSchema()
		addDefault(s, t, r)
		return s
	}
	if t == timeType {
		return schema{"anyOf": []schema{{"type": "string", "format": "date-time"}, {"type": "integer"}}}
	}
	s := schema{}
	switch t.Kind() {
	case reflect.String:
		s["type"] = "string"
		addStringRules(s, r)
	case reflect.Bool:
		s["type"] = "boolean"
	case reflect.Int, reflect.Int64, reflect.Uint32:
		s["type"] = "integer"
		if r.hasMin {
			s["minimum"] = r.min
		}
		if r.hasMax {
			s["maximum"] = r.max
		}
	case reflect.Array:
		s["type"], s["pattern"] = "string", "^[0-9a-fA-F]{24}$"
	case reflect.Slice:
		s["type"], s["items"] = "array", g.param(t.Elem(), sub, items, nil)
		if r.hasMax {
			s["maxItems"] = r.max
		}
		if r.unique {
			s["uniqueItems"] = true
		}
	case reflect.Struct:
		s = g.object(sub, false)
	}
	addDefault(s, t, r)
	return s
}

func addStringRules(s schema, r *rules) {
	switch {
	case r.hasMin:
		s["minLength"] = r.min
	case !r.blank && !r.empty:
		s["minLength"] = 1
	}
	if r.hasMax {
		s["maxLength"] = r.max
	}
	if r.in != nil {
		s["enum"] = r.in
	}
	if r.format == "email" || r.format == "uri" {
		s["format"] = r.format
	}
	if r.pattern != "" {
		s["pattern"] = namedPatterns[r.pattern].schema
	}
}

func addDefault(s schema, t reflect.Type, r *rules) {
	if !r.hasDef {
		return
	}
	switch t.Kind() {
	case reflect.Bool:
		s["default"] = r.def == "true"
	case reflect.Int, reflect.Int64, reflect.Uint32:
		if n, ok := parseNumber(r.def); ok {
			s["default"] = n
		}
	case reflect.String:
		s["default"] = r.def
	}
}

func (g *generator) success(r *Route) schema {
	if r.Produces != "" {
		return schema{"description": "Success", "content": schema{r.Produces: schema{"schema": schema{}}}}
	}
	name := upperFirst(r.Name) + "Response"
	s := schema{}
	if r.out.Kind() == reflect.Struct {
		s = g.structSchema(r.out)
	}
	g.schemas[name] = s
	return schema{"description": "Success", "content": schema{typePlainJSON: schema{"schema": ref("schemas", name)}}}
}

// schemaProvider is a reply type that describes itself.
type schemaProvider interface{ replySchema() schema }

// reply is the schema of a value as encoding/json writes it.
func (g *generator) reply(t reflect.Type) schema {
	if p, ok := reflect.New(t).Interface().(schemaProvider); ok {
		return p.replySchema()
	}
	switch {
	case t == timeType || t == reflect.TypeFor[Date]():
		return schema{"type": []string{"string", "null"}, "format": "date-time"}
	case t == reflect.TypeFor[time.Duration]():
		return schema{"type": "integer"}
	case t.Kind() == reflect.Array && t.Implements(reflect.TypeFor[encoding.TextMarshaler]()):
		return schema{"type": "string", "pattern": "^[0-9a-f]{24}$"}
	}
	switch t.Kind() {
	case reflect.Pointer:
		return g.reply(t.Elem())
	case reflect.String:
		return schema{"type": "string"}
	case reflect.Bool:
		return schema{"type": "boolean"}
	case reflect.Int, reflect.Int64, reflect.Uint32, reflect.Uint64:
		return schema{"type": "integer"}
	case reflect.Float64:
		return schema{"type": "number"}
	case reflect.Slice, reflect.Array:
		return schema{"type": "array", "items": g.reply(t.Elem())}
	case reflect.Map:
		return schema{"type": "object", "additionalProperties": g.reply(t.Elem())}
	case reflect.Struct:
		name := upperFirst(t.Name())
		if name == "" {
			return g.structSchema(t)
		}
		if _, ok := g.schemas[name]; !ok {
			g.schemas[name] = schema{} // against endless recursion
			g.schemas[name] = g.structSchema(t)
		}
		return ref("schemas", name)
	}
	return schema{}
}

// structSchema is the schema of a struct with its members.
func (g *generator) structSchema(t reflect.Type) schema {
	props := schema{}
	var required []string
	for i := range t.NumField() {
		sf := t.Field(i)
		if sf.Anonymous {
			inner := g.structSchema(sf.Type)
			for k, v := range inner["properties"].(schema) {
				props[k] = v
			}
			more, _ := inner["required"].([]string)
			required = append(required, more...)
			continue
		}
		name, opts, _ := strings.Cut(sf.Tag.Get("json"), ",")
		if name == "" || name == "-" {
			continue
		}
		s := g.reply(sf.Type)
		if doc := sf.Tag.Get("doc"); doc != "" {
			s["description"] = doc
		}
		props[name] = s
		if !strings.Contains(opts, "omit") {
			required = append(required, name)
		}
	}
	out := schema{"type": "object", "properties": props}
	if required != nil {
		out["required"] = required
	}
	return out
}

func upperFirst(s string) string {
	if s == "" {
		return ""
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

func (*orderedStrings) replySchema() schema {
	return schema{"type": "object", "additionalProperties": schema{"type": "string"}}
}

func (rawObject) replySchema() schema { return schema{"type": "object"} }

func (nullString) replySchema() schema { return schema{"type": []string{"string", "null"}} }

func (orFalse[T]) replySchema() schema {
	g := &generator{schemas: schema{}}
	s := g.reply(reflect.TypeFor[T]())
	if len(g.schemas) > 0 { // a named struct: described in place
		s = g.structSchema(reflect.TypeFor[T]())
	}
	return schema{"anyOf": []schema{s, {"const": false}}}
}
