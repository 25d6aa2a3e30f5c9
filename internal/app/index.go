package app

import (
	"errors"
	"time"

	"github.com/madang-chat/madang/internal/clock"
	"github.com/madang-chat/madang/storage"
)

// Chat goes before indexing: what is not indexed is looked through.
const (
	indexShare  = 2           // how long indexing rests after a piece of work, in times of what that took: at most a third of a core
	indexGather = time.Second // for more of a room to come, most of which makes no block: one look in place of one a message
)

// keepIndex keeps the index of what is searched up with the store, or, where search is off, away from it.
func (a *App) keepIndex() {
	x := a.store.Indexer(!a.cfg.Search.Enabled)
	defer x.Close()
	for {
		began := clock.Now()
		more, err := x.Step()
		if errors.Is(err, storage.ErrClosed) {
			return
		}
		rest := indexShare * clock.Since(began)
		if err != nil {
			a.log.Error("the index of what is searched cannot be kept up", "err", err)
			rest = time.Minute
		}
		if !more && err == nil {
			select {
			case <-x.Wake():
			case <-a.ctx.Done():
				return
			}
			rest = indexGather
		}
		t := time.NewTimer(rest)
		select {
		case <-t.C:
		case <-a.ctx.Done():
			t.Stop()
			return
		}
	}
}
