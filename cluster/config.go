package cluster

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/hashicorp/raft"

	"github.com/madang-chat/madang/cluster/link"
	"github.com/madang-chat/madang/internal/clock"
	"github.com/madang-chat/madang/internal/logentry"
)

// Config is what a node is made of. Take DefaultConfig and change what must differ.
type Config struct {
	NodeID string       // raft server id, part of every command's number; never reused with an empty disk
	Dir    string       // the node's own directory, made when missing
	Logger *slog.Logger // nil: nothing is logged

	// Port is the node's port for others; nil: a node alone. Open takes it over unless it fails.
	Port    *link.Port
	Address string        // host:port by which others reach Port
	Seeds   []string      // where to look for them: host:port, dns:host:port, dns+srv:name
	DNS     *net.Resolver // of the seeds that are names; nil: net.DefaultResolver
	// Expect is how many nodes found a cluster together. Below 2 a fresh node with Seeds waits to be taken in, one without
	// is a cluster of its own.
	Expect  int
	Replica bool // never to have a vote
	// Invited: only nodes that Add has named are taken in. For certificates whose authority signs others than nodes too.
	Invited bool

	HeartbeatTimeout   time.Duration // how long a follower waits for the leader before it asks for votes
	ElectionTimeout    time.Duration // how long a candidate waits for votes
	LeaderLeaseTimeout time.Duration // how long a leader without contact to a majority stays one
	CommitTimeout      time.Duration // how late followers learn of a commit when nothing follows

	SnapshotInterval  time.Duration // how often raft looks whether a snapshot is due (once to twice this)
	SnapshotThreshold uint64        // a snapshot is due after this many entries
	SnapshotBytes     int64         // or after this many bytes of log
	TrailingLogs      uint64        // entries kept behind a snapshot, for followers that lag
	KeepLogBytes      int64         // bytes of log kept behind the head, in whole segments, where that is more
	SegmentBytes      int           // size of a log segment

	MaxEntryBytes    int   // commands gathered into one entry, and the largest command
	MaxEntryCommands int   // commands gathered into one entry
	InFlight         int   // entries handed to raft and not answered
	PendingBytes     int64 // Space makes callers wait from here on; at twice this Propose refuses

	// DiskPatience is how long a write that raft waits for may take before the node takes no part in the cluster; 0: it may
	// take for ever.
	DiskPatience time.Duration

	Clock func() time.Time // the wall clock; nil: clock.Now
	// Monotonic returns the time since some fixed moment and never jumps; nil: taken from the monotonic reading of Clock.
	Monotonic func() time.Duration
	Disk      Disk // nil: OSDisk
}

// DefaultConfig returns the configuration of a node alone, with the reasons for what differs from raft's defaults.
func DefaultConfig(dir, nodeID string) Config {
	return Config{
		NodeID: nodeID,
		Dir:    dir,

		// A single voter has nobody to wait for: it should lead as soon as it is up. Raft waits one to two heartbeat
		// timeouts before the first election. With several voters: see Several.
		HeartbeatTimeout:   100 * time.Millisecond,
		ElectionTimeout:    100 * time.Millisecond,
		LeaderLeaseTimeout: 50 * time.Millisecond,
		// A follower delivers what it knows to be committed; 50 ms would be the delay of every lonely message there.
		CommitTimeout: 5 * time.Millisecond,

		// A snapshot here is a sync and a mark of a few hundred bytes, so it can be frequent: it bounds the log to read
		// at the next start.
		SnapshotInterval:  10 * time.Second,
		SnapshotThreshold: 8192,
		SnapshotBytes:     256 << 20,
		// A follower that comes back within this needs no snapshot. An entry carries many commands.
		TrailingLogs: 10240,
		KeepLogBytes: 256 << 20,
		SegmentBytes: 64 << 20,

		// Large enough that the fsync is shared by all who wait, small enough that an entry travels in well under a
		// heartbeat.
		MaxEntryBytes:    1 << 20,
		MaxEntryCommands: 4096,
		// One entry is being synced while the next ones gather; more would only make smaller entries.
		InFlight:     4,
		PendingBytes: 256 << 20,
		// Nothing is acknowledged while a write hangs, so that waiting longer is no kinder than an election.
		DiskPatience: 3 * time.Second,
	}
}

// Several makes the times those of a cluster of several voters: heartbeat is how long a follower waits for the leader
// before it asks for votes; a leader that is cut off knows it after half of that. The default is 700 ms.
func (c *Config) Several(heartbeat time.Duration) {
	c.HeartbeatTimeout, c.ElectionTimeout, c.LeaderLeaseTimeout = heartbeat, heartbeat, heartbeat/2
}

// check fills in what was left out and refuses what cannot work.
func (c *Config) check() error {
	switch {
	case c.NodeID == "" || len(c.NodeID) > logentry.MaxNodeID:
		return fmt.Errorf("node id must have 1 to %d bytes, has %d", logentry.MaxNodeID, len(c.NodeID))
	case c.Dir == "":
		return errors.New("the node needs a directory")
	case c.MaxEntryBytes < 1 || c.MaxEntryBytes > 16<<20:
		return fmt.Errorf("MaxEntryBytes must be 1 to 16 MiB, is %d", c.MaxEntryBytes)
	case c.MaxEntryCommands < 1 || c.MaxEntryCommands > logentry.MaxCommands:
		return fmt.Errorf("MaxEntryCommands must be 1 to %d, is %d", logentry.MaxCommands, c.MaxEntryCommands)
	case c.InFlight < 1 || c.InFlight > 64:
		return fmt.Errorf("InFlight must be 1 to 64, is %d", c.InFlight)
	case c.PendingBytes < 1:
		return fmt.Errorf("PendingBytes must be positive, is %d", c.PendingBytes)
	case c.Port != nil && c.Address == "":
		return errors.New("a node with a port needs the address by which others reach it")
	case c.Port == nil && (c.Expect > 1 || c.Replica || len(c.Seeds) > 0):
		return errors.New("a node that others belong to needs a port")
	case c.SegmentBytes < 4096:
		return fmt.Errorf("SegmentBytes must be at least 4096, is %d", c.SegmentBytes)
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Clock == nil {
		c.Clock = clock.Now
	}
	if c.Monotonic == nil {
		now, start := c.Clock, c.Clock()
		c.Monotonic = func() time.Duration { return now().Sub(start) }
	}
	if c.DNS == nil {
		c.DNS = net.DefaultResolver
	}
	if c.Disk == nil {
		c.Disk = OSDisk()
	}
	return nil
}

// raftConfig returns raft's own configuration.
func (c *Config) raftConfig() *raft.Config {
	rc := raft.DefaultConfig()
	rc.LocalID = raft.ServerID(c.NodeID)
	rc.Logger = newHCLogger(c.Logger, "raft")
	rc.HeartbeatTimeout = c.HeartbeatTimeout
	rc.ElectionTimeout = c.ElectionTimeout
	rc.LeaderLeaseTimeout = c.LeaderLeaseTimeout
	rc.CommitTimeout = c.CommitTimeout
	rc.SnapshotInterval = c.SnapshotInterval
	rc.SnapshotThreshold = c.SnapshotThreshold
	rc.TrailingLogs = c.TrailingLogs
	rc.BatchApplyCh = true             // raft gathers what waits into one append
	rc.NoSnapshotRestoreOnStart = true // the store is its own snapshot
	rc.ShutdownOnRemove = false        // the process decides when it ends
	rc.NoLegacyTelemetry = true
	return rc
}
