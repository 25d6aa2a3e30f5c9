package auth

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"time"

	"github.com/madang-chat/madang/internal/clock"
)

// provenMemory bounds the passwords remembered as right; at about 200 bytes each.
const provenMemory = 65_536

// proven remembers for a short time which passwords were right, so that 10,000 devices that come back at once do not
// cost 10,000 memory-hard hashes. What it holds of a password is an HMAC under a key that this process drew at random
// and never shows; that is worth as much as the process's memory, where the password itself has just been. Only right
// answers are remembered: a wrong guess always pays the full hash and always counts for the back-off, which is asked
// first. The stored hash is part of the key, so an entry ends with the password it belongs to.
type proven struct {
	ttl  time.Duration
	key  [32]byte
	seen *lru[provenKey, time.Time] // -> end
}

type provenKey [sha256.Size]byte

// newProven returns nil, which remembers nothing, for a ttl of 0 or less.
func newProven(ttl time.Duration) *proven {
	if ttl <= 0 {
		return nil
	}
	p := &proven{ttl: ttl, seen: newLRU[provenKey, time.Time](provenMemory)}
	rand.Read(p.key[:]) // never fails
	return p
}

func (p *proven) keyOf(login string, password []byte, h *passwordHash) provenKey {
	mac := hmac.New(sha256.New, p.key[:])
	var n [8]byte
	for _, part := range [][]byte{[]byte(login), password, h.salt, h.sum} {
		binary.BigEndian.PutUint64(n[:], uint64(len(part)))
		mac.Write(n[:])
		mac.Write(part)
	}
	return provenKey(mac.Sum(nil))
}

// has reports whether the password was found right less than ttl ago.
func (p *proven) has(login string, password []byte, h *passwordHash) bool {
	if p == nil {
		return false
	}
	key := p.keyOf(login, password, h)
	end, ok := p.seen.get(key)
	if ok && !clock.Now().Before(end) {
		p.seen.delete(key)
		return false
	}
	return ok
}

// add remembers the password as right. It is never prolonged by use, only by the next full check.
func (p *proven) add(login string, password []byte, h *passwordHash) {
	if p == nil {
		return
	}
	end := clock.Now().Add(p.ttl)
	p.seen.update(p.keyOf(login, password, h), func(time.Time, bool) time.Time { return end })
}

func (p *proven) clear() {
	if p != nil {
		p.seen.clear()
	}
}
