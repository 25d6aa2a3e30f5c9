package transport

import (
	"fmt"
	"net/netip"
	"sync"
)

// limiter counts connections, in all and per client address.
type limiter struct {
	all, per int // 0 = no limit

	mu    sync.Mutex
	n     int
	addrs map[netip.Addr]int // only filled with a limit per address
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
		l.addrs[key]++
	}
	l.n++
	return nil
}

func (l *limiter) give(key netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.n--
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
