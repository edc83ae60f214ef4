package pebblestore

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Options configure a store. The zero value of a field means its default.
type Options struct {
	// Dir is the directory of the store. It is made when it is not there.
	Dir string
	// FS is the file system that holds both database and large content. The
	// default is that of the operating system.
	FS vfs.FS
	// Logger takes what the operator should know. The default discards it.
	Logger *slog.Logger
	// Now is the clock. The default is time.Now.
	Now func() time.Time

	// ReadOnly opens the store without changing anything on the disk: changes
	// fail with Forbidden.
	ReadOnly bool

	// CacheSize bounds the cache of database blocks, in octets. Default 128 MiB.
	CacheSize int64
	// MemTableSize is the size of a write buffer of the database, in octets; up
	// to four of them can be in memory, and six logs of this size on the disk. Default 16 MiB.
	MemTableSize int64
	// CachedAccounts is how many accounts are kept in memory with their
	// mailboxes' counters. Default 10,000.
	CachedAccounts int
	// Compactions is the greatest number of concurrent compactions of the
	// database. Default: half of the processors, at least 1.
	Compactions int

	// Helpers is how many goroutines may read ahead of Fetch calls at the same time,
	// each for one call. Default: half of the processors, none with only one. Negative: none.
	Helpers int

	// MinFree is how much of the disk stays free, in octets: below it, messages
	// are refused with NoSpace, and copies that are made in steps; below a quarter of
	// it, all changes are. Negative switches the check off. Default 128 MiB.
	MinFree int64

	// FlagDelay is how long a change of flags may wait for the disk, at most one
	// second. Default 200 ms.
	FlagDelay time.Duration
	// SyncDelay is how long after a flush of the log the next one begins at the earliest,
	// while several changes wait for each flush, at most 10 ms. Default 300 µs. Negative:
	// no delay.
	SyncDelay time.Duration
	// JournalAge is how long entries of the journal are kept at least. Default 12 h.
	JournalAge time.Duration
	// ThreadAge is how long a conversation is remembered after its last message
	// came. Default 180 days.
	ThreadAge time.Duration
	// SweepInterval is the pause between two rounds of the sweeper. Default 15 s.
	SweepInterval time.Duration

	// Fatal ends the process when the database says that it cannot go on, which is a fault
	// of the program or of the machine. It must not return. The default panics.
	Fatal func(text string)

	// deletionStep is how many messages a background deletion removes in one change.
	deletionStep int
	// changeStep is how many messages are changed at a time, see steps.go: a few MiB.
	changeStep int
	// migrations replaces those of the program, and version the format that they lead to.
	migrations map[int]migration
	version    int
}

// Limits that are part of the format or of the contract.
const (
	maxMetaData = 1 << 20
	maxRecord   = 1 << 20
	maxKey      = 256
)

func (o Options) withDefaults() (Options, error) {
	if o.Dir == "" {
		return o, errors.New("the directory of the store is not set")
	}
	if o.FS == nil {
		o.FS = vfs.Default
	}
	if o.ReadOnly {
		o.FS = readOnlyFS{o.FS}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	setDefault(&o.CacheSize, 128<<20)
	setDefault(&o.MemTableSize, 16<<20)
	setDefault(&o.CachedAccounts, 10_000)
	if o.Helpers == 0 {
		o.Helpers = runtime.GOMAXPROCS(0) / 2
	}
	setDefault(&o.Compactions, max(1, runtime.GOMAXPROCS(0)/2))
	setDefault(&o.MinFree, 128<<20)
	setDefault(&o.FlagDelay, 200*time.Millisecond)
	setDefault(&o.SyncDelay, 300*time.Microsecond)
	setDefault(&o.JournalAge, 12*time.Hour)
	setDefault(&o.ThreadAge, 180*24*time.Hour)
	setDefault(&o.SweepInterval, 15*time.Second)
	setDefault(&o.deletionStep, 500)
	setDefault(&o.changeStep, 10_000)
	setDefault(&o.version, formatVersion)
	if o.Fatal == nil {
		o.Fatal = func(text string) { panic("database: " + text) }
	}
	if o.migrations == nil {
		o.migrations = migrations()
	}
	return o, o.validate()
}

func (o Options) validate() error {
	var errs []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	check(o.CacheSize >= 1<<20, "CacheSize is %d, at least 1 MiB is needed", o.CacheSize)
	check(o.MemTableSize >= 1<<20 && o.MemTableSize < 1<<31, "MemTableSize is %d, allowed is 1 MiB to 2 GiB", o.MemTableSize)
	check(o.CachedAccounts > 0, "CachedAccounts is %d, at least 1 is needed", o.CachedAccounts)
	check(o.Compactions > 0, "Compactions is %d, at least 1 is needed", o.Compactions)
	check(o.FlagDelay > 0 && o.FlagDelay <= time.Second, "FlagDelay is %v, allowed is up to 1 s", o.FlagDelay)
	check(o.SyncDelay <= 10*time.Millisecond, "SyncDelay is %v, allowed is up to 10 ms", o.SyncDelay)
	check(o.JournalAge >= time.Hour, "JournalAge is %v, at least 1 h is needed", o.JournalAge)
	check(o.ThreadAge > 0, "ThreadAge is %v", o.ThreadAge)
	check(o.SweepInterval > 0, "SweepInterval is %v", o.SweepInterval)
	return errors.Join(errs...)
}

func setDefault[T int | int64 | time.Duration](field *T, def T) {
	if *field == 0 {
		*field = def
	}
}
