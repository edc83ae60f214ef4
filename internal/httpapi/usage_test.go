package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"testing"
	"time"

	"mallard/internal/limit"
	"mallard/internal/mail"
)

type shownLimits struct {
	Limits map[string]struct {
		Allowed, Used int64
		TTL           any
	}
}

func (w *world) limitsOf(path string) shownLimits {
	w.t.Helper()
	var out shownLimits
	r := w.call("GET", path, "")
	if err := json.Unmarshal([]byte(r.body), &out); err != nil || r.status != 200 {
		w.t.Fatalf("%s: %d %s (%v)", path, r.status, r.body, err)
	}
	return out
}

// What was counted is shown, and starts anew when its limit is changed.
func TestUsage(t *testing.T) {
	w := newWorld(t)
	a, _ := w.user("ann")
	other, _ := w.user("bob")
	ctx, id := context.Background(), a.ID.String()
	path := "/users/" + id
	counters := map[string]struct{ key, parameter string }{
		"recipients":   {limit.Sent(id), "recipients"},
		"forwards":     {limit.Forwarded(id), "forwards"},
		"received":     {limit.Received(id), "receivedMax"},
		"imapUpload":   {limit.IMAPUploaded(id), "imapMaxUpload"},
		"imapDownload": {limit.IMAPDownloaded(id), "imapMaxDownload"},
		"pop3Download": {limit.POP3Downloaded(id), "pop3MaxDownload"},
	}
	n := int64(0)
	for name, c := range counters {
		n += 7
		_, err := w.limits.Add(ctx, c.key, n, math.MaxInt64, 90*time.Second)
		must(t, err)
		got := w.limitsOf(path).Limits[name]
		if got.Used != n || got.TTL != float64(90) {
			t.Errorf("%s: %+v, want %d used and 90 s", name, got, n)
		}
		if got := w.limitsOf("/users/" + other.ID.String()).Limits[name]; got.Used != 0 || got.TTL != false {
			t.Errorf("%s of another user: %+v", name, got)
		}
	}
	if r := w.call("PUT", path, `{"name": "Ann"}`); r.status != 200 {
		t.Fatal(r.body)
	}
	for name, c := range counters {
		if got := w.limitsOf(path).Limits[name]; got.Used == 0 {
			t.Errorf("%s starts anew with another change", name)
		}
		if r := w.call("PUT", path, `{"`+c.parameter+`": 5}`); r.status != 200 {
			t.Fatal(r.body)
		}
		if got := w.limitsOf(path).Limits[name]; got.Used != 0 || got.Allowed != 5 || got.TTL != false {
			t.Errorf("%s after a new limit: %+v", name, got)
		}
	}
	release, err := w.limits.Acquire(ctx, limit.GroupIMAP, id, 0)
	must(t, err)
	if got := w.limitsOf(path).Limits["imapMaxConnections"].Used; got != 1 {
		t.Errorf("%d sessions, want 1", got)
	}
	release()
}

func TestUsageOfForwardedAddress(t *testing.T) {
	w := newWorld(t)
	r := w.call("POST", "/addresses/forwarded", `{"address": "f@example.com", "targets": ["x@remote.test"]}`)
	var made struct{ ID string }
	must(t, json.Unmarshal([]byte(r.body), &made))
	_, err := w.limits.Add(context.Background(), limit.Forwarded(made.ID), 3, math.MaxInt64, 0)
	must(t, err)
	if got := w.limitsOf("/addresses/forwarded/" + made.ID).Limits["forwards"]; got.Used != 3 || got.TTL != float64(24*60*60) {
		t.Errorf("%+v", got)
	}
}

// brokenLimits cannot be reached.
type brokenLimits struct{}

var errNoLimits = mail.NewError(mail.CodeUnavailable, "the counters are away")

func (brokenLimits) Add(context.Context, string, int64, int64, time.Duration) (limit.Count, error) {
	return limit.Count{}, errNoLimits
}
func (brokenLimits) Reset(context.Context, ...string) error { return errNoLimits }
func (brokenLimits) Acquire(context.Context, string, string, int) (func(), error) {
	return nil, errNoLimits
}
func (brokenLimits) Held(context.Context, string, string) (int, error) {
	return 0, errors.Join(errNoLimits)
}

// A user can be read and changed while the counters are away.
func TestUsageWithoutCounters(t *testing.T) {
	w := newWorld(t)
	a, _ := w.user("ann")
	w.api.opt.Limits = brokenLimits{}
	path := "/users/" + a.ID.String()
	if got := w.limitsOf(path).Limits["received"]; got.Used != 0 || got.TTL != false || got.Allowed == 0 {
		t.Errorf("%+v", got)
	}
	if r := w.call("PUT", path, `{"receivedMax": 5}`); r.status != 200 {
		t.Errorf("%d %s", r.status, r.body)
	}
}
