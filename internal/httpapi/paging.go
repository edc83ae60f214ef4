package httpapi

import "encoding/json"

// Page is what lists are asked with.
type Page struct {
	Limit    int     `api:"limit,min=1,max=250,default=20" doc:"Greatest number of results"`
	Next     *Cursor `api:"next,label=Next page cursor" doc:"Cursor of the next page, as the last reply gave it"`
	Previous *Cursor `api:"previous,label=Previous page cursor" doc:"Cursor of the previous page, as the last reply gave it"`
}

// The lists that have cursors. A cursor of one is not taken by another.
const (
	cursorUsers     = "u"
	cursorAddresses = "a"
	cursorMessages  = "m"
	cursorFound     = "s"
	cursorFoundDate = "d" // what was found in order of date
	cursorAuthLog   = "l"
)

// position says where a page starts and in which direction it was asked for.
type position struct {
	list     string
	key      []string // nil for the start
	backward bool
	page     int
}

// position reads the cursors, which must be of this list and have keys of n parts.
// Next wins.
func (p *Page) position(list string, n int) (position, error) {
	pos := position{list: list, page: 1}
	cursor := p.Next
	if cursor == nil {
		cursor, pos.backward = p.Previous, p.Previous != nil
	}
	if cursor == nil {
		return pos, nil
	}
	if len(cursor.Key) != n+1 || cursor.Key[0] != list {
		return position{}, pos.bad()
	}
	pos.key, pos.page = cursor.Key[1:], cursor.Page
	return pos, nil
}

// cursor is a cursor of this list.
func (p *position) cursor(page int, key []string) cursorOut {
	return cursorOut(Cursor{Page: page, Key: append([]string{p.list}, key...)}.String())
}

// bad is the error for a cursor whose key makes no sense.
func (p *position) bad() error {
	if p.backward {
		return badCursor("previous", "Previous page cursor")
	}
	return badCursor("next", "Next page cursor")
}

func badCursor(name, label string) error {
	d := &decoder{}
	d.fail(place{}.child(name, label), "contains an invalid value")
	return d.err()
}

// pageReply is the part of a reply that leads to other pages.
type pageReply struct {
	Total    int64     `json:"total" doc:"Number of results on all pages"`
	Page     int       `json:"page" doc:"Number of this page, from 1"`
	Previous cursorOut `json:"previousCursor" doc:"Cursor of the previous page, or false"`
	Next     cursorOut `json:"nextCursor" doc:"Cursor of the next page, or false"`
}

// cursorOut is a cursor in a reply, false when it is empty.
type cursorOut string

// MarshalJSON writes the cursor or false.
func (c cursorOut) MarshalJSON() ([]byte, error) {
	if c == "" {
		return []byte("false"), nil
	}
	return json.Marshal(string(c))
}

func (cursorOut) replySchema() schema {
	return schema{"anyOf": []schema{{"type": "string"}, {"const": false}}}
}

// reply makes the paging members from the keys of the first and the last result,
// nil when there are none. more says whether there are results beyond this page
// in the direction that was asked for.
func (p *position) reply(total int64, more bool, first, last []string) pageReply {
	out := pageReply{Total: total, Page: p.page}
	if first == nil {
		return out
	}
	before := p.page > 1
	after := more
	if p.backward {
		before, after = more && p.page > 1, true
	}
	if before {
		out.Previous = p.cursor(p.page-1, first)
	}
	if after {
		out.Next = p.cursor(p.page+1, last)
	}
	return out
}
