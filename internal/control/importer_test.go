package control

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"mallard/internal/mail"
	"mallard/internal/store"
	"mallard/internal/transfer"
)

// flaky is an HTTP connection that fails at chosen appends: before the server has
// them, or after it has stored them, when the answer is lost.
type flaky struct {
	inner  http.RoundTripper
	calls  int
	before map[int]bool
	after  map[int]bool
}

var errLost = errors.New("connection lost")

func (f *flaky) RoundTrip(r *http.Request) (*http.Response, error) {
	if !strings.HasSuffix(r.URL.Path, "/append") {
		return f.inner.RoundTrip(r)
	}
	f.calls++
	if f.before[f.calls] {
		_ = r.Body.Close()
		return nil, errLost
	}
	resp, err := f.inner.RoundTrip(r)
	if err == nil && f.after[f.calls] {
		_ = resp.Body.Close()
		return nil, errLost
	}
	return resp, err
}

// writeMaildir makes a Maildir with n messages, each third the same as the one
// before it.
func writeMaildir(t *testing.T, n int) (dir string, contents []string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "Maildir")
	for _, sub := range []string{"cur", "new", "tmp"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for i := range n {
		text := fmt.Sprintf("Subject: %d\r\n\r\nbody\r\n", i-i%3/2)
		contents = append(contents, text)
		name := filepath.Join(dir, "cur", fmt.Sprintf("%08d.x:2,S", i))
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir, contents
}

func (w *world) runImport(t *testing.T, dir, state string) (ImportCount, error) {
	t.Helper()
	source, err := transfer.OpenMaildir(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer source.Close()
	st, err := transfer.OpenState(state, transfer.Identity{User: w.user.ID.String(), Kind: "maildir", Source: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	m := Import{
		Client: w.client, User: w.user.ID, Source: source, State: st, Path: func(f string) string { return f },
		Progress: func(ImportCount) {}, Problem: func(where, text string) { t.Logf("%s: %s", where, text) },
	}
	return m.Run(t.Context())
}

// An import that is interrupted, at whatever moment, goes on later, and every
// message is there once.
func TestImportResumes(t *testing.T) {
	const batches = 3
	for fail := 1; fail <= batches; fail++ {
		for _, stored := range []bool{false, true} {
			t.Run(fmt.Sprintf("append %d stored %v", fail, stored), func(t *testing.T) {
				w := newWorld(t, nil)
				dir, contents := writeMaildir(t, importBatch*(batches-1)+7)
				state := filepath.Join(t.TempDir(), "state")
				f := &flaky{inner: w.client.http.Transport}
				if stored {
					f.after = map[int]bool{fail: true}
				} else {
					f.before = map[int]bool{fail: true}
				}
				w.client.http.Transport = f
				if _, err := w.runImport(t, dir, state); !errors.Is(err, errLost) {
					t.Fatalf("error %v", err)
				}
				count, err := w.runImport(t, dir, state)
				if err != nil || count.Imported+count.Already != len(contents) {
					t.Fatalf("%+v, %v", count, err)
				}
				got := w.contents(w.box("INBOX"))
				slices.Sort(got)
				slices.Sort(contents)
				if !slices.Equal(got, contents) {
					t.Fatalf("%d messages, want %d", len(got), len(contents))
				}
				count, err = w.runImport(t, dir, state)
				if err != nil || count.Imported != 0 || count.Already != len(contents) {
					t.Errorf("once more: %+v, %v", count, err)
				}
			})
		}
	}
}

// A record that ends in the middle of a line, as a crash may leave it, is good up
// to there.
func TestImportTornState(t *testing.T) {
	w := newWorld(t, nil)
	dir, contents := writeMaildir(t, 10)
	state := filepath.Join(t.TempDir(), "state")
	if _, err := w.runImport(t, dir, state); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(state)
	if err != nil {
		t.Fatal(err)
	}
	for cut := 1; cut < len(whole); cut += 7 {
		if err := os.WriteFile(state, whole[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		if strings.Count(string(whole[:cut]), "\n") < 2 {
			continue // the line that says what begins is on the disk before anything is stored
		}
		if _, err := w.runImport(t, dir, state); err != nil {
			t.Fatalf("cut at %d: %v", cut, err)
		}
		if n := len(w.contents(w.box("INBOX"))); n != len(contents) {
			t.Fatalf("cut at %d: %d messages, want %d", cut, n, len(contents))
		}
	}
}

// Messages that cannot be read are counted and left out.
func TestImportUnreadable(t *testing.T) {
	w := newWorld(t, nil)
	dir, contents := writeMaildir(t, 10)
	bad := filepath.Join(dir, "cur", "00000004.x:2,S")
	if err := errors.Join(os.Remove(bad), os.WriteFile(bad, []byte("\x1f\x8b\x08not gzip after all"), 0o600)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "cur", "00000003.y:2,"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	count, err := w.runImport(t, dir, filepath.Join(t.TempDir(), "state"))
	if err != nil || count.Imported != len(contents)-1 || count.Failed != 2 {
		t.Errorf("%+v, %v", count, err)
	}
}

// fullDisk is a mail store whose disk is full after some messages.
type fullDisk struct {
	Mailboxes
	room atomic.Int64
}

func (f *fullDisk) Stage(ctx context.Context, content *store.Content) (store.Staged, error) {
	if f.room.Add(-1) < 0 {
		return nil, mail.NewError(mail.CodeNoSpace, "there is no space left for mail")
	}
	return f.Mailboxes.Stage(ctx, content)
}

// A disk that is full ends an import: it is not told of every message, and a repeat imports the rest.
func TestImportEndsWhenTheDiskIsFull(t *testing.T) {
	disk := &fullDisk{}
	w := newWorld(t, func(o *Options) {
		disk.Mailboxes = o.Mailboxes
		o.Mailboxes = disk
	})
	dir, contents := writeMaildir(t, 2*importBatch)
	state := filepath.Join(t.TempDir(), "state")
	disk.room.Store(7)
	count, err := w.runImport(t, dir, state)
	if err == nil || !strings.Contains(err.Error(), "no space left") || !strings.Contains(err.Error(), "again") {
		t.Errorf("error %v", err)
	}
	if count.Imported != 7 || count.Failed != 0 {
		t.Errorf("%+v", count)
	}
	disk.room.Store(int64(len(contents)))
	count, err = w.runImport(t, dir, state)
	if err != nil || count.Already != 7 || count.Imported != len(contents)-7 {
		t.Errorf("again: %+v, %v", count, err)
	}
}

// Two imports with one record at the same time, and the record of another import,
// are refused.
func TestImportStateIsOwn(t *testing.T) {
	name := filepath.Join(t.TempDir(), "state")
	id := transfer.Identity{User: "a", Kind: "maildir", Source: "/x"}
	st, err := transfer.OpenState(name, id)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := transfer.OpenState(name, id); err == nil || !strings.Contains(err.Error(), "running already") {
		t.Errorf("a second one: %v", err)
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	id.User = "b"
	if _, err := transfer.OpenState(name, id); err == nil || !strings.Contains(err.Error(), "belongs to the import") {
		t.Errorf("of another user: %v", err)
	}
	other := filepath.Join(t.TempDir(), "other")
	if err := os.WriteFile(other, []byte("{}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := transfer.OpenState(other, id); err == nil {
		t.Error("a file that is no record was taken for one")
	}
}

// stoppedSource is a source in whose reading the import is cancelled.
type stoppedSource struct {
	transfer.Source
	stop func()
}

func (s stoppedSource) Messages(f transfer.Folder) iter.Seq2[*transfer.Message, error] {
	s.stop()
	return s.Source.Messages(f)
}

// A cancelled import ends between batches, says why, and goes on later.
func TestImportCanceled(t *testing.T) {
	w := newWorld(t, nil)
	dir, contents := writeMaildir(t, 20)
	source, err := transfer.OpenMaildir(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer source.Close()
	state := filepath.Join(t.TempDir(), "state")
	signal := errors.New("interrupt signal received")
	for _, early := range []bool{true, false} {
		st, err := transfer.OpenState(state, transfer.Identity{User: w.user.ID.String(), Kind: "maildir", Source: dir})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		if early {
			cancel(signal)
		}
		m := Import{Client: w.client, User: w.user.ID, Source: stoppedSource{source, func() { cancel(signal) }}, State: st,
			Path: func(f string) string { return f }, Progress: func(ImportCount) {}, Problem: func(string, string) {}}
		if _, err := m.Run(ctx); !errors.Is(err, signal) {
			t.Errorf("early %v: error %v", early, err)
		}
		if err := st.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if count, err := w.runImport(t, dir, state); err != nil || count.Imported != len(contents) {
		t.Errorf("%+v, %v", count, err)
	}
}

// Frames come back as they were, and damage is an error.
func FuzzFrames(f *testing.F) {
	var b strings.Builder
	w := NewFrameWriter(&b)
	if err := errors.Join(w.Begin(AppendMeta{Flags: []string{`\Seen`}}), second(w.Write([]byte("text"))), w.End(ExportEnd{}), w.Flush()); err != nil {
		f.Fatal(err)
	}
	f.Add(b.String())
	f.Add(b.String() + b.String()[:9])
	f.Add("\x00\x00\x00\x02{}\xff\xff\xff\xff")
	f.Fuzz(func(t *testing.T, in string) {
		r := NewFrameReader(strings.NewReader(in))
		total := int64(0)
		for {
			var meta AppendMeta
			if err := r.Next(&meta); err != nil {
				return
			}
			n, err := io.Copy(io.Discard, r)
			total += n
			if total > int64(len(in)) {
				t.Fatal("more octets came out than went in")
			}
			if err == nil {
				err = r.End(nil)
			}
			if err != nil {
				return
			}
		}
	})
}

func second(_ int, err error) error { return err }
