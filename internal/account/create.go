package account

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"
	"time"

	"mallard/internal/address"
	"mallard/internal/mail"
	"mallard/internal/store"
)

// TempPasswordLife is how long a temporary password can be used.
const TempPasswordLife = 24 * time.Hour

// MaxPassword is the greatest length of a password in octets.
const MaxPassword = 1024

// Password is a master password that is to be set.
type Password struct {
	Text string // "" for no password: then only application passwords work
	// Hashed says that Text is a hash in one of the supported formats, which is
	// stored as it is.
	Hashed bool
}

// NewUser is the input of Create.
type NewUser struct {
	Username string // any case
	Password Password
	// RequirePasswordChange makes the password a temporary one.
	RequirePasswordChange bool
	// Address is the main address; "" for one made from the username. A label is
	// cut off.
	Address string
	// NoAddress makes an account without any address.
	NoAddress bool
	// TagsOnAddress gives the main address the tags of the account.
	TagsOnAddress bool
	Folders       FolderNames
	Profile
}

// Create makes an account with its main address and its mailboxes, in one step.
// Errors: Invalid (with ErrPasswordHash in the chain when it is about a hash),
// Exists (with ErrUsernameTaken or ErrAddressTaken), Limit.
func (s *Service) Create(ctx context.Context, in NewUser) (*mail.Account, error) {
	row, err := s.newAccount(&in)
	if err != nil {
		return nil, err
	}
	if err := s.checkFree(ctx, row); err != nil {
		return nil, err
	}
	hash, err := s.hashPassword(ctx, in.Password)
	if err != nil {
		return nil, err
	}
	if in.RequirePasswordChange && hash != "" {
		row.Account.TempPassword = &mail.TempPassword{Hash: hash, ValidAfter: row.Account.Created, Created: row.Account.Created}
	} else {
		row.Account.Password = hash
	}
	a, err := s.store.CreateAccount(ctx, *row)
	s.resolved.clear()
	if mail.CodeOf(err) == mail.CodeExists {
		if taken := s.checkFree(ctx, row); taken != nil {
			return nil, taken
		}
	}
	if err != nil {
		return nil, fmt.Errorf("create account: %w", err)
	}
	return a, nil
}

// newAccount checks the input and makes the row, all but the password.
func (s *Service) newAccount(in *NewUser) (*store.NewAccount, error) {
	username := strings.ToLower(strings.TrimSpace(in.Username))
	if !address.ValidUsername(username) {
		return nil, invalid("The username is not valid")
	}
	if err := in.normalize(); err != nil {
		return nil, err
	}
	now := s.now().UTC()
	row := &store.NewAccount{
		View: address.View(username),
		Account: mail.Account{
			Username: username, SpamLevel: defaultSpamLevel, AuthVersion: 1, Activated: true, Created: now,
			SMIMECipher: DefaultSMIMECipher, SMIMETransport: DefaultSMIMETransport,
		},
	}
	if err := in.apply(s, &row.Account); err != nil {
		return nil, err
	}
	var err error
	row.Mailboxes, err = defaultMailboxes(row.Account.Language, in.Folders, row.Account.Retention, now)
	if err != nil || in.NoAddress {
		return row, err
	}
	addr, err := s.mainAddress(username, in.Address)
	if err != nil {
		return nil, err
	}
	row.Address = &mail.Address{Address: addr, View: address.View(addr), Created: now}
	if in.TagsOnAddress {
		row.Address.Tags = row.Account.Tags
	}
	return row, nil
}

// mainAddress is the given address, else the username when it is one, else the
// username at the configured domain.
func (s *Service) mainAddress(username, given string) (string, error) {
	switch {
	case address.IsWildcard(given):
		return "", invalid("Invalid character in email address: *")
	case given != "":
		addr := address.Normalize(given, address.RemoveLabel)
		if !address.ValidEmail(given) || !address.ValidEmail(addr) {
			return "", invalid("The email address is not valid")
		}
		return addr, nil
	case address.ValidEmail(username):
		return address.Normalize(username, address.RemoveLabel), nil
	}
	local, _, _ := strings.Cut(username, "@")
	return address.Normalize(local+"@"+s.domain, address.RemoveLabel), nil
}

// checkFree tells which of username and address is taken, before the work of
// making the account and again when the store refuses.
func (s *Service) checkFree(ctx context.Context, row *store.NewAccount) error {
	_, err := s.store.AccountByName(ctx, row.View)
	switch {
	case err == nil:
		return usernameTaken()
	case mail.CodeOf(err) != mail.CodeNoAccount:
		return fmt.Errorf("look for username: %w", err)
	case row.Address == nil:
		return nil
	}
	rows, err := s.store.AddressesByView(ctx, row.Address.View)
	if err != nil {
		return fmt.Errorf("look for address: %w", err)
	}
	if len(rows) > 0 {
		return mail.WrapError(mail.CodeExists, "This address already exists", ErrAddressTaken)
	}
	return nil
}

// hashPassword returns what is stored for a password, "" for none.
func (s *Service) hashPassword(ctx context.Context, p Password) (string, error) {
	if p.Text == "" {
		return "", nil
	}
	if p.Hashed {
		if err := s.hasher.Validate(p.Text); err != nil {
			return "", mail.WrapError(mail.CodeInvalid, "The password hash is not in a supported format", fmt.Errorf("%w: %w", ErrPasswordHash, err))
		}
		return p.Text, nil
	}
	if len(p.Text) > MaxPassword {
		return "", invalid("The password is too long")
	}
	hash, err := s.hasher.Hash(ctx, p.Text)
	if err != nil {
		return "", mail.WrapError(mail.CodeUnavailable, "The password cannot be set now", fmt.Errorf("hash password: %w", err))
	}
	return hash, nil
}

// newTempPassword returns 12 random letters and digits, 71 bits.
func newTempPassword() string {
	const alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	const length = 12
	out := make([]byte, 0, length)
	var buf [2 * length]byte
	for {
		_, _ = rand.Read(buf[:]) // never fails: the process ends when there is no entropy
		for _, b := range buf {
			if int(b) >= 256-256%len(alphabet) {
				continue // would favour the first characters
			}
			out = append(out, alphabet[int(b)%len(alphabet)])
			if len(out) == length {
				return string(out)
			}
		}
	}
}
