package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"
)

// ErrUserExists is the error of Options.CreateUser for a user that is there already.
var ErrUserExists = errors.New("an earlier benchmark may have made it: begin behind its users with --first-user; the number is nextUser in its report")

// userExists is the code of the HTTP API for it.
const userExists = "UserExistsError"

type user struct{ name, password, address string }

// takeUsers gives the next n users, made on the server if there is a way to make them.
func (s *session) takeUsers(ctx context.Context, n int) ([]user, error) {
	users := make([]user, n)
	for i := range users {
		name := fmt.Sprintf(s.o.UserPattern, s.nextUser)
		s.nextUser++
		users[i] = user{name: name, password: s.o.Password, address: name}
	}
	create := s.o.CreateUser
	if create == nil && s.o.API != "" {
		create = s.createByAPI
	}
	if create == nil {
		return users, nil
	}
	return users, parallel(n, 4, func(i int) error {
		if err := create(ctx, users[i].name, users[i].password, users[i].address); err != nil {
			return fmt.Errorf("create user %s: %w", users[i].name, err)
		}
		return nil
	})
}

// createByAPI makes a user that no limit stands in the way of. The user name is an address, as is allowed there.
func (s *session) createByAPI(ctx context.Context, name, password, address string) error {
	body, err := json.Marshal(map[string]any{
		"username": name, "password": password, "address": address,
		"quota": 1 << 40, "imapMaxUpload": 1 << 40, "imapMaxDownload": 1 << 40,
		"imapMaxConnections": 100, "receivedMax": 1 << 30,
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimRight(s.o.API, "/")+"/users", bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	_, err = s.callAPI(req)
	if err != nil && strings.Contains(err.Error(), userExists) {
		return fmt.Errorf("%w; %w", err, ErrUserExists)
	}
	return err
}

// parallel calls f for 0 to n-1 from so many goroutines and returns the first error; after one no new call begins.
func parallel(n, workers int, f func(i int) error) error {
	var (
		mu    sync.Mutex
		next  int
		first error
		wg    sync.WaitGroup
	)
	take := func() (int, bool) {
		mu.Lock()
		defer mu.Unlock()
		next++
		return next - 1, first == nil && next <= n
	}
	for range min(n, workers) {
		wg.Go(func() {
			for {
				i, ok := take()
				if !ok {
					return
				}
				if err := f(i); err != nil {
					mu.Lock()
					if first == nil {
						first = err
					}
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	return first
}
