package broker

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"time"

	"github.com/madang-chat/madang/hooks/calls"
	"github.com/madang-chat/madang/hooks/topic"
	"github.com/madang-chat/madang/storage"
)

// Read marks that are published travel as places do: the newest of each member and room, every two seconds, many in one
// command; a PUBACK does not wait for it (rules.md 4). What the log says of a mark goes to all devices of the user
// (me/read) and, in small rooms, to the members (receipts).

const (
	marksEvery      = 2 * time.Second
	receiptsMembers = 100 // design.md section 3: rooms of at most so many members
	receiptsEvery   = time.Second
)

// clientsOf are clients by their user.
type clientsOf map[userKey]map[*client]struct{}

func (m clientsOf) add(c *client) {
	k := userKey{c.sid.NS, c.sid.User}
	if m[k] == nil {
		m[k] = map[*client]struct{}{}
	}
	m[k][c] = struct{}{}
}

func (m clientsOf) remove(c *client) {
	k := userKey{c.sid.NS, c.sid.User}
	delete(m[k], c)
	if len(m[k]) == 0 {
		delete(m, k)
	}
}

// markKey names a mark.
type markKey struct {
	room storage.RoomKey
	user string
}

// takeMark takes a published read mark.
func (b *Broker) takeMark(m *storage.MarkOf) {
	b.marksMu.Lock()
	defer b.marksMu.Unlock()
	k := markKey{m.Room, m.User}
	old := b.marks[k]
	b.marks[k] = storage.MarkOf{
		Room: m.Room, User: m.User, Read: max(old.Read, m.Read), Delivered: max(old.Delivered, m.Delivered),
	}
}

// commitMarks commits what was published since the last time. When ctx ends it proposes the rest and does not wait.
func (b *Broker) commitMarks(ctx context.Context) {
	b.marksMu.Lock()
	marks := b.marks
	b.marks = map[markKey]storage.MarkOf{}
	b.marksMu.Unlock()
	for some := range slices.Chunk(slices.Collect(maps.Values(marks)), gatheredPerCommand) {
		if _, err := proposeTo(ctx, b.cfg.Log, &storage.Marks{Marks: some}); err != nil {
			for i := range some { // they may be lost: they go with the next
				b.takeMark(&some[i])
			}
		}
	}
}

func (b *Broker) keepMarks() { each(b.ctx, marksEvery, b.commitMarks) }

// marked passes on what the log says of marks.
func (w *worker) marked(marks []storage.MarkChange) {
	for i := range marks {
		m := &marks[i]
		st, err := w.b.cfg.Store.Room(m.Room)
		if err != nil || st == nil {
			continue
		}
		if all := w.readers[userKey{m.Room.NS, m.User}]; len(all) > 0 {
			payload := toJSON(calls.ReadMarkOf(m.Room.Room, m.Mark, st.Head))
			for c := range all {
				if s := c.wants(topic.MeRead); s != nil && !c.gone {
					w.sendMe(c, s, topic.MeRead, payload, 0, nil)
				}
			}
		}
		if r := w.rooms[m.Room]; r != nil && r.values.receipts > 0 && st.Members <= receiptsMembers {
			w.receipt(r, m)
		}
	}
}

// receipt is what a member has read, as the room is told.
type receipt struct {
	User      string `json:"user"`
	Seq       uint64 `json:"seq"`
	Delivered uint64 `json:"delivered"`
}

// toldReceipt is when a member's receipt was told, and what has come since.
type toldReceipt struct {
	at  int64 // coarse ms
	due *storage.MarkChange
}

// receipt tells a room how far a member has read, now or when a second has passed since the last time.
func (w *worker) receipt(r *room, m *storage.MarkChange) {
	if r.values.told == nil || len(r.values.told) > 2*receiptsMembers { // members come and go
		r.values.told = map[string]toldReceipt{}
	}
	told := r.values.told[m.User]
	if w.b.now()-told.at < (receiptsEvery + coarseTick).Milliseconds() {
		if told.due == nil {
			w.receiptsDue = append(w.receiptsDue, dueReceipt{r, m.User})
		}
		told.due = m
		r.values.told[m.User] = told
		return
	}
	r.values.told[m.User] = toldReceipt{at: w.b.now()}
	payload := toJSON(receipt{User: m.User, Seq: m.Mark.Read, Delivered: m.Mark.Delivered})
	for _, cur := range r.cursors {
		c := cur.client
		if cur.asleep || cur.values&valueReceipts == 0 || c.conn.Queued() >= w.b.queueRoom() || w.apart(cur) {
			continue // at most once: a full socket misses it, and the next one says more
		}
		if joined, err := w.b.cfg.Rules.Access.Joined(c.identity(), r.key); err == nil && joined {
			w.sendValue(cur, topic.Receipts, valueReceipts, payload)
		}
	}
}

// dueReceipt is one that waits for its second.
type dueReceipt struct {
	room *room
	user string
}

// tellReceipts tells what waits. Once a second.
func (w *worker) tellReceipts() {
	due := w.receiptsDue
	w.receiptsDue = nil
	for _, d := range due {
		told, ok := d.room.values.told[d.user]
		if !ok || told.due == nil || w.rooms[d.room.key] != d.room {
			continue
		}
		m := told.due
		told.due = nil
		d.room.values.told[d.user] = told
		w.receipt(d.room, m)
	}
}

// toJSON encodes a value that always can be.
func toJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		return nil
	}
	return b
}
