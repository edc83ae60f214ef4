//go:build e2e

package servers

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// T is the part of testing.TB that is used here, so that a program can start servers as a test does.
type T interface {
	Helper()
	Cleanup(func())
	Failed() bool
	Fatalf(format string, args ...any)
	Logf(format string, args ...any)
	Skipf(format string, args ...any)
	TempDir() string
}

// CI tells whether nothing may be left out.
func CI() bool { return os.Getenv("MALLARD_CI") == "1" }

// Missing ends a test for which something is not there: it fails where nothing may be left out and is skipped elsewhere.
func Missing(t T, format string, args ...any) {
	t.Helper()
	if CI() {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

// Need returns the path of a program, or ends the test as Missing does and says what to install.
func Need(t T, program, debianPackage string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err == nil {
		return path
	}
	for _, dir := range []string{"/usr/sbin", "/sbin"} {
		if _, err := os.Stat(filepath.Join(dir, program)); err == nil {
			return filepath.Join(dir, program)
		}
	}
	Missing(t, "%s is not installed: apt-get install %s (or test/rig/install.sh)", program, debianPackage)
	return ""
}

// Cache is where test/rig/install.sh puts what is not a package of the system.
func Cache(t T) string {
	t.Helper()
	if dir := os.Getenv("MALLARD_TEST_CACHE"); dir != "" {
		return dir
	}
	home, err := os.UserHomeDir()
	if err != nil {
		t.Fatalf("%v", err)
	}
	return filepath.Join(home, ".cache", "mallard-test")
}

// cached returns the path of a file below the cache, or ends the test and says which part of the installer makes it.
func cached(t T, part string, path ...string) string {
	t.Helper()
	file := filepath.Join(append([]string{Cache(t)}, path...)...)
	if _, err := os.Stat(file); err != nil {
		Missing(t, "%v (test/rig/install.sh %s installs it)", err, part)
	}
	return file
}

// Until calls f over and over until it is true; it returns false when it was not within the time.
func Until(limit time.Duration, f func() bool) bool {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(limit); ; <-tick.C {
		if f() {
			return true
		}
		if time.Now().After(end) {
			return false
		}
	}
}

// loopback is the address of a port.
func loopback(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }

// answers tells whether something accepts connections at an address.
func answers(addr string) bool {
	c, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return false
	}
	c.Close()
	return true
}
