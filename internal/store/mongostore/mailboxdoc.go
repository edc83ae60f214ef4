package mongostore

import (
	"context"
	"math"
	"slices"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"mallard/internal/mail"
)

func noMailbox(public string) error { return mail.NewError(mail.CodeNoMailbox, public) }

func (s *Store) mailboxes() *mongo.Collection { return s.db.collections.mailboxes }
func (s *Store) archived() *mongo.Collection  { return s.db.collections.archived }
func (s *Store) journal() *mongo.Collection   { return s.db.collections.journal }
func (s *Store) threads() *mongo.Collection   { return s.db.collections.threads }

// mailboxOf reads a mailbox's document; the counters are not in it.
func mailboxOf(doc bson.Raw) *mail.Mailbox {
	id, _ := doc.Lookup("_id").ObjectIDOK()
	b := &mail.Mailbox{
		ID:            mail.MailboxID(id),
		Path:          text(doc.Lookup("path")),
		SpecialUse:    mail.SpecialUse(text(doc.Lookup("specialUse"))),
		Subscribed:    truth(doc.Lookup("subscribed")),
		Hidden:        truth(doc.Lookup("hidden")),
		Encrypt:       truth(doc.Lookup("encryptMessages")),
		Retention:     retentionOf(doc.Lookup("retention")),
		UIDValidity:   mail.UIDValidity(integer(doc.Lookup("uidValidity"))),
		UIDNext:       mail.UID(integer(doc.Lookup("uidNext"))),
		HighestModSeq: max(1, mail.ModSeq(integer(doc.Lookup("modifyIndex")))),
		Keywords:      keywordsOf(doc),
		Created:       instant(doc.Lookup(memberMallard, keyCreated)),
	}
	if b.Created.IsZero() {
		b.Created = id.Timestamp().UTC()
	}
	return b
}

// retentionOf reads a number of milliseconds.
func retentionOf(v bson.RawValue) time.Duration {
	whole, rest := math.Modf(number(v))
	return time.Duration(whole)*time.Millisecond + time.Duration(math.Round(rest*1e6))
}

// retentionValue is a number of milliseconds, whole where it is.
func retentionValue(d time.Duration) any {
	if rest := d % time.Millisecond; rest != 0 {
		return float64(d/time.Millisecond) + float64(rest)/1e6
	}
	return millis(d)
}

// keywordsOf are the keywords that a mailbox's document lists.
func keywordsOf(doc bson.Raw) []string {
	var out []string
	for _, k := range texts(doc.Lookup("flags")) {
		if !strings.HasPrefix(k, `\`) && mail.ValidKeyword(k) == nil && len(out) < mail.MaxKeywords {
			out = append(out, k)
		}
	}
	return out
}

// newMailboxDoc is the document of a mailbox that is made by itself, not with its account.
func newMailboxDoc(user bson.ObjectID, b *mail.Mailbox) bson.D {
	doc := bson.D{
		{Key: "_id", Value: oid(b.ID)},
		{Key: "path", Value: b.Path},
		{Key: "uidValidity", Value: numberOf(int64(b.UIDValidity))},
		{Key: "uidNext", Value: int32(1)},
		{Key: "modifyIndex", Value: int32(1)},
		{Key: "subscribed", Value: b.Subscribed},
		{Key: "flags", Value: bson.A{}},
		{Key: "user", Value: user},
		{Key: "retention", Value: retentionValue(b.Retention)},
		{Key: "retentionCounter", Value: int32(0)},
		{Key: "hidden", Value: b.Hidden},
		{Key: "encryptMessages", Value: b.Encrypt},
	}
	if b.SpecialUse != "" {
		doc = append(doc, bson.E{Key: "specialUse", Value: string(b.SpecialUse)})
	}
	return append(doc, bson.E{Key: memberMallard, Value: bson.D{{Key: keyCreated, Value: stored(b.Created)}}})
}

// newKeywords are the keywords of messages that a mailbox does not list, as many as it may still list.
func newKeywords(box bson.Raw, all ...mail.Flags) []string {
	known := keywordsOf(box)
	n := len(known)
	for _, f := range all {
		for k := range f.Keywords() {
			if !slices.ContainsFunc(known, func(s string) bool { return strings.EqualFold(s, k) }) && len(known) < mail.MaxKeywords {
				known = append(known, k)
			}
		}
	}
	return known[n:]
}

// addKeywords adds keywords to the list of a mailbox. The list is a help for clients: when it fails nothing is wrong, and
// whoever sees the keyword next adds it.
func (s *Store) addKeywords(ctx context.Context, box bson.Raw, all ...mail.Flags) {
	missing := newKeywords(box, all...)
	if len(missing) == 0 {
		return
	}
	s.seen.forget(box.Lookup("_id").ObjectID())
	err := s.again(ctx, func(ctx context.Context) error {
		_, err := s.mailboxes().UpdateOne(ctx, bson.D{{Key: "_id", Value: box.Lookup("_id")}},
			bson.D{{Key: "$addToSet", Value: bson.D{{Key: "flags", Value: bson.D{{Key: "$each", Value: missing}}}}}})
		return err
	})
	if err != nil {
		s.o.Logger.Warn("keywords are missing in the list of a mailbox", "mailbox", box.Lookup("_id").ObjectID().Hex(), "error", err)
	}
}
