package httpapi

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"mallard/internal/auth"
	"mallard/internal/event"
	"mallard/internal/limit"
	"mallard/internal/mail"
	"mallard/internal/store"
)

func (a *API) updateRoutes() []*Route {
	return []*Route{
		handle(Route{
			Method: http.MethodGet, Pattern: "/users/:user/updates", Name: "followUpdates", Tag: "Updates",
			Summary: "Follow the changes of an account as a stream of events",
			Description: "With Last-Event-ID, as parameter or as header field, everything after that event comes first. " +
				"After each batch there is an event COUNTERS for each mailbox that changed.",
			Perm: Permission{"users", auth.Read, ScopeUser}, Produces: "text/event-stream", HeaderParams: []string{lastEventID},
		}, a.followUpdates),
	}
}

const lastEventID = "Last-Event-ID"

type updatesIn struct {
	UserPath
	LastEventID *mail.JournalID `api:"Last-Event-ID" doc:"Id of the last event that the client knows"`
	Session
}

// journalBatch is how many journal entries are read at a time.
const journalBatch = 500

// The payloads of events. The order of members is that of WildDuck.
type (
	existsEvent struct {
		Command string         `json:"command"`
		UID     mail.UID       `json:"uid"`
		Message mail.MessageID `json:"message"`
		Date    Date           `json:"idate"`
		Thread  mail.ThreadID  `json:"thread"`
		Junk    int8           `json:"junk,omitempty"`
		Mailbox mail.MailboxID `json:"mailbox"`
	}
	expungeEvent struct {
		Command string         `json:"command"`
		UID     mail.UID       `json:"uid"`
		Message mail.MessageID `json:"message"`
		Thread  mail.ThreadID  `json:"thread"`
		Mailbox mail.MailboxID `json:"mailbox"`
	}
	fetchEvent struct {
		Command string         `json:"command"`
		UID     mail.UID       `json:"uid"`
		Flags   []string       `json:"flags"`
		Thread  mail.ThreadID  `json:"thread"`
		Message mail.MessageID `json:"message"`
		Mailbox mail.MailboxID `json:"mailbox"`
	}
	mailboxEvent struct {
		Command string         `json:"command"`
		Mailbox mail.MailboxID `json:"mailbox"`
		Path    string         `json:"path,omitempty"`
	}
	renameEvent struct {
		Command string         `json:"command"`
		Path    string         `json:"path"`
		Mailbox mail.MailboxID `json:"mailbox"`
	}
	countersEvent struct {
		Command string         `json:"command"`
		Mailbox mail.MailboxID `json:"mailbox"`
		Total   int64          `json:"total"`
		Unseen  int64          `json:"unseen"`
	}
	logoutEvent struct {
		Command string `json:"command"`
		Reason  string `json:"reason"`
	}
)

func payload(e *store.JournalEntry) any {
	cmd := string(e.Command)
	switch e.Command {
	case store.JournalExists:
		return existsEvent{cmd, e.UID, e.Message, Date(e.InternalDate), e.Thread, e.Junk, e.Mailbox}
	case store.JournalExpunge:
		return expungeEvent{cmd, e.UID, e.Message, e.Thread, e.Mailbox}
	case store.JournalFetch:
		return fetchEvent{cmd, e.UID, e.Flags.List(), e.Thread, e.Message, e.Mailbox}
	case store.JournalRename:
		return renameEvent{cmd, e.Path, e.Mailbox}
	default:
		return mailboxEvent{cmd, e.Mailbox, e.Path}
	}
}

// stream is one event stream.
type stream struct {
	api   *API
	c     *call
	acct  mail.AccountID
	ctl   *http.ResponseController
	last  mail.JournalID
	idles int
}

func (a *API) followUpdates(ctx context.Context, c *call, in *updatesIn) (streamed, error) {
	if _, err := a.opt.Accounts.Get(ctx, in.User); err != nil {
		return streamed{}, err
	}
	leave, err := a.enterStream(ctx, in.User)
	if err != nil {
		return streamed{}, err
	}
	defer leave()
	// Subscribed first: what happens while the journal is read is not missed.
	sub, err := a.opt.Mailboxes.Subscribe(ctx, in.User)
	if err != nil {
		return streamed{}, fmt.Errorf("subscribe: %w", err)
	}
	defer sub.Close()
	s := &stream{api: a, c: c, acct: in.User, ctl: http.NewResponseController(c.w)}
	if in.LastEventID != nil {
		s.last = *in.LastEventID
	} else if s.last, err = a.opt.Mailboxes.JournalHead(ctx, in.User); err != nil {
		return streamed{}, err
	}
	h := c.w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-cache")
	h.Set("X-Accel-Buffering", "no")
	c.w.WriteHeader(http.StatusOK)
	ctx, cancel := context.WithTimeout(ctx, a.opt.EventTimeout)
	defer cancel()
	if err := s.run(ctx, sub, in.LastEventID != nil); err != nil && !errors.Is(err, errStreamEnd) && ctx.Err() == nil {
		return streamed{}, err
	}
	return streamed{}, nil
}

// enterStream takes a place among the streams of all and of one user, who cannot take
// the places of others.
func (a *API) enterStream(ctx context.Context, user mail.AccountID) (leave func(), err error) {
	full := newError(http.StatusServiceUnavailable, "TooManyStreams", "Too many event streams are open")
	release, err := a.opt.Limits.Acquire(ctx, limit.GroupUpdates, user.String(), a.opt.UserStreams)
	if mail.CodeOf(err) == mail.CodeLimit && err != nil {
		return nil, full.because(err)
	}
	if err != nil { // the places of all are left
		a.log.WarnContext(ctx, "count event streams", "account", user, "error", err)
		release = func() {}
	}
	select {
	case a.streams <- struct{}{}:
		return func() { <-a.streams; release() }, nil
	default:
		release()
		return nil, full
	}
}

// errStreamEnd ends a stream without a fault.
var errStreamEnd = errors.New("the stream ends")

func (s *stream) run(ctx context.Context, sub event.Subscription, replay bool) error {
	told := false
	if replay {
		var err error
		if told, err = s.journal(ctx, true); err != nil {
			return s.fail(err)
		}
	}
	if !told {
		if err := s.idle(); err != nil {
			return err
		}
	}
	idle := time.NewTicker(s.api.opt.EventIdle)
	defer idle.Stop()
	// The bus tells what happens, and goes on telling while it hears nothing itself.
	poll := time.NewTimer(s.api.opt.EventPoll)
	defer poll.Stop()
	for {
		hinted := false
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.api.closing:
			return errStreamEnd
		case <-idle.C:
			if err := s.stillWelcome(ctx); err != nil {
				return err
			}
			if err := s.idle(); err != nil {
				return err
			}
			continue
		case _, open := <-sub.Ready():
			if err := s.live(ctx, sub.Take()); err != nil {
				return err
			}
			if !open {
				return errStreamEnd
			}
			hinted = true
		case <-poll.C:
		}
		told, err := s.journal(ctx, false)
		if err != nil {
			return s.fail(err)
		}
		if told {
			idle.Reset(s.api.opt.EventIdle)
		}
		again := s.api.opt.EventPoll
		if hinted && !told { // by somebody who was faster than what he tells of
			again = min(again, s.api.opt.EventAgain)
		}
		poll.Reset(again)
	}
}

// live tells what is no part of the journal.
func (s *stream) live(ctx context.Context, events []event.Event) error {
	for _, e := range events {
		switch e.Kind {
		case event.Drop:
			if e.Mailbox.IsZero() {
				continue
			}
			if err := s.send(mailboxEvent{"DROP", e.Mailbox, ""}, ""); err != nil {
				return err
			}
		case event.Logout:
			if err := s.send(logoutEvent{"LOGOUT", e.Reason}, ""); err != nil {
				return err
			}
			if err := s.stillWelcome(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// stillWelcome ends a stream whose token is no longer valid: sessions end when a
// password changes or a token is revoked, and this is one.
func (s *stream) stillWelcome(ctx context.Context) error {
	if s.c.caller.token == "" {
		return nil
	}
	if _, err := s.api.opt.Tokens.Check(ctx, s.c.caller.token); err != nil {
		return errStreamEnd
	}
	return nil
}

// journal tells what the journal has after the last entry that was told. With
// whole the counters come after everything, else after each batch.
func (s *stream) journal(ctx context.Context, whole bool) (told bool, err error) {
	var touched []mail.MailboxID
	for {
		entries, err := s.api.opt.Mailboxes.ReadJournal(ctx, s.acct, s.last, journalBatch)
		if err != nil {
			return told, err
		}
		for i := range entries {
			e := &entries[i]
			if err := s.send(payload(e), e.ID.String()); err != nil {
				return told, err
			}
			s.last, told = e.ID, true
			if counts(e) && !slices.Contains(touched, e.Mailbox) {
				touched = append(touched, e.Mailbox)
			}
		}
		if !whole || len(entries) < journalBatch {
			if err := s.counters(ctx, touched); err != nil {
				return told, err
			}
			touched = nil
		}
		if len(entries) < journalBatch {
			return told, s.flush()
		}
	}
}

// counts reports whether an entry changes the counters of its mailbox.
func counts(e *store.JournalEntry) bool {
	switch e.Command {
	case store.JournalExists, store.JournalExpunge:
		return true
	case store.JournalFetch:
		return e.SeenChanged
	}
	return false
}

func (s *stream) counters(ctx context.Context, boxes []mail.MailboxID) error {
	all, err := s.api.opt.Mailboxes.Counters(ctx, s.acct, boxes...)
	if err != nil {
		return err
	}
	for _, id := range boxes {
		c, ok := all[id]
		if !ok { // it is gone
			continue
		}
		if err := s.send(countersEvent{"COUNTERS", id, c.Messages, c.Unseen}, s.last.String()); err != nil {
			return err
		}
	}
	return nil
}

// fail tells the client that the stream cannot go on.
func (s *stream) fail(err error) error {
	if mail.CodeOf(err) == mail.CodeNoAccount {
		return errStreamEnd
	}
	text := headerSafe(s.api.asError(err).Message)
	if werr := s.write("event: error\ndata: " + text + "\n\n"); werr != nil {
		return werr
	}
	return err
}

func (s *stream) idle() error {
	s.idles++
	return s.write(fmt.Sprintf(": idling %d\n\n", s.idles))
}

func (s *stream) write(text string) error {
	if _, err := s.c.w.Write([]byte(text)); err != nil {
		return errStreamEnd
	}
	return s.flush()
}

func (s *stream) flush() error {
	if err := s.ctl.Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return errStreamEnd
	}
	return nil
}

// send writes one event. Line ends in the text are escaped by the JSON.
func (s *stream) send(data any, id string) error {
	text, err := encodeJSON(data)
	if err != nil {
		return fmt.Errorf("encode event: %w", err)
	}
	var b bytes.Buffer
	for line := range strings.SplitSeq(strings.TrimSuffix(string(text), "\n"), "\n") {
		b.WriteString("data: " + line + "\n")
	}
	if id != "" {
		b.WriteString("id: " + id + "\n")
	}
	b.WriteByte('\n')
	if _, err := s.c.w.Write(b.Bytes()); err != nil {
		return errStreamEnd
	}
	return nil
}
