package webhook

import (
	"encoding/json"
	"path"
	"slices"
	"strconv"
	"time"

	"github.com/madang-chat/madang/storage"
)

// Event is what a receiver is told. Data is a JSON value.
type Event struct {
	ID        string // the same however often the event is sent
	Type      string // message.created
	At        int64  // ms since the epoch
	Namespace string
	Room      string // "" = of no room
	User      string // whom it concerns, where events of one user shall stay in order; not sent
	Data      []byte
}

// Types of events that are no entry of a room.
const (
	TypeGap            = "feed.gap" // events are missing: they were not taken in time, or their entries are gone
	TypeUserOnline     = "user.online"
	TypeUserOffline    = "user.offline"
	TypeMessageOffline = "message.offline"
)

// Body is the event as Standard Webhooks words one, with the namespace beside it.
func (e *Event) Body() []byte {
	b := append(make([]byte, 0, len(e.Data)+128), `{"type":"`...)
	b = append(append(b, e.Type...), `","timestamp":"`...)
	b = time.UnixMilli(e.At).UTC().AppendFormat(b, "2006-01-02T15:04:05.000Z")
	if e.Namespace != "" {
		b = append(append(b, `","namespace":"`...), e.Namespace...)
	}
	b = append(append(b, `","data":`...), e.Data...)
	return append(b, '}')
}

// ofMembers are system entries that are about somebody; all others are about the room.
var ofMembers = []string{"joined", "left", "invited", "removed", "banned", "unbanned", "muted", "unmuted", "role"}

// typeOfMessage is the event's type for an entry of a type, "" for system entries, which say themselves what they are.
func typeOfMessage(typ string) string {
	switch typ {
	case storage.TypeSystem:
		return ""
	case storage.TypeEdit:
		return "message.edited"
	case storage.TypeDelete:
		return "message.deleted"
	case storage.TypeReaction:
		return "message.reaction"
	}
	return "message.created"
}

// typeOfEntry is the event's type for an entry.
func typeOfEntry(e *storage.Entry) string {
	if t := typeOfMessage(e.Type); t != "" {
		return t
	}
	var in struct {
		Data struct {
			Event string `json:"event"`
		} `json:"data"`
	}
	if json.Unmarshal(e.JSON, &in) != nil || in.Data.Event == "" {
		return "room.system"
	}
	if slices.Contains(ofMembers, in.Data.Event) {
		return "member." + in.Data.Event
	}
	return "room." + in.Data.Event
}

// eventOf makes the event of an item; e is its entry, nil when it is gone or the item has none.
func eventOf(it *storage.FeedItem, e *storage.Entry) Event {
	ev := Event{At: it.At, Namespace: it.Room.NS, Room: it.Room.Room}
	place := it.Room.NS + "/" + it.Room.Room + "/"
	switch {
	case it.Seq == 0:
		ev.ID = place + it.Event + "-" + strconv.FormatUint(it.First(), 10)
		ev.Type, ev.Data = "room."+it.Event, it.Data
	case e == nil:
		ev.ID = place + strconv.FormatUint(it.Seq, 10)
		ev.Type = TypeGap
		ev.Data = append([]byte(`{"room":"`), it.Room.Room...)
		ev.Data = strconv.AppendUint(append(ev.Data, `","seq":`...), it.Seq, 10)
		ev.Data = append(ev.Data, `,"reason":"removed"}`...)
	default:
		ev.ID = place + strconv.FormatUint(it.Seq, 10)
		ev.Type, ev.Data = typeOfEntry(e), e.JSON
	}
	return ev
}

// gapEvent says that the items from..to of the feed were not taken in time.
func gapEvent(from, to uint64, at int64) Event {
	b := strconv.AppendUint([]byte(`{"from":`), from, 10)
	b = strconv.AppendUint(append(b, `,"to":`...), to, 10)
	return Event{
		ID: "gap-" + strconv.FormatUint(from, 10) + "-" + strconv.FormatUint(to, 10), Type: TypeGap, At: at,
		Data: append(b, `,"reason":"retention"}`...),
	}
}

// Filter says which events a webhook wants; an empty list is all. Each is a glob in which * stands for any characters.
type Filter struct {
	Events     []string
	Namespaces []string
	Rooms      []string
}

// Wants reports whether an event passes. A gap always does: it says that something may be missing.
func (f *Filter) Wants(e *Event) bool {
	return (e.Type == TypeGap || Match(f.Events, e.Type)) && f.place(e.Namespace, e.Room)
}

// place reports whether a room passes; "" is no room, or the feed as a whole.
func (f *Filter) place(ns, room string) bool {
	return (ns == "" || Match(f.Namespaces, ns)) && (room == "" || Match(f.Rooms, room))
}

// Match reports whether a name matches one of the globs, or there is none.
func Match(globs []string, name string) bool {
	if len(globs) == 0 {
		return true
	}
	for _, g := range globs {
		if ok, err := path.Match(g, name); err == nil && ok {
			return true
		}
	}
	return false
}
