package storetest

import (
	"bytes"
	"fmt"
	"maps"
	"time"

	"github.com/google/go-cmp/cmp"

	"mallard/internal/mail"
	"mallard/internal/store"
)

func migrationCases() []caseFunc {
	return []caseFunc{
		{"Everything", migrateEverything},
		{"Again", migrateAgain},
		{"GoesOn", migrateGoesOn},
		{"Conversations", migrateConversations},
		{"Changes", migrateChanges},
		{"Shared", migrateShared},
		{"Refuses", migrateRefuses},
		{"Registry", migrateRegistry},
	}
}

// replica is a second store of the engine, which gets what the fixture's store has.
type replica struct {
	*fixture
	to   store.Store
	into store.Migration
}

// newReplica opens an empty store. Engines that cannot restore leave the case out.
func newReplica(f *fixture) *replica {
	f.Helper()
	if _, ok := f.s.(store.Migration); !ok {
		f.Skip("the engine does not take in what others hold")
	}
	disk := f.engine.New(f.T)
	s, err := disk.Open()
	f.must(err)
	r := &replica{fixture: f, to: s, into: s.(store.Migration)}
	f.Cleanup(func() {
		if f.engine.Check != nil {
			if err := f.engine.Check(f.ctx, r.to); err != nil {
				f.Errorf("check the copy: %v", err)
			}
		}
		f.must(r.to.Close())
	})
	return r
}

// account restores an account with its addresses.
func (r *replica) account(a *mail.Account) {
	r.Helper()
	r.must(r.into.RestoreAccount(r.ctx, *a, a.Username))
	page, err := r.s.ListAddresses(r.ctx, store.AddressQuery{Account: a.ID})
	r.must(err)
	for _, row := range page.Addresses {
		r.must(r.into.RestoreAddress(r.ctx, *row))
	}
}

// mailbox restores a mailbox with its messages.
func (r *replica) mailbox(acct mail.AccountID, b *mail.Mailbox) {
	r.Helper()
	r.must(r.into.RestoreMailbox(r.ctx, acct, *b))
	var in []store.Restored
	for row, err := range r.s.Fetch(r.ctx, acct, b.ID, store.FetchQuery{Fields: allFields}) {
		r.must(err)
		in = append(in, r.message(row, nil))
	}
	r.must(r.into.RestoreMessages(r.ctx, acct, b.ID, in))
	r.must(r.into.RestoreMailbox(r.ctx, acct, *b))
}

// message makes the message that a row tells of. Without a content it is made from what
// the row and its octets say.
func (r *replica) message(row *store.Row, c *store.Content) store.Restored {
	r.Helper()
	header := bytes.Clone(row.Header)
	if c == nil {
		body, err := row.Open()
		r.must(err)
		data, err := readBody(body)
		r.must(err)
		data = data[row.PrefixLen:]
		c = &store.Content{
			Source: bytes.NewReader(data), Size: int64(len(data)), Header: header[row.PrefixLen:],
			Envelope: row.Envelope, BodyStructure: row.BodyStructure, Tree: row.Tree, Summary: row.Summary,
		}
	}
	st, err := r.to.Stage(r.ctx, c)
	r.must(err)
	r.Cleanup(func() { _ = st.Close() })
	return store.Restored{
		UID: row.UID, ModSeq: row.ModSeq, ID: row.ID, EmailID: row.EmailID, ThreadID: row.ThreadID,
		Flags: row.Flags, InternalDate: row.InternalDate, SavedDate: row.SavedDate, Expires: row.Expires,
		MetaData: row.MetaData, Info: row.Info, Junk: row.Junk, Prefix: header[:row.PrefixLen], Staged: st,
	}
}

// copyAll restores everything.
func (r *replica) copyAll() {
	r.Helper()
	page, err := r.s.ListAccounts(r.ctx, store.AccountQuery{})
	r.must(err)
	for _, a := range page.Accounts {
		r.account(a)
		boxes, err := r.s.ListMailboxes(r.ctx, a.ID)
		r.must(err)
		for _, b := range boxes {
			r.mailbox(a.ID, b)
		}
		_, names, err := r.s.Subscriptions(r.ctx, a.ID)
		r.must(err)
		for _, n := range names {
			r.must(r.to.Subscribe(r.ctx, a.ID, n, true, 100))
		}
	}
}

// same compares both stores in every way but their journals.
func (r *replica) same() {
	r.Helper()
	want, err := dump(r.ctx, r.s)
	r.must(err)
	got, err := dump(r.ctx, r.to)
	r.must(err)
	want.Journal, got.Journal = nil, nil
	if d := cmp.Diff(want, got, rowOptions()); d != "" {
		r.Fatalf("the copy differs (-original +copy):\n%s", d)
	}
}

// lively fills mailboxes with all that messages can be: flags, copies that share their
// content, junk, gaps.
func (f *fixture) lively() (trash, junk mail.MailboxID) {
	f.Helper()
	f.rich(f.inbox)
	u := uidsOf(f.fill(f.inbox, 8, `\Seen`, "work"))
	f.append(f.inbox, note(77), store.Append{Prefix: []byte("X-Prefix: one\r\n"), MetaData: `{"a":1}`, Expires: testDate(9000)})
	b, err := f.s.CreateMailbox(f.ctx, f.acct, mail.Mailbox{Path: "Junk", SpecialUse: mail.UseJunk, Hidden: true, Retention: 1e15}, 0)
	f.must(err)
	trash, junk = f.path("Trash").ID, b.ID
	for _, to := range []mail.MailboxID{trash, junk, f.inbox} {
		_, err = f.s.Copy(f.ctx, f.acct, f.inbox, to, mail.UIDSetOf(u[0], u[1], u[2]), 0)
		f.must(err)
	}
	_, err = f.s.Move(f.ctx, f.acct, f.inbox, junk, mail.UIDSetOf(u[3], u[4]))
	f.must(err)
	f.expunge(f.inbox, u[0], u[6])
	f.update(f.inbox, store.FlagUpdate{UIDs: mail.OneUID(u[1]), Flags: f.flags(`\Deleted`, "Late")})
	f.mailbox("empty/below")
	f.must(f.s.Subscribe(f.ctx, f.acct, "not there", true, 100))
	f.must(f.s.Subscribe(f.ctx, f.acct, "empty", true, 100))
	return trash, junk
}

func migrateEverything(f *fixture) {
	f.lively()
	f.account("second", "INBOX")
	_, err := f.s.UpdateAccount(f.ctx, f.acct, func(a *mail.Account) error {
		a.Password, a.Tags, a.Quota, a.MetaData = "$hash$", []string{"a", "B"}, 12345, `{"x":[1]}`
		a.Targets = []mail.Target{{ID: mail.MessageID{1}, Type: "mail", Value: "x@example.net"}}
		a.FeatureFlags, a.TempPassword = map[string]bool{"f": true}, &mail.TempPassword{Hash: "h", Created: testDate(1)}
		return nil
	})
	f.must(err)
	_, err = f.s.CreateAddress(f.ctx, mail.Address{Address: "an.other@example.com", View: "another@example.com", Account: f.acct, Tags: []string{"t"}}, false)
	f.must(err)
	forward, err := f.s.CreateAddress(f.ctx, mail.Address{Address: "all@example.com", View: "all@example.com", Autoreply: `{"status":true}`}, false)
	f.must(err)
	r := newReplica(f)
	r.copyAll()
	r.must(r.into.RestoreAddress(f.ctx, *forward))
	r.same()
}

// Restoring again changes nothing, and follows what happened meanwhile.
func migrateAgain(f *fixture) {
	_, junk := f.lively()
	r := newReplica(f)
	r.copyAll()
	r.copyAll()
	r.same()

	before := f.uids(f.inbox, store.FetchQuery{})
	f.expunge(f.inbox, before[1], before[4])
	f.update(f.inbox, store.FlagUpdate{UIDs: mail.OneUID(before[2]), Mode: store.FlagsReplace, Flags: f.flags("another")})
	f.append(f.inbox, note(99), store.Append{})
	_, err := f.s.Move(f.ctx, f.acct, junk, f.inbox, mail.AllUIDs())
	f.must(err)
	f.must(f.s.RenameMailboxes(f.ctx, f.acct, []store.Rename{{ID: junk, Path: "Not Junk"}}))
	_, err = f.s.UpdateAccount(f.ctx, f.acct, func(a *mail.Account) error {
		a.Name = "Another Name"
		return nil
	})
	f.must(err)
	r.must(r.into.RemoveRestored(f.ctx, f.acct, f.inbox, mail.UIDSetOf(before[1], before[4])))
	r.must(r.into.RemoveRestored(f.ctx, f.acct, junk, mail.AllUIDs()))
	r.copyAll()
	r.same()

	// A UID that is another message now.
	row := f.row(f.inbox, f.uids(f.inbox, store.FetchQuery{})[0])
	st, err := r.to.Stage(f.ctx, note(1234))
	f.must(err)
	f.must(r.into.RestoreMessages(f.ctx, f.acct, f.inbox, []store.Restored{{
		UID: row.UID, ModSeq: 1, ID: mail.MessageID{1}, EmailID: mail.EmailID{2}, ThreadID: mail.ThreadID{3}, InternalDate: testDate(5), Staged: st,
	}}))
	f.must(st.Close())
	changed, err := readRows(f.ctx, r.to, f.acct, f.inbox, store.FetchQuery{UIDs: mail.OneUID(row.UID), Fields: allFields})
	f.must(err)
	if len(changed) != 1 || changed[0].ID != (mail.MessageID{1}) || changed[0].Size != note(1234).Size || changed[0].ThreadID != (mail.ThreadID{3}) {
		f.Errorf("the message that replaces another one is %+v", changed)
	}
	r.copyAll()
	r.same()
	// A message that kept its id when it came into another mailbox.
	for _, saved := range []time.Time{row.SavedDate.Add(time.Hour), row.SavedDate} {
		row.SavedDate = saved
		f.must(r.into.RestoreMessages(f.ctx, f.acct, f.inbox, []store.Restored{{
			UID: row.UID, ModSeq: row.ModSeq, ID: row.ID, EmailID: row.EmailID, ThreadID: row.ThreadID, Flags: row.Flags,
			InternalDate: row.InternalDate, SavedDate: row.SavedDate, Expires: row.Expires, MetaData: row.MetaData, Info: row.Info, Junk: row.Junk,
		}}))
		got, err := readRows(f.ctx, r.to, f.acct, f.inbox, store.FetchQuery{UIDs: mail.OneUID(row.UID), Fields: store.FieldMeta})
		f.must(err)
		if len(got) != 1 || !got[0].SavedDate.Equal(saved) {
			f.Errorf("the saved date is %v, restored was %s", got, saved)
		}
	}
	// Without its content only what changes is restored.
	row.Flags, row.ModSeq, row.MetaData = f.flags("only"), row.ModSeq+5, `{"b":2}`
	f.must(r.into.RestoreMessages(f.ctx, f.acct, f.inbox, []store.Restored{{
		UID: row.UID, ModSeq: row.ModSeq, ID: row.ID, EmailID: row.EmailID, ThreadID: row.ThreadID, Flags: row.Flags,
		InternalDate: row.InternalDate, SavedDate: row.SavedDate, Expires: row.Expires, MetaData: row.MetaData, Info: row.Info, Junk: row.Junk,
	}}))
	got, err := readRows(f.ctx, r.to, f.acct, f.inbox, store.FetchQuery{UIDs: mail.OneUID(row.UID), Fields: allFields})
	f.must(err)
	if d := cmp.Diff([]store.Row{row}, got, rowOptions()); d != "" {
		f.Errorf("restored without content (-want +got):\n%s", d)
	}
	r.copyAll()
	r.same()
}

// The copy goes on where the original was: no number comes twice.
func migrateGoesOn(f *fixture) {
	f.lively()
	last := f.append(f.inbox, note(5), store.Append{})
	f.expunge(f.inbox, last.UID)
	inbox := f.box(f.inbox)
	var newest mail.UIDValidity
	boxes, err := f.s.ListMailboxes(f.ctx, f.acct)
	f.must(err)
	for _, b := range boxes {
		newest = max(newest, b.UIDValidity)
	}
	r := newReplica(f)
	r.copyAll()
	was := f.s
	f.s = r.to // the fixture's methods go to the copy
	defer func() { f.s = was }()
	out := f.append(f.inbox, note(6), store.Append{})
	if out.UID != inbox.UIDNext || out.ModSeq <= inbox.HighestModSeq || out.UIDValidity != inbox.UIDValidity {
		f.Errorf("appended as %+v to a mailbox with UIDNEXT %d and HIGHESTMODSEQ %d", out, inbox.UIDNext, inbox.HighestModSeq)
	}
	if b := f.mailbox("new"); b.UIDValidity <= newest {
		f.Errorf("a new mailbox has UIDVALIDITY %d, the newest of the original %d", b.UIDValidity, newest)
	}
	res := f.update(f.inbox, store.FlagUpdate{UIDs: mail.AllUIDs(), Flags: f.flags("k")})
	if res.ModSeq <= out.ModSeq || len(res.Changed) == 0 {
		f.Errorf("flags changed at %d after %d", res.ModSeq, out.ModSeq)
	}
	fo := newFollower()
	f.follow(fo, f.inbox)
	if head, err := f.s.JournalHead(f.ctx, f.acct); err != nil || head.IsZero() {
		f.Errorf("the journal's head is %v (%v)", head, err)
	}
	used := f.used()
	before, after, err := f.s.RecountQuota(f.ctx, f.acct)
	if err != nil || before != after || used != after {
		f.Errorf("quota %d counted anew: %d, before %d (%v)", used, after, before, err)
	}
}

// An answer finds the conversation of a message that was restored.
func migrateConversations(f *fixture) {
	c := thread("plans", "1@x", "0@x")
	root := f.append(f.inbox, c, store.Append{})
	r := newReplica(f)
	a, err := f.s.Account(f.ctx, f.acct)
	f.must(err)
	r.account(a)
	b := f.box(f.inbox)
	r.must(r.into.RestoreMailbox(f.ctx, f.acct, *b))
	for row, err := range f.s.Fetch(f.ctx, f.acct, f.inbox, store.FetchQuery{Fields: allFields}) {
		f.must(err)
		r.must(r.into.RestoreMessages(f.ctx, f.acct, f.inbox, []store.Restored{r.message(row, c)}))
	}
	r.must(r.into.RestoreMailbox(f.ctx, f.acct, *b))
	was := f.s
	f.s = r.to
	defer func() { f.s = was }()
	if got := f.append(f.inbox, thread("plans", "2@x", "1@x"), store.Append{}).ThreadID; got != root.ThreadID {
		f.Errorf("the answer has thread %v, the restored message %v", got, root.ThreadID)
	}
	n := 0
	for m, err := range f.s.Thread(f.ctx, f.acct, root.ThreadID) {
		f.must(err)
		if m.Mailbox == f.inbox {
			n++
		}
	}
	if n != 2 {
		f.Errorf("the conversation has %d messages, not 2", n)
	}
}

// Clients that knew the original are told by the copy what they have missed.
func migrateChanges(f *fixture) {
	u := uidsOf(f.fill(f.inbox, 10))
	fo := newFollower()
	f.follow(fo, f.inbox)
	f.expunge(f.inbox, u[2], u[7], u[9])
	f.update(f.inbox, store.FlagUpdate{UIDs: mail.OneUID(u[4]), Flags: f.flags("x")})
	f.fill(f.inbox, 2)
	r := newReplica(f)
	r.copyAll()
	was := f.s
	f.s = r.to
	defer func() { f.s = was }()
	f.follow(fo, f.inbox)
	f.expunge(f.inbox, u[5])
	f.follow(fo, f.inbox)
	if got := fo.differs(f.rows(f.inbox, store.FetchQuery{})); got != "" {
		f.Error(got)
	}
}

// Copies share their content, and none takes it from another.
func migrateShared(f *fixture) {
	f.lively()
	r := newReplica(f)
	r.copyAll()
	was := f.s
	f.s = r.to
	defer func() { f.s = was }()
	boxes, err := f.s.ListMailboxes(f.ctx, f.acct)
	f.must(err)
	for _, b := range boxes {
		for {
			rows := f.rows(b.ID, store.FetchQuery{}) // maintenance takes those that have expired
			if len(rows) == 0 {
				break
			}
			row := rows[0]
			want := f.content(b.ID, row.UID)
			f.expunge(b.ID, row.UID)
			f.maintain()
			for _, other := range boxes {
				for _, o := range f.rows(other.ID, store.FetchQuery{}) {
					if o.EmailID == row.EmailID && !bytes.Equal(f.content(other.ID, o.UID), want) {
						f.Fatalf("the content of %s went with that of UID %d", row.EmailID, row.UID)
					}
				}
			}
		}
	}
	if used := f.used(); used != 0 {
		f.Errorf("StorageUsed is %d with nothing left", used)
	}
}

func migrateRefuses(f *fixture) {
	r := newReplica(f)
	r.copyAll()
	ctx, nobody := f.ctx, mail.AccountID{9}
	a, err := f.s.Account(ctx, f.acct)
	f.must(err)
	other := *a
	other.ID = nobody
	f.wants("username taken", r.into.RestoreAccount(ctx, other, a.Username), mail.CodeExists)
	f.wants("address taken", r.into.RestoreAddress(ctx, mail.Address{ID: mail.AddressID{9}, Address: "x", View: a.Address}), mail.CodeExists)
	f.wants("address of nobody", r.into.RestoreAddress(ctx, mail.Address{ID: mail.AddressID{9}, Address: "y@x", View: "y@x", Account: nobody}), mail.CodeNoAccount)
	box := *f.box(f.inbox)
	f.wants("mailbox of nobody", r.into.RestoreMailbox(ctx, nobody, box), mail.CodeNoAccount)
	box.ID = mail.MailboxID{9}
	f.wants("path taken", r.into.RestoreMailbox(ctx, f.acct, box), mail.CodeExists)
	st, err := r.to.Stage(ctx, note(1))
	f.must(err)
	one := store.Restored{UID: 1, ModSeq: 3, ID: mail.MessageID{1}, EmailID: mail.EmailID{1}, ThreadID: mail.ThreadID{1}, Staged: st}
	f.wants("no such mailbox", r.into.RestoreMessages(ctx, f.acct, mail.MailboxID{9}, []store.Restored{one}), mail.CodeNoMailbox)
	f.wants("mailbox of nobody", r.into.RestoreMessages(ctx, nobody, f.inbox, []store.Restored{one}), mail.CodeNoMailbox)
	f.wants("nothing to remove from", r.into.RemoveRestored(ctx, f.acct, mail.MailboxID{9}, mail.AllUIDs()), mail.CodeNoMailbox)
	two := one
	two.UID, two.ID, two.EmailID, two.Staged = 2, mail.MessageID{2}, mail.EmailID{2}, nil
	f.wants("nothing staged", r.into.RestoreMessages(ctx, f.acct, f.inbox, []store.Restored{one, two}), mail.CodeInvalid)
	f.must(st.Close())
	f.wants("closed", r.into.RestoreMessages(ctx, f.acct, f.inbox, []store.Restored{one}), mail.CodeInvalid)
	r.same() // nothing of it happened
}

func migrateRegistry(f *fixture) {
	r := newReplica(f)
	want := map[string]string{}
	for i, kind := range []string{"token", "secret", "tok"} {
		for j := range 3 {
			key, value := fmt.Sprintf("k%d\x00", j), fmt.Sprintf("%d %d", i, j)
			f.must(r.to.PutRecord(f.ctx, kind, key, []byte(value)))
			want[kind+" "+key] = value
		}
	}
	got := map[string]string{}
	f.must(r.into.EachRecord(f.ctx, func(kind, key string, value []byte) error {
		got[kind+" "+key] = string(value)
		return nil
	}))
	if !maps.Equal(got, want) {
		f.Errorf("records %q, want %q", got, want)
	}
	failed := fmt.Errorf("enough")
	if err := r.into.EachRecord(f.ctx, func(string, string, []byte) error { return failed }); err != failed {
		f.Errorf("error %v", err)
	}
	f.must(r.to.SetDomainAlias(f.ctx, "a.example", "b.example"))
	f.must(r.to.SetDomainAlias(f.ctx, "c.example", "b.example"))
	aliases, err := r.into.DomainAliases(f.ctx)
	if err != nil || !maps.Equal(aliases, map[string]string{"a.example": "b.example", "c.example": "b.example"}) {
		f.Errorf("aliases %v (%v)", aliases, err)
	}
}
