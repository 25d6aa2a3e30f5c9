// Package quota bounds how much one user, one address or one room may take in a time. A quota is shared by all connections
// and HTTP requests of its holder on this node; nothing of it is in the log.
package quota

import (
	"hash/maphash"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/madang-chat/madang/hooks/auth"
	"github.com/madang-chat/madang/hooks/limit"
	"github.com/madang-chat/madang/hooks/problem"
	"github.com/madang-chat/madang/internal/clock"
)

// burst is for how many seconds' worth at once a holder that was quiet may send.
const burst = 4

// kept is how many holders without a connection are remembered; above it those who have their full quota go.
const kept = 10_000

// shards spread the holders, so that connections do not wait for each other where they look one up.
const shards = 16

// Limits of a holder; 0 = no limit.
type Limits struct {
	Messages int   // per second
	Bytes    int64 // per second
	Largest  int64 // bytes that must be possible at once, whatever Bytes says: the largest message

	// What a refusal says: the limits' keys, and how its sentence begins, such as "A user sends at most".
	MessagesKey, BytesKey limit.Key
	Says                  string
}

// Name is who holds a quota: a user or a room of a namespace, or an address.
type Name struct{ NS, Name string }

// Quotas holds the quotas of a node. It is safe for concurrent use.
type Quotas struct {
	limits atomic.Pointer[Limits]
	began  time.Time
	seed   maphash.Seed
	shards [shards]shard
}

type shard struct {
	mu      sync.Mutex
	holders map[Name]*Quota
	sweep   int // number of holders at which the next sweep is due
}

// New returns quotas with these limits.
func New(l Limits) *Quotas {
	q := &Quotas{began: clock.Now(), seed: maphash.MakeSeed()}
	q.limits.Store(&l)
	for i := range q.shards {
		q.shards[i].holders, q.shards[i].sweep = map[Name]*Quota{}, kept/shards
	}
	return q
}

// Set changes the limits, for those who hold a quota too. Where they are others than before, everybody has the full quota: what
// was used was used at another rate.
func (q *Quotas) Set(l Limits) {
	if old := q.limits.Swap(&l); *old == l {
		return
	}
	for i := range q.shards {
		s := &q.shards[i]
		s.mu.Lock()
		for _, h := range s.holders {
			h.messages.until.Store(0)
			h.bytes.until.Store(0)
		}
		s.mu.Unlock()
	}
}

// Holder names whose quota a connection or a request uses: guests share that of their address.
func Holder(id auth.Identity, addr netip.Addr) Name {
	if id.Guest {
		return Address(addr)
	}
	return Name{id.Namespace, id.User}
}

// Address names the quota of an address: an IPv4 address, or the /64 that one IPv6 customer has.
func Address(addr netip.Addr) Name {
	addr = addr.Unmap().WithZone("")
	if addr.Is6() {
		p, _ := addr.Prefix(64) // 64 is always in range
		addr = p.Addr()
	}
	return Name{"", addr.String()}
}

// Quota is what one holder may send. A nil Quota has no limits.
type Quota struct {
	of    *Quotas
	users atomic.Int32 // connections and requests that have it; raised under the shard's lock

	messages, bytes bucket
}

// bucket says when it would be full again if nothing more were taken, in ns since Quotas.began. What is taken puts that
// off; a bucket that is full is in the past.
type bucket struct{ until atomic.Int64 }

// take puts the time off by cost, unless it would then be more than deep away: then it returns for how long to wait.
func (b *bucket) take(now, cost, deep int64) (wait int64) {
	for {
		old := b.until.Load()
		next := max(old, now) + cost
		if next > now+deep {
			return next - now - deep
		}
		if b.until.CompareAndSwap(old, next) {
			return 0
		}
	}
}

// Of returns the holder's quota, nil of nil Quotas. Call Done when it is not needed any more.
func (q *Quotas) Of(holder Name) *Quota {
	if q == nil {
		return nil
	}
	s := &q.shards[maphash.Comparable(q.seed, holder)%shards]
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.holders[holder]
	if h == nil {
		if len(s.holders) >= s.sweep {
			s.forget(q.now())
		}
		h = &Quota{of: q}
		s.holders[holder] = h
	}
	h.users.Add(1)
	return h
}

// On reports whether there is any limit: for who looks a holder up for each message.
func (q *Quotas) On() bool {
	if q == nil {
		return false
	}
	l := q.limits.Load()
	return l.Messages > 0 || l.Bytes > 0
}

// now is the time in ns, on a clock that never goes back.
func (q *Quotas) now() int64 { return int64(clock.Since(q.began)) }

// forget drops holders that are gone and have nothing to wait for: a new quota would be the same. s.mu is held.
func (s *shard) forget(now int64) {
	for name, h := range s.holders {
		if h.users.Load() == 0 && h.messages.until.Load() <= now && h.bytes.until.Load() <= now {
			delete(s.holders, name)
		}
	}
	s.sweep = max(kept/shards, 2*len(s.holders))
}

// Done gives the quota back. What was used of it stays used.
func (h *Quota) Done() {
	if h != nil {
		h.users.Add(-1)
	}
}

// Limited reports whether there is any limit.
func (h *Quota) Limited() bool { return h != nil && h.of.On() }

// Take asks to send one message of that many bytes. 0 means yes; otherwise nothing is taken, and asking again makes
// sense after the time returned.
func (h *Quota) Take(bytes int) time.Duration {
	wait, _ := h.take(bytes)
	return wait
}

// Refuse is Take that returns the refusal, nil when there is none.
func (h *Quota) Refuse(bytes int) *problem.Problem {
	wait, inBytes := h.take(bytes)
	if wait == 0 {
		return nil
	}
	l := h.of.limits.Load()
	if inBytes {
		return problem.Over(problem.RateLimited, l.BytesKey, "%s %d bytes a second; slow down.", l.Says, l.Bytes).After(wait)
	}
	return problem.Over(problem.RateLimited, l.MessagesKey, "%s %d messages a second; slow down.", l.Says, l.Messages).After(wait)
}

func (h *Quota) take(bytes int) (wait time.Duration, inBytes bool) {
	if h == nil {
		return 0, false
	}
	l := h.of.limits.Load()
	if l.Messages <= 0 && l.Bytes <= 0 {
		return 0, false
	}
	now, cost := h.of.now(), int64(0)
	if l.Messages > 0 {
		cost = int64(time.Second) / int64(l.Messages)
		if wait := h.messages.take(now, cost, burst*int64(time.Second)); wait > 0 {
			return time.Duration(wait), false
		}
	}
	if l.Bytes > 0 {
		deep := max(burst*l.Bytes, l.Largest)
		if wait := h.bytes.take(now, inTime(min(int64(bytes), deep), l.Bytes), inTime(deep, l.Bytes)); wait > 0 {
			h.messages.until.Add(-cost)
			return time.Duration(wait), true
		}
	}
	return 0, false
}

// inTime is how long n bytes take at a rate, in ns. It may be off by a billionth, and never overflows.
func inTime(n, rate int64) int64 {
	return n/rate*int64(time.Second) + int64(float64(n%rate)/float64(rate)*float64(time.Second))
}
