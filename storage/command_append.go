package storage

import (
	"encoding/binary"
	"fmt"
	"math"
)

// Append is nearly all of the log, so it has a form of its own: after version and kind
//
//	flags          1 admin, 2 guest, 4 dup, 8 level present, 16 hash present, 32 refers to messages, 64 a reaction ends,
//	               128 more flags
//	sized x 7      namespace, room, user, name, device, type, cid (uvarint length, bytes)
//	varints        ttl, rooms per day, level (if present)
//	uvarints       epoch, packet id, kind of room to make
//	hash           16 bytes (if present)
//	target, reply to (uvarints), reason, emoji, collapse key (sized; all if one is present)
//	more flags     uvarint: 1 mentions, 2 many are online (if present)
//	mentions       uvarint count, names with length (if present)
//	the rest       tail
//
// In a Will the same struct travels as CBOR.
const (
	appendAdmin = 1 << iota
	appendGuest
	appendDup
	appendLevel
	appendHash
	appendRefers
	appendOff
	appendMore
	appendFlagsKnown = 1<<iota - 1
)

const (
	moreMentions = 1 << iota
	moreMany
	moreFlagsKnown = 1<<iota - 1
)

func (c *Append) appendTo(b []byte) []byte {
	var flags byte
	for _, f := range [...]struct {
		on  bool
		bit byte
	}{
		{c.From.Admin, appendAdmin},
		{c.From.Guest, appendGuest},
		{c.Dup, appendDup},
		{c.From.Level != nil, appendLevel},
		{c.Hash != [16]byte{}, appendHash},
		{c.Target != 0 || c.ReplyTo != 0 || c.Reason != "" || c.Emoji != "" || c.Collapse != "", appendRefers},
		{c.Off, appendOff},
		{len(c.Mentions) > 0 || c.Many, appendMore},
	} {
		if f.on {
			flags |= f.bit
		}
	}
	b = append(b, flags)
	for _, s := range [...]string{c.Room.NS, c.Room.Room, c.From.User, c.From.Name, c.Device, c.Type, c.CID} {
		b = appendSized(b, s)
	}
	b = binary.AppendVarint(b, c.TTL)
	b = binary.AppendVarint(b, int64(c.RoomsPerDay))
	if c.From.Level != nil {
		b = binary.AppendVarint(b, *c.From.Level)
	}
	b = binary.AppendUvarint(b, c.Epoch)
	b = binary.AppendUvarint(b, uint64(c.PacketID))
	b = binary.AppendUvarint(b, uint64(c.AutoCreate))
	if flags&appendHash != 0 {
		b = append(b, c.Hash[:]...)
	}
	if flags&appendRefers != 0 {
		for _, v := range [...]uint64{c.Target, c.ReplyTo} {
			b = binary.AppendUvarint(b, v)
		}
		b = appendSized(appendSized(appendSized(b, c.Reason), c.Emoji), c.Collapse)
	}
	if flags&appendMore != 0 {
		b = c.appendMore(b)
	}
	return append(b, c.Tail...)
}

// decode fills c from b. The names share one string of their own; Tail aliases b.
func (c *Append) decode(b []byte) error {
	r := reader{b: b}
	flag := r.fixed(1)
	if r.bad || flag[0]&^byte(appendFlagsKnown) != 0 {
		return fmt.Errorf("%w (append)", ErrCommand)
	}
	flags := flag[0]
	var sizes [7]int
	var names [7][]byte
	all := r.b
	for i := range names {
		names[i] = r.sized()
		sizes[i] = len(all) - len(r.b) // end of the name in all
	}
	if r.bad {
		return fmt.Errorf("%w (append)", ErrCommand)
	}
	shared := string(all[:sizes[6]])
	name := func(i int) string { return shared[sizes[i]-len(names[i]) : sizes[i]] }
	*c = Append{
		Room:   RoomKey{NS: name(0), Room: name(1)},
		From:   Actor{User: name(2), Name: name(3), Admin: flags&appendAdmin != 0, Guest: flags&appendGuest != 0},
		Device: name(4), Type: name(5), CID: name(6), Dup: flags&appendDup != 0,
	}
	c.TTL = r.varint()
	perDay := r.varint()
	if flags&appendLevel != 0 {
		level := r.varint()
		c.From.Level = &level
	}
	c.Epoch = r.uvarint()
	packet, kind := r.uvarint(), r.uvarint()
	if flags&appendHash != 0 {
		copy(c.Hash[:], r.fixed(uint64(len(c.Hash))))
	}
	if flags&appendRefers != 0 {
		c.Target, c.ReplyTo = r.uvarint(), r.uvarint()
		c.Reason, c.Emoji, c.Collapse = string(r.sized()), string(r.sized()), string(r.sized())
	}
	c.Off = flags&appendOff != 0
	if flags&appendMore != 0 {
		c.decodeMore(&r)
	}
	if r.bad || packet > math.MaxUint16 || kind > math.MaxUint8 || perDay < math.MinInt32 || perDay > math.MaxInt32 {
		return fmt.Errorf("%w (append)", ErrCommand)
	}
	c.RoomsPerDay, c.PacketID, c.AutoCreate = int(perDay), uint16(packet), RoomKind(kind)
	c.Tail = r.b
	return nil
}

// appendMore writes what more flags announce.
func (c *Append) appendMore(b []byte) []byte {
	var more uint64
	if len(c.Mentions) > 0 {
		more |= moreMentions
	}
	if c.Many {
		more |= moreMany
	}
	b = binary.AppendUvarint(b, more)
	if len(c.Mentions) > 0 {
		b = binary.AppendUvarint(b, uint64(len(c.Mentions)))
		for _, u := range c.Mentions {
			b = appendSized(b, u)
		}
	}
	return b
}

// decodeMore reads what more flags announce.
func (c *Append) decodeMore(r *reader) {
	more := r.uvarint()
	if more&^moreFlagsKnown != 0 {
		r.bad = true
		return
	}
	c.Many = more&moreMany != 0
	if more&moreMentions != 0 {
		for n := r.uvarint(); n > 0 && !r.bad; n-- {
			c.Mentions = append(c.Mentions, string(r.sized()))
		}
	}
}
