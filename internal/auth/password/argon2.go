package password

import (
	"encoding/base64"
	"fmt"
	"strings"

	"golang.org/x/crypto/argon2"

	"mallard/internal/auth/password/argon2full"
)

// parseArgon2 reads what the tools of the Argon2 authors write, "$argon2id$v=19$m=65536,t=3,p=4$salt$digest". Without v=
// the version is 1.0; the parameters may come in any order, as WildDuck takes them.
func parseArgon2(hash string, limits Limits) (check, error) {
	parts := strings.Split(hash[1:], "$")
	if len(parts) == 4 {
		parts = []string{parts[0], "v=16", parts[1], parts[2], parts[3]}
	}
	if len(parts) != 5 {
		return check{}, ErrFormat
	}
	p, err := parseArgon2Params(parts[2], limits)
	if err != nil {
		return check{}, err
	}
	switch parts[1] {
	case "v=19":
		p.Version = argon2full.Version13
	case "v=16":
		p.Version = argon2full.Version10
	default:
		return check{}, ErrFormat
	}
	p.Type = argon2Types[parts[0]]
	salt, err := base64.RawStdEncoding.DecodeString(parts[3])
	if err != nil {
		return check{}, ErrFormat
	}
	want, err := base64.RawStdEncoding.DecodeString(parts[4])
	if err != nil || len(want) < minKeySize || len(want) > maxKeySize {
		return check{}, ErrFormat
	}
	derive := func(password string) ([]byte, error) {
		return argon2Key(p, []byte(password), salt, uint32(len(want)))
	}
	return check{want: want, derive: derive, stale: true}, nil
}

var argon2Types = map[string]argon2full.Type{"argon2d": argon2full.D, "argon2i": argon2full.I, "argon2id": argon2full.ID}

// argon2Key takes the library that has assembly for what it can compute.
func argon2Key(p argon2full.Params, password, salt []byte, size uint32) ([]byte, error) {
	if p.Version == argon2full.Version13 && len(p.Data) == 0 {
		switch p.Type {
		case argon2full.I:
			return argon2.Key(password, salt, p.Passes, p.Memory, p.Lanes, size), nil
		case argon2full.ID:
			return argon2.IDKey(password, salt, p.Passes, p.Memory, p.Lanes, size), nil
		}
	}
	key, err := argon2full.Key(p, password, salt, size)
	if err != nil {
		return nil, fmt.Errorf("derive password key: %w", err)
	}
	return key, nil
}

func parseArgon2Params(s string, limits Limits) (argon2full.Params, error) {
	n := map[string]int{"m": 0, "t": 0, "p": 0}
	var p argon2full.Params
	for field := range strings.SplitSeq(s, ",") {
		name, value, _ := strings.Cut(field, "=")
		old, number := n[name]
		var err error
		switch {
		case number && old == 0:
			n[name], err = decimalParam(field, name+"=")
		case name == "data" && p.Data == nil:
			p.Data, err = base64.RawStdEncoding.DecodeString(value)
		case name == "keyid":
			return p, fmt.Errorf("%w: Argon2 with a secret", ErrUnsupported)
		default:
			return p, ErrFormat
		}
		if err != nil {
			return p, ErrFormat
		}
	}
	if n["m"] == 0 || n["t"] == 0 || n["p"] == 0 {
		return p, ErrFormat
	}
	if err := checkArgon2(n["m"], n["t"], n["p"], limits); err != nil {
		return p, err
	}
	p.Memory, p.Passes, p.Lanes = uint32(n["m"]), uint32(n["t"]), uint8(n["p"])
	return p, nil
}

// checkArgon2 bounds the KiB, passes and lanes of a stored hash.
func checkArgon2(memory, passes, lanes int, limits Limits) error {
	if lanes > int(limits.Argon2Threads) {
		return tooCostly("Argon2 lanes", lanes, int(limits.Argon2Threads))
	}
	if memory < 8*lanes { // RFC 9106 section 3.1
		return ErrFormat
	}
	if memory > int(limits.Argon2Memory) {
		return tooCostly("Argon2 KiB", memory, int(limits.Argon2Memory))
	}
	if work := uint64(memory) * uint64(passes); work > limits.Argon2Work {
		return tooCostly("Argon2 KiB times passes", work, limits.Argon2Work)
	}
	return nil
}
