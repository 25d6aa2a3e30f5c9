package cluster

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/madang-chat/madang/cluster/link"
	"github.com/madang-chat/madang/internal/clock"
	"github.com/madang-chat/madang/internal/logentry"
)

// protoForward carries commands from a node to the leader. After a greeting, batches go one way and a byte for each comes
// back, in order:
//
//	node    1  version, uvarint boot
//	leader  1  go on, or 0 and the end: it does not lead
//	node       4 bytes length, then uvarint first, uvarint count, per command: uvarint length, bytes
//	leader  1  the batch is committed
//
// Anything but that 1 is the end of the stream: the leader takes nothing more from it, and the node sends everything
// unresolved again, oldest first, to whoever leads then. So no command overtakes one before it that was refused. The
// answer says that the log has the batch; what became of its commands the node learns where it learns everything, from
// its own log.
const protoForward = "madang-forward/1"

const (
	forwardVersion  = 1
	forwardPatience = 10 * time.Second // for the answer to a batch
	forwardWrite    = 5 * time.Second
	forwardBatches  = 8       // of one node that the leader holds at once
	forwardOverhead = 1 << 16 // of a batch beside its commands' bytes and lengths
	forwardRetry    = 20 * time.Millisecond
	forwardRetryMax = 500 * time.Millisecond
)

var (
	errNotLeading = errors.New("the node does not lead")
	errLinkClosed = errors.New("the leader has changed")
)

// forwardLink is the stream of this node's commands to a leader.
type forwardLink struct {
	conn   net.Conn
	frames chan []byte
	broken chan struct{} // closed by the first error

	mu      sync.Mutex
	err     error
	waiting []*forwarded // sent and not answered, oldest first
}

// forwarded is the outcome of a batch.
type forwarded struct {
	done chan struct{}
	err  error
}

// Error waits. nil says that the log has the batch; any error that it may have.
func (f *forwarded) Error() error {
	<-f.done
	return f.err
}

// openForward greets the leader. inFlight is how many batches the proposer has under way at most.
func openForward(ctx context.Context, port *link.Port, address, leader string, boot uint64, inFlight int) (*forwardLink, error) {
	conn, err := port.Dial(ctx, address, protoForward, leader)
	if err != nil {
		return nil, err
	}
	_ = conn.SetDeadline(clock.Deadline(forwardWrite))
	answer := make([]byte, 1)
	if _, err = conn.Write(binary.AppendUvarint([]byte{forwardVersion}, boot)); err == nil {
		_, err = io.ReadFull(conn, answer)
	}
	if err == nil && answer[0] != 1 {
		err = errNotLeading
	}
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	_ = conn.SetDeadline(time.Time{})
	l := &forwardLink{conn: conn, frames: make(chan []byte, inFlight), broken: make(chan struct{})}
	go l.write()
	go l.read()
	return l, nil
}

// carry implements carrier.
func (l *forwardLink) carry(first uint64, commands [][]byte) outcome {
	f := &forwarded{done: make(chan struct{})}
	frame := appendBatch(make([]byte, 4, batchSize(commands)), first, commands)
	binary.BigEndian.PutUint32(frame, uint32(len(frame)-4))
	l.mu.Lock()
	if l.err != nil {
		f.err = l.err
		l.mu.Unlock()
		close(f.done)
		return f
	}
	if l.waiting = append(l.waiting, f); len(l.waiting) == 1 {
		_ = l.conn.SetReadDeadline(clock.Deadline(forwardPatience))
	}
	l.mu.Unlock()
	select {
	case l.frames <- frame:
	case <-l.broken:
	}
	return f
}

func (l *forwardLink) write() {
	for {
		select {
		case frame := <-l.frames:
			_ = l.conn.SetWriteDeadline(clock.Deadline(forwardWrite))
			if _, err := l.conn.Write(frame); err != nil {
				l.end(err)
				return
			}
		case <-l.broken:
			return
		}
	}
}

func (l *forwardLink) read() {
	answers := make([]byte, 256)
	for {
		n, err := l.conn.Read(answers)
		for _, a := range answers[:n] {
			if a != 1 {
				l.end(errNotLeading)
				return
			}
			if !l.answered() {
				l.end(errors.New("the leader answered what was not sent"))
				return
			}
		}
		if err != nil {
			l.end(err)
			return
		}
	}
}

func (l *forwardLink) answered() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.waiting) == 0 {
		return false
	}
	close(l.waiting[0].done)
	l.waiting[0] = nil
	if l.waiting = l.waiting[1:]; len(l.waiting) == 0 {
		_ = l.conn.SetReadDeadline(time.Time{})
	} else {
		_ = l.conn.SetReadDeadline(clock.Deadline(forwardPatience))
	}
	return true
}

// end closes the stream. What is not answered has an unknown outcome.
func (l *forwardLink) end(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return
	}
	l.err = fmt.Errorf("forward to the leader: %w", err)
	close(l.broken)
	_ = l.conn.Close()
	for _, f := range l.waiting {
		f.err = l.err
		close(f.done)
	}
	l.waiting = nil
}

// forward keeps a stream to whoever leads, until Close.
func (n *Node) forward() {
	pause := time.Duration(0)
	for n.ctx.Err() == nil {
		changed := n.LeaderChanges()
		address, leader := n.raft.LeaderWithID()
		var again <-chan time.Time
		if leader != "" && string(leader) != n.cfg.NodeID {
			l, err := openForward(n.ctx, n.cfg.Port, string(address), string(leader), n.boot, n.cfg.InFlight)
			if err == nil {
				pause = 0
				n.prop.follow(l)
				n.stay(l, string(leader))
				n.prop.follow(nil)
				l.end(errLinkClosed)
				continue
			}
			n.log.Debug("cannot reach the leader", "leader", leader, "address", address, "err", err)
			pause = min(max(2*pause, forwardRetry), forwardRetryMax)
			again = time.After(pause)
		}
		select {
		case <-changed:
		case <-again:
		case <-n.ctx.Done():
		}
	}
}

// stay returns when a stream is of no use any more.
func (n *Node) stay(l *forwardLink, leader string) {
	for {
		changed := n.LeaderChanges()
		if n.Leader() != leader {
			return
		}
		select {
		case <-l.broken:
			return
		case <-n.ctx.Done():
			return
		case <-changed:
		}
	}
}

// takeForwarded is the leader's side of a stream.
func (n *Node) takeForwarded(c *link.Conn) {
	r := bufio.NewReaderSize(c, 64<<10)
	_ = c.SetDeadline(clock.Deadline(forwardWrite))
	version, err := r.ReadByte()
	if err != nil || version != forwardVersion {
		return
	}
	boot, err := binary.ReadUvarint(r)
	if err != nil {
		return
	}
	if !n.IsMember(c.Peer) || !n.IsLeader() {
		_, _ = c.Write([]byte{0})
		return
	}
	if _, err := c.Write([]byte{1}); err != nil {
		return
	}
	_ = c.SetDeadline(time.Time{})

	slots := make(chan struct{}, forwardBatches)
	results := make(chan error, forwardBatches) // never full: a batch has a slot until its result is taken out
	end, ended := make(chan struct{}), make(chan struct{})
	defer func() { close(end); <-ended }()
	go func() {
		defer close(ended)
		defer c.Close()
		for {
			select {
			case err := <-results:
				<-slots
				if err != nil {
					return
				}
				_ = c.SetWriteDeadline(clock.Deadline(forwardWrite))
				if _, err := c.Write([]byte{1}); err != nil {
					return
				}
			case <-end:
				return
			}
		}
	}()
	for {
		g, size, err := readBatch(r, n.cfg.MaxEntryBytes)
		if err != nil {
			if !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
				n.log.Debug("stream of forwarded commands ended", "node", c.Peer, "err", err)
			}
			return
		}
		if !n.IsMember(c.Peer) {
			return // it was removed
		}
		g.Node, g.Boot = c.Peer, boot
		select {
		case slots <- struct{}{}:
		case <-ended:
			return
		}
		if !n.prop.offer(foreign{group: g, size: size, done: func(err error) { results <- err }}) {
			return
		}
	}
}

func batchSize(commands [][]byte) int {
	size := 4 + 2*binary.MaxVarintLen64
	for _, c := range commands {
		size += len(c) + binary.MaxVarintLen32
	}
	return size
}

func appendBatch(dst []byte, first uint64, commands [][]byte) []byte {
	dst = binary.AppendUvarint(dst, first)
	dst = binary.AppendUvarint(dst, uint64(len(commands)))
	for _, c := range commands {
		dst = binary.AppendUvarint(dst, uint64(len(c)))
		dst = append(dst, c...)
	}
	return dst
}

// errBatch refuses what no node of this version sends.
var errBatch = errors.New("malformed batch of commands")

// readBatch reads one batch. limit bounds the bytes of its commands; memory is taken after the length was checked.
func readBatch(r *bufio.Reader, limit int) (g logentry.Group, size int, err error) {
	var length [4]byte
	if _, err := io.ReadFull(r, length[:]); err != nil {
		return g, 0, err
	}
	n := int(binary.BigEndian.Uint32(length[:]))
	if n > limit+forwardOverhead {
		return g, 0, fmt.Errorf("%w: %d bytes, at most %d", errBatch, n, limit+forwardOverhead)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(r, b); err != nil {
		return g, 0, err
	}
	g, err = decodeBatch(b)
	return g, n, err
}

// decodeBatch takes a batch apart. The commands alias b.
func decodeBatch(b []byte) (g logentry.Group, err error) {
	next := func() uint64 {
		v, n := binary.Uvarint(b)
		if n <= 0 {
			err = errBatch
			return 0
		}
		b = b[n:]
		return v
	}
	g.First = next()
	count := next()
	if err != nil || g.First == 0 || count == 0 || count > uint64(len(b)) || count > logentry.MaxCommands {
		return logentry.Group{}, errBatch
	}
	g.Commands = make([][]byte, 0, count)
	for range count {
		length := next()
		if err != nil || length > uint64(len(b)) {
			return logentry.Group{}, errBatch
		}
		g.Commands = append(g.Commands, b[:length:length])
		b = b[length:]
	}
	if len(b) > 0 {
		return logentry.Group{}, errBatch
	}
	return g, nil
}
