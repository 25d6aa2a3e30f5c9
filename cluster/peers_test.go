package cluster

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/madang-chat/madang/cluster/link"
)

// What waits for a node is bounded, and of what does not fit the newest survives; of one slot only the newest is sent.
func TestPeerQueueKeepsTheNewest(t *testing.T) {
	p := newPeers()
	n := p.connected("b")
	p.mu.Lock()
	n.wants["room"] = struct{}{}
	p.mu.Unlock()
	big := strings.Repeat("x", 4<<10)
	const slots = 1000 // four times what fits
	for i := range slots {
		for range 3 {
			p.Tell("room", fmt.Sprint(i), []byte(big))
		}
		p.Tell("room", fmt.Sprint(i), []byte("newest"+big))
		p.Tell("elsewhere", fmt.Sprint(i), []byte(big))
	}
	if n.bytes > peerQueue {
		t.Fatalf("%d bytes wait", n.bytes)
	}
	out := p.take(n)
	sent := 0
	for len(out) > 0 {
		size := int(out[0])<<24 | int(out[1])<<16 | int(out[2])<<8 | int(out[3])
		s, err := decodePeerFrame(out[4 : 4+size])
		out = out[4+size:]
		if err != nil || s.kind != kindValue || s.key != "room" || !bytes.HasPrefix(s.data, []byte("newest")) {
			t.Fatalf("%c %q %q %.10q %v", s.kind, s.key, s.slot, s.data, err)
		}
		sent++
		if want := fmt.Sprint(slots - 1); len(out) == 0 && s.slot != want {
			t.Fatalf("the last slot is %s, want %s", s.slot, want)
		}
	}
	if sent < 200 || sent > 260 {
		t.Fatalf("%d values were sent", sent)
	}
	p.disconnected("b")
	p.Tell("room", "0", nil)
	if len(p.take(n)) > 0 {
		t.Fatal("something waits for a node that cannot be reached")
	}
}

// Wishes reach a node as they stand, however often they changed.
func TestPeerWishes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := newPeers()
		n := p.connected("b")
		want, told := map[string]int{}, map[string]bool{}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			key := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "key")
			switch rapid.IntRange(0, 2).Draw(t, "step") {
			case 0:
				want[key]++
				p.Want(key)
			case 1:
				if want[key] > 0 {
					want[key]--
					p.Unwant(key)
				}
			case 2:
				for b := p.take(n); len(b) > 0; {
					size := int(b[3])
					s, err := decodePeerFrame(b[4 : 4+size])
					if err != nil {
						t.Fatal(err)
					}
					told[s.key] = s.kind == kindWant
					b = b[4+size:]
				}
				for k, n := range want {
					if told[k] != (n > 0) {
						t.Fatalf("%s: wanted %d times, told %v", k, n, told[k])
					}
				}
			}
		}
	})
}

// again encodes a frame that was taken apart.
func (s *saying) again() []byte {
	if s.kind == kindAsk || s.kind == kindAnswer {
		return appendNumbered(nil, s.kind, s.number, s.data)
	}
	return appendPeerFrame(nil, s.kind, s.key, s.slot, s.data)
}

// A node that asks is heard before it can be reached: it gets its answer as soon as it can be.
func TestPeerAnswersWait(t *testing.T) {
	p := newPeers()
	n := p.node("new")
	p.answer("new", 1, []byte("lost: it is not heard"))
	n.from = new(link.Conn)
	p.answer("new", 2, []byte("here"))
	p.answer("new", 3, bytes.Repeat([]byte("x"), peerSaid)) // more than may wait
	p.connected("new")
	s, err := decodePeerFrame(p.take(n)[4:])
	if err != nil || s.kind != kindAnswer || s.number != 2 || string(s.data) != "here" {
		t.Fatalf("it was told %+v, %v", s, err)
	}
	p.disconnected("new")
	p.connected("new")
	if again := p.take(n); len(again) > 0 {
		t.Errorf("again: %q", again)
	}
}

func FuzzPeerFrame(f *testing.F) {
	f.Add(appendPeerFrame(nil, kindValue, "key", "slot", []byte("data"))[4:])
	f.Add(appendPeerFrame(nil, kindWant, "key", "", nil)[4:])
	f.Add(appendNumbered(nil, kindAsk, 300, []byte("question"))[4:])
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := decodePeerFrame(b)
		if err != nil {
			return
		}
		s2, err := decodePeerFrame(s.again()[4:])
		if err != nil || s2.kind != s.kind || s2.key != s.key || s2.slot != s.slot || s2.number != s.number || !bytes.Equal(s2.data, s.data) {
			t.Fatalf("%q became %+v, %v", b, s2, err)
		}
	})
}

// Who answers is waited for, and who does not only once.
func TestPeersAreAsked(t *testing.T) {
	p := newPeers()
	for _, id := range []string{"quick", "hangs", "away"} {
		n := p.connected(id)
		n.from = new(link.Conn)
	}
	p.disconnected("away")
	quick := p.node("quick")
	p.node("hangs").late = true // it left one unanswered
	ask := func() chan [][]byte {
		got := make(chan [][]byte, 1)
		go func() { got <- p.Ask(t.Context(), "", []byte("who?")) }()
		<-quick.wake
		return got
	}
	last := func() uint64 {
		s, err := decodePeerFrame(p.take(quick)[4:])
		if err != nil || s.kind != kindAsk || string(s.data) != "who?" {
			t.Fatalf("asked %+v, %v", s, err)
		}
		return s.number
	}
	p.take(quick)
	select { // of the beginning
	case <-quick.wake:
	default:
	}
	got := ask()
	p.mu.Lock()
	p.answered("hangs", 12345, nil) // to something long ago; it is back
	p.mu.Unlock()
	number := last()
	p.mu.Lock()
	p.answered("quick", number, []byte("I"))
	p.answered("quick", number, []byte("twice"))
	p.mu.Unlock()
	if a := <-got; len(a) != 1 || string(a[0]) != "I" {
		t.Fatalf("answers %q", a)
	}
	got = ask()
	number = last()
	p.mu.Lock()
	p.answered("quick", number, []byte("I"))
	p.mu.Unlock()
	p.disconnected("hangs") // it is waited for again, but not when it is gone
	if a := <-got; len(a) != 1 {
		t.Fatalf("answers %q", a)
	}
	p.disconnected("quick")
	if a := p.Ask(t.Context(), "", []byte("anybody?")); a != nil || len(p.asking) > 0 {
		t.Fatalf("answers %q, %d questions are kept", a, len(p.asking))
	}
}
