package redisbus

import (
	"testing"
	"time"

	"mallard/internal/clocktest"
	"mallard/internal/event"
	"mallard/internal/mail"
	"mallard/internal/redisconn/redistest"
)

// Where no events come, though Redis is not known to be gone, nobody waits for a place in the register.
func TestSubscribeWithoutEvents(t *testing.T) {
	s := redistest.Start(t)
	b, err := New(t.Context(), Options{Conn: redistest.Open(t, s.Patient()), SubscribeWait: redistest.Patience, Heartbeat: redistest.Patience})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	redistest.Eventually(t, "connected", b.Connected)
	s.Pause()
	b.link.set(errSilent)
	var sub event.Subscription
	took := clocktest.Took(func() { sub, err = b.Subscribe(t.Context(), mail.AccountID{1}) })
	if err != nil || took > redistest.Patience/2 {
		t.Fatalf("subscribed after %v, %v", took, err)
	}
	defer sub.Close()
	s.Resume()
	select {
	case <-sub.Ready():
	case <-time.After(redistest.Patience):
		t.Error("it is not told to look")
	}
}
