package calls

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/madang-chat/madang/hooks/calls/callstest"
	"github.com/madang-chat/madang/storage"
)

// seqs returns the seq of each message.
func seqs(t interface{ Fatal(...any) }, messages []json.RawMessage) []uint64 {
	out := []uint64{}
	for _, m := range messages {
		var e struct{ Seq uint64 }
		if err := json.Unmarshal(m, &e); err != nil {
			t.Fatal(err)
		}
		out = append(out, e.Seq)
	}
	return out
}

// Pages in either direction, of any size, in either view, hold every entry once and in order; also when the room is
// partly trimmed, partly expired, and partly no longer in memory.
func TestPagesCoverEverythingOnce(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		log := callstest.NewLog(t, storage.Options{
			Dir: "data", FS: vfs.NewMem(), TailBytes: int64(rapid.SampledFrom([]int{1, 4000, 1 << 20}).Draw(rt, "tail")),
		})
		defer log.Store.Close()
		c := New(Config{Log: log, Store: log.Store, Auth: &callstest.Tokens{}})
		log.Apply(&storage.RoomCreate{Room: key("r"), By: storage.Actor{User: "alice"}, Kind: storage.Public})
		kinds := rapid.SliceOfN(rapid.SampledFrom([]string{"text", "text", "text", "join", "leave", "ttl"}), 0, 150).Draw(rt, "kinds")
		var chat, all []uint64
		member := false
		for _, k := range kinds {
			switch k {
			case "text", "ttl":
				cmd := &storage.Append{Room: key("r"), From: storage.Actor{User: "bob"}, Type: "text", Tail: []byte(`,"data":{"text":"x"}`)}
				if k == "ttl" {
					cmd.TTL = 1
				}
				res := log.Apply(cmd)
				if k == "text" {
					chat, all = append(chat, res.Seq), append(all, res.Seq)
				}
			default:
				var res storage.Result
				if member {
					res = log.Apply(&storage.Leave{Room: key("r"), By: storage.Actor{User: "carol"}})
				} else {
					res = log.Apply(&storage.Join{Room: key("r"), By: storage.Actor{User: "carol"}})
				}
				member = !member
				all = append(all, res.Seq)
			}
		}
		log.Now += 2000 // what has a ttl expires
		log.Apply(&storage.NodeUp{Node: "n2", Boot: 1})
		if cut := rapid.Uint64Range(0, uint64(len(kinds))).Draw(rt, "trim"); cut > 0 {
			log.Apply(&storage.Trim{Room: key("r"), Upto: cut, MaxCount: 1})
		}
		room, err := log.Store.Room(key("r"))
		if err != nil {
			rt.Fatal(err)
		}
		kept := func(s uint64) bool { return s < room.Head.First }
		chat, all = slices.DeleteFunc(chat, kept), slices.DeleteFunc(all, kept)

		limit := rapid.IntRange(1, 70).Draw(rt, "limit")
		budget := rapid.SampledFrom([]int{0, 300, 1000}).Draw(rt, "budget")
		for view, want := range map[string][]uint64{ViewChat: chat, ViewLog: all} {
			in := HistoryInput{Room: "r", View: view, Limit: limit, budget: budget}
			if diff := cmp.Diff(want, pages(rt, c, in, true), cmpEmpty); diff != "" {
				rt.Fatalf("%s backwards: %s", view, diff)
			}
			if diff := cmp.Diff(want, pages(rt, c, in, false), cmpEmpty); diff != "" {
				rt.Fatalf("%s forwards: %s", view, diff)
			}
			at := rapid.Uint64Range(0, uint64(len(kinds))+2).Draw(rt, "around")
			in.Around = &at
			p, err := c.History(context.Background(), as("eve"), in)
			if err != nil {
				rt.Fatal(err)
			}
			got := seqs(rt, p.Messages)
			if len(got) > limit {
				rt.Fatalf("%d entries", len(got))
			}
			if i := slices.Index(want, first(got)); len(got) > 0 && !slices.Equal(want[i:i+len(got)], got) {
				rt.Fatalf("around %d: %v of %v", at, got, want)
			}
			if p.More != (len(got) < len(want)) && budget == 0 && limit > 1 {
				rt.Fatalf("around %d: more=%v, %v of %v", at, p.More, got, want)
			}
			if slices.Contains(want, at) && !slices.Contains(got, at) {
				rt.Fatalf("around %d: %v", at, got)
			}
		}
	})
}

var cmpEmpty = cmp.Transformer("nil", func(s []uint64) string { return fmt.Sprint(s) })

func first(s []uint64) uint64 {
	if len(s) == 0 {
		return 0
	}
	return s[0]
}

// pages reads a whole room.
func pages(t *rapid.T, c *Calls, in HistoryInput, back bool) []uint64 {
	var all []uint64
	var from uint64
	if !back {
		in.After = &from
	}
	for range 1000 {
		p, err := c.History(context.Background(), as("eve"), in)
		if err != nil {
			t.Fatal(err)
		}
		got := seqs(t, p.Messages)
		if len(got) > in.Limit || p.More != (p.Next != 0) {
			t.Fatalf("%d entries, more=%v next=%d", len(got), p.More, p.Next)
		}
		if back {
			all = append(got, all...)
		} else {
			all = append(all, got...)
		}
		if !p.More {
			return all
		}
		next := p.Next
		if back {
			in.Before = &next
		} else {
			in.After = &next
		}
	}
	t.Fatal("the pages do not end")
	return nil
}

func TestHistoryBounds(t *testing.T) {
	r := newRig(t, nil).rooms()
	for i := range 120 {
		r.post("bob", "pub", fmt.Sprintf("m%d", i+1))
	}
	n := func(v uint64) *uint64 { return &v }
	for _, c := range []struct {
		in       HistoryInput
		from, to uint64
		more     bool
		next     uint64
	}{
		{HistoryInput{}, 71, 120, true, 71},
		{HistoryInput{Limit: 5000}, 1, 120, false, 0},
		{HistoryInput{Before: n(71)}, 21, 70, true, 21},
		{HistoryInput{Before: n(51)}, 1, 50, false, 0},
		{HistoryInput{Before: n(1)}, 0, 0, false, 0},
		{HistoryInput{Before: n(0)}, 0, 0, false, 0},
		{HistoryInput{Before: n(math.MaxUint64), Limit: 1}, 120, 120, true, 120},
		{HistoryInput{After: n(0), Limit: 10}, 1, 10, true, 10},
		{HistoryInput{After: n(110), Limit: 10}, 111, 120, false, 0},
		{HistoryInput{After: n(120)}, 0, 0, false, 0},
		{HistoryInput{After: n(math.MaxUint64)}, 0, 0, false, 0},
		{HistoryInput{Around: n(60), Limit: 10}, 56, 65, true, 0},
		{HistoryInput{Around: n(119), Limit: 10}, 111, 120, true, 0},
		{HistoryInput{Around: n(math.MaxUint64), Limit: 2}, 119, 120, true, 0},
		{HistoryInput{Around: n(60), Limit: 1}, 60, 60, true, 0},
		{HistoryInput{Around: n(60), Limit: 1000}, 1, 120, false, 0},
	} {
		c.in.Room = "pub"
		p, err := r.History(context.Background(), as("eve"), c.in)
		if err != nil {
			t.Fatal(err)
		}
		got := seqs(t, p.Messages)
		want := []uint64{}
		for s := c.from; s <= c.to && s > 0; s++ {
			want = append(want, s)
		}
		if !slices.Equal(got, want) || p.More != c.more || p.Next != c.next || p.Head != 120 || p.First != 1 {
			t.Errorf("%+v: %v more=%v next=%d", c.in, got, p.More, p.Next)
		}
	}
}

// What a person sent keeps its bytes, white space and all.
func TestHistoryKeepsBytes(t *testing.T) {
	r := newRig(t, nil).rooms()
	const data = `{ "text" : "<&> \u2028",  "n" : 1.0e2 }`
	if _, err := r.Post(context.Background(), as("bob"), PostInput{
		Room: "pub", ContentType: "application/json", Body: []byte(`{"data":` + data + `}`),
	}); err != nil {
		t.Fatal(err)
	}
	for _, out := range []string{r.must("eve", "history", `{"room":"pub"}`), r.must("eve", "sync", `{"pub":0}`)} {
		if !strings.Contains(out, `"data":`+data+`}`) {
			t.Error(out)
		}
	}
}

// An rpc answer is at most 256 KiB; messages that large alone do not stop anybody from paging on.
func TestAnswersAreBounded(t *testing.T) {
	r := newRig(t, nil).rooms()
	large := strings.Repeat("x", 250<<10)
	for range 3 {
		r.post("bob", "pub", large)
	}
	for range 300 {
		r.post("bob", "pub", strings.Repeat("y", 2000))
	}
	huge := strings.Repeat("z", 256<<10)
	r.post("bob", "pub", huge)
	r.post("bob", "open", huge)
	r.post("bob", "open", "after")
	for _, c := range []struct{ way, arg string }{{"before", `304`}, {"after", `0`}} {
		var all []uint64
		next := c.arg
		for range 400 {
			out := r.must("eve", "history", `{"room":"pub","limit":1000,"`+c.way+`":`+next+`}`)
			if len(out) > maxResult {
				t.Fatalf("%d bytes", len(out))
			}
			var p Page
			if err := json.Unmarshal([]byte(out), &p); err != nil {
				t.Fatal(err)
			}
			if len(p.Messages) == 0 {
				t.Fatal("an empty page")
			}
			all = append(all, seqs(t, p.Messages)...)
			if !p.More {
				break
			}
			next = fmt.Sprint(p.Next)
		}
		slices.Sort(all)
		if len(slices.Compact(all)) != len(all) || all[0] != 1 || uint64(len(all)) != all[len(all)-1] || len(all) < 303 {
			t.Errorf("%s: %d entries, %d..%d", c.way, len(all), all[0], all[len(all)-1])
		}
	}
	have := map[string]uint64{"pub": 0, "open": 0}
	total := 0
	for range 400 {
		params, _ := json.Marshal(have)
		out := r.must("eve", "sync", string(params))
		if len(out) > maxResult {
			t.Fatalf("%d bytes", len(out))
		}
		var s Synced
		if err := json.Unmarshal([]byte(out), &s); err != nil {
			t.Fatal(err)
		}
		for _, room := range s.Rooms {
			if room.From != have[room.Room]+1 {
				t.Fatalf("%+v", room)
			}
			have[room.Room] = room.To
			total += len(room.Messages)
		}
		if !s.More {
			break
		}
	}
	if total != 306 || have["pub"] != 304 || have["open"] != 2 {
		t.Errorf("%d entries, %v", total, have)
	}
	if out := r.must("eve", "history", `{"room":"open"}`); !strings.Contains(out, `"from":{"user":"bob"},"omitted":"too_large"}`) {
		t.Error(out[:min(len(out), 500)])
	}
}

func TestSyncOfManyRooms(t *testing.T) {
	r := newRig(t, nil).rooms()
	r.log.Apply(&storage.RoomCreate{Room: key("dm~alice~bob"), Kind: storage.Direct, By: storage.Actor{User: "alice"}})
	r.post("alice", "dm~alice~bob", "hi")
	out := r.must("alice", "sync", `{"rooms":{"pub":0,"none":1,"dm~alice~bob":0,"`+strings.Repeat("x", 1000)+`":1}}`)
	var s Synced
	if err := json.Unmarshal([]byte(strings.ReplaceAll(out, `"error":{`, `"err":{`)), &s); err != nil {
		t.Fatal(err)
	}
	if len(s.Rooms) != 4 || s.Rooms[0].Room != "dm~alice~bob" || len(s.Rooms[0].Messages) != 1 || strings.Count(out, `"code":"not_found"`) != 2 {
		t.Error(out)
	}
	many := map[string]uint64{}
	for i := range 100 {
		many[fmt.Sprintf("%0120d", i)] = 7
	}
	params, _ := json.Marshal(map[string]any{"rooms": many})
	if out := r.must("alice", "sync", string(params)); strings.Count(out, `"not_found"`) != 100 {
		t.Error(out)
	}
	many["one-more"] = 1
	params, _ = json.Marshal(many)
	if _, p := r.call("alice", "sync", string(params)); p == nil || !strings.Contains(p.Sentence(), "100") {
		t.Error(p)
	}
}

func TestSyncAfterTrim(t *testing.T) {
	r := newRig(t, nil).rooms()
	for range 10 {
		r.post("bob", "pub", "x")
	}
	r.log.Apply(&storage.Trim{Room: key("pub"), Upto: 6, MaxCount: 1})
	out := r.must("eve", "sync", `{"pub":2}`)
	if !strings.HasPrefix(out, `{"rooms":[{"room":"pub","from":3,"to":10,"gap":true,"first":7,"live":true,"messages":[{"room":"pub","seq":7,`) {
		t.Error(out)
	}
}

// A page over a log in which almost nothing is a message ends after a bounded number of entries and says where to go on.
func TestWorkIsBounded(t *testing.T) {
	r := newRig(t, nil).rooms()
	r.post("bob", "pub", "first")
	var cmds []storage.Command
	for range examined/2 + 10 {
		cmds = append(cmds, &storage.Join{Room: key("pub"), By: storage.Actor{User: "carol"}},
			&storage.Leave{Room: key("pub"), By: storage.Actor{User: "carol"}})
	}
	r.log.ApplyAll(cmds)
	p, err := r.History(context.Background(), as("eve"), HistoryInput{Room: "pub"})
	if err != nil || len(p.Messages) != 0 || !p.More || p.Next != p.Head-examined+1 {
		t.Fatalf("%v %+v", err, p)
	}
	p, err = r.History(context.Background(), as("eve"), HistoryInput{Room: "pub", Before: &p.Next})
	if err != nil || !slices.Equal(seqs(t, p.Messages), []uint64{1}) || p.More {
		t.Fatalf("%v %+v", err, p)
	}
}

func BenchmarkPost(b *testing.B) {
	r := newRig(b, nil).rooms()
	in := PostInput{Room: "pub", Body: []byte("hello there, this is a line of chat as people write it")}
	id := as("bob")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.Post(context.Background(), id, in); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkHistoryPage50(b *testing.B) {
	for name, tail := range map[string]int64{"memory": 64 << 20, "disk": 1} {
		b.Run(name, func(b *testing.B) {
			log := callstest.NewLog(b, storage.Options{Dir: "data", FS: vfs.NewMem(), TailBytes: tail})
			r := (&rig{Calls: New(Config{Log: log, Store: log.Store, Auth: &callstest.Tokens{}}), log: log, t: b}).rooms()
			for range 1000 {
				r.post("bob", "pub", "hello there, this is a line of chat as people write it")
			}
			id := as("eve")
			b.ReportAllocs()
			for b.Loop() {
				p, err := r.History(context.Background(), id, HistoryInput{Room: "pub"})
				if err != nil || len(p.AppendJSON(nil)) == 0 {
					b.Fatal(err)
				}
			}
		})
	}
}
