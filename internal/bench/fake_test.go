package bench

import (
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"
)

// fake is a broker that does wrong what its test wants. Every subscriber gets every message, sessions get what they
// missed. Its functions are called one at a time; those that are nil do what a broker should.
type fake struct {
	connack func(id string) []byte // in place of success; nothing = no answer
	suback  func(packetID uint16) []byte
	deliver func(to string, n int) []delivery     // what a reader gets when message n was published
	ack     func(n int, packetID uint16) [][]byte // what its publisher gets
	pubrel  func(packetID uint16) [][]byte
	saw     func(kind byte) // every packet

	t    testing.TB
	at   netip.AddrPort
	ln   net.Listener
	runs sync.WaitGroup // the accepting loop and every connection

	mu       sync.Mutex
	payloads [][]byte // published, n is at n-1
	readers  map[*fakeConn]bool
	sessions map[string]int // messages each has acknowledged: what its last connection got as it ended comes again
	newest   map[string]*fakeConn
}

// delivery is a message a reader gets, or raw bytes.
type delivery struct {
	n   int
	dup bool
	raw []byte
	end func(net.Conn) // ends the connection, after raw
}

type fakeConn struct {
	net.Conn
	version byte
	id      string
	clean   bool
	qos     byte
	packet  uint16
	unacked map[uint16]int // messages by packet id
}

func (f *fake) start(t testing.TB) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f.t, f.ln, f.at = t, ln, ln.Addr().(*net.TCPAddr).AddrPort()
	f.readers, f.sessions, f.newest = map[*fakeConn]bool{}, map[string]int{}, map[string]*fakeConn{}
	f.runs.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			f.runs.Go(func() { f.serve(&fakeConn{Conn: conn}) })
		}
	})
	t.Cleanup(f.stop)
}

// stop returns when every client has gone, as it must have by itself.
func (f *fake) stop() {
	f.ln.Close()
	f.runs.Wait()
}

// target is how a scenario gets there.
func (f *fake) target(version byte) Target {
	return Target{Host: f.at.Addr().String(), Port: f.at.Port(), Version: version, Prefix: "c-"}
}

// lossy is the same for runs in which something does not come: they wait less long for it.
func (f *fake) lossy(version byte) Target {
	at := f.target(version)
	at.giveUp = 2 * time.Second
	return at
}

func (f *fake) serve(c *fakeConn) {
	defer c.Close()
	defer f.gone(c)
	var b []byte
	piece := make([]byte, 64<<10)
	for {
		n, err := c.Read(piece)
		if err != nil {
			return
		}
		b = append(b, piece[:n]...)
		for {
			first, body, size, err := cut(b)
			if err != nil {
				f.t.Errorf("the generator sent %x: %v", b, err)
				return
			}
			if size == 0 {
				break
			}
			if !f.packet(c, first, body) {
				return
			}
			b = b[size:]
		}
	}
}

func (f *fake) gone(c *fakeConn) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.readers, c)
}

// packet answers one packet; false ends the connection.
func (f *fake) packet(c *fakeConn, first byte, body []byte) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if c.id != "" && f.newest[c.id] != c {
		return false // taken over
	}
	if f.saw != nil {
		f.saw(first >> 4)
	}
	switch first >> 4 {
	case typeConnect:
		return f.connect(c, body)
	case typeSubscribe:
		answer := []byte{typeSuback << 4, 3, body[0], body[1], 0}
		if c.version == version5 {
			answer = []byte{typeSuback << 4, 4, body[0], body[1], 0, 0}
		}
		if f.suback != nil {
			answer = f.suback(binary.BigEndian.Uint16(body))
		}
		c.qos = body[len(body)-1]
		f.readers[c] = true
		if _, known := f.sessions[c.id]; !c.clean && !known {
			f.sessions[c.id] = len(f.payloads)
		}
		return c.write(answer)
	case typePublish:
		return f.publish(c, first, body)
	case typePubrel:
		id := binary.BigEndian.Uint16(body)
		answer := [][]byte{appendAck(nil, typePubcomp, id)}
		if f.pubrel != nil {
			answer = f.pubrel(id)
		}
		return c.write(answer...)
	case typePubrec:
		return c.write(appendAck(nil, typePubrel, binary.BigEndian.Uint16(body)))
	case typePingreq:
		return c.write([]byte{typePingresp << 4, 0})
	case typePuback:
		if n := c.unacked[binary.BigEndian.Uint16(body)]; !c.clean && n > f.sessions[c.id] {
			f.sessions[c.id] = n
		}
		return true
	case typePubcomp:
		return true
	case typeDisconnect:
		return false
	}
	f.t.Errorf("the generator sent packet type %d", first>>4)
	return false
}

func (f *fake) connect(c *fakeConn, body []byte) bool {
	body = body[2+binary.BigEndian.Uint16(body):] // without the protocol's name
	c.version, c.clean = body[0], body[1]&2 != 0
	body = body[4:]
	answer := []byte{typeConnack << 4, 2, 0, 0}
	if c.version == version5 {
		body = body[1+body[0]:]
		answer = []byte{typeConnack << 4, 3, 0, 0, 0}
	}
	c.id = string(body[2 : 2+binary.BigEndian.Uint16(body)])
	delete(f.readers, f.newest[c.id])
	f.newest[c.id] = c
	missed, known := f.sessions[c.id]
	if c.clean {
		delete(f.sessions, c.id)
	} else if known {
		answer[2] = 1
		c.qos = 1
		f.readers[c] = true
		defer f.give(c, missed)
	}
	if f.connack != nil {
		answer = f.connack(c.id)
	}
	return c.write(answer)
}

// give sends a session what it has missed.
func (f *fake) give(c *fakeConn, from int) {
	for n := from; n < len(f.payloads); n++ {
		f.send(c, n+1)
	}
}

func (f *fake) publish(c *fakeConn, first byte, body []byte) bool {
	p, err := parsePublish(first, body)
	if err != nil {
		f.t.Errorf("the generator sent %x: %v", body, err)
		return false
	}
	if c.version == version5 {
		p.rest = p.rest[1:]
	}
	f.payloads = append(f.payloads, append([]byte(nil), p.rest...))
	n := len(f.payloads)
	for r := range f.readers {
		f.send(r, n)
	}
	var answer [][]byte
	switch {
	case p.qos == 0:
	case f.ack != nil:
		answer = f.ack(n, p.id)
	case p.qos == 1:
		answer = [][]byte{appendAck(nil, typePuback, p.id)}
	default:
		answer = [][]byte{appendAck(nil, typePubrec, p.id)}
	}
	return c.write(answer...)
}

func (f *fake) send(c *fakeConn, n int) {
	all := []delivery{{n: n}}
	if f.deliver != nil {
		all = f.deliver(c.id, n)
	}
	for _, d := range all {
		b := d.raw
		if d.n > 0 {
			c.packet++
			if c.unacked == nil {
				c.unacked = map[uint16]int{}
			}
			c.unacked[c.packet] = n
			b = appendPublish(nil, c.version, "t", f.payloads[d.n-1], c.qos, c.packet, false)
			if d.dup {
				b[0] |= 1 << 3
			}
		}
		c.write(b)
		if d.end != nil {
			d.end(c.Conn)
		}
	}
}

// write may fail: a test ends connections at any moment.
func (c *fakeConn) write(all ...[]byte) bool {
	for _, b := range all {
		if _, err := c.Write(b); err != nil {
			return false
		}
	}
	return true
}

// reset ends a connection so that the other side learns of it though it does not read.
func reset(c net.Conn) {
	_ = c.(*net.TCPConn).SetLinger(0)
	c.Close()
}

// stub says the same to everybody, reads to the end, and knows no MQTT.
func stub(t testing.TB, say string) Target {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var runs sync.WaitGroup
	runs.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			runs.Go(func() {
				defer conn.Close()
				if _, err := io.WriteString(conn, say); err == nil && say != "" {
					_, _ = io.Copy(io.Discard, conn)
				}
			})
		}
	})
	t.Cleanup(func() {
		ln.Close()
		runs.Wait()
	})
	return (&fake{at: ln.Addr().(*net.TCPAddr).AddrPort()}).target(4)
}
