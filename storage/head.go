package storage

import (
	"encoding/binary"
	"fmt"
)

// A head with holes has a version of its own: hardly any has.
const (
	headVersion      = 1
	headVersionHoles = 2
)

// appendTo appends the stored head: version, then uvarints in the order of the fields. It is written with every batch
// that touches the room.
func (h Head) appendTo(b []byte) []byte {
	version := byte(headVersion)
	if len(h.Holes) > 0 {
		version = headVersionHoles
	}
	b = append(b, version)
	for _, v := range [...]uint64{h.Seq, h.N, uint64(h.TS), h.First, h.Pos, h.Total, h.Gone, h.GonePos} {
		b = binary.AppendUvarint(b, v)
	}
	for _, hole := range h.Holes {
		b = binary.AppendUvarint(binary.AppendUvarint(b, hole.From), hole.To)
	}
	return b
}

func decodeHead(b []byte) (Head, error) {
	version := byte(headVersion)
	if len(b) > 0 && b[0] == headVersionHoles {
		version = headVersionHoles
	}
	r := readRecord(b, version)
	h := Head{
		Seq: r.uvarint(), N: r.uvarint(), TS: int64(r.uvarint()), First: r.uvarint(), Pos: r.uvarint(),
		Total: r.uvarint(), Gone: r.uvarint(), GonePos: r.uvarint(),
	}
	at := h.First
	for version == headVersionHoles && !r.bad && len(r.b) > 0 {
		hole := Hole{From: r.uvarint(), To: r.uvarint()}
		r.bad = r.bad || hole.From <= at || hole.To < hole.From || hole.To >= h.Seq
		at = hole.To + 1
		h.Holes = append(h.Holes, hole)
	}
	if !r.end() || h.First == 0 || h.First-1 > h.Seq || h.Gone > h.Total || h.GonePos > h.Pos {
		return Head{}, fmt.Errorf("%w: head", ErrEntry)
	}
	return h, nil
}
