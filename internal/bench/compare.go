package bench

import (
	"fmt"
	"io"
)

// WriteComparison writes a markdown table: for each workload and metric that both reports have, both medians and
// how many times better ours is (above 1 is better, whether more or less of the metric is good).
func WriteComparison(w io.Writer, ours, theirs *Report) error {
	var err error
	printf := func(format string, args ...any) {
		if err == nil {
			_, err = fmt.Fprintf(w, format, args...)
		}
	}
	printf("| workload | | %s | %s | ratio |\n|---|---|---:|---:|---:|\n", ours.Label, theirs.Label)
	for _, res := range ours.Results {
		for _, m := range res.Metrics {
			other, ok := theirs.Metric(res.Workload, m.Name)
			if !ok || m.Info {
				continue
			}
			printf("| %s | %s (%s) | %s | %s | %s |\n", res.Workload, m.Name, m.Unit, number(m.Median), number(other.Median), ratio(m, other))
		}
		if res.Error != "" {
			printf("| %s | failed: %s | | | |\n", res.Workload, res.Error)
		}
	}
	if err != nil {
		return fmt.Errorf("write the comparison: %w", err)
	}
	return nil
}

func ratio(ours, theirs Metric) string {
	a, b := ours.Median, theirs.Median
	if ours.Lower {
		a, b = b, a
	}
	if b <= 0 || a <= 0 {
		return "–"
	}
	return fmt.Sprintf("%.2f×", a/b)
}
