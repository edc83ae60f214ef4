package node

import (
	"os"
	"strconv"
	"strings"
	"syscall"
)

// machineMemory is how much memory this process can use at most, in octets: that of
// the machine, or less where its control group (version 2) has a limit. 0 when it is
// not known.
func machineMemory() int64 {
	var info syscall.Sysinfo_t
	if syscall.Sysinfo(&info) != nil {
		return 0
	}
	total := int64(uint64(info.Totalram) * uint64(info.Unit))
	text, err := os.ReadFile("/sys/fs/cgroup/memory.max")
	if err != nil {
		return total
	}
	limit, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	if err != nil || limit <= 0 { // "max"
		return total
	}
	return min(total, limit)
}
