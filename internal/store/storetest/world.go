package storetest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"mallard/internal/mail"
	"mallard/internal/store"
)

// world is a store as a long-lived client sees it: it does operations that are
// described without ids and UIDs, so that the same ones can be done to another
// store, and remembers what it was told, so that it notices what is told twice.
type world struct {
	ctx  context.Context
	s    store.Store
	acct mail.AccountID
	// copies follow the mailboxes by their changes, each from another moment on.
	copies map[mail.MailboxID][]*follower
	handed handed
	head   mail.JournalID // of the journal when it was last read
	// maintain is that of the engine; nil for the model.
	maintain func(ctx context.Context, s store.Store) error
	gaps     bool // that of the engine
	// problems are broken promises that no error code tells.
	problems []string
}

// handed is what a store gave out and must never give out again.
type handed struct {
	uids     map[mail.MailboxID]mail.UID
	modSeqs  map[mail.MailboxID]mail.ModSeq
	validity mail.UIDValidity
	journal  mail.JournalID
}

func (h handed) clone() handed {
	uids, modSeqs := make(map[mail.MailboxID]mail.UID), make(map[mail.MailboxID]mail.ModSeq)
	maps.Copy(uids, h.uids)
	maps.Copy(modSeqs, h.modSeqs)
	h.uids, h.modSeqs = uids, modSeqs
	return h
}

func newWorld(e Engine, s store.Store) *world {
	return &world{
		ctx: context.Background(), s: s, maintain: e.Maintain, gaps: e.Gaps,
		copies: make(map[mail.MailboxID][]*follower),
		handed: handed{uids: make(map[mail.MailboxID]mail.UID), modSeqs: make(map[mail.MailboxID]mail.ModSeq)},
	}
}

// op is an operation on a world.
type op struct {
	name string
	// weak operations may be acknowledged before they are durable.
	weak bool
	run  func(w *world) outcome
}

// outcome is what an operation came to, in terms that do not depend on the store.
type outcome struct {
	err  error
	text string
	// nothing says that the store did not change: such an operation does not make
	// durable what came before it.
	nothing bool
}

// unless marks an outcome as one without a change when n is zero.
func (o outcome) unless(n int) outcome {
	o.nothing = n == 0
	return o
}

// did is the outcome of an operation that returned a result and an error.
func did(err error, format string, args ...any) outcome {
	if err != nil {
		return outcome{err: err}
	}
	return outcome{text: fmt.Sprintf(format, args...)}
}

// infrastructure reports whether an error is a failure of the store, not an
// answer to the request.
func (o outcome) infrastructure() bool {
	if o.err == nil {
		return false
	}
	switch mail.CodeOf(o.err) {
	case mail.CodeUnavailable, mail.CodeNoSpace, mail.CodeCorrupt, mail.CodeInternal, mail.CodeCanceled:
		return true
	}
	return false
}

func (o outcome) String() string {
	if o.err != nil {
		return "error " + code(o.err)
	}
	return o.text
}

func (w *world) problem(format string, args ...any) {
	w.problems = append(w.problems, fmt.Sprintf(format, args...))
}

// saw notes a UID and a mod-sequence that were given to a new message.
func (w *world) saw(mbox mail.MailboxID, uid mail.UID, ms mail.ModSeq) {
	if uid <= w.handed.uids[mbox] {
		w.problem("UID %d was given out when %d had been used", uid, w.handed.uids[mbox])
	}
	w.handed.uids[mbox] = max(w.handed.uids[mbox], uid)
	w.sawModSeq(mbox, ms, w.handed.modSeqs[mbox])
}

// sawModSeq notes the mod-sequence of a change; it must be greater than before.
func (w *world) sawModSeq(mbox mail.MailboxID, ms, before mail.ModSeq) {
	if ms <= before {
		w.problem("mod-sequence %d was given out when %d had been used", ms, before)
	}
	w.handed.modSeqs[mbox] = max(w.handed.modSeqs[mbox], ms)
}

// box returns a mailbox by its path.
func (w *world) box(path string) (mail.MailboxID, error) {
	b, err := w.s.MailboxByPath(w.ctx, w.acct, path)
	if err != nil {
		return mail.MailboxID{}, err
	}
	return b.ID, nil
}

// pick turns positions in a mailbox into UIDs. Positions beyond the end count
// from the beginning again.
func (w *world) pick(path string, positions []int) (mail.MailboxID, mail.UIDSet, []mail.UID, error) {
	id, err := w.box(path)
	if err != nil {
		return id, nil, nil, err
	}
	var all []mail.UID
	for row, err := range w.s.Fetch(w.ctx, w.acct, id, store.FetchQuery{}) {
		if err != nil {
			return id, nil, nil, err
		}
		all = append(all, row.UID)
	}
	var set []mail.UID
	if len(all) > 0 {
		for _, p := range positions {
			set = append(set, all[p%len(all)])
		}
	}
	return id, mail.UIDSetOf(set...), all, nil
}

// positions is the reverse of pick.
func positions(all []mail.UID, uids []mail.UID) []int {
	var out []int
	for _, u := range uids {
		out = append(out, slices.Index(all, u))
	}
	return out
}

// message is a message to be appended: how to make its content, and the rest.
type message struct {
	content func() *store.Content
	store.Append
}

// opAppend appends messages. The quota leaves room for all of them and slack
// octets more; with noQuota there is none.
func opAppend(path string, slack int64, in ...message) op {
	return op{name: fmt.Sprintf("append %d to %s", len(in), path), run: func(w *world) outcome {
		id, err := w.box(path)
		if err != nil {
			return outcome{err: err}
		}
		a, err := w.s.Account(w.ctx, w.acct)
		if err != nil {
			return outcome{err: err}
		}
		quota := a.StorageUsed + slack
		var list []store.Append
		for _, m := range in {
			c := m.content()
			st, err := w.s.Stage(w.ctx, c)
			if err != nil {
				return outcome{err: err}
			}
			defer st.Close()
			ap := m.Append
			ap.Staged = st
			quota += c.Size + int64(len(ap.Prefix))
			list = append(list, ap)
		}
		if slack < noQuota {
			for i := range list {
				list[i].Quota = quota
			}
		}
		out, err := w.s.Append(w.ctx, w.acct, id, list)
		before := w.handed.modSeqs[id]
		for _, ap := range out {
			w.handed.modSeqs[id] = before // the messages of one append may share one
			w.saw(id, ap.UID, ap.ModSeq)
		}
		return did(err, "%d appended", len(out)).unless(len(out))
	}}
}

// noQuota is a slack that stands for no quota at all.
const noQuota = 1 << 40

func opFlags(path string, at []int, u store.FlagUpdate) op {
	return op{name: fmt.Sprintf("flags %v of %s: %d %v", at, path, u.Mode, u.Flags.List()), weak: true, run: func(w *world) outcome {
		id, set, all, err := w.pick(path, at)
		if err != nil {
			return outcome{err: err}
		}
		u.UIDs = set
		res, err := w.s.UpdateFlags(w.ctx, w.acct, id, u)
		if err != nil {
			return outcome{err: err}
		}
		if res.ModSeq > 0 {
			w.sawModSeq(id, res.ModSeq, w.handed.modSeqs[id])
		}
		return did(nil, "changed %v of %v", positions(all, hotUIDs(res.Changed)), positions(all, hotUIDs(res.Existing))).unless(len(res.Changed))
	}}
}

// opCopy copies or moves messages, with the slack of opAppend for copies.
func opCopy(from, to string, at []int, move bool, slack int64) op {
	name := fmt.Sprintf("copy %v of %s to %s, move %v", at, from, to, move)
	return op{name: name, run: func(w *world) outcome {
		src, set, all, err := w.pick(from, at)
		if err != nil {
			return outcome{err: err}
		}
		dst, err := w.box(to)
		if err != nil {
			return outcome{err: err}
		}
		before, beforeSrc := w.handed.modSeqs[dst], w.handed.modSeqs[src]
		res, err := w.copy(src, dst, set, move, slack)
		if err != nil {
			return outcome{err: err}
		}
		if len(res.To) > 0 {
			// The copy happened, whether it can be read now or not.
			rows, _ := readRows(w.ctx, w.s, w.acct, dst, store.FetchQuery{UIDs: mail.UIDSetOf(res.To...)})
			for _, r := range rows {
				w.handed.modSeqs[dst] = before
				w.saw(dst, r.UID, r.ModSeq)
			}
			if move {
				w.sawModSeq(src, res.SourceModSeq, beforeSrc)
			}
		}
		return did(nil, "copied %v", positions(all, res.From)).unless(len(res.To))
	}}
}

func (w *world) copy(src, dst mail.MailboxID, set mail.UIDSet, move bool, slack int64) (*store.CopyResult, error) {
	if move {
		return w.s.Move(w.ctx, w.acct, src, dst, set)
	}
	if slack >= noQuota {
		return w.s.Copy(w.ctx, w.acct, src, dst, set, 0)
	}
	a, err := w.s.Account(w.ctx, w.acct)
	if err != nil {
		return nil, err
	}
	quota := a.StorageUsed + slack
	for row, err := range w.s.Fetch(w.ctx, w.acct, src, store.FetchQuery{UIDs: set}) {
		if err != nil {
			return nil, err
		}
		quota += row.Size
	}
	return w.s.Copy(w.ctx, w.acct, src, dst, set, quota)
}

func opExpunge(path string, at []int, onlyDeleted bool) op {
	return op{name: fmt.Sprintf("expunge %v of %s, only deleted %v", at, path, onlyDeleted), run: func(w *world) outcome {
		id, set, all, err := w.pick(path, at)
		if err != nil {
			return outcome{err: err}
		}
		res, err := w.s.Expunge(w.ctx, w.acct, id, set, onlyDeleted)
		if err != nil {
			return outcome{err: err}
		}
		if len(res.UIDs) > 0 {
			w.sawModSeq(id, res.ModSeq, w.handed.modSeqs[id])
		}
		return did(nil, "expunged %v", positions(all, collect(res.UIDs))).unless(len(res.UIDs))
	}}
}

func opCreate(path string, limit int) op { return opCreateSubscribed(path, true, limit) }

func opCreateSubscribed(path string, subscribed bool, limit int) op {
	return op{name: fmt.Sprintf("create %s, subscribed %v", path, subscribed), run: func(w *world) outcome {
		b, err := w.s.CreateMailbox(w.ctx, w.acct, mail.Mailbox{Path: path, Subscribed: subscribed}, limit)
		if err != nil {
			return outcome{err: err}
		}
		if b.UIDValidity <= w.handed.validity {
			w.problem("UIDVALIDITY %d was given out when %d had been used", b.UIDValidity, w.handed.validity)
		}
		w.handed.validity = max(w.handed.validity, b.UIDValidity)
		return did(nil, "created")
	}}
}

// opDelete deletes a mailbox; names is that of DeleteMailbox.
func opDelete(path string, names int) op {
	return op{name: fmt.Sprintf("delete %s, names %d", path, names), run: func(w *world) outcome {
		id, err := w.box(path)
		if err != nil {
			return outcome{err: err}
		}
		return did(w.s.DeleteMailbox(w.ctx, w.acct, id, names), "deleted")
	}}
}

// opRename renames pairs of paths in one step.
func opRename(pairs ...string) op {
	return op{name: fmt.Sprintf("rename %q", pairs), run: func(w *world) outcome {
		var renames []store.Rename
		for i := 0; i+1 < len(pairs); i += 2 {
			id, err := w.box(pairs[i])
			if err != nil {
				return outcome{err: err}
			}
			renames = append(renames, store.Rename{ID: id, Path: pairs[i+1]})
		}
		return did(w.s.RenameMailboxes(w.ctx, w.acct, renames), "renamed")
	}}
}

func opUpdateMailbox(path string, use mail.SpecialUse, subscribed bool) op {
	return op{name: "update " + path, run: func(w *world) outcome {
		id, err := w.box(path)
		if err != nil {
			return outcome{err: err}
		}
		_, err = w.s.UpdateMailbox(w.ctx, w.acct, id, func(b *mail.Mailbox) error {
			b.SpecialUse, b.Subscribed = use, subscribed
			return nil
		})
		return did(err, "updated")
	}}
}

func opSubscribe(path string, on bool, names int) op {
	return op{name: fmt.Sprintf("subscribe %s %v, names %d", path, on, names), run: func(w *world) outcome {
		return did(w.s.Subscribe(w.ctx, w.acct, path, on, names), "subscribed")
	}}
}

func opCreateAccount(view string, main bool) op {
	return op{name: "create account " + view, run: func(w *world) outcome {
		a, err := w.s.CreateAccount(w.ctx, store.NewAccount{
			Account: mail.Account{Username: view}, View: view,
			Address:   &mail.Address{Address: view + "@example.com", View: view + "@example.com"},
			Mailboxes: []mail.Mailbox{{Path: "INBOX"}, {Path: "a"}},
		})
		if err != nil {
			return outcome{err: err}
		}
		if main {
			w.acct = a.ID
			boxes, _ := w.s.ListMailboxes(w.ctx, a.ID) // it is created, whether it can be read now or not
			for _, b := range boxes {
				w.handed.validity = max(w.handed.validity, b.UIDValidity)
			}
		}
		return did(nil, "created")
	}}
}

func opDeleteAccount(view string) op {
	return op{name: "delete account " + view, run: func(w *world) outcome {
		a, err := w.s.AccountByName(w.ctx, view)
		if err != nil {
			return outcome{err: err}
		}
		return did(w.s.DeleteAccount(w.ctx, a.ID, time.Time{}), "deleted")
	}}
}

// opRecount counts again what an account uses.
func opRecount() op {
	return op{name: "recount", run: func(w *world) outcome {
		before, after, err := w.s.RecountQuota(w.ctx, w.acct)
		if err == nil && before != after {
			w.problem("%d octets were counted, there are %d", before, after)
		}
		return did(err, "recounted")
	}}
}

func opUpdateAccount(tag string) op {
	return op{name: "update account", run: func(w *world) outcome {
		_, err := w.s.UpdateAccount(w.ctx, w.acct, func(a *mail.Account) error {
			a.Tags = append(a.Tags, tag)
			return nil
		})
		return did(err, "updated")
	}}
}

func opAddress(address string, main bool) op {
	return op{name: "create address " + address, run: func(w *world) outcome {
		_, err := w.s.CreateAddress(w.ctx, mail.Address{Address: address, View: address, Account: w.acct}, main)
		return did(err, "created")
	}}
}

func opDeleteAddress(address string) op {
	return op{name: "delete address " + address, run: func(w *world) outcome {
		rows, err := w.s.AddressesByView(w.ctx, address)
		if err != nil {
			return outcome{err: err}
		}
		if len(rows) == 0 {
			return did(nil, "nothing to delete").unless(0)
		}
		return did(w.s.DeleteAddress(w.ctx, rows[0].ID), "deleted")
	}}
}

func opRecord(key, value string) op {
	return op{name: "record " + key, run: func(w *world) outcome {
		if value == "" {
			return did(w.s.PutRecord(w.ctx, "kind", key, nil), "removed")
		}
		return did(w.s.PutRecord(w.ctx, "kind", key, []byte(value)), "put")
	}}
}

// opMaintain does the engine's background work.
func opMaintain() op {
	return op{name: "maintain", weak: true, run: func(w *world) outcome {
		if w.maintain == nil {
			return did(nil, "maintained").unless(0)
		}
		err := w.maintain(w.ctx, w.s)
		if err != nil && mail.CodeOf(err) == mail.CodeInternal { // it is no method of the contract
			err = mail.WrapError(mail.CodeUnavailable, "", err)
		}
		return did(err, "maintained").unless(0)
	}}
}

// do runs an operation and looks at the head of the journal.
func (w *world) do(o op) outcome {
	out := o.run(w)
	if out.err == nil {
		w.readHead()
	}
	return out
}

// readHead notes the head of the journal; another one than before must be greater
// than all that there were.
func (w *world) readHead() {
	if w.acct.IsZero() {
		return
	}
	head, err := w.s.JournalHead(w.ctx, w.acct)
	if err != nil || head == w.head {
		return // reading may fail where a disk does
	}
	if slices.Compare(head[:], w.handed.journal[:]) <= 0 && !w.gaps {
		w.problem("the journal has %v as its head when %v had been given out", head, w.handed.journal)
	}
	w.head, w.handed.journal = head, head
}

// opened makes w the same client of a store that was opened again, which may have
// lost weak operations and their journal entries.
func (w *world) opened(s store.Store) {
	w.s, w.head = s, mail.JournalID{}
	if head, err := s.JournalHead(w.ctx, w.acct); err == nil {
		w.head = head
	}
}

// probe checks on a store that was opened again that nothing it gives out was
// given out before.
func (w *world) probe() error {
	before := w.head
	for _, o := range []op{
		opCreate("probe", 0),
		opAppend(mail.Inbox, noQuota, message{content: func() *store.Content { return note(77) }}),
		opFlags(mail.Inbox, []int{0}, store.FlagUpdate{Flags: mail.NewFlags(0, "probe")}),
		opExpunge(mail.Inbox, []int{0}, false),
	} {
		if out := w.do(o); out.err != nil {
			return fmt.Errorf("%s: %w", o.name, out.err)
		}
	}
	if w.head == before {
		w.problem("the journal did not grow")
	}
	if len(w.problems) > 0 {
		return errors.New(w.problems[0])
	}
	return nil
}

// follow brings the copies of all mailboxes up to date, each in one step, and
// compares them with the mailboxes; at most keep copies of a mailbox are kept.
func (w *world) follow(st *state, keep int) {
	alive := make(map[mail.MailboxID]bool)
	for _, b := range st.Mailboxes {
		if b.Account != w.acct {
			continue
		}
		id := b.Row.ID
		alive[id] = true
		copies := append(w.copies[id], newFollower())
		for i, c := range copies {
			set, err := w.s.Changes(w.ctx, w.acct, id, c.to)
			if err != nil {
				w.problem("changes of %s: %v", b.Row.Path, err)
				return
			}
			old := c.clone()
			for _, p := range old.apply(set) {
				w.problem("changes of %s since %d: %s", b.Row.Path, c.to, p)
			}
			if d := old.differs(b.Rows); d != "" {
				w.problem("a copy of %s as of %d that gets the changes has %s", b.Row.Path, c.to, d)
			}
			if i == len(copies)-1 {
				copies[i] = old // the newest is now a copy as of this moment
			}
		}
		w.copies[id] = copies
		if len(copies) > keep {
			drop := int(copies[len(copies)-1].to) % keep // any but the newest
			w.copies[id] = slices.Delete(copies, drop, drop+1)
		}
	}
	maps.DeleteFunc(w.copies, func(id mail.MailboxID, _ []*follower) bool { return !alive[id] })
}
