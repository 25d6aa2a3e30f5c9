package bench

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// forever is longer than any test: what ends before has ended for another reason.
const forever = time.Hour

// room is one room of two readers and a publisher who sends 10 messages.
func room(at Target, qos byte) *Rooms {
	return &Rooms{
		Target: at, Rooms: 1, Readers: 2, Publishers: 1, QoS: qos, InFlight: 3, Size: stampLen, SendTopic: "t", ReadTopic: "t",
		Duration: forever, Limit: 10,
	}
}

// check runs a scenario that must succeed.
func check(t *testing.T, s scenario) *Report {
	t.Helper()
	r, err := s.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// faults is what a report says went wrong.
func faults(r *Report) string {
	var lost int64 = -1
	late, again := -1, -1
	if r.Lost != nil {
		lost = *r.Lost
	}
	if r.OutOfOrder != nil {
		late = int(*r.OutOfOrder)
	}
	if r.Repeated != nil {
		again = int(*r.Repeated)
	}
	return fmt.Sprintf("lost %d, late %d, repeated %d, refused %d, disconnected %d", lost, late, again, r.Refused, r.Disconnected)
}

// What a broker does wrong is counted as what it is, in both versions and at every QoS.
func TestFaultsOfRooms(t *testing.T) {
	for _, tt := range []struct {
		name      string
		deliver   func(to string, n int) []delivery
		delivered uint64
		want      string
	}{
		{name: "none", delivered: 20, want: "lost 0, late 0, repeated 0, refused 0, disconnected 0"},
		{
			name:      "a message is lost",
			deliver:   func(_ string, n int) []delivery { return unless(n == 4, delivery{n: n}) },
			delivered: 18, want: "lost 2, late 0, repeated 0, refused 0, disconnected 0",
		},
		{
			name:      "the last message is lost",
			deliver:   func(_ string, n int) []delivery { return unless(n == 10, delivery{n: n}) },
			delivered: 18, want: "lost 2, late 0, repeated 0, refused 0, disconnected 0",
		},
		{
			name: "a message comes twice",
			deliver: func(_ string, n int) []delivery {
				return append([]delivery{{n: n}}, unless(n != 4, delivery{n: 4, dup: true})...)
			},
			delivered: 20, want: "lost 0, late 0, repeated 2, refused 0, disconnected 0",
		},
		{
			name: "a message is lost, another comes twice and does not say so",
			deliver: func(_ string, n int) []delivery {
				return append(unless(n == 3, delivery{n: n}), unless(n != 5, delivery{n: 2})...)
			},
			delivered: 18, want: "lost 2, late 0, repeated 2, refused 0, disconnected 0",
		},
		{
			name: "two messages are swapped",
			deliver: func(_ string, n int) []delivery {
				return append(unless(n == 4, delivery{n: n}), unless(n != 5, delivery{n: 4})...)
			},
			delivered: 20, want: "lost 0, late 2, repeated 0, refused 0, disconnected 0",
		},
		{
			name: "what nobody published",
			deliver: func(_ string, n int) []delivery {
				stranger := newStamper().append(nil, stamp{publisher: 0, n: 1, message: 1}, stampLen)
				return []delivery{
					{raw: appendPublish(nil, 4, "t", []byte("hello"), 0, 0, false)},
					{raw: appendPublish(nil, 4, "t", stranger, 0, 0, false)},
					{raw: appendAck(nil, typePuback, 1)},
					{n: n},
					{raw: []byte{typePingresp << 4, 0}},
				}
			},
			delivered: 20, want: "lost 0, late 0, repeated 0, refused 0, disconnected 0",
		},
	} {
		for _, way := range []struct{ version, qos byte }{{4, 0}, {5, 0}, {4, 1}, {5, 2}} {
			t.Run(fmt.Sprintf("%s/version %d QoS %d", tt.name, way.version, way.qos), func(t *testing.T) {
				t.Parallel()
				f := &fake{deliver: tt.deliver}
				f.start(t)
				at := f.target(way.version)
				if tt.delivered < 20 {
					at = f.lossy(way.version)
				}
				r := check(t, room(at, way.qos))
				if got := faults(r); got != tt.want || r.Published != 10 || r.Delivered != tt.delivered {
					t.Errorf("%s; %d published, %d delivered; want %s; %d delivered", got, r.Published, r.Delivered, tt.want, tt.delivered)
				}
				if want := uint64(min(way.qos, 1)) * 10; r.Acked != want {
					t.Errorf("%d acknowledged, want %d", r.Acked, want)
				}
				if r.Latency == nil || (r.AckLatency == nil) != (way.qos == 0) {
					t.Errorf("latencies %v, %v", r.Latency, r.AckLatency)
				}
			})
		}
	}
}

func unless(not bool, d ...delivery) []delivery {
	if not {
		return nil
	}
	return d
}

// A stamp whose numbers were never given is counted as nothing and breaks nothing.
func TestForgedStamps(t *testing.T) {
	f := new(fake)
	f.deliver = func(_ string, n int) []delivery {
		all := []delivery{{n: n}}
		for _, fields := range []string{
			"ffffffffffffffff ffff ffffff ffffffff ffffffffff", "8000000000000000 0000 000000 00000000 0000000000",
			"0000000000000000 0000 000001 00000001 0000000001", "0000000000000000 0001 000000 00000001 0000000001",
			"7fffffffffffffff 0000 000000 0000ffff 000001ffff",
		} {
			b := append([]byte(nil), f.payloads[n-1][:markLen]...)
			b = append(b, strings.ReplaceAll(fields, " ", "")...)
			all = append(all, delivery{raw: appendPublish(nil, 4, "t", b, 0, 0, false)})
		}
		return all
	}
	f.start(t)
	r := check(t, room(f.target(4), 1))
	if got := faults(r); got != "lost 0, late 0, repeated 0, refused 0, disconnected 0" || r.Delivered != 20 {
		t.Errorf("%s; %d delivered", got, r.Delivered)
	}
}

// Acknowledgements that nobody waits for count for nothing.
func TestAcknowledgements(t *testing.T) {
	one := func(kind byte, id uint16) []byte { return appendAck(nil, kind, id) }
	const unasked = 60_000
	for _, tt := range []struct {
		name    string
		version byte
		qos     byte
		ack     func(n int, id uint16) [][]byte
		pubrel  func(id uint16) [][]byte
		acked   uint64
		want    string // of room
		lost    int64  // of pub
		why     string
	}{
		{
			name: "PUBACK twice, and of others", version: 4, qos: 1,
			ack: func(_ int, id uint16) [][]byte {
				return [][]byte{one(typePuback, 0), one(typePuback, unasked), one(typePuback, id), one(typePuback, id)}
			},
			acked: 10, want: "lost 0, late 0, repeated 0, refused 0, disconnected 0",
		},
		{
			name: "PUBCOMP twice, and of others", version: 4, qos: 2,
			ack: func(_ int, id uint16) [][]byte { return [][]byte{one(typePubrec, id), one(typePubcomp, unasked)} },
			pubrel: func(id uint16) [][]byte {
				return [][]byte{one(typePubcomp, 0), one(typePubcomp, id), one(typePubcomp, id)}
			},
			acked: 10, want: "lost 0, late 0, repeated 0, refused 0, disconnected 0",
		},
		{
			name: "none of one", version: 5, qos: 1,
			ack: func(n int, id uint16) [][]byte {
				if n == 10 {
					return nil
				}
				return [][]byte{one(typePuback, id)}
			},
			acked: 9, want: "lost 0, late 0, repeated 0, refused 0, disconnected 0", lost: 1,
		},
		{
			name: "one is refused", version: 5, qos: 1,
			ack: func(n int, id uint16) [][]byte {
				if n == 4 {
					return [][]byte{{typePuback << 4, 3, byte(id >> 8), byte(id), 0x97}}
				}
				return [][]byte{one(typePuback, id)}
			},
			acked: 10, want: "lost 0, late 0, repeated 0, refused 1, disconnected 0",
			why: "quota exceeded, lower the rate or lift the broker's limit (0x97)",
		},
		{
			name: "all are refused", version: 5, qos: 2,
			ack: func(_ int, id uint16) [][]byte {
				return [][]byte{{typePubrec << 4, 4, byte(id >> 8), byte(id), 0x87, 0}}
			},
			acked: 10, want: "lost 0, late 0, repeated 0, refused 10, disconnected 0",
			why: "not authorized, log in as one who is with -u and -P (0x87)",
		},
	} {
		for _, scenario := range []string{"room", "rate", "pub"} {
			t.Run(tt.name+"/"+scenario, func(t *testing.T) {
				t.Parallel()
				f := &fake{ack: tt.ack, pubrel: tt.pubrel}
				f.start(t)
				want, at := tt.want, f.target(tt.version)
				if tt.acked < 10 {
					at = f.lossy(tt.version)
				}
				var r *Report
				switch o := room(at, tt.qos); scenario {
				case "rate":
					o.Rate = 1000
					r = check(t, o)
				case "room":
					r = check(t, o)
				case "pub":
					r = check(t, &Publish{
						Target: at, Publishers: 2, InFlight: 3, QoS: tt.qos, Message: "hello", Topic: "t", Duration: forever, Limit: 10,
					})
					want = strings.Replace(want, "lost 0, late 0, repeated 0", fmt.Sprintf("lost %d, late -1, repeated -1", tt.lost), 1)
				}
				if got := faults(r); got != want || r.Acked != tt.acked || r.RefusedWhy != tt.why {
					t.Errorf("%s, %d acknowledged, %q; want %s, %d, %q", got, r.Acked, r.RefusedWhy, want, tt.acked, tt.why)
				}
			})
		}
	}
}

// The end of connections is counted, with its reason, and ends a run that cannot go on.
func TestConnectionsEnd(t *testing.T) {
	for _, tt := range []struct {
		name string
		last delivery // of each reader
		why  string
	}{
		{"closed", delivery{end: func(c net.Conn) { c.Close() }}, "the broker closed the connection: EOF"},
		{"reset", delivery{end: reset}, "the broker closed the connection: connection reset by peer"},
		{"no packet", delivery{raw: []byte{0x30, 0xff, 0xff, 0xff, 0xff}}, errMalformed.Error()},
		{"packet of a client", delivery{raw: []byte{typePingreq << 4, 0}}, errMalformed.Error()},
		{"broken PUBLISH", delivery{raw: []byte{0x36, 3, 0, 1, 'a'}}, errMalformed.Error()},
		{"second CONNACK", delivery{raw: []byte{typeConnack << 4, 2, 0, 0}}, "the broker sent a second CONNACK"},
		{"second SUBACK", delivery{raw: []byte{typeSuback << 4, 3, 0, 1, 0}}, "the broker sent a SUBACK that nobody waits for"},
		{
			"DISCONNECT",
			delivery{raw: []byte{typeDisconnect << 4, 2, 0x8e, 0}},
			"the broker sent DISCONNECT: session taken over, another run uses the same client ids: choose another --prefix (0x8E)",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := &fake{deliver: func(_ string, n int) []delivery {
				if n < 4 {
					return []delivery{{n: n}}
				}
				return []delivery{tt.last}
			}}
			f.start(t)
			o := room(f.lossy(4), 0)
			o.InFlight = 10
			r := check(t, o)
			if r.Disconnected != 2 || r.DisconnectedWhy != tt.why || r.Delivered != 6 || *r.Lost != 14 {
				t.Errorf("%s, %q; %d of %d delivered", faults(r), r.DisconnectedWhy, r.Delivered, r.Published)
			}
		})
	}
	t.Run("of all who listen", func(t *testing.T) {
		t.Parallel()
		f := new(fake)
		f.suback = func(id uint16) []byte {
			return []byte{typeSuback << 4, 3, byte(id >> 8), byte(id), 0, 0x30, 3, 0, 1, 't', typeDisconnect << 4, 0}
		}
		f.start(t)
		r := check(t, &Listen{Target: f.target(4), Subscribers: 1, Filter: "t", Duration: forever})
		if r.Disconnected != 1 || r.DisconnectedWhy != "the broker sent DISCONNECT: code 0x00" {
			t.Errorf("%s, %q", faults(r), r.DisconnectedWhy)
		}
	})
	t.Run("of all who publish", func(t *testing.T) {
		t.Parallel()
		f := &fake{ack: func(int, uint16) [][]byte { return [][]byte{{typeDisconnect << 4, 1, 0x93}} }}
		f.start(t)
		for _, s := range []scenario{
			room(f.lossy(5), 1),
			&Publish{Target: f.lossy(5), Publishers: 1, InFlight: 3, QoS: 1, Topic: "t", Duration: forever},
		} {
			r := check(t, s)
			if r.Disconnected == 0 || !strings.HasSuffix(r.DisconnectedWhy, "receive maximum exceeded, lower -F (0x93)") || r.Acked != 0 {
				t.Errorf("%s, %q", faults(r), r.DisconnectedWhy)
			}
		}
	})
}

// A reader that never reads and is cut off counts as disconnected, and as nothing else.
func TestStuckIsCutOff(t *testing.T) {
	f := &fake{deliver: func(to string, n int) []delivery {
		d := delivery{n: n}
		if to == "c-2" && n == 5 {
			d.end = reset
		}
		return []delivery{d}
	}}
	f.start(t)
	o := room(f.target(4), 0)
	o.Readers, o.Stuck = 1, 1
	r := check(t, o)
	if got := faults(r); got != "lost 0, late 0, repeated 0, refused 0, disconnected 1" || r.Connections != 3 || r.Delivered != 10 {
		t.Errorf("%s, %d connections, %d delivered", got, r.Connections, r.Delivered)
	}
	if want := "the broker closed the connection: connection reset by peer"; r.DisconnectedWhy != want {
		t.Errorf("%q, want %q", r.DisconnectedWhy, want)
	}
}

// What keeps a run from starting is said, with what can be done.
func TestCannotConnect(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := (&fake{at: closed.Addr().(*net.TCPAddr).AddrPort()}).target(4)
	closed.Close()
	for _, tt := range []struct {
		name   string
		target func(t *testing.T) Target
		want   string
	}{
		{
			"nobody is there", func(*testing.T) Target { return nobody },
			"with 0 of 1 connected: connect to " + fmt.Sprintf("%s:%d", nobody.Host, nobody.Port) + ": connection refused; is a broker running there?",
		},
		{
			"no such host", func(*testing.T) Target { return Target{Host: "no..host", Port: 1, Version: 4} },
			"find the broker: lookup no..host",
		},
		{"closes at once", func(t *testing.T) Target { return stub(t, "") }, "with 0 of 1 connected: the broker closed the connection: "},
		{
			"HTTP", func(t *testing.T) Target { return stub(t, "HTTP/1.1 400 Bad Request\r\n"+strings.Repeat("x", 100)) },
			"with 0 of 1 connected: the broker's first packet is no CONNACK: is it a port for MQTT, and for it without TLS or WebSocket?",
		},
		{"half a CONNACK", func(t *testing.T) Target { return stub(t, "\x20\x01\x00") }, "with 0 of 1 connected: " + errMalformed.Error()},
		{
			"login refused", answering(5, &fake{connack: func(string) []byte { return []byte{0x20, 3, 0, 0x86, 0} }}),
			`with 0 of 1 connected: login of c-0 as "me" refused: wrong user name or password, give them with -u and -P (0x86)`,
		},
		{
			"version refused", answering(3, &fake{connack: func(string) []byte { return []byte{0x20, 2, 0, 1} }}),
			"unacceptable protocol version, choose another with -V (0x01)",
		},
		{
			"SUBSCRIBE refused", answering(4, &fake{suback: func(id uint16) []byte { return []byte{0x90, 3, byte(id >> 8), byte(id), 0x80} }}),
			`with 0 of 1 connected: subscription of c-0 as "me" to t refused: no reason given (0x80)`,
		},
		{
			"SUBACK of another", answering(4, &fake{suback: func(id uint16) []byte { return []byte{0x90, 3, byte(id >> 8), byte(id) + 1, 0} }}),
			errMalformed.Error(),
		},
		{
			"foreign address", func(t *testing.T) Target {
				at := stub(t, "")
				at.From = []netip.Addr{netip.MustParseAddr("192.0.2.1")}
				return at
			}, "connection 1 of 1: connect from 192.0.2.1: cannot assign requested address; --ifaddr takes addresses of this machine",
		},
		{
			"address of another kind", func(t *testing.T) Target {
				at := stub(t, "")
				at.From = []netip.Addr{netip.IPv6Loopback()}
				return at
			}, "--ifaddr ::1 cannot reach 127.0.0.1: one is IPv4, the other IPv6",
		},
		{
			"cannot dial", func(*testing.T) Target {
				return Target{Version: 4, Dial: func(context.Context) (net.Conn, error) { return nil, errors.New("no certificate") }}
			}, "connection 1 of 1: no certificate",
		},
		{
			"no such process", func(t *testing.T) Target {
				at := stub(t, "")
				at.PIDs = []int{1 << 30}
				return at
			}, "--pid: process 1073741824 does not run here: ",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r, err := (&Idle{Target: tt.target(t), Connections: 1, Filter: "t", Clean: true}).Run(t.Context())
			if r != nil || err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %s", err, tt.want)
			}
		})
	}
}

func answering(version byte, f *fake) func(t *testing.T) Target {
	return func(t *testing.T) Target {
		f.start(t)
		at := f.target(version)
		at.User = "me"
		return at
	}
}

// Addresses to connect from are used in turn.
func TestFrom(t *testing.T) {
	f := new(fake)
	f.start(t)
	at := f.target(4)
	at.From = []netip.Addr{netip.MustParseAddr("127.0.0.2"), netip.MustParseAddr("127.0.0.3")}
	if r := check(t, &Idle{Target: at, Connections: 3, Clean: true}); r.Connections != 3 {
		t.Errorf("%d connections", r.Connections)
	}
}

// Connections that do nothing are kept alive, the ones that are made later as well.
func TestKeepAlive(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	pings := 0
	f := &fake{saw: func(kind byte) {
		if kind == typePingreq {
			if pings++; pings == 4 {
				cancel()
			}
		}
	}}
	f.start(t)
	at := f.target(4)
	at.KeepAlive = 1
	r, err := (&Idle{Target: at, Connections: 2, Clean: true, Hold: forever}).Run(ctx)
	if err != nil || r.Connections != 2 || r.Disconnected != 0 {
		t.Errorf("%+v, %v", r, err)
	}
}

// A cancelled ctx ends each scenario in each of its phases. What it opened is closed, sessions are gone.
func TestInterrupted(t *testing.T) {
	new(fake).start(t) // what the runtime opens for its first socket stays open
	descriptors := countDescriptors(t)
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	for _, tt := range []struct {
		name    string
		run     func(at Target) scenario
		kind    byte // of the packet that ends it
		count   int
		silent  bool // the broker answers no CONNECT
		idle    bool // it delivers nothing
		reports bool // what was measured by then
	}{
		{name: "conn while connecting", run: interruptedIdle, kind: typeConnect, count: 2, silent: true},
		{name: "conn while holding", run: interruptedIdle, kind: typePingreq, count: 1, reports: true},
		{name: "pub", run: interruptedPublish, kind: typePublish, count: 20},
		{name: "pub while connecting", run: interruptedPublish, kind: typeConnect, count: 1, silent: true},
		{name: "sub", run: interruptedListen, kind: typePingreq, count: 1, reports: true},
		{name: "room", run: interruptedRooms, kind: typePublish, count: 20},
		{name: "room while connecting", run: interruptedRooms, kind: typeConnect, count: 1, silent: true},
		{name: "offline while connecting", run: interruptedOffline, kind: typeConnect, count: 1, silent: true},
		{name: "offline while sessions are made", run: interruptedOffline, kind: typeSubscribe, count: 2},
		{name: "offline while messages are published", run: interruptedOffline, kind: typePublish, count: 5},
		{name: "offline while live readers are alone", run: interruptedOffline, kind: typePublish, count: 25},
		{name: "offline while sessions come back", run: interruptedReturn, kind: typeConnect, count: 3 + 1 + 2, idle: true},
	} {
		for _, streams := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/streams %v", tt.name, streams), func(t *testing.T) {
				ctx, cancel := context.WithCancelCause(t.Context())
				interrupt := errors.New("interrupted")
				count := 0
				f := &fake{saw: func(kind byte) {
					if kind == tt.kind {
						if count++; count == tt.count {
							cancel(interrupt)
						}
					}
				}}
				if tt.silent {
					f.connack = func(string) []byte { return nil }
				}
				if tt.idle {
					f.deliver = func(string, int) []delivery { return nil }
				}
				f.start(t)
				at := f.lossy(5)
				at.KeepAlive = 1
				if streams {
					at.Dial = func(ctx context.Context) (net.Conn, error) {
						return new(net.Dialer).DialContext(ctx, "tcp", f.at.String())
					}
				}
				r, err := tt.run(at).Run(ctx)
				if tt.reports != (err == nil) || (r != nil) != tt.reports || err != nil && !errors.Is(err, interrupt) {
					t.Errorf("report %v, error %v", r, err)
				}
				f.stop()
				if len(f.sessions) > 0 {
					t.Errorf("sessions %v are left", f.sessions)
				}
			})
		}
	}
	if now := countDescriptors(t); now != descriptors {
		t.Errorf("%d descriptors are open, %d before", now, descriptors)
	}
}

type scenario = interface {
	Run(context.Context) (*Report, error)
}

func interruptedIdle(at Target) scenario {
	return &Idle{Target: at, Connections: 3, Filter: "t", Clean: true, Hold: forever}
}

func interruptedPublish(at Target) scenario {
	return &Publish{Target: at, Publishers: 2, QoS: 0, Topic: "t", Duration: forever}
}

func interruptedListen(at Target) scenario {
	return &Listen{Target: at, Subscribers: 2, Filter: "t", Clean: true, Duration: forever}
}

func interruptedRooms(at Target) scenario {
	o := room(at, 1)
	o.Limit = 0
	return o
}

func interruptedOffline(at Target) scenario {
	return &Offline{
		Target: at, Sessions: 3, Messages: 20, InFlight: 2, Size: stampLen, SendTopic: "t", ReadTopic: "t",
		Live: 1, LiveRate: 1000, LiveTime: forever,
	}
}

func interruptedReturn(at Target) scenario {
	return &Offline{Target: at, Sessions: 3, Messages: 20, InFlight: 2, Size: stampLen, SendTopic: "t", ReadTopic: "t"}
}

func countDescriptors(t *testing.T) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}
