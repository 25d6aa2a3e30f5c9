package before

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/madang-chat/madang/hooks/problem"
	"github.com/madang-chat/madang/hooks/webhook"
	"github.com/madang-chat/madang/internal/clock"
	"github.com/madang-chat/madang/storage"
)

// fakeRooms are rooms with a setting, and cids that are known.
type fakeRooms struct {
	rooms map[string]storage.BeforeSend
	cids  []string
}

func (f *fakeRooms) Room(k storage.RoomKey) (*storage.Room, error) {
	if b, ok := f.rooms[k.Room]; ok {
		return &storage.Room{Key: k, BeforeSend: b}, nil
	}
	return nil, nil
}

func (f *fakeRooms) HasCID(_ storage.RoomKey, _, cid string) (bool, error) {
	return slices.Contains(f.cids, cid), nil
}

// fakePost answers as a test says.
type fakePost struct {
	mu     sync.Mutex
	asked  []string // bodies
	answer func(ctx context.Context, body string) (webhook.Answer, error)
}

func (f *fakePost) Post(ctx context.Context, _ string, body []byte) (webhook.Answer, error) {
	f.mu.Lock()
	f.asked = append(f.asked, string(body))
	f.mu.Unlock()
	return f.answer(ctx, string(body))
}

func (f *fakePost) Close() {}

func (f *fakePost) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.asked)
}

func says(body string) (webhook.Answer, error) {
	return webhook.Answer{Status: 200, Body: []byte(body)}, nil
}

func newAsker(h Hook, rooms *fakeRooms, to *fakePost) *Asker {
	a := New(rooms, slog.New(slog.DiscardHandler))
	h.Concurrency, h.Message = max(h.Concurrency, 1), 1000
	a.now.Store(&asking{a: a, hook: h, to: to})
	return a
}

func message(room, text string) *storage.Append {
	return &storage.Append{
		Room: storage.RoomKey{NS: "chat", Room: room}, From: storage.Actor{User: "ann", Name: `A"nn`}, Device: "phone", Type: "text",
		CID: "c1", Tail: []byte(`,"cid":"c1","data":{"text":"` + text + `"}`),
	}
}

// What the configuration says holds for a room that says nothing itself.
func TestPolicy(t *testing.T) {
	rooms := &fakeRooms{rooms: map[string]storage.BeforeSend{
		"pub.off": storage.BeforeSendOff, "open": storage.BeforeSendOpen, "closed": storage.BeforeSendClosed, "pub.x": storage.BeforeSendDefault,
	}}
	a := newAsker(Hook{Rooms: []string{"pub.*"}, Closed: true}, rooms, nil)
	for _, tt := range []struct {
		room, typ    string
		asks, closed bool
	}{
		{"pub.x", "text", true, true},
		{"pub.new", "text", true, true},
		{"pub.off", "text", false, false},
		{"open", "text", true, false},
		{"closed", "image", true, true},
		{"other", "text", false, true},
		{"pub.x", "edit", true, true},
		{"pub.x", "delete", false, false},
		{"pub.x", "reaction", false, false},
	} {
		m := message(tt.room, "x")
		m.Type = tt.typ
		if asks, closed := a.now.Load().policy(m); asks != tt.asks || closed != tt.closed || a.Asks(m) != tt.asks {
			t.Errorf("%+v: asks %v, closed %v", tt, asks, closed)
		}
	}
	var nobody *Asker
	if nobody.Asks(message("pub.x", "x")) || nobody.Space() != nil || New(rooms, slog.Default()).Asks(message("pub.x", "x")) {
		t.Error("asks though nobody is named")
	}
}

func TestAskerAnswers(t *testing.T) {
	var answer string
	to := &fakePost{answer: func(context.Context, string) (webhook.Answer, error) { return says(answer) }}
	rooms := &fakeRooms{cids: []string{"known"}}
	a := newAsker(Hook{Closed: true}, rooms, to)
	defer a.Close()
	for _, tt := range []struct{ answer, code, detail, tail string }{
		{`{"action":"allow"}`, "", "", `,"cid":"c1","data":{"text":"hi"}`},
		{`{"action":"deny","reason":"No links, 100% sure"}`, "forbidden", "No links, 100% sure", ""},
		{`{"action":"replace","data":{"text":"**"}}`, "", "", `,"cid":"c1","data":{"text":"**"}`},
		{`{"action":"replace","data":{"text":"` + strings.Repeat("x", 2000) + `"}}`, "rate_limited", "check does not answer", ""},
		{`no json`, "rate_limited", "check does not answer", ""},
	} {
		answer = tt.answer
		m := message("r", "hi")
		m.Hash = [16]byte{1}
		bad := a.Wait(t.Context(), m)
		if (bad == nil) != (tt.code == "") || bad != nil && (string(bad.Code) != tt.code || !strings.Contains(bad.Sentence(), tt.detail)) {
			t.Errorf("%.60s: %v", tt.answer, bad)
		}
		if tt.tail != "" && string(m.Tail) != tt.tail || m.Hash != [16]byte{1} {
			t.Errorf("%.60s: tail %s", tt.answer, m.Tail)
		}
	}
	want := `"namespace":"chat","data":{"room":"r","from":{"user":"ann","name":"A\"nn","device":"phone"},"type":"text","cid":"c1","data":{"text":"hi"}}}`
	if q := to.asked[0]; !strings.HasSuffix(q, want) || !strings.HasPrefix(q, `{"type":"message.before_send","timestamp":"`) {
		t.Errorf("asked %s", q)
	}
	// What the room has already is not judged again.
	m, n := message("r", "hi"), to.count()
	m.CID = "known"
	if bad := a.Wait(t.Context(), m); bad != nil || to.count() != n {
		t.Errorf("a repeat: %v, asked %d times", bad, to.count()-n)
	}
}

// A receiver that hangs costs its time-out a few times, then nothing; one question at a time finds out whether it is back.
func TestBreaker(t *testing.T) {
	for _, closed := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			const timeout = 500 * time.Millisecond
			hangs := true
			to := &fakePost{answer: func(ctx context.Context, _ string) (webhook.Answer, error) {
				if !hangs {
					return says(`{"action":"allow"}`)
				}
				select {
				case <-time.After(timeout):
				case <-ctx.Done():
				}
				return webhook.Answer{}, errors.New("no answer")
			}}
			a := newAsker(Hook{Closed: closed, Concurrency: 2}, &fakeRooms{}, to)
			defer a.Close()
			ask := func() {
				t.Helper()
				if bad := a.Wait(t.Context(), message("r", "hi")); (bad != nil) != closed {
					t.Fatalf("closed %v: %v", closed, bad)
				}
			}
			began := clock.Now()
			for range 100 {
				ask()
			}
			if d := clock.Since(began); d != breakAfter*timeout || to.count() != breakAfter {
				t.Errorf("100 messages took %v and %d questions", d, to.count())
			}
			time.Sleep(breakTime)
			var all sync.WaitGroup
			for range 10 {
				all.Go(ask)
			}
			all.Wait()
			if to.count() != breakAfter+1 {
				t.Errorf("%d questions to find out whether it is back", to.count()-breakAfter)
			}
			hangs = false
			time.Sleep(breakTime)
			before := to.count()
			if bad := a.Wait(t.Context(), message("r", "hi")); bad != nil {
				t.Error(bad)
			}
			for range 10 {
				if bad := a.Wait(t.Context(), message("r", "hi")); bad != nil {
					t.Error(bad)
				}
			}
			if to.count() != before+11 {
				t.Errorf("%d questions when it is back", to.count()-before)
			}
		})
	}
}

// Readers are told to wait while too many questions do, and questions that wait have an outcome when the node ends.
func TestAskerIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		to := &fakePost{answer: func(ctx context.Context, _ string) (webhook.Answer, error) {
			<-ctx.Done()
			return webhook.Answer{}, ctx.Err()
		}}
		a := newAsker(Hook{Concurrency: 8}, &fakeRooms{}, to)
		var mu sync.Mutex
		done := 0
		n := 0
		for a.Space() == nil {
			n++
			a.Ask(message("r", "hi"), func(*problem.Problem) {
				mu.Lock()
				defer mu.Unlock()
				done++
			})
		}
		synctest.Wait()
		if n != maxWaiting || to.count() != 8 {
			t.Errorf("%d questions wait, %d are asked at once", n, to.count())
		}
		space := a.Space()
		a.Close()
		if done != n {
			t.Errorf("%d of %d have an outcome", done, n)
		}
		<-space
		a.Ask(message("r", "hi"), func(bad *problem.Problem) { done++ })
		if done != n+1 {
			t.Error("a question after the end has no outcome")
		}
	})
}

// Whatever order the answers come in, a line does what was sent in the order it was sent, each once.
func TestLineKeepsOrder(t *testing.T) {
	for seed := range uint64(50) {
		synctest.Test(t, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 1))
			to := &fakePost{answer: func(_ context.Context, body string) (webhook.Answer, error) {
				time.Sleep(time.Duration(rand.IntN(1000)) * time.Millisecond)
				if strings.Contains(body, `"no `) {
					return says(`{"action":"deny"}`)
				}
				return says(`{"action":"allow"}`)
			}}
			a := newAsker(Hook{Concurrency: 16}, &fakeRooms{rooms: map[string]storage.BeforeSend{"off": storage.BeforeSendOff}}, to)
			line := &Line{}
			var got, want []string
			for i := range 200 {
				room, text := "r", fmt.Sprint("yes ", i)
				switch rng.IntN(4) {
				case 0:
					room = "off"
				case 1:
					text = fmt.Sprint("no ", i)
				}
				want = append(want, text)
				var cmd storage.Command = message(room, text)
				if rng.IntN(5) == 0 {
					cmd = &storage.SetState{}
					text = "state"
					want[len(want)-1] = text
				}
				line.Do(a, cmd, func(bad *problem.Problem) {
					if (bad != nil) != (strings.HasPrefix(text, "no ") && room == "r") {
						t.Errorf("%s in %s: %v", text, room, bad)
					}
					got = append(got, text)
				})
				if rng.IntN(10) == 0 {
					time.Sleep(200 * time.Millisecond)
				}
			}
			time.Sleep(time.Minute)
			a.Close()
			if !slices.Equal(got, want) || !line.Empty() {
				t.Errorf("done %q\nwant %q", got, want)
			}
		})
	}
}
