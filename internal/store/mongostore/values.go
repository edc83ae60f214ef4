package mongostore

import (
	"bytes"
	"fmt"
	"math"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// absent is a value that stands for a member that is not there.
type absent struct{}

// numberOf is a number as WildDuck writes it: Int32 when it fits, Double otherwise. Beyond the integers that a Double
// holds exactly it is Int64, which every reader takes.
func numberOf(n int64) any {
	const exact = 1 << 53
	switch {
	case n >= math.MinInt32 && n <= math.MaxInt32:
		return int32(n)
	case n >= -exact && n <= exact:
		return float64(n)
	}
	return n
}

// millis is a duration in milliseconds.
func millis(d time.Duration) any { return numberOf(d.Milliseconds()) }

// textOrNull is null for "".
func textOrNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// idOrFalse is an identifier, false where there is none.
func idOrFalse(hex string) any {
	id, err := bson.ObjectIDFromHex(hex)
	if err != nil {
		return false
	}
	return id
}

// hexID reads an identifier, "" for anything else.
func hexID(v bson.RawValue) string {
	id, ok := v.ObjectIDOK()
	if !ok {
		return ""
	}
	return id.Hex()
}

// timeOrAbsent is no member for the zero time.
func timeOrAbsent(t time.Time) any {
	if t.IsZero() {
		return absent{}
	}
	return stored(t)
}

// stored is a time as the database keeps it, to the millisecond.
func stored(t time.Time) bson.DateTime { return bson.NewDateTimeFromTime(t) }

// textArray is never null.
func textArray(in []string) bson.A {
	out := make(bson.A, 0, len(in))
	for _, s := range in {
		out = append(out, s)
	}
	return out
}

func lowerArray(in []string) bson.A {
	out := make(bson.A, 0, len(in))
	for _, s := range in {
		out = append(out, strings.ToLower(s))
	}
	return out
}

// text reads a string, "" for anything else.
func text(v bson.RawValue) string {
	s, _ := v.StringValueOK()
	return s
}

// has reports whether a document has a member, whatever its value.
func has(doc bson.Raw, name string) bool {
	_, err := doc.LookupErr(name)
	return err == nil
}

// rawOf is the value as it will be in a document.
func rawOf(v any) (bson.RawValue, error) {
	if v == nil {
		return bson.RawValue{Type: bson.TypeNull}, nil
	}
	t, b, err := bson.MarshalValue(v)
	if err != nil {
		return bson.RawValue{}, fmt.Errorf("encode a member: %w", err)
	}
	return bson.RawValue{Type: t, Value: b}, nil
}

func sameValue(a, b bson.RawValue) bool { return a.Type == b.Type && bytes.Equal(a.Value, b.Value) }

// parseTime reads a time as JSON has it.
func parseTime(v any) (time.Time, bool) {
	s, ok := v.(string)
	if !ok {
		return time.Time{}, false
	}
	t, err := time.Parse(time.RFC3339Nano, s)
	return t, err == nil
}
