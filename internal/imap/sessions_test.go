package imap_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"mallard/internal/imap"
	"mallard/internal/imap/imapclient"
	"mallard/internal/store/memstore"
)

// session is a client that keeps a copy of its mailbox by what it is told.
type session struct {
	*client
	rnd  *rand.Rand
	msgs []*known
}

// known is what a client knows of a message.
type known struct {
	uid   uint32
	flags []string // sorted, without \Recent; nil when not known
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
	case "BYE":
		s.t.Errorf("BYE %s", r.Text)
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

// open selects the mailbox and learns what is in it.
func (s *session) open() {
	s.msgs = nil
	s.say("SELECT INBOX")
	s.learn()
}

// learn asks about messages that are not known.
func (s *session) learn() {
	for i, m := range s.msgs {
		if m.uid == 0 || m.flags == nil {
			s.say("FETCH %d:* (UID FLAGS)", i+1)
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
		s.say("APPEND INBOX (%s) {%d+}\r\n%s", stored[s.rnd.IntN(len(stored))], len(letter), letter)
	} else {
		s.other(n, form, uid)
	}
}

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
		s.say("%sSEARCH OR KEYWORD kw1 UNSEEN", form)
	case 8:
		s.say("%sCOPY %s INBOX", form, set)
	case 9:
		s.say("%sMOVE %s INBOX", form, set)
	case 10:
		s.say("EXPUNGE")
	case 11:
		s.say("UID EXPUNGE 1:%d", s.rnd.IntN(1000)+1)
	case 12:
		s.idle()
	case 13:
		s.open()
	default:
		s.say("NOOP")
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

// Sessions that change one mailbox at the same time: each response fits what the
// client knows, and whenever they rest, all know the same.
func TestSessions(t *testing.T) {
	const sessions, rounds, steps = 4, 4, 25
	w := newWorld(t, func(o *memstore.Options, _ *imap.Options) { o.Tombstones = 30 })
	w.allowed = 0
	var all []*session
	for i := range sessions {
		s := &session{client: w.client(t), rnd: rand.New(rand.NewPCG(7, uint64(i)))}
		s.open()
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
		fresh := &session{client: w.client(t)}
		fresh.open()
		want := fresh.state()
		for i, s := range all {
			s.say("NOOP")
			s.learn()
			if got := s.state(); got != want {
				t.Fatalf("round %d: session %d has\n%swant\n%s", round, i, got, want)
			}
		}
		fresh.ok("LOGOUT")
	}
}
