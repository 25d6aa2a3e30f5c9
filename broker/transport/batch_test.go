package transport

import (
	"bytes"
	"crypto/sha256"
	"hash"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// lingerTest is longer than any test needs to read what is left.
const lingerTest = 10 * time.Second

// newTestBatch is a Batch, where the machine has them.
func newTestBatch(tb testing.TB) *Batch {
	tb.Helper()
	b, err := NewBatch()
	if err != nil {
		tb.Skip("SKIPPED: ", err)
	}
	tb.Cleanup(func() { _ = b.Close() })
	return b
}

// reading is a client that takes everything and sums it up.
type reading struct {
	c    *Conn
	want hash.Hash
	size int
	sum  chan []byte
}

func (s *server) reading(t *testing.T) *reading {
	t.Helper()
	r := &reading{want: sha256.New(), sum: make(chan []byte, 1)}
	cl := s.dial(t, nil, func(tcp *net.TCPConn) { _ = tcp.SetReadBuffer(64 << 10) })
	r.c = s.conn(t)
	go func() {
		h := sha256.New()
		_, _ = io.Copy(h, cl)
		r.sum <- h.Sum(nil)
	}()
	return r
}

func (s *server) readings(t *testing.T, n int) (out []*reading) {
	t.Helper()
	for range n {
		out = append(out, s.reading(t))
	}
	return out
}

// ends ends the connections once all has gone out, and looks whether each got what it was given.
func ends(t *testing.T, all []*reading) {
	t.Helper()
	for i, r := range all {
		until(t, "all is gone", func() bool { done, err := r.c.Flush(); return done || err != nil })
		r.c.CloseAfterFlush(lingerTest)
		if got := <-r.sum; !bytes.Equal(got, r.want.Sum(nil)) {
			t.Errorf("client %d got other bytes than the %d it was given", i, r.size)
		}
	}
}

func (r *reading) given(b []byte) {
	r.want.Write(b)
	r.size += len(b)
}

// What goes with one call, and what goes alone before and after, comes in the order in which it was given, to each client
// its own, also when sockets are full most of the time.
func TestBatchKeepsTheOrder(t *testing.T) {
	forTransports(t, func(t *testing.T, transport string) {
		b := newTestBatch(t)
		s := serve(t, transport, options{listener: ListenerConfig{QueueLimit: 8 << 20, SendBuffer: 64 << 10}}, nil)
		rng := rand.New(rand.NewPCG(3, 4))
		all := s.readings(t, 12)
		together := 0
		for range 400 {
			piece := publish(rng.IntN(9000)+2, 'a'+byte(rng.IntN(26)))
			held, ok := b.Hold(piece)
			if !ok {
				t.Fatal("no room in an empty batch")
			}
			for i, r := range all {
				switch rng.IntN(9) {
				case 0:
					own := publish(rng.IntN(300), byte('A'+i))
					if !r.c.Queue(own, false) {
						t.Fatal("Queue refused")
					}
					r.given(own)
				case 1:
					if _, err := r.c.Send(piece); err != nil {
						t.Fatal(err)
					}
					r.given(piece)
				case 2:
					h, ok := b.Hold(publish(rng.IntN(300)+3, byte('A'+i)))
					if !ok {
						t.Fatal("no room")
					}
					h.Bytes()[3] = '!' // its own, up to the first Add
					b.Add(r.c, h)
					r.given(h.Bytes())
				case 3:
					for range rng.IntN(4) { // more than one chunk, one, or nothing new
						if !r.c.Queue(piece, rng.IntN(2) == 0) {
							t.Fatal("Queue refused")
						}
						r.given(piece)
					}
					b.AddFlush(r.c)
				default:
					b.Add(r.c, held)
					r.given(held.Bytes())
				}
			}
			together += b.Send()
			if b.Holds(held) {
				t.Fatal("held after Send")
			}
			for _, r := range all {
				if r.c.Queued() > 4<<20 {
					until(t, "the reader has caught up", func() bool { _, _ = r.c.Flush(); return r.c.Queued() < 1<<20 })
				}
			}
		}
		if plain := transport == "tcp" || transport == "ws"; plain != (together > 0) {
			t.Errorf("%d sends shared a call", together)
		}
		ends(t, all)
	})
}

// Connections that end while they are in a batch take nothing from the others, and one whose queue cannot take the piece
// is closed, as it would miss it.
func TestBatchWithThoseWhoLeave(t *testing.T) {
	forTransports(t, func(t *testing.T, transport string) {
		b := newTestBatch(t)
		s := serve(t, transport, options{listener: ListenerConfig{QueueLimit: 100_000, SendBuffer: 16 << 10}}, nil)
		piece := publish(2000, 'x')
		all := s.readings(t, 10)
		held, _ := b.Hold(piece)
		for _, r := range all {
			b.Add(r.c, held)
		}
		_ = all[0].c.Close()
		all[1].c.CloseAfterFlush(lingerTest)
		if !all[2].c.Queue(publish(99_000, 'q'), false) {
			t.Fatal("Queue refused")
		}
		b.Send()
		for i, r := range all {
			if gone := r.c.closed() || !r.c.open.Load(); gone != (i < 3) {
				t.Errorf("client %d has gone: %v", i, gone)
			}
			if i >= 3 {
				r.given(piece)
			}
		}
		ends(t, all[3:])
	})
}

// What the kernel does not take with one call goes alone.
func TestBatchRefusedByTheKernel(t *testing.T) {
	b := newTestBatch(t)
	s := serve(t, "tcp", options{}, nil)
	all := s.readings(t, 6)
	fd := b.ring.fd
	for _, round := range []struct {
		name string
		fd   int
		op   uint8
		want int
	}{
		{"taken", fd, ringOpSend, len(all)},
		{"the call fails", -1, ringOpSend, 0},
		{"each fails", fd, 250, len(all)},
		{"taken again", fd, ringOpSend, len(all)},
	} {
		b.ring.fd, b.ring.op = round.fd, round.op
		held, _ := b.Hold(publish(100, 'x'))
		for i, r := range all {
			if i%2 == 0 {
				b.Add(r.c, held)
			} else {
				r.c.Queue(held.Bytes(), false)
				b.AddFlush(r.c)
			}
			r.given(held.Bytes())
		}
		if got := b.Send(); got != round.want {
			t.Errorf("%s: %d went together, want %d", round.name, got, round.want)
		}
		for i, r := range all {
			if r.c.closed() || r.c.Queued() > 0 {
				t.Errorf("%s: client %d was closed or has something left", round.name, i)
			}
		}
	}
	b.ring.op = 250
	if err := b.ring.probe(); err == nil {
		t.Error("a ring that cannot send is taken for one that can")
	}
	b.ring.fd = -1
	if err := b.ring.probe(); err == nil {
		t.Error("a ring that cannot be called is taken for one that can")
	}
	b.ring.fd, b.ring.op = fd, ringOpSend
	ends(t, all)
}

// One connection twice, and one that somebody else is sending to, take the usual way and keep their order.
func TestBatchWithOneTwice(t *testing.T) {
	b := newTestBatch(t)
	s := serve(t, "tcp", options{}, nil)
	all := s.readings(t, 6)
	for _, fill := range []byte{'a', 'b'} {
		held, _ := b.Hold(publish(100, fill))
		for _, r := range all {
			b.Add(r.c, held)
			r.given(held.Bytes())
		}
	}
	busy := all[3].c
	busy.wmu.Lock()
	sent := make(chan struct{})
	go func() { defer close(sent); b.Send() }()
	until(t, "all others have theirs", func() bool { return all[5].c.wmu.TryLock() && unlock(all[5].c) })
	busy.wmu.Unlock()
	<-sent
	ends(t, all)
}

func unlock(c *Conn) bool {
	c.wmu.Unlock()
	return true
}

// Pieces are held until there is no room for them, and no longer than to the next Send.
func TestBatchHolds(t *testing.T) {
	b := newTestBatch(t)
	if _, ok := b.Hold(make([]byte, batchBytes)); ok {
		t.Error("a piece is held for which there is no room")
	}
	n := 0
	for {
		if _, ok := b.Hold(make([]byte, 60<<10)); !ok {
			break
		}
		n++
	}
	if n != batchBytes/(60<<10) {
		t.Errorf("%d pieces of 60 KiB are held", n)
	}
	b.Send()
	if _, ok := b.Hold(make([]byte, 60<<10)); !ok {
		t.Error("nothing is held after Send")
	}
}

// Neither a piece nor what is queued takes memory from the heap on its way.
func TestBatchDoesNotAllocate(t *testing.T) {
	for _, transport := range []string{"tcp", "ws"} {
		t.Run(transport, func(t *testing.T) {
			b := newTestBatch(t)
			s := serve(t, transport, options{}, nil)
			packet := publish(200, 'x')
			var conns []*Conn
			var clients []*client
			for range 8 {
				clients = append(clients, s.dial(t, nil))
				conns = append(conns, s.conn(t))
			}
			size := len(packet)
			if transport == "ws" {
				size += len(appendFrameHeader(nil, opBinary, size))
			}
			buf := make([]byte, size)
			got := testing.AllocsPerRun(200, func() {
				held, _ := b.Hold(packet)
				for i, c := range conns {
					if i%2 == 0 {
						b.Add(c, held)
						continue
					}
					c.Queue(packet, false)
					b.AddFlush(c)
				}
				if n := b.Send(); n != len(conns) {
					t.Fatalf("%d went together", n)
				}
				for _, cl := range clients {
					if _, err := io.ReadFull(cl.Conn, buf); err != nil || !bytes.HasSuffix(buf, packet) {
						t.Fatal("the packet did not arrive", err)
					}
				}
			})
			if got >= 1 && !raceEnabled {
				t.Fatalf("%v allocations for 8 sends", got)
			}
		})
	}
}

// A kernel that has no io_uring, or none for us, is told of.
func TestRingIsRefused(t *testing.T) {
	if r, err := newRing(1 << 20); err == nil { // more than any kernel gives
		_ = r.close()
		t.Error("a ring of a million entries")
	}
}

// cpuOf reports what the goroutine's thread uses of a processor while f runs, b.N operations: the clients, who read on the
// other processors, are what the time is spent on.
func cpuOf(b *testing.B, f func()) {
	b.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	used := func() int64 {
		var u unix.Rusage
		if err := unix.Getrusage(unix.RUSAGE_THREAD, &u); err != nil {
			b.Fatal(err)
		}
		return u.Utime.Nano() + u.Stime.Nano()
	}
	b.ReportAllocs()
	b.ResetTimer()
	before := used()
	f()
	b.ReportMetric(float64(used()-before)/float64(b.N), "cpu-ns/op")
}

// BenchmarkBatch compares sends to many sockets with one call with as many calls; an operation is one send.
func BenchmarkBatch(b *testing.B) {
	packet := publish(270, 'x')
	for _, transport := range []string{"tcp", "ws"} {
		for _, n := range []int{4, 10, 32} {
			b.Run(transport+"/together="+strconv.Itoa(n), func(b *testing.B) {
				batch, conns, writable := newTestBatch(b), make([]*Conn, n), make([]chan struct{}, n)
				for i := range conns {
					conns[i], writable[i] = drained(b, transport)
				}
				cpuOf(b, func() {
					for i := 0; i < b.N; i += n {
						held, _ := batch.Hold(packet)
						for _, c := range conns {
							batch.Add(c, held)
						}
						batch.Send()
						for i, c := range conns {
							for c.Queued() > 0 {
								<-writable[i]
							}
						}
					}
				})
			})
			b.Run(transport+"/alone="+strconv.Itoa(n), func(b *testing.B) {
				conns, writable := make([]*Conn, n), make([]chan struct{}, n)
				for i := range conns {
					conns[i], writable[i] = drained(b, transport)
				}
				cpuOf(b, func() {
					for i := 0; i < b.N; i += n {
						for i, c := range conns {
							if done, err := c.Send(packet); !done && err == nil {
								<-writable[i]
							}
						}
					}
				})
			})
		}
	}
}
