package node

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"mallard/internal/auth"
	"mallard/internal/config"
	"mallard/internal/httpapi"
)

// makeAPI makes the HTTP API as c wants it.
func (n *Node) makeAPI(c config.API, log *slog.Logger) (*httpapi.API, error) {
	tokens, err := auth.NewTokens(auth.TokenOptions{
		Registry: n.engine, Accounts: n.engine, Secret: c.AccessControl.Secret, Static: c.AccessToken, Log: log,
		TTL:      time.Duration(c.AccessControl.TokenTTL) * time.Second,
		Lifetime: time.Duration(c.AccessControl.TokenLifetime) * time.Second, MaxTokens: c.AccessControl.MaxTokens,
	})
	if err != nil {
		return nil, fmt.Errorf("make access tokens: %w", err)
	}
	authLog, _ := n.engine.(httpapi.AuthLog) // of engines that keep it
	return httpapi.New(httpapi.Options{
		Services: httpapi.Services{
			Accounts: n.accounts, Mailboxes: n.mailboxes, Receiver: n.receiver, Logins: n.auth, Tokens: tokens, Limits: n.limits, Health: n.health,
			AuthLog: authLog,
		},
		Log: log, Version: n.o.Version, AccessControl: c.AccessControl.Enabled,
		CORSOrigins: append([]string{}, c.CORS.Origins...), // nil would be all
		MaxBody:     int64(c.MaxMB) << 20, MaxMessage: int64(n.cfg.LMTP.MaxMB) << 20,
		MaxParams: int64(c.MaxParamsMB) << 20, LargeBodies: c.LargeBodies, MaxStreams: c.MaxStreams, UserStreams: c.UserStreams,
		ReadTimeout: time.Duration(c.ReadTimeout), WriteTimeout: time.Duration(c.WriteTimeout), BodyTimeout: time.Duration(c.BodyTimeout),
		SearchTimeout: time.Duration(c.SearchTimeout), EventTimeout: time.Duration(c.EventTimeout),
	})
}

// health reports why the server cannot work.
func (n *Node) health(ctx context.Context) error {
	if n.cluster != nil {
		return n.clusterHealth(ctx)
	}
	_, err := n.engine.DomainAlias(ctx, "health.invalid")
	return err
}
