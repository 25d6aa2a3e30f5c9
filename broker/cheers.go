package broker

import (
	"encoding/binary"
	"maps"
	"math/rand/v2"
	"sync"

	"github.com/madang-chat/madang/hooks/problem"
	"github.com/madang-chat/madang/hooks/topic"
	"github.com/madang-chat/madang/storage"
)

// Floods of hearts are counted, not stored: a cheer is a number in memory, and once a second the readers of a room get how
// many came since the last time. Nodes tell each other, under the room on the peer link, how many of each their own clients
// have sent since they began to count; who hears it adds the difference to what it heard before, so that a message which is
// replaced by a newer one on a slow link loses nothing. Reactions in rooms of more than a hundred members are reported in the
// same way, with their totals from the store.

// Bounds of what is counted.
const (
	cheerNames = 32   // different ones per room and node; the one that was not heard for longest makes way
	cheerRooms = 4096 // per node
	cheerQuiet = 60   // seconds without a cheer after which a room's count begins anew
	cheerFresh = 3    // seconds in which all of another node's count is news to one that hears of it first
)

// cheerCount is what one node's clients have sent in a room.
type cheerCount struct {
	began uint64 // names the count: another one begins at zero
	age   uint64 // seconds since then
	kept  bool   // told to a node that has its first reader now: where to begin
	names map[string]uint64
}

// roomCheers is what a node knows of a room.
type roomCheers struct {
	own    cheerCount
	others map[string]cheerCount // by node
	since  map[string]uint64     // since the last tally
	last   map[string]uint64     // age at which each own name was heard last
	quiet  int                   // tallies since the last own cheer
	told   bool                  // others know own
}

// cheers counts. Readers and the peer link add, the ticker takes.
type cheers struct {
	mu    sync.Mutex
	rooms map[storage.RoomKey]*roomCheers
}

func (c *cheers) room(k storage.RoomKey) *roomCheers {
	r := c.rooms[k]
	if r == nil && len(c.rooms) < cheerRooms {
		if c.rooms == nil {
			c.rooms = map[storage.RoomKey]*roomCheers{}
		}
		r = &roomCheers{since: map[string]uint64{}, others: map[string]cheerCount{}, last: map[string]uint64{}}
		c.rooms[k] = r
	}
	return r
}

// add counts a cheer of this node's client.
func (c *cheers) add(k storage.RoomKey, name string) *problem.Problem {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.room(k)
	if r == nil {
		return problem.New(problem.RateLimited, "Too many rooms are cheered in at the moment.").After(headEvery)
	}
	if r.own.names == nil {
		r.own = cheerCount{began: rand.Uint64(), names: map[string]uint64{}} //nolint:gosec // a name, no secret
	}
	if _, known := r.own.names[name]; !known && len(r.own.names) >= cheerNames {
		r.forgetOldest()
	}
	r.own.names[name]++
	r.last[name] = r.own.age
	r.since[name]++
	r.quiet, r.told = 0, false
	return nil
}

// forgetOldest makes room for another name. What it counted is told already, or lost with it: cheers are at most once.
func (r *roomCheers) forgetOldest() {
	oldest, at := "", ^uint64(0)
	for name := range r.own.names {
		if last := r.last[name]; last < at || last == at && name < oldest {
			oldest, at = name, last
		}
	}
	delete(r.own.names, oldest)
	delete(r.last, oldest)
}

// heard takes what another node has counted.
func (c *cheers) heard(k storage.RoomKey, node string, n cheerCount) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.room(k)
	if r == nil {
		return
	}
	before := r.others[node]
	r.others[node] = n
	if n.kept || before.began != n.began && n.age > cheerFresh { // from before this node had readers of the room
		return
	}
	for name, count := range n.names {
		if before.began == n.began {
			count -= min(before.names[name], count)
		}
		if count > 0 {
			r.since[name] += count
		}
	}
}

// tally is what came in a room since the last time.
type tally struct {
	room  storage.RoomKey
	cheer map[string]uint64
	tell  *cheerCount // what other nodes are to hear, nil = nothing new
}

// kept returns what a node that has its first reader of the room now is to begin with.
func (c *cheers) kept(k storage.RoomKey) *cheerCount {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.rooms[k]
	if r == nil || r.own.names == nil {
		return nil
	}
	own := r.own.clone()
	own.kept = true
	return &own
}

func (n *cheerCount) clone() cheerCount {
	return cheerCount{began: n.began, age: n.age, names: maps.Clone(n.names)}
}

// take returns what is new. Once a second.
func (c *cheers) take() (out []tally) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for k, r := range c.rooms {
		t := tally{room: k}
		r.own.age++
		if len(r.since) > 0 {
			t.cheer, r.since = r.since, map[string]uint64{}
		}
		if !r.told && r.own.names != nil {
			own := r.own.clone()
			t.tell, r.told = &own, true
		}
		if t.cheer != nil || t.tell != nil {
			out = append(out, t)
			if t.tell == nil {
				r.quiet = 0 // others cheer
			}
			continue
		}
		if r.quiet++; r.quiet > cheerQuiet {
			delete(c.rooms, k)
		}
	}
	return out
}

// cheerSlot is where a node's count stands under a room on the peer link; a live value's slot begins with its name.
func cheerSlot(node string) string { return liveSlot("", node) }

// appendTo is the form on the peer link: which count it is and how old, then names with their counts.
func (n *cheerCount) appendTo(b []byte) []byte {
	age := 2 * n.age
	if n.kept {
		age++
	}
	b = binary.AppendUvarint(binary.AppendUvarint(b, n.began), age)
	for name, count := range n.names {
		b = append(binary.AppendUvarint(b, uint64(len(name))), name...)
		b = binary.AppendUvarint(b, count)
	}
	return b
}

func decodeCheers(b []byte) (n cheerCount, ok bool) {
	next := func() (v uint64) {
		v, size := binary.Uvarint(b)
		if size <= 0 {
			b, ok = nil, false
			return 0
		}
		b = b[size:]
		return v
	}
	ok = true
	n = cheerCount{began: next(), names: map[string]uint64{}}
	age := next()
	n.age, n.kept = age/2, age%2 == 1
	for ok && len(b) > 0 && len(n.names) <= cheerNames {
		size := next()
		if size > uint64(len(b)) {
			return n, false
		}
		name := string(b[:size])
		b = b[size:]
		if n.names[name] = next(); !topic.ValidType(name) {
			return n, false
		}
	}
	return n, ok && len(b) == 0
}

// tellTallies tells other nodes what this one has counted, and readers what has come. Once a second.
func (b *Broker) tellTallies() {
	for _, t := range b.cheers.take() {
		if t.tell != nil {
			b.cfg.Peers.Tell(peerKey(t.room), cheerSlot(b.cfg.Node), t.tell.appendTo(nil))
		}
		if t.cheer != nil {
			for _, w := range b.workers {
				w.post(func() { w.cheered(t.room, t.cheer) })
			}
		}
	}
	for _, w := range b.workers {
		w.post(w.sendTallies)
	}
}

func (w *worker) cheered(k storage.RoomKey, cheer map[string]uint64) {
	if r := w.rooms[k]; r != nil && r.values.tallies > 0 {
		r.values.cheer = cheer
		w.toTally(r)
	}
}

// reacted notes that the reactions to a message of a large room are others.
func (w *worker) reacted(n storage.Reacted) {
	r := w.rooms[n.Room]
	if r == nil || r.values.tallies == 0 {
		return
	}
	if r.values.reacted == nil {
		r.values.reacted = map[uint64]struct{}{}
	}
	r.values.reacted[n.Seq] = struct{}{}
	w.toTally(r)
}

func (w *worker) toTally(r *room) {
	if !r.values.tallied {
		r.values.tallied = true
		w.tallies = append(w.tallies, r)
	}
}

// tallyMessages bounds the messages whose reactions one tally reports; the others are in the next.
const tallyMessages = 64

// sendTallies tells the readers of each room what came, and how many reactions there are to the messages that got some.
// Once a second.
func (w *worker) sendTallies() {
	rooms := w.tallies
	w.tallies = nil
	for _, r := range rooms {
		r.values.tallied = false
		if w.rooms[r.key] != r {
			continue
		}
		out := map[string]any{}
		if r.values.cheer != nil {
			out["cheer"] = r.values.cheer
			r.values.cheer = nil
		}
		var seqs []uint64
		for seq := range r.values.reacted {
			if len(seqs) == tallyMessages {
				w.toTally(r)
				break
			}
			seqs = append(seqs, seq)
			delete(r.values.reacted, seq)
		}
		if len(seqs) == 0 {
			w.sendTally(r, toJSON(out))
			continue
		}
		w.b.read(func() { // it may touch the disk
			counts := map[uint64]map[string]uint64{}
			for _, seq := range seqs {
				f, err := w.b.cfg.Store.Fold(r.key, seq)
				if err != nil {
					w.b.log.Error("read reactions", "room", r.key.Room, "seq", seq, "err", err)
					continue
				}
				counts[seq] = map[string]uint64{}
				for _, x := range f.Reactions {
					counts[seq][x.Emoji] = x.N
				}
			}
			out["reactions"] = counts
			w.post(func() {
				if w.rooms[r.key] == r {
					w.sendTally(r, toJSON(out))
				}
			})
		})
	}
}

// sendTally sends to who takes it; at most once, a full socket misses it.
func (w *worker) sendTally(r *room, payload []byte) {
	for _, cur := range r.cursors {
		if c := cur.client; !cur.asleep && cur.values&valueTally != 0 && c.conn.Queued() < w.b.queueRoom() {
			w.sendValue(cur, topic.Tally, valueTally, payload)
		}
	}
}
