package storetest

import (
	"strings"

	"mallard/internal/mail"
	"mallard/internal/store"
)

// script is one of everything that changes a store, with small and large
// content, shared and not, for the crash and fault matrices.
func script() []op {
	small := func(n int, flags ...string) message {
		sys := mail.NewFlags(0, flags...)
		return message{content: func() *store.Content { return note(n) }, Append: store.Append{Flags: sys, InternalDate: testDate(n), MetaData: `{"n":1}`}}
	}
	large := func(seed uint64, size, width int) message {
		return message{
			content: func() *store.Content {
				return multipart("large", attachment(size, width, "\r\n", seed), part{typ: "text/plain", encoding: "7bit", body: "x"})
			},
			Append: store.Append{Prefix: []byte("Delivered-To: u\r\n"), InternalDate: testDate(int(seed))},
		}
	}
	text := message{content: func() *store.Content {
		return content([]byte("Subject: text\r\n\r\n"+strings.Repeat("a long text that compresses\r\n", 5000)+string(random(70_000, 5))), "8bit")
	}}
	seen := store.FlagUpdate{Flags: mail.NewFlags(mail.Seen, "kw")}
	return []op{
		opCreateAccount("user", true),
		opAppend("INBOX", noQuota, small(1, "first")),
		opAppend("INBOX", noQuota, small(2), large(1, 300_000, 76), small(3)),
		opRecent("INBOX", 2),
		opFlags("INBOX", []int{0, 1}, seen),
		opFlags("INBOX", []int{2}, store.FlagUpdate{Mode: store.FlagsReplace, Flags: mail.NewFlags(mail.Deleted)}),
		opCreate("a/b", 0),
		opCopy("INBOX", "a", []int{0, 1, 2, 3}, false, noQuota),
		opAppend("a", noQuota, large(1, 300_000, 72)), // the same file, wrapped differently
		opExpunge("INBOX", []int{0, 1, 2, 3}, true),
		opCopy("INBOX", "a/b", []int{0, 1}, true, noQuota),
		opRename("a", "new", "a/b", "new/b"),
		opAppend("new", 0, large(2, 90_000, 76)), // exactly the quota
		opAppend("new", -1, small(4)),            // refused
		opUpdateMailbox("new", mail.UseSent, false),
		opAddress("second@example.com", true),
		opUpdateAccount("tag"),
		opCreateAccount("other", false),
		opAppend("INBOX", noQuota, text),
		opFlags("new", []int{0, 1, 2, 3, 4, 5}, store.FlagUpdate{Flags: mail.NewFlags(mail.Flagged)}),
		opCopy("new", "new", []int{4, 5}, false, noQuota),
		opExpunge("new", []int{0, 2, 4}, false),
		opRecent("new", 7),
		opRecount(),
		opDelete("new/b", 100),
		opSubscribe("gone", true, 100),
		opSubscribe("new", true, 100),
		opCreate("new/b", 0),
		opSubscribe("gone", false, 100),
		opDelete("new/b", 100),
		opSubscribe("INBOX", false, 100),
		opDeleteAccount("other"),
		opMaintain(),
		opRecord("key", "value"),
		opCopy("new", "INBOX", []int{0, 1, 2}, true, noQuota),
		opExpunge("INBOX", []int{0, 1, 2, 3, 4, 5}, false),
		opMaintain(),
		opRename("new", "new/b"),
		opSubscribe("new", true, 3),
		opSubscribe("late", true, 3),                      // no room
		opAppend("INBOX", noQuota, large(1, 300_000, 76)), // comes again
		opAppend("INBOX", noQuota, small(5), small(6)),
		opRecord("key", ""),
	}
}
