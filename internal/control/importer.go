package control

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"

	"mallard/internal/mail"
	"mallard/internal/transfer"
)

// The sizes of the batches of an import: great enough that the time of a commit
// does not count, small enough that an interruption costs little.
const (
	importBatch      = 500
	importBatchBytes = 16 << 20
)

// Import brings mail from files into mailboxes of a user. A State makes it go on
// where it was interrupted, and brings no message twice.
type Import struct {
	Client *Client
	User   mail.AccountID
	Source transfer.Source
	State  *transfer.State
	// Path is the mailbox that a folder of the source goes to.
	Path func(folder string) string
	// Progress hears of every message that was dealt with, Problem of what could not
	// be read or stored.
	Progress func(ImportCount)
	Problem  func(where, text string)

	count ImportCount
}

// ImportCount sums up an import. Octets are those in the files.
type ImportCount struct {
	Imported int   `json:"imported"`
	Already  int   `json:"already"` // by an earlier run
	Failed   int   `json:"failed"`
	Bytes    int64 `json:"bytes"` // imported
}

// Run imports everything. The error is of what stopped it; messages that failed
// are only counted.
func (m *Import) Run(ctx context.Context) (ImportCount, error) {
	if err := m.settle(ctx); err != nil {
		return m.count, fmt.Errorf("find out what the interrupted import has stored: %w", err)
	}
	for _, f := range m.Source.Folders() {
		if err := m.folder(ctx, f); err != nil {
			return m.count, fmt.Errorf("import %s: %w", f.Path, err)
		}
	}
	return m.count, nil
}

// settle finds out which of the messages are stored that were on their way when
// an earlier run ended, by comparing.
func (m *Import) settle(ctx context.Context) error {
	p := m.State.Pending()
	if p == nil {
		return nil
	}
	stored, err := m.storedSince(ctx, p)
	if err != nil {
		return err
	}
	wanted := make(map[string]int)
	for i, k := range p.Keys {
		wanted[k] = i
	}
	found := make(map[int]bool)
	for _, f := range m.Source.Folders() {
		if len(stored) == 0 || len(wanted) == 0 {
			break
		}
		for msg, err := range m.Source.Messages(f) {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if err != nil {
				continue // it is told when the folder is imported
			}
			i, ok := wanted[msg.Key]
			if !ok {
				continue
			}
			delete(wanted, msg.Key)
			sum, err := digestOf(msg)
			if err == nil && stored[sum] > 0 {
				stored[sum]--
				found[i] = true
			}
		}
	}
	var failed []int
	for i := range p.Keys {
		if !found[i] {
			failed = append(failed, i)
		}
	}
	return m.State.End(failed)
}

// storedSince counts the contents that came into the mailbox since a batch began.
func (m *Import) storedSince(ctx context.Context, p *transfer.Begin) (map[string]int, error) {
	boxes, err := m.Client.Mailboxes(ctx, m.User)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(boxes, func(b Mailbox) bool { return b.ID.String() == p.Mailbox && b.UIDValidity == p.UIDValidity })
	if i < 0 {
		return nil, nil // it was deleted, and what was in it
	}
	stored := make(map[string]int)
	err = m.Client.Digests(ctx, m.User, boxes[i].ID, p.UIDNext, func(d Digest) error {
		if d.SHA256 != "" {
			stored[d.SHA256]++
		}
		return nil
	})
	return stored, err
}

func digestOf(msg *transfer.Message) (string, error) {
	r, err := msg.Open()
	if err != nil {
		return "", err
	}
	h := sha256.New()
	_, err = io.Copy(h, r)
	return hex.EncodeToString(h.Sum(nil)), errors.Join(err, r.Close())
}

// folder imports one folder, batch after batch.
func (m *Import) folder(ctx context.Context, f transfer.Folder) error {
	box, err := m.Client.Mailbox(ctx, m.User, m.Path(f.Path))
	if err != nil {
		return err
	}
	var batch []*transfer.Message
	var size int64
	for msg, err := range m.Source.Messages(f) {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		switch {
		case err != nil:
			m.failed(f.Path, err)
			continue
		case m.State.Done(msg.Key):
			m.count.Already++
			m.Progress(m.count)
			continue
		}
		batch, size = append(batch, msg), size+msg.Size
		if len(batch) == importBatch || size >= importBatchBytes {
			if err := m.send(ctx, box, batch); err != nil {
				return err
			}
			batch, size = nil, 0
		}
	}
	return m.send(ctx, box, batch)
}

func (m *Import) failed(where string, err error) {
	m.count.Failed++
	m.Problem(where, err.Error())
}

// send stores a batch. Messages that cannot be read are left out.
func (m *Import) send(ctx context.Context, box *Mailbox, batch []*transfer.Message) error {
	for len(batch) > 0 {
		results, err := m.try(ctx, box, batch)
		source, unreadable := errors.AsType[*SourceError](err)
		if !unreadable {
			if err != nil {
				return err
			}
			return m.acknowledged(box, batch, results)
		}
		// Nothing was stored: the rest begins anew.
		m.failed(batch[source.Index].Key, source.Err)
		if err := m.State.End(all(len(batch))); err != nil {
			return err
		}
		batch = slices.Delete(slices.Clone(batch), source.Index, source.Index+1)
	}
	return nil
}

func all(n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = i
	}
	return out
}

func (m *Import) try(ctx context.Context, box *Mailbox, batch []*transfer.Message) ([]AppendResult, error) {
	begin := transfer.Begin{Mailbox: box.ID.String(), UIDValidity: box.UIDValidity, UIDNext: box.UIDNext}
	in := make([]AppendMessage, len(batch))
	for i, msg := range batch {
		begin.Keys = append(begin.Keys, msg.Key)
		in[i] = AppendMessage{AppendMeta{Flags: msg.Flags.List(), Date: msg.Date}, msg.Open}
	}
	if err := m.State.Begin(begin); err != nil {
		return nil, err
	}
	return m.Client.Append(ctx, m.User, box.ID, in)
}

// acknowledged notes what was stored.
func (m *Import) acknowledged(box *Mailbox, batch []*transfer.Message, results []AppendResult) error {
	var failed []int
	stop := ""
	for i, r := range results {
		if r.Error == "" {
			m.count.Imported++
			m.count.Bytes += batch[i].Size
			box.UIDNext = max(box.UIDNext, r.UID+1)
			continue
		}
		failed = append(failed, i)
		switch r.Code { // what is wrong for one is wrong for all that come after it
		case mail.CodeOverQuota.String():
			stop = "the user has no room for more: " + r.Error
		case mail.CodeNoSpace.String():
			stop = "the mail store takes no more, and the same command given again imports the rest: " + r.Error
		default:
			m.failed(batch[i].Key, errors.New(r.Error))
		}
	}
	if err := m.State.End(failed); err != nil {
		return err
	}
	m.Progress(m.count)
	if stop != "" {
		return errors.New(stop)
	}
	return nil
}
