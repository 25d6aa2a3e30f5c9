package transport

import (
	"errors"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/madang-chat/madang/internal/clock"
)

const (
	minBackoff = 5 * time.Millisecond
	maxBackoff = time.Second
	logEvery   = 10 * time.Second
)

// accept hands every new connection to each, which must not block for long, until the listener is closed. No error but
// that ends it: out of descriptors or memory it waits, from 5 ms up to 1 s, and tries again, while the kernel keeps the
// clients in its queue.
func (l *Listener) accept(each func(*net.TCPConn, netip.AddrPort)) {
	var wait time.Duration
	for {
		tcp, err := l.tcp.AcceptTCP()
		if err == nil {
			wait = 0
			l.accepted.Add(1)
			each(tcp, peerAddr(tcp))
			continue
		}
		if errors.Is(err, net.ErrClosed) {
			return
		}
		l.acceptErrors.Add(1)
		wait = min(max(2*wait, minBackoff), maxBackoff)
		if n, ok := l.acceptGate.pass(); ok {
			l.log.Error("cannot accept connections, trying again", "listener", l.cfg.Name, "err", err, "wait", wait,
				"since_last", n)
		}
		select {
		case <-time.After(wait):
		case <-l.done:
			return
		}
	}
}

// peerAddr is the address of the other end of the socket.
func peerAddr(tcp *net.TCPConn) netip.AddrPort {
	if a, ok := tcp.RemoteAddr().(*net.TCPAddr); ok {
		ap := a.AddrPort()
		return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
	}
	return netip.AddrPort{}
}

// logGate lets one log line through every ten seconds.
type logGate struct {
	next atomic.Int64 // ns after base
	held atomic.Int64
}

// pass says whether to log now, and for how many events since the last line that is.
func (g *logGate) pass() (events int64, ok bool) {
	g.held.Add(1)
	now := int64(clock.Since(base)) + 1
	next := g.next.Load()
	if now < next || !g.next.CompareAndSwap(next, now+int64(logEvery)) {
		return 0, false
	}
	return g.held.Swap(0), true
}
