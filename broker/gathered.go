package broker

import (
	"context"
	"slices"
	"time"

	"github.com/madang-chat/madang/storage"
)

// Some of what clients do is gathered for seconds and told to the log for many at once: read marks, where sessions lag, when
// users were active last.

// gatheredPerCommand is of how many one command tells. The next follows when it has its outcome: what clients send goes
// between, and waits for the Apply of one of them, some 0.3 ms, and not for that of ten thousand.
const gatheredPerCommand = 128

// activeTick is how often the log is told who was active; of a user once a minute (presence.Table.Active).
const activeTick = 5 * time.Second

func (b *Broker) keepActive() {
	each(b.ctx, activeTick, func(ctx context.Context) { b.commitActive(ctx, false) })
}

// commitActive tells the log when users were active last; with all of them when the node ends. When ctx ends it proposes the
// rest and does not wait.
func (b *Broker) commitActive(ctx context.Context, all bool) {
	active := b.presence.Active(all)
	users := make([]storage.ActiveAt, len(active))
	for i, a := range active {
		users[i] = storage.ActiveAt{NS: a.NS, User: a.User.User, At: a.At}
	}
	for some := range slices.Chunk(users, gatheredPerCommand) {
		_, _ = proposeTo(ctx, b.cfg.Log, &storage.Active{Users: some}) // what is lost is told when they are active again
	}
}
