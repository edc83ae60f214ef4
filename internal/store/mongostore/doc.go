// Package mongostore is the storage engine of a cluster: MongoDB (any server that speaks its protocol) with GridFS, on
// the databases of WildDuck nodes, beside them. A node has no state of its own.
//
// The documents, indexes and the order of writes are WildDuck's. What Mallard needs beyond them stands in members that
// WildDuck nodes leave alone: "mallard" in messages and mailboxes, and collections of our own whose names begin with
// "mallard_".
//
// # No transactions
//
// The engine is right without multi-document transactions, because not every server of the protocol has them. Each
// operation has one write that makes it happen, an order of writes before it that leaves only garbage behind when it
// stops half-way, and writes after it (journal, counters) that a reader can do without:
//
//   - A message is there when its document in "messages" is there, gone when it is not. Attachments are stored before;
//     what nobody refers to is found by garbage collection.
//   - A change of flags is the update of the message's document, guarded by its mod-sequence.
//   - The journal row is written last. It says that the change of that mod-sequence is complete.
//
// # No lost change
//
// UIDs and mod-sequences are handed out by an update of the mailbox's document before what gets them is written. Until
// then there is a gap: numbers that were given to somebody and of which nothing can be seen. A reader that asks for what
// is greater than the last number that it saw would miss what fills the gap. Three rules keep that from happening;
// docs/format/mongodb-mailboxes.md argues why they suffice.
//
// Changes goes on from a point below every gap. It reads the mailbox's document (what was handed out), then the journal,
// then the messages. A mod-sequence is complete when the journal has a row of it, because rows are written after all else
// and, being read first, after all else that this reading finds. To is the last mod-sequence below the first one that is
// not complete; what is above it is told all the same and will be told again, which alters nothing. A number without a row
// is waited for as long as Options.Lease, counted from when this node first saw it handed out, on its own clock. Rows that
// come later still, of a change by WildDuck that took longer or of a slow node, are found by the time at which they were
// written. Each EXPUNGE has a mod-sequence of its own, so that one row never stands for others.
//
// Messages show in the order of their UIDs: up to the first UID that is neither seen nor told of and whose writer has not
// had its time. A writer of ours that did not have the answer to its insert within the lease moves its message to a new
// UID before it tells anybody. A message that is found at a UID that was gone past, because a WildDuck node was slower
// than the lease, is moved to the next UID by whoever finds it; each node looks at those UIDs for some minutes.
//
// What a node leaves undone when it dies is done by those who meet it: messages without a journal row get one; what an
// expunge or a move was about to remove is noted in the mailbox's document by the update that takes its numbers, so that
// the rows can be made up for and a move be completed (the new id of a moved message follows from the old one). A charge
// to the quota has an entry in the account's document, with the ids of its messages; nodes beat, and whoever finds one that
// does not settles its entries and notes. References that were counted in vain are found by CheckFiles.
//
// # Failures
//
// Every write can be made twice: documents and journal rows have their ids before they are sent, updates are guarded by
// what they change, storageUsed remembers the changes that were made to it. So each is tried again until it is answered, as
// long as Options.Timeout, an insert whose answer was lost three times as long. After that the error is temporary, with
// store.ErrOutcomeUnknown in its chain where the change may have happened, and what follows from that (a quota, references,
// a journal row) is settled in the background as soon as the database answers. A message that turns out to have been stored
// after its append had been answered with an error is expunged then, unless somebody has changed its flags: its client
// stores it again.
package mongostore
