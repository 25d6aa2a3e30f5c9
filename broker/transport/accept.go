package transport

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/madang-chat/madang/internal/clock"
)

const (
	minBackoff = 5 * time.Millisecond
	maxBackoff = time.Second
	logEvery   = 10 * time.Second
)

// accept calls next, which accepts a connection and must not block for long with it, until the listener is closed. No
// error but that ends it: out of descriptors or memory it waits, from 5 ms up to 1 s, and tries again, while the kernel
// keeps the clients in its queue.
func (l *Listener) accept(next func() error) {
	var wait time.Duration
	arriving := courtesy{traffic: l.cfg.Traffic}
	for {
		l.sleep(arriving.pause(0))
		err := next()
		if err == nil {
			wait = 0
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
		l.sleep(wait)
	}
}

// sleep waits, until the listener is closed at most.
func (l *Listener) sleep(d time.Duration) {
	if d <= 0 {
		return
	}
	select {
	case <-time.After(d):
	case <-l.done:
	}
}

// acceptNet accepts a connection that net and the runtime look after.
func (l *Listener) acceptNet() (*socket, error) {
	tcp, err := l.tcp.AcceptTCP()
	if err != nil {
		return nil, err
	}
	l.accepted.Add(1)
	s := &socket{TCPConn: tcp}
	if a, ok := tcp.RemoteAddr().(*net.TCPAddr); ok {
		s.remote = unmapped(a.AddrPort())
	}
	return s, nil
}

// acceptDescriptor accepts a connection that a poller of the listener looks after.
func (l *Listener) acceptDescriptor() (*descriptor, netip.AddrPort, error) {
	var (
		fd    int
		peer  unix.Sockaddr
		errno error
	)
	err := l.raw.Read(func(s uintptr) bool {
		for {
			fd, peer, errno = unix.Accept4(int(s), unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
			switch errno {
			case unix.EINTR, unix.ECONNABORTED: // the client has gone already
			default:
				return errno != unix.EAGAIN
			}
		}
	})
	if err != nil { // what the runtime says of a file that was closed is no error of net or os
		return nil, netip.AddrPort{}, net.ErrClosed
	}
	if errno != nil {
		return nil, netip.AddrPort{}, os.NewSyscallError("accept4", errno)
	}
	l.accepted.Add(1)
	d, err := newDescriptor(fd, l.pollers[fd%len(l.pollers)])
	return d, sockaddr(peer), err
}

// sockaddr is the address in a. It has no zone, which link-local addresses have, since nothing here asks for one.
func sockaddr(a unix.Sockaddr) netip.AddrPort {
	switch a := a.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port))
	case *unix.SockaddrInet6:
		return unmapped(netip.AddrPortFrom(netip.AddrFrom16(a.Addr), uint16(a.Port)))
	}
	return netip.AddrPort{}
}

func unmapped(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }

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
