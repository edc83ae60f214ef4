package mongostore

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"mallard/internal/mail"
)

// takeAway takes numbers of a mailbox as a WildDuck node does.
func takeAway(t *testing.T, s *Store, box mail.MailboxID) mail.UID {
	t.Helper()
	doc, err := s.mailboxes().FindOneAndUpdate(t.Context(), bson.D{{Key: "_id", Value: oid(box)}},
		bson.D{{Key: "$inc", Value: bson.D{{Key: "uidNext", Value: 1}, {Key: "modifyIndex", Value: 1}}}}).Raw()
	if err != nil {
		t.Error(err)
		return 0
	}
	return mail.UID(integer(doc.Lookup("uidNext")))
}

// Of the mailboxes of a round another node has changed one since this one saw it: in its numbers, or in what dates messages.
// Nobody gets a number of another, none is left over, and messages are made by what the mailbox is like now.
func TestRoundBesideOthers(t *testing.T) {
	s := openStore(t)
	users := accounts(t, s, "user", 3)
	round := func(n int) (in []*mailing) {
		for i, u := range users {
			in = append(in, mailTo(t, s, u, "hello", fmt.Sprint("m", n, i)))
		}
		inOneRound(t, s, in...)
		return in
	}
	check := func(in []*mailing, want ...mail.UID) {
		t.Helper()
		for i, m := range in {
			if m.err != nil || m.got.UID != want[i] || m.got.ModSeq != mail.ModSeq(want[i])+1 {
				t.Errorf("account %d: UID %d, mod-sequence %d, error %v; want UID %d and one more", i, m.got.UID, m.got.ModSeq, m.err, want[i])
			}
		}
	}
	in := round(0)
	check(in, 1, 1, 1)
	if uid := takeAway(t, s, in[1].box); uid != 2 {
		t.Errorf("the other node got %d, want 2", uid)
	}
	check(round(1), 2, 3, 2)
	check(round(2), 3, 4, 3)

	retention := bson.D{{Key: "$set", Value: bson.D{{Key: "retention", Value: 86_400_000}}}}
	_, err := s.mailboxes().UpdateOne(t.Context(), bson.D{{Key: "_id", Value: oid(in[0].box)}}, retention)
	must(t, err)
	in = round(3)
	check(in, 4, 5, 4)
	if doc := only(t, s.messages(), bson.D{{Key: "_id", Value: oid(in[0].got.ID)}}); !truth(doc.Lookup("exp")) {
		t.Error("the message does not expire as the mailbox says by now")
	}
	_, err = s.mailboxes().DeleteOne(t.Context(), bson.D{{Key: "_id", Value: oid(in[2].box)}})
	must(t, err)
	in = []*mailing{mailTo(t, s, users[0], "hello", "x"), mailTo(t, s, users[1], "hello", "y"), {acct: users[2], box: in[2].box, references: []string{"z"}}}
	inOneRound(t, s, in...)
	check(in[:2], 5, 6)
	if mail.CodeOf(in[2].err) != mail.CodeNoMailbox {
		t.Errorf("a message for a mailbox that is gone: %v", in[2].err)
	}
}

// Two nodes and a third that works as WildDuck take numbers of the same mailboxes at the same time. Each number is given once, and
// all of them are.
func TestSwapsOfTwoNodes(t *testing.T) {
	const rounds, boxes = 40, 3
	a := openStore(t)
	b := reopenStore(t, a.o.URI)
	users := accounts(t, a, "user", boxes)
	var ids []mail.MailboxID
	for _, u := range users {
		box, err := a.MailboxByPath(t.Context(), u.ID, mail.Inbox)
		must(t, err)
		ids = append(ids, box.ID)
	}
	var mu sync.Mutex
	given := make([]map[mail.UID]bool, boxes)
	gave := func(box int, uid mail.UID, ms mail.ModSeq) {
		mu.Lock()
		defer mu.Unlock()
		if given[box] == nil {
			given[box] = make(map[mail.UID]bool)
		}
		if given[box][uid] || ms != 0 && ms != mail.ModSeq(uid)+1 {
			t.Errorf("mailbox %d: UID %d with mod-sequence %d, given before: %v", box, uid, ms, given[box][uid])
		}
		given[box][uid] = true
	}
	var g sync.WaitGroup
	for _, s := range []*Store{a, b} {
		g.Go(func() {
			for range rounds {
				takeRound(t, s, users, ids, gave)
			}
		})
	}
	g.Go(func() {
		for i := range rounds {
			gave(i%boxes, takeAway(t, a, ids[i%boxes]), 0)
		}
	})
	g.Wait()
	for i, id := range ids {
		box, err := a.Mailbox(t.Context(), users[i].ID, id)
		must(t, err)
		if int(box.UIDNext)-1 != len(given[i]) {
			t.Errorf("mailbox %d: the next UID is %d, %d were given", i, box.UIDNext, len(given[i]))
		}
	}
}

// takeRound takes numbers of all mailboxes by one command, and two of the first.
func takeRound(t *testing.T, s *Store, users []*mail.Account, ids []mail.MailboxID, gave func(int, mail.UID, mail.ModSeq)) {
	at := []int{0}
	for i := range ids {
		at = append(at, i)
	}
	in := make([]*taking, len(at))
	for k, i := range at {
		in[k] = &taking{boxOf: boxOf{users[i].ID, ids[i]}, uids: 1, modSeqs: 1, end: time.Now().Add(time.Minute)}
	}
	s.numberAll(in)
	for k, i := range at {
		got, err := in[k].got, in[k].err
		if in[k].alone {
			got, err = s.take(t.Context(), users[i].ID, ids[i], 1, 1)
		}
		if err != nil {
			t.Error(err)
			continue
		}
		gave(i, got.uid, got.modSeq)
	}
}

// A round whose turn to take numbers does not come, as the database does not answer another, takes them all the same.
func TestRoundWithoutTurn(t *testing.T) {
	s := openStore(t)
	users := accounts(t, s, "user", 2)
	s.together.swaps <- struct{}{}
	in := []*mailing{mailTo(t, s, users[0], "hello", "m0"), mailTo(t, s, users[1], "hello", "m1")}
	inOneRound(t, s, in...)
	for i, u := range users {
		arrived(t, s, u, in[i])
	}
}

// Whoever asks for numbers of a mailbox that is another account's gets none, also beside its owner in the same command.
func TestSwapOfAnotherAccount(t *testing.T) {
	s := openStore(t)
	users := accounts(t, s, "user", 2)
	box, err := s.MailboxByPath(t.Context(), users[0].ID, mail.Inbox)
	must(t, err)
	var in []*taking
	for _, u := range users {
		in = append(in, &taking{boxOf: boxOf{u.ID, box.ID}, uids: 1, modSeqs: 1, end: time.Now().Add(time.Minute)})
	}
	s.numberAll(in)
	if got := in[0].got; in[0].err != nil || got == nil || got.uid != 1 {
		t.Errorf("the owner: %+v, %v", got, in[0].err)
	}
	if got := in[1].got; in[1].err != nil || got != nil || !in[1].alone {
		t.Errorf("the other account: %+v, alone %t, %v", got, in[1].alone, in[1].err)
	}
}

// A mailbox that is restored with lesser numbers has those, also for a node that saw greater ones.
func TestSwapAfterRestore(t *testing.T) {
	s := openStore(t)
	users := accounts(t, s, "user", 2)
	var ids []mail.MailboxID
	for _, u := range users {
		box, err := s.MailboxByPath(t.Context(), u.ID, mail.Inbox)
		must(t, err)
		ids = append(ids, box.ID)
	}
	round := func(want ...mail.UID) {
		t.Helper()
		for i := range users {
			in := make([]*taking, len(users))
			for k, u := range users {
				in[k] = &taking{boxOf: boxOf{u.ID, ids[k]}, uids: 1, modSeqs: 1, end: time.Now().Add(time.Minute)}
			}
			s.numberAll(in)
			for k := range in {
				if in[k].err != nil || in[k].alone || in[k].got.uid != want[k]+mail.UID(i) {
					t.Errorf("mailbox %d: %+v; want UID %d by the swap", k, in[k], want[k]+mail.UID(i))
				}
			}
		}
	}
	round(1, 1)
	box, err := s.Mailbox(t.Context(), users[0].ID, ids[0])
	must(t, err)
	box.UIDNext, box.HighestModSeq = 1, 1
	must(t, s.RestoreMailbox(t.Context(), users[0].ID, *box))
	round(1, 3)
}
