package chaos

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/madang-chat/madang/internal/mqtttest"
	"github.com/madang-chat/madang/internal/webtest"
)

// clockSettings make everything that expires last longer than the test, and shorter than the steps of the clock.
var clockSettings = []string{
	"rooms.retention.age=20m", "rooms.presence_grace=20m", "rooms.live_ttl=20m", "limits.dedupe_window=20m", "limits.dedupe_min=1",
	"auth.login_ttl=12h", "limits.session_expiry=20m",
}

// A wall clock is set by an hour or a day, forward or back, and then right again, on the leader, on a follower and on all
// nodes. Time of the log never goes back and does not jump, nobody is elected, nothing expires early, what restricts people
// holds as long as it should, and a token ends by the clock of the node that is asked, and not for good.
func TestChaosClockSteps(t *testing.T) {
	w := newWorld(t, founders)
	for _, h := range w.hosts {
		h.more = clockSettings
		h.start()
	}
	for _, h := range w.hosts {
		eventually(t, h.name+" knows a leader", func() bool { return h.status().Leader != "" })
	}
	c := &clockTest{world: w, leader: w.leader(), began: time.Now()}
	c.term = c.leader.status().Term
	c.prepare(t)
	l := w.load(t, mqtttest.LoadOptions{Senders: 3, Readers: 3, Every: time.Millisecond})
	follower := w.others(c.leader)[0]
	for _, step := range []time.Duration{time.Hour, -time.Hour, 24 * time.Hour, -24 * time.Hour} {
		for on, hosts := range map[string][]*host{"the leader": {c.leader}, "a follower": {follower}, "all": w.hosts} {
			t.Run(fmt.Sprint(step, " on ", on), func(t *testing.T) {
				for _, off := range []time.Duration{step, 0} {
					for _, h := range hosts {
						h.stepClock(off)
					}
					l.Await(t, 100)
					c.check(t, hosts[0])
					for _, h := range w.hosts {
						if !slices.Contains(hosts, h) { // one whose clock is right
							c.check(t, h)
							break
						}
					}
					c.tokens(t, hosts, off)
				}
			})
		}
	}
	c.over(t, w.agree(t, l))
}

type clockTest struct {
	*world
	leader *host
	term   uint64
	began  time.Time
	phone  mqtttest.Options   // has a session on the leader, and is away
	pings  []*mqtttest.Client // one of each node, with a keep alive of five seconds
	token  string
	tries  int
}

const clockRoom = "clock"

// prepare makes what must not expire.
func (c *clockTest) prepare(t *testing.T) {
	t.Helper()
	v5 := mqtttest.Flavours[1]
	at := c.leader.at()
	c.phone = mqtttest.Options{User: "phone", ClientID: "p", Keep: true, Expiry: 600, Flavour: v5}
	away := mqtttest.Dial(t, at, c.phone)
	away.Subscribe("chat/rooms/" + clockRoom + "/msg/#")
	away.Disconnect()

	writer := mqtttest.Dial(t, at, mqtttest.Options{User: "writer", ClientID: "w"})
	for _, m := range [][2]string{
		{"send", `{"cid":"once","ttl":1200,"data":{"text":"it stays"}}`}, {"live/place/writer", "here"},
	} {
		if ack := writer.Publish(mqtttest.Message("chat/rooms/"+clockRoom+"/"+m[0], m[1], 1)); ack.ReasonCode >= 0x80 {
			t.Fatalf("%v: refused with %#x", m, ack.ReasonCode)
		}
	}
	ghost := mqtttest.Dial(t, at, mqtttest.Options{User: "ghost", ClientID: "g"})
	ghost.Subscribe("chat/rooms/" + clockRoom + "/msg/#")
	ghost.Cut() // and stays online for its grace

	admin := webtest.Login(t, at.Web, "admin", "x")
	for what, user := range map[string]string{"mute": "muted", "ban": "banned"} {
		admin.Must(t, "POST /rooms/{room}/"+what, map[string]any{"room": clockRoom, "user": user, "seconds": 1200})
	}
	admin.Must(t, "POST /rooms", map[string]any{"room": "slow", "kind": "public"})
	admin.Must(t, "POST /rooms/{room}/slow", map[string]any{"room": "slow", "seconds": 1200})
	webtest.Login(t, at.Web, "hasty", "x").Must(t, "POST /rooms/{room}/messages", map[string]any{"room": "slow", "data": "the first"})
	c.token = webtest.Login(t, at.Web, "traveller", "x").Token

	for i, h := range c.hosts {
		p := mqtttest.Dial(t, h.at(), mqtttest.Options{User: "steady", ClientID: h.name, KeepAlive: 60, Flavour: mqtttest.Flavours[i]})
		p.Subscribe("chat/rooms/" + clockRoom + "/head")
		p.Next()
		c.pings = append(c.pings, p)
	}
}

// check looks at everything that has to hold at a node, whatever its clock says.
func (c *clockTest) check(t *testing.T, h *host) {
	t.Helper()
	c.tries++
	if s := c.leader.status(); s.Role != "leader" || s.Term != c.term {
		t.Errorf("term %d became %d, and it is %s", c.term, s.Term, s.Role)
	}
	// Silence is noticed, which means that all have been looked at, and who is not silent stays.
	silent := mqtttest.Dial(t, h.at(), mqtttest.Options{User: "silent", ClientID: h.name, KeepAlive: 1})
	silent.Ended()
	for i, p := range c.pings {
		if err := p.Ping(); err != nil {
			t.Fatalf("the connection to %s: %v", c.hosts[i].name, err)
		}
	}
	// What was sent once is known; restrictions hold; a short one ends.
	writer := webtest.Login(t, h.at().Web, "writer", "x")
	status, answer := writer.Ask(t, "POST /rooms/{room}/messages", map[string]any{"room": clockRoom, "cid": "once", "ttl": 1200, "data": map[string]any{"text": "it stays"}})
	if status >= 300 || answer["seq"] != 1.0 {
		t.Errorf("the same again is answered with %d %v", status, answer)
	}
	for user, want := range map[string][2]string{"muted": {clockRoom, "muted"}, "banned": {clockRoom, "banned"}, "hasty": {"slow", "slow_mode"}} {
		_, answer := webtest.Login(t, h.at().Web, user, "x").Ask(t, "POST /rooms/{room}/messages", map[string]any{"room": want[0], "data": "x"})
		if answer["code"] != want[1] {
			t.Errorf("%s is answered with %v", user, answer)
		}
	}
	brief := fmt.Sprint("brief", c.tries)
	webtest.Login(t, h.at().Web, "admin", "x").Must(t, "POST /rooms/{room}/mute", map[string]any{"room": clockRoom, "user": brief, "seconds": 1})
	caller := webtest.Login(t, h.at().Web, brief, "x")
	eventually(t, "a mute of a second ends", func() bool {
		status, _ := caller.Ask(t, "POST /rooms/{room}/messages", map[string]any{"room": clockRoom, "data": "free"})
		return status == http.StatusCreated
	})
	// The first message is there, and the last one is told as head to everybody.
	if _, answer := writer.Ask(t, "GET /rooms/{room}/messages", map[string]any{"room": clockRoom, "after": 0, "limit": 1, "view": "log"}); !strings.Contains(fmt.Sprint(answer["messages"]), "it stays") {
		t.Errorf("history begins with %v", answer["messages"])
	}
	mark := fmt.Sprint("mark ", c.tries)
	writer.Must(t, "POST /rooms/{room}/messages", map[string]any{"room": clockRoom, "data": map[string]any{"text": mark}})
	for _, p := range c.pings {
		for told := ""; !strings.Contains(told, mark); {
			told = string(p.Next().Payload)
		}
	}
	// Who comes anew is given the live value, and sees who is online for a while yet.
	late := mqtttest.Dial(t, h.at(), mqtttest.Options{User: "late", ClientID: h.name})
	defer late.Cut()
	late.Subscribe("chat/rooms/"+clockRoom+"/live/#", "chat/rooms/"+clockRoom+"/presence")
	for want := map[string]string{"live": "here", "presence": `"ghost"`}; len(want) > 0; {
		pk := late.Next()
		for part, text := range want {
			if strings.Contains(pk.TopicName, "/"+part) && strings.Contains(string(pk.Payload), text) {
				delete(want, part)
			}
		}
	}
}

// tokens looks at a token of twelve hours: it has ended where the clock is a day ahead, and nowhere else.
func (c *clockTest) tokens(t *testing.T, stepped []*host, off time.Duration) {
	t.Helper()
	ahead := map[*host]bool{}
	for _, h := range stepped {
		ahead[h] = off > 12*time.Hour
	}
	for _, h := range c.hosts {
		status, answer := webtest.Caller{Addr: h.at().Web, Token: c.token}.Ask(t, "GET /rooms", nil)
		_, err := mqtttest.TryDial(t, h.at(), mqtttest.Options{User: "-", Password: c.token, ClientID: "t" + h.name})
		if ahead[h] && (answer["code"] != "token_expired" || err == nil) || !ahead[h] && (status != http.StatusOK || err != nil) {
			t.Errorf("%s, a day ahead %v: the token is answered with %d %v, %v", h.name, ahead[h], status, answer, err)
		}
	}
}

// over judges the room of the load, and the session that was away.
func (c *clockTest) over(t *testing.T, entries [][]byte) {
	t.Helper()
	var first, last int64
	for _, b := range entries {
		var e struct{ TS int64 }
		c.must(json.Unmarshal(b, &e))
		if e.TS < last {
			t.Fatalf("ts goes back from %d to %d", last, e.TS)
		}
		if first == 0 {
			first = e.TS
		}
		last = e.TS
	}
	// Log time follows ten seconds at once, and more only when the step has lasted ten minutes.
	if d := time.Duration(last-first) * time.Millisecond; d > time.Since(c.began)+time.Minute {
		t.Errorf("the log's time went %v on in %v", d, time.Since(c.began))
	}
	if back := mqtttest.Dial(t, c.leader.at(), c.phone); !back.Connack.SessionPresent {
		t.Error("the session has expired")
	}
}
