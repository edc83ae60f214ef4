package imap

import (
	"fmt"
	"slices"

	"mallard/internal/imap/imapwire"
	"mallard/internal/mail"
)

// uidSet turns a set of UIDs into one with real numbers. "*" is the last message;
// what does not exist stays in the set and does no harm.
func (s *session) uidSet(set imapwire.NumSet) (mail.UIDSet, error) {
	if set.Saved {
		return nil, &imapwire.Error{Kind: imapwire.Bad, Text: "No search result is saved"}
	}
	var out mail.UIDSet
	for _, r := range set.Resolve(uint32(s.view.Last())).Ranges {
		out = append(out, mail.UIDRange{First: mail.UID(r.Start), Last: mail.UID(r.Stop)})
	}
	return out, nil
}

// seqSet turns a set of sequence numbers into UIDs. A number beyond the last
// message is an error of the client, and "*" in an empty mailbox is one (RFC 3501,
// 9, seq-number).
func (s *session) seqSet(set imapwire.NumSet) (mail.UIDSet, error) {
	n := uint32(s.view.Len())
	if top := set.Largest(); top > n {
		return nil, &imapwire.Error{Kind: imapwire.Bad, Text: fmt.Sprintf("Message %d does not exist, there are %d", top, n)}
	}
	if n == 0 && set.Dynamic() {
		return nil, &imapwire.Error{Kind: imapwire.Bad, Text: "There are no messages"}
	}
	return s.existing(set)
}

// existing is seqSet for SEARCH, where a message that does not exist is one that
// is not found: clients search for 1:* without asking whether there is any.
func (s *session) existing(set imapwire.NumSet) (mail.UIDSet, error) {
	if set.Saved {
		return nil, &imapwire.Error{Kind: imapwire.Bad, Text: "No search result is saved"}
	}
	uids := s.view.UIDs()
	n := uint32(len(uids))
	out := mail.UIDSet{}
	if n == 0 {
		return out, nil
	}
	for _, r := range set.Resolve(n).Ranges {
		r.Stop = min(r.Stop, n)
		if r.Start == 1 && r.Stop == n {
			// All messages: one range says it, whatever gaps there are. It ends
			// with the last message that the client knows.
			return mail.UIDSet{{First: uids[0], Last: uids[n-1]}}, nil
		}
		for i := r.Start; i <= r.Stop; i++ {
			out = out.Append(uids[i-1])
		}
	}
	return out, nil
}

// set turns the set of a command into UIDs, by the form of the command.
func (s *session) set(cmd *imapwire.Command, set imapwire.NumSet) (mail.UIDSet, error) {
	if cmd.UID {
		return s.uidSet(set)
	}
	return s.seqSet(set)
}

// known counts the messages of a set that the client knows.
func (s *session) known(set mail.UIDSet) int {
	uids, n := s.view.UIDs(), 0
	for _, r := range set {
		from, _ := slices.BinarySearch(uids, r.First)
		to, found := slices.BinarySearch(uids, r.Last)
		if found {
			to++
		}
		n += to - from
	}
	return n
}

// wireUIDs converts UIDs for the wire layer.
func wireUIDs(uids []mail.UID) []uint32 {
	out := make([]uint32, len(uids))
	for i, u := range uids {
		out[i] = uint32(u)
	}
	return out
}
