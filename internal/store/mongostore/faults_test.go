package mongostore

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"mallard/internal/mail"
	"mallard/internal/store"
	"mallard/internal/testserver/faultproxy"
)

// faultTimeout is Options.Timeout of the node whose requests are cut off, slowTimeout of the one that gives up waiting.
const (
	faultTimeout = 2 * time.Second
	slowTimeout  = 600 * time.Millisecond
)

// faultKinds are the ways in which a request fails: connections are cut, half closed, or so slow that the node gives up
// while the server still acts, or the server says that it is no longer the primary; before the server has seen the request, and after it has carried it out.
func faultKinds() []faultproxy.Fault {
	kinds := []faultproxy.Fault{
		{Where: faultproxy.Request}, {Where: faultproxy.Request, How: faultproxy.HalfClose, Octets: -1},
		{Where: faultproxy.Answer}, {Where: faultproxy.Answer, How: faultproxy.HalfClose},
	}
	if os.Getenv("MALLARD_STORETEST_LONG") != "" {
		kinds = faultproxy.Cuts()
	}
	slow := slowTimeout + slowTimeout/4
	kinds = append(kinds, faultproxy.Fault{Where: faultproxy.Request, How: faultproxy.Deny}, faultproxy.Fault{Where: faultproxy.Answer, How: faultproxy.Deny})
	return append(kinds, faultproxy.Fault{Where: faultproxy.Request, How: faultproxy.Wait, Time: slow}, faultproxy.Fault{Where: faultproxy.Answer, How: faultproxy.Wait, Time: slow})
}

// faultyChanges are what is done on a node whose requests fail: to an account with three messages in INBOX and a mailbox a.
func faultyChanges() map[string]func(c *cluster, far *Store) error {
	ctx := context.Background()
	some := mail.UIDSet{{First: 2, Last: 3}}
	return map[string]func(c *cluster, far *Store) error{
		"append": func(c *cluster, far *Store) error { _, err := c.append(far, c.boxes[0], 2); return err },
		"flags": func(c *cluster, far *Store) error {
			_, err := far.UpdateFlags(ctx, c.acct, c.boxes[0], store.FlagUpdate{UIDs: mail.AllUIDs(), Flags: mail.NewFlags(mail.Seen, "kw")})
			return err
		},
		"expunge": func(c *cluster, far *Store) error {
			_, err := far.Expunge(ctx, c.acct, c.boxes[0], some, false)
			return err
		},
		"delete": func(c *cluster, far *Store) error {
			_, err := far.Delete(ctx, c.acct, c.boxes[0], some, true)
			return err
		},
		"move": func(c *cluster, far *Store) error {
			_, err := far.Move(ctx, c.acct, c.boxes[0], c.boxes[1], some)
			return err
		},
		"copy": func(c *cluster, far *Store) error {
			c.copies = true
			_, err := far.Copy(ctx, c.acct, c.boxes[0], c.boxes[1], some, 0)
			return err
		},
		"rename": func(c *cluster, far *Store) error {
			return far.RenameMailboxes(ctx, c.acct, []store.Rename{{ID: c.boxes[1], Path: "b"}})
		},
		"create": func(c *cluster, far *Store) error {
			_, err := far.CreateMailbox(ctx, c.acct, mail.Mailbox{Path: "new"}, 0)
			return err
		},
		"subscribe": func(c *cluster, far *Store) error {
			_, err := far.UpdateMailbox(ctx, c.acct, c.boxes[1], func(m *mail.Mailbox) error { m.Subscribed = !m.Subscribed; return nil })
			return err
		},
		"subscribe a name": func(c *cluster, far *Store) error { return far.Subscribe(ctx, c.acct, "name", true, 1000) },
		"unsubscribe what was deleted": func(c *cluster, far *Store) error {
			return far.Subscribe(ctx, c.acct, "a", false, 1000)
		},
		"unsubscribe": func(c *cluster, far *Store) error {
			return far.Subscribe(ctx, c.acct, "a", false, 1000)
		},
		"delete a subscribed mailbox": func(c *cluster, far *Store) error {
			return far.DeleteMailbox(ctx, c.acct, c.boxes[1], 1000)
		},
		"rename to a subscribed name": func(c *cluster, far *Store) error {
			return far.RenameMailboxes(ctx, c.acct, []store.Rename{{ID: c.boxes[1], Path: "b"}})
		},
		"delete mailbox": func(c *cluster, far *Store) error { return far.DeleteMailbox(ctx, c.acct, c.boxes[1], 1000) },
		"read":           readAll,
	}
}

// prepareFault makes of an account what a change of faultyChanges starts from.
func (c *cluster) prepareFault(name string) {
	c.Helper()
	switch name {
	case "unsubscribe", "delete a subscribed mailbox":
		c.subscribe("a")
	case "unsubscribe what was deleted":
		c.subscribe("a")
		must(c, c.nodes[0].DeleteMailbox(context.Background(), c.acct, c.boxes[1], 1000))
		c.boxes = c.boxes[:1]
	case "rename to a subscribed name":
		c.subscribe("b")
	}
}

// subscribe subscribes a path, with a node that nothing fails.
func (c *cluster) subscribe(path string) {
	c.Helper()
	must(c, c.nodes[0].Subscribe(context.Background(), c.acct, path, true, 1000))
}

// readAll reads all that a session does. What is read without an error is whole.
func readAll(c *cluster, far *Store) error {
	ctx := context.Background()
	if boxes, err := far.ListMailboxes(ctx, c.acct); err != nil || len(boxes) != len(c.boxes) {
		return cmp.Or(err, fmt.Errorf("there are %d mailboxes", len(boxes)))
	}
	if set, err := far.Changes(ctx, c.acct, c.boxes[0], 0); err != nil || set.Changed.Len() != 3 {
		return cmp.Or(err, fmt.Errorf("the changes are %+v", set))
	}
	n := 0
	for row, err := range far.Fetch(ctx, c.acct, c.boxes[0], store.FetchQuery{Fields: documentFields}) {
		if err != nil {
			return err
		}
		body, err := row.Open()
		if err != nil {
			return err
		}
		var octets bytes.Buffer
		err = body.WriteRange(&octets, 0, body.Size())
		if err := errors.Join(err, body.Close()); err != nil {
			return err
		}
		if !strings.HasSuffix(octets.String(), "\r\n\r\nmessage\r\n") {
			return fmt.Errorf("UID %d is %q", row.UID, octets.String())
		}
		n++
	}
	if n != 3 {
		return fmt.Errorf("there are %d messages", n)
	}
	return nil
}

// Each request of each change fails in turn, in every way. The client gets success or a temporary error; nothing is lost or
// doubled, no quota drifts, and a change that failed without ErrOutcomeUnknown did not happen.
func TestFaults(t *testing.T) {
	t.Parallel()
	all := newCluster(t, 1, "a")
	for name, change := range faultyChanges() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := strings.TrimSuffix(strings.TrimPrefix(os.Getenv("MALLARD_TEST_MONGO"), "mongodb://"), "/")
			proxy := faultproxy.Start(t, server, faultproxy.Mongo)
			node := func(timeout time.Duration) *Store {
				return reopenStore(t, proxy.In(all.uri), func(o *Options) { o.Lease, o.Timeout = testLease, timeout })
			}
			cut, slow := node(faultTimeout), node(slowTimeout)
			n := 0
			for _, f := range faultKinds() {
				far := cut
				if f.How == faultproxy.Wait {
					far = slow
				}
				proxy.Each(t, f, func(t *testing.T, _ int) {
					n++
					faulty := all.sibling(t, fmt.Sprintf("%s-%d", strings.ReplaceAll(name, " ", "-"), n), "a")
					faulty.fill(all.nodes[0], faulty.boxes[0], 3)
					faulty.prepareFault(name)
					faulty.meetsFault(func() error { return change(faulty, far) })
					if name == "create" {
						faulty.announced("new")
					}
				})
			}
		})
	}
}

// meetsFault checks what a change leaves of which a request fails.
func (c *cluster) meetsFault(change func() error) {
	c.Helper()
	before := c.describe()
	err := change()
	if err != nil && !mail.CodeOf(err).Temporary() {
		c.Errorf("the change failed for ever: %v", err)
	}
	if after := c.describe(); err != nil && !errors.Is(err, store.ErrOutcomeUnknown) && after != before {
		c.Errorf("the change failed (%v) and yet there is %s where there was %s", err, after, before)
	}
	for end := time.Now().Add(20 * time.Second); !c.balanced() && time.Now().Before(end); {
		time.Sleep(50 * time.Millisecond)
	}
	c.sound()
}

// announced checks that the journal tells of a mailbox if it is there.
func (c *cluster) announced(path string) {
	c.Helper()
	made := count(c, c.nodes[0].mailboxes(), bson.D{{Key: "user", Value: oid(c.acct)}, {Key: "path", Value: path}})
	told := c.told(string(store.JournalCreate))
	for end := time.Now().Add(20 * time.Second); told < made && time.Now().Before(end); told = c.told(string(store.JournalCreate)) {
		time.Sleep(50 * time.Millisecond)
	}
	if told != made {
		c.Errorf("there are %d mailboxes %q, and the journal tells of %d", made, path, told)
	}
}

// describe is what a client sees of the account.
func (c *cluster) describe() string {
	c.Helper()
	var b strings.Builder
	boxes, names, err := c.nodes[0].Subscriptions(context.Background(), c.acct)
	if err != nil {
		c.Fatal(err)
	}
	fmt.Fprintf(&b, "names %q; ", names)
	for _, box := range boxes {
		fmt.Fprintf(&b, "%s (subscribed %t):", box.Path, box.Subscribed)
		for row, err := range c.nodes[0].Fetch(context.Background(), c.acct, box.ID, store.FetchQuery{}) {
			if err != nil {
				c.Fatal(err)
			}
			fmt.Fprintf(&b, " %d %v", row.UID, row.Flags.List())
		}
		b.WriteString("; ")
	}
	return b.String()
}

// balanced reports whether what is counted is what there is.
func (c *cluster) balanced() bool {
	c.Helper()
	doc, err := c.nodes[0].userDoc(context.Background(), bson.E{Key: "_id", Value: oid(c.acct)})
	if err != nil {
		c.Fatal(err)
	}
	sum, err := c.nodes[0].sumSizes(context.Background(), oid(c.acct))
	if err != nil {
		c.Fatal(err)
	}
	return integer(doc.Lookup("storageUsed")) == sum
}
