package presence

// rest has the log told of the last activity of a user who has gone: now, or a minute later, when it was told less than a
// minute ago.
func (t *Table) rest(p *person) {
	if p.active-p.written.Load() >= activeEvery {
		p.written.Store(p.active)
		t.active[p.key] = p
		return
	}
	if _, waits := t.active[p.key]; !waits && p.active <= p.written.Load() { // it knows already
		delete(t.users, p.key)
		return
	}
	if !p.rests {
		p.rests = true
		t.resting.add(p, t.now+activeEvery)
	}
}

// lastActive is when a user was active last on this node.
func (p *person) lastActive() int64 {
	at := p.active
	for d := range p.devices {
		at = max(at, d.active.Load())
	}
	return at
}

// ActiveAt is when a user was active last (ms, by the wall clock as it was when the node began).
type ActiveAt struct {
	User
	At int64
}

// Active returns those whose activity is news to the log, each at most once a minute; with all of them also those whose
// minute has not passed, since the node ends.
func (t *Table) Active(all bool) (out []ActiveAt) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.now
	if all {
		now = 1 << 62
	}
	t.resting.ripe(now, func(p *person, _ int64) {
		p.rests = false
		t.active[p.key] = p
	})
	for k, p := range t.active {
		at := p.lastActive()
		out = append(out, ActiveAt{k, at})
		p.written.Store(max(p.written.Load(), at))
		if len(p.devices) == 0 && !p.rests && t.users[k] == p {
			delete(t.users, k)
		}
	}
	clear(t.active)
	return out
}
