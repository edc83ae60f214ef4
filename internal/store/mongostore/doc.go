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
// UIDs and mod-sequences are handed out by an update of the mailbox's document before the message that gets them is
// written. Until then there is a gap: numbers that were given to somebody and of which nothing can be seen yet. A
// reader that goes past a gap would miss what fills it. So that nobody does, Changes tells what it sees but returns as
// To only the mod-sequence below the first gap that may still be filled: the next call reads the rest again, and
// applying a change twice alters nothing. A new message is told only when every UID below it is accounted for: it is
// seen, was expunged, or its writer has had its time. A writer of ours that has not written its message within the
// lease gives its UID up and takes another one.
package mongostore
