package auth

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestBackOff(t *testing.T) {
	path := cheapUsers(t, map[string]string{"alice": "right", "bob": "right"})
	synctest.Test(t, func(t *testing.T) {
		c := newChain(t, Config{UsersFile: path, BackOff: true})
		ctx := t.Context()
		try := func(user, password, addr string) error {
			cr := login(user, password)
			cr.Addr = netip.MustParseAddr(addr)
			_, err := c.Authenticate(ctx, cr)
			return err
		}
		for _, user := range []string{"alice", "nobody"} { // the same for a user who does not exist
			for range freeFailures - 1 {
				wantRefusal(t, try(user, "wrong", "192.0.2.1"), CodeUnauthenticated, "")
			}
			for _, pause := range []time.Duration{1, 2, 4, 8, 16, 32, 60, 60, 60} {
				wantRefusal(t, try(user, "wrong", "192.0.2.1"), CodeUnauthenticated, "")
				r := wantRefusal(t, try(user, "right", "192.0.2.1"), CodeRateLimited, "too many failed")
				if r.RetryAfter != pause*time.Second {
					t.Fatalf("pause of %v, want %v s", r.RetryAfter, int(pause))
				}
				time.Sleep(pause*time.Second - 1)
				if r := wantRefusal(t, try(user, "right", "192.0.2.1"), CodeRateLimited, ""); r.RetryAfter != 1 {
					t.Fatalf("a try during the pause changed it to %v", r.RetryAfter)
				}
				time.Sleep(time.Nanosecond)
			}
		}
		// Others at the address and the user elsewhere are not concerned.
		wantRefusal(t, try("alice", "wrong", "192.0.2.1"), CodeUnauthenticated, "")
		for _, err := range []error{try("bob", "right", "192.0.2.1"), try("alice", "right", "192.0.2.2")} {
			if err != nil {
				t.Error(err)
			}
		}
		// A password that is remembered as right (the success just now) does not get around the pause.
		wantRefusal(t, try("alice", "right", "192.0.2.1"), CodeRateLimited, "")
		time.Sleep(time.Minute)
		if err := try("alice", "right", "192.0.2.1"); err != nil {
			t.Fatal(err)
		}
		// A success starts afresh.
		for range freeFailures - 1 {
			wantRefusal(t, try("alice", "wrong", "192.0.2.1"), CodeUnauthenticated, "")
		}
		if err := try("alice", "right", "192.0.2.1"); err != nil {
			t.Fatal(err)
		}
		// So does a long time.
		for range freeFailures - 1 {
			wantRefusal(t, try("bob", "wrong", "192.0.2.1"), CodeUnauthenticated, "")
		}
		time.Sleep(forgetAfter)
		wantRefusal(t, try("bob", "wrong", "192.0.2.1"), CodeUnauthenticated, "")
		if err := try("bob", "right", "192.0.2.1"); err != nil {
			t.Fatal(err)
		}
		// One IPv6 line is one address; an IPv4 address is the same in its IPv6 form.
		for i := range freeFailures {
			wantRefusal(t, try("bob", "wrong", fmt.Sprintf("2001:db8:0:1::%x", i+1)), CodeUnauthenticated, "")
			wantRefusal(t, try("bob", "wrong", []string{"192.0.2.9", "::ffff:192.0.2.9"}[i%2]), CodeUnauthenticated, "")
		}
		wantRefusal(t, try("bob", "right", "2001:db8:0:1:ffff::"), CodeRateLimited, "")
		wantRefusal(t, try("bob", "right", "192.0.2.9"), CodeRateLimited, "")
		if err := try("bob", "right", "2001:db8:0:2::1"); err != nil {
			t.Error(err)
		}
	})
}

func TestBackOffOff(t *testing.T) {
	c := newChain(t, Config{UsersFile: cheapUsers(t, map[string]string{"alice": "right"})})
	for range 50 {
		_, err := c.Authenticate(t.Context(), login("alice", "wrong"))
		wantRefusal(t, err, CodeUnauthenticated, "")
	}
	if _, err := c.Authenticate(t.Context(), login("alice", "right")); err != nil {
		t.Error(err)
	}
}

// TestBackOffHoldsInAQueue: guesses that were all sent before the first was answered do not get around the pause.
func TestBackOffHoldsInAQueue(t *testing.T) {
	path := cheapUsers(t, map[string]string{"alice": "right"})
	synctest.Test(t, func(t *testing.T) {
		c := newChain(t, Config{UsersFile: path, BackOff: true, HashConcurrency: 2})
		c.gate <- struct{}{}
		c.gate <- struct{}{}
		const guesses = 100
		var wrong, limited int
		var mu sync.Mutex
		var wg sync.WaitGroup
		for i := range guesses {
			wg.Go(func() {
				_, err := c.Authenticate(t.Context(), login("alice", fmt.Sprint(i)))
				mu.Lock()
				defer mu.Unlock()
				switch AsRefusal(err).Code {
				case CodeUnauthenticated:
					wrong++
				case CodeRateLimited:
					limited++
				}
			})
		}
		synctest.Wait()
		<-c.gate
		<-c.gate
		wg.Wait()
		if wrong > freeFailures+1 || wrong+limited != guesses {
			t.Errorf("%d guesses heard, %d refused unheard", wrong, limited)
		}
	})
}

// TestGate: a login waits its turn no longer than its context, and never more than gateWait.
func TestGate(t *testing.T) {
	path := cheapUsers(t, map[string]string{"alice": "right"})
	synctest.Test(t, func(t *testing.T) {
		c := newChain(t, Config{UsersFile: path, HashConcurrency: 1})
		c.gate <- struct{}{}
		for _, limit := range []time.Duration{time.Second, time.Hour} {
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			start := time.Now()
			_, err := c.Authenticate(ctx, login("alice", "right"))
			cancel()
			if r := wantRefusal(t, err, CodeRateLimited, "too many logins"); r.RetryAfter <= 0 {
				t.Error("no RetryAfter")
			}
			if got, want := time.Since(start), min(limit, gateWait); got != want {
				t.Errorf("waited for %v, want %v", got, want)
			}
		}
		<-c.gate
		if _, err := c.Authenticate(t.Context(), login("alice", "right")); err != nil {
			t.Error(err)
		}
		if len(c.gate) != 0 {
			t.Error("a turn was not given back")
		}
	})
}

func TestProven(t *testing.T) {
	path := cheapUsers(t, map[string]string{"alice": "right"})
	synctest.Test(t, func(t *testing.T) {
		c := newChain(t, Config{UsersFile: path, HashConcurrency: 1})
		ask := func(password string) error {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			_, err := c.Authenticate(ctx, login("alice", password))
			return err
		}
		if err := ask("right"); err != nil {
			t.Fatal(err)
		}
		c.gate <- struct{}{} // no hash can run any more
		for range 100 {
			if err := ask("right"); err != nil {
				t.Fatalf("a remembered password is hashed again: %v", err)
			}
		}
		wantRefusal(t, ask("wrong"), CodeRateLimited, "too many logins")
		time.Sleep(c.cfg.CacheTTL)
		wantRefusal(t, ask("right"), CodeRateLimited, "too many logins")
		if n := c.proven.seen.len(); n != 0 {
			t.Errorf("%d entries are left", n)
		}
	})
}

// TestProvenServesTheQueue: devices of one user that come at once cost one hash.
func TestProvenServesTheQueue(t *testing.T) {
	path := cheapUsers(t, map[string]string{"alice": "right"})
	c := newChain(t, Config{UsersFile: path, HashConcurrency: 1})
	var wg sync.WaitGroup
	for range 200 {
		wg.Go(func() {
			if _, err := c.Authenticate(t.Context(), login("alice", "right")); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := c.proven.seen.len(); n != 1 {
		t.Errorf("%d entries", n)
	}
}

func TestLRUIsBounded(t *testing.T) {
	c := newLRU[int, int](3)
	set := func(k int) { c.update(k, func(int, bool) int { return k }) }
	for _, k := range []int{1, 2, 3} {
		set(k)
	}
	c.get(1)
	set(4) // pushes out 2
	if _, ok := c.get(2); ok || c.len() != 3 {
		t.Errorf("2 is still there, or %d entries", c.len())
	}
	for _, k := range []int{1, 3, 4} {
		if v, ok := c.get(k); !ok || v != k {
			t.Errorf("%d is %d, %v", k, v, ok)
		}
	}
	c.delete(1)
	c.delete(1)
	if c.clear(); c.len() != 0 {
		t.Error("not cleared")
	}
}

// TestUnknownUserCostsTheSame: the hash an unknown user is checked against has the cost of one in the file, always the
// same for the same name.
func TestUnknownUserCostsTheSame(t *testing.T) {
	f := NewUsersFile("u")
	if err := f.Set("new", []byte("x")); err != nil {
		t.Fatal(err)
	}
	path := writeFile(t, "u", string(f.Bytes())+"old:"+hashA+"\n")
	table, err := loadUsers(path, "chat", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	seen := map[hashKind]int{}
	for i := range 200 {
		name := fmt.Sprintf("chat/nobody%d", i)
		h, known := table.lookup(name)
		if again, _ := table.lookup(name); known || again != h {
			t.Fatal("not the same hash again")
		}
		seen[h.kind]++
	}
	if len(seen) != 2 || seen[kindArgon2id] < 50 || seen[kindPBKDF2] < 50 {
		t.Errorf("kinds %v", seen)
	}
	empty, err := loadUsers(writeFile(t, "u", ""), "chat", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if h, _ := empty.lookup("chat/x"); h.cost != defaultCost {
		t.Errorf("with no users an unknown one costs %+v", h.cost)
	}
}
