package mail

import (
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// A packed list holds what a map of rows holds, whatever is done to both.
func TestHotRows(t *testing.T) {
	for seed := range uint64(50) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		flags := func() Flags {
			return NewFlags(SystemFlags(rnd.IntN(4)), fmt.Sprint("k", rnd.IntN(1+int(seed))))
		}
		var rows HotRows
		model := map[UID]HotRow{}
		last := UID(0)
		for range 300 {
			switch rnd.IntN(5) {
			case 0, 1, 2:
				last += UID(1 + rnd.IntN(3))
				octets := []int64{0, 1, 1000, math.MaxUint32 - 1, math.MaxUint32, 1 << 40}[rnd.IntN(6)]
				row := HotRow{UID: last, ModSeq: ModSeq(rnd.Uint64()), Flags: flags(), Octets: octets}
				rows.Append(row)
				model[last] = row
			case 3:
				if rows.Len() > 0 {
					i := rnd.IntN(rows.Len())
					row, now := rows.At(i), rows.Snapshot()
					row.ModSeq, row.Flags = row.ModSeq+1, flags()
					rows.Set(i, row.ModSeq, row.Flags)
					compareHot(t, seed, now, model)
					model[row.UID] = row
				}
			case 4:
				first := UID(rnd.IntN(int(last) + 2))
				set := UIDSet{{first, first + UID(rnd.IntN(4))}}
				was, now := rows.UIDs(), rows.Snapshot()
				kept := slices.Clone(was)
				gone := rows.Remove(set)
				compareHot(t, seed, now, model)
				for u := range gone.All() {
					if !set.Contains(u) {
						t.Fatalf("seed %d: removed %d", seed, u)
					}
					delete(model, u)
				}
				if !slices.Equal(was, kept) {
					t.Fatalf("seed %d: the list of UIDs that was given out changed", seed)
				}
			}
			compareHot(t, seed, &rows, model)
		}
	}
}

func compareHot(t *testing.T, seed uint64, rows *HotRows, model map[UID]HotRow) {
	t.Helper()
	var want []HotRow
	var counted Counters
	var seen []int
	for i, u := range slices.Sorted(maps.Keys(model)) {
		want = append(want, model[u])
		counted.Add(1, model[u].Flags, model[u].Octets)
		if model[u].Flags.Has(Seen) {
			seen = append(seen, i)
		}
		if at, ok := rows.Find(u); !ok || at != i {
			t.Fatalf("seed %d: UID %d is found at %d, %v", seed, u, at, ok)
		}
	}
	if got := slices.Collect(rows.All()); !slices.Equal(got, want) {
		t.Fatalf("seed %d: rows %v, want %v", seed, got, want)
	}
	if got := rows.Counters(); got != counted {
		t.Fatalf("seed %d: counters %+v, want %+v", seed, got, counted)
	}
	if got := slices.Collect(rows.Where(func(f Flags) bool { return f.Has(Seen) })); !slices.Equal(got, seen) {
		t.Fatalf("seed %d: seen are %v, want %v", seed, got, seen)
	}
}

// Rows may come in any order, and one twice.
func TestHotRowsSort(t *testing.T) {
	var rows HotRows
	for _, u := range []UID{5, 1, 9, 5, 3, 1} {
		rows.Append(HotRow{UID: u, ModSeq: ModSeq(rows.Len() + 1), Octets: int64(rows.Len()) << 32})
	}
	rows.Append(HotRow{UID: 9, ModSeq: 1})
	rows.Sort()
	var got []string
	for r := range rows.All() {
		got = append(got, fmt.Sprint(r.UID, " at ", r.ModSeq))
	}
	if want := []string{"1 at 6", "3 at 5", "5 at 4", "9 at 3"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if missing := rows.Missing([]UID{1, 2, 3, 4, 9, 10}).String(); missing != "2,4,10" {
		t.Errorf("missing are %s", missing)
	}
}

// A row costs what is said of it.
func TestHotRowsOctets(t *testing.T) {
	var rows HotRows
	rows.Grow(100_000)
	for i := range 100_000 {
		rows.Append(HotRow{UID: UID(i + 1), ModSeq: ModSeq(i), Flags: NewFlags(SystemFlags(i % 8)), Octets: 5000})
	}
	if n := rows.Octets(); n < 2_000_000 || n > 2_200_000 {
		t.Errorf("100,000 rows take %d octets", n)
	}
}
