package chaos

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/madang-chat/madang/internal/mqtttest"
	"github.com/madang-chat/madang/internal/webtest"
	"github.com/madang-chat/madang/storage"
)

// The soak runs in periods. In each, people do anything at random, a load in a room of its own remembers what was
// acknowledged, and one fault happens to one node. At the end of a period all leave, what the room holds is judged, all nodes
// hold the same, the room is deleted, and the nodes are measured. Two nodes may die; the third lives through all of it, and
// its memory, goroutines and descriptors must not grow; nor must anybody's disk.

// soakFor is how long the soak lasts, MADANG_SOAK, at most a day. make soak says it.
func soakFor(t *testing.T) time.Duration {
	t.Helper()
	text := os.Getenv("MADANG_SOAK")
	if text == "" {
		t.Skip("SKIPPED: make soak runs it")
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 20*time.Second || d > 24*time.Hour {
		t.Fatalf("MADANG_SOAK is %q, and should be between 20s and 24h", text)
	}
	return d
}

// soakSeed is MADANG_SOAK_SEED, or a new one. It decides who does what and which faults happen, not what the machine makes
// of it.
func soakSeed(t *testing.T) uint64 {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("MADANG_SOAK_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("MADANG_SOAK_SEED: %v", err)
		}
	}
	t.Logf("seed %d (MADANG_SOAK_SEED)", seed)
	return seed
}

// soakSettings keep what there is to hold small, so that it is full soon and what still grows is seen.
var soakSettings = []string{
	"rooms.retention.count=200", "limits.dedupe_window=10s", "limits.dedupe_min=100", "limits.tail_bytes=4MiB",
	"rooms.presence_grace=1s", "limits.sessions_per_user=4", "cluster.snapshot_threshold=1000", "cluster.trailing_logs=1000",
}

// Bounds of a period: long enough for a fault and its healing, and so many that there is a slope.
const (
	soakPeriods  = 30
	soakShortest = 3 * time.Second
	soakLongest  = time.Minute
)

func TestSoak(t *testing.T) {
	length, seed := soakFor(t), soakSeed(t)
	s := &soak{w: makeWorld(t, founders), rng: rand.New(rand.NewPCG(seed, 1<<63)), seed: seed, faults: map[string]int{}, peak: map[string]float64{}}
	s.crowd = newCrowd(s.w)
	for _, h := range s.w.hosts {
		h.more = soakSettings
		h.start()
		s.all = append(s.all, map[string]*series{})
	}
	for _, h := range s.w.hosts {
		eventually(t, h.name+" knows a leader", func() bool { return h.status().Leader != "" })
	}
	period := min(max(length/soakPeriods, soakShortest), soakLongest)
	began := time.Now()
	for n := 0; time.Since(began) < length; n++ {
		s.period(t, n, period)
		s.sample(t, time.Since(began))
	}
	s.sameEverywhere(t)
	s.judge(t)
}

// soak is one run.
type soak struct {
	w        *world
	seed     uint64
	rng      *rand.Rand
	crowd    *crowd
	faults   map[string]int
	messages int
	twice    int
	all      []map[string]*series // by host
	mu       sync.Mutex
	peak     map[string]float64 // RSS under load
}

// period is one of them.
func (s *soak) period(t *testing.T, n int, length time.Duration) {
	t.Helper()
	room := fmt.Sprint("soak-", n)
	var at []mqtttest.Addresses
	for _, h := range s.w.hosts {
		at = append(at, h.at())
	}
	began := time.Now()
	l := mqtttest.StartLoad(lasting{t}, mqtttest.LoadOptions{
		Room: room, Nodes: func() []mqtttest.Addresses { return at }, Senders: 4, Readers: 3, Every: 5 * time.Millisecond,
	})
	stop := make(chan struct{})
	var people sync.WaitGroup
	for i := range soakPeople {
		people.Go(func() { s.crowd.act(s.seed, uint64(n)<<16|uint64(i), stop) })
	}
	people.Go(func() { s.watch(stop) })
	for again := true; again; again = time.Since(began) < length {
		l.Await(t, 1+s.rng.IntN(100))
		undo := s.fault()
		l.Await(t, 1+s.rng.IntN(200))
		undo()
		l.Await(t, 20)
	}
	close(stop)
	people.Wait()
	s.messages += len(l.Finish(t))
	s.twice += l.Twice()
	s.agree(t, room)
	s.forget(t, room)
}

// watch keeps the highest memory.
func (s *soak) watch(stop <-chan struct{}) {
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	survivor := s.w.hosts[founders-1] // the process of the others may change meanwhile
	for {
		if v, err := survivor.resident(); err == nil {
			s.mu.Lock()
			s.peak[survivor.name] = max(s.peak[survivor.name], v)
			s.mu.Unlock()
		}
		select {
		case <-tick.C:
		case <-stop:
			return
		}
	}
}

// fault does something to a node and returns what undoes it.
func (s *soak) fault() (undo func()) {
	mortal := s.w.hosts[s.rng.IntN(founders-1)]
	anyone := s.w.hosts[s.rng.IntN(founders)]
	kinds := []string{"none", "kill", "stop", "hang"}
	if s.w.apart {
		kinds = append(kinds, "pull", "deaf")
	}
	kind := kinds[s.rng.IntN(len(kinds))]
	s.faults[kind]++
	switch kind {
	case "kill":
		mortal.kill()
		return mortal.start
	case "stop":
		mortal.term()
		return mortal.start
	case "hang":
		anyone.signal(syscall.SIGSTOP)
		return func() { anyone.signal(syscall.SIGCONT) }
	case "pull":
		anyone.pull()
		return anyone.plug
	case "deaf":
		to := s.w.others(anyone)[s.rng.IntN(founders-1)]
		anyone.deafTo(to, true)
		return func() { anyone.deafTo(to, false) }
	}
	return func() {}
}

// agree waits until all nodes hold the same of a room, or says what each holds.
func (s *soak) agree(t *testing.T, room string) {
	t.Helper()
	defer func() {
		if !t.Failed() {
			return
		}
		for _, h := range s.w.hosts {
			var d storage.Digest
			err := h.ask("/digest?room="+room, &d)
			t.Logf("%s holds %d to %d of it, %.8s (%v); %+v", h.name, d.First, d.Head, d.SHA256, err, h.status())
		}
	}()
	eventually(t, "all nodes hold the same of "+room, func() bool { return s.same(room) })
}

func (s *soak) same(room string) bool {
	first := s.w.hosts[0].digest(room)
	for _, h := range s.w.hosts {
		if h.digest(room) != first {
			return false
		}
	}
	return true
}

// sameEverywhere holds the rooms of the crowd of all nodes against each other.
func (s *soak) sameEverywhere(t *testing.T) {
	t.Helper()
	for i := range soakRooms {
		room := fmt.Sprint("room", i)
		s.agree(t, room)
	}
}

// forget deletes a room and the sessions that read it, and waits until nobody is connected.
func (s *soak) forget(t *testing.T, room string) {
	t.Helper()
	v := lasting{t}
	for i := range 4 {
		for _, o := range []mqtttest.Options{{User: fmt.Sprint("reader", i), ClientID: "r"}, {User: fmt.Sprint("sender", i), ClientID: "s"}} {
			mqtttest.DialSoon(v, s.w.hosts[i%founders].at(), o).Disconnect() // a clean session ends the stored one
		}
	}
	if status, _ := webtest.Login(v, s.w.hosts[0].at().Web, "admin", "x").Ask(v, "DELETE /rooms/{room}", map[string]any{"room": room}); status >= 300 {
		t.Fatalf("deleting %s: %d", room, status)
	}
	for _, h := range s.w.hosts {
		eventually(t, "all clients have left "+h.name, func() bool { n, err := h.connections(); return err == nil && n == 0 })
	}
}

// lasting is a test that does not remember what it would clean up: there would be more and more of it.
type lasting struct{ testing.TB }

func (lasting) Cleanup(func()) {}

// sample measures all nodes.
func (s *soak) sample(t *testing.T, at time.Duration) {
	t.Helper()
	for i, h := range s.w.hosts {
		values, err := h.measure()
		if err != nil {
			t.Fatal(err)
		}
		for what, v := range values {
			if s.all[i][what] == nil {
				s.all[i][what] = new(series)
			}
			s.all[i][what].add(at, v)
		}
	}
}

// judge says what was done, and what has grown.
func (s *soak) judge(t *testing.T) {
	t.Helper()
	t.Logf("%d messages of the load in %d rooms, %d twice without cid; faults: %v", s.messages, len(s.all[0][heap].at), s.twice, s.faults)
	var did []string
	for _, name := range slices.Sorted(maps.Keys(acts)) {
		if s.crowd.did[name] == 0 {
			t.Errorf("%q was never done, the last time for: %s", name, s.crowd.last[name])
		}
		did = append(did, fmt.Sprintf("%s %d (in vain %d)", name, s.crowd.did[name], s.crowd.not[name]))
	}
	t.Logf("the crowd: %s", strings.Join(did, ", "))
	var tables []soakTable
	for i, h := range s.w.hosts {
		table := soakTable{of: h.name, all: map[string]*series{}, judged: map[string]bool{storeDisk: true, logDisk: true}}
		for what, all := range s.all[i] {
			from := len(all.at) / 5 // until everything that fills has begun to
			table.all[what] = &series{all.at[from:], all.value[from:]}
			if i == founders-1 {
				table.judged[what] = true
			}
		}
		tables = append(tables, table)
	}
	report(t, tables, s.messages, s.peak)
}
