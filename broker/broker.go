package broker

import (
	"context"
	"hash/maphash"
	"log/slog"
	"maps"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/madang-chat/madang/broker/presence"
	"github.com/madang-chat/madang/broker/transport"
	"github.com/madang-chat/madang/internal/clock"
	"github.com/madang-chat/madang/storage"
)

// Broker serves MQTT connections over the state of one node.
type Broker struct {
	cfg Config
	log *slog.Logger

	ctx     context.Context // ends with Stop
	cancel  context.CancelFunc
	running sync.WaitGroup // workers, dispatcher, catch-up, places

	workers   []*worker
	pages     chan func() // work of the catch-up goroutines
	names     atomic.Uint64
	began     time.Time // of millis
	lim       atomic.Pointer[Limits]
	coarse    atomic.Int64 // ms; moved by the ticker, so that readers need no clock
	queued    atomic.Int64 // bytes waiting for sockets, about
	stats     stats
	live      liveValues
	ownedBy   maphash.Seed
	mark      byte           // of this node's claims
	refusals  rate.Sometimes // of CONNECT, in the log: whoever is refused tries again at once
	presence  *presence.Table
	floods    floods
	admission admission
	ends      ends
	lookers   atomic.Int64  // clients that follow the presence of users
	told      atomic.Uint64 // pos: everything the store has up to here has been told to the workers

	mu     sync.Mutex
	claims uint64 // the highest number of a claim that is known
	cheers cheers

	marksMu sync.Mutex
	marks   map[markKey]storage.MarkOf // published and not proposed yet

	meeting   map[string]context.CancelFunc // nodes that are told this node's claims
	sessions  map[storage.SessionID]*client // the one live connection of each device; guests are not in it
	clients   map[*client]struct{}          // all live connections
	users     clientsOf                     // those of users
	unsettled map[*client]uint64            // those that no worker answers for, with an epoch below theirs: they take their session, or leave (places.go)
	draining  context.CancelFunc            // ends what sends clients elsewhere; nil = they may come
	stopping  bool                          // no new connections
	stopped   bool                          // nothing is started any more
}

// catchUpReaders is how many goroutines read for cursors that are behind: enough to keep a disk busy, few enough to leave
// the processors to delivery.
const catchUpReaders = 2

const (
	coarseTick = 250 * time.Millisecond
	placesTick = 5 * time.Second // rules.md 4: the common place of a node's sessions
)

// New makes a broker. Start runs it.
func New(cfg Config) *Broker {
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.Peers == nil {
		cfg.Peers = alone{}
	}
	if cfg.Elsewhere == nil {
		cfg.Elsewhere = func(string) string { return "" }
	}
	if cfg.Workers == 0 {
		cfg.Workers = max(runtime.GOMAXPROCS(0)/2, 1)
	}
	b := &Broker{
		cfg: cfg, log: cfg.Logger, sessions: map[storage.SessionID]*client{}, clients: map[*client]struct{}{}, users: clientsOf{},
		unsettled: map[*client]uint64{}, marks: map[markKey]storage.MarkOf{}, meeting: map[string]context.CancelFunc{}, pages: make(chan func(), 1024), ownedBy: maphash.MakeSeed(),
		mark: claimMark(cfg.Node),
	}
	b.refusals = rate.Sometimes{First: 10, Interval: time.Second}
	b.ctx, b.cancel = context.WithCancel(context.Background())
	limits := cfg.Limits.withoutEnd()
	b.lim.Store(&limits)
	b.began = clock.Now()
	b.coarse.Store(b.reckon())
	b.presence = presence.New(cfg.Node, cfg.Boot, cfg.Limits.PresenceGrace.Milliseconds())
	b.live.init()
	b.admission = admission{wait: takeWait, working: cfg.Limits.Connecting, most: cfg.Limits.ConnectQueue}
	for range cfg.Workers {
		b.workers = append(b.workers, newWorker(b))
	}
	return b
}

// Start runs the broker's goroutines. Connections may be served from here on.
func (b *Broker) Start() {
	b.openTogether()
	for _, w := range b.workers {
		b.running.Go(w.run)
	}
	for range catchUpReaders {
		b.running.Go(b.catchUp)
	}
	b.running.Go(func() {
		select {
		case <-b.cfg.Ready:
			b.admission.begin()
			<-b.ctx.Done()
		case <-b.ctx.Done():
		}
		b.admission.stop()
	})
	b.told.Store(b.cfg.Store.Pos())
	watch := b.cfg.Store.Watch()
	b.knowNodes()
	b.running.Go(func() { b.dispatch(watch) })
	b.running.Go(b.keepPresence)
	b.running.Go(b.tick)
	b.running.Go(b.keepPlaces)
	b.running.Go(b.keepActive)
	b.running.Go(b.keepMarks)
}

// now returns the time in ms, at most coarseTick old: that of the wall clock when the node began, and what has passed since.
// Whoever sets the clock moves nobody's keep-alive, and makes nothing wait or end.
func (b *Broker) now() int64 { return b.coarse.Load() }

func (b *Broker) reckon() int64 { return b.began.UnixMilli() + b.millis() }

// onTheWall is a time of now as the wall clock has it today.
func (b *Broker) onTheWall(at int64) int64 { return clock.UnixMilli() - (b.reckon() - at) }

func (b *Broker) tick() {
	t := time.NewTicker(coarseTick)
	defer t.Stop()
	for n := 0; ; n++ {
		select {
		case <-b.ctx.Done():
			return
		case <-t.C:
		}
		b.coarse.Store(b.reckon())
		for _, w := range b.workers {
			if w.pacing.Load() {
				w.post(w.tellPaced)
			}
		}
		if n%int(time.Second/coarseTick) == 0 {
			for _, w := range b.workers {
				w.post(w.inspect)
			}
			b.live.expire(b.now())
			b.emptyLeft()
			b.tellTallies()
		}
	}
}

// catchUp runs reads that may touch the disk, so that no worker waits for it.
func (b *Broker) catchUp() {
	for {
		select {
		case <-b.ctx.Done():
			return
		case f := <-b.pages:
			f()
		}
	}
}

// read hands work to the catch-up goroutines; it is dropped when the broker stops.
func (b *Broker) read(f func()) {
	select {
	case b.pages <- f:
	default:
		b.running.Go(func() { // the queue is full: wait outside the worker
			select {
			case b.pages <- f:
			case <-b.ctx.Done():
			}
		})
	}
}

// dispatch tells workers and sessions what Apply changed. Access goes first: who lost it gets nothing more.
func (b *Broker) dispatch(watch *storage.Watcher) {
	defer watch.Close()
	for {
		select {
		case <-b.ctx.Done():
			return
		case <-watch.Wake():
		}
		pos := b.cfg.Store.Pos() // before Take: everything up to it is in what Take returns, or was before
		ch := watch.Take()
		b.usersChanged(ch.Users) // before their sessions, so that they are told why
		for _, t := range ch.Taken {
			b.fence(t)
		}
		if ch.Reset {
			b.goRun(b.Recheck) // what a snapshot says of users is told of none of them
			b.knowNodes()
		}
		for _, n := range ch.Nodes {
			b.presence.NodeChanged(presence.NodeState{Node: n.Node, Boot: n.Boot, Up: n.Up})
			if n.Node == b.cfg.Node && n.Boot == b.cfg.Boot && !n.Up { // it was taken for lost, and is not
				b.cfg.Log.Propose(&storage.NodeUp{Node: n.Node, Boot: n.Boot}, ignore)
			}
		}
		for r := range ch.Relations {
			b.RelationChanged(r.NS, r.One, r.Two)
		}
		for _, w := range b.workers {
			w.changed(&ch)
		}
		b.told.Store(pos)
	}
}

// Serve begins with a connection. It is what a listener calls.
func (b *Broker) Serve(conn *transport.Conn) transport.Handler {
	_ = conn.SetReadDeadline(clock.Now().Add(b.limits().ConnectTimeout))
	a := &arrival{b: b, conn: conn, pr: transport.NewPacketReader(conn)}
	if conn.AwaitFirst(a.first) {
		return a.serve
	}
	return a.serve(conn)
}

// welcome serves a client that is let in.
func (b *Broker) welcome(c *client, pr *transport.PacketReader) transport.Handler {
	if !b.enter(c) {
		c.disconnect(reasonShuttingDown)
		b.finish(c)
		return nil
	}
	if !c.identity().Guest {
		b.stillThere(c) // what happened to its user while it came in was told to those who were in
	}
	pr.OnPuback(func(id uint16) {
		c.lastRead.Store(b.now())
		c.acked(id)
	})
	pr.OnPacket(c.atOnce)
	c.next = func(*transport.Conn) transport.Handler { return b.serve(c, pr) }
	return b.serve(c, pr)
}

// serve reads from a client until it is silent for now, and returns what goes on then, or until its connection ends.
func (b *Broker) serve(c *client, pr *transport.PacketReader) transport.Handler {
	silent := false
	defer func() {
		if !silent { // also after a panic: no ghost stays behind
			defer b.exit(c)
			b.finish(c)
		}
	}()
	if silent = c.read(pr); silent {
		return c.next
	}
	return nil
}

func (b *Broker) enter(c *client) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.clients[c] = struct{}{}
	if !c.identity().Guest {
		b.users.add(c)
	}
	return !b.stopping
}

func (b *Broker) exit(c *client) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.clients, c)
	b.users.remove(c)
}

// Connections returns the number of live connections.
func (b *Broker) Connections() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.clients)
}

// Recheck asks about everybody who is connected, after users or roles have changed: who may not be here any more is
// disconnected, and what the others may read is looked at again. Stored sessions stay.
func (b *Broker) Recheck() {
	b.mu.Lock()
	all := slices.Collect(maps.Keys(b.clients))
	b.mu.Unlock()
	for _, c := range all {
		b.recheck(c)
	}
}

// Stop ends all connections: nothing more is read, what was read is answered as long as ctx lasts, v5 clients get
// DISCONNECT 0x8B, places are proposed to the log. It returns when nothing of the broker runs.
// Listeners must have been closed before.
func (b *Broker) Stop(ctx context.Context) {
	b.mu.Lock()
	b.stopping = true
	b.ends.stop()
	all := make([]*client, 0, len(b.clients))
	for c := range b.clients {
		all = append(all, c)
	}
	b.mu.Unlock()
	for _, c := range all {
		c.leave(b.parting(ctx, c))
	}
	ended, cancel := context.WithCancel(ctx)
	cancel() // nobody waits for marks and times: the node gives the log its time when it ends
	b.commitMarks(ended)
	late := 0
	for _, c := range all {
		select {
		case <-c.released:
		case <-ctx.Done(): // all that are left are looked at, without waiting
			select {
			case <-c.released:
			default:
				late++
			}
		}
	}
	b.commitActive(ended, true)
	b.mu.Lock()
	b.stopped = true
	b.mu.Unlock()
	b.cancel()
	b.running.Wait()
	if late > 0 {
		b.log.Warn("connections were cut off before everything that they had sent had its outcome; their clients send it again",
			"connections", late)
	}
}

// goRun runs f on a goroutine of the broker. False: the broker has stopped.
func (b *Broker) goRun(f func()) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.stopped {
		b.running.Go(f)
	}
	return !b.stopped
}

// workerFor spreads connections over the workers by session, guests in turn.
func (b *Broker) workerFor(c *client) *worker {
	if len(b.workers) == 1 {
		return b.workers[0]
	}
	return b.workers[maphash.Comparable(b.ownedBy, c.sid)%uint64(len(b.workers))]
}
