package storage

import (
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/madang-chat/madang/internal/logentry"
)

// Apply applies entries in order in one batch; results[i][g][c] answers entries[i].Groups[g].Commands[c], nil where the
// command was ignored. Entries at or below Applied are skipped: their results[i] is nil. Everything applied can be read
// when Apply returns; it is durable after Sync. Nothing of entries is kept. After an error the store must not be used
// further: the node stops.
func (s *Store) Apply(entries []logentry.Entry) ([][][][]byte, error) {
	s.applyMu.Lock()
	defer s.applyMu.Unlock()
	s.dbMu.RLock()
	defer s.dbMu.RUnlock()
	if s.db == nil {
		return nil, ErrClosed
	}
	t := s.begin()
	defer t.close()
	results := make([][][][]byte, len(entries))
	for i := range entries {
		e := &entries[i]
		if e.Index <= t.meta.Applied {
			continue
		}
		t.now = max(e.Time, t.meta.Time)
		results[i] = make([][][]byte, len(e.Groups))
		for g := range e.Groups {
			results[i][g] = t.applyGroup(&e.Groups[g])
			if t.err != nil {
				return nil, fmt.Errorf("apply entry %d: %w", e.Index, t.err)
			}
		}
		t.meta.Applied, t.meta.Time = e.Index, t.now
		t.stats.Entries++
	}
	if t.stats.Entries == 0 {
		return results, nil
	}
	if err := t.commit(); err != nil {
		return nil, err
	}
	return results, nil
}

// applyCommand decodes and applies one command and returns its encoded result.
func (t *tx) applyCommand(data []byte) []byte {
	c, err := decodeShared(data, &t.scratch)
	if err != nil {
		t.fail(err)
		return nil
	}
	t.stats.Commands++
	r := Result{Outcome: Forbidden, Detail: "a name holds a character that names cannot have"}
	if wellNamed(c) {
		r = t.dispatch(c)
	}
	return r.Encode()
}

func (t *tx) dispatch(c Command) Result {
	if r := t.mayAct(c); r.Outcome != Done {
		return r
	}
	switch c := c.(type) {
	case *Append:
		return t.append(c)
	case *RoomCreate:
		return t.roomCreate(c)
	case *RoomSet:
		return t.roomSet(c)
	case *RoomDelete:
		return t.roomDelete(c)
	case *Join:
		return t.join(c)
	case *Leave:
		return t.leave(c)
	case *Moderate:
		return t.moderate(c)
	case *Marks:
		return t.marks(c)
	case *SetState:
		return t.setState(c)
	case *Contact:
		return t.contact(c)
	case *Block:
		return t.block(c)
	case *InboxRead:
		return t.inboxRead(c)
	case *FollowUp:
		return t.followUp(c)
	case *Take:
		return t.take(c)
	case *Drop:
		return t.drop(c)
	case *Subscribe:
		return t.subscribe(c)
	case *Release:
		return t.release(c)
	case *Places:
		return t.places(c)
	case *Expire:
		return t.expire(c)
	case *FireWill:
		return t.fireWill(c)
	case *NodeUp:
		return t.nodeUp(c)
	case *NodeLost:
		return t.nodeLost(c)
	case *Trim:
		return t.trim(c)
	case *Forget:
		return t.forget(c)
	case *Secret:
		return t.secret(c)
	case *PutUser:
		return t.putUser(c)
	case *DeleteUser:
		return t.deleteUser(c)
	case *DeletePage:
		return t.deletePage(c)
	case *Logout:
		return t.logout(c)
	case *Active:
		return t.active(c)
	case *SetPush:
		return t.setPush(c)
	case *EndDevice:
		return t.endDevice(c)
	case *FeedHooks:
		return t.feedHooks(c)
	case *FeedPlaces:
		return t.feedPlaces(c)
	case *FeedTrim:
		return t.feedTrim(c)
	case *FeedDead:
		return t.feedDead(c)
	case *FeedRetry:
		return t.feedRetry(c)
	case *Import:
		return t.importLines(c)
	}
	t.fail(fmt.Errorf("%w: no rule for %T", ErrCommand, c))
	return Result{}
}

// tx is one batch in the making. Owned by Apply's goroutine.
//
// What a command reads must be what the log says at its place, wherever the batches of this node happen to begin and end.
// So each kind of record is read in one of three ways: rooms, heads, members and entries through drafts; keys given to
// set and del through the overlay (get); ranges removed are remembered (gone). Keys given to write are read by no
// command of the same batch.
type tx struct {
	s     *Store
	batch *pebble.Batch
	over  map[string][]byte // what set and del did, nil = deleted
	gone  []keyRange        // ranges removed; over holds nothing older that lies in one
	meta  meta
	feed  feed
	now   int64 // log time of the entry in hand
	group group
	rings []ringRecord           // written by this batch
	lags  map[SessionID][][]byte // keys written by this batch

	drafts  map[RoomKey]*draft
	order   []*draft
	changed Changes
	stats   Stats
	scratch Append
	buf     []byte // for values that the batch copies
	json    []byte
	err     error
}

func (s *Store) begin() *tx {
	t := &tx{s: s, batch: s.db.NewBatch(), meta: s.current(), drafts: map[RoomKey]*draft{}, over: map[string][]byte{}}
	t.buf, t.json, t.feed = s.scratchBuf, s.scratchJSON, s.feed
	return t
}

func (t *tx) fail(err error) {
	if t.err == nil {
		t.err = err
	}
}

// commit writes the batch and shows it to readers.
func (t *tx) commit() error {
	for _, d := range t.order {
		t.writeDraft(d)
	}
	t.write([]byte(keyMetaApplied), t.meta.encode())
	t.link(t.s.current().Applied)
	if t.err != nil {
		return t.err
	}
	t.stats.Batches, t.stats.BatchKeys, t.stats.BatchBytes = 1, uint64(t.batch.Count()), uint64(t.batch.Len())
	if err := t.s.commit(t.batch); err != nil {
		return fmt.Errorf("write the store: %w", err)
	}
	err := t.batch.Close()
	t.batch = nil
	t.publish()
	return err
}

// publish moves heads, tail and members in memory, tells the watchers, and moves Applied and Pos last: who reads Pos and
// then takes from a watcher has been told of every entry up to it.
func (t *tx) publish() {
	s := t.s
	for _, d := range t.order {
		d.publish(&s.tail)
		t.changed.room(d)
	}
	s.tail.trim()
	s.rooms.evict(t.drafts)
	s.watchers.gather(&t.changed)
	s.metaMu.Lock()
	s.meta, s.feed = t.meta, t.feed
	s.stats.add(&t.stats)
	s.metaMu.Unlock()
	s.watchers.wake()
}

// scratchKept bounds the buffers that outlive a batch.
const scratchKept = 1 << 20

func (t *tx) close() {
	if t.batch != nil {
		t.err = errors.Join(t.err, t.batch.Close())
	}
	if cap(t.buf) <= scratchKept {
		t.s.scratchBuf = t.buf[:0]
	}
	if cap(t.json) <= scratchKept {
		t.s.scratchJSON = t.json[:0]
	}
}
