package broker

import "sync"

// pubacks carries the packet ids that a client acknowledged from its reader to its worker. Most often nobody waits for
// them: they lie here until the worker has something for the client anyway, or writes down its place. Only a client whose
// window is full is looked at as soon as an id comes.
type pubacks struct {
	mu     sync.Mutex
	ids    []uint16
	wanted bool // the worker waits for the next id

	spare []uint16 // the worker's
}

// add takes an id in and reports whether the worker waits for it.
func (p *pubacks) add(id uint16) (wanted bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.ids) < packetIDs { // more were never in flight
		p.ids = append(p.ids, id)
	}
	wanted, p.wanted = p.wanted, false
	return wanted
}

// take returns what has come. It is valid until the next call.
func (p *pubacks) take() []uint16 {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ids, p.spare = p.spare[:0], p.ids
	return p.spare
}

// want asks for the next id. It returns false when one is here already.
func (p *pubacks) want() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.wanted = len(p.ids) == 0
	return p.wanted
}
