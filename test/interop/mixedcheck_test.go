//go:build e2e

package interop

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"mallard/test/e2e/harness"
)

// A document is what a message's document says of its place and state.
type document struct {
	ID      bson.ObjectID `bson:"_id"`
	Mailbox bson.ObjectID
	UID     int
	Modseq  int64
	Flags   []string
	Subject string
}

func (m document) state() string {
	flags := slices.Clone(m.Flags)
	slices.Sort(flags)
	return strings.Join(flags, " ")
}

// stores are the messages of an account by mailbox and UID.
type stores []document

func (s stores) uids(mailbox string) []int {
	var all []int
	for _, m := range s {
		if m.Mailbox.Hex() == mailbox {
			all = append(all, m.UID)
		}
	}
	return all
}

// rows reads all documents of a filter.
func rows[T any](ctx context.Context, c *mongo.Collection, filter any, o ...options.Lister[options.FindOptions]) ([]T, error) {
	cur, err := c.Find(ctx, filter, o...)
	if err != nil {
		return nil, err
	}
	var all []T
	err = cur.All(ctx, &all)
	return all, err
}

// owner is the filter for what belongs to the account.
func (m *mixture) owner() bson.D {
	id, _ := bson.ObjectIDFromHex(m.user.id)
	return bson.D{{Key: "user", Value: id}}
}

func (m *mixture) documents(ctx context.Context) (stores, error) {
	all, err := rows[document](ctx, m.e.db.Collection("messages"), m.owner())
	slices.SortFunc(all, func(a, b document) int {
		return cmp.Or(strings.Compare(a.Mailbox.Hex(), b.Mailbox.Hex()), cmp.Compare(a.UID, b.UID))
	})
	return all, err
}

// highest reads the highest mod-sequence of each mailbox.
func (m *mixture) highest(ctx context.Context) (map[bson.ObjectID]int64, error) {
	boxes, err := rows[struct {
		ID          bson.ObjectID `bson:"_id"`
		ModifyIndex int64
	}](ctx, m.e.db.Collection("mailboxes"), m.owner())
	all := map[bson.ObjectID]int64{}
	for _, b := range boxes {
		all[b.ID] = b.ModifyIndex
	}
	return all, err
}

// A place is a UID of a mailbox.
type place struct {
	mailbox bson.ObjectID
	uid     int
}

// A watch looks at the database and at what Mallard shows all the time while others change it.
type watch struct {
	m    *mixture
	t    *testing.T
	end  chan struct{}
	work sync.WaitGroup

	mu     sync.Mutex
	ids    map[place]bson.ObjectID    // the message that has a UID
	states map[place]map[int64]string // its flags by mod-sequence
	looks  int
}

func (m *mixture) startWatch(t *testing.T) *watch {
	t.Helper()
	w := &watch{m: m, t: t, end: make(chan struct{}), ids: map[place]bson.ObjectID{}, states: map[place]map[int64]string{}}
	s := m.e.mallard.login(t, m.user)
	w.work.Go(func() { w.each(w.database()) })
	w.work.Go(func() { w.each(w.sessions(s)) })
	return w
}

// each looks again and again until the end, and once more then.
func (w *watch) each(look func()) {
	for !w.t.Failed() {
		select {
		case <-w.end:
			look()
			return
		case <-time.After(20 * time.Millisecond): // the others are to have the machine
			look()
		}
	}
}

// stop ends it.
func (w *watch) stop() {
	w.t.Helper()
	close(w.end)
	w.work.Wait()
	w.t.Logf("looked %d times", w.looks)
	if !w.t.Failed() && w.looks < 4 {
		w.t.Errorf("looked only %d times", w.looks)
	}
}

// see notes the state of a message, and checks that it is the only one with this UID, and the only state with this
// mod-sequence.
func (w *watch) see(by string, p place, modseq int64, state string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.states[p] == nil {
		w.states[p] = map[int64]string{}
	}
	old, ok := w.states[p][modseq]
	if ok && old != state {
		w.t.Errorf("%s: UID %d of %s is [%s] with MODSEQ %d, and was [%s]", by, p.uid, p.mailbox.Hex(), state, modseq, old)
	}
	w.states[p][modseq] = state
}

// forward checks that a number that is seen by one observer does not go back.
func forward[K comparable](t *testing.T, by string, last map[K]int64, key K, now int64) {
	if now < last[key] {
		t.Errorf("%s: MODSEQ of %v is %d, and was %d", by, key, now, last[key])
	}
	last[key] = now
}

func (w *watch) database() func() {
	boxes, messages := map[bson.ObjectID]int64{}, map[place]int64{}
	return func() {
		all, err := w.m.documents(w.t.Context())
		if err != nil {
			w.t.Errorf("look at the messages: %v", err)
			return
		}
		highest, err := w.m.highest(w.t.Context())
		if err != nil {
			w.t.Errorf("look at the mailboxes: %v", err)
			return
		}
		for id, n := range highest {
			forward(w.t, "the database", boxes, id, n)
		}
		for _, m := range all {
			p := place{m.Mailbox, m.UID}
			forward(w.t, "the database", messages, p, m.Modseq)
			w.see("the database", p, m.Modseq, m.state())
			if m.Modseq > highest[m.Mailbox] {
				w.t.Errorf("UID %d of %s has MODSEQ %d, the mailbox %d", m.UID, m.Mailbox.Hex(), m.Modseq, highest[m.Mailbox])
			}
			w.is(p, m.ID)
		}
		w.mu.Lock()
		w.looks++
		w.mu.Unlock()
	}
}

// is notes which message has a UID: no other may have it, ever.
func (w *watch) is(p place, id bson.ObjectID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if old, ok := w.ids[p]; ok && old != id {
		w.t.Errorf("UID %d of %s is the message %s, and was %s", p.uid, p.mailbox.Hex(), id.Hex(), old.Hex())
	}
	w.ids[p] = id
}

// sessions is a user of Mallard who reads one mailbox after the other.
func (w *watch) sessions(s *harness.Session) func() {
	boxes, messages, turn := map[string]int64{}, map[place]int64{}, 0
	return func() {
		path := mixedPaths[turn%len(mixedPaths)]
		turn++
		id, _ := bson.ObjectIDFromHex(w.m.boxes[path])
		var highest int64
		fmt.Sscan(s.Expect(s.OK(fmt.Sprintf("SELECT %s (CONDSTORE)", path)), `HIGHESTMODSEQ (\d+)`)[1], &highest)
		forward(w.t, "Mallard", boxes, path, highest)
		for uid, items := range fetchAll(w.t, s, "1:*", "FLAGS MODSEQ") {
			p := place{id, uid}
			var modseq int64
			fmt.Sscan(items["MODSEQ"].list[0].text, &modseq)
			forward(w.t, "Mallard", messages, p, modseq)
			names := strings.Fields(flags(items["FLAGS"]))
			slices.Sort(names)
			w.see("Mallard", p, modseq, strings.Join(names, " "))
		}
	}
}

// checkDocuments: there is what the workers have left, and no UID twice, not in the archive either.
func (m *mixture) checkDocuments(t *testing.T) stores {
	t.Helper()
	all, err := m.documents(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	archived, err := rows[document](t.Context(), m.e.db.Collection("archived"), m.owner())
	if err != nil {
		t.Fatal(err)
	}
	ids := map[place]bson.ObjectID{}
	for _, d := range slices.Concat(all, archived) {
		p := place{d.Mailbox, d.UID}
		if old, ok := ids[p]; ok {
			t.Errorf("UID %d of %s is %s and %s", d.UID, d.Mailbox.Hex(), old.Hex(), d.ID.Hex())
		}
		ids[p] = d.ID
	}
	have, shared := map[string][]string{}, map[string]int{}
	for _, d := range all {
		if strings.HasPrefix(d.Subject, "shared ") {
			shared[d.Subject]++
			continue
		}
		for path, id := range m.boxes {
			if id == d.Mailbox.Hex() {
				have[path] = append(have[path], d.Subject)
			}
		}
	}
	want := m.expected()
	for _, path := range mixedPaths {
		slices.Sort(have[path])
		if !slices.Equal(have[path], want[path]) {
			t.Errorf("%s has %q, want %q", path, have[path], want[path])
		}
	}
	for i := range mixedShared {
		if n := shared[fmt.Sprint("shared ", i)]; n != 1 {
			t.Errorf("there are %d of shared message %d", n, i)
		}
	}
	return all
}

// A journalled is a row of the journal about a message.
type journalled struct {
	Command string
	Mailbox bson.ObjectID
	UID     int
	Modseq  int64
	Message bson.ObjectID
	Flags   []string
}

// checkJournal: the journal tells of each message once that it came, and once that it went if it is gone; no mod-sequence is
// that of two changes of one message, or of changes of two kinds. All flags here are changed one message at a time, so that
// each such change has a mod-sequence of its own.
func (m *mixture) checkJournal(t *testing.T, list stores) {
	t.Helper()
	all, err := rows[journalled](t.Context(), m.e.db.Collection("journal"), append(m.owner(), bson.E{Key: "uid", Value: bson.D{{Key: "$exists", Value: true}}}),
		options.Find().SetSort(bson.D{{Key: "_id", Value: 1}}))
	if err != nil {
		t.Fatal(err)
	}
	type change struct {
		mailbox bson.ObjectID
		modseq  int64
	}
	came, went, kinds := map[place]bson.ObjectID{}, map[place]bool{}, map[change]string{}
	for _, r := range all {
		p := place{r.Mailbox, r.UID}
		switch r.Command {
		case "EXISTS":
			if old, ok := came[p]; ok {
				t.Errorf("UID %d of %s came as %s and as %s", r.UID, r.Mailbox.Hex(), old.Hex(), r.Message.Hex())
			}
			came[p] = r.Message
		case "EXPUNGE":
			if went[p] {
				t.Errorf("UID %d of %s went twice", r.UID, r.Mailbox.Hex())
			}
			went[p] = true
		}
		kind, c := r.Command, change{r.Mailbox, r.Modseq}
		if kind == "FETCH" {
			kind = fmt.Sprintf("FETCH %d %q", r.UID, r.Flags)
		}
		if old, ok := kinds[c]; ok && old != kind && !m.doomed(r) {
			t.Errorf("MODSEQ %d of %s is that of %s and of %s", r.Modseq, r.Mailbox.Hex(), old, kind)
		}
		kinds[c] = kind
	}
	there := map[place]bool{}
	for _, d := range list {
		p := place{d.Mailbox, d.UID}
		there[p] = true
		if went[p] || came[p] != d.ID {
			t.Errorf("the journal says of UID %d of %s, %s, that %s came and that it went: %v", d.UID, d.Mailbox.Hex(), d.ID.Hex(), came[p].Hex(), went[p])
		}
	}
	for p := range came {
		if !went[p] && !there[p] {
			t.Errorf("the journal does not tell that UID %d of %s is gone", p.uid, p.mailbox.Hex())
		}
	}
}

// doomed tells whether a row is about the messages that are flagged several at a time.
func (m *mixture) doomed(r journalled) bool {
	return r.Command == "FETCH" && r.Mailbox.Hex() == m.boxes["Right"] && r.UID <= mixedDoomed
}

// checkNodes: both nodes list the same mailboxes with the same messages, by IMAP and by the API, and give the octets back.
func (m *mixture) checkNodes(t *testing.T, list stores) {
	t.Helper()
	lists := map[string][]string{}
	for _, n := range m.e.nodes() {
		s := n.login(t, m.user)
		lists[n.name] = slices.Sorted(slices.Values(s.Mailboxes()))
		for _, path := range mixedPaths {
			s.OK(fmt.Sprintf("EXAMINE %s (CONDSTORE)", path))
			messages := fetchAll(t, s, "1:*", "FLAGS MODSEQ ENVELOPE BODY.PEEK[]")
			lists[n.name] = append(lists[n.name], m.show(t, n, path, messages)...)
			if want := list.uids(m.boxes[path]); len(messages) != len(want) || !slices.Equal(uids(t, s), want) {
				t.Errorf("%s lists %v in %s, the database %v", n.name, uids(t, s), path, want)
			}
			if api := n.messages(t, m.user, m.boxes[path]); !slices.Equal(apiUIDs(api), list.uids(m.boxes[path])) {
				t.Errorf("%s lists %v in %s by the API, the database %v", n.name, apiUIDs(api), path, list.uids(m.boxes[path]))
			}
		}
	}
	a, b := m.e.mallard.name, m.e.wildduck.name
	for i := range max(len(lists[a]), len(lists[b])) {
		if x, y := at(lists[a], i), at(lists[b], i); x != y {
			t.Errorf("%s has\n%s\n%s\n%s", a, x, b, y)
		}
	}
}

func at(list []string, i int) string {
	if i < len(list) {
		return list[i]
	}
	return "nothing"
}

// apiUIDs are the UIDs of a list of the API, which is in the order of the dates.
func apiUIDs(messages []answer) []int {
	var all []int
	for _, a := range messages {
		all = append(all, a.num("id"))
	}
	slices.Sort(all)
	return all
}

// show describes messages and checks their octets.
func (m *mixture) show(t *testing.T, n *node, path string, messages map[int]map[string]value) []string {
	t.Helper()
	var all []string
	for uid, items := range messages {
		subject := items["ENVELOPE"].list[1].text
		if got := harness.Undelivered(items["BODY[]"].text); got != m.texts[subject] {
			t.Errorf("%s: UID %d of %s, %q, is %q", n.name, uid, path, subject, clip(got))
		}
		names := strings.Fields(flags(items["FLAGS"]))
		slices.Sort(names)
		all = append(all, fmt.Sprintf("%s %6d %q %q MODSEQ %s", path, uid, subject, names, items["MODSEQ"]))
	}
	slices.Sort(all)
	return all
}

// checkEvents: who has followed the events of Mallard knows what is where.
func (m *mixture) checkEvents(t *testing.T, events *stream, list stores) {
	t.Helper()
	problem := ""
	if !harness.Until(time.Minute, func() bool { problem = m.followed(events.all(), list); return problem == "" }) {
		t.Error(problem)
	}
}

// followed compares what events tell with what is there. What was there before they began came without an event.
func (m *mixture) followed(events []answer, list stores) string {
	came, went := map[string]bool{}, map[string]bool{}
	for _, e := range events {
		key := fmt.Sprint(e["mailbox"], " ", e["uid"])
		switch e.str("command") {
		case "EXISTS":
			if came[key] {
				return "told twice of " + key
			}
			came[key] = true
		case "EXPUNGE":
			if went[key] {
				return "told twice that " + key + " is gone"
			}
			went[key] = true
		}
	}
	there := map[string]bool{}
	for _, d := range list {
		key := fmt.Sprint(d.Mailbox.Hex(), " ", d.UID)
		there[key] = true
		if !came[key] || went[key] {
			return fmt.Sprintf("events tell of %s that it came: %v, that it went: %v", key, came[key], went[key])
		}
	}
	for key := range came {
		if !there[key] && !went[key] {
			return "events do not tell that " + key + " is gone"
		}
	}
	return ""
}
