package pebblestore

import (
	"bytes"
	"fmt"
	"strings"

	"mallard/internal/mail"
)

// directory checks names, addresses and what else belongs to no account: that each
// row is found by its name and by its id.
func (c *checker) directory() error {
	c.progress("names and addresses", 0, 0, "")
	for _, step := range []func() error{c.usernames, c.addresses, c.addressIDs, c.aliases, c.records} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func (c *checker) usernames() error {
	return c.each("usernames", []byte{tabUsername}, func(key, value []byte) error {
		c.count("usernames")
		view, where := string(key[1:]), "username "+string(key[1:])
		if len(value) != idSize {
			c.problem(where, "the row has %d octets", len(value))
			return nil
		}
		row, err := c.get(idKey(tabAccount, mail.AccountID(value)))
		switch {
		case err != nil:
			c.problem(where, "its account cannot be read: %v", err)
		case row == nil:
			c.problem(where, "its account is missing")
		default:
			var x rawIndex
			if x.decode(row) == nil && string(x.view) != view { // damage is reported by accounts
				c.problem(where, "its account %x has the name %q", value, x.view)
			}
		}
		return nil
	})
}

func (c *checker) addresses() error {
	return c.each("addresses", []byte{tabAddressView}, func(key, value []byte) error {
		c.count("addresses")
		view, where := string(key[1:]), "address "+string(key[1:])
		a, err := decodeAddress(value)
		if err == nil {
			err = indexMatches(value, index{a.View, "", a.Address, a.Tags})
		}
		if err != nil {
			c.problem(where, "the row cannot be decoded: %v", err)
			return nil
		}
		if a.View != view {
			c.problem(where, "it stands under the name %q", view)
		}
		if id, err := c.get(idKey(tabAddress, a.ID)); err != nil || string(id) != view {
			c.problem(where, "it is not found by its id %s, which has %q (%v)", a.ID, id, err)
		}
		if a.Account.IsZero() {
			return nil
		}
		if err := c.mustExist(idKey(tabAccount, a.Account), where, "its account is missing"); err != nil {
			return err
		}
		return c.mustExist(accountTextKey(tabAccountAddr, a.Account, view), where, "its account does not have it")
	})
}

func (c *checker) addressIDs() error {
	return c.each("addresses by id", []byte{tabAddress}, func(key, value []byte) error {
		where := fmt.Sprintf("address %x", key[1:])
		a, err := c.address(string(value))
		switch {
		case err != nil:
			c.problem(where, "its row %q cannot be read: %v", value, err)
		case a == nil:
			c.problem(where, "its row %q is missing", value)
		case !bytes.Equal(a.ID[:], key[1:]):
			c.problem(where, "its row %q is that of %s", value, a.ID)
		}
		return nil
	})
}

// address returns an address row, nil when there is none.
func (c *checker) address(view string) (*mail.Address, error) {
	value, err := c.get(textKey(tabAddressView, view))
	if err != nil || value == nil {
		return nil, err
	}
	return decodeAddress(value)
}

func (c *checker) aliases() error {
	return c.each("domain aliases", []byte{tabDomainAlias}, func(key, value []byte) error {
		c.count("domain aliases")
		if len(key) == 1 || len(value) == 0 {
			c.problem(fmt.Sprintf("domain alias %q", key[1:]), "it stands for %q", value)
		}
		return nil
	})
}

func (c *checker) records() error {
	return c.each("records", []byte{tabRecord}, func(key, value []byte) error {
		c.count("records")
		kind, name, ok := bytes.Cut(key[1:], []byte{0})
		if !ok || len(kind) == 0 || len(name) == 0 || len(kind) > maxKey || len(name) > maxKey || len(value) > maxRecord {
			c.problem(fmt.Sprintf("record %q", key[1:]), "key or value has a wrong length")
		}
		return nil
	})
}

// indexMatches compares the index in front of a record with the record.
func indexMatches(value []byte, want index) error {
	var x rawIndex
	if err := x.decode(value); err != nil {
		return err
	}
	same := string(x.view) == want.view && string(x.name) == strings.ToLower(want.name) &&
		string(x.addr) == strings.ToLower(want.addr) && len(x.tags) == min(len(want.tags), 255)
	for i := 0; same && i < len(x.tags); i++ {
		same = string(x.tags[i]) == strings.ToLower(want.tags[i])
	}
	if !same {
		return fmt.Errorf("%w: the index does not match the record", errValue)
	}
	return nil
}
