package mongostore

import (
	"context"
	"errors"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// DomainAlias returns the domain behind an alias.
func (s *Store) DomainAlias(ctx context.Context, alias string) (string, error) {
	done, err := s.enter(ctx, "DomainAlias")
	if err != nil {
		return "", err
	}
	defer done()
	row, err := s.db.users.Collection(colDomainAliases).FindOne(ctx, bson.D{{Key: "alias", Value: alias}}).Raw()
	if errors.Is(err, mongo.ErrNoDocuments) {
		return "", nil
	}
	if err != nil {
		return "", readError("read the domain alias", err)
	}
	return text(row.Lookup("domain")), nil
}

// SetDomainAlias sets or removes an alias. Both names are noted as domains that mail is taken for, as WildDuck does it.
func (s *Store) SetDomainAlias(ctx context.Context, alias, domain string) error {
	done, err := s.enter(ctx, "SetDomainAlias")
	if err != nil {
		return err
	}
	defer done()
	ctx = context.WithoutCancel(ctx)
	c, row := s.db.users.Collection(colDomainAliases), bson.D{{Key: "alias", Value: alias}}
	if domain == "" {
		_, err := c.DeleteOne(ctx, row)
		return writeError("remove the domain alias", err)
	}
	if err := s.cacheDomains(ctx, alias, domain); err != nil {
		return err
	}
	update := bson.D{
		{Key: "$set", Value: bson.D{{Key: "domain", Value: domain}}},
		{Key: "$setOnInsert", Value: bson.D{{Key: "created", Value: stored(s.o.Now())}}},
	}
	for range 3 { // another node may insert the row between our look and our insert; doing it again does no harm
		_, err = c.UpdateOne(ctx, row, update, options.UpdateOne().SetUpsert(true))
		if err == nil || !mongo.IsDuplicateKeyError(err) && !outcomeUnknown(err) {
			break
		}
	}
	return writeError("store the domain alias", err)
}
