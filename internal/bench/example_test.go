package bench_test

import (
	"context"
	"fmt"
	"os"

	"mallard/internal/bench"
)

// Two servers, one after the other, on the same workloads; then the ratios.
func ExampleRun() {
	run := func(label, lmtp, imap, data string, pid int) *bench.Report {
		report, err := bench.Run(context.Background(), bench.Options{
			Label: label, LMTP: lmtp, IMAP: imap, DiskPath: data, ServerPID: pid,
			Workloads: []string{"lmtp-1", "fetch-body-1", "disk-4k"},
			Progress:  os.Stderr,
		})
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		return report
	}
	ours := run("mallard", "127.0.0.1:2424", "127.0.0.1:9143", "mallard-data", 4711)
	theirs := run("dovecot", "127.0.0.1:31024", "127.0.0.1:31143", "/var/tmp/dovecot/mail", 4712)
	if ours != nil && theirs != nil {
		bench.WriteComparison(os.Stdout, ours, theirs)
	}
}
