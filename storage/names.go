package storage

import (
	"slices"
	"unicode/utf8"
)

// wellNamed reports whether the names of a command can stand in keys and, unescaped, in JSON. Brokers refuse other names
// long before; this keeps one that does not from damaging what every node stores. Client ids and cids may hold anything.
func wellNamed(c Command) bool {
	switch c := c.(type) {
	case *Append:
		return appendable(c) && good(c.From.User)
	case *RoomCreate:
		return ordinary(c.Room) && good(c.By.User)
	case *RoomSet:
		return ordinary(c.Room) && good(c.By.User)
	case *RoomDelete:
		return ordinary(c.Room) && good(c.By.User)
	case *Join:
		return ordinary(c.Room) && good(c.By.User)
	case *Leave:
		return ordinary(c.Room) && good(c.By.User)
	case *Moderate:
		return ordinary(c.Room) && good(c.By.User) && good(c.User) && good(string(c.Role))
	case *SetState:
		return ordinary(c.Room) && good(c.From.User) && good(c.Key) && c.Key != ""
	case *Marks:
		for i := range c.Marks {
			if !ordinary(c.Marks[i].Room) || !good(c.Marks[i].User) {
				return false
			}
		}
	case *Contact:
		return good(c.NS) && goodUser(c.User) && goodUser(c.Other)
	case *Block:
		return good(c.NS) && goodUser(c.User) && goodUser(c.Other)
	case *InboxRead:
		return good(c.NS) && goodUser(c.User)
	case *Import: // its lines are looked at one by one
		return goodRoom(c.Room) && good(c.By.User)
	case *Trim:
		return goodRoom(c.Room)
	case *Forget:
		return goodRoom(c.Room)
	case *Take:
		w := c.Will
		return goodSession(c.Session) && good(c.Node) && (w == nil || appendable(w))
	case *Drop:
		return goodSession(c.Session)
	case *Subscribe:
		return goodSession(c.Session)
	case *Release:
		return goodSession(c.Session)
	case *Expire:
		return goodSession(c.Session)
	case *FireWill:
		return goodSession(c.Session)
	case *Places:
		for i := range c.Lags {
			if !goodSession(c.Lags[i].Session) {
				return false
			}
		}
		return good(c.Node)
	case *PutUser:
		for i := range c.Set {
			if !good(c.Set[i].Name) {
				return false
			}
		}
		return goodUserKey(c.Key) && good(c.Fold)
	case *DeleteUser:
		return goodUserKey(c.Key)
	case *DeletePage:
		return goodUserKey(c.Key) && !slices.ContainsFunc(c.States, func(s string) bool { return !good(s) || s == "" })
	case *Logout:
		return goodUserKey(c.Key)
	case *Active:
		for i := range c.Users {
			if !good(c.Users[i].NS) || !good(c.Users[i].User) {
				return false
			}
		}
	case *SetPush:
		return goodSession(c.Session)
	case *EndDevice:
		return goodSession(c.Session)
	case *FeedHooks:
		for _, n := range c.Names {
			if !good(n) || n == "" {
				return false
			}
		}
	case *FeedDead:
		return good(c.Hook)
	case *FeedRetry:
		return good(c.Hook)
	case *NodeUp:
		return good(c.Node)
	case *NodeLost:
		return good(c.Node)
	}
	return true
}

func goodRoom(k RoomKey) bool { return k.Room != "" && good(k.NS) && good(k.Room) }

// ordinary reports whether k can name a room of people: no command of theirs touches the broker's own logs.
func ordinary(k RoomKey) bool { return goodRoom(k) && k.IsRoom() }

func appendable(c *Append) bool {
	for _, u := range c.Mentions {
		if !good(u) {
			return false
		}
	}
	return (ordinary(c.Room) || goodRoom(c.Room) && c.Room.IsBroadcast()) && good(c.Type)
}

// goodUser leaves out what would not come back from the name of a direct room.
func goodUser(name string) bool { return hasInbox(name) && good(name) }

func goodUserKey(k UserKey) bool { return k.NS != "" && k.User != "" && good(k.NS) && good(k.User) }

func goodSession(id SessionID) bool { return good(id.NS) && good(id.User) }

func good(name string) bool {
	if !utf8.ValidString(name) {
		return false
	}
	for i := range len(name) {
		if c := name[i]; c < 0x20 || c == '"' || c == '\\' || c == 0x7f {
			return false
		}
	}
	return true
}
