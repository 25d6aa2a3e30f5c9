package transport

import (
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
)

// limiter counts connections, in all and per client address.
type limiter struct {
	all, per int    // 0 = no limit
	total    *Total // nil = no limit

	mu    sync.Mutex
	n     int
	addrs map[netip.Addr]int // only filled with a limit per address
}

// Total bounds the connections of several listeners together. Any number of goroutines may use it; nil bounds nothing.
type Total struct {
	limit int64
	n     atomic.Int64
}

// NewTotal makes a bound of that many connections.
func NewTotal(limit int) *Total { return &Total{limit: int64(limit)} }

func (t *Total) take() error {
	if t != nil && t.n.Add(1) > t.limit {
		t.n.Add(-1)
		return fmt.Errorf("%w: limit %d of the node", ErrTooManyConnections, t.limit)
	}
	return nil
}

func (t *Total) give() {
	if t != nil {
		t.n.Add(-1)
	}
}

func newLimiter(all, per int) *limiter {
	l := &limiter{all: all, per: per}
	if per > 0 {
		l.addrs = make(map[netip.Addr]int)
	}
	return l
}

// acquire takes a place for a client, or returns an error that wraps ErrTooManyConnections. release gives the place
// back and must be called once.
func (l *limiter) acquire(addr netip.Addr) (release func(), err error) {
	key := addressKey(addr)
	if err := l.take(key); err != nil {
		return nil, err
	}
	return func() { l.give(key) }, nil
}

func (l *limiter) take(key netip.Addr) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.all > 0 && l.n >= l.all {
		return fmt.Errorf("%w: limit %d", ErrTooManyConnections, l.all)
	}
	if l.per > 0 && key.IsValid() {
		if l.addrs[key] >= l.per {
			return fmt.Errorf("%w from %v: limit %d per address", ErrTooManyConnections, key, l.per)
		}
	}
	if err := l.total.take(); err != nil {
		return err
	}
	if l.per > 0 && key.IsValid() {
		l.addrs[key]++
	}
	l.n++
	return nil
}

func (l *limiter) give(key netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.n--
	l.total.give()
	if l.per > 0 && key.IsValid() {
		if l.addrs[key]--; l.addrs[key] == 0 {
			delete(l.addrs, key)
		}
	}
}

// addressKey is what the limit per address counts by: an IPv4 address, or the /64 that one IPv6 customer has.
func addressKey(addr netip.Addr) netip.Addr {
	addr = addr.Unmap()
	if !addr.Is6() {
		return addr
	}
	p, err := addr.WithZone("").Prefix(64)
	if err != nil {
		return addr
	}
	return p.Addr()
}
