package httpapi

import (
	"context"
	"errors"
	"net/http"

	"mallard/internal/account"
	"mallard/internal/mail"
	"mallard/internal/store"
)

const tagAddresses = "Addresses"

func (a *API) addressRoutes() []*Route {
	addresses := func(action string, scope Scope) Permission { return Permission{"addresses", action, scope} }
	return []*Route{
		handle(Route{
			Method: http.MethodGet, Pattern: "/addresses", Name: "listAddresses", Tag: tagAddresses,
			Summary: "List addresses of users and forwarded addresses",
			Perm:    Permission{"addresslisting", "read", ScopeListing}, AllowUnknown: true,
		}, a.listAddresses),
		handle(Route{
			Method: http.MethodPost, Pattern: "/users/:user/addresses", Name: "createAddress", Tag: tagAddresses,
			Summary: "Give a user another address", Perm: addresses("create", ScopeUser),
		}, a.createAddress),
		handle(Route{
			Method: http.MethodGet, Pattern: "/users/:user/addresses", Name: "listUserAddresses", Tag: tagAddresses,
			Summary: "List the addresses of a user", Perm: addresses("read", ScopeUser),
		}, a.listUserAddresses),
		handle(Route{
			Method: http.MethodGet, Pattern: "/users/:user/addresses/:address", Name: "getAddress", Tag: tagAddresses,
			Summary: "Get an address of a user", Perm: addresses("read", ScopeUser),
		}, a.getAddress),
		handle(Route{
			Method: http.MethodPut, Pattern: "/users/:user/addresses/:id", Name: "updateAddress", Tag: tagAddresses,
			Summary: "Change an address of a user", Perm: addresses("update", ScopeUser),
		}, a.updateAddress),
		handle(Route{
			Method: http.MethodDelete, Pattern: "/users/:user/addresses/:address", Name: "deleteAddress", Tag: tagAddresses,
			Summary: "Remove an address of a user", Description: "The main address cannot be removed.",
			Perm: addresses("delete", ScopeUser),
		}, a.deleteAddress),
		handle(Route{
			Method: http.MethodGet, Pattern: "/addresses/resolve/:address", Name: "resolveAddress", Tag: tagAddresses,
			Summary: "Find who mail for an address is for", Perm: addresses("read", ScopeAny),
		}, a.resolveAddress),
	}
}

func errNoAddress() *Error {
	return newError(http.StatusNotFound, codeNoAddress, "Invalid or unknown address")
}

func errNoAddressID() *Error {
	return newError(http.StatusNotFound, codeNoAddress, "Invalid or unknown email address identifier")
}

// addressFailure gives failures with addresses their codes.
func addressFailure(err error, missing *Error) error {
	code := ""
	switch {
	case err == nil:
		return nil
	case errors.Is(err, account.ErrAddressTaken):
		code = "AddressExistsError"
	case errors.Is(err, account.ErrWildcardChange):
		code = "ChangeNotAllowed"
	case errors.Is(err, account.ErrWildcardMain):
		code = "WildcardNotPermitted"
	case mail.CodeOf(err) == mail.CodeNotFound:
		return missing.because(err)
	default:
		return err
	}
	return newError(http.StatusBadRequest, code, mail.PublicText(err)).because(err)
}

type listAddressesIn struct {
	Query        string `api:"query,max=255,empty,default=" doc:"Part of the address"`
	Forward      string `api:"forward,max=255,blank" doc:"Part of a forwarding target"`
	Tags         string `api:"tags,max=1024,blank" doc:"Comma separated tags, of which the address has at least one"`
	RequiredTags string `api:"requiredTags,max=1024,blank" doc:"Comma separated tags, all of which the address has"`
	MetaData     bool   `api:"metaData" doc:"Show metaData"`
	InternalData bool   `api:"internalData" doc:"Show internalData"`
	Page
	Session
}

type listAddressesReply struct {
	success
	Query string `json:"query" doc:"What was searched for"`
	pageReply
	Results []addressListItem `json:"results" doc:"Addresses in order, dots of the local part aside"`
}

type addressListItem struct {
	ID                mail.AddressID  `json:"id" doc:"Address id"`
	Name              string          `json:"name,omitempty" doc:"Name of the sender"`
	Address           string          `json:"address" doc:"The address"`
	User              *mail.AccountID `json:"user,omitempty" doc:"Whose address it is"`
	Forwarded         bool            `json:"forwarded" doc:"Whether it is a forwarded address"`
	ForwardedDisabled bool            `json:"forwardedDisabled" doc:"Whether forwarding is off"`
	Targets           []string        `json:"targets,omitzero" doc:"Forwarding targets"`
	Tags              []string        `json:"tags" doc:"Tags"`
	MetaData          *rawObject      `json:"metaData,omitempty" doc:"Object kept with the address"`
	InternalData      *rawObject      `json:"internalData,omitempty" doc:"Object kept with the address"`
}

func (a *API) listAddresses(ctx context.Context, c *call, in *listAddressesIn) (listAddressesReply, error) {
	pos, err := in.position(cursorAddresses, 1)
	if err != nil {
		return listAddressesReply{}, err
	}
	q := store.AddressQuery{Limit: in.Limit, Contains: in.Query, Tags: splitTags(in.Tags)}
	required := splitTags(in.RequiredTags)
	if len(q.Tags) == 0 && len(required) > 0 {
		q.Tags, q.AllTags, required = required, true, nil
	}
	if c.grant.own {
		q.Account = c.caller.user
	}
	switch {
	case pos.backward:
		q.Before = pos.key[0]
	case pos.key != nil:
		q.After = pos.key[0]
	}
	var page *store.AddressPage
	if in.Forward == "" && len(required) == 0 {
		page, err = a.opt.Accounts.ListAddresses(ctx, q)
	} else {
		page, err = a.scanAddresses(ctx, q, func(r *mail.Address) bool {
			return hasTarget(r.Targets, in.Forward) && hasTags(r.Tags, required)
		})
	}
	if err != nil {
		return listAddressesReply{}, err
	}
	reply := listAddressesReply{success: ok(), Query: in.Query, Results: make([]addressListItem, 0, len(page.Addresses))}
	for _, row := range page.Addresses {
		reply.Results = append(reply.Results, newAddressListItem(row, in))
	}
	var first, last []string
	if n := len(page.Addresses); n > 0 {
		first, last = []string{page.Addresses[0].View}, []string{page.Addresses[n-1].View}
	}
	reply.pageReply = pos.reply(page.Total, page.More, first, last)
	return reply, nil
}

func newAddressListItem(row *mail.Address, in *listAddressesIn) addressListItem {
	item := addressListItem{
		ID: row.ID, Name: row.Name, Address: row.Address, ForwardedDisabled: row.ForwardedDisabled, Tags: list(row.Tags),
		MetaData: optionalObject(row.MetaData, in.MetaData), InternalData: optionalObject(row.InternalData, in.InternalData),
	}
	if row.Account.IsZero() {
		item.Forwarded, item.Targets = true, targetValues(row.Targets)
	} else {
		item.User = &row.Account
	}
	return item
}

// scanAddresses is scanUsers for addresses.
func (a *API) scanAddresses(ctx context.Context, q store.AddressQuery, keep func(*mail.Address) bool) (*store.AddressPage, error) {
	all := q
	all.After, all.Before, all.Limit = "", "", scanPage
	w := window[*mail.Address]{limit: q.Limit, backward: q.Before != ""}
	for {
		page, err := a.opt.Accounts.ListAddresses(ctx, all)
		if err != nil {
			return nil, err
		}
		for _, row := range page.Addresses {
			if keep(row) {
				w.add(row, row.View > q.After, row.View < q.Before)
			}
			all.After = row.View
		}
		if !page.More || len(page.Addresses) == 0 {
			return &store.AddressPage{Addresses: w.items, Total: w.total, More: w.more}, nil
		}
	}
}

type createAddressIn struct {
	UserPath
	Address       EmailOrWildcard `api:"address,required" doc:"Address, or a wildcard: *@domain, *suffix@domain, user@*"`
	Name          *string         `api:"name,max=128,blank" doc:"Name of the sender"`
	Main          bool            `api:"main" doc:"Make it the main address"`
	AllowWildcard bool            `api:"allowWildcard" doc:"Allow an asterisk in the address"`
	Tags          []string        `api:"tags;max=128,trim" doc:"Tags"`
	MetaData      *Meta           `api:"metaData" doc:"Object that is kept with the address"`
	InternalData  *Meta           `api:"internalData" doc:"Object that is kept with the address and never shown to the user"`
	Session
}

func (a *API) createAddress(ctx context.Context, _ *call, in *createAddressIn) (idReply, error) {
	row, err := a.opt.Accounts.AddAddress(ctx, in.User, account.NewAddress{
		Address: string(in.Address), Main: in.Main, AllowWildcard: in.AllowWildcard,
		AddressData: addressData(in.Name, in.Tags, in.MetaData, in.InternalData),
	})
	if err != nil {
		return idReply{}, addressFailure(err, errNoAddress())
	}
	return idReply{ok(), row.ID.String()}, nil
}

func addressData(name *string, tags []string, meta, internal *Meta) account.AddressData {
	return account.AddressData{Name: name, Tags: tags, MetaData: (*string)(meta), InternalData: (*string)(internal)}
}

type listUserAddressesIn struct {
	UserPath
	MetaData     bool `api:"metaData" doc:"Show metaData"`
	InternalData bool `api:"internalData" doc:"Show internalData"`
	Session
}

type listUserAddressesReply struct {
	success
	Results []addressItem `json:"results" doc:"Addresses in order, dots of the local part aside"`
}

type addressItem struct {
	ID           mail.AddressID `json:"id" doc:"Address id"`
	Name         string         `json:"name,omitempty" doc:"Name of the sender"`
	Address      string         `json:"address" doc:"The address"`
	Main         bool           `json:"main" doc:"Whether it is the main address"`
	Tags         []string       `json:"tags" doc:"Tags"`
	Created      Date           `json:"created" doc:"When it was made"`
	MetaData     *rawObject     `json:"metaData,omitempty" doc:"Object kept with the address"`
	InternalData *rawObject     `json:"internalData,omitempty" doc:"Object kept with the address"`
}

func newAddressItem(acct *mail.Account, row *mail.Address, meta, internal bool) addressItem {
	return addressItem{
		ID: row.ID, Name: row.Name, Address: row.Address, Main: row.Address == acct.Address, Tags: list(row.Tags),
		Created: Date(row.Created), MetaData: optionalObject(row.MetaData, meta), InternalData: optionalObject(row.InternalData, internal),
	}
}

func (a *API) listUserAddresses(ctx context.Context, _ *call, in *listUserAddressesIn) (listUserAddressesReply, error) {
	acct, err := a.opt.Accounts.Get(ctx, in.User)
	if err != nil {
		return listUserAddressesReply{}, err
	}
	rows, err := a.opt.Accounts.AccountAddresses(ctx, in.User)
	if err != nil {
		return listUserAddressesReply{}, err
	}
	reply := listUserAddressesReply{success: ok(), Results: make([]addressItem, 0, len(rows))}
	for _, row := range rows {
		reply.Results = append(reply.Results, newAddressItem(acct, row, in.MetaData, in.InternalData))
	}
	return reply, nil
}

type addressPathIn struct {
	UserPath
	Address mail.AddressID `api:"address,path" doc:"Address id"`
	Session
}

type addressReply struct {
	success
	addressItem
}

func (a *API) getAddress(ctx context.Context, _ *call, in *addressPathIn) (addressReply, error) {
	acct, err := a.opt.Accounts.Get(ctx, in.User)
	if err != nil {
		return addressReply{}, err
	}
	row, err := a.opt.Accounts.AccountAddress(ctx, in.User, in.Address)
	if err != nil {
		return addressReply{}, addressFailure(err, errNoAddress())
	}
	return addressReply{ok(), newAddressItem(acct, row, true, true)}, nil
}

type updateAddressIn struct {
	UserPath
	ID           mail.AddressID `api:"id,path" doc:"Address id"`
	Name         *string        `api:"name,max=128,blank" doc:"Name of the sender"`
	Address      *string        `api:"address,format=email" doc:"New address"`
	Main         *bool          `api:"main" doc:"Make it the main address; false is refused"`
	Tags         []string       `api:"tags;max=128,trim" doc:"Tags"`
	MetaData     *Meta          `api:"metaData" doc:"Object that is kept with the address"`
	InternalData *Meta          `api:"internalData" doc:"Object that is kept with the address and never shown to the user"`
	Session
}

func (a *API) updateAddress(ctx context.Context, _ *call, in *updateAddressIn) (success, error) {
	if _, err := a.opt.Accounts.Get(ctx, in.User); err != nil {
		return success{}, err
	}
	_, err := a.opt.Accounts.UpdateAddress(ctx, in.User, in.ID, account.AddressChanges{
		Address: in.Address, Main: in.Main, AddressData: addressData(in.Name, in.Tags, in.MetaData, in.InternalData),
	})
	return ok(), addressFailure(err, errNoAddressID())
}

func (a *API) deleteAddress(ctx context.Context, _ *call, in *addressPathIn) (success, error) {
	if _, err := a.opt.Accounts.Get(ctx, in.User); err != nil {
		return success{}, err
	}
	return ok(), addressFailure(a.opt.Accounts.DeleteAddress(ctx, in.User, in.Address), errNoAddressID())
}

type resolveAddressIn struct {
	Address       IDOrAddress `api:"address,path" doc:"Address or address id"`
	AllowWildcard bool        `api:"allowWildcard" doc:"Look at wildcard addresses too"`
	Session
}

// resolveReply is an address of a user or a forwarded address.
type resolveReply struct {
	success
	ID           mail.AddressID   `json:"id" doc:"Address id"`
	Name         string           `json:"name,omitempty" doc:"Name, of a forwarded address"`
	Address      string           `json:"address" doc:"The address"`
	User         *mail.AccountID  `json:"user,omitempty" doc:"Whose address it is"`
	Targets      []string         `json:"targets,omitzero" doc:"Targets of a forwarded address"`
	Limits       *forwardedLimits `json:"limits,omitempty" doc:"Limits of a forwarded address"`
	Autoreply    *autoreply       `json:"autoreply,omitempty" doc:"Automatic reply of a forwarded address"`
	Tags         []string         `json:"tags" doc:"Tags"`
	Created      Date             `json:"created" doc:"When it was made"`
	MetaData     *rawObject       `json:"metaData,omitempty" doc:"Object kept with the address"`
	InternalData *rawObject       `json:"internalData,omitempty" doc:"Object kept with the address"`
}

func (a *API) resolveAddress(ctx context.Context, _ *call, in *resolveAddressIn) (resolveReply, error) {
	var row *mail.Address
	var id mail.AddressID
	var err error
	if id.UnmarshalText([]byte(in.Address)) == nil {
		row, err = a.opt.Accounts.Address(ctx, id)
	} else {
		row, err = a.opt.Accounts.Resolve(ctx, string(in.Address), in.AllowWildcard)
	}
	if err != nil {
		return resolveReply{}, addressFailure(err, errNoAddress())
	}
	reply := resolveReply{
		success: ok(), ID: row.ID, Address: row.Address, Tags: list(row.Tags), Created: Date(row.Created),
		MetaData: optionalObject(row.MetaData, true), InternalData: optionalObject(row.InternalData, true),
	}
	if !row.Account.IsZero() {
		reply.User = &row.Account
		return reply, nil
	}
	limits, err := a.forwardedLimits(ctx, row)
	if err != nil {
		return resolveReply{}, err
	}
	reply.Name, reply.Targets, reply.Limits, reply.Autoreply = row.Name, targetValues(row.Targets), &limits, storedAutoreply(row.Autoreply)
	return reply, nil
}
