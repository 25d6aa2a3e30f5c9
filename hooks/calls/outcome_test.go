package calls

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/madang-chat/madang/hooks/auth"
	"github.com/madang-chat/madang/hooks/problem"
	"github.com/madang-chat/madang/storage"
)

func TestLogErrors(t *testing.T) {
	r := newRig(t, nil).rooms()
	for err, code := range map[error]problem.Code{
		ErrNoQuorum:                      problem.NoQuorum,
		fmt.Errorf("x: %w", ErrNoQuorum): problem.NoQuorum,
		ErrStorageFull:                   problem.StorageFull,
		ErrTooLarge:                      problem.TooLarge,
		ErrOverloaded:                    problem.RateLimited,
		ErrStopping:                      problem.NoQuorum,
		errors.New("lost"):               problem.OutcomeUnknown,
	} {
		r.log.Err = err
		for _, m := range []string{"room.join", "room.leave", "room.delete"} {
			if _, p := r.call("carol", m, `{"room":"pub"}`); p == nil || p.Code != code {
				t.Errorf("%s %v: %v", m, err, p)
			}
		}
		_, got := r.Post(context.Background(), as("bob"), PostInput{Room: "pub", Body: []byte("x")})
		if p := ProblemFrom(got); p.Code != code || p.Status == 503 && p.RetryAfter == 0 {
			t.Errorf("%v: %v", err, p)
		}
	}
}

// What a publish of each version is answered: nil is no answer at all, as for an outcome that is not known.
func TestRefusedPublish(t *testing.T) {
	for err, want := range map[error][2]problem.Code{
		ErrTooLarge:                        {problem.TooLarge, problem.TooLarge},
		fmt.Errorf("x: %w", ErrTooLarge):   {problem.TooLarge, problem.TooLarge},
		ErrOverloaded:                      {problem.RateLimited, problem.RateLimited},
		ErrStorageFull:                     {"", problem.StorageFull},
		ErrNoQuorum:                        {},
		ErrStopping:                        {},
		errors.New("the log says nothing"): {},
	} {
		for i, v5 := range []bool{false, true} {
			got := problem.Code("")
			if p := RefusedPublish(err, v5); p != nil {
				got = p.Code
			}
			if got != want[i] {
				t.Errorf("%v, v5 %v: %q, want %q", err, v5, got, want[i])
			}
		}
	}
	if p := Refused(ErrOverloaded); p.Status != 503 || p.RetryAfter == 0 {
		t.Errorf("%+v", p)
	}
	if p := Refused(ErrTooLarge); p.Status != 413 {
		t.Errorf("%+v", p)
	}
}

func TestOutcomeUnknown(t *testing.T) {
	r := newRig(t, nil).rooms()
	r.log.Silent = true
	// The store's own goroutines stay outside the bubble; only timers of the call are in it.
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		_, err := r.Post(context.Background(), as("bob"), PostInput{Room: "pub", Body: []byte("x")})
		if p := ProblemFrom(err); p.Code != problem.OutcomeUnknown || p.Status != 503 || time.Since(start) != 30*time.Second {
			t.Errorf("%v after %v", p, time.Since(start))
		}
		start = time.Now()
		if _, p := r.call("bob", "room.join", `{"room":"pub"}`); p.Code != problem.OutcomeUnknown || time.Since(start) != 10*time.Second {
			t.Errorf("%v after %v", p, time.Since(start))
		}
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		before := r.log.Proposed()
		_, err = r.Post(ctx, as("bob"), PostInput{Room: "pub", Body: []byte("x")})
		if p := ProblemFrom(err); p.Status != 503 || r.log.Proposed() != before {
			t.Errorf("a call that had ended: %v", p)
		}
		// Answers that come too late hurt nobody. They are given in here: a channel made in the bubble stays in it.
		if n := len(r.log.Lost); n != 2 {
			t.Errorf("%d calls wait for an answer", n)
		}
		for _, done := range r.log.Lost {
			done(storage.Result{}, nil)
		}
	})
}

// Joining is seen in the room list when the call returns, also when the follow-up takes its time.
func TestJoinWaitsForItsFollowUp(t *testing.T) {
	r := newRig(t, nil).rooms()
	r.log.Hold = true
	answered := make(chan Membership, 8)
	for i := range 8 {
		go func() {
			m, err := r.RoomJoin(context.Background(), as(fmt.Sprintf("user%d", i)), RoomInput{"pub"})
			if err != nil {
				t.Error(err)
			}
			answered <- m
		}()
	}
	deadline := time.Now().Add(10 * time.Second)
	for r.log.Proposed() < 8 && time.Now().Before(deadline) {
		select {
		case m := <-answered:
			t.Fatalf("answered before the follow-up: %+v", m)
		case <-time.After(time.Millisecond):
		}
	}
	if list := r.must("user0", "rooms.list", ``); list != `{"rooms":[],"unread":0,"more":false}` {
		t.Fatal(list)
	}
	r.log.FollowUp()
	for range 8 {
		if m := <-answered; m.Role != storage.RoleMember {
			t.Errorf("%+v", m)
		}
	}
	if list := r.must("user7", "rooms.list", ``); !strings.Contains(list, `"pub"`) {
		t.Error(list)
	}
	if r.settled.round != nil || r.settled.waiting != 0 {
		t.Error("a watcher is left over")
	}
}

func TestJoinDoesNotWaitForEver(t *testing.T) {
	r := newRig(t, func(c *Config) { c.SettleWait = time.Millisecond }).rooms()
	r.log.Hold = true
	if m := r.must("carol", "room.join", `{"room":"pub"}`); m != `{"room":"pub","role":"member","seq":1}` {
		t.Error(m)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r.cfg.SettleWait = time.Hour
	go cancel()
	if _, err := r.RoomJoin(ctx, as("dave"), RoomInput{"pub"}); err != nil && ProblemFrom(err).Status != 503 {
		t.Error(err)
	}
}

func TestAuditedReads(t *testing.T) {
	var seen []string
	r := newRig(t, func(c *Config) {
		c.Audit = func(a AuditedRead) { seen = append(seen, a.Reader.User+" "+a.Room.Room) }
	}).rooms()
	for _, token := range []string{"admin", "auditor", "alice"} {
		r.must(token, "history", `{"room":"priv"}`)
		r.must(token, "history", `{"room":"pub"}`)
	}
	if diff := cmp.Diff([]string{"admin priv", "auditor priv"}, seen); diff != "" {
		t.Error(diff)
	}
}

func TestProblemOf(t *testing.T) {
	for o := range storage.Outcome(60) {
		p := ProblemOf(storage.Result{Outcome: o, Detail: `room "x" is so`})
		if o == storage.Done {
			if p != nil {
				t.Error(p)
			}
			continue
		}
		if p == nil || !p.Code.Known() || p.Status < 400 || p.Status >= 500 {
			t.Errorf("%s: %v", o, p)
		}
		if o != storage.Fenced && (p.Detail != `Room "x" is so.` || o.String() != "unknown" && p.Code != problem.Code(o.String())) {
			t.Errorf("%s: %v", o, p)
		}
	}
	if p := ProblemFrom(errors.New("secret path")); p.Status != 500 || strings.Contains(p.Sentence(), "secret") {
		t.Error(p)
	}
	if p := ProblemFrom(&auth.Refusal{Code: auth.CodeRateLimited, Title: "slow down", RetryAfter: time.Second}); p.Status != 429 ||
		p.RetryAfterSeconds() != 1 || p.Detail != "Slow down." {
		t.Error(p)
	}
}

func TestStoreFaults(t *testing.T) {
	r := newRig(t, nil).rooms()
	if err := r.log.Store.Close(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ method, params string }{
		{"rooms.list", ``},
		{"room.get", `{"room":"unread"}`},
		{"history", `{"room":"unread"}`},
		{"room.join", `{"room":"unread"}`},
		{"room.delete", `{"room":"unread"}`},
	} {
		if _, p := r.call("zoe", c.method, c.params); p == nil || p.Code != problem.NoQuorum || p.RetryAfter == 0 {
			t.Errorf("%s: %v", c.method, p)
		}
	}
	if p := ProblemFrom(r.broken(storage.ErrEntry)); p.Status != 500 || p.Code != Internal {
		t.Error(p)
	}
}
