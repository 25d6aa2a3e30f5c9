package calls

import (
	"context"
	"time"

	"github.com/madang-chat/madang/hooks/auth"
	"github.com/madang-chat/madang/hooks/before"
	"github.com/madang-chat/madang/hooks/problem"
	"github.com/madang-chat/madang/storage"
)

// write proposes cmd and waits for its result: for AckWait, or as long as ctx lasts. A refusal by the log's rules is an
// error too.
func (c *Calls) write(ctx context.Context, cmd storage.Command) (storage.Result, error) {
	if ctx.Err() != nil {
		return storage.Result{}, problem.New(problem.NoQuorum, "The call ended before it began.")
	}
	return c.propose(ctx, cmd)()
}

// overloaded reports whether the log has more to write than it should: a call is told at once, since the log would tell it in
// its turn, after everything that came before, which on a node that is cut off is never.
func (c *Calls) overloaded() bool {
	return c.cfg.Log.Space() != nil
}

// propose hands cmd to the log; what it returns waits for the result.
func (c *Calls) propose(ctx context.Context, cmd storage.Command) (wait func() (storage.Result, error)) {
	return c.proposeIn(ctx, &before.Line{}, cmd)
}

// proposeIn is propose at cmd's turn in a line, after it was asked about, if it must be.
func (c *Calls) proposeIn(ctx context.Context, line *before.Line, cmd storage.Command) (wait func() (storage.Result, error)) {
	type answer struct {
		r   storage.Result
		err error
		bad *problem.Problem
	}
	done := make(chan answer, 1)
	line.Do(c.cfg.Before, cmd, func(bad *problem.Problem) {
		if bad != nil {
			done <- answer{bad: bad}
			return
		}
		if c.overloaded() {
			done <- answer{err: ErrOverloaded}
			return
		}
		c.cfg.Log.Propose(cmd, func(r storage.Result, err error) { done <- answer{r: r, err: err} })
	})
	return func() (storage.Result, error) {
		timer := time.NewTimer(c.limits().AckWait)
		defer timer.Stop()
		select {
		case a := <-done:
			if a.bad != nil {
				return storage.Result{}, a.bad
			}
			if a.err != nil {
				return storage.Result{}, logProblem(a.err)
			}
			if p := ProblemOf(a.r); p != nil {
				return a.r, p
			}
			return a.r, nil
		case <-timer.C:
		case <-ctx.Done():
		}
		return storage.Result{}, outcomeUnknown()
	}
}

// noGuest refuses what is for users only, before it reaches the log.
func noGuest(id auth.Identity, what string) error {
	if id.Guest {
		return problem.New(problem.GuestReadOnly, "Guests may not %s; log in.", what)
	}
	return nil
}

// Begin proposes cmd, about a room, and returns what waits for its result, until the room shows it here. It may be asked
// about first.
func (c *Calls) Begin(ctx context.Context, cmd storage.Command, room storage.RoomKey) (wait func() (storage.Result, error)) {
	return c.BeginIn(ctx, &before.Line{}, cmd, room)
}

// BeginIn is Begin for commands of one sender that are to be in the log in the order of the calls, whatever is asked about
// some of them before.
func (c *Calls) BeginIn(
	ctx context.Context, line *before.Line, cmd storage.Command, room storage.RoomKey,
) (wait func() (storage.Result, error)) {
	done := c.proposeIn(ctx, line, cmd)
	return func() (storage.Result, error) {
		res, err := done()
		if err != nil {
			return res, err
		}
		err = c.settled.wait(ctx, c.cfg.SettleWait, func() (bool, error) {
			r, err := c.cfg.Store.Room(room)
			return r == nil || r.Head.Seq >= res.Seq, err
		})
		if err != nil {
			c.log.Warn("what was stored cannot be seen here", "room", room.Room, "seq", res.Seq, "err", err)
		}
		return res, nil
	}
}
