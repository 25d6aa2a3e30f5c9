package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/madang-chat/madang/cluster/link"
)

// protoRaft is what raft speaks on the cluster port.
const protoRaft = "madang-raft/1"

const (
	raftIOTime = 10 * time.Second
	raftPool   = 3 // idle connections kept to a node
)

// raftTransport is raft's transport over the cluster port. Raft's own takes whatever an RPC says of its sender for true;
// here what a connection carries must come from the node whose certificate opened it.
//
// Calls go out through one raft.NetworkTransport. For what comes in there is one per node, since raft's does not tell
// which connection an RPC came by.
type raftTransport struct {
	*raft.NetworkTransport // calls out

	port    *link.Port
	address raft.ServerAddress // as others reach this node
	log     *slog.Logger
	rpcs    chan raft.RPC
	done    chan struct{}
	running sync.WaitGroup
	gate    atomic.Bool // what others call is taken
	muted   atomic.Bool // the disk hangs: nobody is called, and what others call is refused

	mu        sync.Mutex
	in        map[string]*inbound
	out       map[*watched]struct{} // connections for calls out
	heartbeat func(raft.RPC)
	closed    bool
}

// newRaftTransport takes the raft protocol of a port.
func newRaftTransport(port *link.Port, address string, log *slog.Logger) *raftTransport {
	t := &raftTransport{
		port: port, address: raft.ServerAddress(address), log: log, rpcs: make(chan raft.RPC), done: make(chan struct{}),
		in: map[string]*inbound{}, out: map[*watched]struct{}{},
	}
	t.NetworkTransport = t.network(&dialer{t: t, done: t.done})
	port.Handle(protoRaft, t.serve)
	return t
}

func (t *raftTransport) network(s raft.StreamLayer) *raft.NetworkTransport {
	return raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream: s, MaxPool: raftPool, Timeout: raftIOTime, Logger: newHCLogger(t.log, "raft"),
	})
}

// inbound is what one node says to this one.
type inbound struct {
	streams chan net.Conn
	trans   *raft.NetworkTransport
}

// serve hands a connection of a node to raft and waits for its end.
func (t *raftTransport) serve(c *link.Conn) {
	in := t.inboundOf(c.Peer)
	if in == nil {
		return
	}
	end := make(chan struct{})
	select {
	case in.streams <- &watched{Conn: c, ended: func() { close(end) }}:
	case <-t.done:
		return
	}
	select {
	case <-end:
	case <-t.done:
	}
}

func (t *raftTransport) inboundOf(peer string) *inbound {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil
	}
	in := t.in[peer]
	if in == nil {
		in = &inbound{streams: make(chan net.Conn)}
		in.trans = t.network(&acceptor{t: t, streams: in.streams, done: t.done})
		in.trans.SetHeartbeatHandler(func(rpc raft.RPC) { t.beat(peer, rpc) })
		t.in[peer] = in
		t.running.Go(func() { t.relay(peer, in.trans) })
	}
	return in
}

// relay passes on what a node calls, if it is true who it says it is.
func (t *raftTransport) relay(peer string, from *raft.NetworkTransport) {
	for {
		select {
		case rpc := <-from.Consumer():
			if !t.genuine(peer, rpc) {
				continue
			}
			select {
			case t.rpcs <- rpc:
			case <-t.done:
				return
			}
		case <-t.done:
			return
		}
	}
}

func (t *raftTransport) beat(peer string, rpc raft.RPC) {
	t.mu.Lock()
	f := t.heartbeat
	t.mu.Unlock()
	switch {
	case !t.genuine(peer, rpc):
	case f != nil:
		f(rpc)
	default:
		rpc.Respond(nil, raft.ErrTransportShutdown)
	}
}

// open lets others in. Until then a node with an empty disk answers nobody: a cluster that knows another disk under its
// name and address would fill it, and take its vote for the one that was given there.
func (t *raftTransport) open() { t.gate.Store(true) }

// mute ends the calls that are out and lets nobody call or be called, until it is called with false: see stalls.
func (t *raftTransport) mute(on bool) {
	t.muted.Store(on)
	if !on {
		return
	}
	t.mu.Lock()
	out := slices.Collect(maps.Keys(t.out))
	t.mu.Unlock()
	for _, c := range out {
		_ = c.Conn.Close() // its user closes the rest
	}
}

// errNotTakenIn answers whoever calls a node that has not been let into a cluster.
var errNotTakenIn = errors.New("this node's disk is empty and it has not been taken in")

// errNotYourself answers a call whose sender is another node than the certificate's.
var errNotYourself = errors.New("the certificate is another node's")

// genuine says whether a call may be taken: it names the node it came from, and this node takes part. It refuses others.
func (t *raftTransport) genuine(peer string, rpc raft.RPC) bool {
	if !t.gate.Load() {
		rpc.Respond(nil, errNotTakenIn)
		return false
	}
	if t.muted.Load() {
		rpc.Respond(nil, ErrStalled)
		return false
	}
	h, ok := rpc.Command.(raft.WithRPCHeader)
	if ok && string(h.GetRPCHeader().ID) == peer {
		return true
	}
	t.log.Warn("a node called in the name of another; its call was refused", "node", peer)
	rpc.Respond(nil, errNotYourself)
	return false
}

// Consumer implements raft.Transport.
func (t *raftTransport) Consumer() <-chan raft.RPC { return t.rpcs }

// LocalAddr implements raft.Transport.
func (t *raftTransport) LocalAddr() raft.ServerAddress { return t.address }

// SetHeartbeatHandler implements raft.Transport.
func (t *raftTransport) SetHeartbeatHandler(f func(raft.RPC)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.heartbeat = f
}

// Close ends all connections, and with them all calls, which would else wait for their time-outs: for a node that has
// stopped, or to one. The port is its owner's.
func (t *raftTransport) Close() error {
	t.mu.Lock()
	again := t.closed
	t.closed = true
	networks, out := []*raft.NetworkTransport{t.NetworkTransport}, slices.Collect(maps.Keys(t.out))
	for _, in := range t.in {
		networks = append(networks, in.trans)
	}
	t.mu.Unlock()
	if again {
		return nil
	}
	close(t.done)
	var errs []error
	for _, n := range networks {
		errs = append(errs, n.Close())
		n.CloseStreams()
	}
	for _, c := range out {
		_ = c.Conn.Close() // its user closes the rest
	}
	t.running.Wait()
	return errors.Join(errs...)
}

// target is an address as the dialer needs it: with the id of the node that must be there.
func target(id raft.ServerID, at raft.ServerAddress) raft.ServerAddress {
	return raft.ServerAddress(string(id) + "\x00" + string(at))
}

// AppendEntriesPipeline implements raft.Transport.
func (t *raftTransport) AppendEntriesPipeline(id raft.ServerID, at raft.ServerAddress) (raft.AppendPipeline, error) {
	if t.muted.Load() {
		return nil, ErrStalled
	}
	p, err := t.NetworkTransport.AppendEntriesPipeline(id, target(id, at))
	if err != nil {
		return nil, err
	}
	return newPipeline(p), nil
}

// AppendEntries implements raft.Transport.
func (t *raftTransport) AppendEntries(id raft.ServerID, at raft.ServerAddress, args *raft.AppendEntriesRequest,
	resp *raft.AppendEntriesResponse,
) error {
	if t.muted.Load() {
		return ErrStalled
	}
	return t.NetworkTransport.AppendEntries(id, target(id, at), args, resp)
}

// RequestVote implements raft.Transport.
func (t *raftTransport) RequestVote(id raft.ServerID, at raft.ServerAddress, args *raft.RequestVoteRequest,
	resp *raft.RequestVoteResponse,
) error {
	if t.muted.Load() {
		return ErrStalled
	}
	return t.NetworkTransport.RequestVote(id, target(id, at), args, resp)
}

// RequestPreVote implements raft.WithPreVote.
func (t *raftTransport) RequestPreVote(id raft.ServerID, at raft.ServerAddress, args *raft.RequestPreVoteRequest,
	resp *raft.RequestPreVoteResponse,
) error {
	if t.muted.Load() {
		return ErrStalled
	}
	return t.NetworkTransport.RequestPreVote(id, target(id, at), args, resp)
}

// InstallSnapshot implements raft.Transport.
func (t *raftTransport) InstallSnapshot(id raft.ServerID, at raft.ServerAddress, args *raft.InstallSnapshotRequest,
	resp *raft.InstallSnapshotResponse, data io.Reader,
) error {
	if t.muted.Load() {
		return ErrStalled
	}
	return t.NetworkTransport.InstallSnapshot(id, target(id, at), args, resp, data)
}

// TimeoutNow implements raft.Transport.
func (t *raftTransport) TimeoutNow(id raft.ServerID, at raft.ServerAddress, args *raft.TimeoutNowRequest,
	resp *raft.TimeoutNowResponse,
) error {
	if t.muted.Load() {
		return ErrStalled
	}
	return t.NetworkTransport.TimeoutNow(id, target(id, at), args, resp)
}

// dialer is the stream layer of calls out: it accepts nothing.
type dialer struct {
	t    *raftTransport
	done chan struct{}
}

func (d *dialer) Dial(at raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	id, address, ok := strings.Cut(string(at), "\x00")
	if !ok {
		return nil, fmt.Errorf("address %q without a node", at)
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	go func() { // raft waits for its calls when it stops, and a node that is away does not answer soon
		select {
		case <-d.done:
			cancel()
		case <-ctx.Done():
		}
	}()
	c, err := d.t.port.Dial(ctx, address, protoRaft, id)
	if err != nil {
		return nil, err
	}
	t := d.t
	w := &watched{Conn: c}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		_ = c.Close()
		return nil, raft.ErrTransportShutdown
	}
	if t.muted.Load() {
		_ = c.Close()
		return nil, ErrStalled
	}
	t.out[w] = struct{}{}
	w.ended = func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		delete(t.out, w)
	}
	return w, nil
}

func (d *dialer) Accept() (net.Conn, error) {
	<-d.done
	return nil, net.ErrClosed
}
func (d *dialer) Close() error   { return nil }
func (d *dialer) Addr() net.Addr { return d.t.port.Addr() }

// acceptor is the stream layer of what one node says: it calls nobody.
type acceptor struct {
	t       *raftTransport
	streams chan net.Conn
	done    chan struct{}
}

func (a *acceptor) Accept() (net.Conn, error) {
	select {
	case c := <-a.streams:
		return c, nil
	case <-a.done:
		return nil, net.ErrClosed
	}
}
func (a *acceptor) Close() error   { return nil }
func (a *acceptor) Addr() net.Addr { return a.t.port.Addr() }

func (a *acceptor) Dial(raft.ServerAddress, time.Duration) (net.Conn, error) {
	return nil, errors.ErrUnsupported
}

// watched is a connection whose end somebody waits for.
type watched struct {
	net.Conn
	once  sync.Once
	ended func()
}

func (w *watched) Close() error {
	err := w.Conn.Close()
	w.once.Do(w.ended)
	return err
}

var (
	_ raft.Transport   = (*raftTransport)(nil)
	_ raft.WithPreVote = (*raftTransport)(nil)
	_ raft.WithClose   = (*raftTransport)(nil)
)
