package mongostore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"mallard/internal/mail"
	"mallard/internal/store"
)

func noAccount() error { return mail.NewError(mail.CodeNoAccount, "no such account") }

func (s *Store) users() *mongo.Collection { return s.db.collections.users }

// Account returns an account.
func (s *Store) Account(ctx context.Context, id mail.AccountID) (*mail.Account, error) {
	return s.accountBy(ctx, "Account", bson.E{Key: "_id", Value: oid(id)})
}

// AccountByName returns the account with a username view.
func (s *Store) AccountByName(ctx context.Context, view string) (*mail.Account, error) {
	return s.accountBy(ctx, "AccountByName", bson.E{Key: "unameview", Value: view})
}

func (s *Store) accountBy(ctx context.Context, op string, key bson.E) (*mail.Account, error) {
	done, err := s.enter(ctx, op)
	if err != nil {
		return nil, err
	}
	defer done()
	doc, err := s.userDoc(ctx, key)
	if err != nil {
		return nil, err
	}
	return userOf(doc)
}

// userDoc reads the document of an account that is there. One that is being made is not.
func (s *Store) userDoc(ctx context.Context, key bson.E) (bson.Raw, error) {
	doc, err := s.users().FindOne(ctx, bson.D{key}).Raw()
	if errors.Is(err, mongo.ErrNoDocuments) {
		return nil, noAccount()
	}
	if err != nil {
		return nil, readError("read the account", err)
	}
	if _, creating := creatingSince(doc); creating {
		return nil, noAccount()
	}
	return doc, nil
}

// requireAccount fails when the account is not there.
func (s *Store) requireAccount(ctx context.Context, id mail.AccountID) error {
	err := s.users().FindOne(ctx, bson.D{{Key: "_id", Value: oid(id)}, notCreating()},
		options.FindOne().SetProjection(bson.D{{Key: "_id", Value: 1}})).Err()
	if errors.Is(err, mongo.ErrNoDocuments) {
		return noAccount()
	}
	return readError("read the account", err)
}

// notCreating leaves out accounts that are being made.
func notCreating() bson.E {
	return bson.E{Key: memberMallard + "." + keyCreating, Value: bson.D{{Key: "$exists", Value: false}}}
}

// ListAccounts returns a page of accounts.
func (s *Store) ListAccounts(ctx context.Context, q store.AccountQuery) (*store.AccountPage, error) {
	done, err := s.enter(ctx, "ListAccounts")
	if err != nil {
		return nil, err
	}
	defer done()
	filter := bson.D{notCreating()}
	if q.Contains != "" {
		filter = append(filter, bson.E{Key: "$or", Value: bson.A{contains("username", q.Contains), contains("address", q.Contains)}})
	}
	filter = append(filter, tagFilter(q.Tags, q.AllTags)...)
	p := page{key: "_id", backwards: !q.Before.IsZero(), limit: q.Limit}
	if !q.After.IsZero() {
		p.from = oid(q.After)
	}
	if p.backwards {
		p.from = oid(q.Before)
	}
	rows, total, more, err := p.read(ctx, s.users(), filter)
	if err != nil {
		return nil, readError("list accounts", err)
	}
	out := &store.AccountPage{Total: total, More: more}
	for _, doc := range rows {
		a, err := userOf(doc)
		if err != nil {
			return nil, err
		}
		out.Accounts = append(out.Accounts, a)
	}
	return out, nil
}

// contains is a filter for a part of a text, in whatever case.
func contains(name, part string) bson.D {
	pattern := strings.ReplaceAll(regexp.QuoteMeta(part), "\x00", `\x00`) // a pattern ends with an octet 0
	return bson.D{{Key: name, Value: bson.Regex{Pattern: pattern, Options: "i"}}}
}

// tagFilter selects rows by lower-case tags.
func tagFilter(tags []string, all bool) bson.D {
	if len(tags) == 0 {
		return nil
	}
	op := "$in"
	if all {
		op = "$all"
	}
	return bson.D{{Key: "tagsview", Value: bson.D{{Key: op, Value: textArray(tags)}}}}
}

// page reads one page of documents in ascending order of a unique member.
type page struct {
	key       string
	from      any // behind which the page starts, or before which it ends; nil for an end of the list
	backwards bool
	limit     int // 0 for no limit
}

func (p page) read(ctx context.Context, c *mongo.Collection, filter bson.D) (rows []bson.Raw, total int64, more bool, err error) {
	if total, err = c.CountDocuments(ctx, filter); err != nil {
		return nil, 0, false, fmt.Errorf("count: %w", err)
	}
	direction, op := 1, "$gt"
	if p.backwards {
		direction, op = -1, "$lt"
	}
	if p.from != nil {
		filter = append(slices.Clip(filter), bson.E{Key: p.key, Value: bson.D{{Key: op, Value: p.from}}})
	}
	o := options.Find().SetSort(bson.D{{Key: p.key, Value: direction}})
	if p.limit > 0 {
		o.SetLimit(int64(p.limit) + 1)
	}
	cur, err := c.Find(ctx, filter, o)
	if err != nil {
		return nil, 0, false, err
	}
	if err := cur.All(ctx, &rows); err != nil {
		return nil, 0, false, err
	}
	if p.limit > 0 && len(rows) > p.limit {
		rows, more = rows[:p.limit], true
	}
	if p.backwards {
		slices.Reverse(rows)
	}
	return rows, total, more, nil
}

// UpdateAccount changes an account.
func (s *Store) UpdateAccount(ctx context.Context, id mail.AccountID, change func(*mail.Account) error) (*mail.Account, error) {
	done, err := s.enter(ctx, "UpdateAccount")
	if err != nil {
		return nil, err
	}
	defer done()
	for range maxAttempts {
		a, err := s.tryUpdateAccount(ctx, id, change)
		if a != nil || err != nil {
			return a, err
		}
	}
	return nil, mail.WrapError(mail.CodeUnavailable, "the account is changed by many at a time", errors.New("UpdateAccount: others were always faster"))
}

// tryUpdateAccount returns nil when somebody else was faster.
func (s *Store) tryUpdateAccount(ctx context.Context, id mail.AccountID, change func(*mail.Account) error) (*mail.Account, error) {
	doc, err := s.userDoc(ctx, bson.E{Key: "_id", Value: oid(id)})
	if err != nil {
		return nil, err
	}
	before, err := userOf(doc)
	if err != nil {
		return nil, err
	}
	after := before.Clone()
	if err := change(after); err != nil {
		return nil, err
	}
	after.ID, after.Username, after.Created, after.StorageUsed = before.ID, before.Username, before.Created, before.StorageUsed
	newMain := after.Address != "" && after.Address != before.Address
	if newMain {
		if err := s.requireAddress(ctx, id, after.Address); err != nil {
			return nil, err
		}
	}
	diff, err := s.userChange(ctx, doc, before, after)
	if err != nil {
		return nil, err
	}
	if diff.empty() {
		return before, nil
	}
	now, err := updateGuarded(ctx, s.users(), doc, guardedUserMembers(), diff)
	if now == nil || err != nil {
		return nil, writeError("change the account", err)
	}
	if newMain {
		if err := s.keepMain(ctx, id, before.Address, after.Address); err != nil {
			return nil, err
		}
	}
	s.accountChanged(ctx, before, after)
	return userOf(now)
}

// guardedUserMembers are those that a change is made on the strength of.
func guardedUserMembers() []string {
	out := []string{"targets", "mtaRelay"}
	for _, m := range userMembers() {
		out = append(out, m.name)
	}
	return out
}

// userChange is what has to be done to a users document.
func (s *Store) userChange(ctx context.Context, doc bson.Raw, before, after *mail.Account) (*docChange, error) {
	diff := &docChange{}
	for _, m := range userMembers() {
		if err := diff.member(m.name, m.encode(before), m.encode(after)); err != nil {
			return nil, err
		}
	}
	if !slices.Equal(before.Targets, after.Targets) {
		targets, err := s.targetArray(ctx, after.Targets, doc.Lookup("targets"))
		if err != nil {
			return nil, err
		}
		if err := diff.member("targets", absent{}, targets); err != nil {
			return nil, err
		}
	}
	if before.MTARelay != after.MTARelay {
		if after.MTARelay == "" {
			diff.unset = append(diff.unset, "mtaRelay")
		} else if err := diff.member("mtaRelay", absent{}, relayDoc(after.MTARelay)); err != nil {
			return nil, err
		}
	}
	if before.Password != after.Password && stored(before.PasswordChange) != stored(after.PasswordChange) {
		s.passwordChanged(diff, doc, before)
	}
	return diff, nil
}

// passwordChanged keeps the old password's hash, against which new ones are checked, and drops what was found out about
// it. A hash that is only made anew from the same password is no change.
func (s *Store) passwordChanged(diff *docChange, doc bson.Raw, before *mail.Account) {
	if before.Password != "" {
		diff.push = append(diff.push, bson.E{Key: "oldPasswords", Value: bson.D{
			{Key: "date", Value: stored(s.o.Now())}, {Key: "hash", Value: before.Password},
		}})
	}
	for _, name := range []string{"lastPwnedCheck", "passwordPwned"} {
		if has(doc, name) {
			diff.unset = append(diff.unset, name)
		}
	}
}

// accountChanged tells the caches that all nodes share. What they hold ends by its time: an error is logged.
func (s *Store) accountChanged(ctx context.Context, before, after *mail.Account) {
	if s.o.Accounts == nil {
		return
	}
	ctx = context.WithoutCancel(ctx)
	if cachedLimits(before) != cachedLimits(after) {
		if err := s.o.Accounts.Forget(ctx, after.ID); err != nil {
			s.o.Logger.Warn("cannot drop cached limits", "account", after.ID, "error", err)
		}
	}
	on, off := changedFeatures(before.FeatureFlags, after.FeatureFlags)
	if len(on)+len(off) == 0 {
		return
	}
	if err := s.o.Accounts.Features(ctx, after.ID, on, off); err != nil {
		s.o.Logger.Warn("cannot note feature flags", "account", after.ID, "error", err)
	}
}

// cachedLimits are the members that nodes keep in a cache.
func cachedLimits(a *mail.Account) [6]int64 {
	return [6]int64{a.Quota, a.IMAPMaxUpload, a.IMAPMaxDownload, a.IMAPMaxConnections, a.POP3MaxDownload, a.POP3MaxMessages}
}

func changedFeatures(before, after map[string]bool) (on, off []string) {
	for _, name := range sortedKeys(after) {
		if after[name] && !before[name] {
			on = append(on, name)
		}
	}
	for _, name := range sortedKeys(before) {
		if before[name] && !after[name] {
			off = append(off, name)
		}
	}
	return on, off
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }
