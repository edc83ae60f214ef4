package mongostore

import (
	"context"
	"sync"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// keyReplaced is the member of keyRestored that says when messages of the mailbox were last restored over others: an id of
// that moment. Nodes forget what they have in memory of the mailbox when they see another one.
const keyReplaced = "replaced"

// maxRestores is of how many restored mailboxes a node remembers what it saw.
const maxRestores = 1 << 16

// restores remember the values of keyReplaced that this node has seen.
type restores struct {
	mu   sync.Mutex
	seen map[bson.ObjectID]bson.ObjectID
}

// replaced notes that messages of a mailbox have become other ones than they were. Who was interrupted before it does it
// all again.
func (s *Store) replaced(ctx context.Context, mbox bson.ObjectID) error {
	at := bson.NewObjectID()
	err := s.again(ctx, func(ctx context.Context) error {
		_, err := s.mailboxes().UpdateOne(ctx, bson.D{{Key: "_id", Value: mbox}},
			bson.D{{Key: "$set", Value: bson.D{{Key: memberMallard + "." + keyRestored + "." + keyReplaced, Value: at}}}})
		return err
	})
	s.caches.forget(mbox)
	return err
}

// replacedOf is the value of keyReplaced in the document of a mailbox, for store.ChangeSet.
func replacedOf(box bson.Raw) string {
	at, ok := box.Lookup(memberMallard, keyRestored, keyReplaced).ObjectIDOK()
	if !ok {
		return ""
	}
	return at.Hex()
}

// look reads the document of a mailbox for keyReplaced.
func (c *caches) look(mbox bson.ObjectID, box bson.Raw) {
	at, ok := box.Lookup(memberMallard, keyRestored, keyReplaced).ObjectIDOK()
	if !ok {
		return
	}
	c.restores.mu.Lock()
	defer c.restores.mu.Unlock()
	if c.restores.seen[mbox] == at {
		return
	}
	if c.restores.seen == nil || len(c.restores.seen) >= maxRestores {
		c.restores.seen = make(map[bson.ObjectID]bson.ObjectID)
	}
	c.restores.seen[mbox] = at
	c.forget(mbox)
}
