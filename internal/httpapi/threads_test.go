package httpapi

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"testing"

	"mallard/internal/mail"
	"mallard/internal/store"
)

// countingMailboxes counts the rows that are read.
type countingMailboxes struct {
	Mailboxes
	rows int
}

func (c *countingMailboxes) Fetch(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID, q store.FetchQuery) iter.Seq2[*store.Row, error] {
	return func(yield func(*store.Row, error) bool) {
		for row, err := range c.Mailboxes.Fetch(ctx, acct, mbox, q) {
			c.rows++
			if !yield(row, err) {
				return
			}
		}
	}
}

type threadItem struct {
	ID                 int
	MessageID          string
	ThreadMessageCount int
	HasDrafts          bool
}

func (w *world) threadList(path string) map[string]threadItem {
	w.t.Helper()
	r := w.call("GET", path, "")
	var page struct{ Results []threadItem }
	if err := json.Unmarshal([]byte(r.body), &page); err != nil || r.status != 200 {
		w.t.Fatalf("%s: %d %s", path, r.status, r.body)
	}
	out := map[string]threadItem{}
	for _, m := range page.Results {
		out[m.MessageID] = m
	}
	return out
}

// Messages of a conversation are counted in all mailboxes, and drafts are found: in
// the conversation, and among the drafts whatever their subject.
func TestThreadsOfLists(t *testing.T) {
	w := newWorld(t)
	ann, inbox := w.user("ann")
	ctx := context.Background()
	lookup := func(name string) mail.MailboxID {
		box, err := w.mailboxes.Lookup(ctx, ann.ID, name)
		must(t, err)
		return box.ID
	}
	trash, drafts := lookup("Trash"), lookup("Drafts")
	letter := func(mbox mail.MailboxID, id, subject, reply string, flags mail.SystemFlags) {
		text := fmt.Sprintf("Message-ID: <%s@x.test>\r\nSubject: %s\r\n", id, subject)
		if reply != "" {
			text += fmt.Sprintf("In-Reply-To: <%s@x.test>\r\nReferences: <%s@x.test>\r\n", reply, reply)
		}
		out := w.put(ann.ID, mbox, text+"\r\ntext\r\n", "")
		if flags != 0 {
			_, err := w.mailboxes.UpdateFlags(ctx, ann.ID, mbox, store.FlagUpdate{UIDs: mail.OneUID(out.UID), Flags: mail.NewFlags(flags)})
			must(t, err)
		}
	}
	letter(inbox, "one", "Plan", "", 0)
	letter(inbox, "two", "Lunch", "", 0)
	letter(inbox, "three", "Alone", "", 0)
	letter(inbox, "four", "Invoice", "", 0)
	letter(trash, "one-a", "Re: Plan", "one", 0)
	letter(trash, "one-b", "Re: Plan", "one", mail.Draft)
	letter(drafts, "two-a", "Another subject", "two", mail.Draft)
	letter(drafts, "four-a", "Re: Invoice", "four", 0) // sent, not a draft any more

	list := "/users/" + ann.ID.String() + "/mailboxes/" + inbox.String() + "/messages?threadCounters=1&includeHasDrafts=1"
	want := map[string]threadItem{
		"<one@x.test>":   {1, "<one@x.test>", 3, true},
		"<two@x.test>":   {2, "<two@x.test>", 1, true},
		"<three@x.test>": {3, "<three@x.test>", 1, false},
		"<four@x.test>":  {4, "<four@x.test>", 2, false},
	}
	got := w.threadList(list)
	for id, m := range want {
		if got[id] != m {
			t.Errorf("%s is %+v, want %+v", id, got[id], m)
		}
	}
	// Of collapsed conversations it counts what is in them.
	collapsed := w.threadList(list + "&collapseThreads=1")
	for id, has := range map[string]bool{"<one@x.test>": true, "<two@x.test>": false, "<four@x.test>": false} {
		if m, there := collapsed[id]; !there || m.HasDrafts != has {
			t.Errorf("collapsed: %s is %+v, want drafts %v", id, m, has)
		}
	}
	if r := w.call("DELETE", "/users/"+ann.ID.String()+"/mailboxes/"+trash.String()+"/messages", ""); r.status != 200 {
		t.Fatal(r.body)
	}
	if m := w.threadList(list)["<one@x.test>"]; m.ThreadMessageCount != 1 || m.HasDrafts {
		t.Errorf("after the others were deleted: %+v", m)
	}
}

// A page costs what is on it, not what is in the mailboxes.
func TestPagesReadWhatTheyShow(t *testing.T) {
	w := newWorld(t)
	ann, inbox := w.user("ann")
	for i := range 300 {
		w.put(ann.ID, inbox, fmt.Sprintf("Message-ID: <%d@x.test>\r\nSubject: %d\r\n\r\ny\r\n", i, i), "")
	}
	count := &countingMailboxes{Mailboxes: w.api.opt.Mailboxes}
	w.api.opt.Mailboxes = count
	list := "/users/" + ann.ID.String() + "/mailboxes/" + inbox.String() + "/messages?limit=5"
	for _, query := range []string{"", "&threadCounters=1", "&includeHasDrafts=1&threadCounters=1", "&order=asc", "&includeHeaders=1&metaData=1"} {
		count.rows = 0
		if r := w.call("GET", list+query, ""); r.status != 200 {
			t.Fatal(r.body)
		}
		if count.rows > 12 {
			t.Errorf("%q reads %d messages to show 5", query, count.rows)
		}
	}
}
