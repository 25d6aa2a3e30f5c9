package cluster

import "time"

// Rules of log time.
const (
	stepAtOnce   = 10 * time.Second // a wall clock this much ahead is followed at once
	stepPatience = 10 * time.Minute // a larger step is believed when it has lasted this long
	slewPercent  = 10               // log time runs this much slower while the wall clock is behind
	holdAfter    = time.Minute      // a jump larger than this holds what destroys,
	holdFor      = time.Hour        // for this long
)

// logTime decides what log time is. It is a pure function of the readings it is given: wall is the wall clock, mono a
// clock that never jumps (the time since some moment). Not safe for concurrent use.
//
// Log time continues by mono and is drawn to the wall clock: up to 10 s ahead at once, further ahead only when that
// lasts 10 minutes, behind by running 10 % slower. It never goes back. After a full stop of the cluster time has
// passed that no mono has seen, so a wall clock that is ahead is believed at once.
type logTime struct {
	at   time.Duration // log time since the epoch at the reading mono
	mono time.Duration

	ahead      bool          // the wall clock is more than stepAtOnce ahead,
	aheadBy    time.Duration // by this much when that began,
	aheadSince time.Duration // at this reading of mono
	behind     bool          // the wall clock is more than stepAtOnce behind

	held      bool
	heldUntil time.Duration // by mono
}

// timeEvent is what an operator should hear of.
type timeEvent int

const (
	timeQuiet  timeEvent = iota
	timeAhead            // the wall clock stepped forward; log time waits before it follows
	timeBehind           // the wall clock stepped back; log time slows down
	timeJumped           // log time jumped forward to the wall clock
)

// start begins after a boot: log time goes on from last, the log time of the last applied entry (0: there is none).
func (l *logTime) start(last, mono time.Duration) {
	*l = logTime{at: last, mono: mono}
}

// observe takes the time of an entry that another leader stamped, applied now. Log time goes on from there, even when
// it had run ahead: a new leader continues from what was applied.
func (l *logTime) observe(entry, mono time.Duration) {
	l.at, l.mono = entry, mono
}

// resume begins a leadership whose last applied entry has the time last. With fullStop nobody led since this node
// started, so a wall clock that is ahead is believed at once.
func (l *logTime) resume(last, wall, mono time.Duration, fullStop bool) timeEvent {
	l.run(mono)
	l.at = max(l.at, last)
	l.ahead, l.behind = false, false
	if !fullStop || wall <= l.at {
		return timeQuiet
	}
	return l.jump(wall, mono, last != 0)
}

// now returns log time at the readings wall and mono, which must not be before earlier ones.
func (l *logTime) now(wall, mono time.Duration) (time.Duration, timeEvent) {
	elapsed := l.run(mono)
	switch diff := wall - l.at; {
	case diff > stepAtOnce:
		l.behind = false
		if !l.ahead || diff-l.aheadBy > stepAtOnce || l.aheadBy-diff > stepAtOnce {
			l.ahead, l.aheadBy, l.aheadSince = true, diff, mono
			return l.at, timeAhead
		}
		if mono-l.aheadSince >= stepPatience {
			event := l.jump(wall, mono, true)
			return l.at, event
		}
		return l.at, timeQuiet
	case diff >= 0:
		l.ahead, l.behind = false, false
		l.at = wall
		return l.at, timeQuiet
	default:
		l.ahead = false
		// Give back up to a tenth of the time that has passed, but not more than what log time is ahead.
		l.at -= min(elapsed*slewPercent/100, -diff)
		if step := -diff > stepAtOnce; step != l.behind {
			l.behind = step
			if step {
				return l.at, timeBehind
			}
		}
		return l.at, timeQuiet
	}
}

// follow returns log time on a node that does not lead: it runs by mono and is drawn to a wall clock that is a little
// ahead, and believes no other. What the leader made of it comes with its next entry.
func (l *logTime) follow(wall, mono time.Duration) time.Duration {
	l.run(mono)
	if wall > l.at && wall-l.at <= stepAtOnce {
		l.at = wall
	}
	return l.at
}

// destructionHeld reports whether log time jumped by more than a minute within the last hour.
func (l *logTime) destructionHeld(mono time.Duration) bool {
	return l.held && mono < l.heldUntil
}

// run moves log time to mono and returns how much time passed.
func (l *logTime) run(mono time.Duration) time.Duration {
	elapsed := max(mono-l.mono, 0)
	l.at += elapsed
	l.mono = max(l.mono, mono)
	return elapsed
}

// jump sets log time to wall, which is ahead. hold tells whether there are entries with an earlier time at all.
func (l *logTime) jump(wall, mono time.Duration, hold bool) timeEvent {
	by := wall - l.at
	l.at, l.ahead = wall, false
	if hold && by > holdAfter {
		l.held, l.heldUntil = true, mono+holdFor
	}
	if by > stepAtOnce && hold {
		return timeJumped
	}
	return timeQuiet
}
