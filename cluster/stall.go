package cluster

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// A disk may hang instead of failing: a write begins and does not end. Raft does not notice. Its main loop waits in the
// write, other goroutines go on telling followers that the leader lives, and nobody commits anything (consul issue 3552).
//
// So the node watches the writes that raft waits for: appends to the log, term and vote, and the store's Apply. When one of
// them has been under way for Config.DiskPatience, the node takes no part in raft: it calls nobody and refuses what others
// call. If it led, they elect another leader after their heartbeat time-out; if it followed, the leader does not count on
// it. Nothing it could acknowledge meanwhile is lost, since acknowledgements come from Apply, which is behind those writes.
// When the write ends, the node takes part again, and learns who leads now.
//
// Handing leadership over is no way out: raft's own transfer goes through the main loop that stands still.
type stalls struct {
	monotonic func() time.Duration
	patience  time.Duration // 0 = not watched
	under     [stallKinds]atomic.Int64
	since     atomic.Int64 // when what hangs began, 0 = nothing does
	kind      atomic.Int32 // what hangs
	times     atomic.Uint64

	mu     sync.Mutex
	change chan struct{} // closed when a disk has begun or ended to hang
}

// stallKind is one of the writes that raft waits for. Of each kind there is one at a time.
type stallKind int

const (
	stallAppend stallKind = iota
	stallStable
	stallShorten
	stallApply
	stallKinds
)

func (k stallKind) String() string {
	return [...]string{"append to the log", "write of raft's term and vote", "write that shortens the log", "write of the store"}[k]
}

func newStalls(monotonic func() time.Duration, patience time.Duration) *stalls {
	return &stalls{monotonic: monotonic, patience: patience, change: make(chan struct{})}
}

// begin notes that a write begins, end that it has ended. A nil *stalls watches nothing.
func (s *stalls) begin(k stallKind) {
	if s != nil {
		s.under[k].Store(int64(s.monotonic()) | 1) // 0 means none
	}
}

func (s *stalls) end(k stallKind) {
	if s != nil {
		s.under[k].Store(0)
	}
}

// look looks at what is under way, and reports whether a disk has begun or ended to hang.
func (s *stalls) look() (changed bool) {
	now := int64(s.monotonic())
	oldest, kind := int64(0), stallKind(0)
	for k := range s.under {
		if since := s.under[k].Load(); since != 0 && (oldest == 0 || since < oldest) {
			oldest, kind = since, stallKind(k)
		}
	}
	if now-oldest < int64(s.patience) {
		oldest = 0
	}
	s.kind.Store(int32(kind))
	if (s.since.Swap(oldest) == 0) == (oldest == 0) {
		return false
	}
	if oldest != 0 {
		s.times.Add(1)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.change)
	s.change = make(chan struct{})
	return true
}

// changes returns a channel that is closed at the next begin or end of a hang.
func (s *stalls) changes() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.change
}

// hangs reports whether the disk does.
func (s *stalls) hangs() bool { return s != nil && s.since.Load() != 0 }

// ErrStalled matches what Stalled returns while the disk hangs.
var ErrStalled = errors.New("the disk hangs")

func (s *stalls) err() error {
	since := s.since.Load()
	if since == 0 {
		return nil
	}
	lasts := s.monotonic() - time.Duration(since)
	return fmt.Errorf("%w: %s has been under way for %v", ErrStalled, aStall(stallKind(s.kind.Load())), lasts.Round(100*time.Millisecond))
}

func aStall(k stallKind) string {
	if k == stallAppend {
		return "an " + k.String()
	}
	return "a " + k.String()
}

// Stalled returns nil, or which write of the node has not ended for Config.DiskPatience. The node takes no part in the
// cluster as long as that lasts, and goes on when the write ends.
func (n *Node) Stalled() error { return n.stalls.err() }

// StallChanges returns a channel that is closed when Stalled has begun or ended to return an error; call it again after.
func (n *Node) StallChanges() <-chan struct{} { return n.stalls.changes() }

// stallLooks is how often a patience is looked at while it lasts.
const stallLooks = 8

// watchStalls takes the node out of raft while its disk hangs.
func (n *Node) watchStalls() {
	if n.cfg.DiskPatience <= 0 {
		return
	}
	t := time.NewTicker(max(n.cfg.DiskPatience/stallLooks, time.Millisecond))
	defer t.Stop()
	var began time.Duration
	for {
		select {
		case <-t.C:
		case <-n.ctx.Done():
			return
		}
		if !n.stalls.look() {
			continue
		}
		if err := n.stalls.err(); err != nil {
			began = time.Duration(n.stalls.since.Load())
			n.log.Error("the node takes no part in the cluster until its disk goes on", "err", err, "led", n.leading.Load())
			if n.mute != nil {
				n.mute(true)
			}
		} else {
			n.log.Warn("the disk goes on", "hung", (n.cfg.Monotonic() - began).Round(time.Millisecond))
			if n.mute != nil {
				n.mute(false)
			}
		}
		signal(n.stallSeen)
	}
}
