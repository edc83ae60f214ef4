package httpapi

import (
	"context"
	"slices"
	"strings"

	"mallard/internal/account"
	"mallard/internal/mail"
	"mallard/internal/store"
)

type listUsersIn struct {
	Query        string `api:"query,lower,max=255,blank" doc:"Part of the user name or of the main address"`
	Forward      string `api:"forward,lower,max=255,blank" doc:"Part of a forwarding target"`
	Tags         string `api:"tags,max=1024,blank" doc:"Comma separated tags, of which the user has at least one"`
	RequiredTags string `api:"requiredTags,max=1024,blank" doc:"Comma separated tags, all of which the user has"`
	MetaData     bool   `api:"metaData" doc:"Show metaData"`
	InternalData bool   `api:"internalData" doc:"Show internalData"`
	Page
	Session
}

type listUsersReply struct {
	success
	Query string `json:"query,omitempty" doc:"What was searched for"`
	pageReply
	Results []userListItem `json:"results" doc:"Users in order of their ids"`
}

type userListItem struct {
	ID               mail.AccountID `json:"id" doc:"User id"`
	Username         string         `json:"username" doc:"User name"`
	Name             nullString     `json:"name" doc:"Display name"`
	Address          string         `json:"address" doc:"Main address, empty when there is none"`
	Tags             []string       `json:"tags" doc:"Tags"`
	Targets          []string       `json:"targets" doc:"Forwarding targets"`
	Enabled2FA       []string       `json:"enabled2fa" doc:"Second factors in use"`
	Autoreply        bool           `json:"autoreply" doc:"Whether an automatic reply is on"`
	EncryptMessages  bool           `json:"encryptMessages" doc:"Whether stored mail is encrypted"`
	EncryptForwarded bool           `json:"encryptForwarded" doc:"Whether forwarded mail is encrypted"`
	Quota            usage          `json:"quota" doc:"Storage"`
	HasPasswordSet   bool           `json:"hasPasswordSet" doc:"Whether there is a password"`
	Activated        bool           `json:"activated" doc:"Whether the account is in use"`
	Disabled         bool           `json:"disabled" doc:"No login, no mail"`
	Suspended        bool           `json:"suspended" doc:"No login, mail is accepted"`
	MetaData         *rawObject     `json:"metaData,omitempty" doc:"Object kept with the user"`
	InternalData     *rawObject     `json:"internalData,omitempty" doc:"Object kept with the user"`
}

type usage struct {
	Allowed int64 `json:"allowed" doc:"Limit"`
	Used    int64 `json:"used" doc:"Used of it"`
}

func (a *API) listUsers(ctx context.Context, c *call, in *listUsersIn) (listUsersReply, error) {
	pos, err := in.position(cursorUsers, 1)
	if err != nil {
		return listUsersReply{}, err
	}
	page, err := a.userPage(ctx, c, in, &pos)
	if err != nil {
		return listUsersReply{}, err
	}
	settings, err := a.opt.Accounts.Settings(ctx)
	if err != nil {
		return listUsersReply{}, err
	}
	reply := listUsersReply{success: ok(), Query: in.Query, Results: make([]userListItem, 0, len(page.Accounts))}
	for _, acct := range page.Accounts {
		item := newUserListItem(acct, settings)
		item.MetaData = optionalObject(acct.MetaData, in.MetaData)
		item.InternalData = optionalObject(acct.InternalData, in.InternalData)
		reply.Results = append(reply.Results, item)
	}
	var first, last []string
	if n := len(page.Accounts); n > 0 {
		first, last = []string{page.Accounts[0].ID.String()}, []string{page.Accounts[n-1].ID.String()}
	}
	reply.pageReply = pos.reply(page.Total, page.More, first, last)
	return reply, nil
}

func newUserListItem(acct *mail.Account, settings account.Settings) userListItem {
	return userListItem{
		ID: acct.ID, Username: acct.Username, Name: nullString(acct.Name), Address: acct.Address,
		Tags: list(acct.Tags), Targets: targetValues(acct.Targets), Enabled2FA: list(acct.Enabled2FA),
		Autoreply: acct.Autoreply, EncryptMessages: acct.EncryptMessages, EncryptForwarded: acct.EncryptForward,
		Quota:          usage{Allowed: settings.Limits(acct).Quota, Used: acct.StorageUsed},
		HasPasswordSet: acct.Password != "", Activated: acct.Activated, Disabled: acct.Disabled, Suspended: acct.Suspended,
	}
}

// list is a slice that is shown as [] when it is empty.
func list(in []string) []string {
	if in == nil {
		return []string{}
	}
	return in
}

func targetValues(in []mail.Target) []string {
	out := make([]string, 0, len(in))
	for _, t := range in {
		out = append(out, t.Value)
	}
	return out
}

// optionalObject is an object that is shown when it is asked for and there.
func optionalObject(text string, wanted bool) *rawObject {
	if !wanted || text == "" {
		return nil
	}
	o := rawObject(text)
	return &o
}

func splitTags(s string) []string {
	var out []string
	for t := range strings.SplitSeq(s, ",") {
		if t = strings.ToLower(strings.TrimSpace(t)); t != "" {
			out = append(out, t)
		}
	}
	return out
}

// userPage reads the page of users that the parameters ask for.
func (a *API) userPage(ctx context.Context, c *call, in *listUsersIn, pos *position) (*store.AccountPage, error) {
	if c.grant.own {
		acct, err := a.opt.Accounts.Get(ctx, c.caller.user)
		if err != nil {
			return nil, err
		}
		return &store.AccountPage{Accounts: []*mail.Account{acct}, Total: 1}, nil
	}
	q := store.AccountQuery{Limit: in.Limit, Contains: in.Query, Tags: splitTags(in.Tags)}
	required := splitTags(in.RequiredTags)
	if len(q.Tags) == 0 && len(required) > 0 {
		q.Tags, q.AllTags, required = required, true, nil
	}
	if len(pos.key) > 0 {
		edge := &q.After
		if pos.backward {
			edge = &q.Before
		}
		if edge.UnmarshalText([]byte(pos.key[0])) != nil {
			return nil, pos.bad()
		}
	}
	if in.Forward == "" && len(required) == 0 {
		return a.opt.Accounts.List(ctx, q)
	}
	return a.scanUsers(ctx, q, func(acct *mail.Account) bool {
		return hasTarget(acct.Targets, in.Forward) && hasTags(acct.Tags, required)
	})
}

func hasTarget(targets []mail.Target, part string) bool {
	return part == "" || slices.ContainsFunc(targets, func(t mail.Target) bool {
		return strings.Contains(strings.ToLower(t.Value), part)
	})
}

func hasTags(tags, required []string) bool {
	for _, want := range required {
		if !slices.ContainsFunc(tags, func(t string) bool { return strings.ToLower(t) == want }) {
			return false
		}
	}
	return true
}

// scanPage is how many rows are read at a time when the store cannot filter.
const scanPage = 250

// scanUsers filters users by what the store has no query for. It reads them all,
// because the reply has their number.
func (a *API) scanUsers(ctx context.Context, q store.AccountQuery, keep func(*mail.Account) bool) (*store.AccountPage, error) {
	all := q
	all.After, all.Before, all.Limit = mail.AccountID{}, mail.AccountID{}, scanPage
	w := window[*mail.Account]{limit: q.Limit, backward: !q.Before.IsZero()}
	for {
		page, err := a.opt.Accounts.List(ctx, all)
		if err != nil {
			return nil, err
		}
		for _, acct := range page.Accounts {
			if keep(acct) {
				id := acct.ID.String()
				w.add(acct, id > q.After.String(), id < q.Before.String())
			}
			all.After = acct.ID
		}
		if !page.More || len(page.Accounts) == 0 {
			return &store.AccountPage{Accounts: w.items, Total: w.total, More: w.more}, nil
		}
	}
}

// window collects one page of a list that is read from its start to its end.
type window[T any] struct {
	limit    int
	backward bool
	items    []T
	total    int64
	more     bool
}

// add takes the next item, with its place relative to the edges of the query.
func (w *window[T]) add(item T, after, before bool) {
	w.total++
	switch {
	case w.backward && before:
		if w.items = append(w.items, item); len(w.items) > w.limit {
			w.items, w.more = w.items[1:], true
		}
	case !w.backward && after:
		if len(w.items) == w.limit {
			w.more = true
			return
		}
		w.items = append(w.items, item)
	}
}
