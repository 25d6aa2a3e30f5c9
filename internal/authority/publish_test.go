package authority

import (
	"fmt"
	"strings"
	"testing"

	"github.com/madang-chat/madang/internal/mqtttest"
)

// deed is something that is done by publishing.
type deed struct {
	name    string
	topic   func(r role, h hall) string
	payload func(s *stage, h hall) string // nil = some text
	may     func(r role, h hall) bool
	appends bool // what is allowed is an entry of the room, each time
}

func nobody(role, hall) bool { return false }

func inRoom(path string) func(role, hall) string {
	return func(_ role, h hall) string { return "chat/rooms/" + string(h) + "/" + path }
}

func at(topic string) func(role, hall) string { return func(role, hall) string { return topic } }

func text(payload string) func(*stage, hall) string {
	return func(*stage, hall) string { return payload }
}

func ofFirst(format string) func(*stage, hall) string {
	return func(s *stage, h hall) string { return fmt.Sprintf(format, max(s.first[h], 1)) }
}

// deeds is every form of topic that there is to publish to, and some that there are not.
var deeds = []deed{
	{name: "message", topic: inRoom("send"), may: role.writes, appends: true},
	{name: "message with a type", topic: inRoom("send/photo"), may: role.writes, appends: true},
	{
		name: "message that says who it is from", topic: inRoom("send"), may: role.writes, appends: true,
		payload: text(`{"from":{"user":"admin"},"seq":1,"ts":1,"data":"forged"}`),
	},
	{name: "system event", topic: inRoom("send/system"), may: nobody},
	{
		name: "edit of another's", topic: inRoom("send/edit"), payload: ofFirst(`{"target":%d,"data":{"text":"changed"}}`),
		may: func(r role, h hall) bool { return r == owner && r.writes(h) }, appends: true,
	},
	{
		name: "live value", topic: func(r role, h hall) string { return "chat/rooms/" + string(h) + "/live/x/" + r.login() },
		may: func(r role, h hall) bool { return r.writes(h) && !r.isGuest() },
	}, // a guest's name is not known here
	{name: "live value of another", topic: inRoom("live/x/nobody"), may: nobody},
	{
		name: "state", topic: inRoom("state/k"), payload: text(`{"data":1}`),
		may: func(r role, h hall) bool { return r.writes(h) && (r.belongs(h) || r == admin) },
	},
	{name: "read mark", topic: inRoom("read"), payload: text(`{"seq":1}`), may: role.belongs},
	{name: "cheer", topic: inRoom("cheer/heart"), may: role.writes},
	{name: "delivery", topic: inRoom("msg/text"), may: nobody},
	{name: "meta", topic: inRoom("meta"), may: nobody},
	{name: "head", topic: inRoom("head"), may: nobody},
	{name: "presence", topic: inRoom("presence"), may: nobody},
	{name: "occupancy", topic: inRoom("occupancy"), may: nobody},
	{name: "receipts", topic: inRoom("receipts"), may: nobody},
	{name: "tally", topic: inRoom("tally"), may: nobody},
	{name: "inbox of another", topic: at("chat/users/owner/inbox"), may: nobody},
	{name: "presence of another", topic: at("chat/users/owner/presence"), may: nobody},
	{name: "own inbox", topic: func(r role, _ hall) string { return "chat/users/" + r.login() + "/inbox" }, may: nobody},
	{name: "broadcast", topic: at("chat/broadcast/text"), may: governs},
	{name: "broadcast that is a system event", topic: at("chat/broadcast/system"), may: nobody},
	{name: "broadcast in another namespace", topic: at("third/broadcast/text"), may: nobody},
	{name: "inbox by the name of its log", topic: at("chat/rooms/inbox~owner/send"), may: nobody},
	{name: "broadcasts by the name of their log", topic: at("chat/rooms/broadcast~/send"), may: nobody},
	{name: "answer", topic: at("chat/me/reply"), may: nobody},
	{name: "$SYS", topic: at("$SYS/broker/uptime"), may: nobody},
	{name: "plain topic", topic: at("sensors/1"), may: nobody},
	{name: "room of a third namespace", topic: func(_ role, h hall) string { return "third/rooms/" + string(h) + "/send" }, may: nobody},
}

// route is a way to publish by MQTT.
type route struct {
	qos    byte
	retain bool
	alias  bool // the topic is sent once, then only its alias (v5)
}

func routes(as mqtttest.Flavour) (all []route) {
	for qos := range byte(3) {
		all = append(all, route{qos, false, false}, route{qos, true, false})
		if as.Version == mqtttest.V5 {
			all = append(all, route{qos, false, true})
		}
	}
	return all
}

// Whoever publishes whatever to wherever, over every route: exactly what may be done is done, and each refusal is told.
func TestEveryPublish(t *testing.T) {
	s := newStage(t)
	for _, h := range halls {
		for _, r := range cast {
			for _, as := range mqtttest.Flavours {
				c := s.dial(r, as)
				ns := r.namespace()
				c.Subscribe(ns+"/me/error", ns+"/me/reply")
				for _, d := range deeds {
					s.tryAll(c, r, h, as, d)
				}
				c.Disconnect()
			}
			for _, d := range deeds {
				s.tryByHTTP(r, h, d)
			}
		}
	}
	for _, h := range halls {
		if h == nowhere && s.head(h) != 0 {
			t.Error("a room came into being")
		}
		s.nothingForged(h)
	}
}

// tryAll does a deed by every route, and counts what came of it.
func (s *stage) tryAll(c *mqtttest.Client, r role, h hall, as mqtttest.Flavour, d deed) {
	s.t.Helper()
	before, tried := s.head(h), 0
	for _, way := range routes(as) {
		pk := mqtttest.Message(d.topic(r, h), s.payload(d, h), way.qos)
		pk.FixedHeader.Retain = way.retain
		if way.alias {
			pk.Properties.TopicAlias, pk.Properties.TopicAliasFlag = 1, true
			c.Publish(pk)
			tried++
			pk.TopicName = ""
		}
		c.Publish(pk)
		tried++
	}
	refused := refusals(s.t, c, r.namespace())
	want, entries := tried, uint64(0)
	if d.may(r, h) {
		want = 0
		if d.appends {
			entries = uint64(tried)
		}
	}
	if got := s.head(h) - before; refused != want || got != entries {
		s.t.Errorf("%s, %s, %s (%v): %d of %d refused, %d entries", r, h, d.name, as, refused, tried, got)
	}
}

// refusals takes what the client was told until now, and counts the refusals.
func refusals(t testing.TB, c *mqtttest.Client, ns string) (n int) {
	t.Helper()
	c.Publish(mqtttest.Message(ns+"/me/rpc/whoami", `{"id":"barrier"}`, 1))
	for {
		switch pk := c.Next(); {
		case strings.HasSuffix(pk.TopicName, "/me/reply"):
			return n
		case strings.HasSuffix(pk.TopicName, "/me/error"):
			n++
		default:
			t.Fatalf("got %s %s", pk.TopicName, pk.Payload)
		}
	}
}

func (s *stage) payload(d deed, h hall) string {
	if d.payload == nil {
		return "hello"
	}
	return d.payload(s, h)
}

// tryByHTTP is the same by POST /publish.
func (s *stage) tryByHTTP(r role, h hall, d deed) {
	s.t.Helper()
	before := s.head(h)
	status, _ := s.ask(r, "POST /publish", map[string]any{"topic": d.topic(r, h), "payload": s.payload(d, h)})
	may := d.may(r, h)
	if d.name == "live value" || d.name == "cheer" {
		may = status < 300 && may // what lives in connections is not offered by HTTP
	}
	entries := uint64(0)
	if may && d.appends {
		entries = 1
	}
	if got := s.head(h) - before; (status < 300) != may || got != entries {
		s.t.Errorf("%s, %s, %s by HTTP: %d, %d entries", r, h, d.name, status, got)
	}
}

// nothingForged looks at what stands in the log: who wrote it is who may, and is not who the payload said.
func (s *stage) nothingForged(h hall) {
	s.t.Helper()
	if h == nowhere {
		return
	}
	for after := uint64(0); ; {
		page := s.must(owner, "GET /rooms/{room}/messages", map[string]any{"room": string(h), "view": "log", "after": after, "limit": 1000})
		list := page["messages"].([]any)
		for _, m := range list {
			e := m.(map[string]any)
			seq, user := uint64(e["seq"].(float64)), e["from"].(map[string]any)["user"].(string)
			if seq != after+1 && after != 0 {
				s.t.Fatalf("%s: %d after %d", h, seq, after)
			}
			after = seq
			r := role(user)
			if strings.HasPrefix(user, "guest~") {
				r = known
			}
			if e["type"] != "system" && !r.writes(h) {
				s.t.Errorf("%s: entry %d is from %s", h, seq, user)
			}
			if e["ts"].(float64) < 1e12 {
				s.t.Errorf("%s: entry %d has the time of its payload", h, seq)
			}
		}
		if more, _ := page["more"].(bool); !more || len(list) == 0 {
			return
		}
	}
}

// A will is a publish like any other.
func TestEveryWill(t *testing.T) {
	s := newStage(t)
	for _, as := range mqtttest.Flavours {
		for _, keep := range []bool{false, true} {
			s.dieAll(as, keep)
		}
	}
}

// dieAll lets every role die with a will for every room, and looks at what comes of it.
func (s *stage) dieAll(as mqtttest.Flavour, keep bool) {
	s.t.Helper()
	before := map[hall]uint64{}
	for _, h := range halls {
		before[h] = s.head(h)
	}
	wants := map[hall]map[string]int{}
	var dying []*mqtttest.Client
	for _, h := range halls {
		wants[h] = map[string]int{}
		for _, r := range cast {
			if r.isGuest() && keep {
				continue // guests have no session
			}
			for qos := range byte(3) {
				will := mqtttest.Message("chat/rooms/"+string(h)+"/send", string(r), qos)
				will.FixedHeader.Retain = qos == 1
				dying = append(dying, s.dial(r, as, func(o *mqtttest.Options) {
					o.ClientID = fmt.Sprint(r, h, qos, keep, as)
					o.Keep, o.Will = keep, &will
				}))
			}
			if r.writes(h) {
				wants[h][string(r)] = 3
			}
		}
	}
	for _, c := range dying {
		c.Cut()
	}
	mqtttest.Eventually(s.t, "all wills have been looked at", func() bool { return s.Metric("madang_connections") == 0 })
	for _, h := range halls {
		n := uint64(0)
		for _, count := range wants[h] {
			n += uint64(count)
		}
		mqtttest.Eventually(s.t, fmt.Sprintf("%d wills come to %s", n, h), func() bool { return s.head(h) >= before[h]+n })
		if h == nowhere {
			continue
		}
		page := s.must(owner, "GET /rooms/{room}/messages", map[string]any{"room": string(h), "view": "log", "after": before[h], "limit": 1000})
		got := map[string]int{}
		for _, m := range page["messages"].([]any) {
			got[m.(map[string]any)["data"].(map[string]any)["text"].(string)]++
		}
		if a, b := fmt.Sprint(got), fmt.Sprint(wants[h]); a != b {
			s.t.Errorf("%v keep %v: wills in %s: %s, want %s", as, keep, h, a, b)
		}
	}
}
