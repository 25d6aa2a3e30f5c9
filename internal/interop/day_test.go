package interop

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/madang-chat/madang/internal/mqtttest"
	"github.com/madang-chat/madang/internal/testcluster"
	"github.com/madang-chat/madang/internal/webtest"
	"github.com/madang-chat/madang/storage"
)

// day is what a chat lives through from morning to evening, on one node or on three.
type day struct {
	*testing.T
	cluster *testcluster.Cluster // nil for one node
	nodes   []*testcluster.Node
	calls   int
}

// node returns one of the nodes: with a single one all are it.
func (d *day) node(i int) *testcluster.Node { return d.nodes[i%len(d.nodes)] }

// web is a user of HTTP at that node.
func (d *day) web(i int, user string) webtest.Caller {
	d.Helper()
	return webtest.Login(d, d.node(i).Addr("web"), user, "secret-"+user)
}

// dial connects a device at that node.
func (d *day) dial(i int, as mqtttest.Flavour, user, device string, change ...func(*mqtttest.Options)) *mqtttest.Client {
	d.Helper()
	o := mqtttest.Options{Flavour: as, User: user, Password: "secret-" + user, ClientID: device, Keep: true}
	for _, f := range change {
		f(&o)
	}
	return mqtttest.Dial(d, d.node(i).At(), o)
}

// call makes a call by rpc and returns its result; the client has a filter on me/reply. What comes before the answer is
// given to aside.
func (d *day) call(c *mqtttest.Client, method, params string, aside ...func(topic, payload string)) string {
	d.Helper()
	d.calls++
	id := fmt.Sprint("call-", d.calls)
	c.Publish(mqtttest.Message("chat/me/rpc/"+method, `{"id":"`+id+`","params":`+params+`}`, 1))
	for {
		pk := c.Next()
		var a struct {
			ID     string
			OK     bool
			Result json.RawMessage
		}
		if pk.TopicName == "chat/me/reply" && json.Unmarshal(pk.Payload, &a) == nil && a.ID == id {
			if !a.OK {
				d.Fatalf("%s %s: %s", method, params, pk.Payload)
			}
			return string(a.Result)
		}
		for _, f := range aside {
			f(pk.TopicName, string(pk.Payload))
		}
	}
}

// until takes what comes until something comes on the topic whose payload has all the parts.
func (d *day) until(c *mqtttest.Client, topic string, parts ...string) string {
	d.Helper()
	for {
		pk, err := c.TryNext()
		if err != nil {
			d.Fatalf("nothing on %s with %v: %v", topic, parts, err)
		}
		if pk.TopicName == topic && all(string(pk.Payload), parts) {
			return string(pk.Payload)
		}
	}
}

func all(s string, parts []string) bool {
	for _, p := range parts {
		if !strings.Contains(s, p) {
			return false
		}
	}
	return true
}

// log is the room as a member has it by HTTP.
func (d *day) log(c webtest.Caller, room string) (out []entry) {
	d.Helper()
	for after := 0; ; after = int(out[len(out)-1].Seq) {
		page := c.Must(d, "GET /rooms/{room}/messages", map[string]any{
			"room": room, "view": "log", "after": after, "limit": 500, "consistency": "strong",
		})
		b, err := json.Marshal(page["messages"])
		if err != nil {
			d.Fatal(err)
		}
		var es []entry
		if err := json.Unmarshal(b, &es); err != nil {
			d.Fatal(err)
		}
		out = append(out, es...)
		if more, _ := page["more"].(bool); !more || len(es) == 0 {
			return out
		}
	}
}

// inOrder holds what somebody was given of a room against its log: the entries from the first given to the last, each
// once, in order.
func (d *day) inOrder(who string, got []uint64, log []entry) {
	d.Helper()
	for i, seq := range got {
		if i > 0 && seq != got[i-1]+1 {
			d.Errorf("%s: %d after %d", who, seq, got[i-1])
		}
	}
	if len(got) == 0 || got[len(got)-1] != log[len(log)-1].Seq {
		d.Errorf("%s has not the end: %d entries, of %d", who, len(got), len(log))
	}
}

// A day in the life of a chat, over MQTT 3.1.1, 5 and HTTP together.
func TestDayInTheLife(t *testing.T) {
	t.Parallel()
	for _, nodes := range []int{1, 3} {
		t.Run(fmt.Sprint(nodes), func(t *testing.T) {
			t.Parallel()
			o := testcluster.Options{Prod: true, Memory: true, Set: []string{
				"auth.register=open", "limits.register_rate=0", "rooms.auto_create=off", "cluster.secret_file=" + secretFile(t), "limits.messages_per_second=0", "limits.connect_rate=0", "auth.admins=chat/root",
			}}
			d := &day{T: t}
			if nodes == 1 {
				d.nodes = []*testcluster.Node{testcluster.Start(t, o)}
			} else {
				d.cluster = testcluster.StartCluster(t, nodes, 0, o)
				d.nodes = d.cluster.Nodes
			}
			d.live()
		})
	}
}

// secretFile is a secret for the nodes of a cluster.
func secretFile(t testing.TB) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(name, []byte(strings.Repeat("s", 32)), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// live is the day.
func (d *day) live() {
	v3, v5, ws3, ws5 := mqtttest.Flavours[0], mqtttest.Flavours[1], mqtttest.Flavours[2], mqtttest.Flavours[3]

	// Sign-up, each at another node; the account is good everywhere.
	for i, user := range []string{"ann", "bob", "cem", "dee", "eve"} {
		webtest.Caller{Addr: d.node(i).Addr("web")}.Must(d, "POST /users", map[string]any{
			"user": user, "password": "secret-" + user, "name": strings.ToUpper(user[:1]) + user[1:],
		})
	}
	if status, _ := (webtest.Caller{Addr: d.node(0).Addr("web")}).Ask(d, "POST /users", map[string]any{"user": "ann", "password": "mine-now"}); status < 400 {
		d.Errorf("somebody registers as ann again: %d", status)
	}

	// ann makes a group and invites; dee has a device that is not there, cem has a browser without MQTT.
	phone := d.dial(1, v5, "ann", "phone")
	phone.Subscribe("#")
	dee := d.dial(2, v3, "dee", "tablet")
	dee.Subscribe("chat/rooms/+/msg/#", "chat/users/dee/inbox")
	dee.Disconnect()
	d.call(phone, "room.create", `{"room":"club","kind":"private","name":"The club"}`)
	for _, user := range []string{"bob", "cem", "dee"} {
		d.call(phone, "room.invite", `{"room":"club","user":"`+user+`"}`)
	}
	bob := d.dial(0, ws3, "bob", "laptop")
	bob.Subscribe("chat/rooms/+/msg/#", "chat/me/reply", "chat/me/error")
	cem := d.web(2, "cem")
	phone.Say("club", "welcome")
	bob.Publish(mqtttest.Message(send("club"), `{"data":{"text":"hi @cem"},"mentions":["cem","eve"]}`, 1))
	cem.Must(d, "POST /rooms/{room}/messages", map[string]any{"room": "club", "data": map[string]any{"text": "here"}, "cid": "cem-1"})

	// dee comes back, at another node: the invitation is in the inbox, the room in the list, the messages are all there.
	dee = d.dial(1, v3, "dee", "tablet")
	deeGot := []uint64{}
	invited := false
	for len(deeGot) == 0 || deeGot[len(deeGot)-1] < d.head("club") || !invited {
		pk := dee.Next()
		if strings.HasSuffix(pk.TopicName, "/inbox") {
			invited = invited || all(string(pk.Payload), []string{`"type":"invited"`, `"room":"club"`})
			continue
		}
		var e entry
		if err := json.Unmarshal(pk.Payload, &e); err != nil {
			d.Fatal(err)
		}
		deeGot = append(deeGot, e.Seq)
	}
	mine := d.web(0, "dee").Must(d, "GET /rooms", map[string]any{"consistency": "strong"})
	if b, _ := json.Marshal(mine); !all(string(b), []string{`"room":"club"`, `"unread":3`}) {
		d.Errorf("dee's rooms: %s", b)
	}

	// A mention is in the inbox of who is a member, and of nobody else.
	inbox := func(c webtest.Caller) string {
		b, err := json.Marshal(c.Must(d, "GET /me/inbox", map[string]any{"consistency": "strong"}))
		if err != nil {
			d.Fatal(err)
		}
		return string(b)
	}
	mqtttest.Eventually(d, "the mention is in cem's inbox", func() bool { return all(inbox(cem), []string{`"type":"mentioned"`, `"room":"club"`}) })
	if s := inbox(d.web(1, "eve")); strings.Contains(s, "club") {
		d.Errorf("eve hears of a room that she is not in: %s", s)
	}

	// Three devices of ann's, three nodes, one read mark.
	laptop, tv := d.dial(2, ws5, "ann", "laptop"), d.dial(0, v3, "ann", "tv")
	for _, c := range []*mqtttest.Client{laptop, tv} {
		c.Subscribe("chat/me/read")
	}
	at := d.head("club")
	phone.Publish(mqtttest.Message("chat/rooms/club/read", fmt.Sprintf(`{"seq":%d}`, at), 1))
	for _, c := range []*mqtttest.Client{laptop, tv} {
		d.until(c, "chat/me/read", `"room":"club"`, fmt.Sprintf(`"seq":%d`, at), `"unread":0`)
	}

	// A flood, and a freeze in it: nothing of a member's has a place after the freeze.
	flood := d.flood("club", "bob", "cem", "dee")
	begun := d.head("club")
	mqtttest.Eventually(d, "the flood has begun", func() bool { return d.head("club") > begun+50 })
	ann := d.web(1, "ann")
	frozen := uint64(ann.Must(d, "POST /rooms/{room}/freeze", map[string]any{"room": "club"})["seq"].(float64))
	phone.Say("club", "order, please")
	thaw := uint64(ann.Must(d, "POST /rooms/{room}/unfreeze", map[string]any{"room": "club"})["seq"].(float64))
	mqtttest.Eventually(d, "the flood goes on", func() bool { return d.head("club") > thaw+50 })
	flood()
	for _, e := range d.log(ann, "club") {
		if e.Seq > frozen && e.Seq < thaw && e.From.User != "ann" {
			d.Errorf("entry %d of %s is in the frozen room", e.Seq, e.From.User)
		}
	}

	// bob is banned while he listens, dee while she is away: both hear nothing more.
	dee.Disconnect()
	for _, user := range []string{"bob", "dee"} {
		d.call(phone, "mod.ban", `{"room":"club","user":"`+user+`"}`)
	}
	banned := d.head("club")
	phone.Say("club", "they are gone")
	dee = d.dial(0, v3, "dee", "tablet")
	if status, answer := d.web(2, "bob").Ask(d, "GET /rooms/{room}/messages", map[string]any{"room": "club"}); status != 403 || answer["code"] != "banned" {
		d.Errorf("bob reads: %d %v", status, answer)
	}
	bob.Publish(mqtttest.Message(send("club"), "let me in", 1))
	d.until(bob, "chat/me/error", `"code":"banned"`)
	for who, c := range map[string]*mqtttest.Client{"bob": bob, "dee": dee} {
		if err := c.Ping(); err != nil {
			d.Error(err)
		}
		for c.Waiting() > 0 {
			var e entry
			if pk := c.Next(); strings.Contains(pk.TopicName, "/msg/") && json.Unmarshal(pk.Payload, &e) == nil && e.Seq > banned {
				d.Errorf("%s is given %s", who, pk.Payload)
			}
		}
	}

	// A node dies while ann and cem talk; both go on elsewhere, and nothing is lost or there twice.
	d.talkThroughADeath()
	log := d.log(d.web(1, "ann"), "club")
	count := map[string]int{}
	for _, e := range log {
		if strings.HasPrefix(e.CID, "evening-") {
			count[e.CID]++
		}
	}
	for i := range 2 * talk {
		if n := count[fmt.Sprint("evening-", i)]; n != 1 {
			d.Errorf("message %d of the evening is there %d times", i, n)
		}
	}

	// What the television was given since it came, from a log of its own: all, each once, in order.
	tv = d.dial(2, v3, "ann", "tv")
	tv.Subscribe("$since/0/" + msgs("club"))
	var got []uint64
	for len(got) < len(log) {
		var e entry
		if pk := tv.Next(); strings.Contains(pk.TopicName, "/msg/") && json.Unmarshal(pk.Payload, &e) == nil {
			got = append(got, e.Seq)
		}
	}
	d.inOrder("tv", got, log)
}

// head is the newest seq of a room, as any node has it.
func (d *day) head(room string) (seq uint64) {
	d.Helper()
	for _, n := range d.nodes {
		r, err := n.Store().Room(storage.RoomKey{NS: "chat", Room: room})
		if err == nil && r != nil {
			seq = max(seq, r.Head.Seq)
		}
	}
	return seq
}

// flood lets users send at every node until the function returned is called. What is refused is sent again as another.
func (d *day) flood(room string, users ...string) (end func()) {
	stop := make(chan struct{})
	var running sync.WaitGroup
	for i, user := range users {
		c := d.dial(i, mqtttest.Flavours[i], user, "flood", func(o *mqtttest.Options) { o.Keep = false })
		running.Go(func() {
			for {
				select {
				case <-stop:
					c.Cut()
					return
				default:
				}
				if _, err := c.TryPublish(mqtttest.Message(send(room), "spam", 1)); err != nil {
					d.Errorf("%s: %v", user, err)
					return
				}
			}
		})
	}
	return func() {
		close(stop)
		running.Wait()
	}
}

// talk is how many messages each of two says in the evening.
const talk = 60

// talkThroughADeath lets two talk while the power of a node goes. Each message has a cid and is sent until it is
// acknowledged, at whichever node answers.
func (d *day) talkThroughADeath() {
	d.Helper()
	var talking, half sync.WaitGroup
	half.Add(2)
	dead := make(chan struct{})
	if d.cluster != nil {
		close(dead) // nobody waits for it
	}
	for k, user := range []string{"ann", "cem"} {
		talking.Go(func() {
			var c *mqtttest.Client
			for i, at := 0, k; i < talk; {
				if c == nil {
					next, err := mqtttest.TryDial(d, d.node(at).At(), mqtttest.Options{
						Flavour: mqtttest.Flavours[k], User: user, Password: "secret-" + user, ClientID: "evening",
					})
					if err != nil {
						at++
						continue
					}
					c = next
				}
				cid := fmt.Sprint("evening-", 2*i+k)
				if _, err := c.TryPublish(mqtttest.Message(send("club"), `{"data":{"text":"good night"},"cid":"`+cid+`"}`, 1)); err != nil {
					c.Cut()
					c = nil
					at++
					continue
				}
				if i++; i == talk/2 {
					half.Done()
					<-dead // what a single node still says while its power goes is of no world
				}
			}
		})
	}
	half.Wait()
	rng := rand.New(rand.NewPCG(1, 2))
	if d.cluster != nil {
		d.cluster.PowerCut(rng, func() {}, d.cluster.Leader())
	} else {
		d.node(0).PowerCut(rng)
		close(dead)
	}
	talking.Wait()
}
