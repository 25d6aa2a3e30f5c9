package broker

// A cursor whose client may not read the room is asleep. What wakes it is a change of the room, of its members or of the user,
// and one thing that nobody writes: the end of a ban. For that the worker knows when the bans end that keep cursors asleep.

// sliceWoken is how many cursors are woken at a time; the others a second later.
const sliceWoken = 1000

// dozes notes that cur is asleep, and when to look at it again. broken: what it may read could not be found out.
func (w *worker) dozes(cur *cursor, broken bool) {
	access, now := &w.b.cfg.Rules.Access, w.b.cfg.Store.Now()
	end, err := access.BanEnds(cur.client.identity(), cur.room.key, now)
	switch {
	case broken || err != nil:
		w.asleep[cur] = now // another try with the next look
	case end > 0:
		w.asleep[cur] = end
	default:
		delete(w.asleep, cur)
	}
}

// wakeUp looks again at cursors that were kept asleep by a ban that has ended. Once a second.
func (w *worker) wakeUp() {
	if len(w.asleep) == 0 {
		return
	}
	now, looked := w.b.cfg.Store.Now(), 0
	for cur, end := range w.asleep {
		if end > now {
			continue
		}
		if w.setAccess(cur, cur.room.swept+1); !cur.asleep {
			cur.client.dirty() // it may have been behind
		}
		if looked++; looked == sliceWoken {
			return
		}
	}
}

// rouse is for one who asks for a room again: a ban may have ended since the last look.
func (w *worker) rouse(cur *cursor) {
	if cur.asleep {
		w.setAccess(cur, cur.room.swept+1)
	}
}
