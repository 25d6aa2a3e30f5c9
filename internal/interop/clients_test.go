package interop

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/autopaho"
	"github.com/eclipse/paho.golang/paho"
	mqtt3 "github.com/eclipse/paho.mqtt.golang"

	"github.com/madang-chat/madang/internal/mqtttest"
	"github.com/madang-chat/madang/internal/porttest"
	"github.com/madang-chat/madang/internal/testcluster"
)

const patience = mqtttest.Patience

func send(room string) string { return "chat/rooms/" + room + "/send" }

func msgs(room string) string { return "chat/rooms/" + room + "/msg/#" }

// entry is a delivered message with every field one may have.
type entry struct {
	Room string `json:"room"`
	Seq  uint64 `json:"seq"`
	N    uint64 `json:"n"`
	TS   int64  `json:"ts"`
	Type string `json:"type"`
	From struct {
		User   string `json:"user"`
		Name   string `json:"name"`
		Role   string `json:"role"`
		Level  int    `json:"level"`
		Device string `json:"device"`
	} `json:"from"`
	CID  string `json:"cid"`
	Data struct {
		Text string `json:"text"`
	} `json:"data"`
}

// message is what a client got.
type message struct{ topic, payload string }

// inbox is what a client got, in order.
type inbox chan message

func newInbox() inbox { return make(inbox, 10_000) } // nobody who fills it shall wait

func (in inbox) next(t testing.TB) message {
	t.Helper()
	select {
	case m, ok := <-in:
		if !ok {
			t.Fatal("the client has ended")
		}
		return m
	case <-time.After(patience):
		t.Fatalf("no message within %v", patience)
	}
	return message{}
}

// on takes the next message, which must come under that topic.
func (in inbox) on(t testing.TB, topic string) string {
	t.Helper()
	m := in.next(t)
	if m.topic != topic {
		t.Fatalf("got %s %s, want something on %s", m.topic, m.payload, topic)
	}
	return m.payload
}

// entries takes the next messages, which must be the entries from..to of the room, each once and in order.
func (in inbox) entries(t testing.TB, room string, from, to uint64) []entry {
	t.Helper()
	var got []entry
	for seq := from; seq <= to; seq++ {
		m := in.next(t)
		var e entry
		dec := json.NewDecoder(strings.NewReader(m.payload))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&e); err != nil {
			t.Fatalf("%s carries %q: %v", m.topic, m.payload, err)
		}
		if e.Room != room || e.Seq != seq || m.topic != "chat/rooms/"+room+"/msg/"+e.Type {
			t.Fatalf("got %s %s, want entry %d of %s", m.topic, m.payload, seq, room)
		}
		got = append(got, e)
	}
	return got
}

// fill lets alice say "m{from}" to "m{to}", which become the entries with these numbers.
func fill(t testing.TB, n *testcluster.Node, room string, from, to uint64) {
	t.Helper()
	alice := mqtttest.Dial(t, n.At(), mqtttest.Options{User: "alice", ClientID: "phone"})
	defer alice.Disconnect()
	for i := from; i <= to; i++ {
		alice.Say(room, fmt.Sprint("m", i))
	}
}

// bound is the configuration of a node that keeps its addresses over a restart and delivers one message at a time: then
// what comes next says that everything before was acknowledged.
func bound(t testing.TB) []string {
	t.Helper()
	set := []string{"limits.window=1"}
	for _, listener := range []string{"mqtt", "web"} {
		set = append(set, "listeners."+listener+".bind="+porttest.Free(t))
	}
	return set
}

// run runs a program to its end and returns what it printed, and its exit code.
func run(t testing.TB, program string, args ...string) (string, int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	out, err := exec.CommandContext(ctx, found(t, program), args...).CombinedOutput()
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		t.Fatalf("%s does not end:\n%s", program, out)
	case errors.As(err, &exit):
		return string(out), exit.ExitCode()
	case err != nil:
		t.Fatal(err)
	}
	return string(out), 0
}

func found(t testing.TB, program string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		t.Fatalf("%s is missing: run make deps", program)
	}
	return path
}

// program is one that runs beside the test and prints "topic payload" for each message.
type program struct {
	inbox
	code   int          // after ended
	stderr bytes.Buffer // after ended
	end    chan struct{}
}

func start(t testing.TB, name string, args ...string) *program {
	t.Helper()
	p := &program{inbox: newInbox(), end: make(chan struct{})}
	cmd := exec.CommandContext(t.Context(), found(t, name), args...)
	out := &lines{put: func(line string) {
		topic, payload, _ := strings.Cut(line, " ")
		p.inbox <- message{topic, payload}
	}}
	cmd.Stdout, cmd.Stderr = out, &p.stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = cmd.Wait()
		p.code = cmd.ProcessState.ExitCode()
		close(p.inbox)
		close(p.end)
	}()
	t.Cleanup(func() { <-p.end })
	return p
}

// lines is a writer that calls put with each line.
type lines struct {
	put  func(string)
	rest []byte
}

func (l *lines) Write(b []byte) (int, error) {
	l.rest = append(l.rest, b...)
	for {
		line, rest, ok := bytes.Cut(l.rest, []byte("\n"))
		if !ok {
			return len(b), nil
		}
		l.put(string(line))
		l.rest = rest
	}
}

// ended waits for the end of the program, which must come without another message, and returns its exit code.
func (p *program) ended(t testing.TB) int {
	t.Helper()
	select {
	case m, more := <-p.inbox:
		if more {
			t.Fatalf("one more message: %s %s", m.topic, m.payload)
		}
	case <-time.After(patience):
		t.Fatal("the program does not end")
	}
	<-p.end
	return p.code
}

// who connects, and how.
type who struct {
	user, id string      // no user = a guest
	keep     bool        // keep the session
	route    string      // paho.mqtt.golang: filter the session has already
	gate     *sync.Mutex // while it is locked the client makes no connection
}

func (w *who) wait() {
	if w.gate != nil {
		w.gate.Lock()
		defer w.gate.Unlock()
	}
}

// device is a client of a library, connected.
type device struct {
	inbox
	up        chan struct{} // once per connection
	calls     int
	subscribe func(filter string) error
	publish   func(topic, payload string, cid string) outcome
	close     func()
}

// outcome is what a library tells of a publish at QoS 1. v3.1.1 has nothing but err to tell.
type outcome struct {
	err    error
	code   byte
	reason string
	seq    string // user property
}

// library is a way to make devices.
type library struct {
	name    string
	version int
	open    func(t testing.TB, url string, w who) *device
}

var libraries = []library{
	{"paho.mqtt.golang", 4, func(t testing.TB, url string, w who) *device { d, _ := open3(t, url, w); return d }},
	{"paho.golang", 5, open5},
}

// each runs f for every library and transport.
func each(t *testing.T, set func(t testing.TB) []string, f func(t *testing.T, n *testcluster.Node, lib library, url, room string)) {
	for _, lib := range libraries {
		for _, transport := range []string{"mqtt", "ws"} {
			t.Run(lib.name+" over "+transport, func(t *testing.T) {
				n := testcluster.Start(t, testcluster.Options{Set: set(t)})
				f(t, n, lib, address(n, transport), "room")
			})
		}
	}
}

func plain(testing.TB) []string { return nil }

func address(n *testcluster.Node, transport string) string {
	if transport == "ws" {
		return "ws://" + n.At().Web + "/mqtt"
	}
	return "mqtt://" + n.At().MQTT
}

// open3 connects with paho.mqtt.golang. Messages come to the handler of the filter they match, or to nobody.
func open3(t testing.TB, url string, w who) (*device, mqtt3.Client) {
	t.Helper()
	d := &device{inbox: newInbox(), up: make(chan struct{}, 100)}
	o := mqtt3.NewClientOptions().AddBroker(url).SetProtocolVersion(4).SetClientID(w.id).SetCleanSession(!w.keep).
		SetConnectTimeout(patience).SetMaxReconnectInterval(100 * time.Millisecond).
		SetOnConnectHandler(func(mqtt3.Client) { d.up <- struct{}{} })
	o.SetConnectionNotificationHandler(func(_ mqtt3.Client, n mqtt3.ConnectionNotification) {
		if n.Type() == mqtt3.ConnectionNotificationTypeConnecting {
			w.wait()
		}
	})
	if w.user != "" {
		o.SetUsername(w.user).SetPassword("x")
	}
	c := mqtt3.NewClient(o)
	if w.route != "" {
		c.AddRoute(w.route, d.take)
	}
	done := func(token mqtt3.Token) error {
		if !token.WaitTimeout(patience) {
			return errors.New("no answer")
		}
		return token.Error()
	}
	if err := done(c.Connect()); err != nil {
		t.Fatalf("connect: %v", err)
	}
	d.subscribe = func(filter string) error {
		token := c.Subscribe(filter, 1, d.take)
		if err := done(token); err != nil {
			return err
		}
		if code := token.(*mqtt3.SubscribeToken).Result()[filter]; code >= 0x80 { // no error of the library
			return fmt.Errorf("refused with %#x", code)
		}
		return nil
	}
	d.publish = func(topic, payload, cid string) outcome {
		if cid != "" {
			payload = fmt.Sprintf(`{"cid":%q,"data":{"text":%q}}`, cid, payload)
		}
		return outcome{err: done(c.Publish(topic, 1, false, payload))}
	}
	d.close = func() { c.Disconnect(100) }
	t.Cleanup(d.close)
	return d, c
}

func (d *device) take(_ mqtt3.Client, m mqtt3.Message) {
	d.inbox <- message{m.Topic(), string(m.Payload())}
}

// open5 connects with the autopaho of paho.golang.
func open5(t testing.TB, at string, w who) *device {
	t.Helper()
	d := &device{inbox: newInbox(), up: make(chan struct{}, 100)}
	u, err := url.Parse(at)
	if err != nil {
		t.Fatal(err)
	}
	cfg := autopaho.ClientConfig{
		ServerUrls: []*url.URL{u}, KeepAlive: 30, ConnectTimeout: patience, CleanStartOnInitialConnection: !w.keep,
		ReconnectBackoff: autopaho.NewConstantBackoff(100 * time.Millisecond), ConnectUsername: w.user,
		OnConnectionUp: func(*autopaho.ConnectionManager, *paho.Connack) { d.up <- struct{}{} },
		ConnectPacketBuilder: func(c *paho.Connect, _ *url.URL) (*paho.Connect, error) {
			w.wait()
			return c, nil
		},
		ClientConfig: paho.ClientConfig{
			ClientID: w.id,
			OnPublishReceived: []func(paho.PublishReceived) (bool, error){func(p paho.PublishReceived) (bool, error) {
				d.inbox <- message{p.Packet.Topic, string(p.Packet.Payload)}
				return true, nil
			}},
		},
	}
	if w.user != "" {
		cfg.ConnectPassword = []byte("x")
	}
	if w.keep {
		cfg.SessionExpiryInterval = 3600
	}
	ctx := context.WithoutCancel(t.Context())
	c, err := autopaho.NewConnection(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	waiting := func() (context.Context, context.CancelFunc) { return context.WithTimeout(ctx, patience) }
	d.close = sync.OnceFunc(func() {
		ctx, cancel := waiting()
		defer cancel()
		_ = c.Disconnect(ctx)
		<-c.Done()
	})
	t.Cleanup(d.close)
	await, cancel := waiting()
	defer cancel()
	if err := c.AwaitConnection(await); err != nil {
		t.Fatalf("connect: %v", err)
	}
	d.subscribe = func(filter string) error {
		ctx, cancel := waiting()
		defer cancel()
		ack, err := c.Subscribe(ctx, &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: filter, QoS: 1}}})
		if err != nil && ack != nil && ack.Properties != nil {
			return fmt.Errorf("%w: %s", err, ack.Properties.ReasonString)
		}
		return err
	}
	d.publish = func(topic, payload, cid string) outcome {
		ctx, cancel := waiting()
		defer cancel()
		p := &paho.Publish{Topic: topic, QoS: 1, Payload: []byte(payload), Properties: &paho.PublishProperties{}}
		if cid != "" {
			p.Properties.User.Add("cid", cid)
		}
		ack, err := c.Publish(ctx, p)
		o := outcome{err: err}
		if ack != nil {
			o.code = ack.ReasonCode
			if ack.Properties != nil {
				o.reason, o.seq = ack.Properties.ReasonString, ack.Properties.User.Get("seq")
			}
		}
		return o
	}
	return d
}

// must fails the test unless the publish was taken.
func (o outcome) must(t testing.TB) outcome {
	t.Helper()
	if o.err != nil || o.code >= 0x80 {
		t.Fatalf("refused: %v", cmp.Or(o.reason, fmt.Sprint(o.err)))
	}
	return o
}

// call makes a call and returns its answer, which comes after everything that was sent before. With a window of one it
// comes when all that was acknowledged.
func (d *device) call(t testing.TB, method, params string) string {
	t.Helper()
	d.calls++
	d.publish("chat/me/rpc/"+method, fmt.Sprintf(`{"id":%d,"params":%s}`, d.calls, params), "").must(t)
	return d.on(t, "chat/me/reply")
}
