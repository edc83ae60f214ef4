package mongostore

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/event"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"mallard/internal/mail"
	"mallard/internal/search"
	"mallard/internal/store"
)

// signed stores messages in which a word is, of which the signatures tell.
func (f *cachedFixture) signed(n int, word string) []mail.UID {
	f.Helper()
	var in []store.Append
	for i := range n {
		c := contentOf(fmt.Appendf(nil, "X: %s %d\r\n\r\n%s\r\n", word, i, word))
		var signer search.SignatureBuilder
		_, _ = signer.Write([]byte(word))
		c.Signature = signer.Finish()
		st, err := f.s.Stage(f.Context(), c)
		must(f, err)
		defer st.Close()
		in = append(in, store.Append{Staged: st, Prefix: []byte("P: delivered\r\n"), InternalDate: time.UnixMilli(1e12)})
	}
	out, err := f.s.Append(f.Context(), f.acct, f.inbox, in)
	must(f, err)
	var uids []mail.UID
	for _, a := range out {
		uids = append(uids, a.UID)
	}
	return uids
}

// signatures fetches what a search wants to know of a mailbox, and checks which messages may have a text.
func (f *cachedFixture) signatures(what string, s *Store, reads int, text string, want ...mail.UID) {
	f.Helper()
	set, err := s.Changes(f.Context(), f.acct, f.inbox, 0)
	must(f, err)
	f.watch.reset()
	var got []mail.UID
	for row, err := range s.Fetch(f.Context(), f.acct, f.inbox, store.FetchQuery{
		Known: slices.Collect(set.Changed.All()), Fields: store.FieldSummary | store.FieldSignature,
	}) {
		must(f, err)
		if len(row.Summary) == 0 {
			f.Errorf("%s: UID %d has no summary", what, row.UID)
		}
		if sign := search.Signature(row.Signature); !sign.Valid() {
			f.Errorf("%s: UID %d has the signature %x", what, row.UID, sign)
		} else if sign.MayContain([]byte(text)) {
			got = append(got, row.UID)
		}
	}
	if !slices.Equal(got, want) {
		f.Errorf("%s: %q may be in %v, want %v", what, text, got, want)
	}
	if n := f.reads(); n != reads {
		f.Errorf("%s: %d reads, want %d: %v", what, n, reads, f.watch.counted())
	}
}

// What a search wants to know of messages that were delivered here is in memory, as it is of those that were once listed:
// the signature of a message goes with the rest of what is said of it, and becomes old with it.
func TestSignaturesInMemory(t *testing.T) {
	f := newCachedFixture(t, 0)
	lemons := f.signed(3, "lemon")
	limes := f.signed(2, "limetree")
	f.signatures("where it came", f.s, 0, "lemon", lemons...)
	f.signatures("in the prefix", f.s, 0, "delivered", append(slices.Clone(lemons), limes...)...)

	other := reopenStore(t, f.s.o.URI, func(o *Options) { o.monitor = f.watch.monitor() })
	set, err := other.Changes(t.Context(), f.acct, f.inbox, 0)
	must(t, err)
	for i, fields := range []store.Fields{store.FieldEnvelope, store.FieldEnvelope, store.FieldTree, rowFieldsOfClients &^ store.FieldBody} {
		f.watch.reset()
		n := 0
		for row, err := range other.Fetch(t.Context(), f.acct, f.inbox, store.FetchQuery{Known: slices.Collect(set.Changed.All()), Fields: fields}) {
			must(t, err)
			if n++; row.Signature != nil {
				t.Error("a signature that nobody asked for")
			}
		}
		if reads := f.reads(); n != 5 || reads != max(1-i, 0) {
			t.Errorf("list %d: %d messages, %d reads", i, n, reads)
		}
	}
	f.signatures("where it was listed", other, 0, "limetree", limes...)

	// WildDuck changes a message: it may contain anything, and has another mod-sequence.
	_, err = f.s.messages().UpdateOne(t.Context(), bson.D{{Key: "mailbox", Value: oid(f.inbox)}, {Key: "uid", Value: lemons[1]}},
		bson.D{{Key: "$set", Value: bson.D{{Key: "modseq", Value: 100}, {Key: "hdate", Value: 1}}}, {Key: "$inc", Value: bson.D{{Key: "size", Value: 1}}}})
	must(t, err)
	for _, s := range []*Store{f.s, other} {
		set, err := s.Changes(t.Context(), f.acct, f.inbox, 0)
		must(t, err)
		k, _ := set.Changed.Find(lemons[1])
		row := set.Changed.At(k)
		if r := s.caches.row(oid(f.inbox), &row, store.FieldSignature); r != nil {
			t.Error("the signature of a message that was changed is in memory")
		}
	}
}

// A mailbox of which there is no room for all reads what it is asked for, and one without content reads no content.
func TestAheadFields(t *testing.T) {
	s := &Store{o: Options{DescriptionCache: 4 * aheadOctets}}
	for _, c := range []struct {
		fields, want store.Fields
		messages     int
	}{
		{store.FieldEnvelope, cachedFields, 4},
		{store.FieldEnvelope, store.FieldEnvelope, 5},
		{store.FieldBody, store.FieldBody | cachedFields, 4},
		{0, 0, 1}, // only what is in no large member
	} {
		f := &fetch{s: s, q: store.FetchQuery{Fields: c.fields}}
		if got := f.aheadFields(c.messages); got != c.want {
			t.Errorf("fields %b of %d messages: %b are read, want %b", c.fields, c.messages, got, c.want)
		}
	}
	for fields, member := range map[store.Fields]string{cachedFields: "mimeTree.header", cachedFields | store.FieldBody: "mimeTree"} {
		var keys []string
		for _, e := range keepFields(fields) {
			if strings.HasPrefix(e.Key, "mimeTree") || strings.HasPrefix(e.Key, memberMallard) {
				keys = append(keys, e.Key)
			}
		}
		if want := []string{member, memberMallard}; !slices.Equal(keys, want) {
			t.Errorf("%v are read, want %v", keys, want)
		}
	}
}

// Whoever looks for messages by their UIDs names the index of these: there are others that a server may take for as good.
// Without that index it finds them all the same.
func TestUIDsWithHint(t *testing.T) {
	var mu sync.Mutex
	hints := map[bool]int{}
	s := openStore(t, func(o *Options) {
		o.monitor = &event.CommandMonitor{Started: func(_ context.Context, e *event.CommandStartedEvent) {
			if e.CommandName == "find" && text(e.Command.Lookup("find")) == colMessages && has(bson.Raw(e.Command.Lookup("filter").Document()), "uid") {
				mu.Lock()
				hints[has(e.Command, "hint")]++
				mu.Unlock()
			}
		}}
		o.DescriptionCache, o.ContentCache = -1, -1
	})
	acct := newAccount(t, s, "jane")
	box, err := s.MailboxByPath(t.Context(), acct.ID, mail.Inbox)
	must(t, err)
	var in []store.Append
	for i := range 5 {
		st, err := s.Stage(t.Context(), contentOf(fmt.Appendf(nil, "X: %d\r\n\r\n", i)))
		must(t, err)
		defer st.Close()
		in = append(in, store.Append{Staged: st})
	}
	_, err = s.Append(t.Context(), acct.ID, box.ID, in)
	must(t, err)
	read := func(q store.FetchQuery) (got []mail.UID) {
		t.Helper()
		for row, err := range s.Fetch(t.Context(), acct.ID, box.ID, q) {
			must(t, err)
			got = append(got, row.UID)
		}
		return got
	}
	check := func(what string, hinted, without int) {
		t.Helper()
		for _, uids := range [][]mail.UID{{1, 3, 4}, {2}} {
			clear(hints)
			if got := read(store.FetchQuery{UIDs: mail.UIDSetOf(uids...), Fields: store.FieldEnvelope}); !slices.Equal(got, uids) {
				t.Errorf("%s: %v, want %v", what, got, uids)
			}
			if hints[true] != hinted || hints[false] != without {
				t.Errorf("%s: %d queries with a hint, %d without, want %d and %d", what, hints[true], hints[false], hinted, without)
			}
			hinted = 0 // it is not tried a second time
			if without == 0 {
				hinted = 1
			}
		}
	}
	check("with the index", 1, 0)
	must(t, s.messages().Indexes().DropOne(t.Context(), "mailbox_uid"))
	check("without the index", 1, 1)
	later := func() {
		t.Helper()
		until := s.unhinted.Load()
		if until == nil || until.After(time.Now().Add(hintPause)) {
			t.Fatalf("the index is not asked for until %v", until)
		}
		past := time.Now().Add(-time.Second)
		s.unhinted.Store(&past)
	}
	later()
	check("still without the index, later", 1, 1)
	_, err = s.messages().Indexes().CreateOne(t.Context(), mongo.IndexModel{Keys: uidIndex, Options: options.Index().SetName("mailbox_uid")})
	must(t, err)
	check("the index is back, and nobody has looked", 0, 1)
	later()
	check("the index is back", 1, 0)
}
