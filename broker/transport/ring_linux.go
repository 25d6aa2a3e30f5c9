package transport

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The kernel's interface to io_uring, as far as sends need it: include/uapi/linux/io_uring.h.
const (
	ringOffSubmissions = 0          // IORING_OFF_SQ_RING, of both rings where the kernel has one mapping for them
	ringOffEntries     = 0x10000000 // IORING_OFF_SQES
	ringGetEvents      = 1          // IORING_ENTER_GETEVENTS
	ringSingleMapping  = 1 << 0     // IORING_FEAT_SINGLE_MMAP
	ringSkipsSuccess   = 1 << 11    // IORING_FEAT_CQE_SKIP, which came with Linux 5.17: older ones are not used
	ringOpSend         = 26         // IORING_OP_SEND
)

// ringParams is struct io_uring_params.
type ringParams struct {
	submissions, completions uint32
	flags                    uint32
	threadCPU, threadIdle    uint32
	features                 uint32
	queue                    uint32
	_                        [3]uint32
	sub                      struct {
		head, tail, mask, entries, flags, dropped, array, _ uint32
		_                                                   uint64
	}
	com struct {
		head, tail, mask, entries, overflow, entriesAt, flags, _ uint32
		_                                                        uint64
	}
}

// ringEntry is struct io_uring_sqe.
type ringEntry struct {
	op, flags uint8
	priority  uint16
	fd        int32
	offset    uint64
	addr      uint64
	length    uint32
	msgFlags  uint32
	user      uint64
	_         [3]uint64
}

// ringResult is struct io_uring_cqe.
type ringResult struct {
	user  uint64
	res   int32
	flags uint32
}

// ring hands many sends to the kernel with one system call. One goroutine at a time uses it, on whatever thread.
//
// All sends are over when the call returns: one that would have to wait ends with EAGAIN (MSG_DONTWAIT), so that nothing
// is ever left under way.
type ring struct {
	fd      int
	queues  []byte // mapped: heads, tails, order of entries, results
	mapped  []byte // mapped: entries
	entries []ringEntry
	results []ringResult

	subTail, comHead, comTail *uint32
	mask, comMask             uint32
	next                      uint32 // tail that the kernel has not been told of
	op                        uint8  // of what is added
}

// newRing makes a ring of a power of two of entries. It fails where the kernel has none, is older than Linux 5.17, or
// keeps it from processes like this one, as containers often do. Its descriptor is close-on-exec.
func newRing(size int) (*ring, error) {
	var p ringParams
	fd, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, uintptr(size), uintptr(unsafe.Pointer(&p)), 0)
	if errno != 0 {
		return nil, os.NewSyscallError("io_uring_setup", errno)
	}
	r := &ring{fd: int(fd), op: ringOpSend}
	if need := uint32(ringSingleMapping | ringSkipsSuccess); p.features&need != need {
		_ = unix.Close(r.fd)
		return nil, errors.New("io_uring of a Linux before 5.17")
	}
	if err := r.mapAll(&p); err != nil {
		_ = r.close()
		return nil, fmt.Errorf("map io_uring: %w", err)
	}
	return r, nil
}

func (r *ring) mapAll(p *ringParams) (err error) {
	size := max(p.sub.array+p.submissions*4, p.com.entriesAt+p.completions*uint32(unsafe.Sizeof(ringResult{})))
	const access, kind = unix.PROT_READ | unix.PROT_WRITE, unix.MAP_SHARED | unix.MAP_POPULATE
	if r.queues, err = unix.Mmap(r.fd, ringOffSubmissions, int(size), access, kind); err != nil {
		return err
	}
	if r.mapped, err = unix.Mmap(r.fd, ringOffEntries, int(p.submissions)*int(unsafe.Sizeof(ringEntry{})), access, kind); err != nil {
		return err
	}
	at := func(offset uint32) *uint32 { return (*uint32)(unsafe.Pointer(&r.queues[offset])) }
	r.subTail, r.mask = at(p.sub.tail), *at(p.sub.mask)
	r.comHead, r.comTail, r.comMask = at(p.com.head), at(p.com.tail), *at(p.com.mask)
	r.entries = unsafe.Slice((*ringEntry)(unsafe.Pointer(&r.mapped[0])), p.submissions)
	r.results = unsafe.Slice((*ringResult)(unsafe.Pointer(&r.queues[p.com.entriesAt])), p.completions)
	order := unsafe.Slice(at(p.sub.array), p.submissions)
	for i := range order { // entry i is always the i-th
		order[i] = uint32(i)
	}
	r.next = *r.subTail
	return nil
}

// add queues a send of b to the descriptor. b is on the heap, since stacks move, stays as it is, and is kept alive by the
// caller, until submit has returned.
// No more than the ring has entries may be queued.
func (r *ring) add(fd uintptr, b []byte, user uint64) {
	e := &r.entries[r.next&r.mask]
	*e = ringEntry{
		op: r.op, fd: int32(fd), addr: uint64(uintptr(unsafe.Pointer(unsafe.SliceData(b)))), length: uint32(len(b)),
		msgFlags: sendFlags, user: user,
	}
	r.next++
}

// submit sends what was queued and calls each with what became of it, in any order: the bytes the socket took, or why
// none. It returns how many the kernel has not looked at, the last ones that were queued, and why: a caller sends them
// itself.
func (r *ring) submit(each func(user uint64, n int, errno syscall.Errno)) (left int, errno syscall.Errno) {
	queued := r.next - *r.subTail
	atomic.StoreUint32(r.subTail, r.next)
	for sent, done := uint32(0), uint32(0); done < queued; {
		n, _, e := unix.RawSyscall6(unix.SYS_IO_URING_ENTER, uintptr(r.fd), uintptr(queued-sent), uintptr(queued-done), ringGetEvents, 0, 0)
		switch {
		case e == 0:
			sent += uint32(n)
		case e != unix.EINTR:
			// Nothing of the rest was taken; take it back, and wait for what was.
			left, errno = left+int(queued-sent), e
			r.next -= queued - sent
			queued = sent
			atomic.StoreUint32(r.subTail, r.next)
		}
		done += r.reap(each)
	}
	return left, errno
}

// probeByte is what probe sends.
var probeByte = []byte{1}

// probe sends a byte to itself: a sandbox may let a ring be made and refuse what it is for.
func (r *ring) probe() error {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socketpair", err)
	}
	defer func() { _, _ = unix.Close(pair[0]), unix.Close(pair[1]) }()
	err = errors.New("io_uring did nothing")
	r.add(uintptr(pair[0]), probeByte, 0)
	if _, errno := r.submit(func(_ uint64, n int, errno syscall.Errno) {
		if err = nil; n != 1 {
			err = os.NewSyscallError("send by io_uring", errno)
		}
	}); errno != 0 {
		err = os.NewSyscallError("io_uring_enter", errno)
	}
	return err
}

func (r *ring) reap(each func(user uint64, n int, errno syscall.Errno)) (n uint32) {
	head, tail := *r.comHead, atomic.LoadUint32(r.comTail)
	for ; head != tail; head++ {
		result := r.results[head&r.comMask]
		if result.res < 0 {
			each(result.user, 0, syscall.Errno(-result.res))
		} else {
			each(result.user, int(result.res), 0)
		}
		n++
	}
	atomic.StoreUint32(r.comHead, head)
	return n
}

func (r *ring) close() error {
	var errs []error
	for _, m := range [][]byte{r.queues, r.mapped} {
		if m != nil {
			errs = append(errs, unix.Munmap(m))
		}
	}
	return errors.Join(append(errs, unix.Close(r.fd))...)
}
