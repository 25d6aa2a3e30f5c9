package app

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/madang-chat/madang/cluster"
	"github.com/madang-chat/madang/internal/config"
	"github.com/madang-chat/madang/storage"
)

// What is done with the data of a node that does not run. The directory of the data holds:
//
//	LOCK      whoever has it locked uses the directory
//	reserve   space for a node that finds the disk full
//	db/       the store
//	raft/     log, snapshots, term and vote
const (
	storeDir    = "db"
	logDir      = "raft"
	restoreDir  = "restoring"  // a backup that is being unpacked
	recoverFile = "recovering" // a recovery has begun and not ended
)

// faultsShown is how many faults are told; all are counted.
const faultsShown = 100

// Verify checks every byte of the data and writes what it holds to w. What is wrong is an error, all of it.
func Verify(c *config.Config, w io.Writer) error {
	dir := c.Node.DataDir
	if _, err := os.Stat(filepath.Join(dir, logDir)); err != nil {
		return fmt.Errorf("there is no data of a node in %s: %w", dir, err)
	}
	lock, err := lockDir(dir)
	if err != nil {
		return err
	}
	defer lock.Close()
	var faults []error
	count := 0
	fault := func(err error) {
		if count++; count <= faultsShown {
			faults = append(faults, err)
		}
	}
	if err := checkRecovered(dir); err != nil {
		fault(err)
	}
	store := filepath.Join(dir, storeDir)
	if _, err := os.Stat(store); errors.Is(err, os.ErrNotExist) {
		store = storage.Aside(store) // a replacement was interrupted, which the next start undoes
	}
	l, s, err := verifyBoth(cluster.OSDisk(), filepath.Join(dir, logDir), storage.Options{Dir: store}, fault)
	if err != nil {
		return err
	}
	log := fmt.Sprintf("entries %d to %d, term %d, %d with commands; snapshot up to %d", l.First, l.Last, l.Term, l.Commands, l.Mark)
	if l.Last == 0 {
		log = fmt.Sprintf("empty: all is in the snapshot up to %d", l.Mark)
	}
	_, err = fmt.Fprintf(w, "node   %s\nlog    %s\n"+
		"store  applied %d, %d rooms, %d entries of %d bytes, %d members, %d cids, %d sessions, %d records\n",
		cmp.Or(l.Node, "has not run yet"), log,
		s.Applied, s.Rooms, s.Entries, s.Bytes, s.Members, s.CIDs, s.Sessions, s.Keys)
	if count > 0 {
		return errors.Join(append(faults, fmt.Errorf("faults: %d; remove the node (madang cluster remove), wipe %s and let it join anew, or restore a backup", count, dir))...)
	}
	if err == nil {
		_, err = fmt.Fprintln(w, "ok")
	}
	return err
}

// verifyBoth checks log and store, and one against the other. An error means that the log could not be read.
func verifyBoth(d cluster.Disk, log string, store storage.Options, fault func(error)) (cluster.LogReport, storage.Verified, error) {
	l, err := cluster.Verify(d, log, fault)
	if err != nil {
		return l, storage.Verified{}, err
	}
	s, err := storage.Verify(store, fault)
	switch {
	case err != nil:
		fault(err)
	case s.Applied < l.Synced:
		fault(fmt.Errorf("%w (store applied %d, mark says %d)", cluster.ErrBehindMark, s.Applied, l.Synced))
	case s.Applied > max(l.Last, l.Mark, l.Synced), l.First > l.Mark+1:
		fault(fmt.Errorf("%w (applied %d, log from %d to %d, snapshot covers %d)", cluster.ErrLogLost, s.Applied, l.First, l.Last, l.Mark))
	}
	return l, s, nil
}

// VerifyOn is Verify of the data in dir on a file system of a test.
func VerifyOn(fs vfs.FS, d cluster.Disk, dir string, fault func(error)) error {
	_, _, err := verifyBoth(d, filepath.Join(dir, logDir), storage.Options{Dir: filepath.Join(dir, storeDir), FS: fs}, fault)
	return err
}

// Restore makes a backup the data of this node, which has none, and the beginning of a new cluster and of a new era.
func Restore(c *config.Config, backup io.Reader, log *slog.Logger, fatal func(error)) (cluster.BackupInfo, error) {
	dir := c.Node.DataDir
	lock, err := lockDir(dir)
	if err != nil {
		return cluster.BackupInfo{}, err
	}
	defer lock.Close()
	for _, name := range []string{storeDir, logDir} {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			return cluster.BackupInfo{}, fmt.Errorf("there is data in %s already: choose another directory, or move it away", dir)
		}
	}
	tmp := filepath.Join(dir, restoreDir)
	if err := os.RemoveAll(tmp); err != nil { // of one that was interrupted
		return cluster.BackupInfo{}, err
	}
	d := cluster.OSDisk()
	info, err := cluster.ReadBackup(backup, d, tmp)
	if err != nil {
		return info, errors.Join(fmt.Errorf("unpack the backup: %w", err), os.RemoveAll(tmp))
	}
	if err := newEra(storage.Options{Dir: tmp, Logger: log, Fatal: fatal}); err != nil {
		return info, fmt.Errorf("open a new era: %w", err)
	}
	if err := d.Rename(tmp, filepath.Join(dir, storeDir)); err != nil {
		return info, err
	}
	if err := d.SyncDir(dir); err != nil {
		return info, err
	}
	_, err = refound(c, storage.Options{Dir: filepath.Join(dir, storeDir), Logger: log, Fatal: fatal}, true)
	return info, err
}

// newEra opens a new era in a store and makes it durable.
func newEra(o storage.Options) error {
	s, err := storage.Open(o)
	if err != nil {
		return err
	}
	return errors.Join(s.NewEra(), s.Close())
}

// Recover makes what one node has left of a cluster without a majority the beginning of a new one, and of a new era. A node
// does not start on data of which half of that was done; Recover does it again.
func Recover(c *config.Config, log *slog.Logger, fatal func(error)) (out cluster.Refounded, err error) {
	dir := c.Node.DataDir
	o := storage.Options{Dir: filepath.Join(dir, storeDir), Logger: log, Fatal: fatal}
	if _, err := os.Stat(filepath.Join(dir, logDir)); err != nil {
		return out, fmt.Errorf("there is no data of a node in %s: %w", dir, err)
	}
	lock, err := lockDir(dir)
	if err != nil {
		return out, err
	}
	defer lock.Close()
	if err := storage.Recover(o); err != nil {
		return out, err
	}
	mark := filepath.Join(dir, recoverFile)
	if checkRecovered(dir) == nil {
		if l, err := cluster.Verify(cluster.OSDisk(), filepath.Join(dir, logDir), func(error) {}); err == nil && l.Last == 0 && l.Alone {
			return out, errors.New("that has been done: it is a cluster of its own; start the node")
		}
	}
	if err := writeMark(mark, dir); err != nil {
		return out, err
	}
	if out, err = refound(c, o, false); err != nil {
		return out, errors.Join(err, os.Remove(mark)) // the old cluster is as it was
	}
	if err := newEra(o); err != nil {
		return out, err
	}
	if err := os.Remove(mark); err != nil {
		return out, err
	}
	return out, cluster.OSDisk().SyncDir(dir)
}

// writeMark makes a file durable that keeps the node from starting.
func writeMark(name, dir string) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close(), cluster.OSDisk().SyncDir(dir))
}

// checkRecovered refuses data of which half a recovery was done.
func checkRecovered(dir string) error {
	if _, err := os.Stat(filepath.Join(dir, recoverFile)); err != nil {
		return nil //nolint:nilerr // there is none
	}
	return errors.New("a recovery was interrupted: run `madang cluster recover --yes` again")
}

// refound makes the data in the directory a cluster of this node alone.
func refound(c *config.Config, o storage.Options, restored bool) (out cluster.Refounded, err error) {
	s, err := storage.Open(o)
	if err != nil {
		return out, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	cc := cluster.DefaultConfig(filepath.Join(c.Node.DataDir, logDir), nodeName(c))
	cc.Logger = o.Logger
	if c.Cluster.Several() {
		cc.Address = c.Cluster.Reached()
	}
	return cluster.Refound(cc, s, restored)
}
