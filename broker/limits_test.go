package broker_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/madang-chat/madang/hooks/limit"
	"github.com/madang-chat/madang/internal/config"
	"github.com/madang-chat/madang/internal/mqtttest"
	"github.com/madang-chat/madang/internal/testcluster"
)

// limited is a node whose limits a test sets while it runs.
type limited struct {
	*testcluster.Node
	t    *testing.T
	file string
	key  string
}

func (l *limited) set(value string) {
	l.t.Helper()
	name := strings.TrimPrefix(l.key, "limits.")
	text := fmt.Sprintf("limits:\n  disk_reserve: 0\n  %s: %s\n", name, value)
	if err := os.WriteFile(l.file, []byte(text), 0o600); err != nil {
		l.t.Fatal(err)
	}
	l.ReloadWith(l.file)
}

func (l *limited) refusals() float64 {
	return l.Metric(fmt.Sprintf(`madang_limit_refusals_total{limit=%q}`, l.key))
}

func (l *limited) open(o mqtttest.Options) *mqtttest.Client {
	l.t.Helper()
	o.Version = mqtttest.V5
	o.User = "u" + strings.TrimPrefix(l.key, "limits.")
	return mqtttest.Dial(l.t, l.At(), o)
}

// refusedConnect returns the reason code and why a CONNECT is refused, 0 where it is not.
func (l *limited) refusedConnect(o mqtttest.Options) (byte, string) {
	l.t.Helper()
	o.Version = mqtttest.V5
	o.User = "u" + strings.TrimPrefix(l.key, "limits.")
	c, err := mqtttest.TryDial(l.t, l.At(), o)
	if c == nil {
		l.t.Fatal(err)
	}
	if err == nil {
		defer c.Cut()
	}
	return c.Connack.ReasonCode, c.Connack.Properties.ReasonString
}

// publish returns the reason code and why of a publish.
func publish(t *testing.T, c *mqtttest.Client, topic string, payload string) (byte, string) {
	t.Helper()
	pk := mqtttest.Message(topic, payload, 1)
	pk.ProtocolVersion = mqtttest.V5
	answer, err := c.TryPublish(pk)
	if err != nil {
		t.Fatal(err)
	}
	return answer.ReasonCode, answer.Properties.ReasonString
}

func filters(n int, f string) []mqtttest.Filter {
	out := make([]mqtttest.Filter, n)
	for i := range out {
		out[i] = mqtttest.Filter{Filter: fmt.Sprintf(f, i)}
	}
	return out
}

// burst publishes until one is refused, and returns that refusal; 0 when twelve went through.
func burst(t *testing.T, c *mqtttest.Client, room, text string) (byte, string) {
	t.Helper()
	for range 12 {
		if code, why := publish(t, c, send(room), text); code >= 0x80 {
			return code, why
		}
	}
	return 0, ""
}

// limitTries go over the table of limits: what a v5 client is answered that is over the limit. low is a value that try is over,
// and high one that it is not, after a reload.
var limitTries = []struct {
	key       limit.Key
	low, high string
	want      byte
	try       func(l *limited, room string) (code byte, why string)
}{
	{limit.Message, "100", "1KiB", 0x97, func(l *limited, room string) (byte, string) {
		return publish(l.t, l.open(mqtttest.Options{}), send(room), strings.Repeat("x", 200))
	}},
	{limit.ConnectPacket, "100", "64KiB", 0x95, func(l *limited, _ string) (byte, string) {
		return l.refusedConnect(mqtttest.Options{ClientID: strings.Repeat("c", 100)})
	}},
	{limit.ClientID, "10", "20", 0x85, func(l *limited, _ string) (byte, string) {
		return l.refusedConnect(mqtttest.Options{ClientID: strings.Repeat("c", 15)})
	}},
	{limit.TopicLength, "512", "1024", 0x97, func(l *limited, room string) (byte, string) {
		code, why := publish(l.t, l.open(mqtttest.Options{}), send(room)+"/"+strings.Repeat("t", 520), "x")
		if code != 0x97 { // no type is that long: then it is refused for another reason
			return 0, ""
		}
		return code, why
	}},
	{limit.TopicLevels, "6", "16", 0x97, func(l *limited, room string) (byte, string) {
		return firstOf(l.open(mqtttest.Options{}).SubscribeAs(nil, mqtttest.Filter{Filter: "$last/1/chat/rooms/" + room + "/msg/text"}))
	}},
	{limit.FiltersPerSubscribe, "2", "3", 0x97, func(l *limited, room string) (byte, string) {
		return firstOf(l.open(mqtttest.Options{}).SubscribeAs(nil, filters(3, "chat/rooms/"+room+"-%d/msg/#")...))
	}},
	{limit.FiltersPerSession, "2", "3", 0x97, func(l *limited, room string) (byte, string) {
		return firstOf(l.open(mqtttest.Options{}).SubscribeAs(nil, filters(3, "chat/rooms/"+room+"-%d/msg/#")...))
	}},
	{limit.SessionsPerUser, "1", "2", 0x97, func(l *limited, _ string) (byte, string) {
		l.open(mqtttest.Options{ClientID: "one", Keep: true}).Disconnect()
		return l.refusedConnect(mqtttest.Options{ClientID: "two", Keep: true})
	}},
	{limit.Connections, "1", "50", 0x89, func(l *limited, _ string) (byte, string) {
		l.open(mqtttest.Options{})
		return l.refusedConnect(mqtttest.Options{})
	}},
	{limit.ConnectRate, "1", "100", 0x9f, func(l *limited, _ string) (byte, string) {
		for range 8 {
			if code, why := l.refusedConnect(mqtttest.Options{}); code != 0 {
				return code, why
			}
		}
		return 0, ""
	}},
	{limit.MessagesPerSecond, "1", "1000", 0x97, func(l *limited, room string) (byte, string) {
		return burst(l.t, l.open(mqtttest.Options{}), room, "x")
	}},
	{limit.BytesPerSecond, "1KiB", "1GiB", 0x97, func(l *limited, room string) (byte, string) {
		return burst(l.t, l.open(mqtttest.Options{}), room, strings.Repeat("x", 64<<10))
	}},
	{limit.RoomMessagesPerSecond, "1", "1000", 0x97, func(l *limited, room string) (byte, string) {
		return burst(l.t, l.open(mqtttest.Options{}), room, "x")
	}},
	{limit.RoomBytesPerSecond, "1KiB", "1GiB", 0x97, func(l *limited, room string) (byte, string) {
		return burst(l.t, l.open(mqtttest.Options{}), room, strings.Repeat("x", 64<<10))
	}},
	{limit.AddressMessagesPerSecond, "1", "1000", 0x97, func(l *limited, room string) (byte, string) {
		return burst(l.t, l.open(mqtttest.Options{}), room, "x")
	}},
	{limit.AddressBytesPerSecond, "1KiB", "1GiB", 0x97, func(l *limited, room string) (byte, string) {
		return burst(l.t, l.open(mqtttest.Options{}), room, strings.Repeat("x", 64<<10))
	}},
	{limit.RoomsPerDay, "1", "100", 0x97, func(l *limited, room string) (byte, string) {
		c := l.open(mqtttest.Options{})
		publish(l.t, c, send(room+".1"), "x")
		return publish(l.t, c, send(room+".2"), "x")
	}},
	{limit.StateKeys, "1", "2", 0x97, func(l *limited, room string) (byte, string) {
		c := l.open(mqtttest.Options{})
		publish(l.t, c, send(room), "x")
		publish(l.t, c, "chat/rooms/"+room+"/state/a", "1")
		return publish(l.t, c, "chat/rooms/"+room+"/state/b", "1")
	}},
	{limit.StateValue, "10", "20", 0x97, func(l *limited, room string) (byte, string) {
		c := l.open(mqtttest.Options{})
		publish(l.t, c, send(room), "x")
		return publish(l.t, c, "chat/rooms/"+room+"/state/a", strings.Repeat("1", 15))
	}},
	{limit.Packet, "300KiB", "16MiB", 0x95, func(l *limited, room string) (byte, string) {
		c := l.open(mqtttest.Options{})
		if most := c.Connack.Properties.MaximumPacketSize; most > 400<<10 {
			return 0, ""
		}
		if _, err := c.Send(mqtttest.Message(send(room), strings.Repeat("x", 400<<10), 0)); err != nil {
			l.t.Fatal(err)
		}
		return c.Ended(), c.Why()
	}},
	{limit.InFlight, "3", "1000", 0x93, func(l *limited, room string) (byte, string) {
		c := l.open(mqtttest.Options{})
		if c.Connack.Properties.ReceiveMaximum > 3 {
			return 0, ""
		}
		for range 200 { // in one piece, so that none has its answer
			var all []byte
			for id := range uint16(64) {
				pk := mqtttest.Message(send(room), "x", 1)
				pk.ProtocolVersion, pk.PacketID = mqtttest.V5, id+1
				b, err := mqtttest.Encode(&pk)
				if err != nil {
					l.t.Fatal(err)
				}
				all = append(all, b...)
			}
			if c.Raw(all) != nil || !c.Alive() {
				break
			}
		}
		return c.Ended(), c.Why()
	}},
}

// firstOf returns the first refusal of a SUBACK.
func firstOf(suback packets.Packet) (byte, string) {
	for _, code := range suback.ReasonCodes {
		if code >= 0x80 {
			return code, suback.Properties.ReasonString
		}
	}
	return 0, ""
}

// Each limit refuses what is over it with its reason code and its key, counts that, shows its value, and is changed while the
// node runs.
func TestEveryLimit(t *testing.T) {
	t.Parallel()
	n := testcluster.Start(t, testcluster.Options{Set: []string{"auth.back_off=false"}})
	l := &limited{Node: n, file: filepath.Join(t.TempDir(), "madang.yaml")}
	for _, tt := range limitTries {
		t.Run(strings.TrimPrefix(tt.key.String(), "limits."), func(t *testing.T) {
			l.t, l.key = t, tt.key.String()
			room := roomOf(t)
			mqtttest.Eventually(t, "nobody of the former try is there", func() bool { return l.Metric("madang_connections") == 0 })
			l.set(tt.low)
			before := l.refusals()
			code, why := tt.try(l, room+".low")
			if code != tt.want || !strings.Contains(why, "("+l.key+")") {
				t.Errorf("refused with %#x %q, want %#x and the key", code, why, tt.want)
			}
			mqtttest.Eventually(t, "the refusal is counted", func() bool { return l.refusals() > before })
			l.set(tt.high)
			c, err := config.Load(config.Options{Set: []string{l.key + "=" + tt.high}})
			if err != nil {
				t.Fatal(err)
			}
			want := config.Lookup(l.key).Number(c)
			if got := l.Metric(fmt.Sprintf(`madang_limit{limit=%q}`, l.key)); got != want {
				t.Errorf("the metric says %v, want %v", got, want)
			}
			if code, why := tt.try(l, room+".high"); code >= 0x80 {
				t.Errorf("with %s: refused with %#x %q", tt.high, code, why)
			}
		})
	}
}

// What a CONNACK grants follows the limits of its time; connections there are keep what theirs said.
func TestLimitsThatAreGranted(t *testing.T) {
	t.Parallel()
	n := testcluster.Start(t, testcluster.Options{})
	l := &limited{Node: n, t: t, file: filepath.Join(t.TempDir(), "madang.yaml")}
	count := func(key limit.Key) float64 {
		return n.Metric(fmt.Sprintf(`madang_limit_refusals_total{limit=%q}`, key.String()))
	}
	connack := func(o mqtttest.Options) packets.Properties { return l.open(o).Connack.Properties }
	for _, tt := range []struct {
		key   limit.Key
		value string
		o     mqtttest.Options
		got   func(packets.Properties) uint32
		want  uint32
	}{
		{limit.KeepaliveMin, "20s", mqtttest.Options{KeepAlive: 3}, func(p packets.Properties) uint32 { return uint32(p.ServerKeepAlive) }, 20},
		{limit.KeepaliveMax, "30s", mqtttest.Options{KeepAlive: 60}, func(p packets.Properties) uint32 { return uint32(p.ServerKeepAlive) }, 30},
		{limit.SessionExpiry, "1m", mqtttest.Options{ClientID: "c", Expiry: 3600}, func(p packets.Properties) uint32 { return p.SessionExpiryInterval }, 60},
	} {
		l.key = tt.key.String()
		l.set(tt.value)
		before := count(tt.key)
		if got := tt.got(connack(tt.o)); got != tt.want {
			t.Errorf("%v=%s grants %d, want %d", tt.key, tt.value, got, tt.want)
		}
		if count(tt.key) != before+1 {
			t.Errorf("%v is not counted", tt.key)
		}
	}
	l.key = limit.Packet.String()
	l.set("1MiB")
	old := l.open(mqtttest.Options{})
	l.set("300KiB")
	if got := connack(mqtttest.Options{}).MaximumPacketSize; got != 300<<10 {
		t.Errorf("a new connection is told %d", got)
	}
	if code, why := publish(t, old, send(roomOf(t)), strings.Repeat("x", 500<<10)); code != 0x97 || !strings.Contains(why, "limits.message") {
		t.Errorf("an old one may not send what it was told it may: %#x %q", code, why)
	}
}

// A keep alive below the floor counts as the floor, also where the client cannot be told.
func TestKeepAliveFloor(t *testing.T) {
	t.Parallel()
	n := testcluster.Start(t, testcluster.Options{Set: []string{"limits.keepalive_min=3s"}})
	for _, as := range mqtttest.Flavours {
		t.Run(as.String(), func(t *testing.T) {
			t.Parallel()
			c := mqtttest.Dial(t, n.At(), mqtttest.Options{Flavour: as, User: "floor", ClientID: as.String(), KeepAlive: 1})
			other := mqtttest.Dial(t, n.At(), mqtttest.Options{Flavour: as, User: "floor", ClientID: "2" + as.String(), KeepAlive: 3})
			if got := other.Ended(); got != v5(as, 0x8d) {
				t.Errorf("ended with %#x", got)
			}
			if got := c.Ended(); got != v5(as, 0x8d) {
				t.Errorf("ended with %#x", got)
			}
		})
	}
}

// An address that has too many connections, and one that says nothing, are counted; WebSocket says why.
func TestLimitsBeforeTheConnect(t *testing.T) {
	t.Parallel()
	n := testcluster.Start(t, testcluster.Options{Set: []string{"limits.connections_per_address=2", "limits.connect_timeout=1s"}})
	l := &limited{Node: n, t: t, key: limit.ConnectTimeout.String()}
	silent, err := net.Dial("tcp", n.At().MQTT)
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	if _, err := silent.Write([]byte{0x10}); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(silent); err != nil {
		t.Log(err)
	}
	mqtttest.Eventually(t, "the silent one is counted", func() bool { return l.refusals() > 0 })
	l.key = limit.ConnectionsPerAddress.String()
	for range 2 {
		l.open(mqtttest.Options{})
	}
	if c, err := mqtttest.TryDial(t, n.At(), mqtttest.Options{User: "third"}); err == nil {
		t.Error("a third connection came in")
		c.Cut()
	}
	if l.refusals() != 1 {
		t.Errorf("%v refusals are counted", l.refusals())
	}
}

// HTTP answers with the key too, and counts.
func TestLimitsOverHTTP(t *testing.T) {
	t.Parallel()
	n := testcluster.Start(t, testcluster.Options{})
	l := &limited{Node: n, t: t, key: limit.Message.String(), file: filepath.Join(t.TempDir(), "madang.yaml")}
	l.set("1KiB")
	post := func(size int) (int, string) {
		t.Helper()
		resp, err := http.Post("http://"+n.At().Web+"/api/v1/auth/login", "application/json", strings.NewReader(`{"user":"poster","password":"x"}`))
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		_, rest, _ := strings.Cut(string(text), `"token":"`)
		token, _, _ := strings.Cut(rest, `"`)
		req, err := http.NewRequest(http.MethodPost, "http://"+n.At().Web+"/api/v1/rooms/"+roomOf(t)+"/messages", strings.NewReader(strings.Repeat("x", size)))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+token)
		req.Header.Set("Content-Type", "text/plain")
		resp, err = http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, err = io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(text)
	}
	for i, size := range []int{2 << 10, 300 << 10} { // one that is read, and one that is not
		if code, text := post(size); code != http.StatusRequestEntityTooLarge || !strings.Contains(text, "(limits.message)") {
			t.Errorf("%d bytes: %d %s", size, code, text)
		}
		if got := l.refusals(); got != float64(i+1) {
			t.Errorf("%v refusals are counted, want %d", got, i+1)
		}
	}
	l.set("512KiB")
	if code, text := post(300 << 10); code != http.StatusCreated {
		t.Errorf("after a reload: %d %s", code, text)
	}
}
