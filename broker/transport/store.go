package transport

import (
	"math/bits"
	"sync"
)

const (
	// storeSize is the read buffer a connection takes when bytes arrive.
	storeSize = 8 << 10
)

// store is a read buffer. Its size is a power of two of at least storeSize.
type store struct{ b []byte }

// stores[i] holds buffers of storeSize<<i bytes.
var stores [6]sync.Pool

// takeStore returns a buffer of at least size bytes.
func takeStore(size int) *store {
	i := storeClass(size)
	if i >= len(stores) {
		return &store{b: make([]byte, storeSize<<i)}
	}
	if s, ok := stores[i].Get().(*store); ok {
		return s
	}
	return &store{b: make([]byte, storeSize<<i)}
}

// free gives the buffer back; it must not be used afterwards.
func (s *store) free() {
	if i := storeClass(len(s.b)); i < len(stores) {
		stores[i].Put(s)
	}
}

// storeClass is the smallest i with storeSize<<i >= size.
func storeClass(size int) int {
	if size <= storeSize {
		return 0
	}
	return bits.Len(uint(size-1)) - bits.Len(uint(storeSize-1))
}
