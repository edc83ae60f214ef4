package hotcache

import (
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
)

func TestPutAndGet(t *testing.T) {
	c := New[int, string](1 << 20)
	c.Put(1, "one", 3)
	c.Put(2, "two", 3)
	c.Put(1, "uno", 3)
	if v, ok := c.Get(1); !ok || v != "uno" {
		t.Errorf("got %q, %v", v, ok)
	}
	if _, ok := c.Get(3); ok {
		t.Error("something was found that is not there")
	}
	if c.Len() != 2 || c.Octets() != 2*(3+entryOctets) {
		t.Errorf("%d values of %d octets", c.Len(), c.Octets())
	}
	c.Delete(1)
	c.Delete(7)
	if _, ok := c.Get(1); ok || c.Octets() != 3+entryOctets {
		t.Errorf("after a deletion: %v, %d octets", ok, c.Octets())
	}
}

func TestLeastRecentlyUsedGoes(t *testing.T) {
	const octets = 840
	c := New[int, int](10 * (octets + entryOctets))
	for i := range 10 {
		c.Put(i, i, octets)
	}
	c.Get(0)
	c.Put(1, 1, octets) // used as well
	c.Put(10, 10, octets)
	c.Put(11, 11, octets)
	var there []int
	for i := range 12 {
		if _, ok := c.entries[i]; ok {
			there = append(there, i)
		}
	}
	if want := []int{0, 1, 4, 5, 6, 7, 8, 9, 10, 11}; !slices.Equal(there, want) {
		t.Errorf("there are %v, want %v", there, want)
	}
}

func TestTooLarge(t *testing.T) {
	c := New[int, int](8 * (1000 + entryOctets))
	c.Put(1, 1, 1000)
	if c.Len() != 1 || !c.Takes(1000) {
		t.Fatal("a value that fits is not kept")
	}
	c.Put(1, 2, 1001)
	if c.Len() != 0 || c.Octets() != 0 || c.Takes(1001) {
		t.Error("a value above an eighth of the budget is kept, or the one that it replaces is")
	}
	none := New[int, int](0)
	none.Put(1, 1, 0)
	if none.Len() != 0 || none.Takes(0) {
		t.Error("a cache without a budget keeps something")
	}
}

func TestDeleteFunc(t *testing.T) {
	c := New[int, int](1 << 20)
	for i := range 100 {
		c.Put(i, i, 1)
	}
	c.DeleteFunc(func(k int) bool { return k%10 != 0 })
	if c.Len() != 10 || c.Octets() != 10*(1+entryOctets) {
		t.Errorf("%d values of %d octets are left", c.Len(), c.Octets())
	}
}

// TestBudget compares the sums with the entries after many random calls, made by several at a time.
func TestBudget(t *testing.T) {
	const budget = 100_000
	c := New[int, int](budget)
	var done sync.WaitGroup
	for g := range 4 {
		done.Add(1)
		go func() {
			defer done.Done()
			rng := rand.New(rand.NewPCG(1, uint64(g)))
			for range 20_000 {
				key := rng.IntN(500)
				switch rng.IntN(4) {
				case 0:
					c.Delete(key)
				case 1:
					if v, ok := c.Get(key); ok && v != key {
						t.Errorf("key %d has the value of %d", key, v)
					}
				default:
					c.Put(key, key, int64(rng.IntN(3000)))
				}
				if n := c.Octets(); n > budget {
					t.Errorf("%d octets of %d", n, budget)
				}
			}
		}()
	}
	done.Wait()
	var sum int64
	n := 0
	for e := c.list.next; e != &c.list; e = e.next {
		sum += e.octets
		n++
	}
	if sum != c.octets || n != len(c.entries) || n == 0 {
		t.Errorf("the list has %d entries of %d octets, the map %d, counted are %d", n, sum, len(c.entries), c.octets)
	}
}
