package authority

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/madang-chat/madang/internal/mqtttest"
)

// look is a way to read by MQTT: filters, and which rooms they show to whom.
type look struct {
	name    string
	filters func(r role) []string
	shows   func(r role, h hall) bool
}

func named(format string) func(role) []string {
	return func(role) (all []string) {
		for _, h := range halls {
			all = append(all, fmt.Sprintf(format, h))
		}
		return all
	}
}

func filters(all ...string) func(role) []string { return func(role) []string { return all } }

// joined is what a filter with a wildcard at the place of a room shows.
func joined(r role, h hall) bool { return r.belongs(h) }

func everything(r role, h hall) bool { return (r == admin || r == auditor) && h != nowhere }

var looks = []look{
	{"rooms by name", named("chat/rooms/%s/msg/#"), role.reads},
	{"rooms by name with all of them", named("chat/rooms/%s/#"), role.reads},
	{"any namespace", named("+/rooms/%s/msg/text"), role.reads},
	{"joined rooms", filters("chat/rooms/+/msg/+"), joined},
	{"all of the namespace", filters("chat/#"), joined},
	{"all", filters("#"), joined},
	{"every room", filters("$all/#"), everything},
	{"every room by name", named("$all/chat/rooms/%s/msg/#"), everything},
	{"deeper than there is", named("chat/rooms/%s/msg/text/x"), nobody},
	{"what is sent", named("chat/rooms/%s/send/#"), nobody},
	{"shared", named("$share/g/chat/rooms/%s/msg/#"), nobody},
}

// Whoever subscribes to whatever gets the messages of the rooms that they may read, and of no others.
func TestEverySubscription(t *testing.T) {
	s := newStage(t)
	type reader struct {
		*mqtttest.Client
		r role
		l look
	}
	for _, as := range mqtttest.Flavours {
		var readers []reader
		for _, r := range cast {
			for _, l := range looks {
				c := s.dial(r, as, func(o *mqtttest.Options) { o.ClientID += l.name })
				c.Subscribe(r.namespace() + "/me/reply")
				var all []mqtttest.Filter
				for _, f := range l.filters(r) {
					all = append(all, mqtttest.Filter{Filter: f, Qos: 1})
				}
				c.SubscribeAs(nil, all...)
				readers = append(readers, reader{c, r, l})
			}
		}
		for _, h := range halls {
			if h != nowhere {
				s.post(owner, h, "to "+as.String())
			}
		}
		for _, c := range readers {
			var want []string
			for _, h := range halls {
				if c.l.shows(c.r, h) {
					want = append(want, string(h))
				}
			}
			slices.Sort(want)
			got := rooms(t, c.Client, len(want), "to "+as.String())
			if !slices.Equal(got, want) {
				t.Errorf("%v: %s by %s: got %v, want %v", as, c.r, c.l.name, got, want)
			}
			c.Disconnect()
		}
	}
}

// rooms returns where messages with the text came from, once n have come and a call that follows is answered.
func rooms(t testing.TB, c *mqtttest.Client, n int, text string) []string {
	t.Helper()
	seen := map[string]bool{}
	called := false
	for {
		if len(seen) >= n && !called {
			called = true
			if _, err := c.Send(mqtttest.Message("chat/me/rpc/whoami", `{"id":"barrier"}`, 0)); err != nil {
				t.Fatal(err)
			}
			if _, err := c.Send(mqtttest.Message("other/me/rpc/whoami", `{"id":"barrier"}`, 0)); err != nil {
				t.Fatal(err)
			}
		}
		pk, err := c.TryNext()
		if err != nil {
			t.Errorf("%d of %d rooms: %v", len(seen), n, err)
			break
		}
		parts := strings.Split(pk.TopicName, "/")
		if parts[1] == "me" && parts[2] == "reply" {
			break
		}
		if len(parts) == 5 && parts[3] == "msg" && strings.Contains(string(pk.Payload), `"text":"`+text+`"`) {
			seen[parts[2]] = true
		}
	}
	return slices.Sorted(maps.Keys(seen))
}
