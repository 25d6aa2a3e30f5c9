package chaos

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/madang-chat/madang/internal/mqtttest"
)

// pauses are the longest times without an acknowledgement, step by step.
type pauses []time.Duration

func (p *pauses) add(d time.Duration) { *p = append(*p, d.Round(time.Millisecond)) }

func (p pauses) String() string {
	if len(p) == 0 {
		return "none"
	}
	sorted := slices.Sorted(slices.Values(p))
	return fmt.Sprintf("median %v, longest %v of %d", sorted[len(sorted)/2], sorted[len(sorted)-1], len(sorted))
}

// rounds is how often each fault is tried: make chaos says it in MADANG_CHAOS_ROUNDS.
var rounds, _ = strconv.Atoi(os.Getenv("MADANG_CHAOS_ROUNDS"))

func random(t *testing.T) *rand.Rand {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// The leader is killed, under 4 publishers with a window of 4, and started again.
func TestChaosLeaderKilled(t *testing.T) {
	w := founded(t)
	l := w.load(t, mqtttest.LoadOptions{Senders: 4, Readers: 3})
	l.Await(t, 200)
	var p pauses
	for range rounds {
		leader := w.leader()
		l.Pause()
		leader.kill()
		l.Await(t, 200)
		p.add(l.Pause())
		leader.start()
		l.Await(t, 200)
	}
	entries := w.agree(t, l)
	t.Logf("%d acknowledged, %d entries, %d twice without cid; without an acknowledgement: %v", l.Acks(), len(entries), l.Twice(), p)
}

// A follower is killed: who is connected to the others notices nothing.
func TestChaosFollowerKilled(t *testing.T) {
	w := founded(t)
	var p pauses
	for round := range rounds {
		leader := w.leader()
		victim := w.others(leader)[round%2]
		var at []mqtttest.Addresses
		for _, h := range w.others(victim) {
			at = append(at, h.at())
		}
		room := fmt.Sprint("r", round)
		l := mqtttest.StartLoad(t, mqtttest.LoadOptions{
			Room: room, Nodes: func() []mqtttest.Addresses { return at }, Senders: 4, Readers: 2, Every: time.Millisecond,
		})
		l.Await(t, 100)
		l.Pause()
		victim.kill()
		l.Await(t, 500)
		p.add(l.Pause())
		victim.start()
		l.Finish(t)
		if n := l.Twice(); n > 0 {
			t.Errorf("%d messages are there twice", n)
		}
		eventually(t, "it has caught up", func() bool { d := victim.digest(room); return d != "" && d == leader.digest(room) })
	}
	t.Logf("without an acknowledgement, for clients of the others: %v", p)
}

// The leader hangs, and goes on when the others have another one.
func TestChaosLeaderHangs(t *testing.T) {
	w := founded(t)
	l := w.load(t, mqtttest.LoadOptions{Senders: 4, Readers: 3})
	l.Await(t, 200)
	var p pauses
	for range rounds {
		leader := w.leader()
		l.Pause()
		leader.signal(syscall.SIGSTOP)
		w.leader(w.others(leader)...)
		l.Await(t, 200)
		p.add(l.Pause())
		leader.signal(syscall.SIGCONT)
		l.Await(t, 200)
	}
	w.agree(t, l)
	t.Logf("without an acknowledgement: %v", p)
}

// The leader loses the others, with its clients still there: it acknowledges nothing more, and all agree when it is back.
func TestChaosLeaderCutOff(t *testing.T) {
	w := founded(t)
	w.needsApart()
	l := w.load(t, mqtttest.LoadOptions{Senders: 4, Readers: 3})
	l.Await(t, 200)
	var p pauses
	for round := range rounds {
		leader := w.leader()
		inside := mqtttest.Dial(t, leader.at(), mqtttest.Options{User: "inside", ClientID: fmt.Sprint(round), Hears: 40 * time.Second})
		inside.Say("inside", "before")
		l.Pause()
		leader.pull()
		id, err := inside.Send(mqtttest.Message("chat/rooms/inside/send", "cut off", 1))
		w.must(err)
		next := w.leader(w.others(leader)...)
		l.Await(t, 300)
		p.add(l.Pause())
		mqtttest.Dial(t, next.at(), mqtttest.Options{User: "outside", ClientID: fmt.Sprint(round)}).Say("inside", "outside")
		if inside.Answered(id) {
			t.Fatal("the minority acknowledged a message")
		}
		leader.plug()
		if _, err := inside.Outcome(id, 1); err != nil {
			t.Errorf("after healing: %v", err)
		}
		l.Await(t, 100)
	}
	w.agree(t, l)
	t.Logf("without an acknowledgement: %v", p)
}

// What one node sends to another is lost, in one direction and in both; the third sees both.
func TestChaosLinksLost(t *testing.T) {
	w := founded(t)
	w.needsApart()
	l := w.load(t, mqtttest.LoadOptions{Senders: 4, Readers: 3})
	l.Await(t, 200)
	var p pauses
	for _, name := range []string{"follower to leader", "leader to follower", "leader and follower", "followers"} {
		leader := w.leader()
		f := w.others(leader)
		cuts := map[string][][2]*host{
			"follower to leader": {{f[0], leader}}, "leader to follower": {{leader, f[0]}},
			"leader and follower": {{f[0], leader}, {leader, f[0]}}, "followers": {{f[0], f[1]}, {f[1], f[0]}},
		}[name]
		l.Pause()
		for _, c := range cuts {
			c[0].deafTo(c[1], true)
		}
		l.Await(t, 400)
		p.add(l.Pause())
		for _, c := range cuts {
			c[0].deafTo(c[1], false)
		}
		l.Await(t, 200)
	}
	w.agree(t, l)
	t.Logf("without an acknowledgement, by direction: %v", []time.Duration(p))
}

// A follower whose cable is pulled and put back twenty times changes nothing for the others.
func TestChaosFlappingFollower(t *testing.T) {
	w := founded(t)
	w.needsApart()
	leader := w.leader()
	term, flapping := leader.status().Term, w.others(leader)[0]
	l := w.load(t, mqtttest.LoadOptions{Senders: 3, Readers: 3, Every: time.Millisecond})
	for i := range 20 {
		flapping.pull()
		l.Await(t, 50+20*(i%5))
		flapping.plug()
		l.Await(t, 50)
	}
	w.agree(t, l)
	if s := leader.status(); s.Role != "leader" || s.Term != term {
		t.Errorf("term %d became %d, and it is %s", term, s.Term, s.Role)
	}
}

// Every node is stopped as systemd does, and started again.
func TestChaosRollingRestart(t *testing.T) {
	w := founded(t)
	l := w.load(t, mqtttest.LoadOptions{Senders: 4, Readers: 3, Every: time.Millisecond})
	l.Await(t, 100)
	var p pauses
	for range rounds {
		for _, h := range w.hosts[:founders] {
			l.Pause()
			h.term()
			l.Await(t, 100)
			h.start()
			l.Await(t, 100)
			p.add(l.Pause())
			eventually(t, h.name+" is back", func() bool { return h.status().Leader != "" })
		}
	}
	w.agree(t, l)
	if n := l.Twice(); n > 0 {
		t.Errorf("%d messages without cid are there twice, and no node has died", n)
	}
	t.Logf("without an acknowledgement: %v", p)
}

// The last node of three is stopped while its clients' messages wait for a majority: it ends in time, and nothing of them was
// acknowledged.
func TestChaosStopWithoutAMajority(t *testing.T) {
	w := founded(t)
	last := w.hosts[0]
	c := mqtttest.Dial(t, last.at(), mqtttest.Options{User: "u", ClientID: "c", Keep: true})
	c.Say("r", "before")
	for _, h := range w.others(last) {
		h.kill()
	}
	id, err := c.Send(mqtttest.Message("chat/rooms/r/send", "waits", 1))
	w.must(err)
	began := time.Now()
	last.signal(syscall.SIGTERM)
	code := last.ended()
	if d := time.Since(began); d > 10*time.Second {
		t.Errorf("it took %v to end", d)
	}
	if c.Answered(id) {
		t.Error("a message without a majority was acknowledged")
	}
	if code != 0 || !strings.Contains(last.out.String(), "cut off") {
		t.Errorf("exit code %d:\n%s", code, last.out)
	}
}

// The power of all nodes goes at once: of what ext4 has not been told to sync nothing is left.
func TestChaosPowerCut(t *testing.T) {
	w := founded(t)
	w.needsApart()
	rng := random(t)
	l := w.load(t, mqtttest.LoadOptions{Senders: 4, Readers: 3})
	for range max(rounds, 5) {
		l.Await(t, 1+rng.IntN(1000))
		for _, h := range w.hosts[:founders] {
			w.must(h.cutPower())
		}
		for _, h := range w.hosts[:founders] {
			h.kill()
			w.must(h.remount())
			h.start()
		}
	}
	l.Await(t, 200)
	entries := w.agree(t, l)
	t.Logf("%d acknowledged, %d entries", l.Acks(), len(entries))
}

// fill leaves that many bytes free on a host's disk, and returns what undoes it.
func (h *host) fill(free uint64) (undo func()) {
	h.w.t.Helper()
	var s unix.Statfs_t
	h.w.must(unix.Statfs(h.dir, &s))
	name := filepath.Join(h.dir, "ballast")
	f, err := os.Create(name)
	h.w.must(err)
	if have := s.Bavail * uint64(s.Bsize); have > free {
		err = unix.Fallocate(int(f.Fd()), 0, 0, int64(have-free))
	}
	h.w.must(errors.Join(err, f.Close()))
	return func() { h.w.must(os.Remove(name)) }
}

// The leader's disk is full: it ends with one clear line, the others go on, and once there is room a start is enough.
func TestChaosFullDisk(t *testing.T) {
	w := founded(t)
	w.needsApart()
	l := w.load(t, mqtttest.LoadOptions{Senders: 4, Readers: 3})
	l.Await(t, 200)
	leader := w.leader()
	filler := mqtttest.Dial(t, w.others(leader)[0].at(), mqtttest.Options{User: "filler", ClientID: "f"})
	undo := leader.fill(2 << 20)
	text := strings.Repeat("x", 128<<10)
	for leader.status().Role != "" {
		filler.Say("filler", text)
	}
	if code := leader.ended(); code != 1 || strings.Count(leader.out.String(), "is full: free some space") != 1 {
		t.Errorf("exit code %d:\n%s", code, leader.out)
	}
	l.Await(t, 200)
	undo()
	leader.start()
	w.agree(t, l)
}

// The leader's disk is nearly full: another one leads, and what is written elsewhere goes on; the node says why it is not
// ready, still serves reads, and takes writes again when there is room.
func TestChaosNearlyFullDisk(t *testing.T) {
	w := newWorld(t, founders+1)
	w.needsApart()
	for _, h := range w.hosts[:founders] {
		h.more = []string{"limits.disk_free=100MiB"}
		h.start()
	}
	leader := w.leader()
	l := w.load(t, mqtttest.LoadOptions{Senders: 4, Readers: 3, Every: time.Millisecond})
	l.Await(t, 200)
	entries := w.agree(t, l)
	undo := leader.fill(90 << 20)
	next := w.leader(w.others(leader)...)
	c := mqtttest.Dial(t, leader.at(), mqtttest.Options{Flavour: mqtttest.Flavours[1], User: "u", ClientID: "c", Keep: true})
	c.Subscribe("$since/0/chat/rooms/r/msg/#")
	for range entries {
		c.Next()
	}
	if pk := c.Publish(mqtttest.Message("chat/rooms/r/send", "no", 1)); pk.ReasonCode != 0x97 {
		t.Errorf("answered %#x", pk.ReasonCode)
	}
	mqtttest.Dial(t, next.at(), mqtttest.Options{User: "u2", ClientID: "c"}).Say("r", "elsewhere")
	if got := c.Next(); !strings.Contains(string(got.Payload), "elsewhere") {
		t.Errorf("%s", got.Payload)
	}
	undo()
	eventually(t, "it takes writes again", func() bool {
		pk := c.Publish(mqtttest.Message("chat/rooms/r/send", "yes", 1))
		return pk.ReasonCode == 0
	})
}

// A node is replaced by one with an empty disk and another name, under load; so is the leader.
func TestChaosReplaceANode(t *testing.T) {
	w := founded(t)
	l := w.load(t, mqtttest.LoadOptions{Senders: 4, Readers: 3, Every: time.Millisecond})
	l.Await(t, 300)
	gone, spare := w.leader(), w.hosts[founders]
	gone.kill()
	left := w.others(gone)
	leader := w.leader(left...)
	w.must(leader.admin("remove", gone.name))
	spare.start()
	eventually(t, "three have a vote", func() bool {
		voters := 0
		for _, n := range leader.status().Nodes {
			if n.Voter {
				voters++
			}
		}
		return voters == 3
	})
	l.Await(t, 300)
	w.agree(t, l, append(left, spare)...)
}

// admin runs `madang cluster` on the host as an admin.
func (h *host) admin(args ...string) error {
	file, err := build()
	if err != nil {
		return err
	}
	return run("sh", append([]string{"-c", `echo x | "$@"`, "sh", file, "cluster"}, append(args,
		"--user=admin", "--password-stdin", "--server=http://"+h.at().Web)...)...)
}

// Everything at random, one thing after the other.
func TestChaosMonkey(t *testing.T) {
	w := founded(t)
	rng := random(t)
	l := w.load(t, mqtttest.LoadOptions{Senders: 4, Readers: 3})
	l.Await(t, 200)
	type trick struct {
		name  string
		apart bool
		do    func(h *host) (undo func())
	}
	tricks := []trick{
		{"kill", false, func(h *host) func() { h.kill(); return h.start }},
		{"stop", false, func(h *host) func() { h.term(); return h.start }},
		{"hang", false, func(h *host) func() { h.signal(syscall.SIGSTOP); return func() { h.signal(syscall.SIGCONT) } }},
		{"pull", true, func(h *host) func() { h.pull(); return h.plug }},
		{"deaf", true, func(h *host) func() {
			o := w.others(h)[rng.IntN(2)]
			h.deafTo(o, true)
			return func() { h.deafTo(o, false) }
		}},
		{"power", true, func(h *host) func() {
			w.must(h.cutPower())
			h.kill()
			w.must(h.remount())
			return h.start
		}},
	}
	var done []string
	for range 3 * rounds {
		k := tricks[rng.IntN(len(tricks))]
		if k.apart && !w.apart {
			continue
		}
		h := w.hosts[rng.IntN(founders)]
		if rng.IntN(2) == 0 {
			h = w.leader()
		}
		done = append(done, k.name+" "+h.name)
		undo := k.do(h)
		l.Await(t, 1+rng.IntN(400))
		undo()
		l.Await(t, 1+rng.IntN(100))
	}
	entries := w.agree(t, l)
	t.Logf("%s: %d acknowledged, %d entries, %d twice without cid", strings.Join(done, ", "), l.Acks(), len(entries), l.Twice())
}
