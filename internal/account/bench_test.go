package account_test

import (
	"testing"
	"time"

	"mallard/internal/account"
	"mallard/internal/address"
	"mallard/internal/store/memstore"
)

func benchmarkResolve(b *testing.B, addr string, ttl time.Duration) {
	db := memstore.New(memstore.Options{})
	s, err := account.New(account.Options{Store: db, Hasher: markHasher{}, EmailDomain: "example.com", CacheTTL: ttl})
	if err != nil {
		b.Fatal(err)
	}
	a, err := s.Create(b.Context(), account.NewUser{Username: "jane.roe"})
	if err != nil {
		b.Fatal(err)
	}
	if _, err := s.AddAddress(b.Context(), a.ID, account.NewAddress{Address: "*@wild.test", AllowWildcard: true}); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.ResolveRecipient(b.Context(), addr, true); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkResolveCached(b *testing.B) {
	benchmarkResolve(b, "Jane.Roe+x@Example.com", time.Hour)
}
func BenchmarkResolveExact(b *testing.B)    { benchmarkResolve(b, "Jane.Roe+x@Example.com", -1) }
func BenchmarkResolveWildcard(b *testing.B) { benchmarkResolve(b, "some.body@wild.test", -1) }

func BenchmarkLookupView(b *testing.B) {
	for b.Loop() {
		if address.LookupView("Jane.Roe+x@Example.com") != "janeroe@example.com" {
			b.Fatal("wrong view")
		}
	}
}
