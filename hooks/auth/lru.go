package auth

import (
	"container/list"
	"sync"
)

// lru is a map of bounded size that forgets what was not used for longest. It is safe for concurrent use.
type lru[K comparable, V any] struct {
	limit int

	mu    sync.Mutex
	order *list.List // of *lruEntry, the newest first
	byKey map[K]*list.Element
}

type lruEntry[K comparable, V any] struct {
	key   K
	value V
}

func newLRU[K comparable, V any](limit int) *lru[K, V] {
	return &lru[K, V]{limit: limit, order: list.New(), byKey: map[K]*list.Element{}}
}

// get returns the value of key and counts as a use of it.
func (c *lru[K, V]) get(key K) (value V, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.byKey[key]
	if !ok {
		return value, false
	}
	c.order.MoveToFront(e)
	return e.Value.(*lruEntry[K, V]).value, true
}

// update sets the value of key to change(old value); had tells whether there was one. change runs under the lock.
func (c *lru[K, V]) update(key K, change func(old V, had bool) V) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.byKey[key]; ok {
		entry := e.Value.(*lruEntry[K, V])
		entry.value = change(entry.value, true)
		c.order.MoveToFront(e)
		return
	}
	if c.order.Len() >= c.limit {
		oldest := c.order.Back()
		delete(c.byKey, oldest.Value.(*lruEntry[K, V]).key)
		c.order.Remove(oldest)
	}
	var zero V
	c.byKey[key] = c.order.PushFront(&lruEntry[K, V]{key, change(zero, false)})
}

func (c *lru[K, V]) delete(key K) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.byKey[key]; ok {
		delete(c.byKey, key)
		c.order.Remove(e)
	}
}

func (c *lru[K, V]) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.order.Init()
	clear(c.byKey)
}

func (c *lru[K, V]) len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.order.Len()
}
