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

// newDisk returns an empty database for the suite. Nothing is kept in memory: what comes back is what the database has.
func newDisk(t testing.TB) *storetest.Disk { return newDiskOf(t, -1) }

// newCachedDisk is newDisk with what a node keeps in memory.
func newCachedDisk(t testing.TB) *storetest.Disk { return newDiskOf(t, 1<<20) }

func newDiskOf(t testing.TB, cache int64) *storetest.Disk {
	uri := testserver.Mongo(t)
	return &storetest.Disk{Open: func() (store.Store, error) {
		s, err := Open(context.Background(), Options{URI: uri, Logger: testLogger(t), DescriptionCache: cache, ContentCache: cache})
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

func TestStore(t *testing.T) {
	t.Parallel() // it and other long tests mostly wait for the database
	storetest.Run(t, storetest.Engine{Name: "mongo", New: newDisk, Gaps: true, Parallel: true, CountsCRLF: true, Maintain: maintain})
}

func TestStoreCached(t *testing.T) {
	t.Parallel()
	storetest.Run(t, storetest.Engine{
		Name: "mongo", New: newCachedDisk, Gaps: true, Parallel: true, CountsCRLF: true, Maintain: maintain, Only: []string{"Fetch", "Copy", "Content", "Aliasing"},
	})
}
