package storage

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// faults are what Verify finds in a store.
func faults(t *testing.T, fs vfs.FS) (v Verified, found []error) {
	t.Helper()
	v, err := Verify(Options{Dir: "data/db", FS: fs}, func(err error) { found = append(found, err) })
	if err != nil {
		found = append(found, err)
	}
	return v, found
}

func TestVerifyOfAHealthyStore(t *testing.T) {
	fs := vfs.NewMem()
	l := newLog(t, openOn(t, fs))
	fill(l)
	l.done(&Trim{Room: room("r"), Upto: 1, MaxCount: 1})
	l.done(say("gone", "olga", "x"))
	l.done(&RoomDelete{Room: room("gone"), By: from("olga")})
	for range 2 {
		if err := l.s.NewEra(); err != nil {
			t.Fatal(err)
		}
	}
	l.done(say("r", "olga", "after"))
	if err := l.s.Close(); err != nil {
		t.Fatal(err)
	}
	v, found := faults(t, fs)
	if len(found) > 0 {
		t.Errorf("found %v", errors.Join(found...))
	}
	if v.Rooms != 2 || v.Entries != 2+2+1+1+2+2*3 || v.Sessions != 1 || v.CIDs != 2 || v.Applied != l.index {
		t.Errorf("%+v", v)
	}
}

// Whatever record is damaged, missing or of another, Verify says so.
func TestVerifyFindsDamage(t *testing.T) {
	missing := map[string]bool{ // by themselves nothing says that these should be there
		"secret": true, "place of a boot": true, "place, for Apply": true, "node": true, "nodes": true, "counts": true, "lag": true,
		"results of a group": true, "outbox": true, "outbox, for Apply": true, "last activity": true, "push tokens": true, "room of a user": true, "cid by seq": true, "oldest cid": true,
		"session": false, "entry": false, "block": true, "block, for Apply": true,
	}
	for name, tc := range records() {
		for how, change := range map[string]func(db *pebble.DB) error{
			"of a newer version": func(db *pebble.DB) error { return db.Set(tc.key, []byte{99, 0, 0, 0, 0, 0, 0}, nil) },
			"empty":              func(db *pebble.DB) error { return db.Set(tc.key, nil, nil) },
			"missing":            func(db *pebble.DB) error { return db.Delete(tc.key, nil) },
		} {
			if how == "missing" && missing[name] {
				continue
			}
			t.Run(name+" "+how, func(t *testing.T) {
				fs := vfs.NewMem()
				l := newLog(t, openOn(t, fs))
				fill(l)
				if err := errors.Join(change(l.s.db), l.s.Close()); err != nil {
					t.Fatal(err)
				}
				if _, found := faults(t, fs); len(found) == 0 {
					t.Error("nothing was found")
				}
			})
		}
	}
}

// An entry that is whole but not the one that belongs there is found by what it says of itself.
func TestVerifyFindsEntriesThatDoNotBelong(t *testing.T) {
	r := room("r")
	for name, change := range map[string]func(e *Entry){
		"another room": func(e *Entry) { e.JSON = []byte(strings.Replace(string(e.JSON), `"r"`, `"q"`, 1)) },
		"another seq":  func(e *Entry) { e.JSON = []byte(strings.Replace(string(e.JSON), `"seq":2`, `"seq":1`, 1)) },
		"place":        func(e *Entry) { e.Pos = 1 },
		"far place":    func(e *Entry) { e.Pos = 1 << 40 },
		"time":         func(e *Entry) { e.TS = 1 },
		"count":        func(e *Entry) { e.N = 7 },
		"size":         func(e *Entry) { e.Total++ },
		"sender":       func(e *Entry) { e.User = "mallory" },
		"broken":       func(e *Entry) { e.JSON = e.JSON[:9] },
	} {
		t.Run(name, func(t *testing.T) {
			fs := vfs.NewMem()
			l := newLog(t, openOn(t, fs))
			fill(l)
			e, err := l.s.entry(r, 2)
			if err != nil {
				t.Fatal(err)
			}
			changed := *e
			change(&changed)
			if err := errors.Join(l.s.db.Set(entryKey(r, 2), changed.appendTo(nil), nil), l.s.Close()); err != nil {
				t.Fatal(err)
			}
			if _, found := faults(t, fs); len(found) == 0 || !strings.Contains(fmt.Sprint(found), `chat`) {
				t.Errorf("found %v", found)
			}
		})
	}
}

// A flipped bit anywhere in a table is found.
func TestVerifyFindsAFlippedBit(t *testing.T) {
	fs := vfs.NewMem()
	l := newLog(t, openOn(t, fs))
	fill(l)
	if err := errors.Join(l.s.db.Flush(), l.s.Close()); err != nil {
		t.Fatal(err)
	}
	names, err := fs.List("data/db")
	if err != nil {
		t.Fatal(err)
	}
	tried := 0
	for _, name := range names {
		if !strings.HasSuffix(name, ".sst") {
			continue
		}
		f, err := fs.OpenReadWrite("data/db/"+name, vfs.WriteCategoryUnspecified)
		if err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 1)
		for at := int64(10); at < 200; at += 61 {
			_, err := f.ReadAt(b, at)
			b[0] ^= 4
			if _, werr := f.WriteAt(b, at); err != nil || werr != nil {
				t.Fatal(err, werr)
			}
			if _, found := faults(t, fs); len(found) == 0 {
				t.Errorf("byte %d of %s: nothing was found", at, name)
			}
			b[0] ^= 4
			if _, err := f.WriteAt(b, at); err != nil {
				t.Fatal(err)
			}
			tried++
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if _, found := faults(t, fs); tried == 0 || len(found) > 0 {
		t.Fatalf("%d bits tried; mended again: %v", tried, found)
	}
}
