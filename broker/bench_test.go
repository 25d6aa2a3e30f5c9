package broker

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/madang-chat/madang/broker/transport"
	"github.com/madang-chat/madang/hooks"
	"github.com/madang-chat/madang/hooks/auth"
	"github.com/madang-chat/madang/hooks/calls"
	"github.com/madang-chat/madang/internal/logentry"
	"github.com/madang-chat/madang/internal/mqtttest"
	"github.com/madang-chat/madang/storage"
)

// appliedLog is a log without raft and disk: a command is applied when it is proposed.
type appliedLog struct {
	store *storage.Store
	mu    sync.Mutex
	n     uint64
	free  bool  // answers at once, applying nothing
	err   error // the answer, if there is one
	watch func(storage.Command)

	silent bool // never answers
}

func (l *appliedLog) Propose(cmd storage.Command, done func(storage.Result, error)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.watch != nil {
		l.watch(cmd)
	}
	if l.silent {
		return
	}
	if l.err != nil {
		done(storage.Result{}, l.err)
		return
	}
	if l.free {
		done(storage.Result{Seq: 1, TS: 1}, nil)
		return
	}
	l.n++
	g := logentry.Group{Node: "one", Boot: 1, First: l.n, Commands: [][]byte{storage.Encode(cmd)}}
	out, err := l.store.Apply([]logentry.Entry{{Index: l.n, Time: int64(l.n), Groups: []logentry.Group{g}}})
	if err != nil {
		done(storage.Result{}, err)
		return
	}
	done(storage.DecodeResult(out[0][0][0]))
}

func (l *appliedLog) Space() <-chan struct{} { return nil }

// everybody lets all in, as --dev does.
type everybody struct{}

func (everybody) Authenticate(_ context.Context, c auth.Credentials) (auth.Identity, error) {
	return auth.Identity{Namespace: "chat", User: c.Username, Guest: c.Username == ""}, nil
}

func (everybody) VerifyToken(context.Context, string) (auth.Identity, error) {
	return auth.Identity{}, io.EOF
}

func (everybody) OnDevice(id auth.Identity, _ string) (auth.Identity, error) { return id, nil }

func (everybody) Recheck(id auth.Identity) (auth.Identity, error) { return id, nil }

// rig is a broker of one worker behind a real port.
type rig struct {
	b    *Broker
	log  *appliedLog
	addr string
}

func newRig(tb testing.TB) *rig {
	tb.Helper()
	quiet := slog.New(slog.DiscardHandler)
	store, err := storage.Open(storage.Options{Dir: "db", FS: vfs.NewMem(), Logger: quiet, TailBytes: 64 << 20})
	if err != nil {
		tb.Fatal(err)
	}
	log := &appliedLog{store: store}
	posting := calls.New(calls.Config{Log: log, Store: store, AutoCreate: storage.Public})
	ready := make(chan struct{})
	close(ready)
	b := New(Config{
		Node: "one", Boot: 1, Store: store, Log: log, Auth: everybody{}, Calls: posting, Ready: ready, Logger: quiet, Workers: 1,
		Rules: &hooks.Publishing{Access: hooks.Access{Rooms: store}, Posting: posting},
		Limits: Limits{
			Packet: 16 << 20, Message: 256 << 10, InFlight: 1000, InFlightBytes: 1 << 20, Window: 1000, ConnectionBytes: 1 << 20,
			Filters: 10, SessionFilters: 100, SessionExpiry: time.Hour, ConnectTimeout: time.Minute, TopicLevels: 8,
		},
	})
	l, err := transport.Listen(transport.ListenerConfig{Name: "mqtt", Bind: "127.0.0.1:0"}, quiet)
	if err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(tb.Context())
	var serving sync.WaitGroup
	b.Start()
	serving.Go(func() { _ = l.Serve(ctx, b.Serve) })
	log.Propose(&storage.NodeUp{Node: "one", Boot: 1}, func(storage.Result, error) {})
	tb.Cleanup(func() {
		cancel()
		_ = l.Close()
		b.Stop(context.Background())
		serving.Wait()
		_ = store.Close()
	})
	return &rig{b, log, l.Addr().String()}
}

// enter is connect for a device that reads everything and acknowledges nothing.
func (r *rig) enter(tb testing.TB, version byte, user, filter string, qos byte) *client {
	tb.Helper()
	c, conn := r.connect(tb, version, user, filter, qos)
	go func() { _, _ = io.Copy(io.Discard, conn) }()
	return c
}

// connect connects a device that does nothing more, and returns the broker's side of it too.
func (r *rig) connect(tb testing.TB, version byte, user, filter string, qos byte) (*client, net.Conn) {
	tb.Helper()
	conn, err := net.Dial("tcp", r.addr)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = conn.Close() })
	ask := func(pk packets.Packet) {
		tb.Helper()
		pk.ProtocolVersion = version
		b, err := mqtttest.Encode(&pk)
		if err == nil {
			_, err = conn.Write(b)
		}
		if err == nil {
			_, err = mqtttest.ReadPacket(conn, version)
		}
		if err != nil {
			tb.Fatal(err)
		}
	}
	ask(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Connect}, Connect: packets.ConnectParams{
		ProtocolName: []byte("MQTT"), ClientIdentifier: user, Username: []byte(user), UsernameFlag: user != "",
		Password: []byte("x"), PasswordFlag: user != "", Clean: true,
	}})
	if filter == "" { // the CONNACK is out a moment before the broker has the client
		ask(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Pingreq}})
	} else {
		ask(packets.Packet{
			FixedHeader: packets.FixedHeader{Type: packets.Subscribe}, PacketID: 1,
			Filters: packets.Subscriptions{{Filter: filter, Qos: qos}},
		})
	}
	r.b.mu.Lock()
	defer r.b.mu.Unlock()
	for c := range r.b.clients {
		if addr := netip.MustParseAddrPort(conn.LocalAddr().String()); c.conn.RemoteAddr() == addr {
			return c, conn
		}
	}
	tb.Fatal("the broker has no such client")
	return nil, nil
}

// say publishes a text to room r as a client does.
func say(tb testing.TB, c *client, text string) {
	tb.Helper()
	pk := mqtttest.Message("chat/rooms/r/send", text, 0)
	pk.ProtocolVersion = mqtttest.V311
	raw, err := mqtttest.Encode(&pk)
	if err == nil {
		err = c.packet(raw[0], raw[2:])
	}
	if err != nil {
		tb.Fatal(err)
	}
}

const benchLine = "hello there, this is a line of chat as people write it to each other"

// BenchmarkPublish takes PUBLISH packets of one client from bytes to their PUBACK in the socket. "decide" has a log that
// answers at once; "apply" includes encoding the command, Apply of a batch of one, and the result.
func BenchmarkPublish(b *testing.B) {
	for _, version := range []byte{mqtttest.V311, mqtttest.V5} {
		for _, free := range []bool{true, false} {
			name := fmt.Sprintf("v%d/apply", version)
			if free {
				name = fmt.Sprintf("v%d/decide", version)
			}
			b.Run(name, func(b *testing.B) {
				r := newRig(b)
				c := r.enter(b, version, "alice", "", 0)
				pk := mqtttest.Message("chat/rooms/r/send", benchLine, 1)
				pk.ProtocolVersion, pk.PacketID = version, 1
				raw, err := mqtttest.Encode(&pk)
				if err != nil {
					b.Fatal(err)
				}
				body := raw[2:]
				if err := c.packet(raw[0], body); err != nil { // makes the room
					b.Fatal(err)
				}
				r.log.mu.Lock()
				r.log.free = free
				r.log.mu.Unlock()
				b.ReportAllocs()
				for b.Loop() {
					if err := c.packet(raw[0], body); err != nil {
						b.Fatal(err)
					}
					if c.acks.inFlight() > 500 { // a v5 client keeps its Receive Maximum
						c.acks.settled(b.Context())
					}
				}
				c.acks.settled(b.Context())
			})
		}
	}
}

// BenchmarkDelivery gives new entries to the readers of a room as a sweep does: what a message costs per reader when it
// comes alone, and when sixteen have gathered. "queued" takes the way of readers for whom something waits already. The
// readers' acknowledgements, at QoS 1, are taken as they would come.
func BenchmarkDelivery(b *testing.B) {
	for _, way := range []string{"live", "queued"} {
		for _, version := range []byte{mqtttest.V311, mqtttest.V5} {
			for qos := range byte(2) {
				for _, count := range []int{1, 16} {
					b.Run(fmt.Sprintf("%s/v%d/qos%d/%d", way, version, qos, count), func(b *testing.B) {
						benchmarkDelivery(b, way == "live", version, qos, count)
					})
				}
			}
		}
	}
}

func benchmarkDelivery(b *testing.B, live bool, version, qos byte, count int) {
	const readers = 500
	r := newRig(b)
	for i := range readers {
		r.enter(b, version, fmt.Sprint("reader", i), "chat/rooms/r/msg/#", qos)
	}
	alice := r.enter(b, version, "alice", "", 0)
	pk := mqtttest.Message("chat/rooms/r/send", benchLine, 1)
	pk.ProtocolVersion, pk.PacketID = version, 1
	raw, err := mqtttest.Encode(&pk)
	for range count {
		if err == nil {
			err = alice.packet(raw[0], raw[2:])
		}
	}
	if err != nil {
		b.Fatal(err)
	}
	k := storage.RoomKey{NS: "chat", Room: "r"}
	entries, err := r.b.cfg.Store.Entries(k, 1, uint64(count), count, 1<<20)
	if err != nil || len(entries) != count {
		b.Fatal(len(entries), err)
	}
	w := r.b.workers[0]
	b.ReportAllocs()
	b.ResetTimer()
	w.call(func() {
		room := w.rooms[k]
		for range b.N {
			w.sweepEntries(room, entries, live)
			for _, cur := range room.cursors {
				cur.client.window.base = cur.client.window.top
				if !live {
					w.flushTogether(cur.client)
					cur.client.touched = false
				}
			}
			w.sendTogether()
			w.touched = w.touched[:0]
		}
	})
	b.StopTimer()
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*readers*count), "ns/delivery")
}

// sweepEntries is what sweep does with new entries, without looking them up.
func (w *worker) sweepEntries(r *room, entries []*storage.Entry, live bool) {
	w.entries = append(w.entries[:0], entries...)
	w.pieces.reset()
	head := entries[len(entries)-1].Seq
	for _, cur := range r.cursors {
		cur.next = entries[0].Seq
		if !live || !w.sendPiece(cur) {
			w.advance(cur, w.entries, head, len(entries))
		}
		cur.next = head + 1
	}
	w.sendTogether()
}

// BenchmarkIdleConnection reports what a connection with one subscription costs the heap, and with its goroutine's stack.
func BenchmarkIdleConnection(b *testing.B) {
	const count = 2000
	for range b.N {
		b.StopTimer()
		r := newRig(b)
		before := memory()
		b.StartTimer()
		for i := range count {
			r.connect(b, mqtttest.V311, fmt.Sprint("reader", i), "chat/rooms/r/msg/#", 1)
		}
		b.StopTimer()
		after := memory()
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/count, "heap-B/conn")
		b.ReportMetric(float64(after.StackInuse-before.StackInuse)/count, "stack-B/conn")
	}
}

func memory() (m runtime.MemStats) {
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m
}
