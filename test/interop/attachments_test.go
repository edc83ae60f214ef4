//go:build e2e

package interop

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// attachments: the same content is stored once, whoever stores it, and counted by both.
func (e *env) attachments(t *testing.T) {
	t.Run("shared", func(t *testing.T) { e.each(t, e.sharedAttachment) })
	t.Run("large", func(t *testing.T) { e.each(t, e.largeAttachment) })
}

// withAttachment makes a message with an attachment, and the hash that is its id.
func withAttachment(data []byte) (message string, id bson.Binary) {
	text := encoded(data, 76)
	hash := sha256.Sum256([]byte(text))
	message = strings.Replace(simple("attached"), "\r\n\r\n", "\r\n"+mixed, 1) + part("Content-Type: text/plain\r\n", "see") +
		part("Content-Type: image/png; name=x.png\r\nContent-Disposition: attachment; filename=x.png\r\nContent-Transfer-Encoding: base64\r\n", text) + "--b1--\r\n"
	return message, bson.Binary{Data: hash[:]}
}

// A file is what is counted of one content.
type file struct {
	Length   int64
	Metadata struct {
		C, M    int64
		Decoded bool
	}
}

// file reads the content's document and checks its chunks.
func (e *env) file(t *testing.T, id bson.Binary, data []byte) file {
	t.Helper()
	var f file
	if err := e.files.Collection("attachments.files").FindOne(t.Context(), bson.D{{Key: "_id", Value: id}}).Decode(&f); err != nil {
		t.Fatalf("attachments.files: %v", err)
	}
	rows, err := e.files.Collection("attachments.chunks").Find(t.Context(), bson.D{{Key: "files_id", Value: id}})
	if err != nil {
		t.Fatal(err)
	}
	var chunks []struct {
		N    int
		Data []byte
	}
	if err := rows.All(t.Context(), &chunks); err != nil {
		t.Fatal(err)
	}
	got := make([][]byte, len(chunks))
	for _, c := range chunks {
		got[c.N] = c.Data
	}
	if !bytes.Equal(bytes.Join(got, nil), data) || f.Length != int64(len(data)) || !f.Metadata.Decoded {
		t.Errorf("%d chunks of %d octets, length %d, decoded %v; want %d octets decoded", len(chunks), len(bytes.Join(got, nil)), f.Length, f.Metadata.Decoded, len(data))
	}
	return f
}

// references adds up what the messages say about a content.
func (e *env) references(t *testing.T, id bson.Binary) (count, magic int64) {
	t.Helper()
	rows, err := e.db.Collection("messages").Find(t.Context(), bson.D{{Key: "mimeTree.attachmentMap.ATT00001", Value: id}})
	if err != nil {
		t.Fatal(err)
	}
	var messages []struct{ Magic int64 }
	if err := rows.All(t.Context(), &messages); err != nil {
		t.Fatal(err)
	}
	archived, err := e.db.Collection("archived").Find(t.Context(), bson.D{{Key: "mimeTree.attachmentMap.ATT00001", Value: id}})
	if err != nil {
		t.Fatal(err)
	}
	var old []struct{ Magic int64 }
	if err := archived.All(t.Context(), &old); err != nil {
		t.Fatal(err)
	}
	for _, m := range append(messages, old...) {
		count, magic = count+1, magic+m.Magic
	}
	return count, magic
}

// counted checks that an attachment is counted as often as it is used.
func (e *env) counted(t *testing.T, id bson.Binary) {
	t.Helper()
	var f file
	if err := e.files.Collection("attachments.files").FindOne(t.Context(), bson.D{{Key: "_id", Value: id}}).Decode(&f); err != nil {
		t.Fatalf("attachments.files: %v", err)
	}
	if count, magic := e.references(t, id); f.Metadata.C != count || f.Metadata.M != magic {
		t.Errorf("the attachment has c %d, m %d; %d messages, sum of magics %d", f.Metadata.C, f.Metadata.M, count, magic)
	}
}

func (e *env) sharedAttachment(t *testing.T, from, to *node) {
	data := octets(uint64(names.Add(1)), 30_000)
	message, id := withAttachment(data)
	a, b := from.user(t, nil), to.user(t, nil)
	check := func(after string, want int64) {
		t.Helper()
		f := e.file(t, id, data)
		count, magic := e.references(t, id)
		if f.Metadata.C != want || count != want || f.Metadata.M != magic {
			t.Errorf("after %s: c %d, m %d; %d messages, sum of magics %d; want %d", after, f.Metadata.C, f.Metadata.M, count, magic, want)
		}
	}
	from.deliver(t, a.address, message)
	check("the first delivery", 1)
	to.deliver(t, b.address, message)
	check("a delivery by the other", 2)
	s := to.login(t, a)
	s.OK("SELECT INBOX")
	s.OK("COPY 1 Trash")
	s.OK("COPY 1 Junk")
	check("two copies by the other", 4)
	s.OK("MOVE 1 Trash")
	check("a move", 4)
	// What was copied is not archived when it is expunged: its reference is released.
	f := from.login(t, a)
	f.OK("SELECT Trash")
	f.OK(`STORE 1 +FLAGS (\Deleted)`)
	f.OK("EXPUNGE")
	count, magic := e.references(t, id)
	if file := e.file(t, id, data); file.Metadata.C != count || file.Metadata.M != magic {
		t.Errorf("after an expunge: c %d, m %d; %d messages, sum of magics %d", file.Metadata.C, file.Metadata.M, count, magic)
	}
	inbox := from.mailbox(t, b, "INBOX")
	from.must(t, http.MethodDelete, b.path("/mailboxes/%s/messages/1", inbox), nil)
	count, magic = e.references(t, id)
	if file := e.file(t, id, data); file.Metadata.C != count || file.Metadata.M != magic {
		t.Errorf("after a deletion: c %d, m %d; %d messages, sum of magics %d", file.Metadata.C, file.Metadata.M, count, magic)
	}
	// It can still be read by both.
	for _, n := range e.nodes() {
		trash := n.mailbox(t, a, "Trash")
		for _, m := range n.messages(t, a, trash) {
			got := n.get(t, a.path("/mailboxes/%s/messages/%d/attachments/ATT00001", trash, m.num("id")))
			if got != string(data) {
				t.Errorf("%s: %d octets", n.name, len(got))
			}
		}
	}
}

// largeAttachment has many chunks, and is stored by both at once.
func (e *env) largeAttachment(t *testing.T, from, to *node) {
	data := octets(uint64(names.Add(1)), 1_500_000)
	message, id := withAttachment(data)
	u, v := from.user(t, nil), to.user(t, nil)
	done := make(chan error, 2)
	for _, d := range []struct {
		n *node
		u user
	}{{from, u}, {to, v}} {
		go func() { done <- d.n.send(d.u.address, message)[0] }()
	}
	for range 2 {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	f := e.file(t, id, data)
	if count, magic := e.references(t, id); f.Metadata.C != 2 || count != 2 || magic != f.Metadata.M {
		t.Errorf("c %d, m %d; %d messages, sum of magics %d", f.Metadata.C, f.Metadata.M, count, magic)
	}
	for _, n := range e.nodes() {
		for _, u := range []user{u, v} {
			s := n.login(t, u)
			s.OK("EXAMINE INBOX")
			if got := fetch(t, s, 1, "BODY.PEEK[2]")["BODY[2]"].text; got != encoded(data, 76) {
				t.Errorf("%s: %d octets of %s", n.name, len(got), fmt.Sprint(u))
			}
		}
	}
}
