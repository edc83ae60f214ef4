package httpapi

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"mallard/internal/mail"
)

const tagMailboxes = "Mailboxes"

func (a *API) mailboxRoutes() []*Route {
	mailboxes := func(action string) Permission { return Permission{"mailboxes", action, ScopeUser} }
	return []*Route{
		handle(Route{
			Method: http.MethodGet, Pattern: "/users/:user/mailboxes", Name: "listMailboxes", Tag: tagMailboxes,
			Summary:     "List mailboxes",
			Description: "INBOX and what is below it come first, then subscribed mailboxes, then others, each in order of their paths.",
			Perm:        mailboxes("read"),
		}, a.listMailboxes),
		handle(Route{
			Method: http.MethodPost, Pattern: "/users/:user/mailboxes", Name: "createMailbox", Tag: tagMailboxes,
			Summary: "Create a mailbox", Description: "Mailboxes above it are not made.", Perm: mailboxes("create"),
		}, a.createMailbox),
		handle(Route{
			Method: http.MethodGet, Pattern: "/users/:user/mailboxes/:mailbox", Name: "getMailbox", Tag: tagMailboxes,
			Summary: "Get a mailbox", Description: "With the word resolve in place of the id, path selects the mailbox.", Perm: mailboxes("read"),
		}, a.getMailbox),
		handle(Route{
			Method: http.MethodPut, Pattern: "/users/:user/mailboxes/:mailbox", Name: "updateMailbox", Tag: tagMailboxes,
			Summary: "Change a mailbox", Description: "A new path does not move the mailboxes below.", Perm: mailboxes("update"),
		}, a.updateMailbox),
		handle(Route{
			Method: http.MethodDelete, Pattern: "/users/:user/mailboxes/:mailbox", Name: "deleteMailbox", Tag: tagMailboxes,
			Summary: "Delete a mailbox with its messages", Description: "INBOX, hidden mailboxes and those with a special use cannot be deleted.",
			Perm: mailboxes("delete"),
		}, a.deleteMailbox),
	}
}

// MailboxPath is the path of a mailbox: levels joined by slashes.
type MailboxPath string

func (p *MailboxPath) decodeParam(d *decoder, at place, _ *rules, v any) {
	s, good := d.str(at, &rules{pattern: "mailboxpath"}, v)
	if !good {
		return
	}
	s = strings.TrimLeft(s, mail.Separator)
	if s == "" {
		d.fail(at, "is not allowed to be empty")
		return
	}
	levels := strings.Split(s, mail.Separator)
	if len(levels) > mail.MaxNameDepth {
		d.note(at, "The mailbox path cannot be more than 128 levels deep")
		return
	}
	if slices.ContainsFunc(levels, func(l string) bool { return utf16Len(l) > mail.MaxNameLen }) {
		d.note(at, "Any part of the mailbox path cannot be longer than 512 chars long")
		return
	}
	*p = MailboxPath(s)
}

func (p *MailboxPath) paramSchema() schema {
	return schema{"type": "string", "minLength": 1, "pattern": namedPatterns["mailboxpath"].schema}
}

type listMailboxesIn struct {
	UserPath
	SpecialUse bool `api:"specialUse,default=false" doc:"INBOX and mailboxes with a special use only"`
	ShowHidden bool `api:"showHidden,default=false" doc:"Hidden mailboxes as well"`
	Counters   bool `api:"counters,default=false" doc:"Show total and unseen"`
	Sizes      bool `api:"sizes,default=false" doc:"Show size"`
	Session
}

type listMailboxesReply struct {
	success
	Results []mailboxItem `json:"results" doc:"Mailboxes"`
}

type mailboxItem struct {
	ID         mail.MailboxID `json:"id" doc:"Mailbox id"`
	Name       string         `json:"name" doc:"Last level of the path"`
	Path       string         `json:"path" doc:"Levels joined by slashes"`
	SpecialUse *nullString    `json:"specialUse,omitempty" doc:"Special use, null for INBOX"`
	ModSeq     mail.ModSeq    `json:"modifyIndex" doc:"Grows with each change of the mailbox"`
	Subscribed bool           `json:"subscribed" doc:"Whether it is subscribed"`
	Hidden     bool           `json:"hidden" doc:"Whether it is left out of lists"`
	Encrypt    bool           `json:"encryptMessages" doc:"Whether messages that come in are encrypted"`
	Retention  *int64         `json:"retention,omitempty" doc:"Messages are removed after this time in ms"`
	Size       *int64         `json:"size,omitempty" doc:"Octets of all messages; not there when there are none"`
	Total      *int64         `json:"total,omitempty" doc:"Number of messages"`
	Unseen     *int64         `json:"unseen,omitempty" doc:"Number of messages without \\Seen"`
}

func newMailboxItem(b *mail.Mailbox) mailboxItem {
	item := mailboxItem{
		ID: b.ID, Name: b.Path[strings.LastIndex(b.Path, mail.Separator)+1:], Path: b.Path, ModSeq: b.HighestModSeq,
		Subscribed: b.Subscribed, Hidden: b.Hidden, Encrypt: b.Encrypt,
	}
	if b.SpecialUse != "" || b.Path == mail.Inbox {
		use := nullString(b.SpecialUse)
		item.SpecialUse = &use
	}
	return item
}

func (a *API) listMailboxes(ctx context.Context, _ *call, in *listMailboxesIn) (listMailboxesReply, error) {
	boxes, err := a.opt.Mailboxes.List(ctx, in.User)
	if err != nil {
		return listMailboxesReply{}, err
	}
	boxes = slices.DeleteFunc(boxes, func(b *mail.Mailbox) bool {
		return b.Hidden && !in.ShowHidden || in.SpecialUse && b.SpecialUse == "" && b.Path != mail.Inbox
	})
	slices.SortFunc(boxes, compareMailboxes)
	var counters map[mail.MailboxID]mail.Counters
	if in.Sizes || in.Counters {
		if counters, err = a.opt.Mailboxes.Counters(ctx, in.User, mail.MailboxIDs(boxes)...); err != nil {
			return listMailboxesReply{}, err
		}
	}
	reply := listMailboxesReply{success: ok(), Results: []mailboxItem{}}
	for _, b := range boxes {
		item, c := newMailboxItem(b), counters[b.ID]
		if ms := b.Retention.Milliseconds(); ms > 0 {
			item.Retention = &ms
		}
		if in.Sizes && c.Size > 0 {
			item.Size = &c.Size
		}
		if in.Counters {
			item.Total, item.Unseen = &c.Messages, &c.Unseen
		}
		reply.Results = append(reply.Results, item)
	}
	return reply, nil
}

// counters are those of one mailbox. Errors: NoMailbox.
func (a *API) counters(ctx context.Context, acct mail.AccountID, id mail.MailboxID) (mail.Counters, error) {
	all, err := a.opt.Mailboxes.Counters(ctx, acct, id)
	if err != nil {
		return mail.Counters{}, err
	}
	c, ok := all[id]
	if !ok {
		return c, mail.NewError(mail.CodeNoMailbox, "no such mailbox")
	}
	return c, nil
}

func compareMailboxes(a, b *mail.Mailbox) int {
	if x, y := mailboxRank(a), mailboxRank(b); x != y {
		return x - y
	}
	return strings.Compare(a.Path, b.Path)
}

func mailboxRank(b *mail.Mailbox) int {
	switch {
	case b.Path == mail.Inbox:
		return 0
	case mail.IsInferior(b.Path, mail.Inbox):
		return 1
	case b.Subscribed:
		return 2
	}
	return 3
}

type createMailboxIn struct {
	UserPath
	Path      MailboxPath `api:"path,required" doc:"Levels joined by slashes"`
	Hidden    bool        `api:"hidden,default=false" doc:"Leave it out of lists"`
	Retention *int64      `api:"retention,min=0" doc:"Messages are removed after this time in ms; 0 for never; that of the user when not given"`
	Encrypt   bool        `api:"encryptMessages,default=false" doc:"Encrypt messages that come in"`
	Session
}

func mailboxError(status int, what, code, reply string) *Error {
	return newError(status, reply, "Mailbox "+what+" failed with code "+code)
}

const (
	codeDisallowed    = "DisallowedMailboxMethod"
	codeMailboxExists = "MailboxExistsError"
)

func (a *API) createMailbox(ctx context.Context, _ *call, in *createMailboxIn) (idReply, error) {
	acct, err := a.opt.Accounts.Get(ctx, in.User)
	if err != nil {
		return idReply{}, err
	}
	box := mail.Mailbox{Path: string(in.Path), Subscribed: true, Hidden: in.Hidden, Retention: acct.Retention, Encrypt: in.Encrypt}
	if d := millis(in.Retention); d != nil {
		box.Retention = *d
	}
	made, err := a.opt.Mailboxes.Create(ctx, in.User, box, false)
	if err != nil {
		return idReply{}, replaceError(err, map[mail.Code]*Error{
			mail.CodeExists: mailboxError(http.StatusBadRequest, "creation", "MailboxAlreadyExists", codeMailboxExists),
			mail.CodeLimit:  mailboxError(http.StatusBadRequest, "creation", codeDisallowed, codeDisallowed),
		})
	}
	return idReply{ok(), made.ID.String()}, nil
}

type getMailboxIn struct {
	UserPath
	Mailbox IDOrResolve  `api:"mailbox,path" doc:"Mailbox id, or the word resolve"`
	Path    *MailboxPath `api:"path" doc:"Path of the mailbox, with resolve"`
	Session
}

type mailboxReply struct {
	success
	mailboxItem
}

func (a *API) getMailbox(ctx context.Context, _ *call, in *getMailboxIn) (mailboxReply, error) {
	if _, err := a.opt.Accounts.Get(ctx, in.User); err != nil {
		return mailboxReply{}, err
	}
	box, err := a.findMailbox(ctx, in)
	if err != nil {
		return mailboxReply{}, err
	}
	c, err := a.counters(ctx, in.User, box.ID)
	if err != nil {
		return mailboxReply{}, err
	}
	item := newMailboxItem(box)
	ms := box.Retention.Milliseconds()
	item.Retention, item.Total, item.Unseen = &ms, &c.Messages, &c.Unseen
	return mailboxReply{ok(), item}, nil
}

func (a *API) findMailbox(ctx context.Context, in *getMailboxIn) (*mail.Mailbox, error) {
	if in.Mailbox != resolveWord {
		var id mail.MailboxID
		if err := id.UnmarshalText([]byte(in.Mailbox)); err != nil {
			return nil, errNoMailbox()
		}
		return a.opt.Mailboxes.Get(ctx, in.User, id)
	}
	if in.Path == nil {
		return nil, errNoMailbox()
	}
	box, err := a.opt.Mailboxes.Lookup(ctx, in.User, string(*in.Path))
	if err == nil && box.Path != string(*in.Path) {
		return nil, errNoMailbox() // the exact path is asked for, INBOX included
	}
	return box, err
}

type updateMailboxIn struct {
	MailboxIDPath
	Path       *MailboxPath `api:"path" doc:"New path"`
	Retention  *int64       `api:"retention,min=0,blank" doc:"Messages are removed after this time in ms; 0 for never"`
	Subscribed *bool        `api:"subscribed" doc:"Whether it is subscribed"`
	Encrypt    *bool        `api:"encryptMessages" doc:"Encrypt messages that come in"`
	Hidden     *bool        `api:"hidden" doc:"Leave it out of lists"`
	Session
}

// MailboxIDPath is the path of what belongs to a mailbox.
type MailboxIDPath struct {
	UserPath
	Mailbox mail.MailboxID `api:"mailbox,path" doc:"Mailbox id"`
}

func mailboxFailure(err error, what string) error {
	return replaceError(err, map[mail.Code]*Error{
		mail.CodeNoMailbox: mailboxError(http.StatusNotFound, what, codeNoMailbox, codeNoMailbox),
		mail.CodeNoAccount: mailboxError(http.StatusNotFound, what, codeNoMailbox, codeNoMailbox),
		mail.CodeForbidden: mailboxError(http.StatusBadRequest, what, codeDisallowed, codeDisallowed),
		mail.CodeExists:    mailboxError(http.StatusBadRequest, "rename", "MailboxAlreadyExists", codeMailboxExists),
	})
}

func (a *API) updateMailbox(ctx context.Context, _ *call, in *updateMailboxIn) (success, error) {
	if in.Path == nil && in.Retention == nil && in.Subscribed == nil && in.Encrypt == nil && in.Hidden == nil {
		return success{}, newError(http.StatusBadRequest, "", "Nothing was changed")
	}
	if err := a.renameMailbox(ctx, in); err != nil {
		return success{}, mailboxFailure(err, "update")
	}
	_, err := a.opt.Mailboxes.Update(ctx, in.User, in.Mailbox, func(b *mail.Mailbox) error {
		if d := millis(in.Retention); d != nil {
			b.Retention = *d
		}
		setIf(&b.Subscribed, in.Subscribed)
		setIf(&b.Encrypt, in.Encrypt)
		setIf(&b.Hidden, in.Hidden)
		return nil
	})
	return ok(), mailboxFailure(err, "update")
}

func setIf[T any](dst, src *T) {
	if src != nil {
		*dst = *src
	}
}

func (a *API) renameMailbox(ctx context.Context, in *updateMailboxIn) error {
	if in.Path == nil {
		return nil
	}
	path, err := mail.CanonicalName(string(*in.Path))
	if err != nil {
		return err
	}
	box, err := a.opt.Mailboxes.Get(ctx, in.User, in.Mailbox)
	if err != nil {
		return err
	}
	if box.Path == path && box.Path != mail.Inbox && !box.Hidden {
		return nil
	}
	return a.opt.Mailboxes.Rename(ctx, in.User, in.Mailbox, path, false)
}

type mailboxIn struct {
	MailboxIDPath
	Session
}

func (a *API) deleteMailbox(ctx context.Context, _ *call, in *mailboxIn) (success, error) {
	return ok(), mailboxFailure(a.opt.Mailboxes.Delete(ctx, in.User, in.Mailbox, false), "deletion")
}

// expiry is when a message that comes into a mailbox now is to be removed.
func expiry(b *mail.Mailbox, now time.Time) time.Time {
	if b.Retention <= 0 {
		return time.Time{}
	}
	return now.Add(b.Retention)
}
