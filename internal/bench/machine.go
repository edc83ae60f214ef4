package bench

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// A Machine is where the figures come from.
type Machine struct {
	CPU         string  `json:"cpu"`
	Cores       int     `json:"cores"`
	MemoryMiB   int64   `json:"memoryMiB,omitempty"`
	OS          string  `json:"os"`
	Go          string  `json:"go"`
	LoadAverage string  `json:"loadAverage,omitempty"` // at the start, 1, 5 and 15 minutes
	Fsync1      float64 `json:"fsync1,omitempty"`      // 4 kB writes with fsync per second, one writer
	Fsync8      float64 `json:"fsync8,omitempty"`      // the same, eight writers with a file each
}

// machineFacts measures the disk below dir for a second, if dir is given.
func machineFacts(dir string) (Machine, error) {
	m := Machine{
		CPU:   procField("/proc/cpuinfo", "model name"),
		Cores: runtime.NumCPU(),
		OS:    runtime.GOOS + "/" + runtime.GOARCH,
		Go:    runtime.Version(),
	}
	var kib int64
	if _, err := fmt.Sscanf(procField("/proc/meminfo", "MemTotal"), "%d kB", &kib); err == nil {
		m.MemoryMiB = kib >> 10
	}
	if release, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		m.OS += " " + strings.TrimSpace(string(release))
	}
	if load, err := os.ReadFile("/proc/loadavg"); err == nil {
		m.LoadAverage = strings.Join(strings.Fields(string(load))[:3], " ")
	}
	if dir == "" {
		return m, nil
	}
	var err error
	if m.Fsync1, err = FsyncRate(dir, 1, time.Second); err != nil {
		return m, err
	}
	m.Fsync8, err = FsyncRate(dir, 8, time.Second)
	return m, err
}

// procField finds "name : value" in a file of /proc; empty if there is none.
func procField(path, name string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if key, value, ok := strings.Cut(s.Text(), ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// FsyncRate appends 4 kB to a file and calls fsync, over and over for the given time, from each of so many writers,
// and returns how many fsyncs per second there were in all. The files are in a directory below dir that is removed
// afterwards.
func FsyncRate(dir string, writers int, during time.Duration) (float64, error) {
	tmp, err := os.MkdirTemp(dir, "fsync-rate-")
	if err != nil {
		return 0, fmt.Errorf("measure fsync: %w", err)
	}
	defer os.RemoveAll(tmp)
	counts := make([]int, writers)
	start := time.Now()
	err = parallel(writers, writers, func(i int) error {
		f, err := os.Create(filepath.Join(tmp, fmt.Sprint(i)))
		if err != nil {
			return fmt.Errorf("measure fsync: %w", err)
		}
		defer f.Close()
		block := make([]byte, 4096)
		for time.Since(start) < during {
			if _, err := f.Write(block); err != nil {
				return fmt.Errorf("measure fsync: %w", err)
			}
			if err := f.Sync(); err != nil {
				return fmt.Errorf("measure fsync: %w", err)
			}
			counts[i]++
		}
		return nil
	})
	elapsed := time.Since(start)
	total := 0
	for _, n := range counts {
		total += n
	}
	return float64(total) / elapsed.Seconds(), err
}
