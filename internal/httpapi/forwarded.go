package httpapi

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"mallard/internal/account"
	"mallard/internal/limit"
	"mallard/internal/mail"
)

func (a *API) forwardedRoutes() []*Route {
	forwarded := func(action string) Permission { return Permission{"addresses", action, ScopeAny} }
	return []*Route{
		handle(Route{
			Method: http.MethodPost, Pattern: "/addresses/forwarded", Name: "createForwardedAddress", Tag: tagAddresses,
			Summary: "Make a forwarded address", Perm: forwarded("create"),
		}, a.createForwarded),
		handle(Route{
			Method: http.MethodGet, Pattern: "/addresses/forwarded/:address", Name: "getForwardedAddress", Tag: tagAddresses,
			Summary: "Get a forwarded address", Perm: forwarded("read"),
		}, a.getForwarded),
		handle(Route{
			Method: http.MethodPut, Pattern: "/addresses/forwarded/:id", Name: "updateForwardedAddress", Tag: tagAddresses,
			Summary: "Change a forwarded address", Perm: forwarded("update"),
		}, a.updateForwarded),
		handle(Route{
			Method: http.MethodDelete, Pattern: "/addresses/forwarded/:address", Name: "deleteForwardedAddress", Tag: tagAddresses,
			Summary: "Remove a forwarded address", Perm: forwarded("delete"),
		}, a.deleteForwarded),
	}
}

// autoreplyIn is an automatic reply as it is given.
type autoreplyIn struct {
	Status  *bool        `api:"status" doc:"Whether it is on; it is when not given at first"`
	Start   *DateOrFalse `api:"start" doc:"Not before this date, or false"`
	End     *DateOrFalse `api:"end" doc:"Not after this date, or false"`
	Name    *string      `api:"name,max=128,empty" doc:"Name of the sender"`
	Subject *string      `api:"subject,max=2048,empty" doc:"Subject, empty for that of the message"`
	Text    *string      `api:"text,max=131072,empty" doc:"Reply as text"`
	HTML    *string      `api:"html,max=131072,empty" doc:"Reply as HTML"`
}

// autoreply is an automatic reply as it is stored and shown.
type autoreply struct {
	Status  bool    `json:"status" doc:"Whether it is on"`
	Name    *string `json:"name,omitempty" doc:"Name of the sender"`
	Subject *string `json:"subject,omitempty" doc:"Subject"`
	Text    *string `json:"text,omitempty" doc:"Reply as text"`
	HTML    *string `json:"html,omitempty" doc:"Reply as HTML"`
	Start   Date    `json:"start,omitzero" doc:"Not before this date"`
	End     Date    `json:"end,omitzero" doc:"Not after this date"`
}

func storedAutoreply(text string) *autoreply {
	var r autoreply
	if json.Unmarshal([]byte(text), &r) != nil {
		return &autoreply{}
	}
	return &r
}

// merge takes over what is given. When only one of text and html is given, and
// is empty, the other is emptied as well: it would say what was to be dropped.
func (r *autoreply) merge(in *autoreplyIn) {
	empty := ""
	if in.Text != nil && *in.Text == "" && in.HTML == nil {
		in.HTML = &empty
	}
	if in.HTML != nil && *in.HTML == "" && in.Text == nil {
		in.Text = &empty
	}
	if in.Status != nil {
		r.Status = *in.Status
	}
	for dst, src := range map[**string]*string{&r.Name: in.Name, &r.Subject: in.Subject, &r.Text: in.Text, &r.HTML: in.HTML} {
		if src != nil {
			*dst = src
		}
	}
	if in.Start != nil {
		r.Start = Date(in.Start.Time)
	}
	if in.End != nil {
		r.End = Date(in.End.Time)
	}
}

func (r *autoreply) text() (string, error) {
	b, err := json.Marshal(r)
	if err != nil {
		return "", fmt.Errorf("encode automatic reply: %w", err)
	}
	return string(b), nil
}

type createForwardedIn struct {
	Address       EmailOrWildcard `api:"address,required" doc:"Address, or a wildcard: *@domain, *suffix@domain, user@*"`
	Name          *string         `api:"name,max=128,blank" doc:"Name"`
	Targets       []Target        `api:"targets" doc:"Where mail goes: addresses and smtp, smtps, http or https URIs"`
	Forwards      int64           `api:"forwards,min=0,default=0" doc:"Messages forwarded per day; 0 for the default"`
	AllowWildcard bool            `api:"allowWildcard" doc:"Allow an asterisk in the address"`
	Autoreply     *autoreplyIn    `api:"autoreply" doc:"Automatic reply"`
	Tags          []string        `api:"tags;max=128,trim" doc:"Tags"`
	MetaData      *Meta           `api:"metaData" doc:"Object that is kept with the address"`
	InternalData  *Meta           `api:"internalData" doc:"Object that is kept with the address"`
	Session
}

func (a *API) createForwarded(ctx context.Context, _ *call, in *createForwardedIn) (idReply, error) {
	reply := autoreply{Status: in.Autoreply != nil}
	if in.Autoreply != nil {
		reply.merge(in.Autoreply)
	}
	text, err := reply.text()
	if err != nil {
		return idReply{}, err
	}
	row, err := a.opt.Accounts.AddForwarded(ctx, account.NewForwarded{
		Address: string(in.Address), AllowWildcard: in.AllowWildcard, Targets: texts(in.Targets), Forwards: in.Forwards,
		Autoreply: text, AddressData: addressData(in.Name, in.Tags, in.MetaData, in.InternalData),
	})
	if err != nil {
		return idReply{}, addressFailure(err, errNoAddress())
	}
	return idReply{ok(), row.ID.String()}, nil
}

type forwardedPathIn struct {
	Address mail.AddressID `api:"address,path" doc:"Address id"`
	Session
}

type forwardedLimits struct {
	Forwards windowUse `json:"forwards" doc:"Messages forwarded per day"`
}

type forwardedReply struct {
	success
	ID                mail.AddressID  `json:"id" doc:"Address id"`
	Name              string          `json:"name,omitempty" doc:"Name"`
	Address           string          `json:"address" doc:"The address"`
	Targets           []string        `json:"targets" doc:"Where mail goes"`
	Limits            forwardedLimits `json:"limits" doc:"Limits and what is used of them"`
	Autoreply         *autoreply      `json:"autoreply" doc:"Automatic reply"`
	Tags              []string        `json:"tags" doc:"Tags"`
	ForwardedDisabled bool            `json:"forwardedDisabled,omitempty" doc:"Whether forwarding is off"`
	Created           Date            `json:"created" doc:"When it was made"`
	MetaData          *rawObject      `json:"metaData,omitempty" doc:"Object kept with the address"`
	InternalData      *rawObject      `json:"internalData,omitempty" doc:"Object kept with the address"`
}

func (a *API) forwardedLimits(ctx context.Context, row *mail.Address) (forwardedLimits, error) {
	settings, err := a.opt.Accounts.Settings(ctx)
	if err != nil {
		return forwardedLimits{}, err
	}
	allowed := row.Forwards
	if allowed == 0 {
		allowed = settings.MaxForwards
	}
	return forwardedLimits{a.windowUse(ctx, limit.Forwarded(row.ID.String()), allowed)}, nil
}

func (a *API) getForwarded(ctx context.Context, _ *call, in *forwardedPathIn) (forwardedReply, error) {
	row, err := a.opt.Accounts.Forwarded(ctx, in.Address)
	if err != nil {
		return forwardedReply{}, addressFailure(err, errNoAddress())
	}
	limits, err := a.forwardedLimits(ctx, row)
	return forwardedReply{
		success: ok(), ID: row.ID, Name: row.Name, Address: row.Address, Targets: targetValues(row.Targets), Limits: limits,
		Autoreply: storedAutoreply(row.Autoreply), Tags: list(row.Tags), ForwardedDisabled: row.ForwardedDisabled,
		Created: Date(row.Created), MetaData: optionalObject(row.MetaData, true), InternalData: optionalObject(row.InternalData, true),
	}, err
}

type updateForwardedIn struct {
	ID           mail.AddressID `api:"id,path" doc:"Address id"`
	Address      *string        `api:"address,format=email" doc:"New address"`
	Name         *string        `api:"name,max=128,blank" doc:"Name"`
	Targets      []Target       `api:"targets" doc:"Where mail goes; the list is replaced"`
	Forwards     *int64         `api:"forwards,min=0" doc:"Messages forwarded per day; 0 changes nothing"`
	Autoreply    *autoreplyIn   `api:"autoreply" doc:"Automatic reply; what is not given stays"`
	Tags         []string       `api:"tags;max=128,trim" doc:"Tags"`
	MetaData     *Meta          `api:"metaData" doc:"Object that is kept with the address"`
	InternalData *Meta          `api:"internalData" doc:"Object that is kept with the address"`
	Disabled     *bool          `api:"forwardedDisabled" doc:"Switch forwarding off"`
	Session
}

func (a *API) updateForwarded(ctx context.Context, _ *call, in *updateForwardedIn) (success, error) {
	row, err := a.opt.Accounts.Forwarded(ctx, in.ID)
	if err != nil {
		return success{}, addressFailure(err, errNoAddressID())
	}
	changes := account.ForwardedChanges{
		Address: in.Address, Targets: texts(in.Targets), Disabled: in.Disabled,
		AddressData: addressData(in.Name, in.Tags, in.MetaData, in.InternalData),
	}
	if in.Forwards != nil && *in.Forwards > 0 {
		changes.Forwards = in.Forwards
	}
	if in.Autoreply != nil {
		merged := storedAutoreply(row.Autoreply)
		merged.merge(in.Autoreply)
		text, err := merged.text()
		if err != nil {
			return success{}, err
		}
		changes.Autoreply = &text
	}
	_, err = a.opt.Accounts.UpdateForwarded(ctx, in.ID, changes)
	return ok(), addressFailure(err, errNoAddressID())
}

func (a *API) deleteForwarded(ctx context.Context, _ *call, in *forwardedPathIn) (success, error) {
	return ok(), addressFailure(a.opt.Accounts.DeleteForwarded(ctx, in.Address), errNoAddressID())
}
