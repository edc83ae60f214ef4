package migrate

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"

	"golang.org/x/sync/errgroup"

	"mallard/internal/mail"
	"mallard/internal/store"
)

// mail copies mailboxes with their messages, several accounts at the same time.
func (p *pass) mail(ctx context.Context) error {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(p.Workers)
	err := p.eachAccount(gctx, func(a *mail.Account) error {
		if gctx.Err() != nil {
			return gctx.Err()
		}
		g.Go(func() error { return p.accountMail(gctx, a) })
		return nil
	})
	if gerr := g.Wait(); gerr != nil {
		return gerr
	}
	return err
}

func (p *pass) accountMail(ctx context.Context, a *mail.Account) error {
	ours, err := p.ours(ctx, a.ID)
	if err != nil || !ours {
		return err // it was refused, or came just now
	}
	err = p.mailboxes(ctx, a)
	switch {
	case missing(err): // deleted meanwhile
		return nil
	case refused(err):
		p.problem("account "+a.Username, "%v", err)
	case err != nil:
		return fmt.Errorf("account %s: %w", a.Username, err)
	}
	p.counts.accounts.Add(1)
	p.progress("mail")
	return nil
}

func (p *pass) mailboxes(ctx context.Context, a *mail.Account) error {
	from, err := list(ctx, p.From, a.ID)
	if err != nil {
		return fmt.Errorf("list the mailboxes of the source: %w", err)
	}
	to, err := p.arrange(ctx, a.ID, from)
	if err != nil {
		return err
	}
	if err := p.subscriptions(ctx, a.ID); err != nil {
		return err
	}
	for _, b := range from {
		c := &copier{pass: p, acct: a.ID, box: b, old: to[b.ID], where: fmt.Sprintf("mailbox %s of %s", b.Path, a.Username)}
		err := c.run(ctx)
		if err == nil {
			err = c.told(ctx)
		}
		if missing(err) { // deleted meanwhile; the next pass removes it from the target
			continue
		}
		if err != nil {
			return fmt.Errorf("mailbox %s: %w", b.Path, err)
		}
	}
	return nil
}

// arrange makes the mailboxes that the target has those of the source, as far as it is
// about names: it removes what is gone and renames the others. It returns them by id.
func (p *pass) arrange(ctx context.Context, acct mail.AccountID, from []*counted) (map[mail.MailboxID]*counted, error) {
	old, err := list(ctx, p.To, acct)
	if err != nil {
		return nil, fmt.Errorf("list the mailboxes of the target: %w", err)
	}
	to := make(map[mail.MailboxID]*counted, len(old))
	for _, b := range old {
		to[b.ID] = b
	}
	var renames []store.Rename
	kept := make(map[mail.MailboxID]bool, len(from))
	for _, b := range from {
		kept[b.ID] = true
		if old := to[b.ID]; old != nil && old.Path != b.Path {
			renames = append(renames, store.Rename{ID: b.ID, Path: b.Path})
			old.Path = b.Path
		}
	}
	for _, id := range slices.Collect(maps.Keys(to)) {
		if kept[id] {
			continue
		}
		if err := p.To.DeleteMailbox(ctx, acct, id, 0); err != nil {
			return nil, fmt.Errorf("delete mailbox %s, which is gone: %w", to[id].Path, err)
		}
		delete(to, id)
	}
	if len(renames) == 0 {
		return to, nil
	}
	if err := p.To.RenameMailboxes(ctx, acct, renames); err != nil {
		return nil, fmt.Errorf("rename mailboxes: %w", err)
	}
	return to, nil
}

// subscriptions makes the names that are subscribed without a mailbox those of the source.
// One that has a mailbox in the target only is left to the next pass.
func (p *pass) subscriptions(ctx context.Context, acct mail.AccountID) error {
	_, from, err := p.From.Subscriptions(ctx, acct)
	if err != nil {
		return fmt.Errorf("list the subscriptions of the source: %w", err)
	}
	boxes, to, err := p.To.Subscriptions(ctx, acct)
	if err != nil {
		return fmt.Errorf("list the subscriptions of the target: %w", err)
	}
	has := func(name string) bool {
		return slices.ContainsFunc(boxes, func(b *mail.Mailbox) bool { return b.Path == name })
	}
	for _, name := range to {
		if slices.Contains(from, name) {
			continue
		}
		if err := p.To.Subscribe(ctx, acct, name, false, 0); err != nil {
			return fmt.Errorf("unsubscribe %s: %w", name, err)
		}
	}
	for _, name := range from {
		if slices.Contains(to, name) || has(name) {
			continue
		}
		if err := p.To.Subscribe(ctx, acct, name, true, math.MaxInt); err != nil {
			return fmt.Errorf("subscribe %s: %w", name, err)
		}
	}
	return nil
}

// counted is a mailbox with its counters. They tell when a message came of which the mod-sequence was handed out before.
type counted struct {
	mail.Mailbox
	mail.Counters
}

// list reads the mailboxes of an account with their counters.
func list(ctx context.Context, s store.Mailboxes, acct mail.AccountID) ([]*counted, error) {
	boxes, err := s.ListMailboxes(ctx, acct)
	if err != nil {
		return nil, err
	}
	all, err := s.Counters(ctx, acct, mail.MailboxIDs(boxes)...)
	if err != nil {
		return nil, err
	}
	out := make([]*counted, len(boxes))
	for i, b := range boxes {
		out[i] = &counted{*b, all[b.ID]}
	}
	return out, nil
}

// comparable is a mailbox without what an engine counts in a way of its own.
func comparable(b *counted) counted {
	c := *b
	c.Size = 0
	c.Keywords = slices.Sorted(slices.Values(b.Keywords))
	return c
}

// copier makes a mailbox of the target what it is in the source.
type copier struct {
	*pass
	acct  mail.AccountID
	box   *counted // as it was in the source when the copying began
	old   *counted // in the target, nil when it is not there
	where string

	batch      []store.Restored
	batchBytes int64
}

func (c *copier) run(ctx context.Context) error {
	c.counts.mailboxes.Add(1)
	if c.old != nil {
		d := differences(comparable(c.box), comparable(c.old))
		if len(d) == 0 {
			c.counts.unchanged.Add(1)
			return nil
		}
		if onlyAbout(d) {
			return c.restore(ctx, c.box.HighestModSeq)
		}
	}
	// Until all messages are there the mailbox must not look as if it were ready.
	if err := c.restore(ctx, 1); err != nil {
		return err
	}
	if err := c.messages(ctx); err != nil {
		return err
	}
	return c.restore(ctx, c.box.HighestModSeq)
}

// told takes over up to where sessions were told of the messages.
func (c *copier) told(ctx context.Context) error {
	if err := c.limitTold(ctx); err != nil || c.FromRecents == nil || c.ToRecents == nil {
		return err
	}
	told, err := c.FromRecents.TakeRecent(ctx, c.acct, c.box.ID, 0)
	if err != nil {
		return fmt.Errorf("ask the source which messages are no longer recent: %w", err)
	}
	if told == 0 {
		return nil
	}
	if _, err := c.ToRecents.TakeRecent(ctx, c.acct, c.box.ID, told); err != nil {
		return fmt.Errorf("note which messages are no longer recent: %w", err)
	}
	return nil
}

// limitTold sees to it that sessions were told of no more UIDs than the mailbox has, where the target remembers that of a
// mailbox that was there before.
func (c *copier) limitTold(ctx context.Context) error {
	to, ok := c.ToRecents.(store.RecentsBeside)
	if !ok {
		return nil
	}
	last := c.box.UIDNext - 1
	told, err := to.TakeRecent(ctx, c.acct, c.box.ID, 0)
	if err != nil || told <= last {
		return err
	}
	if err := to.LimitRecent(ctx, c.acct, c.box.ID, last); err != nil {
		return fmt.Errorf("note that new messages are recent: %w", err)
	}
	return nil
}

// onlyAbout reports whether mailboxes differ in nothing that has to do with messages.
func onlyAbout(differ []string) bool {
	for _, name := range differ {
		switch name {
		case "Path", "SpecialUse", "Subscribed", "Hidden", "Retention", "Encrypt", "Created":
		default:
			return false
		}
	}
	return true
}

func (c *copier) restore(ctx context.Context, highest mail.ModSeq) error {
	b := c.box.Mailbox
	b.HighestModSeq = highest
	if err := c.To.RestoreMailbox(ctx, c.acct, b); err != nil {
		return fmt.Errorf("restore the mailbox: %w", err)
	}
	return nil
}
