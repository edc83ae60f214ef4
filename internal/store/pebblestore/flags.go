package pebblestore

import (
	"context"
	"strings"

	"mallard/internal/mail"
	"mallard/internal/store"
)

// UpdateFlags implements store.Messages.
func (s *Store) UpdateFlags(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID, u store.FlagUpdate) (*store.FlagResult, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.leave()
	if u.MetaData != nil && len(*u.MetaData) > maxMetaData {
		return nil, mail.NewError(mail.CodeLimit, "the metadata is too long")
	}
	out := &store.FlagResult{}
	err := inSteps(u.UIDs, func(set mail.UIDSet) (mail.UIDSet, error) {
		return s.updateStep(ctx, acct, mbox, set, &u, out)
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// updateStep is UpdateFlags for the first messages of a set, and returns the others.
func (s *Store) updateStep(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID, set mail.UIDSet, u *store.FlagUpdate, out *store.FlagResult) (rest mail.UIDSet, err error) {
	c, err := s.begin(ctx, acct)
	if err != nil {
		return nil, boxError(err)
	}
	defer c.end()
	c.origin = u.Origin
	box, err := c.box(mbox)
	if err != nil {
		return nil, err
	}
	if out.Existing == nil {
		out.Existing = make([]mail.HotRow, 0, min(set.Count(), int(box.head.messages)))
	}
	p := &flagUpdater{c: c, box: box, u: u, out: out}
	err = s.walk(ctx, acct, mbox, set, func(uid mail.UID, h *hot) error {
		if p.changed == s.opt.changeStep {
			rest = box.rest(set, uid)
			return errStop
		}
		return p.message(uid, h)
	})
	if ignoreStop(err) != nil {
		return nil, err
	}
	if p.changed == 0 {
		return nil, nil
	}
	out.ModSeq = mail.ModSeq(c.seq)
	box.head.highest = c.seq
	return rest, c.commit(false)
}

// flagUpdater is one step of UpdateFlags.
type flagUpdater struct {
	c       *change
	box     *boxChange
	u       *store.FlagUpdate
	out     *store.FlagResult
	changed int // in this step
	// The outcome for the flags that were met last: most messages of a set have the
	// same ones.
	before, after mail.Flags
	computed      bool
}

// message updates one message.
func (p *flagUpdater) message(uid mail.UID, h *hot) error {
	u := p.u
	old := p.flags(h)
	if u.UnchangedSince != nil && h.modseq > uint64(*u.UnchangedSince) {
		p.out.Modified = p.out.Modified.Append(uid)
		p.out.Existing = append(p.out.Existing, mail.HotRow{UID: uid, ModSeq: mail.ModSeq(h.modseq), Flags: old, Octets: h.size})
		return nil
	}
	if err := p.compute(old); err != nil {
		return err
	}
	moved, err := p.extra(uid, h)
	if err != nil {
		return err
	}
	changed := p.after != old || moved
	if changed {
		p.store(uid, h, old)
	}
	row := mail.HotRow{UID: uid, ModSeq: mail.ModSeq(h.modseq), Flags: p.after, Octets: h.size}
	p.out.Existing = append(p.out.Existing, row)
	if changed {
		p.out.Changed = append(p.out.Changed, row)
		p.changed++
	}
	return nil
}

// flags returns the flags of a record, without a new string where the last message
// had the same keywords.
func (p *flagUpdater) flags(h *hot) mail.Flags {
	if string(h.keywords) == p.before.KeywordString() {
		return mail.FlagsFromKeywordString(h.system, p.before.KeywordString())
	}
	return h.flags()
}

// compute sets p.after for a message with these flags.
func (p *flagUpdater) compute(old mail.Flags) error {
	if p.computed && p.before == old {
		return nil
	}
	var f mail.Flags
	switch p.u.Mode {
	case store.FlagsAdd:
		f = old.Add(p.u.Flags)
	case store.FlagsRemove:
		f = old.Remove(p.u.Flags)
	default:
		f = respell(p.u.Flags, old)
	}
	if k := f.KeywordString(); k != "" && strings.Count(k, " ") >= mail.MaxKeywords {
		return mail.NewError(mail.CodeLimit, "the message would have too many keywords")
	}
	p.before, p.after, p.computed = old, f, true
	return nil
}

// respell returns flags in which keywords that a message has keep its spelling.
func respell(f, old mail.Flags) mail.Flags {
	if f.KeywordString() == "" || old.KeywordString() == "" || f.KeywordString() == old.KeywordString() {
		return f
	}
	var kw []string
	for k := range f.Keywords() {
		for have := range old.Keywords() {
			if strings.EqualFold(have, k) {
				k = have
				break
			}
		}
		kw = append(kw, k)
	}
	return mail.NewFlags(f.System, kw...)
}

// store writes the record of a message that changed.
func (p *flagUpdater) store(uid mail.UID, h *hot, old mail.Flags) {
	c, box := p.c, p.box
	box.count(h, -1)
	h.setFlags(p.after)
	box.count(h, 1)
	h.modseq = c.seq
	var key [hotKeySize]byte
	var value [hotSize + 128]byte
	set(c.batch, appendUIDKey(key[:0], tabHot, c.acct.id, box.id, uid), h.append(value[:0]))
	box.addKeywords(p.after)
	c.noteMessage(cmdFetch, box.id, uid, h, old.Has(mail.Seen) != p.after.Has(mail.Seen))
}

// extra changes metadata and expiry and reports whether they really changed.
func (p *flagUpdater) extra(uid mail.UID, h *hot) (bool, error) {
	if p.u.MetaData == nil && p.u.Expires == nil {
		return false, nil
	}
	x, err := p.c.s.extra(p.c.acct.id, p.box.id, uid, h)
	if err != nil {
		return false, err
	}
	old := x
	if p.u.MetaData != nil {
		x.metaData = *p.u.MetaData
	}
	if p.u.Expires != nil {
		x.expires = expiry(*p.u.Expires)
	}
	if x == old {
		return false, nil
	}
	key := uidKey(tabExtra, p.c.acct.id, p.box.id, uid)
	if x.empty() {
		h.bits &^= hotHasExtra
		del(p.c.batch, key)
	} else {
		h.bits |= hotHasExtra
		set(p.c.batch, key, x.append(nil))
	}
	return true, nil
}
