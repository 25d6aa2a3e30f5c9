package broker

import (
	"context"
	"encoding/binary"
	"strings"
	"time"

	"github.com/madang-chat/madang/hooks"
	"github.com/madang-chat/madang/hooks/topic"
	"github.com/madang-chat/madang/storage"
)

// Live values reach the readers of other nodes by the peer link: told under the room, in the slot of name and user, as
// a uvarint and the payload. The number is twice the time they have left, in ms, and one more for a value that was kept
// and is told to a node that has its first reader now: those get it as new subscribers do.

// alone is the peer link of a node without others.
type alone struct{}

func (alone) Want(string)                 {}
func (alone) Unwant(string)               {}
func (alone) Tell(string, string, []byte) {}

func (alone) Ask(context.Context, string, []byte) [][]byte { return nil }

func peerKey(k storage.RoomKey) string { return k.NS + "\x00" + k.Room }

func liveSlot(name, user string) string { return name + "\x00" + user }

// tellLive passes a value of one of this node's clients to other nodes that have readers of its room.
func (b *Broker) tellLive(l *hooks.Live, ttl time.Duration) {
	b.cfg.Peers.Tell(peerKey(l.Room), liveSlot(l.Name, l.User), appendLive(ttl.Milliseconds(), false, l.Payload))
}

func appendLive(ms int64, kept bool, payload []byte) []byte {
	n := 2 * uint64(max(ms, 0))
	if kept {
		n++
	}
	return append(binary.AppendUvarint(make([]byte, 0, binary.MaxVarintLen64+len(payload)), n), payload...)
}

// Told takes what another node tells, and leaves out what no client could have sent: names become a topic, and clients
// close the connection on one that is malformed (MQTT 5, 1.5.4). It does not block.
func (b *Broker) Told(key, slot string, data []byte) {
	ns, room, ok1 := strings.Cut(key, "\x00")
	name, user, ok2 := strings.Cut(slot, "\x00")
	if !ok1 || !ok2 || !topic.ValidNamespace(ns) || !topic.IsRoom(room) {
		return
	}
	if name == "" {
		if n, ok := decodeCheers(data); ok {
			b.cheers.heard(storage.RoomKey{NS: ns, Room: room}, user, n)
		}
		return
	}
	number, n := binary.Uvarint(data)
	if n <= 0 || !topic.ValidType(name) || !topic.IsSender(user) {
		return // of a version that says more than this one knows
	}
	l := &hooks.Live{Room: storage.RoomKey{NS: ns, Room: room}, Name: name, User: user, Payload: data[n:]}
	left, kept := number/2, number%2 == 1
	longest := uint64(max(b.limits().LiveTTL, b.limits().TypingTTL).Milliseconds())
	val := liveValue{payload: l.Payload, until: b.now() + int64(min(left, longest))}
	if left == 0 {
		val.payload = nil
	}
	if kept && b.live.has(l.Room, liveKey{room, name, user}, val.payload) {
		return // told again, since the link was interrupted
	}
	b.live.put(l.Room, liveKey{room, name, user}, val)
	b.passLive(l, nil, kept)
}

// Kept calls f with the live values under a key that came from this node's own clients.
func (b *Broker) Kept(key string, f func(slot string, data []byte)) {
	ns, room, ok := strings.Cut(key, "\x00")
	if !ok {
		return
	}
	k, now := storage.RoomKey{NS: ns, Room: room}, b.now()
	if n := b.cheers.kept(k); n != nil {
		f(cheerSlot(b.cfg.Node), n.appendTo(nil))
	}
	b.live.mu.Lock()
	defer b.live.mu.Unlock()
	for lk, val := range b.live.values[k] {
		if val.own && val.until > now {
			f(liveSlot(lk.name, lk.user), appendLive(val.until-now, true, val.payload))
		}
	}
}
