// Package quota bounds how much one user, or one address, may send in a time. A quota is shared by all connections and
// HTTP requests of its holder on this node; nothing of it is in the log.
package quota

import (
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/madang-chat/madang/hooks/auth"
	"github.com/madang-chat/madang/internal/clock"
)

// burst is for how many seconds' worth at once a holder that was quiet may send.
const burst = 4

// kept is how many holders without a connection are remembered; above it those who have their full quota go.
const kept = 10_000

// Limits of a holder; 0 = no limit.
type Limits struct {
	Messages int   // per second
	Bytes    int64 // per second
	Largest  int64 // bytes that must be possible at once, whatever Bytes says: the largest message
}

// Quotas holds the quotas of a node. It is safe for concurrent use.
type Quotas struct {
	limits Limits

	mu      sync.Mutex
	holders map[string]*Quota
	sweep   int // number of holders at which the next sweep is due
}

// New returns quotas with these limits.
func New(l Limits) *Quotas {
	return &Quotas{limits: l, holders: map[string]*Quota{}, sweep: kept}
}

// Holder names whose quota a connection or a request uses: guests share that of their address.
func Holder(id auth.Identity, addr netip.Addr) string {
	if id.Guest {
		return addr.String()
	}
	return id.Namespace + "/" + id.User
}

// Quota is what one holder may send. A nil Quota has no limits.
type Quota struct {
	of       *Quotas
	holder   string
	users    int // connections and requests that have it; under of.mu
	messages *rate.Limiter
	bytes    *rate.Limiter
}

// Of returns the holder's quota, nil when there are no limits. Call Done when it is not needed any more.
func (q *Quotas) Of(holder string) *Quota {
	if q == nil || q.limits.Messages <= 0 && q.limits.Bytes <= 0 {
		return nil
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	h := q.holders[holder]
	if h == nil {
		if len(q.holders) >= q.sweep {
			q.forget()
		}
		h = &Quota{of: q, holder: holder}
		if n := q.limits.Messages; n > 0 {
			h.messages = rate.NewLimiter(rate.Limit(n), burst*n)
		}
		if n := q.limits.Bytes; n > 0 {
			h.bytes = rate.NewLimiter(rate.Limit(n), int(max(burst*n, q.limits.Largest)))
		}
		q.holders[holder] = h
	}
	h.users++
	return h
}

// forget drops holders that are gone and have nothing to wait for: a new quota would be the same. q.mu is held.
func (q *Quotas) forget() {
	now := clock.Now()
	for name, h := range q.holders {
		if h.users == 0 && full(h.messages, now) && full(h.bytes, now) {
			delete(q.holders, name)
		}
	}
	q.sweep = max(kept, 2*len(q.holders))
}

func full(l *rate.Limiter, now time.Time) bool {
	return l == nil || l.TokensAt(now) >= float64(l.Burst())
}

// Done gives the quota back. What was used of it stays used.
func (h *Quota) Done() {
	if h == nil {
		return
	}
	h.of.mu.Lock()
	defer h.of.mu.Unlock()
	h.users--
}

// Take asks to send one message of that many bytes. 0 means yes; otherwise nothing is taken, and asking again makes
// sense after the time returned.
func (h *Quota) Take(bytes int) time.Duration {
	if h == nil {
		return 0
	}
	now := clock.Now()
	r, wait := reserve(h.messages, now, 1)
	if wait > 0 {
		return wait
	}
	if _, wait = reserve(h.bytes, now, bytes); wait > 0 && r != nil {
		r.CancelAt(now)
	}
	return wait
}

// reserve takes n tokens if they are there now.
func reserve(l *rate.Limiter, now time.Time, n int) (*rate.Reservation, time.Duration) {
	if l == nil {
		return nil, 0
	}
	r := l.ReserveN(now, min(n, l.Burst()))
	wait := r.DelayFrom(now)
	if wait > 0 {
		r.CancelAt(now)
	}
	return r, wait
}
