package broker

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/madang-chat/madang/broker/presence"
	"github.com/madang-chat/madang/internal/mqtttest"
	"github.com/madang-chat/madang/storage"
)

// placesOf returns the Places commands that f has proposed, while the log answers with err.
func (r *rig) placesOf(err error, f func()) (out []*storage.Places) {
	r.log.mu.Lock()
	r.log.err, r.log.watch = err, func(cmd storage.Command) {
		if p, ok := cmd.(*storage.Places); ok {
			out = append(out, p)
		}
	}
	r.log.mu.Unlock()
	f()
	r.log.mu.Lock()
	defer r.log.mu.Unlock()
	r.log.err, r.log.watch = nil, nil
	return out
}

func said(commands []*storage.Places) (out []string) {
	for _, c := range commands {
		for _, l := range c.Lags {
			out = append(out, fmt.Sprint(l.Session.User, " at ", l.Seq))
		}
		if c.Pos != 0 {
			out = append(out, fmt.Sprint("place ", c.Pos))
		}
	}
	return out
}

// A lag that the log may not have taken is told again, and the place is not claimed before: whoever goes on from it would
// miss what the lagging reader has not acknowledged. So is the end of a lag.
func TestPlacesUntold(t *testing.T) {
	r := newRig(t)
	w := r.b.workers[0]
	reader := r.enter(t, mqtttest.V311, "reader", "chat/rooms/r/msg/#", 1) // acknowledges nothing
	alice := r.enter(t, mqtttest.V311, "alice", "", 0)
	w.call(func() { reader.stored = true })
	say(t, alice, "hello")
	k := storage.RoomKey{NS: "chat", Room: "r"}
	until(t, "the message is sent", func() (lags bool) {
		w.call(func() {
			lags = reader.cursors[k] != nil && w.lag(reader.cursors[k]) == 1 && reader.window.lowest(reader.cursors[k]) == 1
		})
		return lags
	})
	pos := r.b.told.Load()
	var claimed place
	commit := func() { claimed = r.b.commitPlaces(pos, claimed) }
	check := func(what string, err error, want ...string) {
		t.Helper()
		if got := said(r.placesOf(err, commit)); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", what, got, want)
		}
	}
	lag, place := "reader at 1", fmt.Sprint("place ", pos)
	lost := errors.New("no leader")
	check("without an outcome", lost, lag)
	check("again", lost, lag)
	check("taken", nil, lag, place)
	check("nothing new", nil)
	claimed.pos = 0
	check("the claim is lost", lost, place)
	check("and told again", nil, place)

	w.call(func() { reader.window.ack(1) })
	check("acknowledged, without an outcome", lost, "reader at 0")
	check("taken", nil, "reader at 0")
	check("nothing new", nil)
	w.call(func() { w.replay(reader.cursors[k]); reader.cursors[k].next = 2 })
	check("a lag the log was told when it was asked for is over", nil, "reader at 0")
	w.detach(reader, presence.Gone)
}

// The lags of many go in commands of a few, each after the outcome of the one before.
func TestPlacesInPieces(t *testing.T) {
	r := newRig(t)
	w := r.b.workers[0]
	reader := r.enter(t, mqtttest.V311, "reader", "", 0)
	const rooms = 2*gatheredPerCommand + 1
	w.call(func() {
		reader.stored = true
		for i := range rooms {
			k := storage.RoomKey{NS: "chat", Room: fmt.Sprint("r", i)}
			cur := &cursor{client: reader, room: &room{key: k}, lagStored: true}
			reader.cursors[k] = cur
		}
	})
	var sizes []int
	for _, c := range r.placesOf(nil, func() { r.b.commitPlaces(0, place{}) }) {
		sizes = append(sizes, len(c.Lags))
	}
	if want := []int{gatheredPerCommand, gatheredPerCommand, 1}; !slices.Equal(sizes[:min(3, len(sizes))], want) {
		t.Errorf("commands of %d lags, want %d", sizes, want)
	}
	w.call(func() { clear(reader.cursors) })
}
