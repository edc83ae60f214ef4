package mongostore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"mallard/internal/mail"
	"mallard/internal/store"
)

// Renaming one mailbox is one update, which the unique index of paths lets happen or not. Renaming several at once has no
// such update. So the whole plan is written into the document of INBOX, by one update that makes it happen: whoever lists
// mailboxes from then on sees them under their new paths. Then the documents follow one by one, the journal rows are
// written and the plan is removed. A plan that was left by a node that died is carried out by whoever meets it.

const (
	keyPlan    = "rename"  // of memberMallard in INBOX: the plan that is being carried out
	keyRenamed = "renamed" // of memberMallard in a mailbox: when a plan last changed its path
)

const (
	// renameFresh is how long after a rename a list of mailboxes is read twice: it could have been read in between. Nodes'
	// clocks must not differ by more.
	renameFresh = 10 * time.Second
	// renameHelp is when others carry out a plan.
	renameHelp = 2 * time.Second
)

// renamePlan are the new paths of mailboxes.
type renamePlan struct {
	Op    bson.ObjectID `bson:"op"`
	At    time.Time     `bson:"at"`
	Moves []renameMove  `bson:"moves"`
}

type renameMove struct {
	ID   bson.ObjectID `bson:"id"`
	Path string        `bson:"path"`
	// Subscribed says that the path was subscribed without a mailbox: so this one is.
	Subscribed bool `bson:"subscribed,omitempty"`
}

// listing are the mailboxes of an account at one moment.
type listing struct {
	boxes    []*mail.Mailbox
	docs     []bson.Raw
	validity mail.UIDValidity // the greatest
	plan     *renamePlan
	fresh    bool // one of them was renamed just now
}

func (l *listing) byPath(path string) *mail.Mailbox {
	for _, b := range l.boxes {
		if b.Path == path {
			return b
		}
	}
	return nil
}

func (l *listing) byID(id mail.MailboxID) *mail.Mailbox {
	for _, b := range l.boxes {
		if b.ID == id {
			return b
		}
	}
	return nil
}

// renaming reports whether the path of a mailbox may be one on the way.
func renaming(doc bson.Raw) bool {
	at := instant(doc.Lookup(memberMallard, keyRenamed))
	return !at.IsZero() && time.Since(at).Abs() < renameFresh
}

// listing reads the mailboxes of an account, without counters.
func (s *Store) listing(ctx context.Context, acct mail.AccountID) (*listing, error) {
	var before *listing
	for range maxAttempts {
		l, err := s.readListing(ctx, acct)
		if err != nil {
			return nil, err
		}
		if l.plan != nil && time.Since(l.plan.At) > renameHelp {
			if err := s.carryOut(context.WithoutCancel(ctx), acct, l.plan); err != nil {
				return nil, err
			}
			continue
		}
		if !l.fresh || before != nil && sameDocs(before.docs, l.docs) {
			return l, nil
		}
		before = l
	}
	return nil, mail.NewError(mail.CodeUnavailable, "the mailboxes are renamed all the time")
}

func sameDocs(a, b []bson.Raw) bool { return slices.EqualFunc(a, b, sameNames) }

// sameNames compares what a listing is made of; the rest of a mailbox changes with its messages.
func sameNames(a, b bson.Raw) bool {
	for _, name := range []string{"_id", "path"} {
		if !sameValue(a.Lookup(name), b.Lookup(name)) {
			return false
		}
	}
	x, y := a.Lookup(memberMallard, keyPlan), b.Lookup(memberMallard, keyPlan)
	return x.Type == y.Type && bytes.Equal(x.Value, y.Value)
}

func (s *Store) readListing(ctx context.Context, acct mail.AccountID) (*listing, error) {
	docs, err := findAll(ctx, s.mailboxes(), bson.D{{Key: "user", Value: oid(acct)}}, nil, bson.D{{Key: "path", Value: 1}})
	if err != nil {
		return nil, readError("list the mailboxes", err)
	}
	l := &listing{docs: docs}
	for _, doc := range docs {
		b := mailboxOf(doc)
		l.boxes = append(l.boxes, b)
		l.validity = max(l.validity, b.UIDValidity)
		l.fresh = l.fresh || renaming(doc)
		if v := doc.Lookup(memberMallard, keyPlan); v.Type == bson.TypeEmbeddedDocument {
			l.plan = &renamePlan{}
			if err := v.Unmarshal(l.plan); err != nil {
				return nil, mail.WrapError(mail.CodeCorrupt, "the mailboxes cannot be read", fmt.Errorf("plan of a rename: %w", err))
			}
		}
	}
	if l.plan != nil {
		for _, m := range l.plan.Moves {
			if b := l.byID(mail.MailboxID(m.ID)); b != nil {
				b.Path, b.Subscribed = m.Path, b.Subscribed || m.Subscribed
			}
		}
	}
	return l, nil
}

// RenameMailboxes renames mailboxes in one step.
func (s *Store) RenameMailboxes(ctx context.Context, acct mail.AccountID, renames []store.Rename) error {
	done, err := s.enter(ctx, "RenameMailboxes")
	if err != nil {
		return err
	}
	defer done()
	if len(renames) == 0 {
		return nil
	}
	for range maxAttempts {
		l, err := s.listing(ctx, acct)
		if err != nil {
			return err
		}
		if err := l.checkRenames(renames); err != nil {
			return err
		}
		ctx := context.WithoutCancel(ctx)
		if l.plan != nil { // another rename comes first
			if err := s.carryOut(ctx, acct, l.plan); err != nil {
				return err
			}
			continue
		}
		names, err := s.names(ctx, acct)
		if err != nil {
			return err
		}
		if done, err := s.renameAll(ctx, acct, l, renames, names); done || err != nil {
			return err
		}
	}
	return mail.NewError(mail.CodeConflict, "the mailboxes are renamed by many at a time")
}

// renameAll renames mailboxes. It returns false when another plan is there.
func (s *Store) renameAll(ctx context.Context, acct mail.AccountID, l *listing, renames []store.Rename, all *subscribedNames) (bool, error) {
	var names []*subscribedName // of paths that a mailbox has now, and what is left of others that one had before
	var unsubscribed []*mail.Mailbox
	moves := make([]renameMove, len(renames))
	for i, r := range renames {
		b, name := *l.byID(r.ID), all.find(r.Path)
		moves[i] = renameMove{ID: oid(r.ID), Path: r.Path, Subscribed: name != nil && l.byPath(r.Path) == nil}
		names = append(names, name, all.find(b.Path))
		if b.Path = r.Path; !b.Subscribed && !moves[i].Subscribed {
			unsubscribed = append(unsubscribed, &b)
		}
	}
	if len(moves) == 1 {
		if err := s.renameOne(ctx, acct, moves[0]); err != nil {
			return false, err
		}
	} else {
		plan, err := s.planRename(ctx, acct, l, moves)
		if plan == nil || err != nil {
			return false, err
		}
		if err := s.carryOut(ctx, acct, plan); err != nil {
			return false, err
		}
	}
	s.releaseNames(ctx, acct, names...)
	return true, s.subscribeLate(ctx, acct, unsubscribed...)
}

// checkRenames reports why renames cannot be done.
func (l *listing) checkRenames(renames []store.Rename) error {
	target := make(map[mail.MailboxID]string)
	for _, r := range renames {
		if l.byID(r.ID) == nil {
			return noMailbox("no such mailbox")
		}
		target[r.ID] = r.Path
	}
	taken := make(map[string]bool)
	for _, b := range l.boxes {
		path, renamed := target[b.ID]
		if !renamed {
			path = b.Path
		}
		if taken[path] {
			return mailboxExists()
		}
		taken[path] = true
	}
	return nil
}

func (s *Store) renameOne(ctx context.Context, acct mail.AccountID, m renameMove) error {
	set := bson.D{{Key: "path", Value: m.Path}}
	if m.Subscribed {
		set = append(set, bson.E{Key: "subscribed", Value: true})
	}
	var matched int64
	err := s.again(ctx, func(ctx context.Context) error {
		res, err := s.mailboxes().UpdateOne(ctx, boxFilter(acct, mail.MailboxID(m.ID)), bson.D{{Key: "$set", Value: set}})
		if err == nil {
			matched = res.MatchedCount
		}
		return err
	})
	switch {
	case mongo.IsDuplicateKeyError(err):
		return mailboxExists()
	case err != nil:
		return writeError("rename the mailbox", err)
	case matched == 0:
		return noMailbox("no such mailbox")
	}
	s.logRenames(ctx, acct, []renameMove{m})
	return nil
}

// planRename writes the plan of a rename, which makes it happen. It returns nil when another plan is there.
func (s *Store) planRename(ctx context.Context, acct mail.AccountID, l *listing, moves []renameMove) (*renamePlan, error) {
	inbox := l.anchor()
	plan := &renamePlan{Op: bson.ObjectID(newID[mail.MailboxID](s)), At: time.Now(), Moves: moves}
	const member = memberMallard + "." + keyPlan
	free := append(boxFilter(acct, inbox), bson.E{Key: member, Value: bson.D{{Key: "$exists", Value: false}}})
	var matched int64
	err := s.again(ctx, func(ctx context.Context) error {
		res, err := s.mailboxes().UpdateOne(ctx, free, bson.D{{Key: "$set", Value: bson.D{{Key: member, Value: plan}}}})
		if err == nil {
			matched = res.MatchedCount
		}
		return err
	})
	if err != nil {
		return nil, writeError("rename the mailboxes", err)
	}
	if matched == 1 {
		return plan, nil
	}
	// An attempt of ours of which the answer was lost may have written it.
	now, err := s.readListing(ctx, acct)
	if err == nil && now.plan != nil && now.plan.Op == plan.Op {
		return plan, nil
	}
	return nil, err
}

// anchor is the mailbox that holds the plan: INBOX, which is never deleted, or else the oldest.
func (l *listing) anchor() mail.MailboxID {
	if b := l.byPath(mail.Inbox); b != nil {
		return b.ID
	}
	oldest := l.boxes[0]
	for _, b := range l.boxes {
		if b.UIDValidity < oldest.UIDValidity {
			oldest = b
		}
	}
	return oldest.ID
}

// carryOut brings the documents to where a plan wants them, and ends the plan. Any number of nodes may do it at once.
func (s *Store) carryOut(ctx context.Context, acct mail.AccountID, plan *renamePlan) error {
	for range 2*len(plan.Moves) + maxAttempts {
		docs, err := findAll(ctx, s.mailboxes(), bson.D{{Key: "user", Value: oid(acct)}}, nil, nil)
		if err != nil {
			return readError("rename the mailboxes", err)
		}
		if !hasPlan(docs, plan.Op) {
			return nil // another node did it
		}
		left := plan.left(docs)
		if len(left) == 0 {
			s.logRenames(ctx, acct, plan.Moves)
			return s.endPlan(ctx, acct, plan)
		}
		for _, step := range left {
			if err := s.renameStep(ctx, acct, step); err != nil {
				return err
			}
		}
	}
	return mail.NewError(mail.CodeUnavailable, "the mailboxes could not be renamed yet")
}

func hasPlan(docs []bson.Raw, op bson.ObjectID) bool {
	return slices.ContainsFunc(docs, func(doc bson.Raw) bool {
		got, ok := doc.Lookup(memberMallard, keyPlan, "op").ObjectIDOK()
		return ok && got == op
	})
}

// renameStep is one change of a document's path.
type renameStep struct {
	doc        bson.Raw
	path       string
	subscribed bool
}

// left are the next steps of a plan: those to paths that are free; one to a path on the way where each waits for another.
func (p *renamePlan) left(docs []bson.Raw) (steps []renameStep) {
	planned := func(doc bson.Raw) bool {
		id := doc.Lookup("_id").ObjectID()
		return slices.ContainsFunc(p.Moves, func(m renameMove) bool { return m.ID == id })
	}
	at := make(map[string]bool) // paths that one of the plan still has; others give way
	byID := make(map[bson.ObjectID]bson.Raw)
	for _, doc := range docs {
		at[text(doc.Lookup("path"))] = planned(doc)
		byID[doc.Lookup("_id").ObjectID()] = doc
	}
	var stuck *renameStep
	for _, m := range p.Moves {
		doc := byID[m.ID]
		if doc == nil || text(doc.Lookup("path")) == m.Path {
			continue
		}
		if !at[m.Path] {
			steps = append(steps, renameStep{doc, m.Path, m.Subscribed})
			continue
		}
		if stuck == nil {
			stuck = &renameStep{doc, m.Path + " (" + p.Op.Hex() + ")", m.Subscribed}
		}
	}
	if len(steps) == 0 && stuck != nil {
		steps = append(steps, *stuck)
	}
	return steps
}

// renameStep changes a path, unless somebody else did it.
func (s *Store) renameStep(ctx context.Context, acct mail.AccountID, step renameStep) error {
	const member = memberMallard + "." + keyRenamed
	filter := guard(step.doc, []string{"path"})
	if at := step.doc.Lookup(memberMallard, keyRenamed); at.Type != 0 {
		filter = append(filter, bson.E{Key: member, Value: at})
	} else {
		filter = append(filter, bson.E{Key: member, Value: bson.D{{Key: "$exists", Value: false}}})
	}
	set := bson.D{{Key: "path", Value: step.path}, {Key: member, Value: stored(time.Now())}}
	if step.subscribed {
		set = append(set, bson.E{Key: "subscribed", Value: true})
	}
	err := s.again(ctx, func(ctx context.Context) error {
		_, err := s.mailboxes().UpdateOne(ctx, append(filter, bson.E{Key: "user", Value: oid(acct)}), bson.D{{Key: "$set", Value: set}})
		return err
	})
	if mongo.IsDuplicateKeyError(err) {
		// Somebody made a mailbox of that path after the plan was checked. The plan cannot be taken back: theirs gives way.
		return s.moveAside(ctx, acct, step.path)
	}
	return writeError("rename the mailboxes", err)
}

// moveAside renames a mailbox that has the path that a plan gives to another.
func (s *Store) moveAside(ctx context.Context, acct mail.AccountID, path string) error {
	_, err := s.mailboxes().UpdateOne(ctx, bson.D{{Key: "user", Value: oid(acct)}, {Key: "path", Value: path}},
		bson.D{{Key: "$set", Value: bson.D{{Key: "path", Value: path + " (" + bson.NewObjectID().Hex() + ")"}}}})
	s.o.Logger.Warn("a mailbox was made under a path to which another is being renamed; it was renamed", "account", acct, "path", path)
	if mongo.IsDuplicateKeyError(err) {
		return nil
	}
	return writeError("rename the mailboxes", err)
}

// endPlan removes a plan that was carried out.
func (s *Store) endPlan(ctx context.Context, acct mail.AccountID, plan *renamePlan) error {
	const member = memberMallard + "." + keyPlan
	err := s.again(ctx, func(ctx context.Context) error {
		_, err := s.mailboxes().UpdateMany(ctx, bson.D{{Key: "user", Value: oid(acct)}, {Key: member + ".op", Value: plan.Op}},
			bson.D{{Key: "$unset", Value: bson.D{{Key: member, Value: ""}}}})
		return err
	})
	if err != nil && !errors.Is(err, context.Canceled) {
		s.o.Logger.Warn("the plan of a rename is removed later", "account", acct, "error", err)
	}
	return nil
}

// logRenames writes the journal rows of renamed mailboxes.
func (s *Store) logRenames(ctx context.Context, acct mail.AccountID, moves []renameMove) {
	ids := make(bson.A, 0, len(moves))
	for _, m := range moves {
		ids = append(ids, m.ID)
	}
	modSeq := make(map[bson.ObjectID]mail.ModSeq)
	docs, err := findAll(ctx, s.mailboxes(), bson.D{{Key: "_id", Value: bson.D{{Key: "$in", Value: ids}}}}, bson.D{{Key: "modifyIndex", Value: 1}}, nil)
	if err != nil {
		s.o.Logger.Warn("a rename is missing in the journal", "account", acct, "error", err)
		return
	}
	for _, doc := range docs {
		modSeq[doc.Lookup("_id").ObjectID()] = mail.ModSeq(integer(doc.Lookup("modifyIndex")))
	}
	var rows []journalRow
	for _, m := range moves {
		rows = append(rows, mailboxRow(acct, mail.MailboxID(m.ID), store.JournalRename, m.Path, modSeq[m.ID]))
	}
	s.log(ctx, rows...)
}
