package mongostore

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// lockIndexes is the lock under which indexes are made, by nodes of either kind.
const lockIndexes = "wildduck:db_indexes"

// index is an index as WildDuck names and declares it: equal declarations do nothing, other ones would be refused.
type index struct {
	collection, name string
	keys             string // "field 1, other -1": 1, -1, hashed or text
	unique, sparse   bool
	expires          bool // rows end after seconds after their time
	after            int32
	partial          bson.D
}

// keyDoc is the key document.
func (x index) keyDoc() bson.D {
	var doc bson.D
	for k := range strings.SplitSeq(x.keys, ", ") {
		field, kind, _ := strings.Cut(k, " ")
		switch kind {
		case "1":
			doc = append(doc, bson.E{Key: field, Value: int32(1)})
		case "-1":
			doc = append(doc, bson.E{Key: field, Value: int32(-1)})
		default:
			doc = append(doc, bson.E{Key: field, Value: kind})
		}
	}
	return doc
}

func (x index) model() mongo.IndexModel {
	o := options.Index().SetName(x.name)
	if x.unique {
		o.SetUnique(true)
	}
	if x.sparse {
		o.SetSparse(true)
	}
	if x.expires {
		o.SetExpireAfterSeconds(x.after)
	}
	if x.partial != nil {
		o.SetPartialFilterExpression(x.partial)
	}
	return mongo.IndexModel{Keys: x.keyDoc(), Options: o}
}

// ensureIndexes makes the indexes that are missing, one node at a time.
func (s *Store) ensureIndexes(ctx context.Context) error {
	if s.o.Locks != nil {
		lock, cancel := context.WithTimeout(ctx, time.Minute)
		release, _, err := s.o.Locks.Lock(lock, lockIndexes, 5*time.Minute)
		cancel()
		if err == nil {
			defer release()
		} else {
			// The declarations say the same whoever makes them; the lock only spares the server doing it twice.
			s.o.Logger.Warn("indexes are made without the lock of the nodes", "lock", lockIndexes, "error", err)
		}
	}
	for _, part := range []struct {
		db      *mongo.Database
		indexes []index
	}{{s.db.users, usersIndexes()}, {s.db.main, mainIndexes()}, {s.db.gridfs, s.gridfsIndexesOf(s.o.Bucket)}} {
		if err := makeIndexes(ctx, part.db, part.indexes); err != nil {
			return err
		}
	}
	return nil
}

// gridfsIndexesOf are the indexes of GridFS with the name of the bucket of attachments as it is configured.
func (s *Store) gridfsIndexesOf(bucket string) []index {
	all := gridfsIndexes()
	for i := range all {
		if rest, ok := strings.CutPrefix(all[i].collection, "attachments."); ok {
			all[i].collection = bucket + "." + rest
		}
	}
	return all
}

func makeIndexes(ctx context.Context, db *mongo.Database, indexes []index) error {
	var order []string
	models := map[string][]mongo.IndexModel{}
	for _, x := range indexes {
		if models[x.collection] == nil {
			order = append(order, x.collection)
		}
		models[x.collection] = append(models[x.collection], x.model())
	}
	for _, name := range order {
		_, err := db.Collection(name).Indexes().CreateMany(ctx, models[name])
		if conflict(err) {
			// An older or newer WildDuck declares it otherwise; what is there serves the queries that it serves.
			err = makeEach(ctx, db.Collection(name), models[name])
		}
		if err != nil {
			return fmt.Errorf("collection %s: %w", name, err)
		}
	}
	return nil
}

// makeEach makes the indexes one by one and leaves those as they are that are there with another declaration.
func makeEach(ctx context.Context, c *mongo.Collection, models []mongo.IndexModel) error {
	for _, m := range models {
		if _, err := c.Indexes().CreateOne(ctx, m); err != nil && !conflict(err) {
			return err
		}
	}
	return nil
}

// conflict says whether an index is there with another declaration: codes 85 and 86.
func conflict(err error) bool {
	var e mongo.CommandError
	return errors.As(err, &e) && (e.Code == 85 || e.Code == 86)
}

// usersIndexes are those of the users database.
func usersIndexes() []index {
	return []index{
		{collection: "users", name: "users", keys: "username 1"},
		{collection: "users", name: "users_dotless", keys: "unameview 1", unique: true},
		{collection: "users", name: "show_new", keys: "created -1"},
		{collection: "users", name: "users_tags", keys: "tagsview 1", sparse: true},
		{collection: "addresses", name: "address_dotless", keys: "addrview 1", unique: true},
		{collection: "addresses", name: "address_tags", keys: "tagsview 1", sparse: true},
		{collection: "addresses", name: "address_paging", keys: "addrview 1, _id 1"},
		{collection: "addresses", name: "user", keys: "user 1"},
		{collection: "domainaliases", name: "domainalias", keys: "alias 1", unique: true},
		{collection: "domainaliases", name: "domainlist", keys: "domain 1"},
		{collection: "asps", name: "asps_user", keys: "user 1"},
		{collection: "asps", name: "entry_autoexpire", keys: "expires 1", expires: true, after: 0},
		{collection: "authlog", name: "user", keys: "user 1, _id -1"},
		{collection: "authlog", name: "insert", keys: "user 1, created 1, key 1"},
		{collection: "authlog", name: "user_by_ip", keys: "user 1, ip 1, _id -1", partial: bson.D{{Key: "ip", Value: true}}},
		{collection: "authlog", name: "by_ip", keys: "ip 1", sparse: true},
		{collection: "authlog", name: "user_hashed", keys: "user hashed"},
		{collection: "authlog", name: "entry_autoexpire", keys: "expires 1", expires: true, after: 0},
		{collection: "domaincache", name: "by_domain", keys: "domain 1", unique: true},
		{collection: "deletedusers", name: "deletedusers_dotless", keys: "unameview 1"},
		{collection: "deletedusers", name: "deletedusers_address", keys: "address 1"},
	}
}

// mainIndexes are those of the main database.
func mainIndexes() []index {
	return []index{
		{collection: "filters", name: "user", keys: "user 1"},
		{collection: "filters", name: "forward_target", keys: "action.targets.value 1"},
		{collection: "domainaccess", name: "by_tag", keys: "tagview 1, action 1, domain 1"},
		{collection: "autoreplies", name: "autoreply", keys: "user 1, start 1, end 1"},
		{collection: "mailboxes", name: "user_path", keys: "user 1, path 1", unique: true},
		{collection: "mailboxes", name: "user_subscribed", keys: "user 1, subscribed 1"},
		{collection: "mailboxes", name: "find_by_type", keys: "user 1, specialUse 1"},
		{collection: "messages", name: "mailbox_uid_shard", keys: "_id 1, mailbox 1, uid 1"},
		{collection: "messages", name: "user_messages_by_thread", keys: "user 1, thread 1"},
		{collection: "messages", name: "outbound_message", keys: "outbound 1", partial: bson.D{{Key: "outbound", Value: bson.D{{Key: "$exists", Value: true}}}}},
		{collection: "messages", name: "mailbox_uid", keys: "mailbox 1, uid 1, _id 1"},
		{collection: "messages", name: "mailbox_uid_reverse", keys: "mailbox 1, uid -1, _id -1"},
		{collection: "messages", name: "mailbox_modseq_uid", keys: "mailbox 1, modseq 1, uid 1"},
		{collection: "messages", name: "mailbox_flags", keys: "mailbox 1, flags 1"},
		{collection: "messages", name: "by_idate", keys: "mailbox 1, idate 1"},
		{collection: "messages", name: "by_idate_reverse_uid", keys: "mailbox 1, idate -1, _id -1"},
		{collection: "messages", name: "by_idate_reverse_thread", keys: "mailbox 1, idate -1, _id -1, thread 1, uid 1"},
		{collection: "messages", name: "by_hdate", keys: "mailbox 1, hdate 1, msgid 1"},
		{collection: "messages", name: "by_size", keys: "mailbox 1, size 1"},
		{collection: "messages", name: "by_headers", keys: "mailbox 1, headers.key 1, headers.value 1"},
		{collection: "messages", name: "fulltext", keys: "user 1, headers.value text, text text", partial: bson.D{{Key: "searchable", Value: true}}},
		{collection: "messages", name: "mailbox_unseen_flag", keys: "mailbox 1, unseen 1"},
		{collection: "messages", name: "user_unseen_flag", keys: "user 1, unseen 1", partial: bson.D{{Key: "searchable", Value: true}}},
		{collection: "messages", name: "mailbox_undeleted_flag", keys: "mailbox 1, undeleted 1"},
		{collection: "messages", name: "mailbox_flagged_flag", keys: "mailbox 1, flagged 1"},
		{collection: "messages", name: "user_flagged_flag", keys: "user 1, flagged 1"},
		{collection: "messages", name: "user_searchable_flag", keys: "user 1, searchable 1"},
		{collection: "messages", name: "mailbox_draft_flag", keys: "mailbox 1, draft 1"},
		{collection: "messages", name: "has_attachment", keys: "mailbox 1, ha 1"},
		{collection: "messages", name: "retention_time", keys: "exp 1, rdate 1", partial: bson.D{{Key: "exp", Value: true}}},
		{collection: "addressregister", name: "by_address", keys: "user 1, addrview 1, updated -1"},
		{collection: "addressregister", name: "by_user_disabled_partial", keys: "user 1, updated -1", partial: bson.D{{Key: "disabled", Value: false}}},
		{collection: "addressregister", name: "by_user_disabled", keys: "user 1, disabled 1"},
		{collection: "archived", name: "user_messages", keys: "user 1, _id 1"},
		{collection: "archived", name: "user_messages_desc", keys: "user 1, _id -1"},
		{collection: "archived", name: "user_messages_by_thread", keys: "user 1, thread 1"},
		{collection: "archived", name: "user_messages_archived", keys: "user 1, archived 1"},
		{collection: "archived", name: "retention_time", keys: "exp 1, rdate 1", partial: bson.D{{Key: "exp", Value: true}}},
		{collection: "dkim", name: "dkim_paging", keys: "domain 1, _id 1"},
		{collection: "dkim", name: "dkim_primary", keys: "domain 1", unique: true},
		{collection: "journal", name: "mailbox_modseq", keys: "mailbox 1, modseq 1"},
		{collection: "journal", name: "user_limit_id", keys: "user 1, _id 1"},
		{collection: "journal", name: "user_limit_id_reverse", keys: "user 1, _id -1"},
		{collection: "journal", name: "journal_autoexpire", keys: "created 1", expires: true, after: 10800},
		{collection: "threads", name: "thread_shard", keys: "user hashed"},
		{collection: "threads", name: "thread", keys: "user 1, ids 1"},
		{collection: "threads", name: "thread_autoexpire", keys: "updated 1", expires: true, after: 15552000},
		{collection: "tasks", name: "task", keys: "locked 1, lockedUntil 1"},
		{collection: "tasks", name: "task_data_user", keys: "task 1, data.user 1"},
		{collection: "tasks", name: "clear_folder_task", keys: "task 1, data.user 1, data.mailbox 1", unique: true, partial: bson.D{{Key: "task", Value: "clear-folder"}}},
		{collection: "certs", name: "servername", keys: "servername 1", unique: true},
		{collection: "certs", name: "servername_version", keys: "servername 1, v 1"},
		{collection: "certs", name: "servername_alt", keys: "altNames 1, v 1"},
		{collection: "certs", name: "renewal_check", keys: "acme 1, expires 1, _acme.lastRenewalCheck 1"},
		{collection: "certs", name: "garbage_check", keys: "acme 1, updated 1, expires 1, autogenerated 1"},
		{collection: "audits", name: "user_expire_time", keys: "user 1, expires 1"},
		{collection: "audits", name: "expire_time", keys: "expires 1, deleted 1"},
		{collection: "bimi", name: "by_type", keys: "type 1, url 1", unique: true},
		{collection: "mcptokens", name: "mcp_token_hash", keys: "hash 1", unique: true},
		{collection: "mcptokens", name: "mcp_tokens_user_created", keys: "user 1, created -1, _id -1"},
		{collection: "mcptokens", name: "mcp_token_autoexpire", keys: "expires 1", expires: true, after: 0},
		{collection: "webhooks", name: "by_type", keys: "type 1, user 1"},
		{collection: "webhooks", name: "by_user_type", keys: "user 1, type 1"},
		{collection: "settings", name: "key_unique", keys: "key 1, enumerable 1", unique: true},
		{collection: "settings", name: "enumerable_key", keys: "enumerable 1, key 1"},
	}
}

// gridfsIndexes are those of the gridfs database.
func gridfsIndexes() []index {
	return []index{
		{collection: "storage.files", name: "storage_id_hashed", keys: "_id hashed"},
		{collection: "storage.files", name: "user_files", keys: "metadata.user 1, filename 1"},
		{collection: "storage.chunks", name: "chunks_shard", keys: "files_id hashed"},
		{collection: "attachments.files", name: "attachment_id_hashed", keys: "_id hashed"},
		{collection: "attachments.files", name: "related_attachments_cu", keys: "metadata.c 1, metadata.m 1, metadata.cu 1"},
		{collection: "attachments.chunks", name: "chunks_shard", keys: "files_id hashed"},
		{collection: "attachments.chunks", name: "files_id_1_n_1", keys: "files_id 1, n 1", unique: true},
		{collection: "audit.files", name: "audit_id_hashed", keys: "_id hashed"},
		{collection: "audit.files", name: "audit_files", keys: "metadata.audit 1, metadata.date 1"},
		{collection: "audit.files", name: "audit_files_queue", keys: "metadata.info.queueId 1"},
		{collection: "audit.files", name: "audit_files_expire", keys: "metadata.info.expires 1"},
		{collection: "audit.files", name: "audit_files_addresses", keys: "metadata.audit 1, metadata.addresses.type 1, metadata.addresses.name 1, metadata.addresses.address 1"},
		{collection: "audit.files", name: "audit_files_subject", keys: "metadata.subject 1"},
		{collection: "audit.chunks", name: "audit_shard", keys: "files_id hashed"},
	}
}
