package mongostore

import (
	"context"
	"crypto/sha256"
	"fmt"
	"hash/maphash"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"mallard/internal/mail"
	"mallard/internal/store"
)

// movedID is the id that a message gets when it is moved. It follows from the one that it had: of two who move the same
// message at the same time only one can store it, and an interrupted move is known by it.
func movedID(id bson.ObjectID) bson.ObjectID {
	sum := sha256.Sum256(id[:])
	copy(id[4:], sum[:])
	return id
}

// withEvent notes in meta that a message was copied.
func withEvent(meta bson.RawValue, now time.Time) bson.D {
	out := bson.D{}
	events := bson.A{}
	doc, _ := meta.DocumentOK()
	elements, _ := doc.Elements()
	for _, e := range elements {
		if e.Key() != "events" {
			out = append(out, bson.E{Key: e.Key(), Value: e.Value()})
			continue
		}
		if array, ok := e.Value().ArrayOK(); ok {
			values, _ := array.Values()
			for _, v := range values {
				events = append(events, v)
			}
		}
	}
	events = append(events, bson.D{{Key: "action", Value: "IMAPCOPY"}, {Key: "time", Value: stored(now)}})
	return append(out, bson.E{Key: "events", Value: events})
}

const (
	// lockTTL is how long the lock of a mailbox outlives a node that died with it.
	lockTTL = 2 * time.Minute
	// lockWait is how long a change waits for others who move or expunge in the mailbox.
	lockWait = 30 * time.Second
)

// boxLock is the lock of those who remove messages from a mailbox.
type boxLock struct {
	release func()
	lost    <-chan struct{}
	shared  bool // with the other nodes
}

// held reports whether nobody else removes messages meanwhile.
func (l *boxLock) held() bool {
	if !l.shared {
		return false
	}
	select {
	case <-l.lost:
		return false
	default:
		return true
	}
}

// lockMailbox takes the lock that WildDuck's nodes take as well. Without Redis it is this process's alone: changes then go
// a longer way that does not need it.
func (s *Store) lockMailbox(ctx context.Context, mbox mail.MailboxID) (*boxLock, error) {
	local := &s.removing[maphash.Bytes(s.seed, mbox[:])%uint64(len(s.removing))]
	local.Lock()
	if s.o.Locks == nil {
		return &boxLock{release: local.Unlock}, nil
	}
	wait, cancel := context.WithTimeout(ctx, lockWait)
	defer cancel()
	release, lost, err := s.o.Locks.Lock(wait, "mail:mbwr:"+mbox.String(), lockTTL)
	switch {
	case err == nil:
		return &boxLock{release: func() { release(); local.Unlock() }, lost: lost, shared: true}, nil
	case wait.Err() != nil:
		local.Unlock()
		return nil, mail.WrapError(mail.CodeUnavailable, "others are moving messages in the mailbox", fmt.Errorf("lock the mailbox: %w", err))
	}
	s.o.Logger.Warn("messages are removed without the lock of the nodes", "mailbox", mbox, "error", err)
	return &boxLock{release: local.Unlock}, nil
}

// Move copies messages and expunges the originals. The copy is stored first, so that a message is never nowhere; until the
// original is gone it is in both places. The note in the mailbox's document lets others complete a move that stopped there.
func (s *Store) Move(ctx context.Context, acct mail.AccountID, from, to mail.MailboxID, uids mail.UIDSet) (*store.CopyResult, error) {
	done, err := s.enter(ctx, "Move")
	if err != nil {
		return nil, err
	}
	defer done()
	lock, err := s.lockMailbox(ctx, from)
	if err != nil {
		return nil, err
	}
	defer lock.release()
	_, dst, msgs, err := s.twoMailboxes(ctx, acct, from, to, uids)
	if err != nil {
		return nil, err
	}
	m := &moving{s: s, acct: acct, from: from, to: to, dst: dst, lock: lock, res: &store.CopyResult{UIDValidity: mailboxOf(dst).UIDValidity}}
	for _, batch := range batches(msgs) {
		if err := m.batch(context.WithoutCancel(ctx), batch); err != nil {
			return nil, err
		}
	}
	if err := m.awaitOthers(ctx); err != nil {
		return nil, err
	}
	return m.res, nil
}

// moving is one Move.
type moving struct {
	s        *Store
	acct     mail.AccountID
	from, to mail.MailboxID
	dst      bson.Raw
	lock     *boxLock
	res      *store.CopyResult
	left     []*hotMessage // which others move
}

// batch moves some messages.
func (m *moving) batch(ctx context.Context, msgs []*hotMessage) error {
	s := m.s
	in, err := s.replicas(ctx, m.from, mailboxOf(m.dst), msgs, false)
	if err != nil || len(in) == 0 {
		return err
	}
	n := &note{Op: bson.NewObjectID(), Node: s.ledger.node, At: s.o.Now(), To: oid(m.to)}
	for _, r := range in {
		n.UIDs = append(n.UIDs, noteRange{int64(r.source.UID), int64(r.source.UID)})
	}
	source, err := s.reserve(ctx, m.acct, m.from, 0, len(in), n)
	if err != nil {
		return err
	}
	target, err := s.reserve(ctx, m.acct, m.to, len(in), 1, nil)
	if err != nil {
		s.dropNote(ctx, oid(m.from), n) // nothing was done
		return destination(err)
	}
	m.dst = target.box // the next batch is dated by what it is now
	told, err := m.carryOut(ctx, in, source, target, n)
	switch {
	case err != nil:
		s.finishLater(m.acct, m.from, n)
	case told: // else the note is what says which messages went
		s.dropNote(ctx, oid(m.from), n)
	}
	return err
}

// carryOut moves messages for which there are numbers, and reports whether the journal tells of it.
func (m *moving) carryOut(ctx context.Context, in []*replica, source, target *reservation, n *note) (told bool, err error) {
	arrivals := make([]*arrival, len(in))
	for i, r := range in {
		arrivals[i] = r.arrival
	}
	if err := m.s.arrive(ctx, m.acct, m.to, target, arrivals, notCounted); err != nil {
		return false, err
	}
	if in, err = m.mine(ctx, in, othersNoted(source.box, n)); err != nil {
		return false, err
	}
	if in, err = m.remove(ctx, in, source, n); err != nil {
		return false, err
	}
	return m.record(ctx, in, source, target), nil
}

// notCounted is for copies of a move: their references are those of the originals.
func notCounted(context.Context, ...references) error { return nil }

// mine leaves out the messages that another has moved at the same time: where their copies are not here. Under the lock
// nobody does, but where an earlier move has not been completed its copies may be here: then they are the ones.
func (m *moving) mine(ctx context.Context, in []*replica, again bool) ([]*replica, error) {
	locked := m.lock.held()
	if locked && !again {
		return in, m.s.step("chosen")
	}
	ids := make(bson.A, 0, len(in))
	for _, r := range in {
		ids = append(ids, r.hot.ID)
	}
	here := make(map[bson.ObjectID]*hotMessage)
	docs, err := findAll(ctx, m.s.messages(), bson.D{{Key: "mailbox", Value: oid(m.to)}, {Key: "_id", Value: bson.D{{Key: "$in", Value: ids}}}}, hotFields(), nil)
	if err != nil {
		return nil, unknown("move messages", err)
	}
	for _, doc := range docs {
		h, err := hot(doc)
		if err != nil {
			return nil, unknown("move messages", err)
		}
		here[h.ID] = h
	}
	return slices.DeleteFunc(in, func(r *replica) bool {
		h := here[r.hot.ID]
		if h == nil || h.UID != r.hot.UID && !locked {
			m.left = append(m.left, r.source)
			return true
		}
		r.hot = h
		return false
	}), m.s.step("chosen")
}

// awaitOthers waits until the messages that were left out are gone, and so somebody else has moved them. While they are here
// this is not so: an earlier move was interrupted, and is completed later. Under the lock that is nobody else's to do.
func (m *moving) awaitOthers(ctx context.Context) error {
	for end := time.Now().Add(m.s.o.Timeout); len(m.left) > 0; {
		still, err := m.s.readSet(ctx, m.from, setOfMessages(m.left))
		if err != nil || len(still) == 0 {
			return err
		}
		if m.lock.held() || time.Now().After(end) {
			return mail.WrapError(mail.CodeUnavailable, "an earlier move of the messages is being completed, try again later",
				fmt.Errorf("move messages: %d of them are left", len(still)))
		}
		if err := pause(ctx, retryPause); err != nil {
			return readError("move messages", err)
		}
	}
	return nil
}

// unknown is the error of a change of which a part was done.
func unknown(doing string, err error) error {
	return mail.WrapError(mail.CodeUnavailable, "the mail store is not available", fmt.Errorf("%s: %w: %w", doing, store.ErrOutcomeUnknown, err))
}

// remove deletes the originals. What somebody else has expunged meanwhile is not moved: its copy goes again.
func (m *moving) remove(ctx context.Context, in []*replica, source *reservation, n *note) ([]*replica, error) {
	gone, others, err := m.s.remove(ctx, m.acct, m.from, sourcesOf(in), m.lock)
	if err != nil {
		return nil, unknown("move messages", err)
	}
	if !others && !othersNoted(source.box, n) {
		return in, nil
	}
	var lost []*arrival
	if slices.ContainsFunc(in, func(r *replica) bool { return !gone[r.source.UID] }) {
		if in, lost, err = m.sortOut(ctx, in, source, n, gone); err != nil {
			return nil, unknown("move messages", err)
		}
	}
	if len(lost) > 0 {
		if err := m.s.retract(ctx, m.acct, m.to, lost); err != nil {
			return nil, unknown("move messages", err)
		}
	}
	// Who began to expunge an original may have put it into the archive, with the references of the copy.
	if err := m.s.forgetArchived(ctx, m.acct, sourcesOf(in)); err != nil {
		return nil, unknown("move messages", err)
	}
	return in, nil
}

func sourcesOf(in []*replica) []*hotMessage {
	out := make([]*hotMessage, len(in))
	for i, r := range in {
		out[i] = r.source
	}
	return out
}

// sortOut tells messages that were moved from those of which others have expunged the originals. An original was not expunged
// when others have removed it because they move it to the same place: they complete this move, or make it as well since the
// lock was lost. They have a note of that, and when they are done the journal has a row.
func (m *moving) sortOut(ctx context.Context, in []*replica, source *reservation, n *note, gone map[mail.UID]bool) (moved []*replica, lost []*arrival, err error) {
	notes, err := m.s.notesNow(ctx, m.from)
	if err != nil || !n.holds(notes) {
		return in, nil, err
	}
	notes = slices.DeleteFunc(append(notes, notesOf(source.box)...), func(o note) bool { return o.Op == n.Op })
	told, err := m.toldHere(ctx, in, n)
	if err != nil {
		return nil, nil, err
	}
	for _, r := range in {
		switch noted := func(o note) bool { return o.movesTo(m.to, r.source.UID) }; {
		case gone[r.source.UID]:
		case told[r.hot.ID], slices.ContainsFunc(notes, noted):
			m.s.recountLater(oid(m.acct)) // in case it was expunged after all
		default:
			r.refs = references{} // they are those of the original
			lost = append(lost, r.arrival)
			continue
		}
		moved = append(moved, r)
	}
	return moved, lost, nil
}

// toldHere are the copies of which the journal tells already.
func (m *moving) toldHere(ctx context.Context, in []*replica, n *note) (map[bson.ObjectID]bool, error) {
	ids := make(bson.A, len(in))
	for i, r := range in {
		ids[i] = r.hot.ID
	}
	rows, err := findAll(ctx, m.s.journal(), bson.D{
		{Key: "user", Value: oid(m.acct)}, {Key: "_id", Value: bson.D{{Key: "$gte", Value: idBefore(n.At.Add(-m.s.overlap()))}}},
		{Key: "mailbox", Value: oid(m.to)}, {Key: "message", Value: bson.D{{Key: "$in", Value: ids}}},
	}, bson.D{{Key: "message", Value: 1}}, nil)
	told := make(map[bson.ObjectID]bool, len(rows))
	for _, row := range rows {
		if id, ok := row.Lookup("message").ObjectIDOK(); ok {
			told[id] = true
		}
	}
	return told, err
}

// record tells of messages that were moved, and reports whether the journal does.
func (m *moving) record(ctx context.Context, in []*replica, source, target *reservation) bool {
	if len(in) == 0 {
		return true
	}
	s := m.s
	var went, came []journalRow
	var flags []mail.Flags
	var out, back counted
	for i, r := range in {
		ms := source.modSeq + mail.ModSeq(i)
		went, came = append(went, expungeRow(m.acct, r.source, ms)), append(came, existsRow(m.acct, r.hot, r.junk, nil))
		out.went(r.source)
		back.came(r.hot)
		s.caches.copied(r.source, r.hot)
		flags = append(flags, r.hot.Flags)
		m.res.From, m.res.To = append(m.res.From, r.source.UID), append(m.res.To, r.hot.UID)
		m.res.SourceModSeq = ms
	}
	told := s.log(ctx, append(went, came...)...)
	s.addKeywords(ctx, target.box, flags...)
	s.tellCounters(ctx, m.from, out)
	s.tellCounters(ctx, m.to, back)
	return told
}
