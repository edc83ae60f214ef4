package mongostore

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"mallard/internal/store"
)

// maxAttempts is how often a change is made anew that others came before.
const maxAttempts = 50

// docChange is what an update does to the members of a document.
type docChange struct {
	set   bson.D
	unset []string
	push  bson.D
}

func (c *docChange) empty() bool { return len(c.set)+len(c.unset)+len(c.push) == 0 }

// member takes up what a member is to be: nothing when it is that already.
func (c *docChange) member(name string, before, after any) error {
	if _, gone := after.(absent); gone {
		if _, was := before.(absent); !was {
			c.unset = append(c.unset, name)
		}
		return nil
	}
	now, err := rawOf(after)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if _, missing := before.(absent); !missing {
		was, err := rawOf(before)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if sameValue(was, now) {
			return nil
		}
	}
	c.set = append(c.set, bson.E{Key: name, Value: now})
	return nil
}

func (c *docChange) update() bson.D {
	var out bson.D
	if len(c.set) > 0 {
		out = append(out, bson.E{Key: "$set", Value: c.set})
	}
	if len(c.unset) > 0 {
		var names bson.D
		for _, n := range c.unset {
			names = append(names, bson.E{Key: n, Value: ""})
		}
		out = append(out, bson.E{Key: "$unset", Value: names})
	}
	if len(c.push) > 0 {
		out = append(out, bson.E{Key: "$push", Value: c.push})
	}
	return out
}

// done reports whether a document looks as if the change had been made.
func (c *docChange) done(doc bson.Raw) bool {
	for _, e := range c.set {
		v, err := doc.LookupErr(e.Key)
		want, ok := e.Value.(bson.RawValue)
		if err != nil || !ok || !sameValue(v, want) {
			return false
		}
	}
	for _, n := range c.unset {
		if has(doc, n) {
			return false
		}
	}
	return true
}

// guard is a filter for a document of which the named members are still as they were read.
func guard(doc bson.Raw, names []string) bson.D {
	filter := bson.D{{Key: "_id", Value: doc.Lookup("_id")}}
	for _, n := range names {
		v, err := doc.LookupErr(n)
		switch {
		case err != nil:
			filter = append(filter, bson.E{Key: n, Value: bson.D{{Key: "$exists", Value: false}}})
		default:
			filter = append(filter, bson.E{Key: n, Value: bson.D{{Key: "$eq", Value: v}}})
		}
	}
	return filter
}

// updateGuarded changes a document unless one of the named members is no longer what it is in doc. It returns the
// document afterwards, nil when somebody else was faster. An answer that is lost is made up for by looking.
func updateGuarded(ctx context.Context, c *mongo.Collection, doc bson.Raw, names []string, change *docChange) (bson.Raw, error) {
	ctx = context.WithoutCancel(ctx)
	after, err := c.FindOneAndUpdate(ctx, guard(doc, names), change.update(),
		options.FindOneAndUpdate().SetReturnDocument(options.After)).Raw()
	if err == nil {
		return after, nil
	}
	if errors.Is(err, mongo.ErrNoDocuments) {
		return nil, nil
	}
	if !outcomeUnknown(err) {
		return nil, err
	}
	now, rerr := c.FindOne(ctx, bson.D{{Key: "_id", Value: doc.Lookup("_id")}}).Raw()
	switch {
	case rerr == nil && change.done(now):
		return now, nil
	case rerr == nil && unchanged(doc, now, names), errors.Is(rerr, mongo.ErrNoDocuments):
		// Nothing was done, or the guard keeps what is still on its way from being done after a second try.
		return nil, nil
	}
	return nil, fmt.Errorf("%w: %w", store.ErrOutcomeUnknown, err)
}

func unchanged(a, b bson.Raw, names []string) bool {
	for _, n := range names {
		va, ea := a.LookupErr(n)
		vb, eb := b.LookupErr(n)
		if (ea == nil) != (eb == nil) || ea == nil && !sameValue(va, vb) {
			return false
		}
	}
	return true
}

// insertNamed stores a document with a member that must be unique. Those of this node who want the same value come one by
// one: a server that finds out at the end of an insert that there is another makes both wait for each other, and ends that
// only after a while.
func (s *Store) insertNamed(ctx context.Context, c *mongo.Collection, value string, doc any) error {
	l := &s.naming[maphash.String(s.seed, value)%uint64(len(s.naming))]
	l.Lock()
	defer l.Unlock()
	_, err := c.InsertOne(ctx, doc)
	return err
}
