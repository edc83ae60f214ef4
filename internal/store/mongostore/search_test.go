package mongostore

import (
	"slices"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"mallard/internal/mail"
	"mallard/internal/search"
	"mallard/internal/store"
)

// What a signature denies is denied as long as the message is what was signed: one that WildDuck has changed, such as a
// draft that was sent, may contain anything. A message that has no signature of its own gets none for a search.
func TestSignatureOfChangedMessage(t *testing.T) {
	var d describer
	s := openStore(t, func(o *Options) { o.Describe = d.describe })
	acct := newAccount(t, s, "jane")
	box, err := s.MailboxByPath(t.Context(), acct.ID, mail.Inbox)
	must(t, err)
	var signer search.SignatureBuilder
	_, _ = signer.Write([]byte("subject: lemon and lime"))
	for i, sign := range []search.Signature{signer.Finish(), nil} {
		c := contentOf([]byte("Subject: lemon\r\n\r\nand lime"))
		c.Signature = sign
		st, err := s.Stage(t.Context(), c)
		must(t, err)
		defer st.Close()
		out, err := s.Append(t.Context(), acct.ID, box.ID, []store.Append{{Staged: st, InternalDate: time.Now()}})
		must(t, err)
		if out[0].UID != mail.UID(i+1) {
			t.Fatalf("UID %d", out[0].UID)
		}
	}
	ask := func(what string, needle string, want ...mail.UID) {
		t.Helper()
		var got []mail.UID
		for uid, err := range s.MayContain(t.Context(), acct.ID, box.ID, mail.AllUIDs(), [][]byte{[]byte(needle)}) {
			must(t, err)
			got = append(got, uid)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %q may be in %v, want %v", what, needle, got, want)
		}
	}
	ask("as it came", "lemon", 1, 2)
	ask("as it came", "marmalade", 2)
	for row, err := range s.Fetch(t.Context(), acct.ID, box.ID, store.FetchQuery{Fields: store.FieldSignature}) {
		must(t, err)
		if signed := search.Signature(row.Signature).Valid(); signed != (row.UID == 1) {
			t.Errorf("message %d has a signature of %d octets", row.UID, len(row.Signature))
		}
	}
	if d.calls != 0 {
		t.Errorf("messages were described %d times", d.calls)
	}
	_, err = s.messages().UpdateOne(t.Context(), bson.D{{Key: "mailbox", Value: oid(box.ID)}, {Key: "uid", Value: 1}},
		bson.D{{Key: "$set", Value: bson.D{{Key: "hdate", Value: time.UnixMilli(1)}}}, {Key: "$inc", Value: bson.D{{Key: "size", Value: 39}}}})
	must(t, err)
	ask("changed by WildDuck", "marmalade", 1, 2)
}
