package mongostore

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/event"

	"mallard/internal/testserver"
)

// concernWatch looks at how the commands that a driver sends are to be carried out.
type concernWatch struct {
	mu          sync.Mutex
	problems    []string
	writes      map[string]int
	connections map[string]bool
}

func (w *concernWatch) monitor() *event.CommandMonitor {
	return &event.CommandMonitor{Started: func(_ context.Context, e *event.CommandStartedEvent) { w.look(e) }}
}

func (w *concernWatch) look(e *event.CommandStartedEvent) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.connections[e.ConnectionID] = true
	writes := []string{"insert", "update", "delete", "findAndModify", "createIndexes"}
	if slices.Contains(writes, e.CommandName) || e.CommandName == "aggregate" && e.Command.Lookup("writeConcern").Type != 0 {
		w.writes[e.CommandName]++
		if text(e.Command.Lookup("writeConcern", "w")) != "majority" {
			w.problems = append(w.problems, fmt.Sprintf("%s is written with %v", e.CommandName, e.Command.Lookup("writeConcern")))
		}
	}
	if p, ok := e.Command.Lookup("$readPreference").DocumentOK(); ok && text(p.Lookup("mode")) != "primary" && text(p.Lookup("mode")) != "primaryPreferred" {
		w.problems = append(w.problems, fmt.Sprintf("%s goes to %v", e.CommandName, p))
	}
	if level := text(e.Command.Lookup("readConcern", "level")); level != "" && level != "majority" && level != "local" {
		w.problems = append(w.problems, fmt.Sprintf("%s reads %s", e.CommandName, level))
	}
}

// Whatever the URL says, what is written goes to a majority, what is read comes from the primary, and the connections are as
// many as the configuration allows.
func TestURLChangesNothing(t *testing.T) {
	w := &concernWatch{writes: map[string]int{}, connections: map[string]bool{}}
	const pool = 3
	s := reopenStore(t, testserver.Mongo(t)+"?w=1&journal=false&readPreference=secondary&maxPoolSize=500", func(o *Options) {
		o.monitor, o.MaxPool, o.DescriptionCache, o.ContentCache = w.monitor(), pool, -1, -1
	})
	session(t, s)
	var wg sync.WaitGroup
	for range 10 * pool {
		wg.Go(func() {
			if _, err := s.messages().CountDocuments(t.Context(), bson.D{{Key: "mailbox", Value: bson.NewObjectID()}}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range w.problems {
		t.Error(p)
	}
	for _, name := range []string{"insert", "update", "delete", "findAndModify", "createIndexes", "aggregate"} {
		if w.writes[name] == 0 {
			t.Errorf("there was no %s: %v", name, w.writes)
		}
	}
	if n := len(w.connections); n == 0 || n > pool {
		t.Errorf("there were %d connections, of %d allowed", n, pool)
	}
}
