package mongostore

import (
	"context"
	"errors"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"mallard/internal/mail"
)

// watch is what a node has seen of the others.
type watch struct {
	seen map[bson.ObjectID]sighting
}

// sighting is a beat and when it was first seen.
type sighting struct {
	beat int64
	at   time.Time
}

// look reads what the others say of themselves, and settles what those that are gone have left.
func (w *watch) look(ctx context.Context, s *Store) {
	rows, err := findAll(ctx, s.nodes(), bson.D{{Key: "_id", Value: bson.D{{Key: "$ne", Value: s.ledger.node}}}}, nil, nil)
	if err != nil {
		return // the database does not answer; it is said elsewhere
	}
	now := make(map[bson.ObjectID]sighting, len(rows))
	for _, row := range rows {
		id, _ := row.Lookup("_id").ObjectIDOK()
		last, ok := w.seen[id]
		if beat := integer(row.Lookup(nodeBeat)); !ok || last.beat != beat {
			last = sighting{beat, time.Now()}
		}
		now[id] = last
	}
	w.seen = now
	for _, row := range rows {
		id, _ := row.Lookup("_id").ObjectIDOK()
		patience := max(s.o.Dead, time.Duration(integer(row.Lookup(nodeDead)))*time.Millisecond)
		if !truth(row.Lookup(nodeEnded)) && time.Since(now[id].at) < patience {
			continue
		}
		if err := s.settleNode(ctx, row); err != nil && ctx.Err() == nil {
			s.o.Logger.Warn("what a node has left is settled later", "node", id.Hex(), "error", err)
		}
	}
}

// deadNode is a node of which another settles what it has left.
type deadNode struct {
	id    bson.ObjectID
	since int64 // charges with lesser numbers are done
}

// settleNode does what a node that has ended, or is taken for dead, has left to do. Whoever does so beats in its place, so
// that others leave it alone for a while; that two do it, or that the node lives after all, does no harm, as each step is
// made once.
func (s *Store) settleNode(ctx context.Context, row bson.Raw) error {
	d := deadNode{id: row.Lookup("_id").ObjectID(), since: integer(row.Lookup(nodeSince))}
	beat := integer(row.Lookup(nodeBeat))
	self := bson.D{{Key: "_id", Value: d.id}, {Key: nodeBeat, Value: beat}}
	res, err := s.nodes().UpdateOne(ctx, self, bson.D{
		{Key: "$inc", Value: bson.D{{Key: nodeBeat, Value: int64(1)}}}, {Key: "$unset", Value: bson.D{{Key: nodeEnded, Value: ""}}},
	})
	if err != nil || res.MatchedCount == 0 {
		return err
	}
	s.o.Logger.Info("a node is gone; what it has left is settled", "node", d.id.Hex(), "host", text(row.Lookup("host")))
	if err := s.settleCharges(ctx, d); err != nil {
		return err
	}
	left := s.settleNotes(ctx, d)
	for _, id := range objectIDs(row.Lookup(nodeDoubtful)) {
		if _, _, err := s.recount(ctx, mail.AccountID(id), s.longestWrite(), nil); err != nil && !accountGone(err) {
			return err
		}
	}
	if left != nil {
		return left
	}
	self[1].Value = beat + 1
	_, err = s.nodes().DeleteOne(ctx, self)
	return err
}

// settleNotes completes expunges and moves that a node has left half-done, as any that are old. Where it fails the other
// mailboxes are settled all the same: the lock of one may be the dead node's for some minutes more.
func (s *Store) settleNotes(ctx context.Context, d deadNode) error {
	boxes, err := findAll(ctx, s.mailboxes(), bson.D{{Key: memberMallard + "." + keyNotes + ".0", Value: bson.D{{Key: "$exists", Value: true}}}},
		bson.D{{Key: "user", Value: 1}, {Key: memberMallard + "." + keyNotes, Value: 1}}, nil)
	if err != nil {
		return err
	}
	return parallel(len(boxes), func(i int) error { return s.settleNotesOf(ctx, d, boxes[i]) })
}

// settleNotesOf is settleNotes for one mailbox.
func (s *Store) settleNotesOf(ctx context.Context, d deadNode, box bson.Raw) (unlocked error) {
	id, _ := box.Lookup("_id").ObjectIDOK()
	user, _ := box.Lookup("user").ObjectIDOK()
	for _, n := range notesOf(box) {
		if n.Node != d.id && !s.old(n) {
			continue
		}
		err := s.repairNote(ctx, mail.AccountID(user), mail.MailboxID(id), &n)
		if errors.Is(err, errUnlocked) {
			unlocked = err // what needs no lock is done meanwhile
		} else if err != nil {
			return err
		}
	}
	return unlocked
}

// openEntry is an entry of a charge.
type openEntry struct {
	member string
	node   bson.ObjectID
	seq    int64
	octets int64
	ids    []bson.ObjectID
	at     time.Time
	made   bool // false for one that keeps a charge from being made
}

// openEntries are the entries of an account.
func openEntries(user bson.Raw) (out []openEntry) {
	doc, ok := user.Lookup(memberMallard, keyOpen).DocumentOK()
	if !ok {
		return nil
	}
	elements, _ := doc.Elements()
	for _, el := range elements {
		e := openEntry{member: memberMallard + "." + keyOpen + "." + el.Key()}
		if e.node, e.seq, ok = parseEntryKey(el.Key()); !ok {
			continue
		}
		entry, _ := el.Value().DocumentOK()
		octets, err := entry.LookupErr(entryOctets)
		e.made, e.octets, e.at, e.ids = err == nil, integer(octets), instant(entry.Lookup(entryAt)), objectIDs(entry.Lookup(entryIDs))
		out = append(out, e)
	}
	return out
}

func objectIDs(v bson.RawValue) (out []bson.ObjectID) {
	array, ok := v.ArrayOK()
	if !ok {
		return nil
	}
	values, _ := array.Values()
	for _, v := range values {
		if id, ok := v.ObjectIDOK(); ok {
			out = append(out, id)
		}
	}
	return out
}

// settleCharges looks through all accounts for charges of a node. There is no index for it: nodes die seldom.
func (s *Store) settleCharges(ctx context.Context, d deadNode) error {
	living, err := s.livingNodes(ctx)
	if err != nil {
		return err
	}
	const open = memberMallard + "." + keyOpen
	cur, err := s.users().Find(ctx, bson.D{{Key: open, Value: bson.D{{Key: "$exists", Value: true}}}}, options.Find().SetProjection(bson.D{{Key: open, Value: 1}}))
	if err != nil {
		return err
	}
	defer cur.Close(context.WithoutCancel(ctx))
	var unclear []unclearAccount
	for cur.Next(ctx) {
		user, _ := cur.Current.Lookup("_id").ObjectIDOK()
		var left []openEntry
		var done []string
		for _, e := range openEntries(cur.Current) {
			switch {
			case e.node == d.id && e.seq >= d.since && e.made:
				left = append(left, e)
			case e.node == d.id, !living[e.node] && s.o.Now().Sub(e.at) > staleEntry:
				done = append(done, e.member)
			}
		}
		members, err := s.settleAccount(ctx, user, left, done)
		if err != nil {
			return err
		}
		if len(members) > 0 {
			unclear = append(unclear, unclearAccount{user, members})
		}
	}
	if err := cur.Err(); err != nil {
		return err
	}
	return parallel(len(unclear), func(i int) error { return s.settleByCount(ctx, unclear[i].user, unclear[i].members) })
}

// unclearAccount is one with charges that only counting anew settles.
type unclearAccount struct {
	user    bson.ObjectID
	members []string
}

// staleEntry is the age from which on an entry is done whose node has no row any more.
const staleEntry = time.Hour

func (s *Store) livingNodes(ctx context.Context) (map[bson.ObjectID]bool, error) {
	rows, err := findAll(ctx, s.nodes(), bson.D{}, bson.D{{Key: "_id", Value: 1}}, nil)
	living := make(map[bson.ObjectID]bool, len(rows))
	for _, row := range rows {
		living[row.Lookup("_id").ObjectID()] = true
	}
	return living, err
}

// settleAccount settles charges of one account, and takes entries away that are done. It returns those that only counting
// anew settles.
func (s *Store) settleAccount(ctx context.Context, user bson.ObjectID, left []openEntry, done []string) (unclear []string, err error) {
	if len(done) > 0 {
		_, err := s.users().UpdateOne(ctx, bson.D{{Key: "_id", Value: user}}, bson.D{{Key: "$unset", Value: unsetOf(done)}})
		if err != nil {
			return nil, err
		}
	}
	for _, e := range left {
		ok, err := s.settleEntry(ctx, user, e)
		if err != nil {
			return nil, err
		}
		if !ok {
			unclear = append(unclear, e.member)
		}
	}
	return unclear, nil
}

// settleEntry settles a charge by looking whether its messages are there; false when that cannot be told.
func (s *Store) settleEntry(ctx context.Context, user bson.ObjectID, e openEntry) (bool, error) {
	var back int64
	fate, err := s.fateOf(ctx, user, e)
	switch {
	case err != nil:
		return false, err
	case fate == fateUnclear:
		return false, nil
	case fate == fateAbsent:
		back = e.octets
	}
	_, err = s.closeEntry(ctx, user, e.member, back)
	if err == nil && back != 0 {
		s.o.Logger.Info("octets of a message that was not stored are taken back", "account", user.Hex(), "octets", back)
	}
	return true, err
}

// settleByCount settles charges by counting what the account uses.
func (s *Store) settleByCount(ctx context.Context, user bson.ObjectID, members []string) error {
	if err := pause(ctx, s.longestWrite()); err != nil {
		return err
	}
	_, _, err := s.recount(ctx, mail.AccountID(user), s.longestWrite(), members)
	if accountGone(err) {
		return nil
	}
	return err
}

// fate is what became of the messages of a charge.
type fate int

const (
	fateUnclear fate = iota
	fateStored       // all of them, whatever became of them since
	fateAbsent       // none of them
)

// fateOf finds out what became of the messages of a charge: they are there, or in the archive, or the journal knows them.
func (s *Store) fateOf(ctx context.Context, user bson.ObjectID, e openEntry) (fate, error) {
	if len(e.ids) == 0 {
		return fateUnclear, nil
	}
	in := bson.D{{Key: "$in", Value: e.ids}}
	found := make(map[bson.ObjectID]bool)
	look := func(docs []bson.Raw, err error, key string) error {
		for _, doc := range docs {
			if id, ok := doc.Lookup(key).ObjectIDOK(); ok {
				found[id] = true
			}
		}
		return err
	}
	id := bson.D{{Key: "_id", Value: 1}}
	docs, err := findAll(ctx, s.messages(), bson.D{{Key: "_id", Value: in}}, id, nil)
	if err = look(docs, err, "_id"); err == nil && len(found) < len(e.ids) {
		docs, err = findAll(ctx, s.archived(), bson.D{{Key: "user", Value: user}, {Key: "_id", Value: in}}, id, nil)
		err = look(docs, err, "_id")
	}
	if err == nil && len(found) < len(e.ids) {
		docs, err = findAll(ctx, s.journal(), bson.D{
			{Key: "user", Value: user}, {Key: "_id", Value: bson.D{{Key: "$gte", Value: idBefore(e.at.Add(-s.overlap()))}}}, {Key: "message", Value: in},
		}, bson.D{{Key: "message", Value: 1}}, nil)
		err = look(docs, err, "message")
	}
	switch {
	case err != nil:
		return fateUnclear, readError("look for messages", err)
	case len(found) == len(e.ids):
		return fateStored, nil
	case len(found) == 0 && s.o.Now().Sub(e.at) < journalLife:
		return fateAbsent, nil
	}
	return fateUnclear, nil
}

// errOpen says that a message is on its way, so that what is counted cannot be compared.
var errOpen = errors.New("messages are on their way")
