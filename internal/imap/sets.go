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
// message is an error of the client (RFC 3501, 9, seq-number).
func (s *session) seqSet(set imapwire.NumSet) (mail.UIDSet, error) {
	if set.Saved {
		return nil, &imapwire.Error{Kind: imapwire.Bad, Text: "No search result is saved"}
	}
	n := uint32(s.view.Len())
	if top := set.Largest(); top > n {
		return nil, &imapwire.Error{Kind: imapwire.Bad, Text: fmt.Sprintf("Message %d does not exist, there are %d", top, n)}
	}
	uids := s.view.UIDs()
	var out mail.UIDSet
	for _, r := range set.Resolve(n).Ranges {
		if r.Start == 1 && r.Stop == n {
			// All messages: one range says it, whatever gaps there are. It ends
			// with the last message that the client knows.
			return mail.UIDSet{{First: uids[0], Last: uids[n-1]}}, nil
		}
		for _, u := range uids[r.Start-1 : r.Stop] {
			out = out.Append(u)
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
