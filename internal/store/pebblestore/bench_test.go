package pebblestore

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"mallard/internal/bench"
	"mallard/internal/mail"
	"mallard/internal/message"
	"mallard/internal/search"
	"mallard/internal/store"
)

// contentOf describes a message as the delivery does.
func contentOf(t testing.TB, raw []byte) *store.Content {
	m, err := message.ParseBytes(raw, message.DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	sum := m.Summary()
	c := &store.Content{
		Source: bytes.NewReader(raw), Size: int64(len(raw)), Header: m.Header,
		Envelope:      message.AppendEnvelope(nil, m.Root.Envelope),
		BodyStructure: message.AppendBodyStructure(nil, m.Root, true),
		Tree:          message.AppendTree(nil, m),
		Summary:       message.AppendSummary(nil, &sum),
		References:    append([]string{strings.Trim(sum.MessageID, "<>")}, sum.References...),
		Subject:       message.ThreadSubject(sum.Subject), MessageID: sum.MessageID, Date: sum.Date,
	}
	var sign search.SignatureBuilder
	m.Walk(func(_ []int, p *message.Part) bool {
		if len(p.Children) > 0 || p.Message != nil {
			return true
		}
		c.Leaves = append(c.Leaves, store.Leaf{
			Start: p.BodyStart, End: p.BodyEnd, Encoding: strings.ToLower(p.Encoding), Type: p.ContentType(), Attachment: !p.InlineText(),
		})
		if p.InlineText() {
			text, err := message.TextOf(p, bytes.NewReader(raw[p.BodyStart:p.BodyEnd]), 1<<20)
			if err == nil {
				_, _ = sign.Write(search.Fold(nil, []byte(text)))
			}
		}
		return true
	})
	_, _ = sign.Write(search.Fold(nil, m.Header))
	c.Signature = sign.Finish()
	return c
}

type bencher struct {
	*rig
	contents []*store.Content
	accounts []mail.AccountID
	inboxes  []mail.MailboxID
}

func newBencher(b *testing.B, profile bench.Profile, count, accounts int) *bencher {
	corpus, err := bench.NewCorpus(profile, 1, count)
	if err != nil {
		b.Fatal(err)
	}
	r := &rig{TB: b, ctx: context.Background()}
	s, err := Open(r.ctx, Options{Dir: b.TempDir(), FS: vfs.Default})
	if err != nil {
		b.Fatal(err)
	}
	r.s = s
	b.Cleanup(r.close)
	x := &bencher{rig: r}
	for i := range corpus.Len() {
		x.contents = append(x.contents, contentOf(b, corpus.Content(i)))
	}
	for i := range accounts {
		r.createAccount(fmt.Sprint("user", i))
		x.accounts = append(x.accounts, r.acct)
		x.inboxes = append(x.inboxes, r.inbox)
	}
	return x
}

const benchPrefix = "Return-Path: <sender@example.com>\r\nDelivered-To: <user@example.com>\r\n"

func (x *bencher) deliver(i int) error {
	c := *x.contents[i%len(x.contents)]
	if len(c.References) > 0 { // no two messages have the same id
		c.References = append([]string{fmt.Sprint(i, "@example.com")}, c.References[1:]...)
	}
	st, err := x.s.Stage(x.ctx, &c)
	if err != nil {
		return err
	}
	defer st.Close()
	u := i % len(x.accounts)
	_, err = x.s.Append(x.ctx, x.accounts[u], x.inboxes[u], []store.Append{{
		Staged: st, Prefix: []byte(benchPrefix), InternalDate: time.Unix(1700000000+int64(i), 0),
	}})
	return err
}

func benchDeliver(b *testing.B, profile bench.Profile, clients, accounts int) {
	x := newBencher(b, profile, 2000, accounts)
	var bytes int64
	for _, c := range x.contents {
		bytes += c.Size
	}
	b.SetBytes(bytes / int64(len(x.contents)))
	b.ReportAllocs()
	b.ResetTimer()
	cpu := cpuTime()
	var next atomic.Int64
	var wg sync.WaitGroup
	for range clients {
		wg.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= b.N {
					return
				}
				if err := x.deliver(i); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
	b.ReportMetric(float64((cpuTime()-cpu).Microseconds())/float64(b.N), "cpu-µs/msg")
}

// cpuTime is the processor time that the test has used. It says more than the clock
// on a machine that others use too.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func BenchmarkDeliver(b *testing.B) {
	for _, c := range []struct {
		name              string
		profile           bench.Profile
		clients, accounts int
	}{
		{"4k/1conn", bench.ProfileSmall, 1, 1},
		{"4k/8conn/100users", bench.ProfileSmall, 8, 100},
		{"4k/8conn/1user", bench.ProfileSmall, 8, 1},
		{"30k/8conn/100users", bench.ProfileMixed, 8, 100},
	} {
		b.Run(c.name, func(b *testing.B) { benchDeliver(b, c.profile, c.clients, c.accounts) })
	}
}

func (x *bencher) fill(n int) {
	var wg sync.WaitGroup
	var next atomic.Int64
	for range 8 {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				if err := x.deliver(i); err != nil {
					x.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

// reopen closes the store, drops its cache and opens it again.
func (x *bencher) reopen(b *testing.B) {
	dir := x.s.opt.Dir
	x.close()
	s, err := Open(x.ctx, Options{Dir: dir, FS: vfs.Default})
	if err != nil {
		b.Fatal(err)
	}
	x.s = s
}

func BenchmarkFetch(b *testing.B) {
	const n = 10_000
	for _, profile := range []bench.Profile{bench.ProfileSmall, bench.ProfileMixed} {
		x := newBencher(b, profile, 2000, 1)
		x.fill(n)
		x.reopen(b)
		for _, c := range []struct {
			name   string
			fields store.Fields
			body   bool
		}{
			{"flags", 0, false},
			{"meta", store.FieldEnvelope | store.FieldBodyStructure | store.FieldHeader, false},
			{"meta again", store.FieldEnvelope | store.FieldBodyStructure | store.FieldHeader, false},
			{"body", store.FieldBody, true},
		} {
			b.Run(string(profile)+"/"+c.name, func(b *testing.B) {
				b.ReportAllocs()
				var total int64
				cpu := cpuTime()
				for i := 0; i < b.N; i += n {
					for row, err := range x.s.Fetch(x.ctx, x.accounts[0], x.inboxes[0], store.FetchQuery{Fields: c.fields}) {
						if err != nil {
							b.Fatal(err)
						}
						total += int64(len(row.Header))
						if c.body {
							body, err := row.Open()
							if err != nil {
								b.Fatal(err)
							}
							total += body.Size()
							if err := body.WriteRange(io.Discard, 0, body.Size()); err != nil {
								b.Fatal(err)
							}
							if err := body.Close(); err != nil {
								b.Fatal(err)
							}
						}
					}
				}
				rounds := (b.N + n - 1) / n
				b.ReportMetric(float64(rounds*n)/b.Elapsed().Seconds(), "msg/s")
				b.ReportMetric(float64((cpuTime()-cpu).Nanoseconds())/1e3/float64(rounds*n), "cpu-µs/msg")
				b.ReportMetric(float64(total)/1e6/b.Elapsed().Seconds(), "MB/s")
			})
		}
	}
}

// BenchmarkDisk tells how much of the disk mail takes, per octet delivered.
func BenchmarkDisk(b *testing.B) {
	for _, c := range []struct {
		profile bench.Profile
		count   int
	}{{bench.ProfileSmall, 20_000}, {bench.ProfileMixed, 10_000}, {bench.ProfileAttachments, 300}} {
		b.Run(string(c.profile), func(b *testing.B) {
			for range b.N {
				x := newBencher(b, c.profile, c.count, 100)
				x.fill(c.count)
				var total int64
				for _, m := range x.contents {
					total += m.Size
				}
				x.report(b, "live", total)
				x.reopen(b)
				x.report(b, "reopened", total)
				if err := x.s.db.Compact(x.ctx, []byte{0}, []byte{0xff}, true); err != nil {
					b.Fatal(err)
				}
				x.report(b, "compacted", total)
				x.close()
			}
		})
	}
}

func (x *bencher) report(b *testing.B, what string, delivered int64) {
	var total int64
	kinds := map[string]int64{}
	err := filepath.WalkDir(x.s.opt.Dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return nil
		}
		if info, err := d.Info(); err == nil {
			if st, ok := info.Sys().(*syscall.Stat_t); ok {
				total += st.Blocks * 512
				kinds[filepath.Ext(path)] += st.Blocks * 512
			}
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(total)/float64(delivered), what)
	if testing.Verbose() {
		b.Logf("%s: %v of %d delivered", what, kinds, delivered)
	}
}
