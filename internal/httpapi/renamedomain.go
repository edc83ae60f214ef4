package httpapi

import (
	"context"
	"fmt"
	"net/http"

	"mallard/internal/account"
	"mallard/internal/address"
	"mallard/internal/auth"
	"mallard/internal/mail"
	"mallard/internal/store"
)

func (a *API) renameDomainRoute() *Route {
	return handle(Route{
		Method: http.MethodPut, Pattern: "/addresses/renameDomain", Name: "renameDomain", Tag: tagAddresses,
		Summary: "Give all addresses of a domain another domain",
		Description: "Addresses are changed one after the other; when the call fails in between it can be made again. " +
			"User names stay as they are.",
		Perm: Permission{"addresses", auth.Update, ScopeAny},
	}, a.renameDomain)
}

type renameDomainIn struct {
	OldDomain string `api:"oldDomain,required" doc:"Present domain"`
	NewDomain string `api:"newDomain,required" doc:"New domain"`
	Session
}

type renameDomainReply struct {
	success
	Addresses int `json:"modifiedAddresses" doc:"Addresses that were changed"`
	Users     int `json:"modifiedUsers" doc:"Users whose main address was changed"`
	DKIM      int `json:"modifiedDkim" doc:"Keys that were changed"`
	Aliases   int `json:"modifiedAliases" doc:"Domain aliases that were changed"`
}

func (a *API) renameDomain(ctx context.Context, _ *call, in *renameDomainIn) (renameDomainReply, error) {
	from, to := address.NormalizeDomain(in.OldDomain), address.NormalizeDomain(in.NewDomain)
	reply := renameDomainReply{success: ok()}
	if !address.ValidDomain(to) {
		return reply, invalid("The new domain is not valid")
	}
	if from == to {
		return reply, nil
	}
	// All rows are read first: changing them changes their place in the list.
	rows, err := a.domainRows(ctx, from)
	if err != nil {
		return reply, err
	}
	for _, row := range rows {
		main, err := a.moveAddress(ctx, row, to)
		if err != nil {
			return reply, addressFailure(fmt.Errorf("rename %s: %w", row.ID, err), errNoAddress())
		}
		reply.Addresses++
		if main {
			reply.Users++
		}
	}
	return reply, nil
}

func (a *API) domainRows(ctx context.Context, domain string) ([]*mail.Address, error) {
	var out []*mail.Address
	q := store.AddressQuery{Contains: "@" + domain, Limit: scanPage}
	for {
		page, err := a.opt.Accounts.ListAddresses(ctx, q)
		if err != nil {
			return nil, err
		}
		for _, row := range page.Addresses {
			if _, d := address.Split(row.Address); d == domain {
				out = append(out, row)
			}
			q.After = row.View
		}
		if !page.More || len(page.Addresses) == 0 {
			return out, nil
		}
	}
}

// moveAddress gives one row another domain. It reports whether it is the main
// address of its account.
func (a *API) moveAddress(ctx context.Context, row *mail.Address, domain string) (main bool, err error) {
	local, _ := address.Split(row.Address)
	addr := local + "@" + domain
	switch {
	case address.IsWildcard(row.Address):
		return false, a.replaceWildcard(ctx, row, addr)
	case row.Account.IsZero():
		_, err := a.opt.Accounts.UpdateForwarded(ctx, row.ID, account.ForwardedChanges{Address: &addr})
		return false, err
	}
	if _, err := a.opt.Accounts.UpdateAddress(ctx, row.Account, row.ID, account.AddressChanges{Address: &addr}); err != nil {
		return false, err
	}
	acct, err := a.opt.Accounts.Get(ctx, row.Account)
	if err != nil {
		return false, err
	}
	return acct.Address == addr, nil
}

// replaceWildcard makes a new row before the old one goes, because the address of
// a wildcard cannot change. A new row that is there already comes from a call
// that failed in between.
func (a *API) replaceWildcard(ctx context.Context, row *mail.Address, addr string) error {
	data := account.AddressData{Name: &row.Name, Tags: row.Tags, MetaData: &row.MetaData, InternalData: &row.InternalData}
	if row.Account.IsZero() {
		_, err := a.opt.Accounts.AddForwarded(ctx, account.NewForwarded{
			Address: addr, AllowWildcard: true, Targets: targetValues(row.Targets), Forwards: row.Forwards, Autoreply: row.Autoreply, AddressData: data,
		})
		if err != nil && mail.CodeOf(err) != mail.CodeExists {
			return err
		}
		return a.opt.Accounts.DeleteForwarded(ctx, row.ID)
	}
	_, err := a.opt.Accounts.AddAddress(ctx, row.Account, account.NewAddress{Address: addr, AllowWildcard: true, AddressData: data})
	if err != nil && mail.CodeOf(err) != mail.CodeExists {
		return err
	}
	return a.opt.Accounts.DeleteAddress(ctx, row.Account, row.ID)
}
