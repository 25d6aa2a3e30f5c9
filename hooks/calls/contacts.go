package calls

import (
	"context"

	"github.com/madang-chat/madang/hooks/auth"
	"github.com/madang-chat/madang/hooks/limit"
	"github.com/madang-chat/madang/hooks/problem"
	"github.com/madang-chat/madang/hooks/topic"
	"github.com/madang-chat/madang/storage"
)

// Page sizes of Contacts and Blocks.
const (
	defaultContacts = 100
	maxContactsPage = 1000
)

// PeopleInput are the params of Contacts and Blocks.
type PeopleInput struct {
	Limit int    `json:"limit,omitempty"` // 0 = 100, at most 1000
	After string `json:"after,omitempty"` // the "next" of the page before
}

// PersonInput names another user.
type PersonInput struct {
	User string `json:"user"`
}

// ListedContact is one of the caller's contacts, or a request.
type ListedContact struct {
	User   string                `json:"user"`
	Status storage.ContactStatus `json:"status"` // mutual, pending (the caller has asked) or requested (the other has)
	TS     int64                 `json:"ts"`     // since when, ms since the epoch
}

// ContactsPage is a page of contacts, in byte order of their names.
type ContactsPage struct {
	Contacts []ListedContact `json:"contacts"`
	Next     string          `json:"next,omitempty"` // the "after" of the next page, when there are more
	More     bool            `json:"more"`
}

// ContactChange is the result of ContactAdd and ContactRemove.
type ContactChange struct {
	User    string                `json:"user"`
	Status  storage.ContactStatus `json:"status"` // none, pending, requested, mutual or blocked
	Changed bool                  `json:"changed"`
}

// BlockedUser is somebody the caller has blocked.
type BlockedUser struct {
	User string `json:"user"`
	TS   int64  `json:"ts"` // since when, ms since the epoch
}

// BlocksPage is a page of blocks, in byte order of their names.
type BlocksPage struct {
	Blocks []BlockedUser `json:"blocks"`
	Next   string        `json:"next,omitempty"` // the "after" of the next page, when there are more
	More   bool          `json:"more"`
}

// BlockChange is the result of BlockAdd and BlockRemove.
type BlockChange struct {
	User    string `json:"user"`
	Blocked bool   `json:"blocked"`
	Changed bool   `json:"changed"`
}

// Contacts returns those on the caller's list, and who waits for an answer.
func (c *Calls) Contacts(_ context.Context, id auth.Identity, in PeopleInput) (ContactsPage, error) {
	limit, err := c.peoplePage(id, in)
	if err != nil {
		return ContactsPage{}, err
	}
	list, err := c.cfg.Store.Contacts(id.Namespace, id.User, in.After, limit+1)
	if err != nil {
		return ContactsPage{}, c.broken(err)
	}
	page := ContactsPage{Contacts: make([]ListedContact, 0, len(list))}
	for i, p := range list {
		if i == limit {
			page.More, page.Next = true, list[i-1].User
			break
		}
		page.Contacts = append(page.Contacts, ListedContact{User: p.User, Status: p.Status, TS: p.Since})
	}
	return page, nil
}

// Blocks returns those the caller has blocked.
func (c *Calls) Blocks(_ context.Context, id auth.Identity, in PeopleInput) (BlocksPage, error) {
	limit, err := c.peoplePage(id, in)
	if err != nil {
		return BlocksPage{}, err
	}
	list, err := c.cfg.Store.Blocks(id.Namespace, id.User, in.After, limit+1)
	if err != nil {
		return BlocksPage{}, c.broken(err)
	}
	page := BlocksPage{Blocks: make([]BlockedUser, 0, len(list))}
	for i, p := range list {
		if i == limit {
			page.More, page.Next = true, list[i-1].User
			break
		}
		page.Blocks = append(page.Blocks, BlockedUser{User: p.User, TS: p.Since})
	}
	return page, nil
}

func (c *Calls) peoplePage(id auth.Identity, in PeopleInput) (limit int, err error) {
	if err := c.hasInbox(id); err != nil {
		return 0, err
	}
	return pageLimit(in.Limit, defaultContacts, maxContactsPage)
}

// ContactAdd puts somebody on the caller's list. Their inbox has the request on return, and their own list.
func (c *Calls) ContactAdd(ctx context.Context, id auth.Identity, in PersonInput) (ContactChange, error) {
	return c.contact(ctx, id, in.User, true)
}

// ContactRemove takes somebody off the caller's list, or turns a request down.
func (c *Calls) ContactRemove(ctx context.Context, id auth.Identity, in PersonInput) (ContactChange, error) {
	return c.contact(ctx, id, in.User, false)
}

func (c *Calls) contact(ctx context.Context, id auth.Identity, user string, on bool) (ContactChange, error) {
	if err := c.other(id, user); err != nil {
		return ContactChange{}, err
	}
	res, err := c.write(ctx, &storage.Contact{
		NS: id.Namespace, User: id.User, Name: id.Name, Other: user, On: on, Max: c.limits().Contacts, PerDay: c.limits().ContactsPerDay,
	})
	if err != nil {
		return ContactChange{}, err
	}
	if err := c.carried(ctx, res); err != nil {
		return ContactChange{}, err
	}
	status, err := c.cfg.Store.ContactStatus(id.Namespace, id.User, user)
	if err != nil {
		return ContactChange{}, c.broken(err)
	}
	return ContactChange{User: user, Status: status, Changed: !res.Present}, nil
}

// BlockAdd blocks somebody: nothing they write to the caller directly, no invitation and no request of theirs has a place in
// the log after the call's.
func (c *Calls) BlockAdd(ctx context.Context, id auth.Identity, in PersonInput) (BlockChange, error) {
	if err := c.other(id, in.User); err != nil {
		return BlockChange{}, err
	}
	// The count lags behind by a few commands: it guards memory, not a rule.
	n, err := c.cfg.Store.BlockCount(id.Namespace, id.User)
	if err != nil {
		return BlockChange{}, c.broken(err)
	}
	if c.limits().Contacts > 0 && n >= c.limits().Contacts {
		return BlockChange{}, problem.Over(problem.Limit, limit.Contacts, "You have blocked %d users, which is the limit; lift some blocks first.", n)
	}
	return c.block(ctx, id, in.User, true)
}

// BlockRemove lifts a block.
func (c *Calls) BlockRemove(ctx context.Context, id auth.Identity, in PersonInput) (BlockChange, error) {
	if err := c.other(id, in.User); err != nil {
		return BlockChange{}, err
	}
	return c.block(ctx, id, in.User, false)
}

func (c *Calls) block(ctx context.Context, id auth.Identity, user string, on bool) (BlockChange, error) {
	res, err := c.write(ctx, &storage.Block{NS: id.Namespace, User: id.User, Other: user, On: on})
	if err != nil {
		return BlockChange{}, err
	}
	if err := c.carried(ctx, res); err != nil {
		return BlockChange{}, err
	}
	return BlockChange{User: user, Blocked: on, Changed: !res.Present}, nil
}

// other checks that the call is of a user about another one.
func (c *Calls) other(id auth.Identity, user string) error {
	if err := c.hasInbox(id); err != nil {
		return err
	}
	if !topic.ValidUser(user) {
		return problem.New(problem.NotFound, "%.40q is no user.", user)
	}
	if user == id.User {
		return problem.New(problem.BadPayload, "user: that is your own name.")
	}
	return nil
}

// carried waits until this node shows what a command means for the lists and inboxes of users.
func (c *Calls) carried(ctx context.Context, res storage.Result) error {
	if res.Outbox == 0 {
		return nil
	}
	if err := c.settled.wait(ctx, c.cfg.SettleWait, func() (bool, error) { return c.cfg.Store.Delivered(res.Outbox) }); err != nil {
		return c.broken(err)
	}
	return nil
}
