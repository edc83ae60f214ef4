package mongostore

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"maps"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"mallard/internal/mail"
	"mallard/internal/store"
)

// rehomeLate looks for messages at UIDs that this node has gone past. A client was told of greater UIDs since, so that it
// would not look for these any more: each gets a new one.
func (r *reading) rehomeLate(ctx context.Context) error {
	var uids bson.A
	for u := range r.watched {
		if r.look || r.msgs[u] != nil {
			uids = append(uids, u)
		}
	}
	if len(uids) == 0 {
		return nil
	}
	docs, err := findAll(ctx, r.s.messages(), bson.D{{Key: "mailbox", Value: oid(r.mbox)}, {Key: "uid", Value: bson.D{{Key: "$in", Value: uids}}}}, hotFields(), nil)
	if err != nil {
		return readError("read messages", err)
	}
	for _, doc := range docs {
		m, err := hot(doc)
		if err != nil {
			return err
		}
		uid := m.UID
		if err := r.s.rehome(context.WithoutCancel(ctx), r.acct, r.mbox, m); err != nil {
			return err
		}
		r.track.unwatch(uid)
	}
	for _, u := range uids {
		delete(r.msgs, u.(mail.UID))
		r.rehomed = append(r.rehomed, u.(mail.UID))
	}
	return nil
}

func (t *track) unwatch(u mail.UID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.watch, u)
}

// rehome gives a message that came late the next UID of its mailbox. Of several nodes that try it one does it.
func (s *Store) rehome(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID, m *hotMessage) error {
	r, err := s.reserve(ctx, acct, mbox, 1, 2, nil)
	if err != nil {
		return err
	}
	old := *m
	moved, err := s.renumberOne(ctx, m, r.uid, r.modSeq+1)
	if err != nil || !moved {
		return readError("give a message another UID", err)
	}
	m.UID, m.ModSeq = r.uid, r.modSeq+1
	s.o.Logger.Warn("a message came so late that its UID had been passed; it got another one", "mailbox", mbox, "uid", old.UID, "new", m.UID)
	s.log(ctx, expungeRow(acct, &old, r.modSeq), existsRow(acct, m, 0, nil))
	return nil
}

// repairLater completes changes that were interrupted, as far as this reading has met them.
func (r *reading) repairLater() {
	var msgs []*hotMessage
	for _, m := range r.msgs {
		if slices.Contains(r.gaps, m.ModSeq) {
			msgs = append(msgs, m)
		}
	}
	s, acct, mbox := r.s, r.acct, r.mbox
	if len(msgs) > 0 {
		s.later(func(ctx context.Context) error { return s.repairRows(ctx, acct, mbox, msgs) })
	}
	for _, n := range r.notes {
		if r.track.claim(n.Op, r.started) {
			s.later(func(ctx context.Context) error { return s.repairNote(ctx, acct, mbox, &n) })
		}
	}
}

// claim reports whether nobody in this process is completing a change already.
func (t *track) claim(op bson.ObjectID, now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.claims == nil {
		t.claims = make(map[bson.ObjectID]time.Time)
	}
	maps.DeleteFunc(t.claims, func(_ bson.ObjectID, at time.Time) bool { return now.Sub(at) > claimTime })
	if _, ok := t.claims[op]; ok {
		return false
	}
	t.claims[op] = now
	return true
}

// claimTime is how long a node has for completing a change, before others do it.
const claimTime = time.Minute

// oldNotes are the notes of changes in a mailbox that should be complete by now.
func (s *Store) oldNotes(box bson.Raw) (out []note) {
	for _, n := range notesOf(box) {
		if s.old(n) {
			out = append(out, n)
		}
	}
	return out
}

// old reports whether a change should be complete by now.
func (s *Store) old(n note) bool {
	return s.o.Now().Sub(n.At) > 2*(s.o.Timeout+s.o.Lease) && s.o.Now().Sub(n.Claimed) > claimTime
}

// notesOf are the notes in a mailbox.
func notesOf(box bson.Raw) (out []note) {
	array, ok := box.Lookup(memberMallard, keyNotes).ArrayOK()
	if !ok {
		return nil
	}
	values, err := array.Values()
	if err != nil {
		return nil
	}
	for _, v := range values {
		var n note
		if v.Unmarshal(&n) == nil {
			out = append(out, n)
		}
	}
	return out
}

// claimNote marks a change as being completed by this node. From then on its own writer, should it still live, takes what
// it finds removed for removed by itself. A claim whose answer was lost is known again by its time.
func (s *Store) claimNote(ctx context.Context, mbox mail.MailboxID, n *note) (bool, error) {
	const member = memberMallard + "." + keyNotes
	was := bson.A{nil} // none: matches what is not there
	if !n.Claimed.IsZero() {
		was = bson.A{stored(n.Claimed)}
	}
	for _, at := range n.tried {
		was = append(was, stored(at))
	}
	now := s.o.Now().Truncate(time.Millisecond)
	n.tried = append(n.tried, now)
	self := bson.D{{Key: "op", Value: n.Op}, {Key: "claimed", Value: bson.D{{Key: "$in", Value: was}}}}
	res, err := s.mailboxes().UpdateOne(ctx, bson.D{{Key: "_id", Value: oid(mbox)}, {Key: member, Value: bson.D{{Key: "$elemMatch", Value: self}}}},
		bson.D{{Key: "$set", Value: bson.D{{Key: member + ".$.claimed", Value: stored(now)}}}})
	if err != nil || res.MatchedCount == 0 {
		return false, err
	}
	n.Claimed, n.tried = now, nil
	return true, nil
}

// noteHolds reports whether a note is still there and nobody completes its change.
func (s *Store) noteHolds(ctx context.Context, mbox mail.MailboxID, n *note) (bool, error) {
	notes, err := s.notesNow(ctx, mbox)
	return n.holds(notes), err
}

// notesNow are the notes in a mailbox, none where it is gone.
func (s *Store) notesNow(ctx context.Context, mbox mail.MailboxID) ([]note, error) {
	box, err := s.mailboxes().FindOne(ctx, bson.D{{Key: "_id", Value: oid(mbox)}},
		options.FindOne().SetProjection(bson.D{{Key: memberMallard + "." + keyNotes, Value: 1}})).Raw()
	if errors.Is(err, mongo.ErrNoDocuments) {
		return nil, nil
	}
	return notesOf(box), err
}

// holds reports whether a note is among others and nobody completes its change. It can be there twice, when the answer to the
// first update was lost; a claim marks one of them.
func (n *note) holds(notes []note) bool {
	there := false
	for _, o := range notes {
		if o.Op == n.Op && !o.Claimed.IsZero() {
			return false
		}
		there = there || o.Op == n.Op
	}
	return there
}

// set are the UIDs that a note names.
func (n *note) set() mail.UIDSet {
	var set mail.UIDSet
	for _, r := range n.UIDs {
		set = append(set, mail.UIDRange{First: mail.UID(r.First), Last: mail.UID(r.Last)})
	}
	return mail.NormalizeUIDs(set)
}

// movesTo reports whether a note is that of a move of a message to a mailbox.
func (n *note) movesTo(to mail.MailboxID, uid mail.UID) bool {
	return n.To == oid(to) && slices.ContainsFunc(n.UIDs, func(r noteRange) bool { return r.First <= int64(uid) && int64(uid) <= r.Last })
}

// repairRows writes the journal rows of messages whose change has none. Event streams and WildDuck's sessions know of a
// change by them alone.
func (s *Store) repairRows(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID, msgs []*hotMessage) error {
	var docs []bson.D
	for _, m := range msgs {
		filter := bson.D{{Key: "mailbox", Value: oid(mbox)}, {Key: "modseq", Value: int64(m.ModSeq)}}
		if n, err := s.journal().CountDocuments(ctx, filter); err != nil || n > 0 {
			if err != nil {
				return err
			}
			continue
		}
		now, err := s.messages().FindOne(ctx, bson.D{{Key: "mailbox", Value: oid(mbox)}, {Key: "uid", Value: m.UID}}).Raw()
		if err != nil {
			continue // it went
		}
		h, err := hot(now)
		if err != nil || h.ModSeq != m.ModSeq {
			continue
		}
		row := fetchRow(acct, h, h.Names, true, h.ModSeq, "")
		if s.o.Now().Sub(h.Arrived) < watchTime {
			row = existsRow(acct, h, 0, nil)
		}
		docs = append(docs, s.repairRow(row, mbox, h.ModSeq, h.UID))
	}
	if len(docs) == 0 {
		return nil
	}
	s.o.Logger.Info("journal rows of interrupted changes are made up for", "mailbox", mbox, "rows", len(docs))
	return s.insertRows(ctx, docs)
}

// repairRow makes a document of a row whose id follows from what it tells, so that of several nodes that write it within
// some seconds one does.
func (s *Store) repairRow(row journalRow, mbox mail.MailboxID, ms mail.ModSeq, uid mail.UID) bson.D {
	now := s.o.Now()
	id := idBefore(now.Truncate(10 * time.Second))
	b := append([]byte(nil), mbox[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(ms))
	b = binary.BigEndian.AppendUint32(b, uint32(uid))
	sum := sha256.Sum256(b)
	copy(id[4:], sum[:])
	doc := append(bson.D{{Key: "_id", Value: id}}, row...)
	return append(doc, bson.E{Key: "created", Value: stored(now)})
}

// errUnlocked says that a removal is to be completed when the locks of the nodes are to be had again.
var errUnlocked = errors.New("a removal is not completed without the lock of the nodes")

// repairNote completes the removal of messages that a node did not complete: it deletes the originals of a move whose
// copies are there, takes what was not removed out of the archive, writes the journal rows that are missing, and counts again
// what the account uses.
func (s *Store) repairNote(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID, n *note) error {
	if mine, err := s.claimNote(ctx, mbox, n); err != nil || !mine {
		return err
	}
	set := n.set()
	left, undone := s.completeRemoval(ctx, acct, mbox, n, set)
	if undone != nil && !errors.Is(undone, errUnlocked) {
		return undone
	}
	told, err := s.toldExpunged(ctx, mbox)
	if err != nil {
		return err
	}
	for _, m := range left {
		told[m.UID] = true // it was not removed
	}
	var missing []mail.UID
	for u := range set.All() {
		if !told[u] {
			missing = append(missing, u)
		}
	}
	if err := s.tellExpunged(ctx, acct, mbox, missing); err != nil {
		return err
	}
	if _, _, err := s.recount(ctx, acct, s.longestWrite(), nil); err != nil && !accountGone(err) {
		return err
	}
	if undone == nil {
		s.dropNote(ctx, oid(mbox), n)
	}
	return undone
}

// completeRemoval deletes the originals of a move whose copies are there, and returns the messages that stay. What is in the
// archive of these is taken out: when its time there is over their attachments would be counted as used by one less. Under
// the lock nobody else moves or removes them meanwhile: a client that does not know what came of its MOVE repeats it, and
// takes its copy back when it finds that others have removed the original. Error: errUnlocked, with what is there.
func (s *Store) completeRemoval(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID, n *note, set mail.UIDSet) ([]*hotMessage, error) {
	lock, err := s.lockMailbox(ctx, mbox)
	if err != nil {
		return nil, err
	}
	defer lock.release()
	left, err := s.readSet(ctx, mbox, set)
	if err != nil {
		return nil, err
	}
	if s.o.Locks != nil && !lock.held() {
		if len(left) > 0 {
			err = errUnlocked
		}
		return left, err
	}
	if !n.To.IsZero() {
		if err := s.forgetMoved(ctx, acct, mbox, n, set); err != nil {
			return nil, err
		}
		if left, err = s.finishMove(ctx, mbox, n, left); err != nil {
			return nil, err
		}
	}
	return left, s.forgetArchived(ctx, acct, left)
}

// forgetMoved removes the rows that messages have in the archive whose copies a move has stored: a WildDuck node expunged the
// originals, which were still there. The references are those of the copies.
func (s *Store) forgetMoved(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID, n *note, set mail.UIDSet) error {
	rows, err := findAll(ctx, s.archived(), bson.D{
		{Key: "user", Value: oid(acct)}, {Key: "mailbox", Value: oid(mbox)}, {Key: "uid", Value: bson.D{{Key: "$in", Value: slices.Collect(set.All())}}},
	}, hotFields(), nil)
	if err != nil {
		return err
	}
	var moved []*hotMessage
	for _, row := range rows {
		m, err := hot(row)
		if err != nil {
			return err
		}
		there, err := s.copyThere(ctx, n.To, m)
		if err != nil {
			return err
		}
		if there {
			moved = append(moved, m)
		}
	}
	return s.forgetArchived(ctx, acct, moved)
}

// copyThere reports whether the copy that a move makes of a message is in a mailbox.
func (s *Store) copyThere(ctx context.Context, to bson.ObjectID, m *hotMessage) (bool, error) {
	count, err := s.messages().CountDocuments(ctx, bson.D{{Key: "mailbox", Value: to}, {Key: "_id", Value: movedID(m.ID)}})
	return count > 0, err
}

// movedBefore are the UIDs of messages that a move has stored elsewhere which has not been completed: the originals are to be
// removed, and nothing else. It is completed by this node from then on, so that its own writer leaves the copies.
func (s *Store) movedBefore(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID, box bson.Raw, own *note, msgs []*hotMessage) (map[mail.UID]bool, error) {
	moved := make(map[mail.UID]bool)
	for _, n := range notesOf(box) {
		if n.Op == own.Op || n.To.IsZero() {
			continue
		}
		some := false
		for _, m := range msgs {
			if !n.movesTo(mail.MailboxID(n.To), m.UID) {
				continue
			}
			there, err := s.copyThere(ctx, n.To, m)
			if err != nil {
				return nil, err
			}
			if there {
				some, moved[m.UID] = true, true
			}
		}
		if !some || !n.Claimed.IsZero() {
			continue
		}
		mine, err := s.claimNote(ctx, mbox, &n)
		if err != nil {
			return nil, err
		}
		if mine {
			s.later(func(ctx context.Context) error { return s.repairNote(ctx, acct, mbox, &n) })
		}
	}
	return moved, nil
}

// completeMoves removes the messages of a mailbox that moves have stored elsewhere which have not been completed, before the
// mailbox is deleted, and the notes of them with it: the expiry job would take their octets off, and put them into the archive
// with the references of the copies. From the claim on the writer of a move leaves its copies.
func (s *Store) completeMoves(ctx context.Context, acct mail.AccountID, box bson.Raw) error {
	id, _ := box.Lookup("_id").ObjectIDOK()
	mbox := mail.MailboxID(id)
	for _, n := range notesOf(box) {
		if n.To.IsZero() {
			continue
		}
		if n.Claimed.IsZero() {
			if _, err := s.claimNote(ctx, mbox, &n); err != nil {
				return err
			}
		}
		left, err := s.readSet(ctx, mbox, n.set())
		if err != nil {
			return err
		}
		stay, err := s.finishMove(ctx, mbox, &n, left)
		if err != nil {
			return err
		}
		if len(stay) < len(left) {
			s.recountLater(oid(acct)) // whoever has counted meanwhile has counted both
		}
	}
	return nil
}

// forgetArchived removes the rows that messages which are in a mailbox have in the archive: they tell of an expunge that was
// not completed, and the references are those of the messages.
func (s *Store) forgetArchived(ctx context.Context, acct mail.AccountID, msgs []*hotMessage) error {
	if len(msgs) == 0 {
		return nil
	}
	ids := make(bson.A, 0, len(msgs))
	for _, m := range msgs {
		ids = append(ids, m.ID)
	}
	return s.again(ctx, func(ctx context.Context) error {
		_, err := s.archived().DeleteMany(ctx, bson.D{{Key: "user", Value: oid(acct)}, {Key: "_id", Value: bson.D{{Key: "$in", Value: ids}}}})
		return err
	})
}

// othersNoted reports whether a mailbox has notes of other changes than one. One of these may have put into the archive what
// this one removes for good or moves, and nobody would find it in its mailbox again: it is taken out when this one has removed
// it. Before that it may be expunged after all, and the archive has then the only copy.
func othersNoted(box bson.Raw, own *note) bool {
	return slices.ContainsFunc(notesOf(box), func(n note) bool { return n.Op != own.Op })
}

// finishLater completes a removal that this node could not complete, once the database answers and has done whatever it was
// sent. Others do that as well, but not before somebody reads the mailbox, and the quota is wrong until then.
func (s *Store) finishLater(acct mail.AccountID, mbox mail.MailboxID, n *note) {
	own := *n
	s.later(func(ctx context.Context) error {
		if err := s.calm(ctx, oid(acct)); err != nil {
			return err
		}
		return s.repairNote(ctx, acct, mbox, &own)
	})
}

// finishMove deletes originals whose copies are in the destination, and returns those that stay.
func (s *Store) finishMove(ctx context.Context, mbox mail.MailboxID, n *note, left []*hotMessage) (stay []*hotMessage, err error) {
	for _, m := range left {
		there, err := s.copyThere(ctx, n.To, m)
		if err != nil {
			return nil, err
		}
		if !there {
			stay = append(stay, m)
			continue
		}
		if _, err := s.removeOne(ctx, mbox, m); err != nil {
			return nil, err
		}
	}
	return stay, nil
}

// toldExpunged are the UIDs of a mailbox that the journal says are gone.
func (s *Store) toldExpunged(ctx context.Context, mbox mail.MailboxID) (map[mail.UID]bool, error) {
	docs, err := findAll(ctx, s.journal(), bson.D{{Key: "mailbox", Value: oid(mbox)}, {Key: "command", Value: string(store.JournalExpunge)}}, bson.D{{Key: "uid", Value: 1}}, nil)
	if err != nil {
		return nil, err
	}
	told := make(map[mail.UID]bool, len(docs))
	for _, doc := range docs {
		told[mail.UID(integer(doc.Lookup("uid")))] = true
	}
	return told, nil
}

// tellExpunged writes the rows of messages that went without one. What is in the archive is told in full.
func (s *Store) tellExpunged(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID, uids []mail.UID) error {
	if len(uids) == 0 {
		return nil
	}
	known := make(map[mail.UID]*hotMessage)
	docs, err := findAll(ctx, s.archived(), bson.D{{Key: "user", Value: oid(acct)}, {Key: "mailbox", Value: oid(mbox)}, {Key: "uid", Value: bson.D{{Key: "$in", Value: uids}}}}, hotFields(), nil)
	if err != nil {
		return err
	}
	for _, doc := range docs {
		if m, err := hot(doc); err == nil {
			known[m.UID] = m
		}
	}
	r, err := s.reserve(ctx, acct, mbox, 0, len(uids), nil)
	if err != nil {
		if mail.CodeOf(err) == mail.CodeNoMailbox {
			return nil
		}
		return err
	}
	rows := make([]journalRow, len(uids))
	for i, u := range uids {
		m := known[u]
		if m == nil {
			m = &hotMessage{HotRow: mail.HotRow{UID: u}}
		}
		m.Mailbox = oid(mbox)
		rows[i] = expungeRow(acct, m, r.modSeq+mail.ModSeq(i))
	}
	s.o.Logger.Info("journal rows of interrupted expunges are made up for", "mailbox", mbox, "rows", len(rows))
	if !s.log(ctx, rows...) {
		return mail.NewError(mail.CodeUnavailable, "the journal cannot be written")
	}
	return nil
}
