package interop

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/madang-chat/madang/hooks/topic"
	"github.com/madang-chat/madang/internal/mqtttest"
	"github.com/madang-chat/madang/internal/testcluster"
)

// asyncAPI is the document as a running node serves it.
type asyncAPI struct {
	Channels map[string]struct {
		Address  string
		Messages map[string]ref
	}
	Operations map[string]struct {
		Action   string
		Channel  ref
		Messages []ref
	}
	Components struct {
		Messages map[string]struct {
			Payload  json.RawMessage
			Examples []struct{ Payload json.RawMessage }
		}
	}

	schemas *jsonschema.Compiler
}

type ref struct {
	Ref string `json:"$ref"`
}

// name is the last part of what is pointed at.
func (r ref) name() string { return r.Ref[strings.LastIndexByte(r.Ref, '/')+1:] }

const asyncDocument = "asyncapi.json"

func fetchAsyncAPI(t testing.TB, n *testcluster.Node) *asyncAPI {
	t.Helper()
	resp, err := http.Get("http://" + n.Addr("web") + "/api/asyncapi.json")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := jsonschema.UnmarshalJSON(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(raw)
	if err != nil {
		t.Fatal(err)
	}
	doc := &asyncAPI{schemas: jsonschema.NewCompiler()}
	if err := json.Unmarshal(b, doc); err != nil {
		t.Fatal(err)
	}
	if err := doc.schemas.AddResource(asyncDocument, raw); err != nil {
		t.Fatal(err)
	}
	return doc
}

// channels returns the channels of operations of that kind, with the names of their messages.
func (d *asyncAPI) channels(action string) map[string][]string {
	out := map[string][]string{}
	for _, op := range d.Operations {
		if op.Action != action {
			continue
		}
		name := op.Channel.name()
		messages := op.Messages
		if messages == nil {
			messages = slices.Collect(maps.Values(d.Channels[name].Messages))
		}
		for _, m := range messages {
			id := m.name()
			if to, indirect := d.Channels[name].Messages[id]; indirect && strings.HasPrefix(m.Ref, "#/channels/") {
				id = to.name()
			}
			out[name] = append(out[name], id)
		}
	}
	return out
}

var slot = regexp.MustCompile(`\\\{[a-z]+\\\}`)

// on reports whether the topic is one of the channel.
func (d *asyncAPI) on(channel, topic string) bool {
	pattern := "^" + slot.ReplaceAllString(regexp.QuoteMeta(d.Channels[channel].Address), "[^/]+") + "$"
	return regexp.MustCompile(pattern).MatchString(topic)
}

// check holds a payload against what the document says of a message.
func (d *asyncAPI) check(t testing.TB, message, topic string, payload []byte) {
	t.Helper()
	at := d.Components.Messages[message].Payload
	if string(at) == "true" || len(payload) == 0 {
		return
	}
	var schema ref
	if err := json.Unmarshal(at, &schema); err != nil {
		t.Fatal(err)
	}
	s, err := d.schemas.Compile(asyncDocument + schema.Ref)
	if err != nil {
		t.Fatal(err)
	}
	v, err := jsonschema.UnmarshalJSON(strings.NewReader(string(payload)))
	if err != nil {
		t.Errorf("%s: %s is no JSON: %v", topic, payload, err)
		return
	}
	if err := s.Validate(v); err != nil {
		t.Errorf("%s: %s: %v", topic, payload, err)
	}
}

// What the AsyncAPI document says may be published is taken, whatever comes from the broker is what it says, and
// nothing that it says does not come.
func TestAsyncAPI(t *testing.T) {
	for _, as := range mqtttest.Flavours {
		t.Run(as.String(), func(t *testing.T) {
			t.Parallel()
			n := testcluster.Start(t, testcluster.Options{})
			doc := fetchAsyncAPI(t, n)
			dial := func(user string) *mqtttest.Client {
				c := mqtttest.Dial(t, n.At(), mqtttest.Options{Flavour: as, User: user, ClientID: user})
				c.Subscribe("#")
				return c
			}
			ann, bob := dial("ann"), dial("bob")
			seen := newSightings(doc)
			calls := 0
			ask := func(c *mqtttest.Client, method, params string) {
				calls++
				id := fmt.Sprint(calls)
				if calls%2 == 0 {
					id = `"c` + id + `"`
				}
				c.Publish(mqtttest.Message("chat/me/rpc/"+method, fmt.Sprintf(`{"id":%s,"params":%s}`, id, params), 1))
			}
			ask(ann, "room.create", `{"room":"r","kind":"private","name":"R"}`)
			seen.await(t, ann, "reply") // calls may overtake each other
			ask(ann, "room.invite", `{"room":"r","user":"bob"}`)
			seen.await(t, ann, "reply")
			ask(ann, "room.get", `{"room":"none"}`)
			seen.await(t, ann, "reply")
			ann.Publish(mqtttest.Message("chat/rooms/r/send", "first", 1))
			seen.publishAll(t, ann, mqtttest.Dial(t, n.At(), mqtttest.Options{Flavour: as, User: "admin", ClientID: "admin"}))
			for _, p := range []string{
				`edit {"target":3,"data":{"text":"changed"}}`, `reaction {"target":3,"data":{"emoji":"👍","on":true}}`,
				`delete {"target":3,"data":{}}`, "raw \xff\xfe",
			} {
				typ, payload, _ := strings.Cut(p, " ")
				ann.Publish(mqtttest.Message("chat/rooms/r/send/"+typ, payload, 1))
			}
			seen.await(t, ann, "reply") // of the example of a call
			ask(ann, "mod.mute", `{"room":"r","user":"bob","seconds":60}`)
			seen.await(t, ann, "reply")
			bob.Publish(mqtttest.Message("chat/rooms/r/send", "no", 1))
			ann.Publish(mqtttest.Message("chat/rooms/r/state/k", "", 1))
			bob.Publish(mqtttest.Message("chat/rooms/r/read", `{"seq":4}`, 1))
			ask(bob, "replay", `{"room":"r","last":100}`)
			deadline := time.After(patience)
			for len(seen.missing()) > 0 {
				for _, c := range []*mqtttest.Client{ann, bob} {
					for c.Waiting() > 0 {
						pk := c.Next()
						seen.got(t, pk.TopicName, pk.Payload)
					}
				}
				select {
				case <-deadline:
					t.Fatalf("nothing came on %v", seen.missing())
				case <-time.After(10 * time.Millisecond):
				}
			}
		})
	}
}

// sightings are the channels on which something has come.
type sightings struct {
	doc  *asyncAPI
	sent map[string][]string
	seen map[string]bool
}

func newSightings(doc *asyncAPI) *sightings {
	return &sightings{doc: doc, sent: doc.channels("send"), seen: map[string]bool{}}
}

func (s *sightings) got(t testing.TB, topic string, payload []byte) {
	t.Helper()
	for channel, messages := range s.sent {
		if s.doc.on(channel, topic) {
			s.seen[channel] = true
			s.doc.check(t, messages[0], topic, payload)
			return
		}
	}
	t.Errorf("the document does not know %s (%s)", topic, payload)
}

// await takes what comes until something has come on the channel.
func (s *sightings) await(t testing.TB, c *mqtttest.Client, channel string) {
	t.Helper()
	for {
		pk := c.Next()
		s.got(t, pk.TopicName, pk.Payload)
		if s.doc.on(channel, pk.TopicName) {
			return
		}
	}
}

func (s *sightings) missing() (out []string) {
	for channel := range s.sent {
		if !s.seen[channel] {
			out = append(out, channel)
		}
	}
	slices.Sort(out)
	return out
}

// publishAll publishes every example to every channel that takes it; admin does what only admins may.
func (s *sightings) publishAll(t testing.TB, user, admin *mqtttest.Client) {
	t.Helper()
	fill := strings.NewReplacer("{ns}", "chat", "{room}", "r", "{type}", "note", "{name}", "heart", "{user}", "ann", "{key}", "k", "{method}", "whoami")
	channels := s.doc.channels("receive")
	for _, channel := range slices.Sorted(maps.Keys(channels)) {
		address := s.doc.Channels[channel].Address
		if strings.Contains(address, "/users/") {
			address = strings.ReplaceAll(address, "{user}", "bob")
		}
		to, c := fill.Replace(address), user
		if strings.Contains(address, "/broadcast/") {
			c = admin
		}
		if p, bad := topic.ParsePublish(to); bad != nil {
			t.Errorf("%s: %v (%v)", to, bad, p)
		}
		for _, m := range channels[channel] {
			examples := s.doc.Components.Messages[m].Examples
			if len(examples) == 0 {
				t.Errorf("%s has no example", m)
			}
			for i, e := range examples {
				payload := e.Payload
				if strings.Contains(string(payload), `"cid"`) {
					payload = []byte(strings.Replace(string(payload), "c-7f3", fmt.Sprint("c-", channel, i), 1))
				}
				s.doc.check(t, m, to, payload)
				if ack := c.Publish(mqtttest.Message(to, string(payload), 1)); ack.ReasonCode >= 0x80 {
					t.Errorf("%s %s: %#x %s", to, payload, ack.ReasonCode, ack.Properties.ReasonString)
				}
			}
		}
	}
}
