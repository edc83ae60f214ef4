package bench

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"
)

func fakeOptions(f *fakeServer) Options {
	return Options{
		Label: "fake", LMTP: f.lmtp.Addr().String(), IMAP: f.imap.Addr().String(),
		Runs: 1, Scale: 0.01, NotifySamples: 5, GrowthMessages: 100, GrowthStep: 40,
		Workloads: []string{"lmtp-1", "lmtp-8-100users", "lmtp-8-1user", "lmtp-8-30k", "lmtp-10rcpt", "append-1-small", "append-8-30k",
			"fetch-meta-first", "fetch-meta-again", "fetch-body-1", "fetch-body-4", "fetch-body-1-small", "fetch-body-4-small", "notify", "growth"},
	}
}

func TestRunMeasuresEveryWorkload(t *testing.T) {
	servers := map[string]*fakeServer{
		"all extensions": {prepend: "Return-Path: <x@example.net>\r\nDelivered-To: y@example.net\r\nReceived: from a\r\n\tby b\r\n"},
		"no chunking":    {noChunking: true},
		"none":           {noExtensions: true},
	}
	for name, server := range servers {
		t.Run(name, func(t *testing.T) {
			o := fakeOptions(startFake(t, server))
			report, err := Run(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			for _, w := range o.Workloads {
				metric := "rate"
				switch w {
				case "notify":
					metric = "p50"
				case "growth":
					metric = "rate, last step"
				}
				if m, ok := report.Metric(w, metric); !ok || m.Median <= 0 && w != "notify" {
					t.Errorf("%s: no %s in the report", w, metric)
				}
			}
			if got := len(report.result("growth").Series.Rows); got != 3 {
				t.Errorf("growth has %d steps, not 3", got)
			}
			if report.NextUser == 0 {
				t.Error("no user number to go on from")
			}
		})
	}
}

// Whatever a server does to mail, the driver must not report a figure for it without an error.
func TestRunNoticesDamage(t *testing.T) {
	flip := func(at func(msg []byte) int) func(int, []byte) []byte {
		return func(n int, msg []byte) []byte {
			if n == 3 {
				msg = bytes.Clone(msg)
				msg[at(msg)] ^= 1
			}
			return msg
		}
	}
	var first []byte
	tests := []struct {
		name   string
		server *fakeServer
		want   string
	}{
		{"last octet", &fakeServer{store: flip(func(m []byte) int { return len(m) - 1 })}, "differs from what was sent"},
		{"octet after the Message-ID", &fakeServer{store: flip(func(m []byte) int { return idLine })}, "differs from what was sent"},
		{"digit of the Message-ID", &fakeServer{store: flip(func([]byte) int { return len(idPrefix) })}, "of another run"},
		{"lost", &fakeServer{store: func(n int, m []byte) []byte {
			if n == 3 {
				return nil
			}
			return m
		}}, "came back 0 times, not 1"},
		{"another in its place", &fakeServer{store: func(n int, m []byte) []byte {
			if n == 2 {
				first = m
			}
			if n == 3 {
				return first
			}
			return m
		}}, "times, not 1"},
		{"cut", &fakeServer{store: func(_ int, m []byte) []byte { return m[:len(m)-2] }}, "octets, sent were"},
		{"longer", &fakeServer{store: func(_ int, m []byte) []byte { return append(m, "\r\n"...) }}, "octets, sent were"},
		{"a field that is not allowed", &fakeServer{prepend: "X-Spam: no\r\n"}, "a field was added"},
		{"refused", &fakeServer{refuse: "451 4.3.0 later"}, `server says "451 4.3.0 later"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := fakeOptions(startFake(t, tt.server))
			o.Workloads = []string{"lmtp-1"}
			report, err := Run(t.Context(), o)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("error is %v, want one with %q", err, tt.want)
			}
			if report.result("lmtp-1").Error == "" {
				t.Error("the report does not say that the workload failed")
			}
		})
	}
}

// A long answer is read in batches; one that ends early must be an error all the same, and soon.
func TestRunNoticesLossInLongAnswer(t *testing.T) {
	o := fakeOptions(startFake(t, &fakeServer{fetchAtMost: 290}))
	o.Workloads = []string{"lmtp-1"}
	o.Scale = 0.15 // 450 messages, 1.8 MB
	begin := time.Now()
	if _, err := Run(t.Context(), o); err == nil || !strings.Contains(err.Error(), "FETCH 1:* gave 290 messages, SELECT said 450") {
		t.Fatalf("error is %v", err)
	}
	if took := time.Since(begin); took > 30*time.Second {
		t.Errorf("it took %s to notice", took)
	}
}

func TestFetchMetaNoticesOtherHeader(t *testing.T) {
	damaged := func(n int, msg []byte) []byte {
		if n == 5 {
			return bytes.Replace(msg, []byte("\r\nSubject: "), []byte("\r\nSubject: x"), 1)
		}
		return msg
	}
	o := fakeOptions(startFake(t, &fakeServer{store: damaged}))
	o.Workloads = []string{"fetch-meta-first"}
	if _, err := Run(t.Context(), o); err == nil || !strings.Contains(err.Error(), "header fields of message") {
		t.Fatalf("error is %v", err)
	}
}

func TestFetchMetaReadsLiteralsInEnvelope(t *testing.T) {
	o := fakeOptions(startFake(t, &fakeServer{literals: true}))
	o.Workloads = []string{"fetch-meta-first"}
	if _, err := Run(t.Context(), o); err != nil {
		t.Fatal(err)
	}
}

func TestRunRefusesMailboxThatIsNotEmpty(t *testing.T) {
	f := startFake(t, &fakeServer{})
	f.keep("bench0@bench.test", []byte("Subject: old\r\n\r\nold\r\n"))
	o := fakeOptions(f)
	o.Workloads = []string{"lmtp-1"}
	if _, err := Run(t.Context(), o); err == nil || !strings.Contains(err.Error(), "not a message of this run") {
		t.Fatalf("error is %v", err)
	}
}

func TestRunEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	f := &fakeServer{}
	f.store = func(n int, msg []byte) []byte {
		if n == 10 {
			cancel()
		}
		return msg
	}
	o := fakeOptions(startFake(t, f))
	o.Scale = 100
	o.Workloads = []string{"lmtp-10rcpt", "append-1-small"}
	if _, err := Run(ctx, o); err == nil {
		t.Fatal("no error from a run that was cancelled")
	}
	if !errors.Is(ctx.Err(), context.Canceled) {
		t.Fatal("the context was not cancelled")
	}
}

func TestOptionsSayEverythingThatIsWrong(t *testing.T) {
	_, err := Run(t.Context(), Options{
		TLS: "ssl", UserPattern: "user%s", Workloads: []string{"nonsense", "disk-4k"}, DiskPath: "/nonexistent/path", Runs: -1,
	})
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"LMTP and IMAP", `TLS mode "ssl"`, `user pattern "user%s"`, `no workload "nonsense"`, "disk path", "negative"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not say %q:\n%v", want, err)
		}
	}
}

func TestUsersAreCreatedBeforeUse(t *testing.T) {
	var created []string
	o := fakeOptions(startFake(t, &fakeServer{}))
	o.Workloads = []string{"lmtp-1"}
	o.FirstUser = 7
	o.UserPattern = "u%d@example.org"
	o.CreateUser = func(_ context.Context, name, password, address string) error {
		created = append(created, name+" "+password+" "+address)
		return nil
	}
	report, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if len(created) != 1 || created[0] != "u7@example.org bench-password u7@example.org" {
		t.Errorf("created %q", created)
	}
	if report.NextUser != 8 {
		t.Errorf("next user is %d, not 8", report.NextUser)
	}
}

// BenchmarkDriver says what the driver itself costs: the server does nothing but write what it holds.
func BenchmarkDriver(b *testing.B) {
	f := startFake(b, &fakeServer{})
	corpus, err := NewCorpus(ProfileMixed, 1, 5000)
	if err != nil {
		b.Fatal(err)
	}
	for i := range corpus.Len() {
		f.keep("a@b", corpus.Content(i))
	}
	o := Options{IMAP: f.imap.Addr().String()}
	c, err := openIMAP(b.Context(), &o, user{name: "a@b"})
	if err != nil {
		b.Fatal(err)
	}
	defer c.close()
	b.SetBytes(corpus.Bytes())
	b.ReportAllocs()
	for b.Loop() {
		body := bodyReader{c: c, corpus: corpus, tally: newTally(corpus.Len())}
		if n, err := body.fetch("1:*"); err != nil || n != corpus.Len() {
			b.Fatal(n, err)
		}
	}
}
