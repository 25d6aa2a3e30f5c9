package problem

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// The contract's list, in its order.
const contract = "unauthenticated token_expired guest_read_only not_member muted banned room_frozen slow_mode " +
	"rate_limited too_large bad_payload cid_conflict conflict not_found forbidden unsupported limit token_expiring " +
	"no_quorum storage_full outcome_unknown"

func TestTableIsTheContract(t *testing.T) {
	var got []string
	for _, c := range Codes() {
		got = append(got, string(c))
	}
	if diff := cmp.Diff(strings.Fields(contract), got); diff != "" {
		t.Fatalf("codes differ from the contract (-want +got):\n%s", diff)
	}
	if len(byCode) != len(table) {
		t.Fatalf("%d codes in %d rows: one is there twice", len(byCode), len(table))
	}
}

func TestReasonsAreLegal(t *testing.T) {
	puback := []byte{0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99}
	suback := []byte{0x80, 0x83, 0x87, 0x8F, 0x91, 0x97, 0x9E, 0xA1, 0xA2}
	connack := []byte{
		0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8A, 0x8C, 0x90, 0x95, 0x97, 0x99, 0x9A, 0x9B, 0x9C,
		0x9D, 0x9F,
	}
	for _, c := range append(Codes(), "no_such_code") {
		if !slices.Contains(puback, c.Reason()) {
			t.Errorf("%s: 0x%02x is not a refusal in PUBACK", c, c.Reason())
		}
		if !slices.Contains(suback, c.SubackReason()) {
			t.Errorf("%s: 0x%02x is not a refusal in SUBACK", c, c.SubackReason())
		}
		if !slices.Contains(connack, c.ConnackReason()) {
			t.Errorf("%s: 0x%02x is not a refusal in CONNACK", c, c.ConnackReason())
		}
		if v := c.V3Connack(); v < 1 || v > 5 {
			t.Errorf("%s: %d is not a v3.1.1 refusal", c, v)
		}
		if s := c.Status(); s < 400 || s > 599 {
			t.Errorf("%s: status %d", c, s)
		}
		if s := c.Title(); !strings.HasSuffix(s, ".") || len(s) < 20 {
			t.Errorf("%s: title is no sentence: %q", c, s)
		}
	}
}

func TestContractFigures(t *testing.T) {
	for _, c := range Codes()[18:] {
		if c.Status() != 503 || !c.Retry() {
			t.Errorf("%s: status %d, retry %v; the last three are 503 and worth another try", c, c.Status(), c.Retry())
		}
	}
	for _, c := range Codes()[:18] {
		if c.Status() >= 500 {
			t.Errorf("%s: status %d is a server's fault", c, c.Status())
		}
	}
	if NoQuorum.ConnackReason() != 0x88 || NoQuorum.V3Connack() != 3 {
		t.Error("no_quorum at CONNECT is 0x88 or code 3")
	}
	if StorageFull.Reason() != 0x97 {
		t.Error("storage_full is 0x97")
	}
	if RoomFrozen.Status() != 403 {
		t.Error("room_frozen is 403 in the contract's example")
	}
	if Code("x").Known() || !Muted.Known() {
		t.Error("Known")
	}
}

func TestNew(t *testing.T) {
	p := New(BadPayload, "The key %q is not known.", "tpye")
	if p.Status != 400 || p.Title != BadPayload.Title() || p.Sentence() != `The key "tpye" is not known.` {
		t.Fatalf("%+v", p)
	}
	if q := New(Muted, ""); q.Sentence() != Muted.Title() {
		t.Fatalf("without a detail the title speaks: %q", q.Sentence())
	}
	err := fmt.Errorf("publish: %w", p)
	if !errors.Is(err, &Problem{Code: BadPayload}) || errors.Is(err, &Problem{Code: Muted}) {
		t.Fatal("errors.Is compares codes")
	}
	if SharedSubscription().SubackReason() != 0x9E || p.SubackReason() != 0x8F {
		t.Fatal("suback reasons")
	}
	if s := p.Error(); s != `bad_payload: The key "tpye" is not known.` {
		t.Fatal(s)
	}
}

func TestDetailIsClean(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := string(rapid.SliceOf(rapid.Byte()).Draw(t, "detail")) + strings.Repeat("마", rapid.IntRange(0, 300).Draw(t, "n"))
		p := New(NotFound, "%s", d)
		if len(p.Detail) > maxDetail || !utf8.ValidString(p.Detail) || strings.ContainsAny(p.Detail, "\x00\n\x1b\u0085") {
			t.Fatalf("%q", p.Detail)
		}
	})
}

func TestJSON(t *testing.T) {
	p := New(SlowMode, "Wait 3 seconds, <b>안녕</b>.").After(2001 * time.Millisecond)
	got, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	if err := json.Unmarshal(got, &m); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"type": "urn:madang:problem:slow_mode", "title": SlowMode.Title(), "status": 429.0, "code": "slow_mode",
		"detail": "Wait 3 seconds, <b>안녕</b>.", "retry_after": 3.0,
	}
	if diff := cmp.Diff(want, m); diff != "" {
		t.Fatal(diff)
	}
	if b := string(p.AppendJSON(nil)); !strings.Contains(b, "<b>안녕</b>") {
		t.Fatalf("escaped for HTML: %s", b)
	}
	if b := string(New(Muted, "").AppendJSON(nil)); strings.Contains(b, "detail") || strings.Contains(b, "retry_after") {
		t.Fatalf("empty members: %s", b)
	}
}

func TestEvent(t *testing.T) {
	p := New(RoomFrozen, "")
	got := string(Event{Op: OpPublish, Topic: "chat/rooms/a/send", CID: "c1", MID: 7, Problem: p}.Append([]byte("x")))
	want := `x{"op":"publish","topic":"chat/rooms/a/send","cid":"c1","mid":7,"status":403,"code":"room_frozen","title":"` +
		p.Title + `"}`
	if got != want {
		t.Fatalf("got  %s\nwant %s", got, want)
	}
	got = string(Event{Op: OpSession, Problem: New(TokenExpiring, "").After(time.Minute)}.Append(nil))
	want = `{"op":"session","status":401,"code":"token_expiring","title":"` + TokenExpiring.Title() + `","retry_after":60}`
	if got != want {
		t.Fatalf("got  %s\nwant %s", got, want)
	}
	got = string(Event{Op: OpPublish, Problem: New(BadPayload, "Key \"x\" is unknown.")}.Append(nil))
	if !strings.Contains(got, `"title":"Key \"x\" is unknown."`) {
		t.Fatalf("me/error has no detail, so its title is the telling sentence: %s", got)
	}
}

func TestAppendString(t *testing.T) {
	for in, want := range map[string]string{
		"":                `""`,
		"안녕 <b>&👍":        `"안녕 <b>&👍"`,
		"\"\\/":           `"\"\\/"`,
		"\x00\n\r\t\b":    `"\u0000\n\r\t\u0008"`,
		"\x7f":            `"\u007f"`,
		"a\u2028b\u2029":  `"a\u2028b\u2029"`,
		"a\xffb\xed\xa0z": "\"a\uFFFDb\uFFFD\uFFFDz\"",
		"\uFFFD":          "\"\uFFFD\"",
		"\xe2\x80":        "\"\uFFFD\uFFFD\"",
	} {
		if got := string(AppendString(nil, in)); got != want {
			t.Errorf("%q: got %s, want %s", in, got, want)
		}
		if got := string(AppendString(nil, []byte(in))); got != want {
			t.Errorf("%q as bytes: got %s, want %s", in, got, want)
		}
	}
}

func FuzzAppendString(f *testing.F) {
	f.Add([]byte("안녕\xff\u2028\""))
	f.Fuzz(func(t *testing.T, in []byte) {
		got := AppendString(nil, in)
		var back string
		if err := json.Unmarshal(got, &back); err != nil {
			t.Fatalf("%q: %v", got, err)
		}
		if back != strings.Map(func(r rune) rune { return r }, string(in)) {
			t.Fatalf("%q came back as %q", in, back)
		}
		if !utf8.Valid(got) {
			t.Fatalf("%q", got)
		}
	})
}

func TestAppendStringAllocatesNothing(t *testing.T) {
	dst, in := make([]byte, 0, 256), []byte("안녕하세요, \"everyone\" 👍\n")
	if n := testing.AllocsPerRun(100, func() { dst = AppendString(dst[:0], in) }); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}
