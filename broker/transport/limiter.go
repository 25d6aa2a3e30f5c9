package transport

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/madang-chat/madang/hooks/limit"
)

// limiter counts connections, in all and per client address.
type limiter struct {
	all   int    // 0 = no limit
	total *Total // nil = no limit

	mu    sync.Mutex
	per   int // 0 = no limit
	n     int
	addrs map[netip.Addr]int
}

// Total bounds the connections of several listeners together. Any number of goroutines may use it; nil bounds nothing.
type Total struct {
	limit atomic.Int64
	n     atomic.Int64
}

// SetLimit changes the bound; who is in stays.
func (t *Total) SetLimit(limit int) { t.limit.Store(int64(limit)) }

// perAddress is the error of one address that has too many connections.
type perAddress struct {
	addr  netip.Addr
	limit int
}

func (e *perAddress) Error() string {
	return fmt.Sprintf("%s from %v: limit %d per address (%v)", ErrTooManyConnections, e.addr, e.limit, limit.ConnectionsPerAddress)
}

func (e *perAddress) Unwrap() error { return ErrTooManyConnections }

// limitOf is the limit that an error of acquire or take is about.
func limitOf(err error) limit.Key {
	if one := (*perAddress)(nil); errors.As(err, &one) {
		return limit.ConnectionsPerAddress
	}
	return limit.Connections
}

// NewTotal makes a bound of that many connections.
func NewTotal(limit int) *Total {
	t := new(Total)
	t.SetLimit(limit)
	return t
}

func (t *Total) take() error {
	if t == nil {
		return nil
	}
	if most := t.limit.Load(); t.n.Add(1) > most {
		t.n.Add(-1)
		return fmt.Errorf("%w: limit %d of the node (%v)", ErrTooManyConnections, most, limit.Connections)
	}
	return nil
}

func (t *Total) give() {
	if t != nil {
		t.n.Add(-1)
	}
}

func newLimiter(all, per int) *limiter {
	return &limiter{all: all, per: per, addrs: make(map[netip.Addr]int)}
}

// setPer changes the limit per address; who is in stays.
func (l *limiter) setPer(per int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.per = per
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
			return &perAddress{key, l.per}
		}
	}
	if err := l.total.take(); err != nil {
		return err
	}
	if key.IsValid() {
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
	if key.IsValid() {
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
