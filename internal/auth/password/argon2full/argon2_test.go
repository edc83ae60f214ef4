package argon2full_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"golang.org/x/crypto/argon2"

	"mallard/internal/auth/password/argon2full"
)

// The vectors of RFC 9106 section 5: all three types, with a secret and associated data.
func TestRFC9106(t *testing.T) {
	password, salt := bytes.Repeat([]byte{1}, 32), bytes.Repeat([]byte{2}, 16)
	p := argon2full.Params{
		Version: argon2full.Version13, Passes: 3, Memory: 32, Lanes: 4,
		Secret: bytes.Repeat([]byte{3}, 8), Data: bytes.Repeat([]byte{4}, 12),
	}
	for kind, want := range map[argon2full.Type]string{
		argon2full.D:  "512b391b6f1162975371d30919734294f868e3be3984f3c1a13a4db9fabe4acb",
		argon2full.I:  "c814d9d1dc7f37aa13f0d77f2494bda1c8de6b016dd388d29952a4c4672b6ce8",
		argon2full.ID: "0d640df58d78766c08c037a34a8b53c9d01ef0452d75b65eb52520e96b01e659",
	} {
		p.Type = kind
		if got := key(t, p, password, salt, 32); hex.EncodeToString(got) != want {
			t.Errorf("type %d: %x, want %s", kind, got, want)
		}
	}
}

// The vectors of version 1.0 that the command argon2 of the Argon2 authors makes.
func TestVersion10(t *testing.T) {
	for _, v := range version10 {
		p := argon2full.Params{Type: v.kind, Version: argon2full.Version10, Passes: v.passes, Memory: v.memory, Lanes: v.lanes}
		got := key(t, p, []byte("secret"), []byte("saltsalt"), uint32(len(v.want)/2))
		if hex.EncodeToString(got) != v.want {
			t.Errorf("%+v: %x", v, got)
		}
	}
}

// What x/crypto computes too, it computes alike: a library that shares no code with this one.
func TestAgainstXCrypto(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 150 {
		lanes := uint8(1 + r.IntN(6))
		memory := 8*uint32(lanes) + r.Uint32N(700)
		passes, size := 1+r.Uint32N(4), 4+r.Uint32N(200)
		password, salt := octets(r, 80), octets(r, 40)
		p := argon2full.Params{Version: argon2full.Version13, Passes: passes, Memory: memory, Lanes: lanes}
		for kind, oracle := range map[argon2full.Type]func([]byte, []byte, uint32, uint32, uint8, uint32) []byte{
			argon2full.I: argon2.Key, argon2full.ID: argon2.IDKey,
		} {
			p.Type = kind
			want := oracle(password, salt, passes, memory, lanes, size)
			if got := key(t, p, password, salt, size); !bytes.Equal(got, want) {
				t.Errorf("%+v, %d octets: %x, want %x", p, size, got, want)
			}
		}
	}
}

func TestParams(t *testing.T) {
	good := argon2full.Params{Type: argon2full.D, Version: argon2full.Version13, Passes: 1, Memory: 16, Lanes: 2}
	if _, err := argon2full.Key(good, nil, nil, 4); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*argon2full.Params, *uint32){
		"type":    func(p *argon2full.Params, _ *uint32) { p.Type = 3 },
		"version": func(p *argon2full.Params, _ *uint32) { p.Version = 0x11 },
		"passes":  func(p *argon2full.Params, _ *uint32) { p.Passes = 0 },
		"memory":  func(p *argon2full.Params, _ *uint32) { p.Memory = 15 },
		"lanes":   func(p *argon2full.Params, _ *uint32) { p.Lanes = 0 },
		"size":    func(_ *argon2full.Params, size *uint32) { *size = 3 },
	} {
		p, size := good, uint32(4)
		change(&p, &size)
		if k, err := argon2full.Key(p, nil, nil, size); k != nil || !errors.Is(err, argon2full.ErrParams) {
			t.Errorf("%s: %x, %v", name, k, err)
		}
	}
}

func key(t testing.TB, p argon2full.Params, password, salt []byte, size uint32) []byte {
	t.Helper()
	k, err := argon2full.Key(p, password, salt, size)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func octets(r *rand.Rand, most int) []byte {
	b := make([]byte, r.IntN(most))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// The time of one hash beside that of x/crypto (with -tags purego: beside its code without assembly).
func BenchmarkKey(b *testing.B) {
	password, salt := []byte(strings.Repeat("p", 16)), []byte("saltsaltsaltsalt")
	for _, lanes := range []uint8{1, 4} {
		p := argon2full.Params{Type: argon2full.ID, Version: argon2full.Version13, Passes: 3, Memory: 16 << 10, Lanes: lanes}
		b.Run(fmt.Sprintf("own-%d", lanes), func(b *testing.B) {
			for b.Loop() {
				key(b, p, password, salt, 32)
			}
		})
		b.Run(fmt.Sprintf("x-crypto-%d", lanes), func(b *testing.B) {
			for b.Loop() {
				argon2.IDKey(password, salt, 3, 16<<10, lanes, 32)
			}
		})
	}
}
