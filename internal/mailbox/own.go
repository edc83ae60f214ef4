package mailbox

import (
	"context"

	"mallard/internal/mail"
	"mallard/internal/store"
)

// UpdateFlags changes flags as the session of the view, which is not told of its
// own change by the next Update. Unless silent is set, the caller tells its client
// the flags of FlagResult.Existing itself. With silent the client is told nothing
// and works out the flags: that goes well only when nobody else has changed them
// since what it knows, so otherwise the next Update does tell them (RFC 3501,
// 6.4.6).
//
// The view learns what happened before, as by Sync. Errors: those of
// store.Messages.UpdateFlags.
func (v *View) UpdateFlags(ctx context.Context, u store.FlagUpdate, silent bool) (*store.FlagResult, error) {
	var before *mail.HotRows
	if silent {
		if err := v.sync(ctx, func() { before = v.sh.rows.Snapshot() }); err != nil {
			return nil, err
		}
	}
	res, err := v.svc.UpdateFlags(ctx, v.sh.key.acct, v.sh.key.mbox, u)
	if err != nil {
		return nil, err
	}
	if silent {
		for _, r := range res.Changed {
			if i, ok := before.Find(r.UID); ok && updated(before.At(i).Flags, &u) == r.Flags {
				v.noteOwn(r)
			}
		}
		return res, nil
	}
	for _, r := range res.Existing {
		if !res.Modified.Contains(r.UID) {
			v.Told(r)
		}
	}
	return res, nil
}

// updated returns flags as an update makes them. Keywords that stay keep their
// spelling.
func updated(f mail.Flags, u *store.FlagUpdate) mail.Flags {
	switch u.Mode {
	case store.FlagsAdd:
		return f.Add(u.Flags)
	case store.FlagsRemove:
		return f.Remove(u.Flags)
	default:
		return f.Remove(f.Remove(u.Flags)).Add(u.Flags)
	}
}

// Told says that the client was told the flags of a message as of a mod-sequence,
// so that the next Update does not tell them again.
func (v *View) Told(r mail.HotRow) {
	if ms, ok := v.flagged[r.UID]; ok && ms <= r.ModSeq {
		delete(v.flagged, r.UID)
	}
	v.noteOwn(r)
}

func (v *View) noteOwn(r mail.HotRow) {
	if r.ModSeq <= v.told {
		return // Sync has learnt it before
	}
	if _, known := v.Seq(r.UID); !known {
		return // the message itself has not been told of
	}
	if v.own == nil {
		v.own = make(map[mail.UID]mail.ModSeq)
	}
	v.own[r.UID] = r.ModSeq
}
