package storage

import "unicode/utf8"

// wellNamed reports whether the names of a command can stand in keys and, unescaped, in JSON. Brokers refuse other names
// long before; this keeps one that does not from damaging what every node stores. Client ids and cids may hold anything.
func wellNamed(c Command) bool {
	switch c := c.(type) {
	case *Append:
		return goodRoom(c.Room) && good(c.From.User) && good(c.Type)
	case *RoomCreate:
		return goodRoom(c.Room) && good(c.By.User)
	case *RoomSet:
		return goodRoom(c.Room) && good(c.By.User)
	case *RoomDelete:
		return goodRoom(c.Room) && good(c.By.User)
	case *Join:
		return goodRoom(c.Room) && good(c.By.User)
	case *Leave:
		return goodRoom(c.Room) && good(c.By.User)
	case *Moderate:
		return goodRoom(c.Room) && good(c.By.User) && good(c.User) && good(string(c.Role))
	case *SetState:
		return goodRoom(c.Room) && good(c.From.User) && good(c.Key) && c.Key != ""
	case *Marks:
		for i := range c.Marks {
			if !goodRoom(c.Marks[i].Room) || !good(c.Marks[i].User) {
				return false
			}
		}
	case *Trim:
		return goodRoom(c.Room)
	case *Forget:
		return goodRoom(c.Room)
	case *Take:
		w := c.Will
		return goodSession(c.Session) && good(c.Node) && (w == nil || goodRoom(w.Room) && good(w.Type))
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
	case *NodeUp:
		return good(c.Node)
	case *NodeLost:
		return good(c.Node)
	}
	return true
}

func goodRoom(k RoomKey) bool { return k.Room != "" && good(k.NS) && good(k.Room) }

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
