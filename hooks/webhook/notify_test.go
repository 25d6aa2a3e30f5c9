package webhook

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/madang-chat/madang/storage"
)

// taker takes events and remembers them by user; while held it takes none.
type taker struct {
	mu    sync.Mutex
	held  chan struct{} // closed: go on
	fails bool
	got   []string
}

func (p *taker) Post(ctx context.Context, id string, _ []byte) (Answer, error) {
	select {
	case <-p.held:
	case <-ctx.Done():
		return Answer{}, ctx.Err()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.got = append(p.got, id)
	if p.fails {
		return Answer{}, errors.New("connection refused")
	}
	return Answer{Status: 200}, nil
}

func online(i int) *Event {
	return &Event{ID: fmt.Sprint(i), Type: TypeUserOnline, Namespace: "chat", User: "bob", Data: []byte(`{"user":"bob"}`)}
}

// What is in no log is sent at most once, in order of its user; of too much that waits the oldest goes, and is counted.
func TestNotifierIsBounded(t *testing.T) {
	for _, fails := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			to := &taker{held: make(chan struct{}), fails: fails}
			h := Hook{Name: "h", Concurrency: 4, Filter: Filter{Events: []string{"user.*"}}}
			n := newNotifier(h, to, slog.New(slog.DiscardHandler), &figures{})
			ctx, cancel := context.WithCancel(context.Background())
			var running sync.WaitGroup
			running.Go(func() { n.run(ctx) })
			n.add(&Event{ID: "unwanted", Type: TypeMessageOffline})
			n.add(online(0))
			synctest.Wait() // the first is under way
			const most = notifyQueue / 4
			for i := range most + 50 {
				n.add(online(i + 1))
			}
			close(to.held)
			synctest.Wait()
			cancel()
			running.Wait()
			want := []string{"0"}
			for i := range most {
				want = append(want, fmt.Sprint(i+51))
			}
			if !slices.Equal(to.got, want) {
				t.Errorf("sent %d: %v", len(to.got), to.got)
			}
			if d, s, f := n.stats.dropped.Load(), n.stats.sent.Load(), n.stats.failed.Load(); d != 50 || s+f != most+1 || (f > 0) != fails {
				t.Errorf("%d dropped, %d sent, %d failed", d, s, f)
			}
		})
	}
}

// follower is a cluster in which another node leads.
type follower struct{}

func (follower) IsLeader() bool                 { return false }
func (follower) LeaderChanges() <-chan struct{} { return nil }
func (follower) LogTime() int64                 { return 0 }
func (follower) DestructionHeld() bool          { return false }

// noStore is a store without a feed.
type noStore struct{ fakeFeed }

func (noStore) Webhooks() ([]storage.Webhook, error) { return nil, nil }
func (noStore) Watch() *storage.Watcher              { return nil }

// Every node sends what it is told, whoever leads, and after another configuration was taken over.
func TestNotifyOnAnyNode(t *testing.T) {
	got := make(chan string, 10)
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got <- r.URL.Path + r.Header.Get(HeaderID) }))
	defer srv.Close()
	h := New(Config{Store: &noStore{}, Leader: follower{}, Logger: slog.New(slog.DiscardHandler)})
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { h.Run(ctx) })
	for _, path := range []string{"/a/", "/b/"} {
		hook := Hook{Name: "h", Concurrency: 1, Target: Target{URL: srv.URL + path, SecretFile: secretFile(t), AllowPrivate: true, Timeout: time.Minute}}
		if err := h.Set([]Hook{hook}); err != nil {
			t.Fatal(err)
		}
		h.Notify(*online(1))
		if id := <-got; id != path+"1" {
			t.Errorf("sent %s", id)
		}
	}
	bad := []Hook{{Name: "h", Target: Target{URL: "ftp://x"}}}
	if err := h.Set(bad); err == nil {
		t.Error("a configuration that cannot be used was taken over")
	}
	h.Notify(*online(2))
	if id := <-got; id != "/b/2" {
		t.Errorf("sent %s after a configuration that was refused", id)
	}
	cancel()
	running.Wait()
}
