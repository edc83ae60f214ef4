package mongostore

import (
	"context"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"mallard/internal/mail"
	"mallard/internal/store"
)

// journalRow is a row to be written, without _id and created.
type journalRow bson.D

// mailboxRow is the row of a mailbox that was created, renamed or deleted.
func mailboxRow(acct mail.AccountID, mbox mail.MailboxID, command store.JournalCommand, path string, ms mail.ModSeq) journalRow {
	row := journalRow{{Key: "command", Value: string(command)}, {Key: "mailbox", Value: oid(mbox)}}
	if command != store.JournalDelete {
		row = append(row, bson.E{Key: "path", Value: path})
	}
	return append(row, bson.E{Key: "modseq", Value: numberOf(int64(ms))}, bson.E{Key: "user", Value: oid(acct)})
}

// existsRow is the row of a message that came. origin is nil where WildDuck has no member for it.
func existsRow(acct mail.AccountID, m *hotMessage, junk int8, origin *string) journalRow {
	row := journalRow{{Key: "command", Value: string(store.JournalExists)}, {Key: "uid", Value: numberOf(int64(m.UID))}}
	if origin != nil {
		row = append(row, bson.E{Key: "ignore", Value: textOrNull(*origin)})
	}
	row = append(row,
		bson.E{Key: "message", Value: m.ID}, bson.E{Key: "modseq", Value: numberOf(int64(m.ModSeq))},
		bson.E{Key: "unseen", Value: !m.Flags.Has(mail.Seen)}, bson.E{Key: "idate", Value: stored(m.IDate)}, bson.E{Key: "thread", Value: m.Thread},
	)
	if junk != 0 {
		row = append(row, bson.E{Key: "junk", Value: int32(junk)})
	}
	return append(row, bson.E{Key: "mailbox", Value: m.Mailbox}, bson.E{Key: "user", Value: oid(acct)})
}

// expungeRow is the row of a message that went.
func expungeRow(acct mail.AccountID, m *hotMessage, ms mail.ModSeq) journalRow {
	return journalRow{
		{Key: "command", Value: string(store.JournalExpunge)}, {Key: "uid", Value: numberOf(int64(m.UID))}, {Key: "message", Value: m.ID},
		{Key: "thread", Value: m.Thread}, {Key: "unseen", Value: !m.Flags.Has(mail.Seen)}, {Key: "modseq", Value: numberOf(int64(ms))},
		{Key: "mailbox", Value: m.Mailbox}, {Key: "user", Value: oid(acct)},
	}
}

// fetchRow is the row of a message whose flags changed.
func fetchRow(acct mail.AccountID, m *hotMessage, names []string, seenChanged bool, ms mail.ModSeq, origin string) journalRow {
	return journalRow{
		{Key: "command", Value: string(store.JournalFetch)}, {Key: "ignore", Value: textOrNull(origin)}, {Key: "uid", Value: numberOf(int64(m.UID))},
		{Key: "flags", Value: textArray(names)}, {Key: "thread", Value: m.Thread}, {Key: "message", Value: m.ID},
		{Key: "unseenChange", Value: seenChanged}, {Key: "modseq", Value: numberOf(int64(ms))},
		{Key: "mailbox", Value: m.Mailbox}, {Key: "user", Value: oid(acct)},
	}
}

// log writes journal rows. They come after what they tell of has happened: when they cannot be written the change stands,
// and who finds it without them writes them (see repair). It reports whether they were; a change that leaves nothing to be
// found must keep its note when not.
func (s *Store) log(ctx context.Context, rows ...journalRow) bool {
	if len(rows) == 0 {
		return true
	}
	now := stored(s.o.Now())
	docs := make([]bson.D, 0, len(rows))
	for _, r := range rows {
		doc := make(bson.D, 0, len(r)+2)
		doc = append(doc, bson.E{Key: "_id", Value: bson.ObjectID(newID[mail.JournalID](s))})
		doc = append(doc, r...)
		docs = append(docs, append(doc, bson.E{Key: "created", Value: now}))
	}
	err := s.insertRows(ctx, docs)
	if err != nil {
		s.o.Logger.Warn("journal rows could not be written; they are made up for when the change is seen", "rows", len(rows), "error", err)
	}
	return err == nil
}

// insertRows inserts documents that have ids of their own, any number of times.
func (s *Store) insertRows(ctx context.Context, docs []bson.D) error {
	if err := s.step("journal"); err != nil {
		return err
	}
	return s.again(ctx, func(ctx context.Context) error {
		if done, err := s.insertRowsTogether(ctx, docs); err != nil || done {
			return err
		}
		return s.insertRowsOnce(ctx, docs)
	})
}

func (s *Store) insertRowsOnce(ctx context.Context, docs []bson.D) error {
	_, err := s.journal().InsertMany(ctx, docs, options.InsertMany().SetOrdered(false))
	return exceptDuplicates(err)
}

// journalEntry reads a row; false for commands that are not known.
func journalEntry(doc bson.Raw) (store.JournalEntry, bool) {
	id, _ := doc.Lookup("_id").ObjectIDOK()
	mbox, _ := doc.Lookup("mailbox").ObjectIDOK()
	message, _ := doc.Lookup("message").ObjectIDOK()
	thread, _ := doc.Lookup("thread").ObjectIDOK()
	e := store.JournalEntry{
		ID:           mail.JournalID(id),
		Command:      store.JournalCommand(text(doc.Lookup("command"))),
		Mailbox:      mail.MailboxID(mbox),
		ModSeq:       mail.ModSeq(integer(doc.Lookup("modseq"))),
		UID:          mail.UID(integer(doc.Lookup("uid"))),
		Message:      mail.MessageID(message),
		Thread:       mail.ThreadID(thread),
		SeenChanged:  truth(doc.Lookup("unseenChange")),
		InternalDate: instant(doc.Lookup("idate")),
		Junk:         int8(integer(doc.Lookup("junk"))),
		Path:         text(doc.Lookup("path")),
		Origin:       text(doc.Lookup("ignore")),
		Created:      instant(doc.Lookup("created")),
	}
	if e.Created.IsZero() {
		e.Created = id.Timestamp().UTC()
	}
	switch e.Command {
	case store.JournalFetch:
		e.Flags = flagsOf(texts(doc.Lookup("flags")))
	case store.JournalExists, store.JournalExpunge, store.JournalCreate, store.JournalRename, store.JournalDelete:
	default:
		return e, false
	}
	return e, true
}

// counted tells the shared counters what rows mean for them, in the way of WildDuck.
type counted struct {
	total, unseen int64
	unknown       bool
}

func (c *counted) came(m *hotMessage) {
	c.total++
	if !m.Flags.Has(mail.Seen) {
		c.unseen++
	}
}

func (c *counted) went(m *hotMessage) {
	c.total--
	if !m.Flags.Has(mail.Seen) {
		c.unseen--
	}
}

// tellCounters passes a change of numbers on. A cache that does not hear of it ends by its time.
func (s *Store) tellCounters(ctx context.Context, mbox mail.MailboxID, c counted) {
	if s.o.Counters == nil || c == (counted{}) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, counterTime)
	defer cancel()
	if err := s.o.Counters.Count(ctx, mbox, c.total, c.unseen, c.unknown); err != nil {
		s.o.Logger.Warn("the shared counters of a mailbox were not told of a change", "mailbox", mbox, "error", err)
	}
}

// counterTime is how long a change waits for the shared counters.
const counterTime = 2 * time.Second
