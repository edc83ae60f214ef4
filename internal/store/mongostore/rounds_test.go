package mongostore

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/event"

	"mallard/internal/batch"
	"mallard/internal/mail"
	"mallard/internal/store"
)

// mailing is a message that comes to the INBOX of an account.
type mailing struct {
	acct       *mail.Account
	box        mail.MailboxID
	references []string // its own message id among them
	subject    string
	quota      int64

	got store.Appended
	err error
}

func mailTo(t *testing.T, s *Store, acct *mail.Account, subject string, references ...string) *mailing {
	t.Helper()
	box, err := s.MailboxByPath(t.Context(), acct.ID, mail.Inbox)
	must(t, err)
	return &mailing{acct: acct, box: box.ID, subject: subject, references: references, quota: 1 << 30}
}

func (m *mailing) deliver(ctx context.Context, s *Store) error {
	c := contentOf([]byte("Subject: " + m.subject + "\r\n\r\nmessage\r\n"))
	c.Subject, c.References = m.subject, m.references
	st, err := s.Stage(ctx, c)
	if err != nil {
		return err
	}
	defer st.Close()
	out, err := s.Append(ctx, m.acct.ID, m.box, []store.Append{{Staged: st, InternalDate: time.Now(), Quota: m.quota}})
	if err == nil {
		m.got = out[0]
	}
	return err
}

// inOneRound stores messages on a node as the members of one round.
func inOneRound(t *testing.T, s *Store, in ...*mailing) {
	t.Helper()
	// However slow the machine is, nobody is too late.
	s.together.gate = batch.NewRounds(batch.Limits{Members: len(in), Gather: time.Minute, Wait: time.Minute})
	var g sync.WaitGroup
	for _, m := range in {
		g.Go(func() { m.err = m.deliver(t.Context(), s) })
	}
	g.Wait()
}

// accounts makes some accounts.
func accounts(t *testing.T, s *Store, name string, n int) (out []*mail.Account) {
	t.Helper()
	for i := range n {
		out = append(out, newAccount(t, s, fmt.Sprint(name, i)))
	}
	return out
}

// arrived checks that an account has the messages, each with its conversation and its row of the journal, and that their
// octets are counted.
func arrived(t *testing.T, s *Store, acct *mail.Account, want ...*mailing) {
	t.Helper()
	user := bson.E{Key: "user", Value: oid(acct.ID)}
	var used int64
	for _, m := range want {
		if m.err != nil {
			t.Errorf("account %s: %v", acct.Username, m.err)
			continue
		}
		doc := only(t, s.messages(), bson.D{{Key: "_id", Value: oid(m.got.ID)}, user})
		used += integer(doc.Lookup("size"))
		only(t, s.db.main.Collection(colThreads), bson.D{{Key: "_id", Value: doc.Lookup("thread")}, user})
		only(t, s.journal(), bson.D{{Key: "message", Value: oid(m.got.ID)}, {Key: "command", Value: "EXISTS"}, user})
	}
	if n := count(t, s.messages(), bson.D{user}); n != int64(len(want)) {
		t.Errorf("account %s has %d messages, want %d", acct.Username, n, len(want))
	}
	a, err := s.Account(t.Context(), acct.ID)
	must(t, err)
	if a.StorageUsed != used {
		t.Errorf("account %s uses %d octets, want %d", acct.Username, a.StorageUsed, used)
	}
}

// What comes to several accounts at the same time is counted, has conversations made and journal rows written by one command
// each.
func TestRoundOfAccounts(t *testing.T) {
	var mu sync.Mutex
	commands := make(map[string]int)
	s := openStore(t, func(o *Options) {
		o.monitor = &event.CommandMonitor{Started: func(_ context.Context, e *event.CommandStartedEvent) {
			mu.Lock()
			defer mu.Unlock()
			commands[e.CommandName+" "+text(e.Command.Lookup(e.CommandName))]++
		}}
	})
	users := accounts(t, s, "user", 3)
	var in []*mailing
	for i := range 6 { // two to each account
		in = append(in, mailTo(t, s, users[i%3], "hello", fmt.Sprint("m", i)))
	}
	mu.Lock()
	clear(commands)
	mu.Unlock()
	inOneRound(t, s, in...)
	mu.Lock()
	messages := map[string]int{"insert messages": (len(in) + roundInsert - 1) / roundInsert}
	for _, c := range []string{"update users", "update threads", "update mailboxes", "insert messages", "insert journal"} {
		if want := max(1, messages[c]); commands[c] != want {
			t.Errorf("%s: %d commands, want %d", c, commands[c], want)
		}
	}
	for _, c := range []string{"insert threads", "findAndModify threads", "findAndModify mailboxes"} {
		if commands[c] != 0 {
			t.Errorf("%s: %d commands, want none", c, commands[c])
		}
	}
	mu.Unlock()
	for i, u := range users {
		arrived(t, s, u, in[i], in[i+3])
		if in[i].got.ThreadID == in[i+3].got.ThreadID {
			t.Errorf("account %d: two messages that have nothing to do with each other are of one conversation", i)
		}
	}
	row := only(t, s.db.main.Collection(colThreads), bson.D{{Key: "_id", Value: oid(in[0].got.ThreadID)}})
	if ids := texts(row.Lookup("ids")); len(ids) != 1 || ids[0] != threadHashes([]string{"m0"})[0] {
		t.Errorf("the conversation has the references %q", ids)
	}
}

// A message that refers to nothing, not even by an id of its own, does not keep the others of its round waiting.
func TestRoundWithoutReferences(t *testing.T) {
	s := openStore(t)
	users := accounts(t, s, "user", 3)
	in := []*mailing{mailTo(t, s, users[0], "hello", "m0"), mailTo(t, s, users[1], "hello"), mailTo(t, s, users[2], "hello", "m2")}
	begin := time.Now()
	inOneRound(t, s, in...) // whose members wait for each other for a minute
	if took := time.Since(begin); took > 30*time.Second {
		t.Errorf("it took %v", took)
	}
	for i, u := range users {
		arrived(t, s, u, in[i])
	}
}

// Messages of one conversation find each other in a round, and in what was there before; those of other accounts do not.
func TestRoundOfConversations(t *testing.T) {
	s := openStore(t)
	users := accounts(t, s, "user", 2)
	old := mailTo(t, s, users[0], "old", "old")
	inOneRound(t, s, old)
	in := []*mailing{
		mailTo(t, s, users[0], "new", "new"), mailTo(t, s, users[0], "new", "answer", "new"),
		mailTo(t, s, users[0], "old", "late", "old"), mailTo(t, s, users[1], "old", "late", "old"),
	}
	inOneRound(t, s, in...)
	arrived(t, s, users[0], old, in[0], in[1], in[2])
	arrived(t, s, users[1], in[3])
	if in[0].got.ThreadID != in[1].got.ThreadID {
		t.Error("a message and its answer, which came together, are of two conversations")
	}
	if in[2].got.ThreadID != old.got.ThreadID {
		t.Error("an answer is not of the conversation that was there")
	}
	if n := count(t, s.db.main.Collection(colThreads), bson.D{}); n != 3 {
		t.Errorf("there are %d conversations, want 3", n)
	}
}

// The account that is over its quota gets nothing, the others of its round get theirs, counted once.
func TestRoundWithoutRoom(t *testing.T) {
	s := openStore(t)
	users := accounts(t, s, "user", 4)
	var in []*mailing
	for i, u := range users {
		in = append(in, mailTo(t, s, u, "hello", fmt.Sprint("m", i)))
	}
	in[1].quota = 10
	inOneRound(t, s, in...)
	if mail.CodeOf(in[1].err) != mail.CodeOverQuota {
		t.Errorf("the message without room: %v", in[1].err)
	}
	for i, u := range users {
		if i == 1 {
			arrived(t, s, u)
		} else {
			arrived(t, s, u, in[i])
		}
	}
}

// Each request of a round fails in turn, before it is carried out and after that. Every message is stored, once.
func TestFaultsInRound(t *testing.T) {
	t.Parallel()
	f := newFaulty(t, func(o *Options) { o.Lease = testLease })
	f.each(t, func(t *testing.T, name string) {
		users := accounts(t, f.direct, name+"-", 2)
		in := []*mailing{mailTo(t, f.direct, users[0], "hello", "m0"), mailTo(t, f.direct, users[1], "hello", "m1")}
		inOneRound(t, f.s, in...)
		for i, u := range users {
			arrived(t, f.direct, u, in[i])
		}
	})
}
