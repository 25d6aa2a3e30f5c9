package storage

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// stable checks that what was read from any bytes is written and read again as the same.
func stable[T any](t *testing.T, v T, again func(T) (T, error)) {
	t.Helper()
	got, err := again(v)
	if err != nil {
		t.Fatalf("own form of %+v refused: %v", v, err)
	}
	if d := cmp.Diff(v, got, cmpopts.EquateEmpty(), cmp.AllowUnexported(bySeq{})); d != "" {
		t.Fatalf("changed (-first +second):\n%s", d)
	}
}

func FuzzCommand(f *testing.F) {
	for _, c := range []Command{
		sayAs("r", "ann", "hi", "c1"), sends(phone, 3, 7, "hi", true), &RoomCreate{Room: room("r"), Kind: Public},
		&Take{Session: phone, Node: "a", Boot: 1, Will: say("r", "ann", "gone")},
		&Release{Session: phone, Epoch: 1, Unfinished: []Unfinished{{PacketID: 1}}, Expiry: new(uint32(3))},
		&Subscribe{Session: phone, Add: []Subscription{{Filter: "f", QoS: 1}}, Places: []RoomSeq{{"r", 1}}},
		&Places{Node: "a", Boot: 1, Pos: 1, Lags: []LagOf{{phone, 1, "r", 2}}}, &NodeLost{Node: "a"}, &Secret{Name: "k"},
		&Append{Room: BroadcastLog("chat"), Type: "text", Mentions: []string{"ann", "bob"}, AutoCreate: Broadcast},
		&Contact{NS: "chat", User: "ann", Name: "A", Other: "bob", On: true, Max: 5}, &Block{NS: "chat", User: "ann", Other: "bob", On: true},
		&InboxRead{NS: "chat", User: "ann", Seq: 3},
		&FeedHooks{Names: []string{"h"}}, &FeedPlaces{Places: []HookPlace{{Name: "h", Place: 1}}}, &FeedDead{Hook: "h", ID: 1}, &FeedRetry{Hook: "h", IDs: []uint64{1}},
	} {
		f.Add(Encode(c))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := Decode(data)
		if err != nil {
			return
		}
		stable(t, c, func(c Command) (Command, error) { return Decode(Encode(c)) })
		wellNamed(c)
	})
}

func FuzzEntry(f *testing.F) {
	f.Add((&Entry{Pos: 1, N: 2, TS: 3, Total: 4, Type: "text", User: "ann", JSON: []byte("{}")}).appendTo(nil))
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := decodeEntry(1, data)
		pos, posErr := entryPos(1, data)
		if err != nil {
			return
		}
		if posErr != nil || pos != e.Pos {
			t.Fatalf("pos alone is %d, %v, in the entry %d", pos, posErr, e.Pos)
		}
		stable(t, e, func(e *Entry) (*Entry, error) { return decodeEntry(1, e.appendTo(nil)) })
	})
}

func FuzzHead(f *testing.F) {
	f.Add(Head{Seq: 3, N: 2, TS: 1, First: 2, Pos: 9, Total: 100, Gone: 30}.appendTo(nil))
	f.Fuzz(func(t *testing.T, data []byte) {
		h, err := decodeHead(data)
		if err != nil {
			return
		}
		if h.First == 0 || h.First-1 > h.Seq || h.Gone > h.Total {
			t.Fatalf("head %+v", h)
		}
		stable(t, h, func(h Head) (Head, error) { return decodeHead(h.appendTo(nil)) })
	})
}

func FuzzMeta(f *testing.F) {
	f.Add(meta{1, 2, 3, 4, 5, 4}.encode())
	f.Fuzz(func(t *testing.T, data []byte) {
		if m, err := decodeMeta(data); err == nil {
			stable(t, m, func(m meta) (meta, error) { return decodeMeta(m.encode()) })
		}
	})
}

func FuzzNode(f *testing.F) {
	f.Add(nodeState{1, 2, 3, 4, 5}.encode())
	f.Fuzz(func(t *testing.T, data []byte) {
		if n, err := decodeNode(data); err == nil {
			stable(t, n, func(n nodeState) (nodeState, error) { return decodeNode(n.encode()) })
		}
	})
}

func FuzzBootPlace(f *testing.F) {
	f.Add(bootPlace{1, 2, 3}.encode())
	f.Fuzz(func(t *testing.T, data []byte) {
		if p, err := decodeBootPlace(data); err == nil {
			stable(t, p, func(p bootPlace) (bootPlace, error) { return decodeBootPlace(p.encode()) })
		}
	})
}

func FuzzCID(f *testing.F) {
	f.Add(append(append([]byte{cidVersion}, make([]byte, 16)...), 7, 9))
	f.Fuzz(func(t *testing.T, data []byte) {
		seq, ts, hash, err := decodeCID(data)
		if err != nil {
			return
		}
		if data[0] != cidVersion || !bytes.Equal(hash[:], data[1:17]) || len(data) < 19 {
			t.Fatalf("%q gives seq %d, ts %d, hash %x", data, seq, ts, hash)
		}
	})
}

func FuzzBySeq(f *testing.F) {
	f.Add((&bySeq{seq: 1, ts: 2, user: "ann", cid: "c1"}).appendTo(nil))
	f.Fuzz(func(t *testing.T, data []byte) {
		if x, err := decodeBySeq(1, data); err == nil {
			stable(t, x, func(x bySeq) (bySeq, error) { return decodeBySeq(1, x.appendTo(nil)) })
		}
	})
}

func FuzzResult(f *testing.F) {
	f.Add((&Result{Outcome: CIDConflict, Created: true, Seq: 1, TS: 2, Epoch: 3, Outbox: 4, Detail: "why"}).Encode())
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := DecodeResult(data)
		if err != nil {
			return
		}
		_ = r.Outcome.String()
		stable(t, r, func(r Result) (Result, error) { return DecodeResult(r.Encode()) })
	})
}

func FuzzSession(f *testing.F) {
	f.Add(encodeRecord(sessionRecord{
		Epoch: 1, Node: "a", Boot: 1, Filters: []Subscription{{Filter: "f"}}, Unfinished: []Unfinished{{PacketID: 1}},
		Will: say("r", "ann", "gone"), Repeated: []uint16{1},
	}))
	f.Fuzz(func(t *testing.T, data []byte) {
		var rec sessionRecord
		if decodeRecord(data, &rec) != nil {
			return
		}
		stable(t, rec, func(rec sessionRecord) (out sessionRecord, err error) {
			err = decodeRecord(encodeRecord(rec), &out)
			return out, err
		})
	})
}

func FuzzSettings(f *testing.F) {
	f.Add(encodeRecord(settings{Kind: Public, Name: "n", Owner: "ann", Made: 1, Members: 1}))
	f.Fuzz(func(t *testing.T, data []byte) {
		var st settings
		if decodeRecord(data, &st) != nil {
			return
		}
		picture(room("r"), &st, Head{First: 1})
		stable(t, st, func(st settings) (out settings, err error) {
			err = decodeRecord(encodeRecord(st), &out)
			return out, err
		})
	})
}

func FuzzClientIDInAKey(f *testing.F) {
	for _, s := range []string{"", "a", "\x00", "\x01", "a\x00\x01b", "\x01\x01\x02"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, client string) {
		escaped := escapeName(client)
		if bytes.IndexByte([]byte(escaped), separator) >= 0 || unescapeName(escaped) != client {
			t.Fatalf("%q is %q in a key and comes back as %q", client, escaped, unescapeName(escaped))
		}
		unescapeName(client)
		split(append([]byte{prefixSession}, client...), 2)
	})
}
