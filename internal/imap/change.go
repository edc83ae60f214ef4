package imap

import (
	"context"
	"fmt"

	"mallard/internal/imap/imapwire"
	"mallard/internal/mail"
	"mallard/internal/mailbox"
	"mallard/internal/store"
)

func errReadOnly() error { return mail.NewError(mail.CodeForbidden, "The mailbox is read-only") }

// store is STORE (RFC 3501, 6.4.6; RFC 7162, 3.1.3).
func (s *session) store(ctx context.Context, cmd *imapwire.Command, a *imapwire.Store) error {
	if s.readOnly {
		return errReadOnly()
	}
	set, err := s.set(cmd, a.Set)
	if err != nil {
		return err
	}
	flags, err := parseFlags(a.Flags)
	if err != nil {
		return err
	}
	u := store.FlagUpdate{UIDs: set, Mode: flagMode(a.Mode), Flags: flags, Origin: s.id}
	if a.UnchangedSince != nil {
		s.enabled.condStore = true
		since := mail.ModSeq(*a.UnchangedSince)
		u.UnchangedSince = &since
	}
	res, err := s.view.UpdateFlags(ctx, u, a.Silent)
	if err != nil {
		return err
	}
	if a.Mode != imapwire.StoreRemove && len(res.Changed) > 0 {
		s.announce(flags) // with .SILENT no FETCH response would do it
	}
	s.tellStored(cmd, a, res)
	return s.stored(ctx, cmd, res, s.known(set))
}

func flagMode(m imapwire.StoreMode) store.FlagMode {
	switch m {
	case imapwire.StoreAdd:
		return store.FlagsAdd
	case imapwire.StoreRemove:
		return store.FlagsRemove
	default:
		return store.FlagsReplace
	}
}

// tellStored answers with the new flags. With .SILENT only mod-sequences are
// told, and only to clients that know them; a conditional STORE tells them of
// every message that it was done to (RFC 7162, 3.1.3).
func (s *session) tellStored(cmd *imapwire.Command, a *imapwire.Store, res *store.FlagResult) {
	rows := res.Existing
	if a.Silent {
		if !s.enabled.condStore {
			return
		}
		if a.UnchangedSince == nil {
			rows = res.Changed
		}
	}
	for _, r := range rows {
		seq, ok := s.view.Seq(r.UID)
		if !ok || res.Modified.Contains(r.UID) {
			continue
		}
		if !a.Silent {
			s.tellFlags(mailbox.NumberedRow{Seq: seq, HotRow: r}, cmd.UID)
			continue
		}
		f := s.w.Fetch(seq)
		if cmd.UID {
			f.UID(uint32(r.UID))
		}
		f.ModSeq(uint64(r.ModSeq))
		f.End()
	}
}

// stored completes a STORE, with the messages that a condition kept from being
// changed and a word about those that are gone (RFC 2180, 4.2).
func (s *session) stored(ctx context.Context, cmd *imapwire.Command, res *store.FlagResult, asked int) error {
	if len(res.Modified) > 0 {
		var nums []uint32
		for u := range res.Modified.All() {
			if cmd.UID {
				nums = append(nums, uint32(u))
			} else if seq, ok := s.view.Seq(u); ok {
				nums = append(nums, seq)
			}
		}
		return s.okText(ctx, cmd, imapwire.CodeModified(nums), fmt.Sprintf("%d messages were changed by others", len(nums)))
	}
	if !cmd.UID && len(res.Existing) < asked {
		if err := s.tell(ctx, false); err != nil {
			return err
		}
		s.w.NO(cmd.Tag, imapwire.CodeExpungeIssued, "Some of the messages no longer exist")
		return nil
	}
	return s.ok(ctx, cmd, "")
}

// copy is COPY (RFC 3501, 6.4.7) with COPYUID (RFC 4315, 3).
func (s *session) copy(ctx context.Context, cmd *imapwire.Command, a *imapwire.Copy) error {
	set, err := s.set(cmd, a.Set)
	if err != nil {
		return err
	}
	to, err := s.lookup(ctx, a.Mailbox)
	if err != nil {
		return s.tryCreate(ctx, cmd, a.Mailbox, err)
	}
	res, err := s.srv.o.Mailboxes.Copy(ctx, s.acct.ID, s.view.Mailbox(), to.ID, set)
	if err != nil {
		return err
	}
	return s.ok(ctx, cmd, copyUID(res))
}

// copyUID is empty when nothing was copied: the code needs UIDs.
func copyUID(res *store.CopyResult) imapwire.Code {
	if len(res.To) == 0 {
		return ""
	}
	return imapwire.CodeCopyUID(uint32(res.UIDValidity), wireUIDs(res.From), wireUIDs(res.To))
}

// move is MOVE (RFC 6851). The new UIDs are told before the EXPUNGE responses, as
// its section 4.3 asks for.
func (s *session) move(ctx context.Context, cmd *imapwire.Command, a *imapwire.Move) error {
	if s.readOnly {
		return errReadOnly()
	}
	set, err := s.set(cmd, a.Set)
	if err != nil {
		return err
	}
	to, err := s.lookup(ctx, a.Mailbox)
	if err != nil {
		return s.tryCreate(ctx, cmd, a.Mailbox, err)
	}
	res, err := s.srv.o.Mailboxes.Move(ctx, s.acct.ID, s.view.Mailbox(), to.ID, set)
	if err != nil {
		return err
	}
	if code := copyUID(res); code != "" {
		s.w.Status("*", imapwire.CondOK, code, "Moved")
	}
	return s.ok(ctx, cmd, "")
}

// markSeen sets \Seen on those of the set that lack it, before their text is
// sent, and returns those that it changed.
func (s *session) markSeen(ctx context.Context, set mail.UIDSet) ([]mail.HotRow, error) {
	var unseen mail.UIDSet
	for r := range s.view.Rows(set) {
		if !r.Flags.Has(mail.Seen) {
			unseen = unseen.Append(r.UID)
		}
	}
	if len(unseen) == 0 {
		return nil, nil
	}
	// Each message tells its flags with its text. Should it not come to that, the
	// change is told like that of somebody else.
	res, err := s.srv.o.Mailboxes.UpdateFlags(ctx, s.acct.ID, s.view.Mailbox(), store.FlagUpdate{
		UIDs: unseen, Mode: store.FlagsAdd, Flags: mail.NewFlags(mail.Seen), Origin: s.id,
	})
	if err != nil {
		return nil, err
	}
	return res.Changed, nil
}
