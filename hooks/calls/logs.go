package calls

import (
	"github.com/madang-chat/madang/hooks/auth"
	"github.com/madang-chat/madang/hooks/problem"
	"github.com/madang-chat/madang/storage"
)

// readLog returns a room the caller may read, or one of the broker's own logs under its name: the caller's inbox, inbox~{user},
// or the broadcasts of the namespace, broadcast~. Those are there before their first entry. Of the inboxes of others nothing
// is told, not even that they exist.
func (c *Calls) readLog(id auth.Identity, name string) (*storage.Room, error) {
	k := storage.RoomKey{NS: id.Namespace, Room: name}
	if k.IsRoom() {
		room, _, err := c.readable(id, name)
		return room, err
	}
	if user, inbox := k.InboxUser(); id.Guest || inbox && user != id.User {
		return nil, problem.New(problem.NotFound, "There is no room %.40q.", name)
	}
	room, err := c.cfg.Store.Room(k)
	if err != nil {
		return nil, c.broken(err)
	}
	if room == nil {
		room = &storage.Room{Key: k, Head: storage.Head{First: 1}}
	}
	return room, nil
}
