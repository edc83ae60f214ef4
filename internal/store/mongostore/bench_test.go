package mongostore

import (
	"fmt"
	"strings"
	"testing"

	"mallard/internal/mail"
	"mallard/internal/store"
)

// benchMessages are messages of 10 kB.
func benchMessages() map[string][]byte {
	head := "Received: from a.test (a.test [192.0.2.1]) by b.test with ESMTPS id 1; Mon, 02 Feb 2026 10:01:05 +0200\r\n" +
		"From: Carl Sender <carl@remote.test>\r\nTo: Bob Green <bob@example.com>\r\nSubject: =?utf-8?Q?Gr=C3=BC=C3=9Fe?= from here\r\n" +
		"Message-ID: <m01@remote.test>\r\nDate: Mon, 02 Feb 2026 10:01:05 +0200\r\nMIME-Version: 1.0\r\n"
	line := "The quick brown fox jumps over the lazy dog, and then once more for the text.\r\n"
	plain := head + "Content-Type: text/plain; charset=utf-8\r\n\r\n" + strings.Repeat(line, 120)
	html := "<html><body>" + strings.Repeat("<p>The <b>quick</b> brown fox <a href=\"https://example.com/fox\">jumps</a> over the lazy dog.</p>\r\n", 70) + "</body></html>"
	alternative := head + "Content-Type: multipart/alternative; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\n" + strings.Repeat(line, 30) +
		"\r\n--b\r\nContent-Type: text/html; charset=utf-8\r\n\r\n" + html + "\r\n--b--\r\n"
	return map[string][]byte{
		"plain": []byte(plain), "alternative": []byte(alternative), "attachment": append([]byte(head), mixed("\r\n", wrapped(random(6500, 1), 76, "\r\n"))...),
	}
}

// BenchmarkPrepare is what a delivery costs beside the database: Stage, prepare and the encoding of the document.
func BenchmarkPrepare(b *testing.B) {
	for name, raw := range benchMessages() {
		b.Run(name, func(b *testing.B) {
			s := &Store{}
			s.o.setDefaults()
			b.SetBytes(int64(len(raw)))
			b.ReportAllocs()
			for b.Loop() {
				st, err := s.Stage(b.Context(), contentOf(raw))
				if err != nil {
					b.Fatal(err)
				}
				p, err := s.prepare(b.Context(), st.(*staged), []byte("Delivered-To: bob@example.com\r\nReturn-Path: <carl@remote.test>\r\n"))
				if err != nil {
					b.Fatal(err)
				}
				if p.fields == nil { // without a database
					if err := p.complete(p.st.files, nil, nil); err != nil {
						b.Fatal(err)
					}
				}
				if _, err := encode(p.fields); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkAppend is a delivery with the database, one after the other.
func BenchmarkAppend(b *testing.B) {
	s := openStore(b)
	acct, err := s.CreateAccount(b.Context(), store.NewAccount{
		Account: mail.Account{Username: "bench"}, View: "bench", Mailboxes: []mail.Mailbox{{Path: "INBOX"}},
	})
	if err != nil {
		b.Fatal(err)
	}
	box, err := s.MailboxByPath(b.Context(), acct.ID, "INBOX")
	if err != nil {
		b.Fatal(err)
	}
	for name, raw := range benchMessages() {
		b.Run(name, func(b *testing.B) {
			for i := 0; b.Loop(); i++ {
				c := contentOf(append(fmt.Appendf(nil, "X: %d\r\n", i), raw...))
				c.References, c.Subject = []string{fmt.Sprint(name, i, "@x.test")}, "from here"
				st, err := s.Stage(b.Context(), c)
				if err != nil {
					b.Fatal(err)
				}
				_, err = s.Append(b.Context(), acct.ID, box.ID, []store.Append{{Staged: st, Prefix: []byte("Delivered-To: bob@example.com\r\nReturn-Path: <carl@remote.test>\r\n")}})
				if err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// benchBox is an account with a mailbox of n messages of 10 kB.
func benchBox(b *testing.B, n int) (*Store, mail.AccountID, mail.MailboxID) {
	b.Helper()
	s := openStore(b)
	acct, err := s.CreateAccount(b.Context(), store.NewAccount{
		Account: mail.Account{Username: "bench"}, View: "bench", Mailboxes: []mail.Mailbox{{Path: "INBOX"}},
	})
	if err != nil {
		b.Fatal(err)
	}
	box, err := s.MailboxByPath(b.Context(), acct.ID, "INBOX")
	if err != nil {
		b.Fatal(err)
	}
	appendMany(b, s, acct.ID, box.ID, n)
	return s, acct.ID, box.ID
}

// appendMany stores messages in one call.
func appendMany(b *testing.B, s *Store, acct mail.AccountID, box mail.MailboxID, n int) {
	b.Helper()
	raw := benchMessages()["plain"]
	var in []store.Append
	for i := range n {
		c := contentOf(append(fmt.Appendf(nil, "X: %d\r\n", i), raw...))
		c.References, c.Subject = []string{fmt.Sprint(i, "@x.test")}, fmt.Sprint("subject ", i)
		st, err := s.Stage(b.Context(), c)
		if err != nil {
			b.Fatal(err)
		}
		in = append(in, store.Append{Staged: st})
	}
	if _, err := s.Append(b.Context(), acct, box, in); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkFlags500 is STORE 1:* of 500 messages.
func BenchmarkFlags500(b *testing.B) {
	s, acct, box := benchBox(b, 500)
	for i := 0; b.Loop(); i++ {
		u := store.FlagUpdate{UIDs: mail.AllUIDs(), Mode: store.FlagMode(i % 2), Flags: mail.NewFlags(mail.Flagged)}
		res, err := s.UpdateFlags(b.Context(), acct, box, u)
		if err != nil || len(res.Changed) != 500 {
			b.Fatal(len(res.Changed), err)
		}
	}
}

// BenchmarkAppend100 stores 100 messages in one call.
func BenchmarkAppend100(b *testing.B) {
	s, acct, box := benchBox(b, 1)
	for b.Loop() {
		appendMany(b, s, acct, box, 100)
	}
}

// BenchmarkChanges is what a session that follows a mailbox of 500 messages pays for one new message.
func BenchmarkChanges(b *testing.B) {
	s, acct, box := benchBox(b, 500)
	set, err := s.Changes(b.Context(), acct, box, 0)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		b.StopTimer()
		appendMany(b, s, acct, box, 1)
		b.StartTimer()
		if set, err = s.Changes(b.Context(), acct, box, set.To); err != nil || set.Changed.Len() != 1 {
			b.Fatal(set, err)
		}
	}
}

// BenchmarkMove250 moves 250 messages within a mailbox, and Expunge250 removes as many.
func BenchmarkMove250(b *testing.B) {
	s, acct, box := benchBox(b, 250)
	for b.Loop() {
		if res, err := s.Move(b.Context(), acct, box, box, mail.AllUIDs()); err != nil || len(res.To) != 250 {
			b.Fatal(res, err)
		}
	}
}

// BenchmarkCounters is STATUS of a mailbox of 500 messages.
func BenchmarkCounters(b *testing.B) {
	s, acct, box := benchBox(b, 500)
	for b.Loop() {
		if c, err := s.Counters(b.Context(), acct, box); err != nil || c[box].Messages != 500 {
			b.Fatal(c, err)
		}
	}
}
