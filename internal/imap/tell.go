package imap

import (
	"context"
	"slices"

	"mallard/internal/imap/imapwire"
	"mallard/internal/mail"
	"mallard/internal/mailbox"
)

// mayExpunge reports whether EXPUNGE may be sent while a command is answered: not
// for FETCH, STORE and SEARCH, whose sequence numbers would change under the
// client (RFC 3501, 7.4.1). Their UID forms use none.
func mayExpunge(cmd *imapwire.Command) bool {
	switch cmd.Args.(type) {
	case *imapwire.Fetch, *imapwire.Store, *imapwire.Search:
		return cmd.UID
	}
	return true
}

// tell sends what has changed in the selected mailbox. When the mailbox is gone
// the session ends, since nothing that the client knows is true any more.
func (s *session) tell(ctx context.Context, expunge bool) error {
	if s.view == nil || s.done {
		return nil
	}
	if err := s.view.Sync(ctx); err != nil {
		if mail.CodeOf(err) == mail.CodeNoMailbox {
			s.deselect()
			s.bye("", "Selected mailbox was deleted")
			return nil
		}
		return err
	}
	s.tellUpdate(s.view.Take(ctx, expunge))
	return nil
}

func (s *session) tellUpdate(u mailbox.Update) {
	for _, m := range u.Expunged {
		s.w.Expunge(m.Seq)
	}
	if u.Grown {
		s.w.Exists(uint32(u.Exists))
		s.w.Recent(uint32(u.Recent))
	}
	for _, r := range u.Flags {
		s.tellFlags(r, false)
	}
}

// tellFlags sends the flags of one message.
func (s *session) tellFlags(r mailbox.NumberedRow, withUID bool) {
	s.announce(r.Flags)
	f := s.w.Fetch(r.Seq)
	if withUID {
		f.UID(uint32(r.UID))
	}
	f.Flags(s.flagNames(r.UID, r.Flags))
	if s.enabled.condStore {
		f.ModSeq(uint64(r.ModSeq))
	}
	f.End()
}

// flagNames lists the flags of a message as this session sees them.
func (s *session) flagNames(uid mail.UID, f mail.Flags) []string {
	names := slices.Collect(f.Names())
	if s.view.Recent(uid) {
		names = append(names, `\Recent`)
	}
	return names
}
