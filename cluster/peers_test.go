package cluster

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"
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
		kind, key, slot, data, err := decodePeerFrame(out[4 : 4+size])
		out = out[4+size:]
		if err != nil || kind != kindValue || key != "room" || !bytes.HasPrefix(data, []byte("newest")) {
			t.Fatalf("%c %q %q %.10q %v", kind, key, slot, data, err)
		}
		sent++
		if want := fmt.Sprint(slots - 1); len(out) == 0 && slot != want {
			t.Fatalf("the last slot is %s, want %s", slot, want)
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
					kind, key, _, _, err := decodePeerFrame(b[4 : 4+size])
					if err != nil {
						t.Fatal(err)
					}
					told[key] = kind == kindWant
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

func FuzzPeerFrame(f *testing.F) {
	f.Add(appendPeerFrame(nil, kindValue, "key", "slot", []byte("data"))[4:])
	f.Add(appendPeerFrame(nil, kindWant, "key", "", nil)[4:])
	f.Fuzz(func(t *testing.T, b []byte) {
		kind, key, slot, data, err := decodePeerFrame(b)
		if err != nil {
			return
		}
		kind2, key2, slot2, data2, err := decodePeerFrame(appendPeerFrame(nil, kind, key, slot, data)[4:])
		if err != nil || kind2 != kind || key2 != key || slot2 != slot || !bytes.Equal(data2, data) {
			t.Fatalf("%q became %c %q %q %q, %v", b, kind2, key2, slot2, data2, err)
		}
	})
}
