package cluster

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
)

// A backup is one file: what it is, then the store as a snapshot goes to another node (snapshot_stream.go).
//
//	0..7    "madangb1"
//	8..11   length of what follows
//	        "madangi1", CRC32C, JSON of BackupInfo
//	        the stream, with checksums of its own
const (
	backupMagic     = "madangb1"
	backupInfoMagic = "madangi1"
	backupInfoLimit = 64 << 10
)

// BackupInfo says what a backup holds.
type BackupInfo struct {
	Node    string `json:"node"`    // that made it
	Made    int64  `json:"made"`    // ms since the epoch, by its clock
	Applied uint64 `json:"applied"` // at least this entry of the log is in it
	LogTime int64  `json:"log_time"`
	Version string `json:"version,omitempty"` // of the program
}

// ErrBackup means that a file is no backup, or a damaged one.
var ErrBackup = errors.New("no backup, or a damaged one")

// Backup writes the store as it is at this moment to w: everything this node had applied when it was called. Apply goes on
// meanwhile; the disk holds on to the files until the end.
func (n *Node) Backup(w io.Writer, version string) (err error) {
	applied, logTime := n.sm.Applied()
	info := BackupInfo{
		Node: n.cfg.NodeID, Made: n.cfg.Clock().UnixMilli(), Applied: applied, LogTime: logTime, Version: version,
	}
	tmp := filepath.Join(n.snaps.dir, fmt.Sprintf("stream-%d", n.snaps.next()))
	if err := n.cfg.Disk.MkdirAll(tmp); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, n.cfg.Disk.RemoveAll(tmp)) }()
	db := filepath.Join(tmp, storeDir)
	if err := n.sm.Checkpoint(db); err != nil {
		return fmt.Errorf("checkpoint the store: %w", err)
	}
	return writeBackup(w, n.cfg.Disk, db, info)
}

func writeBackup(w io.Writer, d Disk, db string, info BackupInfo) error {
	payload, err := json.Marshal(info)
	if err != nil {
		return err
	}
	sealed := seal(backupInfoMagic, payload)
	head := binary.BigEndian.AppendUint32([]byte(backupMagic), uint32(len(sealed)))
	if _, err := w.Write(append(head, sealed...)); err != nil {
		return err
	}
	stream, err := newStreamWriter(d, db, info.Applied)
	if err != nil {
		return err
	}
	_, err = io.Copy(w, stream)
	return errors.Join(err, stream.Close())
}

// ReadBackup writes the store of a backup into dir, which is made, and makes it durable. Every byte is checked; an error
// that matches ErrBackup means that the backup is at fault.
func ReadBackup(r io.Reader, d Disk, dir string) (BackupInfo, error) {
	info, err := readBackupInfo(r)
	if err != nil {
		return info, err
	}
	if err := d.MkdirAll(dir); err != nil {
		return info, err
	}
	if _, err := receiveStream(r, d, dir); err != nil {
		if errors.Is(err, errStream) {
			err = fmt.Errorf("%w: %w", ErrBackup, err)
		}
		return info, err
	}
	return info, nil
}

func readBackupInfo(r io.Reader) (info BackupInfo, err error) {
	var head [len(backupMagic) + 4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil || string(head[:len(backupMagic)]) != backupMagic {
		return info, fmt.Errorf("%w: it does not begin as one", ErrBackup)
	}
	n := binary.BigEndian.Uint32(head[len(backupMagic):])
	if n > backupInfoLimit {
		return info, fmt.Errorf("%w: a head of %d bytes", ErrBackup, n)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(r, b); err != nil {
		return info, fmt.Errorf("%w: its head is cut", ErrBackup)
	}
	payload, err := unseal(backupInfoMagic, b)
	if err == nil {
		err = json.Unmarshal(payload, &info)
	}
	if err != nil {
		return info, fmt.Errorf("%w: head: %w", ErrBackup, err)
	}
	return info, nil
}

// CheckBackup reads a backup to its end and checks every byte.
func CheckBackup(r io.Reader) (BackupInfo, error) { return ReadBackup(r, nowhere{}, "") }

// nowhere is a disk that keeps nothing.
type nowhere struct{ Disk }

func (nowhere) MkdirAll(string) error       { return nil }
func (nowhere) SyncDir(string) error        { return nil }
func (nowhere) Create(string) (File, error) { return nowhereFile{}, nil }

type nowhereFile struct{ File }

func (nowhereFile) Write(p []byte) (int, error) { return len(p), nil }
func (nowhereFile) Sync() error                 { return nil }
func (nowhereFile) Close() error                { return nil }
