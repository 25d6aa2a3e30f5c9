package storage

import "testing"

// A message whose ttl has passed is not there for what would add to it; its writer may still delete it.
func TestExpiredMessagesAreLeftAlone(t *testing.T) {
	l := newTestLog(t)
	short := say("r", "ann", "short")
	short.TTL = 10
	l.done(short)
	l.done(say("r", "ann", "long"))
	adds := func(seq uint64) map[string]Command {
		return map[string]Command{
			"pin":      &Moderate{Room: room("r"), By: from("ann"), Act: ActPin, Target: seq},
			"edit":     &Append{Room: room("r"), From: from("ann"), Type: TypeEdit, Target: seq, Tail: []byte(`,"data":{"text":"x"}`)},
			"reaction": &Append{Room: room("r"), From: from("bob"), Type: TypeReaction, Target: seq, Emoji: "x", Tail: []byte(`,"data":{"emoji":"x"}`)},
		}
	}
	l.now += 9_999
	for name, c := range adds(1) {
		if r := l.do(c); r.Outcome != Done {
			t.Errorf("%s before its end: %+v", name, r)
		}
	}
	l.done(&Moderate{Room: room("r"), By: from("ann"), Act: ActUnpin, Target: 1})
	l.now++
	head, err := l.s.Room(room("r"))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range adds(1) {
		if r := l.do(c); r.Outcome != NotFound || r.Detail == "" {
			t.Errorf("%s: %+v", name, r)
		}
	}
	if now, err := l.s.Room(room("r")); err != nil || now.Head.Seq != head.Head.Seq || len(now.Pinned) > 0 {
		t.Errorf("%+v, %v", now, err)
	}
	for name, c := range adds(2) {
		if r := l.do(c); r.Outcome != Done {
			t.Errorf("%s of one without a ttl: %+v", name, r)
		}
	}
	l.done(&Append{Room: room("r"), From: from("ann"), Type: TypeDelete, Target: 1, Tail: []byte(`,"target":1,"data":{}`)})
	checkStore(t, l.s)
}
