package account

import (
	"testing"
	"time"

	"mallard/internal/mail"
)

func TestCache(t *testing.T) {
	now := time.Unix(1000, 0)
	c := newCache[mail.AccountID, mail.Account](2, time.Second, func() time.Time { return now })
	put := func(b byte) mail.AccountID {
		a := &mail.Account{ID: mail.AccountID{b}}
		_, version := c.get(a.ID)
		c.put(a.ID, a, version)
		return a.ID
	}
	known := func(id mail.AccountID) bool {
		a, _ := c.get(id)
		return a != nil
	}
	one := put(1)
	if !known(one) {
		t.Error("what was put is not there")
	}
	now = now.Add(time.Second)
	if known(one) {
		t.Error("it is there after its time")
	}
	one = put(1)
	c.forget(one)
	if known(one) {
		t.Error("it is there after a change")
	}
	_, version := c.get(one)
	c.forget(one)
	c.put(one, &mail.Account{ID: one}, version)
	if known(one) {
		t.Error("what was read before a change is there after it")
	}
	put(1)
	put(2)
	if three := put(3); !known(three) || c.all.Len() > 2 {
		t.Errorf("there are %d of at most 2", c.all.Len())
	}
	c = newCache[mail.AccountID, mail.Account](2, 0, time.Now)
	if put(3); known(mail.AccountID{3}) {
		t.Error("it is there though the cache is off")
	}
}
