package api

import (
	"container/list"
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/madang-chat/madang/hooks/calls"
	"github.com/madang-chat/madang/hooks/problem"
	"github.com/madang-chat/madang/internal/clock"
)

// What requests may hold in memory, all together.
const (
	maxBodies   = 64 << 20         // bytes of bodies that have arrived; the buffers they are read into are about twice as large
	maxAnswers  = 64 << 20         // bytes of large answers on their way
	largeAnswer = 64 << 10         // smaller ones are not counted: the socket takes them
	maxReads    = 16               // pages that are put together at the same time; others wait
	discardTime = 10 * time.Second // for what is left of a body that nobody reads
)

// budgets keep the memory of the node bounded, however many requests are open.
type budgets struct {
	bodies, answers transfers
	reads           chan struct{}
}

func newBudgets() *budgets {
	return &budgets{
		bodies: transfers{limit: maxBodies}, answers: transfers{limit: maxAnswers}, reads: make(chan struct{}, maxReads),
	}
}

// read waits for its turn to put a page together. The caller calls done unless there is an error.
func (b *budgets) read(ctx context.Context) (done func(), err error) {
	select {
	case b.reads <- struct{}{}:
		return func() { <-b.reads }, nil
	case <-ctx.Done():
		return nil, overloaded()
	}
}

func overloaded() *problem.Problem { return calls.Refused(calls.ErrOverloaded) }

// transfers are bodies or answers on their way, oldest first. A client that sends, or reads, is done in no time, so the
// oldest belongs to the slowest: when there is no memory left it is the one to go.
type transfers struct {
	limit int64

	mu    sync.Mutex
	held  int64
	order list.List // of *transfer
}

type transfer struct {
	of    *transfers
	cut   func() // called once at most, with of.mu held; it does not wait
	place *list.Element
	bytes int64
}

// begin counts a transfer until its end.
func (t *transfers) begin(cut func()) *transfer {
	t.mu.Lock()
	defer t.mu.Unlock()
	mine := &transfer{of: t, cut: cut}
	mine.place = t.order.PushBack(mine)
	return mine
}

// grow adds bytes and cuts older transfers if there are too many, this one only when it is the oldest.
func (x *transfer) grow(bytes int64) {
	x.of.mu.Lock()
	defer x.of.mu.Unlock()
	if x.place == nil {
		return
	}
	x.bytes += bytes
	x.of.held += bytes
	for x.of.held > x.of.limit && x.of.order.Len() > 1 {
		oldest := x.of.order.Front().Value.(*transfer)
		oldest.drop()
		oldest.cut()
	}
}

// end forgets the transfer. It may have been cut before.
func (x *transfer) end() {
	x.of.mu.Lock()
	defer x.of.mu.Unlock()
	x.drop()
}

// drop is end. of.mu is held.
func (x *transfer) drop() {
	if x.place == nil {
		return
	}
	x.of.held -= x.bytes
	x.of.order.Remove(x.place)
	x.place = nil
}

// long is past whatever deadline there was.
var long = time.Unix(1, 0)

// send writes a large answer that may be cut meanwhile.
func (t *transfers) send(w http.ResponseWriter, b []byte) (int, error) {
	control := http.NewResponseController(w)
	x := t.begin(func() { _ = control.SetWriteDeadline(long) })
	defer x.end()
	x.grow(int64(len(b)))
	return w.Write(b)
}

// errBodies ends a body for which there is no memory.
var errBodies = errors.New("too much of other requests waits in memory")

// errLong ends a body that is longer than any message may be.
var errLong = errors.New("the body is too long")

// body counts what arrives of a request, from the first byte that is read to the end of the request.
type body struct {
	io.ReadCloser
	of      *transfers
	control *http.ResponseController
	mine    *transfer // nil before the first Read
	cut     atomic.Bool
	left    int64 // bytes that may come yet; below 0: what is announced is too long, and not waited for
	err     error // that ended reading
}

// Read reads on as long as there is memory for it.
func (b *body) Read(p []byte) (n int, err error) {
	if b.mine == nil {
		b.mine = b.of.begin(func() {
			b.cut.Store(true)
			_ = b.control.SetReadDeadline(long)
		})
	}
	if b.left < 0 {
		return 0, errLong
	}
	n, err = b.ReadCloser.Read(p[:min(int64(len(p)), b.left+1)])
	b.mine.grow(int64(n))
	if b.cut.Load() {
		n, err = 0, errBodies
	}
	if err != nil {
		b.err = err
	}
	if b.left -= int64(n); b.left < 0 { // what more there is is for finish
		return 0, errLong
	}
	return n, err
}

// Close does nothing: net/http closes the body itself, after finish.
func (b *body) Close() error { return nil }

// finish gives back what the request held, and throws away what was not read of it, up to most bytes: a client that is
// still sending would be reset and never see why it was refused.
func (b *body) finish(r *http.Request, most int64) {
	if b.mine != nil {
		b.mine.end()
	}
	waits := b.mine == nil && r.Header.Get("Expect") != "" // it asks before it sends
	if b.err != nil || waits || r.ContentLength > most {
		return
	}
	_ = b.control.SetReadDeadline(clock.Now().Add(discardTime))
	_, _ = io.CopyN(io.Discard, b.ReadCloser, most) // whoever does not get it sent is reset after all
}
