package broker

import (
	"context"
	"time"

	"github.com/madang-chat/madang/storage"
)

// whenTold does a piece of the leader's work when this node comes to lead, when something has changed that concerns it, and
// after the pause that the work itself asked for, until ctx ends.
func whenTold(
	ctx context.Context, store *storage.Store, leader Leader,
	concerns func(*storage.Changes) bool, do func(context.Context) time.Duration,
) {
	watch := store.Watch()
	defer watch.Close()
	again := time.NewTimer(never)
	defer again.Stop()
	for {
		changes := leader.LeaderChanges()
		if leader.IsLeader() {
			again.Reset(do(ctx))
		}
		for wait := true; wait; {
			select {
			case <-ctx.Done():
				return
			case <-changes:
				wait = false
			case <-again.C:
				wait = false
			case <-watch.Wake():
				ch := watch.Take()
				wait = !concerns(&ch)
			}
		}
	}
}

// proposeTo proposes a command and waits for its result; the error is the log's, or that of ctx.
func proposeTo(ctx context.Context, log Log, cmd storage.Command) (storage.Result, error) {
	type answer struct {
		r   storage.Result
		err error
	}
	got := make(chan answer, 1)
	log.Propose(cmd, func(r storage.Result, err error) { got <- answer{r, err} })
	select {
	case a := <-got:
		return a.r, a.err
	case <-ctx.Done():
		return storage.Result{}, ctx.Err()
	}
}
