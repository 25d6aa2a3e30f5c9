package transport

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// maxVectors is how many chunks one system call takes.
const maxVectors = 64

// sendFlags make a send one that does not wait, and that reports a broken connection without a signal.
const sendFlags = unix.MSG_DONTWAIT | unix.MSG_NOSIGNAL

// sendQueue gives the front of q to the socket with one system call and returns how many bytes it took of how many it
// was offered. It does not wait: a full socket is EAGAIN.
func sendQueue(fd uintptr, q *queue) (n, asked int, errno syscall.Errno) {
	if c := q.head; c.next == nil {
		n, errno = send(fd, c.b)
		return n, len(c.b), errno
	}
	var iov [maxVectors]unix.Iovec
	k := 0
	for c := q.head; c != nil && k < len(iov); c = c.next {
		iov[k].Base = unsafe.SliceData(c.b)
		iov[k].SetLen(len(c.b))
		asked += len(c.b)
		k++
	}
	n, errno = sendVectors(fd, iov[:k])
	return n, asked, errno
}

// sendTwo gives two pieces of memory to the socket, the first of which may be empty, and returns how many bytes it took.
func sendTwo(fd uintptr, header, b []byte) (n int, errno syscall.Errno) {
	if len(header) == 0 {
		return send(fd, b)
	}
	iov := [2]unix.Iovec{{Base: unsafe.SliceData(header)}, {Base: unsafe.SliceData(b)}}
	iov[0].SetLen(len(header))
	iov[1].SetLen(len(b))
	return sendVectors(fd, iov[:])
}

// send is the system call, used instead of write because it spares the kernel the file layer. It is a raw call: one that
// cannot block has nothing to tell the scheduler, whose watcher would otherwise take the processor away from a sweep and
// keep itself busy with it.
func send(fd uintptr, b []byte) (int, syscall.Errno) {
	for {
		n, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, fd, uintptr(unsafe.Pointer(unsafe.SliceData(b))),
			uintptr(len(b)), sendFlags, 0, 0)
		if errno == unix.EINTR {
			continue
		}
		if errno != 0 {
			return 0, errno
		}
		return int(n), 0
	}
}

// sendVectors is send for several pieces of memory.
func sendVectors(fd uintptr, iov []unix.Iovec) (int, syscall.Errno) {
	msg := unix.Msghdr{Iov: unsafe.SliceData(iov)}
	msg.SetIovlen(len(iov))
	for {
		n, _, errno := unix.RawSyscall(unix.SYS_SENDMSG, fd, uintptr(unsafe.Pointer(&msg)), sendFlags)
		if errno == unix.EINTR {
			continue
		}
		if errno != 0 {
			return 0, errno
		}
		return int(n), 0
	}
}

// recv reads what the socket has into p without waiting: EAGAIN when there is nothing.
func recv(fd uintptr, p []byte, flags uintptr) (int, syscall.Errno) {
	for {
		n, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, fd, uintptr(unsafe.Pointer(unsafe.SliceData(p))),
			uintptr(len(p)), unix.MSG_DONTWAIT|flags, 0, 0)
		if errno == unix.EINTR {
			continue
		}
		if errno != 0 {
			return 0, errno
		}
		return int(n), 0
	}
}
