package mongostore

import (
	"bytes"
	"context"
	"iter"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"

	"mallard/internal/mail"
)

// Settings are those of WildDuck, in both directions.
func TestSettings(t *testing.T) {
	s := openStore(t)
	insertAll(t, s.db.main.Collection(colSettings), golden(t, "settings"))
	for key, want := range map[string]string{
		"const:max:recipients": "1500", "const:sender:defer_times": `"5m, 7m"`, "const:domaincache:enabled": "false",
	} {
		if got, err := s.Record(t.Context(), kindSetting, key); err != nil || string(got) != want {
			t.Errorf("%s is %s (%v), want %s", key, got, err, want)
		}
	}
	_, err := s.Record(t.Context(), kindSetting, "const:max:storage")
	wants(t, "a setting that is not there", err, mail.CodeNotFound)

	before := goldenRow(t, "settings", "key", "const:max:recipients")
	must(t, s.PutRecord(t.Context(), kindSetting, "const:max:recipients", []byte("1600")))
	now := only(t, s.db.main.Collection(colSettings), bson.D{{Key: "key", Value: "const:max:recipients"}})
	sameDocument(t, "changed", now, before, "value")
	if text(now.Lookup("value")) != "1600" {
		t.Errorf("value is %v", now.Lookup("value"))
	}
	must(t, s.PutRecord(t.Context(), kindSetting, "const:max:storage", []byte("1048576")))
	made := only(t, s.db.main.Collection(colSettings), bson.D{{Key: "key", Value: "const:max:storage"}})
	sameMembers(t, made, before)
	wants(t, "no JSON", s.PutRecord(t.Context(), kindSetting, "x", []byte("{")), mail.CodeInvalid)

	keys := ""
	for key, value := range s.Records(t.Context(), kindSetting) {
		keys += key + "=" + string(value) + " "
	}
	if want := `const:domaincache:enabled=false const:imap:use_wd_worker_channels=false const:max:recipients=1600 const:max:storage=1048576 const:sender:defer_times="5m, 7m" `; keys != want {
		t.Errorf("settings are %s, want %s", keys, want)
	}
	must(t, s.PutRecord(t.Context(), kindSetting, "const:max:storage", nil))
	_, err = s.Record(t.Context(), kindSetting, "const:max:storage")
	wants(t, "a setting that was removed", err, mail.CodeNotFound)
}

// sameMembers compares the names and types of members, in any order.
func sameMembers(t *testing.T, got, want bson.Raw) {
	t.Helper()
	for _, e := range members(t, want, nil) {
		if v := got.Lookup(e.Key()); v.Type != e.Value().Type {
			t.Errorf("member %s is %v, want the type of %v", e.Key(), v, e.Value())
		}
	}
	if g, w := members(t, got, nil), members(t, want, nil); len(g) != len(w) {
		t.Errorf("%v has %d members, want %d", got, len(g), len(w))
	}
}

// A setting in another form than ours is read as WildDuck reads it.
func TestSettingsInOtherForms(t *testing.T) {
	s := openStore(t)
	insertAll(t, s.db.main.Collection(colSettings), []bson.Raw{
		rawDoc(t, bson.D{{Key: "key", Value: "number"}, {Key: "value", Value: int32(7)}, {Key: "enumerable", Value: true}}),
		rawDoc(t, bson.D{{Key: "key", Value: "secret"}, {Key: "value", Value: "$wd01$x"}, {Key: "encrypted", Value: true}, {Key: "enumerable", Value: true}}),
		rawDoc(t, bson.D{{Key: "key", Value: "hidden"}, {Key: "value", Value: `{"key":1}`}, {Key: "enumerable", Value: false}}),
	})
	if got, err := s.Record(t.Context(), kindSetting, "number"); err != nil || string(got) != "7" {
		t.Errorf("number is %s, %v", got, err)
	}
	_, err := s.Record(t.Context(), kindSetting, "secret")
	wants(t, "an encrypted setting", err, mail.CodeNotFound)
	if got, err := s.Record(t.Context(), kindSetting, "hidden"); err != nil || string(got) != `{"key":1}` {
		t.Errorf("hidden is %s, %v", got, err)
	}
	for key := range s.Records(t.Context(), kindSetting) {
		if key != "number" {
			t.Errorf("%s is listed", key)
		}
	}
}

// records keep one record.
type records map[string][]byte

func (r records) PutRecord(_ context.Context, key string, value []byte) error {
	r[key] = value
	return nil
}

func (r records) Record(_ context.Context, key string) ([]byte, error) { return r[key], nil }

func (r records) Records(context.Context) iter.Seq2[string, []byte] {
	return func(yield func(string, []byte) bool) {
		for _, k := range sortedKeys(r) {
			if !yield(k, r[k]) {
				return
			}
		}
	}
}

func TestTokensGoElsewhere(t *testing.T) {
	kept := records{}
	s := openStore(t, func(o *Options) { o.Tokens = kept })
	must(t, s.PutRecord(t.Context(), kindToken, "a", []byte("1")))
	if !bytes.Equal(kept["a"], []byte("1")) {
		t.Errorf("kept are %q", kept)
	}
	if got, err := s.Record(t.Context(), kindToken, "a"); err != nil || string(got) != "1" {
		t.Errorf("record is %q, %v", got, err)
	}
	n := 0
	for k, v := range s.Records(t.Context(), kindToken) {
		if n++; k != "a" || string(v) != "1" {
			t.Errorf("record %s is %q", k, v)
		}
	}
	if n != 1 || count(t, s.db.main.Collection(colRecords), bson.D{}) != 0 {
		t.Errorf("%d records, some in the database", n)
	}
}
