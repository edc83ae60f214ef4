package redisrecord

import (
	"context"
	"fmt"

	"github.com/redis/go-redis/v9"

	"mallard/internal/mail"
)

// Accounts is what nodes share about accounts beside the database.
type Accounts struct{ c Conn }

// NewAccounts returns it on a connection.
func NewAccounts(c Conn) *Accounts { return &Accounts{c} }

// Forget drops the cached limits of an account, so that every node reads them anew. Errors: Unavailable.
func (a *Accounts) Forget(ctx context.Context, id mail.AccountID) error {
	err := a.c.Do(ctx, func(ctx context.Context) error { return a.c.Client().Del(ctx, "cached:"+id.String()).Err() })
	if err != nil {
		return fmt.Errorf("drop cached limits: %w", err)
	}
	return nil
}

// Features adds an account to the sets of some feature flags and takes it out of others. Errors: Unavailable.
func (a *Accounts) Features(ctx context.Context, id mail.AccountID, on, off []string) error {
	err := a.c.Do(ctx, func(ctx context.Context) error {
		_, err := a.c.Client().Pipelined(ctx, func(p redis.Pipeliner) error {
			for _, name := range on {
				p.SAdd(ctx, "feature:"+name, id.String())
			}
			for _, name := range off {
				p.SRem(ctx, "feature:"+name, id.String())
			}
			return nil
		})
		return err
	})
	if err != nil {
		return fmt.Errorf("note feature flags: %w", err)
	}
	return nil
}
