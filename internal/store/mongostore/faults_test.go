package mongostore

import (
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

// Each request of each change fails in turn, in ways that end the connection, before the server has seen it and after it
// has carried it out. The client gets success or a temporary error; nothing is lost or doubled, no quota drifts, and a
// change that failed without ErrOutcomeUnknown did not happen.
func TestFaults(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1, "a")
	server := strings.TrimSuffix(strings.TrimPrefix(os.Getenv("MALLARD_TEST_MONGO"), "mongodb://"), "/")
	proxy := faultproxy.Start(t, server, faultproxy.Mongo)
	far := reopenStore(t, proxy.In(c.uri), func(o *Options) { o.Lease, o.Timeout = testLease, 2*time.Second })
	ctx := context.Background()
	faults := faultproxy.Cuts()
	if os.Getenv("MALLARD_STORETEST_LONG") == "" {
		faults = []faultproxy.Fault{{Where: faultproxy.Request}, {Where: faultproxy.Answer}}
	}
	near := c.nodes[0]
	for name, change := range map[string]func(c *cluster) error{
		"append": func(c *cluster) error { _, err := c.append(far, c.boxes[0], 2); return err },
		"flags": func(c *cluster) error {
			_, err := far.UpdateFlags(ctx, c.acct, c.boxes[0], store.FlagUpdate{UIDs: mail.AllUIDs(), Flags: mail.NewFlags(mail.Seen, "kw")})
			return err
		},
		"expunge": func(c *cluster) error {
			_, err := far.Expunge(ctx, c.acct, c.boxes[0], mail.UIDSet{{First: 2, Last: 3}}, false)
			return err
		},
		"move": func(c *cluster) error {
			_, err := far.Move(ctx, c.acct, c.boxes[0], c.boxes[1], mail.UIDSet{{First: 2, Last: 3}})
			return err
		},
		"rename": func(c *cluster) error {
			return far.RenameMailboxes(ctx, c.acct, []store.Rename{{ID: c.boxes[1], Path: "b"}})
		},
		"create": func(c *cluster) error {
			_, err := far.CreateMailbox(ctx, c.acct, mail.Mailbox{Path: "new"}, 0)
			return err
		},
	} {
		for i, f := range faults {
			t.Run(name, func(t *testing.T) {
				proxy.Each(t, f, func(t *testing.T, n int) {
					c := c.sibling(t, strings.Join([]string{name, string(rune('a' + i)), time.Now().Format("150405.000000")}, "-"), "a")
					c.fill(near, c.boxes[0], 3)
					before := c.describe()
					err := change(c)
					if err != nil && !mail.CodeOf(err).Temporary() {
						t.Errorf("the change failed for ever: %v", err)
					}
					if after := c.describe(); err != nil && !errors.Is(err, store.ErrOutcomeUnknown) && after != before {
						t.Errorf("the change failed (%v) and yet there is %s where there was %s", err, after, before)
					}
					for end := time.Now().Add(20 * time.Second); !c.balanced() && time.Now().Before(end); {
						time.Sleep(50 * time.Millisecond)
					}
					c.sound()
				})
			})
		}
	}
}

// describe is what a client sees of the account.
func (c *cluster) describe() string {
	c.Helper()
	var b strings.Builder
	boxes, err := c.nodes[0].ListMailboxes(context.Background(), c.acct)
	if err != nil {
		c.Fatal(err)
	}
	for _, box := range boxes {
		fmt.Fprintf(&b, "%s:", box.Path)
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
