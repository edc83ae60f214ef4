package httpapi

import (
	"net/url"
	"slices"
	"strings"
)

// maxSegment is the greatest length of a path parameter in octets; longer ones
// match no route.
const maxSegment = 196

// router finds routes by path. A literal part of a pattern wins over a parameter.
type router struct{ root node }

type node struct {
	literal map[string]*node
	param   *node
	routes  []*Route // of the pattern that ends here, one a method
}

// add registers a route under its pattern, such as /users/:user/mailboxes.
func (r *router) add(route *Route) {
	n := &r.root
	for part := range strings.SplitSeq(strings.TrimPrefix(route.Pattern, "/"), "/") {
		n = n.next(part)
	}
	if slices.ContainsFunc(n.routes, func(o *Route) bool { return o.Method == route.Method }) {
		panic("httpapi: two routes for " + route.Method + " " + route.Pattern)
	}
	n.routes = append(n.routes, route)
}

func (n *node) next(part string) *node {
	if strings.HasPrefix(part, ":") {
		if n.param == nil {
			n.param = &node{}
		}
		return n.param
	}
	if n.literal == nil {
		n.literal = map[string]*node{}
	}
	if n.literal[part] == nil {
		n.literal[part] = &node{}
	}
	return n.literal[part]
}

// find returns the route of a method and the values of its path parameters. When
// the path is known but not the method, it returns the methods that are.
func (r *router) find(method, escapedPath string) (route *Route, values, allow []string) {
	path, ok := strings.CutPrefix(escapedPath, "/")
	if !ok {
		return nil, nil, nil
	}
	parts := strings.Split(path, "/")
	for i, p := range parts {
		s, err := url.PathUnescape(p)
		if err != nil {
			return nil, nil, nil
		}
		parts[i] = s
	}
	route, values = r.root.match(method, parts, nil, &allow)
	if route != nil {
		return route, values, nil
	}
	return nil, nil, sortMethods(allow)
}

func (n *node) match(method string, parts, values []string, allow *[]string) (*Route, []string) {
	if len(parts) == 0 {
		for _, r := range n.routes {
			if r.Method == method {
				return r, values
			}
			*allow = append(*allow, r.Method)
		}
		return nil, nil
	}
	if next := n.literal[parts[0]]; next != nil {
		if r, v := next.match(method, parts[1:], values, allow); r != nil {
			return r, v
		}
	}
	if n.param == nil || len(parts[0]) > maxSegment {
		return nil, nil
	}
	return n.param.match(method, parts[1:], append(slices.Clip(values), parts[0]), allow)
}

// sortMethods orders methods as an Allow header lists them, without doubles.
func sortMethods(in []string) []string {
	var out []string
	for _, m := range []string{"GET", "POST", "PUT", "DELETE"} {
		if slices.Contains(in, m) {
			out = append(out, m)
		}
	}
	return out
}

// paramNames returns the names of the parameters of a pattern in order.
func paramNames(pattern string) []string {
	var out []string
	for part := range strings.SplitSeq(pattern, "/") {
		if name, ok := strings.CutPrefix(part, ":"); ok {
			out = append(out, name)
		}
	}
	return out
}
