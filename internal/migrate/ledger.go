package migrate

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"mallard/internal/store"
)

// kindLedger is the kind of the ledger's records in the registry of the target.
const kindLedger = "mallard-migration"

// keySource has the name of the source whose migration is under way.
const keySource = "source"

// The kinds of things that the ledger knows.
const (
	itemAccount = "account"
	itemAddress = "address"
	itemAlias   = "alias"
	itemRecord  = "record"
)

// ledger says what in the target came from the source. A thing is noted before it is
// made, so that none is forgotten.
type ledger struct {
	to   store.Registry
	name string
}

// item is the record of one thing; its value is the thing's own name, which may be longer
// than a key.
func item(kind, name string) string {
	sum := sha256.Sum256([]byte(name))
	return kind + "/" + hex.EncodeToString(sum[:])
}

func (l *ledger) finishedKey() string { return item("finished", l.name) }

// open begins or goes on with a migration.
func (l *ledger) open(ctx context.Context) error {
	at, err := l.to.Record(ctx, kindLedger, l.finishedKey())
	if err == nil {
		return fmt.Errorf("%w at %s", ErrFinished, at)
	}
	if !missing(err) {
		return fmt.Errorf("read the ledger of the target: %w", err)
	}
	source, err := l.to.Record(ctx, kindLedger, keySource)
	switch {
	case missing(err):
		if err := l.to.PutRecord(ctx, kindLedger, keySource, []byte(l.name)); err != nil {
			return fmt.Errorf("begin the ledger of the target: %w", err)
		}
		return nil
	case err != nil:
		return fmt.Errorf("read the ledger of the target: %w", err)
	case string(source) != l.name:
		return fmt.Errorf("a migration from %s to this target is under way: end it first", source)
	}
	return nil
}

// close ends a migration: from now on everything belongs to the target.
func (l *ledger) close(ctx context.Context, now time.Time) error {
	if err := l.to.PutRecord(ctx, kindLedger, l.finishedKey(), []byte(now.UTC().Format(time.RFC3339))); err != nil {
		return fmt.Errorf("end the ledger of the target: %w", err)
	}
	var keys []string
	for key := range l.to.Records(ctx, kindLedger) {
		if !strings.HasPrefix(key, "finished/") {
			keys = append(keys, key)
		}
	}
	for _, key := range keys {
		if err := l.to.PutRecord(ctx, kindLedger, key, nil); err != nil {
			return fmt.Errorf("end the ledger of the target: %w", err)
		}
	}
	return nil
}

// has reports whether a thing came from the source.
func (l *ledger) has(ctx context.Context, kind, name string) (bool, error) {
	_, err := l.to.Record(ctx, kindLedger, item(kind, name))
	if missing(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read the ledger of the target: %w", err)
	}
	return true, nil
}

// note says that a thing will come from the source.
func (l *ledger) note(ctx context.Context, kind, name string) error {
	if known, err := l.has(ctx, kind, name); known || err != nil {
		return err
	}
	if err := l.to.PutRecord(ctx, kindLedger, item(kind, name), []byte(name)); err != nil {
		return fmt.Errorf("write the ledger of the target: %w", err)
	}
	return nil
}

func (l *ledger) forget(ctx context.Context, kind, name string) error {
	if err := l.to.PutRecord(ctx, kindLedger, item(kind, name), nil); err != nil {
		return fmt.Errorf("write the ledger of the target: %w", err)
	}
	return nil
}

// names lists the things of a kind.
func (l *ledger) names(ctx context.Context, kind string) []string {
	var out []string
	for key, value := range l.to.Records(ctx, kindLedger) {
		if strings.HasPrefix(key, kind+"/") {
			out = append(out, string(value))
		}
	}
	return out
}
