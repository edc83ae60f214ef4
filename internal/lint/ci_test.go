package lint

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// allScript runs a copy of test/all.sh with programs in place of go and make, of
// which go tests as the log says.
func allScript(t *testing.T, log string, status string, env ...string) (out string, ok bool) {
	t.Helper()
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("no bash here")
	}
	script, err := os.ReadFile(filepath.Join(root(t), "test", "all.sh"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	write("test/all.sh", string(script))
	write("test/rig/install.sh", "#!/bin/sh\n")
	write("test/fuzz.sh", "#!/bin/sh\n")
	write("bin/make", "#!/bin/sh\n")
	write("log", log)
	// go env CGO_ENABLED, go env CC, go build -tags e2e -o FILE PACKAGE, and go test
	write("with", "#!/bin/sh\nMALLARD_TEST_MONGO=there exec \"$@\"\n")
	write("bin/go", "#!/bin/sh\ncase $1 in env) case $2 in CGO_ENABLED) echo 1;; CC) echo sh;; esac;; build) cp "+filepath.Join(dir, "with")+" $5;; "+
		"*) [ \"$MALLARD_TEST_MONGO\" = there ] || exit 3; cat "+filepath.Join(dir, "log")+"; exit "+status+";; esac\n")
	cmd := exec.Command(bash, filepath.Join(dir, "test", "all.sh"))
	cmd.Env = append([]string{"PATH=" + filepath.Join(dir, "bin") + ":/usr/bin:/bin", "HOME=" + dir}, env...)
	b, err := cmd.CombinedOutput()
	return string(b), err == nil
}

// The script that runs everything names the step that failed, and where nothing
// may be left out a test that was skipped is a failure.
func TestAllScript(t *testing.T) {
	const skipped = "--- SKIP: TestMutt (0.00s)\n    --- SKIP: TestClients/mbsync (0.00s)\nPASS\n"
	for _, tt := range []struct {
		name, log, status string
		env               []string
		ok                bool
		want, not         string
	}{
		{"all is well", "PASS\n", "0", nil, true, "=== end to end: ok", "FAILED"},
		{"failed", "--- FAIL: TestMutt\n", "1", nil, false, "FAILED: end to end\nFAILED: servers of the tests\nFAILED: interoperation\nFAILED: cluster\n", "could not run"},
		{"failed and skipped", skipped, "1", nil, false, "FAILED: end to end\n", "FAILED: \n"},
		{"skipped", skipped, "0", nil, true, "could not run: ./test/e2e/...: TestMutt\ncould not run: ./test/e2e/...: TestClients/mbsync\n", "FAILED"},
		{"skipped in CI", skipped, "0", []string{"MALLARD_CI=1"}, false, "FAILED: end to end\n", "FAILED: \n"},
		{"CI", "PASS\n", "0", []string{"MALLARD_CI=1"}, true, "=== end to end: ok", "FAILED"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			out, ok := allScript(t, tt.log, tt.status, tt.env...)
			if ok != tt.ok || !strings.Contains(out, tt.want) || strings.Contains(out, tt.not) {
				t.Errorf("ok %v, want %v with %q and without %q:\n%s", ok, tt.ok, tt.want, tt.not, out)
			}
		})
	}
}
