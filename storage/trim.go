package storage

import (
	"encoding/binary"
	"fmt"
)

// trim removes old entries of a room, as far as one of the bounds allows all of them to go.
func (t *tx) trim(c *Trim) Result {
	d := t.room(c.Room)
	if d.settings == nil || c.Upto < d.head.First || c.Upto > d.head.Seq || d.head.Index(c.Upto) == d.head.Index(c.Upto+1) {
		return Result{Outcome: Conflict, Detail: "nothing to remove there"}
	}
	e := t.entry(d, c.Upto)
	if e == nil {
		return Result{}
	}
	tooOld := c.MaxAge > 0 && e.TS < t.now-c.MaxAge
	tooMany := c.MaxCount > 0 && d.head.Kept()-d.head.Index(c.Upto+1) >= c.MaxCount
	tooLarge := c.MaxBytes > 0 && d.head.Total-e.Total >= c.MaxBytes
	if !tooOld && !tooMany && !tooLarge {
		return Result{Outcome: Conflict, Detail: "no bound lets that entry go"}
	}
	t.delRange(entryKey(c.Room, d.head.First), entryKey(c.Room, c.Upto+1))
	t.forgetFolds(c.Room, d.head.First, c.Upto+1)
	t.forgetCollapse(c.Room, d.head.First, c.Upto)
	d.head.trimTo(c.Upto + 1)
	d.head.Gone, d.head.GonePos = e.Total, e.Pos
	d.headChanged = true
	t.changed.indexed(d.key)
	return Result{Seq: c.Upto}
}

// entry returns an entry of the room as the batch leaves it; nil with t.err set when it cannot be read.
func (t *tx) entry(d *draft, seq uint64) *Entry {
	if n := len(d.entries); n > 0 && seq >= d.entries[0].Seq {
		return d.entries[seq-d.entries[0].Seq]
	}
	if e := d.erased[seq]; e != nil {
		return e
	}
	e, err := t.s.entry(d.key, seq)
	if err != nil {
		t.fail(err)
		return nil
	}
	return e
}

// forget drops cids that the dedupe window no longer covers. The bounds are checked entry by entry.
func (t *tx) forget(c *Forget) Result {
	d := t.room(c.Room)
	if d.settings == nil || c.Upto >= d.head.Back(c.Keep) {
		return Result{Outcome: Conflict, Detail: "these cids are among those always kept"}
	}
	var upto uint64
	due := func(x *bySeq) bool {
		if x.seq > c.Upto || x.ts >= t.now-c.Window {
			return false
		}
		t.del(cidKey(c.Room, x.user, x.cid))
		t.del(bySeqKey(c.Room, x.seq))
		upto = x.seq
		return true
	}
	prefix := key(prefixCIDBySeq, c.Room.NS, c.Room.Room)
	all := true // everything the store holds went
	if !t.removed(prefix) {
		err := scan(t.s.db, prefix, nil, func(k, v []byte) (bool, error) {
			if _, gone := t.over[string(k)]; gone {
				return true, nil // forgotten by this batch; its cid may be in use again
			}
			x, err := decodeBySeq(binary.BigEndian.Uint64(k[len(k)-seqBytes:]), v)
			if err != nil {
				return false, fmt.Errorf("room %q: %w", c.Room.Room, err)
			}
			all = due(&x)
			return all, nil
		})
		if err != nil {
			t.fail(err)
		}
	}
	for all && len(d.cids) > 0 {
		if all = due(&d.cids[0]); all {
			d.cids = d.cids[1:]
		}
	}
	return Result{Seq: upto}
}

const secretVersion = 1

// secret stores a secret that has no value yet: version, the value.
func (t *tx) secret(c *Secret) Result {
	k := last(key(prefixSecret), c.Name)
	if t.get(k) != nil {
		return Result{Present: true}
	}
	t.set(k, append(append(make([]byte, 0, len(c.Value)+1), secretVersion), c.Value...))
	t.changed.Secrets = true
	return Result{}
}

// Secret returns a cluster-wide secret, nil when it has not been set yet.
func (s *Store) Secret(name string) ([]byte, error) {
	b, err := s.read(last(key(prefixSecret), name))
	if b == nil || err != nil {
		return nil, err
	}
	r := readRecord(b, secretVersion)
	if r.bad {
		return nil, fmt.Errorf("%w: secret %q", ErrEntry, name)
	}
	return r.b, nil
}
