package broker

import (
	"time"

	"github.com/madang-chat/madang/broker/presence"
	"github.com/madang-chat/madang/hooks"
	"github.com/madang-chat/madang/storage"
)

// Live values are emptied when their user leaves. Whoever was cut off has not left before the grace is over: a rider in a
// tunnel does not vanish from the map.

// leaving are live values of a connection that was cut off.
type leaving struct {
	user   presence.User
	values []liveKey
	at     int64 // when its user has left, unless there is a connection again
}

// leavingSlack is for the grace to be over: presence is looked at once a second.
const leavingSlack = 2 * time.Second

// endLive empties the live values of a connection that ends, or has them emptied when its user has left.
func (b *Broker) endLive(c *client, how presence.How) {
	if len(c.live) == 0 {
		return
	}
	l := leaving{user: c.userOf(c.sid.User)}
	for lk := range c.live {
		l.values = append(l.values, lk)
	}
	if how == presence.Gone || c.identity().Guest || !b.live.leave(l, b.now(), b.limits().PresenceGrace) {
		b.empty(l, c)
	}
}

// leave notes values that are to be emptied after grace; false = they are to be emptied now.
func (v *liveValues) leave(l leaving, now int64, grace time.Duration) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if grace <= 0 || v.left+len(l.values) > liveLeaving {
		return false
	}
	l.at = now + (grace + leavingSlack).Milliseconds()
	v.leaving = append(v.leaving, l)
	v.left += len(l.values)
	return true
}

// empty tells readers that live values are empty; from is whose connection they were of, nil = that is not known any more.
func (b *Broker) empty(l leaving, from *client) {
	for _, lk := range l.values {
		k := storage.RoomKey{NS: l.user.NS, Room: lk.room}
		b.live.mu.Lock()
		held := b.live.remove(k, lk)
		b.live.mu.Unlock()
		if held || from == nil {
			gone := &hooks.Live{Room: k, Name: lk.name, User: lk.user}
			b.tellLive(gone, 0)
			b.passLive(gone, from, false)
		}
	}
}

// emptyLeft empties the values of those who have left. Once a second.
func (b *Broker) emptyLeft() {
	for _, l := range b.live.gone(b.now()) {
		if devices, _ := b.presence.UserNow(l.user); devices == 0 {
			b.empty(l, nil)
		}
	}
}

// gone takes out what is to be emptied now.
func (v *liveValues) gone(now int64) []leaving {
	v.mu.Lock()
	defer v.mu.Unlock()
	n := 0
	for n < len(v.leaving) && v.leaving[n].at <= now {
		v.left -= len(v.leaving[n].values)
		n++
	}
	gone := v.leaving[:n:n]
	if v.leaving = v.leaving[n:]; len(v.leaving) == 0 {
		v.leaving = nil
	}
	return gone
}
