package draft_test

import (
	"bytes"
	"testing"

	"mallard/internal/bench"
	"mallard/internal/draft"
)

// BenchmarkReceive takes in the messages of the benchmark's corpora.
func BenchmarkReceive(b *testing.B) {
	for _, profile := range []bench.Profile{bench.ProfileSmall, bench.ProfileMixed} {
		b.Run(string(profile), func(b *testing.B) {
			corpus, err := bench.NewCorpus(profile, 1, 500)
			if err != nil {
				b.Fatal(err)
			}
			messages := make([][]byte, 500)
			for i := range messages {
				messages[i] = corpus.Content(i)
			}
			rc := draft.New(draft.Options{Dir: b.TempDir()})
			size := 0
			for _, m := range messages {
				size += len(m)
			}
			b.SetBytes(int64(size / len(messages)))
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				d, err := rc.Receive(b.Context(), bytes.NewReader(messages[i%len(messages)]), 0)
				if err != nil {
					b.Fatal(err)
				}
				if d.Content().Size == 0 {
					b.Fatal("empty")
				}
				_ = d.Close()
				i++
			}
		})
	}
}
