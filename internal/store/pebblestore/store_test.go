package pebblestore

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"mallard/internal/mail"
	"mallard/internal/store"
)

func randomBytes(n int, seed uint64) []byte {
	b := make([]byte, n)
	rng := rand.New(rand.NewPCG(seed, 1))
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}

func TestRoundTrip(t *testing.T) {
	r := newRig(t, vfs.NewMem())
	for i, m := range []testMail{
		newMessage("a", "short"),
		newMessage("b", strings.Repeat("hello world ", 500)),
		newMessage("c", "with", randomBytes(10_000, 1)),
		newMessage("d", "with", randomBytes(300_000, 2), randomBytes(5000, 3)),
		newMessage("e", strings.Repeat("a long text \r\n", 100_000), randomBytes(1<<20, 4)),
	} {
		a := r.append(r.inbox, m, "X: y\r\n")
		want := append([]byte("X: y\r\n"), m.raw...)
		if got := r.read(r.inbox, a.UID); !bytes.Equal(got, want) {
			t.Fatalf("message %d: %d octets, want %d", i, len(got), len(want))
		}
	}
	n := 0
	for row, err := range r.s.Fetch(r.ctx, r.acct, r.inbox, store.FetchQuery{Fields: store.FieldHeader | store.FieldEnvelope | store.FieldBody}) {
		r.must(err)
		n++
		b, err := row.Open()
		r.must(err)
		var w bytes.Buffer
		r.must(b.WriteRange(&w, 0, b.Size()))
		r.must(b.Close())
		if !bytes.HasPrefix(w.Bytes(), row.Header) || int64(w.Len()) != row.Size || string(row.Envelope) != "(env)" {
			t.Errorf("row %d is wrong", row.UID)
		}
	}
	if n != 5 {
		t.Errorf("%d rows", n)
	}
	_, err := r.s.UpdateFlags(r.ctx, r.acct, r.inbox, store.FlagUpdate{UIDs: mail.AllUIDs(), Flags: mail.NewFlags(mail.Seen, "kw")})
	r.must(err)
	cs, err := r.s.Changes(r.ctx, r.acct, r.inbox, 0)
	r.must(err)
	if cs.Changed.Len() != 5 || !cs.Changed.At(0).Flags.HasKeyword("KW") {
		t.Errorf("changes: %+v", cs)
	}
}
