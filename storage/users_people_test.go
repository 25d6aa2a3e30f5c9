package storage

import (
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/madang-chat/madang/internal/logentry"
)

// A deletion tells many contacts in one order, wherever batches end: what is in the store and what is not yet are read
// differently.
func TestForgetPeopleIsDeterministic(t *testing.T) {
	const others = 12
	maker := newLog(t, nil)
	var entries []logentry.Entry
	add := func(c Command) { entries = append(entries, maker.entry(maker.group("a", c))) }
	for i := range others {
		other := fmt.Sprint("u", i)
		add(&Contact{NS: "chat", User: "ann", Other: other, On: true})
		add(&Contact{NS: "chat", User: other, Other: "ann", On: true})
		if i%3 == 0 {
			add(&Block{NS: "chat", User: "ann", Other: other, On: true})
		}
	}
	for id := range uint64(others) { // some are carried, some are not
		add(&FollowUp{ID: id + 1})
	}
	add(&DeleteUser{Key: someone("ann"), By: from("ann"), Mode: Erase})
	want := map[string][]byte(nil)
	for batch := 1; batch <= len(entries); batch += 5 {
		s := openOn(t, vfs.NewMem())
		for next := 0; next < len(entries); next += batch {
			if _, err := s.Apply(entries[next:min(next+batch, len(entries))]); err != nil {
				t.Fatal(err)
			}
		}
		got := dump(t, s)
		if want == nil {
			want = got
		}
		diffDumps(t, want, got)
		checkStore(t, s)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
