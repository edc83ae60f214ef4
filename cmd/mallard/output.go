package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
)

// size is a number of octets, as 500M, 2G, 1.5GiB or 1000.
type size int64

// UnmarshalText reads the notation.
func (s *size) UnmarshalText(b []byte) error {
	text := strings.ToUpper(strings.TrimSpace(string(b)))
	number := strings.TrimRight(text, "KMGTIB")
	unit := strings.TrimSuffix(strings.TrimSuffix(text[len(number):], "B"), "I")
	factor := 1.0
	if unit != "" {
		i := strings.Index("KMGT", unit)
		if len(unit) != 1 || i < 0 {
			return fmt.Errorf("%q is not a size such as 500M, 2G or 1000", b)
		}
		factor = math.Exp2(float64(10 * (i + 1)))
	}
	n, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
	if err != nil || n < 0 || n*factor >= math.MaxInt64 || math.IsNaN(n) {
		return fmt.Errorf("%q is not a size such as 500M, 2G or 1000", b)
	}
	*s = size(n * factor)
	return nil
}

// bytesText is a number of octets for a person.
func bytesText(n int64) string {
	units := []string{"KiB", "MiB", "GiB", "TiB"}
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	v, u := float64(n)/1024, 0
	for v >= 1024 && u < len(units)-1 {
		v, u = v/1024, u+1
	}
	return fmt.Sprintf("%.1f %s", v, units[u])
}

// printJSON prints one value on one line.
func printJSON(v any) error {
	enc := json.NewEncoder(os.Stdout)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// table prints rows in columns.
func table(w io.Writer, f func(row func(cells ...any))) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	f(func(cells ...any) {
		for i, c := range cells {
			if i > 0 {
				fmt.Fprint(t, "\t")
			}
			fmt.Fprint(t, c)
		}
		fmt.Fprintln(t)
	})
	return t.Flush()
}

// plain makes text from outside harmless for a terminal.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return '?'
		}
		return r
	}, s)
}
