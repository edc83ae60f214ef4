package pebblestore

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/sstable"

	"mallard/internal/mail"
)

// rows reads everything there is, so that no checksum of the database is left out,
// and looks for rows that belong to nothing.
func (c *checker) rows() error {
	x := strays{c: c}
	return c.each("all rows", nil, func(key, _ []byte) error {
		c.count("rows")
		if n := c.report.Counts["rows"]; n%1000 == 0 {
			c.progress("rows", n, 0, "rows")
		}
		x.row(key)
		return nil
	})
}

// strays looks for rows of accounts and mailboxes that do not exist. Rows are in the
// order of their keys, so that each account and mailbox is looked for once a table.
type strays struct {
	c      *checker
	acct   string // the account that was looked at last, and its answer
	noAcct bool
	box    string // table and mailbox
}

func (x *strays) row(key []byte) {
	switch {
	case len(key) == 0 || !strings.ContainsRune(storeTables, rune(key[0])):
		x.c.problem("all rows", "%x is of an unknown table", key)
	case key[0] == tabMeta && len(key) != 1 && string(key) != string(orphansKey()):
		x.c.problem("all rows", "%x is of an unknown table", key)
	case key[0] == tabOwned:
		x.owned(key)
	}
}

const (
	// storeTables are the tables of the whole store, accountTables those of an account,
	// and boxTables those of them whose keys go on with a mailbox.
	storeTables   = "EAUDVZKcCgGu"
	accountTables = "BWNMHmxitjhndbsr"
	boxTables     = "Hmxit"
)

func (x *strays) owned(key []byte) {
	if len(key) < ownedSize || !strings.ContainsRune(accountTables, rune(key[ownedSize-1])) {
		x.c.problem("all rows", "%x is of an unknown table", key)
		return
	}
	acct := mail.AccountID(key[1 : 1+idSize])
	if x.acct != string(acct[:]) {
		x.acct, x.box, x.noAcct = string(acct[:]), "", false
		there, err := x.c.has(idKey(tabAccount, acct))
		if x.noAcct = err == nil && !there; x.noAcct && !x.c.deletingAccount[acct] {
			x.c.problem(fmt.Sprintf("account %s", acct), "it does not exist, but there are rows that belong to it")
		}
	}
	tab := key[ownedSize-1]
	if x.noAcct || !strings.ContainsRune(boxTables, rune(tab)) {
		return
	}
	if len(key) < boxKeySize {
		x.c.problem("all rows", "%x is too short", key)
		return
	}
	if x.box == string(key[ownedSize-1:boxKeySize]) {
		return
	}
	x.box = string(key[ownedSize-1 : boxKeySize])
	box := mail.MailboxID(key[ownedSize:boxKeySize])
	there, err := x.c.has(boxKey(tabMailbox, acct, box))
	if err != nil || there {
		return
	}
	for _, deleting := range x.c.deletingBoxes[acct] {
		if deleting == box {
			return
		}
	}
	x.c.problem(fmt.Sprintf("mailbox %s of account %s", box, acct), "it does not exist, but there are rows of table %q that belong to it", tab)
}

// files reads every block of every table of the database from the disk, those too that
// reading rows leaves out or takes from memory.
func (c *checker) files() error {
	levels, err := c.s.db.SSTables()
	if err != nil {
		return readError("list the tables of the database", err)
	}
	o := &pebble.Options{Filters: map[string]pebble.FilterPolicy{}}
	policy := bloom.FilterPolicy(filterBits)
	o.Filters[policy.Name()] = policy
	o.EnsureDefaults()
	for _, level := range levels {
		for i := range level {
			if c.ctx.Err() != nil {
				return canceled(c.ctx)
			}
			name := fmt.Sprintf("%06d.sst", uint64(level[i].BackingSSTNum))
			c.count("database files")
			c.progress("database files", c.report.Counts["database files"], 0, "files")
			path := c.s.fs.PathJoin(c.s.opt.Dir, dbDir, name)
			if err := c.table(path, o.MakeReaderOptions()); err != nil && !isGone(err) { // gone: compacted since it was listed
				c.problem("file "+path, "it is damaged: %v", err)
			}
		}
	}
	return nil
}

func (c *checker) table(path string, o sstable.ReaderOptions) (err error) {
	f, err := c.s.fs.Open(path)
	if err != nil {
		return err
	}
	in, err := sstable.NewSimpleReadable(f)
	if err != nil {
		return errors.Join(err, f.Close())
	}
	r, err := sstable.NewReader(context.Background(), in, o)
	if err != nil {
		return errors.Join(err, in.Close())
	}
	return errors.Join(r.ValidateBlockChecksums(), r.Close())
}
