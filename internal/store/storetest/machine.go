package storetest

import (
	"context"
	"flag"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"mallard/internal/mail"
	"mallard/internal/store"
	"mallard/internal/store/memstore"
)

// scope is a testing.TB whose cleanups run when it ends, not when the test does.
type scope struct {
	testing.TB
	cleanups []func()
}

// Cleanup runs f when the scope ends.
func (s *scope) Cleanup(f func()) { s.cleanups = append(s.cleanups, f) }

func (s *scope) end() {
	for len(s.cleanups) > 0 {
		last := len(s.cleanups) - 1
		f := s.cleanups[last]
		s.cleanups = s.cleanups[:last]
		f()
	}
}

// machine is a store and the model, which get the same random operations.
type machine struct {
	rt      *rapid.T
	engine  Engine
	disk    *Disk
	w       *world
	model   *world
	history []op // what was acknowledged, for models as of an earlier moment
	steps   int
}

// testMachine compares the engine with memstore over random operations.
func testMachine(t *testing.T, e Engine) {
	setFlag(t, "rapid.checks", scale(25, 16, 400)) // rapid itself does a fifth with -short
	setFlag(t, "rapid.steps", scale(40, 60, 120))
	setFlag(t, "rapid.shrinktime", "10s")
	rapid.Check(t, func(rt *rapid.T) {
		tb := &scope{TB: t}
		defer tb.end()
		m := &machine{rt: rt, engine: e, disk: e.New(tb)}
		m.w = newWorld(e, m.open())
		defer func() { m.close() }()
		m.model = replay(nil)
		m.do(opCreateAccount("user", true))
		m.do(opAppend(mail.Inbox, noQuota, rapid.SliceOfN(randomMessage(), 2, 5).Draw(rt, "first messages")...))
		rt.Repeat(m.actions())
	})
}

// setFlag sets a flag of rapid unless the caller of the test did.
func setFlag(t *testing.T, name string, value any) {
	t.Helper()
	set := false
	flag.Visit(func(f *flag.Flag) { set = set || f.Name == name })
	if set {
		return
	}
	if err := flag.Set(name, fmt.Sprint(value)); err != nil {
		t.Fatal(err)
	}
}

// replay does operations to a new model.
func replay(history []op) *world {
	w := newWorld(Engine{}, memstore.New(memstore.Options{}))
	for _, o := range history {
		w.do(o)
	}
	return w
}

func (m *machine) open() store.Store {
	s, err := m.disk.Open()
	if err != nil {
		m.rt.Fatalf("open: %v", err)
	}
	return s
}

func (m *machine) close() {
	if err := m.w.s.Close(); err != nil {
		m.rt.Errorf("close: %v", err)
	}
}

// do runs an operation on both sides and compares what it came to.
func (m *machine) do(o op) {
	m.rt.Logf("%s", o.name)
	got, want := m.w.do(o), m.model.do(o)
	if got.String() != want.String() {
		m.rt.Fatalf("%s: %v (%v), the model says %v", o.name, got, got.err, want)
	}
	if got.err == nil && !got.nothing {
		m.history = append(m.history, o)
	}
}

// shapeOf returns the shape of a world.
func shapeOf(w *world) (*shape, *state, error) { return shapeOfSome(w, true) }

// shapeOfSome is shapeOf with or without the octets of the messages.
func shapeOfSome(w *world, octets bool) (*shape, *state, error) {
	st, err := dumpSome(w.ctx, w.s, octets)
	if err != nil {
		return nil, nil, err
	}
	return st.shape(w.acct), st, nil
}

// check compares the whole state and follows the changes. The octets are read
// now and then only: that is what takes the time.
func (m *machine) check(*rapid.T) {
	m.steps++
	octets := m.steps%8 == 0
	got, st, err := shapeOfSome(m.w, octets)
	if err != nil {
		m.rt.Fatalf("the store does not fit together: %v", err)
	}
	want, _, err := shapeOfSome(m.model, octets)
	if err != nil {
		m.rt.Fatalf("the model does not fit together: %v", err)
	}
	if d := want.differs(got); d != "" {
		m.rt.Fatalf("the store is not as the model (-model +store):\n%s", d)
	}
	m.w.follow(st, 6)
	if len(m.w.problems) > 0 {
		m.rt.Fatalf("%s", strings.Join(m.w.problems, "\n"))
	}
}

// reopen closes the store and opens it again.
func (m *machine) reopen(rt *rapid.T) {
	if m.disk.Volatile {
		rt.Skip("nothing survives Close")
	}
	rt.Logf("reopen")
	m.checkEngine()
	m.close()
	m.w.opened(m.open())
}

// checkEngine runs the engine's own check.
func (m *machine) checkEngine() {
	if m.engine.Check == nil {
		return
	}
	if err := m.engine.Check(context.Background(), m.w.s); err != nil {
		m.rt.Fatalf("check: %v", err)
	}
}

// crash cuts the power. What was acknowledged is there, but flags may be lost if
// nothing came after them.
func (m *machine) crash(rt *rapid.T) {
	if m.disk.Crash == nil {
		rt.Skip("the engine cannot crash")
	}
	percent := rapid.SampledFrom([]int{0, 50, 100}).Draw(rt, "percent")
	rt.Logf("crash with %d percent of what was not synced", percent)
	crashed := m.disk.Crash(percent, rapid.Uint64().Draw(rt, "seed"))
	m.close()
	m.disk = crashed
	m.w.opened(m.open())
	m.checkEngine()
	got, _, err := shapeOf(m.w)
	if err != nil {
		rt.Fatalf("after a crash the store does not fit together: %v", err)
	}
	for n := len(m.history); ; n-- {
		model := replay(m.history[:n])
		want, _, err := shapeOf(model)
		if err != nil {
			rt.Fatalf("the model does not fit together: %v", err)
		}
		d := want.differs(got)
		if d == "" {
			if n < len(m.history) { // a client that saw what is lost starts anew
				clear(m.w.copies)
			}
			m.model, m.history = model, m.history[:n]
			m.recentAfterCrash()
			return
		}
		if n == 0 || !m.history[n-1].weak {
			rt.Fatalf("after a crash the store is not as the model (-model +store):\n%s", d)
		}
	}
}

// paths are the mailboxes that random operations use.
func paths() *rapid.Generator[string] {
	return rapid.SampledFrom([]string{mail.Inbox, mail.Inbox, mail.Inbox, "a", "a", "b", "a/c"})
}

// otherPaths are those that come and go.
func otherPaths() *rapid.Generator[string] { return rapid.SampledFrom([]string{"a", "b", "a/c", "d"}) }

// names are limits of the octets of paths that are subscribed without a mailbox.
func names() *rapid.Generator[int] { return rapid.SampledFrom([]int{0, 2, 4, 1000, 1000}) }

func places() *rapid.Generator[[]int] { return rapid.SliceOfN(rapid.IntRange(0, 15), 1, 6) }

func randomFlags() *rapid.Generator[mail.Flags] {
	return rapid.Custom(func(rt *rapid.T) mail.Flags {
		system := mail.SystemFlags(rapid.IntRange(0, 31).Draw(rt, "system"))
		return mail.NewFlags(system, rapid.SliceOfN(rapid.SampledFrom([]string{"a", "A", "b", "$Junk", "long-keyword"}), 0, 2).Draw(rt, "keywords")...)
	})
}

// randomMessage draws from few contents, so that they are shared, of all kinds.
func randomMessage() *rapid.Generator[message] {
	return rapid.Custom(func(rt *rapid.T) message {
		kind, n := rapid.IntRange(0, 4).Draw(rt, "kind"), rapid.IntRange(0, 5).Draw(rt, "n")
		return message{
			content: func() *store.Content { return machineContent(kind, n) },
			Append: store.Append{
				Prefix:       []byte(rapid.SampledFrom([]string{"", "", "A: b\r\n", "Delivered-To: x\r\nB: c\r\n"}).Draw(rt, "prefix")),
				Flags:        randomFlags().Draw(rt, "flags"),
				InternalDate: testDate(rapid.IntRange(0, 3).Draw(rt, "date")),
				MetaData:     rapid.SampledFrom([]string{"", `{"a":1}`}).Draw(rt, "metadata"),
			},
		}
	})
}

// machineContent makes few contents. Their line ends are CRLF and no part is empty: what an engine counts for them is their
// size, also where it counts as WildDuck does.
func machineContent(kind, n int) *store.Content {
	switch kind {
	case 0:
		return content([]byte("X: y\r\n\r\n\x00"+strings.Repeat("\r\n\x00", n)), "8bit")
	case 1:
		return multipart("m", attachment(3000*(n+1), 76, "\r\n", uint64(n)))
	case 2:
		return multipart("large", attachment(150_000, 76-n%2, "\r\n", 1), part{typ: "text/plain", encoding: "8bit", body: strings.Repeat("t", n+1)})
	case 3:
		return thread(fmt.Sprint("s", n%2), fmt.Sprintf("%d@x", n), fmt.Sprintf("root%d@x", n%2))
	}
	return note(n)
}

// actions are the operations. Those that fill mailboxes come more often than
// those that take them away, so that there is something to work on.
func (m *machine) actions() map[string]func(*rapid.T) {
	return map[string]func(*rapid.T){
		"":            m.check,
		"append":      m.append,
		"more append": m.append,
		"flags":       m.flags,
		"more flags":  m.flags,
		"copy": func(rt *rapid.T) {
			m.do(opCopy(paths().Draw(rt, "from"), paths().Draw(rt, "to"), places().Draw(rt, "at"), false, slacks().Draw(rt, "slack")))
		},
		"move": func(rt *rapid.T) {
			m.do(opCopy(paths().Draw(rt, "from"), paths().Draw(rt, "to"), places().Draw(rt, "at"), true, noQuota))
		},
		"expunge": func(rt *rapid.T) {
			m.do(opExpunge(paths().Draw(rt, "in"), places().Draw(rt, "at"), rapid.Bool().Draw(rt, "only deleted")))
		},
		"recent":    m.recent,
		"mailboxes": m.mailboxes,
		"accounts":  m.accounts,
		"maintain":  func(*rapid.T) { m.do(opMaintain()) },
		"reopen":    m.reopen,
		"crash":     m.crash,
	}
}

func slacks() *rapid.Generator[int64] {
	return rapid.SampledFrom([]int64{noQuota, noQuota, 0, 1, -1})
}

func (m *machine) append(rt *rapid.T) {
	in := rapid.SliceOfN(randomMessage(), 1, 3).Draw(rt, "messages")
	m.do(opAppend(paths().Draw(rt, "to"), slacks().Draw(rt, "slack"), in...))
}

func (m *machine) flags(rt *rapid.T) {
	u := store.FlagUpdate{Mode: store.FlagMode(rapid.IntRange(0, 2).Draw(rt, "mode")), Flags: randomFlags().Draw(rt, "flags")}
	if rapid.IntRange(0, 3).Draw(rt, "metadata") == 0 {
		u.MetaData = rapid.Ptr(rapid.SampledFrom([]string{"", `{"b":2}`}), false).Draw(rt, "value")
	}
	m.do(opFlags(paths().Draw(rt, "in"), places().Draw(rt, "at"), u))
}

// mailboxes creates, renames, changes or deletes one.
func (m *machine) mailboxes(rt *rapid.T) {
	switch rapid.SampledFrom([]string{"create", "create", "rename", "swap", "update", "delete", "subscribe", "subscribe"}).Draw(rt, "what") {
	case "create":
		m.do(opCreateSubscribed(otherPaths().Draw(rt, "path"), rapid.Bool().Draw(rt, "subscribed"), rapid.IntRange(0, 5).Draw(rt, "limit")))
	case "rename":
		m.do(opRename(otherPaths().Draw(rt, "from"), otherPaths().Draw(rt, "to")))
	case "swap":
		if from, to := otherPaths().Draw(rt, "from"), otherPaths().Draw(rt, "to"); from != to {
			m.do(opRename(from, to, to, from))
		}
	case "update":
		use := rapid.SampledFrom([]mail.SpecialUse{"", mail.UseSent}).Draw(rt, "use")
		m.do(opUpdateMailbox(paths().Draw(rt, "path"), use, rapid.Bool().Draw(rt, "subscribed")))
	case "delete":
		m.do(opDelete(otherPaths().Draw(rt, "path"), names().Draw(rt, "names")))
	case "subscribe":
		m.do(opSubscribe(otherPaths().Draw(rt, "path"), rapid.Bool().Draw(rt, "on"), names().Draw(rt, "names")))
	}
}

// accounts makes and deletes other accounts, and addresses.
func (m *machine) accounts(rt *rapid.T) {
	view := rapid.SampledFrom([]string{"p", "q"}).Draw(rt, "view")
	address := rapid.SampledFrom([]string{"1@x", "2@x", "user@example.com"}).Draw(rt, "address")
	switch rapid.IntRange(0, 4).Draw(rt, "what") {
	case 0:
		m.do(opCreateAccount(view, false))
	case 1:
		m.do(opDeleteAccount(view))
	case 2:
		m.do(opAddress(address, rapid.Bool().Draw(rt, "main")))
	case 3:
		m.do(opDeleteAddress(address))
	case 4:
		m.do(opUpdateAccount(view))
	}
}
