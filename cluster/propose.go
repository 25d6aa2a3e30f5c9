package cluster

import (
	"encoding/binary"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/madang-chat/madang/internal/logentry"
)

// applier is the part of raft the proposer needs. Apply answers in the order in which it was called, or with an error;
// it may block only while raft itself stands still.
type applier interface {
	Apply(cmd []byte, timeout time.Duration) raft.ApplyFuture
}

// Pauses before everything unresolved is proposed again.
const (
	retryFirst = 2 * time.Millisecond
	retryMost  = 500 * time.Millisecond
)

// carrier takes commands to a leader that is another node, in order. It does not block, and keeps nothing of what it is
// given after it has returned.
type carrier interface {
	carry(first uint64, commands [][]byte) outcome
}

// outcome says whether the log has what was sent. raft's futures are outcomes.
type outcome interface{ Error() error }

// flight is an entry, or a batch that is carried to the leader, under way.
type flight struct {
	outcome
	foreign []foreign
}

// proposer turns commands into log entries and results into calls of done.
//
// Invariants, with head <= sent <= tail:
//
//	1 ... head-1     answered, done handed to the answering goroutine
//	head ... sent-1  in an entry of this round, some may be answered already
//	sent ... tail-1  waiting
//
// A command's number is its place in the order of Propose calls, given when it arrives. An entry takes the next
// waiting numbers, without holes. Going back is sent = head. It happens when a future reports an error or an entry was
// applied without a result for one of its commands, but only after all entries in flight are answered, so that the
// troubles of one round do not start two more. Until then nothing is sent.
//
// Results come from the fsm (resolve), never from a future: a future's error only says that this round is broken.
//
// Tried and left: numbering at send time needs a second queue and a place for refusals between the two; one goroutine
// per future costs more than the one that waits for them in order, since raft answers in order.
type proposer struct {
	node    string
	boot    uint64
	raft    applier
	stamp   func() int64 // log time of an entry handed to raft now, ms
	limits  proposeLimits
	retries struct{ first, most time.Duration }

	kick    chan struct{}                 // 1-buffered: something changed for run
	answers chan struct{}                 // 1-buffered: out is not empty, or closed
	flights chan flight                   // what is under way, oldest first; run sends, wait receives
	stopped chan struct{}                 // closed by stop: run and wait end
	idle    chan struct{}                 // 1-buffered: something changed for drain
	wg      sync.WaitGroup                // run, answer
	waited  chan struct{}                 // closed when wait ended
	once    sync.Once                     // stop
	scratch [][]byte                      // run's own
	full    atomic.Pointer[chan struct{}] // not nil while pendingBytes are reached; closed when they are not any more

	mu       sync.Mutex
	ring     []command // command n is at n & (len-1)
	head     uint64    // oldest number without done
	sent     uint64    // next number to send
	tail     uint64    // next number to give
	accepted uint64    // highest number the state machine ever answered
	inFlight int       // entries without an answered future
	broken   bool      // go back when inFlight is 0
	failures int       // rounds broken one after the other, for the pause
	leading  bool      // entries may be made
	via      carrier   // while another node leads and can be reached
	guests   []foreign // groups of other nodes that wait for an entry
	guestN   int       // commands in them
	pace     pace
	holding  bool          // run waits for company of the commands from sent on
	newest   time.Duration // when the newest command came, while holding
	closing  bool          // Propose refuses
	ended    bool          // no result comes any more
	bytes    int64         // of commands without done
	refused  map[uint64][]answer
	out      []answer // for the answering goroutine, in order
	stats    proposeStats
}

type proposeLimits struct {
	entryBytes    int
	entryCommands int
	inFlight      int
	pendingBytes  int64
}

type proposeStats struct {
	commands, entries, bytes uint64 // handed to raft, repetitions included
	errors, unknown          uint64 // entries raft refused; entries whose outcome it did not know
	repeats                  uint64 // rounds begun again
	answered, refusals       uint64 // commands answered by the state machine; refused by Propose
}

// command is one that waits for its result.
type command struct {
	data     []byte
	done     func(result []byte, err error)
	result   []byte
	err      error
	answered bool
}

func newProposer(node string, boot uint64, r applier, stamp func() int64, limits proposeLimits) *proposer {
	p := &proposer{
		node: node, boot: boot, raft: r, stamp: stamp, limits: limits,
		kick:    make(chan struct{}, 1),
		answers: make(chan struct{}, 1),
		flights: make(chan flight, limits.inFlight),
		stopped: make(chan struct{}),
		idle:    make(chan struct{}, 1),
		waited:  make(chan struct{}),
		ring:    make([]command, 256),
		head:    1, sent: 1, tail: 1,
		refused: map[uint64][]answer{},
	}
	p.retries.first, p.retries.most = retryFirst, retryMost
	return p
}

// start starts the goroutines; stop ends them.
func (p *proposer) start() {
	p.wg.Go(p.run)
	p.wg.Go(p.answer)
	go func() {
		defer close(p.waited)
		p.wait()
	}()
}

// propose takes a command in. See Node.Propose.
func (p *proposer) propose(data []byte, done func([]byte, error)) {
	p.mu.Lock()
	size := commandSize(data)
	var err error
	switch {
	case p.closing:
		err = ErrClosed
	case len(data) > p.limits.entryBytes:
		err = fmt.Errorf("%w: %d bytes, at most %d", ErrTooLarge, len(data), p.limits.entryBytes)
	case p.bytes+size > 2*p.limits.pendingBytes:
		err = ErrOverloaded
	}
	if err != nil {
		ended := p.ended
		if !ended {
			p.refuse(answer{done: done, err: err})
		}
		p.mu.Unlock()
		if ended {
			done(nil, err) // there is no answering goroutine any more
		}
		return
	}
	if p.tail-p.head == uint64(len(p.ring)) {
		p.grow()
	}
	*p.at(p.tail) = command{data: data, done: done}
	p.tail++
	p.bytes += size
	if p.bytes >= p.limits.pendingBytes && p.full.Load() == nil {
		full := make(chan struct{})
		p.full.Store(&full)
	}
	wake := p.arrived()
	p.mu.Unlock()
	if wake {
		signal(p.kick)
	}
}

// setPending changes from how many bytes on callers wait. Those who wait are let on where it is more now.
func (p *proposer) setPending(bytes int64) {
	if bytes <= 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.limits.pendingBytes = bytes
	if full := p.full.Load(); full != nil && p.bytes < bytes {
		p.full.Store(nil)
		close(*full)
	}
}

// arrived reports whether run must be told of what has just come. p.mu is held.
func (p *proposer) arrived() bool {
	wake := (p.leading || p.via != nil) && p.inFlight < p.limits.inFlight
	if p.holding {
		p.newest = sinceBegan()
		wake = wake && p.ready() >= paceGoal
	}
	return wake
}

// ready is how many commands wait to be sent. p.mu is held.
func (p *proposer) ready() int {
	n := int(p.tail - p.sent)
	if p.leading {
		n += p.guestN
	}
	return n
}

// refuse answers a after every command taken before it. p.mu is held.
func (p *proposer) refuse(a answer) {
	p.stats.refusals++
	if p.head == p.tail {
		p.out = append(p.out, a)
		signal(p.answers)
		return
	}
	p.refused[p.tail-1] = append(p.refused[p.tail-1], a)
}

// commandSize is what a waiting command costs in memory, about.
func commandSize(data []byte) int64 { return int64(len(data)) + 96 }

func (p *proposer) at(n uint64) *command { return &p.ring[n&uint64(len(p.ring)-1)] }

func (p *proposer) grow() { p.resize(2 * len(p.ring)) }

func (p *proposer) resize(size int) {
	ring := make([]command, size)
	for n := p.head; n < p.tail; n++ {
		ring[n&uint64(size-1)] = *p.at(n)
	}
	p.ring = ring
}

// lead allows or forbids making entries.
func (p *proposer) lead(leading bool) {
	p.mu.Lock()
	p.leading = leading
	var refused []foreign
	if leading {
		p.failures = 0
	} else {
		refused, p.guests, p.guestN = p.guests, nil, 0
	}
	p.mu.Unlock()
	for _, f := range refused {
		f.done(raft.ErrNotLeader)
	}
	signal(p.kick)
	signal(p.idle)
}

// follow sets what carries commands to the leader; nil = it cannot be reached. Everything unresolved goes first.
func (p *proposer) follow(via carrier) {
	p.mu.Lock()
	p.via = via
	if via != nil {
		p.broken, p.failures = true, 0
	}
	p.mu.Unlock()
	signal(p.kick)
	signal(p.idle)
}

// again makes everything unresolved be proposed again, for entries whose results this node will never see.
func (p *proposer) again() {
	p.mu.Lock()
	p.broken = true
	p.mu.Unlock()
	signal(p.kick)
}

// run sends entries until stop.
func (p *proposer) run() {
	pause := time.NewTimer(time.Hour)
	pause.Stop()
	defer pause.Stop()
	hold := time.NewTimer(time.Hour)
	hold.Stop()
	defer hold.Stop()
	pausing := false
	for {
		p.mu.Lock()
		pausing = pausing && p.failures > 0 // a new leadership starts at once
		if p.broken && p.inFlight == 0 && !pausing {
			p.broken = false
			p.sent = p.head
			p.stats.repeats++
			if p.failures > 0 {
				pause.Reset(p.pauseLength())
				pausing = true
			}
		}
		send := (p.leading || p.via != nil) && !p.broken && !pausing && p.inFlight < p.limits.inFlight && p.ready() > 0
		var first uint64
		var via carrier
		var guests []foreign
		p.holding = false
		switch {
		case !send:
		case !p.leading: // who leads waits for company
			via = p.via
			first = p.take(p.limits.entryBytes / 2)
		default:
			now := sinceBegan()
			ready := p.ready()
			if wait := p.pace.hold(now, ready); wait > 0 && !p.closing {
				send, p.holding = false, true
				hold.Reset(wait)
				break
			}
			var size int
			guests, size = p.takeGuests(p.limits.entryBytes / 2)
			first = p.take(p.limits.entryBytes - size)
			p.pace.take(now, p.newest, ready-p.ready())
		}
		p.mu.Unlock()

		if send {
			f := flight{foreign: guests}
			if via != nil {
				f.outcome = via.carry(first, p.scratch)
				clear(p.scratch)
			} else {
				f.outcome = p.raft.Apply(p.encode(first, guests), 0)
			}
			select {
			case p.flights <- f:
			case <-p.stopped:
				return
			}
			continue
		}
		select {
		case <-p.kick:
		case <-hold.C:
		case <-pause.C:
			pausing = false
		case <-p.stopped:
			return
		}
	}
}

// pauseLength returns how long to wait after so many broken rounds. p.mu is held.
func (p *proposer) pauseLength() time.Duration {
	return min(p.retries.first<<min(p.failures-1, 20), p.retries.most)
}

// take moves the next waiting commands into scratch, as many as fit into limit bytes, at least one, and counts a flight.
// p.mu is held.
func (p *proposer) take(limit int) (first uint64) {
	first = p.sent
	p.scratch = p.scratch[:0]
	size := 0
	for p.sent < p.tail && len(p.scratch) < p.limits.entryCommands {
		data := p.at(p.sent).data
		if size += len(data); size > limit && len(p.scratch) > 0 {
			break
		}
		p.scratch = append(p.scratch, data)
		p.sent++
	}
	p.inFlight++
	p.stats.entries++
	p.stats.commands += uint64(len(p.scratch))
	return first
}

// encode stamps and encodes the commands in scratch, and the groups of other nodes. Only run calls it, so that stamps rise
// in the order of entries.
func (p *proposer) encode(first uint64, guests []foreign) []byte {
	size := 9 + len(p.node) + 6*binary.MaxVarintLen64
	for _, c := range p.scratch {
		size += len(c) + binary.MaxVarintLen32
	}
	e := logentry.Entry{Time: p.stamp()}
	if len(p.scratch) > 0 {
		e.Groups = append(e.Groups, logentry.Group{Node: p.node, Boot: p.boot, First: first, Commands: p.scratch})
	}
	for i := range guests {
		e.Groups = append(e.Groups, guests[i].group)
		size += guests[i].size + len(guests[i].group.Node) + 4*binary.MaxVarintLen64
	}
	data := e.Append(make([]byte, 0, size))
	clear(p.scratch)
	p.mu.Lock()
	p.stats.bytes += uint64(len(data))
	p.mu.Unlock()
	return data
}

// wait takes the answers of raft until stop.
func (p *proposer) wait() {
	for {
		select {
		case f := <-p.flights:
			err := f.Error()
			p.mu.Lock()
			p.inFlight--
			switch {
			case err == nil && !p.broken:
				p.failures = 0
			case err == nil:
			default:
				if !p.broken {
					p.failures++
				}
				p.broken = true
				if notInLog(err) {
					p.stats.errors++
				} else {
					p.stats.unknown++
				}
			}
			more := p.broken || p.ready() > 0 && !p.holding
			ending := p.closing
			p.mu.Unlock()
			for _, g := range f.foreign {
				g.done(err)
			}
			if more {
				signal(p.kick)
			}
			if ending {
				signal(p.idle)
			}
		case <-p.stopped:
			return
		}
	}
}

// drain refuses new commands and waits until all are answered, or until there is nobody to answer them: the node does
// not lead, reaches nobody who does, and nothing is in flight. It gives up when giveUp is closed.
func (p *proposer) drain(giveUp <-chan struct{}) {
	p.mu.Lock()
	p.closing = true
	p.mu.Unlock()
	for {
		p.mu.Lock()
		done := p.inFlight == 0 && (p.head == p.tail || !p.leading && p.via == nil)
		p.mu.Unlock()
		if done {
			return
		}
		select {
		case <-p.idle:
		case <-giveUp:
			return
		}
	}
}

// stop answers everything that is left with ErrClosed and waits for the goroutines. Apply must not block any more. An
// entry that raft never answers (it drops some when it is shut down in the middle) keeps the goroutine that waits for
// it; giveUp ends the wait for that one.
func (p *proposer) stop(giveUp <-chan struct{}) {
	p.once.Do(func() {
		p.mu.Lock()
		p.closing = true
		for n := p.head; n < p.tail; n++ {
			if c := p.at(n); !c.answered {
				c.err, c.answered = ErrClosed, true
			}
		}
		p.advance()
		p.ended = true
		p.mu.Unlock()
		close(p.stopped)
		signal(p.answers)
	})
	p.wg.Wait()
	select {
	case <-p.waited:
	case <-giveUp:
	}
}

// space returns nil while there is room for commands, else a channel that is closed when there is again.
func (p *proposer) space() <-chan struct{} {
	if full := p.full.Load(); full != nil {
		return *full
	}
	return nil
}

func (p *proposer) pending() (commands int, bytes int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return int(p.tail - p.head), p.bytes
}

// signal wakes the receiver of a 1-buffered channel.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
