package broker

import (
	"encoding/json"
	"net"
	"slices"
	"sync"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/madang-chat/madang/broker/presence"
	"github.com/madang-chat/madang/hooks/calls"
	"github.com/madang-chat/madang/internal/mqtttest"
)

// circle is people who come to know each other, and who block each other.
type circle struct {
	mu       sync.Mutex
	contacts map[string][]string
	blocked  map[string]bool
}

func (c *circle) set(f func(c *circle)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f(c)
}

func (c *circle) MutualContacts(_, a, b string) (bool, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Contains(c.contacts[a], b), nil
}

func (c *circle) Blocked(_, owner, other string) (bool, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.blocked[owner+" "+other], nil
}

func (c *circle) EachContact(_, user string, f func(string) bool) error {
	c.mu.Lock()
	all := slices.Clone(c.contacts[user])
	c.mu.Unlock()
	for _, other := range all {
		if !f(other) {
			break
		}
	}
	return nil
}

// users/+/presence is about contacts, from when they are until they are not; a block ends it both ways.
func TestPresenceOfContacts(t *testing.T) {
	people := &circle{contacts: map[string][]string{"ann": {"bob"}, "bob": {"ann"}}, blocked: map[string]bool{}}
	r := newRig(t)
	r.b.cfg.Calls = calls.New(calls.Config{Log: r.log, Store: r.b.cfg.Store, Online: r.b, Relations: people})
	told := func(conn net.Conn, user, status string, retain bool) {
		t.Helper()
		pk, err := mqtttest.ReadPacket(conn, mqtttest.V5)
		for err == nil && pk.TopicName == "chat/users/bob/presence" { // of oneself, as often as it comes
			pk, err = mqtttest.ReadPacket(conn, mqtttest.V5)
		}
		var p calls.UserPresence
		if err != nil || pk.FixedHeader.Type != packets.Publish || json.Unmarshal(pk.Payload, &p) != nil ||
			pk.TopicName != "chat/users/"+user+"/presence" || p.Status != status || pk.FixedHeader.Retain != retain {
			t.Fatalf("%s %s, %v; want %s of %s", pk.TopicName, pk.Payload, err, status, user)
		}
	}
	_, bob := r.connect(t, mqtttest.V5, "bob", "chat/users/+/presence", 0)
	told(bob, "ann", "offline", true)
	_, ann := r.connect(t, mqtttest.V5, "ann", "chat/users/ann/presence", 0)
	told(ann, "ann", "online", true)
	told(bob, "ann", "online", false)

	_, eve := r.connect(t, mqtttest.V5, "eve", "chat/users/ann/presence", 0)
	people.set(func(c *circle) { c.contacts["ann"], c.contacts["eve"] = []string{"bob", "eve"}, []string{"ann"} })
	r.b.RelationChanged("chat", "ann", "eve")
	told(eve, "ann", "online", true) // the subscription has woken
	people.set(func(c *circle) { c.blocked["ann eve"] = true })
	r.b.RelationChanged("chat", "ann", "eve")
	people.set(func(c *circle) { c.blocked["bob ann"] = true })
	r.b.RelationChanged("chat", "bob", "ann")
	until(t, "eve may not see ann any more", func() bool {
		may := true
		r.b.workers[0].call(func() {
			for c := range r.b.workers[0].lookers[presence.User{NS: "chat", User: "ann"}] {
				if c.sid.User == "eve" {
					may = c.looks.at["ann"].may
				}
			}
		})
		return !may
	})
	told(eve, "ann", "offline", false) // to her
	told(bob, "ann", "offline", false)
	_ = ann.Close()
	until(t, "ann is offline", func() bool { return r.b.UserPresence("chat", "ann").Devices == 0 })
	people.set(func(c *circle) { clear(c.blocked) })
	r.b.RelationChanged("chat", "ann", "eve")
	told(eve, "ann", "offline", true)
	r.b.RelationChanged("chat", "ann", "bob")
	told(bob, "ann", "offline", true)
}
