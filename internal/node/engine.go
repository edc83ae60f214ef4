package node

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"mallard/internal/config"
	"mallard/internal/store/pebblestore"
)

// openEmbedded opens the embedded engine.
func openEmbedded(ctx context.Context, cfg *config.Config, o Options) (*pebblestore.Store, error) {
	dir, err := filepath.Abs(cfg.Store.Path)
	if err != nil {
		return nil, fmt.Errorf("find the directory of the store: %w", err)
	}
	st, err := pebblestore.Open(ctx, pebblestore.Options{
		Dir: dir, Logger: o.Log, ReadOnly: o.ReadOnly,
		CacheSize: cacheSize(int64(cfg.Store.CacheMB)<<20, machineMemory()), MemTableSize: int64(cfg.Store.MemTableMB) << 20,
		CachedAccounts: cfg.Store.CachedAccounts, Compactions: cfg.Store.Compactions, Helpers: cfg.Store.ReadAhead, MinFree: offWhenZero(int64(cfg.Store.MinFreeMB) << 20),
		Fatal:     func(string) { os.Exit(1) }, // it has been logged
		FlagDelay: time.Duration(cfg.Store.FlagDelay), SyncDelay: offWhenZero(time.Duration(cfg.Store.SyncDelay)), JournalAge: time.Duration(cfg.Store.JournalAge), ThreadAge: time.Duration(cfg.Store.ThreadAge),
	})
	if err != nil {
		return nil, err // it says what was opened where
	}
	return st, nil
}

// Bounds of a cache that the configuration does not set, in octets.
const (
	minCache = 64 << 20
	maxCache = 512 << 20
)

// cacheSize is the size of the engine's cache in octets: as it is set, else a
// sixteenth of the memory within bounds, and 128 MiB where nobody knows the memory.
func cacheSize(set, memory int64) int64 {
	switch {
	case set > 0:
		return set
	case memory <= 0:
		return 128 << 20
	}
	return min(max(memory/16, minCache), maxCache)
}
