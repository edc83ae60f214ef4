package main

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"mallard/internal/testserver/freeport"
	"mallard/internal/transfer"
)

// TestMain makes this test binary the program mallard for the scripts.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"mallard": main})
}

// TestScripts runs the scripts of test/scripts against the program, each with its
// own directory, configuration and ports.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("..", "..", "test", "scripts"),
		RequireExplicitExec: true,
		Setup:               setup,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"healthy":  healthy,
			"samemail": sameMail,
			"occupy":   occupy,
			"damage":   damage,
			"waitfor":  waitFor,
		},
	})
}

const configText = `[store]
path = %q
[imap]
port = %d
[[imap.interface]]
enabled = true
host = "127.0.0.1"
port = %d
[lmtp]
port = %d
[api]
port = %d
[log]
level = "warn"
`

// setup writes a configuration with free ports.
func setup(env *testscript.Env) error {
	names := []string{"IMAPS", "IMAP", "LMTP", "API"}
	free, release, err := freeport.Reserve(len(names))
	if err != nil {
		return err
	}
	env.Defer(release)
	ports := make([]any, len(names))
	for i, name := range names {
		env.Setenv(name, strconv.Itoa(free[i]))
		ports[i] = free[i]
	}
	text := fmt.Sprintf(configText, append([]any{filepath.Join(env.WorkDir, "data")}, ports...)...)
	return os.WriteFile(filepath.Join(env.WorkDir, "mallard.toml"), []byte(text), 0o600)
}

// healthy waits until the server answers.
func healthy(ts *testscript.TestScript, _ bool, _ []string) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	end := time.After(time.Minute)
	for {
		resp, err := http.Get("http://127.0.0.1:" + ts.Getenv("API") + "/health")
		if err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return
			}
		}
		select {
		case <-tick.C:
		case <-end:
			ts.Fatalf("the server is not healthy: %v", err)
		}
	}
}

// waitFor waits until a file holds a text: waitfor FILE TEXT.
func waitFor(ts *testscript.TestScript, _ bool, args []string) {
	end := time.Now().Add(time.Minute)
	for time.Now().Before(end) {
		if b, err := os.ReadFile(ts.MkAbs(args[0])); err == nil && strings.Contains(string(b), args[1]) {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	ts.Fatalf("%s does not hold %q", args[0], args[1])
}

// occupy takes the port in an environment variable until the script ends.
func occupy(ts *testscript.TestScript, _ bool, args []string) {
	l, err := net.Listen("tcp", "127.0.0.1:"+ts.Getenv(args[0]))
	ts.Check(err)
	ts.Defer(func() { _ = l.Close() })
}

// damage changes octets in the middle of the greatest file below a directory.
func damage(ts *testscript.TestScript, _ bool, args []string) {
	var greatest string
	var size int64
	err := filepath.WalkDir(ts.MkAbs(args[0]), func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Size() > size {
			greatest, size = path, info.Size()
		}
		return err
	})
	ts.Check(err)
	f, err := os.OpenFile(greatest, os.O_RDWR, 0)
	ts.Check(err)
	defer f.Close()
	b := make([]byte, min(size/2, 4096))
	_, err = f.ReadAt(b, size/4)
	ts.Check(err)
	for i := range b {
		b[i] ^= 0x55
	}
	_, err = f.WriteAt(b, size/4)
	ts.Check(err)
	ts.Logf("damaged %s", greatest)
}

// sameMail compares the mail of Maildirs or of directories with mbox files:
// mailboxes, octets, flags and dates.
func sameMail(ts *testscript.TestScript, neg bool, args []string) {
	first := allMail(ts, args[0])
	if len(first) == 0 {
		ts.Fatalf("%s has no mail", args[0])
	}
	for _, other := range args[1:] {
		same := slices.Equal(first, allMail(ts, other))
		if same == neg {
			ts.Fatalf("%s and %s: same is %v", args[0], other, same)
		}
	}
}

// allMail lists what there is, in an order of its own.
func allMail(ts *testscript.TestScript, dir string) []string {
	dir = ts.MkAbs(dir)
	source, err := transfer.OpenMaildir(dir)
	if err != nil {
		source, err = transfer.OpenMbox(dir, transfer.MboxAuto, nil)
	}
	ts.Check(err)
	defer source.Close()
	all := map[string]int{}
	for _, f := range source.Folders() {
		for m, err := range source.Messages(f) {
			ts.Check(err)
			r, err := m.Open()
			ts.Check(err)
			var b bytes.Buffer
			_, err = io.Copy(&b, r)
			ts.Check(err)
			ts.Check(r.Close())
			flags := slices.Sorted(m.Flags.Names())
			all[fmt.Sprintf("%s %s %d %q", f.Path, strings.Join(flags, " "), m.Date.Unix(), b.String())]++
		}
	}
	var out []string
	for _, k := range slices.Sorted(maps.Keys(all)) {
		out = append(out, fmt.Sprintf("%d %s", all[k], k))
	}
	return out
}
