package mailbox

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"mallard/internal/event"
	"mallard/internal/event/membus"
	"mallard/internal/mail"
	"mallard/internal/store"
	"mallard/internal/store/memstore"
)

// fixture is a service on the model store with one account and two mailboxes.
type fixture struct {
	*Service
	store *memstore.Store
	acct  mail.AccountID
	boxes []mail.MailboxID
}

type failer interface{ Fatalf(string, ...any) }

func newFixture(t failer, o memstore.Options, bus event.Bus) *fixture {
	return newSearchFixture(t, o, bus, SearchCache{})
}

// newSearchFixture makes a service with a cache for searches.
func newSearchFixture(t failer, o memstore.Options, bus event.Bus, cache SearchCache) *fixture {
	o.Mangle = true
	st := memstore.New(o)
	acct, err := st.CreateAccount(context.Background(), store.NewAccount{
		Account: mail.Account{Username: "jane"}, View: "jane",
		Mailboxes: []mail.Mailbox{{Path: mail.Inbox}, {Path: "Other"}},
	})
	if err != nil {
		t.Fatalf("create account: %v", err)
	}
	if bus == nil {
		bus = membus.New()
	}
	f := &fixture{Service: New(Options{Store: st, Bus: bus, Search: cache}), store: st, acct: acct.ID}
	for _, name := range []string{mail.Inbox, "Other"} {
		b, err := f.Lookup(context.Background(), f.acct, name)
		if err != nil {
			t.Fatalf("look up %s: %v", name, err)
		}
		f.boxes = append(f.boxes, b.ID)
	}
	return f
}

// add appends n messages with flags.
func (f *fixture) add(t failer, box mail.MailboxID, n int, flags mail.Flags) []mail.UID {
	st, err := f.Stage(context.Background(), &store.Content{Source: bytes.NewReader([]byte("x\r\n")), Size: 3})
	if err != nil {
		t.Fatalf("stage: %v", err)
	}
	defer st.Close()
	in := make([]store.Append, n)
	for i := range in {
		in[i] = store.Append{Staged: st, Flags: flags, InternalDate: time.Unix(1e9, 0)}
	}
	out, err := f.Append(context.Background(), f.acct, box, in...)
	if err != nil {
		t.Fatalf("append: %v", err)
	}
	var uids []mail.UID
	for _, a := range out {
		uids = append(uids, a.UID)
	}
	return uids
}

// rows are the messages as the store has them.
func (f *fixture) rows(t failer, box mail.MailboxID) map[mail.UID]mail.HotRow {
	out := make(map[mail.UID]mail.HotRow)
	for r, err := range f.store.Fetch(context.Background(), f.acct, box, store.FetchQuery{}) {
		if err != nil {
			t.Fatalf("fetch: %v", err)
		}
		out[r.UID] = mail.HotRow{UID: r.UID, ModSeq: r.ModSeq, Flags: r.Flags, Octets: r.Size}
	}
	return out
}

// client is what a strict IMAP client knows of its mailbox: it applies what it is
// told and nothing else.
type client struct {
	t     failer
	name  string
	f     *fixture
	box   mail.MailboxID
	v     *View
	claim bool
	uids  []mail.UID
	flags map[mail.UID]mail.Flags
	told  map[mail.UID]mail.ModSeq // own changes that need not be told
	// recent are the messages that were recent when the client learnt of them.
	recent map[mail.UID]bool
}

func newClient(t failer, f *fixture, name string, box mail.MailboxID, claim bool) *client {
	v, err := f.View(context.Background(), f.acct, box, claim)
	if err != nil {
		t.Fatalf("view: %v", err)
	}
	c := &client{
		t: t, name: name, f: f, box: box, v: v, claim: claim,
		flags: map[mail.UID]mail.Flags{}, told: map[mail.UID]mail.ModSeq{}, recent: map[mail.UID]bool{},
	}
	if v.UIDNext() <= v.Last() {
		t.Fatalf("%s: UIDNEXT %d, last message %d", name, v.UIDNext(), v.Last())
	}
	c.learn(v.Len())
	return c
}

// learn asks about the messages up to the new number, as a client does after EXISTS.
func (c *client) learn(exists int) {
	if exists < len(c.uids) {
		c.t.Fatalf("%s: EXISTS went from %d to %d", c.name, len(c.uids), exists)
	}
	if exists != c.v.Len() {
		c.t.Fatalf("%s: told of %d messages, the view has %d", c.name, exists, c.v.Len())
	}
	for seq := len(c.uids) + 1; seq <= exists; seq++ {
		uid := c.v.UID(uint32(seq))
		if n := len(c.uids); n > 0 && c.uids[n-1] >= uid {
			c.t.Fatalf("%s: UID %d comes after %d", c.name, uid, c.uids[n-1])
		}
		if uid >= c.v.UIDNext() {
			c.t.Fatalf("%s: UID %d is there, UIDNEXT is %d", c.name, uid, c.v.UIDNext())
		}
		c.uids = append(c.uids, uid)
		c.recent[uid] = c.v.Recent(uid)
		if r, ok := c.v.Row(uid); ok {
			c.flags[uid] = r.Flags
		}
	}
}

// take tells the client what is new.
func (c *client) take(expunge bool) Update {
	u := c.v.Take(context.Background(), expunge)
	if !expunge && len(u.Expunged) > 0 {
		c.t.Fatalf("%s: EXPUNGE where none may be", c.name)
	}
	for _, e := range u.Expunged {
		if e.Seq == 0 || int(e.Seq) > len(c.uids) || c.uids[e.Seq-1] != e.UID {
			c.t.Fatalf("%s: EXPUNGE %d (UID %d) with messages %v", c.name, e.Seq, e.UID, c.uids)
		}
		c.uids = slices.Delete(c.uids, int(e.Seq-1), int(e.Seq))
		delete(c.flags, e.UID)
	}
	if !u.Grown && u.Exists != len(c.uids) {
		c.t.Fatalf("%s: %d messages, and no EXISTS was told: %d", c.name, u.Exists, len(c.uids))
	}
	before := len(c.uids)
	c.learn(u.Exists)
	if u.Grown && before == len(c.uids) {
		c.t.Fatalf("%s: EXISTS without a new message", c.name)
	}
	for _, r := range u.Flags {
		if r.Seq == 0 || int(r.Seq) > len(c.uids) || c.uids[r.Seq-1] != r.UID {
			c.t.Fatalf("%s: FETCH %d (UID %d) with messages %v", c.name, r.Seq, r.UID, c.uids)
		}
		if c.told[r.UID] == r.ModSeq && c.flags[r.UID] == r.Flags {
			c.t.Fatalf("%s: own change of UID %d is told again", c.name, r.UID)
		}
		c.flags[r.UID] = r.Flags
	}
	if u.Empty() != (len(u.Expunged)+len(u.Flags) == 0 && !u.Grown) {
		c.t.Fatalf("%s: Empty is %t for %+v", c.name, u.Empty(), u)
	}
	clear(c.told)
	c.check()
	return u
}

// check compares what the client knows with the view.
func (c *client) check() {
	if !slices.Equal(c.uids, c.v.UIDs()) {
		c.t.Fatalf("%s: client has %v, view has %v", c.name, c.uids, c.v.UIDs())
	}
	recent := 0
	for i, uid := range c.uids {
		if seq, ok := c.v.Seq(uid); !ok || int(seq) != i+1 {
			c.t.Fatalf("%s: number of UID %d is %d %t, want %d", c.name, uid, seq, ok, i+1)
		}
		if c.v.Recent(uid) != c.recent[uid] {
			c.t.Fatalf("%s: UID %d changed between recent and not", c.name, uid)
		}
		if c.recent[uid] {
			recent++
		}
	}
	if recent != c.v.RecentCount() {
		c.t.Fatalf("%s: %d recent messages, view says %d", c.name, recent, c.v.RecentCount())
	}
}

func (c *client) sync() {
	if err := c.v.Sync(context.Background()); err != nil {
		c.t.Fatalf("%s: sync: %v", c.name, err)
	}
}

// store is STORE: the client learns the new flags from the answer, or works them
// out when it asked to be silent.
func (c *client) store(u store.FlagUpdate, silent bool) *store.FlagResult {
	res, err := c.v.UpdateFlags(context.Background(), u, silent)
	if err != nil {
		c.t.Fatalf("%s: update flags: %v", c.name, err)
	}
	if silent {
		for _, uid := range c.uids {
			if f, ok := c.flags[uid]; ok && u.UIDs.Contains(uid) && !res.Modified.Contains(uid) {
				c.flags[uid] = updated(f, &u)
			}
		}
	} else {
		for _, r := range res.Existing {
			if _, ok := c.v.Seq(r.UID); ok && !res.Modified.Contains(r.UID) {
				c.flags[r.UID] = r.Flags
			}
		}
	}
	return res
}

// settled checks that the client knows the mailbox as it is.
func (c *client) settled() {
	c.sync()
	c.take(true)
	rows := c.f.rows(c.t, c.box)
	if want := slices.Sorted(maps.Keys(rows)); !slices.Equal(c.uids, want) {
		c.t.Fatalf("%s: client has %v, store has %v", c.name, c.uids, want)
	}
	for uid, r := range rows {
		if c.flags[uid] != r.Flags {
			c.t.Fatalf("%s: client thinks that UID %d has %v, it has %v", c.name, uid, c.flags[uid].List(), r.Flags.List())
		}
	}
	if got := c.v.HighestModSeq(); got < highest(rows) {
		c.t.Fatalf("%s: HIGHESTMODSEQ %d is below that of a message", c.name, got)
	}
}

func highest(rows map[mail.UID]mail.HotRow) (top mail.ModSeq) {
	for _, r := range rows {
		top = max(top, r.ModSeq)
	}
	return top
}

var someFlags = []mail.Flags{
	mail.NewFlags(mail.Seen), mail.NewFlags(mail.Deleted), mail.NewFlags(mail.Seen | mail.Flagged),
	mail.NewFlags(0, "a"), mail.NewFlags(mail.Answered, "A", "b"), {},
}

// machine is some sessions and writers of two mailboxes, one step after the other.
type machine struct {
	t       *rapid.T
	f       *fixture
	clients []*client
	made    int
	// unclaimed is the first UID of the first mailbox that nobody took as recent.
	unclaimed mail.UID
	// touched are messages that others than the client changed since its last Take.
	touched map[*client]map[mail.UID]bool
	// meanwhile, when set, happens at the start of the next operation of the
	// store of that name: another session is quicker.
	meanwhile   func()
	meanwhileOp string
}

func (m *machine) fault(op string) error {
	if f := m.meanwhile; f != nil && op == m.meanwhileOp {
		m.meanwhile = nil
		f()
	}
	return nil
}

// interrupt lets something happen in the middle of the next step.
func (m *machine) interrupt(*rapid.T) {
	m.meanwhileOp = rapid.SampledFrom([]string{"UpdateFlags", "Changes", "Mailbox", "Fetch", "FetchRow"}).Draw(m.t, "during")
	what := rapid.SampledFrom([]string{"append", "flags", "expunge", "move away", "copy"}).Draw(m.t, "happens")
	m.meanwhile = func() { m.steps()[what](m.t) }
}

func (m *machine) uids() mail.UIDSet {
	rows := slices.Sorted(maps.Keys(m.f.rows(m.t, m.f.boxes[0])))
	if len(rows) == 0 || rapid.IntRange(0, 9).Draw(m.t, "all") == 0 {
		return mail.AllUIDs()
	}
	return mail.UIDSetOf(rapid.SliceOfN(rapid.SampledFrom(rows), 1, 3).Draw(m.t, "uids")...)
}

// touch notes that one client or, with nil, a writer changed messages.
func (m *machine) touch(by *client, rows []mail.HotRow) {
	for _, c := range m.clients {
		if c == by {
			continue
		}
		for _, r := range rows {
			m.touched[c][r.UID] = true
		}
	}
}

func (m *machine) update() (u store.FlagUpdate) {
	u.UIDs = m.uids()
	u.Mode = rapid.SampledFrom([]store.FlagMode{store.FlagsAdd, store.FlagsRemove, store.FlagsReplace}).Draw(m.t, "mode")
	u.Flags = rapid.SampledFrom(someFlags).Draw(m.t, "flags")
	if rapid.IntRange(0, 5).Draw(m.t, "conditional") == 0 {
		since := mail.ModSeq(rapid.IntRange(0, 60).Draw(m.t, "since"))
		u.UnchangedSince = &since
	}
	return u
}

func (m *machine) client() *client {
	if len(m.clients) == 0 {
		m.open()
	}
	return rapid.SampledFrom(m.clients).Draw(m.t, "client")
}

// announced checks \Recent of what a client has just learnt: a message is recent
// until a session that claims it was told of it or of a later one.
func (m *machine) announced(c *client, from int) {
	for _, uid := range c.uids[min(from, len(c.uids)):] {
		if want := uid >= m.unclaimed; c.recent[uid] != want {
			m.t.Fatalf("%s: UID %d is recent: %t, want %t", c.name, uid, c.recent[uid], want)
		}
	}
	if n := len(c.uids); c.claim && n > from {
		m.unclaimed = max(m.unclaimed, c.uids[n-1]+1)
	}
}

// open starts a session.
func (m *machine) open() {
	m.made++
	c := newClient(m.t, m.f, fmt.Sprint("session ", m.made), m.f.boxes[0], rapid.Bool().Draw(m.t, "claim"))
	m.clients = append(m.clients, c)
	m.touched[c] = map[mail.UID]bool{}
	m.announced(c, 0)
}

func (m *machine) take(c *client, expunge bool) {
	known := slices.Clone(c.uids)
	for uid := range c.told {
		if m.touched[c][uid] {
			delete(c.told, uid)
		}
	}
	c.take(expunge)
	from := len(c.uids)
	for from > 0 && !slices.Contains(known, c.uids[from-1]) {
		from--
	}
	m.announced(c, from)
}

func (m *machine) tell(c *client, expunge bool) {
	c.sync()
	m.take(c, expunge)
	clear(m.touched[c])
}

func (m *machine) steps() map[string]func(*rapid.T) {
	ctx := context.Background()
	inbox, other := m.f.boxes[0], m.f.boxes[1]
	return map[string]func(*rapid.T){
		"": func(t *rapid.T) {
			for _, c := range m.clients {
				c.check()
			}
		},
		"open":      func(*rapid.T) { m.open() },
		"interrupt": m.interrupt,
		"close": func(*rapid.T) {
			c := m.client()
			c.v.Close()
			m.clients = slices.DeleteFunc(m.clients, func(x *client) bool { return x == c })
		},
		"append": func(t *rapid.T) {
			n := rapid.IntRange(1, 3).Draw(t, "n")
			m.f.add(t, inbox, n, rapid.SampledFrom(someFlags).Draw(t, "flags"))
		},
		"flags": func(t *rapid.T) {
			res, err := m.f.UpdateFlags(ctx, m.f.acct, inbox, m.update())
			if err != nil {
				t.Fatalf("flags: %v", err)
			}
			m.touch(nil, res.Changed)
		},
		"store": func(t *rapid.T) {
			c, u, silent := m.client(), m.update(), rapid.Bool().Draw(t, "silent")
			res := c.store(u, silent)
			for _, r := range res.Changed {
				if _, known := c.flags[r.UID]; !known {
					m.touched[c][r.UID] = true // it has to be told of
					continue
				}
				c.told[r.UID] = r.ModSeq
			}
			m.touch(c, res.Changed)
		},
		"expunge": func(t *rapid.T) {
			if _, err := m.f.Expunge(ctx, m.f.acct, inbox, m.uids(), rapid.Bool().Draw(t, "only deleted")); err != nil {
				t.Fatalf("expunge: %v", err)
			}
		},
		"move away": func(t *rapid.T) {
			if _, err := m.f.Move(ctx, m.f.acct, inbox, other, m.uids()); err != nil {
				t.Fatalf("move: %v", err)
			}
		},
		"move here": func(t *rapid.T) {
			from := rapid.SampledFrom(m.f.boxes).Draw(t, "from")
			uids := mail.AllUIDs()
			if from == inbox {
				uids = m.uids()
			}
			if _, err := m.f.Move(ctx, m.f.acct, from, inbox, uids); err != nil {
				t.Fatalf("move: %v", err)
			}
		},
		"copy": func(t *rapid.T) {
			if _, err := m.f.Copy(ctx, m.f.acct, inbox, inbox, m.uids()); err != nil {
				t.Fatalf("copy: %v", err)
			}
		},
		// A process ends and another one serves the store.
		"restart": func(*rapid.T) {
			for _, c := range m.clients {
				c.v.Close()
			}
			m.clients, m.touched = nil, map[*client]map[mail.UID]bool{}
			limits := m.f.views.limits
			m.f.Service = New(Options{Store: m.f.store, Bus: membus.New(), Recents: m.f.recents})
			m.f.views.limits = limits
		},
		"status": func(t *rapid.T) {
			m.meanwhile = nil // of one moment
			want := 0
			for uid := range m.f.rows(t, inbox) {
				if uid >= m.unclaimed {
					want++
				}
			}
			if n, err := m.f.Recent(ctx, m.f.acct, inbox); err != nil || n != want {
				t.Fatalf("%d messages would be recent, %v; want %d", n, err, want)
			}
		},
		"sync": func(*rapid.T) { m.client().sync() },
		"take": func(t *rapid.T) { m.take(m.client(), rapid.Bool().Draw(t, "expunge")) },
		"tell": func(t *rapid.T) {
			c := m.client()
			m.tell(c, rapid.Bool().Draw(t, "expunge"))
		},
	}
}

// Whatever sessions and writers do, a client that believes what it is told knows
// the mailbox.
func TestViewProperties(t *testing.T) {
	for name, tc := range map[string]struct {
		limits  viewLimits
		store   memstore.Options
		recents store.Recents // nil for the store
	}{
		"defaults":          {limits: defaultViewLimits()},
		"short log":         {limits: viewLimits{deltas: 2, deltaRows: 1 << 20, idleOctets: 1 << 20, recentBoxes: 10}},
		"no log":            {limits: viewLimits{deltas: 0, deltaRows: 0, idleOctets: 1 << 20, recentBoxes: 10}},
		"small log":         {limits: viewLimits{deltas: 100, deltaRows: 3, idleOctets: 1 << 20, recentBoxes: 10}},
		"no idle copies":    {limits: viewLimits{deltas: 3, deltaRows: 20, recentBoxes: 10}},
		"forgetful store":   {limits: defaultViewLimits(), store: memstore.Options{Tombstones: 1}},
		"forgetful, short":  {limits: viewLimits{deltas: 1, deltaRows: 5, idleOctets: idleOverhead + 100, recentBoxes: 10}, store: memstore.Options{Tombstones: 1}},
		"no place for told": {limits: defaultViewLimits(), recents: &localRecents{limit: 1000, told: map[boxKey]mail.UID{}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rapid.Check(t, func(t *rapid.T) {
				m := &machine{t: t, touched: map[*client]map[mail.UID]bool{}}
				tc.store.Fault = m.fault
				m.f = newFixture(t, tc.store, nil)
				m.f.views.limits = tc.limits
				if tc.recents != nil {
					m.f.recents = tc.recents
				}
				t.Repeat(m.steps())
				m.meanwhile = nil
				for _, c := range m.clients {
					m.tell(c, true)
					c.settled()
					c.v.Close()
				}
			})
		})
	}
}

// Reading the store again, or something that the copy has already, changes nothing.
func hotRows(rows ...mail.HotRow) (out mail.HotRows) {
	for _, r := range rows {
		out.Append(r)
	}
	return out
}

func TestApplyTwice(t *testing.T) {
	sh := &shared{limits: defaultViewLimits(), epochs: new(atomic.Uint64)}
	row := func(uid mail.UID, ms mail.ModSeq, f mail.SystemFlags) mail.HotRow {
		return mail.HotRow{UID: uid, ModSeq: ms, Flags: mail.NewFlags(f)}
	}
	first := &store.ChangeSet{To: 3, UIDNext: 4, Changed: hotRows(row(1, 1, 0), row(2, 2, 0), row(3, 3, 0))}
	second := &store.ChangeSet{To: 5, UIDNext: 4, Changed: hotRows(row(2, 4, mail.Seen)), Expunged: mail.UIDSetOf(3)}
	for _, set := range []*store.ChangeSet{first, first, second, second, first, second} {
		sh.apply(set)
	}
	if want := []mail.UID{1, 2}; !slices.Equal(sh.rows.UIDs(), want) {
		t.Errorf("messages %v, want %v", sh.rows.UIDs(), want)
	}
	if got, want := sh.rows.At(1), row(2, 4, mail.Seen); got != want {
		t.Errorf("row %+v, want %+v", got, want)
	}
	if sh.to != 5 || sh.uidNext != 4 || len(sh.log) != 2 {
		t.Errorf("up to %d, next UID %d, %d changes in the log; want 5, 4, 2", sh.to, sh.uidNext, len(sh.log))
	}
}

// A client that makes up flags does not fill the memory.
func TestFlagSetsAreForgotten(t *testing.T) {
	f := newFixture(t, memstore.Options{}, nil)
	f.add(t, f.boxes[0], 2, mail.Flags{})
	v, err := f.View(t.Context(), f.acct, f.boxes[0], true)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	const many = 3000
	for i := range many {
		u := store.FlagUpdate{UIDs: mail.OneUID(1), Mode: store.FlagsReplace, Flags: mail.NewFlags(0, fmt.Sprint("k", i))}
		if _, err := v.UpdateFlags(t.Context(), u, true); err != nil {
			t.Fatal(err)
		}
	}
	if err := v.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := v.sh.rows.Octets(); n > 150_000 {
		t.Errorf("the copy of a mailbox of 2 messages has %d octets", n)
	}
	if r, _ := v.Row(1); !r.Flags.HasKeyword(fmt.Sprint("k", many-1)) {
		t.Errorf("flags are %v", r.Flags.List())
	}
	if r, _ := v.Row(2); !r.Flags.IsZero() {
		t.Errorf("flags of the other message are %v", r.Flags.List())
	}
}

// The log of changes is bounded in messages, not only in changes.
func TestLogIsBounded(t *testing.T) {
	f := newFixture(t, memstore.Options{}, nil)
	f.views.limits.deltaRows = 500
	f.add(t, f.boxes[0], 100, mail.Flags{})
	v, err := f.View(t.Context(), f.acct, f.boxes[0], true)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	for i := range 40 {
		mode := []store.FlagMode{store.FlagsAdd, store.FlagsRemove}[i%2]
		if _, err := v.UpdateFlags(t.Context(), store.FlagUpdate{UIDs: mail.AllUIDs(), Mode: mode, Flags: mail.NewFlags(mail.Seen)}, false); err != nil {
			t.Fatal(err)
		}
		if err := v.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		rows := 0
		for _, d := range v.sh.log {
			rows += d.rows()
		}
		if rows > 500 || rows != v.sh.logged {
			t.Fatalf("%d messages in the log, counted as %d", rows, v.sh.logged)
		}
	}
}
