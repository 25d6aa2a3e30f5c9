package cluster

import (
	"sync"
	"time"

	"github.com/madang-chat/madang/cluster/link"
)

// protoPeers passes values that live for seconds from node to node, past the log: at most once, and only to nodes that
// want them. A node opens one stream to each other one and says on it, in frames of a length of four bytes, a kind, and
// strings behind their lengths:
//
//	W key              it wants what is told under this key
//	U key              no longer
//	V key slot value   a value
//	Q number question  a question
//	A number answer    what it says to one
const protoPeers = "madang-peers/1"

const (
	peerFrame   = 64 << 10        // largest frame
	peerQueue   = 1 << 20         // bytes of values that wait for one node; the oldest go first
	peerSaid    = 4 << 20         // bytes of questions and answers that wait for one; then there is no room for more
	peerWrite   = 2 * time.Second // for what waits to be taken
	peerTend    = 500 * time.Millisecond
	peerPause   = 100 * time.Millisecond // before the first new try to reach a node; then doubled up to
	peerBackOff = 2 * time.Second
)

const (
	kindWant   = 'W'
	kindUnwant = 'U'
	kindValue  = 'V'
	kindAsk    = 'Q'
	kindAnswer = 'A'
)

// Value is one that is kept by who told it, for nodes that begin to want its key.
type Value struct {
	Slot string
	Data []byte
}

// Hearing is what is done with what other nodes say past the log. Nothing of it may block; nil = nothing is done.
type Hearing struct {
	// Told gets what another node tells.
	Told func(key, slot string, data []byte)
	// Kept returns what this node has to tell under a key that another begins to want.
	Kept func(key string) []Value
	// Asked gets a question and answers it, once, now or later.
	Asked func(question []byte, answer func([]byte))
	// Met is called when a node can be asked and told things, again or for the first time.
	Met func(node string)
}

// Peers is what a node tells and asks others past the log. Its methods may be called by many goroutines; only Ask blocks.
type Peers struct {
	listens chan struct{} // closed by Listen: until then nobody is heard or reached

	mu      sync.Mutex
	hearing Hearing
	wants   map[string]int // how often this node wants a key
	nodes   map[string]*peer
	asked   uint64 // questions so far
	asking  map[uint64]*asking
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
	said   []byte        // frames of questions and answers
	held   []byte        // frames of answers to a node that is heard and not reached yet
	late   bool          // it left a question unanswered, and has answered none since
	wake   chan struct{} // 1-buffered
}

type valueKey struct{ key, slot string }

func newPeers() *Peers {
	return &Peers{listens: make(chan struct{}), wants: map[string]int{}, nodes: map[string]*peer{}, asking: map[uint64]*asking{}}
}

// Listen sets what is done with what others say, and begins to reach them. Call it once.
func (p *Peers) Listen(h Hearing) {
	p.mu.Lock()
	p.hearing = h
	p.mu.Unlock()
	close(p.listens)
}

func (p *Peers) listening() Hearing {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.hearing
}

// Reached returns the nodes that can be told and asked things, and answer.
func (p *Peers) Reached() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []string
	for id, n := range p.nodes {
		if n.up && n.from != nil {
			out = append(out, id)
		}
	}
	return out
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
	n.delta, n.values, n.order, n.bytes, n.said = map[string]bool{}, map[valueKey][]byte{}, nil, 0, nil
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

// giveAll queues everything this node has to tell under a key. p.mu is not held: Kept has locks of its own.
func (p *Peers) giveAll(id, key string) {
	kept := p.listening().Kept
	if kept == nil {
		return
	}
	values := kept(key)
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
	n.said, n.held = n.held, nil
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
	if met := p.listening().Met; met != nil {
		met(id)
	}
	return n
}

func (p *Peers) disconnected(id string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := p.node(id)
	n.up = false
	n.clear()
	p.forget(id)
}

// take returns what waits for a node, as frames.
func (p *Peers) take(n *peer) []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := n.said // first: somebody waits for it
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
