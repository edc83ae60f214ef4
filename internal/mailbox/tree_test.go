package mailbox

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"mallard/internal/mail"
	"mallard/internal/store"
	"mallard/internal/store/memstore"
)

// paths are the mailboxes by path.
func (f *fixture) paths(t failer) map[string]mail.MailboxID {
	boxes, err := f.List(context.Background(), f.acct)
	if err != nil {
		t.Fatalf("list: %v", err)
	}
	out := map[string]mail.MailboxID{}
	for _, b := range boxes {
		out[b.Path] = b.ID
	}
	return out
}

func TestCreate(t *testing.T) {
	f := newFixture(t, memstore.Options{}, nil)
	f.maxMailboxes = 7 // two are there
	for _, tc := range []struct {
		path    string
		parents bool
		code    mail.Code
		want    string // of all paths afterwards but the first two
	}{
		{path: "", code: mail.CodeInvalid},
		{path: "inbox", code: mail.CodeExists},
		{path: "a//b", parents: true, code: mail.CodeInvalid},
		{path: "a\nb", parents: true, code: mail.CodeInvalid},
		{path: "a\xffb", parents: true, code: mail.CodeInvalid},
		{path: strings.Repeat("a/", mail.MaxNameDepth) + "a", parents: true, code: mail.CodeLimit},
		{path: strings.Repeat("a", mail.MaxNameLen+1), code: mail.CodeLimit},
		{path: "/a/b/c/", parents: true, want: "a a/b a/b/c"},
		{path: "a/b", parents: true, code: mail.CodeExists, want: "a a/b a/b/c"},
		{path: "x/y", want: "a a/b a/b/c x/y"},
		{path: "x/y", parents: true, code: mail.CodeExists, want: "a a/b a/b/c x/y"},
		{path: "inbox/sub", parents: true, want: "INBOX/sub a a/b a/b/c x/y"},
		{path: "one/more", parents: true, code: mail.CodeLimit, want: "INBOX/sub a a/b a/b/c x/y"},
	} {
		_, err := f.Create(t.Context(), f.acct, mail.Mailbox{Path: tc.path, Retention: time.Hour}, tc.parents)
		if (err == nil) != (tc.code == mail.CodeInternal) || err != nil && mail.CodeOf(err) != tc.code {
			t.Errorf("create %.40q: %v, want %v", tc.path, err, tc.code)
		}
		paths := f.paths(t)
		delete(paths, mail.Inbox)
		delete(paths, "Other")
		if got := strings.Join(slices.Sorted(maps.Keys(paths)), " "); got != tc.want {
			t.Errorf("create %.40q: there are %q, want %q", tc.path, got, tc.want)
		}
	}
	if b, err := f.Lookup(t.Context(), f.acct, "A"); mail.CodeOf(err) != mail.CodeNoMailbox {
		t.Errorf("names are case-sensitive: %v %v", b, err)
	}
	b, err := f.Lookup(t.Context(), f.acct, "a")
	if err != nil || b.Retention != time.Hour {
		t.Errorf("parent: %+v %v, want the retention of what it was made for", b, err)
	}
}

func TestRename(t *testing.T) {
	for name, tc := range map[string]struct {
		from, to  string
		inferiors bool
		code      mail.Code
		want      string // all paths, "x=y" for y that was x; "" for no change
	}{
		"leaf":                 {from: "a/b/c", to: "z", inferiors: true, want: "a a/b z=a/b/c ab d"},
		"tree":                 {from: "a", to: "z", inferiors: true, want: "z=a z/b=a/b z/b/c=a/b/c ab d"},
		"one level":            {from: "a", to: "z", want: "z=a a/b a/b/c ab d"},
		"new superiors":        {from: "a/b", to: "n/m/o", inferiors: true, want: "a n n/m n/m/o=a/b n/m/o/c=a/b/c ab d"},
		"up in its own branch": {from: "a/b/c", to: "a/c", inferiors: true, want: "a a/b a/c=a/b/c ab d"},
		"taken":                {from: "a", to: "d", inferiors: true, code: mail.CodeExists},
		"taken below missing":  {from: "a", to: "q/r", inferiors: true, code: mail.CodeExists},
		"itself":               {from: "a", to: "a", inferiors: true, code: mail.CodeExists},
		"below itself":         {from: "a", to: "a/x", inferiors: true, code: mail.CodeInvalid},
		"to INBOX":             {from: "a", to: "inbox", inferiors: true, code: mail.CodeExists},
		"INBOX":                {from: "INBOX", to: "x", inferiors: true, code: mail.CodeForbidden},
		"bad name":             {from: "a", to: "x//y", inferiors: true, code: mail.CodeInvalid},
		"too deep":             {from: "a", to: strings.Repeat("x/", mail.MaxNameDepth-1) + "x", inferiors: true, code: mail.CodeLimit},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, memstore.Options{}, nil)
			for _, p := range []string{"a", "a/b", "a/b/c", "ab", "d"} {
				if _, err := f.Create(t.Context(), f.acct, mail.Mailbox{Path: p}, false); err != nil {
					t.Fatal(err)
				}
			}
			if tc.to == "q/r" {
				if _, err := f.Create(t.Context(), f.acct, mail.Mailbox{Path: tc.to}, false); err != nil {
					t.Fatal(err)
				}
			}
			before := f.paths(t)
			err := f.Rename(t.Context(), f.acct, before[tc.from], tc.to, tc.inferiors)
			if (err == nil) != (tc.code == mail.CodeInternal) || err != nil && mail.CodeOf(err) != tc.code {
				t.Fatalf("rename: %v, want %v", err, tc.code)
			}
			after := f.paths(t)
			if tc.want == "" {
				if !maps.Equal(after, before) {
					t.Errorf("a failed rename left %v", after)
				}
				return
			}
			want := map[string]bool{mail.Inbox: true, "Other": true}
			for w := range strings.FieldsSeq(tc.want) {
				to, from, renamed := strings.Cut(w, "=")
				want[to] = true
				if renamed && after[to] != before[from] {
					t.Errorf("%s is not what was %s", to, from)
				}
			}
			if got := slices.Sorted(maps.Keys(after)); !slices.Equal(got, slices.Sorted(maps.Keys(want))) {
				t.Errorf("there are %v, want %v", got, slices.Sorted(maps.Keys(want)))
			}
		})
	}
}

// Whatever is created, renamed and deleted, the tree is what a map of names says.
func TestTreeProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := newFixture(t, memstore.Options{}, nil)
		model := f.paths(t)
		name := rapid.Custom(func(t *rapid.T) string {
			return strings.Join(rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "INBOX"}), 1, 3).Draw(t, "levels"), "/")
		})
		some := func(t *rapid.T) string {
			return rapid.SampledFrom(slices.Sorted(maps.Keys(model))).Draw(t, "mailbox")
		}
		parents := func(path string) {
			for p := mail.ParentName(path); p != ""; p = mail.ParentName(p) {
				if _, ok := model[p]; ok {
					break // what may be missing above it is what somebody deleted
				}
				model[p] = f.paths(t)[p]
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"": func(t *rapid.T) {
				if got := f.paths(t); !maps.Equal(got, model) {
					t.Fatalf("there are %v, want %v", got, model)
				}
			},
			"create": func(t *rapid.T) {
				path := name.Draw(t, "path")
				b, err := f.Create(context.Background(), f.acct, mail.Mailbox{Path: path}, true)
				if _, taken := model[path]; taken != (mail.CodeOf(err) == mail.CodeExists && err != nil) {
					t.Fatalf("create %s: %v", path, err)
				}
				if err == nil {
					model[path] = b.ID
					parents(path)
				}
			},
			"rename": func(t *rapid.T) {
				from, to := some(t), name.Draw(t, "to")
				err := f.Rename(context.Background(), f.acct, model[from], to, true)
				_, taken := model[to]
				want := from != mail.Inbox && !taken && !mail.IsInferior(to, from)
				moved := map[string]string{from: to}
				for p := range model {
					if mail.IsInferior(p, from) {
						moved[p] = to + p[len(from):]
					}
				}
				for _, target := range moved {
					_, taken := model[target]
					if _, goes := moved[target]; taken && !goes {
						want = false
					}
				}
				if want != (err == nil) {
					t.Fatalf("rename %s %s: %v", from, to, err)
				}
				if err != nil {
					return
				}
				ids := map[string]mail.MailboxID{}
				for old, target := range moved {
					ids[target] = model[old]
					delete(model, old)
				}
				maps.Copy(model, ids)
				parents(to)
			},
			"delete": func(t *rapid.T) {
				path := some(t)
				err := f.Delete(context.Background(), f.acct, model[path], true)
				if (path == mail.Inbox) != (mail.CodeOf(err) == mail.CodeForbidden && err != nil) {
					t.Fatalf("delete %s: %v", path, err)
				}
				if err == nil {
					delete(model, path)
				}
			},
		})
	})
}

// RENAME of INBOX moves its messages and leaves it in place.
func TestMoveInbox(t *testing.T) {
	broken := ""
	f := newFixture(t, memstore.Options{Fault: func(op string) error {
		if op == broken {
			return mail.NewError(mail.CodeUnavailable, "later")
		}
		return nil
	}}, nil)
	f.add(t, f.boxes[0], 3, mail.NewFlags(mail.Seen))
	c := newClient(t, f, "a", f.boxes[0], true)
	defer c.v.Close()
	if err := f.MoveInbox(t.Context(), f.acct, "Other"); mail.CodeOf(err) != mail.CodeExists {
		t.Errorf("to a mailbox that exists: %v", err)
	}
	broken = "Move"
	if err := f.MoveInbox(t.Context(), f.acct, "old/one"); mail.CodeOf(err) != mail.CodeUnavailable {
		t.Errorf("in trouble: %v", err)
	}
	broken = ""
	if n := len(f.rows(t, f.boxes[0])); n != 3 {
		t.Errorf("%d messages in INBOX after a failure, want 3", n)
	}
	if err := f.MoveInbox(t.Context(), f.acct, "old/two"); err != nil {
		t.Fatal(err)
	}
	c.settled()
	if len(c.uids) != 0 {
		t.Errorf("INBOX has %v", c.uids)
	}
	got := f.rows(t, f.paths(t)["old/two"])
	if len(got) != 3 || !got[3].Flags.Has(mail.Seen) {
		t.Errorf("the new mailbox has %v", got)
	}
}

// Mailboxes that clients rely on cannot be deleted.
func TestDelete(t *testing.T) {
	f := newFixture(t, memstore.Options{}, nil)
	for i, in := range []mail.Mailbox{{SpecialUse: mail.UseTrash}, {Hidden: true}} {
		in.Path = fmt.Sprint("box", i)
		b, err := f.Create(t.Context(), f.acct, in, false)
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Delete(t.Context(), f.acct, b.ID, true); mail.CodeOf(err) != mail.CodeForbidden {
			t.Errorf("delete %+v: %v", in, err)
		}
	}
	if err := f.Delete(t.Context(), f.acct, mail.MailboxID{9}, true); mail.CodeOf(err) != mail.CodeNoMailbox {
		t.Errorf("delete of nothing: %v", err)
	}
}

// Quota is asked and applied to what brings octets in, and not to what only moves.
func TestQuota(t *testing.T) {
	f := newFixture(t, memstore.Options{}, nil)
	f.add(t, f.boxes[0], 3, mail.Flags{}) // 9 octets
	f.quota = func(context.Context, mail.AccountID) (int64, error) { return 11, nil }
	if _, err := f.Copy(t.Context(), f.acct, f.boxes[0], f.boxes[1], mail.OneUID(1)); mail.CodeOf(err) != mail.CodeOverQuota {
		t.Errorf("copy: %v", err)
	}
	if _, err := f.Move(t.Context(), f.acct, f.boxes[0], f.boxes[1], mail.OneUID(1)); err != nil {
		t.Errorf("move: %v", err)
	}
	st, err := f.Stage(t.Context(), &store.Content{Source: strings.NewReader("x\r\n"), Size: 3})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	if _, err := f.Append(t.Context(), f.acct, f.boxes[0], store.Append{Staged: st}); mail.CodeOf(err) != mail.CodeOverQuota {
		t.Errorf("append: %v", err)
	}
	f.quota = func(context.Context, mail.AccountID) (int64, error) {
		return 0, mail.NewError(mail.CodeNoAccount, "gone")
	}
	if _, err := f.Append(t.Context(), f.acct, f.boxes[0], store.Append{Staged: st}); mail.CodeOf(err) != mail.CodeNoAccount {
		t.Errorf("append without account: %v", err)
	}
}

// A level without a mailbox is renamed by what is below it.
func TestRenameLevel(t *testing.T) {
	for name, tc := range map[string]struct {
		from, to string
		code     mail.Code
		want     string // all paths but the two that are always there
	}{
		"level":             {from: "a", to: "z", want: "ab/c d z/b z/b/c"},
		"new superiors":     {from: "a", to: "n/m", want: "ab/c d n n/m/b n/m/b/c"},
		"below a mailbox":   {from: "a", to: "d/x", want: "ab/c d d/x/b d/x/b/c"},
		"nothing there":     {from: "q", to: "z", code: mail.CodeNoMailbox},
		"a bad name":        {from: "a//b", to: "z", code: mail.CodeNoMailbox},
		"to a bad name":     {from: "a", to: "z//b", code: mail.CodeInvalid},
		"below itself":      {from: "a", to: "a/b", code: mail.CodeInvalid},
		"itself":            {from: "a", to: "a", code: mail.CodeExists},
		"to a mailbox":      {from: "a", to: "d", code: mail.CodeExists},
		"to another level":  {from: "a", to: "ab", code: mail.CodeExists},
		"to INBOX":          {from: "a", to: "inbox", code: mail.CodeExists},
		"deeper than it is": {from: "a", to: strings.Repeat("x/", mail.MaxNameDepth-2) + "x", code: mail.CodeLimit},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, memstore.Options{}, nil)
			for _, p := range []string{"a/b", "a/b/c", "ab/c", "d"} {
				if _, err := f.Create(t.Context(), f.acct, mail.Mailbox{Path: p}, false); err != nil {
					t.Fatal(err)
				}
			}
			before := f.paths(t)
			err := f.RenameLevel(t.Context(), f.acct, tc.from, tc.to)
			if (err == nil) != (tc.want != "") || err != nil && mail.CodeOf(err) != tc.code {
				t.Fatalf("rename: %v, want %v", err, tc.code)
			}
			after := f.paths(t)
			if tc.want == "" {
				if !maps.Equal(after, before) {
					t.Errorf("a failed rename left %v", after)
				}
				return
			}
			if after[tc.to+"/b/c"] != before["a/b/c"] {
				t.Error("the mailbox is another one")
			}
			delete(after, mail.Inbox)
			delete(after, "Other")
			if got := strings.Join(slices.Sorted(maps.Keys(after)), " "); got != tc.want {
				t.Errorf("there are %q, want %q", got, tc.want)
			}
		})
	}
}
