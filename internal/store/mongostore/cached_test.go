package mongostore

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"mallard/internal/mail"
	"mallard/internal/store"
)

// cachedFixture is a mailbox of which a node has everything in memory.
type cachedFixture struct {
	*testing.T
	uri   string
	s     *Store
	watch *shardWatch
	acct  mail.AccountID
	inbox mail.MailboxID
	uids  []mail.UID
	raws  map[mail.UID][]byte
}

func newCachedFixture(t *testing.T, messages int) *cachedFixture {
	t.Parallel()
	f := &cachedFixture{T: t, watch: &shardWatch{seen: map[string]int{}, all: map[string]int{}}, raws: make(map[mail.UID][]byte)}
	var d describer
	f.s = openStore(t, func(o *Options) { o.monitor, o.Describe, f.uri = f.watch.monitor(), d.describe, o.URI })
	a := newAccount(t, f.s, "cached")
	f.acct = a.ID
	box, err := f.s.MailboxByPath(t.Context(), a.ID, "INBOX")
	must(t, err)
	f.inbox = box.ID
	for range messages {
		f.deliver(mail.NewFlags(0))
	}
	return f
}

// deliver stores a message with a small attachment and a date.
func (f *cachedFixture) deliver(flags mail.Flags) mail.UID {
	f.Helper()
	n := len(f.uids)
	raw := fmt.Appendf(nil, "Date: Fri, 27 Nov 2026 00:00:%02d +0000\r\nX: %d\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"+
		"--b\r\nContent-Type: text/plain\r\n\r\ntext\r\n--b\r\nContent-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\n\r\n%s\r\n--b--\r\n",
		n, n, wrapped(random(300, uint64(n)), 76, "\r\n"))
	st, err := f.s.Stage(f.Context(), contentOf(raw))
	must(f, err)
	defer st.Close()
	out, err := f.s.Append(f.Context(), f.acct, f.inbox, []store.Append{{Staged: st, Prefix: []byte("P: 1\r\n"), Flags: flags, InternalDate: time.UnixMilli(int64(1e12 + n))}})
	must(f, err)
	f.uids = append(f.uids, out[0].UID)
	f.raws[out[0].UID] = append([]byte("P: 1\r\n"), raw...)
	return out[0].UID
}

const rowFieldsOfClients = store.FieldEnvelope | store.FieldBodyStructure | store.FieldTree | store.FieldSummary | store.FieldHeader | store.FieldBody

// read reads all of a mailbox as a session does: it learns of the messages from Changes, and asks for the rest.
func (f *cachedFixture) read(s *Store, mbox mail.MailboxID) map[mail.UID][]byte {
	f.Helper()
	set, err := s.Changes(f.Context(), f.acct, mbox, 0)
	must(f, err)
	return f.readKnown(s, mbox, slices.Collect(set.Changed.All()))
}

func (f *cachedFixture) readKnown(s *Store, mbox mail.MailboxID, known []mail.HotRow) map[mail.UID][]byte {
	f.Helper()
	f.watch.reset()
	got := make(map[mail.UID][]byte)
	last := mail.UID(0)
	for row, err := range s.Fetch(f.Context(), f.acct, mbox, store.FetchQuery{Known: known, Fields: rowFieldsOfClients}) {
		must(f, err)
		if row.UID <= last {
			f.Errorf("UID %d comes after %d", row.UID, last)
		}
		last = row.UID
		b, err := row.Open()
		must(f, err)
		var w bytes.Buffer
		must(f, b.WriteRange(&w, 0, b.Size()))
		got[row.UID] = w.Bytes()
		if !bytes.HasPrefix(w.Bytes(), row.Header) || row.Size != int64(w.Len()) || len(row.Header) == 0 {
			f.Errorf("UID %d: size %d of %d, header %q", row.UID, row.Size, w.Len(), row.Header)
		}
	}
	return got
}

// reads is how many commands read messages or attachments since the last read began.
func (f *cachedFixture) reads() (n int) {
	for what, times := range f.watch.counted() {
		if strings.HasSuffix(what, " "+colMessages) || strings.Contains(what, "attachments.") {
			n += times
		}
	}
	return n
}

// same fails when messages are not what they were, or, when from is not negative, when other than so many commands have
// read them.
func (f *cachedFixture) same(what string, got map[mail.UID][]byte, from int, uids ...mail.UID) {
	f.Helper()
	if n := f.reads(); from >= 0 && n != from {
		f.Errorf("%s: %d commands, want %d: %v", what, n, from, f.watch.counted())
	}
	if len(got) != len(uids) {
		f.Errorf("%s: %d messages, want %d", what, len(got), len(uids))
	}
	for _, u := range uids {
		if !bytes.Equal(got[u], f.raws[u]) {
			f.Errorf("%s: UID %d is %.300q, want %.300q", what, u, got[u], f.raws[u])
		}
	}
}

// change changes a message as WildDuck does when a draft is sent, and notes what it is then.
func (f *cachedFixture) change(uid mail.UID, set bson.D) {
	f.Helper()
	c := f.s.messages()
	filter := bson.D{{Key: "mailbox", Value: oid(f.inbox)}, {Key: "uid", Value: uid}}
	const line = "Y: 1"
	update := bson.D{{Key: "$push", Value: bson.D{{Key: "mimeTree.header", Value: line}}}, {Key: "$inc", Value: bson.D{{Key: "size", Value: len(line) + 2}}}}
	if set != nil {
		update = append(update, bson.E{Key: "$set", Value: set})
	}
	_, err := c.UpdateOne(f.Context(), filter, update)
	must(f, err)
	raw := f.raws[uid]
	end := bytes.Index(raw, []byte("\r\n\r\n")) + 2
	f.raws[uid] = append(append(bytes.Clone(raw[:end]), line+"\r\n"...), raw[end:]...)
}

func (f *cachedFixture) flag(s *Store, uid mail.UID, flag mail.SystemFlags) mail.ModSeq {
	f.Helper()
	res, err := s.UpdateFlags(f.Context(), f.acct, f.inbox, store.FlagUpdate{UIDs: mail.OneUID(uid), Flags: mail.NewFlags(flag)})
	must(f, err)
	return res.ModSeq
}

// What was delivered is read from memory, in whole and in part, also after flags were changed here; what another node
// changes is read anew, once.
func TestCachedReading(t *testing.T) {
	f := newCachedFixture(t, 6)
	f.same("as delivered", f.read(f.s, f.inbox), 0, f.uids...)
	f.flag(f.s, f.uids[1], mail.Seen)
	f.same("after a change here", f.read(f.s, f.inbox), 0, f.uids...)

	other := reopenStore(t, f.s.o.URI, func(o *Options) { o.monitor = f.watch.monitor() })
	for _, reads := range []int{2, 0} {
		f.same("on another node", f.read(other, f.inbox), reads, f.uids...)
	}
	f.flag(other, f.uids[2], mail.Flagged)
	got := f.read(f.s, f.inbox)
	f.same("after a change there", got, 1, f.uids...)
	f.same("again", f.read(f.s, f.inbox), 0, f.uids...)

	// The middle is not in memory any more; its place among the others is the same.
	f.s.caches.rows.Delete(rowKey{oid(f.inbox), f.uids[3]})
	f.same("without a row", f.read(f.s, f.inbox), 1, f.uids...)
	f.s.caches.contents.DeleteFunc(func(contentKey) bool { return true })
	f.same("without content", f.read(f.s, f.inbox), 2, f.uids...)
	f.same("and kept again", f.read(f.s, f.inbox), 0, f.uids...)
}

// What is not in memory is read some messages at a time, with their small attachments; those with large ones, drafts and
// what WildDuck wrote come one by one. Several readers at once read it once.
func TestReadAhead(t *testing.T) {
	f := newCachedFixture(t, 0)
	const messages = aheadMessages + 8
	var in []store.Append
	for n := range messages {
		size, flags := 300, mail.NewFlags(0)
		switch n {
		case 3:
			size = aheadFile + 1
		case 7:
			size = aheadContent
		case 9:
			flags = mail.NewFlags(mail.Draft)
		}
		raw := fmt.Appendf(nil, "X: %d\r\n%s", n, mixed("\n", wrapped(random(size, uint64(n%20)), 76, "\r\n")))
		st, err := f.s.Stage(t.Context(), contentOf(raw))
		must(t, err)
		defer st.Close()
		in = append(in, store.Append{Staged: st, Flags: flags, InternalDate: time.UnixMilli(1e12)})
		f.raws[mail.UID(n+1)] = raw
	}
	out, err := f.s.Append(t.Context(), f.acct, f.inbox, in)
	must(t, err)
	for _, a := range out {
		f.uids = append(f.uids, a.UID)
	}
	_, err = f.s.messages().UpdateOne(t.Context(), bson.D{{Key: "mailbox", Value: oid(f.inbox)}, {Key: "uid", Value: 12}}, bson.D{{Key: "$unset", Value: bson.D{{Key: memberMallard, Value: ""}}}})
	must(t, err)
	theirs := f.uids[11]
	var d describer
	other := reopenStore(t, f.s.o.URI, func(o *Options) { o.monitor, o.Describe = f.watch.monitor(), d.describe })
	set, err := other.Changes(t.Context(), f.acct, f.inbox, 0)
	must(t, err)
	known := slices.Collect(set.Changed.All())
	f.watch.reset()
	var readers sync.WaitGroup
	for range 3 {
		readers.Go(func() {
			n := 0
			for row, err := range other.Fetch(t.Context(), f.acct, f.inbox, store.FetchQuery{Known: known, Fields: store.FieldBody}) {
				if err != nil {
					t.Error(err)
					return
				}
				n++
				b, err := row.Open()
				if err != nil {
					t.Error(err)
					return
				}
				var w bytes.Buffer
				if err := b.WriteRange(&w, 0, b.Size()); err != nil || row.UID != theirs && !bytes.Equal(w.Bytes(), f.raws[row.UID]) {
					t.Errorf("UID %d: %.200q, %v, want %.200q", row.UID, w.Bytes(), err, f.raws[row.UID])
				}
			}
			if n != messages {
				t.Errorf("%d messages, want %d", n, messages)
			}
		})
	}
	readers.Wait()
	if n := other.caches.contents.Len(); n < messages-4 || len(other.caches.ahead.at) != 0 {
		t.Errorf("%d contents are in memory; %d are still being read", n, len(other.caches.ahead.at))
	}
	// Two reads of documents and of files by one of the readers, and for each of them those that come one by one.
	if n := f.reads(); n > 4+3*4*4 {
		t.Errorf("%d commands: %v", n, f.watch.counted())
	}
	want := only(t, other.messages(), bson.D{{Key: "mailbox", Value: oid(f.inbox)}, {Key: "uid", Value: 12}})
	f.raws[theirs] = other.readForTest(t, want)
	f.same("again", f.readKnown(other, f.inbox, known), -1, f.uids...)
}

// A message that WildDuck changed gets another mod-sequence, by which what was kept of it is known to be old.
func TestCachedAndChanged(t *testing.T) {
	f := newCachedFixture(t, 3)
	f.read(f.s, f.inbox)
	f.change(f.uids[1], bson.D{{Key: "modseq", Value: 100}, {Key: "hdate", Value: time.UnixMilli(1)}})
	f.same("changed", f.read(f.s, f.inbox), -1, f.uids...)
	// One of these alone tells that the content is another.
	f.change(f.uids[2], bson.D{{Key: "modseq", Value: 101}})
	f.same("changed in its size", f.read(f.s, f.inbox), -1, f.uids...)
	_, err := f.s.messages().UpdateOne(f.Context(), bson.D{{Key: "mailbox", Value: oid(f.inbox)}, {Key: "uid", Value: f.uids[0]}}, bson.D{{Key: "$set", Value: bson.D{
		{Key: "modseq", Value: 102}, {Key: "hdate", Value: time.UnixMilli(2)}, {Key: "mimeTree.header.2", Value: "X: 7"},
	}}})
	must(t, err)
	f.raws[f.uids[0]] = bytes.Replace(f.raws[f.uids[0]], []byte("X: 0"), []byte("X: 7"), 1)
	f.same("changed in its date", f.read(f.s, f.inbox), -1, f.uids...)
	for _, u := range f.uids {
		b, err := f.s.Open(f.Context(), f.acct, f.inbox, u)
		must(t, err)
		var w bytes.Buffer
		must(t, b.WriteRange(&w, 0, b.Size()))
		if !bytes.Equal(w.Bytes(), f.raws[u]) {
			t.Errorf("opened UID %d: %.300q, want %.300q", u, w.Bytes(), f.raws[u])
		}
	}
}

// Who knows an older state than the one in memory gets what is there now.
func TestCachedForLateReader(t *testing.T) {
	f := newCachedFixture(t, 1)
	set, err := f.s.Changes(t.Context(), f.acct, f.inbox, 0)
	must(t, err)
	ms := f.flag(f.s, f.uids[0], mail.Seen)
	for row, err := range f.s.Fetch(t.Context(), f.acct, f.inbox, store.FetchQuery{Known: slices.Collect(set.Changed.All())}) {
		must(t, err)
		if row.ModSeq != ms || !row.Flags.Has(mail.Seen) {
			t.Errorf("the row is of mod-sequence %d with %v, want %d", row.ModSeq, row.Flags.List(), ms)
		}
	}
}

// WildDuck may change a draft, and tell its mod-sequence before: what is flagged so is never taken from memory.
func TestDraftsAreNotCached(t *testing.T) {
	f := newCachedFixture(t, 1)
	draft := f.deliver(mail.NewFlags(mail.Draft))
	became := f.deliver(mail.NewFlags(0))
	f.read(f.s, f.inbox)
	f.flag(f.s, became, mail.Draft)
	for range 2 {
		f.same("drafts", f.read(f.s, f.inbox), -1, f.uids...)
		f.change(draft, nil)
		f.change(became, nil)
	}
	// What is in memory of a message from before is not for who knows it as a draft, whatever its mod-sequence.
	set, err := f.s.Changes(t.Context(), f.acct, f.inbox, 0)
	must(t, err)
	known := slices.Collect(set.Changed.All())
	known[0].Flags = mail.NewFlags(mail.Draft)
	f.change(f.uids[0], nil)
	f.same("known as a draft", f.readKnown(f.s, f.inbox, known), -1, f.uids...)
	if n := f.s.caches.rows.Len(); n != 2 { // the second of them as it was before
		t.Errorf("%d rows are in memory", n)
	}
}

// Copies and moves are in memory where they go, with the same content.
func TestCachedCopies(t *testing.T) {
	f := newCachedFixture(t, 4)
	trash, err := f.s.MailboxByPath(t.Context(), f.acct, "Trash")
	must(t, err)
	was := f.s.caches.contents.Len()
	f.read(f.s, f.inbox)
	copied, err := f.s.Copy(t.Context(), f.acct, f.inbox, trash.ID, mail.UIDSetOf(f.uids[0], f.uids[1]), 0)
	must(t, err)
	moved, err := f.s.Move(t.Context(), f.acct, f.inbox, trash.ID, mail.UIDSetOf(f.uids[2]))
	must(t, err)
	got := f.read(f.s, trash.ID)
	if n := f.reads(); n != 0 || f.s.caches.contents.Len() != was {
		t.Errorf("%d commands, %d contents of %d", n, f.s.caches.contents.Len(), was)
	}
	for i, to := range append(copied.To, moved.To...) {
		if !bytes.Equal(got[to], f.raws[f.uids[i]]) {
			t.Errorf("copy %d is %.300q, want %.300q", to, got[to], f.raws[f.uids[i]])
		}
	}
	f.same("what stayed", f.read(f.s, f.inbox), 0, f.uids[0], f.uids[1], f.uids[3])
	ids := map[mail.MessageID]bool{}
	for _, box := range []mail.MailboxID{f.inbox, trash.ID} {
		set, err := f.s.Changes(t.Context(), f.acct, box, 0)
		must(t, err)
		for _, known := range [][]mail.HotRow{nil, slices.Collect(set.Changed.All())} {
			for row, err := range f.s.Fetch(t.Context(), f.acct, box, store.FetchQuery{Known: known}) {
				must(t, err)
				ids[row.ID] = true
			}
		}
	}
	if len(ids) != 6 {
		t.Errorf("six messages have %d ids", len(ids))
	}
}

// What is gone is not given to those who know that it is, and no mailbox gives anything that is gone itself.
func TestCachedAndGone(t *testing.T) {
	f := newCachedFixture(t, 3)
	other := reopenStore(t, f.s.o.URI)
	f.read(f.s, f.inbox)
	_, err := other.Expunge(t.Context(), f.acct, f.inbox, mail.OneUID(f.uids[1]), false)
	must(t, err)
	f.same("after an expunge on another node", f.read(f.s, f.inbox), 0, f.uids[0], f.uids[2])
	box, err := f.s.CreateMailbox(t.Context(), f.acct, mail.Mailbox{Path: "Gone"}, 0)
	must(t, err)
	res, err := f.s.Move(t.Context(), f.acct, f.inbox, box.ID, mail.AllUIDs())
	must(t, err)
	set, err := f.s.Changes(t.Context(), f.acct, box.ID, 0)
	must(t, err)
	if got := f.readKnown(f.s, box.ID, slices.Collect(set.Changed.All())); len(got) != 2 || len(res.To) != 2 {
		t.Fatalf("%d messages were moved, %d are there", len(res.To), len(got))
	}
	must(t, f.s.DeleteMailbox(t.Context(), f.acct, box.ID, 0))
	for _, err := range f.s.Fetch(t.Context(), f.acct, box.ID, store.FetchQuery{Known: slices.Collect(set.Changed.All())}) {
		wants(t, "a mailbox that is gone", err, mail.CodeNoMailbox)
	}
	for _, err := range f.s.Fetch(t.Context(), mail.AccountID{1}, f.inbox, store.FetchQuery{Known: slices.Collect(set.Changed.All())}) {
		wants(t, "a mailbox of somebody else", err, mail.CodeNoMailbox)
	}
}

// A message that is restored over another one under the same numbers is not taken for that one, here or on another node.
func TestCachedAndRestored(t *testing.T) {
	f := newCachedFixture(t, 2)
	other := reopenStore(t, f.s.o.URI)
	f.read(f.s, f.inbox)
	f.read(other, f.inbox)
	set, err := f.s.Changes(t.Context(), f.acct, f.inbox, 0)
	must(t, err)
	mark := set.Replaced
	for round := range 2 {
		raw := []byte(fmt.Sprintf("X: restored %d\r\n\r\nbody\r\n", round))
		st, err := f.s.Stage(t.Context(), contentOf(raw))
		must(t, err)
		must(t, f.s.RestoreMessages(t.Context(), f.acct, f.inbox, []store.Restored{{
			UID: f.uids[1], ModSeq: set.Changed.At(1).ModSeq, ID: mail.MessageID{byte(1 + round)}, EmailID: mail.EmailID{byte(1 + round)},
			ThreadID: mail.ThreadID{1}, InternalDate: time.UnixMilli(1e12), Staged: st,
		}}))
		must(t, st.Close())
		f.raws[f.uids[1]] = raw
		var now *store.ChangeSet
		for _, s := range []*Store{f.s, other} { // it is told to those who have a copy of the mailbox
			now, err = s.Changes(t.Context(), f.acct, f.inbox, set.To)
			must(t, err)
			if now.Replaced == mark {
				t.Errorf("restored %d: the mark is %q as before", round, mark)
			}
		}
		mark = now.Replaced
		for _, s := range []*Store{f.s, other, f.s} {
			f.same(fmt.Sprint("restored ", round), f.read(s, f.inbox), -1, f.uids...)
		}
		box, err := f.s.Mailbox(t.Context(), f.acct, f.inbox)
		must(t, err)
		must(t, f.s.RestoreMailbox(t.Context(), f.acct, *box))
	}
	must(t, f.s.RemoveRestored(t.Context(), f.acct, f.inbox, mail.OneUID(f.uids[1])))
	for _, s := range []*Store{f.s, other} {
		if got := f.read(s, f.inbox); len(got) != 1 {
			t.Errorf("%d messages after one was taken away", len(got))
		}
		if got := f.readKnown(s, f.inbox, slices.Collect(set.Changed.All())); len(got) != 1 {
			t.Errorf("%d messages of those that were known", len(got))
		}
	}
}

// Without memory for them everything is read.
func TestWithoutCaches(t *testing.T) {
	f := newCachedFixture(t, 3)
	bare := reopenStore(t, f.s.o.URI, func(o *Options) { o.DescriptionCache, o.ContentCache = -1, -1 })
	for range 2 {
		f.same("without caches", f.read(bare, f.inbox), -1, f.uids...)
	}
	if n := bare.caches.rows.Len() + bare.caches.contents.Len(); n != 0 {
		t.Errorf("%d entries", n)
	}
}

// Ranges of a content in two pieces are those of the whole, and an error of the writer ends the writing.
func TestMemoryBody(t *testing.T) {
	b := memoryBody{cachedContent{prefix: []byte("abc"), text: []byte("defgh")}}
	const all = "abcdefgh"
	for from := range len(all) + 1 {
		for to := from; to <= len(all); to++ {
			var w bytes.Buffer
			if err := b.WriteRange(&w, int64(from), int64(to-from)); err != nil || w.String() != all[from:to] {
				t.Errorf("%d to %d: %q, %v", from, to, w.String(), err)
			}
		}
	}
	for _, r := range [][2]int64{{-1, 1}, {0, -1}, {9, 0}, {0, 9}, {8, 1}, {1, 1<<63 - 1}} {
		wants(t, fmt.Sprint(r), b.WriteRange(&bytes.Buffer{}, r[0], r[1]), mail.CodeInvalid)
	}
	if err := b.WriteRange(failing{}, 0, 8); err != errMine {
		t.Errorf("error %v, want that of the writer", err)
	}
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, errMine }

// A read that is cancelled in the middle of rows from memory ends.
func TestCachedAndCancelled(t *testing.T) {
	f := newCachedFixture(t, 3)
	set, err := f.s.Changes(t.Context(), f.acct, f.inbox, 0)
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	n := 0
	for _, err := range f.s.Fetch(ctx, f.acct, f.inbox, store.FetchQuery{Known: slices.Collect(set.Changed.All())}) {
		if n++; n > 1 {
			wants(t, "after the first row", err, mail.CodeCanceled)
		}
		cancel()
	}
	if n != 2 {
		t.Errorf("%d rows", n)
	}
}
