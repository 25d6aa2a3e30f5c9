package app

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"

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
	storeDir   = "db"
	logDir     = "raft"
	restoreDir = "restoring" // a backup that is being unpacked
)

// Verify checks every byte of the data and writes what it holds to w. What is wrong is an error, all of it.
func Verify(c *config.Config, w io.Writer) error {
	dir := c.Node.DataDir
	if _, err := os.Stat(filepath.Join(dir, storeDir)); err != nil {
		return fmt.Errorf("there is no data of a node in %s: %w", dir, err)
	}
	lock, err := lockDir(dir)
	if err != nil {
		return err
	}
	defer lock.Close()
	var faults []error
	fault := func(err error) { faults = append(faults, err) }
	l, err := cluster.Verify(cluster.OSDisk(), filepath.Join(dir, logDir), fault)
	if err != nil {
		return err
	}
	s, err := storage.Verify(storage.Options{Dir: filepath.Join(dir, storeDir)}, fault)
	if err != nil {
		fault(err)
	}
	if err == nil {
		switch {
		case s.Applied < l.Synced:
			fault(fmt.Errorf("%w (store applied %d, mark says %d)", cluster.ErrBehindMark, s.Applied, l.Synced))
		case s.Applied > max(l.Last, l.Mark, l.Synced):
			fault(fmt.Errorf("%w (applied %d, log ends at %d, snapshot covers %d)", cluster.ErrLogLost, s.Applied, l.Last, l.Mark))
		}
	}
	_, err = fmt.Fprintf(w, "node   %s\nlog    entries %d to %d, term %d, %d with commands; snapshot up to %d\n"+
		"store  applied %d, %d rooms, %d entries of %d bytes, %d members, %d cids, %d sessions, %d records\n",
		l.Node, l.First, l.Last, l.Term, l.Commands, l.Mark,
		s.Applied, s.Rooms, s.Entries, s.Bytes, s.Members, s.CIDs, s.Sessions, s.Keys)
	if len(faults) > 0 {
		return errors.Join(append(faults, fmt.Errorf("%d faults: wipe %s and let the node join anew, or restore a backup", len(faults), dir))...)
	}
	if err == nil {
		_, err = fmt.Fprintln(w, "ok")
	}
	return err
}

// Restore makes a backup the data of this node, which has none, and the beginning of a new cluster and of a new era.
func Restore(c *config.Config, backup io.Reader, log *slog.Logger) (cluster.BackupInfo, error) {
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
	if err := newEra(storage.Options{Dir: tmp, Logger: log}); err != nil {
		return info, fmt.Errorf("open a new era: %w", err)
	}
	if err := d.Rename(tmp, filepath.Join(dir, storeDir)); err != nil {
		return info, err
	}
	if err := d.SyncDir(dir); err != nil {
		return info, err
	}
	_, err = refound(c, log)
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

// Recover makes what one node has left of a cluster without a majority the beginning of a new one, and of a new era.
func Recover(c *config.Config, log *slog.Logger) (cluster.Refounded, error) {
	dir := c.Node.DataDir
	if _, err := os.Stat(filepath.Join(dir, storeDir)); err != nil {
		return cluster.Refounded{}, fmt.Errorf("there is no data of a node in %s: %w", dir, err)
	}
	lock, err := lockDir(dir)
	if err != nil {
		return cluster.Refounded{}, err
	}
	defer lock.Close()
	out, err := refound(c, log)
	if err != nil {
		return out, err
	}
	return out, newEra(storage.Options{Dir: filepath.Join(dir, storeDir), Logger: log})
}

// refound makes the data in the directory a cluster of this node alone.
func refound(c *config.Config, log *slog.Logger) (out cluster.Refounded, err error) {
	dir := c.Node.DataDir
	s, err := storage.Open(storage.Options{Dir: filepath.Join(dir, storeDir), Logger: log})
	if err != nil {
		return out, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	cc := cluster.DefaultConfig(filepath.Join(dir, logDir), nodeName(c))
	cc.Logger = log
	if c.Cluster.Several() {
		cc.Address = c.Cluster.Reached()
	}
	return cluster.Refound(cc, s)
}
