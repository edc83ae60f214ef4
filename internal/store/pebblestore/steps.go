package pebblestore

import (
	"context"

	"mallard/internal/mail"
)

// A change of very many messages is made in steps, each of them a change of its own: whole,
// with a mod-sequence of its own, which only grow, and in the order of the UIDs. So the memory
// that it takes has a bound, and others get the account in between. What a crash interrupts has
// happened to the first messages only. Options.changeStep is how many messages are one step.

// clipped returns the UIDs of a set from first to last.
func clipped(set mail.UIDSet, first, last mail.UID) (out mail.UIDSet) {
	for _, r := range set {
		if r.First, r.Last = max(r.First, first), min(r.Last, last); r.First <= r.Last {
			out = append(out, r)
		}
	}
	return out
}

// rest is what a step leaves of a set, when it ended before message next: no message that has
// come since the first step began, which could be one that the change itself has made.
func (b *boxChange) rest(set mail.UIDSet, next mail.UID) mail.UIDSet {
	last := b.mailbox.head.Load().uidNext - 1 // the change is not installed yet
	return clipped(set, next, mail.UID(last))
}

// inSteps calls step with what is left of a set until nothing is.
func inSteps(set mail.UIDSet, step func(mail.UIDSet) (rest mail.UIDSet, err error)) error {
	for {
		rest, err := step(set)
		if err != nil || len(rest) == 0 {
			return err
		}
		set = rest
	}
}

// uncopy takes away what a COPY has made that failed in a later step (RFC 3501, 6.4.7). It does
// not depend on whether the client still waits. The caller has entered the store.
func (s *Store) uncopy(ctx context.Context, acct mail.AccountID, box mail.MailboxID, uids []mail.UID) {
	if len(uids) == 0 {
		return
	}
	set := make([]mail.UIDRange, len(uids))
	for i, u := range uids {
		set[i] = mail.UIDRange{First: u, Last: u}
	}
	_, err := s.expunge(context.WithoutCancel(ctx), acct, box, mail.NormalizeUIDs(set), false)
	if err != nil && mail.CodeOf(err) != mail.CodeNoMailbox { // it may have been deleted meanwhile, with all that is in it
		s.log.Error("a copy that failed cannot be taken back", "account", acct, "mailbox", box, "messages", len(uids), "err", err)
	}
}
