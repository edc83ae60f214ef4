package redisbus_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"mallard/internal/event"
	"mallard/internal/event/bustest"
	"mallard/internal/event/membus"
	"mallard/internal/event/redisbus"
	"mallard/internal/redisconn"
	"mallard/internal/redisconn/redistest"
)

// node is a bus with a connection of its own, as each node has one.
type node struct {
	*redisbus.Bus
	conn *redisconn.Conn
}

func (n *node) Close() error { return errors.Join(n.Bus.Close(), n.conn.Close()) }

func openNode(t testing.TB, o redisconn.Options, b redisbus.Options) *node {
	t.Helper()
	conn, err := redisconn.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	b.Conn = conn
	bus, err := redisbus.New(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	return &node{bus, conn}
}

func TestBus(t *testing.T) {
	redistest.Each(t, func(t *testing.T, b redistest.Backend) {
		for _, workers := range []bool{false, true} {
			t.Run(fmt.Sprintf("workers=%t", workers), func(t *testing.T) {
				bustest.Run(t, bustest.Config{
					Patience:   redistest.Patience,
					MaxPending: membus.MaxChanged + membus.MaxDrop + 1,
					Open: func(t testing.TB, n int) []event.Bus {
						out := make([]event.Bus, n)
						for i := range out {
							o := lasting(i)
							o.WorkerChannels = func(context.Context) bool { return workers }
							bus := openNode(t, b.Options(), o)
							if !bus.Connected() {
								t.Fatalf("not connected: %v", bus.Err())
							}
							out[i] = bus
						}
						return out
					},
				})
			})
		}
	})
}
