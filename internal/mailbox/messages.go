package mailbox

import (
	"context"
	"iter"

	"mallard/internal/mail"
	"mallard/internal/store"
)

// Stage takes in the content of a message, see store.Messages.Stage.
func (s *Service) Stage(ctx context.Context, c *store.Content) (store.Staged, error) {
	return s.store.Stage(ctx, c)
}

// Append stores messages at the end of a mailbox, all or none. The account's
// quota is applied.
func (s *Service) Append(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID, in ...store.Append) ([]store.Appended, error) {
	quota, err := s.quota(ctx, acct)
	if err != nil {
		return nil, err
	}
	for i := range in {
		in[i].Quota = quota
	}
	out, err := s.store.Append(ctx, acct, mbox, in)
	if err != nil {
		return nil, err
	}
	if len(out) > 0 {
		s.changed(ctx, acct, mbox)
	}
	return out, nil
}

// Fetch yields messages, see store.Messages.Fetch.
func (s *Service) Fetch(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID, q store.FetchQuery) iter.Seq2[*store.Row, error] {
	return s.store.Fetch(ctx, acct, mbox, q)
}

// Open returns the content of a message, see store.Messages.Open.
func (s *Service) Open(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID, uid mail.UID) (store.Body, error) {
	return s.store.Open(ctx, acct, mbox, uid)
}

// UpdateFlags changes flags, see store.Messages.UpdateFlags.
func (s *Service) UpdateFlags(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID, u store.FlagUpdate) (*store.FlagResult, error) {
	res, err := s.store.UpdateFlags(ctx, acct, mbox, u)
	if err != nil {
		s.changed(ctx, acct, mbox) // the engine may have made it to the first messages; else the hint does no harm
		return nil, err
	}
	if res.ModSeq != 0 {
		s.changed(ctx, acct, mbox)
	}
	return res, nil
}

// Copy copies messages, see store.Messages.Copy. The account's quota is applied.
func (s *Service) Copy(ctx context.Context, acct mail.AccountID, from, to mail.MailboxID, uids mail.UIDSet) (*store.CopyResult, error) {
	quota, err := s.quota(ctx, acct)
	if err != nil {
		return nil, err
	}
	res, err := s.store.Copy(ctx, acct, from, to, uids, quota)
	if err != nil {
		s.changed(ctx, acct, to) // others may have seen copies that were taken back
		return nil, err
	}
	if len(res.To) > 0 {
		s.changed(ctx, acct, to)
	}
	return res, nil
}

// Move moves messages, see store.Messages.Move.
func (s *Service) Move(ctx context.Context, acct mail.AccountID, from, to mail.MailboxID, uids mail.UIDSet) (*store.CopyResult, error) {
	res, err := s.store.Move(ctx, acct, from, to, uids)
	if err != nil {
		s.changed(ctx, acct, from, to) // as with UpdateFlags
		return nil, err
	}
	if len(res.To) > 0 {
		s.changed(ctx, acct, from, to)
	}
	return res, nil
}

// Thread yields the messages of a conversation, see store.Messages.Thread.
func (s *Service) Thread(ctx context.Context, acct mail.AccountID, thread mail.ThreadID) iter.Seq2[store.ThreadMember, error] {
	return s.store.Thread(ctx, acct, thread)
}

// Expunge removes messages, see store.Messages.Expunge.
func (s *Service) Expunge(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID, uids mail.UIDSet, onlyDeleted bool) (*store.ExpungeResult, error) {
	res, err := s.store.Expunge(ctx, acct, mbox, uids, onlyDeleted)
	return s.expunged(ctx, acct, mbox, res, err)
}

// Remove removes messages, see store.Messages.Delete.
func (s *Service) Remove(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID, uids mail.UIDSet, keep bool) (*store.ExpungeResult, error) {
	res, err := s.store.Delete(ctx, acct, mbox, uids, keep)
	return s.expunged(ctx, acct, mbox, res, err)
}

func (s *Service) expunged(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID, res *store.ExpungeResult, err error) (*store.ExpungeResult, error) {
	if err != nil {
		s.changed(ctx, acct, mbox) // as with UpdateFlags
		return nil, err
	}
	if len(res.UIDs) > 0 {
		s.changed(ctx, acct, mbox)
	}
	return res, nil
}
