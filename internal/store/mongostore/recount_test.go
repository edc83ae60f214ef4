package mongostore

import (
	"context"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"mallard/internal/mail"
	"mallard/internal/testserver/faultproxy"
)

// What was counted for a message that was not stored is taken off again, also when so many other changes came between
// that nobody knows any more whether it was counted.
func TestCountedInVain(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	s := openStore(t, func(o *Options) { o.Lease, o.Timeout = 100*time.Millisecond, 500*time.Millisecond })
	acct := newAccount(t, s, "jane").ID
	for _, others := range []int{0, maxCharges + 1} {
		vain, err := s.charge(ctx, acct, 1000, false, 0)
		if err != nil {
			t.Fatal(err)
		}
		for range others {
			c, err := s.charge(ctx, acct, 10, false, 0)
			if err != nil {
				t.Fatal(err)
			}
			s.uncharge(ctx, c)
		}
		s.uncharge(ctx, vain)
		waitUsed(t, s, acct, 0)
	}
}

// A change that was not made is taken back, the answer to that is lost, and the next attempt takes it for one that was made.
func TestTakenBackTwice(t *testing.T) {
	t.Parallel()
	f := newFaulty(t, func(o *Options) { o.Lease, o.Timeout = 100*time.Millisecond, 2*time.Second })
	s := f.s
	acct := newAccount(t, s, "jane").ID
	f.proxy.Fail(1, faultproxy.Fault{Where: faultproxy.Answer})
	s.uncharge(context.Background(), &charge{op: bson.NewObjectID(), user: oid(acct), delta: 1000})
	if !f.proxy.Fired() {
		t.Fatal("nothing was lost")
	}
	waitUsed(t, s, acct, 0)
}

// waitUsed waits until an account uses so many octets, for as long as a recount may take.
func waitUsed(t *testing.T, s *Store, acct mail.AccountID, want int64) {
	t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		doc, err := s.userDoc(context.Background(), bson.E{Key: "_id", Value: oid(acct)})
		if err != nil {
			t.Fatal(err)
		}
		used := integer(doc.Lookup("storageUsed"))
		if used == want {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%d octets are counted, want %d", used, want)
		}
	}
}
