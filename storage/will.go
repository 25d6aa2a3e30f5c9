package storage

// A stored will is published once: when its connection ends without a normal DISCONNECT and it has no delay, by FireWill
// when its delay has passed, or when its session ends, whichever is first; a connection that takes the session again
// before that keeps it from being published (MQTT 5, 3.1.3.2.2). It obeys the rules of the room like any message; what
// the room refuses is gone.

func (t *tx) publishWill(id SessionID, rec *sessionRecord) Result {
	if p := t.account(UserKey{NS: id.NS, User: id.User}); p != nil && rec.Epoch <= p.epoch {
		return Result{Outcome: Forbidden, Detail: "the user was deleted"} // also where the name was given to somebody else since
	}
	w := *rec.Will
	w.Room.NS, w.From.User, w.Device = id.NS, id.User, id.Client
	w.Epoch, w.Dup = 0, false
	return t.appendMessage(&w)
}

func (t *tx) fireWill(c *FireWill) Result {
	rec := t.held(c.Session, c.Epoch)
	if rec == nil || rec.Will == nil {
		return Result{Outcome: Fenced}
	}
	_, ended := t.where(rec)
	if ended == 0 {
		return Result{Outcome: Conflict, Detail: "the session has a connection"}
	}
	if rec.willDue(ended) > t.now {
		return Result{Outcome: Conflict, Detail: "the will is not due"}
	}
	r := t.publishWill(c.Session, rec)
	rec.Will = nil
	t.setSession(c.Session, rec)
	return r
}
