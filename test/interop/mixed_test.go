//go:build e2e

package interop

import (
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"mallard/test/e2e/harness"
)

// What the workers of a mixed load do.
const (
	mixedRounds     = 12 // of each worker with messages of its own
	mixedDeliveries = 15 // of each node
	mixedShared     = 8  // messages that everybody moves
	mixedDoomed     = 24 // messages that everybody expunges
	mixedRing       = 6  // times that each moves what is shared
)

// mixedPaths are the mailboxes of a mixed load.
var mixedPaths = []string{"INBOX", "Left", "Right"}

// mixedLoad: through both nodes at once, by IMAP and by the API, messages of the same mailboxes are copied, moved, flagged and
// expunged while mail comes in: each worker its own messages, and all of them some that they share. No UID is used twice, no
// mod-sequence goes back or is given to two changes, nothing is lost or doubled, both nodes show the same, and what is counted
// is the truth.
func (e *env) mixedLoad(t *testing.T) {
	m := e.startMixed(t)
	watch, events := m.startWatch(t), e.mallard.follow(t, m.user)
	f := startFollower(t, e.mallard, m.user)
	var work sync.WaitGroup
	for _, n := range e.nodes() {
		work.Go(func() { m.deliveries(t, n) })
		work.Go(func() { m.byIMAP(t, n) })
		work.Go(func() { m.byAPI(t, n) })
		work.Go(func() { m.passAround(t, n) })
		work.Go(func() { m.expunge(t, n) })
	}
	work.Wait()
	watch.stop()
	if t.Failed() {
		return
	}
	list := m.checkDocuments(t)
	m.checkJournal(t, list)
	m.checkNodes(t, list)
	_, attachment := withAttachment(m.data)
	e.counted(t, attachment)
	e.truth(t, m.user, "the mixed load")
	f.check(t, list.uids(m.id("INBOX")))
	m.checkEvents(t, events, list)
}

// A mixture is the account of a mixed load, and what must be in it afterwards.
type mixture struct {
	e     *env
	user  user
	boxes map[string]string // ids by path
	data  []byte            // of the attachment that many messages have

	mu    sync.Mutex
	texts map[string]string         // messages by subject
	want  map[string]map[string]int // how often a message is where: by subject and path
}

func (e *env) startMixed(t *testing.T) *mixture {
	t.Helper()
	m := &mixture{e: e, user: e.wildduck.user(t, nil), boxes: map[string]string{}, texts: map[string]string{}, want: map[string]map[string]int{},
		data: octets(uint64(names.Add(1)), 5000)}
	m.boxes["INBOX"] = e.mallard.mailbox(t, m.user, "INBOX")
	for i, path := range mixedPaths[1:] {
		m.boxes[path] = e.nodes()[i].must(t, http.MethodPost, m.user.path("/mailboxes"), answer{"path": path}).str("id")
		e.mallard.stored(t, m.user, m.boxes[path])
		e.wildduck.stored(t, m.user, m.boxes[path])
	}
	for i := range mixedShared {
		e.nodes()[i%2].login(t, m.user).Append("INBOX", "$Shared", []byte(m.message(fmt.Sprint("shared ", i))))
	}
	for i := range mixedDoomed {
		e.nodes()[i%2].upload(t, m.user, m.boxes["Right"], m.message(fmt.Sprint("doomed ", i)))
	}
	e.truth(t, m.user, "the beginning") // every counter is cached now
	return m
}

func (m *mixture) id(path string) string { return m.boxes[path] }

// message makes one with an attachment that the others have as well.
func (m *mixture) message(subject string) string {
	message, _ := withAttachment(m.data)
	message = strings.Replace(message, "Subject: attached", "Subject: "+subject, 1)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.texts[subject] = message
	return message
}

// expect says that there are as many of a message in a mailbox as there were, and n more.
func (m *mixture) expect(subject, path string, n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.want[subject] == nil {
		m.want[subject] = map[string]int{}
	}
	m.want[subject][path] += n
}

func (m *mixture) deliveries(t *testing.T, n *node) {
	for i := range mixedDeliveries {
		subject := fmt.Sprint(n.name, " delivered ", i)
		n.deliver(t, m.user.address, m.message(subject))
		m.expect(subject, "INBOX", 1)
	}
}

var (
	appendUID = regexp.MustCompile(`APPENDUID \d+ (\d+)`)
	copyUID   = regexp.MustCompile(`COPYUID \d+ \d+ (\d+)\]`)
)

// uidOf finds the one UID that an answer tells of.
func uidOf(t testing.TB, re *regexp.Regexp, lines ...string) string {
	t.Helper()
	found := re.FindStringSubmatch(strings.Join(lines, "\n"))
	if found == nil {
		t.Fatalf("no %s in %q", re, lines)
	}
	return found[1]
}

// do is OK that returns the tagged response as well.
func do(t testing.TB, s *harness.Session, command string) []string {
	t.Helper()
	untagged, status := s.Do(command)
	if !strings.HasPrefix(status, "OK") {
		t.Fatalf("%s: %s", command, status)
	}
	return append(untagged, status)
}

// byIMAP appends messages, flags them, copies them to the left and moves them to the right, where it expunges every third.
func (m *mixture) byIMAP(t *testing.T, n *node) {
	s := n.login(t, m.user)
	for i := range mixedRounds {
		subject := fmt.Sprint(n.name, " imap ", i)
		uid := uidOf(t, appendUID, s.Append("INBOX", "", []byte(m.message(subject))))
		s.OK("SELECT INBOX (CONDSTORE)") // anew each time: a session of WildDuck may not know yet what has come
		s.OK(fmt.Sprintf(`UID STORE %s +FLAGS (\Seen $A%d)`, uid, i%3))
		do(t, s, fmt.Sprintf("UID COPY %s Left", uid))
		m.expect(subject, "Left", 1)
		s.OK(fmt.Sprintf(`UID STORE %s -FLAGS (\Seen)`, uid))
		moved := uidOf(t, copyUID, do(t, s, fmt.Sprintf("UID MOVE %s Right", uid))...)
		s.OK("SELECT Right (CONDSTORE)")
		s.OK(fmt.Sprintf(`UID STORE %s +FLAGS (\Flagged)`, moved))
		if i%3 != 0 {
			m.expect(subject, "Right", 1)
			continue
		}
		s.OK(fmt.Sprintf(`UID STORE %s +FLAGS.SILENT (\Deleted)`, moved))
		s.OK("UID EXPUNGE " + moved)
	}
}

// byAPI uploads messages, changes them, and moves or deletes them.
func (m *mixture) byAPI(t *testing.T, n *node) {
	for i := range mixedRounds {
		subject := fmt.Sprint(n.name, " api ", i)
		path := m.user.path("/mailboxes/%s/messages/%d", m.boxes["Left"], n.upload(t, m.user, m.boxes["Left"], m.message(subject)))
		n.must(t, http.MethodPut, path, answer{"seen": true})
		n.must(t, http.MethodPut, path, answer{"flagged": true})
		switch i % 3 {
		case 0:
			n.must(t, http.MethodDelete, path, nil)
		case 1:
			n.must(t, http.MethodPut, path, answer{"moveTo": m.boxes["INBOX"]})
			m.expect(subject, "INBOX", 1)
		default:
			n.must(t, http.MethodPut, path, answer{"seen": false})
			m.expect(subject, "Left", 1)
		}
	}
}

// passAround moves what everybody moves from one mailbox to the next, all of it that it finds.
func (m *mixture) passAround(t *testing.T, n *node) {
	s := n.login(t, m.user)
	for i := range mixedRing * len(mixedPaths) {
		s.OK("SELECT " + mixedPaths[i%len(mixedPaths)])
		if found := search(t, s, "KEYWORD $Shared"); len(found) > 0 {
			set := strings.Trim(strings.ReplaceAll(fmt.Sprint(found), " ", ","), "[]")
			do(t, s, fmt.Sprintf("UID MOVE %s %s", set, mixedPaths[(i+1)%len(mixedPaths)]))
		}
	}
}

// expunge removes the messages that everybody removes, a few at a time.
func (m *mixture) expunge(t *testing.T, n *node) {
	s := n.login(t, m.user)
	for i := range mixedDoomed / 4 {
		s.OK("SELECT Right")
		s.OK(fmt.Sprintf(`UID STORE %d:%d +FLAGS.SILENT (\Deleted)`, 4*i+1, 4*i+4))
		s.OK("EXPUNGE")
	}
}

// expected is what must be there: subjects by path, each as often as it must be, without what is shared.
func (m *mixture) expected() map[string][]string {
	all := map[string][]string{}
	for _, subject := range slices.Sorted(maps.Keys(m.want)) {
		for path, n := range m.want[subject] {
			all[path] = append(all[path], slices.Repeat([]string{subject}, n)...)
		}
	}
	return all
}
