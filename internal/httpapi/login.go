package httpapi

import (
	"context"
	"errors"
	"net/http"
	"net/netip"

	"mallard/internal/auth"
	"mallard/internal/mail"
)

const tagAuth = "Authentication"

func (a *API) loginRoutes() []*Route {
	create := Permission{"authentication", auth.Create, ScopeAny}
	return []*Route{
		handle(Route{
			Method: http.MethodPost, Pattern: "/preauth", Name: "preauth", Tag: tagAuth,
			Summary: "Ask whether a user may log in", Description: "No password is checked.", Perm: create,
		}, a.preauth),
		handle(Route{
			Method: http.MethodPost, Pattern: "/authenticate", Name: "authenticate", Tag: tagAuth,
			Summary:     "Check a password, and make an access token on request",
			Description: "Every failure has status 403.",
			Perm:        create,
		}, a.login),
		handle(Route{
			Method: http.MethodDelete, Pattern: "/authenticate", Name: "revokeToken", Tag: tagAuth,
			Summary: "Make the token of this call invalid", AllowUnknown: true,
		}, a.logout),
		handle(Route{
			Method: http.MethodGet, Pattern: "/authenticated", Name: "authenticated", Tag: tagAuth,
			Summary: "Check the access token", Perm: Permission{"authentication", auth.Read, ScopeListing},
		}, a.authenticated),
	}
}

type preauthIn struct {
	Username string `api:"username,required,lower,format=login" doc:"User name or address"`
	Scope    string `api:"scope,default=master" doc:"Service"`
	Session
}

type preauthReply struct {
	success
	ID         mail.AccountID    `json:"id" doc:"User id"`
	Username   string            `json:"username" doc:"User name"`
	Address    string            `json:"address" doc:"Main address"`
	Scope      string            `json:"scope" doc:"Service"`
	Require2FA orFalse[[]string] `json:"require2fa" doc:"Second factors of which one is needed, or false"`
}

func (a *API) preauth(ctx context.Context, _ *call, in *preauthIn) (preauthReply, error) {
	res, err := a.opt.Logins.PreAuth(ctx, in.Username, in.Scope)
	if err != nil {
		return preauthReply{}, loginFailure(err, false)
	}
	acct := res.Account
	return preauthReply{ok(), acct.ID, acct.Username, acct.Address, in.Scope, factors(res.Require2FA)}, nil
}

func factors(list []string) orFalse[[]string] {
	if len(list) == 0 {
		return orFalse[[]string]{}
	}
	return some(list)
}

// loginFailure gives every failure of a login the status 403. For trusted callers
// it tells the id of a known user.
func loginFailure(err error, withID bool) error {
	code := "InternalDatabaseError"
	switch {
	case errors.Is(err, auth.ErrTempNotYetValid):
		code = "TempPasswordNotYetValid"
	case mail.CodeOf(err) == mail.CodeAuthFailed:
		code = "AuthFailed"
	case mail.CodeOf(err) == mail.CodeAuthScope:
		code = "InvalidAuthScope"
	case mail.CodeOf(err) == mail.CodeRateLimited:
		code = "RateLimitedError"
	}
	e := newError(http.StatusForbidden, code, mail.PublicText(err)).because(err)
	if id := auth.AccountOf(err); withID && code == "AuthFailed" && !id.IsZero() {
		e.ID = id.String()
	}
	return e
}

type loginIn struct {
	Username string `api:"username,required,lower,format=login" doc:"User name or address"`
	Password string `api:"password,required,max=256" doc:"Password"`
	Protocol string `api:"protocol,default=API" doc:"Protocol, for the log"`
	Scope    string `api:"scope,default=master" doc:"Service; master for the API"`
	AppID    string `api:"appId,format=uri,blank" doc:"Application, for WebAuthn"`
	Token    bool   `api:"token,default=false" doc:"Make an access token; with scope master only"`
	Session
}

type loginReply struct {
	success
	ID         mail.AccountID    `json:"id" doc:"User id"`
	Username   string            `json:"username" doc:"User name"`
	Address    *string           `json:"address,omitempty" doc:"Main address; not there for an application password"`
	Scope      string            `json:"scope" doc:"Service"`
	Require2FA orFalse[[]string] `json:"require2fa" doc:"Second factors of which one is still needed, or false"`
	Demand2FA  *bool             `json:"require2faEnabled,omitempty" doc:"A second factor is demanded"`
	Change     *bool             `json:"requirePasswordChange,omitempty" doc:"The password is to be changed"`
	Token      string            `json:"token,omitempty" doc:"Access token of role user"`
}

func (a *API) login(ctx context.Context, c *call, in *loginIn) (loginReply, error) {
	if in.Token && in.Scope != auth.ScopeMaster {
		d := &decoder{}
		d.fail(place{}.child("scope", ""), "must be [master]")
		return loginReply{}, d.err()
	}
	ip, err := netip.ParseAddr(string(in.IP))
	if err != nil {
		ip = netip.Addr{}
	}
	res, err := a.opt.Logins.Authenticate(ctx, auth.Request{
		Username: in.Username, Password: in.Password, Scope: in.Scope, Protocol: in.Protocol, IP: ip, Session: in.Sess, AppID: in.AppID,
	})
	if err != nil {
		return loginReply{}, loginFailure(err, true)
	}
	acct := res.Account
	reply := loginReply{success: ok(), ID: acct.ID, Username: acct.Username, Scope: in.Scope, Require2FA: factors(res.Require2FA)}
	if res.Source != auth.SourceASP {
		reply.Address, reply.Demand2FA, reply.Change = &acct.Address, &acct.Require2FA, &res.RequirePasswordChange
	}
	// Without a second factor that is asked for there is no token: the checks of
	// second factors are calls of their own.
	if in.Token && len(res.Require2FA) == 0 {
		if reply.Token, err = a.opt.Tokens.Issue(ctx, acct); err != nil {
			return loginReply{}, err
		}
	}
	return reply, nil
}

func (a *API) logout(ctx context.Context, c *call, _ *noParams) (success, error) {
	if c.caller.token == "" {
		return ok(), nil
	}
	return ok(), a.opt.Tokens.Revoke(ctx, c.caller.token)
}

type authenticatedIn struct{ Session }

func (a *API) authenticated(context.Context, *call, *authenticatedIn) (success, error) {
	return ok(), nil
}
