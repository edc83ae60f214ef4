package httpapi

import (
	"encoding/base64"
	"encoding/json"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"mallard/internal/address"
	"mallard/internal/mail"
)

// Session is the optional pair that says on whose behalf a client calls. It is
// used for logs only.
type Session struct {
	Sess string   `api:"sess,max=255,empty,label=Session identifier" doc:"Session identifier of the end user, for the logs"`
	IP   ClientIP `api:"ip,label=Client IP" doc:"IP address of the end user, for the logs"`
}

// UserPath is the path of everything that belongs to an account.
type UserPath struct {
	User mail.AccountID `api:"user,path" doc:"Id of the user, or me with a user's own token"`
}

func (u UserPath) account() mail.AccountID { return u.User }

// ClientIP is an IP address without prefix length.
type ClientIP string

func (c *ClientIP) decodeParam(d *decoder, at place, r *rules, v any) {
	s, ok := v.(string)
	if !ok {
		d.fail(at, "must be a string")
		return
	}
	if s == "" && r.blank {
		return
	}
	if !validIP(s) {
		d.fail(at, "must be a valid ip address of one of the following versions [ipv4, ipv6] with a forbidden CIDR")
		return
	}
	*c = ClientIP(s)
}

func (c *ClientIP) paramSchema() schema {
	return schema{"anyOf": []schema{{"type": "string", "format": "ipv4"}, {"type": "string", "format": "ipv6"}}}
}

// Meta is a JSON object, given as an object or as a string that holds one, at
// most 1 MiB of text. It is kept as text.
type Meta string

// maxMeta is the greatest size of an object in octets of its text.
const maxMeta = 1 << 20

func (m *Meta) decodeParam(d *decoder, at place, _ *rules, v any) {
	custom := func(why string) { d.fail(at, "failed custom validation because "+why) }
	switch t := v.(type) {
	case *file:
		v = string(t.data)
	case string:
		v = t
	}
	if s, ok := v.(string); ok {
		if s == "" {
			return
		}
		if len(s) > maxMeta {
			custom("metaData is too long")
			return
		}
		parsed, err := parseJSON([]byte(s))
		if err != nil {
			custom(err.Error())
			return
		}
		v = parsed
	}
	o, ok := v.(*object)
	if !ok {
		custom(`"value" must be of type object`)
		return
	}
	text, err := marshalObject(o)
	if err != nil || len(text) > maxMeta {
		custom("metaData is too long")
		return
	}
	*m = Meta(text)
}

func (m *Meta) paramSchema() schema {
	return schema{"anyOf": []schema{{"type": "object"}, {"type": "string", "contentMediaType": "application/json"}}}
}

// Target is where mail is forwarded to: an address or a URI.
type Target string

func (t *Target) decodeParam(d *decoder, at place, _ *rules, v any) {
	s, ok := v.(string)
	if !ok || !address.ValidEmail(s) && !validURI(s, []string{"smtp", "smtps", "http", "https"}) {
		d.fail(at, "does not match any of the allowed types")
		return
	}
	*t = Target(s)
}

func (t *Target) paramSchema() schema {
	return schema{"anyOf": []schema{
		{"type": "string", "format": "email"},
		{"type": "string", "format": "uri", "pattern": "^(smtps?|https?)://"},
	}}
}

// EmailOrWildcard is an address, possibly with an asterisk.
type EmailOrWildcard string

func (e *EmailOrWildcard) decodeParam(d *decoder, at place, r *rules, v any) {
	s, ok := v.(string)
	if !ok || !address.EmailOrWildcard(s) {
		d.fail(at, "does not match any of the allowed types")
		return
	}
	*e = EmailOrWildcard(s)
}

func (e *EmailOrWildcard) paramSchema() schema {
	return schema{"type": "string", "maxLength": 254, "examples": []string{"user@example.com", "*@example.com"}}
}

// IDOrAddress is an identifier or an address.
type IDOrAddress string

var hexID = regexp.MustCompile(`^[0-9a-f]{24}$`)

func (e *IDOrAddress) decodeParam(d *decoder, at place, r *rules, v any) {
	s, _ := v.(string)
	if s == "" {
		d.fail(at, "is not allowed to be empty")
		return
	}
	if low := strings.ToLower(s); hexID.MatchString(low) {
		*e = IDOrAddress(low)
		return
	}
	(*EmailOrWildcard)(e).decodeParam(d, at, r, v)
}

func (e *IDOrAddress) paramSchema() schema {
	return schema{"type": "string", "minLength": 1, "maxLength": 254}
}

// IDOrResolve is the identifier of a mailbox or the word resolve.
type IDOrResolve string

const resolveWord = "resolve"

func (e *IDOrResolve) decodeParam(d *decoder, at place, r *rules, v any) {
	if s, ok := v.(string); ok && s == resolveWord {
		*e = resolveWord
		return
	}
	idRules := rules{hex: true, lower: true, length: 24}
	s, _ := d.str(at, &idRules, v)
	*e = IDOrResolve(s)
}

func (e *IDOrResolve) paramSchema() schema {
	return schema{"type": "string", "pattern": "^([0-9a-fA-F]{24}|resolve)$"}
}

// Password is a string, or false or "" for none.
type Password struct {
	// None is set for false and "".
	None  bool
	Value string
}

func (p *Password) decodeParam(d *decoder, at place, r *rules, v any) {
	if v == false || v == "" {
		p.None = true
		return
	}
	p.Value, _ = d.str(at, r, v)
}

func (p *Password) paramSchema() schema {
	return schema{"anyOf": []schema{{"type": "string", "maxLength": 256}, {"const": false}}}
}

// DateOrFalse is a date; false stands for none.
type DateOrFalse struct{ Time time.Time }

func (p *DateOrFalse) decodeParam(d *decoder, at place, _ *rules, v any) {
	if v == false || v == "" || v == "false" {
		return
	}
	p.Time, _ = d.time(at, v)
}

func (p *DateOrFalse) paramSchema() schema {
	return schema{"anyOf": []schema{{"type": "string", "format": "date-time"}, {"type": "integer"}, {"const": false}}}
}

// Expiry is a date, or false for never.
type Expiry struct{ Time time.Time }

func (p *Expiry) decodeParam(d *decoder, at place, _ *rules, v any) {
	if b, ok := v.(bool); ok && !b {
		return
	}
	if s, ok := v.(string); ok {
		if b, isBool := parseBool(s); isBool && !b && !isHex(s) {
			return
		}
	}
	t, ok := parseTime(v)
	if !ok {
		d.fail(at, "must be one of [date, boolean]")
		return
	}
	p.Time = t
}

func (p *Expiry) paramSchema() schema { return (&DateOrFalse{}).paramSchema() }

// Order is how lists are sorted: only asc means ascending.
type Order struct {
	Given, Ascending bool
}

func (o *Order) decodeParam(_ *decoder, _ place, _ *rules, v any) {
	o.Given = true
	o.Ascending = v == "asc"
}

func (o *Order) paramSchema() schema {
	return schema{"type": "string", "enum": []string{"asc", "desc"}}
}

// Cursor is a place in a list, as a reply gave it.
type Cursor struct {
	// Page is the number of the page that the cursor leads to, from 1.
	Page int
	// Key says where that page starts or ends.
	Key []string
}

const maxCursor = 1024

func (c *Cursor) decodeParam(d *decoder, at place, _ *rules, v any) {
	s, ok := v.(string)
	if !ok {
		d.fail(at, "must be a string")
		return
	}
	s = strings.TrimSpace(s)
	if s == "" {
		d.fail(at, "is not allowed to be empty")
		return
	}
	got, ok := parseCursor(s)
	if !ok {
		d.fail(at, "contains an invalid value")
		return
	}
	*c = got
}

func (c *Cursor) paramSchema() schema {
	return schema{"type": "string", "pattern": "^[A-Za-z0-9_-]+$", "maxLength": maxCursor}
}

func parseCursor(s string) (Cursor, bool) {
	if len(s) > maxCursor {
		return Cursor{}, false
	}
	raw, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(s, "="))
	if err != nil {
		return Cursor{}, false
	}
	var parts []string
	if json.Unmarshal(raw, &parts) != nil || len(parts) < 2 {
		return Cursor{}, false
	}
	page, err := strconv.Atoi(parts[0])
	if err != nil || page < 1 || page > 1<<31 {
		return Cursor{}, false
	}
	return Cursor{Page: page, Key: parts[1:]}, true
}

// String gives the form that clients get. Keys that do not fit give "".
func (c Cursor) String() string {
	raw, err := json.Marshal(append([]string{strconv.Itoa(c.Page)}, c.Key...))
	if err != nil {
		return ""
	}
	return base64.RawURLEncoding.EncodeToString(raw)
}

// RawMessage is a whole message: a string, whose octets are taken as they are,
// or the JSON form of a byte buffer.
type RawMessage []byte

func (m *RawMessage) decodeParam(d *decoder, at place, r *rules, v any) {
	switch t := v.(type) {
	case string:
		*m = RawMessage(t)
	case *file:
		*m = RawMessage(t.data)
	case *object:
		b, ok := bufferForm(t)
		if !ok {
			d.fail(at, "must be a buffer or a string")
			return
		}
		*m = b
	default:
		d.fail(at, "must be a buffer or a string")
	}
}

func (m *RawMessage) paramSchema() schema {
	return schema{"type": "string", "description": "The message as text"}
}

// bufferForm reads {"type":"Buffer","data":[1,2]}.
func bufferForm(o *object) ([]byte, bool) {
	kind, _ := o.get("type")
	list, ok := o.vals["data"].([]any)
	if kind != "Buffer" || !ok {
		return nil, false
	}
	out := make([]byte, 0, len(list))
	for _, e := range list {
		n, _ := e.(number)
		b, err := strconv.ParseUint(string(n), 10, 8)
		if err != nil {
			return nil, false
		}
		out = append(out, byte(b))
	}
	return out, true
}

// AttachmentSelection is true for all attachments, or a list of their ids.
type AttachmentSelection struct {
	All bool
	IDs []string
}

func (a *AttachmentSelection) decodeParam(d *decoder, at place, _ *rules, v any) {
	list, ok := v.([]any)
	if !ok {
		b, isBool := parseBool(v)
		if !isBool {
			d.fail(at, "must be one of [boolean, array]")
		}
		a.All = b
		return
	}
	for i, e := range list {
		item := rules{upper: true, pattern: "attachment"}
		if s, ok := d.str(at.item(i), &item, e); ok && !slices.Contains(a.IDs, s) {
			a.IDs = append(a.IDs, s)
		}
	}
}

func (a *AttachmentSelection) paramSchema() schema {
	return schema{"anyOf": []schema{{"type": "boolean"}, {"type": "array", "items": schema{"type": "string", "pattern": `^ATT\d+$`}}}}
}
