package broker

import (
	"testing"
	"time"

	"github.com/madang-chat/madang/broker/presence"
	"github.com/madang-chat/madang/internal/mqtttest"
	"github.com/madang-chat/madang/storage"
)

// until waits for what another goroutine does.
func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !is(); {
		if time.Now().After(end) {
			t.Fatalf("%s: not after a minute", what)
		}
		<-time.After(time.Millisecond)
	}
}

// A device leaves while its worker has not come to the news that the room it waits for is there: its session stands
// before what the room holds.
func TestLeavingBeforeTheNewsOfARoom(t *testing.T) {
	r := newRig(t)
	w := r.b.workers[0]
	reader := r.enter(t, mqtttest.V311, "reader", "chat/rooms/r/msg/#", 1)
	alice := r.enter(t, mqtttest.V311, "alice", "", 0)
	busy, goOn := make(chan struct{}), make(chan struct{})
	w.post(func() { close(busy); <-goOn })
	<-busy
	reader.stored = true
	got := make(chan leftover)
	go func() { got <- w.detach(reader, presence.Cut) }()
	until(t, "the worker is asked to let the device go", func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return len(w.tasks) > 0
	})
	say(t, alice, "hello")
	k := storage.RoomKey{NS: "chat", Room: "r"}
	until(t, "the news of the room waits for the worker", func() bool {
		st, err := r.b.cfg.Store.Room(k)
		return err == nil && st != nil && st.Head.Seq == 1 && r.b.told.Load() >= st.Head.Pos
	})
	close(goOn)
	left := <-got
	next, err := r.b.cfg.Store.SeqAfter(k, left.pos)
	if err != nil || next != 1 || len(left.lag) != 0 {
		t.Errorf("the session goes on at %d (%v), lags %v", next, err, left.lag)
	}
}
