package storage

import (
	"encoding/binary"
	"fmt"
)

const headVersion = 1

// appendTo appends the stored head: version, then uvarints in the order of the fields. It is written with every batch
// that touches the room.
func (h Head) appendTo(b []byte) []byte {
	b = append(b, headVersion)
	for _, v := range [...]uint64{h.Seq, h.N, uint64(h.TS), h.First, h.Pos, h.Total, h.Gone, h.GonePos} {
		b = binary.AppendUvarint(b, v)
	}
	return b
}

func decodeHead(b []byte) (Head, error) {
	r := readRecord(b, headVersion)
	h := Head{
		Seq: r.uvarint(), N: r.uvarint(), TS: int64(r.uvarint()), First: r.uvarint(), Pos: r.uvarint(),
		Total: r.uvarint(), Gone: r.uvarint(), GonePos: r.uvarint(),
	}
	if !r.end() || h.First == 0 || h.First-1 > h.Seq || h.Gone > h.Total || h.GonePos > h.Pos {
		return Head{}, fmt.Errorf("%w: head", ErrEntry)
	}
	return h, nil
}
