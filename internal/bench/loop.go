package bench

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/madang-chat/madang/internal/clock"
)

const (
	readBytes = 256 << 10 // taken from a socket at once
	eventsMax = 1024
	longWait  = 100 * time.Millisecond // between looks at ctx when nothing arrives
)

// base is what the times in stamps are counted from.
var base = clock.Now()

// loop drives connections: whoever calls poll is the goroutine that reads, writes and calls their events. Connections
// over TLS and WebSocket have goroutines of their own, which take mu as poll does; so everything a connection touches is
// guarded by mu.
type loop struct {
	mu      sync.Mutex
	epfd    int
	timer   int // a timerfd: epoll_wait alone cannot wait for less than a millisecond
	event   int // an eventfd by which streams wake poll
	events  []unix.EpollEvent
	conns   map[int32]*conn
	to      netip.AddrPort // where they connect to
	buf     []byte
	acks    []byte
	now     int64          // ns after base when the events being handled were read
	streams sync.WaitGroup // their goroutines
}

func newLoop() (*loop, error) {
	l := &loop{
		epfd: -1, timer: -1, event: -1,
		events: make([]unix.EpollEvent, eventsMax), conns: map[int32]*conn{}, buf: make([]byte, readBytes),
	}
	var err error
	if l.epfd, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err == nil {
		l.timer, err = unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	}
	if err == nil {
		l.event, err = unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	}
	for _, fd := range []int{l.timer, l.event} {
		if err == nil {
			err = unix.EpollCtl(l.epfd, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)})
		}
	}
	if err != nil {
		l.close()
		return nil, fmt.Errorf("prepare to wait for sockets: %w", advise(err))
	}
	l.tick()
	return l, nil
}

// close ends the connections over plain TCP, without a DISCONNECT, and waits for the goroutines of streams, which are
// closed by then: they use the descriptors.
func (l *loop) close() {
	l.locked(func() {
		for _, c := range l.conns {
			c.close()
		}
	})
	l.streams.Wait()
	for _, fd := range []int{l.epfd, l.timer, l.event} {
		if fd >= 0 {
			_ = unix.Close(fd)
		}
	}
}

// clock returns the time, in ns after base.
func (l *loop) clock() int64 { return int64(clock.Since(base)) }

// tick brings now to the present. The caller holds mu.
func (l *loop) tick() int64 {
	l.now = l.clock()
	return l.now
}

// locked runs f under mu.
func (l *loop) locked(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f()
}

// poll waits until something arrives or wait has passed, and handles it.
func (l *loop) poll(wait time.Duration) error {
	timeout := -1
	if wait <= 0 {
		timeout = 0
	} else {
		spec := unix.ItimerSpec{Value: unix.NsecToTimespec(int64(wait))}
		if err := unix.TimerfdSettime(l.timer, 0, &spec, nil); err != nil {
			return os.NewSyscallError("timerfd_settime", err)
		}
	}
	n, err := unix.EpollWait(l.epfd, l.events, timeout)
	if err != nil && !errors.Is(err, unix.EINTR) {
		return os.NewSyscallError("epoll_wait", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tick()
	for i := range max(n, 0) {
		e := &l.events[i]
		if e.Fd == int32(l.timer) || e.Fd == int32(l.event) {
			var b [8]byte
			_, _ = unix.Read(int(e.Fd), b[:]) // only to make it quiet again
			continue
		}
		if c := l.conns[e.Fd]; c != nil {
			c.ready(e.Events)
		}
	}
	return nil
}

// wake makes a poll that waits return.
func (l *loop) wake() {
	one := [8]byte{1}
	_, _ = unix.Write(l.event, one[:]) // full means that it is awake already
}
