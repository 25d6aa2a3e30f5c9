package presence

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/madang-chat/madang/storage"
)

const testGrace = 30_000

func roomKey(name string) storage.RoomKey { return storage.RoomKey{NS: "chat", Room: name} }

func deviceID(user, client string) storage.SessionID {
	return storage.SessionID{NS: "chat", User: user, Client: client}
}

// world is several nodes with their tables, the connections there really are, and the links between the nodes.
type world struct {
	t     rapid.TB
	now   int64
	page  int // bytes of a page, about
	nodes []*node
	links map[[2]int]*wire // from, to
}

type node struct {
	name    string
	boot    uint64
	table   *Table
	conns   map[storage.SessionID]*conn
	watched map[storage.RoomKey]*follower
}

// conn is a connection.
type conn struct {
	d     *Device
	rooms map[string]bool
}

// wire carries pages from one node to another while it is up.
type wire struct {
	up      bool
	meeting *Meeting
	old     [][]byte // pages that came
}

// follower is a reader who knows a roster and hears what is told of it.
type follower struct {
	v      uint64
	count  bool
	online map[string]int
	told   [2]uint64 // users, connections
	at     int64
}

func newWorld(t rapid.TB, n int) *world {
	w := &world{t: t, now: 1000, page: 24, links: map[[2]int]*wire{}}
	for i := range n {
		w.nodes = append(w.nodes, &node{name: fmt.Sprint("n", i)})
		w.start(i)
	}
	for i := range n {
		for k := range n {
			if i != k {
				w.links[[2]int{i, k}] = &wire{}
				w.meet(i, k)
			}
		}
	}
	return w
}

// start starts a node anew: the log says so to all.
func (w *world) start(i int) {
	n := w.nodes[i]
	n.boot++
	n.table = New(n.name, n.boot, testGrace)
	n.conns, n.watched = map[storage.SessionID]*conn{}, map[storage.RoomKey]*follower{}
	for _, o := range w.nodes {
		if o.table != nil {
			o.table.NodeChanged(NodeState{n.name, n.boot, true})
			n.table.NodeChanged(NodeState{o.name, o.boot, true})
		}
	}
	n.table.page = w.page
	n.table.Turn(w.now)
}

func (w *world) meet(from, to int) {
	l := w.links[[2]int{from, to}]
	l.up, l.meeting = true, w.nodes[from].table.Meet(w.nodes[to].name)
}

// carry takes one page over a link. lost: 0 nothing, 1 the page, 2 the answer.
func (w *world) carry(from, to, lost int) (carried bool) {
	l := w.links[[2]int{from, to}]
	page := l.meeting.Page()
	if page == nil {
		return false
	}
	answer := byte(0)
	if l.up && lost != 1 {
		answer = w.nodes[to].table.Heard(page)
		l.old = append(l.old, page)
	}
	if lost == 2 || !l.up {
		answer = 0
	}
	l.meeting.Answered(answer)
	return true
}

// settle lets all links carry what there is, and the time pass.
func (w *world) settle() {
	for at, l := range w.links {
		if !l.up {
			w.meet(at[0], at[1])
		}
	}
	for range 4 {
		for range 10 {
			for at := range w.links {
				for w.carry(at[0], at[1], 0) {
				}
			}
			w.turn(100)
		}
		w.turn(testGrace + 1)
	}
}

func (w *world) turn(ms int64) {
	w.now += ms
	for _, n := range w.nodes {
		rooms, _ := n.table.Turn(w.now)
		for i := range rooms {
			w.hear(n, &rooms[i])
		}
	}
}

// hear applies news to what a reader knows.
func (w *world) hear(n *node, news *RoomNews) {
	f := n.watched[news.Key]
	if f == nil {
		w.t.Fatalf("%s: news of %v, which nobody watches", n.name, news.Key)
	}
	for _, e := range news.Events {
		if e.V != f.v+1 {
			w.t.Fatalf("%s: v %d after %d", n.name, e.V, f.v)
		}
		f.v = e.V
		_, there := f.online[e.User]
		if there == (e.Event == "join") {
			w.t.Fatalf("%s: %s of %s, who is there: %v", n.name, e.Event, e.User, there)
		}
		if e.Event == "leave" {
			delete(f.online, e.User)
		} else {
			f.online[e.User] = e.Devices
		}
	}
	if news.Turned {
		f.v++
		f.know(news.Room)
	}
	if f.v != news.Room.V {
		w.t.Fatalf("%s: the roster has v %d, and its readers know %d", n.name, news.Room.V, f.v)
	}
	if news.Occupancy {
		if w.now-f.at < occupancyEvery {
			w.t.Fatalf("%s: occupancy after %d ms", n.name, w.now-f.at)
		}
		f.at, f.told = w.now, [2]uint64{news.Room.Users, news.Room.Connections}
	}
}

func (f *follower) know(r *Room) {
	f.count, f.online = r.Count, map[string]int{}
	for _, o := range r.Online {
		f.online[o.User] = o.Devices
	}
}

func (w *world) watch(i int, room string) {
	n, k := w.nodes[i], roomKey(room)
	if n.watched[k] != nil {
		return
	}
	r := n.table.Watch(k)
	f := &follower{v: r.V, at: n.table.now, told: [2]uint64{r.Users, r.Connections}}
	f.know(r)
	n.watched[k] = f
}

// connect connects a device; older connections of it end where the nodes see each other.
func (w *world) connect(i int, id storage.SessionID, guest bool) *conn {
	n := w.nodes[i]
	if old := n.conns[id]; old != nil {
		w.end(i, id, Moved)
	}
	for k, o := range w.nodes {
		if k != i && w.links[[2]int{i, k}].up {
			o.table.Back(id)
			if o.conns[id] != nil {
				w.end(k, id, Moved)
			}
		}
	}
	c := &conn{d: n.table.Connect(id, guest, w.now), rooms: map[string]bool{}}
	n.conns[id] = c
	return c
}

func (w *world) end(i int, id storage.SessionID, how How) {
	n := w.nodes[i]
	c := n.conns[id]
	if how != Gone {
		n.table.Cut(c.d)
	}
	for _, r := range slices.Sorted(maps.Keys(c.rooms)) {
		n.table.Leave(c.d, roomKey(r))
	}
	n.table.End(c.d, how, w.now)
	delete(n.conns, id)
}

func (w *world) set(i int, id storage.SessionID, room string, in bool) {
	n := w.nodes[i]
	c := n.conns[id]
	if c == nil || c.rooms[room] == in {
		return
	}
	if in {
		c.rooms[room] = true
		n.table.Enter(c.d, roomKey(room))
	} else {
		delete(c.rooms, room)
		n.table.Leave(c.d, roomKey(room))
	}
}

// check holds what every node says against the connections there are.
func (w *world) check(rooms, users []string) {
	for _, room := range rooms {
		devices, guests, who := map[string]map[string]bool{}, 0, map[string]bool{}
		for _, n := range w.nodes {
			for id, c := range n.conns {
				if !c.rooms[room] {
					continue
				}
				who[id.User] = true
				if c.d.person.guest {
					guests++
					continue
				}
				if devices[id.User] == nil {
					devices[id.User] = map[string]bool{}
				}
				devices[id.User][id.Client] = true
			}
		}
		total := guests
		for _, d := range devices {
			total += len(d)
		}
		for _, n := range w.nodes {
			got := n.table.RoomNow(roomKey(room))
			if got.Count || len(got.Online) != len(devices) || got.Users != uint64(len(who)) || got.Connections != uint64(total) {
				w.t.Fatalf("%s says of %s: %+v; there are %d users with %d connections, by name %v", n.name, room, got, len(who), total, devices)
			}
			for _, o := range got.Online {
				if len(devices[o.User]) != o.Devices {
					w.t.Fatalf("%s says of %s in %s: %d devices; there are %v", n.name, o.User, room, o.Devices, devices[o.User])
				}
			}
			if f := n.watched[roomKey(room)]; f != nil {
				know := map[string]int{}
				for _, o := range got.Online {
					know[o.User] = o.Devices
				}
				if !maps.Equal(know, f.online) || f.told != [2]uint64{got.Users, got.Connections} {
					w.t.Fatalf("%s: readers of %s know %v %v, there is %+v", n.name, room, f.online, f.told, got)
				}
			}
		}
	}
	for _, user := range users {
		there := map[string]bool{}
		for _, n := range w.nodes {
			for id := range n.conns {
				if id.User == user {
					there[id.Client] = true
				}
			}
		}
		for _, n := range w.nodes {
			if got, _ := n.table.UserNow(User{"chat", user}); got != len(there) {
				w.t.Fatalf("%s says that %s has %d devices; there are %v", n.name, user, got, there)
			}
			if _, told := n.table.told[User{"chat", user}]; told != (len(there) > 0) {
				w.t.Fatalf("%s has told that %s is online: %v", n.name, user, told)
			}
		}
	}
}

// empty checks that nothing is kept of what is gone.
func (w *world) empty() {
	for _, n := range w.nodes {
		n.table.Active(true)
		t := n.table
		if len(t.devices)+len(t.users)+len(t.rooms)+len(t.told)+len(t.active)+len(t.late)+len(t.graces.all)+len(t.settles.all) > 0 {
			w.t.Fatalf("%s keeps %d devices, %d users, %d rooms, %d told, %d active", n.name, len(t.devices), len(t.users), len(t.rooms), len(t.told), len(t.active))
		}
		for name, o := range t.others {
			if len(o.rooms)+len(o.users) > 0 {
				w.t.Fatalf("%s keeps %v of %s", n.name, o, name)
			}
		}
	}
}

// Whatever happens to connections, links, pages and nodes: when it is quiet, every node says what there is.
func TestCountsDoNotDrift(t *testing.T) {
	rooms, users, clients := []string{"r", "s"}, []string{"ann", "bob", "cat"}, []string{"p", "l"}
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(rt, 3)
		one := func(n int, what string) int { return rapid.IntRange(0, n-1).Draw(rt, what) }
		draw := func() (int, storage.SessionID, bool) {
			i := one(3, "node")
			if one(5, "guest?") == 0 {
				return i, deviceID(fmt.Sprintf("guest~%d%d", i, one(3, "which")), "auto"), true
			}
			return i, deviceID(users[one(3, "user")], clients[one(2, "client")]), false
		}
		rt.Repeat(map[string]func(*rapid.T){
			"connect": func(*rapid.T) {
				i, id, guest := draw()
				if c := w.connect(i, id, guest); c != nil && one(4, "at once") > 0 {
					w.set(i, id, rooms[one(2, "room")], true)
				}
			},
			"enter or leave": func(*rapid.T) {
				i, id, _ := draw()
				w.set(i, id, rooms[one(2, "room")], one(2, "enter") == 0)
			},
			"end": func(*rapid.T) {
				i, id, _ := draw()
				if w.nodes[i].conns[id] != nil {
					w.end(i, id, []How{Gone, Cut}[one(2, "how")])
				}
			},
			"turn": func(*rapid.T) { w.turn([]int64{100, 900, 2500, testGrace}[one(4, "ms")]) },
			"watch": func(*rapid.T) {
				w.watch(one(3, "node"), rooms[one(2, "room")])
			},
			"carry": func(*rapid.T) {
				from := one(3, "from")
				w.carry(from, (from+1+one(2, "to"))%3, one(3, "lost"))
			},
			"an old page comes late": func(*rapid.T) {
				from := one(3, "from")
				to := (from + 1 + one(2, "to")) % 3
				if old := w.links[[2]int{from, to}].old; len(old) > 0 {
					w.nodes[to].table.Heard(old[one(len(old), "which")])
				}
			},
			"cut a link": func(*rapid.T) {
				from := one(3, "from")
				w.links[[2]int{from, (from + 1 + one(2, "to")) % 3}].up = false
			},
			"meet": func(*rapid.T) {
				from := one(3, "from")
				w.meet(from, (from+1+one(2, "to"))%3)
			},
			"lose a node": func(*rapid.T) { // and it comes back, as it was
				n := w.nodes[one(3, "node")]
				for _, up := range []bool{false, true} {
					for _, o := range w.nodes {
						o.table.NodeChanged(NodeState{n.name, n.boot, up})
					}
					w.turn(100)
				}
			},
			"restart": func(*rapid.T) {
				if one(4, "really") > 0 {
					return
				}
				i := one(3, "node")
				w.start(i)
				for at := range w.links {
					if at[0] == i || at[1] == i {
						w.meet(at[0], at[1])
					}
				}
			},
		})
		w.settle()
		w.check(rooms, users)
		for i, n := range w.nodes {
			for id := range maps.Clone(n.conns) {
				w.end(i, id, Gone)
			}
		}
		w.settle()
		w.check(rooms, users)
		w.empty()
	})
}

// While a phone is in a tunnel nobody hears of it: it is back on the same node, or on another.
func TestTunnel(t *testing.T) {
	for _, back := range []int{0, 1} {
		w := newWorld(t, 2)
		id := deviceID("ann", "phone")
		w.connect(0, id, false)
		w.set(0, id, "r", true)
		w.settle()
		for i := range w.nodes {
			w.watch(i, "r")
		}
		quiet := func(ms int64) {
			t.Helper()
			for range ms / 100 {
				w.now += 100
				for at := range w.links {
					for w.carry(at[0], at[1], 0) {
					}
				}
				for _, n := range w.nodes {
					if rooms, users := n.table.Turn(w.now); len(rooms)+len(users) > 0 {
						t.Fatalf("%s: %+v %+v", n.name, rooms, users)
					}
				}
			}
		}
		w.end(0, id, Cut)
		quiet(20_000)
		w.connect(back, id, false)
		quiet(500)
		w.set(back, id, "r", true)
		quiet(100_000)
		w.end(back, id, Gone)
		w.turn(100)
		w.settle()
		for _, n := range w.nodes {
			if f := n.watched[roomKey("r")]; len(f.online) > 0 || f.v != 1 {
				t.Errorf("back on %d: after the goodbye %s knows %v, v %d", back, n.name, f.online, f.v)
			}
		}
	}
}

// Another connection of a device takes over, here or there: nobody hears of it.
func TestTakeOver(t *testing.T) {
	w := newWorld(t, 2)
	id := deviceID("ann", "phone")
	w.connect(0, id, false)
	w.set(0, id, "r", true)
	w.settle()
	for i := range w.nodes {
		w.watch(i, "r")
	}
	for _, to := range []int{0, 1, 0} {
		w.connect(to, id, false)
		w.turn(100)
		w.set(to, id, "r", true)
		w.settle()
		for _, n := range w.nodes {
			if f := n.watched[roomKey("r")]; f.v != 0 {
				t.Fatalf("%s heard of it: v %d", n.name, f.v)
			}
		}
	}
}

// The log alone says whether a node lives: what a lost one told counts no more, until it is back.
func TestLostNode(t *testing.T) {
	w := newWorld(t, 2)
	for i := range w.nodes {
		id := deviceID(fmt.Sprint("u", i), "d")
		w.connect(i, id, false)
		w.set(i, id, "r", true)
	}
	w.settle()
	w.watch(0, "r")
	f := w.nodes[0].watched[roomKey("r")]
	for _, at := range [][2]int{{0, 1}, {1, 0}} {
		w.links[at].up = false
	}
	w.turn(100_000)
	if len(f.online) != 2 {
		t.Fatalf("while the link is down there are %v", f.online)
	}
	for _, up := range []bool{false, true} {
		w.nodes[0].table.NodeChanged(NodeState{"n1", 1, up})
		rooms, users := w.nodes[0].table.Turn(w.now)
		for i := range rooms {
			w.hear(w.nodes[0], &rooms[i])
		}
		if len(users) != 1 || users[0].User.User != "u1" || (users[0].Devices == 1) != up {
			t.Fatalf("n1 up %v: %+v", up, users)
		}
	}
	w.nodes[0].table.NodeChanged(NodeState{"n1", 2, true})
	w.turn(100)
	if len(f.online) != 1 || f.online["u0"] != 1 {
		t.Fatalf("after the start of a new boot there are %v", f.online)
	}
}

// One who does not come back leaves when the grace is over, and not before; one who comes back and does not read the room
// leaves it a moment later.
func TestGraceEnds(t *testing.T) {
	w := newWorld(t, 1)
	n := w.nodes[0]
	w.watch(0, "r")
	ann, bob := deviceID("ann", "phone"), deviceID("bob", "phone")
	for _, id := range []storage.SessionID{ann, bob} {
		w.connect(0, id, false)
		w.set(0, id, "r", true)
	}
	w.turn(100)
	f := n.watched[roomKey("r")]
	w.end(0, ann, Cut)
	w.end(0, bob, Cut)
	w.turn(testGrace - 100)
	if len(f.online) != 2 {
		t.Fatalf("before the end of the grace there are %v", f.online)
	}
	w.connect(0, bob, false)
	w.turn(100)
	if len(f.online) != 1 || f.online["bob"] != 1 {
		t.Fatalf("after it there are %v", f.online)
	}
	w.turn(settle)
	if len(f.online) != 0 {
		t.Fatalf("one who is back and reads nothing is there: %v", f.online)
	}
	if d, _ := n.table.UserNow(User{"chat", "bob"}); d != 1 {
		t.Errorf("bob has %d devices", d)
	}
}

// From 101 on a room has no roster, and below 80 it has one again, on all nodes alike.
func TestRosterOrCount(t *testing.T) {
	w := newWorld(t, 3)
	for i := range 2 { // and none on the third
		w.watch(i, "r")
	}
	of := func(i int) storage.SessionID { return deviceID(fmt.Sprint("u", i), "d") }
	mode := func(want bool, users int) {
		t.Helper()
		for range 12 {
			for at := range w.links {
				for w.carry(at[0], at[1], 0) {
				}
			}
			w.turn(100)
		}
		for _, n := range w.nodes {
			r := n.table.RoomNow(roomKey("r"))
			if r.Count != want || r.Users != uint64(users) || r.Connections != uint64(users) || !want && len(r.Online) != users {
				t.Fatalf("with %d, %s has a count: %v, users %d, by name %d", users, n.name, r.Count, r.Users, len(r.Online))
			}
		}
		for _, n := range w.nodes[:2] {
			if f := n.watched[roomKey("r")]; f.count != want || !want && len(f.online) != users || f.told != [2]uint64{uint64(users), uint64(users)} {
				t.Fatalf("with %d, readers on %s know %+v", users, n.name, f)
			}
		}
	}
	n := 0
	to := func(want int) {
		for ; n < want; n++ {
			w.connect(n%3, of(n), false)
			w.set(n%3, of(n), "r", true)
		}
		for n > want {
			n--
			w.end(n%3, of(n), Gone)
		}
	}
	for _, step := range []struct {
		users int
		count bool
	}{{100, false}, {101, true}, {100, true}, {80, true}, {79, false}, {100, false}, {300, true}, {85, true}, {3, false}, {0, false}} {
		to(step.users)
		mode(step.count, step.users)
	}
	w.settle()
	w.empty()
}

// Five thousand who leave at once cost one word a second about how many are left, and no more.
func TestMassLeaving(t *testing.T) {
	w := newWorld(t, 1)
	w.watch(0, "r")
	const many = 5000
	for i := range many {
		id := deviceID(fmt.Sprint("u", i), "d")
		w.connect(0, id, false)
		w.set(0, id, "r", true)
	}
	w.turn(2000)
	f := w.nodes[0].watched[roomKey("r")]
	if f.told != [2]uint64{many, many} {
		t.Fatalf("told %v", f.told)
	}
	told := 0
	for i := range many {
		w.end(0, deviceID(fmt.Sprint("u", i), "d"), Gone)
		if i%100 == 0 { // in five seconds
			before := f.told
			w.turn(100)
			if f.told != before {
				told++
			}
		}
	}
	w.turn(1000)
	if told > 6 || f.told != [2]uint64{0, 0} {
		t.Errorf("%d times, at last %v", told, f.told)
	}
}

// The log is told of a user's activity once a minute, and of the last before they left.
func TestActive(t *testing.T) {
	w := newWorld(t, 1)
	tb := w.nodes[0].table
	id := deviceID("ann", "d")
	clock := int64(1_000_000)
	d := tb.Connect(id, false, clock)
	written := func(all bool) (out []int64) {
		for _, a := range tb.Active(all) {
			out = append(out, a.At)
		}
		return out
	}
	expect := func(what string, got []int64, want ...int64) {
		t.Helper()
		if !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
	}
	expect("after CONNECT", written(false), clock)
	for range 120 { // a message each second
		clock += 1000
		tb.Act(d, clock)
	}
	expect("once", written(false), clock)
	tb.Act(d, clock+1000)
	expect("within the minute", written(false))
	tb.End(d, Gone, clock+2000)
	expect("and when it ends", written(false))
	w.turn(activeEvery)
	expect("a minute later", written(false), clock+2000)
	if len(tb.users) > 0 {
		t.Error("the user is kept")
	}
	if n, at := tb.UserNow(User{"chat", "ann"}); n != 0 || at != clock+2000 {
		t.Errorf("%d devices, active at %d", n, at)
	}
	d = tb.Connect(id, false, clock+3000)
	tb.End(d, Gone, clock+4000)
	expect("when the node stops", written(true), clock+4000)
	tb.Connect(deviceID("guest~1", "x"), true, clock)
	expect("of guests", written(true))
}

// A long table is told in many pages, and what is lost on the way is told again.
func TestPages(t *testing.T) {
	w := newWorld(t, 2)
	w.nodes[0].table.page = pageMost
	const many = 3000
	for i := range many {
		id := deviceID(strings.Repeat("u", 30)+fmt.Sprint(i), "d")
		w.connect(0, id, false)
		w.set(0, id, fmt.Sprint("room", i/10), true)
	}
	w.meet(0, 1)
	pages := 0
	for ; w.carry(0, 1, pages%3); pages++ {
	}
	if pages < 10 {
		t.Errorf("%d pages", pages)
	}
	o := w.nodes[1].table.others["n0"]
	if len(o.users) != many || len(o.rooms) != many/10 {
		t.Fatalf("%d users and %d rooms were told in %d pages", len(o.users), len(o.rooms), pages)
	}
	for i := range many { // unseen by the other
		w.end(0, deviceID(strings.Repeat("u", 30)+fmt.Sprint(i), "d"), Gone)
	}
	w.links[[2]int{0, 1}].up = false
	for range 10 {
		w.carry(0, 1, 0)
	}
	w.settle()
	w.empty()
}

func FuzzHeard(f *testing.F) {
	w := newWorld(f, 2)
	for i := range 3 {
		id := deviceID(fmt.Sprint("u", i), "d")
		w.connect(0, id, false)
		w.set(0, id, "r", true)
	}
	w.meet(0, 1)
	f.Add(w.links[[2]int{0, 1}].meeting.Page())
	f.Fuzz(func(t *testing.T, page []byte) {
		tb := New("n1", 1, testGrace)
		tb.NodeChanged(NodeState{"n0", 1, true})
		tb.Heard(page)
		tb.Watch(roomKey("r"))
		tb.Turn(1000)
		r := &reader{b: page}
		if _, err := r.header(); err != nil {
			return
		}
		for {
			it, ok, err := r.next()
			if err != nil || !ok {
				return
			}
			// What was understood is written as it was read.
			var b []byte
			if it.room.Room != "" {
				b = appendRoom(nil, it.room, &it.there)
			} else {
				b = appendUser(nil, it.user, it.of)
			}
			again, ok, err := (&reader{b: b}).next()
			if err != nil || !ok || fmt.Sprint(again) != fmt.Sprint(it) {
				t.Fatalf("%+v became %+v, %v", it, again, err)
			}
		}
	})
}
