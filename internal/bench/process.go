package bench

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"time"
)

// A processTree is the main processes of a server, one of each node, with everything that they have started.
type processTree []int

type processUse struct {
	cpu      time.Duration // user and system time, of ended children too
	resident int64         // bytes; pages that processes share are counted for each
}

// use reads /proc. Processes may come and go meanwhile: those that are gone are left out, their time is in the parent's.
func (p processTree) use() (processUse, error) {
	pids, err := p.members()
	if err != nil {
		return processUse{}, err
	}
	return useOf(pids), nil
}

func useOf(pids []int) processUse {
	var total processUse
	for _, pid := range pids {
		if s, ok := readStat(pid); ok {
			total.cpu += s.cpu
			total.resident += s.resident
		}
	}
	return total
}

// members lists the tree's processes, the roots among them.
func (p processTree) members() ([]int, error) {
	if len(p) == 0 {
		return nil, errors.New("the server's process is not known (ServerPID)")
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("read the process table (%s): %w", runtime.GOOS, err)
	}
	stats := make(map[int]procStat, len(entries))
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if s, ok := readStat(pid); ok {
			stats[pid] = s
		}
	}
	for _, root := range p {
		if _, ok := stats[root]; !ok {
			return nil, fmt.Errorf("there is no process %d", root)
		}
	}
	var pids []int
	for pid := range stats {
		if descends(stats, pid, p) {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

func descends(stats map[int]procStat, pid int, roots []int) bool {
	for depth := 0; depth < 100; depth++ {
		if slices.Contains(roots, pid) {
			return true
		}
		s, ok := stats[pid]
		if !ok {
			return false
		}
		pid = s.parent
	}
	return false
}

type procStat struct {
	parent   int
	cpu      time.Duration
	resident int64
}

// readStat parses /proc/PID/stat, see proc(5). Its second field is a name in parentheses that may contain anything.
func readStat(pid int) (procStat, bool) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return procStat{}, false
	}
	i := bytes.LastIndexByte(b, ')')
	f := bytes.Fields(b[i+1:])
	const state, ppid, utime, cstime, rss = 0, 1, 11, 14, 21
	if i < 0 || len(f) <= rss || string(f[state]) == "Z" {
		return procStat{}, false
	}
	var s procStat
	s.parent, _ = strconv.Atoi(string(f[ppid]))
	const tick = time.Second / 100 // USER_HZ is 100 on every Linux that Go runs on
	for _, field := range f[utime : cstime+1] {
		n, _ := strconv.ParseInt(string(field), 10, 64)
		s.cpu += time.Duration(n) * tick
	}
	pages, _ := strconv.ParseInt(string(f[rss]), 10, 64)
	s.resident = pages * int64(os.Getpagesize())
	return s, true
}
