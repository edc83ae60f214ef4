package main

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
)

func TestFirstAccount(t *testing.T) {
	for _, c := range []struct {
		name          string
		accounts      int64
		err           error
		shown, logged string
	}{
		{name: "none", shown: "mallard user add jane"},
		{name: "some", accounts: 2},
		{name: "damaged store", err: errors.New("a row is damaged"), logged: "a row is damaged"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out, log bytes.Buffer
			count := func(context.Context) (int64, error) { return c.accounts, c.err }
			firstAccount(t.Context(), &out, count, "mallard", slog.New(slog.NewTextHandler(&log, nil)))
			if (c.shown == "") != (out.Len() == 0) || !strings.Contains(out.String(), c.shown) {
				t.Errorf("shown: %q, want %q", out.String(), c.shown)
			}
			if (c.logged == "") != (log.Len() == 0) || !strings.Contains(log.String(), c.logged) {
				t.Errorf("logged: %q, want %q", log.String(), c.logged)
			}
		})
	}
}
