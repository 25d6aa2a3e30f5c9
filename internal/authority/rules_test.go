package authority

// The rules as design.md has them, section 3: "Who may", the table of topics, and the acts of those who run a room.

// belongs reports whether the role is a member of the room.
func (r role) belongs(h hall) bool {
	switch h {
	case nowhere:
		return false
	case direct:
		return r == owner || r == member
	}
	return r == owner || r == operator || r == member || r == muted
}

// reads reports whether the role may read the room with a plain subscription.
func (r role) reads(h hall) bool {
	switch {
	case h == nowhere || r.outside() || r == banned && h != direct:
		return false
	case r.isGuest():
		return h == public || h == frozen || h == open
	case h == private || h == direct:
		return r.belongs(h)
	}
	return true
}

// sees is reads by HTTP and rpc, where admins and auditors see every room; it is audited.
func (r role) sees(h hall) bool {
	return r.reads(h) || (r == admin || r == auditor) && h != nowhere
}

// writes reports whether the role may put a message into the room.
func (r role) writes(h hall) bool {
	switch {
	case h == nowhere || r.outside():
		return false
	case r == admin: // may what an owner may, everywhere
		return true
	case h == direct:
		return r.belongs(h)
	case r == banned || r == muted:
		return false
	case r == guest: // who shall write has a token
		return false
	case r == known:
		return h == open
	case h == private:
		return r.belongs(h)
	case h == frozen:
		return r == owner || r == operator
	}
	return true
}

// runs reports whether the role runs the room.
func (r role) runs(h hall) bool {
	if h == nowhere {
		return false
	}
	if h == direct {
		return r == admin
	}
	return r == owner || r == operator || r == admin
}
