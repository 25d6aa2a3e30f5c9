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

// hearPeer is the other end of a stream.
func (n *Node) hearPeer(c *link.Conn) {
	p := n.peers
	select {
	case <-p.listens:
	case <-n.ctx.Done():
		return
	}
	if !n.IsMember(c.Peer) {
		return // or not yet, as far as this node knows; it tries again
	}
	p.mu.Lock()
	from := p.node(c.Peer)
	from.from, from.wants, from.held = c, map[string]struct{}{}, nil
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if from.from == c { // else a newer stream has come
			from.from, from.wants, from.held = nil, map[string]struct{}{}, nil
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
	said, err := decodePeerFrame(b)
	if err != nil {
		return err
	}
	p.mu.Lock()
	h := p.hearing
	from := p.node(c.Peer)
	current := from.from == c
	switch {
	case !current:
	case said.kind == kindWant:
		from.wants[said.key] = struct{}{}
	case said.kind == kindUnwant:
		delete(from.wants, said.key)
	case said.kind == kindAnswer:
		p.answered(c.Peer, said.number, said.data)
	}
	p.mu.Unlock()
	switch {
	case said.kind == kindValue && h.Told != nil:
		h.Told(said.key, said.slot, said.data)
	case said.kind == kindWant && current:
		p.giveAll(c.Peer, said.key)
	case said.kind == kindAsk && h.Asked != nil:
		h.Asked(said.data, func(answer []byte) { p.answer(c.Peer, said.number, answer) })
	}
	return nil
}

// keepPeers keeps a stream to every other member.
func (n *Node) keepPeers() {
	select {
	case <-n.peers.listens:
	case <-n.ctx.Done():
		return
	}
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
		n.peers.keepOnly(members)
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
	pause := peerPause
	for ctx.Err() == nil {
		c, err := n.cfg.Port.Dial(ctx, m.Address, protoPeers, m.ID)
		if err == nil {
			pause = peerPause
			err = n.speakOn(ctx, c, n.peers.connected(m.ID))
			n.peers.disconnected(m.ID)
		}
		if ctx.Err() == nil {
			n.log.Debug("no stream to a node", "node", m.ID, "err", err)
			sleep(ctx, pause)
			pause = min(2*pause, peerBackOff)
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

// keepOnly stops hearing those who are not members any more.
func (p *Peers) keepOnly(members []Member) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for id, n := range p.nodes {
		if n.from != nil && len(members) > 0 && !slices.ContainsFunc(members, func(m Member) bool { return m.ID == id }) {
			_ = n.from.Close()
		}
	}
}
