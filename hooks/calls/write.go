package calls

import (
	"context"
	"time"

	"github.com/madang-chat/madang/hooks/auth"
	"github.com/madang-chat/madang/hooks/problem"
	"github.com/madang-chat/madang/storage"
)

// write proposes cmd and waits for its result: for AckWait, or as long as ctx lasts. A refusal by the log's rules is an
// error too.
func (c *Calls) write(ctx context.Context, cmd storage.Command) (storage.Result, error) {
	type answer struct {
		r   storage.Result
		err error
	}
	if ctx.Err() != nil {
		return storage.Result{}, problem.New(problem.NoQuorum, "The call ended before it began.")
	}
	done := make(chan answer, 1)
	c.cfg.Log.Propose(cmd, func(r storage.Result, err error) { done <- answer{r, err} })
	timer := time.NewTimer(c.cfg.AckWait)
	defer timer.Stop()
	select {
	case a := <-done:
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

// noGuest refuses what is for users only, before it reaches the log.
func noGuest(id auth.Identity, what string) error {
	if id.Guest {
		return problem.New(problem.GuestReadOnly, "Guests may not %s; log in.", what)
	}
	return nil
}
