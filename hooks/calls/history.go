package calls

import (
	"context"
	"encoding/json"
	"slices"
	"strconv"

	"github.com/madang-chat/madang/hooks/auth"
	"github.com/madang-chat/madang/hooks/problem"
	"github.com/madang-chat/madang/hooks/topic"
	"github.com/madang-chat/madang/storage"
)

// Views of a history.
const (
	ViewChat = "chat" // messages only, of those with the same collapse_key the newest
	ViewLog  = "log"  // every entry, as delivered
)

// Bounds of a page.
const (
	defaultHistory = 50
	maxHistory     = 1000
	pageBytes      = 1 << 20 // of entries, beyond the first
	examined       = 10_000  // entries read for one page, those left out included
)

// HistoryInput are the params of History. At most one of Before, After and Around is given; without any the page ends at
// the head.
type HistoryInput struct {
	Room   string  `json:"room"`
	Before *uint64 `json:"before,omitempty"` // the entries before this seq
	After  *uint64 `json:"after,omitempty"`  // the entries after this seq
	Around *uint64 `json:"around,omitempty"` // the entry with this seq and those on both sides of it
	Limit  int     `json:"limit,omitempty"`  // 0 = 50, at most 1000
	View   string  `json:"view,omitempty"`   // ViewChat when not given

	HistoryFilter

	budget int // bytes of JSON; 0 = the default
}

// Page is a part of a room's log, ascending by seq.
//
// More says that there are further entries in the direction asked for: earlier ones, or with After later ones, with
// Around either. Next, absent when More is false and with Around, is the seq to give as the next "before" or "after";
// it is not always that of the first or last message, for a page ends too when much was left out or it grew large.
type Page struct {
	Messages []json.RawMessage `json:"messages"`
	Head     uint64            `json:"head"`
	First    uint64            `json:"first"` // oldest entry kept
	More     bool              `json:"more"`
	Next     uint64            `json:"next,omitempty"`
}

// AppendJSON appends the page with its messages byte for byte.
func (p Page) AppendJSON(dst []byte) []byte {
	dst = append(dst, `{"messages":`...)
	dst = appendRaw(dst, p.Messages)
	dst = append(dst, `,"head":`...)
	dst = strconv.AppendUint(dst, p.Head, 10)
	dst = append(dst, `,"first":`...)
	dst = strconv.AppendUint(dst, p.First, 10)
	dst = append(dst, `,"more":`...)
	dst = strconv.AppendBool(dst, p.More)
	if p.Next != 0 {
		dst = append(dst, `,"next":`...)
		dst = strconv.AppendUint(dst, p.Next, 10)
	}
	return append(dst, '}')
}

func appendRaw(dst []byte, messages []json.RawMessage) []byte {
	dst = append(dst, '[')
	for i, m := range messages {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, m...)
	}
	return append(dst, ']')
}

// History returns a page of a room the caller may read. What has expired is left out.
func (c *Calls) History(_ context.Context, id auth.Identity, in HistoryInput) (Page, error) {
	limit, err := pageLimit(in.Limit, defaultHistory, maxHistory)
	if err != nil {
		return Page{}, err
	}
	given := 0
	for _, p := range []*uint64{in.Before, in.After, in.Around} {
		if p != nil {
			given++
		}
	}
	if given > 1 {
		return Page{}, problem.New(problem.BadPayload, "Give one of before, after and around.")
	}
	if in.View != "" && in.View != ViewChat && in.View != ViewLog {
		return Page{}, problem.New(problem.BadPayload, "view: %.40q is none; chat and log are.", in.View)
	}
	if err := in.check(); err != nil {
		return Page{}, err
	}
	room, err := c.readLog(id, in.Room)
	if err != nil {
		return Page{}, err
	}
	setDefault(&in.budget, pageBytes)
	page := Page{Head: room.Head.Seq, First: room.Head.First}
	w := c.windowOf(room, in.View != ViewLog, in.budget)
	w.late = w.chat
	if err := w.between(&in.HistoryFilter); err != nil {
		return Page{}, c.broken(err)
	}
	var got []*storage.Entry
	switch {
	case in.After != nil:
		got, page.Next, page.More, err = w.forward(afterSeq(*in.After), room.Head.Seq, limit)
	case in.Around != nil:
		got, page.More, err = w.around(*in.Around, limit)
	default:
		to := room.Head.Seq
		if in.Before != nil {
			to = min(to, max(*in.Before, 1)-1)
		}
		got, page.Next, page.More, err = w.backward(to, limit)
	}
	if err != nil {
		return Page{}, c.broken(err)
	}
	page.Messages = w.raw(got)
	if w.err != nil {
		return Page{}, c.broken(w.err)
	}
	return page, nil
}

// afterSeq is seq+1 without running over.
func afterSeq(seq uint64) uint64 {
	if seq+1 == 0 {
		return seq
	}
	return seq + 1
}

// window reads a room's entries for one page.
type window struct {
	store  Store
	room   *storage.Room // its head bounds what is read
	chat   bool          // messages only
	now    int64         // log time: what expired before is left out
	budget int           // bytes a page may hold
	bytes  int           // left for this page
	work   int           // entries that may still be examined
	begun  bool          // the page holds something already

	filter *HistoryFilter           // nil = everything
	low    uint64                   // with a filter the first entry,
	high   uint64                   // and the last, that may be wanted
	err    error                    // of a form that could not be made
	late   bool                     // what a newer message has taken the place of is left out
	folds  map[uint64]*storage.Fold // of the entries read so far
	forms  map[uint64][]byte        // messages in their present form, where that is another one
}

func (c *Calls) windowOf(room *storage.Room, chat bool, budget int) *window {
	now := c.cfg.Store.Now()
	return &window{store: c.cfg.Store, room: room, chat: chat, now: now, budget: budget, bytes: budget, work: examined}
}

func (w *window) wants(e *storage.Entry) bool {
	if w.chat && !e.Message() || e.Expiry != 0 && e.Expiry <= w.now {
		return false
	}
	if w.filter != nil && !w.filter.takes(e) {
		return false
	}
	if !w.late {
		return true
	}
	gone, err := w.store.Collapsed(w.room.Key, e)
	return err != nil || !gone // when in doubt it is delivered
}

// fold finds out what was folded into the messages of a chat.
func (w *window) fold(es []*storage.Entry) error {
	if !w.chat {
		return nil
	}
	folds, err := w.store.Folds(w.room.Key, es[0].Seq, es[len(es)-1].Seq)
	for i := range folds {
		if w.folds == nil {
			w.folds = map[uint64]*storage.Fold{}
		}
		w.folds[folds[i].Seq] = &folds[i]
	}
	return err
}

// formOf is a message in its present form, an entry as delivered. It is made when it is first asked for: an edit may be
// larger than the page.
func (w *window) formOf(e *storage.Entry) ([]byte, error) {
	f := w.folds[e.Seq]
	if f == nil || e.Erased > 0 {
		return e.JSON, nil
	}
	if form := w.forms[e.Seq]; form != nil {
		return form, nil
	}
	edit, err := w.store.EditOf(w.room.Key, f)
	if err != nil {
		return nil, err
	}
	if w.forms == nil {
		w.forms = map[uint64][]byte{}
	}
	w.forms[e.Seq] = present(nil, e, f, edit)
	return w.forms[e.Seq], nil
}

// take reports whether e fits and counts it. The first entry of a page always does: see jsonOf.
func (w *window) take(e *storage.Entry) bool {
	size := len(w.jsonOf(e)) + 1
	if size > w.bytes && w.begun {
		return false
	}
	w.bytes -= size
	w.begun = true
	return true
}

// Sizes of one read of the store.
const (
	forwardChunk      = 256
	forwardChunkBytes = 1 << 20
	backwardChunk     = 64 // a read backwards is not bounded in bytes
	backwardLeast     = 16
)

// forward collects at most limit entries from..to in order. more says that it stopped before the end; then the entries
// after next are still to be read. One entry beyond the limit is looked at, so that more is true only if there is one.
func (w *window) forward(from, to uint64, limit int) (got []*storage.Entry, next uint64, more bool, err error) {
	from = max(from, w.room.Head.First)
	if w.filter != nil {
		from, to = max(from, w.low), min(to, w.high)
	}
	for from <= to {
		n := min(limit+1-len(got), forwardChunk)
		if w.chat {
			n = min(n+backwardLeast, forwardChunk)
		}
		es, err := w.store.Entries(w.room.Key, from, to, n, forwardChunkBytes)
		if err != nil {
			return nil, 0, false, err
		}
		if len(es) == 0 {
			return got, 0, false, nil // trimmed meanwhile
		}
		if err := w.fold(es); err != nil {
			return nil, 0, false, err
		}
		for _, e := range es {
			if w.work--; w.work < 0 {
				return got, e.Seq - 1, true, nil
			}
			if !w.wants(e) {
				continue
			}
			if len(got) == limit || !w.take(e) {
				return got, e.Seq - 1, true, nil
			}
			got = append(got, e)
		}
		from = es[len(es)-1].Seq + 1
	}
	return got, 0, false, nil
}

// backward collects at most limit entries up to and including to, nearest first, and returns them in ascending order.
// more says that it stopped before the oldest; then the entries before next are still to be read.
func (w *window) backward(to uint64, limit int) (got []*storage.Entry, next uint64, more bool, err error) {
	first := max(w.room.Head.First, 1)
	if w.filter != nil {
		first, to = max(first, w.low), min(to, w.high)
	}
	defer func() { reverse(got) }()
	for below := to + 1; below > first; {
		n := uint64(min(max(limit+1-len(got), backwardLeast), backwardChunk))
		from, to := w.room.Head.Run(below-1, n)
		if from = max(from, first); from > to {
			return got, 0, false, nil
		}
		es, err := w.store.Entries(w.room.Key, from, to, int(n), int(^uint(0)>>1))
		if err != nil {
			return nil, 0, false, err
		}
		if len(es) == 0 {
			return got, 0, false, nil // trimmed meanwhile
		}
		if err := w.fold(es); err != nil {
			return nil, 0, false, err
		}
		for _, e := range slices.Backward(es) {
			if w.work--; w.work < 0 {
				return got, e.Seq + 1, true, nil
			}
			if !w.wants(e) {
				continue
			}
			if len(got) == limit || !w.take(e) {
				return got, e.Seq + 1, true, nil
			}
			got = append(got, e)
		}
		below = from
	}
	return got, 0, false, nil
}

// around collects the entries on both sides of seq, at most half of them later ones, and as many earlier ones, seq
// included, as the limit then leaves.
func (w *window) around(seq uint64, limit int) (got []*storage.Entry, more bool, err error) {
	seq = min(seq, w.room.Head.Seq)
	total := w.bytes
	w.bytes = total / 2
	later, _, moreLater, err := w.forward(seq+1, w.room.Head.Seq, limit/2)
	if err != nil {
		return nil, false, err
	}
	w.bytes += total - total/2
	w.work = max(w.work, examined/2)
	got, _, moreEarlier, err := w.backward(seq, limit-len(later))
	return append(got, later...), moreLater || moreEarlier, err
}

func reverse(es []*storage.Entry) {
	for i, j := 0, len(es)-1; i < j; i, j = i+1, j-1 {
		es[i], es[j] = es[j], es[i]
	}
}

func (w *window) raw(es []*storage.Entry) []json.RawMessage {
	out := make([]json.RawMessage, len(es))
	for i, e := range es {
		out[i] = w.jsonOf(e)
	}
	return out
}

// jsonOf is the entry as delivered. One that alone is larger than the whole page (an rpc answer is smaller than the
// largest message) stands as a stub with "omitted":"too_large", so that whoever pages gets past it.
func (w *window) jsonOf(e *storage.Entry) json.RawMessage {
	form, err := w.formOf(e)
	if err != nil {
		w.err, form = err, e.JSON
	}
	if len(form)+1 <= w.budget {
		return form
	}
	b := append(make([]byte, 0, 256), `{"room":`...)
	b = problem.AppendString(b, w.room.Key.Room)
	b = append(b, `,"seq":`...)
	b = strconv.AppendUint(b, e.Seq, 10)
	b = append(b, `,"n":`...)
	b = strconv.AppendUint(b, e.N, 10)
	b = append(b, `,"ts":`...)
	b = strconv.AppendInt(b, e.TS, 10)
	b = append(b, `,"type":`...)
	b = problem.AppendString(b, e.Type)
	if topic.IsSender(e.User) {
		b = append(append(append(b, `,"from":{"user":"`...), e.User...), `"}`...)
	}
	return append(b, `,"omitted":"too_large"}`...)
}
