package calls

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/madang-chat/madang/storage"
)

// hits are the messages of a page as room and seq.
func hits(t interface{ Fatal(...any) }, f Found) []string {
	out := []string{}
	for _, m := range f.Messages {
		var e struct {
			Room string
			Seq  uint64
		}
		if err := json.Unmarshal(m, &e); err != nil {
			t.Fatal(err)
		}
		out = append(out, fmt.Sprint(e.Room, e.Seq))
	}
	return out
}

func (r *rig) found(token, params string) string {
	r.t.Helper()
	var f Found
	out := r.must(token, "search", params)
	if err := json.Unmarshal([]byte(out), &f); err != nil {
		r.t.Fatal(err)
	}
	return strings.Join(hits(r.t, f), " ")
}

func TestSearch(t *testing.T) {
	r := newRig(t, nil).rooms()
	for _, m := range []struct{ by, room, text string }{
		{"alice", "pub", "오늘 저녁에 만나요"},       // pub 1
		{"bob", "pub", "夕食は東京で"},             // 2
		{"carol", "pub", "今晚一起吃饭吗"},          // 3
		{"alice", "pub", "Dinner, tonight?"}, // 4
		{"alice", "priv", "저녁 비밀 dinner"},    // priv 2, after bob joined
		{"bob", "priv", "오늘은 안 돼"},           // 3
		{"carol", "open", "dinner for all"},  // open 1
	} {
		r.post(m.by, m.room, m.text)
	}
	for _, c := range []struct{ by, params, want string }{
		{"alice", `{"q":"저녁"}`, "priv2 pub1"},
		{"alice", `{"q":"東京","room":"pub"}`, "pub2"},
		{"alice", `{"q":"吃饭","room":"pub"}`, "pub3"},
		{"alice", `{"q":"DINNER"}`, "open1 priv2 pub4"},
		{"alice", `{"q":"dinner tonight"}`, "pub4"},
		{"alice", `{"q":"저녁 din"}`, "priv2"},
		{"alice", `{"q":"\"dinner, ton\""}`, "pub4"},
		{"alice", `{"from":"bob"}`, "priv3 pub2"},
		{"alice", `{"q":"오늘","from":"bob"}`, "priv3"},
		{"alice", `{"q":"dinner","limit":1}`, "open1"},
		{"bob", `{"q":"dinner"}`, "priv2"}, // a public room of which bob is no member is named, or not searched
		{"bob", `{"q":"dinner","room":"pub"}`, "pub4"},
		{"carol", `{"q":"dinner"}`, ""},
		{"carol", `{"q":"dinner","room":"open"}`, "open1"},
		{"", `{"q":"dinner","room":"open"}`, "open1"},
		{"auditor", `{"q":"dinner","room":"priv"}`, "priv2"},
		{"other/alice", `{"q":"dinner"}`, ""},
		{"alice", `{"q":"dinner","until_ts":1}`, ""},
		{"alice", `{"q":"dinner","from_ts":9999999999999}`, ""},
	} {
		if got := r.found(c.by, c.params); got != c.want {
			t.Errorf("%s %s: %q, want %q", c.by, c.params, got, c.want)
		}
	}
	for _, c := range []struct{ by, params, code string }{
		{"carol", `{"q":"dinner","room":"priv"}`, "not_member"},
		{"", `{"q":"dinner"}`, "guest_read_only"},
		{"", `{"q":"dinner","room":"shut"}`, "not_member"},
		{"alice", `{"q":"dinner","room":"nowhere"}`, "not_found"},
		{"alice", `{}`, "bad_payload"},
		{"alice", `{"q":"?!"}`, "bad_payload"},
		{"alice", `{"q":"x","from":"a b"}`, "bad_payload"},
		{"alice", `{"q":"x","limit":-1}`, "bad_payload"},
		{"alice", `{"q":"x","from_ts":-1}`, "bad_payload"},
		{"alice", `{"q":"x","cursor":"?"}`, "bad_payload"},
		{"alice", `{"q":"` + strings.Repeat("x", 300) + `"}`, "bad_payload"},
	} {
		if _, p := r.call(c.by, "search", c.params); p == nil || string(p.Code) != c.code {
			t.Errorf("%s %s: %v, want %s", c.by, c.params, p, c.code)
		}
	}
	all := r.must("alice", "search", `{"q":"오늘","room":"pub"}`)
	if !strings.Contains(all, `{"room":"pub","seq":1,"n":1,"ts":`) || !strings.HasSuffix(all, `"more":false}`) {
		t.Error(all)
	}
	// Banned: nothing any more, by name or not.
	r.must("alice", "mod.ban", `{"room":"priv","user":"bob"}`)
	if got := r.found("bob", `{"q":"dinner"}`); got != "" {
		t.Errorf("one who is banned finds %s", got)
	}
	if _, p := r.call("bob", "search", `{"q":"dinner","room":"priv"}`); p == nil || p.Code != "banned" {
		t.Errorf("one who is banned: %v", p)
	}
	if off := newRig(t, func(c *Config) { c.NoSearch = true }).rooms(); true {
		if _, p := off.call("alice", "search", `{"q":"x"}`); p == nil || p.Code != "unsupported" {
			t.Errorf("a node that does not search: %v", p)
		}
	}
}

// A cursor says where to go on, and nothing of what may be seen.
func TestSearchCursorOpensNothing(t *testing.T) {
	r := newRig(t, nil).rooms()
	for i := range 5 {
		r.post("alice", "priv", fmt.Sprint("dinner ", i))
		r.post("carol", "pub", fmt.Sprint("dinner ", i))
	}
	r.must("carol", "room.join", `{"room":"pub"}`)
	in := SearchInput{Query: "dinner"}
	for _, p := range []place{
		{Room: "priv"},
		{Room: "priv", Seq: 99, Each: true},
		{Room: "priv", Pos: 1 << 60, Each: true},
		{Pos: 1 << 60},
		{Each: true},
		{Seq: 99},
		{Room: "a", Seq: 1},
		{Seq: ^uint64(0), Pos: ^uint64(0), Each: true},
	} {
		p.For = in.hash()
		in.Cursor = p.String()
		f, err := r.Search(context.Background(), as("carol"), in)
		if err != nil {
			t.Errorf("%+v: %v", p, err)
		}
		for _, h := range hits(t, f) {
			if !strings.HasPrefix(h, "pub") {
				t.Errorf("%+v opens %s", p, h)
			}
		}
	}
	other := SearchInput{Query: "lunch", Cursor: in.Cursor}
	if _, err := r.Search(context.Background(), as("carol"), other); ProblemFrom(err).Code != "bad_payload" {
		t.Errorf("the cursor of another search: %v", err)
	}
}

// However little one call can do, the pages have everything once, and as long as one can do enough, newest first.
func TestSearchPages(t *testing.T) {
	r := newRig(t, nil)
	users := 0
	rapid.Check(t, func(t *rapid.T) {
		users++ // each round has rooms of its own
		user := fmt.Sprint("u", users)
		var want []string
		rooms := rapid.IntRange(1, 6).Draw(t, "rooms")
		for i := range rooms {
			r.log.Apply(&storage.RoomCreate{Room: key(fmt.Sprint(user, "-", i)), By: storage.Actor{User: user}, Kind: storage.Private})
		}
		for range rapid.IntRange(0, 40).Draw(t, "messages") {
			room := fmt.Sprint(user, "-", rapid.IntRange(0, rooms-1).Draw(t, "room"))
			text := rapid.SampledFrom([]string{"yes", "no"}).Draw(t, "text")
			p, err := r.Post(context.Background(), as(user), PostInput{Room: room, Body: []byte(text)})
			if err != nil {
				t.Fatal(err)
			}
			if text == "yes" {
				want = append(want, fmt.Sprint(room, p.Seq))
			}
		}
		slices.Reverse(want)
		in := SearchInput{
			Query: "yes", Limit: rapid.IntRange(1, 9).Draw(t, "limit"), work: rapid.SampledFrom([]int{1, 5, 20, 10_000}).Draw(t, "work"),
			budget: rapid.SampledFrom([]int{1, 500, 1 << 20}).Draw(t, "bytes"),
		}
		var got []string
		for pages := 0; ; pages++ {
			f, err := r.Search(context.Background(), as(user), in)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, hits(t, f)...)
			if in.Cursor = f.Next; f.More != (f.Next != "") || pages > 1000 {
				t.Fatalf("more is %v and next %q after %d pages", f.More, f.Next, pages)
			}
			if !f.More {
				break
			}
		}
		if in.work < 10_000 {
			slices.Sort(got)
			slices.Sort(want)
		}
		if !slices.Equal(got, want) {
			t.Fatalf("found %v, want %v", got, want)
		}
	})
}
