package mongostore

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"mallard/internal/mail"
	"mallard/internal/store"
	"mallard/internal/testserver"
)

// testLease is short, so that tests see what happens after it.
const testLease = 700 * time.Millisecond

// cluster is some nodes on one database, with an account.
type cluster struct {
	testing.TB
	uri   string
	nodes []*Store
	acct  mail.AccountID
	boxes []mail.MailboxID
	n     atomic.Int64 // of messages made
	// copies says that a message may be there twice.
	copies bool
}

func newCluster(t testing.TB, nodes int, paths ...string) *cluster {
	t.Helper()
	c := &cluster{TB: t, uri: testserver.Mongo(t)}
	for range nodes {
		c.node()
	}
	c.account("user", paths...)
	return c
}

// hasty is a node that judges soon what others have left.
func hasty(o *Options) { o.patient, o.Timeout, o.Dead = 10*time.Second, testLease, 3*testLease }

// sibling is a cluster of the same nodes with another account.
func (c *cluster) sibling(t testing.TB, name string, paths ...string) *cluster {
	t.Helper()
	o := &cluster{TB: t, uri: c.uri, nodes: c.nodes}
	o.account(name, paths...)
	return o
}

// account makes the account.
func (c *cluster) account(name string, paths ...string) {
	c.Helper()
	t, ctx := c.TB, context.Background()
	in := store.NewAccount{Account: mail.Account{Username: name}, View: name}
	for _, p := range append([]string{mail.Inbox}, paths...) {
		in.Mailboxes = append(in.Mailboxes, mail.Mailbox{Path: p})
	}
	a, err := c.nodes[0].CreateAccount(ctx, in)
	if err != nil {
		t.Fatal(err)
	}
	c.acct = a.ID
	for _, b := range in.Mailboxes {
		box, err := c.nodes[0].MailboxByPath(ctx, c.acct, b.Path)
		if err != nil {
			t.Fatal(err)
		}
		c.boxes = append(c.boxes, box.ID)
	}
}

// node adds a node.
func (c *cluster) node(change ...func(*Options)) *Store {
	change = append([]func(*Options){func(o *Options) { o.Lease = testLease }}, change...)
	s := reopenStore(c.TB, c.uri, change...)
	c.nodes = append(c.nodes, s)
	return s
}

// victim is a node that a test stops in the middle of a change: it is never closed, as if it had died.
func (c *cluster) victim(step string, nth int) (s *Store, stopped <-chan struct{}) {
	c.Helper()
	at := make(chan struct{})
	s, err := Open(context.Background(), Options{URI: c.uri, Logger: testLogger(c.TB), Lease: testLease, Dead: 3 * testLease, asleep: func() bool {
		select {
		case <-at:
			return true
		default:
			return false
		}
	}})
	if err != nil {
		c.Fatal(err)
	}
	var seen atomic.Int32
	s.hook = func(name string) error {
		if name == step && seen.Add(1) == int32(nth) {
			close(at)
			<-s.closing.Done() // the goroutine is of no more use
			select {}
		}
		return nil
	}
	c.Cleanup(func() { s.stop(); _ = s.disconnect() })
	return s, at
}

// message stages a message that nobody else has.
func (c *cluster) message(s *Store) (store.Staged, error) {
	raw := fmt.Appendf(nil, "Message-ID: <%d@example.com>\r\nSubject: m\r\n\r\nmessage\r\n", c.n.Add(1))
	return s.Stage(context.Background(), contentOf(raw))
}

func (c *cluster) append(s *Store, box mail.MailboxID, n int) ([]store.Appended, error) {
	var in []store.Append
	for range n {
		st, err := c.message(s)
		if err != nil {
			return nil, err
		}
		defer st.Close()
		in = append(in, store.Append{Staged: st, InternalDate: time.Now()})
	}
	return s.Append(context.Background(), c.acct, box, in)
}

// fill appends messages one by one.
func (c *cluster) fill(s *Store, box mail.MailboxID, n int) (out []store.Appended) {
	c.Helper()
	for range n {
		a, err := c.append(s, box, 1)
		if err != nil {
			c.Fatal(err)
		}
		out = append(out, a...)
	}
	return out
}

// wildduck stores a message as a WildDuck node does; between is called when it has taken the UID and not stored it yet.
func (c *cluster) wildduck(s *Store, box mail.MailboxID, between func(), row bool) error {
	ctx := context.Background()
	filter := bson.D{{Key: "_id", Value: oid(box)}, {Key: "user", Value: oid(c.acct)}}
	if _, err := s.users().UpdateByID(ctx, oid(c.acct), bson.D{{Key: "$inc", Value: bson.D{{Key: "storageUsed", Value: 10}}}}); err != nil {
		return err
	}
	doc, err := s.mailboxes().FindOneAndUpdate(ctx, filter, bson.D{{Key: "$inc", Value: bson.D{{Key: "uidNext", Value: 1}, {Key: "modifyIndex", Value: 1}}}},
		options.FindOneAndUpdate().SetReturnDocument(options.Before)).Raw()
	if err != nil {
		return err
	}
	between()
	id := bson.NewObjectID()
	uid, ms := integer(doc.Lookup("uidNext")), integer(doc.Lookup("modifyIndex"))+1
	if _, err := s.messages().InsertOne(ctx, bson.D{
		{Key: "_id", Value: id}, {Key: "root", Value: id}, {Key: "v", Value: "1.0"}, {Key: "mailbox", Value: oid(box)}, {Key: "user", Value: oid(c.acct)},
		{Key: "uid", Value: int32(uid)}, {Key: "modseq", Value: int32(ms)}, {Key: "flags", Value: bson.A{}}, {Key: "unseen", Value: true}, {Key: "undeleted", Value: true},
		{Key: "size", Value: 10}, {Key: "idate", Value: time.Now()}, {Key: "retentionTime", Value: float64(time.Now().UnixMilli())},
		{Key: "msgid", Value: fmt.Sprintf("<%d@example.com>", c.n.Add(1))}, {Key: "magic", Value: 7}, {Key: "copied", Value: false},
	}); err != nil || !row {
		return err
	}
	_, err = s.journal().InsertOne(ctx, bson.D{
		{Key: "command", Value: "EXISTS"}, {Key: "uid", Value: int32(uid)}, {Key: "ignore", Value: nil}, {Key: "message", Value: id}, {Key: "modseq", Value: int32(ms)},
		{Key: "unseen", Value: true}, {Key: "idate", Value: time.Now()}, {Key: "created", Value: time.Now()}, {Key: "mailbox", Value: oid(box)}, {Key: "user", Value: oid(c.acct)},
	})
	return err
}

// observer is a copy of a mailbox that lives on what one node's Changes tell.
type observer struct {
	c     *cluster
	s     *Store
	box   mail.MailboxID
	to    mail.ModSeq
	next  mail.UID
	shown mail.UID
	from  mail.UID // UIDs from here on must have been seen
	rows  map[mail.UID]mail.HotRow
	seen  map[mail.UID]bool
	gone  map[mail.UID]bool
}

func (c *cluster) observer(s *Store, box mail.MailboxID) *observer {
	return &observer{c: c, s: s, box: box, rows: map[mail.UID]mail.HotRow{}, seen: map[mail.UID]bool{}, gone: map[mail.UID]bool{}}
}

// read takes over one change set; it fails where the set breaks a promise.
func (o *observer) read() error {
	set, err := o.s.Changes(context.Background(), o.c.acct, o.box, o.to)
	if err != nil {
		return err
	}
	if set.To < o.to || set.UIDNext < o.next {
		return fmt.Errorf("went back from %d, UIDNEXT %d, to %d, %d", o.to, o.next, set.To, set.UIDNext)
	}
	if set.Whole {
		clear(o.rows)
		o.from = max(o.from, set.UIDNext)
	}
	for u := range set.Expunged.All() {
		delete(o.rows, u)
		o.gone[u] = true
	}
	before := o.shown
	for h := range set.Changed.All() {
		if !set.Whole && h.UID <= before && !o.seen[h.UID] && h.UID >= o.from {
			return fmt.Errorf("UID %d shows after %d", h.UID, before)
		}
		if o.gone[h.UID] {
			return fmt.Errorf("UID %d shows again after it was gone", h.UID)
		}
		if h.UID >= set.UIDNext {
			return fmt.Errorf("UID %d shows, UIDNEXT is %d", h.UID, set.UIDNext)
		}
		if old := o.rows[h.UID]; old.ModSeq > h.ModSeq {
			return fmt.Errorf("UID %d went back from mod-sequence %d to %d", h.UID, old.ModSeq, h.ModSeq)
		}
		o.rows[h.UID], o.seen[h.UID] = h, true
		o.shown = max(o.shown, h.UID)
	}
	o.to, o.next = set.To, set.UIDNext
	return nil
}

// truth is a mailbox as its documents are.
func (c *cluster) truth(box mail.MailboxID) map[mail.UID]mail.HotRow {
	c.Helper()
	msgs, err := c.nodes[0].readSet(context.Background(), box, mail.AllUIDs())
	if err != nil {
		c.Fatal(err)
	}
	out := make(map[mail.UID]mail.HotRow, len(msgs))
	for _, m := range msgs {
		out[m.UID] = m.HotRow
	}
	return out
}

// converge reads until the copy is the mailbox and everything is told.
func (o *observer) converge() error {
	end := time.Now().Add(30 * time.Second)
	for {
		if err := o.read(); err != nil {
			return err
		}
		truth := o.c.truth(o.box)
		doc, err := o.s.mailboxDoc(context.Background(), o.c.acct, o.box)
		if err != nil {
			return err
		}
		if sameRows(o.rows, truth) && int64(o.to) == integer(doc.Lookup("modifyIndex")) && int64(o.next) == integer(doc.Lookup("uidNext")) {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("the copy as of %d differs from the mailbox as of %d: %s", o.to, integer(doc.Lookup("modifyIndex")), o.differs(truth))
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// differs lists the messages that a copy has otherwise than the mailbox, with what the journal says of them.
func (o *observer) differs(truth map[mail.UID]mail.HotRow) string {
	var out strings.Builder
	for u := mail.UID(1); u < max(o.next, o.shown+1); u++ {
		if o.rows[u] == truth[u] {
			continue
		}
		fmt.Fprintf(&out, "\nUID %d: %+v, really %+v", u, o.rows[u], truth[u])
		docs, err := findAll(context.Background(), o.s.journal(), bson.D{{Key: "mailbox", Value: oid(o.box)}, {Key: "uid", Value: int64(u)}}, nil, nil)
		fmt.Fprint(&out, " ", docs, err)
	}
	return out.String()
}

func sameRows(a, b map[mail.UID]mail.HotRow) bool {
	if len(a) != len(b) {
		return false
	}
	for u, r := range a {
		if b[u] != r {
			return false
		}
	}
	return true
}

// sound fails the test when what the database holds does not fit together: the quota, the UIDs, a message that is twice.
func (c *cluster) sound() {
	c.Helper()
	ctx := context.Background()
	docs, err := findAll(ctx, c.nodes[0].messages(), bson.D{{Key: "user", Value: oid(c.acct)}},
		bson.D{{Key: "uid", Value: 1}, {Key: "mailbox", Value: 1}, {Key: "msgid", Value: 1}, {Key: "size", Value: 1}, {Key: "root", Value: 1}}, nil)
	if err != nil {
		c.Fatal(err)
	}
	var sum int64
	uids, ids := map[string]bool{}, map[string]bool{}
	for _, doc := range docs {
		sum += integer(doc.Lookup("size"))
		key := fmt.Sprint(doc.Lookup("mailbox").ObjectID(), integer(doc.Lookup("uid")))
		if id := text(doc.Lookup("msgid")); uids[key] || ids[id] && !c.copies {
			c.Errorf("message %s, or UID %s, is there twice", id, key)
		} else {
			uids[key], ids[id] = true, true
		}
	}
	user, err := c.nodes[0].userDoc(ctx, bson.E{Key: "_id", Value: oid(c.acct)})
	if err != nil {
		c.Fatal(err)
	}
	if used := integer(user.Lookup("storageUsed")); used != sum {
		c.Errorf("%d octets are counted, the messages have %d", used, sum)
	}
}

// change does one random change on a node and returns UIDs that it made.
func (c *cluster) change(s *Store, rng *rand.Rand) (mail.MailboxID, []mail.UID, error) {
	ctx := context.Background()
	box, other := c.boxes[rng.IntN(len(c.boxes))], c.boxes[rng.IntN(len(c.boxes))]
	first := mail.UID(1 + rng.IntN(40))
	set := mail.UIDSet{{First: first, Last: first + mail.UID(rng.IntN(4))}}
	switch rng.IntN(10) {
	case 0, 1, 2, 3:
		out, err := c.append(s, box, 1+rng.IntN(2))
		var uids []mail.UID
		for _, a := range out {
			uids = append(uids, a.UID)
		}
		return box, uids, err
	case 4, 5, 6:
		_, err := s.UpdateFlags(ctx, c.acct, box, store.FlagUpdate{
			UIDs: set, Mode: store.FlagMode(rng.IntN(3)), Flags: mail.NewFlags(mail.SystemFlags(1 << rng.IntN(5))),
		})
		return box, nil, err
	case 7:
		_, err := s.Expunge(ctx, c.acct, box, set, rng.IntN(2) == 0)
		return box, nil, err
	case 8:
		res, err := s.Move(ctx, c.acct, box, other, set)
		if err != nil {
			return box, nil, err
		}
		return other, res.To, nil
	}
	pause := time.Duration(rng.IntN(3)) * 300 * time.Millisecond
	return box, nil, c.wildduck(s, box, func() { time.Sleep(pause) }, rng.IntN(4) > 0)
}

// Two nodes and something like WildDuck write; followers on both nodes miss nothing, and nothing is lost or doubled.
func TestNodesConverge(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 2, "a")
	const writers, changes = 6, 25
	var mu sync.Mutex
	made := map[mail.MailboxID][]mail.UID{}
	var done atomic.Bool
	var work, readers sync.WaitGroup
	for i := range writers {
		work.Go(func() {
			rng := rand.New(rand.NewPCG(7, uint64(i)))
			for range changes {
				box, uids, err := c.change(c.nodes[i%2], rng)
				if err != nil {
					t.Errorf("writer %d: %v", i, err)
					return
				}
				mu.Lock()
				made[box] = append(made[box], uids...)
				mu.Unlock()
			}
		})
	}
	var observers []*observer
	for _, s := range c.nodes {
		for _, box := range c.boxes {
			o := c.observer(s, box)
			observers = append(observers, o)
			readers.Go(func() {
				for !done.Load() {
					if err := o.read(); err != nil {
						t.Error(err)
						return
					}
				}
				if err := o.converge(); err != nil {
					t.Error(err)
				}
			})
		}
		readers.Go(func() {
			if err := followJournal(c, s, &done); err != nil {
				t.Error(err)
			}
		})
	}
	work.Wait()
	done.Store(true)
	readers.Wait()
	for _, o := range observers {
		for _, u := range made[o.box] {
			if u >= o.from && !o.seen[u] && !o.gone[u] {
				t.Errorf("UID %d never showed", u)
			}
		}
	}
	c.sound()
}

// followJournal reads the journal on a node while others write; it gets each row once.
func followJournal(c *cluster, s *Store, done *atomic.Bool) error {
	seen := map[mail.JournalID]bool{}
	var last mail.JournalID
	for end := false; !end; {
		end = done.Load()
		for {
			page, err := s.ReadJournal(context.Background(), c.acct, last, 20)
			if err != nil {
				return err
			}
			if len(page) == 0 {
				break
			}
			for _, e := range page {
				if seen[e.ID] {
					return fmt.Errorf("journal row %v comes twice", e.ID)
				}
				seen[e.ID], last = true, e.ID
			}
		}
	}
	// Rows that are made up for come a little later than the writers end.
	n, err := s.journal().CountDocuments(context.Background(), bson.D{{Key: "user", Value: oid(c.acct)}})
	if err != nil {
		return err
	}
	page, err := s.ReadJournal(context.Background(), c.acct, last, 1000)
	if err == nil && int64(len(seen)+len(page)) < n {
		err = fmt.Errorf("a reader of the journal saw %d rows of %d", len(seen)+len(page), n)
	}
	return err
}

// A node that dies between two writes of a change leaves nothing that others do not see, complete or take back.
func TestNodeDies(t *testing.T) {
	t.Parallel()
	type change struct {
		name  string
		steps []string
		run   func(c *cluster, s *Store)
	}
	ctx := context.Background()
	all := &cluster{TB: t, uri: testserver.Mongo(t)}
	all.node(hasty)
	for _, ch := range []change{
		{"append", []string{"charge", "charged", "reserve", "reserved", "insert", "inserted", "journal"}, func(c *cluster, s *Store) {
			_, _ = c.append(s, c.boxes[0], 2)
		}},
		{"flags", []string{"reserve", "reserved", "flags", "flagged", "journal", "done"}, func(c *cluster, s *Store) {
			_, _ = s.UpdateFlags(ctx, c.acct, c.boxes[0], store.FlagUpdate{UIDs: mail.AllUIDs(), Flags: mail.NewFlags(mail.Seen)})
		}},
		{"expunge", []string{"reserve", "reserved", "archive", "archived", "delete", "refund", "journal"}, func(c *cluster, s *Store) {
			_, _ = s.Expunge(ctx, c.acct, c.boxes[0], mail.UIDSet{{First: 2, Last: 3}}, false)
		}},
		{"move", []string{"reserve", "reserved", "insert", "inserted", "delete", "journal"}, func(c *cluster, s *Store) {
			_, _ = s.Move(ctx, c.acct, c.boxes[0], c.boxes[1], mail.UIDSet{{First: 2, Last: 3}})
		}},
		{"copy", []string{"charge", "charged", "reserved", "insert", "inserted", "journal", "settle"}, func(c *cluster, s *Store) {
			_, _ = s.Copy(ctx, c.acct, c.boxes[0], c.boxes[1], mail.UIDSet{{First: 2, Last: 3}}, 0)
		}},
	} {
		for _, step := range ch.steps {
			t.Run(ch.name+"/"+step, func(t *testing.T) {
				t.Parallel()
				c := all.sibling(t, ch.name+step, "a")
				c.copies = ch.name == "copy"
				nodeDies(c, step, func(s *Store) { ch.run(c, s) })
			})
		}
	}
}

func nodeDies(c *cluster, step string, run func(s *Store)) {
	s := c.nodes[0]
	c.fill(s, c.boxes[0], 4)
	var observers []*observer
	for _, box := range c.boxes {
		observers = append(observers, c.observer(s, box))
	}
	for _, o := range observers {
		if err := o.read(); err != nil {
			c.Fatal(err)
		}
	}
	victim, stopped := c.victim(step, 1)
	go run(victim)
	select {
	case <-stopped:
	case <-time.After(20 * time.Second):
		c.Fatalf("the change never came to step %s", step)
	}
	c.fill(s, c.boxes[0], 1)
	for _, o := range observers {
		if err := o.converge(); err != nil {
			c.Error(err)
		}
	}
	if len(c.truth(c.boxes[0]))+len(c.truth(c.boxes[1])) < 3 {
		c.Errorf("messages are lost: %v, %v", c.truth(c.boxes[0]), c.truth(c.boxes[1]))
	}
	c.settled(observers)
}

// settled waits until what a dead node left is put right: every message is told of in the journal and the quota is right.
func (c *cluster) settled(observers []*observer) {
	c.Helper()
	var missing error
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		for _, o := range observers {
			if err := o.read(); err != nil {
				c.Fatal(err)
			}
		}
		if missing = c.untold(observers); missing == nil {
			break
		}
	}
	if missing != nil {
		c.Error(missing)
	}
	for _, o := range observers {
		if err := o.converge(); err != nil {
			c.Error(err)
		}
	}
	c.balance()
	c.sound()
}

// balance waits until the quota is right, which the nodes see to.
func (c *cluster) balance() {
	c.Helper()
	for end := time.Now().Add(30 * time.Second); !c.balanced() && time.Now().Before(end); {
		time.Sleep(50 * time.Millisecond)
	}
}

// untold returns what event streams have not been told yet.
func (c *cluster) untold(observers []*observer) error {
	all, err := c.nodes[0].ReadJournal(context.Background(), c.acct, mail.JournalID{}, 1000)
	if err != nil {
		return err
	}
	for _, o := range observers {
		doc, err := o.s.mailboxDoc(context.Background(), c.acct, o.box)
		if err != nil {
			return err
		}
		if notes, _ := doc.Lookup(memberMallard, keyNotes).ArrayOK(); len(notes) > minDocument {
			return fmt.Errorf("the note of an interrupted change is still there: %v", notes)
		}
		truth := c.truth(o.box)
		var known []mail.UID
		for u := range o.seen {
			known = append(known, u)
		}
		for _, u := range slices.Sorted(slices.Values(known)) {
			h, exists := truth[u]
			last := store.JournalEntry{}
			for _, e := range all {
				if e.Mailbox == o.box && e.UID == u && e.ModSeq >= last.ModSeq {
					last = e
				}
			}
			switch {
			case exists && last.Command == store.JournalExpunge, exists && last.ModSeq != h.ModSeq:
				return fmt.Errorf("the journal says of UID %d %s with mod-sequence %d, it is %+v", u, last.Command, last.ModSeq, h)
			case !exists && last.Command != store.JournalExpunge:
				return fmt.Errorf("the journal does not say that UID %d is gone", u)
			}
		}
	}
	return nil
}

// A plan of a rename that a dead node left is carried out by whoever lists the mailboxes.
func TestRenameOfADeadNode(t *testing.T) {
	c := newCluster(t, 1, "a", "b")
	s := c.nodes[0]
	l, err := s.listing(t.Context(), c.acct)
	if err != nil {
		t.Fatal(err)
	}
	plan, err := s.planRename(t.Context(), c.acct, l, []renameMove{{ID: oid(c.boxes[1]), Path: "b"}, {ID: oid(c.boxes[2]), Path: "a"}})
	if err != nil || plan == nil {
		t.Fatal(plan, err)
	}
	check := func(when string) {
		t.Helper()
		boxes, err := s.ListMailboxes(t.Context(), c.acct)
		if err != nil || len(boxes) != 3 || boxes[1].ID != c.boxes[2] || boxes[2].ID != c.boxes[1] || boxes[1].Path != "a" {
			t.Errorf("%s: %+v, %v", when, boxes, err)
		}
	}
	check("at once")
	step := plan.left(l.docs)[0]
	if err := s.renameStep(t.Context(), c.acct, step); err != nil {
		t.Fatal(err)
	}
	check("half-way")
	for _, p := range []string{"a", "b"} {
		if _, err := s.MailboxByPath(t.Context(), c.acct, p); err != nil {
			t.Errorf("half-way %s: %v", p, err)
		}
	}
	time.Sleep(renameHelp + 100*time.Millisecond)
	check("later")
	doc := only(t, s.mailboxes(), bson.D{{Key: "_id", Value: oid(c.boxes[1])}})
	if text(doc.Lookup("path")) != "b" {
		t.Errorf("the document has the path %s", text(doc.Lookup("path")))
	}
	if docs, err := findAll(t.Context(), s.mailboxes(), bson.D{{Key: memberMallard + "." + keyPlan, Value: bson.D{{Key: "$exists", Value: true}}}}, nil, nil); err != nil || len(docs) > 0 {
		t.Errorf("the plan is still there: %v, %v", docs, err)
	}
}
