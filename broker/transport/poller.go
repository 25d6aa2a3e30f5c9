package transport

import (
	"fmt"
	"os"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// pollerEvents is how many descriptors one call reports.
	pollerEvents = 256
	// interest is what a descriptor is watched for, all its life: with one registration nothing has to be told to the
	// kernel again. An edge means that something came since the last one; RDHUP tells an end that bytes stand before.
	interest = unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLRDHUP | unix.EPOLLET
)

// poller watches the descriptors of a listener and reads for those whose connection rests. One goroutine owns it.
//
// Its epoll is itself watched by the runtime's, so that waiting holds no thread and no processor: what one wake-up finds
// is dealt with as a batch.
type poller struct {
	file *os.File // of the epoll
	raw  syscall.RawConn
	done chan struct{} // closed when the goroutine has ended
	ends herd          // connections whose end was found while they rested

	mu   sync.Mutex
	fds  map[int32]*descriptor
	buf  []byte // what a resting connection's bytes are read into; the goroutine's
	nbuf [pollerEvents]unix.EpollEvent
}

// newPoller makes a poller. traffic may be nil.
func newPoller(traffic func() uint64) (*poller, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("create a poller: %w", os.NewSyscallError("epoll_create1", err))
	}
	if err := unix.SetNonblock(fd, true); err != nil { // so that os takes it for one to be polled
		_ = unix.Close(fd)
		return nil, fmt.Errorf("create a poller: %w", err)
	}
	p := &poller{
		file: os.NewFile(uintptr(fd), "epoll"), done: make(chan struct{}), fds: map[int32]*descriptor{},
		buf: make([]byte, storeSize), ends: herd{courtesy: courtesy{traffic: traffic}},
	}
	if p.raw, err = p.file.SyscallConn(); err != nil {
		_ = p.file.Close()
		return nil, fmt.Errorf("create a poller: %w", err)
	}
	go p.run()
	return p, nil
}

// add begins to watch d. The first event comes at once: a socket can be written.
func (p *poller) add(d *descriptor) error {
	p.mu.Lock()
	p.fds[int32(d.fd)] = d
	p.mu.Unlock()
	var errno error
	err := p.raw.Control(func(ep uintptr) {
		errno = unix.EpollCtl(int(ep), unix.EPOLL_CTL_ADD, d.fd, &unix.EpollEvent{Events: interest, Fd: int32(d.fd)})
	})
	if err == nil {
		err = errno
	}
	if err != nil {
		p.remove(d)
		return os.NewSyscallError("epoll_ctl", err)
	}
	return nil
}

// remove forgets d, whose number is about to be closed: the kernel ends the watching with that.
func (p *poller) remove(d *descriptor) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.fds[int32(d.fd)] == d {
		delete(p.fds, int32(d.fd))
	}
}

// of returns the descriptor with a number. It may be a newer one than an event was meant for, which does no harm: an
// event only says that it is worth trying.
func (p *poller) of(fd int32) *descriptor {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.fds[fd]
}

func (p *poller) run() {
	defer close(p.done)
	n := 0
	wait := func(ep uintptr) bool {
		n = pollNow(ep, &p.nbuf)
		return n != 0
	}
	for {
		if err := p.raw.Read(wait); err != nil || n < 0 {
			return // closed
		}
		for _, e := range p.nbuf[:n] {
			if d := p.of(e.Fd); d != nil {
				d.event(e.Events)
			}
		}
	}
}

// pollNow returns how many events there are, without waiting; negative when the epoll is closed.
func pollNow(ep uintptr, events *[pollerEvents]unix.EpollEvent) int {
	for {
		n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, ep, uintptr(unsafe.Pointer(events)), pollerEvents, 0, 0, 0)
		switch errno {
		case 0:
			return int(n)
		case unix.EINTR:
		default:
			return -1
		}
	}
}

// close ends the goroutine. No descriptor is left.
func (p *poller) close() {
	_ = p.file.Close()
	<-p.done
}
