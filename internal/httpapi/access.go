package httpapi

import (
	"context"
	"net/http"
	"strings"

	"mallard/internal/auth"
	"mallard/internal/mail"
)

// principal is who calls.
type principal struct {
	role string
	// user is the account of a user's token, zero for others.
	user mail.AccountID
	// token is the text of the token, "" without one.
	token string
}

// grant is what the caller may do with the resource of a route.
type grant struct {
	own    bool // with the caller's own things only
	filter auth.Filter
}

// limited reports whether the grant leaves attributes out.
func (g grant) limited() bool { return !g.filter.All() }

// allows reports whether an attribute may be read or written.
func (g grant) allows(name string) bool { return g.filter.Allows(name) }

// tokenParam is the name of the query parameter that may hold a token.
const tokenParam = "accessToken"

// presentedToken returns the token of a request, "" when there is none.
func presentedToken(r *http.Request, query *object) string {
	if v, ok := query.get(tokenParam); ok {
		if s, ok := v.(string); ok && s != "" {
			return s
		}
		if _, many := v.([]any); many {
			return "?" // never valid
		}
	}
	if s := r.Header.Get("X-Access-Token"); s != "" {
		return s
	}
	scheme, value, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if strings.EqualFold(scheme, "Bearer") {
		return strings.TrimSpace(value)
	}
	return ""
}

// authenticate finds out who calls. A token that was sent must be valid even when
// none is needed.
func (a *API) authenticate(ctx context.Context, r *http.Request, query *object) (principal, error) {
	text := presentedToken(r, query)
	if text == "" {
		if a.opt.Tokens.Required() || a.opt.AccessControl {
			return principal{}, errToken()
		}
		return principal{role: auth.RoleRoot}, nil
	}
	g, err := a.opt.Tokens.Check(ctx, text)
	if err != nil && mail.CodeOf(err) == mail.CodeAuthFailed {
		return principal{}, errToken()
	}
	if err != nil {
		return principal{}, err
	}
	p := principal{role: g.Role, token: text}
	if g.Account != nil {
		p.user = g.Account.ID
	}
	return p, nil
}

// authorize asks whether the caller may make this call, and drops the
// parameters that the role may not write.
func (c *call) authorize(r *Route, in any) error {
	switch r.Perm.Scope {
	case ScopeOpen:
		c.grant = grant{filter: everything()}
		return nil
	case ScopeHandler:
		return nil
	}
	if err := c.permit(r.Perm, in); err != nil {
		return err
	}
	if r.Perm.Action == auth.Create || r.Perm.Action == auth.Update {
		dropFields(r.in, c.grant, in)
	}
	return nil
}

// everything is the filter that leaves nothing out.
func everything() auth.Filter {
	f, _ := auth.Roles{"r": {"r": {"read:any": {"*"}}}}.Can("r", "r", auth.Read, false)
	return f
}

// permit grants a permission or fails with errPrivileges.
func (c *call) permit(p Permission, in any) error {
	if f, ok := c.api.roles.Can(c.caller.role, p.Resource, p.Action, false); ok {
		c.grant = grant{filter: f}
		return nil
	}
	f, ok := c.api.roles.Can(c.caller.role, p.Resource, p.Action, true)
	if !ok || c.caller.user.IsZero() {
		return errPrivileges()
	}
	switch p.Scope {
	case ScopeUser, ScopeHandler:
		if !c.owns(in) {
			return errPrivileges()
		}
	case ScopeListing:
	default:
		return errPrivileges()
	}
	c.grant = grant{own: true, filter: f}
	return nil
}

// owns reports whether the user in the path is the caller.
func (c *call) owns(in any) bool {
	u, ok := in.(interface{ account() mail.AccountID })
	return ok && !c.caller.user.IsZero() && u.account() == c.caller.user
}
