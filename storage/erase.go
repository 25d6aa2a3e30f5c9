package storage

import (
	"encoding/json"
	"fmt"
)

// TypeDelete is the type of entries that delete an earlier message (Append.Target): its place keeps a stub that says who
// wrote it and when.
const TypeDelete = "delete"

// target returns the message an entry is about, as the batch leaves it; nil with why when there is none.
func (t *tx) target(d *draft, seq uint64) (*Entry, Result) {
	h := &d.head
	if seq < h.First || seq > h.Seq || h.Index(seq) == h.Index(seq+1) {
		return nil, Result{Outcome: NotFound, Detail: fmt.Sprintf("room %q has no message %d", d.key.Room, seq)}
	}
	e := t.entry(d, seq)
	if e == nil {
		return nil, Result{}
	}
	if !e.Message() {
		return nil, Result{Outcome: Conflict, Detail: fmt.Sprintf("entry %d is no message", seq)}
	}
	return e, Result{}
}

// standing is target for what adds to a message: one whose ttl has passed is not there any more, though its place is.
func (t *tx) standing(d *draft, seq uint64) (*Entry, Result) {
	e, r := t.target(d, seq)
	if e != nil && e.Expiry != 0 && e.Expiry <= t.now {
		return nil, Result{Outcome: NotFound, Detail: fmt.Sprintf("message %d of room %q has expired", seq, d.key.Room)}
	}
	return e, r
}

// mayErase returns the message that a delete is about: one's own, or anybody's for those who run the room.
func (t *tx) mayErase(d *draft, c *Append, role Role) (*Entry, Result) {
	e, r := t.target(d, c.Target)
	switch {
	case e == nil:
		return nil, r
	case e.Erased > 0:
		return nil, Result{Outcome: Conflict, Detail: fmt.Sprintf("message %d is deleted already", c.Target)}
	case e.User != c.From.User && !c.From.Admin && rankOf(role) < rankOperator:
		return nil, Result{Outcome: Forbidden, Detail: "only its writer and those who run the room delete a message"}
	}
	return e, Result{}
}

// erase puts stubs in the places of a message and of its edits. by is the entry that says so.
func (t *tx) erase(d *draft, e, by *Entry, c *Append) {
	t.unfold(d, e)
	t.replyGone(d, e)
	t.stub(d, e, stubTail(e.Collapse))
	if c.From.User != e.User {
		t.audit(d, by, AuditRecord{By: c.From.User, Act: TypeDelete, User: e.User, Target: e.Seq, Reason: c.Reason})
	}
}

// stubTail is what a stub says. With its collapse_key it still replaces, in an import too, what the message did.
func stubTail(collapse string) []byte {
	const tail = `,"data":{},"deleted":true`
	if collapse == "" {
		return []byte(tail)
	}
	return append(appendString([]byte(`,"collapse_key":`), collapse), tail...)
}

// replyGone takes a reply whose stub is about to take its place from the count of the message it answers.
func (t *tx) replyGone(d *draft, e *Entry) {
	var j struct {
		ReplyTo uint64 `json:"reply_to"`
	}
	if err := json.Unmarshal(e.JSON, &j); err != nil {
		t.fail(fmt.Errorf("%w: seq %d of room %q: %w", ErrEntry, e.Seq, d.key.Room, err))
	}
	if j.ReplyTo == 0 || j.ReplyTo < d.head.First {
		return
	}
	if f := t.fold(d.key, j.ReplyTo); f.Replies > 0 {
		f.Replies--
		t.keepFold(d.key, &f)
	}
}

// keepFold stores what is left of a fold, if anything is.
func (t *tx) keepFold(k RoomKey, f *Fold) {
	if len(f.Edits) == 0 && len(f.Reactions) == 0 && f.Replies == 0 {
		t.del(foldKey(k, f.Seq))
		return
	}
	t.setFold(k, f.Seq, f)
}

// unfold forgets what was folded into a message, but for how many replies it has, and puts stubs in the places of its edits.
func (t *tx) unfold(d *draft, e *Entry) {
	f := t.fold(d.key, e.Seq)
	for _, seq := range f.Edits {
		if edit := t.entry(d, seq); edit != nil {
			t.stub(d, edit, append(targetJSON(e.Seq), `,"data":{},"deleted":true`...))
		}
	}
	if len(f.Reactions) > 0 {
		t.forgetFolds(d.key, e.Seq, e.Seq+1)
	}
	t.keepFold(d.key, &Fold{Seq: e.Seq, Replies: f.Replies})
	d.unpin(e.Seq)
}

// stub replaces what an entry says by tail.
func (t *tx) stub(d *draft, e *Entry, tail []byte) {
	stub := *e
	stub.Erased, stub.Was, stub.Device = e.size(), 0, ""
	stub.JSON = appendJSON(nil, d.key, &stub, Actor{User: e.User}, "", tail)
	stub.Device = e.Device
	t.replace(d, &stub)
}

// replace writes an entry in the place of the one it was made of, in the store, and in memory when the batch is shown.
func (t *tx) replace(d *draft, e *Entry) {
	t.buf = e.appendTo(t.buf[:0])
	t.write(entryKey(d.key, e.Seq), t.buf)
	if e.Message() {
		t.says(d.key, e.Seq)
	}
	if n := len(d.entries); n > 0 && e.Seq >= d.entries[0].Seq {
		d.entries[e.Seq-d.entries[0].Seq] = e
		return
	}
	if d.erased == nil {
		d.erased = map[uint64]*Entry{}
	}
	d.erased[e.Seq] = e
}
