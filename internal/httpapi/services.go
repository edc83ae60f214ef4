package httpapi

import (
	"context"
	"errors"
	"time"

	"mallard/internal/account"
	"mallard/internal/mail"
	"mallard/internal/store"
)

// Services are the parts that the API puts on the wire. All are required.
type Services struct {
	Accounts  Accounts
	Passwords Passwords
	Registry  Registry
	// Health reports why the server cannot work, nil when it can.
	Health func(ctx context.Context) error
}

// Accounts keeps users and their addresses. *account.Service is one.
type Accounts interface {
	Create(ctx context.Context, in account.NewUser) (*mail.Account, error)
	Get(ctx context.Context, id mail.AccountID) (*mail.Account, error)
	FindByName(ctx context.Context, username string) (*mail.Account, error)
	List(ctx context.Context, q store.AccountQuery) (*store.AccountPage, error)
	Update(ctx context.Context, id mail.AccountID, in account.Changes) (*mail.Account, error)
	Delete(ctx context.Context, id mail.AccountID) error
	ResetPassword(ctx context.Context, id mail.AccountID, validAfter time.Time) (string, time.Time, error)
	RecountQuota(ctx context.Context, id mail.AccountID) (before, after int64, err error)
	EndSessions(ctx context.Context, id mail.AccountID, reason string) error
	Settings(ctx context.Context) (account.Settings, error)

	AddAddress(ctx context.Context, acct mail.AccountID, in account.NewAddress) (*mail.Address, error)
	AccountAddress(ctx context.Context, acct mail.AccountID, id mail.AddressID) (*mail.Address, error)
	AccountAddresses(ctx context.Context, acct mail.AccountID) ([]*mail.Address, error)
	UpdateAddress(ctx context.Context, acct mail.AccountID, id mail.AddressID, in account.AddressChanges) (*mail.Address, error)
	DeleteAddress(ctx context.Context, acct mail.AccountID, id mail.AddressID) error
	ListAddresses(ctx context.Context, q store.AddressQuery) (*store.AddressPage, error)
	AddForwarded(ctx context.Context, in account.NewForwarded) (*mail.Address, error)
	Forwarded(ctx context.Context, id mail.AddressID) (*mail.Address, error)
	UpdateForwarded(ctx context.Context, id mail.AddressID, in account.ForwardedChanges) (*mail.Address, error)
	DeleteForwarded(ctx context.Context, id mail.AddressID) error
	Address(ctx context.Context, id mail.AddressID) (*mail.Address, error)
	Resolve(ctx context.Context, addr string, allowWildcard bool) (*mail.Address, error)
}

// Passwords checks passwords against hashes. *password.Verifier is one.
type Passwords interface {
	Verify(ctx context.Context, hash, password string) (ok, rehash bool, err error)
}

func (s *Services) validate() error {
	if s.Accounts == nil || s.Passwords == nil || s.Registry == nil || s.Health == nil {
		return errors.New("http api: a service is missing")
	}
	return nil
}
