package auth_test

import (
	"testing"

	"mallard/internal/account"
	"mallard/internal/auth"
	"mallard/internal/auth/password"
	"mallard/internal/limit/memlimit"
	"mallard/internal/store/memstore"
)

func benchmarkLogin(b *testing.B, pw string, change func(*auth.Options)) {
	v := password.NewVerifier(password.Options{})
	db := memstore.New(memstore.Options{})
	accounts, err := account.New(account.Options{Store: db, Hasher: v})
	if err != nil {
		b.Fatal(err)
	}
	if _, err := accounts.Create(b.Context(), account.NewUser{Username: "alice", Password: account.Password{Text: "secret"}}); err != nil {
		b.Fatal(err)
	}
	o := auth.Options{Directory: accounts, Accounts: db, Passwords: v, Counter: memlimit.New(memlimit.Options{}), UserFailures: -1, IPFailures: -1}
	if change != nil {
		change(&o)
	}
	s, err := auth.New(o)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := s.Authenticate(b.Context(), auth.Request{Username: "alice", Password: pw, Scope: "imap"}); (err == nil) != (pw == "secret") {
			b.Fatal(err)
		}
	}
}

func BenchmarkLoginRemembered(b *testing.B) { benchmarkLogin(b, "secret", nil) }

func BenchmarkLoginChecked(b *testing.B) {
	benchmarkLogin(b, "secret", func(o *auth.Options) { o.CacheTTL = -1 })
}

func BenchmarkLoginWrong(b *testing.B) { benchmarkLogin(b, "wrong", nil) }
