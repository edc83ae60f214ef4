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
	there := mongo.WriteErrors{{Code: 11000}}
	thereToo := []mongo.BulkWriteError{{WriteError: there[0]}}
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
		{"interrupted by a shutdown", mongo.CommandError{Code: 11600}, true},
		{"interrupted by an election", mongo.CommandError{Code: 11602}, true},
		{"one document that is there already", mongo.WriteException{WriteErrors: there}, false},
		{"one document that is there already and may be lost", mongo.WriteException{WriteErrors: there, WriteConcernError: concern}, true},
		{"several that are there already and may be lost", mongo.BulkWriteException{WriteErrors: thereToo, WriteConcernError: concern}, true},
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

// An insert that is made again has done nothing when its document is there; that too few servers have said that they have it
// is another matter.
func TestInsertedBefore(t *testing.T) {
	concern := &mongo.WriteConcernError{Code: 64}
	there, other := mongo.WriteError{Code: 11000}, mongo.WriteError{Code: 121}
	bulk := func(errs ...mongo.WriteError) (out []mongo.BulkWriteError) {
		for _, e := range errs {
			out = append(out, mongo.BulkWriteError{WriteError: e})
		}
		return out
	}
	for _, tc := range []struct {
		name string
		err  error
		done bool
	}{
		{"none", nil, true},
		{"another", errors.New("another"), false},
		{"one document", mongo.WriteException{WriteErrors: mongo.WriteErrors{there}}, true},
		{"one document, refused", mongo.WriteException{WriteErrors: mongo.WriteErrors{other}}, false},
		{"one document that may be lost", mongo.WriteException{WriteErrors: mongo.WriteErrors{there}, WriteConcernError: concern}, false},
		{"one document of which nothing is said but that it may be lost", mongo.WriteException{WriteConcernError: concern}, false},
		{"several", mongo.BulkWriteException{WriteErrors: bulk(there, there)}, true},
		{"several, one refused", mongo.BulkWriteException{WriteErrors: bulk(there, other)}, false},
		{"several that may be lost", mongo.BulkWriteException{WriteErrors: bulk(there), WriteConcernError: concern}, false},
	} {
		if err := exceptDuplicates(tc.err); (err == nil) != tc.done {
			t.Errorf("%s: %v, done %v", tc.name, err, tc.done)
		}
	}
}

// Of an insert of several documents some are there already and others failed: what is done about it goes by those that failed.
func TestInsertedInPart(t *testing.T) {
	for _, tc := range []struct {
		name           string
		code           int
		again, unknown bool
	}{
		{"a write conflict", 112, true, false},
		{"an election", 11602, true, true},
		{"refused", 121, false, false},
	} {
		there, failed := mongo.WriteError{Code: 11000}, mongo.WriteError{Code: tc.code}
		for _, in := range []error{
			mongo.BulkWriteException{WriteErrors: []mongo.BulkWriteError{{WriteError: there}, {WriteError: failed}}},
			fmt.Errorf("insert: %w", mongo.BulkWriteException{WriteErrors: []mongo.BulkWriteError{{WriteError: failed}, {WriteError: there}}}),
			mongo.WriteException{WriteErrors: mongo.WriteErrors{there, failed}},
		} {
			err := exceptDuplicates(in)
			if transient(err) != tc.again || outcomeUnknown(err) != tc.unknown || mongo.IsDuplicateKeyError(err) {
				t.Errorf("%s: %v: another attempt %t, outcome unknown %t; want %t, %t", tc.name, err, transient(err), outcomeUnknown(err), tc.again, tc.unknown)
			}
			var server mongo.ServerError
			if !errors.As(err, &server) || !server.HasErrorCode(tc.code) {
				t.Errorf("%s: %v has lost its code", tc.name, err)
			}
			if !mongo.IsDuplicateKeyError(in) {
				t.Errorf("%s: the error of the driver was changed: %v", tc.name, in)
			}
		}
	}
}
