package password

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"os"
	"regexp"
	"strings"
	"testing"

	"mallard/internal/auth/password/argon2full"
)

type vector struct{ Tool, Password, Hash string }

// vectors are made by testdata/make-vectors.sh with tools that share no code with this package.
func vectors(t testing.TB) []vector {
	t.Helper()
	data, err := os.ReadFile("testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var vs []vector
	if err := json.Unmarshal(data, &vs); err != nil {
		t.Fatal(err)
	}
	if len(vs) < 200 {
		t.Fatalf("only %d vectors", len(vs))
	}
	return vs
}

func TestVectors(t *testing.T) {
	current := regexp.MustCompile(`^\$pbkdf2-sha(256|512)\$i=\d{6}\$`)
	for _, v := range vectors(t) {
		ok, rehash, err := Verify(v.Hash, v.Password)
		if err != nil || !ok {
			t.Errorf("%s: %q does not match %q: %v", v.Tool, v.Hash, v.Password, err)
		}
		if want := !current.MatchString(v.Hash); rehash != want {
			t.Errorf("%s: %q: rehash %v, want %v", v.Tool, v.Hash, rehash, want)
		}
	}
}

func TestVectorsWrongPassword(t *testing.T) {
	for _, v := range vectors(t) {
		if strings.Contains(v.Hash, "$i=1") && v.Password != "secret" {
			continue
		}
		wrongs := []string{"", "S" + v.Password[1:] + "", "!" + v.Password, strings.Repeat("x", MaxLength+1)}
		for _, wrong := range wrongs {
			ok, rehash, err := Verify(v.Hash, wrong)
			if ok || rehash || err != nil {
				t.Errorf("%s: %q with %q: ok %v, rehash %v, error %v", v.Tool, v.Hash, wrong, ok, rehash, err)
			}
		}
	}
}

// A digest that differs in one place must not match, whatever the format.
func TestVectorsDamagedDigest(t *testing.T) {
	for _, v := range vectors(t) {
		if v.Password != "secret" {
			continue
		}
		at := len(v.Hash) - 5
		c := byte('a')
		if v.Hash[at] == c {
			c = 'b'
		}
		damaged := v.Hash[:at] + string(c) + v.Hash[at+1:]
		if ok, _, err := Verify(damaged, v.Password); ok || err != nil {
			t.Errorf("%s: %q: ok %v, error %v", v.Tool, damaged, ok, err)
		}
	}
}

// Hashes of the same digest in other writings: parameters in another order, as hash-wasm takes them, and a hash of version
// 1.0 that does not say so, as tools from before version 1.3 wrote it.
func TestArgon2Writings(t *testing.T) {
	found := 0
	for _, v := range vectors(t) {
		if !strings.HasPrefix(v.Hash, "$argon2") || v.Password != "secret" {
			continue
		}
		found++
		other := regexp.MustCompile(`(m=\d+),(t=\d+)`).ReplaceAllString(v.Hash, "$2,$1")
		other = strings.Replace(other, "$v=16$", "$", 1)
		if other == v.Hash {
			t.Fatalf("%q is not changed", v.Hash)
		}
		if ok, rehash, err := Verify(other, v.Password); !ok || !rehash || err != nil {
			t.Errorf("%q: %v, %v, %v", other, ok, rehash, err)
		}
	}
	if found < 9 {
		t.Errorf("only %d vectors", found)
	}
}

// Associated data reaches the function, which has the vectors of RFC 9106 for it; no tool that writes it is at hand.
func TestArgon2Data(t *testing.T) {
	data := []byte("associated")
	p := argon2full.Params{Type: argon2full.ID, Version: argon2full.Version13, Passes: 2, Memory: 64, Lanes: 2, Data: data}
	key, err := argon2full.Key(p, []byte("secret"), []byte("saltsalt"), 32)
	if err != nil {
		t.Fatal(err)
	}
	enc := base64.RawStdEncoding.EncodeToString
	hash := "$argon2id$v=19$m=64,t=2,p=2,data=" + enc(data) + "$" + enc([]byte("saltsalt")) + "$" + enc(key)
	if ok, _, err := Verify(hash, "secret"); !ok || err != nil {
		t.Errorf("%q: %v, %v", hash, ok, err)
	}
	if ok, _, err := Verify(strings.Replace(hash, enc(data), "AAAA", 1), "secret"); ok || err != nil {
		t.Errorf("with other data: %v, %v", ok, err)
	}
}

func TestSHACryptTooFewRounds(t *testing.T) {
	found := false
	for _, v := range vectors(t) {
		if !strings.HasPrefix(v.Hash, "$5$rounds=1000$tooFew$") {
			continue
		}
		found = true
		hash := strings.Replace(v.Hash, "rounds=1000", "rounds=10", 1)
		if ok, _, err := Verify(hash, v.Password); !ok || err != nil {
			t.Errorf("%q does not match %q: %v", hash, v.Password, err)
		}
	}
	if !found {
		t.Fatal("no vector with rounds below the minimum")
	}
}

func TestHash(t *testing.T) {
	shape := regexp.MustCompile(`^\$pbkdf2-sha256\$i=100000\$[A-Za-z0-9+/]{22}\$[A-Za-z0-9+/]{43}$`)
	const password = "pässword"
	seen := make(map[string]bool)
	for range 2 {
		hash, err := Hash(password)
		if err != nil {
			t.Fatal(err)
		}
		if !shape.MatchString(hash) {
			t.Errorf("hash %q is not of the stored form", hash)
		}
		if seen[hash] {
			t.Errorf("hash %q made twice", hash)
		}
		seen[hash] = true
		if ok, rehash, err := Verify(hash, password); !ok || rehash || err != nil {
			t.Errorf("Verify of a new hash: %v, %v, %v", ok, rehash, err)
		}
		if err := Validate(hash); err != nil {
			t.Errorf("Validate of a new hash: %v", err)
		}
	}
	if _, err := Hash(""); !errors.Is(err, ErrEmpty) {
		t.Errorf("Hash of nothing: %v", err)
	}
	if _, err := Hash(strings.Repeat("x", MaxLength+1)); !errors.Is(err, ErrTooLong) {
		t.Errorf("Hash of too much: %v", err)
	}
	if hash, err := Hash(strings.Repeat("x", MaxLength)); err != nil {
		t.Errorf("Hash of the longest password: %q, %v", hash, err)
	}
}

func TestRefused(t *testing.T) {
	const (
		salt16 = "AAAAAAAAAAAAAAAAAAAAAA"
		key32  = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
		key8   = "AAAAAAAAAAA"
	)
	key64 := strings.Repeat("A", 86)
	key65 := strings.Repeat("A", 87)
	sha512 := "$6$%s$" + strings.Repeat("a", 86)
	for _, tc := range []struct {
		name, hash string
		want       error
	}{
		{"empty", "", ErrFormat},
		{"plain text", "password", ErrFormat},
		{"dollar", "$", ErrFormat},
		{"dollars", "$$$$$", ErrFormat},
		{"unknown scheme", "$7$abc$def", ErrFormat},
		{"scheme alone", "$6", ErrFormat},
		{"too long", "$6$" + strings.Repeat("s", 2000) + "$" + strings.Repeat("a", 86), ErrFormat},
		{"DES wrong character", "abNANd1rDfi!c", ErrFormat},
		{"DES short", "abNANd1rDfiN", ErrFormat},
		{"MD5 without digest", "$1$saltsalt", ErrFormat},
		{"MD5 short digest", "$1$saltsalt$9xy1btjgzLYfb7hivXtC/", ErrFormat},
		{"SHA crypt short digest", "$5$salt$abc", ErrFormat},
		{"SHA crypt empty rounds", strings.ReplaceAll(sha512, "%s", "rounds=$salt"), ErrFormat},
		{"SHA crypt negative rounds", strings.ReplaceAll(sha512, "%s", "rounds=-1$salt"), ErrFormat},
		{"SHA crypt rounds", strings.ReplaceAll(sha512, "%s", "rounds=999999999$salt"), ErrCost},
		{"SHA crypt rounds at limit + 1", strings.ReplaceAll(sha512, "%s", "rounds=2000001$salt"), ErrCost},
		{"SHA crypt rounds beyond 32 bits", strings.ReplaceAll(sha512, "%s", "rounds=99999999999$salt"), ErrFormat},
		{"PBKDF2 zero iterations", "$pbkdf2-sha256$i=0$" + salt16 + "$" + key32, ErrFormat},
		{"PBKDF2 signed iterations", "$pbkdf2-sha256$i=+5$" + salt16 + "$" + key32, ErrFormat},
		{"PBKDF2 no iterations", "$pbkdf2-sha256$" + salt16 + "$" + key32, ErrFormat},
		{"PBKDF2 iterations", "$pbkdf2-sha256$i=5000001$" + salt16 + "$" + key32, ErrCost},
		{"PBKDF2 iterations by blocks", "$pbkdf2-sha256$i=2500001$" + salt16 + "$" + key64, ErrCost},
		{"PBKDF2 huge iterations", "$pbkdf2-sha256$i=99999999999999999999$" + salt16 + "$" + key32, ErrFormat},
		{"PBKDF2 no digest", "$pbkdf2-sha256$i=1000$" + salt16 + "$", ErrFormat},
		{"PBKDF2 short digest", "$pbkdf2-sha256$i=1000$" + salt16 + "$" + key8, ErrFormat},
		{"PBKDF2 long digest", "$pbkdf2-sha512$i=1000$" + salt16 + "$" + key65, ErrFormat},
		{"PBKDF2 not base64", "$pbkdf2-sha512$i=1000$" + salt16 + "$!" + key32, ErrFormat},
		{"PBKDF2 salt not base64", "$pbkdf2-sha512$i=1000$!$" + key32, ErrFormat},
		{"PBKDF2 other digest", "$pbkdf2-md5$i=1000$" + salt16 + "$" + key32, ErrFormat},
		{"bcrypt cost", "$2b$16$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a", ErrCost},
		{"bcrypt cost 31", "$2b$31$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a", ErrCost},
		{"bcrypt cost 3", "$2b$03$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a", ErrFormat},
		{"bcrypt short", "$2b$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0", ErrFormat},
		{"argon2 with a secret", "$argon2id$v=19$m=1024,t=2,p=3,keyid=AAAA$c2FsdHNhbHQ2$" + key32, ErrUnsupported},
		{"argon2 other version", "$argon2id$v=20$m=1024,t=2,p=3$c2FsdHNhbHQ2$" + key32, ErrFormat},
		{"argon2 data not base64", "$argon2id$v=19$m=1024,t=2,p=3,data=!$c2FsdHNhbHQ2$" + key32, ErrFormat},
		{"argon2 data twice", "$argon2id$v=19$m=1024,t=2,p=3,data=AAAA,data=AAAA$c2FsdHNhbHQ2$" + key32, ErrFormat},
		{"argon2d memory", "$argon2d$v=19$m=262145,t=1,p=1$c2FsdHNhbHQ2$" + key32, ErrCost},
		{"argon2d work", "$argon2d$v=16$m=262144,t=5,p=1$c2FsdHNhbHQ2$" + key32, ErrCost},
		{"argon2d lanes", "$argon2d$m=100000,t=1,p=255$c2FsdHNhbHQ2$" + key32, ErrCost},
		{"argon2d little memory", "$argon2d$v=19$m=8,t=1,p=4$c2FsdHNhbHQ2$" + key32, ErrFormat},
		{"argon2 memory", "$argon2id$v=19$m=262145,t=1,p=1$c2FsdHNhbHQ2$" + key32, ErrCost},
		{"argon2 work", "$argon2id$v=19$m=262144,t=5,p=1$c2FsdHNhbHQ2$" + key32, ErrCost},
		{"argon2 passes", "$argon2id$v=19$m=1024,t=999999999,p=1$c2FsdHNhbHQ2$" + key32, ErrCost},
		{"argon2 lanes", "$argon2id$v=19$m=100000,t=1,p=255$c2FsdHNhbHQ2$" + key32, ErrCost},
		{"argon2 lanes beyond 8 bits", "$argon2id$v=19$m=100000,t=1,p=256$c2FsdHNhbHQ2$" + key32, ErrCost},
		{"argon2 little memory", "$argon2id$v=19$m=8,t=1,p=4$c2FsdHNhbHQ2$" + key32, ErrFormat},
		{"argon2 zero lanes", "$argon2id$v=19$m=1024,t=1,p=0$c2FsdHNhbHQ2$" + key32, ErrFormat},
		{"argon2 parameter twice", "$argon2id$v=19$m=1024,t=1,p=1,t=1$c2FsdHNhbHQ2$" + key32, ErrFormat},
		{"argon2 parameter missing", "$argon2id$v=19$m=1024,p=1$c2FsdHNhbHQ2$" + key32, ErrFormat},
		{"argon2 other parameter", "$argon2id$v=19$m=1024,t=1,p=1,x=1$c2FsdHNhbHQ2$" + key32, ErrFormat},
		{"argon2 zero passes", "$argon2d$v=19$m=1024,t=0,p=1$c2FsdHNhbHQ2$" + key32, ErrFormat},
		{"argon2 digest", "$argon2id$v=19$m=1024,t=1,p=1$c2FsdHNhbHQ2$AAAA", ErrFormat},
	} {
		t.Run(tc.name, func(t *testing.T) {
			ok, rehash, err := Verify(tc.hash, "password")
			if ok || rehash || !errors.Is(err, tc.want) {
				t.Errorf("Verify(%q): %v, %v, %v; want %v", tc.hash, ok, rehash, err, tc.want)
			}
			if err := Validate(tc.hash); !errors.Is(err, tc.want) {
				t.Errorf("Validate(%q): %v, want %v", tc.hash, err, tc.want)
			}
		})
	}
}

// The two formats that cut a password short do so at the documented place.
func TestTruncation(t *testing.T) {
	long := strings.Repeat("x", 64)
	for _, v := range vectors(t) {
		if v.Password != long {
			continue
		}
		des := len(v.Hash) == 13
		if ok, _, err := Verify(v.Hash, long[:8]); ok != des || err != nil {
			t.Errorf("%q: first 8 octets match: %v (%v)", v.Hash, ok, err)
		}
	}
}

func FuzzVerify(f *testing.F) {
	for _, v := range vectors(f) {
		if v.Password == "secret" {
			f.Add(v.Hash, v.Password)
		}
	}
	f.Add("$argon2id$v=19$m=8,t=1,p=1$$AAAAAAAAAAAAAAAAAAAAAA", "p")
	f.Add("$argon2d$p=1,m=8,data=AAAA,t=1$$AAAAAAAAAAAAAAAAAAAAAA", "p")
	f.Add("$5$rounds=1$$"+strings.Repeat(".", 43), "p")
	// Small limits keep each input fast: what is within them is computed, the rest must be an error.
	limits := Limits{PBKDF2Iterations: 2000, BcryptCost: 5, CryptRounds: 5000, Argon2Memory: 2048, Argon2Work: 4096, Argon2Threads: 4}
	f.Fuzz(func(t *testing.T, hash, password string) {
		ok, rehash, err := verify(hash, password, limits)
		if err != nil && (ok || rehash) {
			t.Errorf("match with error %v", err)
		}
		if err != nil && !errors.Is(err, ErrFormat) && !errors.Is(err, ErrCost) && !errors.Is(err, ErrUnsupported) {
			t.Errorf("undocumented error %v", err)
		}
		if rehash && !ok {
			t.Error("rehash without a match")
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	hash, err := Hash("password")
	if err != nil {
		b.Fatal(err)
	}
	b.Run("pbkdf2", func(b *testing.B) {
		for b.Loop() {
			if ok, _, err := Verify(hash, "password"); !ok || err != nil {
				b.Fatal(ok, err)
			}
		}
	})
	b.Run("nobody", func(b *testing.B) {
		for b.Loop() {
			VerifyNobody("password")
		}
	})
	for _, v := range vectors(b) {
		if v.Password != "secret" || v.Tool == "perl crypt" {
			continue
		}
		b.Run(v.Hash[:min(len(v.Hash), 17)], func(b *testing.B) {
			for b.Loop() {
				if ok, _, err := Verify(v.Hash, v.Password); !ok || err != nil {
					b.Fatal(ok, err)
				}
			}
		})
	}
}

// The limits are meant to be a few seconds of one CPU; this shows what they are.
func BenchmarkLimits(b *testing.B) {
	l := DefaultLimits()
	zeros := strings.Repeat("A", 43)
	for _, hash := range []string{
		"$pbkdf2-sha256$i=5000000$AAAA$" + zeros,
		"$pbkdf2-sha512$i=5000000$AAAA$" + zeros,
		"$2b$15$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a",
		"$6$rounds=2000000$salt$" + zeros + zeros,
		"$argon2id$v=19$m=262144,t=4,p=1$AAAA$" + zeros,
		"$argon2d$v=19$m=262144,t=4,p=1$AAAA$" + zeros,
	} {
		b.Run(hash[:20], func(b *testing.B) {
			for b.Loop() {
				if _, _, err := verify(hash, "password", l); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
