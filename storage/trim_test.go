package storage

import (
	"fmt"
	"reflect"
	"testing"
)

// Five entries, ten seconds apart, all of the same size.
func TestTrimChecksItsBounds(t *testing.T) {
	var size uint64
	{
		l := newTestLog(t)
		l.done(say("r", "ann", "x"))
		size = l.head("r").Total
	}
	for name, tc := range map[string]struct {
		c    Trim
		want bool
	}{
		"old enough":             {Trim{Upto: 2, MaxAge: 29_999}, true},
		"not old enough":         {Trim{Upto: 2, MaxAge: 30_000}, false},
		"all are old":            {Trim{Upto: 5, MaxAge: 1}, false},
		"too many":               {Trim{Upto: 2, MaxCount: 3}, true},
		"not too many":           {Trim{Upto: 2, MaxCount: 4}, false},
		"too large":              {Trim{Upto: 2, MaxBytes: 3 * size}, true},
		"not too large":          {Trim{Upto: 2, MaxBytes: 3*size + 1}, false},
		"no bound":               {Trim{Upto: 2}, false},
		"one bound of three":     {Trim{Upto: 2, MaxAge: 1 << 40, MaxCount: 100, MaxBytes: size}, true},
		"beyond the head":        {Trim{Upto: 6, MaxCount: 1}, false},
		"nothing":                {Trim{Upto: 0, MaxCount: 1}, false},
		"an age that is no age":  {Trim{Upto: 2, MaxAge: -1}, false},
		"the whole room by size": {Trim{Upto: 5, MaxBytes: 1}, false},
	} {
		t.Run(name, func(t *testing.T) {
			l := newTestLog(t)
			for range 5 {
				l.done(say("r", "ann", "x"))
				l.now += 10_000
			}
			l.now -= 10_000
			tc.c.Room = room("r")
			r := l.do(&tc.c)
			h := l.head("r")
			want := Head{Seq: 5, N: 5, TS: h.TS, First: 1, Pos: 5, Total: h.Total}
			if tc.want {
				want.First, want.Gone, want.GonePos = tc.c.Upto+1, tc.c.Upto*size, tc.c.Upto
			}
			if (r.Outcome == Done) != tc.want || !reflect.DeepEqual(h, want) {
				t.Fatalf("%+v, head %+v, want %+v", r, h, want)
			}
			checkRoomOf(t, l.s, "r")
		})
	}
}

func TestTrimAllByAge(t *testing.T) {
	l := newTestLog(t)
	l.done(say("r", "ann", "x"))
	l.now += 100
	l.done(&Trim{Room: room("r"), Upto: 1, MaxAge: 10})
	if h := l.head("r"); h.First != 2 || h.Seq != 1 || h.Gone != h.Total {
		t.Fatalf("head %+v", h)
	}
	if r := l.done(say("r", "ann", "y")); r.Seq != 2 {
		t.Fatalf("%+v", r)
	}
	checkRoomOf(t, l.s, "r")
}

// Trim sees what the batch has written, whichever way the batch is cut.
func TestTrimInTheBatchOfItsEntries(t *testing.T) {
	for upto := uint64(1); upto <= 4; upto++ {
		t.Run(fmt.Sprint(upto), func(t *testing.T) {
			l := newTestLog(t)
			l.done(say("r", "ann", "1"))
			cmds := append(texts(3), &Trim{Room: room("r"), Upto: upto, MaxBytes: 1, MaxAge: 1}, &Trim{Room: room("r"), Upto: upto, MaxBytes: 1})
			l.now += 100
			got := l.as("a", append(cmds, texts(2)...)...)
			if ok := got[3].Outcome == Done; ok != (upto < 4) || got[4].Outcome != Conflict {
				t.Fatalf("%+v", got)
			}
			checkRoomOf(t, l.s, "r")
		})
	}
}

func TestSecretIsSetOnce(t *testing.T) {
	l := newTestLog(t)
	if b, err := l.s.Secret("k"); b != nil || err != nil {
		t.Fatalf("%q, %v", b, err)
	}
	got := l.as("a", &Secret{Name: "k", Value: []byte("one")}, &Secret{Name: "k", Value: []byte("two")}, &Secret{Name: "empty"})
	if got[0].Present || !got[1].Present || got[2].Present {
		t.Fatalf("%+v", got)
	}
	if r := l.done(&Secret{Name: "empty", Value: []byte("x")}); !r.Present {
		t.Fatalf("%+v", r)
	}
	if b, err := l.s.Secret("k"); string(b) != "one" || err != nil {
		t.Fatalf("%q, %v", b, err)
	}
	if b, err := l.s.Secret("empty"); b == nil || len(b) != 0 || err != nil {
		t.Fatalf("%q, %v", b, err)
	}
}
