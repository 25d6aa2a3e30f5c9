package storage

import (
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"pgregory.net/rapid"
)

var phone = SessionID{NS: "chat", User: "ann", Client: "phone"}

// takes makes node a of the log the owner of a session.
func (l *testLog) takes(id SessionID) Result {
	l.t.Helper()
	return l.done(&Take{Session: id, Node: "a", Boot: max(l.boots["a"], 1), Expiry: 3600})
}

// sends is a publish of a stored session without a cid.
func sends(id SessionID, epoch uint64, pid uint16, text string, dup bool) *Append {
	c := say("r", id.User, text)
	c.Device, c.Epoch, c.PacketID, c.Dup = id.Client, epoch, pid, dup
	return c
}

func TestDUPIsRecognisedWhenCertain(t *testing.T) {
	left := Unfinished{PacketID: 7, Hash: hashOf("hi"), Room: "r", Seq: 1, TS: 1_000_000}
	for name, tc := range map[string]struct {
		change func(*Append)
		want   bool
	}{
		"the same":          {func(*Append) {}, true},
		"DUP is not set":    {func(c *Append) { c.Dup = false }, false},
		"another packet id": {func(c *Append) { c.PacketID = 8 }, false},
		"other content":     {func(c *Append) { c.Hash = hashOf("ho") }, false},
		"another room":      {func(c *Append) { c.Room.Room = "s" }, false},
		"another client":    {func(c *Append) { c.Device, c.Epoch = "tablet", 2 }, false},
		"no session":        {func(c *Append) { c.Epoch = 0 }, false},
		"with a cid":        {func(c *Append) { c.CID = "c1" }, false},
	} {
		t.Run(name, func(t *testing.T) {
			l := newTestLog(t)
			e := l.takes(phone).Epoch
			tablet := phone
			tablet.Client = "tablet"
			l.takes(tablet)
			first := l.done(sends(phone, e, 7, "hi", false))
			l.done(&Release{Session: phone, Epoch: e, Unfinished: []Unfinished{left}})
			c := sends(phone, l.takes(phone).Epoch, 7, "hi", true)
			tc.change(c)
			r := l.done(c)
			if r.Duplicate != tc.want || tc.want && (r.Seq != first.Seq || r.TS != first.TS) {
				t.Fatalf("first %+v, then %+v, want duplicate: %v", first, r, tc.want)
			}
		})
	}
}

func TestDUPAfterAConnectionWithoutReleaseIsAppended(t *testing.T) {
	l := newTestLog(t)
	l.done(sends(phone, l.takes(phone).Epoch, 7, "hi", false))
	if r := l.done(sends(phone, l.takes(phone).Epoch, 7, "hi", true)); r.Duplicate || r.Seq != 2 {
		t.Fatalf("nobody knows what the lost connection was told, yet: %+v", r)
	}
}

// What two connections repeat is as certain as what one does; what the one in between left alone is in doubt, for a
// client that lost its state may have used the packet id for the same words again.
func TestDUPOverTwoConnections(t *testing.T) {
	for _, repeated := range []bool{true, false} {
		t.Run(fmt.Sprint("repeated in between: ", repeated), func(t *testing.T) {
			l := newTestLog(t)
			left := []Unfinished{{PacketID: 1, Hash: hashOf("ok"), Room: "r", Seq: 1, TS: 1_000_000}}
			e := l.takes(phone).Epoch
			l.done(sends(phone, e, 1, "ok", false))
			l.done(&Release{Session: phone, Epoch: e, Unfinished: left})
			e = l.takes(phone).Epoch
			if repeated {
				l.done(sends(phone, e, 1, "ok", true))
			}
			l.done(&Release{Session: phone, Epoch: e, Unfinished: left})
			e = l.takes(phone).Epoch
			if r := l.done(sends(phone, e, 1, "ok", true)); r.Duplicate != repeated {
				t.Fatalf("%+v", r)
			}
		})
	}
}

// wire is a client and its broker around a network that loses the end of what either side sent.
type wire struct {
	t        *rapid.T
	l        *testLog
	waiting  []written      // the client's messages without an answer, in order
	nextID   uint16         // of the client's next packet
	made     int            // messages written so far
	stored   map[uint64]int // seq -> message, as appended
	previous []Unfinished   // what the broker has from the connection before and has not heard of
	doubles  int
}

// written is a message as its author knows it: two with the same text are two messages.
type written struct {
	id   int
	pid  uint16
	text string
	sent bool
}

// mostWaiting is how many messages the client sends without an answer.
const mostWaiting = 8

// connection runs one connection of the client from CONNECT to its end.
func (w *wire) connection() {
	take := &Take{Session: phone, Node: "a", Boot: 1, Expiry: 3600, Clean: rapid.IntRange(0, 5).Draw(w.t, "clean") == 0}
	r := w.l.done(take)
	w.previous = nil
	if sess, err := w.l.s.Session(phone); err == nil && r.Present {
		w.previous = sess.Previous
	}
	if !r.Present {
		w.waiting = nil // MQTT: without a session nothing is sent again
	}
	var out []written
	for range min(rapid.IntRange(0, 3).Draw(w.t, "new messages"), mostWaiting-len(w.waiting)) {
		w.made++
		w.waiting = append(w.waiting, written{id: w.made, pid: w.freeID(), text: rapid.SampledFrom([]string{"ok", "hm"}).Draw(w.t, "text")})
	}
	out = append(out, w.waiting...) // copies: sent is as it was before this connection
	for i := range w.waiting {
		w.waiting[i].sent = true
	}
	received := rapid.IntRange(0, len(out)).Draw(w.t, "received")
	var unfinished []Unfinished
	told := rapid.IntRange(0, received).Draw(w.t, "answers handed to the socket")
	for i, m := range out[:received] {
		u := w.publish(r.Epoch, m)
		if i >= told {
			unfinished = append(unfinished, u)
		}
	}
	heard := rapid.IntRange(0, told).Draw(w.t, "answers received")
	w.waiting = append([]written(nil), w.waiting[heard:]...)
	switch rapid.IntRange(0, 4).Draw(w.t, "end") {
	case 0: // the node dies
	case 1: // the client dies and forgets
		w.waiting, w.nextID = nil, 0
		fallthrough
	default:
		w.l.done(&Release{Session: phone, Epoch: r.Epoch, Unfinished: append(unfinished, w.previous...)})
	}
}

// freeID counts packet ids up to mostWaiting, so that they are soon used again.
func (w *wire) freeID() uint16 {
	for {
		w.nextID = w.nextID%mostWaiting + 1
		used := false
		for _, m := range w.waiting {
			used = used || m.pid == w.nextID
		}
		if !used {
			return w.nextID
		}
	}
}

// publish is the broker receiving m: what it answers is what the log says, and must be true of m.
func (w *wire) publish(epoch uint64, m written) Unfinished {
	for i, u := range w.previous {
		if u.PacketID == m.pid {
			w.previous = append(w.previous[:i:i], w.previous[i+1:]...)
			break
		}
	}
	c := sends(phone, epoch, m.pid, m.text, m.sent)
	r := w.l.done(c)
	if r.Duplicate {
		w.doubles++
		if w.stored[r.Seq] != m.id {
			w.t.Fatalf("message %d (%s, packet %d) is called a duplicate of seq %d, which is message %d", m.id, m.text, m.pid, r.Seq, w.stored[r.Seq])
		}
	} else {
		if _, twice := w.stored[r.Seq]; twice {
			w.t.Fatalf("seq %d given twice", r.Seq)
		}
		w.stored[r.Seq] = m.id
	}
	return Unfinished{PacketID: m.pid, Hash: c.Hash, Room: "r", Seq: r.Seq, TS: r.TS}
}

// Whatever the network and the client lose, an answered message is in the log: nothing is called a duplicate of another.
func TestNothingIsWronglyADuplicate(t *testing.T) {
	recognised := 0
	rapid.Check(t, func(t *rapid.T) {
		s := openOn(t, vfs.NewMem())
		defer func() { _ = s.Close() }()
		w := &wire{t: t, l: newLog(t, s), stored: map[uint64]int{}}
		for range rapid.IntRange(2, 12).Draw(t, "connections") {
			w.connection()
		}
		recognised += w.doubles
	})
	if recognised == 0 {
		t.Fatal("no duplicate was recognised in any run")
	}
}
