package broker

import (
	"context"
	"encoding/binary"
	"errors"
	"hash/fnv"
	"time"

	"github.com/madang-chat/madang/internal/clock"
	"github.com/madang-chat/madang/storage"
)

// One device has one connection, on whatever node. The log says so of stored sessions, a moment late; of others it knows
// nothing. So a node that takes a connection in claims the device of the nodes it can reach, and waits until an older
// connection there has ended, and its last words and what it may repeat are in the log. Claims are numbered like Lamport's
// clock, with the wall clock as its least value: whoever has heard of a claim makes a higher one, whatever its clock says,
// and of two that have not heard of each other one is higher all the same. Nodes that meet again tell each other all their
// claims.
//
// A question is any number of claims, each the namespace, user and client id behind their lengths, and the number, as
// uvarints; the answer is the highest number by which one of them is refused, 0 for none.

const (
	claimsPage  = 32 << 10               // bytes of claims that are told at once
	claimsAgain = 200 * time.Millisecond // before a page that was not answered is told again
)

// claimMark is the last byte of a node's claims: it tells nodes apart that have not heard of each other.
func claimMark(node string) byte {
	h := fnv.New32a()
	_, _ = h.Write([]byte(node)) // never fails (hash.Hash)
	return byte(h.Sum32())
}

// nextClaim returns a number above all that are known. b.mu is held.
func (b *Broker) nextClaim() uint64 {
	b.claims = max(b.claims>>8+1, uint64(clock.UnixMilli()))<<8 | uint64(b.mark)
	return b.claims
}

// claim makes c, which owns its device on this node, its one connection on all nodes that can be reached.
func (b *Broker) claim(c *client) error {
	question := appendClaim(nil, c.sid, c.claimed)
	for _, a := range b.cfg.Peers.Ask(c.ctx, "", question) {
		number, n := binary.Uvarint(a)
		if n <= 0 || number == 0 {
			continue
		}
		b.mu.Lock()
		b.claims = max(b.claims, number)
		b.mu.Unlock()
		c.taken.Store(true)
	}
	if c.taken.Load() {
		return &refusal{v5: reasonTakenOver, v3: v3Unavailable, why: "the device was taken over meanwhile"}
	}
	return nil
}

func appendClaim(dst []byte, sid storage.SessionID, number uint64) []byte {
	for _, s := range [...]string{sid.NS, sid.User, sid.Client} {
		dst = append(binary.AppendUvarint(dst, uint64(len(s))), s...)
	}
	return binary.AppendUvarint(dst, number)
}

var errClaim = errors.New("malformed claim")

// cutClaim takes a claim from the front of a question.
func cutClaim(b []byte) (sid storage.SessionID, number uint64, rest []byte, err error) {
	for _, s := range [...]*string{&sid.NS, &sid.User, &sid.Client} {
		n, size := binary.Uvarint(b)
		if size <= 0 || n > uint64(len(b)-size) {
			return sid, 0, nil, errClaim
		}
		*s, b = string(b[size:size+int(n)]), b[size+int(n):]
	}
	number, size := binary.Uvarint(b)
	if size <= 0 {
		return sid, 0, nil, errClaim
	}
	return sid, number, b[size:], nil
}

// Asked takes the claims of another node, and answers when those that are older have ended here. It does not block.
func (b *Broker) Asked(question []byte, answer func([]byte)) {
	if len(question) > 0 && question[0] == 0 {
		b.askedMore(question, answer)
		return
	}
	var refused uint64
	var ending []*client
	for len(question) > 0 {
		sid, number, rest, err := cutClaim(question)
		if err != nil {
			break // of a version that says more than this one knows
		}
		question = rest
		b.presence.Back(sid)
		b.mu.Lock()
		b.claims = max(b.claims, number)
		switch c := b.sessions[sid]; {
		case c == nil:
		case c.claimed >= number:
			refused = max(refused, c.claimed)
		default:
			ending = append(ending, c)
		}
		b.mu.Unlock()
	}
	for _, c := range ending {
		c.taken.Store(true)
		c.disconnect(reasonTakenOver)
	}
	ended := func() {
		for _, c := range ending {
			select {
			case <-c.released:
			case <-b.ctx.Done():
			}
		}
		answer(binary.AppendUvarint(nil, refused))
	}
	if len(ending) == 0 || !b.goRun(ended) {
		ended()
	}
}

// Met tells another node all claims of this one, since they may not have heard of each other for a while. It does not block.
func (b *Broker) Met(node string) {
	ctx, cancel := context.WithCancel(b.ctx)
	b.mu.Lock()
	before := b.meeting[node]
	b.meeting[node] = cancel
	b.mu.Unlock()
	if before != nil {
		before()
	}
	if !b.goRun(func() { b.tellClaims(ctx, node) }) || !b.goRun(func() { b.tellPresence(ctx, node) }) {
		cancel()
	}
}

func (b *Broker) tellClaims(ctx context.Context, node string) {
	var pages [][]byte
	var page []byte
	b.mu.Lock()
	for sid, c := range b.sessions {
		if page = appendClaim(page, sid, c.claimed); len(page) >= claimsPage {
			pages, page = append(pages, page), nil
		}
	}
	b.mu.Unlock()
	if page != nil {
		pages = append(pages, page)
	}
	for _, p := range pages { // one after the other, so that no queue overflows
		for len(b.cfg.Peers.Ask(ctx, node, p)) == 0 {
			t := time.NewTimer(claimsAgain)
			select {
			case <-t.C:
			case <-ctx.Done(): // also when the nodes meet anew
				t.Stop()
				return
			}
		}
	}
}
