package cluster

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/hashicorp/raft-wal/segment"
	"github.com/hashicorp/raft-wal/types"
)

// raft-wal v0.4.0 cannot go on from four states a crash can leave. repairLog brings them, before raft-wal opens the
// log, to states it knows:
//
//	the last segment was sealed on disk, its list        every append fails with "segment is sealed": the segment is
//	of segments not yet                                  listed as sealed, with an empty one behind it
//	the append that would have sealed it was torn        the same: what is behind the last whole append is zeroed
//	an older append is damaged, later ones are whole     served as if right: the node refuses to start
//	a segment was sealed by deleting the log's end,      "sealed segment has no index block": the index is written
//	without an index
//
// And it reads every segment that is kept, since raft-wal looks at no checksum when it reads: an entry that was changed on the
// disk would be applied here, and sent to others, as if somebody had proposed it.
//
// A segment is a header of 32 bytes and frames, each with a header of 8 bytes (type, length or CRC) and padded to 8
// bytes; integers are little endian. An append is entry frames, an index frame when it seals the segment, and a commit
// frame with the CRC32C of everything since the commit before. Only the newest append can be torn: every other one was
// fsynced before the next began.
const (
	segmentHeader = 32
	frameHeader   = 8
)

// segmentScan is what a segment holds up to its last whole append.
type segmentScan struct {
	offsets    []uint32 // of the entry frames
	end        int64    // behind the last whole append; 0: there is none
	indexStart uint64   // of the array in the index frame, if the last append sealed the segment
}

// scanSegment reads a segment from its start.
func scanSegment(f File) (segmentScan, error) {
	size, err := f.Size()
	if err != nil {
		return segmentScan{}, err
	}
	scan, err := scanAppends(f, size)
	if err == nil {
		err = laterAppend(f, max(scan.end, segmentHeader), size)
	}
	return scan, err
}

// scanAppends reads up to the last append that is whole.
func scanAppends(f File, size int64) (segmentScan, error) {
	r := bufio.NewReaderSize(io.NewSectionReader(f, 0, size), 1<<18)
	var whole, cur segmentScan
	torn := false // a commit did not match
	sum := crc32.New(crcTable)
	at := int64(segmentHeader)
	if _, err := io.CopyN(sum, r, segmentHeader); err != nil {
		return whole, ignoreEOF(err)
	}
	var head [frameHeader]byte
	for {
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return whole, ignoreEOF(err)
		}
		value := binary.LittleEndian.Uint32(head[4:])
		switch head[0] {
		case segment.FrameEntry, segment.FrameIndex:
			if head[0] == segment.FrameEntry {
				cur.offsets = append(cur.offsets, uint32(at))
			} else {
				cur.indexStart = uint64(at) + frameHeader
			}
			sum.Write(head[:])
			n := (int64(value) + 7) &^ 7
			if _, err := io.CopyN(sum, r, n); err != nil {
				return whole, ignoreEOF(err)
			}
			at += frameHeader + n
		case segment.FrameCommit:
			at += frameHeader
			if torn {
				return whole, fmt.Errorf("%w: an append before byte %d does not match its checksum", ErrDamaged, at)
			}
			if torn = sum.Sum32() != value; !torn {
				cur.end = at
				whole = segmentScan{offsets: slices.Clip(cur.offsets), end: at, indexStart: cur.indexStart}
			}
			sum.Reset()
		default:
			return whole, nil
		}
	}
}

// laterAppend looks behind the last append that can be read, where something else is, for one that is whole: then what is
// between is no torn append, since that is always the newest.
func laterAppend(f File, from, size int64) error {
	end, err := lastWritten(f, from, size)
	if err != nil || end == from {
		return err
	}
	b, err := io.ReadAll(io.NewSectionReader(f, from, end-from))
	if err != nil {
		return err
	}
	for at := 8; at+frameHeader <= len(b); at += 8 {
		if b[at] == segment.FrameEntry && wholeAppend(b[at:]) {
			return fmt.Errorf("%w: the append before byte %d cannot be read, and the one behind it is whole", ErrDamaged, from+int64(at))
		}
	}
	return nil
}

// lastWritten returns where the zeros begin that a file ends with, at least from.
func lastWritten(f File, from, size int64) (int64, error) {
	buf, end := make([]byte, 1<<16), from
	for at := from; at < size; {
		n, err := f.ReadAt(buf[:min(int64(len(buf)), size-at)], at)
		if n == 0 {
			return end, noEOF(err)
		}
		if k := len(bytes.TrimRight(buf[:n], "\x00")); k > 0 {
			end = min(at+(int64(k)+7)&^7, size)
		}
		at += int64(n)
	}
	return end, nil
}

// wholeAppend reports whether b begins with an append. The first of a segment is not recognized: its checksum is of the header too.
func wholeAppend(b []byte) bool {
	for at := int64(0); at+frameHeader <= int64(len(b)); {
		value := binary.LittleEndian.Uint32(b[at+4:])
		switch b[at] {
		case segment.FrameEntry, segment.FrameIndex:
			at += frameHeader + (int64(value)+7)&^7
		case segment.FrameCommit:
			return at > 0 && crc32.Checksum(b[:at], crcTable) == value
		default:
			return false
		}
	}
	return false
}

func ignoreEOF(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil
	}
	return err
}

// repairLog makes the log in dir one that raft-wal can open and append to.
func repairLog(d Disk, dir string, meta *metaStore, segmentBytes int, now time.Time) error {
	state, err := meta.Load(dir)
	if err != nil {
		return err
	}
	changed := false
	for i := range state.Segments {
		info := &state.Segments[i]
		tail := info.SealTime.IsZero()
		fresh := info.IndexStart == 0
		name := filepath.Join(dir, segment.FileName(*info))
		f, err := d.OpenReadWrite(name)
		if errors.Is(err, os.ErrNotExist) && tail {
			continue // listed, but not made: raft-wal makes it
		}
		if errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("%w: %s is missing", ErrDamaged, name)
		}
		if err != nil {
			return err
		}
		switch {
		case tail:
			err = repairTail(f, info, now)
		case fresh:
			err = repairIndex(f, info)
		default:
			err = checkSealed(f, info)
		}
		if err := errors.Join(err, f.Close()); err != nil {
			return fmt.Errorf("log segment %s: %w", name, err)
		}
		changed = changed || fresh && info.IndexStart != 0
	}
	if !changed {
		return nil
	}
	if last := state.Segments[len(state.Segments)-1]; !last.SealTime.IsZero() {
		next := types.SegmentInfo{
			ID: state.NextSegmentID, BaseIndex: last.MaxIndex + 1, MinIndex: last.MaxIndex + 1,
			Codec: last.Codec, CreateTime: now, SizeLimit: uint32(segmentBytes),
		}
		state.NextSegmentID++
		state.Segments = append(state.Segments, next)
	}
	return meta.CommitState(state)
}

// repairTail marks the last segment as sealed if it is, else removes what a torn append left behind.
func repairTail(f File, info *types.SegmentInfo, now time.Time) error {
	scan, err := scanSegment(f)
	if err != nil {
		return err
	}
	if scan.indexStart != 0 {
		info.SealTime = now
		info.IndexStart = scan.indexStart
		info.MaxIndex = info.BaseIndex + uint64(len(scan.offsets)) - 1
		return nil
	}
	return zeroFrom(f, scan.end)
}

// zeroFrom overwrites what is not zero from offset at on.
func zeroFrom(f File, at int64) error {
	size, err := f.Size()
	if err != nil {
		return err
	}
	buf, dirty := make([]byte, 1<<16), false
	for at < size {
		n, err := f.ReadAt(buf[:min(int64(len(buf)), size-at)], at)
		if n == 0 {
			return noEOF(err)
		}
		zero := true
		for _, b := range buf[:n] {
			zero = zero && b == 0
		}
		if !zero {
			clear(buf[:n])
			if _, err := f.WriteAt(buf[:n], at); err != nil {
				return err
			}
			dirty = true
		}
		at += int64(n)
	}
	if !dirty {
		return nil
	}
	return f.Sync()
}

// checkSealed reads a segment that is complete.
func checkSealed(f File, info *types.SegmentInfo) error {
	scan, err := scanSegment(f)
	if err != nil {
		return err
	}
	if err := endsWith(scan, info); err != nil {
		return err
	}
	// The index is looked at itself: one that was written by repairIndex has no checksum.
	index := make([]byte, 4*(info.MaxIndex-info.BaseIndex+1))
	if _, err := f.ReadAt(index, int64(info.IndexStart)); err != nil {
		return fmt.Errorf("%w: its index: %w", ErrDamaged, err)
	}
	for i := range len(index) / 4 {
		if binary.LittleEndian.Uint32(index[4*i:]) != scan.offsets[i] {
			return fmt.Errorf("%w: its index does not lead to entry %d", ErrDamaged, info.BaseIndex+uint64(i))
		}
	}
	return nil
}

// endsWith refuses a segment without all entries that the list of segments says it has.
func endsWith(scan segmentScan, info *types.SegmentInfo) error {
	if info.MaxIndex < info.BaseIndex || info.MaxIndex-info.BaseIndex >= uint64(len(scan.offsets)) {
		return fmt.Errorf("%w: it ends before entry %d", ErrDamaged, info.MaxIndex)
	}
	return nil
}

// repairIndex writes the index of a segment that was sealed without one, behind its last append.
func repairIndex(f File, info *types.SegmentInfo) error {
	scan, err := scanSegment(f)
	if err != nil {
		return err
	}
	if err := endsWith(scan, info); err != nil {
		return err
	}
	if scan.indexStart == 0 {
		frame := []byte{segment.FrameIndex, 0, 0, 0}
		frame = binary.LittleEndian.AppendUint32(frame, uint32(4*len(scan.offsets)))
		for _, o := range scan.offsets {
			frame = binary.LittleEndian.AppendUint32(frame, o)
		}
		if _, err := f.WriteAt(frame, scan.end); err != nil {
			return err
		}
		if err := f.Sync(); err != nil {
			return err
		}
		scan.indexStart = uint64(scan.end) + frameHeader
	}
	info.IndexStart = scan.indexStart
	return nil
}
