package mongostore

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/event"

	"mallard/internal/batch"
	"mallard/internal/mail"
)

// commandCount counts the commands of one name.
func commandCount(name string) (*atomic.Int64, func(*Options)) {
	n := new(atomic.Int64)
	return n, func(o *Options) {
		o.monitor = &event.CommandMonitor{Started: func(_ context.Context, e *event.CommandStartedEvent) {
			if e.CommandName == name {
				n.Add(1)
			}
		}}
	}
}

// Those who take numbers of one mailbox at the same time have different ones, without a gap, from fewer updates.
func TestNumbersAreTakenTogether(t *testing.T) {
	updates, counting := commandCount("findAndModify")
	s := openStore(t, counting)
	acct := newAccount(t, s, "together")
	box, err := s.MailboxByPath(t.Context(), acct.ID, mail.Inbox)
	must(t, err)
	before := updates.Load()
	const callers = 40
	got := make([]*reservation, callers)
	var g sync.WaitGroup
	for i := range callers {
		g.Go(func() {
			var err error
			if got[i], err = s.reserve(t.Context(), acct.ID, box.ID, i%3, 1+i%2, nil); err != nil {
				t.Error(err)
			}
		})
	}
	g.Wait()
	if t.Failed() {
		return
	}
	var uids, modSeqs []int64
	for i, r := range got {
		for k := range i % 3 {
			uids = append(uids, int64(r.uid)+int64(k))
		}
		for k := range 1 + i%2 {
			modSeqs = append(modSeqs, int64(r.modSeq)+int64(k))
		}
	}
	row := only(t, s.mailboxes(), bson.D{{Key: "_id", Value: oid(box.ID)}})
	without := func(what string, numbers []int64, first, next int64) {
		slices.Sort(numbers)
		for i, n := range numbers {
			if n != first+int64(i) {
				t.Fatalf("%s: number %d is %d, want %d", what, i, n, first+int64(i))
			}
		}
		if last := first + int64(len(numbers)); next != last {
			t.Errorf("%s: the next one is %d, want %d", what, next, last)
		}
	}
	without("UIDs", uids, int64(box.UIDNext), integer(row.Lookup("uidNext")))
	without("mod-sequences", modSeqs, slices.Min(modSeqs), integer(row.Lookup("modifyIndex"))+1)
	if n := updates.Load() - before; n >= callers {
		t.Errorf("%d updates for %d callers", n, callers)
	}
	if _, err := s.reserve(t.Context(), acct.ID, mail.MailboxID{1}, 1, 1, nil); mail.CodeOf(err) != mail.CodeNoMailbox {
		t.Errorf("numbers of a mailbox that is not there: %v", err)
	}
}

// Where not all fit that come at the same time, as many do as there is room for.
func TestChargesTogether(t *testing.T) {
	updates, counting := commandCount("update")
	s := openStore(t, counting)
	acct := newAccount(t, s, "together")
	const quota, size, callers = 1000, 100, 24
	var fit, over atomic.Int64
	run := func(quota int64) {
		var g sync.WaitGroup
		for range callers {
			g.Go(func() {
				switch _, err := s.charge(t.Context(), acct.ID, size, true, quota-size); {
				case err == nil:
					fit.Add(1)
				case mail.CodeOf(err) == mail.CodeOverQuota:
					over.Add(1)
				default:
					t.Error(err)
				}
			})
		}
		g.Wait()
	}
	run(quota)
	a, err := s.Account(t.Context(), acct.ID)
	must(t, err)
	if fit.Load() != quota/size || over.Load() != callers-quota/size || a.StorageUsed != quota {
		t.Errorf("%d fit, %d do not, %d octets are counted; want %d, %d, %d", fit.Load(), over.Load(), a.StorageUsed, quota/size, callers-quota/size, quota)
	}
	before := updates.Load()
	run(1 << 40)
	if n := updates.Load() - before; n >= callers {
		t.Errorf("%d updates for %d callers who all fit", n, callers)
	}
	if a, err = s.Account(t.Context(), acct.ID); err != nil || a.StorageUsed != quota+size*callers {
		t.Errorf("%d octets are counted, want %d; error %v", a.StorageUsed, quota+size*callers, err)
	}
}

// Who has waited long for the swaps of a round has its whole time when it takes numbers alone, as those have with whom it does.
func TestNumbersAloneHaveTheirTime(t *testing.T) {
	const timeout = 2 * time.Second
	s := openStore(t, func(o *Options) { o.Timeout = timeout })
	acct := newAccount(t, s, "together")
	box, err := s.MailboxByPath(t.Context(), acct.ID, mail.Inbox)
	must(t, err)
	var took time.Duration
	s.together.number = batch.NewStep(func(in []*taking) {
		time.Sleep(timeout - timeout/4)
		for _, one := range in {
			one.alone = true
		}
	})
	s.together.numbers = batch.New[boxOf](maxTogether, func(in []*taking) {
		took = time.Until(in[0].end)
		s.takeTogether(in)
	})
	s.together.gate = batch.NewRounds(batch.Limits{Members: 2, Gather: time.Minute, Wait: time.Minute})
	var g sync.WaitGroup
	for range 2 {
		g.Go(func() {
			ctx, m := s.enterRound(t.Context(), 1)
			defer m.Leave()
			if _, err := s.take(ctx, acct.ID, box.ID, 1, 1); err != nil {
				t.Error(err)
			}
		})
	}
	g.Wait()
	if took < timeout/2 {
		t.Errorf("%v of %v were left", took, timeout)
	}
}
