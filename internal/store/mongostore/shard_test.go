package mongostore

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/event"

	"mallard/internal/mail"
	"mallard/internal/store"
)

// shardKeys are those of docs/ops/sharding.md. A command that may be about many documents must name the first member
// of a key, one about a single document all of it.
func shardKeys() map[string][]string {
	return map[string][]string{
		colMessages: {"mailbox", "uid"}, colArchived: {"user", "_id"}, colThreads: {"user"}, "authlog": {"user"}, "messagelog": {"id"},
		"attachments.files": {"_id"}, "attachments.chunks": {"files_id"},
	}
}

// shardWatch looks at the commands that a driver sends.
type shardWatch struct {
	mu       sync.Mutex
	seen     map[string]int // commands on sharded collections, such as "find messages"
	all      map[string]int // on any collection, when it is not nil
	problems []string
	excuses  bool // commands of the background may ask every shard
}

func (w *shardWatch) monitor() *event.CommandMonitor {
	return &event.CommandMonitor{Started: func(_ context.Context, e *event.CommandStartedEvent) { w.look(e.CommandName, e.Command) }}
}

func (w *shardWatch) look(name string, cmd bson.Raw) {
	collection := text(cmd.Lookup(name))
	w.mu.Lock()
	if w.all != nil {
		w.all[name+" "+collection]++
	}
	w.mu.Unlock()
	key, sharded := shardKeys()[collection]
	if !sharded || name == "createIndexes" || name == "drop" || name == "killCursors" || w.excuses && background(name, collection, cmd) {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seen[name+" "+collection]++
	for _, problem := range checkCommand(name, cmd, key) {
		w.problems = append(w.problems, fmt.Sprintf("%s %s: %s in %.400v", name, collection, problem, cmd))
	}
}

func (w *shardWatch) reset() {
	w.mu.Lock()
	defer w.mu.Unlock()
	clear(w.all)
}

func (w *shardWatch) counted() map[string]int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return maps.Clone(w.all)
}

func newShardWatch() *shardWatch { return &shardWatch{seen: map[string]int{}} }

// check fails the test for each command that lacked a shard key.
func (w *shardWatch) check(t *testing.T) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range w.problems {
		t.Error(p)
	}
}

// background says whether a command is one of those that ask every shard: docs/ops/sharding.md lists them.
func background(name, collection string, cmd bson.Raw) bool {
	filter, _ := cmd.Lookup("filter").DocumentOK()
	switch name + " " + collection {
	case "find " + colMessages: // what has expired, and what became of the messages of a node that died
		return has(filter, "rdate") || firstKey(filter) == "_id"
	case "find " + colArchived:
		return has(filter, "rdate")
	case "find attachments.files": // garbage
		return has(filter, "metadata.c")
	case "aggregate " + colMessages: // a quota that is counted anew
		match, _ := cmd.Lookup("pipeline", "0", "$match").DocumentOK()
		return has(match, "user") && has(match, "userDeleted")
	}
	return false
}

// checkCommand says what a command lacks of a shard key.
func checkCommand(name string, cmd bson.Raw, key []string) (problems []string) {
	need := func(filter bson.RawValue, key []string) {
		doc, _ := filter.DocumentOK()
		for _, member := range key {
			if !named(doc, member) {
				problems = append(problems, "no "+member)
			}
		}
	}
	switch name {
	case "find":
		need(cmd.Lookup("filter"), key[:1])
	case "count", "distinct":
		need(cmd.Lookup("query"), key[:1])
	case "aggregate":
		need(cmd.Lookup("pipeline", "0", "$match"), key[:1])
	case "findAndModify":
		need(cmd.Lookup("query"), key)
	case "insert":
		for _, d := range list(cmd.Lookup("documents")) {
			need(d, key)
		}
	case "update":
		for _, u := range list(cmd.Lookup("updates")) {
			part := key
			if truth(u.Document().Lookup("multi")) {
				part = key[:1]
			}
			need(u.Document().Lookup("q"), part)
		}
	case "delete":
		for _, d := range list(cmd.Lookup("deletes")) {
			part := key
			if integer(d.Document().Lookup("limit")) == 0 {
				part = key[:1]
			}
			need(d.Document().Lookup("q"), part)
		}
	default:
		problems = append(problems, "a command that the test does not know")
	}
	return problems
}

// named says whether a filter names values of a member: one, or some.
func named(filter bson.Raw, member string) bool {
	v, err := filter.LookupErr(member)
	if err != nil {
		return false
	}
	doc, isDoc := v.DocumentOK()
	if !isDoc {
		return v.Type != bson.TypeRegex
	}
	return has(doc, "$in") || has(doc, "$eq") || !strings.HasPrefix(firstKey(doc), "$")
}

func firstKey(doc bson.Raw) string {
	elements, err := doc.Elements()
	if err != nil || len(elements) == 0 {
		return ""
	}
	return elements[0].Key()
}

func list(v bson.RawValue) []bson.RawValue {
	array, ok := v.ArrayOK()
	if !ok {
		return nil
	}
	values, err := array.Values()
	if err != nil {
		return nil
	}
	return values
}

// The check finds what it is for.
func TestShardCheck(t *testing.T) {
	key := shardKeys()[colMessages]
	for _, tc := range []struct {
		name string
		cmd  bson.D
		want int
	}{
		{"find", bson.D{{Key: "filter", Value: bson.D{{Key: "mailbox", Value: 1}}}}, 0},
		{"find", bson.D{{Key: "filter", Value: bson.D{{Key: "mailbox", Value: bson.D{{Key: "$in", Value: bson.A{1}}}}}}}, 0},
		{"find", bson.D{{Key: "filter", Value: bson.D{{Key: "mailbox", Value: bson.D{{Key: "$gt", Value: 1}}}}}}, 1},
		{"find", bson.D{{Key: "filter", Value: bson.D{{Key: "user", Value: 1}}}}, 1},
		{"find", bson.D{}, 1},
		{"aggregate", bson.D{{Key: "pipeline", Value: bson.A{bson.D{{Key: "$match", Value: bson.D{{Key: "mailbox", Value: 1}}}}}}}, 0},
		{"aggregate", bson.D{{Key: "pipeline", Value: bson.A{bson.D{{Key: "$group", Value: bson.D{}}}}}}, 1},
		{"findAndModify", bson.D{{Key: "query", Value: bson.D{{Key: "mailbox", Value: 1}}}}, 1},
		{"update", bson.D{{Key: "updates", Value: bson.A{bson.D{{Key: "q", Value: bson.D{{Key: "mailbox", Value: 1}}}}}}}, 1},
		{"update", bson.D{{Key: "updates", Value: bson.A{bson.D{{Key: "q", Value: bson.D{{Key: "mailbox", Value: 1}}}, {Key: "multi", Value: true}}}}}, 0},
		{"delete", bson.D{{Key: "deletes", Value: bson.A{bson.D{{Key: "q", Value: bson.D{{Key: "_id", Value: 1}}}, {Key: "limit", Value: 1}}}}}, 2},
		{"insert", bson.D{{Key: "documents", Value: bson.A{bson.D{{Key: "mailbox", Value: 1}, {Key: "uid", Value: 1}}, bson.D{{Key: "mailbox", Value: 1}}}}}, 1},
		{"mapReduce", bson.D{}, 1},
	} {
		if got := checkCommand(tc.name, rawDoc(t, tc.cmd), key); len(got) != tc.want {
			t.Errorf("%s %v: %q, want %d", tc.name, tc.cmd, got, tc.want)
		}
	}
}

// Who watches a session excuses nothing that only the background may ask.
func TestShardWatchOfSessions(t *testing.T) {
	for name, cmd := range map[string]bson.D{
		"find messages":      {{Key: "find", Value: colMessages}, {Key: "filter", Value: bson.D{{Key: "_id", Value: bson.NewObjectID()}}}},
		"find archived":      {{Key: "find", Value: colArchived}, {Key: "filter", Value: bson.D{{Key: "rdate", Value: 1}}}},
		"aggregate messages": {{Key: "aggregate", Value: colMessages}, {Key: "pipeline", Value: bson.A{bson.D{{Key: "$match", Value: bson.D{{Key: "user", Value: 1}, {Key: "userDeleted", Value: nil}}}}}}},
	} {
		for _, excuses := range []bool{false, true} {
			w := newShardWatch()
			w.excuses = excuses
			doc, err := bson.Marshal(cmd)
			must(t, err)
			w.look(cmd[0].Key, doc)
			if (len(w.problems) == 0) != excuses {
				t.Errorf("%s: excused %t, problems %q", name, excuses, w.problems)
			}
		}
	}
}

// Whatever sessions do carries the shard keys of docs/ops/sharding.md.
func TestShardKeys(t *testing.T) {
	w := newShardWatch()
	// Without caches, so that what is read is asked for.
	s := openStore(t, func(o *Options) { o.monitor, o.DescriptionCache, o.ContentCache = w.monitor(), -1, -1 })
	session(t, s)
	logins(t, s)
	w.check(t)
	for _, want := range []string{
		"find messages", "insert messages", "update messages", "delete messages", "aggregate messages", "findAndModify threads",
		"insert attachments.chunks", "find attachments.chunks", "findAndModify authlog", "find authlog",
	} {
		if w.seen[want] == 0 {
			t.Errorf("the session did not do %q: %v", want, w.seen)
		}
	}
}

// logins does all that is done with the log of logins.
func logins(t *testing.T, s *Store) {
	t.Helper()
	acct := mail.AccountID(bson.NewObjectID())
	id, err := s.LogAuthEvent(t.Context(), mail.AuthEvent{Account: acct, Action: mail.ActionAuthentication}, 1)
	must(t, err)
	_, err = s.AuthLogEntry(t.Context(), acct, id)
	must(t, err)
	_, err = s.AuthLog(t.Context(), acct, mail.AuthLogQuery{Limit: 1, After: id})
	must(t, err)
}

// session does what a user does in a day.
func session(t *testing.T, s store.Store) {
	t.Helper()
	ctx := t.Context()
	a, err := s.CreateAccount(ctx, store.NewAccount{
		Account: mail.Account{Username: "day"}, View: "day", Mailboxes: []mail.Mailbox{{Path: "INBOX"}, {Path: "Trash", SpecialUse: mail.UseTrash}},
	})
	must(t, err)
	inbox, err := s.MailboxByPath(ctx, a.ID, "INBOX")
	must(t, err)
	other, err := s.CreateMailbox(ctx, a.ID, mail.Mailbox{Path: "other"}, 0)
	must(t, err)
	for i := range 6 {
		deliver(t, s, a.ID, inbox.ID, i)
	}
	for _, q := range []store.FetchQuery{
		{}, {Fields: documentFields | store.FieldMeta}, {Order: store.ByUIDDescending, Limit: 2}, {Order: store.ByDate}, {Order: store.ByDateDescending, Limit: 2, Fields: store.FieldEnvelope},
		{UIDs: mail.UIDSetOf(1, 3)}, {ChangedSince: 3}, {UIDs: mail.UIDSetOf(1, 3), Order: store.ByDate},
	} {
		for row, err := range s.Fetch(ctx, a.ID, inbox.ID, q) {
			must(t, err)
			read(t, row.Open)
		}
	}
	read(t, func() (store.Body, error) { return s.Open(ctx, a.ID, inbox.ID, 1) })
	for _, mode := range []store.FlagMode{store.FlagsAdd, store.FlagsReplace, store.FlagsRemove} {
		_, err = s.UpdateFlags(ctx, a.ID, inbox.ID, store.FlagUpdate{UIDs: mail.AllUIDs(), Mode: mode, Flags: mail.NewFlags(mail.Seen, "work")})
		must(t, err)
	}
	_, err = s.Copy(ctx, a.ID, inbox.ID, other.ID, mail.UIDSetOf(1, 2), 0)
	must(t, err)
	_, err = s.Move(ctx, a.ID, inbox.ID, other.ID, mail.UIDSetOf(3))
	must(t, err)
	_, err = s.Expunge(ctx, a.ID, inbox.ID, mail.UIDSetOf(2, 5), false)
	must(t, err)
	_, err = s.UpdateFlags(ctx, a.ID, inbox.ID, store.FlagUpdate{UIDs: mail.OneUID(6), Flags: mail.NewFlags(mail.Deleted)})
	must(t, err)
	_, err = s.Expunge(ctx, a.ID, inbox.ID, mail.AllUIDs(), true)
	must(t, err)
	look(t, s, a.ID, inbox.ID)
	must(t, s.RenameMailboxes(ctx, a.ID, []store.Rename{{ID: other.ID, Path: "another"}}))
	must(t, s.DeleteMailbox(ctx, a.ID, other.ID, 0))
}

// look reads what there is about an account and a mailbox beside its messages.
func look(t *testing.T, s store.Store, acct mail.AccountID, mbox mail.MailboxID) {
	t.Helper()
	ctx := t.Context()
	set, err := s.Changes(ctx, acct, mbox, 0)
	must(t, err)
	_, err = s.Changes(ctx, acct, mbox, set.To-2)
	must(t, err)
	for _, err := range s.MayContain(ctx, acct, mbox, mail.AllUIDs(), [][]byte{[]byte("hello")}) {
		must(t, err)
	}
	for row, err := range s.Fetch(ctx, acct, mbox, store.FetchQuery{Limit: 1}) {
		must(t, err)
		for _, err := range s.Thread(ctx, acct, row.ThreadID) {
			must(t, err)
		}
	}
	_, err = s.ListMailboxes(ctx, acct)
	must(t, err)
	_, err = s.Counters(ctx, acct, mbox)
	must(t, err)
	_, err = s.Mailbox(ctx, acct, mbox)
	must(t, err)
	_, err = s.UpdateMailbox(ctx, acct, mbox, func(b *mail.Mailbox) error { b.Subscribed = !b.Subscribed; return nil })
	must(t, err)
	_, err = s.ReadJournal(ctx, acct, mail.JournalID{}, 100)
	must(t, err)
	_, err = s.JournalHead(ctx, acct)
	must(t, err)
}

// deliver appends a message with an attachment.
func deliver(t *testing.T, s store.Store, acct mail.AccountID, mbox mail.MailboxID, n int) {
	t.Helper()
	header := fmt.Sprintf("Subject: hello\r\nMessage-ID: <%d@x>\r\nContent-Type: application/octet-stream\r\n\r\n", n)
	raw := slices.Concat([]byte(header), bytes.Repeat([]byte{byte(n)}, 300_000))
	st, err := s.Stage(t.Context(), &store.Content{
		Source: bytes.NewReader(raw), Size: int64(len(raw)), Header: []byte(header), References: []string{fmt.Sprintf("%d@x", n%2)}, Subject: "hello",
		Leaves: []store.Leaf{{Start: int64(len(header)), End: int64(len(raw)), Type: "application/octet-stream", Attachment: true}},
	})
	must(t, err)
	_, err = s.Append(t.Context(), acct, mbox, []store.Append{{Staged: st, InternalDate: time.Unix(int64(n%3), 0)}})
	must(t, err)
	must(t, st.Close())
}

func read(t *testing.T, open func() (store.Body, error)) {
	t.Helper()
	b, err := open()
	must(t, err)
	var out bytes.Buffer
	must(t, b.WriteRange(&out, 0, b.Size()))
	must(t, b.Close())
}
