package mongostore

import (
	"context"
	"errors"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"mallard/internal/mail"
	"mallard/internal/store"
	"mallard/internal/testserver"
	"mallard/internal/testserver/faultproxy"
)

// lostAnswer appends a message on a node whose database carries out the insert, loses the answer and is gone for a while.
func lostAnswer(t *testing.T, gone func(timeout time.Duration) time.Duration) (*cluster, error) {
	t.Helper()
	c := &cluster{TB: t, uri: testserver.Mongo(t)}
	c.node(hasty)
	c.account("user")
	server := strings.TrimSuffix(strings.TrimPrefix(os.Getenv("MALLARD_TEST_MONGO"), "mongodb://"), "/")
	proxy := faultproxy.Start(t, server, faultproxy.Mongo)
	far := reopenStore(t, proxy.In(c.uri), func(o *Options) { o.Lease, o.Timeout, o.Dead = testLease, 2*time.Second, time.Minute })
	var tries atomic.Int32
	far.hook = func(step string) error {
		if step != "insert" {
			return nil
		}
		switch tries.Add(1) {
		case 1:
			proxy.Fail(1, faultproxy.Fault{Where: faultproxy.Answer})
		case 2:
			proxy.Refuse()
			time.AfterFunc(gone(far.o.Timeout), proxy.Heal)
		}
		return nil
	}
	_, err := c.append(far, c.boxes[0], 1)
	if tries.Load() < 2 {
		t.Fatalf("no answer was lost (%v)", err)
	}
	return c, err
}

// Who stores a message and does not get the answer asks for as long as a client waits, and finds that it is stored.
func TestLostAnswerIsFound(t *testing.T) {
	t.Parallel()
	c, err := lostAnswer(t, func(timeout time.Duration) time.Duration { return timeout * 5 / 2 })
	if err != nil {
		t.Errorf("the message is stored, and its client is told %v", err)
	}
	if n := len(c.truth(c.boxes[0])); n != 1 {
		t.Errorf("there are %d messages", n)
	}
	c.balance()
	c.sound()
}

// told counts the journal rows of a command.
func (c *cluster) told(command string) int64 {
	return count(c, c.nodes[0].journal(), bson.D{{Key: "user", Value: oid(c.acct)}, {Key: "command", Value: command}})
}

// When the outage is longer than clients wait the error says that the message may be stored. It is taken back in the end:
// its client comes again.
func TestLostAnswerStaysUnknown(t *testing.T) {
	t.Parallel()
	c, err := lostAnswer(t, func(timeout time.Duration) time.Duration { return (patience + 1) * timeout })
	if !errors.Is(err, store.ErrOutcomeUnknown) || !mail.CodeOf(err).Temporary() {
		t.Errorf("the client is told %v", err)
	}
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if c.told("EXPUNGE") == 1 && len(c.truth(c.boxes[0])) == 0 {
			c.balance()
			c.sound()
			if n := c.told("EXISTS"); n != 1 {
				t.Errorf("the journal told %d times that the message came", n)
			}
			return
		}
	}
	t.Error("the message stays, although its client was told to come again")
}

// A move of which it is not known whether the copies are there does not take back what the originals have: octets that were
// not counted for the copies, references that are those of the originals.
func TestUnknownMoveKeepsWhatIsCounted(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	for _, move := range []bool{true, false} {
		c := newCluster(t, 1, "a")
		s := c.nodes[0]
		raw := mixed("\r\n", wrapped(random(1000, 1), 76, "\r\n"), wrapped(random(1000, 1), 76, "\r\n"))
		st, err := s.Stage(ctx, contentOf(raw))
		must(t, err)
		_, err = s.Append(ctx, c.acct, c.boxes[0], []store.Append{{Staged: st, InternalDate: time.Now()}})
		must(t, err)
		must(t, st.Close())
		file := referencesOf(only(t, s.messages(), bson.D{{Key: "user", Value: oid(c.acct)}})).ids[0]
		wantC, wantM, _ := s.counters(t, file)
		far := reopenStore(t, c.uri, func(o *Options) { o.Lease, o.patient, o.Timeout = testLease, 10*time.Second, 200*time.Millisecond })
		var lost atomic.Int32
		far.hook = func(step string) error {
			if step == "insert" { // the request is lost, and nobody knows
				lost.Add(1)
				return context.DeadlineExceeded
			}
			return nil
		}
		if move {
			_, err = far.Move(ctx, c.acct, c.boxes[0], c.boxes[1], mail.AllUIDs())
		} else {
			_, err = far.Copy(ctx, c.acct, c.boxes[0], c.boxes[1], mail.AllUIDs(), 0)
		}
		if !errors.Is(err, store.ErrOutcomeUnknown) || lost.Load() == 0 {
			t.Fatalf("move %v: %v", move, err)
		}
		time.Sleep(3 * testLease)
		c.balance()
		c.sound()
		if gotC, gotM, _ := s.counters(t, file); gotC != wantC || gotM != wantM {
			t.Errorf("move %v: the file has the references %d, %d, want %d, %d", move, gotC, gotM, wantC, wantM)
		}
	}
}
