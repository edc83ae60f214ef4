package control

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"strconv"

	"mallard/internal/mail"
	"mallard/internal/store"
)

// messages streams all messages of a mailbox with their flags and dates.
func (s *Server) messages(w http.ResponseWriter, r *http.Request) {
	f := NewFrameWriter(w)
	s.each(w, r, func(row *store.Row) error {
		err := f.Begin(ExportMeta{UID: row.UID, Flags: row.Flags.List(), Date: row.InternalDate, Size: row.Size})
		if err != nil {
			return &clientError{err}
		}
		var end ExportEnd
		if err := copyBody(f, row); err != nil {
			end.Error = publicText(err)
		}
		return toClient(f.End(end))
	}, func(uid mail.UID, err error) error {
		if err := f.Begin(ExportMeta{UID: uid, Error: publicText(err)}); err != nil {
			return &clientError{err}
		}
		return toClient(f.End(ExportEnd{}))
	}, f.Flush)
}

// digests streams a digest of the content of each message from a UID on. It waits
// for appends that are under way: a client that was killed may ask what became of
// its last one.
func (s *Server) digests(w http.ResponseWriter, r *http.Request) {
	s.waitForAppends()
	enc := json.NewEncoder(w)
	s.each(w, r, func(row *store.Row) error {
		h := sha256.New()
		d := Digest{UID: row.UID}
		if err := copyBody(h, row); err != nil {
			d.Error = publicText(err)
		} else {
			d.SHA256 = hex.EncodeToString(h.Sum(nil))
		}
		return toClient(enc.Encode(d))
	}, func(uid mail.UID, err error) error {
		return toClient(enc.Encode(Digest{UID: uid, Error: publicText(err)}))
	}, func() error { return nil })
}

func (s *Server) waitForAppends() {
	s.appends.Lock()
	defer s.appends.Unlock()
}

// clientError says that the client can no longer be told anything.
type clientError struct{ err error }

func (e *clientError) Error() string { return e.err.Error() }

func toClient(err error) error {
	if err != nil {
		return &clientError{err}
	}
	return nil
}

func copyBody(w io.Writer, row *store.Row) error {
	b, err := row.Open()
	if err != nil {
		return err
	}
	err = b.WriteRange(w, 0, b.Size())
	if cerr := b.Close(); err == nil {
		err = cerr
	}
	return err
}

// each calls row for every message that can be read, and bad for every one that
// cannot. Damage of one message keeps no other from being read.
func (s *Server) each(w http.ResponseWriter, r *http.Request, row func(*store.Row) error, bad func(mail.UID, error) error, flush func() error) {
	acct, id, err := target(r)
	if err != nil {
		s.reply(w, r, nil, err)
		return
	}
	box, err := s.o.Mailboxes.Get(r.Context(), acct, id)
	if err != nil {
		s.reply(w, r, nil, err)
		return
	}
	from := mail.UID(1)
	if v := r.URL.Query().Get("from"); v != "" {
		n, err := strconv.ParseUint(v, 10, 32)
		if err != nil {
			s.reply(w, r, nil, mail.WrapError(mail.CodeInvalid, "from is not a UID", err))
			return
		}
		from = max(mail.UID(n), 1)
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	if from < box.UIDNext {
		m := &reader{boxes: s.o.Mailboxes, acct: acct, box: id, row: row, bad: bad}
		err = m.read(r.Context(), mail.UIDRange{First: from, Last: box.UIDNext - 1})
	}
	if err == nil {
		err = flush()
	}
	if err != nil {
		s.o.Log.DebugContext(r.Context(), "control stream ended early", "path", r.URL.Path, "error", err)
		panic(http.ErrAbortHandler) // the only way to tell the client that the answer is not whole
	}
}

// reader reads messages around damage.
type reader struct {
	boxes Mailboxes
	acct  mail.AccountID
	box   mail.MailboxID
	row   func(*store.Row) error
	bad   func(mail.UID, error) error
}

// read reads a range. Where it cannot be read, what is left of it is halved until
// the message is found that is damaged.
func (m *reader) read(ctx context.Context, r mail.UIDRange) error {
	if r.First > r.Last {
		return nil
	}
	next, err := m.try(ctx, r)
	switch {
	case err == nil:
		return nil
	case mail.CodeOf(err) != mail.CodeCorrupt:
		return err // not of one message: there is no way around it
	case next > r.Last:
		return nil
	case next == r.Last:
		return m.bad(next, err)
	}
	middle := next + (r.Last-next)/2
	if err := m.read(ctx, mail.UIDRange{First: next, Last: middle}); err != nil {
		return err
	}
	return m.read(ctx, mail.UIDRange{First: middle + 1, Last: r.Last})
}

// try reads a range until something fails, and returns the UID from which on it
// was not read.
func (m *reader) try(ctx context.Context, r mail.UIDRange) (next mail.UID, err error) {
	next = r.First
	q := store.FetchQuery{UIDs: mail.UIDSet{r}, Fields: store.FieldBody}
	for row, err := range m.boxes.Fetch(ctx, m.acct, m.box, q) {
		if err != nil {
			return next, err
		}
		if err := m.row(row); err != nil {
			return next, err
		}
		next = row.UID + 1
	}
	return next, nil
}
