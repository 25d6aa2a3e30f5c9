// Package logentry is the form of one entry of the replicated log: what cluster writes and storage applies.
//
// It is the single thing the two leaves share. An entry carries the commands of many clients (group commit), each
// group numbered by the node that accepted it, so that a node may always propose again and Apply takes each command
// once.
//
//	0        version (1)
//	1..8     log time, ms since the epoch, big endian
//	9..      uvarint number of groups, then per group
//	           uvarint len, node id
//	           uvarint boot          rises with every start of that node
//	           uvarint first         number of the first command; the others follow without holes, counted from 1 per boot
//	           uvarint count, then per command: uvarint len, bytes
package logentry

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Version is the only format this build reads and writes.
const Version = 1

// Limits of a well-formed entry. Decode refuses what is beyond them before it takes memory.
const (
	MaxGroups   = 1 << 16
	MaxCommands = 1 << 20 // per group
	MaxNodeID   = 255     // bytes
)

// Entry is one entry of the log, decoded.
type Entry struct {
	Index  uint64 // place in the Raft log; not part of the encoding
	Time   int64  // log time in ms since the epoch, stamped by the leader, never decreasing in index order
	Groups []Group
}

// Group is a run of commands accepted by one node in one boot, in the order it accepted them.
type Group struct {
	Node     string
	Boot     uint64
	First    uint64 // number of Commands[0]; Commands[i] has First+i
	Commands [][]byte
}

// Errors of Decode. A node that meets either must stop: the entry was committed and cannot be skipped.
var (
	ErrVersion = errors.New("log entry has a version this build does not know; run the newer madang that wrote it")
	ErrCorrupt = errors.New("log entry is damaged")
)

// Append appends the encoding of e to dst and returns the extended slice. Index is not encoded.
func (e *Entry) Append(dst []byte) []byte {
	dst = append(dst, Version)
	dst = binary.BigEndian.AppendUint64(dst, uint64(e.Time))
	dst = binary.AppendUvarint(dst, uint64(len(e.Groups)))
	for i := range e.Groups {
		g := &e.Groups[i]
		dst = binary.AppendUvarint(dst, uint64(len(g.Node)))
		dst = append(dst, g.Node...)
		dst = binary.AppendUvarint(dst, g.Boot)
		dst = binary.AppendUvarint(dst, g.First)
		dst = binary.AppendUvarint(dst, uint64(len(g.Commands)))
		for _, c := range g.Commands {
			dst = binary.AppendUvarint(dst, uint64(len(c)))
			dst = append(dst, c...)
		}
	}
	return dst
}

// Decode reads the entry at index. The commands alias data, which must not change afterwards.
func Decode(index uint64, data []byte) (Entry, error) {
	if len(data) < 9 {
		return Entry{}, fmt.Errorf("%w: index %d: %d bytes are too few", ErrCorrupt, index, len(data))
	}
	if data[0] != Version {
		return Entry{}, fmt.Errorf("%w (version %d at index %d)", ErrVersion, data[0], index)
	}
	e := Entry{Index: index, Time: int64(binary.BigEndian.Uint64(data[1:9]))}
	r := reader{b: data[9:]}
	groups := r.count(MaxGroups)
	for i := 0; i < groups && !r.bad; i++ {
		g := Group{Node: string(r.bytes(MaxNodeID)), Boot: r.uvarint(), First: r.uvarint()}
		commands := r.count(MaxCommands)
		if !r.bad && commands > 0 {
			g.Commands = make([][]byte, 0, min(commands, len(r.b)+1))
		}
		for j := 0; j < commands && !r.bad; j++ {
			g.Commands = append(g.Commands, r.bytes(len(data)))
		}
		e.Groups = append(e.Groups, g)
	}
	if r.bad || len(r.b) != 0 {
		return Entry{}, fmt.Errorf("%w: index %d", ErrCorrupt, index)
	}
	return e, nil
}

// reader consumes b and remembers the first thing wrong with it.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if r.bad || n <= 0 {
		r.bad = true
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) count(limit int) int {
	v := r.uvarint()
	if v > uint64(limit) {
		r.bad = true
		return 0
	}
	return int(v)
}

func (r *reader) bytes(limit int) []byte {
	n := r.count(limit)
	if r.bad || n > len(r.b) {
		r.bad = true
		return nil
	}
	out := r.b[:n:n]
	r.b = r.b[n:]
	return out
}
