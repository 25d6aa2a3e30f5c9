package calls

import (
	"context"
	"encoding/json"
	"strconv"

	"github.com/madang-chat/madang/hooks/auth"
	"github.com/madang-chat/madang/hooks/problem"
	"github.com/madang-chat/madang/hooks/topic"
	"github.com/madang-chat/madang/storage"
)

// People is what the calls about people read of *storage.Store.
type People interface {
	InboxMark(ns, user string) (storage.Mark, error)
	Contacts(ns, user, after string, limit int) ([]storage.ContactOf, error)
	ContactStatus(ns, user, other string) (storage.ContactStatus, error)
	Blocks(ns, user, after string, limit int) ([]storage.BlockOf, error)
	BlockCount(ns, user string) (int, error)
	Blocked(ns, by, other string) (bool, error)
}

// InboxInput are the params of Inbox. At most one of Before and After is given; without either the page ends at the head.
type InboxInput struct {
	Before *uint64 `json:"before,omitempty"` // the entries before this seq
	After  *uint64 `json:"after,omitempty"`  // the entries after this seq
	Limit  int     `json:"limit,omitempty"`  // 0 = 50, at most 1000
	Read   *uint64 `json:"read,omitempty"`   // first moves the read mark forward to this seq

	budget int // bytes of JSON; 0 = the default
}

// InboxPage is a part of the caller's inbox, ascending by seq. More and Next are as in Page.
type InboxPage struct {
	Entries []json.RawMessage `json:"entries"`
	Head    uint64            `json:"head"`
	First   uint64            `json:"first"`  // oldest entry kept
	Read    uint64            `json:"read"`   // seq up to which the caller has read
	Unread  uint64            `json:"unread"` // entries after it
	More    bool              `json:"more"`
	Next    uint64            `json:"next,omitempty"`
}

// AppendJSON appends the page with its entries byte for byte.
func (p InboxPage) AppendJSON(dst []byte) []byte {
	dst = appendRaw(append(dst, `{"entries":`...), p.Entries)
	for _, f := range [...]struct {
		name string
		n    uint64
	}{{"head", p.Head}, {"first", p.First}, {"read", p.Read}, {"unread", p.Unread}} {
		dst = append(append(append(dst, `,"`...), f.name...), `":`...)
		dst = strconv.AppendUint(dst, f.n, 10)
	}
	dst = strconv.AppendBool(append(dst, `,"more":`...), p.More)
	if p.Next != 0 {
		dst = strconv.AppendUint(append(dst, `,"next":`...), p.Next, 10)
	}
	return append(dst, '}')
}

// Inbox returns a page of what concerns the caller: invited, removed, role, mentioned, contact.
func (c *Calls) Inbox(ctx context.Context, id auth.Identity, in InboxInput) (InboxPage, error) {
	if err := c.hasInbox(id); err != nil {
		return InboxPage{}, err
	}
	limit, err := pageLimit(in.Limit, defaultHistory, maxHistory)
	if err != nil {
		return InboxPage{}, err
	}
	if in.Before != nil && in.After != nil {
		return InboxPage{}, problem.New(problem.BadPayload, "Give one of before and after.")
	}
	if in.Read != nil {
		if _, err := c.InboxRead(ctx, id, InboxReadInput{Seq: *in.Read}); err != nil {
			return InboxPage{}, err
		}
	}
	room, err := c.readLog(id, storage.InboxLog(id.Namespace, id.User).Room)
	if err != nil {
		return InboxPage{}, err
	}
	m, err := c.cfg.Store.InboxMark(id.Namespace, id.User)
	if err != nil {
		return InboxPage{}, c.broken(err)
	}
	setDefault(&in.budget, pageBytes)
	head := room.Head
	page := InboxPage{Head: head.Seq, First: head.First, Read: m.Read, Unread: head.N - min(m.N, head.N)}
	w := c.windowOf(room, false, in.budget)
	var got []*storage.Entry
	if in.After != nil {
		got, page.Next, page.More, err = w.forward(afterSeq(*in.After), head.Seq, limit)
	} else {
		to := head.Seq
		if in.Before != nil {
			to = min(to, max(*in.Before, 1)-1)
		}
		got, page.Next, page.More, err = w.backward(to, limit)
	}
	if err != nil {
		return InboxPage{}, c.broken(err)
	}
	page.Entries = w.raw(got)
	return page, nil
}

// InboxReadInput are the params of InboxRead.
type InboxReadInput struct {
	Seq uint64 `json:"seq"` // everything up to here has been read
}

// InboxRead moves the read mark of the caller's inbox forward; it never goes back.
func (c *Calls) InboxRead(ctx context.Context, id auth.Identity, in InboxReadInput) (ReadMark, error) {
	if err := c.hasInbox(id); err != nil {
		return ReadMark{}, err
	}
	res, err := c.write(ctx, &storage.InboxRead{NS: id.Namespace, User: id.User, Seq: in.Seq})
	if err != nil {
		return ReadMark{}, err
	}
	var m storage.Mark
	err = c.settled.wait(ctx, c.cfg.SettleWait, func() (bool, error) {
		var err error
		m, err = c.cfg.Store.InboxMark(id.Namespace, id.User)
		return m.Read >= res.Seq, err
	})
	if err != nil {
		return ReadMark{}, c.broken(err)
	}
	room, err := c.readLog(id, storage.InboxLog(id.Namespace, id.User).Room)
	if err != nil {
		return ReadMark{}, err
	}
	return ReadMarkOf(room.Key.Room, m, room.Head), nil
}

// hasInbox refuses those who have neither an inbox nor contacts.
func (c *Calls) hasInbox(id auth.Identity) error {
	if err := noGuest(id, "have an inbox or contacts"); err != nil {
		return err
	}
	if !topic.ValidUser(id.User) {
		return problem.New(problem.Forbidden, "Service keys have neither an inbox nor contacts.")
	}
	return nil
}
