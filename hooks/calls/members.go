package calls

import (
	"context"

	"github.com/madang-chat/madang/hooks/auth"
	"github.com/madang-chat/madang/hooks/problem"
	"github.com/madang-chat/madang/storage"
)

// Page sizes of Members and Audit.
const (
	defaultMembers = 100
	maxMembers     = 1000
)

// MembersInput are the params of Members.
type MembersInput struct {
	Room  string `json:"room"`
	Limit int    `json:"limit,omitempty"` // 0 = 100, at most 1000
	After string `json:"after,omitempty"` // the "next" of the page before
}

// ListedMember is a member of a room. When a mute ends is shown to those who run the room.
type ListedMember struct {
	User       string       `json:"user"`
	Role       storage.Role `json:"role"`
	Since      uint64       `json:"since"`     // seq of the entry that made them a member
	JoinedAt   int64        `json:"joined_at"` // ms since the epoch
	MutedUntil int64        `json:"muted_until,omitempty"`
}

// MembersPage is a page of a room's members, in byte order of their names.
type MembersPage struct {
	Members []ListedMember `json:"members"`
	Total   uint64         `json:"total"`
	Next    string         `json:"next,omitempty"` // the "after" of the next page, when there are more
	More    bool           `json:"more"`
}

// Members returns the members of a room the caller may read. A guest sees none.
func (c *Calls) Members(_ context.Context, id auth.Identity, in MembersInput) (MembersPage, error) {
	if err := noGuest(id, "list members"); err != nil {
		return MembersPage{}, err
	}
	limit, err := pageLimit(in.Limit, defaultMembers, maxMembers)
	if err != nil {
		return MembersPage{}, err
	}
	room, role, err := c.readable(id, in.Room)
	if err != nil {
		return MembersPage{}, err
	}
	list, err := c.cfg.Store.Members(room.Key, in.After, limit+1)
	if err != nil {
		return MembersPage{}, c.broken(err)
	}
	page := MembersPage{Members: make([]ListedMember, 0, len(list)), Total: room.Members}
	now := c.cfg.Store.Now()
	for i, m := range list {
		if i == limit {
			page.More, page.Next = true, list[i-1].User
			break
		}
		l := ListedMember{User: m.User, Role: m.Role, Since: m.Since, JoinedAt: m.At}
		if m.Muted > now && runs(id, role) {
			l.MutedUntil = m.Muted
		}
		page.Members = append(page.Members, l)
	}
	return page, nil
}

// runs reports whether the caller runs the room.
func runs(id auth.Identity, role storage.Role) bool {
	return id.Admin || role == storage.RoleOwner || role == storage.RoleOperator
}

// AuditInput are the params of Audit.
type AuditInput struct {
	Room   string `json:"room"`
	Limit  int    `json:"limit,omitempty"`  // 0 = 100, at most 1000
	Before uint64 `json:"before,omitempty"` // the "next" of the page before
}

// Audited is one act of those who run a room.
type Audited struct {
	TS      int64        `json:"ts"` // ms since the epoch
	Seq     uint64       `json:"seq"`
	By      string       `json:"by"`
	Act     string       `json:"act"` // freeze, mute, delete and so on
	User    string       `json:"user,omitempty"`
	Reason  string       `json:"reason,omitempty"`
	Until   int64        `json:"until,omitempty"` // ms since the epoch; absent without an end
	Seconds int64        `json:"seconds,omitempty"`
	Role    storage.Role `json:"role,omitempty"`
	Target  uint64       `json:"target,omitempty"`
}

// AuditPage is a page of a room's audit log, newest first.
type AuditPage struct {
	Acts []Audited `json:"acts"`
	Next uint64    `json:"next,omitempty"` // the "before" of the next page, when there are more
	More bool      `json:"more"`
}

// Audit returns what those who run a room have done. They see it, and auditors do, also of a room that was deleted.
func (c *Calls) Audit(_ context.Context, id auth.Identity, in AuditInput) (AuditPage, error) {
	limit, err := pageLimit(in.Limit, defaultMembers, maxMembers)
	if err != nil {
		return AuditPage{}, err
	}
	k, err := roomKey(id, in.Room)
	if err != nil {
		return AuditPage{}, err
	}
	since := uint64(0)
	if !id.Admin && !id.Auditor {
		room, role, err := c.readable(id, in.Room)
		if err != nil {
			return AuditPage{}, err
		}
		if !runs(id, role) {
			return AuditPage{}, problem.New(problem.Forbidden, "Owners and operators of the room, admins and auditors read its audit log.")
		}
		since = room.MadePos // what came before is of another room of that name
	}
	list, err := c.cfg.Store.Audit(k, in.Before, limit+1)
	if err != nil {
		return AuditPage{}, c.broken(err)
	}
	page := AuditPage{Acts: make([]Audited, 0, len(list))}
	for i, r := range list {
		if r.Pos <= since {
			break
		}
		if i == limit {
			page.More, page.Next = true, list[i-1].Pos
			break
		}
		a := Audited{
			TS: r.At, Seq: r.Seq, By: r.By, Act: r.Act, User: r.User, Reason: r.Reason, Until: r.Until, Seconds: r.Seconds,
			Role: r.Role, Target: r.Target,
		}
		if a.Until == storage.Forever {
			a.Until = 0
		}
		page.Acts = append(page.Acts, a)
	}
	return page, nil
}
