package mongostore

import (
	"context"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"mallard/internal/address"
	"mallard/internal/mail"
)

// targetsOf reads an array of targets.
func targetsOf(v bson.RawValue) []mail.Target {
	array, ok := v.ArrayOK()
	if !ok {
		return nil
	}
	values, err := array.Values()
	if err != nil {
		return nil
	}
	var out []mail.Target
	for _, x := range values {
		if doc, ok := x.DocumentOK(); ok {
			out = append(out, targetOf(doc))
		}
	}
	return out
}

func targetOf(doc bson.Raw) mail.Target {
	id, _ := doc.Lookup("id").ObjectIDOK()
	return mail.Target{ID: mail.MessageID(id), Type: text(doc.Lookup("type")), Value: text(doc.Lookup("value"))}
}

// targetArray is the array of targets. One that was there stays as it was, with members that we do not know. A new one
// that is an address of an account here gets its owner, as WildDuck writes it.
func (s *Store) targetArray(ctx context.Context, targets []mail.Target, old bson.RawValue) (bson.A, error) {
	known := make(map[mail.Target]bson.RawValue)
	if array, ok := old.ArrayOK(); ok {
		values, err := array.Values()
		if err != nil {
			return nil, mail.WrapError(mail.CodeCorrupt, "the targets cannot be read", err)
		}
		for _, v := range values {
			if doc, ok := v.DocumentOK(); ok {
				known[targetOf(doc)] = v
			}
		}
	}
	owners, err := s.targetOwners(ctx, targets)
	if err != nil {
		return nil, err
	}
	out := bson.A{}
	for _, t := range targets {
		if v, ok := known[t]; ok {
			out = append(out, v)
			continue
		}
		var doc bson.D
		if !t.ID.IsZero() {
			doc = append(doc, bson.E{Key: "id", Value: oid(t.ID)})
		}
		doc = append(doc, bson.E{Key: "type", Value: t.Type}, bson.E{Key: "value", Value: t.Value})
		if owner, ok := owners[targetView(t)]; ok && t.Type == "mail" {
			doc = append(doc, bson.E{Key: "user", Value: owner})
		}
		out = append(out, doc)
	}
	return out, nil
}

func targetView(t mail.Target) string { return address.View(address.Normalize(t.Value)) }

// targetOwners finds the accounts of those targets that are addresses here, by view.
func (s *Store) targetOwners(ctx context.Context, targets []mail.Target) (map[string]bson.ObjectID, error) {
	views := bson.A{}
	for _, t := range targets {
		if t.Type == "mail" {
			views = append(views, targetView(t))
		}
	}
	if len(views) == 0 {
		return nil, nil
	}
	cur, err := s.db.users.Collection(colAddresses).Find(ctx,
		bson.D{{Key: "addrview", Value: bson.D{{Key: "$in", Value: views}}}, {Key: "user", Value: bson.D{{Key: "$exists", Value: true}}}},
		options.Find().SetProjection(bson.D{{Key: "addrview", Value: 1}, {Key: "user", Value: 1}}))
	if err != nil {
		return nil, readError("find owners of targets", err)
	}
	var rows []bson.Raw
	if err := cur.All(ctx, &rows); err != nil {
		return nil, readError("find owners of targets", err)
	}
	out := make(map[string]bson.ObjectID, len(rows))
	for _, r := range rows {
		if owner, ok := r.Lookup("user").ObjectIDOK(); ok {
			out[text(r.Lookup("addrview"))] = owner
		}
	}
	return out, nil
}
