package cluster

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/madang-chat/madang/cluster/link"
	"github.com/madang-chat/madang/internal/clock"
)

// protoPeers passes values that live for seconds from node to node, past the log: at most once, and only to nodes that
// want them. A node opens one stream to each other one and says on it, in frames of a length of four bytes, a kind, and
// strings behind their lengths:
//
//	W key              it wants what is told under this key
//	U key              no longer
//	V key slot value   a value
const protoPeers = "madang-peers/1"

const (
	peerFrame   = 64 << 10        // largest frame
	peerQueue   = 1 << 20         // bytes of values that wait for one node; the oldest go first
	peerWrite   = 2 * time.Second // for what waits to be taken
	peerTend    = 500 * time.Millisecond
	peerBackOff = 2 * time.Second
)

const (
	kindWant   = 'W'
	kindUnwant = 'U'
	kindValue  = 'V'
)

// Value is one that is kept by who told it, for nodes that begin to want its key.
type Value struct {
	Slot string
	Data []byte
}

// Peers is what a node tells others past the log. Its methods may be called by many goroutines and do not block.
type Peers struct {
	// told is called with what other nodes tell, asked for what this node has to tell under a key that another begins to
	// want. Neither may block.
	told  func(key, slot string, data []byte)
	asked func(key string) []Value

	mu    sync.Mutex
	wants map[string]int // how often this node wants a key
	nodes map[string]*peer
}

// peer is another node.
type peer struct {
	wants map[string]struct{} // what it wants, as its stream to this node says
	from  *link.Conn          // that stream; nil = none

	up     bool            // this node's stream to it is open
	delta  map[string]bool // changes of what this node wants that it has not been told
	values map[valueKey][]byte
	order  []valueKey // of values, oldest first
	bytes  int
	wake   chan struct{} // 1-buffered
}

type valueKey struct{ key, slot string }

func newPeers() *Peers {
	return &Peers{
		told: func(string, string, []byte) {}, asked: func(string) []Value { return nil },
		wants: map[string]int{}, nodes: map[string]*peer{},
	}
}

// Listen sets what is done with what others tell, and where what this node has to tell is found. Call it before Want.
func (p *Peers) Listen(told func(key, slot string, data []byte), asked func(key string) []Value) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.told, p.asked = told, asked
}

// node returns what is known of another node. p.mu is held.
func (p *Peers) node(id string) *peer {
	n := p.nodes[id]
	if n == nil {
		n = &peer{wants: map[string]struct{}{}, wake: make(chan struct{}, 1)}
		n.clear()
		p.nodes[id] = n
	}
	return n
}

func (n *peer) clear() {
	n.delta, n.values, n.order, n.bytes = map[string]bool{}, map[valueKey][]byte{}, nil, 0
}

// Want asks all nodes for what they tell under a key, until as many Unwant.
func (p *Peers) Want(key string) { p.want(key, 1) }

// Unwant takes a Want back.
func (p *Peers) Unwant(key string) { p.want(key, -1) }

func (p *Peers) want(key string, by int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	before := p.wants[key] > 0
	if p.wants[key] += by; p.wants[key] <= 0 {
		delete(p.wants, key)
	}
	after := p.wants[key] > 0
	if before == after {
		return
	}
	for _, n := range p.nodes {
		if n.up {
			n.delta[key] = after
			signal(n.wake)
		}
	}
}

// Tell passes a value to the nodes that want its key. Of values of one slot that wait the newest is sent.
func (p *Peers) Tell(key, slot string, data []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, n := range p.nodes {
		if _, wanted := n.wants[key]; wanted {
			n.put(valueKey{key, slot}, data)
		}
	}
}

// put queues a value for a node that can be reached.
func (n *peer) put(k valueKey, data []byte) {
	if !n.up {
		return
	}
	size := func(k valueKey, data []byte) int { return len(k.key) + len(k.slot) + len(data) + 64 }
	if old, waits := n.values[k]; waits {
		n.bytes -= size(k, old)
	} else {
		n.order = append(n.order, k)
	}
	n.values[k] = data
	for n.bytes += size(k, data); n.bytes > peerQueue; {
		oldest := n.order[0]
		n.order = n.order[1:]
		n.bytes -= size(oldest, n.values[oldest])
		delete(n.values, oldest)
	}
	signal(n.wake)
}

// giveAll queues everything this node has to tell under a key. p.mu is not held: asked has locks of its own.
func (p *Peers) giveAll(id, key string) {
	p.mu.Lock()
	asked := p.asked
	p.mu.Unlock()
	values := asked(key)
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, v := range values {
		p.node(id).put(valueKey{key, v.Slot}, v.Data)
	}
}

// connected begins a stream to a node: it is told what this node wants, and given what it wants.
func (p *Peers) connected(id string) *peer {
	p.mu.Lock()
	n := p.node(id)
	n.clear()
	n.up = true
	for key := range p.wants {
		n.delta[key] = true
	}
	var keys []string
	for key := range n.wants {
		keys = append(keys, key)
	}
	p.mu.Unlock()
	for _, key := range keys {
		p.giveAll(id, key)
	}
	signal(n.wake)
	return n
}

func (p *Peers) disconnected(id string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := p.node(id)
	n.up = false
	n.clear()
}

// take returns what waits for a node, as frames.
func (p *Peers) take(n *peer) []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []byte
	for key, on := range n.delta {
		kind := byte(kindUnwant)
		if on {
			kind = kindWant
		}
		out = appendPeerFrame(out, kind, key, "", nil)
	}
	for _, k := range n.order {
		out = appendPeerFrame(out, kindValue, k.key, k.slot, n.values[k])
	}
	n.clear()
	return out
}

func appendPeerFrame(dst []byte, kind byte, key, slot string, data []byte) []byte {
	at := len(dst)
	dst = append(dst, 0, 0, 0, 0, kind)
	dst = append(binary.AppendUvarint(dst, uint64(len(key))), key...)
	if kind == kindValue {
		dst = append(binary.AppendUvarint(dst, uint64(len(slot))), slot...)
		dst = append(dst, data...)
	}
	binary.BigEndian.PutUint32(dst[at:], uint32(len(dst)-at-4))
	return dst
}

var errPeerFrame = errors.New("malformed frame of a node")

// decodePeerFrame takes a frame apart. data aliases b.
func decodePeerFrame(b []byte) (kind byte, key, slot string, data []byte, err error) {
	text := func() string {
		n, size := binary.Uvarint(b)
		if size <= 0 || n > uint64(len(b)-size) {
			err = errPeerFrame
			return ""
		}
		s := string(b[size : size+int(n)])
		b = b[size+int(n):]
		return s
	}
	if len(b) == 0 {
		return 0, "", "", nil, errPeerFrame
	}
	kind, b = b[0], b[1:]
	key = text()
	if kind == kindValue && err == nil {
		slot = text()
		return kind, key, slot, b, err
	}
	if err == nil && (len(b) > 0 || kind != kindWant && kind != kindUnwant) {
		err = errPeerFrame
	}
	return kind, key, "", nil, err
}

// hearPeer is the other end of a stream.
func (n *Node) hearPeer(c *link.Conn) {
	p := n.peers
	p.mu.Lock()
	from := p.node(c.Peer)
	from.from, from.wants = c, map[string]struct{}{}
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if from.from == c { // else a newer stream has come
			from.from, from.wants = nil, map[string]struct{}{}
		}
	}()
	r := bufio.NewReaderSize(c, 16<<10)
	for {
		if err := p.hear(r, c); err != nil {
			if !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
				n.log.Debug("stream of a node ended", "node", c.Peer, "err", err)
			}
			return
		}
	}
}

// hear takes one frame.
func (p *Peers) hear(r io.Reader, c *link.Conn) error {
	var length [4]byte
	if _, err := io.ReadFull(r, length[:]); err != nil {
		return err
	}
	size := binary.BigEndian.Uint32(length[:])
	if size > peerFrame {
		return fmt.Errorf("%w: %d bytes", errPeerFrame, size)
	}
	b := make([]byte, size)
	if _, err := io.ReadFull(r, b); err != nil {
		return err
	}
	kind, key, slot, data, err := decodePeerFrame(b)
	if err != nil {
		return err
	}
	p.mu.Lock()
	told := p.told
	from := p.node(c.Peer)
	current := from.from == c
	switch {
	case !current:
	case kind == kindWant:
		from.wants[key] = struct{}{}
	case kind == kindUnwant:
		delete(from.wants, key)
	}
	p.mu.Unlock()
	switch {
	case kind == kindValue:
		told(key, slot, data)
	case kind == kindWant && current:
		p.giveAll(c.Peer, key)
	}
	return nil
}

// keepPeers keeps a stream to every other member.
func (n *Node) keepPeers() {
	t := time.NewTicker(peerTend)
	defer t.Stop()
	var running sync.WaitGroup
	defer running.Wait()
	streams := map[Member]context.CancelFunc{}
	for {
		members := n.Members()
		for _, m := range members {
			m.Voter = false // whether it votes makes no difference to the stream
			if streams[m] == nil && m.ID != n.cfg.NodeID {
				ctx, cancel := context.WithCancel(n.ctx)
				streams[m] = cancel
				running.Go(func() { n.speak(ctx, m) })
			}
		}
		for m, cancel := range streams {
			if !slices.ContainsFunc(members, func(o Member) bool { return o.ID == m.ID && o.Address == m.Address }) && len(members) > 0 {
				cancel()
				delete(streams, m)
			}
		}
		select {
		case <-t.C:
		case <-n.ctx.Done():
			for _, cancel := range streams {
				cancel()
			}
			return
		}
	}
}

// speak keeps a stream to one member until ctx ends.
func (n *Node) speak(ctx context.Context, m Member) {
	for ctx.Err() == nil {
		c, err := n.cfg.Port.Dial(ctx, m.Address, protoPeers, m.ID)
		if err == nil {
			err = n.speakOn(ctx, c, n.peers.connected(m.ID))
			n.peers.disconnected(m.ID)
		}
		if ctx.Err() == nil {
			n.log.Debug("no stream to a node", "node", m.ID, "err", err)
			sleep(ctx, peerBackOff)
		}
	}
}

func (n *Node) speakOn(ctx context.Context, c *link.Conn, p *peer) error {
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	defer stop()
	defer c.Close()
	ended := make(chan error, 1)
	go func() { // the other side says nothing; reading finds its end
		_, err := io.Copy(io.Discard, c)
		ended <- err
	}()
	for {
		select {
		case <-p.wake:
		case err := <-ended:
			return err
		case <-ctx.Done():
			return nil
		}
		if out := n.peers.take(p); len(out) > 0 {
			_ = c.SetWriteDeadline(clock.Deadline(peerWrite))
			if _, err := c.Write(out); err != nil {
				return err
			}
		}
	}
}

// Peers is how this node passes on what does not go through the log; on a node alone it reaches nobody.
func (n *Node) Peers() *Peers { return n.peers }
