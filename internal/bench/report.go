package bench

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// A Report is one benchmark of one server.
type Report struct {
	Label    string    `json:"label"`
	Started  time.Time `json:"started"`
	Seconds  float64   `json:"seconds"` // the whole benchmark, preparation and verification included
	Seed     uint64    `json:"seed"`
	Scale    float64   `json:"scale"`
	NextUser int       `json:"nextUser"` // where a further benchmark on the same data can begin (Options.FirstUser)
	Machine  Machine   `json:"machine"`
	Results  []Result  `json:"results"`
}

// A Result is what one workload gave. Error is set, and Metrics may be empty, when the server failed in it.
type Result struct {
	Workload string   `json:"workload"`
	Messages int      `json:"messages"` // per run
	Bytes    int64    `json:"bytes"`    // sent or read per run, median
	Metrics  []Metric `json:"metrics"`
	Series   *Series  `json:"series,omitempty"`
	Error    string   `json:"error,omitempty"`
}

// A Metric has a value for each run. Median is the middle one (the mean of the two middle ones of an even number).
type Metric struct {
	Name   string    `json:"name"`
	Unit   string    `json:"unit"`
	Lower  bool      `json:"lowerIsBetter,omitempty"`
	Info   bool      `json:"info,omitempty"` // explains, and is not compared
	Values []float64 `json:"values"`
	Median float64   `json:"median"`
}

// A Series is a table of how something changes while a workload runs.
type Series struct {
	Columns []string    `json:"columns"`
	Rows    [][]float64 `json:"rows"`
}

// result finds or makes the result of a workload.
func (r *Report) result(workload string) *Result {
	for i := range r.Results {
		if r.Results[i].Workload == workload {
			return &r.Results[i]
		}
	}
	r.Results = append(r.Results, Result{Workload: workload})
	return &r.Results[len(r.Results)-1]
}

// Metric finds a metric of a workload by name.
func (r *Report) Metric(workload, name string) (Metric, bool) {
	for _, res := range r.Results {
		if res.Workload == workload {
			return res.metric(name)
		}
	}
	return Metric{}, false
}

func (r *Result) metric(name string) (Metric, bool) {
	for _, m := range r.Metrics {
		if m.Name == name {
			return m, true
		}
	}
	return Metric{}, false
}

func (r *Result) add(m Metric, value float64) {
	for i := range r.Metrics {
		if r.Metrics[i].Name == m.Name {
			r.Metrics[i].Values = append(r.Metrics[i].Values, value)
			r.Metrics[i].Median = median(r.Metrics[i].Values)
			return
		}
	}
	m.Values, m.Median = []float64{value}, value
	r.Metrics = append(r.Metrics, m)
}

// Merge takes the values of another report of the same server into this one, as further runs.
func (r *Report) Merge(other *Report) {
	r.Seconds += other.Seconds
	r.NextUser = max(r.NextUser, other.NextUser)
	if r.Machine.Fsync1 == 0 {
		r.Machine.Fsync1, r.Machine.Fsync8 = other.Machine.Fsync1, other.Machine.Fsync8
	}
	for _, from := range other.Results {
		to := r.result(from.Workload)
		to.Messages, to.Bytes = from.Messages, from.Bytes
		if from.Error != "" {
			to.Error = from.Error
		}
		if from.Series != nil {
			to.Series = from.Series
		}
		for _, m := range from.Metrics {
			for _, v := range m.Values {
				to.add(Metric{Name: m.Name, Unit: m.Unit, Lower: m.Lower, Info: m.Info}, v)
			}
		}
	}
}

func median(values []float64) float64 {
	v := slices.Sorted(slices.Values(values))
	n := len(v)
	if n == 0 {
		return 0
	}
	if n%2 == 1 {
		return v[n/2]
	}
	return (v[n/2-1] + v[n/2]) / 2
}

// percentile of sorted values: the smallest that at least p of them do not exceed.
func percentile(sorted []time.Duration, p float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	i := int(p*float64(len(sorted))+0.999999) - 1
	return sorted[min(max(i, 0), len(sorted)-1)]
}

// WriteJSON writes the report as one indented JSON document, which ReadReport reads.
func (r *Report) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	if err := e.Encode(r); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return nil
}

// ReadReport reads what WriteJSON has written.
func ReadReport(src io.Reader) (*Report, error) {
	var r Report
	if err := json.NewDecoder(src).Decode(&r); err != nil {
		return nil, fmt.Errorf("read a report: %w", err)
	}
	return &r, nil
}

// WriteTable writes the report for a person to read.
func (r *Report) WriteTable(w io.Writer) error {
	m := r.Machine
	fmt.Fprintf(w, "%s, %s: %d × %s, %d MiB, %s, %s\n", r.Label, r.Started.Format("2006-01-02 15:04"), m.Cores, m.CPU, m.MemoryMiB, m.OS, m.Go)
	if m.Fsync1 > 0 {
		fmt.Fprintf(w, "disk: %s fsync/s from one writer, %s from eight; ", number(m.Fsync1), number(m.Fsync8))
	}
	fmt.Fprintf(w, "load average %s; medians of the runs\n\n", m.LoadAverage)
	tw := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(tw, "workload\tmetric\tmedian\tunit\truns")
	for _, res := range r.Results {
		for i, metric := range res.Metrics {
			name := res.Workload
			if i > 0 {
				name = ""
			}
			var runs []string
			for _, v := range metric.Values {
				runs = append(runs, number(v))
			}
			fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\n", name, metric.Name, number(metric.Median), metric.Unit, strings.Join(runs, " "))
		}
		if res.Error != "" {
			fmt.Fprintf(tw, "%s\tFAILED: %s\n", res.Workload, res.Error)
		}
	}
	if err := tw.Flush(); err != nil {
		return fmt.Errorf("write the table: %w", err)
	}
	for _, res := range r.Results {
		if res.Series != nil {
			if err := res.writeSeries(w); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *Result) writeSeries(w io.Writer) error {
	fmt.Fprintf(w, "\n%s:\n", r.Workload)
	tw := tabwriter.NewWriter(w, 0, 4, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(tw, strings.Join(r.Series.Columns, "\t")+"\t")
	for _, row := range r.Series.Rows {
		for _, v := range row {
			fmt.Fprintf(tw, "%s\t", number(v))
		}
		fmt.Fprintln(tw)
	}
	if err := tw.Flush(); err != nil {
		return fmt.Errorf("write the table: %w", err)
	}
	return nil
}

// number shows three or four significant digits, thousands set apart.
func number(v float64) string {
	switch a := max(v, -v); {
	case a == 0:
		return "0"
	case a < 1:
		return strconv.FormatFloat(v, 'f', 3, 64)
	case a < 10:
		return strconv.FormatFloat(v, 'f', 2, 64)
	case a < 100:
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	s := strconv.FormatFloat(v, 'f', 0, 64)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
