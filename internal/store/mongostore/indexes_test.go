package mongostore

import (
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
)

func TestIndexKeys(t *testing.T) {
	got := index{keys: "user 1, headers.value text, created -1"}.keyDoc()
	want := bson.D{{Key: "user", Value: int32(1)}, {Key: "headers.value", Value: "text"}, {Key: "created", Value: int32(-1)}}
	if len(got) != len(want) {
		t.Fatalf("got %v, want %v", got, want)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("member %d: got %v, want %v", i, got[i], want[i])
		}
	}
}
