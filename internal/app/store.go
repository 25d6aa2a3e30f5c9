package app

import (
	"context"
	"time"

	"github.com/madang-chat/madang/storage"
)

// openStore opens the store, or returns why it cannot be written while it does not open.
func (a *App) openStore(so storage.Options) (*storage.Store, error) {
	type result struct {
		store *storage.Store
		err   error
	}
	opened := make(chan result, 1)
	go func() {
		s, err := storage.Open(so)
		opened <- result{s, err}
	}()
	select {
	case r := <-opened:
		return r.store, r.err
	case err := <-a.failed:
		return nil, err // it tries for ever, until the process ends
	}
}

// within lets f end later than ctx: a store whose disk has failed may hold its locks for good, and the process is to end.
func within(f func() error) func(ctx context.Context) error {
	return func(ctx context.Context) error {
		done := make(chan error, 1)
		go func() { done <- f() }()
		select {
		case err := <-done:
			return err
		case <-ctx.Done():
		}
		select {
		case err := <-done:
			return err
		case <-time.After(lateGrace):
			return context.Cause(ctx)
		}
	}
}

// lateGrace is what a step of the end gets when the time for all of them is over already.
const lateGrace = time.Second
