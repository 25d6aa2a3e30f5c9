package cluster

import "time"

// read returns the wall clock and the monotonic clock as logTime takes them.
func (n *Node) read() (wall, mono time.Duration) {
	return time.Duration(n.cfg.Clock().UnixNano()), n.cfg.Monotonic()
}

// stamp returns log time in ms and moves it.
func (n *Node) stamp() int64 {
	n.timeMu.Lock()
	wall, mono := n.read() // inside, so that readings are in order
	at, event := n.time.now(wall, mono)
	n.timeMu.Unlock()
	n.logTimeEvent(event)
	return at.Milliseconds()
}

// observe notes the log time of an applied entry.
func (n *Node) observe(entry int64) {
	n.timeMu.Lock()
	n.applied = entry
	if !n.timeLead {
		n.time.observe(time.Duration(entry)*time.Millisecond, n.cfg.Monotonic())
	}
	n.timeMu.Unlock()
}

func (n *Node) logTimeEvent(e timeEvent) {
	switch e {
	case timeQuiet:
		return
	case timeAhead:
		n.log.Warn("wall clock stepped forward, log time follows when that has lasted", "after", stepPatience)
	case timeBehind:
		n.log.Warn("wall clock stepped back, log time runs slower until it is caught up")
	case timeJumped:
		n.log.Warn("log time jumped forward to the wall clock", "destruction_held", n.DestructionHeld())
	}
	n.timeSteps.Add(1)
}

// LogTime returns the log time, in ms since the epoch, that an entry stamped now would get. On a node that does not
// lead it goes on from the last applied entry, as far as that can be known there: a jump is the leader's to believe.
func (n *Node) LogTime() int64 {
	n.timeMu.Lock()
	if !n.timeLead {
		defer n.timeMu.Unlock()
		return n.time.follow(n.read()).Milliseconds()
	}
	n.timeMu.Unlock()
	return n.stamp()
}

// DestructionHeld reports whether expiry and retention must not be proposed: log time jumped by more than a minute
// within the last hour, and a wrong clock could still be put right. It is known to the node that led at the jump.
func (n *Node) DestructionHeld() bool {
	n.timeMu.Lock()
	defer n.timeMu.Unlock()
	return n.time.destructionHeld(n.cfg.Monotonic())
}
