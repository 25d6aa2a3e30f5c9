package broker

import (
	"github.com/madang-chat/madang/hooks/topic"
	"github.com/madang-chat/madang/storage"
)

// The broker's own logs, inboxes and broadcasts, are delivered as rooms are: a client has a cursor on its inbox, and one on
// the broadcasts of its namespace, while one of its filters takes them. They have no members, no values and no live topics,
// so other nodes need not know of their readers.

// ownLogs names the broker's own logs that the client may read.
func (c *client) ownLogs() []storage.RoomKey {
	if c.identity().Guest {
		return nil
	}
	logs := []storage.RoomKey{storage.BroadcastLog(c.sid.NS)}
	if topic.ValidUser(c.sid.User) { // keys have no inbox
		logs = append(logs, storage.InboxLog(c.sid.NS, c.sid.User))
	}
	return logs
}

// coversLog reports whether the subscription is about one of the broker's own logs.
func (s *sub) coversLog(k storage.RoomKey) bool {
	if s.filter.All { // $all/ is about rooms
		return false
	}
	if k.IsBroadcast() {
		return s.filter.ReadsBroadcasts()
	}
	return s.takes(k, "")
}

// takes reports whether the subscription takes entries of that type.
func (s *sub) takes(k storage.RoomKey, typ string) bool {
	if user, inbox := k.InboxUser(); inbox {
		return s.filter.MatchUser(k.NS, user, topic.Inbox)
	}
	if k.IsBroadcast() {
		return s.filter.MatchBroadcast(k.NS, typ)
	}
	return s.filter.MatchMsg(k.NS, k.Room, typ)
}

// entryTopic is where entries of a log are delivered.
func entryTopic(k storage.RoomKey, typ string) string {
	if user, inbox := k.InboxUser(); inbox {
		return topic.UserTopic(k.NS, user, topic.Inbox)
	}
	if k.IsBroadcast() {
		return topic.BroadcastTopic(k.NS, typ)
	}
	return topic.MsgTopic(k.NS, k.Room, typ)
}

// attachLogs gives the client cursors on those of the broker's own logs that a new subscription covers.
func (w *worker) attachLogs(c *client, s *sub, r *request) {
	for _, k := range c.ownLogs() {
		if !s.coversLog(k) {
			continue
		}
		start := r.starts[k.Room]
		if cur := w.attach(c, k, start); cur != nil && start > 0 {
			w.replay(cur)
		}
	}
}

// replayLogs notes where in the broker's own logs a granted subscription asks to begin.
func (c *client) replayLogs(r *request, s *sub) {
	for _, k := range c.ownLogs() {
		if !s.coversLog(k) {
			continue
		}
		start, bad := c.b.replayStart(k, s.filter.Replay)
		if old, again := r.starts[k.Room]; bad == nil && start > 0 && (!again || start < old) {
			r.starts[k.Room] = start
		}
	}
}
