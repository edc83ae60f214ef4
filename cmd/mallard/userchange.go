package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"

	"mallard/internal/control"
)

type userSetCmd struct {
	Name        string  `arg:"" help:"User name or address."`
	DisplayName *string `name:"name" placeholder:"N" help:"Display name."`
	Quota       *size   `placeholder:"SIZE" help:"Room for mail, for example 500M or 2G; 0 for the default of the configuration."`
	Disable     bool    `xor:"state" help:"No login, and no mail is accepted."`
	Suspend     bool    `xor:"state" help:"No login; mail is accepted."`
	Enable      bool    `xor:"state" help:"Login and mail again."`
}

// Help is shown by --help.
func (userSetCmd) Help() string {
	return `Examples:
  mallard user set jane --quota 10G
  mallard user set jane@example.org --suspend

Everything else can be changed with the HTTP API, see docs/cli.md.`
}

// Run changes a user.
func (u userSetCmd) Run(ctx context.Context, c *cli) error {
	in := map[string]any{}
	if u.DisplayName != nil {
		in["name"] = *u.DisplayName
	}
	if u.Quota != nil {
		in["quota"] = *u.Quota
	}
	if u.Disable || u.Suspend || u.Enable {
		in["disabled"], in["suspended"] = u.Disable, u.Suspend
	}
	if len(in) == 0 {
		return usageError{errors.New("say what to change: --name, --quota, --disable, --suspend or --enable")}
	}
	return c.with(ctx, changeStore, func(s *session) error {
		found, err := s.find(ctx, u.Name)
		if err != nil {
			return err
		}
		if err := s.Call(ctx, http.MethodPut, userPath(found), in, nil); err != nil {
			return fmt.Errorf("change user %q: %w", u.Name, err)
		}
		return nil
	})
}

type userPasswdCmd struct {
	Name string `arg:"" help:"User name or address."`
	passwordFlags
	JSON bool `name:"json" help:"Print JSON."`
}

// Help is shown by --help.
func (userPasswdCmd) Help() string {
	return `Examples:
  mallard user passwd jane                    asks for it
  mallard user passwd jane --password-stdin < file

Without a password one is asked for on a terminal, else generated and printed.
All sessions of the user end, and all access tokens of the user become invalid.`
}

// Run changes a password.
func (u userPasswdCmd) Run(ctx context.Context, c *cli) error {
	return c.with(ctx, changeStore, func(s *session) error {
		found, err := s.find(ctx, u.Name)
		if err != nil {
			return err
		}
		secret, generated, err := u.get(ctx)
		if err != nil {
			return err
		}
		in := map[string]any{"password": secret}
		if err := s.Call(ctx, http.MethodPut, userPath(found), in, nil); err != nil {
			return fmt.Errorf("change the password of %q: %w", u.Name, err)
		}
		out := newUser{ID: found.ID.String(), Username: found.Username, Address: found.Address}
		if generated {
			out.Password = secret
		}
		if u.JSON {
			return printJSON(out)
		}
		if generated {
			fmt.Println("The new password of", plain(found.Username), "is", secret)
		}
		return nil
	})
}

type userRmCmd struct {
	Name string `arg:"" help:"User name or address."`
	Yes  bool   `help:"Do not ask."`
	JSON bool   `name:"json" help:"Print JSON."`
}

// Help is shown by --help.
func (userRmCmd) Help() string {
	return `Examples:
  mallard user rm jane
  mallard user rm jane@example.org --yes

Addresses, mailboxes and messages go as well, and do not come back.`
}

// Run deletes a user.
func (u userRmCmd) Run(ctx context.Context, c *cli) error {
	return c.with(ctx, changeStore, func(s *session) error {
		found, err := s.find(ctx, u.Name)
		if err != nil {
			return err
		}
		if err := u.confirm(ctx, s, found); err != nil {
			return err
		}
		if err := s.Call(ctx, http.MethodDelete, userPath(found), nil, nil); err != nil {
			return fmt.Errorf("delete user %q: %w", u.Name, err)
		}
		if u.JSON {
			return printJSON(newUser{ID: found.ID.String(), Username: found.Username, Address: found.Address})
		}
		fmt.Println("Deleted", plain(found.Username))
		return nil
	})
}

// confirm makes sure that somebody means it.
func (u userRmCmd) confirm(ctx context.Context, s *session, found *control.User) error {
	if u.Yes {
		return nil
	}
	if !isTerminal(os.Stdin) {
		return usageError{errors.New("nobody is here to ask: give --yes to delete the user")}
	}
	var boxes []control.Mailbox
	if err := s.Call(ctx, http.MethodGet, "/_control"+userPath(found)+"/mailboxes", nil, &boxes); err != nil {
		return fmt.Errorf("look at the user's mail: %w", err)
	}
	var messages, octets int64
	for _, b := range boxes {
		messages, octets = messages+b.Messages, octets+b.Size
	}
	fmt.Fprintf(os.Stderr, "Delete %s (%s) with %d messages, %s, for ever? Type the user name: ",
		plain(found.Username), plain(found.Address), messages, bytesText(octets))
	answer, err := answerOf(ctx)
	if err != nil {
		return err
	}
	if answer != found.Username {
		return errors.New("nothing was deleted")
	}
	return nil
}
