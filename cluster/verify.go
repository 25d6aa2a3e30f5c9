package cluster

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/hashicorp/raft"
	wal "github.com/hashicorp/raft-wal"
	"github.com/hashicorp/raft-wal/segment"
	"github.com/hashicorp/raft-wal/types"

	"github.com/madang-chat/madang/internal/logentry"
)

// LogReport is what a node's log and marks hold.
type LogReport struct {
	Node     string // whose it is, "" = it never ran
	First    uint64 // entry of the log, 0 = it is empty
	Last     uint64
	Term     uint64 // of the last entry, or of the snapshot
	Commands int
	Mark     uint64 // last entry that the newest snapshot covers
	Alone    bool   // it makes this node the only one
	Synced   uint64 // what the store had applied, durably, when that was made
}

// Verify reads every byte of the log and of the marks in the directory of a node that does not run, and changes nothing.
// What is wrong with them goes to fault; an error means that they could not be read.
//
// What a crash leaves behind is not wrong: the append that was torn, a snapshot that was being made.
func Verify(d Disk, dir string, fault func(what error)) (LogReport, error) {
	var r LogReport
	_, node, err := readBoot(d, filepath.Join(dir, bootFile))
	switch {
	case errors.Is(err, os.ErrNotExist):
	case errors.Is(err, ErrDamaged):
		fault(err)
	case err != nil:
		return r, err
	}
	r.Node = node
	if err := r.verifyMarks(d, filepath.Join(dir, "snapshots"), fault); err != nil {
		return r, err
	}
	return r, r.verifyLog(d, filepath.Join(dir, "wal"), fault)
}

func (r *LogReport) verifyMarks(d Disk, dir string, fault func(error)) error {
	names, err := d.List(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, name := range names {
		if strings.HasPrefix(name, "tmp-") || strings.HasPrefix(name, "stream-") {
			continue
		}
		file := filepath.Join(dir, name, markFile)
		data, err := readFile(d, file, markLimit)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		m, err := parseMark(data)
		if err != nil {
			fault(fmt.Errorf("%w: %s: %w", ErrDamaged, file, err))
			continue
		}
		if m.Index > r.Mark {
			r.Mark, r.Synced, r.Term = m.Index, m.StoreApplied, m.Term
			r.Alone = len(m.Servers) == 1
			if m.Received {
				r.Synced = 0 // the next start makes it the store
			}
		}
	}
	return nil
}

func (r *LogReport) verifyLog(d Disk, dir string, fault func(error)) error {
	meta := &metaStore{disk: d, failed: func(error) {}}
	state, err := meta.Load(dir)
	if errors.Is(err, ErrDamaged) {
		fault(err)
		return nil
	}
	if err != nil {
		return err
	}
	next := uint64(0)
	for i := range state.Segments {
		info := &state.Segments[i]
		name := filepath.Join(dir, segment.FileName(*info))
		if next != 0 && info.MinIndex != next {
			fault(fmt.Errorf("%w: %s begins with entry %d, not %d", ErrDamaged, name, info.MinIndex, next))
		}
		f, err := d.Open(name)
		tail := info.SealTime.IsZero()
		if errors.Is(err, os.ErrNotExist) {
			if !tail {
				fault(fmt.Errorf("%w: %s is missing", ErrDamaged, name))
			}
			continue
		}
		if err != nil {
			return err
		}
		entries, err := r.verifySegment(f, info, tail)
		if err := f.Close(); err != nil {
			return err
		}
		if err != nil {
			fault(fmt.Errorf("%w: %s: %w", ErrDamaged, name, err))
		}
		next = info.BaseIndex + uint64(entries)
		if !tail {
			next = info.MaxIndex + 1
		}
	}
	return nil
}

// verifySegment reads a segment and returns how many whole entries it has.
func (r *LogReport) verifySegment(f File, info *types.SegmentInfo, tail bool) (entries int, err error) {
	scan, err := scanSegment(f)
	if err != nil {
		return 0, err
	}
	last := info.BaseIndex + uint64(len(scan.offsets)) - 1
	if !tail {
		if info.MaxIndex > last {
			return len(scan.offsets), fmt.Errorf("it ends with entry %d, not %d", last, info.MaxIndex)
		}
		last = info.MaxIndex
		if info.IndexStart != 0 {
			if err := checkSealed(f, info); err != nil {
				return len(scan.offsets), err
			}
		}
	}
	for i, at := range scan.offsets {
		index := info.BaseIndex + uint64(i)
		if index < info.MinIndex || index > last {
			continue // deleted from the log's ends
		}
		var entry raft.Log
		if err := readEntryFrame(f, int64(at), &entry); err != nil {
			return len(scan.offsets), fmt.Errorf("entry %d: %w", index, err)
		}
		if entry.Index != index {
			return len(scan.offsets), fmt.Errorf("entry %d is at the place of %d", entry.Index, index)
		}
		if r.First == 0 {
			r.First = index
		}
		r.Last, r.Term = index, entry.Term
		if entry.Type != raft.LogCommand {
			continue
		}
		r.Commands++
		if _, err := logentry.Decode(index, entry.Data); err != nil {
			return len(scan.offsets), fmt.Errorf("entry %d: %w", index, err)
		}
	}
	return len(scan.offsets), nil
}

// readEntryFrame reads the entry whose frame begins at an offset.
func readEntryFrame(f File, at int64, entry *raft.Log) error {
	var head [frameHeader]byte
	if _, err := f.ReadAt(head[:], at); err != nil {
		return noEOF(err)
	}
	b, err := io.ReadAll(io.NewSectionReader(f, at+frameHeader, int64(binary.LittleEndian.Uint32(head[4:]))))
	if err != nil {
		return err
	}
	entry.Data, entry.Extensions = nil, nil
	return new(wal.BinaryCodec).Decode(bytes.Clone(b), entry)
}
