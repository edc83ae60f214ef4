package mongostore

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/event"

	"mallard/internal/mail"
	"mallard/internal/store"
)

// Sessions ask after each command; rows that came late are looked for now and then, not each time.
func TestLateRowsAreLookedForNowAndThen(t *testing.T) {
	start := time.Now()
	tr := &track{known: true, settled: 7, changed: start}
	tr.hand(handed{to: 7, at: start})
	for _, step := range []struct {
		after time.Duration
		want  bool
	}{{0, true}, {latePause / 2, false}, {latePause, true}, {latePause + time.Millisecond, false}, {2 * latePause, true}} {
		if got := tr.begin(start.Add(step.after), time.Second, 7).lively; got != step.want {
			t.Errorf("after %s: looks %v", step.after, got)
		}
	}
	if !tr.begin(start, time.Second, 6).lively {
		t.Error("who was told something else has to wait")
	}
}

// A mod-sequence of long ago is not taken for known because a lesser one was handed out here since: when the journal has
// forgotten what was expunged after it, the caller gets the whole mailbox.
func TestOldModSeqIsNotKnown(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	c := newCluster(t, 1)
	box := c.boxes[0]
	old := c.fill(c.nodes[0], box, 3)[2].ModSeq // as of which a client knows three messages
	if _, err := c.nodes[0].Expunge(ctx, c.acct, box, mail.UIDSet{{First: 2, Last: 2}}, false); err != nil {
		t.Fatal(err)
	}
	// Three hours later: the rows of the journal have ended.
	if _, err := c.nodes[0].journal().DeleteMany(ctx, bson.D{{Key: "mailbox", Value: oid(box)}}); err != nil {
		t.Fatal(err)
	}
	const lease = 3 * time.Second // of which the calls that follow each other take little
	fresh := c.node(func(o *Options) { o.Lease = lease })
	first, err := fresh.Changes(ctx, c.acct, box, 0)
	if err != nil {
		t.Fatal(err)
	}
	set, err := fresh.Changes(ctx, c.acct, box, old)
	if err != nil {
		t.Fatal(err)
	}
	if !set.Whole && !set.Expunged.Contains(2) {
		t.Errorf("after %d was handed out, %d gives %+v, which does not tell that UID 2 is gone", first.To, old, set)
	}
	// Who was given an answer here goes on from it without reading everything again, while this node has yet to find out
	// which numbers are accounted for.
	if first.To == old {
		t.Fatal("the first answer has the mod-sequence of the client")
	}
	if set, err = fresh.Changes(ctx, c.acct, box, first.To); err != nil || set.Whole {
		t.Errorf("the next call of who was given %d: whole %v, %v", first.To, set.Whole, err)
	}
	time.Sleep(3 * lease)
	if set, err = fresh.Changes(ctx, c.acct, box, first.To); err != nil || !set.Whole {
		t.Errorf("somebody with %d comes later: whole %v, %v", first.To, set.Whole, err)
	}
	to := set.To
	if set, err = fresh.Changes(ctx, c.acct, box, to); err != nil || set.Whole {
		t.Errorf("then with %d: whole %v, %v", to, set.Whole, err)
	}
}

// What a node knows of a mod-sequence is when it was the last one that had been handed out.
func TestSureOfAModSeq(t *testing.T) {
	start := time.Now()
	at := func(minutes int) time.Time { return start.Add(time.Duration(minutes) * time.Minute) }
	tr := &track{known: true}
	tr.hand(handed{to: 1, last: 500, at: at(0)})
	tr.hand(handed{to: 500, last: 500, at: at(1), before: 1})
	tr.hand(handed{to: 510, last: 520, at: at(2), before: 2})
	tr.hand(handed{to: 500, last: 500, at: at(3), before: 3}) // later, the same
	for _, tt := range []struct {
		since mail.ModSeq
		want  time.Time
	}{{1, time.Time{}}, {300, time.Time{}}, {499, time.Time{}}, {500, at(3)}, {510, at(3)}, {519, at(3)}, {520, at(3)}, {600, at(3)}} {
		if got := tr.begin(at(9), time.Second, tt.since).sureAt; !got.Equal(tt.want) {
			t.Errorf("%d: sure at %v, want %v", tt.since, got.Sub(start), tt.want.Sub(start))
		}
	}
	if tr.begin(at(9), time.Second, 500).answer.at != at(1) {
		t.Error("the first answer is not the one that counts")
	}
}

// Messages that take longer to number than readers wait for all of them are numbered in parts: they do not take new numbers
// for all of them again and again.
func TestManyLateMessages(t *testing.T) {
	t.Parallel()
	const n, lease = 60, 300 * time.Millisecond
	var slow atomic.Bool // each change of a message takes long
	slow.Store(true)
	defer slow.Store(false)
	s := openStore(t, func(o *Options) {
		o.Lease = lease
		o.monitor = &event.CommandMonitor{Started: func(_ context.Context, e *event.CommandStartedEvent) {
			if slow.Load() && e.CommandName == "update" && text(e.Command.Lookup("update")) == colMessages {
				time.Sleep(lease / 4)
			}
		}}
	})
	s.hook = func(step string) error {
		if step == "insert" {
			time.Sleep(lease)
		}
		return nil
	}
	acct := newAccount(t, s, "ann").ID
	box, err := s.MailboxByPath(t.Context(), acct, "INBOX")
	must(t, err)
	st, err := s.Stage(t.Context(), parsedContent(t, "Subject: x\r\n\r\nx\r\n"))
	must(t, err)
	in := make([]store.Append, n)
	for i := range in {
		in[i] = store.Append{Staged: st, InternalDate: time.Now()}
	}
	var out []store.Appended
	done := make(chan error, 1)
	go func() {
		var err error
		out, err = s.Append(context.WithoutCancel(t.Context()), acct, box.ID, in)
		done <- err
	}()
	select {
	case err := <-done:
		must(t, err)
	case <-time.After(time.Minute):
		slow.Store(false)
		<-done
		t.Fatal("the messages take new numbers without end")
	}
	must(t, st.Close())
	for i, m := range out {
		if m.UID <= n || i > 0 && m.UID <= out[i-1].UID {
			t.Errorf("message %d has UID %d, the one before %d; want greater ones than at first, in order", i, m.UID, out[max(0, i-1)].UID)
		}
	}
	docs, err := findAll(t.Context(), s.messages(), bson.D{{Key: "mailbox", Value: oid(box.ID)}}, bson.D{{Key: "uid", Value: 1}}, nil)
	must(t, err)
	stored := make(map[mail.UID]bool)
	for _, d := range docs {
		stored[mail.UID(integer(d.Lookup("uid")))] = true
	}
	if len(docs) != n || len(stored) != n || !stored[out[n-1].UID] {
		t.Errorf("%d messages with %d UIDs are there, want %d", len(docs), len(stored), n)
	}
}
