package imap

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"mallard/internal/imap/imapwire"
	"mallard/internal/mail"
)

// lookup finds a mailbox that clients may see.
func (s *session) lookup(ctx context.Context, name string) (*mail.Mailbox, error) {
	box, err := s.srv.o.Mailboxes.Lookup(ctx, s.acct.ID, name)
	if err != nil {
		return nil, err
	}
	if box.Hidden {
		return nil, mail.NewError(mail.CodeNoMailbox, "No such mailbox")
	}
	return box, nil
}

// create is CREATE (RFC 3501, 6.3.3; RFC 6154, 3). Missing superior mailboxes
// are made as well.
func (s *session) create(ctx context.Context, cmd *imapwire.Command, a *imapwire.Create) error {
	box := mail.Mailbox{Path: strings.TrimSuffix(a.Mailbox, mail.Separator), Subscribed: true, Retention: s.acct.Retention}
	if len(a.SpecialUse) > 0 {
		s.w.NO(cmd.Tag, imapwire.CodeUseAttr, "Special uses cannot be given on creation")
		return nil
	}
	if _, err := s.srv.o.Mailboxes.Create(ctx, s.acct.ID, box, true); err != nil {
		return err
	}
	return s.ok(ctx, cmd, "")
}

// delete is DELETE (RFC 3501, 6.3.4). The name stays subscribed (6.3.9).
func (s *session) delete(ctx context.Context, cmd *imapwire.Command, a *imapwire.Delete) error {
	box, err := s.lookup(ctx, a.Mailbox)
	if err != nil {
		return err
	}
	if err := s.srv.o.Mailboxes.Delete(ctx, s.acct.ID, box.ID, true); err != nil {
		return err
	}
	if s.view != nil && s.view.Mailbox() == box.ID {
		s.deselect() // the client did it itself and need not be thrown out
	}
	return s.ok(ctx, cmd, "")
}

// rename is RENAME (RFC 3501, 6.3.5), which takes the inferior mailboxes along
// and, for INBOX, moves its messages.
func (s *session) rename(ctx context.Context, cmd *imapwire.Command, a *imapwire.Rename) error {
	to := strings.TrimSuffix(a.To, mail.Separator)
	box, err := s.srv.o.Mailboxes.Lookup(ctx, s.acct.ID, a.From)
	switch {
	case mail.CodeOf(err) == mail.CodeNoMailbox && err != nil:
		err = s.srv.o.Mailboxes.RenameLevel(ctx, s.acct.ID, a.From, to)
	case err != nil:
	case box.Path == mail.Inbox:
		err = s.srv.o.Mailboxes.MoveInbox(ctx, s.acct.ID, to)
	default:
		err = s.srv.o.Mailboxes.Rename(ctx, s.acct.ID, box.ID, to, true)
	}
	if err != nil {
		return err
	}
	return s.ok(ctx, cmd, "")
}

// subscribe is SUBSCRIBE and UNSUBSCRIBE (RFC 3501, 6.3.6 and 6.3.7).
func (s *session) subscribe(ctx context.Context, cmd *imapwire.Command, name string, on bool) error {
	if err := s.srv.o.Mailboxes.SetSubscribed(ctx, s.acct.ID, name, on); err != nil {
		return err
	}
	return s.ok(ctx, cmd, "")
}

// status is STATUS (RFC 3501, 6.3.10).
func (s *session) status(ctx context.Context, cmd *imapwire.Command, a *imapwire.Status) error {
	box, err := s.lookup(ctx, a.Mailbox)
	if err != nil {
		return err
	}
	counters, err := s.counters(ctx, a.Items, box.ID)
	if err != nil {
		return err
	}
	if err := s.tellStatus(ctx, box, counters[box.ID], a.Items); err != nil {
		return err
	}
	return s.ok(ctx, cmd, "")
}

// counters returns the counters of mailboxes if STATUS items need them.
func (s *session) counters(ctx context.Context, items []imapwire.StatusItem, boxes ...mail.MailboxID) (map[mail.MailboxID]mail.Counters, error) {
	counted := func(item imapwire.StatusItem) bool {
		switch item {
		case imapwire.StatusMessages, imapwire.StatusUnseen, imapwire.StatusDeleted, imapwire.StatusSize:
			return true
		}
		return false
	}
	if len(boxes) == 0 || !slices.ContainsFunc(items, counted) {
		return nil, nil
	}
	return s.srv.o.Mailboxes.Counters(ctx, s.acct.ID, boxes...)
}

func (s *session) tellStatus(ctx context.Context, box *mail.Mailbox, c mail.Counters, items []imapwire.StatusItem) error {
	data := make([]imapwire.StatusData, 0, len(items))
	for _, item := range items {
		d := s.statusData(box, c, item)
		if item == imapwire.StatusRecent {
			n, err := s.recent(ctx, box)
			if err != nil {
				return err
			}
			d.Number = uint64(n)
		}
		data = append(data, d)
	}
	s.w.StatusResponse(box.Path, data)
	return nil
}

// recent counts the messages of a mailbox that are recent, or would be if the
// session opened it.
func (s *session) recent(ctx context.Context, box *mail.Mailbox) (int, error) {
	if s.view != nil && s.view.Mailbox() == box.ID {
		return s.view.RecentCount(), nil
	}
	return s.srv.o.Mailboxes.Recent(ctx, s.acct.ID, box.ID)
}

func (s *session) statusData(box *mail.Mailbox, c mail.Counters, item imapwire.StatusItem) imapwire.StatusData {
	d := imapwire.StatusData{Item: item}
	switch item {
	case imapwire.StatusMessages:
		d.Number = uint64(c.Messages)
	case imapwire.StatusRecent: // see tellStatus
	case imapwire.StatusUIDNext:
		d.Number = uint64(box.UIDNext)
	case imapwire.StatusUIDValidity:
		d.Number = uint64(box.UIDValidity)
	case imapwire.StatusUnseen:
		d.Number = uint64(c.Unseen)
	case imapwire.StatusSize:
		d.Number = uint64(c.Size)
	case imapwire.StatusHighestModSeq:
		s.enabled.condStore = true // RFC 7162, 3.1
		d.Number = uint64(box.HighestModSeq)
	case imapwire.StatusDeleted:
		d.Number = uint64(c.Deleted)
	case imapwire.StatusAppendLimit:
		d.Number = uint64(s.srv.o.MaxAppend)
	case imapwire.StatusMailboxID:
		d.Text = box.ID.String()
	default:
		d.Nil = true
	}
	return d
}

// selectMailbox is SELECT and EXAMINE (RFC 3501, 6.3.1 and 6.3.2).
func (s *session) selectMailbox(ctx context.Context, cmd *imapwire.Command, a *imapwire.Select) error {
	s.deselect() // also when it fails
	if a.QResync != nil {
		return &imapwire.Error{Kind: imapwire.Bad, Text: "QRESYNC is not enabled"}
	}
	if a.CondStore {
		s.enabled.condStore = true
	}
	box, err := s.lookup(ctx, a.Mailbox)
	if err != nil {
		return err
	}
	view, err := s.srv.o.Mailboxes.View(ctx, s.acct.ID, box.ID, !a.ReadOnly)
	if err != nil {
		return err
	}
	s.view, s.readOnly = view, a.ReadOnly
	s.tellSelected(box)
	code, name := imapwire.CodeReadWrite, "SELECT"
	if a.ReadOnly {
		code, name = imapwire.CodeReadOnly, "EXAMINE"
	}
	s.w.OK(cmd.Tag, code, name+" completed")
	return nil
}

func (s *session) tellSelected(box *mail.Mailbox) {
	s.keywords.names = box.Keywords
	s.tellKeywords()
	s.w.Exists(uint32(s.view.Len()))
	s.w.Recent(uint32(s.view.RecentCount()))
	if n := s.view.FirstUnseen(); n > 0 {
		s.w.Status("*", imapwire.CondOK, imapwire.CodeUnseen(n), fmt.Sprintf("Message %d is the first unseen one", n))
	}
	s.w.Status("*", imapwire.CondOK, imapwire.CodeUIDValidity(uint32(box.UIDValidity)), "UIDs valid")
	s.w.Status("*", imapwire.CondOK, imapwire.CodeUIDNext(uint32(s.view.UIDNext())), "Predicted next UID")
	s.w.Status("*", imapwire.CondOK, imapwire.CodeHighestModSeq(uint64(s.view.HighestModSeq())), "Highest")
}

// closeMailbox is CLOSE (RFC 3501, 6.4.2): messages with \Deleted are removed
// without a word.
func (s *session) closeMailbox(ctx context.Context, cmd *imapwire.Command) error {
	view, readOnly := s.view, s.readOnly
	if !readOnly {
		if _, err := s.srv.o.Mailboxes.Expunge(ctx, s.acct.ID, view.Mailbox(), mail.AllUIDs(), true); err != nil {
			return err
		}
	}
	s.deselect()
	return s.ok(ctx, cmd, "")
}

// expunge is EXPUNGE and UID EXPUNGE (RFC 3501, 6.4.3; RFC 4315, 2.1).
func (s *session) expunge(ctx context.Context, cmd *imapwire.Command, a *imapwire.Expunge) error {
	if s.readOnly {
		return mail.NewError(mail.CodeForbidden, "The mailbox is read-only")
	}
	set := mail.AllUIDs()
	if cmd.UID {
		var err error
		if set, err = s.uidSet(a.UIDs); err != nil {
			return err
		}
	}
	if _, err := s.srv.o.Mailboxes.Expunge(ctx, s.acct.ID, s.view.Mailbox(), set, true); err != nil {
		return err
	}
	return s.ok(ctx, cmd, "")
}

// getQuota is GETQUOTA (RFC 2087, 4.2). The one quota root is "".
func (s *session) getQuota(ctx context.Context, cmd *imapwire.Command, a *imapwire.GetQuota) error {
	if a.Root != "" {
		return mail.NewError(mail.CodeNotFound, "No such quota root")
	}
	if err := s.tellQuota(ctx); err != nil {
		return err
	}
	return s.ok(ctx, cmd, "")
}

// getQuotaRoot is GETQUOTAROOT (RFC 2087, 4.3).
func (s *session) getQuotaRoot(ctx context.Context, cmd *imapwire.Command, a *imapwire.GetQuotaRoot) error {
	box, err := s.lookup(ctx, a.Mailbox)
	if err != nil {
		return err
	}
	s.w.QuotaRoot(box.Path, "")
	if err := s.tellQuota(ctx); err != nil {
		return err
	}
	return s.ok(ctx, cmd, "")
}

// setQuota is SETQUOTA (RFC 2087, 4.1), which is not for users.
func (s *session) setQuota(ctx context.Context, cmd *imapwire.Command) error {
	if err := s.tell(ctx, true); err != nil {
		return err
	}
	s.w.NO(cmd.Tag, imapwire.CodeNoPerm, "Quotas are set by the administrator")
	return nil
}

// tellQuota tells usage in KiB, rounded up. Without a limit there is no resource.
func (s *session) tellQuota(ctx context.Context) error {
	used, allowed, err := s.srv.o.Accounts.Quota(ctx, s.acct.ID)
	if err != nil {
		return err
	}
	var usage []imapwire.QuotaUsage
	if allowed > 0 {
		usage = []imapwire.QuotaUsage{{Resource: "STORAGE", Usage: uint64(used+1023) / 1024, Limit: uint64(allowed+1023) / 1024}}
	}
	s.w.Quota("", usage)
	return nil
}
