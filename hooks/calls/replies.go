package calls

import (
	"container/list"
	"context"
	"errors"
	"sync"
)

// Bounds of Replies.
const (
	maxReplies      = 64      // answers remembered
	maxRepliesBytes = 1 << 20 // bytes of them
	smallReply      = 4 << 10 // answers of writes are smaller; they are not pushed out by those of reads
)

// Replies remembers the answers of one connection, so that a call repeated under its id has no second effect. The oldest
// are forgotten, large ones first. They end with the connection: clients count their ids from 1 each time they connect, and
// one that was remembered longer would get the answer to another call. The zero value is ready; it is safe for concurrent use.
type Replies struct {
	mu    sync.Mutex
	byID  map[string]*reply
	order list.List // of *reply that are done, oldest first
	bytes int
}

type reply struct {
	id     string
	done   chan struct{} // closed when answer is set
	answer []byte
}

var errFailed = errors.New("the first call under this id failed")

// Do returns the answer to the call id: the remembered one, or that of run, which is then remembered. A call whose first
// run still goes on waits for it; the error says that it did not end in time, or in an answer. The answer must not be changed.
func (r *Replies) Do(ctx context.Context, id string, run func() []byte) ([]byte, error) {
	r.mu.Lock()
	if known := r.byID[id]; known != nil {
		r.mu.Unlock()
		return known.wait(ctx)
	}
	if r.byID == nil {
		r.byID = map[string]*reply{}
	}
	mine := &reply{id: id, done: make(chan struct{})}
	r.byID[id] = mine
	r.mu.Unlock()

	finished := false
	defer func() {
		if !finished { // run panicked: forget the call, let nobody wait for ever
			r.mu.Lock()
			delete(r.byID, id)
			r.mu.Unlock()
			close(mine.done)
		}
	}()
	mine.answer = run()
	finished = true
	close(mine.done)

	r.mu.Lock()
	defer r.mu.Unlock()
	r.order.PushBack(mine)
	r.bytes += len(mine.answer)
	r.forget()
	return mine.answer, nil
}

// wait returns the answer as soon as there is one. One that is there is given also to a caller whose time is up.
func (y *reply) wait(ctx context.Context) ([]byte, error) {
	select {
	case <-y.done:
	case <-ctx.Done():
		select {
		case <-y.done:
		default:
			return nil, ctx.Err()
		}
	}
	if y.answer == nil {
		return nil, errFailed
	}
	return y.answer, nil
}

// forget drops what is beyond the bounds. r.mu is held.
func (r *Replies) forget() {
	for e := r.order.Front(); e != nil && r.bytes > maxRepliesBytes; {
		next := e.Next()
		if len(e.Value.(*reply).answer) > smallReply {
			r.drop(e)
		}
		e = next
	}
	for r.order.Len() > maxReplies {
		r.drop(r.order.Front())
	}
}

func (r *Replies) drop(e *list.Element) {
	old := r.order.Remove(e).(*reply)
	r.bytes -= len(old.answer)
	delete(r.byID, old.id)
}
