package mongostore

import (
	"context"
	"log/slog"
	"os"
	"testing"

	"mallard/internal/store"
	"mallard/internal/store/storetest"
	"mallard/internal/testserver"
)

func testLogger(t testing.TB) *slog.Logger {
	if os.Getenv("MALLARD_TEST_LOG") == "" {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(t.Output(), nil))
}

// newDisk returns what makes an empty database for the suite. A cache of -1 octets keeps nothing in memory: what comes back
// is what the database has.
func newDisk(w *shardWatch, cache int64) func(testing.TB) *storetest.Disk {
	return func(t testing.TB) *storetest.Disk { return newDiskOf(t, w, cache) }
}

func newDiskOf(t testing.TB, w *shardWatch, cache int64) *storetest.Disk {
	uri := testserver.Mongo(t)
	return &storetest.Disk{Open: func() (store.Store, error) {
		s, err := Open(context.Background(), Options{URI: uri, Logger: testLogger(t), monitor: w.monitor(), DescriptionCache: cache, ContentCache: cache})
		if err != nil {
			return nil, err
		}
		return s, nil
	}}
}

func maintain(ctx context.Context, s store.Store) error {
	_, err := s.(*Store).Maintain(ctx)
	return err
}

// The suite; whatever it does carries the shard keys too.
func TestStore(t *testing.T) {
	t.Parallel() // it and other long tests mostly wait for the database
	w := newShardWatch()
	w.excuses = true // the suite has nodes maintained and accounts counted anew
	storetest.Run(t, storetest.Engine{Name: "mongo", New: newDisk(w, -1), Gaps: true, Parallel: true, CountsCRLF: true, Maintain: maintain})
	w.check(t)
}

func TestStoreCached(t *testing.T) {
	t.Parallel()
	w := newShardWatch()
	w.excuses = true // the suite has nodes maintained and accounts counted anew
	storetest.Run(t, storetest.Engine{
		Name: "mongo", New: newDisk(w, 1<<20), Gaps: true, Parallel: true, CountsCRLF: true, Maintain: maintain, Only: []string{"Fetch", "Copy", "Content", "Aliasing"},
	})
	w.check(t)
}
