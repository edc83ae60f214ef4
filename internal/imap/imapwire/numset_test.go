package imapwire

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestParseNumSet(t *testing.T) {
	for in, want := range map[string]string{
		"1": "1", "1:*": "1:*", "*:1": "*:1", "*": "*", "4294967295": "4294967295", "3,1:2,2": "3,1:2,2", "$": "$",
		"5:5": "5", "01": "1",
	} {
		set, err := ParseNumSet(in)
		if err != nil || set.String() != want {
			t.Errorf("%q: got %q, %v", in, set, err)
		}
	}
	for _, in := range []string{"", "0", "1:", ":1", "1,", ",1", "1,,2", "4294967296", "99999999999999999999", "1:2:3", "-1", "a", "1 ", "$,1", "1:0", "**"} {
		if set, err := ParseNumSet(in); err == nil {
			t.Errorf("%q was accepted as %q", in, set)
		}
	}
}

func TestResolve(t *testing.T) {
	for _, c := range []struct {
		in      string
		largest uint32
		want    string
	}{
		{"1:*", 5, "1:5"}, {"*", 5, "5"}, {"7:*", 5, "5:7"}, {"*:7", 5, "5:7"}, {"3,1:2,5", 9, "1:3,5"},
		{"1:*", 0, ""}, {"*", 0, ""}, {"5,*", 0, "5"}, {"5:2", 9, "2:5"},
		{"4294967295,4294967294:4294967295,1", 9, "1,4294967294:4294967295"},
	} {
		set, err := ParseNumSet(c.in)
		if err != nil {
			t.Fatal(err)
		}
		if got := set.Resolve(c.largest).String(); got != c.want {
			t.Errorf("%s with %d: got %s, want %s", c.in, c.largest, got, c.want)
		}
	}
}

// TestSelectCost takes every number of the widest set, a hundred thousand
// times: it would never end if the cost were that of the numbers spanned.
func TestSelectCost(t *testing.T) {
	set, _ := ParseNumSet("1:*,2:4294967295,*:1")
	nums := []uint32{1, 1 << 31, 1<<32 - 1}
	start := time.Now()
	for range 100_000 {
		if n := len(slices.Collect(set.Select(nums))); n != 3 {
			t.Fatalf("selected %d", n)
		}
	}
	if d := time.Since(start); d > 5*time.Second {
		t.Errorf("took %v", d)
	}
}

func genSet(t *rapid.T) NumSet {
	num := rapid.Uint32Range(0, 40) // 0 is "*"
	return NumSet{Ranges: rapid.SliceOfN(rapid.Custom(func(t *rapid.T) NumRange {
		return NumRange{num.Draw(t, "start"), num.Draw(t, "stop")}
	}), 1, 8).Draw(t, "set")}
}

func TestNumSetModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		set := genSet(t)
		in := rapid.SliceOfNDistinct(rapid.Uint32Range(1, 50), 0, 20, rapid.ID[uint32]).Draw(t, "nums")
		slices.Sort(in)
		var largest uint32
		if len(in) > 0 {
			largest = in[len(in)-1]
		}
		var want []int
		for i, n := range in {
			if set.Contains(n, largest) != naiveContains(set, n, largest) {
				t.Fatalf("Contains(%d) is wrong", n)
			}
			if naiveContains(set, n, largest) {
				want = append(want, i)
			}
		}
		if got := slices.Collect(set.Select(in)); !slices.Equal(got, want) {
			t.Fatalf("%v of %v: got %v, want %v", set, in, got, want)
		}
		again, err := ParseNumSet(set.String())
		if err != nil || again.String() != set.String() {
			t.Fatalf("%v does not parse: %v", set, err)
		}
		resolved := set.Resolve(largest)
		for i, r := range resolved.Ranges {
			if r.Start == 0 || r.Start > r.Stop || i > 0 && r.Start <= resolved.Ranges[i-1].Stop+1 {
				t.Fatalf("%v resolves to %v", set, resolved)
			}
		}
	})
}

func naiveContains(set NumSet, n, largest uint32) bool {
	for _, r := range set.Ranges {
		if largest == 0 && (r.Start == 0 || r.Stop == 0) {
			continue
		}
		lo, hi := r.Start, r.Stop
		if lo == 0 {
			lo = largest
		}
		if hi == 0 {
			hi = largest
		}
		if n >= min(lo, hi) && n <= max(lo, hi) {
			return true
		}
	}
	return false
}

func TestAppendNumSet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		nums := rapid.SliceOfN(rapid.Uint32Range(1, 30), 1, 30).Draw(t, "nums")
		if rapid.Bool().Draw(t, "sorted") {
			slices.Sort(nums)
		}
		set, err := ParseNumSet(string(AppendNumSet(nil, nums)))
		if err != nil {
			t.Fatal(err)
		}
		var got []uint32
		for _, r := range set.Ranges {
			for n := r.Start; n <= r.Stop; n++ {
				got = append(got, n)
			}
		}
		if !slices.Equal(got, nums) {
			t.Fatalf("got %v", got)
		}
	})
	if got := string(AppendNumSet([]byte("x "), []uint32{1<<32 - 1, 1, 2, 3, 5})); got != "x 4294967295,1:3,5" {
		t.Errorf("got %q", got)
	}
}

func FuzzNumSet(f *testing.F) {
	for _, s := range []string{"1:*", "*", "1,2,3", "4294967295:1", "$", "1:2:3"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		set, err := ParseNumSet(s)
		if err != nil {
			return
		}
		again, err := ParseNumSet(set.String())
		if err != nil || again.String() != set.String() {
			t.Fatalf("%q becomes %q: %v", s, set, err)
		}
		for i := range set.Select([]uint32{1, 5, 1 << 20, 1<<32 - 1}) {
			if i > 3 {
				t.Fatalf("index %d", i)
			}
		}
	})
}
