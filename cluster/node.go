package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// Node is one running raft node. All methods may be called by many goroutines.
type Node struct {
	cfg   Config
	log   *slog.Logger
	boot  uint64
	sm    StateMachine
	fail  *failure
	logs  *logStore
	snaps *snapshotStore
	fsm   *fsm
	prop  *proposer
	trans io.Closer // raft's transport
	raft  *raft.Raft

	fresh    atomic.Bool              // the node has not been in a cluster yet
	letIn    func()                   // opens raft's transport to others
	mute     func(on bool)            // takes raft's transport away, and gives it back; nil for a node alone
	admitMu  sync.Mutex               // one admission or promise at a time; guards admitted and permits
	admitted map[string]uint64        // boots of fresh nodes that this leader has taken in
	permits  map[string]time.Duration // nodes that Add has named, and until when they may come
	inviteMu sync.Mutex
	invited  string // address of a member that has invited this node
	contact  contact
	peers    *Peers

	leading atomic.Bool   // leader, and everything before is applied
	ready   chan struct{} // closed once
	seenFSM atomic.Uint64 // last index the fsm is done with

	stalls    *stalls
	stallSeen chan struct{} // 1-buffered: the disk has begun or ended to hang

	timeSteps atomic.Uint64
	grown     chan struct{} // 1-buffered: a snapshot is due by size
	observer  *raft.Observer
	seen      chan raft.Observation

	timeMu   sync.Mutex // guards what follows
	time     logTime
	applied  int64 // log time of the last applied entry, ms
	timeLead bool  // this node stamps; what it applies does not move its clock

	changeMu sync.Mutex
	change   chan struct{} // closed at the next change of leader

	stop    context.CancelFunc
	ctx     context.Context
	watched chan struct{}  // closed when watch ended
	wg      sync.WaitGroup // the other goroutines
	closed  chan struct{}  // closed at the end of the first Close
	once    sync.Once
	err     error // of Close; readable when closed is
}

func newNode(cfg Config, boot uint64, sm StateMachine, fail *failure, logs *logStore, snaps *snapshotStore,
	trans io.Closer,
) *Node {
	n := &Node{
		cfg: cfg, log: cfg.Logger.With("component", "cluster"), boot: boot, sm: sm, fail: fail, logs: logs, snaps: snaps,
		trans: trans, admitted: map[string]uint64{}, permits: map[string]time.Duration{}, peers: newPeers(),
		ready:   make(chan struct{}),
		grown:   make(chan struct{}, 1),
		seen:    make(chan raft.Observation, seenBuffer),
		change:  make(chan struct{}),
		closed:  make(chan struct{}),
		watched: make(chan struct{}),
		stalls:  newStalls(cfg.Monotonic, cfg.DiskPatience), stallSeen: make(chan struct{}, 1),
	}
	logs.stalls = n.stalls
	logs.grown = func() { signal(n.grown) }
	n.ctx, n.stop = context.WithCancel(context.Background())
	_, n.applied = sm.Applied()
	n.time.start(time.Duration(n.applied)*time.Millisecond, cfg.Monotonic())
	// The proposer gets raft in run, before it is started.
	n.prop = newProposer(cfg.NodeID, boot, nil, n.stamp, proposeLimits{
		entryBytes: cfg.MaxEntryBytes, entryCommands: cfg.MaxEntryCommands,
		inFlight: cfg.InFlight, pendingBytes: cfg.PendingBytes,
	})
	n.fsm = &fsm{
		node: cfg.NodeID, boot: boot, sm: sm, fail: fail, snaps: snaps, clock: cfg.Clock,
		stalls:  n.stalls,
		resolve: n.prop.resolve, again: n.prop.again, applied: n.observe, seen: n.seenFSM.Store,
	}
	return n
}

// run starts the goroutines of the node around r, which runs already.
func (n *Node) run(r *raft.Raft) {
	n.raft = r
	n.logs.started.Store(true)
	n.prop.raft = r
	n.prop.start()
	n.observer = raft.NewObserver(n.seen, false, func(o *raft.Observation) bool {
		switch o.Data.(type) {
		case raft.LeaderObservation, raft.FailedHeartbeatObservation, raft.ResumedHeartbeatObservation:
			return true
		}
		return false
	})
	r.RegisterObserver(n.observer)
	go func() {
		defer close(n.watched)
		n.watch()
	}()
	n.wg.Go(n.snapshotBySize)
	n.wg.Go(n.watchStalls)
	if port := n.cfg.Port; port != nil {
		port.Handle(protoForward, n.takeForwarded)
		port.Handle(protoMembers, n.answerMember)
		port.Handle(protoPeers, n.hearPeer)
		n.wg.Go(port.Serve)
		n.wg.Go(n.keepPeers)
		n.wg.Go(n.forward)
		n.wg.Go(n.tend)
		n.wg.Go(n.noticeRemoval)
		n.wg.Go(func() {
			if err := n.join(n.ctx); err != nil {
				_ = n.fail.report(fmt.Errorf("join a cluster: %w", err))
			}
		})
	}
}

// seenBuffer is how many observations may wait: raft drops what does not fit, and "answers again" is said once.
const seenBuffer = 1024

// watch follows leadership, readiness and the clocks until Close.
func (n *Node) watch() {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	poll := time.NewTicker(20 * time.Millisecond) // until the node is ready
	defer poll.Stop()
	var barrier chan error // answers when everything before this leadership is applied
	first := true          // nobody has led since this node started, as far as it knows
	failed := n.fail.set
	for {
		select {
		case leader := <-n.raft.LeaderCh():
			n.endLeading()
			barrier = nil
			if leader && !n.stalls.hangs() {
				barrier = n.barrier()
			}
			n.broadcast()
		case <-n.stallSeen:
			barrier = nil
			if n.stalls.hangs() {
				n.endLeading()
			} else if n.raft.State() == raft.Leader { // nobody has been elected meanwhile, as far as it knows
				barrier = n.barrier()
			}
			n.broadcast()
		case err := <-barrier:
			barrier = nil
			if err == nil && n.raft.State() == raft.Leader && !n.stalls.hangs() {
				n.beginLeading(first)
				first = false
			}
		case o := <-n.seen:
			if _, ok := o.Data.(raft.LeaderObservation); ok {
				n.broadcast()
			}
			n.heard(o)
		case <-tick.C:
			if n.leading.Load() {
				n.stamp() // a step of the wall clock is noticed on an idle node too
			}
		case <-poll.C:
			if n.caughtUp() {
				n.setReady()
			}
		case <-failed:
			failed = nil
			n.log.Error("node cannot go on", "err", n.fail.get())
			n.endLeading()
			n.broadcast()
		case <-n.ctx.Done():
			if barrier != nil {
				// Raft still runs and will answer, unless it failed or stands still.
				select {
				case <-barrier: //nolint:errcheck // nobody waits for it any more
				case <-n.fail.set:
				case <-time.After(stuckAfter):
				}
			}
			return
		}
		if id := n.Leader(); id != "" {
			n.fresh.Store(false)
			first = first && id == n.cfg.NodeID
		}
		select {
		case <-n.ready:
			poll.Stop()
		default:
		}
	}
}

// barrier returns what answers when everything before this leadership is applied.
func (n *Node) barrier() chan error {
	done := make(chan error, 1)
	go func() { done <- n.raft.Barrier(0).Error() }()
	return done
}

func (n *Node) beginLeading(fullStop bool) {
	wall, mono := n.read()
	n.timeMu.Lock()
	n.timeLead = true
	last := time.Duration(n.applied) * time.Millisecond
	event := n.time.resume(last, wall, mono, fullStop)
	n.timeMu.Unlock()
	n.logTimeEvent(event)
	n.contact.clear()
	n.leading.Store(true)
	n.prop.lead(true)
	n.log.Info("leading", "term", n.raft.CurrentTerm())
	n.setReady()
	n.broadcast()
}

func (n *Node) endLeading() {
	if !n.leading.Swap(false) {
		return
	}
	n.prop.lead(false)
	n.timeMu.Lock()
	n.timeLead = false
	n.timeMu.Unlock()
	n.log.Info("no longer leading")
}

func (n *Node) setReady() {
	select {
	case <-n.ready:
	default:
		close(n.ready)
	}
}

// caughtUp reports, for a follower, whether everything the leader has told it to be committed is applied. Only watch
// calls it.
func (n *Node) caughtUp() bool {
	if n.raft.State() != raft.Follower || n.Leader() == "" || n.raft.LastContact().IsZero() {
		return false
	}
	commit := n.raft.CommitIndex()
	if commit == 0 {
		return false
	}
	// The fsm sees commands and configurations only: find the last of them.
	mark, _ := n.snaps.newest()
	for i := commit; i > mark.Index && i > n.seenFSM.Load(); i-- {
		var entry raft.Log
		if err := n.logs.wal.GetLog(i, &entry); err != nil {
			return false
		}
		if entry.Type == raft.LogCommand || entry.Type == raft.LogConfiguration {
			return false
		}
	}
	return true
}

// snapshotBySize takes a snapshot when the log has grown by Config.SnapshotBytes; raft itself counts entries only.
func (n *Node) snapshotBySize() {
	for {
		select {
		case <-n.grown:
		case <-n.ctx.Done():
			return
		}
		done := make(chan error, 1)
		go func() { done <- n.raft.Snapshot().Error() }()
		select {
		case <-n.ctx.Done():
			<-done //nolint:errcheck // Close stops raft, which answers
			return
		case err := <-done:
			if err != nil && !errors.Is(err, raft.ErrNothingNewToSnapshot) && !errors.Is(err, raft.ErrRaftShutdown) {
				n.log.Warn("snapshot failed, the log keeps growing", "err", err)
			}
		}
	}
}

func (n *Node) broadcast() {
	n.changeMu.Lock()
	close(n.change)
	n.change = make(chan struct{})
	n.changeMu.Unlock()
}

// Propose hands in a command, which is the node's from then on. It never blocks. done is called exactly once, in the
// order of the calls of Propose, from one goroutine of the node, and must not block. It gets the state machine's own
// result, or an error:
//
//	ErrTooLarge, ErrOverloaded   not in the log
//	ErrForgotten                 applied, result lost (only after a snapshot was received)
//	ErrClosed                    Close was called before the outcome was known
//
// While there is no leader or the outcome of an attempt is unknown, the command is proposed again and done waits. The
// result must not be changed. After Close has returned, Propose calls done itself.
func (n *Node) Propose(cmd []byte, done func(result []byte, err error)) { n.prop.propose(cmd, done) }

// ProposeWait is Propose that waits. When ctx ends first it returns an error that matches ErrUnknown and the cause.
func (n *Node) ProposeWait(ctx context.Context, cmd []byte) ([]byte, error) {
	type outcome struct {
		result []byte
		err    error
	}
	c := make(chan outcome, 1)
	n.Propose(cmd, func(result []byte, err error) { c <- outcome{result, err} })
	select {
	case o := <-c:
		return o.result, o.err
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: %w", ErrUnknown, context.Cause(ctx))
	}
}

// NodeID returns the id of the node.
func (n *Node) NodeID() string { return n.cfg.NodeID }

// Boot returns the number of this start of the node. It rises with every start, and by far more than one.
func (n *Node) Boot() uint64 { return n.boot }

// IsLeader reports whether this node leads and has applied everything that was committed before.
func (n *Node) IsLeader() bool { return n.leading.Load() }

// Leader returns the id of the leader, "" when none is known.
func (n *Node) Leader() string {
	_, id := n.raft.LeaderWithID()
	return string(id)
}

// LeaderChanges returns a channel that is closed when leader or leadership may have changed; call it again after.
func (n *Node) LeaderChanges() <-chan struct{} {
	n.changeMu.Lock()
	defer n.changeMu.Unlock()
	return n.change
}

// Term returns raft's term.
func (n *Node) Term() uint64 { return n.raft.CurrentTerm() }

// Ready is closed when everything is applied that was committed when this node started: on a leader, what is before
// its leadership; on a follower, what the leader has told it. It stays closed.
func (n *Node) Ready() <-chan struct{} { return n.ready }

// Pending returns the commands without an answer and about how much memory they hold.
func (n *Node) Pending() (commands int, bytes int64) { return n.prop.pending() }

// Space returns nil, or, while Config.PendingBytes are pending, a channel that is closed when they are not any more:
// callers should not read from their clients until then. It costs one atomic load.
func (n *Node) Space() <-chan struct{} { return n.prop.space() }

// SetPendingBytes changes Config.PendingBytes; 0 or less leaves it as it is.
func (n *Node) SetPendingBytes(bytes int64) { n.prop.setPending(bytes) }

// Failed yields one error when the node cannot go on: a disk that cannot be written, an entry that cannot be decoded
// or applied. Nothing is written or applied any more; the process should log the error and exit with code 1.
func (n *Node) Failed() <-chan error { return n.fail.out }

// Close refuses new commands, waits until the ones taken are answered (if this node leads), hands over leadership if
// there is another voter, and stops. ctx bounds the waiting; what is not answered by then gets ErrClosed. On return all
// files are closed and nothing is applied any more, unless the error says that raft did not stop in time.
func (n *Node) Close(ctx context.Context) error {
	n.once.Do(func() {
		n.err = n.close(ctx)
		close(n.closed)
	})
	<-n.closed
	return n.err
}

func (n *Node) close(ctx context.Context) error {
	wait, cancel := context.WithCancel(ctx)
	defer cancel()
	watching := make(chan struct{})
	go func() {
		defer close(watching)
		select {
		case <-n.fail.set:
			cancel()
		case <-wait.Done():
		}
	}()
	n.prop.drain(wait.Done())
	n.HandOver(wait)
	n.stop()
	<-n.watched
	n.raft.DeregisterObserver(n.observer)

	var errs []error
	if n.cfg.Port != nil { // raft waits for its calls, and this node for nobody's any more
		errs = append(errs, n.trans.Close())
	}
	down := make(chan error, 1)
	go func() { down <- n.raft.Shutdown().Error() }()
	select {
	case err := <-down:
		errs = append(errs, err)
	case <-ctx.Done():
		// Raft is stuck, most likely in the disk; its files cannot be closed under it.
		select {
		case err := <-down:
			errs = append(errs, err)
		case <-time.After(stuckAfter):
			if n.cfg.Port != nil {
				go n.cfg.Port.Close() //nolint:errcheck // it waits for what raft does not answer
			}
			return fmt.Errorf("raft did not stop: %w", context.Cause(ctx))
		}
	}
	if n.cfg.Port != nil {
		errs = append(errs, n.cfg.Port.Close())
	}
	n.wg.Wait()
	n.prop.stop(wait.Done())
	cancel()
	<-watching
	errs = append(errs, n.trans.Close(), n.logs.Close())
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("close node: %w", err)
	}
	return nil
}

// stuckAfter is what raft gets to stop when the caller's time is over already.
const stuckAfter = time.Second

// HandOver gives leadership to another voter, if this node leads and there is one, and waits for it as long as ctx allows.
func (n *Node) HandOver(ctx context.Context) {
	if n.raft.State() != raft.Leader || ctx.Err() != nil {
		return
	}
	others := false
	for _, m := range n.Members() {
		others = others || (m.Voter && m.ID != n.cfg.NodeID)
	}
	if !others {
		return
	}
	done := make(chan error, 1)
	go func() { done <- n.raft.LeadershipTransfer().Error() }()
	select {
	case err := <-done:
		if err != nil {
			n.log.Warn("leadership was not handed over", "err", err)
		}
	case <-ctx.Done():
	}
}
