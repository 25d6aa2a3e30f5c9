package broker

import "github.com/madang-chat/madang/storage"

// usersChanged ends the connections of users who were logged out, disabled or deleted, as far as they are meant by it.
func (b *Broker) usersChanged(users map[storage.UserKey]storage.UserChange) {
	var meant []*client
	b.mu.Lock()
	for k, change := range users {
		if !change.Ended {
			continue
		}
		for c := range b.users[userKey{k.NS, k.User}] {
			meant = append(meant, c)
		}
	}
	b.mu.Unlock()
	for _, c := range meant {
		b.recheck(c)
	}
}

// recheck asks whether a client may still be here, and disconnects one who may not.
func (b *Broker) recheck(c *client) {
	old := c.id.Load()
	id, err := b.cfg.Auth.Recheck(*old)
	if err != nil {
		c.sendAway(reasonNotAuthorized)
		return
	}
	if c.id.CompareAndSwap(old, &id) { // else it was renewed meanwhile
		c.w.post(func() {
			for k := range c.cursors {
				if cur := c.w.attach(c, k, 0); cur != nil { // a role may have shown rooms that it shows no more
					c.w.setAccess(cur, cur.room.swept+1)
				}
			}
		})
	}
}

// stillThere disconnects a client who may not be here any more.
func (b *Broker) stillThere(c *client) {
	if _, err := b.cfg.Auth.Recheck(c.identity()); err != nil {
		c.disconnect(reasonNotAuthorized)
	}
}
