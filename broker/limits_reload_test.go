package broker_test

import (
	"net"
	"path/filepath"
	"testing"

	"github.com/madang-chat/madang/hooks/limit"
	"github.com/madang-chat/madang/internal/mqtttest"
	"github.com/madang-chat/madang/internal/testcluster"
)

// A reload changes how many connections an address may have: with fewer those that there are stay, with more others come in.
func TestConnectionsPerAddressAreReloaded(t *testing.T) {
	t.Parallel()
	n := testcluster.Start(t, testcluster.Options{})
	l := &limited{Node: n, t: t, key: limit.ConnectionsPerAddress.String(), file: filepath.Join(t.TempDir(), "madang.yaml")}
	stay := []*mqtttest.Client{l.open(mqtttest.Options{}), l.open(mqtttest.Options{})}
	refused := func(want float64) {
		t.Helper()
		before := l.refusals()
		c, err := mqtttest.TryDial(t, n.At(), mqtttest.Options{User: "another"})
		if err == nil {
			c.Cut()
		}
		if got := l.refusals() - before; got != want || (err == nil) != (want == 0) {
			t.Errorf("another connection: %v, %v refusals are counted, want %v", err, got, want)
		}
	}
	l.set("1")
	refused(1)
	l.set("3")
	refused(0)
	l.set("2")
	refused(1)
	for i, c := range stay {
		if !c.Alive() {
			t.Errorf("connection %d is gone", i)
		}
	}
}

// A reload changes how long a connection has for its CONNECT; who was there before keeps the time it had.
func TestConnectTimeoutIsReloaded(t *testing.T) {
	t.Parallel()
	n := testcluster.Start(t, testcluster.Options{})
	l := &limited{Node: n, t: t, key: limit.ConnectTimeout.String(), file: filepath.Join(t.TempDir(), "madang.yaml")}
	l.set("5m")
	open := func() net.Conn { return opened(t, n, mqtttest.Flavour{}) }
	before := open()
	l.open(mqtttest.Options{}) // it was accepted before this one
	l.set("1s")
	closed(t, open())
	if got := l.refusals(); got != 1 {
		t.Errorf("%v are counted", got)
	}
	b, err := mqtttest.Encode(mqtttest.ConnectPacket(mqtttest.Options{
		Flavour: mqtttest.Flavour{Version: mqtttest.V311}, User: "patient", ClientID: "a",
	}))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := before.Write(b); err != nil {
		t.Fatal(err)
	}
	connack := make([]byte, 4)
	if expect(t, before, connack); connack[3] != 0 {
		t.Errorf("CONNACK %x", connack)
	}
}

// A reload changes after how many refusals a flood is sent away: 0 is never.
func TestFloodRefusalsAreReloaded(t *testing.T) {
	t.Parallel()
	n := testcluster.Start(t, testcluster.Options{})
	l := &limited{Node: n, t: t, key: limit.FloodRefusals.String(), file: filepath.Join(t.TempDir(), "madang.yaml")}
	flood := func(c *mqtttest.Client, most int) (refused int) {
		for refused < most {
			pk := mqtttest.Message(send(roomOf(t)), "again", 1)
			pk.ProtocolVersion = mqtttest.V5
			answer, err := c.TryPublish(pk)
			if err != nil {
				return refused
			}
			if answer.ReasonCode >= 0x80 {
				refused++
			}
		}
		return refused
	}
	l.set("0\n  messages_per_second: 5")
	c := l.open(mqtttest.Options{ClientID: "first"})
	if got := flood(c, 12); got != 12 || !c.Alive() {
		t.Errorf("sent away after %d refusals, with the limit off", got)
	}
	l.set("3\n  messages_per_second: 5")
	c = l.open(mqtttest.Options{ClientID: "second"})
	if got := flood(c, 12); got > 4 {
		t.Errorf("sent away after %d refusals", got)
	}
	if l.refusals() == 0 {
		t.Error("it is not counted")
	}
}
