package pebblestore

import (
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"mallard/internal/mail"
)

// onDisk is a closed store whose rows are in tables, in blobs and in the log, and the
// state that it has.
func onDisk(t *testing.T) (mem *vfs.MemFS, state string) {
	mem = vfs.NewCrashableMem()
	r := newRig(t, mem)
	for i := range 30 {
		m := newMessage(fmt.Sprint("message ", i), strings.Repeat(fmt.Sprint("text ", i), 10+i*20))
		if i%10 == 4 {
			m = newMessage(fmt.Sprint("message ", i), "x", randomBytes(3000+i, uint64(i)))
		}
		r.append(r.inbox, m, "X: y\r\n")
		if i == 12 || i == 20 {
			r.must(r.s.db.Flush())
		}
	}
	_, err := r.s.Expunge(r.ctx, r.acct, r.inbox, mail.UIDSetOf(3, 15, 29), false)
	r.must(err)
	r.must(maintain(r.ctx, r.s))
	state = r.state()
	r.close()
	return mem, state
}

// state is a digest of all that the database holds but for the record of runs.
func (r *rig) state() string {
	sum := sha256.New()
	r.must(r.s.scanRange(nil, nil, func(k, v []byte) error {
		if k[0] != tabMeta {
			fmt.Fprintf(sum, "%d %d %s%s", len(k), len(v), k, v)
		}
		return nil
	}))
	return fmt.Sprintf("%x", sum.Sum(nil))
}

// flipped is a copy of a disk with one bit of a file changed.
func flipped(mem *vfs.MemFS, path string, at int64, bit int) (*vfs.MemFS, error) {
	clone := mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(1, 1))})
	f, err := clone.Open(path)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(f)
	if err != nil {
		return nil, err
	}
	data[at] ^= 1 << bit
	return clone, writeFile(clone, path, data)
}

// A bit that flips anywhere on the disk is not met with silence: the store does not
// open and says which file it is, or a check reports it, or it was in room that holds
// nothing, so that all is as before.
func TestFlippedBits(t *testing.T) {
	mem, state := onDisk(t)
	names, err := mem.List("/mail/db")
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]int{}
	for _, name := range append(names, "../FORMAT", "../RUN") {
		path := mem.PathJoin("/mail/db", name)
		info, err := mem.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		outcomes := map[string]int{}
		const flips = 40
		for i := range int64(2 * flips) {
			at := info.Size() * i / flips
			if i >= flips { // the end more closely
				at = info.Size() - (i-flips)*11 - 1
			}
			if at < 0 || at >= info.Size() {
				break
			}
			disk, err := flipped(mem, path, at, int(i%8))
			if err != nil {
				t.Fatal(err)
			}
			outcome := look(t, disk, name, state)
			outcomes[outcome]++
			if strings.HasPrefix(outcome, "silence") || strings.HasPrefix(outcome, "no name") {
				t.Errorf("%s, octet %d of %d: %s", name, at, info.Size(), outcome)
			}
			kinds[outcome]++
		}
		t.Logf("%s (%d octets): %v", name, info.Size(), outcomes)
	}
}

// A file of the database that is cut or missing does not end the process and is not met
// with silence.
func TestCutAndMissingFiles(t *testing.T) {
	mem, state := onDisk(t)
	names, err := mem.List("/mail/db")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		path := mem.PathJoin("/mail/db", name)
		info, err := mem.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, left := range []int64{-1, 0, info.Size() / 2, info.Size() - 1} {
			if left > 0 && left >= info.Size() {
				continue
			}
			disk := crashed(mem, 100, 1)
			if left < 0 {
				err = disk.Remove(path)
			} else {
				err = cutFile(disk, path, left)
			}
			if err != nil {
				t.Fatal(err)
			}
			outcome := look(t, disk, name, state)
			t.Logf("%s, %d of %d octets left: %s", name, left, info.Size(), outcome)
			if strings.HasPrefix(outcome, "silence") || strings.HasPrefix(outcome, "no name") {
				t.Errorf("%s, %d of %d octets left: %s", name, left, info.Size(), outcome)
			}
		}
	}
}

func cutFile(disk *vfs.MemFS, path string, left int64) error {
	f, err := disk.Open(path)
	if err != nil {
		return err
	}
	data, err := io.ReadAll(f)
	if err != nil {
		return err
	}
	return writeFile(disk, path, data[:left])
}

// look opens a damaged store, checks it, and compares it with what it was.
func look(t *testing.T, disk *vfs.MemFS, name, state string) string {
	o := options(disk)
	o.SweepInterval = time.Hour
	s, err := Open(t.Context(), o)
	if err != nil {
		if !strings.Contains(err.Error(), strings.TrimSuffix(strings.TrimPrefix(name, "../"), ".sst")) &&
			!strings.Contains(err.Error(), "its format is version") &&
			!strings.Contains(err.Error(), "a file *.log of db is missing or cut") && !strings.Contains(err.Error(), "a file marker.* of it") {
			return "no name in the error: " + err.Error()
		}
		return "refused"
	}
	r := &rig{TB: t, ctx: t.Context(), fs: disk, s: s}
	defer func() { _ = s.Close() }() // it may say that it is damaged
	problems := r.check()
	if slices.ContainsFunc(problems, func(p string) bool { return strings.Contains(p, "\n") }) {
		t.Errorf("a problem has more than one line: %q", problems)
	}
	if len(problems) > 0 {
		return "reported"
	}
	if r.state() != state {
		return "silence, but the state is another"
	}
	return "nothing is lost"
}
