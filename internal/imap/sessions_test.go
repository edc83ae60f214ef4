package imap_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mallard/internal/imap"
	"mallard/internal/imap/imapclient"
	"mallard/internal/mail"
	"mallard/internal/store/memstore"
)

// session is a client that keeps a copy of its mailbox by what it is told.
type session struct {
	*client
	all  *chronicle
	rnd  *rand.Rand
	box  string
	cond bool // CONDSTORE is on
	msgs []*known
}

// chronicle is what all sessions together have learnt of the mailboxes.
type chronicle struct {
	sent     atomic.Int64
	subjects sync.Map // of a mailbox and UID: the subject that it had when first seen
}

// seen checks that a UID is what it was for everybody at any time.
func (c *chronicle) seen(box string, uid uint32, subject string) error {
	if first, met := c.subjects.LoadOrStore(fmt.Sprint(box, uid), subject); met && first != subject {
		return fmt.Errorf("UID %d of %s was %q, now %q", uid, box, first, subject)
	}
	return nil
}

// known is what a client knows of a message.
type known struct {
	uid    uint32
	flags  []string // sorted, without \Recent; nil when not known
	modSeq uint64
}

func flagsOf(f []string) []string {
	f = slices.DeleteFunc(slices.Clone(f), func(s string) bool { return s == `\Recent` })
	slices.Sort(f)
	return f
}

// hear applies a response.
func (s *session) hear(r *imapclient.Response) {
	switch r.Name {
	case "EXPUNGE":
		s.msgs = slices.Delete(s.msgs, int(r.Number-1), int(r.Number))
	case "EXISTS":
		for len(s.msgs) < int(r.Number) {
			s.msgs = append(s.msgs, &known{})
		}
	case "FETCH":
		m := s.msgs[r.Number-1]
		if r.Fetch.UID != 0 {
			if m.uid != 0 && m.uid != r.Fetch.UID {
				s.t.Errorf("message %d had UID %d, now %d", r.Number, m.uid, r.Fetch.UID)
			}
			m.uid = r.Fetch.UID
		}
		if r.Fetch.Flags != nil {
			m.flags = flagsOf(r.Fetch.Flags)
		}
		s.hearMore(m, r)
	case "BYE":
		s.t.Errorf("BYE %s", r.Text)
	}
}

// hearMore checks what must fit what was heard before.
func (s *session) hearMore(m *known, r *imapclient.Response) {
	if s.cond && r.Fetch.Flags != nil && len(r.Fetch.Sections) == 0 && r.Fetch.ModSeq == 0 {
		s.t.Errorf("flags of message %d without MODSEQ", r.Number)
	}
	if r.Fetch.ModSeq != 0 {
		if r.Fetch.ModSeq < m.modSeq {
			s.t.Errorf("message %d went from MODSEQ %d to %d", r.Number, m.modSeq, r.Fetch.ModSeq)
		}
		m.modSeq = r.Fetch.ModSeq
	}
	for name, sec := range r.Fetch.Sections {
		if !strings.HasPrefix(name, "BODY[HEADER.FIELDS") || m.uid == 0 {
			continue
		}
		if err := s.all.seen(s.box, m.uid, string(sec.Data)); err != nil {
			s.t.Error(err)
		}
	}
}

// say sends a command, which may be refused because of a message that is gone.
func (s *session) say(format string, args ...any) *imapclient.Result {
	res, err := s.Cmd(format, args...)
	if err != nil {
		panic(fmt.Sprintf("%.100s: %v", fmt.Sprintf(format, args...), err))
	}
	if got := condition(res.Response); res.Name != "OK" && got != "NO EXPUNGEISSUED" {
		panic(fmt.Sprintf("%.100s: %s %s", fmt.Sprintf(format, args...), got, res.Text))
	}
	for _, r := range res.Untagged {
		s.hear(r)
	}
	return res
}

// open selects a mailbox and learns what is in it.
func (s *session) open(box string) {
	s.msgs, s.box = nil, box
	s.say("SELECT %s", box)
	s.learn()
}

// learn asks about messages that are not known.
func (s *session) learn() {
	for i, m := range s.msgs {
		if m.uid == 0 || m.flags == nil {
			s.say("FETCH %d:* (UID FLAGS BODY.PEEK[HEADER.FIELDS (Subject)])", i+1)
			return
		}
	}
}

// set picks messages, as numbers or as UIDs.
func (s *session) set(uid bool) (string, []*known) {
	var nums []string
	var msgs []*known
	for range 1 + s.rnd.IntN(3) {
		i := s.rnd.IntN(len(s.msgs))
		if s.msgs[i].flags == nil {
			i = slices.IndexFunc(s.msgs, func(m *known) bool { return m.flags != nil })
		}
		msgs = append(msgs, s.msgs[i])
		if uid {
			nums = append(nums, fmt.Sprint(s.msgs[i].uid))
		} else {
			nums = append(nums, fmt.Sprint(i+1))
		}
	}
	return strings.Join(nums, ","), msgs
}

var stored = []string{`\Seen`, `\Flagged`, `\Deleted`, "kw1", "kw2", `\Answered \Draft`}

// step does something at random.
func (s *session) step() {
	s.learn()
	uid := s.rnd.IntN(2) == 0
	form := ""
	if uid {
		form = "UID "
	}
	// A message that was expunged before it could be asked about stays unknown.
	met := slices.ContainsFunc(s.msgs, func(m *known) bool { return m.flags != nil })
	if n := s.rnd.IntN(16); n < 2 || !met {
		text := fmt.Sprintf("Subject: number %d\r\n\r\nbody\r\n", s.all.sent.Add(1))
		s.say("APPEND %s (%s) {%d+}\r\n%s", s.some(), stored[s.rnd.IntN(len(stored))], len(text), text)
	} else {
		s.other(n, form, uid)
	}
}

var boxes = []string{"INBOX", "Sent"}

// some is a mailbox.
func (s *session) some() string { return boxes[s.rnd.IntN(len(boxes))] }

func (s *session) other(n int, form string, uid bool) {
	set, msgs := s.set(uid)
	switch n {
	case 2, 3, 4:
		s.storeFlags(form, set, msgs)
	case 5:
		s.say("%sFETCH %s (FLAGS BODY[TEXT]<0.3>)", form, set)
	case 6:
		s.say("%sFETCH 1:* (UID)", form)
	case 7:
		s.search(form, uid)
	case 8:
		s.say("%sCOPY %s %s", form, set, s.some())
	case 9:
		s.say("%sMOVE %s %s", form, set, s.some())
	case 10:
		s.say("EXPUNGE")
	case 11:
		s.say("UID EXPUNGE 1:%d", s.rnd.IntN(1000)+1)
	case 12:
		s.idle()
	case 13:
		s.open(s.some())
	default:
		s.say("NOOP")
	}
}

// search checks that what is found is known. EXPUNGE may follow a result of UID
// SEARCH, but what it finds is what the client knew when it asked.
func (s *session) search(form string, uid bool) {
	res, err := s.Cmd("%sSEARCH OR KEYWORD kw1 UNSEEN", form)
	if err != nil {
		panic(err)
	}
	for _, r := range res.Untagged {
		if r.Name != "SEARCH" {
			s.hear(r)
			continue
		}
		for _, n := range r.Search.Numbers {
			met := n >= 1 && int(n) <= len(s.msgs)
			if uid {
				met = slices.ContainsFunc(s.msgs, func(m *known) bool { return m.uid == n || m.uid == 0 })
			}
			if !met {
				s.t.Errorf("%sSEARCH found %d, which is not known", form, n)
			}
		}
	}
}

func (s *session) storeFlags(form, set string, msgs []*known) {
	flags := stored[s.rnd.IntN(len(stored))]
	mode := []string{"+", "-", ""}[s.rnd.IntN(3)]
	if s.rnd.IntN(2) == 0 {
		s.say("%sSTORE %s %sFLAGS (%s)", form, set, mode, flags)
		return
	}
	// What is told in the answer is of the time after the change.
	for _, m := range msgs {
		list := strings.Fields(flags)
		switch mode {
		case "+":
			list = append(list, m.flags...)
		case "-":
			list = slices.DeleteFunc(slices.Clone(m.flags), func(f string) bool { return slices.Contains(list, f) })
		}
		slices.Sort(list)
		m.flags = slices.Compact(list)
		if m.flags == nil {
			m.flags = []string{}
		}
	}
	s.say("%sSTORE %s %sFLAGS.SILENT (%s)", form, set, mode, flags)
}

func (s *session) idle() {
	i, err := s.Idle()
	if err != nil {
		panic(err)
	}
	for _, r := range i.Before {
		s.hear(r)
	}
	for {
		r, err := i.Wait(time.Duration(s.rnd.IntN(3)) * time.Millisecond)
		if err != nil {
			panic(err)
		}
		if r == nil {
			break
		}
		s.hear(r)
	}
	res, err := i.Done()
	if err != nil {
		panic(err)
	}
	for _, r := range res.Untagged {
		s.hear(r)
	}
}

func (s *session) state() string {
	var b strings.Builder
	for i, m := range s.msgs {
		fmt.Fprintln(&b, i+1, m.uid, m.flags)
	}
	return b.String()
}

// Sessions that change the same mailboxes at the same time: each response fits what
// the client knows, UIDs never change their meaning, and whenever the sessions rest,
// all know the same.
func TestSessions(t *testing.T) {
	t.Run("wait", func(t *testing.T) { manySessions(t, time.Hour) })
	t.Run("rest", func(t *testing.T) { manySessions(t, time.Nanosecond) })
}

func manySessions(t *testing.T, restAfter time.Duration) {
	const sessions, rounds, steps = 8, 4, 25
	w := newWorld(t, restsAfter(restAfter), func(o *memstore.Options, _ *imap.Options) { o.Tombstones = 30 })
	w.allowed = 0
	history := &chronicle{}
	var all []*session
	for i := range sessions {
		s := &session{client: w.client(t), all: history, rnd: rand.New(rand.NewPCG(7, uint64(i)))}
		if s.cond = i%3 == 0; s.cond {
			s.ok("ENABLE CONDSTORE")
		}
		s.open(boxes[i%len(boxes)])
		all = append(all, s)
	}
	for round := range rounds {
		var wg sync.WaitGroup
		for _, s := range all {
			wg.Go(func() {
				for range steps {
					s.step()
				}
			})
		}
		wg.Wait()
		want := map[string]string{}
		for _, box := range boxes {
			fresh := &session{client: w.client(t), all: history}
			fresh.open(box)
			want[box] = fresh.state()
			fresh.ok("LOGOUT")
		}
		for i, s := range all {
			s.say("NOOP")
			s.learn()
			if got := s.state(); got != want[s.box] {
				t.Fatalf("round %d: session %d has of %s\n%swant\n%s", round, i, s.box, got, want[s.box])
			}
		}
	}
}

// LIST of many deep names costs what they are, not what they are times each other.
func TestListOfDeepNames(t *testing.T) {
	w := newWorld(t)
	const count, levels = 2000, 25
	for i := range count {
		path := fmt.Sprint(i) + strings.Repeat("/x", levels-1)
		if _, err := w.store.CreateMailbox(t.Context(), w.acct.ID, mail.Mailbox{Path: path}, 0); err != nil {
			t.Fatal(err)
		}
	}
	c := w.raw(t)
	c.login()
	c.send("l LIST (RECURSIVEMATCH SPECIAL-USE) \"\" *\r\n")
	if got := c.want("l OK"); strings.Count(got, "* LIST") != 2 { // Sent and Trash: none of the names has such a mailbox below it
		t.Errorf("other names are listed: %.200s", got)
	}
}
