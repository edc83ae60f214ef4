package storetest

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"mallard/internal/mail"
	"mallard/internal/store"
)

func subscriptionCases() []caseFunc {
	return []caseFunc{
		{"Mailbox", subscribeMailbox},
		{"Name", subscribeName},
		{"Delete", subscriptionDelete},
		{"Taken", subscriptionTaken},
		{"Rename", subscriptionRename},
		{"Limit", subscriptionLimit},
		{"Accounts", subscriptionAccounts},
		{"Restored", subscriptionRestored},
	}
}

// manyNames is a limit that no case reaches.
const manyNames = 1 << 16

// names fails the test when other paths are subscribed without a mailbox.
func (f *fixture) names(want ...string) {
	f.Helper()
	_, names, err := f.s.Subscriptions(f.ctx, f.acct)
	f.must(err)
	slices.Sort(want)
	if !slices.Equal(names, want) {
		f.Errorf("without a mailbox %q are subscribed, want %q", names, want)
	}
}

// subscribed fails the test when the mailbox with a path is not subscribed, or is.
func (f *fixture) subscribed(path string, want bool) {
	f.Helper()
	if b := f.path(path); b.Subscribed != want {
		f.Errorf("mailbox %s: subscribed %v, want %v", path, b.Subscribed, want)
	}
}

// subscribe subscribes paths, or ends that.
func (f *fixture) subscribe(on bool, paths ...string) {
	f.Helper()
	for _, p := range paths {
		if err := f.s.Subscribe(f.ctx, f.acct, p, on, manyNames); err != nil {
			f.Fatalf("subscribe %s %v: %v", p, on, err)
		}
	}
}

func (f *fixture) delete(path string, names int) {
	f.Helper()
	if err := f.s.DeleteMailbox(f.ctx, f.acct, f.path(path).ID, names); err != nil {
		f.Fatalf("delete mailbox %s: %v", path, err)
	}
}

// The subscription of a mailbox is a field of it, whatever the limit of names.
func subscribeMailbox(f *fixture) {
	f.mailbox("a/b")
	for _, on := range []bool{false, false, true, true, false} {
		f.must(f.s.Subscribe(f.ctx, f.acct, "a/b", on, 0))
		f.subscribed("a/b", on)
		boxes, names, err := f.s.Subscriptions(f.ctx, f.acct)
		f.must(err)
		if len(boxes) != 3 || boxes[2].Path != "a/b" || boxes[2].Subscribed != on || len(names) > 0 {
			f.Errorf("subscribed %v: mailboxes %v, names %q", on, boxes, names)
		}
	}
	f.paths("INBOX", "Trash", "a/b")
}

// A path is subscribed without a mailbox, once, and in any spelling of its own.
func subscribeName(f *fixture) {
	all := []string{"A", "a", "a b", "a/b", "b%*", "ä/日本語", strings.Repeat("long/", 100) + "x"}
	f.subscribe(true, all...)
	f.subscribe(true, all...)
	f.names(slices.Clone(all)...)
	f.paths("INBOX", "Trash")
	f.subscribe(false, "a", "not there", "a/")
	f.subscribe(false, "a", "ä/日本語")
	f.names("A", "a b", "a/b", "b%*", all[6])
	f.subscribe(false, all...)
	f.names()
}

// The name of a subscribed mailbox outlives it (RFC 3501, 6.3.9), unless that is not wanted.
func subscriptionDelete(f *fixture) {
	for _, p := range []string{"kept", "ended", "not"} {
		f.mailbox(p)
	}
	f.subscribe(false, "not")
	f.delete("kept", manyNames)
	f.delete("ended", 0)
	f.delete("not", manyNames)
	f.names("kept")
	f.paths("INBOX", "Trash")
	for range 3 { // the same name again and again
		f.mailbox("kept")
		f.names()
		f.delete("kept", manyNames)
		f.names("kept")
	}
	f.mailbox("kept")
	f.delete("kept", 0)
	f.names()
}

// A mailbox that is created with a subscribed name is subscribed, and the name is its own.
func subscriptionTaken(f *fixture) {
	f.subscribe(true, "a", "b")
	in := mail.Mailbox{Path: "a"}
	b, err := f.s.CreateMailbox(f.ctx, f.acct, in, 0)
	f.must(err)
	if !b.Subscribed {
		f.Error("the mailbox is created without its subscription")
	}
	f.subscribed("a", true)
	f.names("b")
	f.subscribe(false, "a")
	f.subscribed("a", false)
	f.delete("a", manyNames) // ended before it was deleted
	f.names("b")
	b, err = f.s.CreateMailbox(f.ctx, f.acct, in, 0)
	f.must(err)
	if b.Subscribed {
		f.Error("a mailbox is subscribed by a name whose subscription has ended")
	}
	_, err = f.s.CreateMailbox(f.ctx, f.acct, mail.Mailbox{Path: "b"}, 4)
	f.must(err)
	f.delete("b", manyNames)
	_, err = f.s.CreateMailbox(f.ctx, f.acct, mail.Mailbox{Path: "b"}, 3)
	f.wants("one mailbox too many", err, mail.CodeLimit)
	f.names("b")
}

// A mailbox takes its subscription along, and gets that of its new name.
func subscriptionRename(f *fixture) {
	f.mailbox("yes")
	f.mailbox("no")
	f.subscribe(false, "no")
	f.subscribe(true, "name", "other", "third")
	rename := func(pairs ...string) {
		f.Helper()
		var renames []store.Rename
		for i := 0; i < len(pairs); i += 2 {
			renames = append(renames, store.Rename{ID: f.path(pairs[i]).ID, Path: pairs[i+1]})
		}
		f.must(f.s.RenameMailboxes(f.ctx, f.acct, renames))
	}
	rename("yes", "moved")
	f.subscribed("moved", true)
	f.names("name", "other", "third")
	rename("no", "name")
	f.subscribed("name", true)
	f.names("other", "third")
	f.subscribe(false, "name")
	rename("moved", "name", "name", "moved") // they change places
	f.subscribed("name", true)
	f.subscribed("moved", false)
	rename("moved", "other", "name", "third") // several at a time, to names that are subscribed
	f.subscribed("other", true)
	f.subscribed("third", true)
	f.names()
	err := f.s.RenameMailboxes(f.ctx, f.acct, []store.Rename{{ID: f.path("other").ID, Path: "third"}})
	f.wants("to a name that is taken", err, mail.CodeExists)
	f.names()
	f.delete("third", manyNames)
	rename("other", "elsewhere")
	f.names("third")
	f.subscribed("elsewhere", true)
}

// The octets of all names without a mailbox are limited.
func subscriptionLimit(f *fixture) {
	limit := func(path string, octets int) error { return f.s.Subscribe(f.ctx, f.acct, path, true, octets) }
	f.wants("nothing has room", limit("a", 0), mail.CodeLimit)
	f.must(limit("aaaa", 4))
	f.wants("a second one", limit("b", 4), mail.CodeLimit)
	f.must(limit("aaaa", 4)) // is there
	f.must(limit("aaaa", 0))
	f.must(limit("bb", 6))
	f.mailbox("ccc")
	f.mailbox("cccc")
	f.must(limit("ccc", 0)) // a mailbox takes no room
	f.delete("ccc", 8)      // no room: it ends
	f.names("aaaa", "bb")
	f.delete("cccc", 10)
	f.names("aaaa", "bb", "cccc")
	f.subscribe(false, "aaaa")
	f.wants("there is less room than that", limit("ddddd", 10), mail.CodeLimit)
	f.must(limit("ää", 10)) // four octets
	f.names("bb", "cccc", "ää")
	f.mailbox("cccc") // takes its name with it
	f.must(limit("dddd", 10))
	f.names("bb", "dddd", "ää")
}

// Names belong to one account, and go with it.
func subscriptionAccounts(f *fixture) {
	first := f.acct
	f.subscribe(true, "mine")
	second := f.account("second", "INBOX").ID
	f.acct = second
	f.names()
	f.subscribe(true, "theirs")
	f.acct = first
	f.names("mine")
	f.wants("subscribe for nobody", f.s.Subscribe(f.ctx, mail.AccountID{9}, "x", true, manyNames), mail.CodeNoAccount)
	f.wants("unsubscribe for nobody", f.s.Subscribe(f.ctx, mail.AccountID{9}, "x", false, manyNames), mail.CodeNoAccount)
	_, _, err := f.s.Subscriptions(f.ctx, mail.AccountID{9})
	f.wants("subscriptions of nobody", err, mail.CodeNoAccount)
	f.must(f.s.DeleteAccount(f.ctx, first, time.Time{}))
	_, _, err = f.s.Subscriptions(f.ctx, first)
	f.wants("subscriptions of an account that is gone", err, mail.CodeNoAccount)
	f.wants("subscribe for it", f.s.Subscribe(f.ctx, first, "x", true, manyNames), mail.CodeNoAccount)
	f.maintain()
	f.acct = second
	f.names("theirs")
	f.acct = f.account("user", "INBOX").ID // the old name, another account
	f.names()
}

// A mailbox is restored as subscribed as it was, whatever name it takes.
func subscriptionRestored(f *fixture) {
	r := newReplica(f)
	r.copyAll()
	f.s, r.to = r.to, f.s
	defer func() { f.s, r.to = r.to, f.s }()
	f.subscribe(true, "new")
	b := *f.box(f.inbox)
	b.ID, b.Path, b.Subscribed, b.UIDValidity = mail.MailboxID{7}, "new", false, b.UIDValidity+50
	f.must(r.into.RestoreMailbox(f.ctx, f.acct, b))
	f.names()
	f.subscribed("new", false)
	f.delete("new", manyNames)
	f.names()
}

// Changes that are made at the same time end as if one of them had come after the other.
func concurrentSubscriptions(f *fixture) {
	subscribe := func(path string, on bool) func() error {
		return func() error { return f.s.Subscribe(f.ctx, f.acct, path, on, manyNames) }
	}
	deletes := func(id mail.MailboxID) func() error {
		return func() error {
			err := f.s.DeleteMailbox(f.ctx, f.acct, id, manyNames)
			if err != nil && mail.CodeOf(err) == mail.CodeNoMailbox {
				return nil // two deleted it
			}
			return err
		}
	}
	renames := func(id mail.MailboxID, to string) func() error {
		return func() error {
			err := f.s.RenameMailboxes(f.ctx, f.acct, []store.Rename{{ID: id, Path: to}})
			if err != nil && mail.CodeOf(err) == mail.CodeNoMailbox {
				return nil // it was deleted before
			}
			return err
		}
	}
	for _, race := range []struct {
		name       string
		subscribed bool // the mailbox at first
		run        func(id mail.MailboxID, path string) []func() error
		want       func(path string) []string // one of these
	}{
		{"unsubscribe and delete", true, func(id mail.MailboxID, path string) []func() error {
			return []func() error{subscribe(path, false), deletes(id)}
		}, func(string) []string { return []string{""} }},
		{"subscribe and delete", false, func(id mail.MailboxID, path string) []func() error {
			return []func() error{subscribe(path, true), deletes(id)}
		}, func(path string) []string { return []string{"name " + path} }},
		{"delete twice", true, func(id mail.MailboxID, _ string) []func() error {
			return []func() error{deletes(id), deletes(id)}
		}, func(path string) []string { return []string{"name " + path} }},
		{"rename and delete", true, func(id mail.MailboxID, path string) []func() error {
			return []func() error{renames(id, path+"-to"), deletes(id)}
		}, func(path string) []string { return []string{"name " + path, "name " + path + "-to"} }},
		{"rename and subscribe the new name", false, func(id mail.MailboxID, path string) []func() error {
			return []func() error{renames(id, path+"-to"), subscribe(path+"-to", true)}
		}, func(path string) []string { return []string{"mailbox " + path + "-to"} }},
		{"rename and unsubscribe the new name", true, func(id mail.MailboxID, path string) []func() error {
			return []func() error{renames(id, path+"-to"), subscribe(path+"-to", false)}
		}, func(path string) []string { return []string{"mailbox " + path + "-to", ""} }},
		{"subscribe twice and unsubscribe another", false, func(_ mail.MailboxID, path string) []func() error {
			return []func() error{subscribe(path, true), subscribe(path, true), subscribe(path+"-other", false)}
		}, func(path string) []string { return []string{"mailbox " + path} }},
	} {
		for n := range scale(5, 15, 200) {
			path := fmt.Sprintf("%s %d", race.name, n)
			b := f.mailbox(path)
			f.subscribe(race.subscribed, path)
			steps := race.run(b.ID, path)
			f.parallel(len(steps), func(i int) error { return steps[i]() })
			boxes, names, err := f.s.Subscriptions(f.ctx, f.acct)
			f.must(err)
			var got []string
			for _, b := range boxes {
				if strings.HasPrefix(b.Path, race.name) && b.Subscribed {
					got = append(got, "mailbox "+b.Path)
				}
			}
			for _, n := range names {
				got = append(got, "name "+n)
			}
			if all := strings.Join(got, ", "); !slices.Contains(race.want(path), all) {
				f.Fatalf("after %s subscribed are %q, want one of %q", race.name, all, race.want(path))
			}
			for _, b := range boxes {
				if strings.HasPrefix(b.Path, race.name) {
					f.must(f.s.DeleteMailbox(f.ctx, f.acct, b.ID, 0))
				}
			}
			f.subscribe(false, names...)
		}
	}
}

// What is subscribed all the time is told in one of the two lists, while its mailbox comes
// and goes, and in no more than one.
func concurrentListing(f *fixture) {
	f.subscribe(true, "x")
	done := make(chan struct{})
	f.parallel(4, func(i int) error {
		if i == 0 {
			defer close(done)
			for range scale(10, 30, 500) {
				b, err := f.s.CreateMailbox(f.ctx, f.acct, mail.Mailbox{Path: "x"}, 0)
				if err != nil {
					return err
				}
				if err := f.s.DeleteMailbox(f.ctx, f.acct, b.ID, manyNames); err != nil {
					return err
				}
			}
			return nil
		}
		for {
			select {
			case <-done:
				return nil
			default:
			}
			boxes, names, err := f.s.Subscriptions(f.ctx, f.acct)
			if err != nil {
				return err
			}
			there := slices.ContainsFunc(boxes, func(b *mail.Mailbox) bool { return b.Path == "x" && b.Subscribed })
			if named := slices.Contains(names, "x"); there == named {
				return fmt.Errorf("x is subscribed as a mailbox: %v, and as a name without one: %v", there, named)
			}
		}
	})
	f.names("x")
}
