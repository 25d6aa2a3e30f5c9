// Command null is no broker: it sends every PUBLISH it reads to everybody who has subscribed to anything, and what one
// read brought with one send. It knows no topics, sessions, acknowledgements or slow readers, so it shows what the
// kernel alone costs. A socket that is full loses what does not fit.
//
// usage: null HOST:PORT
package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "null:", err)
		os.Exit(1)
	}
}

func run() error {
	if len(os.Args) != 2 {
		return errors.New("usage: null HOST:PORT")
	}
	addr, err := netip.ParseAddrPort(os.Args[1])
	if err != nil {
		return err
	}
	ln, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(addr))
	if err != nil {
		return err
	}
	b := &broker{rest: map[int32][]byte{}, buf: make([]byte, 1<<20)}
	if b.epfd, err = unix.EpollCreate1(0); err != nil {
		return err
	}
	fmt.Println("null listens on", ln.Addr())
	go func() {
		for {
			c, err := ln.AcceptTCP()
			if err != nil {
				return
			}
			f, err := c.File() // a descriptor that the runtime's poller does not know
			_ = c.Close()
			if err != nil {
				continue
			}
			fd, err := unix.Dup(int(f.Fd()))
			_ = f.Close()
			if err != nil {
				continue
			}
			_ = unix.SetNonblock(fd, true)
			_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
			_ = unix.EpollCtl(b.epfd, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)})
		}
	}()
	return b.serve()
}

type broker struct {
	epfd int
	subs []int32
	rest map[int32][]byte
	buf  []byte
	out  []byte
}

func (b *broker) serve() error {
	events := make([]unix.EpollEvent, 1024)
	for {
		n, err := unix.EpollWait(b.epfd, events, -1)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
		for _, e := range events[:max(n, 0)] {
			b.read(e.Fd)
		}
	}
}

func (b *broker) read(fd int32) {
	n, err := unix.Read(int(fd), b.buf)
	if errors.Is(err, unix.EAGAIN) {
		return
	}
	if err != nil || n == 0 {
		b.drop(fd)
		return
	}
	data := b.buf[:n]
	if rest := b.rest[fd]; len(rest) > 0 {
		data = append(rest, data...)
	}
	b.out = b.out[:0]
	for {
		size := packetSize(data)
		if size == 0 {
			break
		}
		b.packet(fd, data[:size])
		data = data[size:]
	}
	b.rest[fd] = slices.Clone(data)
	if len(b.out) == 0 {
		return
	}
	for _, to := range b.subs {
		_, _ = unix.SendmsgN(int(to), b.out, nil, nil, unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT)
	}
}

func (b *broker) packet(fd int32, p []byte) {
	switch p[0] >> 4 {
	case 1:
		_, _ = unix.Write(int(fd), []byte{0x20, 2, 0, 0})
	case 3:
		b.out = append(b.out, p...)
	case 8:
		b.subs = append(b.subs, fd)
		_, _ = unix.Write(int(fd), []byte{0x90, 3, p[2], p[3], 0})
	case 12:
		_, _ = unix.Write(int(fd), []byte{0xd0, 0})
	}
}

func (b *broker) drop(fd int32) {
	delete(b.rest, fd)
	b.subs = slices.DeleteFunc(b.subs, func(s int32) bool { return s == fd })
	_ = unix.Close(int(fd))
}

// packetSize is the size of the first packet of b, 0 when it is not all there.
func packetSize(b []byte) int {
	n := 0
	for i := 1; i < min(len(b), 5); i++ {
		n |= int(b[i]&0x7f) << (7 * (i - 1))
		if b[i] < 0x80 {
			if n += i + 1; n <= len(b) {
				return n
			}
			return 0
		}
	}
	return 0
}
