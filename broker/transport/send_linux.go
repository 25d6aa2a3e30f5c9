package transport

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// maxVectors is how many chunks one system call takes.
const maxVectors = 64

// sendQueue gives the front of q to the socket with one system call and returns how many bytes it took of how many it
// was offered. It does not wait: a full socket is EAGAIN. send is used instead of write because it spares the kernel the
// file layer, and because it can say MSG_NOSIGNAL. It is a raw call: one that cannot block has nothing to tell the
// scheduler, whose watcher would otherwise take the processor away from a sweep and keep itself busy with it.
func sendQueue(fd uintptr, q *queue) (n, asked int, errno syscall.Errno) {
	const flags = unix.MSG_DONTWAIT | unix.MSG_NOSIGNAL
	for {
		var r uintptr
		if c := q.head; c.next == nil {
			asked = len(c.b)
			r, _, errno = unix.RawSyscall6(unix.SYS_SENDTO, fd, uintptr(unsafe.Pointer(unsafe.SliceData(c.b))),
				uintptr(asked), flags, 0, 0)
		} else {
			r, asked, errno = sendVectors(fd, q, flags)
		}
		if errno == unix.EINTR {
			continue
		}
		if errno != 0 {
			return 0, asked, errno
		}
		return int(r), asked, 0
	}
}

// sendTwo gives two pieces of memory to the socket, the first of which may be empty, and returns how many bytes it took.
func sendTwo(fd uintptr, header, b []byte) (n int, errno syscall.Errno) {
	const flags = unix.MSG_DONTWAIT | unix.MSG_NOSIGNAL
	for {
		var r uintptr
		if len(header) == 0 {
			r, _, errno = unix.RawSyscall6(unix.SYS_SENDTO, fd, uintptr(unsafe.Pointer(unsafe.SliceData(b))),
				uintptr(len(b)), flags, 0, 0)
		} else {
			iov := [2]unix.Iovec{{Base: unsafe.SliceData(header)}, {Base: unsafe.SliceData(b)}}
			iov[0].SetLen(len(header))
			iov[1].SetLen(len(b))
			msg := unix.Msghdr{Iov: &iov[0]}
			msg.SetIovlen(2)
			r, _, errno = unix.RawSyscall(unix.SYS_SENDMSG, fd, uintptr(unsafe.Pointer(&msg)), flags)
		}
		if errno == unix.EINTR {
			continue
		}
		if errno != 0 {
			return 0, errno
		}
		return int(r), 0
	}
}

func sendVectors(fd uintptr, q *queue, flags uintptr) (r uintptr, asked int, errno syscall.Errno) {
	var iov [maxVectors]unix.Iovec
	k := 0
	for c := q.head; c != nil && k < len(iov); c = c.next {
		iov[k].Base = unsafe.SliceData(c.b)
		iov[k].SetLen(len(c.b))
		asked += len(c.b)
		k++
	}
	msg := unix.Msghdr{Iov: &iov[0]}
	msg.SetIovlen(k)
	r, _, errno = unix.RawSyscall(unix.SYS_SENDMSG, fd, uintptr(unsafe.Pointer(&msg)), flags)
	return r, asked, errno
}

// recv reads what the socket has into p without waiting: EAGAIN when there is nothing.
func recv(fd uintptr, p []byte) (int, syscall.Errno) {
	for {
		n, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, fd, uintptr(unsafe.Pointer(unsafe.SliceData(p))),
			uintptr(len(p)), unix.MSG_DONTWAIT, 0, 0)
		if errno == unix.EINTR {
			continue
		}
		if errno != 0 {
			return 0, errno
		}
		return int(n), 0
	}
}
