package mqtttest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/madang-chat/madang/internal/clock"
)

// Load is users who talk in one room without a pause, and readers with stored sessions, while the nodes of a cluster die,
// hang and come back under them. Whoever loses a connection, or hears nothing for a while, goes on at the next node, as
// libraries do. It remembers what was acknowledged and when, and all that each reader got.
type Load struct {
	o       LoadOptions
	senders []*sender
	readers []*follower
	running sync.WaitGroup
	stop    chan struct{} // nothing new is sent
	done    chan struct{} // readers end

	mu     sync.Mutex
	acks   int
	last   time.Time // of the newest ack
	pause  time.Duration
	fault  error
	frozen bool
	twice  int // by check
	age    int // counts up with each Freeze: a connection of another age is a ghost's
}

// LoadOptions are what a Load is made of.
type LoadOptions struct {
	Room    string
	Nodes   func() []Addresses // where the nodes listen now
	Senders int                // each with its own flavour and home node; odd ones send without cid
	Readers int
	Window  int           // messages of a sender without an acknowledgement; 0 = 4
	Every   time.Duration // between two messages of a sender; 0 = as fast as they are acknowledged
	Hears   time.Duration // a client that hears nothing for this long goes elsewhere; 0 = 2 s
}

const (
	loadWindow  = 4
	loadHears   = 2 * time.Second
	loadComes   = 50 * time.Millisecond // before a client tries the next node
	loadStill   = time.Second
	loadSettles = 60 * time.Second // for everything to be acknowledged and read once nothing more is sent
)

// sender is one device that sends numbered messages.
type sender struct {
	l     *Load
	user  string
	o     Options
	home  int
	cid   bool
	made  int
	open  []openMessage
	acked []int
	age   int // of its connection
}

// follower is one device that reads.
type follower struct {
	l    *Load
	o    Options
	home int
	last uint64
	got  [][]byte                // by seq, from 1
	has  map[string]map[int]bool // what it got, by sender and number
	came time.Time               // when the newest of it did
	age  int
}

// StartLoad connects everybody and begins.
func StartLoad(t testing.TB, o LoadOptions) *Load {
	t.Helper()
	if o.Window == 0 {
		o.Window = loadWindow
	}
	if o.Hears == 0 {
		o.Hears = loadHears
	}
	l := &Load{o: o, stop: make(chan struct{}), done: make(chan struct{}), last: clock.Now()}
	for i := range o.Readers {
		r := &follower{l: l, home: i, has: map[string]map[int]bool{}, o: Options{
			Flavour: Flavours[i%len(Flavours)], User: fmt.Sprint("reader", i), ClientID: "r", Keep: true, Manual: true, Hears: o.Hears,
		}}
		c := DialSoon(t, l.node(i), r.o)
		c.Subscribe("chat/rooms/" + o.Room + "/msg/#")
		c.Cut()
		l.readers = append(l.readers, r)
	}
	for i := range o.Senders {
		s := &sender{l: l, home: i, cid: i%2 == 0, user: fmt.Sprint("sender", i)}
		s.o = Options{Flavour: Flavours[i%len(Flavours)], User: s.user, ClientID: "s", Keep: true, Hears: o.Hears}
		l.senders = append(l.senders, s)
	}
	for _, r := range l.readers {
		l.running.Go(func() { r.run(t) })
	}
	for _, s := range l.senders {
		l.running.Go(func() { s.run(t) })
	}
	return l
}

func (l *Load) node(i int) Addresses {
	all := l.o.Nodes()
	return all[i%len(all)]
}

func (l *Load) failed(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fault = errors.Join(l.fault, fmt.Errorf(format, args...))
}

// Freeze makes everybody believe nothing that comes from here on, until it is called with false: the nodes that still talk are ghosts of ones
// that have lost their power.
func (l *Load) Freeze(on bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.frozen = on
	l.age++
}

var errFrozen = errors.New("from a ghost")

// acknowledged counts an acknowledgement, if it may be believed. l.mu is held.
func (l *Load) acknowledged() {
	now := clock.Now()
	l.pause = max(l.pause, now.Sub(l.last))
	l.last = now
	l.acks++
}

// Acks returns how many messages were acknowledged so far.
func (l *Load) Acks() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.acks
}

// Pause returns the longest time in which nobody got an acknowledgement, since the last call.
func (l *Load) Pause() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := max(l.pause, clock.Since(l.last))
	l.pause = 0
	return p
}

// Await waits for that many acknowledgements more.
func (l *Load) Await(t testing.TB, more int) {
	t.Helper()
	goal := l.Acks() + more
	late := time.After(loadSettles)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for l.Acks() < goal {
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("%d acknowledgements, %d were to come", l.Acks(), goal)
		}
	}
}

// Finish lets everything that was sent be acknowledged and read, and returns the entries of the room as every reader got
// them: the same bytes, every seq once and in order, every acknowledged message, each sender's in order.
func (l *Load) Finish(t testing.TB) [][]byte {
	t.Helper()
	close(l.stop)
	settled := make(chan struct{})
	go func() { l.running.Wait(); close(settled) }()
	late := time.NewTimer(loadSettles)
	defer late.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	ending := false
	for over := false; !over; {
		select {
		case <-settled:
			over = true
		case <-tick.C:
			if !ending && l.quiet() {
				ending = true
				close(l.done)
			}
		case <-late.C:
			t.Fatalf("not settled: %s", l.state())
		}
	}
	if l.fault != nil {
		t.Fatal(l.fault)
	}
	if len(l.readers) == 0 {
		return nil
	}
	first := l.readers[0].got
	for _, r := range l.readers[1:] {
		if !slices.EqualFunc(first, r.got, bytes.Equal) {
			t.Fatalf("%s has %d entries and %s %d, or others", r.o.User, len(r.got), l.readers[0].o.User, len(first))
		}
	}
	l.check(t, first)
	return first
}

// quiet reports whether all is acknowledged and every reader has it.
func (l *Load) quiet() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.senders {
		if len(s.open) > 0 {
			return false
		}
		for _, r := range l.readers {
			if len(r.has[s.user]) < s.made {
				return false
			}
		}
	}
	for _, r := range l.readers { // and nothing comes a second time any more
		if r.last != l.readers[0].last || clock.Since(r.came) < loadStill {
			return false
		}
	}
	return true
}

func (l *Load) state() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []string
	for _, s := range l.senders {
		out = append(out, fmt.Sprintf("%s made %d, %d open", s.user, s.made, len(s.open)))
	}
	for _, r := range l.readers {
		out = append(out, fmt.Sprintf("%s at %d", r.o.User, r.last))
	}
	return strings.Join(out, "; ")
}

// check holds entries, in order, against what was acknowledged.
func (l *Load) check(t testing.TB, entries [][]byte) {
	t.Helper()
	there := map[string][]int{}
	for i, b := range entries {
		var e struct {
			Seq  uint64
			From struct{ User string }
			Data struct{ Text string }
		}
		if err := json.Unmarshal(b, &e); err != nil || e.Seq != uint64(i)+1 {
			t.Fatalf("entry %d is %s, %v", i+1, b, err)
		}
		var n int
		if _, err := fmt.Sscan(e.Data.Text, &n); err != nil {
			t.Fatalf("entry %d is %s", i+1, b)
		}
		there[e.From.User] = append(there[e.From.User], n)
	}
	for _, s := range l.senders {
		seen := map[int]bool{}
		next, twice := 0, 0
		for _, n := range there[s.user] {
			switch {
			case n == next:
				next++
			case n > next:
				t.Fatalf("%s: message %d where %d was to come", s.user, n, next)
			case s.cid:
				t.Fatalf("%s: message %d is there twice, with its cid", s.user, n)
			default:
				twice++
			}
			seen[n] = true
		}
		for _, n := range s.acked {
			if !seen[n] {
				t.Fatalf("%s: message %d was acknowledged and is not there", s.user, n)
			}
		}
		l.twice += twice
		if twice > 0 {
			t.Logf("%s, without cid: %d of %d messages are there twice", s.user, twice, s.made)
		}
	}
}

// Twice returns how many messages that were sent without cid are in the room more than once, after Finish.
func (l *Load) Twice() int { return l.twice }

// ghost reports whether what a connection of that age says counts for nothing. l.mu is held.
func (l *Load) ghost(age int) bool { return l.frozen || age != l.age }

func (l *Load) believes(age int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.ghost(age)
}

func (l *Load) now() (age int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.age
}

func (l *Load) ended(c chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// wait returns false when c was closed meanwhile.
func (l *Load) wait(c chan struct{}, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-c:
		return false
	case <-t.C:
		return true
	}
}
