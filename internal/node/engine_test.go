package node

import "testing"

func TestCacheSize(t *testing.T) {
	for _, c := range []struct{ set, memory, want int64 }{
		{set: 10 << 20, memory: 64 << 30, want: 10 << 20},
		{memory: 0, want: 128 << 20},
		{memory: 512 << 20, want: 64 << 20},
		{memory: 4 << 30, want: 256 << 20},
		{memory: 64 << 30, want: 512 << 20},
	} {
		if got := cacheSize(c.set, c.memory); got != c.want {
			t.Errorf("cacheSize(%d, %d) = %d, want %d", c.set, c.memory, got, c.want)
		}
	}
}
