package expiring_test

import (
	"testing"
	"time"

	"mallard/internal/expiring"
)

func TestMap(t *testing.T) {
	now := time.Unix(1000, 0)
	m := expiring.NewMap[int, string](8, time.Minute, func() time.Time { return now })
	has := func(key int, want string) {
		t.Helper()
		if got, ok := m.Get(key); got != want || ok != (want != "") {
			t.Errorf("%d is %q, %v; want %q", key, got, ok, want)
		}
	}
	has(1, "")
	m.Put(1, "one")
	has(1, "one")
	now = now.Add(time.Minute - 1)
	has(1, "one")
	m.Put(2, "two")
	now = now.Add(1)
	has(1, "")
	has(2, "two")
	m.Put(1, "again") // its time begins anew
	now = now.Add(time.Minute - 1)
	has(1, "again")
	m.Delete(1)
	has(1, "")
	m.Put(3, "three")
	m.Clear()
	has(3, "")
}

// What has ended gives room first; what has not goes only when there is none.
func TestMapIsBounded(t *testing.T) {
	now := time.Unix(1000, 0)
	m := expiring.NewMap[int, int](8, time.Minute, func() time.Time { return now })
	count := func() (n int) {
		for k := range 100 {
			if _, ok := m.Get(k); ok {
				n++
			}
		}
		return n
	}
	for k := range 3 {
		m.Put(k, k)
	}
	now = now.Add(time.Minute)
	for k := 3; k < 8; k++ {
		m.Put(k, k)
	}
	m.Put(7, 70) // there already: nothing has to go
	if m.Len() != 8 {
		t.Errorf("%d entries, want 8", m.Len())
	}
	m.Put(8, 8)
	if n := count(); n != 6 || m.Len() != 6 {
		t.Errorf("%d of 6 that have not ended are there, %d entries", n, m.Len())
	}
	for k := 9; k < 12; k++ {
		m.Put(k, k)
	}
	if _, ok := m.Get(11); !ok || count() != 7 || m.Len() != 7 { // two of eight gave room for one
		t.Errorf("%d are there of %d, the last: %v", count(), m.Len(), ok)
	}
}

func TestMapThatKeepsNothing(t *testing.T) {
	for _, m := range []*expiring.Map[int, int]{
		expiring.NewMap[int, int](0, time.Minute, time.Now), expiring.NewMap[int, int](8, 0, time.Now),
	} {
		if m.Put(1, 1); m.Len() != 0 {
			t.Error("it kept a value")
		}
	}
}
