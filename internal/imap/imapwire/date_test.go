package imapwire

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestParseDateTime(t *testing.T) {
	for in, want := range map[string]string{
		"17-Jul-1996 02:44:25 -0700": "1996-07-17T02:44:25-07:00",
		" 7-jul-1996 02:44:25 +0000": "1996-07-07T02:44:25Z",
		"7-JUL-1996 02:44:25 -0000":  "1996-07-07T02:44:25Z",
		"07-Jul-1996 23:59:60 +1345": "1996-07-07T23:59:59+13:45",
		"29-Feb-2024 00:00:00 +0000": "2024-02-29T00:00:00Z",
		"01-Jan-0000 00:00:00 +0000": "0000-01-01T00:00:00Z",
	} {
		got, err := ParseDateTime(in)
		if err != nil || got.Format(time.RFC3339) != want {
			t.Errorf("%q: got %v, %v", in, got, err)
		}
	}
	for _, in := range []string{
		"", "17-Jul-1996", "17-Jul-1996 02:44:25", "17-Jul-1996 02:44:25 0700", "17-Jul-1996 02:44:25 -700",
		"31-Feb-1996 02:44:25 -0700", "29-Feb-2023 00:00:00 +0000", "0-Jul-1996 02:44:25 -0700", "32-Jul-1996 02:44:25 -0700",
		"17-Foo-1996 02:44:25 -0700", "17-Jul-96 02:44:25 -0700", "17-Jul-1996 24:44:25 -0700", "17-Jul-1996 02:60:25 -0700",
		"17-Jul-1996 02:44:61 -0700", "17-Jul-1996 02:44:25 -2400", "17-Jul-1996 02:44:25 -0760", "17-Jul-1996 02:44:25 -0700 ",
		"  7-Jul-1996 02:44:25 -0700", "17-ulA-1996 02:44:25 -0700", "17-Jul-1996T02:44:25 -0700", "1é-Jul-1996 02:44:25 -0700",
	} {
		if got, err := ParseDateTime(in); err == nil {
			t.Errorf("%q was accepted as %v", in, got)
		}
	}
}

func TestParseDate(t *testing.T) {
	for in, want := range map[string]string{
		"1-Feb-1994": "1994-02-01", "01-feb-1994": "1994-02-01", "31-DEC-9999": "9999-12-31",
	} {
		if got, err := ParseDate(in); err != nil || got.Format(time.DateOnly) != want {
			t.Errorf("%q: got %v, %v", in, got, err)
		}
	}
	for _, in := range []string{"", "1-Feb-94", "30-Feb-1994", "1-Feb-19944", "x", "1 Feb 1994", "001-Feb-1994", "1-Fe-1994"} {
		if got, err := ParseDate(in); err == nil {
			t.Errorf("%q was accepted as %v", in, got)
		}
	}
}

func TestDateTimeRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		zone := time.FixedZone("", 60*rapid.IntRange(-23*60-59, 23*60+59).Draw(t, "zone"))
		unix := rapid.Int64Range(-62135596800+86400, 253402300799-86400).Draw(t, "unix")
		want := time.Unix(unix, 0).In(zone)
		wire := string(AppendDateTime(nil, want))
		got, err := ParseDateTime(strings.Trim(wire, `"`))
		if err != nil || !got.Equal(want) || len(wire) != 28 {
			t.Fatalf("%v is %s on the wire and reads as %v, %v", want, wire, got, err)
		}
	})
	for _, odd := range []time.Time{
		{}, time.Unix(1<<40, 0), time.Unix(-1<<40, 0), time.Now().In(time.FixedZone("", 30)), time.Now().In(time.FixedZone("", 1<<20)),
	} {
		wire := string(AppendDateTime(nil, odd))
		if _, err := ParseDateTime(strings.Trim(wire, `"`)); err != nil || len(wire) != 28 {
			t.Errorf("%v is %s on the wire", odd, wire)
		}
	}
}
