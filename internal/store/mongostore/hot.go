package mongostore

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"mallard/internal/mail"
	"mallard/internal/store"
)

// Members of memberMallard in a message that go with its other hot members, see package documentation.
const (
	keySize = "size" // verbatim octets, where they are other than WildDuck's size
	keyInfo = "info" // store.Append.Info as it was given
)

// hotMessage is what is read of a message whenever it is read: the small members of its document.
type hotMessage struct {
	mail.HotRow

	ID      bson.ObjectID
	Root    bson.ObjectID // first id; the EmailID
	Mailbox bson.ObjectID
	Thread  bson.ObjectID
	IDate   time.Time
	HDate   int64    // the document's hdate in milliseconds, 0 for none
	Names   []string // the flags as they stand in the document
	Size    int64    // verbatim octets
	Counted int64    // octets by WildDuck's rules, which are in storageUsed
	Magic   int64    // what an attachment's sum of magics has for each reference
	Junk    bool
	Copied  bool
	Expires time.Time // zero for never
	Arrived time.Time // in this mailbox
	// MetaData is there when the document has meta.
	MetaData string
}

// hotFields is the projection of hotMessage.
func hotFields() bson.D {
	return bson.D{
		{Key: "_id", Value: 1}, {Key: "root", Value: 1}, {Key: "mailbox", Value: 1}, {Key: "uid", Value: 1}, {Key: "modseq", Value: 1},
		{Key: "flags", Value: 1}, {Key: "idate", Value: 1}, {Key: "hdate", Value: 1}, {Key: "size", Value: 1}, {Key: memberMallard + "." + keySize, Value: 1}, {Key: memberMallard + "." + keyOf, Value: 1},
		{Key: "thread", Value: 1}, {Key: "magic", Value: 1}, {Key: "junk", Value: 1}, {Key: "copied", Value: 1},
		{Key: "exp", Value: 1}, {Key: "rdate", Value: 1}, {Key: "retentionTime", Value: 1},
	}
}

// rowFields is the projection of the hot members alone that a view needs.
func rowFields() bson.D {
	return bson.D{{Key: "_id", Value: 1}, {Key: "uid", Value: 1}, {Key: "modseq", Value: 1}, {Key: "flags", Value: 1}, {Key: "size", Value: 1}}
}

// metaFields is the projection for store.FieldMeta, to be added to hotFields.
func metaFields() bson.D {
	return bson.D{{Key: "meta", Value: 1}, {Key: memberMallard + "." + keyInfo, Value: 1}}
}

// hot reads the small members of a message's document; those that are missing are zero.
func hot(doc bson.Raw) (*hotMessage, error) {
	elements, err := doc.Elements()
	if err != nil {
		return nil, mail.WrapError(mail.CodeCorrupt, "a message cannot be read", fmt.Errorf("message document: %w", err))
	}
	m := &hotMessage{}
	var expires bool
	var until float64
	var own bson.Raw
	for _, e := range elements {
		v := e.Value()
		switch e.Key() {
		case "_id":
			m.ID, _ = v.ObjectIDOK()
		case "root":
			m.Root, _ = v.ObjectIDOK()
		case "mailbox":
			m.Mailbox, _ = v.ObjectIDOK()
		case "thread":
			m.Thread, _ = v.ObjectIDOK()
		case "uid":
			m.UID = mail.UID(integer(v))
		case "modseq":
			m.ModSeq = mail.ModSeq(integer(v))
		case "flags":
			m.Names = texts(v)
			m.Flags = flagsOf(m.Names)
		case "idate":
			m.IDate = instant(v)
		case "hdate":
			m.HDate = milliseconds(v)
		case "size":
			m.Counted = integer(v)
		case "magic":
			m.Magic = integer(v)
		case "junk":
			m.Junk = truth(v)
		case "copied":
			m.Copied = truth(v)
		case "exp":
			expires = truth(v)
		case "rdate":
			until = number(v)
		case "retentionTime":
			m.Arrived = time.UnixMilli(int64(number(v))).UTC()
		case "meta":
			if meta, ok := v.DocumentOK(); ok {
				m.MetaData = jsonText(meta.Lookup("custom"))
			}
		case memberMallard:
			own, _ = v.DocumentOK()
		}
	}
	m.Size, m.Octets = m.Counted, m.Counted
	if v, err := own.LookupErr(keySize); err == nil && integer(own.Lookup(keyOf)) == m.Counted {
		m.Size = integer(v) // the message is still as it was when that was noted
	}
	if m.Root.IsZero() {
		m.Root = m.ID
	}
	if m.Arrived.Unix() <= 0 {
		m.Arrived = m.ID.Timestamp().UTC()
	}
	if expires && until > 0 {
		m.Expires = time.UnixMilli(int64(until)).UTC()
	}
	return m, nil
}

// fill sets the members of a row that are always there.
func (m *hotMessage) fill(row *store.Row) {
	row.UID, row.ModSeq, row.Flags, row.InternalDate, row.Size = m.UID, m.ModSeq, m.Flags, m.IDate, m.Size
	row.ID, row.EmailID, row.ThreadID = mail.MessageID(m.ID), mail.EmailID(m.Root), mail.ThreadID(m.Thread)
}

// fillMeta sets the members of store.FieldMeta from a document with metaFields.
func (m *hotMessage) fillMeta(row *store.Row, doc bson.Raw) {
	row.SavedDate, row.Expires, row.Junk = m.Arrived, m.Expires, m.Junk
	row.MetaData, row.Info = metaOf(doc)
}

// metaOf returns store.Row's MetaData and Info of a document. What WildDuck wrote is told in the same terms.
func metaOf(doc bson.Raw) (metaData, info string) {
	meta, _ := doc.Lookup("meta").DocumentOK()
	if meta != nil {
		metaData = jsonText(meta.Lookup("custom"))
	}
	if text, ok := doc.Lookup(memberMallard, keyInfo).StringValueOK(); ok {
		return metaData, text
	}
	return metaData, infoOf(meta)
}

// jsonText is a member that holds a JSON text, or an object in old documents.
func jsonText(v bson.RawValue) string {
	if s, ok := v.StringValueOK(); ok {
		return s
	}
	if _, ok := v.DocumentOK(); !ok {
		return ""
	}
	text, err := json.Marshal(plain(v))
	if err != nil {
		return ""
	}
	return string(text)
}

// infoOf is the JSON object of a meta member that another program wrote.
func infoOf(meta bson.Raw) string {
	elements, err := meta.Elements()
	if err != nil || len(elements) == 0 {
		return ""
	}
	out := make(map[string]any, len(elements))
	for _, e := range elements {
		switch e.Key() {
		case "custom", "events", "files":
			continue
		}
		if truth(e.Value()) { // what does not apply is false or null
			out[e.Key()] = plain(e.Value())
		}
	}
	if len(out) == 0 {
		return ""
	}
	text, err := json.Marshal(out)
	if err != nil {
		return ""
	}
	return string(text)
}

// plain turns a value into what encoding/json writes as JavaScript would.
func plain(v bson.RawValue) any {
	switch v.Type {
	case bson.TypeString:
		return v.StringValue()
	case bson.TypeBoolean:
		return v.Boolean()
	case bson.TypeInt32, bson.TypeInt64:
		return integer(v)
	case bson.TypeDouble:
		if f := v.Double(); !math.IsNaN(f) && !math.IsInf(f, 0) {
			return f
		}
	case bson.TypeDateTime:
		return v.Time().UTC().Format("2006-01-02T15:04:05.000Z07:00")
	case bson.TypeObjectID:
		return v.ObjectID().Hex()
	case bson.TypeArray:
		values, err := v.Array().Values()
		if err != nil {
			return nil
		}
		out := make([]any, 0, len(values))
		for _, x := range values {
			out = append(out, plain(x))
		}
		return out
	case bson.TypeEmbeddedDocument:
		elements, err := v.Document().Elements()
		if err != nil {
			return nil
		}
		out := make(map[string]any, len(elements))
		for _, e := range elements {
			out[e.Key()] = plain(e.Value())
		}
		return out
	}
	return nil
}

// flagsOf reads the flags of a document. What is no flag is left out: a client could do nothing with it.
func flagsOf(names []string) mail.Flags {
	var system mail.SystemFlags
	var keywords []string
	for _, n := range names {
		if strings.HasPrefix(n, `\`) {
			bit, _ := mail.ParseSystemFlag(n)
			system |= bit
		} else if mail.ValidKeyword(n) == nil {
			keywords = append(keywords, n)
		}
	}
	return mail.NewFlags(system, keywords...)
}

// integer reads a number of any type, 0 for none.
func integer(v bson.RawValue) int64 {
	switch v.Type {
	case bson.TypeInt32:
		return int64(v.Int32())
	case bson.TypeInt64:
		return v.Int64()
	case bson.TypeDouble:
		return int64(v.Double())
	}
	return 0
}

// number is integer without loss of fractions.
func number(v bson.RawValue) float64 {
	if v.Type == bson.TypeDouble {
		return v.Double()
	}
	return float64(integer(v))
}

// truth is what JavaScript would call true.
func truth(v bson.RawValue) bool {
	switch v.Type {
	case bson.TypeBoolean:
		return v.Boolean()
	case bson.TypeString:
		return v.StringValue() != ""
	case bson.TypeInt32, bson.TypeInt64, bson.TypeDouble:
		return number(v) != 0
	case bson.TypeObjectID, bson.TypeEmbeddedDocument, bson.TypeArray, bson.TypeDateTime, bson.TypeBinary:
		return true
	}
	return false
}

// instant reads a time, zero for none.
func instant(v bson.RawValue) time.Time {
	if v.Type == bson.TypeDateTime {
		return v.Time().UTC()
	}
	return time.Time{}
}

// milliseconds reads a time, 0 for none.
func milliseconds(v bson.RawValue) int64 {
	ms, _ := v.DateTimeOK()
	return ms
}

// texts reads an array of strings and leaves out what is none.
func texts(v bson.RawValue) []string {
	array, ok := v.ArrayOK()
	if !ok {
		return nil
	}
	values, err := array.Values()
	if err != nil {
		return nil
	}
	out := make([]string, 0, len(values))
	for _, x := range values {
		if s, ok := x.StringValueOK(); ok {
			out = append(out, s)
		}
	}
	return out
}
