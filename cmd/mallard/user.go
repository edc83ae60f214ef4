package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"

	"mallard/internal/control"
)

type userCmds struct {
	Add    userAddCmd    `cmd:"" help:"Make a user."`
	List   userListCmd   `cmd:"" help:"List the users."`
	Show   userShowCmd   `cmd:"" help:"Show a user with addresses and mailboxes."`
	Set    userSetCmd    `cmd:"" help:"Change a user."`
	Passwd userPasswdCmd `cmd:"" help:"Change a password."`
	Rm     userRmCmd     `cmd:"" help:"Delete a user with all mail."`
}

// userPath is where the HTTP API has a user.
func userPath(u *control.User) string { return "/users/" + u.ID.String() }

// find finds a user by user name or address.
func (s *session) find(ctx context.Context, name string) (*control.User, error) {
	var u control.User
	err := s.Call(ctx, http.MethodGet, "/_control/user?name="+url.QueryEscape(name), nil, &u)
	if e, ok := errors.AsType[*control.Error](err); ok && e.Status == http.StatusNotFound {
		return nil, fmt.Errorf("there is no user %q; `mallard user list` shows all", name)
	}
	if err != nil {
		return nil, fmt.Errorf("find user %q: %w", name, err)
	}
	return &u, nil
}

type userAddCmd struct {
	Name        string `arg:"" help:"User name, with which the user can log in."`
	Address     string `placeholder:"A" help:"Main address, with which the user can log in as well. Without it one is made from the user name and emailDomain of the configuration."`
	DisplayName string `name:"name" placeholder:"N" help:"Display name."`
	Quota       size   `placeholder:"SIZE" help:"Room for mail, for example 500M or 2G. Without it the default of the configuration holds."`
	passwordFlags
	JSON bool `name:"json" help:"Print JSON."`
}

// Help is shown by --help.
func (userAddCmd) Help() string {
	return `Examples:
  mallard user add jane --address jane@example.org
  mallard user add jane --address jane@example.org --name "Jane Doe" --quota 5G
  pass show mail/jane | mallard user add jane --password-stdin
  mallard user add jane --json | jq -r .password

Without a password one is asked for on a terminal, else generated and printed.`
}

// newUser is what user add prints as JSON.
type newUser struct {
	ID       string `json:"id"`
	Username string `json:"username"`
	Address  string `json:"address"`
	Password string `json:"password,omitempty"` // only when it was generated
}

// Run makes a user.
func (u userAddCmd) Run(ctx context.Context, c *cli) error {
	secret, generated, err := u.get(ctx)
	if err != nil {
		return err
	}
	return c.with(ctx, makeStore, func(s *session) error {
		in := map[string]any{"username": u.Name, "password": secret}
		if u.Address != "" {
			in["address"] = u.Address
		}
		if u.DisplayName != "" {
			in["name"] = u.DisplayName
		}
		if u.Quota > 0 {
			in["quota"] = u.Quota
		}
		var made struct {
			ID string `json:"id"`
		}
		if err := s.Call(ctx, http.MethodPost, "/users", in, &made); err != nil {
			return fmt.Errorf("make user %q: %w", u.Name, err)
		}
		var got control.User
		if err := s.Call(ctx, http.MethodGet, "/users/"+made.ID, nil, &got); err != nil {
			return fmt.Errorf("read the new user: %w", err)
		}
		out := newUser{ID: made.ID, Username: got.Username, Address: got.Address}
		if generated {
			out.Password = secret
		}
		return out.print(u.JSON)
	})
}

func (n newUser) print(asJSON bool) error {
	if asJSON {
		return printJSON(n)
	}
	return table(os.Stdout, func(row func(...any)) {
		row("User", n.Username)
		row("Address", n.Address)
		row("Id", n.ID)
		if n.Password != "" {
			row("Password", n.Password)
		}
	})
}

type userListCmd struct {
	Query string `placeholder:"TEXT" help:"Only users with this in the user name or the main address."`
	JSON  bool   `name:"json" help:"Print a JSON object for each user, one a line."`
}

// Help is shown by --help.
func (userListCmd) Help() string {
	return `Examples:
  mallard user list
  mallard user list --query example.org
  mallard user list --json | jq -r 'select(.disabled) | .username'`
}

// listedUser is what a list shows of a user.
type listedUser struct {
	ID        string `json:"id"`
	Username  string `json:"username"`
	Address   string `json:"address"`
	Disabled  bool   `json:"disabled"`
	Suspended bool   `json:"suspended"`
	Quota     struct {
		Allowed int64 `json:"allowed"`
		Used    int64 `json:"used"`
	} `json:"quota"`
}

func (u *listedUser) state() string {
	switch {
	case u.Disabled:
		return "disabled"
	case u.Suspended:
		return "suspended"
	}
	return "active"
}

func (u *listedUser) room() string {
	if u.Quota.Allowed == 0 {
		return "no limit"
	}
	return bytesText(u.Quota.Allowed)
}

// Run lists users, page after page.
func (u userListCmd) Run(ctx context.Context, c *cli) error {
	return c.with(ctx, readStore, func(s *session) error {
		var failed error
		err := table(os.Stdout, func(row func(...any)) {
			if !u.JSON {
				row("USER", "ADDRESS", "USED", "QUOTA", "STATE", "ID")
			}
			failed = u.pages(ctx, s, func(raw json.RawMessage) error {
				if u.JSON {
					return printJSON(raw)
				}
				var one listedUser
				if err := json.Unmarshal(raw, &one); err != nil {
					return fmt.Errorf("read user: %w", err)
				}
				row(plain(one.Username), plain(one.Address), bytesText(one.Quota.Used), one.room(), one.state(), one.ID)
				return nil
			})
		})
		return errors.Join(failed, err)
	})
}

func (u userListCmd) pages(ctx context.Context, s *session, each func(json.RawMessage) error) error {
	next := ""
	for {
		q := url.Values{"limit": {"250"}, "query": {u.Query}}
		if next != "" {
			q.Set("next", next)
		}
		var page struct {
			Results []json.RawMessage `json:"results"`
			Next    any               `json:"nextCursor"` // false at the end
		}
		if err := s.Call(ctx, http.MethodGet, "/users?"+q.Encode(), nil, &page); err != nil {
			return fmt.Errorf("list users: %w", err)
		}
		for _, raw := range page.Results {
			if err := each(raw); err != nil {
				return err
			}
		}
		var more bool
		if next, more = page.Next.(string); !more {
			return nil
		}
	}
}

type userShowCmd struct {
	Name string `arg:"" help:"User name or address."`
	JSON bool   `name:"json" help:"Print JSON: the user as the HTTP API has it, with addresses and mailboxes."`
}

// Help is shown by --help.
func (userShowCmd) Help() string {
	return `Examples:
  mallard user show jane
  mallard user show jane@example.org --json | jq .limits.quota`
}

// Run shows a user.
func (u userShowCmd) Run(ctx context.Context, c *cli) error {
	return c.with(ctx, readStore, func(s *session) error {
		found, err := s.find(ctx, u.Name)
		if err != nil {
			return err
		}
		all := map[string]json.RawMessage{}
		var addresses, mailboxes struct {
			Results json.RawMessage `json:"results"`
		}
		err = s.Call(ctx, http.MethodGet, userPath(found), nil, &all)
		if err == nil {
			err = s.Call(ctx, http.MethodGet, userPath(found)+"/addresses", nil, &addresses)
		}
		if err == nil {
			err = s.Call(ctx, http.MethodGet, userPath(found)+"/mailboxes?counters=true&sizes=true&showHidden=true", nil, &mailboxes)
		}
		if err != nil {
			return fmt.Errorf("show user %q: %w", u.Name, err)
		}
		delete(all, "success")
		all["addresses"], all["mailboxes"] = addresses.Results, mailboxes.Results
		if u.JSON {
			return printJSON(all)
		}
		return showUser(all)
	})
}

// shownUser is what is printed of a user.
type shownUser struct {
	listedUser
	DisplayName string `json:"name"`
	Limits      struct {
		Quota struct {
			Allowed int64 `json:"allowed"`
			Used    int64 `json:"used"`
		} `json:"quota"`
	} `json:"limits"`
	HasPassword bool     `json:"hasPasswordSet"`
	Scopes      []string `json:"disabledScopes"`
	Addresses   []struct {
		Address string `json:"address"`
		Main    bool   `json:"main"`
	} `json:"addresses"`
	Mailboxes []struct {
		Path       string `json:"path"`
		SpecialUse string `json:"specialUse"`
		Total      int64  `json:"total"`
		Unseen     int64  `json:"unseen"`
		Size       int64  `json:"size"`
	} `json:"mailboxes"`
}

func showUser(all map[string]json.RawMessage) error {
	b, err := json.Marshal(all)
	if err != nil {
		return fmt.Errorf("read user: %w", err)
	}
	var u shownUser
	if err := json.Unmarshal(b, &u); err != nil {
		return fmt.Errorf("read user: %w", err)
	}
	u.Quota.Allowed, u.Quota.Used = u.Limits.Quota.Allowed, u.Limits.Quota.Used
	return table(os.Stdout, func(row func(...any)) {
		row("User", plain(u.Username))
		row("Name", plain(u.DisplayName))
		row("Id", u.ID)
		row("State", u.state())
		row("Password", map[bool]string{true: "set", false: "none"}[u.HasPassword])
		row("Used", bytesText(u.Quota.Used), "of", u.room())
		for _, a := range u.Addresses {
			row("Address", plain(a.Address), map[bool]string{true: "main"}[a.Main])
		}
		row()
		row("MAILBOX", "MESSAGES", "UNSEEN", "SIZE", "USE")
		for _, m := range u.Mailboxes {
			row(plain(m.Path), m.Total, m.Unseen, bytesText(m.Size), m.SpecialUse)
		}
	})
}
