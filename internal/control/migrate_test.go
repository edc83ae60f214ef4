package control

import (
	"context"
	"errors"
	"strings"
	"testing"

	"mallard/internal/mail"
	"mallard/internal/migrate"
)

// A migration tells as it goes, ends with a report or an error, and is the only one.
func TestMigrateLines(t *testing.T) {
	var got MigrateRequest
	fail := false
	inside, goOn := make(chan struct{}, 1), make(chan struct{})
	w := newWorld(t, func(o *Options) {
		o.Migrate = func(ctx context.Context, in MigrateRequest, progress func(migrate.Progress), problem func(Problem)) (*migrate.Report, error) {
			got = in
			progress(migrate.Progress{Stage: "mail", Accounts: 1, Total: 2})
			problem(Problem{Where: "account jane", Text: "in the way"})
			if fail {
				return nil, errors.New("cannot go on")
			}
			inside <- struct{}{}
			select {
			case <-goOn:
			case <-ctx.Done():
				return nil, ctx.Err()
			}
			return &migrate.Report{Copied: 7, Problems: 1}, nil
		}
	})
	in := MigrateRequest{To: "mongo", Config: "[dbs]\nmongo = 'x'\n", Workers: 3, SkipDamaged: true}
	var lines []MigrateLine
	done := make(chan error, 1)
	var report *migrate.Report
	go func() {
		var err error
		report, err = w.client.Migrate(t.Context(), in, func(l MigrateLine) { lines = append(lines, l) })
		done <- err
	}()
	<-inside
	_, err := w.client.Migrate(t.Context(), in, func(MigrateLine) {})
	if e, ok := errors.AsType[*Error](err); !ok || e.Code != mail.CodeConflict.String() || !strings.Contains(e.Message, "try again in a moment") {
		t.Errorf("a second one: %v", err)
	}
	goOn <- struct{}{}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if report.Copied != 7 || report.Problems != 1 || got != in {
		t.Errorf("report %+v for %+v", report, got)
	}
	if len(lines) != 2 || lines[0].Progress == nil || lines[0].Progress.Stage != "mail" || lines[1].Problem == nil || lines[1].Problem.Where != "account jane" {
		t.Errorf("lines %+v", lines)
	}
	fail = true
	if _, err := w.client.Migrate(t.Context(), in, func(MigrateLine) {}); err == nil || err.Error() != "cannot go on" {
		t.Errorf("error %v", err)
	}
	// Who goes away ends it.
	fail = false
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		_, err := w.client.Migrate(ctx, in, func(MigrateLine) {})
		done <- err
	}()
	<-inside
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	in.Config = strings.Repeat("x", maxConfig)
	if _, err := w.client.Migrate(t.Context(), in, func(MigrateLine) {}); err == nil {
		t.Error("a request of any size was read")
	}
}

func TestMigrateWithoutAnyone(t *testing.T) {
	w := newWorld(t, nil)
	if _, err := w.client.Migrate(t.Context(), MigrateRequest{}, func(MigrateLine) {}); err == nil {
		t.Error("a server that cannot migrate did")
	}
}
