package mongostore

import (
	"fmt"
	"slices"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"

	"mallard/internal/mail"
)

// selects says whether a condition for UIDs is true of one.
func selects(t *testing.T, cond any, uid mail.UID) bool {
	t.Helper()
	number := func(v any) int64 {
		switch n := v.(type) {
		case int32:
			return int64(n)
		case float64:
			return int64(n)
		}
		t.Fatalf("a UID is %T", v)
		return 0
	}
	doc, ok := cond.(bson.D)
	if !ok {
		return number(cond) == int64(uid)
	}
	for _, e := range doc {
		switch e.Key {
		case "$gte":
			if int64(uid) < number(e.Value) {
				return false
			}
		case "$lte":
			if int64(uid) > number(e.Value) {
				return false
			}
		case "$in":
			if !slices.ContainsFunc(e.Value.(bson.A), func(v any) bool { return number(v) == int64(uid) }) {
				return false
			}
		default:
			t.Fatalf("condition %v", doc)
		}
	}
	return true
}

// The parts of a set together select what is in it, in order, each UID once, and go on behind one.
func TestSegments(t *testing.T) {
	const top = ^mail.UID(0)
	var many []mail.UID
	for u := mail.UID(2); u < 6000; u += 2 {
		many = append(many, u)
	}
	for _, set := range []mail.UIDSet{
		nil, {}, mail.AllUIDs(), mail.OneUID(7), mail.OneUID(top), mail.UIDSetOf(1, 3, 4, 5, 9), {{First: 1, Last: 2}, {First: 10, Last: 500}, {First: 502, Last: top}},
		mail.UIDSetOf(many...),
	} {
		probes := []mail.UID{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 499, 500, 501, 502, 503, 5998, 5999, top - 1, top}
		for _, descending := range []bool{false, true} {
			parts := segments(set, descending)
			for _, behind := range []mail.UID{0, 1, 4, 500, 5998, top} {
				checkSegments(t, fmt.Sprintf("%v, descending %v, behind %d", set, descending, behind), set, parts, behind, descending, probes)
			}
			for i := 1; i < len(parts); i++ {
				if (parts[i-1].last < parts[i].first) == descending {
					t.Errorf("%v: parts are not in order", set)
				}
			}
		}
	}
}

func checkSegments(t *testing.T, what string, set mail.UIDSet, parts []segment, behind mail.UID, descending bool, probes []mail.UID) {
	t.Helper()
	for _, uid := range probes {
		n := 0
		for i := range parts {
			if cond, some := parts[i].filter(behind, descending); some && selects(t, cond.Value, uid) {
				n++
			}
		}
		want := 0
		in := set == nil || set.Contains(uid)
		if in && (behind == 0 || !descending && uid > behind || descending && uid < behind) {
			want = 1
		}
		if n != want {
			t.Errorf("%s: UID %d is selected %d times, want %d", what, uid, n, want)
		}
	}
}

func TestSegmentsAreBounded(t *testing.T) {
	var ranges []mail.UIDRange
	for u := mail.UID(1); u < 100_000; u += 40 {
		ranges = append(ranges, mail.UIDRange{First: u, Last: u + 20})
	}
	for _, g := range segments(mail.UIDSet(ranges), false) {
		if len(g.uids) > segmentUIDs+smallRange {
			t.Errorf("a query names %d UIDs", len(g.uids))
		}
	}
}

func TestOwnedMailboxThatGoes(t *testing.T) {
	var o owned
	acct, box := mail.AccountID{1}, mail.MailboxID{2}
	asked := longAgo().Add(48 * 60 * 60 * 1e9) // in the future: believed for long
	o.note(acct, box, asked)
	if !o.has(acct, box) || o.has(mail.AccountID{9}, box) {
		t.Fatal("the mailbox is not known as the account's alone")
	}
	o.forget(box)
	o.note(acct, box, asked) // by one that asked before it went
	if o.has(acct, box) {
		t.Error("a mailbox that is gone is believed to be there")
	}
	o.note(acct, mail.MailboxID{3}, longAgo())
	if o.has(acct, mail.MailboxID{3}) {
		t.Error("an old answer is believed")
	}
}
