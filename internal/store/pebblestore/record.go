package pebblestore

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"mallard/internal/mail"
)

// Accounts and addresses are stored as JSON with the names of the fields, behind a
// short index of what lists are filtered by, so that a long list is filtered without
// decoding it. The names are part of the format; a test holds them.

// index is what lists are filtered by, in lower case.
type index struct {
	view string
	name string // username; nothing for addresses
	addr string
	tags []string
}

// encodeRecord is the value for an account or an address.
func encodeRecord(x index, record any) ([]byte, error) {
	data, err := json.Marshal(record)
	if err != nil {
		return nil, fmt.Errorf("encode a record: %w", err)
	}
	b := make([]byte, 0, len(data)+128)
	b = append(b, valueVersion)
	b = appendText(b, x.view)
	b = appendText(b, strings.ToLower(x.name))
	b = appendText(b, strings.ToLower(x.addr))
	b = append(b, byte(min(len(x.tags), 255)))
	for _, t := range x.tags[:min(len(x.tags), 255)] {
		b = appendText(b, strings.ToLower(t))
	}
	return append(b, data...), nil
}

// rawIndex is an index whose parts point into a value.
type rawIndex struct {
	view, name, addr []byte
	tags             [][]byte
	data             []byte
}

func (x *rawIndex) decode(value []byte) error {
	d := decoder{b: value}
	d.version()
	x.view, x.name, x.addr = d.take(d.length()), d.take(d.length()), d.take(d.length())
	x.tags = x.tags[:0]
	for range d.octet() {
		x.tags = append(x.tags, d.take(d.length()))
	}
	x.data = d.b
	return d.err
}

func decodeRecord(value []byte, record any) (view string, err error) {
	var x rawIndex
	if err := x.decode(value); err != nil {
		return "", err
	}
	if err := json.Unmarshal(x.data, record); err != nil {
		return "", fmt.Errorf("%w: %w", errValue, err)
	}
	return string(x.view), nil
}

// filter is what a query asks of an index.
type filter struct {
	contains []byte
	tags     []string
	all      bool
}

func newFilter(contains string, tags []string, all bool) filter {
	lower := make([]string, len(tags))
	for i, t := range tags {
		lower[i] = strings.ToLower(t)
	}
	return filter{[]byte(strings.ToLower(contains)), lower, all}
}

func (f *filter) empty() bool { return len(f.contains) == 0 && len(f.tags) == 0 }

func (f *filter) match(x *rawIndex) bool {
	if len(f.contains) > 0 && !bytes.Contains(x.name, f.contains) && !bytes.Contains(x.addr, f.contains) {
		return false
	}
	if len(f.tags) == 0 {
		return true
	}
	for _, want := range f.tags {
		has := slices.ContainsFunc(x.tags, func(t []byte) bool { return string(t) == want })
		if has != f.all {
			return has
		}
	}
	return f.all
}

func encodeAccount(a *mail.Account, view string) ([]byte, error) {
	stored := *a
	stored.StorageUsed = 0 // is in the head
	return encodeRecord(index{view, a.Username, a.Address, a.Tags}, &stored)
}

func decodeAccount(value []byte) (a *mail.Account, view string, err error) {
	a = new(mail.Account)
	view, err = decodeRecord(value, a)
	return a, view, err
}

func encodeAddress(a *mail.Address) ([]byte, error) {
	return encodeRecord(index{a.View, "", a.Address, a.Tags}, a)
}

func decodeAddress(value []byte) (*mail.Address, error) {
	a := new(mail.Address)
	_, err := decodeRecord(value, a)
	return a, err
}
