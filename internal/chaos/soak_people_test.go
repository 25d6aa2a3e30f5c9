package chaos

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/madang-chat/madang/internal/mqtttest"
	"github.com/madang-chat/madang/internal/webtest"
)

// A crowd of the soak: people who do anything at random, one thing after the other, whatever happens to the nodes. Nothing
// they do has to succeed, since nodes are dying; but at the end each kind of act has succeeded, or the soak has not done what
// it says. What was acknowledged is judged by the load beside them.

const (
	soakPeople = 10 // who act at the same time
	soakUsers  = 24 // whom they are
	soakRooms  = 8  // where; they come and go
	soakHears  = 3 * time.Second
)

// gone ends an act: what had to come has not.
type gone struct{ why string }

// visitor is a test in the hands of one of the crowd: what would fail it ends an act, and nothing waits for its end.
type visitor struct {
	testing.TB
	ctx context.Context
}

func (v visitor) Cleanup(func())               {}
func (v visitor) Helper()                      {}
func (v visitor) Context() context.Context     { return v.ctx }
func (v visitor) Fatal(args ...any)            { panic(gone{fmt.Sprint(args...)}) }
func (v visitor) Fatalf(f string, args ...any) { panic(gone{fmt.Sprintf(f, args...)}) }

// crowd counts what its people did.
type crowd struct {
	w    *world
	mu   sync.Mutex
	did  map[string]int
	not  map[string]int
	last map[string]string // why not, the last time
}

func newCrowd(w *world) *crowd {
	return &crowd{w: w, did: map[string]int{}, not: map[string]int{}, last: map[string]string{}}
}

// person is one of them, during one act.
type person struct {
	visitor
	w     *world
	rng   *rand.Rand
	conns []interface{ Cut() }
}

// act runs until stop is closed.
func (c *crowd) act(seed, number uint64, stop <-chan struct{}) {
	rng := rand.New(rand.NewPCG(seed, number))
	names := slices.Sorted(maps.Keys(acts))
	for {
		select {
		case <-stop:
			return
		default:
		}
		name := names[rng.IntN(len(names))]
		why := c.once(acts[name], rng)
		c.mu.Lock()
		if why == "" {
			c.did[name]++
		} else {
			c.not[name]++
			c.last[name] = why
		}
		c.mu.Unlock()
		if why != "" { // a node that is down refuses at once
			select {
			case <-stop:
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
	}
}

// once does one thing and returns what was in its way.
func (c *crowd) once(do func(p *person), rng *rand.Rand) (why string) {
	ctx, cancel := context.WithTimeout(c.w.t.Context(), 2*soakHears)
	defer cancel()
	p := &person{visitor: visitor{c.w.t, ctx}, w: c.w, rng: rng}
	defer func() {
		for _, conn := range p.conns {
			conn.Cut()
		}
		if r := recover(); r != nil {
			g, ok := r.(gone)
			if !ok {
				panic(r)
			}
			why = g.why
		}
	}()
	do(p)
	return ""
}

func (p *person) user() string             { return fmt.Sprint("u", p.rng.IntN(soakUsers)) }
func (p *person) room() string             { return fmt.Sprint("room", p.rng.IntN(soakRooms)) }
func (p *person) node() mqtttest.Addresses { return p.w.hosts[p.rng.IntN(founders)].at() }
func (p *person) text() string {
	return fmt.Sprintf(`{"data":{"text":"%d %s"}}`, p.rng.Uint32(), strings.Repeat("madang ", p.rng.IntN(40)))
}

// device is a connection of any kind.
func (p *person) device(o mqtttest.Options) *mqtttest.Client {
	o.Flavour = mqtttest.Flavours[p.rng.IntN(len(mqtttest.Flavours))]
	o.Hears = soakHears
	c, err := mqtttest.TryDial(p.visitor, p.node(), o)
	if err != nil {
		panic(gone{err.Error()})
	}
	p.conns = append(p.conns, c)
	return c
}

// phone is a device with a stored session, or without; there are two of each user.
func (p *person) phone() mqtttest.Options {
	return mqtttest.Options{
		User: p.user(), ClientID: fmt.Sprint("phone", p.rng.IntN(2)), Keep: p.rng.IntN(2) == 0, KeepAlive: uint16(p.rng.IntN(3) * 5),
	}
}

func (p *person) send(c *mqtttest.Client, topic, payload string) {
	if _, err := c.TryPublish(mqtttest.Message(topic, payload, byte(p.rng.IntN(3)))); err != nil {
		panic(gone{err.Error()})
	}
}

// leave ends a connection in order or without a word.
func (p *person) leave(c *mqtttest.Client) {
	if p.rng.IntN(2) == 0 {
		c.Disconnect()
	}
	c.Cut()
}

func (p *person) caller(user string) webtest.Caller {
	return webtest.Login(p.visitor, p.node().Web, user, "x")
}

// acts are what they do.
var acts = map[string]func(p *person){
	"talk": func(p *person) {
		c, room := p.device(p.phone()), p.room()
		c.Subscribe("chat/rooms/"+room+"/#", "chat/me/#")
		for range 1 + p.rng.IntN(20) {
			p.send(c, "chat/rooms/"+room+"/send", p.text())
		}
		p.leave(c)
	},
	"come back": func(p *person) {
		o := p.phone()
		o.Keep = true
		c := p.device(o)
		c.Subscribe(fmt.Sprintf("$last/%d/chat/rooms/%s/msg/#", 1+p.rng.IntN(200), p.room()), "chat/rooms/+/msg/#")
		p.must(c.Ping())
		for c.Waiting() > 0 {
			c.Next()
		}
		p.leave(c)
	},
	"take over": func(p *person) {
		o := p.phone()
		a, b := p.device(o), p.device(o)
		b.Subscribe("chat/rooms/" + p.room() + "/msg/#")
		p.must(b.Ping())
		p.leave(a)
		p.leave(b)
	},
	"will": func(p *person) {
		o := p.phone()
		will := mqtttest.Message("chat/rooms/"+p.room()+"/send", p.text(), 1)
		o.Will = &will
		c := p.device(o)
		p.must(c.Ping())
		p.leave(c)
	},
	"live": func(p *person) {
		o := p.phone()
		c, room := p.device(o), p.room()
		c.Subscribe("chat/rooms/" + room + "/live/#")
		for range 1 + p.rng.IntN(30) {
			p.send(c, fmt.Sprintf("chat/rooms/%s/live/%s/%s", room, []string{"typing", "draft", "at"}[p.rng.IntN(3)], o.User), p.text())
		}
		p.leave(c)
	},
	"state": func(p *person) {
		c, room := p.device(p.phone()), p.room()
		c.Subscribe("chat/rooms/" + room + "/state/#")
		for range 1 + p.rng.IntN(5) {
			body := p.text()
			if p.rng.IntN(3) == 0 {
				body = ""
			}
			p.send(c, fmt.Sprint("chat/rooms/", room, "/state/k", p.rng.IntN(20)), body)
		}
		p.leave(c)
	},
	"rpc": func(p *person) {
		c, room := p.device(p.phone()), p.room()
		c.Subscribe("chat/me/reply")
		for _, call := range []string{"whoami", "rooms.list", "room.join", "members", "history", "presence.get", "search", "sync", "read"} {
			p.send(c, "chat/me/rpc/"+call, fmt.Sprintf(`{"id":"%d","params":{"room":"%s","q":"madang","seq":1}}`, p.rng.Uint64(), room))
		}
		c.Next()
		p.leave(c)
	},
	"reactions": func(p *person) {
		c, room := p.device(p.phone()), p.room()
		c.Subscribe("chat/rooms/"+room+"/tally", "chat/rooms/"+room+"/receipts")
		p.send(c, "chat/rooms/"+room+"/cheer/heart", "")
		p.send(c, "chat/rooms/"+room+"/send/reaction", fmt.Sprintf(`{"target":%d,"data":{"emoji":"👍","on":%v}}`, 1+p.rng.IntN(50), p.rng.IntN(2) == 0))
		p.send(c, "chat/rooms/"+room+"/send/edit", fmt.Sprintf(`{"target":%d,"data":{"text":"edited"}}`, 1+p.rng.IntN(50)))
		p.send(c, "chat/rooms/"+room+"/read", fmt.Sprintf(`{"seq":%d}`, 1+p.rng.IntN(50)))
		p.leave(c)
	},
	"direct": func(p *person) {
		c := p.device(p.phone())
		p.send(c, "chat/users/"+p.user()+"/send", p.text())
		p.leave(c)
	},
	"HTTP": func(p *person) {
		user, room := p.user(), p.room()
		c := p.caller(user)
		if status, _ := c.Send(p.visitor, "POST /rooms/"+room+"/messages", p.text(), fmt.Sprintf("Idempotency-Key: %d", p.rng.Uint64())); status >= 500 {
			panic(gone{fmt.Sprint("posting: ", status)})
		}
		for _, op := range []string{"GET /rooms", "GET /rooms/{room}/messages", "GET /rooms/{room}/members", "POST /rooms/{room}/join", "GET /rooms/{room}", "GET /search", "POST /rooms/{room}/leave", "GET /me/inbox", "GET /me/devices"} {
			params := map[string]any{"room": room}
			if op == "GET /search" {
				params = map[string]any{"q": "madang"}
			}
			c.Ask(p.visitor, op, params)
		}
	},
	"rooms come and go": func(p *person) {
		admin, room := p.caller("admin"), p.room()
		if p.rng.IntN(4) == 0 {
			admin.Ask(p.visitor, "DELETE /rooms/{room}", map[string]any{"room": room})
		}
		kind := []string{"public", "public", "private"}[p.rng.IntN(3)]
		admin.Ask(p.visitor, "POST /rooms", map[string]any{"room": room, "kind": kind, "name": room})
		for range 3 {
			admin.Ask(p.visitor, "POST /rooms/{room}/invite", map[string]any{"room": room, "user": p.user()})
		}
	},
	"moderate": func(p *person) {
		admin := p.caller("admin")
		with := map[string]any{"room": p.room(), "user": p.user(), "seconds": 1 + p.rng.IntN(3), "reason": "soak", "seq": 1, "role": "operator"}
		for _, pair := range [][2]string{{"freeze", "unfreeze"}, {"mute", "unmute"}, {"ban", "unban"}, {"kick", "invite"}, {"slow", "pin"}} {
			if p.rng.IntN(2) == 0 {
				continue
			}
			for _, verb := range pair {
				admin.Ask(p.visitor, "POST /rooms/{room}/"+verb, with)
			}
		}
		admin.Ask(p.visitor, "POST /rooms/{room}/unfreeze", with) // what a node that was dying did not do
		admin.Ask(p.visitor, "POST /rooms/{room}/slow", map[string]any{"room": with["room"], "seconds": 0})
	},
	"stream": func(p *person) {
		room := p.room()
		c := p.caller(p.user())
		ctx, cancel := context.WithCancel(p.ctx)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+c.Addr+"/api/v1/rooms/"+room+"/events?after=0", nil)
		p.must(err)
		req.Header.Set("Authorization", "Bearer "+c.Token)
		req.Header.Set("Accept", "text/event-stream")
		resp, err := http.DefaultClient.Do(req)
		p.must(err)
		defer http.DefaultClient.CloseIdleConnections()
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			if resp.StatusCode == http.StatusNotFound || resp.StatusCode == http.StatusForbidden {
				return
			}
			panic(gone{resp.Status})
		}
		_, err = bufio.NewReader(resp.Body).ReadString('\n')
		p.must(err)
	},
	"guest": func(p *person) {
		c := p.device(mqtttest.Options{})
		c.Subscribe("chat/rooms/lobby/#")
		p.must(c.Ping())
		p.leave(c)
	},
	"slow reader": func(p *person) {
		o := p.phone()
		o.ReadBuffer = 64 << 10
		c, room := p.device(o), p.room()
		c.Subscribe("$last/1000/chat/rooms/"+room+"/msg/#", "chat/rooms/+/msg/#")
		c.Pause()
		select {
		case <-time.After(time.Duration(p.rng.IntN(500)) * time.Millisecond):
		case <-p.ctx.Done():
		}
		if p.rng.IntN(2) == 0 {
			c.Unpause()
			p.must(c.Ping())
		}
		c.Cut()
	},
	"garbage": func(p *person) {
		at := p.node()
		peer := net.JoinHostPort(p.w.hosts[p.rng.IntN(founders)].peers(), "7946")
		if p.w.apart { // clients do not reach the other network
			peer = at.MQTT
		}
		to := []string{at.MQTT, at.Web, peer}[p.rng.IntN(3)]
		conn, err := net.DialTimeout("tcp", to, soakHears)
		p.must(err)
		defer conn.Close()
		junk := make([]byte, 1+p.rng.IntN(2000))
		for i := range junk {
			junk[i] = byte(p.rng.Uint32())
		}
		if p.rng.IntN(2) == 0 {
			copy(junk, "\x10\xff\xff\xff\x7f\x00\x04MQTT")
		}
		_, _ = conn.Write(junk) // it may be closed already, which is the answer
		_ = conn.(*net.TCPConn).CloseWrite()
		_ = conn.SetReadDeadline(time.Now().Add(soakHears))
		_, _ = io.Copy(io.Discard, conn)
	},
	"odd packets": func(p *person) {
		c := p.device(p.phone())
		pk := mqtttest.Message("chat/rooms/"+p.room()+"/send", p.text(), 1)
		pk.PacketID = 7
		if p.rng.IntN(2) == 0 {
			pk = packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Subscribe}, PacketID: 9, Filters: packets.Subscriptions{
				{Filter: "#", Qos: 1}, {Filter: "$share/a/b", Qos: 2}, {Filter: "chat/rooms/+/live/+/+"},
			}}
		}
		b, err := mqtttest.Encode(&pk)
		p.must(err)
		for range 1 + p.rng.IntN(3) {
			b[p.rng.IntN(len(b))] ^= 1 << p.rng.IntN(8)
		}
		_ = c.Raw(b) // it may be over
		_ = c.Ping()
		c.Cut()
	},
}

func (p *person) must(err error) {
	if err != nil {
		panic(gone{err.Error()})
	}
}
