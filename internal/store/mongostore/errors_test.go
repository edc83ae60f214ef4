package mongostore

import (
	"errors"
	"fmt"
	"testing"

	"go.mongodb.org/mongo-driver/v2/mongo"
)

// A write of which too few servers have said that they have it may be lost, and may be there: whether it was one document
// or several.
func TestOutcomeUnknown(t *testing.T) {
	concern := &mongo.WriteConcernError{Code: 64, Message: "waiting for replication timed out"}
	for _, tc := range []struct {
		name string
		err  error
		want bool
	}{
		{"none", nil, false},
		{"another", errors.New("another"), false},
		{"one document", mongo.WriteException{WriteConcernError: concern}, true},
		{"several", mongo.BulkWriteException{WriteConcernError: concern}, true},
		{"several, wrapped", fmt.Errorf("insert: %w", mongo.BulkWriteException{WriteConcernError: concern}), true},
		{"several, one refused", mongo.BulkWriteException{WriteErrors: []mongo.BulkWriteError{{WriteError: mongo.WriteError{Code: 121}}}}, false},
	} {
		if got := outcomeUnknown(tc.err); got != tc.want {
			t.Errorf("%s: %v, want %v", tc.name, got, tc.want)
		}
		if got := transient(tc.err); got != tc.want {
			t.Errorf("%s: another attempt %v, want %v", tc.name, got, tc.want)
		}
	}
}
