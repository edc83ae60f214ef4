package mongostore

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"iter"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"mallard/internal/mail"
)

// colRecords holds what WildDuck has no place for: {_id: kind/key, value}. The key is in hexadecimal digits, so that
// any octets can be in it and the order of identifiers is that of the octets.
const colRecords = "mallard_records"

// The kinds of records that have a place of their own.
const (
	kindSetting = "setting" // collection settings
	kindToken   = "token"   // Options.Tokens
)

const (
	maxRecordKey   = 256
	maxRecordValue = 1 << 20
)

// recordID is the identifier of a record; with the first key of all the one before all records of the kind.
func recordID(kind, key string) string {
	return hex.EncodeToString([]byte(kind)) + "/" + hex.EncodeToString([]byte(key))
}

// PutRecord stores or removes a value.
func (s *Store) PutRecord(ctx context.Context, kind, key string, value []byte) error {
	done, err := s.enter(ctx, "PutRecord")
	if err != nil {
		return err
	}
	defer done()
	if key == "" || len(key) > maxRecordKey || len(value) > maxRecordValue {
		return mail.NewError(mail.CodeInvalid, "a record's key has 1 to 256 octets, its value at most 1 MiB")
	}
	ctx = context.WithoutCancel(ctx)
	switch {
	case kind == kindToken && s.o.Tokens != nil:
		return s.o.Tokens.PutRecord(ctx, key, value)
	case kind == kindSetting:
		return s.putSetting(ctx, key, value)
	}
	c, self := s.db.main.Collection(colRecords), bson.D{{Key: "_id", Value: recordID(kind, key)}}
	if value == nil {
		return writeAgain("remove the record", func() error {
			_, err := c.DeleteOne(ctx, self)
			return err
		})
	}
	update := bson.D{{Key: "$set", Value: bson.D{{Key: "value", Value: bson.Binary{Data: value}}}}}
	return writeAgain("store the record", func() error {
		_, err := c.UpdateOne(ctx, self, update, options.UpdateOne().SetUpsert(true))
		return err
	})
}

// writeAgain makes a write that does no harm when it is done twice: after an answer that is lost, and when two nodes
// insert a row at the same moment.
func writeAgain(doing string, write func() error) error {
	var err error
	for range 3 {
		if err = write(); err == nil || !mongo.IsDuplicateKeyError(err) && !outcomeUnknown(err) {
			break
		}
	}
	return writeError(doing, err)
}

// Record returns a value.
func (s *Store) Record(ctx context.Context, kind, key string) ([]byte, error) {
	done, err := s.enter(ctx, "Record")
	if err != nil {
		return nil, err
	}
	defer done()
	switch {
	case kind == kindToken && s.o.Tokens != nil:
		return s.o.Tokens.Record(ctx, key)
	case kind == kindSetting:
		return s.setting(ctx, key)
	}
	row, err := s.db.main.Collection(colRecords).FindOne(ctx, bson.D{{Key: "_id", Value: recordID(kind, key)}}).Raw()
	if errors.Is(err, mongo.ErrNoDocuments) {
		return nil, noRecord()
	}
	if err != nil {
		return nil, readError("read the record", err)
	}
	_, value, ok := row.Lookup("value").BinaryOK()
	if !ok {
		return nil, mail.NewError(mail.CodeCorrupt, "the record cannot be read")
	}
	return value, nil
}

func noRecord() error { return mail.NewError(mail.CodeNotFound, "no such record") }

// Records yields the records of a kind. The contract has no place for an error: what cannot be read ends the sequence
// and is logged.
func (s *Store) Records(ctx context.Context, kind string) iter.Seq2[string, []byte] {
	return func(yield func(string, []byte) bool) {
		done, err := s.enter(ctx, "Records")
		if err != nil {
			return
		}
		defer done()
		switch {
		case kind == kindToken && s.o.Tokens != nil:
			s.o.Tokens.Records(ctx)(yield)
			return
		case kind == kindSetting:
			err = s.settings(ctx, yield)
		default:
			err = s.records(ctx, kind, yield)
		}
		if err != nil {
			s.o.Logger.Warn("cannot read records", "kind", kind, "error", err)
		}
	}
}

func (s *Store) records(ctx context.Context, kind string, yield func(string, []byte) bool) error {
	first := recordID(kind, "")
	after := strings.TrimSuffix(first, "/") + "0" // the octet after "/"
	cur, err := s.db.main.Collection(colRecords).Find(ctx, bson.D{{Key: "_id", Value: bson.D{{Key: "$gt", Value: first}, {Key: "$lt", Value: after}}}},
		options.Find().SetSort(bson.D{{Key: "_id", Value: 1}}))
	if err != nil {
		return err
	}
	defer cur.Close(context.WithoutCancel(ctx))
	for cur.Next(ctx) {
		key, err := hex.DecodeString(strings.TrimPrefix(text(cur.Current.Lookup("_id")), first))
		if err != nil {
			continue // none of ours
		}
		_, value, _ := cur.Current.Lookup("value").BinaryOK()
		if !yield(string(key), value) {
			return nil
		}
	}
	return cur.Err()
}

// putSetting stores a setting as WildDuck does: its value is JSON text in a string.
func (s *Store) putSetting(ctx context.Context, key string, value []byte) error {
	c, self := s.db.main.Collection(colSettings), bson.D{{Key: "key", Value: key}}
	if value == nil {
		return writeAgain("remove the setting", func() error {
			_, err := c.DeleteOne(ctx, self)
			return err
		})
	}
	if !json.Valid(value) {
		return mail.NewError(mail.CodeInvalid, "a setting is JSON")
	}
	update := bson.D{
		{Key: "$set", Value: bson.D{{Key: "value", Value: string(value)}, {Key: "encrypted", Value: false}}},
		{Key: "$setOnInsert", Value: bson.D{{Key: "created", Value: stored(s.o.Now())}, {Key: "enumerable", Value: true}}},
	}
	return writeAgain("store the setting", func() error {
		_, err := c.UpdateOne(ctx, self, update, options.UpdateOne().SetUpsert(true))
		return err
	})
}

func (s *Store) setting(ctx context.Context, key string) ([]byte, error) {
	row, err := s.db.main.Collection(colSettings).FindOne(ctx, bson.D{{Key: "key", Value: key}}).Raw()
	if errors.Is(err, mongo.ErrNoDocuments) {
		return nil, noRecord()
	}
	if err != nil {
		return nil, readError("read the setting", err)
	}
	if truth(row.Lookup("encrypted")) {
		return nil, noRecord() // only who has its secret can read it
	}
	return settingText(row), nil
}

// settingText is a setting's value as JSON: a string holds JSON, any other value is taken as it is.
func settingText(row bson.Raw) []byte {
	v := row.Lookup("value")
	if s, ok := v.StringValueOK(); ok {
		return []byte(s)
	}
	out, err := json.Marshal(plain(v))
	if err != nil {
		return []byte("null")
	}
	return out
}

func (s *Store) settings(ctx context.Context, yield func(string, []byte) bool) error {
	cur, err := s.db.main.Collection(colSettings).Find(ctx, bson.D{{Key: "enumerable", Value: true}, {Key: "encrypted", Value: bson.D{{Key: "$ne", Value: true}}}},
		options.Find().SetSort(bson.D{{Key: "key", Value: 1}}))
	if err != nil {
		return err
	}
	defer cur.Close(context.WithoutCancel(ctx))
	for cur.Next(ctx) {
		if !yield(text(cur.Current.Lookup("key")), settingText(cur.Current)) {
			return nil
		}
	}
	return cur.Err()
}
