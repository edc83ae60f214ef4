package httpapi

import "encoding/json"

// Page is what lists are asked with.
type Page struct {
	Limit    int     `api:"limit,min=1,max=250,default=20" doc:"Greatest number of results"`
	Next     *Cursor `api:"next,label=Next page cursor" doc:"Cursor of the next page, as the last reply gave it"`
	Previous *Cursor `api:"previous,label=Previous page cursor" doc:"Cursor of the previous page, as the last reply gave it"`
}

// position says where a page starts and in which direction it was asked for.
type position struct {
	key      []string // nil for the start
	backward bool
	page     int
}

// position reads the cursors, which must have keys of n parts. Next wins.
func (p *Page) position(n int) (position, error) {
	switch {
	case p.Next != nil:
		if len(p.Next.Key) != n {
			return position{}, badCursor("next", "Next page cursor")
		}
		return position{key: p.Next.Key, page: p.Next.Page}, nil
	case p.Previous != nil:
		if len(p.Previous.Key) != n {
			return position{}, badCursor("previous", "Previous page cursor")
		}
		return position{key: p.Previous.Key, backward: true, page: p.Previous.Page}, nil
	}
	return position{page: 1}, nil
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
		out.Previous = cursorOut(Cursor{Page: p.page - 1, Key: first}.String())
	}
	if after {
		out.Next = cursorOut(Cursor{Page: p.page + 1, Key: last}.String())
	}
	return out
}
