package cluster

import "github.com/madang-chat/madang/internal/logentry"

// foreign is a group of commands of another node that this leader puts into an entry. done is called once, in the order
// of the calls of offer, and must not block; an error says that the log may not have it.
type foreign struct {
	group logentry.Group
	size  int
	done  func(error)
}

// offer takes in a group of another node. It returns false, and done is not called, when this node does not lead.
func (p *proposer) offer(f foreign) bool {
	p.mu.Lock()
	ok := p.leading && !p.closing
	wake := false
	if ok {
		p.guests = append(p.guests, f)
		p.guestN += len(f.group.Commands)
		wake = p.arrived()
	}
	p.mu.Unlock()
	if wake {
		signal(p.kick)
	}
	return ok
}

// takeGuests moves the oldest groups of other nodes out, as many as fit into size bytes, at least one. p.mu is held.
func (p *proposer) takeGuests(limit int) (out []foreign, size int) {
	n := 0
	for n < len(p.guests) && n < logentry.MaxGroups-1 && (n == 0 || size+p.guests[n].size <= limit) {
		size += p.guests[n].size
		p.guestN -= len(p.guests[n].group.Commands)
		n++
	}
	out = p.guests[:n:n]
	if p.guests = p.guests[n:]; len(p.guests) == 0 {
		p.guests = nil
	}
	return out, size
}
