package mongostore

import (
	"context"
	"iter"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"mallard/internal/mail"
	"mallard/internal/search"
)

// keySignature is the member of memberMallard in a message that says which words may be in its text, see package search.
const keySignature = "signature"

// MayContain yields the messages whose signatures say that they may contain the needles, and those without a signature.
func (s *Store) MayContain(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID, uids mail.UIDSet, needles [][]byte) iter.Seq2[mail.UID, error] {
	return func(yield func(mail.UID, error) bool) {
		done, err := s.enter(ctx, "MayContain")
		if err != nil {
			yield(0, err)
			return
		}
		defer done()
		f := &finder{s: s, ctx: ctx, mbox: mbox, probe: search.NewProbe(needles...), yield: yield}
		if err = s.requireMailbox(ctx, acct, mbox); err == nil && len(uids) > 0 {
			err = f.run(uids)
		}
		if err != nil && !f.stopped {
			yield(0, readError("search the index", err))
		}
	}
}

// finder is one call of MayContain.
type finder struct {
	s       *Store
	ctx     context.Context
	mbox    mail.MailboxID
	probe   *search.Probe
	yield   func(mail.UID, error) bool
	stopped bool
}

func (f *finder) run(set mail.UIDSet) error {
	for _, g := range segments(set, false) {
		var behind mail.UID
		for {
			uids, some := g.filter(behind, false)
			if !some {
				break
			}
			found, last, err := f.step(uids)
			if err != nil {
				return err
			}
			for _, uid := range found {
				if !f.yield(uid, nil) {
					f.stopped = true
					return nil
				}
			}
			if last == 0 {
				break
			}
			behind = last
		}
	}
	return nil
}

// step reads some signatures and returns the UIDs that may match, and the last UID that was read, 0 at the end. No
// cursor is open when they are given out: what is done with a candidate may take long.
func (f *finder) step(uids bson.E) (found []mail.UID, last mail.UID, err error) {
	fields := bson.D{{Key: "_id", Value: 0}, {Key: "uid", Value: 1}}
	if !f.probe.Any() {
		for _, key := range []string{"size", "hdate", memberMallard + "." + keyOf, memberMallard + "." + keyDate, memberMallard + "." + keySignature} {
			fields = append(fields, bson.E{Key: key, Value: 1})
		}
	}
	cur, err := f.s.findUIDs(f.ctx, bson.D{{Key: "mailbox", Value: oid(f.mbox)}, uids},
		options.Find().SetSort(bson.D{{Key: "uid", Value: 1}}).SetLimit(fetchRows).SetProjection(fields))
	if err != nil {
		return nil, 0, err
	}
	defer cur.Close(context.WithoutCancel(f.ctx))
	n := 0
	for ; cur.Next(f.ctx); n++ {
		last = mail.UID(integer(cur.Current.Lookup("uid")))
		if f.may(cur.Current) {
			found = append(found, last)
		}
	}
	if n < fetchRows {
		last = 0
	}
	return found, last, cur.Err()
}

// may reports whether a message may contain the needles. One without a signature may, and one that was changed since.
func (f *finder) may(doc bson.Raw) bool {
	if f.probe.Any() {
		return true
	}
	_, sign, ok := fresh(doc).Lookup(keySignature).BinaryOK()
	return !ok || f.probe.MayMatch(sign)
}
