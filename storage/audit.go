package storage

import (
	"encoding/binary"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
)

// AuditRecord is one act of those who run a room. Records outlive the room's entries, and the room.
type AuditRecord struct {
	At      int64  `cbor:"1,keyasint"` // log time, ms
	Seq     uint64 `cbor:"2,keyasint"` // of the entry that tells the room
	By      string `cbor:"3,keyasint"`
	Act     string `cbor:"4,keyasint"` // an Act, or "delete"
	User    string `cbor:"5,keyasint,omitempty"`
	Reason  string `cbor:"6,keyasint,omitempty"`
	Until   int64  `cbor:"7,keyasint,omitempty"` // log time (ms), Forever without an end
	Seconds int64  `cbor:"8,keyasint,omitempty"`
	Role    Role   `cbor:"9,keyasint,omitempty"`
	Target  uint64 `cbor:"10,keyasint,omitempty"` // seq of the message meant

	Pos uint64 `cbor:"-"` // place over all rooms: names the record in a page
}

func (t *tx) audit(d *draft, e *Entry, r AuditRecord) {
	r.At, r.Seq = e.TS, e.Seq
	t.write(auditKey(d.key, e.Pos), encodeRecord(r))
}

// Audit returns the newest records of the room before the one with that Pos (0 = the newest of all), newest first, at most
// limit of them.
func (s *Store) Audit(k RoomKey, before uint64, limit int) (out []AuditRecord, err error) {
	prefix := key(prefixAudit, k.NS, k.Room)
	upper := end(prefix)
	if before != 0 {
		upper = auditKey(k, before)
	}
	err = s.snapshot(func(r pebble.Reader) (err error) {
		it, err := r.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: upper})
		if err != nil {
			return fmt.Errorf("read the store: %w", err)
		}
		defer func() {
			if closing := it.Close(); err == nil && closing != nil {
				err = fmt.Errorf("read the store: %w", closing)
			}
		}()
		for ok := it.Last(); ok && len(out) < limit; ok = it.Prev() {
			v, err := it.ValueAndErr()
			if err != nil {
				return fmt.Errorf("read the store: %w", err)
			}
			a := AuditRecord{Pos: binary.BigEndian.Uint64(it.Key()[len(it.Key())-seqBytes:])}
			if err := decodeRecord(v, &a); err != nil {
				return fmt.Errorf("%w: audit log of room %q: %w", ErrEntry, k.Room, err)
			}
			out = append(out, a)
		}
		return nil
	})
	return out, err
}
