package httpapi

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"slices"
)

// Route is one line of the table that the API is made of.
type Route struct {
	Method, Pattern string
	// Name identifies the route in the OpenAPI document, such as listUsers.
	Name, Tag, Summary, Description string
	Perm                            Permission
	// AllowUnknown lets parameters pass that the route does not know.
	AllowUnknown bool
	// Raw routes take bodies that are not parameters as a stream.
	Raw bool
	// HeaderParams are header fields that are parameters too, and win.
	HeaderParams []string
	// Produces is the media type of the reply when it is not JSON.
	Produces string
	// PlainErrors drops the charset from the type of error replies, which
	// WildDuck leaves out on routes that stream.
	PlainErrors bool

	in    *plan
	out   reflect.Type
	names []string // path parameters
	run   func(ctx context.Context, c *call, params any) (any, error)
}

// Scope says whose things a permission covers.
type Scope uint8

// The scopes. An open route asks for a valid token only, when tokens are asked
// for at all.
const (
	ScopeOpen    Scope = iota
	ScopeUser          // those of the user in the path, or any
	ScopeAny           // any
	ScopeListing       // any, or a listing of the caller's own
	ScopeHandler       // the handler asks, because it depends on the parameters
)

// Permission is what a caller's role must hold.
type Permission struct {
	Resource string
	Action   string // create, read, update or delete
	Scope    Scope
}

// streamed is the result of handlers that have written the reply themselves.
type streamed struct{}

// handle completes a route with its handler and the types that it reads and writes.
func handle[In, Out any](r Route, h func(ctx context.Context, c *call, in *In) (Out, error)) *Route {
	r.in = newPlan(reflect.TypeFor[In]())
	r.out = reflect.TypeFor[Out]()
	r.names = paramNames(r.Pattern)
	for _, f := range r.in.fields {
		if f.rules.path != slices.Contains(r.names, f.name) {
			panic(fmt.Sprintf("httpapi: %s %s and its parameter struct disagree about the path parameter %s", r.Method, r.Pattern, f.name))
		}
	}
	r.run = func(ctx context.Context, c *call, params any) (any, error) {
		in := new(In)
		if err := r.in.decode(params, in, r.AllowUnknown); err != nil {
			return nil, err
		}
		if err := c.authorize(&r, in); err != nil {
			return nil, err
		}
		out, err := h(ctx, c, in)
		if err != nil {
			return nil, err
		}
		return any(out), nil
	}
	return &r
}

// call is one request on its way through a handler.
type call struct {
	api    *API
	w      http.ResponseWriter
	r      *http.Request
	route  *Route
	caller principal
	grant  grant
	id     string // request id
	// body is the stream of a raw route, nil when the body was parameters.
	body io.ReadCloser
	// params are all parameters: an *object, unless the body was no object.
	params any
}

// success is embedded in replies.
type success struct {
	Success bool `json:"success" doc:"Whether the call did what it should"`
}

// ok is the reply of calls that have nothing to tell.
func ok() success { return success{Success: true} }
