package httpapi

import (
	"context"
	"errors"

	"mallard/internal/mail"
)

// Services are the parts that the API puts on the wire. All are required.
type Services struct {
	Accounts Accounts
	Registry Registry
	// Health reports why the server cannot work, nil when it can.
	Health func(ctx context.Context) error
}

// Accounts keeps users and their addresses. *account.Service is one.
type Accounts interface {
	Get(ctx context.Context, id mail.AccountID) (*mail.Account, error)
}

func (s *Services) validate() error {
	if s.Accounts == nil || s.Registry == nil || s.Health == nil {
		return errors.New("http api: a service is missing")
	}
	return nil
}
