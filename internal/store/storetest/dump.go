package storetest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"mallard/internal/mail"
	"mallard/internal/store"
)

// state is all that can be read of a store.
type state struct {
	Accounts  []*mail.Account
	Addresses []*mail.Address
	Mailboxes []boxState
	Names     []nameState
	Journal   []store.JournalEntry
}

// nameState is a path that is subscribed without a mailbox.
type nameState struct {
	Account mail.AccountID
	Path    string
}

// boxState is a mailbox with its messages.
type boxState struct {
	Account  mail.AccountID
	Row      mail.Mailbox
	Counters mail.Counters
	Rows     []store.Row
	Content  [][sha256.Size]byte // of the messages' octets
}

// dump reads a whole store, and checks on the way that what it reads fits together.
func dump(ctx context.Context, s store.Store) (*state, error) { return dumpSome(ctx, s, true) }

// dumpSome is dump with or without the octets of the messages.
func dumpSome(ctx context.Context, s store.Store, octets bool) (*state, error) {
	accounts, err := s.ListAccounts(ctx, store.AccountQuery{})
	if err != nil {
		return nil, fmt.Errorf("list accounts: %w", err)
	}
	addresses, err := s.ListAddresses(ctx, store.AddressQuery{})
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	st := &state{Accounts: accounts.Accounts, Addresses: addresses.Addresses}
	for _, a := range st.Accounts {
		if err := st.addAccount(ctx, s, a, octets); err != nil {
			return nil, fmt.Errorf("account %s: %w", a.Username, err)
		}
	}
	return st, nil
}

func (st *state) addAccount(ctx context.Context, s store.Store, a *mail.Account, octets bool) error {
	boxes, err := s.ListMailboxes(ctx, a.ID)
	if err != nil {
		return fmt.Errorf("list mailboxes: %w", err)
	}
	var used int64
	emails := make(map[mail.EmailID][sha256.Size]byte)
	ids := make(map[mail.MessageID]bool)
	counters, err := s.Counters(ctx, a.ID, mail.MailboxIDs(boxes)...)
	if err != nil {
		return fmt.Errorf("count messages: %w", err)
	}
	for _, b := range boxes {
		bs, err := dumpMailbox(ctx, s, a.ID, b, counters[b.ID], octets)
		if err != nil {
			return fmt.Errorf("mailbox %s: %w", b.Path, err)
		}
		st.Mailboxes = append(st.Mailboxes, *bs)
		used += bs.Counters.Size
		for i, r := range bs.Rows {
			other, known := emails[r.EmailID]
			if known && other != bs.Content[i] || ids[r.ID] {
				return fmt.Errorf("mailbox %s: UID %d has the email id %v of other octets or the message id %v of another", b.Path, r.UID, r.EmailID, r.ID)
			}
			emails[r.EmailID], ids[r.ID] = bs.Content[i], true
		}
	}
	if err := sameThreads(ctx, s, a.ID, st.Mailboxes[len(st.Mailboxes)-len(boxes):]); err != nil {
		return err
	}
	if used != a.StorageUsed {
		return fmt.Errorf("StorageUsed is %d, the mailboxes hold %d octets", a.StorageUsed, used)
	}
	if err := st.addNames(ctx, s, a.ID, boxes); err != nil {
		return err
	}
	journal, err := s.ReadJournal(ctx, a.ID, mail.JournalID{}, 1<<20)
	if err != nil {
		return fmt.Errorf("read journal: %w", err)
	}
	st.Journal = append(st.Journal, journal...)
	return nil
}

// addNames reads the paths that are subscribed without a mailbox.
func (st *state) addNames(ctx context.Context, s store.Store, acct mail.AccountID, listed []*mail.Mailbox) error {
	boxes, names, err := s.Subscriptions(ctx, acct)
	if err != nil {
		return fmt.Errorf("list subscriptions: %w", err)
	}
	if !reflect.DeepEqual(boxes, listed) {
		return fmt.Errorf("with subscriptions the mailboxes are not those that are listed:\n%s", cmp.Diff(listed, boxes))
	}
	if !slices.IsSorted(names) {
		return fmt.Errorf("the subscribed names %q are not in order", names)
	}
	for _, n := range names {
		if slices.ContainsFunc(boxes, func(b *mail.Mailbox) bool { return b.Path == n }) {
			return fmt.Errorf("%q is subscribed without a mailbox, and there is one", n)
		}
		st.Names = append(st.Names, nameState{acct, n})
	}
	return nil
}

// dumpMailbox reads a mailbox and checks its counters.
func dumpMailbox(ctx context.Context, s store.Store, acct mail.AccountID, b *mail.Mailbox, c mail.Counters, octets bool) (*boxState, error) {
	bs := &boxState{Account: acct, Row: *b, Counters: c}
	var counted mail.Counters
	for row, err := range s.Fetch(ctx, acct, b.ID, store.FetchQuery{Fields: allFields}) {
		if err != nil {
			return nil, fmt.Errorf("fetch: %w", err)
		}
		var sum [sha256.Size]byte
		if octets {
			if sum, err = digest(row); err != nil {
				return nil, fmt.Errorf("UID %d: %w", row.UID, err)
			}
		}
		bs.Rows, bs.Content = append(bs.Rows, detach(row)), append(bs.Content, sum)
		counted.Add(1, row.Flags, row.Size)
		if row.UID >= b.UIDNext || row.ModSeq > b.HighestModSeq {
			return nil, fmt.Errorf("UID %d with mod-sequence %d in a mailbox with UIDNEXT %d and HIGHESTMODSEQ %d", row.UID, row.ModSeq, b.UIDNext, b.HighestModSeq)
		}
	}
	if c != counted {
		return nil, fmt.Errorf("counters are %+v, counted %+v", c, counted)
	}
	return bs, nil
}

// digest reads the octets of a message and compares them with its row.
func digest(row *store.Row) (sum [sha256.Size]byte, err error) {
	body, err := row.Open()
	if err != nil {
		return sum, fmt.Errorf("open: %w", err)
	}
	data, err := readBody(body)
	if err != nil {
		return sum, fmt.Errorf("read: %w", err)
	}
	if int64(len(data)) != row.Size || !bytes.HasPrefix(data, row.Header) {
		return sum, fmt.Errorf("%d octets that begin with %q; the row says %d and %q", len(data), cut(data), row.Size, cut(row.Header))
	}
	return sha256.Sum256(data), nil
}

// same reports whether another state is equal in every way, times written
// differently not allowed for, and did not go back.
func (st *state) same(o *state) bool {
	return st.wentBack(o) == "" && reflect.DeepEqual(st.settled(), o.settled())
}

// differs returns how another state of the same store differs, "" when it does
// not. What an engine may skip when it starts again (UIDNEXT, HIGHESTMODSEQ) must
// not be smaller.
func (st *state) differs(o *state) string {
	if st.same(o) {
		return ""
	}
	if back := st.wentBack(o); back != "" {
		return back
	}
	return cmp.Diff(st.settled(), o.settled(), rowOptions())
}

func (st *state) wentBack(o *state) string {
	for i, b := range st.Mailboxes {
		if i < len(o.Mailboxes) && b.Row.ID == o.Mailboxes[i].Row.ID {
			if got := o.Mailboxes[i].Row; got.UIDNext < b.Row.UIDNext || got.HighestModSeq < b.Row.HighestModSeq {
				return fmt.Sprintf("%s went back from UIDNEXT %d and HIGHESTMODSEQ %d to %d and %d",
					b.Row.Path, b.Row.UIDNext, b.Row.HighestModSeq, got.UIDNext, got.HighestModSeq)
			}
		}
	}
	return ""
}

// settled returns the state without what an engine may skip.
func (st *state) settled() *state {
	c := *st
	c.Mailboxes = slices.Clone(st.Mailboxes)
	for i := range c.Mailboxes {
		c.Mailboxes[i].Row.UIDNext, c.Mailboxes[i].Row.HighestModSeq = 0, 0
	}
	return &c
}

// lowerSorted returns texts in lower case and order.
func lowerSorted(in []string) []string {
	var out []string
	for _, s := range in {
		out = append(out, strings.ToLower(s))
	}
	slices.Sort(out)
	return out
}

// shape is a state without what each store chooses for itself: ids, UIDs,
// mod-sequences and times. It is how an engine is compared with the model.
type shape struct {
	Used      int64
	Main      string
	Tags      []string
	Accounts  []string
	Addresses []string
	Mailboxes []boxShape
	Names     []string
}

type boxShape struct {
	Path                  string
	Use                   mail.SpecialUse
	Subscribed, Hidden    bool
	Messages, Unseen, Del int64
	Keywords              []string
	Rows                  []rowShape
}

type rowShape struct {
	Flags, Date, MetaData, Info string
	Size                        int64
	Fields                      string
	Expires                     bool
	Thread                      int // messages of one thread have the same number
	Content                     [sha256.Size]byte
}

// shape returns the shape of one account.
func (st *state) shape(acct mail.AccountID) *shape {
	sh := &shape{}
	for _, a := range st.Accounts {
		if a.ID == acct {
			sh.Used, sh.Main, sh.Tags = a.StorageUsed, a.Address, append([]string(nil), a.Tags...)
		}
		sh.Accounts = append(sh.Accounts, a.Username)
	}
	slices.Sort(sh.Accounts)
	for _, a := range st.Addresses {
		sh.Addresses = append(sh.Addresses, fmt.Sprintf("%s %s %v %q", a.Address, a.View, a.Account == acct, a.Tags))
	}
	for _, n := range st.Names {
		if n.Account == acct {
			sh.Names = append(sh.Names, n.Path)
		}
	}
	threads := make(map[mail.ThreadID]int)
	for _, b := range st.Mailboxes {
		if b.Account != acct {
			continue
		}
		bs := boxShape{
			Path: b.Row.Path, Use: b.Row.SpecialUse, Subscribed: b.Row.Subscribed, Hidden: b.Row.Hidden,
			Messages: b.Counters.Messages, Unseen: b.Counters.Unseen, Del: b.Counters.Deleted, Keywords: lowerSorted(b.Row.Keywords),
		}
		for i, r := range b.Rows {
			bs.Rows = append(bs.Rows, rowShape{
				Flags: fmt.Sprint(r.Flags.List()), Date: r.InternalDate.UTC().Truncate(1e9).String(), MetaData: r.MetaData, Info: r.Info, Size: r.Size,
				Fields:  fmt.Sprintf("%q %q %q %q %q %d", r.Envelope, r.BodyStructure, r.Tree, r.Summary, r.Header, r.PrefixLen),
				Expires: !r.Expires.IsZero(), Thread: number(threads, r.ThreadID), Content: b.Content[i],
			})
		}
		sh.Mailboxes = append(sh.Mailboxes, bs)
	}
	return sh
}

// number returns the number of a thread in the order of first use.
func number(seen map[mail.ThreadID]int, id mail.ThreadID) int {
	if seen[id] == 0 {
		seen[id] = len(seen) + 1
	}
	return seen[id]
}

// differs returns how another shape differs.
func (sh *shape) differs(o *shape) string {
	if reflect.DeepEqual(sh, o) {
		return "" // cmp is slow
	}
	return cmp.Diff(sh, o, cmpopts.EquateEmpty())
}
