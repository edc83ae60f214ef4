package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"mallard/internal/mail"
	"mallard/internal/migrate"
)

// MigrateRequest asks a server to copy what its store holds to another one, with POST
// /_control/migrate, while it serves.
type MigrateRequest struct {
	To string `json:"to"` // the kind of engine
	// Config is the whole configuration of the target, as a configuration file. It holds
	// passwords.
	Config      string `json:"config"`
	Workers     int    `json:"workers,omitempty"`
	SkipDamaged bool   `json:"skipDamaged,omitempty"`
	Overwrite   bool   `json:"overwrite,omitempty"`
}

// Migrator makes one pass of a migration. It calls progress and problem as it goes, one
// at a time.
type Migrator func(ctx context.Context, in MigrateRequest, progress func(migrate.Progress), problem func(Problem)) (*migrate.Report, error)

// MigrateLine is a line of the answer to POST /_control/migrate: one of its members. The
// last line has Report or Error.
type MigrateLine struct {
	Progress *migrate.Progress `json:"progress,omitempty"`
	Problem  *Problem          `json:"problem,omitempty"`
	Report   *migrate.Report   `json:"report,omitempty"`
	Error    string            `json:"error,omitempty"`
}

// maxConfig bounds the configuration in a request, in octets.
const maxConfig = 1 << 20

// migrate makes a pass and tells how far it is, line by line. Only one runs at a time.
func (s *Server) migrate(w http.ResponseWriter, r *http.Request) {
	var in MigrateRequest
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxConfig)).Decode(&in); err != nil {
		s.reply(w, r, nil, mail.WrapError(mail.CodeInvalid, "The request is not JSON", err))
		return
	}
	if !s.migrating.TryLock() {
		s.reply(w, r, nil, mail.NewError(mail.CodeConflict, "a migration is running already; when it was killed just now, try again in a moment: the server ends it first"))
		return
	}
	defer s.migrating.Unlock()
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	w.Header().Set("Content-Type", "application/jsonlines")
	enc, flush := json.NewEncoder(w), http.NewResponseController(w)
	var mu sync.Mutex
	send := func(l MigrateLine) {
		mu.Lock()
		defer mu.Unlock()
		if enc.Encode(l) != nil || flush.Flush() != nil {
			cancel() // nobody listens
		}
	}
	var last time.Time
	report, err := s.o.Migrate(ctx, in, func(p migrate.Progress) {
		if now := time.Now(); now.Sub(last) >= progressEvery {
			last = now
			send(MigrateLine{Progress: &p})
		}
	}, func(p Problem) { send(MigrateLine{Problem: &p}) })
	if err != nil {
		send(MigrateLine{Error: publicText(err)})
		return
	}
	send(MigrateLine{Report: report})
}

// Migrate lets the server make a pass of a migration and calls f with each line of the
// answer but the last.
func (c *Client) Migrate(ctx context.Context, in MigrateRequest, f func(MigrateLine)) (*migrate.Report, error) {
	body, err := json.Marshal(in)
	if err != nil {
		return nil, fmt.Errorf("encode request: %w", err)
	}
	r, err := c.open(ctx, http.MethodPost, "/_control/migrate", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	defer r.Close()
	dec := json.NewDecoder(r)
	for {
		var l MigrateLine
		if err := dec.Decode(&l); err != nil {
			return nil, fmt.Errorf("the migration ended early: %w", whole(err))
		}
		if l.Error != "" {
			return nil, errors.New(l.Error)
		}
		if l.Report != nil {
			return l.Report, nil
		}
		f(l)
	}
}
