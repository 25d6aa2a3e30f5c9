package broker

import (
	"context"
	"log/slog"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/madang-chat/madang/hooks/calls/callstest"
	"github.com/madang-chat/madang/storage"
)

type leads struct{ Leader }

func (leads) IsLeader() bool                 { return true }
func (leads) LeaderChanges() <-chan struct{} { return nil }

// refuses takes no page of one user's deletion.
type refuses struct {
	Log  // nothing but Propose is called
	to   *callstest.Log
	user string
}

func (r refuses) Propose(cmd storage.Command, done func(storage.Result, error)) {
	if p, ok := cmd.(*storage.DeletePage); ok && p.Key.User == r.user {
		done(storage.Result{Outcome: storage.Conflict}, nil)
		return
	}
	r.to.Propose(cmd, done)
}

// A deletion that fails holds up no other.
func TestDeletionsGoPastOneThatFails(t *testing.T) {
	log := callstest.NewLog(t, storage.Options{Dir: "data", FS: vfs.NewMem()})
	for _, u := range []string{"ann", "bob"} {
		log.Apply(&storage.DeleteUser{Key: storage.UserKey{NS: "chat", User: u}, By: storage.Actor{User: u}, Mode: storage.Erase})
	}
	d := &Deletions{Store: log.Store, Log: refuses{to: log, user: "ann"}, Leader: leads{}, Logger: slog.New(slog.DiscardHandler)}
	d.work(context.Background())
	left, err := log.Store.Deletions(9)
	if err != nil || len(left) != 1 || left[0].Key.User != "ann" {
		t.Errorf("left: %+v, %v", left, err)
	}
}
