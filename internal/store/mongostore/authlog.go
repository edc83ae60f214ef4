package mongostore

import (
	"context"
	"crypto/md5"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"mallard/internal/mail"
)

const (
	// colAuthLog is the log of logins, in the users database.
	colAuthLog = "authlog"
	// settingAuthLogTime is how long an entry is kept, in milliseconds; 0 turns the log off.
	settingAuthLogTime = "const:authlog:time"
	authLogTime        = 30 * 24 * time.Hour
	// authLogWindow is how long after the first one a repetition is counted in its entry.
	authLogWindow = 6 * time.Hour
	// authLogSettingAge is how long the setting is remembered.
	authLogSettingAge = 10 * time.Second
)

func (s *Store) authLog() *mongo.Collection { return s.db.users.Collection(colAuthLog) }

// LogAuthEvent counts events that have happened now in the log of logins of their account, and returns the id of their entry: a new
// one, or that of the same protocol, address, action, result and target within six hours. It is "" when the log is off.
func (s *Store) LogAuthEvent(ctx context.Context, e mail.AuthEvent, times int64) (id string, err error) {
	done, err := s.enter(ctx, "LogAuthEvent")
	if err != nil {
		return "", err
	}
	defer done()
	keep := s.authLogTime(ctx)
	if keep <= 0 {
		return "", nil
	}
	now := s.o.Now()
	filter := bson.D{
		{Key: "user", Value: oid(e.Account)}, {Key: "key", Value: bson.Binary{Data: authLogKey(&e)}},
		{Key: "created", Value: bson.D{{Key: "$gte", Value: stored(now.Add(-authLogWindow))}}},
	}
	first := append(authEventMembers(&e), bson.E{Key: "created", Value: stored(now)}, bson.E{Key: "expires", Value: stored(now.Add(keep))})
	update := bson.D{
		{Key: "$setOnInsert", Value: first},
		{Key: "$inc", Value: bson.D{{Key: "events", Value: numberOf(times)}}},
		{Key: "$set", Value: bson.D{{Key: "last", Value: stored(now)}}},
	}
	o := options.FindOneAndUpdate().SetUpsert(true).SetReturnDocument(options.After).SetProjection(bson.D{{Key: "_id", Value: 1}})
	// An attempt whose answer is lost may be counted twice, which is better than not at all.
	err = s.again(ctx, func(ctx context.Context) error {
		doc, err := s.authLog().FindOneAndUpdate(ctx, filter, update, o).Raw()
		id = hexID(doc.Lookup("_id"))
		return err
	})
	return id, writeError("log a login", err)
}

// authLogKey is what repetitions of an event have in common, as WildDuck makes it.
func authLogKey(e *mail.AuthEvent) []byte {
	sum := md5.Sum([]byte(strings.Join([]string{e.Protocol, e.IP, e.Action, e.Result, e.Target}, "^"))) //nolint:gosec // a key, no protection
	return sum[:]
}

// authEventMembers are the members of an event in WildDuck's order. Session and address are there when they are not known, too.
func authEventMembers(e *mail.AuthEvent) bson.D {
	var doc bson.D
	add := func(name, value string) {
		if value != "" {
			doc = append(doc, bson.E{Key: name, Value: value})
		}
	}
	origin := bson.D{{Key: "sess", Value: textOrNull(e.Session)}, {Key: "ip", Value: textOrNull(e.IP)}}
	if e.Action != mail.ActionAuthentication {
		add("action", e.Action)
		add("result", e.Result)
		add("target", e.Target)
		add("protocol", e.Protocol)
		return append(doc, origin...)
	}
	add("protocol", e.Protocol)
	doc = append(doc, origin...)
	add("appId", e.AppID)
	add("requiredScope", e.Scope)
	if e.AppPassword == "" {
		add("result", e.Result)
	}
	add("source", e.Source)
	if e.AppPassword != "" {
		doc = append(doc, bson.E{Key: "asp", Value: idOrFalse(e.AppPassword)})
		add("aname", e.AppPasswordName)
		add("result", e.Result)
	}
	add("require2fa", e.Require2FA)
	add("action", e.Action)
	return doc
}

// authLogSetting remembers how long entries are kept.
type authLogSetting struct {
	keep  time.Duration
	until time.Time
}

// authLogTime is how long an entry is kept; 0 when nothing is to be logged.
func (s *Store) authLogTime(ctx context.Context) time.Duration {
	now := s.o.Now()
	if known := s.authLogKept.Load(); known != nil && now.Before(known.until) {
		return known.keep
	}
	keep := authLogTime
	raw, err := s.setting(ctx, settingAuthLogTime)
	switch value := string(raw); {
	case err != nil:
		if mail.CodeOf(err) != mail.CodeNotFound {
			return keep // asked again next time
		}
	case value == "false" || value == "null":
		keep = 0
	default:
		if ms, err := strconv.ParseFloat(value, 64); err == nil && ms >= 0 && ms <= maxMillis {
			keep = time.Duration(ms) * time.Millisecond
		}
	}
	s.authLogKept.Store(&authLogSetting{keep, now.Add(authLogSettingAge)})
	return keep
}

// maxMillis is the longest time in milliseconds that is taken from a setting: about 200 years.
const maxMillis = 200 * 365 * 24 * 3600 * 1000

// AuthLog returns a page of the log of logins of an account, the newest entry first. Errors: Invalid (an id).
func (s *Store) AuthLog(ctx context.Context, acct mail.AccountID, q mail.AuthLogQuery) (*mail.AuthLogPage, error) {
	done, err := s.enter(ctx, "AuthLog")
	if err != nil {
		return nil, err
	}
	defer done()
	filter := bson.D{{Key: "user", Value: oid(acct)}}
	if q.Action != "" {
		filter = append(filter, bson.E{Key: "action", Value: q.Action})
	}
	if q.IP != "" {
		filter = append(filter, bson.E{Key: "ip", Value: q.IP})
	}
	// A page is read in ascending order and turned round: what comes after an entry was made before it.
	p := page{key: "_id", backwards: q.Before == "", limit: q.Limit}
	if edge := q.After + q.Before; edge != "" {
		id, err := bson.ObjectIDFromHex(edge)
		if err != nil {
			return nil, mail.WrapError(mail.CodeInvalid, "no id of an entry", err)
		}
		p.from = id
	}
	rows, total, more, err := p.read(ctx, s.authLog(), filter)
	if err != nil {
		return nil, readError("read the log of logins", err)
	}
	slices.Reverse(rows)
	out := &mail.AuthLogPage{Total: total, More: more, Entries: make([]mail.AuthLogEntry, 0, len(rows))}
	for _, doc := range rows {
		out.Entries = append(out.Entries, authLogEntry(doc))
	}
	return out, nil
}

// AuthLogEntry returns an entry of an account. Errors: NotFound.
func (s *Store) AuthLogEntry(ctx context.Context, acct mail.AccountID, id string) (*mail.AuthLogEntry, error) {
	done, err := s.enter(ctx, "AuthLogEntry")
	if err != nil {
		return nil, err
	}
	defer done()
	none := mail.NewError(mail.CodeNotFound, "no such entry in the log of logins")
	own, err := bson.ObjectIDFromHex(id)
	if err != nil {
		return nil, none
	}
	doc, err := s.authLog().FindOne(ctx, bson.D{{Key: "_id", Value: own}, {Key: "user", Value: oid(acct)}}).Raw()
	if errors.Is(err, mongo.ErrNoDocuments) {
		return nil, none
	}
	if err != nil {
		return nil, readError("read an entry of the log of logins", err)
	}
	e := authLogEntry(doc)
	return &e, nil
}

func authLogEntry(doc bson.Raw) mail.AuthLogEntry {
	user, _ := doc.Lookup("user").ObjectIDOK()
	get := func(name string) string { return text(doc.Lookup(name)) }
	ref := func(name string) string { // an id, which some programs write as text
		if id := hexID(doc.Lookup(name)); id != "" {
			return id
		}
		return get(name)
	}
	_, key, _ := doc.Lookup("key").BinaryOK()
	e := mail.AuthLogEntry{
		ID: hexID(doc.Lookup("_id")),
		AuthEvent: mail.AuthEvent{
			Account: mail.AccountID(user), Action: get("action"), Result: get("result"), Protocol: get("protocol"), IP: get("ip"), Session: get("sess"),
			Source: get("source"), Scope: get("requiredScope"), Require2FA: get("require2fa"), AppID: get("appId"),
			AppPassword: ref("asp"), AppPasswordName: get("aname"), Target: get("target"),
		},
		Filter: ref("filter"), Credential: ref("credential"), MCPToken: ref("mcptoken"), Key: slices.Clone(key),
		Created: instant(doc.Lookup("created")), Last: instant(doc.Lookup("last")), Expires: instant(doc.Lookup("expires")), Events: integer(doc.Lookup("events")),
	}
	if temporary, ok := doc.Lookup("temporary").BooleanOK(); ok {
		e.Temporary = &temporary
	}
	return e
}
