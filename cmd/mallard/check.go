package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"mallard/internal/control"
)

type checkCmd struct {
	JSON   bool `name:"json" help:"Print JSON: a line for each problem, and one for the end."`
	Repair bool `name:"repair" help:"In a cluster: free attachments that no message refers to."`
	progressFlag
}

// Help is shown by --help.
func (checkCmd) Help() string {
	return `Examples:
  mallard check
  mallard check --config /etc/mallard.toml --json | jq 'select(.problem)'
  mallard check --config /etc/mallard.toml --repair

Verifies the whole store, checksums included: every row of the database, every
message put together from its parts and compared with the checksum taken when it
came, counters, quota and references. It changes nothing, but that --repair in a
cluster frees attachments that are counted as used and that no message refers to,
as nodes leave them that were killed; they are removed a day later. It works on a
running server beside its work, and on a store that is not open.

The exit status is 0 only when everything is well, 1 when something is wrong or
could not be looked at, 2 when the command line or the configuration is wrong.`
}

// Run checks.
func (k checkCmd) Run(ctx context.Context, c *cli) error {
	return c.with(ctx, readStore, func(s *session) error { return k.check(ctx, s) })
}

func (k *checkCmd) check(ctx context.Context, s *session) error {
	p := k.open()
	var report *control.CheckReport
	var failed error
	err := s.Check(ctx, k.Repair, func(l control.CheckLine) {
		switch {
		case l.Progress != nil:
			p.show(func() string { return checkProgress(l.Progress) })
		case l.Problem != nil:
			p.clear()
			if perr := k.problem(l); failed == nil {
				failed = perr
			}
		case l.Report != nil:
			report = l.Report
		}
	})
	p.clear()
	if err == nil {
		err = failed
	}
	if err != nil {
		return fmt.Errorf("check the mail store: %w", err)
	}
	return k.report(report)
}

func checkProgress(p *control.CheckProgress) string {
	switch {
	case p.Total > 0:
		return fmt.Sprintf("%s: %d of %d %s", p.Stage, p.Done, p.Total, p.Unit)
	case p.Done > 0:
		return fmt.Sprintf("%s: %d %s", p.Stage, p.Done, p.Unit)
	}
	return p.Stage
}

// problem prints what is wrong as part of the result, so on standard output.
func (k *checkCmd) problem(l control.CheckLine) error {
	if k.JSON {
		return printJSON(l)
	}
	_, err := fmt.Printf("%s: %s\n", plain(l.Problem.Where), plain(l.Problem.Text))
	return err
}

func (k *checkCmd) report(r *control.CheckReport) error {
	if k.JSON {
		if err := printJSON(control.CheckLine{Report: r}); err != nil {
			return err
		}
	} else {
		var counts []string
		for _, what := range slices.Sorted(maps.Keys(r.Counts)) {
			counts = append(counts, fmt.Sprintf("%d %s", r.Counts[what], what))
		}
		took := time.Duration(r.Seconds * float64(time.Second)).Round(time.Millisecond)
		fmt.Printf("checked in %s: %s\n", took, strings.Join(counts, ", "))
	}
	if r.Repaired > 0 && !k.JSON {
		fmt.Printf("%d problems were repaired\n", r.Repaired)
	}
	if r.Problems > r.Repaired {
		return fmt.Errorf("the mail store is damaged: %d problems", r.Problems-r.Repaired)
	}
	if r.Repaired == 0 && !k.JSON {
		fmt.Println("everything is well")
	}
	return nil
}
