package calls

import (
	"bytes"
	"sort"
	"strconv"

	"github.com/madang-chat/madang/hooks/problem"
	"github.com/madang-chat/madang/hooks/topic"
	"github.com/madang-chat/madang/storage"
)

// HistoryFilter says which entries of a room are wanted; its zero value takes all. Entries are looked at one by one, at most
// 10,000 for a page: one that finds little comes early, with "more" and "next".
type HistoryFilter struct {
	Type    string `json:"type,omitempty"`     // messages of that type
	Thread  uint64 `json:"thread,omitempty"`   // the message that began a thread, and those in it
	Mention string `json:"mention,omitempty"`  // messages that mention the user
	FromTS  int64  `json:"from_ts,omitempty"`  // ms since the epoch: not older
	UntilTS int64  `json:"until_ts,omitempty"` // ms since the epoch: older
}

func (f *HistoryFilter) check() error {
	switch {
	case f.Type != "" && !topic.ValidType(f.Type):
		return problem.New(problem.BadPayload, "type: %.40q cannot be one.", f.Type)
	case f.Mention != "" && !topic.ValidUser(f.Mention):
		return problem.New(problem.BadPayload, "mention: %.40q is no user.", f.Mention)
	case f.FromTS < 0 || f.UntilTS < 0:
		return problem.New(problem.BadPayload, "from_ts and until_ts are ms since the epoch.")
	}
	return nil
}

// takes reports whether the entry is wanted, as far as its place in time does not say.
func (f *HistoryFilter) takes(e *storage.Entry) bool {
	if f.Type != "" && e.Type != f.Type {
		return false
	}
	if f.Thread != 0 && e.Seq != f.Thread && string(member(e.JSON, "thread")) != strconv.FormatUint(f.Thread, 10) {
		return false
	}
	return f.Mention == "" || bytes.Contains(member(e.JSON, "mentions"), []byte(`"`+f.Mention+`"`))
}

// member returns the value of a member of a delivered entry that stands after "from", as it is written; nil when there is
// none.
func member(message []byte, name string) (value []byte) {
	want := []byte(`,"` + name + `":`)
	if !bytes.Contains(message, want) { // nearly all
		return nil
	}
	from := 0
	eachMember(message, func(at int) bool {
		if from > 0 {
			value = message[from:at]
			return false
		}
		if bytes.HasPrefix(message[at:], want) {
			from = at + len(want)
		}
		return true
	})
	return value
}

// at returns the first entry of the room that is not older than ts, head+1 when there is none.
func (w *window) at(ts int64) (uint64, error) {
	var err error
	h := &w.room.Head
	i := sort.Search(int(h.Kept()), func(i int) bool {
		if err != nil {
			return true
		}
		seq := h.At(uint64(i))
		var es []*storage.Entry
		if es, err = w.store.Entries(w.room.Key, seq, seq, 1, 1); err != nil || len(es) == 0 {
			return false // trimmed meanwhile: older
		}
		return es[0].TS >= ts
	})
	if uint64(i) >= h.Kept() {
		return h.Seq + 1, err
	}
	return h.At(uint64(i)), err
}

// between narrows the window to the times of the filter.
func (w *window) between(f *HistoryFilter) (err error) {
	w.filter, w.low, w.high = f, 0, w.room.Head.Seq
	if f.FromTS != 0 {
		if w.low, err = w.at(f.FromTS); err != nil {
			return err
		}
	}
	if f.UntilTS != 0 {
		upto, err := w.at(f.UntilTS)
		if err != nil {
			return err
		}
		w.high = min(w.high, max(upto, 1)-1)
	}
	return nil
}
