package calls

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/madang-chat/madang/storage"
)

func (r *rig) export(t interface{ Fatal(...any) }, token, room string) string {
	e, err := r.ExportRoom(as(token), room)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := e.WriteTo(context.Background(), &b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// withoutHead is an export but for its first line.
func withoutHead(s string) string {
	_, rest, _ := strings.Cut(s, "\n")
	return rest
}

// busy makes a room with something of everything in it.
func busy(r *rig) {
	r.must("alice", "room.create", `{"room":"old","kind":"public","name":"Old one","guest":"none"}`)
	r.must("alice", "room.invite", `{"room":"old","user":"bob"}`)
	r.must("admin", "room.set", `{"room":"old","before_send":"off"}`)
	for _, m := range []struct{ by, body string }{
		{"alice", `{"data":{"text":"안녕, \"all\""},"cid":"c1","mentions":["bob"],"meta":{"a":[1]}}`},
		{"bob", "{\"data\":{\"text\":\"line\",\n \"x\":\r\n1},\"reply_to\":2}"},
		{"bob", `{"data":{"text":"to be deleted"},"collapse_key":"k"}`},
		{"bob", `{"data":{"text":"for a while"},"ttl":100000000,"thread":2}`},
	} {
		p, err := r.Post(context.Background(), as(m.by), PostInput{Room: "old", ContentType: "application/json", Body: []byte(m.body)})
		if err != nil {
			r.t.Fatalf("%s: %v", m.body, err)
		}
		if p.Seq == 4 {
			r.must("alice", "mod.delete", `{"room":"old","seq":4}`)
		}
	}
	for _, body := range []string{
		`{"type":"edit","target":2,"data":{"text":"edited"}}`, `{"type":"reaction","target":2,"data":{"emoji":"👍"}}`, `{"type":"file","data":"aGk="}`,
	} {
		if _, err := r.Post(context.Background(), as("alice"), PostInput{Room: "old", ContentType: "application/json", Body: []byte(body)}); err != nil {
			r.t.Fatal(err)
		}
	}
	r.must("alice", "mod.pin", `{"room":"old","seq":2}`)
	r.must("alice", "mod.ban", `{"room":"old","user":"eve"}`)
	r.must("alice", "mod.mute", `{"room":"old","user":"bob"}`)
	r.must("bob", "read", `{"room":"old","seq":3}`)
	r.log.Apply(&storage.SetState{Room: key("old"), From: storage.Actor{User: "alice"}, Key: "score", Data: []byte("{\n\"home\":1}")})
}

// What is exported, imported elsewhere and exported again is the same, and looks the same.
func TestExportRoundTrip(t *testing.T) {
	from, to := newRig(t, nil), newRig(t, nil)
	to.log.Now += 1_000_000
	busy(from)
	first := from.export(t, "alice", "old")
	if got, err := to.ImportRoom(context.Background(), as("admin"), "old", strings.NewReader(first)); err != nil || !got.Done || got.Skipped != 0 {
		t.Fatalf("%+v, %v", got, err)
	}
	second := to.export(t, "admin", "old")
	if d := cmp.Diff(withoutHead(first), withoutHead(second)); d != "" {
		t.Error(d)
	}
	for _, call := range []struct{ by, method, params string }{
		{"alice", "history", `{"room":"old"}`},
		{"alice", "members", `{"room":"old"}`},
		{"bob", "rooms.list", `{}`},
		{"alice", "room.get", `{"room":"old"}`},
		{"alice", "search", `{"q":"edited","room":"old"}`},
	} {
		want := strings.ReplaceAll(strings.ReplaceAll(from.must(call.by, call.method, call.params), "\n", " "), "\r", " ")
		if got := to.must(call.by, call.method, call.params); got != want {
			t.Errorf("%s: %s\nwas %s", call.method, got, want)
		}
	}
	if _, p := to.call("eve", "history", `{"room":"old"}`); p == nil || p.Code != "banned" {
		t.Errorf("who was banned reads it: %v", p)
	}
	// Again, and by those who may not.
	if got, err := to.ImportRoom(context.Background(), as("admin"), "old", strings.NewReader(first)); err != nil || !got.Done || got.Skipped != got.Lines {
		t.Errorf("again: %+v, %v", got, err)
	}
	if d := cmp.Diff(withoutHead(second), withoutHead(to.export(t, "admin", "old"))); d != "" {
		t.Error(d)
	}
	if _, err := to.ImportRoom(context.Background(), as("alice"), "x", strings.NewReader(first)); ProblemFrom(err).Code != "forbidden" {
		t.Error(err)
	}
	for _, c := range []struct{ by, room, code string }{
		{"bob", "old", "forbidden"}, {"carol", "old", "forbidden"}, {"", "old", "guest_read_only"}, {"alice", "none", "not_found"},
	} {
		if _, err := from.ExportRoom(as(c.by), c.room); string(ProblemFrom(err).Code) != c.code {
			t.Errorf("%s exports %s: %v", c.by, c.room, err)
		}
	}
	if _, err := from.ExportRoom(as("auditor"), "old"); err != nil {
		t.Error(err)
	}
}

// Any log of a room comes back as it was.
func TestExportRoundTripOfAnything(t *testing.T) {
	n := 0
	from, to := newRig(t, nil), newRig(t, nil)
	to.log.Now += 1_000_000_000
	rapid.Check(t, func(t *rapid.T) {
		n++
		room := fmt.Sprint("room", n)
		from.must("ann", "room.create", `{"room":"`+room+`","kind":"private"}`)
		from.must("ann", "room.invite", `{"room":"`+room+`","user":"bob"}`)
		for range rapid.IntRange(0, 30).Draw(t, "steps") {
			by := rapid.SampledFrom([]string{"ann", "bob"}).Draw(t, "by")
			target := rapid.IntRange(1, 20).Draw(t, "target")
			body := rapid.SampledFrom([]string{
				`{"data":{"text":"hi"}}`, `{"data":[1, 2],"type":"note"}`, `{"data":{"text":"re"},"reply_to":%d}`, `{"type":"edit","target":%d,"data":{"text":"other"}}`,
				`{"type":"delete","target":%d,"data":{}}`, `{"type":"reaction","target":%d,"data":{"emoji":"x"}}`,
				`{"type":"reaction","target":%d,"data":{"emoji":"x","on":false}}`, `{"data":{"text":"c"},"collapse_key":"k"}`,
			}).Draw(t, "body")
			if strings.Contains(body, "%d") {
				body = fmt.Sprintf(body, target)
			}
			_, _ = from.Post(context.Background(), as(by), PostInput{Room: room, ContentType: "application/json", Body: []byte(body)}) // some are refused
		}
		from.log.Apply(&storage.Trim{Room: key(room), Upto: uint64(rapid.IntRange(0, 10).Draw(t, "trim")), MaxCount: 1})
		first := from.export(t, "ann", room)
		if got, err := to.ImportRoom(context.Background(), as("admin"), room, strings.NewReader(first)); err != nil || !got.Done {
			t.Fatal(got, err)
		}
		if d := cmp.Diff(withoutHead(first), withoutHead(to.export(t, "ann", room))); d != "" {
			t.Fatal(d)
		}
		look := func(r *rig) string { return r.must("ann", "history", `{"room":"`+room+`"}`) }
		if a, b := look(from), look(to); a != b {
			t.Fatal(a, "\n", b)
		}
	})
}

// large is an export of n messages.
func large(n int) io.Reader {
	i := 0
	return readerOf(func() string {
		switch i++; {
		case i == 1:
			return `{"madang":"room","version":1,"room":{"kind":"public"}}` + "\n"
		case i <= n+1:
			return fmt.Sprintf(`{"entry":{"ts":%d,"type":"text","from":{"user":"u%d"},"data":{"text":"number %d"}}}`+"\n", 1000+i, i%7, i-1)
		case i == n+2:
			return `{"end":{}}` + "\n"
		}
		return ""
	})
}

type lineReader struct {
	next func() string
	rest []byte
}

func readerOf(next func() string) io.Reader { return &lineReader{next: next} }

func (r *lineReader) Read(p []byte) (int, error) {
	if len(r.rest) == 0 {
		if r.rest = []byte(r.next()); len(r.rest) == 0 {
			return 0, io.EOF
		}
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// most is a writer that remembers how much it was given at once, and the lines.
type most struct{ largest, lines, bytes int }

func (m *most) Write(p []byte) (int, error) {
	m.largest, m.lines, m.bytes = max(m.largest, len(p)), m.lines+bytes.Count(p, []byte("\n")), m.bytes+len(p)
	return len(p), nil
}

// An import that breaks off anywhere is sent again from its beginning and adds what is missing, once; an export of as much is
// written line by line.
func TestImportGoesOn(t *testing.T) {
	const messages = 100_000
	r := newRig(t, nil)
	broken := errors.New("cut")
	skipped := uint64(0)
	for _, at := range []int64{10, 40_000, 40_000, 3_000_000} {
		cut := io.MultiReader(io.LimitReader(large(messages), at), iotest.ErrReader(broken))
		got, err := r.ImportRoom(context.Background(), as("admin"), "big", cut)
		if err == nil || got.Done || got.Skipped != skipped {
			t.Fatalf("cut at %d: %+v, %v", at, got, err)
		}
		skipped = got.Lines
	}
	other := strings.NewReader(`{"madang":"room","version":1,"room":{"kind":"public"}}` + "\n" + strings.Repeat(`{"entry":{"ts":1,"from":{"user":"a"},"data":1}}`+"\n", messages))
	if _, err := r.ImportRoom(context.Background(), as("admin"), "big", other); ProblemFrom(err).Code != "conflict" {
		t.Errorf("another file: %v", err)
	}
	got, err := r.ImportRoom(context.Background(), as("admin"), "big", large(messages))
	if err != nil || !got.Done || got.Skipped != skipped || got.Lines != messages+2 {
		t.Fatalf("%+v, %v", got, err)
	}
	room, err := r.log.Store.Room(key("big"))
	if err != nil || room.Head.Seq != messages || room.Head.N != messages || room.Kind != storage.Public {
		t.Fatalf("%+v, %v", room, err)
	}
	e, err := r.ExportRoom(as("admin"), "big")
	if err != nil {
		t.Fatal(err)
	}
	var m most
	if err := e.WriteTo(context.Background(), &m); err != nil || m.lines != messages+2 || m.largest > 1000 {
		t.Errorf("%+v, %v", m, err)
	}
}

// Every line that is none says which it is and what is wrong.
func TestImportLines(t *testing.T) {
	const head = `{"madang":"room","version":1,"room":{"kind":"private"}}` + "\n"
	for file, want := range map[string]string{
		"": "line 1", "{}": "line 1", "x": "line 1", `{"madang":"user","version":1}`: "line 1", `{"madang":"room","version":2}`: "version",
		`{"madang":"room","version":1,"room":{"kind":"x"}}`: "kind", head: "line 2: the last line", head + "{}": "line 2", head + "[]": "line 2",
		head + `{"entry":{}}`: "data is missing",
		head + `{"entry":{"data":1,"ts":1,"from":{"user":"a b"}}}`:        "no user",
		head + `{"entry":{"data":1,"ts":1}}`:                              "no user",
		head + `{"entry":{"data":1,"from":{"user":"a"}}}`:                 "ts",
		head + `{"entry":{"data":1,"data":2}}`:                            "twice",
		head + `{"entry":{"data":1,"x":2}}`:                               "no member",
		head + `{"entry":{"data":1,"ts":1,"type":"a b"}}`:                 "no type",
		head + `{"entry":{"data":1,"ts":1,"seq":-1}}`:                     "number -1",
		head + `{"entry":{"data":1,"ts":1,"from":{"user":"a"}},"end":{}}`: "one of",
		head + `{"member":{"user":"a","role":"king"}}` + "\n":             "line 2",
		head + `{"mark":{"user":"","seq":1}}`:                             "no user",
		head + `{"state":{"key":"k"}}`:                                    "ver",
		head + `{"reaction":{"seq":1,"user":"a","emoji":""}}`:             "emoji",
		head + `{"end":{"lines":"2"}}`:                                    "lines cannot be a string",
		head + `{"end":{"lines":-2}}`:                                     "lines",
		head + `{"end":{"lines":0}}`:                                      "has lines",
		head + `{"end":{"lines":3}}`:                                      "line 2: the file has 2 lines and says 3",
		head + "\xff\n":                                                   "UTF-8",
		head + strings.Repeat("x", 1<<20):                                 "bytes",
	} {
		r := newRig(t, nil)
		_, err := r.ImportRoom(context.Background(), as("admin"), "r", strings.NewReader(file))
		if err == nil || !strings.Contains(strings.ToLower(ProblemFrom(err).Sentence()), strings.ToLower(want)) {
			t.Errorf("%.80q: %v, want %s", file, err, want)
		}
	}
}

// An export that lost lines on its way is none: the room is not opened, wherever they are missing. One whose end does not
// count them is taken.
func TestImportCountsLines(t *testing.T) {
	r := newRig(t, nil)
	busy(r)
	later := func() *rig {
		to := newRig(t, nil)
		to.log.Now += 1_000_000
		return to
	}
	lines := strings.SplitAfter(r.export(t, "alice", "old"), "\n")
	lines = lines[:len(lines)-1] // after the last line end is nothing
	n := len(lines)
	for lost := 1; lost < n-1; lost++ {
		to := later()
		file := strings.Join(lines[:lost], "") + strings.Join(lines[lost+1:], "")
		got, err := to.ImportRoom(context.Background(), as("admin"), "old", strings.NewReader(file))
		p := ProblemFrom(err)
		want := fmt.Sprintf("line %d: the file has %d lines and says %d; export the room again", n-1, n-1, n)
		if err == nil || got.Done || p.Code != "bad_payload" || !strings.Contains(strings.ToLower(p.Sentence()), want) {
			t.Fatalf("without line %d: %+v, %v", lost+1, got, err)
		}
		if at, err := to.log.Store.Import(key("old")); err != nil || at == nil || at.Room == nil {
			t.Fatalf("without line %d: the import has ended: %+v, %v", lost+1, at, err)
		}
	}
	more := append(append([]string{}, lines[:n-1]...), `{"reaction":{"seq":2,"user":"eve","emoji":"x"}}`+"\n", lines[n-1])
	if _, err := later().ImportRoom(context.Background(), as("admin"), "old", strings.NewReader(strings.Join(more, ""))); err == nil {
		t.Error("with a line more it is taken")
	}
	lines[n-1] = `{"end":{}}` + "\n"
	file := strings.Join(append(lines[:n-2:n-2], lines[n-1]), "")
	if got, err := later().ImportRoom(context.Background(), as("admin"), "old", strings.NewReader(file)); err != nil || !got.Done {
		t.Errorf("an end without lines: %+v, %v", got, err)
	}
}

// A user's export has what the user wrote and nobody else's words.
func TestExportUser(t *testing.T) {
	r := newRig(t, nil)
	busy(r)
	e, err := r.ExportUser(as("bob"), "bob")
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := e.WriteTo(context.Background(), &b); err != nil {
		t.Fatal(err)
	}
	s := b.String()
	for _, want := range []string{`{"madang":"user","version":1,"user":"bob"`, `{"membership":{"room":"old","role":"member"`, `{"mark":{"room":"old","seq":`, `"text":"for a while"`, `{"end":{"lines":6}}`} {
		if !strings.Contains(s, want) {
			t.Errorf("%s is missing in\n%s", want, s)
		}
	}
	if strings.Contains(s, "to be deleted") || strings.Contains(s, `"user":"alice"`) {
		t.Error(s)
	}
	if _, err := r.ExportUser(as("alice"), "bob"); ProblemFrom(err).Code != "forbidden" {
		t.Error(err)
	}
	if _, err := r.ExportUser(as("admin"), "bob"); err != nil {
		t.Error(err)
	}
}

func FuzzImportLine(f *testing.F) {
	for _, s := range []string{
		`{"entry":{"room":"r","seq":1,"n":1,"ts":5,"type":"text","from":{"user":"a","name":"A","role":"owner","level":3,"device":"d"},"cid":"c","data":{"text":"x"}}}`,
		`{"state":{"room":"r","key":"k","ver":1,"seq":1,"ts":1,"from":{"user":"a"},"data":{}}}`, `{"member":{"user":"a","role":"owner","since":1}}`,
		`{"mark":{"user":"a","seq":1}}`, `{"reaction":{"seq":1,"user":"a","emoji":"x"}}`, `{"end":{}}`, `{"end":{"lines":2}}`,
		`{"entry":{"data":{},"deleted":true,"ts":1,"from":{"user":"a"}}}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		l, _, err := parseImportLine(line)
		if err != nil {
			return
		}
		c := &storage.Import{Room: key("r"), From: 1, Lines: []storage.ImportLine{l}}
		if _, err := storage.Decode(storage.Encode(c)); err != nil {
			t.Fatal(err)
		}
	})
}
