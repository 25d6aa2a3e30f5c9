package calls

import (
	"encoding/json"
	"unicode/utf8"

	"github.com/madang-chat/madang/storage"
)

// headText is how many characters of the newest message a room list shows (design.md section 3).
const headText = 80

// Meta is what a room says of itself, on its topic meta: everything but its log.
type Meta struct {
	Room     string     `json:"room"`
	Name     string     `json:"name"`
	Kind     string     `json:"kind"`
	Frozen   bool       `json:"frozen"`
	SlowMode int64      `json:"slow_mode"` // seconds between two messages of a member, 0 = off
	Guest    string     `json:"guest"`     // what guests may do
	State    string     `json:"state"`     // members or operators: who sets its state
	Limits   MetaLimits `json:"limits"`
	Pinned   []uint64   `json:"pinned"` // seqs, the one pinned last in front
}

// MetaLimits are the bounds of a room; 0 = none.
type MetaLimits struct {
	Message int `json:"message"` // bytes of a message
	Members int `json:"members"`
}

// Meta returns the payload of the room's topic meta.
func (c *Calls) Meta(r *storage.Room) []byte {
	b, err := encode(Meta{
		Room: r.Key.Room, Name: r.Name, Kind: r.Kind.String(), Frozen: r.Frozen, SlowMode: r.Slow, Guest: r.GuestMay().String(),
		State:  r.StateBy.String(),
		Limits: MetaLimits{Message: c.limits().Message, Members: c.cfg.RoomMembers}, Pinned: append([]uint64{}, r.Pinned...),
	})
	if err != nil {
		c.log.Error("encode meta", "room", r.Key.Room, "err", err)
	}
	return b
}

// Head is where a room's log stands, on its topic head: what a room list shows. From and Text are of the newest message,
// absent when none is kept.
type Head struct {
	Seq  uint64  `json:"seq"`
	N    uint64  `json:"n"`
	TS   int64   `json:"ts"` // ms since the epoch
	From *Sender `json:"from,omitempty"`
	Text string  `json:"text,omitempty"` // its first 80 characters
}

// Sender is who wrote a message.
type Sender struct {
	User string `json:"user"`
	Name string `json:"name,omitempty"`
}

// HeadOf says where a room stands; last is its newest message and edit what it says since, nil = none.
func HeadOf(h storage.Head, last, edit *storage.Entry) Head {
	out := Head{Seq: h.Seq, N: h.N, TS: h.TS}
	if last == nil {
		return out
	}
	var e struct {
		From Sender
		Data json.RawMessage
	}
	var text struct{ Text string }
	if json.Unmarshal(present(nil, last, &storage.Fold{}, edit), &e) != nil {
		return out
	}
	if json.Unmarshal(e.Data, &text) != nil { // data that is no object, or has another text, shows none
		text.Text = ""
	}
	out.From, out.Text = &e.From, firstRunes(text.Text, headText)
	return out
}

// Head returns the payload of the room's topic head.
func (c *Calls) Head(h storage.Head, last, edit *storage.Entry) []byte {
	b, err := encode(HeadOf(h, last, edit))
	if err != nil {
		c.log.Error("encode head", "err", err)
	}
	return b
}

func firstRunes(s string, n int) string {
	for i := range s {
		if n--; n < 0 {
			return s[:i]
		}
	}
	if !utf8.ValidString(s) {
		return ""
	}
	return s
}
