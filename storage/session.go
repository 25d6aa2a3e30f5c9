package storage

import (
	"fmt"
	"slices"
	"strings"
)

// sessionRecord is a stored session: a cursor, not a queue. While a connection holds it, its place is the common place of
// its node's boot (Places) with the lags beside it; Release writes its own.
type sessionRecord struct {
	Epoch      uint64         `cbor:"1,keyasint"`
	Node       string         `cbor:"2,keyasint"`
	Boot       uint64         `cbor:"3,keyasint"`
	Expiry     uint32         `cbor:"4,keyasint"` // seconds
	EndedAt    int64          `cbor:"5,keyasint,omitempty"`
	Place      uint64         `cbor:"6,keyasint"`
	Filters    []Subscription `cbor:"7,keyasint,omitempty"`
	Unfinished []Unfinished   `cbor:"8,keyasint,omitempty"` // of the connection that ended last
	Previous   []Unfinished   `cbor:"9,keyasint,omitempty"` // what the current connection may repeat
	Will       *Append        `cbor:"10,keyasint,omitempty"`
	WillDelay  uint32         `cbor:"11,keyasint,omitempty"` // seconds
	Backlog    uint64         `cbor:"12,keyasint,omitempty"`
	Repeated   []uint16       `cbor:"13,keyasint,omitempty"` // packet ids of Previous that the current connection did repeat
}

// epochsKept bounds the epochs remembered for publishing sessions; beyond it the map starts anew.
const epochsKept = 200_000

func (t *tx) session(id SessionID) *sessionRecord {
	b := t.get(sessionKey(id))
	if b == nil {
		return nil
	}
	rec := &sessionRecord{}
	if err := decodeRecord(b, rec); err != nil {
		t.fail(fmt.Errorf("%w: session %q of %q: %w", ErrEntry, id.Client, id.User, err))
		return nil
	}
	return rec
}

func (t *tx) setSession(id SessionID, rec *sessionRecord) {
	t.set(sessionKey(id), encodeRecord(rec))
	t.rememberEpoch(id, rec.Epoch)
}

func (t *tx) rememberEpoch(id SessionID, epoch uint64) {
	if _, ok := t.s.epochs[id]; !ok {
		if len(t.s.epochs) >= epochsKept {
			clear(t.s.epochs)
		}
		id = SessionID{NS: strings.Clone(id.NS), User: strings.Clone(id.User), Client: strings.Clone(id.Client)}
	}
	t.s.epochs[id] = epoch
}

// fenced reports whether a command of epoch comes from a connection that no longer holds the session.
func (t *tx) fenced(id SessionID, epoch uint64) bool {
	if e, ok := t.s.epochs[id]; ok {
		return e != epoch
	}
	rec := t.session(id)
	if rec == nil {
		return true
	}
	t.rememberEpoch(id, rec.Epoch)
	return rec.Epoch != epoch
}

// where returns where the session is and when its connection ended (0: it has one), given what is stored of the boot
// that holds it and of that boot's node. The common place of the boot counts once it speaks of this epoch.
func (rec *sessionRecord) where(p bootPlace, n nodeState) (pos uint64, ended int64) {
	pos, ended = rec.Place, rec.EndedAt
	if ended != 0 {
		return pos, ended
	}
	if p.Epoch >= rec.Epoch {
		pos = max(pos, p.Pos)
	}
	switch {
	case p.Ended != 0:
		ended = p.Ended
	case n.Boot != rec.Boot:
		ended = max(n.Since, 1)
	default:
		ended = n.Lost
	}
	return pos, ended
}

// expiresAt returns the log time at which a session without a connection since ended goes; ok is false for never.
func (rec *sessionRecord) expiresAt(ended int64) (at int64, ok bool) {
	return ended + int64(rec.Expiry)*1000, rec.Expiry != NeverExpires
}

// willDue returns the log time at which the will of a session without a connection since ended is published: after its
// delay, or when the session ends if that is sooner.
func (rec *sessionRecord) willDue(ended int64) int64 {
	return ended + int64(min(rec.WillDelay, rec.Expiry))*1000
}

func (t *tx) where(rec *sessionRecord) (pos uint64, ended int64) {
	if rec.EndedAt != 0 {
		return rec.Place, rec.EndedAt
	}
	return rec.where(t.bootPlace(rec.Node, rec.Boot), t.node(rec.Node))
}

func (t *tx) take(c *Take) Result {
	rec := t.session(c.Session)
	present := rec != nil && !c.Clean
	var pos uint64
	var ended int64
	if rec != nil {
		pos, ended = t.where(rec)
		if at, expires := rec.expiresAt(ended); ended != 0 && expires && at <= t.now {
			present = false // the leader has not come to say so
		}
		if t.ended(c.Session, rec) {
			present = false // with a logout of everything
		}
	}
	known := rec != nil
	if !known {
		n := t.counts(c.Session.NS, c.Session.User)
		if c.MaxSessions > 0 && n.Sessions >= c.MaxSessions {
			return Result{Outcome: Limit, Detail: fmt.Sprintf("%d stored sessions are the limit; end one first (limits.sessions_per_user)", c.MaxSessions)}
		}
		n.Sessions++
		t.setCounts(c.Session.NS, c.Session.User, n)
		rec = &sessionRecord{}
	}
	t.meta.Epoch++
	next := &sessionRecord{
		Epoch: t.meta.Epoch, Node: c.Node, Boot: c.Boot, Expiry: c.Expiry,
		Will: c.Will, WillDelay: c.WillDelay, Backlog: c.Backlog, Place: t.meta.Pos,
	}
	if present {
		next.Place = pos
		next.Filters = rec.Filters
		next.Previous = rec.Unfinished
		if c.Backlog == 0 {
			next.Backlog = rec.Backlog
		}
	} else if known {
		t.delLags(c.Session)
	}
	t.setSession(c.Session, next)
	// MQTT 5, 3.1.3.2.2: a connection that takes the session again before the will's delay has passed keeps it from being
	// published. Where the old connection is still open, this is its end without a normal DISCONNECT.
	if rec.Will != nil && !(present && rec.WillDelay > 0 && (ended == 0 || rec.willDue(ended) > t.now)) {
		t.publishWill(c.Session, rec)
	}
	t.changed.Taken = append(t.changed.Taken, Taken{Session: c.Session, Epoch: next.Epoch, Node: c.Node, Boot: c.Boot})
	return Result{Epoch: next.Epoch, Present: present}
}

// NeverExpires is the Session Expiry Interval that means: keep for ever (MQTT 5, 3.1.2.11.2).
const NeverExpires = 0xffffffff

// endSession removes a session and publishes the will it still has.
func (t *tx) endSession(id SessionID, rec *sessionRecord) {
	t.del(sessionKey(id))
	t.delLags(id)
	t.forgetPush(id)
	t.rememberEpoch(id, 0)
	t.changed.Taken = append(t.changed.Taken, Taken{Session: id})
	n := t.counts(id.NS, id.User)
	n.Sessions = max(n.Sessions-1, 0)
	t.setCounts(id.NS, id.User, n)
	if rec.Will != nil {
		t.publishWill(id, rec)
	}
}

func (t *tx) drop(c *Drop) Result {
	rec := t.session(c.Session)
	if rec == nil {
		return Result{}
	}
	t.endSession(c.Session, rec)
	return Result{Present: true}
}

// held returns the record if epoch holds the session.
func (t *tx) held(id SessionID, epoch uint64) *sessionRecord {
	if rec := t.session(id); rec != nil && rec.Epoch == epoch {
		return rec
	}
	return nil
}

func (t *tx) subscribe(c *Subscribe) Result {
	rec := t.held(c.Session, c.Epoch)
	if rec == nil {
		return Result{Outcome: Fenced}
	}
	for _, f := range c.Add {
		i := slices.IndexFunc(rec.Filters, func(old Subscription) bool { return old.Filter == f.Filter })
		if i >= 0 {
			f.Pos = rec.Filters[i].Pos
			rec.Filters[i] = f
			continue
		}
		f.Pos = t.meta.Pos
		rec.Filters = append(rec.Filters, f)
	}
	for _, name := range c.Remove {
		rec.Filters = slices.DeleteFunc(rec.Filters, func(old Subscription) bool { return old.Filter == name })
	}
	for _, p := range c.Places {
		t.setLag(c.Session, p.Room, p.Seq)
	}
	if len(c.Add) > 0 || len(c.Remove) > 0 {
		t.setSession(c.Session, rec)
	}
	return Result{Epoch: c.Epoch, Seq: t.meta.Pos}
}

func (t *tx) release(c *Release) Result {
	rec := t.held(c.Session, c.Epoch)
	if rec == nil || rec.EndedAt != 0 {
		return Result{Outcome: Fenced}
	}
	if c.Expiry != nil {
		rec.Expiry = *c.Expiry
	}
	if !c.KeepWill {
		rec.Will = nil
	}
	if rec.Expiry == 0 {
		t.endSession(c.Session, rec)
		return Result{}
	}
	if c.Place != 0 {
		rec.Place = min(c.Place, t.meta.Pos)
		t.delLags(c.Session)
	} else {
		rec.Place, _ = t.where(rec)
	}
	rec.EndedAt = max(t.now, 1)
	rec.Unfinished = rec.unfinished(c.Unfinished)
	rec.Previous, rec.Repeated = nil, nil
	if rec.Will != nil && rec.WillDelay == 0 {
		t.publishWill(c.Session, rec)
		rec.Will = nil
	}
	t.changed.Wills = t.changed.Wills || rec.Will != nil
	for _, l := range c.Lag {
		t.setLag(c.Session, l.Room, l.Seq)
	}
	t.setSession(c.Session, rec)
	return Result{}
}

// unfinished returns what the next connection may repeat of what the current one reports. Leaves out what came from the
// connection before and was not repeated on this one: a client that lost its state counts packet ids from 1 again, and
// the same words under the same id may be a new message that this connection lost on its way.
func (rec *sessionRecord) unfinished(all []Unfinished) []Unfinished {
	return slices.DeleteFunc(all, func(u Unfinished) bool {
		return slices.Contains(rec.Previous, u) && !slices.Contains(rec.Repeated, u.PacketID)
	})
}

func (t *tx) places(c *Places) Result {
	for _, l := range c.Lags {
		if rec := t.held(l.Session, l.Epoch); rec != nil && rec.EndedAt == 0 {
			t.setLag(l.Session, l.Room, l.Seq)
		}
	}
	if c.Pos == 0 {
		return Result{}
	}
	p := t.bootPlace(c.Node, c.Boot)
	if p.Ended != 0 || c.Pos < p.Pos || c.Epoch < p.Epoch || c.Pos > t.meta.Pos || c.Epoch > t.meta.Epoch {
		return Result{}
	}
	p.Pos, p.Epoch = c.Pos, c.Epoch
	t.set(bootPlaceKey(c.Node, c.Boot), p.encode())
	return Result{}
}

func (t *tx) expire(c *Expire) Result {
	rec := t.held(c.Session, c.Epoch)
	if rec == nil {
		return Result{Outcome: Fenced}
	}
	_, ended := t.where(rec)
	if at, expires := rec.expiresAt(ended); ended == 0 || !expires || at > t.now {
		return Result{Outcome: Conflict, Detail: "the session has not expired"}
	}
	t.endSession(c.Session, rec)
	return Result{}
}
