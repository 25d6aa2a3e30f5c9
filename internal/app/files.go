package app

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/madang-chat/madang/broker/transport"
	"github.com/madang-chat/madang/internal/config"
)

// What is kept of the process's descriptors: clients that take them all must not keep the node from writing. The store
// does not go on without a file it has to open.
const (
	leastFiles  = 256
	storeFiles  = 1000 // at most, and a quarter of what there is
	leastStored = 100  // Pebble keeps 74 whatever it is told
	otherFiles  = 100  // the log, ports, operators, and a moment's need
	spareShare  = 50   // of the connections,
	leastSpare  = 16   // at least and
	spareFiles  = 500  // at most, are for telling those that are too many so, and where to go

	opsConnections = 32
)

// openFiles shares the descriptors out: how many the store may use, and the places for connections.
func (a *App) openFiles(*Options) error {
	var r unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &r); err != nil {
		return fmt.Errorf("ask for the limit of open files: %w", err)
	}
	if r.Cur < leastFiles {
		return fmt.Errorf("this process may open %d files, and needs %d at least: raise the limit (ulimit -n, LimitNOFILE)",
			r.Cur, leastFiles)
	}
	all := int(min(r.Cur, 1<<30))
	a.files = min(max(all/4, leastStored), storeFiles)
	most := all - a.files - otherFiles
	a.fit = most
	if n := a.cfg.Limits.Connections; (n <= 0 || n > most) && a.cfg.Source("limits.connections").Layer != config.Default { // somebody counts on it
		a.log.Warn("fewer connections than limits.connections: this process may open too few files (ulimit -n, LimitNOFILE)",
			"files", all, "connections", most, "limits_connections", n)
	}
	_, places := a.share(&a.cfg.Limits)
	a.places = transport.NewTotal(places)
	return nil
}

// share returns how many connections the broker takes, and how many places there are, with those in which one is told that
// there is none.
func (a *App) share(l *config.Limits) (most, places int) {
	most = a.fit
	if n := l.Connections; n > 0 {
		most = min(n, most)
	}
	spare := min(max(most/spareShare, leastSpare), spareFiles)
	if most+spare > a.fit {
		most -= spare
	}
	return most, most + spare
}
