package before

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/madang-chat/madang/hooks/envelope"
	"github.com/madang-chat/madang/hooks/problem"
	"github.com/madang-chat/madang/hooks/webhook"
	"github.com/madang-chat/madang/internal/clock"
	"github.com/madang-chat/madang/storage"
)

// Hook is whom to ask, as configured.
type Hook struct {
	Target      webhook.Target
	Closed      bool     // without an answer a message is refused
	Rooms       []string // globs; none = all
	Concurrency int
	Message     int // largest data in bytes
}

// Rooms is what an Asker reads of *storage.Store.
type Rooms interface {
	Room(k storage.RoomKey) (*storage.Room, error)
	HasCID(k storage.RoomKey, user, cid string) (bool, error)
}

const (
	maxWaiting = 10_000   // questions; beyond it readers wait
	maxBytes   = 64 << 20 // of what is asked about
	breakAfter = 5        // failures in a row: nobody is asked for a while
	breakTime  = 5 * time.Second
	retryLater = 5 * time.Second
	aroundData = 4 << 10 // of an answer
)

// Asker asks. It is safe for concurrent use; nil asks nobody.
type Asker struct {
	rooms Rooms
	log   *slog.Logger
	stats figures

	now     atomic.Pointer[asking] // nil = nobody is asked
	ctx     context.Context        // ends with Close
	cancel  context.CancelFunc
	mu      sync.Mutex // of Set and Close
	running sync.WaitGroup
}

// asking is one configuration, and the questions under it.
type asking struct {
	a    *Asker
	hook Hook
	to   poster

	mu      sync.Mutex
	queue   []*question
	active  int
	bytes   int64         // of all questions that are not answered
	count   int           // likewise
	space   chan struct{} // closed when there is room again; nil while there is
	failed  int           // in a row
	until   time.Time     // while failed is breakAfter and more: nobody is asked before it
	probing bool          // one question finds out whether the receiver is back
}

// poster is a *webhook.Endpoint.
type poster interface {
	Post(ctx context.Context, id string, body []byte) (webhook.Answer, error)
	Close()
}

type question struct {
	cmd    *storage.Append
	size   int64 // held until it is answered
	closed bool
	done   func(bad *problem.Problem)
}

// New returns an Asker that asks nobody until Set names somebody.
func New(rooms Rooms, log *slog.Logger) *Asker {
	a := &Asker{rooms: rooms, log: log.With("component", "before_send")}
	a.ctx, a.cancel = context.WithCancel(context.Background())
	return a
}

// Set says whom to ask from now on; nil is nobody. An error leaves everything as it was.
func (a *Asker) Set(h *Hook) error {
	if h == nil {
		a.put(nil)
		return nil
	}
	h.Target.Conns, h.Target.Answer = h.Concurrency, h.Message+aroundData
	e, err := webhook.NewEndpoint(h.Target)
	if err != nil {
		return fmt.Errorf("hooks.before_send: %w", err)
	}
	a.put(&asking{a: a, hook: *h, to: e})
	return nil
}

func (a *Asker) put(g *asking) {
	if old := a.now.Swap(g); old != nil {
		old.to.Close()
	}
}

// Close ends what is being asked: those questions are without an answer. Nothing of the Asker runs when it returns.
func (a *Asker) Close() {
	a.cancel()
	a.running.Wait()
	a.put(nil)
}

// Asks reports whether a message has to be asked about.
func (a *Asker) Asks(cmd *storage.Append) bool {
	if a == nil {
		return false
	}
	g := a.now.Load()
	if g == nil {
		return false
	}
	asks, _ := g.policy(cmd)
	return asks
}

// policy says whether a message is asked about, and what holds without an answer.
func (g *asking) policy(cmd *storage.Append) (asks, closed bool) {
	if cmd.Type == envelope.TypeDelete || cmd.Type == envelope.TypeReaction {
		return false, false
	}
	// What the store cannot tell is asked about: the log decides by itself afterwards.
	if room, err := g.a.rooms.Room(cmd.Room); err == nil && room != nil {
		switch room.BeforeSend {
		case storage.BeforeSendOff:
			return false, false
		case storage.BeforeSendOpen:
			return true, false
		case storage.BeforeSendClosed:
			return true, true
		case storage.BeforeSendDefault:
		}
	}
	return webhook.Match(g.hook.Rooms, cmd.Room.Room), g.hook.Closed
}

// Space returns nil, or, while too many questions wait, a channel that is closed when that has passed.
func (a *Asker) Space() <-chan struct{} {
	if a == nil {
		return nil
	}
	g := a.now.Load()
	if g == nil {
		return nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.space
}

// Ask asks about a message and calls done, once, from any goroutine: with nil when it may be proposed, as it is by then, else
// with why it may not. It does not wait. cmd belongs to the Asker until then.
func (a *Asker) Ask(cmd *storage.Append, done func(bad *problem.Problem)) {
	g := a.now.Load()
	if g == nil {
		done(nil)
		return
	}
	asks, closed := g.policy(cmd)
	if !asks { // it has changed meanwhile
		done(nil)
		return
	}
	q := &question{cmd: cmd, size: int64(len(cmd.Tail)), closed: closed, done: done}
	g.mu.Lock()
	g.count++
	g.bytes += q.size
	if g.space == nil && (g.count >= maxWaiting || g.bytes >= maxBytes) {
		g.space = make(chan struct{})
	}
	run := g.active < g.hook.Concurrency
	if run {
		g.active++
	} else {
		g.queue = append(g.queue, q)
	}
	g.mu.Unlock()
	if run {
		a.goRun(func() { g.work(q) }, func() { g.work(q) })
	}
}

// goRun runs f beside the caller, or instead on it when the Asker has ended: then f asks nobody and does not wait.
func (a *Asker) goRun(f, instead func()) {
	a.mu.Lock()
	if a.ctx.Err() == nil {
		a.running.Go(f)
		a.mu.Unlock()
		return
	}
	a.mu.Unlock()
	instead()
}

// Wait is Ask for one who may wait.
func (a *Asker) Wait(ctx context.Context, cmd *storage.Append) *problem.Problem {
	got := make(chan *problem.Problem, 1)
	a.Ask(cmd, func(bad *problem.Problem) { got <- bad })
	select {
	case bad := <-got:
		return bad
	case <-ctx.Done():
		return unanswered()
	}
}

// work answers a question, and then others that wait.
func (g *asking) work(q *question) {
	for q != nil {
		g.answer(q)
		g.mu.Lock()
		g.count--
		g.bytes -= q.size
		g.mu.Unlock()
		q = g.next()
	}
}

// next takes a question from the queue, or ends the work.
func (g *asking) next() (q *question) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.space != nil && g.count < maxWaiting/2 && g.bytes < maxBytes/2 {
		close(g.space)
		g.space = nil
	}
	if len(g.queue) == 0 {
		g.active--
		return nil
	}
	q, g.queue = g.queue[0], g.queue[1:]
	if len(g.queue) == 0 {
		g.queue = nil
	}
	return q
}

func (g *asking) answer(q *question) {
	c := q.cmd
	s := &g.a.stats
	if c.CID != "" {
		if known, err := g.a.rooms.HasCID(c.Room, c.From.User, c.CID); err == nil && known {
			q.done(nil)
			return
		}
	}
	if !g.admit() {
		s.skipped.Add(1)
		q.done(g.without(q))
		return
	}
	s.asked.Add(1)
	ans, err := g.ask(c)
	g.heard(err)
	if err != nil {
		s.failed.Add(1)
		q.done(g.without(q))
		return
	}
	switch ans.Action {
	case Deny:
		s.denied.Add(1)
		q.done(denied(ans.Reason))
	case Replace:
		s.replaced.Add(1)
		c.Tail = ans.Data
		q.done(nil)
	case Allow:
		s.allowed.Add(1)
		q.done(nil)
	}
}

// ask asks; the Data of a replacement is the whole tail of the message by then.
func (g *asking) ask(c *storage.Append) (Answer, error) {
	resp, err := g.to.Post(g.a.ctx, "msg_"+rand.Text(), g.body(c))
	switch {
	case err != nil:
		return Answer{}, err
	case resp.Cut:
		return Answer{}, errors.New("its answer is too long")
	case resp.Status != http.StatusOK:
		return Answer{}, fmt.Errorf("it answered %d", resp.Status)
	}
	// An answer may hold data as large as the message it replaces.
	ans, err := ParseAnswer(resp.Body)
	if err != nil || ans.Action != Replace {
		return ans, err
	}
	if len(ans.Data) > g.hook.Message {
		return Answer{}, fmt.Errorf("its data has %d bytes, at most %d may be", len(ans.Data), g.hook.Message)
	}
	tail, bad := envelope.ReplaceData(c.Type, c.Tail, ans.Data)
	if bad != nil {
		return Answer{}, fmt.Errorf("its data cannot be used: %s", bad.Sentence())
	}
	ans.Data = tail
	return ans, nil
}

// body is the question: the message with all that is said in it, as it would be delivered.
func (g *asking) body(c *storage.Append) []byte {
	e := webhook.Event{Type: "message.before_send", At: clock.UnixMilli(), Namespace: c.Room.NS}
	b := envelope.AppendString([]byte(`{"room":`), c.Room.Room)
	b = envelope.AppendString(append(b, `,"from":{"user":`...), c.From.User)
	if c.From.Name != "" {
		b = envelope.AppendString(append(b, `,"name":`...), c.From.Name)
	}
	if c.From.Guest {
		b = append(b, `,"guest":true`...)
	}
	if c.Device != "" {
		b = envelope.AppendString(append(b, `,"device":`...), c.Device)
	}
	b = envelope.AppendString(append(b, `},"type":`...), c.Type)
	e.Data = append(append(b, c.Tail...), '}')
	return e.Body()
}

// admit reports whether the receiver may be asked now. While it is thought dead one question at a time finds out.
func (g *asking) admit() bool {
	if g.a.ctx.Err() != nil {
		return false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.failed < breakAfter {
		return true
	}
	if g.probing || clock.Now().Before(g.until) {
		return false
	}
	g.probing = true
	return true
}

// heard notes how a question ended.
func (g *asking) heard(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.probing = false
	if err == nil {
		if g.failed >= breakAfter {
			g.a.log.Info("answers come again")
		}
		g.failed = 0
		return
	}
	if g.failed++; g.failed >= breakAfter {
		if g.failed == breakAfter {
			g.a.log.Warn("nobody is asked for a while: no answers come", "err", err)
		}
		g.until = clock.Now().Add(breakTime)
	}
}

// broken reports whether nobody is asked just now.
func (g *asking) broken() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.failed >= breakAfter
}

// without is what holds without an answer.
func (g *asking) without(q *question) *problem.Problem {
	if q.closed {
		return unanswered()
	}
	return nil
}

// unanswered refuses a message about which there is no answer. As with a node that is overloaded it is nobody's doing, and
// may be taken later.
func unanswered() *problem.Problem {
	p := problem.New(problem.RateLimited, "Messages of this room are checked before they are taken, and the check does not answer; try again.")
	p.Status = http.StatusServiceUnavailable
	return p.After(retryLater)
}

func denied(reason string) *problem.Problem {
	if reason == "" {
		reason = "This message is not taken here."
	}
	return problem.New(problem.Forbidden, "%s", reason)
}
