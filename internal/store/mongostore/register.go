package mongostore

import (
	"cmp"
	dll "container/list"
	"context"
	"slices"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"mallard/internal/address"
	"mallard/internal/mail"
	"mallard/internal/message"
	"mallard/internal/store"
)

const (
	// colRegister is the register of addresses that accounts have mail with: other programs propose them while one is typed.
	colRegister = "addressregister"
	// registerQueue is how many messages may wait to be looked at; those of more are not registered.
	registerQueue = 1000
	// registerBatch is how many rows are written together, and registerPause how long the first of them waits for others: ten
	// rows of one command take the databases little more than two of their own.
	registerBatch = 100
	registerPause = 250 * time.Millisecond
	// registerAge is how long a row that was written is not written again, and registerKnown how many are known. An address
	// is proposed for months; when it was last seen need not be exact.
	registerAge   = 10 * time.Minute
	registerKnown = 20_000
	// registerAddresses is how many addresses of one message are registered.
	registerAddresses = 100
	// registerClose is how long Close waits for rows that are not written yet.
	registerClose = 2 * time.Second
)

// correspondence is a message whose addresses are to be registered.
type correspondence struct {
	acct    mail.AccountID
	sent    bool // the recipients count, not the sender
	summary []byte
	header  []byte
}

// contact is a row of the register.
type contact struct {
	acct                mail.AccountID
	address, view, name string
}

// register writes the register of addresses, behind the back of those who store messages.
type register struct {
	s     *Store
	queue chan correspondence
	known contactCache
}

func (s *Store) startRegister() {
	s.register = &register{s: s, queue: make(chan correspondence, registerQueue)}
	s.background.Go(s.register.run)
}

// note takes notice of messages that have come into a mailbox.
func (r *register) note(acct mail.AccountID, box *mail.Mailbox, in []store.Append, staged []*staged) {
	if box.SpecialUse == mail.UseJunk || box.SpecialUse == mail.UseDrafts {
		return
	}
	for i, st := range staged {
		if in[i].Flags.Has(mail.Draft) {
			continue
		}
		select {
		case r.queue <- correspondence{acct, box.SpecialUse == mail.UseSent, st.desc.summary, st.desc.header}:
		default: // the database is behind; that an address is proposed is not worth waiting for
		}
	}
}

// run writes until the store is closed, and then what waits, as long as registerClose.
func (r *register) run() {
	ctx, cancel := context.WithCancel(context.WithoutCancel(r.s.closing))
	defer cancel()
	stop := context.AfterFunc(r.s.closing, func() { time.AfterFunc(registerClose, cancel) })
	defer stop()
	for r.s.closing.Err() == nil {
		select {
		case c := <-r.queue:
			r.gather()
			r.write(ctx, r.collect(c))
		case <-r.s.closing.Done():
		}
	}
	for ctx.Err() == nil {
		select {
		case c := <-r.queue:
			r.write(ctx, r.collect(c))
		default:
			return
		}
	}
}

// gather waits for more messages, unless enough are there.
func (r *register) gather() {
	if len(r.queue) >= registerBatch {
		return
	}
	select {
	case <-time.After(registerPause):
	case <-r.s.closing.Done():
	}
}

// collect returns the contacts of a message and of others that wait, without those that are known.
func (r *register) collect(c correspondence) []contact {
	var out []contact
	for {
		now := r.s.o.Now()
		for _, one := range contactsOf(c) {
			if r.known.add(one, now) {
				out = addContact(out, one)
			}
		}
		if len(out) >= registerBatch {
			return out
		}
		select {
		case c = <-r.queue:
		default:
			return out
		}
	}
}

// addContact adds a contact to others. Those of one row become one: the operations of a command may be done in any order.
func addContact(to []contact, c contact) []contact {
	i := slices.IndexFunc(to, func(o contact) bool { return o.acct == c.acct && o.view == c.view })
	if i < 0 {
		return append(to, c)
	}
	to[i].name = cmp.Or(c.name, to[i].name)
	return to
}

// contactsOf are the addresses of a message that are worth proposing: not those of mail that no person wrote.
func contactsOf(c correspondence) []contact {
	sum, err := message.DecodeSummary(c.summary)
	if err != nil || automatic(c.header) {
		return nil
	}
	lists := [][]message.Address{sum.From}
	if c.sent {
		lists = [][]message.Address{sum.To, sum.Cc, sum.Bcc}
	}
	var out []contact
	seen := map[string]bool{}
	for _, l := range lists {
		inGroup := false // members of groups are not taken, as by WildDuck
		for _, a := range l {
			if a.Kind != message.Mailbox {
				inGroup = a.Kind == message.GroupStart
			}
			if inGroup || a.Kind != message.Mailbox || a.Mailbox == "" || a.Host == "" || len(out) == registerAddresses {
				continue
			}
			own := address.Normalize(a.Addr())
			one := contact{c.acct, own, address.View(own), a.Name}
			if strings.Contains(own, "noreply") || strings.Contains(own, "no-reply") || !address.ValidEmail(own) || seen[one.view] {
				continue
			}
			seen[one.view] = true
			out = append(out, one)
		}
	}
	return out
}

// automatic reports whether a header says that a program wrote the message.
func automatic(header []byte) bool {
	for f := range message.Fields(header) {
		for _, name := range []string{"list-id", "auto-submitted", "x-auto-response-suppress"} {
			if strings.EqualFold(string(f.Name), name) {
				return true
			}
		}
	}
	return false
}

// write writes rows, as WildDuck does: the row of an address that is not disabled, with a name once one was seen.
func (r *register) write(ctx context.Context, contacts []contact) {
	if len(contacts) == 0 {
		return
	}
	now := stored(r.s.o.Now())
	models := make([]mongo.WriteModel, 0, len(contacts))
	for _, c := range contacts {
		set := bson.D{{Key: "updated", Value: now}}
		if c.name != "" {
			set = append(set, bson.E{Key: "name", Value: c.name})
		}
		models = append(models, mongo.NewUpdateOneModel().SetUpsert(true).
			SetFilter(bson.D{{Key: "user", Value: oid(c.acct)}, {Key: "addrview", Value: c.view}, {Key: "disabled", Value: false}}).
			SetUpdate(bson.D{{Key: "$set", Value: set}, {Key: "$setOnInsert", Value: bson.D{{Key: "address", Value: c.address}}}}))
	}
	err := r.s.again(ctx, func(ctx context.Context) error {
		_, err := r.s.db.main.Collection(colRegister).BulkWrite(ctx, models, options.BulkWrite().SetOrdered(false))
		return err
	})
	if err != nil {
		r.s.o.Logger.Warn("cannot register addresses", "addresses", len(contacts), "error", err)
	}
}

// contactCache knows the rows that were written lately. Only the writer uses it.
type contactCache struct {
	order dll.List // of contactTime, the oldest first
	known map[contact]*dll.Element
}

type contactTime struct {
	contact contact
	at      time.Time
}

// add reports whether a row is to be written, and takes it that this is done.
func (k *contactCache) add(c contact, now time.Time) bool {
	if k.known == nil {
		k.known = make(map[contact]*dll.Element)
	}
	if e, ok := k.known[c]; ok {
		last := e.Value.(contactTime)
		if now.Sub(last.at) < registerAge {
			return false
		}
		k.order.Remove(e)
	}
	k.known[c] = k.order.PushBack(contactTime{c, now})
	for e := k.order.Front(); e != nil && (len(k.known) > registerKnown || now.Sub(e.Value.(contactTime).at) >= registerAge); e = k.order.Front() {
		delete(k.known, e.Value.(contactTime).contact)
		k.order.Remove(e)
	}
	return true
}
