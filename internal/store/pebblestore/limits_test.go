package pebblestore

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"mallard/internal/mail"
	"mallard/internal/store"
)

// pattern gives the octets of a message of any size without holding them.
type pattern struct {
	head []byte
	size int64
}

func (p pattern) ReadAt(b []byte, off int64) (int, error) {
	n := int(min(int64(len(b)), p.size-off))
	for i := range b[:n] {
		x := off + int64(i)
		switch {
		case x < int64(len(p.head)):
			b[i] = p.head[x]
		case x%78 == 76:
			b[i] = '\r'
		case x%78 == 77:
			b[i] = '\n'
		default:
			b[i] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"[(x*7+x/78*13)%64]
		}
	}
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

// peak runs f and returns by how much the memory that it holds grew at most. What waits to be collected is not held; how
// much that is depends on what else runs on the machine, so that the collector is made to leave little of it.
func peak(f func()) int64 {
	const garbage = 10 // a collection begins when there is so much of it, in percent of what is held
	defer debug.SetGCPercent(debug.SetGCPercent(garbage))
	runtime.GC()
	before := held()
	top := before
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			top = max(top, held())
			select {
			case <-stop:
				return
			case <-time.After(2 * time.Millisecond):
			}
		}
	}()
	f()
	close(stop)
	<-done
	return int64(top) - int64(before)
}

// held is how many octets the last collection of garbage has found in use.
func held() uint64 {
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(live)
	return live[0].Value.Uint64()
}

// A message of 64 MiB costs a few MiB of memory, as a text and as an attachment, when
// it comes and when it is read.
func TestMemoryOfALargeMessage(t *testing.T) {
	const size = 64 << 20
	o := options(vfs.Default)
	o.Dir = t.TempDir()
	s, err := Open(t.Context(), o)
	r := &rig{TB: t, ctx: t.Context(), s: s}
	r.must(err)
	t.Cleanup(r.close)
	r.createAccount("user")
	head := []byte("Subject: large\r\n" + string(bytes.Repeat([]byte("x"), 60)) + "\r\n\r\n")
	for name, leaf := range map[string]store.Leaf{
		"text":       {Encoding: "7bit", Type: "text/plain"},
		"attachment": {Encoding: "7bit", Attachment: true},
		"base64":     {Encoding: "base64", Attachment: true},
	} {
		leaf.Start, leaf.End = int64(len(head)), size
		in := peak(func() {
			st, err := s.Stage(r.ctx, &store.Content{Source: pattern{head, size}, Size: size, Header: head, Leaves: []store.Leaf{leaf}})
			r.must(err)
			_, err = s.Append(r.ctx, r.acct, r.inbox, []store.Append{{Staged: st}})
			r.must(err)
			r.must(st.Close())
		})
		uid := r.lastUID()
		out := peak(func() {
			b, err := s.Open(r.ctx, r.acct, r.inbox, uid)
			r.must(err)
			r.must(b.WriteRange(io.Discard, 0, b.Size()))
			r.must(b.Close())
		})
		t.Logf("%s: %d kB to store, %d kB to read", name, in>>10, out>>10)
		// What the database has for it, however long the message is: a write buffer of 4 MiB while another one is being
		// written to a table, and the 8 MiB that the compressor of that table's values looks back upon.
		if limit := int64(2*4<<20 + 8<<20); in > limit || out > limit {
			t.Errorf("%s: %d kB to store, %d kB to read, at most %d kB each are wanted", name, in>>10, out>>10, limit>>10)
		}
	}
}

func (r *rig) lastUID() mail.UID {
	b, err := r.s.Mailbox(r.ctx, r.acct, r.inbox)
	r.must(err)
	return b.UIDNext - 1
}

// stuff puts n messages into the mailbox by writing their rows, all of one document.
func (r *rig) stuff(n int) { r.stuffWith(n, func(*hot) {}) }

// stuffWith is stuff with rows that f has changed.
func (r *rig) stuffWith(n int, f func(h *hot)) {
	r.Helper()
	first := r.append(r.inbox, newMessage("stuffed", "text"), "")
	value, err := r.s.get(uidKey(tabHot, r.acct, r.inbox, first.UID))
	r.must(err)
	var h hot
	r.must(h.decode(value))
	b := r.s.db.NewBatch()
	for uid := first.UID + 1; uid <= first.UID+mail.UID(n); uid++ {
		h.date++
		f(&h)
		set(b, uidKey(tabHot, r.acct, r.inbox, uid), h.append(nil))
		set(b, appendDateKey(nil, r.acct, r.inbox, h.date, uid), nil)
		set(b, appendMemberKey(nil, r.acct, h.thread, r.inbox, uid), nil)
		if b.Len() > 1<<20 {
			r.must(b.Commit(pebble.NoSync))
			b = r.s.db.NewBatch()
		}
	}
	key := boxKey(tabMailboxHead, r.acct, r.inbox)
	value, err = r.s.get(key)
	r.must(err)
	head, err := decodeMailboxHead(value)
	r.must(err)
	head.uidNext += uint64(n)
	head.reserved += uint64(n)
	head.messages += int64(n)
	head.unseen += int64(n)
	head.size += int64(n) * h.size
	set(b, key, head.append(nil))
	r.must(b.Commit(pebble.Sync))
	r.close()
	r.open()
}

// typical is the median time of an operation.
func typical(f func()) time.Duration {
	var times []time.Duration
	for range 101 {
		start := time.Now()
		f()
		times = append(times, time.Since(start))
	}
	slices.Sort(times)
	return times[len(times)/2]
}

// What is done with one message costs the same in a mailbox of many: none of it goes
// through the mailbox.
func TestCostDoesNotGrowWithTheMailbox(t *testing.T) {
	many := 100_000
	switch {
	case os.Getenv("MALLARD_STORETEST_LONG") != "":
		many = 1_000_000
	case testing.Short():
		many = 30_000
	}
	costs := func(n int) map[string]time.Duration {
		r := newRig(t, vfs.NewMem())
		r.stuff(n)
		ctx, uid := r.ctx, mail.UID(n/2+1)
		st, err := r.s.Stage(ctx, ptr(newMessage("one", "more")).content())
		r.must(err)
		defer st.Close()
		flag := 0
		out := map[string]time.Duration{}
		for name, f := range map[string]func(){
			"append": func() {
				_, err := r.s.Append(ctx, r.acct, r.inbox, []store.Append{{Staged: st}})
				r.must(err)
			},
			"flag": func() {
				flag++
				_, err := r.s.UpdateFlags(ctx, r.acct, r.inbox, store.FlagUpdate{UIDs: mail.OneUID(uid), Mode: store.FlagsReplace, Flags: mail.NewFlags(0, fmt.Sprint("k", flag%7))})
				r.must(err)
			},
			"fetch": func() {
				for _, err := range r.s.Fetch(ctx, r.acct, r.inbox, store.FetchQuery{UIDs: mail.OneUID(uid), Fields: documentFields}) {
					r.must(err)
				}
			},
			"open": func() { r.read(r.inbox, uid) },
			"notify": func() {
				box, err := r.s.Mailbox(ctx, r.acct, r.inbox)
				r.must(err)
				set, err := r.s.Changes(ctx, r.acct, r.inbox, box.HighestModSeq-1)
				if r.must(err); set.Changed.Len() > 1 {
					t.Errorf("%d changes", set.Changed.Len())
				}
			},
			"newest page": func() {
				for _, err := range r.s.Fetch(ctx, r.acct, r.inbox, store.FetchQuery{Order: store.ByDateDescending, Limit: 20}) {
					r.must(err)
				}
			},
			"copy and expunge": func() {
				res, err := r.s.Copy(ctx, r.acct, r.inbox, r.trash, mail.OneUID(uid), 0)
				r.must(err)
				_, err = r.s.Expunge(ctx, r.acct, r.trash, mail.UIDSetOf(res.To...), false)
				r.must(err)
			},
		} {
			out[name] = typical(f)
		}
		r.close()
		return out
	}
	few, lots := costs(1000), costs(many)
	for name, small := range few {
		t.Logf("%s: %v with 1,000 messages, %v with %d", name, small, lots[name], many)
		// A step through the mailbox would cost a hundred times as much and more.
		if lots[name] > 20*small+time.Millisecond {
			t.Errorf("%s: %v with 1,000 messages, %v with %d", name, small, lots[name], many)
		}
	}
}

func ptr[T any](v T) *T { return &v }

// With room for a few accounts only, accounts come and go in memory beside changes of
// them, and nothing that was given out is given out again.
func TestAccountsComeAndGoInMemory(t *testing.T) {
	o := options(vfs.NewMem())
	o.CachedAccounts = 2
	s, err := Open(t.Context(), o)
	r := &rig{TB: t, ctx: t.Context(), fs: o.FS, s: s}
	r.must(err)
	t.Cleanup(r.close)
	type place struct {
		acct  mail.AccountID
		inbox mail.MailboxID
		uid   mail.UID
		seq   mail.ModSeq
	}
	var places []*place
	for i := range 8 {
		r.createAccount(fmt.Sprint("user", i))
		places = append(places, &place{acct: r.acct, inbox: r.inbox})
	}
	m := newMessage("x", "y")
	for round := range 20 {
		for _, p := range places {
			r.acct, r.inbox = p.acct, p.inbox
			out := r.append(r.inbox, m, "")
			if out.UID != p.uid+1 || out.ModSeq <= p.seq {
				t.Fatalf("round %d: UID %d after %d, mod-sequence %d after %d", round, out.UID, p.uid, out.ModSeq, p.seq)
			}
			res, err := r.s.UpdateFlags(r.ctx, r.acct, r.inbox, store.FlagUpdate{UIDs: mail.OneUID(out.UID), Flags: mail.NewFlags(mail.Seen)})
			if r.must(err); res.ModSeq <= out.ModSeq {
				t.Fatalf("round %d: flags at %d after %d", round, res.ModSeq, out.ModSeq)
			}
			p.uid, p.seq = out.UID, res.ModSeq
		}
		if n := r.s.accounts.recent.Len(); n > 2 {
			t.Fatalf("%d accounts are in memory", n)
		}
	}
	if p := r.check(); len(p) > 0 {
		t.Errorf("problems: %q", p)
	}
}

// When old entries of the journal are removed, copies of a mailbox of any age still
// become the mailbox by one set of changes.
func TestChangesBehindATrimmedJournal(t *testing.T) {
	var offset atomic.Int64
	o := options(vfs.NewMem())
	o.Now = func() time.Time { return time.Now().Add(time.Duration(offset.Load())) }
	s, err := Open(t.Context(), o)
	r := &rig{TB: t, ctx: t.Context(), fs: o.FS, s: s}
	r.must(err)
	t.Cleanup(r.close)
	r.createAccount("user")
	type copy struct {
		to   mail.ModSeq
		rows map[mail.UID]mail.ModSeq
	}
	copies := []copy{{rows: map[mail.UID]mail.ModSeq{}}}
	state := func() map[mail.UID]mail.ModSeq {
		rows := map[mail.UID]mail.ModSeq{}
		for row, err := range r.s.Fetch(r.ctx, r.acct, r.inbox, store.FetchQuery{}) {
			r.must(err)
			rows[row.UID] = row.ModSeq
		}
		return rows
	}
	m := newMessage("x", "y")
	for range 200 { // more than a scan is preferred for
		r.append(r.inbox, m, "")
	}
	for step := range 12 {
		offset.Add(int64(5 * time.Hour))
		r.append(r.inbox, m, "")
		_, err := r.s.Expunge(r.ctx, r.acct, r.inbox, mail.OneUID(mail.UID(step*3+1)), false)
		r.must(err)
		_, err = r.s.UpdateFlags(r.ctx, r.acct, r.inbox, store.FlagUpdate{UIDs: mail.OneUID(mail.UID(step*3 + 2)), Flags: mail.NewFlags(mail.Flagged)})
		r.must(err)
		r.must(r.s.trimJournals(func() bool { return false }))
		want := state()
		for i, c := range copies {
			set, err := r.s.Changes(r.ctx, r.acct, r.inbox, c.to)
			r.must(err)
			rows := map[mail.UID]mail.ModSeq{}
			for uid, seq := range c.rows {
				if !set.Whole && !set.Expunged.Contains(uid) {
					rows[uid] = seq
				}
			}
			for h := range set.Changed.All() {
				rows[h.UID] = h.ModSeq
			}
			if fmt.Sprint(rows) != fmt.Sprint(want) {
				t.Fatalf("step %d: the copy of step %d, as of %d, is not the mailbox", step, i, c.to)
			}
			if i == len(copies)-1 {
				copies = append(copies, copy{set.To, want})
			}
		}
		if p := r.check(); len(p) > 0 {
			t.Fatalf("step %d: %q", step, p)
		}
	}
	if n := r.rows(accountKey(tabJournal, r.acct)); n > 30 {
		t.Errorf("%d rows of the journal are left", n)
	}
	// An account at rest is left alone, but for once.
	head := func() []byte {
		value, err := r.s.get(accountKey(tabAccountHead, r.acct))
		r.must(err)
		return value
	}
	var before []byte
	for range 3 {
		before = head()
		offset.Add(int64(20 * time.Hour))
		r.must(r.s.trimJournals(func() bool { return false }))
	}
	if n := r.rows(accountKey(tabJournal, r.acct)); n != 1 || !bytes.Equal(before, head()) {
		t.Errorf("%d rows of the journal of an account at rest are left, and its head is written", n)
	}
}
