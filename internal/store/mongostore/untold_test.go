package mongostore

import (
	"errors"
	"sync/atomic"
	"testing"

	"mallard/internal/mail"
	"mallard/internal/testserver"
)

// Messages that went while no journal row could be written are told of later: nothing is left of them that could be found,
// so the note of the change stays until then.
func TestUntoldExpunge(t *testing.T) {
	t.Parallel()
	all := &cluster{TB: t, uri: testserver.Mongo(t)}
	s := all.node(hasty)
	var failing atomic.Bool
	s.hook = func(step string) error {
		if step == "journal" && failing.Load() {
			return errors.New("not now")
		}
		return nil
	}
	for name, run := range map[string]func(c *cluster) error{
		"expunge": func(c *cluster) error {
			_, err := s.Expunge(t.Context(), c.acct, c.boxes[0], mail.UIDSetOf(2, 3), false)
			return err
		},
		"move": func(c *cluster) error {
			_, err := s.Move(t.Context(), c.acct, c.boxes[0], c.boxes[1], mail.UIDSetOf(2, 3))
			return err
		},
	} {
		c := all.sibling(t, name, "a")
		c.fill(s, c.boxes[0], 4)
		o := c.observer(s, c.boxes[0])
		must(t, o.read())
		failing.Store(true)
		must(t, run(c))
		failing.Store(false)
		if err := o.converge(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
