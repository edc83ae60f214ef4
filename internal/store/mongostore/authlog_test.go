package mongostore

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.mongodb.org/mongo-driver/v2/bson"

	"mallard/internal/mail"
)

// What WildDuck has written is read, and written again by us it is the same document.
func TestAuthLogOfWildDuck(t *testing.T) {
	clock := newClock(time.Now())
	s := openStore(t, func(o *Options) { o.Now = clock.Now })
	insertAll(t, s.authLog(), golden(t, "authlog"))
	kinds := map[string]bool{}
	for _, want := range golden(t, "authlog") {
		id := hexID(want.Lookup("_id"))
		user, _ := want.Lookup("user").ObjectIDOK()
		e, err := s.AuthLogEntry(t.Context(), mail.AccountID(user), id)
		must(t, err)
		if e.ID != id || e.Account != mail.AccountID(user) || e.Events < 1 || len(e.Key) != 16 || e.Created.IsZero() || e.Last.Before(e.Created) || !e.Expires.After(e.Last) {
			t.Errorf("%s is read as %+v", id, e)
		}
		if e.Filter != "" || e.Temporary != nil || e.Action[:3] == "ena" || e.Action[:3] == "dis" || e.Action[:3] == "che" {
			continue // written by what Mallard does not do
		}
		clock.set(e.Created)
		other := *e
		other.Account = mail.AccountID(bson.NewObjectID())
		own, err := s.LogAuthEvent(t.Context(), other.AuthEvent, e.Events)
		must(t, err)
		got := only(t, s.authLog(), bson.D{{Key: "user", Value: oid(other.Account)}})
		if hexID(got.Lookup("_id")) != own {
			t.Errorf("%s: the id is %q, want that of %v", id, own, got)
		}
		sameDocument(t, e.Action+" by "+e.Source, got, want, "_id", "user", "last")
		kinds[e.Action+e.Source] = true
	}
	if len(kinds) < 7 {
		t.Errorf("only %v were compared", kinds)
	}
}

func TestAuthLogCountsRepetitions(t *testing.T) {
	clock := newClock(time.Now().UTC().Truncate(time.Millisecond))
	s := openStore(t, func(o *Options) { o.Now = clock.Now })
	start := clock.Now()
	e := mail.AuthEvent{
		Account: mail.AccountID(bson.NewObjectID()), Action: mail.ActionAuthentication, Result: mail.ResultFail, Protocol: "IMAP", IP: "192.0.2.1",
		Session: "first", Source: "master", Scope: "imap",
	}
	log := func(change func(*mail.AuthEvent)) string {
		t.Helper()
		other := e
		change(&other)
		id, err := s.LogAuthEvent(t.Context(), other, 2)
		must(t, err)
		return id
	}
	first := log(func(*mail.AuthEvent) {})
	clock.pass(6*time.Hour - time.Second)
	if again := log(func(e *mail.AuthEvent) { e.Session, e.Source = "second", "asp" }); again != first {
		t.Errorf("a repetition has the entry %s, want %s", again, first)
	}
	got, err := s.AuthLogEntry(t.Context(), e.Account, first)
	must(t, err)
	want := &mail.AuthLogEntry{ID: first, AuthEvent: e, Key: authLogKey(&e), Created: start, Last: clock.Now(), Expires: start.Add(30 * 24 * time.Hour), Events: 4}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the entry (-want +got):\n%s", diff)
	}
	ids := []string{first}
	for _, change := range []func(*mail.AuthEvent){
		func(e *mail.AuthEvent) { e.IP = "192.0.2.2" },
		func(e *mail.AuthEvent) { e.Result = mail.ResultSuccess },
		func(e *mail.AuthEvent) { e.Protocol = "API" },
		func(e *mail.AuthEvent) { e.Account = mail.AccountID(bson.NewObjectID()) },
		func(*mail.AuthEvent) { clock.pass(2 * time.Second) },
	} {
		id := log(change)
		if slices.Contains(ids, id) {
			t.Errorf("another event has the entry of an earlier one: %s in %v", id, ids)
		}
		ids = append(ids, id)
	}
}

// The setting of WildDuck says how long entries are kept, and whether there are any.
func TestAuthLogSetting(t *testing.T) {
	for _, tt := range []struct {
		value string
		keep  time.Duration
	}{{"2000", 2 * time.Second}, {"0", 0}, {"false", 0}, {`"nonsense"`, authLogTime}, {"-5", authLogTime}, {"1e99", authLogTime}} {
		t.Run(tt.value, func(t *testing.T) {
			s := openStore(t)
			must(t, s.PutRecord(t.Context(), kindSetting, settingAuthLogTime, []byte(tt.value)))
			id, err := s.LogAuthEvent(t.Context(), mail.AuthEvent{Account: mail.AccountID(bson.NewObjectID()), Action: "reset"}, 1)
			must(t, err)
			if (id == "") != (tt.keep == 0) || count(t, s.authLog(), bson.D{}) != int64(min(1, tt.keep)) {
				t.Fatalf("the entry is %q, %d are there", id, count(t, s.authLog(), bson.D{}))
			}
			if tt.keep == 0 {
				return
			}
			row := only(t, s.authLog(), bson.D{})
			if kept := instant(row.Lookup("expires")).Sub(instant(row.Lookup("created"))); kept != tt.keep {
				t.Errorf("it is kept for %v, want %v", kept, tt.keep)
			}
		})
	}
}

func TestAuthLogPages(t *testing.T) {
	s := openStore(t)
	acct := mail.AccountID(bson.NewObjectID())
	var ids []string // the newest first
	for i := range 5 {
		e := mail.AuthEvent{Account: acct, Action: mail.ActionAuthentication, IP: fmt.Sprintf("192.0.2.%d", i%2)}
		if i == 3 {
			e.Action = "reset"
		}
		doc := append(bson.D{{Key: "_id", Value: bson.NewObjectIDFromTimestamp(time.Unix(int64(1000+i), 0))}, {Key: "user", Value: oid(acct)}}, authEventMembers(&e)...)
		_, err := s.authLog().InsertOne(t.Context(), doc)
		must(t, err)
		ids = slices.Insert(ids, 0, doc[0].Value.(bson.ObjectID).Hex())
	}
	for _, tt := range []struct {
		q     mail.AuthLogQuery
		want  []string
		total int64
		more  bool
	}{
		{mail.AuthLogQuery{Limit: 2}, ids[:2], 5, true},
		{mail.AuthLogQuery{Limit: 2, After: ids[1]}, ids[2:4], 5, true},
		{mail.AuthLogQuery{Limit: 2, After: ids[3]}, ids[4:], 5, false},
		{mail.AuthLogQuery{Limit: 2, Before: ids[4]}, ids[2:4], 5, true},
		{mail.AuthLogQuery{Limit: 2, Before: ids[2]}, ids[:2], 5, false},
		{mail.AuthLogQuery{Limit: 9, Action: "reset"}, ids[1:2], 1, false},
		{mail.AuthLogQuery{Limit: 9, IP: "192.0.2.0"}, []string{ids[0], ids[2], ids[4]}, 3, false},
	} {
		page, err := s.AuthLog(t.Context(), acct, tt.q)
		must(t, err)
		var got []string
		for _, e := range page.Entries {
			got = append(got, e.ID)
		}
		if !slices.Equal(got, tt.want) || page.Total != tt.total || page.More != tt.more {
			t.Errorf("%+v: %v of %d, more %v, want %v of %d, more %v", tt.q, got, page.Total, page.More, tt.want, tt.total, tt.more)
		}
	}
	_, err := s.AuthLog(t.Context(), acct, mail.AuthLogQuery{Limit: 2, After: "nonsense"})
	wants(t, "an id that is none", err, mail.CodeInvalid)
	for _, id := range []string{"nonsense", bson.NewObjectID().Hex()} {
		_, err = s.AuthLogEntry(t.Context(), acct, id)
		wants(t, "an unknown entry", err, mail.CodeNotFound)
	}
	_, err = s.AuthLogEntry(t.Context(), mail.AccountID(bson.NewObjectID()), ids[0])
	wants(t, "another account's entry", err, mail.CodeNotFound)
}
