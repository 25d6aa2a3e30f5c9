package storage

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"pgregory.net/rapid"

	"github.com/madang-chat/madang/storage/text"
)

// indexed does all there is to do.
func indexed(t fataler, x *Indexer) {
	t.Helper()
	for more := true; more; {
		var err error
		if more, err = x.Step(); err != nil {
			t.Fatalf("index: %v", err)
		}
	}
}

func query(t fataler, s string) *text.Query {
	t.Helper()
	q, err := text.ParseQuery(s)
	if err != nil {
		t.Fatalf("query %q: %v", s, err)
	}
	return q
}

// search returns the seqs of everything found, asking for so many at a time with so much work each time.
func search(t fataler, s *Store, k RoomKey, f Find, limit, work int) (out []uint64) {
	t.Helper()
	for before := ^uint64(0); before != 0; {
		left := work
		f.Limit, f.Work = limit, &left
		found, next, err := s.Search(k, f, before)
		if err != nil {
			t.Fatalf("search: %v", err)
		}
		for _, e := range found {
			out = append(out, e.Seq)
		}
		if next >= before {
			t.Fatalf("the search before %d goes on before %d", before, next)
		}
		before = next
	}
	return out
}

// wanted is what a search must find, by looking at everything.
func wanted(t fataler, s *Store, k RoomKey, f Find) (out []uint64) {
	t.Helper()
	var es []*Entry
	for from := uint64(0); ; from = es[len(es)-1].Seq + 1 { // past holes
		more, err := s.Entries(k, from, 1<<60, 1<<30, 1<<30)
		if err != nil {
			t.Fatalf("entries: %v", err)
		}
		if es = append(es, more...); len(more) == 0 {
			break
		}
	}
	_, now := s.Applied()
	for _, e := range slices.Backward(es) {
		fold, err := s.Fold(k, e.Seq)
		if err != nil {
			t.Fatalf("fold: %v", err)
		}
		edit, err := s.EditOf(k, &fold)
		if err != nil {
			t.Fatalf("edit: %v", err)
		}
		words := wordsOf(e, edit)
		if !e.Message() || e.Erased > 0 || f.Query != nil && !f.Query.Match(words) || f.From != "" && e.User != f.From || e.Expiry != 0 && e.Expiry <= now ||
			e.Seq < f.Low || f.High != 0 && e.Seq > f.High {
			continue
		}
		out = append(out, e.Seq)
	}
	return out
}

var chatter = []string{
	"hello world", "Hello, Würze", "wonder", "안녕하세요 여러분", "안녕 hello", "저녁 먹자", "東京へ行く", "東日本 京都", "今天天气很好", "สวัสดีครับ", "🎉 party",
}

var asked = []string{
	"hello", "hello wo", "wo", "안녕", "녕", "하세요", "저녁 먹", "東京", "京", "天气", "สวัส", "🎉", `"lo wor"`, "안녕 hello", `"world"`, "nothing", `"o"`,
}

// Whatever happened, and wherever the index is, a search finds what a look at everything finds.
func TestSearchFindsWhatIsThere(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		fs := vfs.NewMem()
		l := newLog(t, openOn(t, fs))
		defer func() { _ = l.s.Close() }()
		l.done(say("r", "ann", "hello"))
		small := func() *Indexer {
			x := l.s.Indexer(false)
			x.size = 4
			return x
		}
		x := small()
		r := room("r")
		number := func(name string, most int) uint64 { return uint64(rapid.IntRange(0, most).Draw(t, name)) }
		user := func() string { return rapid.SampledFrom([]string{"ann", "bob"}).Draw(t, "user") }
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			said := rapid.SampledFrom(chatter).Draw(t, "text")
			target := number("target", 30)
			l.now++
			switch rapid.IntRange(0, 13).Draw(t, "step") {
			case 0, 1:
				a := say("r", user(), said)
				a.Type, a.Target = TypeEdit, target
				l.do(a)
			case 2:
				a := say("r", user(), "")
				a.Type, a.Target, a.From.Admin = TypeDelete, target, true
				l.do(a)
			case 3:
				l.do(&Trim{Room: r, Upto: target, MaxCount: 1})
			case 4:
				if number("delete", 3) == 0 {
					l.do(&RoomDelete{Room: r, By: Actor{User: "ann", Admin: true}})
				}
			case 5:
				if number("era", 3) == 0 {
					if err := l.s.NewEra(); err != nil {
						t.Fatalf("era: %v", err)
					}
				}
			case 6:
				x.Close()
				if err := l.s.Close(); err != nil {
					t.Fatalf("close: %v", err)
				}
				l.s = openOn(t, fs)
				x = small()
			case 7, 8:
				if _, err := x.Step(); err != nil {
					t.Fatalf("index: %v", err)
				}
			case 9:
				indexed(t, x)
			case 10:
				a := say("r", user(), said)
				a.TTL = 1
				l.do(a)
				l.now += int64(number("time", 1500))
			default:
				l.do(say("r", user(), said))
			}
		}
		if rapid.Bool().Draw(t, "in the end") {
			indexed(t, x)
		}
		for _, s := range asked {
			f := Find{Query: query(t, s)}
			if rapid.Bool().Draw(t, "by sender") {
				f.From = user()
			}
			f.Low, f.High = number("low", 9), number("high", 40)
			want := wanted(t, l.s, r, f)
			if got := search(t, l.s, r, f, 1+int(number("limit", 4)), int(number("work", 40))); !slices.Equal(got, want) {
				t.Fatalf("%q from %q, %d to %d: found %v, want %v", s, f.From, f.Low, f.High, got, want)
			}
		}
		f := Find{From: "ann"}
		if got, want := search(t, l.s, r, f, 3, 100), wanted(t, l.s, r, f); !slices.Equal(got, want) {
			t.Fatalf("of ann: found %v, want %v", got, want)
		}
		if err := errors.Join(l.s.Sync(), l.s.Close()); err != nil {
			t.Fatal(err)
		}
		if _, err := Verify(Options{Dir: "data/db", FS: fs, Logger: quiet}, func(err error) { t.Errorf("verify: %v", err) }); err != nil {
			t.Fatal(err)
		}
		l.s = openOn(t, fs)
	})
}

// filled is a room of n messages with the index brought up.
func filled(t *testing.T, n int) (*testLog, *Indexer) {
	l := newTestLog(t)
	cmds := make([]Command, n)
	for i := range cmds {
		cmds[i] = say("r", "ann", fmt.Sprint("number ", i+1, " 저녁", i+1, "번"))
	}
	l.as("a", cmds...)
	x := l.s.Indexer(false)
	t.Cleanup(x.Close)
	indexed(t, x)
	return l, x
}

// holds reports whether any key or value of the index has that in it.
func holds(t *testing.T, s *Store, what string) bool {
	t.Helper()
	for k, v := range dump(t, s) {
		if k[0] == prefixIndex && (strings.Contains(k, what) || strings.Contains(string(v), what)) {
			return true
		}
	}
	return false
}

// What is taken back, or removed, is gone from the index too: it would tell what was said.
func TestIndexForgets(t *testing.T) {
	l, x := filled(t, 1000)
	r := room("r")
	find := func(s string) []uint64 { return search(t, l.s, r, Find{Query: query(t, s)}, 10, 1000) }
	if got := find("저녁77번"); !slices.Equal(got, []uint64{77}) || !holds(t, l.s, "저녁") {
		t.Fatalf("found %v", got)
	}
	l.done(say("r", "ann", "secretword"))
	for range 300 {
		l.done(say("r", "ann", "filler"))
	}
	indexed(t, x)
	if !holds(t, l.s, "secretword") {
		t.Fatal("the index has not come to it")
	}
	del := say("r", "ann", "")
	del.Type, del.Target = TypeDelete, 1001
	l.done(del)
	if got := find("secretword"); got != nil {
		t.Errorf("a deleted message is found: %v", got)
	}
	indexed(t, x)
	if holds(t, l.s, "secretword") {
		t.Error("the index still has what was deleted")
	}

	edit := say("r", "ann", "other words")
	edit.Type, edit.Target = TypeEdit, 500
	l.done(edit)
	if got := find("number 500 "); got != nil {
		t.Errorf("what a message said before is found: %v", got)
	}
	indexed(t, x)
	if got := find("other words"); !slices.Equal(got, []uint64{500}) || find("number 500 ") != nil {
		t.Errorf("found %v", got)
	}
	l.done(&Trim{Room: r, Upto: 600, MaxCount: 1})
	indexed(t, x)
	if got := find("number 6"); len(got) == 0 || got[len(got)-1] != 601 {
		t.Errorf("after the trim: %v", got)
	}
	if holds(t, l.s, "other") || holds(t, l.s, termStart(r, "599")) {
		t.Error("the index still has what was trimmed")
	}
	l.done(&RoomDelete{Room: r, By: from("ann")})
	indexed(t, x)
	if holds(t, l.s, "") {
		t.Error("the index of a deleted room is still there")
	}
	off := l.s.Indexer(true)
	defer off.Close()
	l.done(say("r", "ann", "again"))
	edit.Target = l.done(say("r", "ann", "again")).Seq
	l.done(edit)
	if indexed(t, off); holds(t, l.s, "") {
		t.Error("an index that is off is there")
	}
}

func termStart(k RoomKey, term string) string { return string(termPrefix(k, term)) }

// A snapshot brings its index along, and the indexer goes on from there.
func TestIndexAfterSwap(t *testing.T) {
	l, x := filled(t, 600)
	if err := l.s.Checkpoint("data/copy"); err != nil {
		t.Fatal(err)
	}
	l.as("a", say("r", "ann", "lost"))
	if err := l.s.Swap("data/copy"); err != nil {
		t.Fatal(err)
	}
	indexed(t, x)
	f := Find{Query: query(t, "number")}
	if got := search(t, l.s, room("r"), f, 100, 1000); len(got) != 600 {
		t.Errorf("found %d", len(got))
	}
}

// An index of other terms, or of a room that was made again, is made anew.
func TestIndexIsMadeAnew(t *testing.T) {
	l, x := filled(t, 600)
	k := indexPrefix(indexPlaces, room("r"))
	b, err := get(l.s.db, k)
	if err != nil {
		t.Fatal(err)
	}
	b[1] = text.Version + 1
	if err := l.s.db.Set(k, b, nil); err != nil {
		t.Fatal(err)
	}
	f := Find{Query: query(t, "number")}
	if got := search(t, l.s, room("r"), f, 100, 1000); len(got) != 600 {
		t.Errorf("found %d without an index that can be used", len(got))
	}
	again := l.s.Indexer(false)
	defer again.Close()
	indexed(t, again)
	if b, err = get(l.s.db, k); err != nil || b[1] != text.Version {
		t.Errorf("%v, %v", b, err)
	}
	l.done(&RoomDelete{Room: room("r"), By: from("ann")})
	for range 600 {
		l.done(say("r", "ann", "new room"))
	}
	indexed(t, x)
	if got := search(t, l.s, room("r"), f, 100, 1000); got != nil {
		t.Errorf("the room before is found: %v", got)
	}
	if holds(t, l.s, "number") {
		t.Error("the index has what the room before said")
	}
}

// What a message says, by its type and form.
func TestWordsOf(t *testing.T) {
	for _, c := range []struct{ typ, tail, want string }{
		{"text", `,"data":{"text":"Hi","n":"no"}`, "hi"},
		{"text", `,"data":{"n":1}`, ""},
		{"text", `,"data":{"text":"a \"b\" \u00e9"}`, "a \"b\" é"},
		{"text", `,"meta":{"x":1,"data":{"text":"no"}},"data":{"text":"yes"}`, "yes"},
		{"text", `,"meta":{"x":1,"data":{"text":"no"}},"data":{"n":{"text":"no"}}`, ""},
		{"text", `,"data":{"text":7}`, ""},
		{"text", `,"data":{"Text":"no"}`, ""},
		{"file", `,"data":{"name":"Plan.pdf","size":7,"in":{"text":"no"},"caption":"초안"}`, "plan.pdf\n초안"},
		{"note", `,"data":"Hi"`, "hi"},
		{"note", `,"meta":{"data":"no"},"data":["no"]`, ""},
		{"note", `,"encoding":"base64","data":"aGk="`, ""},
		{TypeSystem, `,"data":{"event":"joined"}`, ""},
		{TypeEdit, `,"target":1,"data":{"text":"no"}`, ""},
	} {
		e := &Entry{Type: c.typ, Seq: 1}
		e.JSON = appendJSON(nil, room("r"), e, Actor{User: "ann"}, "", []byte(c.tail))
		if got := wordsOf(e, nil); got != c.want {
			t.Errorf("%s %s: %q", c.typ, c.tail, got)
		}
	}
}

// Bytes that are no block are refused, and those that are one come back as they were.
func FuzzBlock(f *testing.F) {
	b := &block{entries: 3, terms: map[string]*entrySet{}}
	for i, s := range []string{"hello world", "안녕", "hello"} {
		b.add(uint64(i), &Entry{User: "ann", Type: TypeText}, s)
	}
	f.Add(b.encode())
	f.Fuzz(func(t *testing.T, record []byte) {
		b, err := decodeBlock(record)
		if err != nil {
			return
		}
		again, err := decodeBlock(b.encode())
		if err != nil || len(again.terms) != len(b.terms) || again.entries != b.entries {
			t.Fatalf("%v: %+v, then %+v", err, b, again)
		}
		for term, set := range b.terms {
			if *again.terms[term] != *set {
				t.Fatalf("term %q", term)
			}
		}
	})
}

// Verify holds the index against the entries, and its records against each other.
func TestVerifyFindsAWrongIndex(t *testing.T) {
	r := room("r")
	for name, change := range map[string]func(s *Store) error{
		"a term without a key": func(s *Store) error { return s.db.Delete(termKey(r, "hello", 1), nil) },
		"a key without a term": func(s *Store) error { return s.db.Set(termKey(r, "nobody", 1), nil, nil) },
		"a key with a value":   func(s *Store) error { return s.db.Set(termKey(r, "hello", 1), []byte("x"), nil) },
		"no block":             func(s *Store) error { return s.db.Delete(blockKey(r, 1), nil) },
		"a damaged block":      func(s *Store) error { return s.db.Set(blockKey(r, 1), []byte{1, 4, 9}, nil) },
		"a place too early": func(s *Store) error {
			return s.db.Set(indexPrefix(indexPlaces, r), indexPlace{Next: 1, First: 1}.encode(), nil)
		},
		"no place":               func(s *Store) error { return s.db.Delete(indexPrefix(indexPlaces, r), nil) },
		"a kind that is none":    func(s *Store) error { return s.db.Set(indexPrefix('?', r), nil, nil) },
		"a change with no place": func(s *Store) error { return s.db.Set(indexPrefix(indexChanges, r), nil, nil) },
		"other messages": func(s *Store) error {
			b := &block{entries: 4, terms: map[string]*entrySet{}}
			for i := range uint64(4) {
				b.add(i, &Entry{User: "ann", Type: TypeText}, "hello")
			}
			b.terms["hello"] = &entrySet{1}
			return s.db.Set(blockKey(r, 1), b.encode(), nil)
		},
	} {
		t.Run(name, func(t *testing.T) {
			fs := vfs.NewMem()
			l := newLog(t, openOn(t, fs))
			for range 4 {
				l.done(say("r", "ann", "hello"))
			}
			x := l.s.Indexer(false)
			x.size = 4
			indexed(t, x)
			if err := errors.Join(change(l.s), l.s.Close()); err != nil {
				t.Fatal(err)
			}
			if _, found := faults(t, fs); len(found) == 0 {
				t.Error("nothing was found")
			}
		})
	}
}
