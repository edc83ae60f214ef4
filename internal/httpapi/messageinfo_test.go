package httpapi

import "testing"

// WildDuck writes false where there is no reference; everything else must be read all the same.
func TestReadInfo(t *testing.T) {
	info := readInfo(`{"source":"API","from":"a@b.test","to":["c@d.test"],"reference":false}`)
	if info.From != "a@b.test" || len(info.To) != 1 || info.Reference != nil {
		t.Errorf("%+v", info)
	}
	info = readInfo(`{"reference":{"action":"reply","mailbox":"66aa00000000000000000011","id":7}}`)
	if r := info.Reference; r == nil || r.Action != "reply" || r.ID != 7 || r.Mailbox.String() != "66aa00000000000000000011" {
		t.Errorf("%+v", r)
	}
}
