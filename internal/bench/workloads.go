package bench

import "context"

// groups is the list of everything that is measured. The counts are chosen so that a run takes a fast server about
// a second and Debian's Dovecot less than half a minute.
func groups() []group {
	one := func(name, title string, run func(ctx context.Context, r *run) error) group {
		return group{workloads: []Workload{{Name: name, Title: title}}, run: run}
	}
	once := func(name, title string, run func(ctx context.Context, r *run) error) group {
		g := one(name, title, run)
		g.once = true
		return g
	}
	return append([]group{
		// First, because memory that other workloads have taken and freed would hide what this one takes.
		once("big", "memory of the server while one message of 64 MiB goes in by LMTP and out by FETCH", big),
		// Then these, because what a server clears up of other workloads would count for them.
		once("disk-4k", "disk used per byte delivered, 4 kB mean", footprint{profile: ProfileSmall, count: 20_000}.run),
		once("disk-30k", "disk used per byte delivered, 30 kB mean", footprint{profile: ProfileMixed, count: 5000}.run),
		once("disk-attachments", "disk used per byte delivered, 300 messages that carry the same attachments", footprint{profile: ProfileAttachments, count: 300}.run),
		one("lmtp-1", "deliver 4 kB mean by LMTP, 1 connection, one user",
			delivery{profile: ProfileSmall, count: 3000, connections: 1, users: 1}.run),
		one("lmtp-8-100users", "deliver 4 kB mean by LMTP, 8 connections, 100 users",
			delivery{profile: ProfileSmall, count: 10_000, connections: 8, users: 100}.run),
		one("lmtp-8-1user", "deliver 4 kB mean by LMTP, 8 connections, one user",
			delivery{profile: ProfileSmall, count: 8000, connections: 8, users: 1}.run),
		one("lmtp-8-30k", "deliver 30 kB mean by LMTP, 8 connections, 100 users",
			delivery{profile: ProfileMixed, count: 6000, connections: 8, users: 100}.run),
		one("lmtp-10rcpt", "deliver 4 kB mean by LMTP, 1 connection, each message to the same 10 users",
			delivery{profile: ProfileSmall, count: 300, connections: 1, users: 10, toAll: true}.run),
		one("append-1-small", "APPEND 4 kB mean, 1 session",
			appending{profile: ProfileSmall, count: 4000, sessions: 1, users: 1}.run),
		one("append-8-30k", "APPEND 30 kB mean, 8 sessions of 8 users",
			appending{profile: ProfileMixed, count: 8000, sessions: 8, users: 8}.run),
		{
			workloads: []Workload{
				{Name: "fetch-meta-first", Title: "FETCH 1:* of ENVELOPE BODYSTRUCTURE and header fields, 10,000 messages of 30 kB mean, never read before"},
				{Name: "fetch-meta-again", Title: "the same again, in a new session"},
				{Name: "fetch-body-1", Title: "FETCH 1:* BODY.PEEK[], 10,000 messages of 30 kB mean, 1 session"},
				{Name: "fetch-body-4", Title: "the same from 4 sessions at once"},
			},
			run: fetching{profile: ProfileMixed, count: 10_000, meta: true, suffix: ""}.run,
		},
		{
			workloads: []Workload{
				{Name: "fetch-body-1-small", Title: "FETCH 1:* BODY.PEEK[], 10,000 messages of 4 kB mean, 1 session"},
				{Name: "fetch-body-4-small", Title: "the same from 4 sessions at once"},
			},
			run: fetching{profile: ProfileSmall, count: 10_000, suffix: "-small"}.run,
		},
		one("notify", "from LMTP's 250 to the EXISTS that an idling session of the mailbox reads", notify),
		once("growth", "delivery rate and memory as one mailbox grows", growth),
	}, cluster()...)
}

// SetCluster is the name of the workloads that are measured on a database server: fewer and larger messages, and what a
// node costs by itself. In all of them the driver acknowledges at once what it reads (TCP_QUICKACK).
const SetCluster = "cluster"

func cluster() []group {
	var groups []group
	add := func(measure func(ctx context.Context, r *run) error, workloads ...Workload) {
		for i := range workloads {
			workloads[i].Set = SetCluster
		}
		groups = append(groups, group{workloads: workloads, run: func(ctx context.Context, r *run) error {
			r.o.quick = true
			defer func() { r.o.quick = false }()
			return measure(ctx, r)
		}})
	}
	// First, because memory that other workloads have taken and freed would hide what this one takes.
	add(idle, Workload{Name: "idle", Title: "memory of a node with 1,000 idling sessions of 100 users"})
	add(delivery{profile: ProfileLetter, count: 500, connections: 1, users: 1}.run,
		Workload{Name: "lmtp-1-10k", Title: "deliver 10 kB mean by LMTP, 1 connection, one user"})
	add(delivery{profile: ProfileLetter, count: 500, connections: 8, users: 8}.run,
		Workload{Name: "lmtp-8-10k", Title: "deliver 10 kB mean by LMTP, 8 connections, 8 users"})
	add(delivery{profile: ProfileLetter, count: 500, connections: 8, users: 1}.run,
		Workload{Name: "lmtp-8-10k-1user", Title: "deliver 10 kB mean by LMTP, 8 connections, one user"})
	add(reading{count: 500}.run,
		Workload{Name: "list-500", Title: "FETCH 1:* of ENVELOPE, BODYSTRUCTURE and what else a list shows, 500 messages of 10 kB mean"},
		Workload{Name: "body-500", Title: "FETCH 1:* BODY.PEEK[] of the same mailbox"},
		Workload{Name: "body-single", Title: "FETCH n BODY.PEEK[], one message at a time"},
		Workload{Name: "store-500", Title: "STORE 1:* of a flag"},
		Workload{Name: "search-body", Title: "SEARCH BODY of a word that half of the messages have"},
		Workload{Name: "search-body-rare", Title: "the same of a word that one in a hundred to one in ten has"},
		Workload{Name: "api-search", Title: "search by the HTTP API for a word that half of the messages have"},
		Workload{Name: "api-search-rare", Title: "the same for a word that one in a hundred to one in ten has"})
	add(notify, Workload{Name: "notify-other", Title: "from LMTP's 250 of one node to the EXISTS that an idling session of another node reads"})
	return groups
}
