package mongostore

import (
	"context"
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"

	"mallard/internal/mail"
)

// addressMember is a member of an addresses document that has its place in mail.Address, see userMember.
type addressMember struct {
	name string
	// forwarded members belong to addresses without an account, late ones are missing until they are first set.
	forwarded, late bool
	encode          func(a *mail.Address) any
}

// addressMembers are all but the identifiers and the targets, in WildDuck's order.
func addressMembers() []addressMember {
	return []addressMember{
		{name: "name", encode: func(a *mail.Address) any { return textOrNull(a.Name) }},
		{name: "address", encode: func(a *mail.Address) any { return a.Address }},
		{name: "addrview", encode: func(a *mail.Address) any { return a.View }},
		{name: "forwards", forwarded: true, encode: func(a *mail.Address) any { return numberOf(a.Forwards) }},
		{name: "autoreply", forwarded: true, encode: encodeAutoreply},
		{name: "tags", late: true, encode: func(a *mail.Address) any { return textArray(a.Tags) }},
		{name: "tagsview", late: true, encode: func(a *mail.Address) any { return lowerArray(a.Tags) }},
		{name: "metaData", late: true, encode: func(a *mail.Address) any { return a.MetaData }},
		{name: "internalData", late: true, encode: func(a *mail.Address) any { return a.InternalData }},
		{name: "forwardedDisabled", late: true, encode: func(a *mail.Address) any { return a.ForwardedDisabled }},
	}
}

// noAutoreply is the automatic reply of an address that has none.
func noAutoreply() bson.D { return bson.D{{Key: "status", Value: false}} }

// encodeAutoreply gives the object of a JSON text. Its dates are dates there.
func encodeAutoreply(a *mail.Address) any {
	if a.Autoreply == "" {
		return noAutoreply()
	}
	doc, err := jsonObject(a.Autoreply)
	if err != nil {
		return a.Autoreply // not what the callers promise; kept as it is
	}
	for i, e := range doc {
		if t, ok := parseTime(e.Value); ok && (e.Key == "start" || e.Key == "end") {
			doc[i].Value = stored(t)
		}
	}
	return doc
}

// autoreplyOf is the JSON text of an automatic reply, "" for none.
func autoreplyOf(v bson.RawValue) string {
	if none, err := rawOf(noAutoreply()); err == nil && sameValue(v, none) {
		return ""
	}
	return jsonText(v)
}

// newAddressDoc is a new row. It gets the identifier; Created must be set or becomes now.
func (s *Store) newAddressDoc(ctx context.Context, a *mail.Address) (bson.D, error) {
	a.ID = newID[mail.AddressID](s)
	return s.addressDocOf(ctx, a)
}

// addressDocOf is the document of a row, with its members in WildDuck's order.
func (s *Store) addressDocOf(ctx context.Context, a *mail.Address) (bson.D, error) {
	if a.Created.IsZero() {
		a.Created = s.o.Now()
	}
	targets, err := s.targetArray(ctx, a.Targets, bson.RawValue{})
	if err != nil {
		return nil, err
	}
	doc := bson.D{{Key: "_id", Value: oid(a.ID)}}
	if !a.Account.IsZero() {
		doc = append(doc, bson.E{Key: "user", Value: oid(a.Account)})
	}
	diff := &docChange{}
	for _, m := range addressMembers() {
		before := any(absent{})
		if m.late || m.forwarded && !a.Account.IsZero() {
			before = m.encode(&mail.Address{})
		}
		if m.name == "forwards" && (a.Account.IsZero() || len(a.Targets) > 0) {
			diff.set = append(diff.set, bson.E{Key: "targets", Value: targets})
		}
		if err := diff.member(m.name, before, m.encode(a)); err != nil {
			return nil, err
		}
	}
	return append(append(doc, diff.set...), bson.E{Key: "created", Value: stored(a.Created)}), nil
}

// addressChange is what has to be done to a row.
func (s *Store) addressChange(ctx context.Context, doc bson.Raw, before, after *mail.Address) (*docChange, error) {
	diff := &docChange{}
	for _, m := range addressMembers() {
		if err := diff.member(m.name, m.encode(before), m.encode(after)); err != nil {
			return nil, err
		}
	}
	if slices.Equal(before.Targets, after.Targets) {
		return diff, nil
	}
	targets, err := s.targetArray(ctx, after.Targets, doc.Lookup("targets"))
	if err != nil {
		return nil, err
	}
	return diff, diff.member("targets", absent{}, targets)
}

func guardedAddressMembers() []string {
	out := []string{"targets"}
	for _, m := range addressMembers() {
		out = append(out, m.name)
	}
	return out
}

// addressOf reads a row. What is missing, null or false is unset.
func addressOf(doc bson.Raw) (*mail.Address, error) {
	elements, err := doc.Elements()
	if err != nil {
		return nil, mail.WrapError(mail.CodeCorrupt, "the address cannot be read", err)
	}
	a := &mail.Address{}
	for _, e := range elements {
		readAddressMember(a, e.Key(), e.Value())
	}
	return a, nil
}

func readAddressMember(a *mail.Address, name string, v bson.RawValue) {
	switch name {
	case "_id":
		id, _ := v.ObjectIDOK()
		a.ID = mail.AddressID(id)
	case "user":
		id, _ := v.ObjectIDOK()
		a.Account = mail.AccountID(id)
	case "name":
		a.Name = text(v)
	case "address":
		a.Address = text(v)
	case "addrview":
		a.View = text(v)
	case "targets":
		a.Targets = targetsOf(v)
	case "forwards":
		a.Forwards = integer(v)
	case "forwardedDisabled":
		a.ForwardedDisabled = truth(v)
	case "autoreply":
		a.Autoreply = autoreplyOf(v)
	case "tags":
		a.Tags = texts(v)
	case "metaData":
		a.MetaData = jsonText(v)
	case "internalData":
		a.InternalData = jsonText(v)
	case "created":
		a.Created = instant(v)
	}
}
