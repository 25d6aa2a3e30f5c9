package storage

import (
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
)

// anyBytes is text of any kind, UTF-8 or not: what is in the log must come back as it was.
var anyBytes = rapid.Custom(func(t *rapid.T) string { return string(rapid.SliceOfN(rapid.Byte(), 0, 12).Draw(t, "bytes")) })

func generators() rapid.MakeConfig {
	return rapid.MakeConfig{Types: map[reflect.Type]*rapid.Generator[any]{
		reflect.TypeFor[string]():   anyBytes.AsAny(),
		reflect.TypeFor[Role]():     rapid.Map(anyBytes, func(s string) Role { return Role(s) }).AsAny(),
		reflect.TypeFor[int]():      rapid.Map(rapid.Int32(), func(v int32) int { return int(v) }).AsAny(),
		reflect.TypeFor[RoomKind](): rapid.Map(rapid.Byte(), func(v byte) RoomKind { return RoomKind(v) }).AsAny(),
	}}
}

// roundTrip checks that a value of T comes back from its stored form.
func roundTrip[T any](t *testing.T, again func(v *T) (*T, error)) {
	t.Helper()
	t.Run(reflect.TypeFor[T]().Name(), func(t *testing.T) {
		g := rapid.MakeCustom[T](generators())
		rapid.Check(t, func(t *rapid.T) {
			v := g.Draw(t, "value")
			got, err := again(&v)
			if err != nil {
				t.Fatalf("%+v: %v", v, err)
			}
			if d := cmp.Diff(&v, got, cmpopts.EquateEmpty(), cmp.Exporter(func(reflect.Type) bool { return true })); d != "" {
				t.Fatalf("changed (-in +out):\n%s", d)
			}
		})
	})
}

func commandRoundTrip[T any, P interface {
	*T
	Command
}](t *testing.T) {
	t.Helper()
	roundTrip(t, func(v *T) (*T, error) {
		c, err := Decode(Encode(P(v)))
		if err != nil {
			return nil, err
		}
		return (*T)(c.(P)), nil
	})
}

func TestCommandsSurviveEncoding(t *testing.T) {
	commandRoundTrip[Append](t)
	commandRoundTrip[RoomCreate](t)
	commandRoundTrip[RoomSet](t)
	commandRoundTrip[RoomDelete](t)
	commandRoundTrip[Join](t)
	commandRoundTrip[Leave](t)
	commandRoundTrip[Moderate](t)
	commandRoundTrip[Marks](t)
	commandRoundTrip[Active](t)
	commandRoundTrip[SetPush](t)
	commandRoundTrip[EndDevice](t)
	commandRoundTrip[SetState](t)
	commandRoundTrip[FollowUp](t)
	commandRoundTrip[Take](t)
	commandRoundTrip[Drop](t)
	commandRoundTrip[Subscribe](t)
	commandRoundTrip[Release](t)
	commandRoundTrip[Places](t)
	commandRoundTrip[Expire](t)
	commandRoundTrip[FireWill](t)
	commandRoundTrip[NodeUp](t)
	commandRoundTrip[NodeLost](t)
	commandRoundTrip[Trim](t)
	commandRoundTrip[Forget](t)
	commandRoundTrip[Secret](t)
	commandRoundTrip[Contact](t)
	commandRoundTrip[Block](t)
	commandRoundTrip[InboxRead](t)
}

func recordRoundTrip[T any](t *testing.T) {
	t.Helper()
	roundTrip(t, func(v *T) (*T, error) {
		out := new(T)
		return out, decodeRecord(encodeRecord(v), out)
	})
}

func TestRecordsSurviveEncoding(t *testing.T) {
	recordRoundTrip[settings](t)
	recordRoundTrip[Member](t)
	recordRoundTrip[sessionRecord](t)
	recordRoundTrip[outboxItem](t)
	recordRoundTrip[userCounts](t)
	recordRoundTrip[Mark](t)
	recordRoundTrip[relation](t)
	recordRoundTrip[pair](t)
	recordRoundTrip[person](t)
	roundTrip(t, func(e *Entry) (*Entry, error) { return decodeEntry(e.Seq, e.appendTo(nil)) })
	roundTrip(t, func(a *AuditRecord) (*AuditRecord, error) {
		out := &AuditRecord{Pos: a.Pos} // of the key
		return out, decodeRecord(encodeRecord(a), out)
	})
	roundTrip(t, func(f *Fold) (*Fold, error) {
		out := &Fold{Seq: f.Seq} // of the key
		return out, decodeRecord(encodeRecord(f), out)
	})
	roundTrip(t, func(n *nodeState) (*nodeState, error) { out, err := decodeNode(n.encode()); return &out, err })
	roundTrip(t, func(p *bootPlace) (*bootPlace, error) { out, err := decodeBootPlace(p.encode()); return &out, err })
	roundTrip(t, func(x *bySeq) (*bySeq, error) { out, err := decodeBySeq(x.seq, x.appendTo(nil)); return &out, err })
	roundTrip(t, func(m *meta) (*meta, error) {
		m.FollowedUp = min(m.FollowedUp, m.Outbox)
		out, err := decodeMeta(m.encode())
		return &out, err
	})
	roundTrip(t, func(h *Head) (*Head, error) {
		h.First, h.Gone = min(max(h.First, 1), h.Seq, 1<<62)+1, min(h.Gone, h.Total)
		h.GonePos, h.Holes = min(h.GonePos, h.Pos), nil // holes: TestHeadWithHoles
		out, err := decodeHead(h.appendTo(nil))
		return &out, err
	})
	roundTrip(t, func(r *Result) (*Result, error) { out, err := DecodeResult(r.Encode()); return &out, err })
}

// The forms on disk and in the log are read by later builds: they may not change unnoticed.
func TestFormsAreFixed(t *testing.T) {
	level := int64(2)
	e := Entry{Seq: 9, N: 1, Pos: 2, TS: 300, Total: 4, Expiry: 5, Type: "t", User: "u", Device: "d", JSON: []byte("{}")}
	for name, tc := range map[string]struct {
		got  []byte
		want string
	}{
		"entry":      {e.appendTo(nil), "\x01\x02\x01\xac\x02\x04\x05\x01t\x01u\x01d{}"},
		"head":       {Head{Seq: 1, N: 2, TS: 3, First: 1, Pos: 5, Total: 6, Gone: 7, GonePos: 4}.appendTo(nil), "\x01\x01\x02\x03\x01\x05\x06\x07\x04"},
		"meta":       {meta{1, 2, 3, 4, 5, 6}.encode(), "\x01\x01\x02\x03\x04\x05\x06"},
		"node":       {nodeState{1, 2, 3, 4, 5}.encode(), "\x01\x01\x02\x03\x04\x05"},
		"boot place": {bootPlace{1, 2, 3}.encode(), "\x01\x01\x02\x03"},
		"result":     {(&Result{Outcome: Frozen, Present: true, Seq: 1, TS: 2, Epoch: 3, Outbox: 4, Detail: "d"}).Encode(), "\x01\x06\x02\x01\x02\x03\x04d"},
		"member":     {encodeRecord(Member{Role: "m", Since: 1, At: 2}), "\x01\xa3\x01am\x02\x01\x03\x02"},
		"join":       {Encode(&Join{Room: RoomKey{"n", "r"}, By: Actor{User: "u"}}), "\x01\x05\xa2\x01\xa2\x01an\x02ar\x02\xa1\x01au"},
		"append": {
			Encode(&Append{Room: RoomKey{"n", "r"}, From: Actor{User: "u", Level: &level}, Type: "t", Tail: []byte(",x"), Epoch: 3, Dup: true}),
			"\x01\x01\x0c\x01n\x01r\x01u\x00\x00\x01t\x00\x00\x00\x04\x03\x00\x00,x",
		},
	} {
		if string(tc.got) != tc.want {
			t.Errorf("%s is %q, want %q", name, tc.got, tc.want)
		}
	}
}

func TestNamesOnTheWire(t *testing.T) {
	for k := Public; k <= Direct; k++ {
		if got, ok := ParseRoomKind(k.String()); got != k || !ok {
			t.Errorf("%v comes back as %v, %v", k, got, ok)
		}
	}
	for g := GuestNone; g <= GuestWrite; g++ {
		if got, ok := ParseGuestAccess(g.String()); got != g || !ok {
			t.Errorf("%v comes back as %v, %v", g, got, ok)
		}
	}
	for _, bad := range []string{"", "Public", "dm"} {
		if k, ok := ParseRoomKind(bad); ok {
			t.Errorf("%q is %v", bad, k)
		}
		if g, ok := ParseGuestAccess(bad); ok {
			t.Errorf("%q is %v", bad, g)
		}
	}
	if RoomKind(9).String() != "" || GuestAccess(9).String() != "" || Outcome(99).String() != "unknown" {
		t.Error("unknown values have names")
	}
	if Frozen.String() != "room_frozen" || Limit.String() != "limit" {
		t.Errorf("%v, %v", Frozen, Limit)
	}
}
