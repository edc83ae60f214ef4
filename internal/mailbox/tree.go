package mailbox

import (
	"context"
	"fmt"
	"slices"
	"time"

	"mallard/internal/event"
	"mallard/internal/mail"
	"mallard/internal/store"
)

// List returns the mailboxes of an account in ascending order of their paths.
func (s *Service) List(ctx context.Context, acct mail.AccountID) ([]*mail.Mailbox, error) {
	return s.store.ListMailboxes(ctx, acct)
}

// Get returns a mailbox by its id.
func (s *Service) Get(ctx context.Context, acct mail.AccountID, id mail.MailboxID) (*mail.Mailbox, error) {
	return s.store.Mailbox(ctx, acct, id)
}

// Lookup returns a mailbox by its name, in any spelling that CanonicalName accepts.
func (s *Service) Lookup(ctx context.Context, acct mail.AccountID, name string) (*mail.Mailbox, error) {
	path, err := mail.CanonicalName(name)
	if err != nil {
		return nil, mail.NewError(mail.CodeNoMailbox, "no such mailbox")
	}
	return s.store.MailboxByPath(ctx, acct, path)
}

// ByUse returns the mailbox with a special use.
func (s *Service) ByUse(ctx context.Context, acct mail.AccountID, use mail.SpecialUse) (*mail.Mailbox, error) {
	boxes, err := s.store.ListMailboxes(ctx, acct)
	if err != nil {
		return nil, err
	}
	for _, b := range boxes {
		if b.SpecialUse == use {
			return b, nil
		}
	}
	return nil, mail.NewError(mail.CodeNoMailbox, fmt.Sprintf("no mailbox with special use %s", use))
}

// Create makes a mailbox. in.Path is canonicalised. With parents the missing
// superior mailboxes are made first, as RFC 3501, 6.3.3 asks for, up to one that
// exists.
func (s *Service) Create(ctx context.Context, acct mail.AccountID, in mail.Mailbox, parents bool) (*mail.Mailbox, error) {
	path, err := mail.CanonicalName(in.Path)
	if err != nil {
		return nil, err
	}
	if parents {
		if err := s.createParents(ctx, acct, path, in.Retention); err != nil {
			return nil, err
		}
	}
	in.Path = path
	box, err := s.store.CreateMailbox(ctx, acct, in, s.maxMailboxes)
	if err != nil {
		return nil, err
	}
	s.changed(ctx, acct, box.ID)
	return box, nil
}

// createParents makes the missing mailboxes above a path that is about to be
// taken. Errors: Exists when it is taken already.
func (s *Service) createParents(ctx context.Context, acct mail.AccountID, path string, retention time.Duration) error {
	parent := mail.ParentName(path)
	if parent == "" {
		return nil
	}
	_, err := s.store.MailboxByPath(ctx, acct, parent)
	if mail.CodeOf(err) != mail.CodeNoMailbox || err == nil {
		return err
	}
	// The mailbox itself may exist although its parent does not.
	if _, err := s.store.MailboxByPath(ctx, acct, path); err == nil {
		return mail.NewError(mail.CodeExists, "mailbox already exists")
	}
	_, err = s.Create(ctx, acct, mail.Mailbox{Path: parent, Subscribed: true, Retention: retention}, true)
	if mail.CodeOf(err) == mail.CodeExists {
		return nil
	}
	return err
}

// Rename gives a mailbox a new name. With inferiors the mailboxes below move
// along in the same step (RFC 3501, 6.3.5) and missing superiors of the new name
// are made. INBOX cannot be renamed; see MoveInbox.
func (s *Service) Rename(ctx context.Context, acct mail.AccountID, id mail.MailboxID, name string, inferiors bool) error {
	path, err := mail.CanonicalName(name)
	if err != nil {
		return err
	}
	box, err := s.store.Mailbox(ctx, acct, id)
	if err != nil {
		return err
	}
	if box.Path == mail.Inbox || box.Hidden {
		return mail.NewError(mail.CodeForbidden, "this mailbox cannot be renamed")
	}
	if path == box.Path {
		return mail.NewError(mail.CodeExists, "mailbox already exists")
	}
	if mail.IsInferior(path, box.Path) && inferiors {
		return mail.NewError(mail.CodeInvalid, "a mailbox cannot be moved below itself")
	}
	renames := []store.Rename{{ID: id, Path: path}}
	if inferiors {
		if renames, err = s.renameTree(ctx, acct, box.Path, path); err != nil {
			return err
		}
		if err := s.createParents(ctx, acct, path, box.Retention); err != nil {
			return err
		}
	}
	return s.rename(ctx, acct, renames)
}

// RenameLevel gives a new name to a level of the hierarchy that is no mailbox
// itself, which is to the mailboxes below it. Errors: NoMailbox when there are none,
// Exists when the new name or one below it is taken, Invalid, Limit.
func (s *Service) RenameLevel(ctx context.Context, acct mail.AccountID, level, name string) error {
	from, err := mail.CanonicalName(level)
	if err != nil {
		return mail.NewError(mail.CodeNoMailbox, "no such mailbox")
	}
	to, err := mail.CanonicalName(name)
	if err != nil {
		return err
	}
	boxes, err := s.store.ListMailboxes(ctx, acct)
	if err != nil {
		return err
	}
	below := func(top string) func(*mail.Mailbox) bool {
		return func(b *mail.Mailbox) bool { return b.Path == top || mail.IsInferior(b.Path, top) }
	}
	switch {
	case !slices.ContainsFunc(boxes, below(from)):
		return mail.NewError(mail.CodeNoMailbox, "no such mailbox")
	case mail.IsInferior(to, from):
		return mail.NewError(mail.CodeInvalid, "a mailbox cannot be moved below itself")
	case slices.ContainsFunc(boxes, below(to)):
		return mail.NewError(mail.CodeExists, "mailbox already exists")
	}
	renames, err := s.renameTree(ctx, acct, from, to)
	if err != nil {
		return err
	}
	if err := s.createParents(ctx, acct, to, 0); err != nil {
		return err
	}
	return s.rename(ctx, acct, renames)
}

func (s *Service) rename(ctx context.Context, acct mail.AccountID, renames []store.Rename) error {
	if err := s.store.RenameMailboxes(ctx, acct, renames); err != nil {
		return err
	}
	for _, r := range renames {
		s.changed(ctx, acct, r.ID)
	}
	return nil
}

// renameTree lists what the mailbox of a name, if there is one, and those below it
// will be called. Errors: Exists, so that a rename that cannot be done leaves no new
// superiors behind.
func (s *Service) renameTree(ctx context.Context, acct mail.AccountID, top, to string) ([]store.Rename, error) {
	boxes, err := s.store.ListMailboxes(ctx, acct)
	if err != nil {
		return nil, err
	}
	var out []store.Rename
	stays := make(map[string]bool)
	for _, b := range boxes {
		if b.Path != top && !mail.IsInferior(b.Path, top) {
			stays[b.Path] = true
			continue
		}
		path, err := mail.CanonicalName(to + b.Path[len(top):])
		if err != nil {
			return nil, err
		}
		out = append(out, store.Rename{ID: b.ID, Path: path})
	}
	for _, r := range out {
		if stays[r.Path] {
			return nil, mail.NewError(mail.CodeExists, "mailbox already exists")
		}
	}
	return out, nil
}

// MoveInbox is what RENAME of INBOX means (RFC 3501, 6.3.5): a new mailbox is
// made and gets all messages of INBOX, which stays and is empty. These are two
// steps: when the second one fails, the new mailbox stays, with what was moved until
// then: no message, or the first ones where the engine moves many in steps. That is
// better than to delete what another session may have begun to use.
func (s *Service) MoveInbox(ctx context.Context, acct mail.AccountID, name string) error {
	inbox, err := s.store.MailboxByPath(ctx, acct, mail.Inbox)
	if err != nil {
		return err
	}
	box, err := s.Create(ctx, acct, mail.Mailbox{Path: name, Subscribed: true}, true)
	if err != nil {
		return err
	}
	_, err = s.Move(ctx, acct, inbox.ID, box.ID, mail.AllUIDs())
	return err
}

// Delete removes a mailbox with its messages. Mailboxes below it stay. INBOX,
// hidden mailboxes and those with a special use cannot be deleted. With keepName the
// name of a subscribed mailbox stays subscribed, if there is room for it.
func (s *Service) Delete(ctx context.Context, acct mail.AccountID, id mail.MailboxID, keepName bool) error {
	box, err := s.store.Mailbox(ctx, acct, id)
	if err != nil {
		return err
	}
	if box.Path == mail.Inbox || box.Hidden || box.SpecialUse != "" {
		return mail.NewError(mail.CodeForbidden, "this mailbox cannot be deleted")
	}
	nameOctets := 0
	if keepName {
		nameOctets = s.maxNameOctets
	}
	if err := s.store.DeleteMailbox(ctx, acct, id, nameOctets); err != nil {
		return err
	}
	s.forget(boxKey{acct, id})
	s.publish(ctx, event.Event{Account: acct, Kind: event.Drop, Mailbox: id})
	s.changed(ctx, acct, id)
	return nil
}

// Update changes the settings of a mailbox, see store.Mailboxes.UpdateMailbox.
func (s *Service) Update(ctx context.Context, acct mail.AccountID, id mail.MailboxID, change func(*mail.Mailbox) error) (*mail.Mailbox, error) {
	return s.store.UpdateMailbox(ctx, acct, id, change)
}

// Subscriptions returns the mailboxes of an account in ascending order of their paths,
// and the names that are subscribed without a mailbox.
func (s *Service) Subscriptions(ctx context.Context, acct mail.AccountID) ([]*mail.Mailbox, []string, error) {
	return s.store.Subscriptions(ctx, acct)
}

// SetSubscribed subscribes a name, or ends that; doing it again changes nothing. A name
// can be subscribed that a mailbox has, that is a level above one, or that is subscribed
// (RFC 3501, 6.3.6: a server may verify that the name exists). A hidden mailbox does not
// exist here, also when there are others below it. Errors: NoMailbox.
func (s *Service) SetSubscribed(ctx context.Context, acct mail.AccountID, name string, on bool) error {
	path, err := mail.CanonicalName(name)
	known := err == nil // else nobody can have subscribed it
	if known {
		if known, err = s.subscribable(ctx, acct, path, on); err != nil {
			return err
		}
	}
	switch {
	case known:
		return s.store.Subscribe(ctx, acct, path, on, s.maxNameOctets)
	case on:
		return mail.NewError(mail.CodeNoMailbox, "no such mailbox")
	}
	return nil
}

// subscribable reports whether a name can be subscribed, or may be that it is.
func (s *Service) subscribable(ctx context.Context, acct mail.AccountID, name string, on bool) (bool, error) {
	box, err := s.store.MailboxByPath(ctx, acct, name)
	switch {
	case err == nil:
		return !box.Hidden, nil
	case mail.CodeOf(err) != mail.CodeNoMailbox:
		return false, err
	case !on:
		return true, nil
	}
	boxes, names, err := s.store.Subscriptions(ctx, acct)
	if err != nil {
		return false, err
	}
	below := func(b *mail.Mailbox) bool { return !b.Hidden && mail.IsInferior(b.Path, name) }
	return slices.Contains(names, name) || slices.ContainsFunc(boxes, below), nil
}
