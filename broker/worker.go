package broker

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/madang-chat/madang/broker/presence"
	"github.com/madang-chat/madang/hooks/topic"
	"github.com/madang-chat/madang/storage"
)

// worker delivers to its connections. Everything it owns is touched by its goroutine alone; the inbox is how others
// reach it.
//
// A round takes the whole inbox, sweeps the rooms whose heads moved over the cursors that read them, a slice of each,
// serves some of the clients that have something to say or to catch up with, then gives each socket what has gathered for
// it in one send. What comes while a round runs goes out together in the next: batches grow with load and there is no
// timer.
type worker struct {
	b *Broker

	mu      sync.Mutex
	tasks   []func()
	moved   []storage.RoomKey
	dirty   []*client
	wake    chan struct{}
	stopped bool // the worker's goroutine is about to end
	alone   bool // somebody runs tasks, once it is stopped

	rooms       map[storage.RoomKey]*room
	asleep      map[*cursor]int64 // kept so by a ban, and the log time when it ends
	clients     []*client         // in no order; a client knows its place
	joiners     clientsOf         // with a filter on joined rooms
	readers     clientsOf         // with a filter on me/read
	overseers   overseers
	overseeing  atomic.Bool                            // there are some
	lookers     map[presence.User]map[*client]struct{} // with a filter that names the user's presence
	knowers     clientsOf                              // with a filter on the presence of those they know
	gazers      overseers                              // with one on that of everybody
	receiptsDue []dueReceipt
	touched     []*client
	entries     []*storage.Entry
	headsDue    []*room     // whose head is to be told when its second has passed
	tallies     []*room     // whose readers are to be told what came
	paced       []*room     // in which something waits for its time
	pacing      atomic.Bool // there are some
	scratch     []byte
	user        []byte
	frames      frameCache
	pieces      pieces
	together    together

	waiting   []*client // to be served, longest first
	inspected int       // clients looked at since the second began
	perSlice  int       // readers of a room before the next has its turn
	sweeping  []*room
	delivered uint64 // PUBLISH packets in this round
}

type userKey struct{ ns, user string }

func newWorker(b *Broker) *worker {
	return &worker{
		b: b, wake: make(chan struct{}, 1), perSlice: sliceReaders,
		rooms: map[storage.RoomKey]*room{}, asleep: map[*cursor]int64{}, joiners: clientsOf{}, readers: clientsOf{}, overseers: overseers{},
		lookers: map[presence.User]map[*client]struct{}{}, knowers: clientsOf{}, gazers: overseers{},
	}
}

// post runs f in the worker's goroutine, after what was posted before. It never blocks. After the worker has stopped the
// callers run what they post, one at a time: who comes while another one does leaves it to that one.
func (w *worker) post(f func()) {
	w.mu.Lock()
	w.tasks = append(w.tasks, f)
	mine := w.stopped && !w.alone
	w.alone = w.alone || mine
	w.mu.Unlock()
	if mine {
		w.finishTasks()
	} else {
		w.poke()
	}
}

// finishTasks runs what was posted until nothing is left. The caller has set w.alone.
func (w *worker) finishTasks() {
	for {
		w.mu.Lock()
		tasks := w.tasks
		w.tasks = nil
		w.alone = len(tasks) > 0
		w.mu.Unlock()
		if len(tasks) == 0 {
			return
		}
		for _, f := range tasks {
			f()
		}
	}
}

// call is post that waits until f has run.
func (w *worker) call(f func()) {
	done := make(chan struct{})
	w.post(func() { defer close(done); f() })
	<-done
}

func (w *worker) enqueue(c *client) {
	w.mu.Lock()
	w.dirty = append(w.dirty, c)
	w.mu.Unlock()
	w.poke()
}

func (w *worker) poke() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// changed takes what a batch did. Members and access come first: who lost a room gets nothing new of it.
func (w *worker) changed(ch *storage.Changes) {
	w.mu.Lock()
	if ch.Reset {
		w.tasks = append(w.tasks, w.reset)
	}
	if w.overseeing.Load() {
		keys := slices.Collect(maps.Keys(ch.Rooms))
		w.tasks = append(w.tasks, func() { w.overseen(keys) })
	}
	if len(ch.Members) > 0 {
		members := ch.Members
		w.tasks = append(w.tasks, func() { w.memberships(members) })
	}
	for k, rc := range ch.Rooms {
		if rc.Access {
			w.tasks = append(w.tasks, func() { w.accessChanged(k) })
		}
		if rc.Kind { // members of a private room see each other, of a public one they do not
			w.tasks = append(w.tasks, func() { w.lookAgain(k.NS) })
		}
		if rc.Entries {
			w.moved = append(w.moved, k)
		}
	}
	for k, rc := range ch.Rooms {
		if rc.Rewritten {
			w.tasks = append(w.tasks, func() { w.rewritten(k) })
		}
		if rc.Settings {
			w.tasks = append(w.tasks, func() { w.settingsChanged(k) })
		}
	}
	if len(ch.Marks) > 0 {
		marks := ch.Marks
		w.tasks = append(w.tasks, func() { w.marked(marks) })
	}
	for n := range ch.Reacted {
		w.tasks = append(w.tasks, func() { w.reacted(n) })
	}
	for n := range ch.States {
		w.tasks = append(w.tasks, func() { w.stateChanged(n) })
	}
	w.mu.Unlock()
	w.poke()
}

// reset takes it that everything may be another: the store is that of a snapshot. Rooms that were joined in between begin
// at the join, others go on from where their cursors stand.
func (w *worker) reset() {
	for k, r := range w.rooms {
		w.accessChanged(k)
		r.values.meta, r.values.head = w.metaOf(r), nil
		for _, cur := range slices.Clone(r.cursors) {
			if w.attach(cur.client, k, 0) == nil { // no filter covers the room any more
				continue
			}
			w.owe(cur, cur.values, false)
			w.giveStates(cur, nil)
			if cur.next <= w.head(r) {
				w.fallBehind(cur)
			}
			cur.client.dirty()
		}
	}
	for _, clients := range w.joiners {
		for c := range clients {
			w.rejoin(c)
		}
	}
	for _, clients := range w.overseers {
		for c := range clients {
			w.overseeRooms(c, nil)
		}
	}
	w.lookAgain("")
	for _, clients := range w.knowers {
		for c := range clients {
			w.giveKnown(c)
		}
	}
}

// rejoin gives a client with a filter on joined rooms those that it has joined meanwhile.
func (w *worker) rejoin(c *client) {
	w.b.read(func() {
		var joined []storage.MemberChange
		err := w.b.eachRoom(c, func(r storage.UserRoom) error {
			joined = append(joined, storage.MemberChange{
				Room: storage.RoomKey{NS: c.sid.NS, Room: r.Room}, User: c.sid.User, Role: r.Role, Since: r.Since,
			})
			return nil
		})
		if err != nil {
			w.b.log.Error("read room list", "user", c.sid.User, "err", err)
		}
		w.post(func() {
			if !c.gone {
				w.memberships(joined)
			}
		})
	})
}

func (w *worker) run() {
	defer w.closeTogether()
	for {
		select {
		case <-w.wake:
			w.round()
		case <-w.b.ctx.Done():
			w.mu.Lock()
			w.stopped, w.alone = true, true
			w.mu.Unlock()
			w.round()
			w.finishTasks()
			return
		}
	}
}

func (w *worker) round() {
	w.mu.Lock()
	tasks, moved, dirty := w.tasks, w.moved, w.dirty
	w.tasks, w.moved, w.dirty = nil, nil, nil
	w.mu.Unlock()
	for _, f := range tasks {
		f()
	}
	for _, k := range moved {
		if r := w.rooms[k]; r != nil {
			w.begin(r)
		}
	}
	w.sweep()
	w.serveSome(dirty)
	w.inspectSome()
	for i, c := range w.touched {
		c.touched = false
		w.touched[i] = nil
		if !c.gone {
			w.flushTogether(c)
		}
	}
	w.sendTogether()
	w.touched = w.touched[:0]
	if len(w.sweeping) > 0 || len(w.waiting) > 0 || w.inspected < len(w.clients) {
		w.poke() // the rest of them, after what has come meanwhile
	}
	if w.delivered > 0 {
		w.b.stats.delivered.Add(w.delivered)
		w.delivered = 0
	}
}

// sliceServed is how many clients are served before rooms have their turn: each may catch up with a window of entries.
const sliceServed = 16

// serveSome serves the clients that wait longest; dirty are new among them. A thousand who catch up at once take turns
// with the rooms, and those who read live do not wait for all of them.
func (w *worker) serveSome(dirty []*client) {
	w.waiting = append(w.waiting, dirty...)
	n := min(len(w.waiting), sliceServed)
	if w.stopped {
		n = len(w.waiting) // there is no round after this one
	}
	for i, c := range w.waiting[:n] {
		w.waiting[i] = nil
		c.queued.Store(false)
		if !c.gone {
			w.serve(c)
		}
	}
	if w.waiting = w.waiting[n:]; len(w.waiting) == 0 {
		w.waiting = nil
	}
}

// forget takes c off the list of clients. It is there from adopt on.
func (w *worker) forget(c *client) {
	last := len(w.clients) - 1
	if last < 0 || c.place > last || w.clients[c.place] != c {
		return
	}
	moved := w.clients[last]
	w.clients[c.place], moved.place = moved, c.place
	w.clients[last] = nil
	w.clients = w.clients[:last]
	w.inspected = min(w.inspected, last)
}

// touch notes that bytes wait for c's socket; they go at the end of the round.
func (w *worker) touch(c *client) {
	if !c.touched {
		c.touched = true
		w.touched = append(w.touched, c)
	}
}

// flush gives the socket what waits for it and reports whether it took everything.
func (w *worker) flush(c *client) bool {
	done, err := c.conn.Flush()
	if err != nil {
		_ = c.conn.Close()
	}
	w.account(c)
	return done && err == nil
}

// account brings the sum of all queues up to what waits for c now.
func (w *worker) account(c *client) {
	if waits := int64(c.conn.Queued()); waits != c.counted {
		w.b.queued.Add(waits - c.counted)
		c.counted = waits
	}
}

// adopt takes over a client after its CONNACK was queued, with what its stored session holds.
func (w *worker) adopt(c *client, sess *storage.Session) {
	c.place = len(w.clients)
	w.clients = append(w.clients, c)
	c.cursors = map[storage.RoomKey]*cursor{}
	w.touch(c)
	if sess == nil {
		return
	}
	for i := range sess.Filters {
		f := &sess.Filters[i]
		filter, bad := topic.ParseFilter(f.Filter)
		if bad != nil {
			continue // granted by an older release; it matches nothing here
		}
		w.addSub(c, &sub{filter: filter, qos: f.QoS, id: f.ID, noLocal: f.NoLocal, rap: f.RAP, pos: f.Pos})
	}
	w.resume(c, sess)
}

// detach forgets a client and returns where its session stands. It waits for the worker.
func (w *worker) detach(c *client, how presence.How) (left leftover) {
	told := w.b.told.Load() // what was told before is done before the call
	w.call(func() {
		if c.stored {
			c.takeAcks() // the last of them may have come right before the end
			left = w.leave(c, told)
		}
		if how != presence.Gone {
			w.b.presence.Cut(c.online)
		}
		for _, cur := range c.cursors {
			w.drop(cur)
		}
		c.gone = true
		w.b.queued.Add(-c.counted)
		c.cursors, c.behind, c.owing, c.subs = nil, nil, nil, nil
		w.forget(c)
		w.unjoin(c)
	})
	return left
}
