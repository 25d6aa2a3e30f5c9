package storage

import (
	"encoding/binary"
	"errors"
)

// Outcome is what Apply says of a command. Its names are the wire codes of design.md section 3.
type Outcome byte

// Outcomes of commands. Done is the only success. Fenced means a newer connection owns the session: the command changed
// nothing and its sender is no longer there to be answered.
const (
	Done Outcome = iota
	Fenced
	NotFound
	NotMember
	Forbidden
	GuestReadOnly
	Frozen
	CIDConflict
	Conflict
	Limit
	Muted
	Banned
	SlowMode
)

var outcomeNames = [...]string{
	"done", "fenced", "not_found", "not_member", "forbidden", "guest_read_only", "room_frozen", "cid_conflict", "conflict", "limit",
	"muted", "banned", "slow_mode",
}

// String returns the wire code.
func (o Outcome) String() string {
	if int(o) < len(outcomeNames) {
		return outcomeNames[o]
	}
	return "unknown"
}

// Result answers a command.
type Result struct {
	Outcome   Outcome
	Duplicate bool   // an earlier entry answered: Seq and TS are its own
	Present   bool   // Take: the session existed and was kept; Join, Moderate: it was so already
	Created   bool   // Append, RoomCreate: the room was made
	Seq       uint64 // Append, Join, Leave, Moderate: seq of the entry
	TS        int64  // Append: ms; with Muted, Banned and SlowMode: in how many ms that ends, 0 = not by itself
	Epoch     uint64 // Take
	Outbox    uint64 // Join, Leave, Moderate, RoomCreate: item of the outbox whose FollowUp updates the user's lists, 0 = none
	Detail    string // of a refusal: what exactly, for people; at its end, in brackets, the configuration key of a limit
}

const (
	resultVersion  = 1
	flagDuplicate  = 1
	flagPresent    = 2
	flagCreated    = 4
	resultMinBytes = 7
)

// Encode returns the stored form: version, outcome, flags, uvarints seq ts epoch outbox, the rest detail.
func (r *Result) Encode() []byte {
	b := make([]byte, 3, resultMinBytes+16+len(r.Detail))
	b[0], b[1] = resultVersion, byte(r.Outcome)
	if r.Duplicate {
		b[2] |= flagDuplicate
	}
	if r.Present {
		b[2] |= flagPresent
	}
	if r.Created {
		b[2] |= flagCreated
	}
	b = binary.AppendUvarint(b, r.Seq)
	b = binary.AppendUvarint(b, uint64(r.TS))
	b = binary.AppendUvarint(b, r.Epoch)
	b = binary.AppendUvarint(b, r.Outbox)
	return append(b, r.Detail...)
}

// ErrResult is returned for bytes that are no result.
var ErrResult = errors.New("result cannot be decoded")

// DecodeResult reads what Encode wrote.
func DecodeResult(b []byte) (Result, error) {
	if len(b) < resultMinBytes || b[0] != resultVersion {
		return Result{}, ErrResult
	}
	r := Result{
		Outcome:   Outcome(b[1]),
		Duplicate: b[2]&flagDuplicate != 0,
		Present:   b[2]&flagPresent != 0,
		Created:   b[2]&flagCreated != 0,
	}
	b = b[3:]
	for _, dst := range []*uint64{&r.Seq, (*uint64)(nil), &r.Epoch, &r.Outbox} {
		v, n := binary.Uvarint(b)
		if n <= 0 {
			return Result{}, ErrResult
		}
		if dst == nil {
			r.TS = int64(v)
		} else {
			*dst = v
		}
		b = b[n:]
	}
	r.Detail = string(b)
	return r, nil
}
