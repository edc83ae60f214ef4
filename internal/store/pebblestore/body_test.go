package pebblestore

import (
	"bytes"
	"crypto/rand"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// writerFunc is a function as a writer.
type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// A body that somebody reads slowly keeps no old state of the database: while it is
// written, tables of changes that were flushed are let go.
func TestSlowBodyHoldsNoState(t *testing.T) {
	small, large := make([]byte, 80<<10), make([]byte, 300<<10)
	_, _ = rand.Read(small)
	_, _ = rand.Read(large)
	for name, m := range map[string]testMail{
		"inline text":      newMessage("inline", "short"),
		"own text":         newMessage("own", strings.Repeat("a line of text of its own\r\n", 2000)),
		"large text":       newMessage("large", strings.Repeat("a line of text in pieces of its own\r\n", 20_000)),
		"small attachment": newMessage("small", "text", small),
		"large attachment": newMessage("large", "text", large),
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, vfs.NewMem())
			uid := r.append(r.inbox, m, "").UID
			body, err := r.s.Open(r.ctx, r.acct, r.inbox, uid)
			r.must(err)
			defer body.Close()
			var got bytes.Buffer
			r.must(body.WriteRange(writerFunc(func(p []byte) (int, error) {
				r.append(r.inbox, newMessage("another", "text"), "")
				r.must(r.s.db.Flush())
				// One is always kept, to be used again; the sweeper has others for a moment.
				kept := func() int64 { return r.s.db.Metrics().MemTable.ZombieCount - 1 }
				for end := time.Now().Add(time.Minute); kept() > 0; <-time.After(time.Millisecond) {
					if time.Now().After(end) {
						t.Fatalf("%d tables are kept in memory", kept())
					}
				}
				return got.Write(p)
			}), 0, body.Size()))
			if !bytes.Equal(got.Bytes(), m.raw) {
				t.Errorf("%d octets came back, other than the %d that went in", got.Len(), len(m.raw))
			}
		})
	}
}
