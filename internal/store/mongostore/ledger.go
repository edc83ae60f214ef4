package mongostore

import (
	"fmt"
	"maps"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

const (
	// maxUnset is how many entries of an account that are done one change of it takes away.
	maxUnset = 16
	// idleEntry is how long an entry that is done stays when the account gets no mail that could take it away.
	idleEntry = time.Minute
)

// ledger says which charges of this process are not known to be done. A charge is numbered; all numbers below the least
// open one are done, which is what the row of the node says when it has died (see nodes.go).
type ledger struct {
	mu   sync.Mutex
	node bson.ObjectID
	seq  int64 // the last one that was given
	open map[int64]bool
	done map[bson.ObjectID][]doneEntry // of an account; they still stand in its document
	// doubtful are accounts that are to be counted anew.
	doubtful map[bson.ObjectID]bool
}

// doneEntry is the entry of a charge of which nothing is left to do but to take it away.
type doneEntry struct {
	member string
	at     time.Time // from which on it may be taken away
}

func (l *ledger) init() {
	l.node = bson.NewObjectID()
	l.open, l.done, l.doubtful = make(map[int64]bool), make(map[bson.ObjectID][]doneEntry), make(map[bson.ObjectID]bool)
}

// begin numbers a charge and returns the member of users that its entry is.
func (l *ledger) begin() (seq int64, member string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seq++
	l.open[l.seq] = true
	return l.seq, memberMallard + "." + keyOpen + "." + entryKey(l.node, l.seq)
}

// end says that a charge is done and its entry gone, or never made.
func (l *ledger) end(seq int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.open, seq)
}

// leave says that a charge is done; its entry goes with the next one of the account, not before a time.
func (l *ledger) leave(c *charge, from time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.open, c.seq)
	l.done[c.user] = append(l.done[c.user], doneEntry{c.member, from})
}

// take are entries of an account that may be taken away now. They are given once.
func (l *ledger) take(user bson.ObjectID, now time.Time) (members []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	list := l.done[user]
	keep := list[:0]
	for _, e := range list {
		if len(members) < maxUnset && !e.at.After(now) {
			members = append(members, e.member)
		} else {
			keep = append(keep, e)
		}
	}
	if len(keep) == 0 {
		delete(l.done, user)
	} else {
		l.done[user] = keep
	}
	return members
}

// untake gives back what take gave.
func (l *ledger) untake(user bson.ObjectID, members []string, at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, m := range members {
		l.done[user] = append(l.done[user], doneEntry{m, at})
	}
}

// idle are accounts with entries that are done since a time.
func (l *ledger) idle(since time.Time) (users []bson.ObjectID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for user, list := range l.done {
		if !list[0].at.After(since) {
			users = append(users, user)
		}
	}
	return users
}

// state is what the row of the node says: all charges below since are done, and these accounts are to be counted anew.
func (l *ledger) state() (since int64, doubtful []bson.ObjectID, clean bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	since = l.seq + 1
	for n := range l.open {
		since = min(since, n)
	}
	for user := range maps.Keys(l.doubtful) {
		doubtful = append(doubtful, user)
	}
	return since, doubtful, len(l.open) == 0 && len(doubtful) == 0
}

// doubt notes that an account is to be counted anew, and reports whether that is new.
func (l *ledger) doubt(user bson.ObjectID) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.doubtful[user] {
		return false
	}
	l.doubtful[user] = true
	return true
}

func (l *ledger) trust(user bson.ObjectID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.doubtful, user)
}

// entryKey is the name of an entry: whose it is, and its number.
func entryKey(node bson.ObjectID, seq int64) string { return fmt.Sprintf("%s_%d", node.Hex(), seq) }

// parseEntryKey reads entryKey.
func parseEntryKey(key string) (node bson.ObjectID, seq int64, ok bool) {
	if len(key) < 26 || key[24] != '_' {
		return node, 0, false
	}
	node, err := bson.ObjectIDFromHex(key[:24])
	if err != nil {
		return node, 0, false
	}
	_, err = fmt.Sscanf(key[25:], "%d", &seq)
	return node, seq, err == nil
}
