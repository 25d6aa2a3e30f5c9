package auth

import (
	"context"
	"time"
)

// gateWait bounds the wait for a turn at hashing when the caller's context does not.
const gateWait = 10 * time.Second

// gate lets a fixed number of callers hash at once. Every hash takes a core and, with argon2id, 19 MiB or more, so
// without it a few hundred logins at a time would stop a node; the rest wait here, for at most gateWait.
type gate chan struct{}

// enter waits for a turn, which leave gives back. The error is a Refusal: the wait was too long.
func (g gate) enter(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, gateWait)
	defer cancel()
	select {
	case g <- struct{}{}:
		return nil
	case <-ctx.Done():
		return &Refusal{Code: CodeRateLimited, Title: "too many logins at once, try again", RetryAfter: time.Second}
	}
}

func (g gate) leave() { <-g }
