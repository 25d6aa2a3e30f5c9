// Package porttest finds addresses for servers that tests start, stop, and start again.
package porttest

import (
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
)

// Ports below those that Linux gives to connections (net.ipv4.ip_local_port_range begins at 32768): a port of port 0 may
// belong to somebody's connection by the time the server listens on it again.
const (
	lowest  = 16000
	highest = 32000
)

var given = struct {
	sync.Mutex
	ports map[int]bool
}{ports: map[int]bool{}}

// Free returns an address of the loopback that nobody listens on, and that no other test of this process is given.
func Free(t testing.TB) string {
	t.Helper()
	given.Lock()
	defer given.Unlock()
	for range 1000 {
		port := lowest + rand.IntN(highest-lowest)
		at := fmt.Sprintf("127.0.0.1:%d", port)
		if given.ports[port] {
			continue
		}
		if l, err := net.Listen("tcp", at); err == nil {
			given.ports[port] = true
			_ = l.Close()
			return at
		}
	}
	t.Fatal("no port is free")
	return ""
}
