// Package storetest is the suite that every storage engine passes.
//
// An engine's own tests call Run with an Engine that says how to open a store,
// and, where the engine can, how to crash and to disturb the disk under it:
//
//	func TestStore(t *testing.T) {
//		storetest.Run(t, storetest.Engine{Name: "pebble", New: newDisk})
//	}
//
// The suite has table cases for each method, content that must come back octet
// for octet, a random state machine that is compared with memstore, concurrent
// writers with readers that follow by mod-sequence, and, for engines with a
// file system that can be interposed, a crash and a fault matrix.
//
// The everyday run is short; -short makes it shorter, and MALLARD_STORETEST_LONG=1
// makes the random, crash and fault tests thorough.
//
// The package imports the contract, memstore as the model, and search for the
// signatures of test messages. It knows no other engine.
package storetest

import (
	"context"
	"os"
	"slices"
	"strings"
	"testing"

	"mallard/internal/mail"
	"mallard/internal/store"
)

// Engine is a storage engine under test.
type Engine struct {
	Name string
	// New returns an empty place for a store. What it needs is released with
	// t.Cleanup.
	New func(t testing.TB) *Disk
	// Check verifies all that an engine can verify of a store, checksums and
	// counters included; nil when there is no such thing.
	Check func(ctx context.Context, s store.Store) error
	// Maintain does at once what an engine does in the background from time to time,
	// such as removing content that no message has any more, and returns when it is
	// done; nil when there is no such thing. The suite calls it beside other
	// operations and crashes in the middle of it.
	Maintain func(ctx context.Context, s store.Store) error
	// Gaps says that changes may become visible in another order than that of their numbers, because several nodes write:
	// Changes.To may then stay behind a change that has returned, for a while and as long as others are under way.
	Gaps bool
	// CountsCRLF says that StorageUsed counts two octets for each line end of a message, also where it is a single LF, as
	// WildDuck counts.
	CountsCRLF bool
	// Parallel runs cases of one group beside each other, for an engine that mostly waits for another program. Each has a
	// store of its own; those of Concurrent still come one by one.
	Parallel bool
	// Only names the groups of cases to run; nil runs all, and the random, crash and fault tests. It is for a second run
	// with other settings, which matter to these groups alone.
	Only []string
	// Debts are the cases that the engine does not pass yet, with the reason.
	// Naming one that does not exist fails the run.
	Debts []Debt
}

// Debt is a case that an engine does not pass.
type Debt struct {
	Case   string // as in the name of the subtest, for example "Crash"
	Reason string
}

// Disk is a place for one store. Only Open is required.
type Disk struct {
	// Open opens the store; what a store before it left here is there again.
	Open func() (store.Store, error)
	// Volatile says that nothing survives Close: cases that reopen are left out.
	Volatile bool
	// Crash returns a disk as it may look after a power cut at this moment: with
	// all that was synced, and each piece of what was not with a probability of
	// percent. It is called while the store is working, also from the hook.
	Crash func(percent int, seed uint64) *Disk
	// Intercept makes hook the gate of every file operation, nil for none. It is
	// called just before the operation, from any goroutine; an error that it
	// returns is the operation's result, and the operation is not done.
	Intercept func(hook func(FileOp) error)
}

// FileOp is an operation on the file system.
type FileOp struct {
	Write bool   // changes something or makes it durable
	Sync  bool   // makes something durable
	Name  string // for messages: kind and path
}

// group is a part of the suite whose cases each run on a store of their own.
type group struct {
	name  string
	cases []caseFunc
}

// caseFunc is one case of a group.
type caseFunc struct {
	name string
	run  func(f *fixture)
}

func groups() []group {
	return []group{
		{"Accounts", accountCases()},
		{"Addresses", addressCases()},
		{"Mailboxes", mailboxCases()},
		{"Subscriptions", subscriptionCases()},
		{"Append", appendCases()},
		{"Fetch", fetchCases()},
		{"Flags", flagCases()},
		{"Copy", copyCases()},
		{"Expunge", expungeCases()},
		{"Changes", changesCases()},
		{"Content", contentCases()},
		{"Search", searchCases()},
		{"Threads", threadCases()},
		{"Journal", journalCases()},
		{"Conversation", conversationCases()},
		{"Registry", registryCases()},
		{"Migration", migrationCases()},
		{"Errors", errorCases()},
		{"Aliasing", aliasingCases()},
		{"Reopen", reopenCases()},
		{"Recent", recentCases()},
		{"Concurrent", concurrentCases()},
	}
}

// Run runs the suite against an engine.
func Run(t *testing.T, e Engine) {
	known := make(map[string]bool)
	run := func(t *testing.T, name string, test func(t *testing.T)) {
		known[name] = true
		if group, _, _ := strings.Cut(name, "/"); e.Only != nil && !slices.Contains(e.Only, group) {
			return
		}
		t.Run(name[strings.LastIndexByte(name, '/')+1:], func(t *testing.T) {
			for _, d := range e.Debts {
				if d.Case == name {
					t.Skipf("a debt of %s: %s", e.Name, d.Reason)
				}
			}
			test(t)
		})
	}
	for _, g := range groups() {
		for _, c := range g.cases {
			known[g.name+"/"+c.name] = true
		}
		run(t, g.name, func(t *testing.T) {
			for _, c := range g.cases {
				run(t, g.name+"/"+c.name, func(t *testing.T) {
					if e.Parallel && g.name != "Concurrent" {
						t.Parallel()
					}
					c.run(newFixture(t, e))
				})
			}
		})
	}
	run(t, "Machine", func(t *testing.T) { testMachine(t, e) })
	run(t, "Crash", func(t *testing.T) { testCrash(t, e) })
	run(t, "CrashLoad", func(t *testing.T) { testCrashLoad(t, e) })
	run(t, "Faults", func(t *testing.T) { testFaults(t, e) })
	for _, group := range e.Only {
		if !known[group] {
			t.Errorf("there is no group %q", group)
		}
	}
	for _, d := range e.Debts {
		if !known[d.Case] {
			t.Errorf("the debt %q names no case", d.Case)
		}
	}
}

// long reports whether the thorough run was asked for.
func long() bool { return os.Getenv("MALLARD_STORETEST_LONG") != "" }

// scale returns how often something is done: in a short, an everyday and a long run.
func scale(short, everyday, thorough int) int {
	switch {
	case long():
		return thorough
	case testing.Short():
		return short
	}
	return everyday
}

// code returns the code of an error, "" for none.
func code(err error) string {
	if err == nil {
		return ""
	}
	return mail.CodeOf(err).String()
}
