package storage

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/time/rate"
)

// Verified is what a store holds.
type Verified struct {
	Applied  uint64
	LogTime  int64
	Pos      uint64
	Rooms    int // that exist
	Entries  uint64
	Bytes    uint64 // of their JSON
	Members  int
	CIDs     int
	Sessions int
	Keys     int
	Users    int // that are there
}

// Verify reads every record of the store in o.Dir, which nobody has open, and checks it by itself and against those it
// belongs to: numbers without gaps but for declared holes, places that rise, counts that are right, every cid, member and
// lag with its counterpart. Pebble checks the checksum of every block on the way. Nothing is changed. What is wrong goes to
// fault; an error means that the store could not be read to its end.
func Verify(o Options, fault func(what error)) (v Verified, err error) {
	if o.FS == nil {
		o.FS = vfs.Default
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	po := &pebble.Options{
		FS: o.FS, ReadOnly: true, ErrorIfNotExists: true, FormatMajorVersion: pebble.FormatTableFormatV6,
		EventListener: &pebble.EventListener{DataCorruption: func(i pebble.DataCorruptionInfo) {
			fault(fmt.Errorf("%w: %s: %w", ErrEntry, i.Path, i.Details))
		}},
		Logger: pebbleLogger{log: o.Logger, fatal: func(err error) { panic(err) }, errors: &rate.Sometimes{First: 10}},
	}
	for i := range po.Levels {
		po.Levels[i].FilterPolicy = bloom.FilterPolicy(bloomBits)
	}
	db, err := pebble.Open(o.Dir, po)
	if err != nil {
		return v, fmt.Errorf("open the store in %s: %w", o.Dir, err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if err := db.CheckLevels(nil); err != nil {
		fault(fmt.Errorf("%w: order of the keys: %w", ErrEntry, err))
	}
	c := &verifier{db: db, v: &v, fault: fault}
	if err := c.meta(); err != nil {
		return v, err
	}
	err = scan(db, nil, nil, func(k, b []byte) (bool, error) {
		v.Keys++
		if err := c.record(k, b); err != nil {
			fault(fmt.Errorf("record %q: %w", k, err))
		}
		return true, nil
	})
	c.endRoom()
	c.endIndex()
	return v, err
}

// verifier goes over the records in the order of their keys.
type verifier struct {
	db    *pebble.DB
	v     *Verified
	fault func(error)
	m     meta
	feed  feed

	room RoomKey // whose entries are being read
	head Head
	last *Entry // nil before its first
	n    uint64 // entries of it so far

	terms int // of the blocks of the index, less the keys of terms
}

func (c *verifier) meta() error {
	b, err := get(c.db, []byte(keyMetaApplied))
	if err != nil {
		return err
	}
	if b == nil {
		c.fault(fmt.Errorf("%w: no meta record", ErrEntry))
		return nil
	}
	if c.m, err = decodeMeta(b); err != nil {
		c.fault(err)
	}
	c.v.Applied, c.v.LogTime, c.v.Pos = c.m.Applied, c.m.Time, c.m.Pos
	if _, _, err := readChain(c.db, c.m.Applied); err != nil {
		c.fault(err)
	}
	return nil
}

// record checks one record.
func (c *verifier) record(k, b []byte) error {
	if len(k) == 0 || len(k) < 1+seqBytes && bytes.IndexByte([]byte{prefixEntry, prefixCIDBySeq, prefixOutbox, prefixFold, prefixAudit, prefixCollapseBySeq}, k[0]) >= 0 {
		return fmt.Errorf("%w: key", ErrEntry)
	}
	switch k[0] {
	case prefixMeta, prefixChain:
		return nil // read before
	case prefixNode:
		_, err := decodeNode(b)
		return err
	case prefixGroup:
		if r := readRecord(b, ringVersion); r.bad {
			return ErrEntry
		}
		return nil
	case prefixBootPlace:
		p, err := decodeBootPlace(b)
		if err == nil && p.Pos > c.m.Pos {
			err = fmt.Errorf("%w: place %d, and the newest entry has %d", ErrEntry, p.Pos, c.m.Pos)
		}
		return err
	case prefixRoom:
		return c.settings(k, b)
	case prefixHead:
		return c.checkHead(k, b)
	case prefixEntry:
		return c.entry(k, b)
	case prefixMember:
		c.v.Members++
		return decodeRecord(b, new(Member))
	case prefixFold:
		return c.fold(k, b)
	case prefixReaction:
		return nil // counted by its fold
	case prefixMark:
		return c.mark(k, b)
	case prefixCollapse:
		seq, err := decodeCollapse(b)
		if err != nil {
			return err
		}
		n, err := names(k, 3)
		if err != nil {
			return err
		}
		return c.has(collapseBySeqKey(RoomKey{NS: n[0], Room: n[1]}, seq))
	case prefixCollapseBySeq:
		n, err := names(k[:len(k)-seqBytes], 2)
		if err != nil {
			return err
		}
		return c.has(entryKey(RoomKey{NS: n[0], Room: n[1]}, binary.BigEndian.Uint64(k[len(k)-seqBytes:])))
	case prefixState:
		_, err := decodeState(b)
		return err
	case prefixSaid:
		if r := readRecord(b, saidVersion); r.bad || len(r.b) != seqBytes {
			return ErrEntry
		}
		return nil
	case prefixAudit:
		return decodeRecord(b, new(AuditRecord))
	case prefixUserRoom:
		return c.userRoom(k, b)
	case prefixCID:
		return c.cid(k, b)
	case prefixCIDBySeq:
		return c.cidBySeq(k, b)
	case prefixUser:
		return c.user(k, b)
	case prefixUserIndex:
		return c.userIndex(k, b)
	case prefixSession:
		c.v.Sessions++
		return decodeRecord(b, new(sessionRecord))
	case prefixLag:
		return c.lag(k, b)
	case prefixUserCounts:
		return c.counts(k, b)
	case prefixRelation:
		return c.relation(k, b)
	case prefixPair:
		return c.pair(k, b)
	case prefixPerson:
		return c.person(k, b)
	case prefixOutbox:
		id := binary.BigEndian.Uint64(k[len(k)-seqBytes:])
		if id > c.m.Outbox || id <= c.m.FollowedUp {
			return fmt.Errorf("%w: item %d of an outbox from %d to %d", ErrEntry, id, c.m.FollowedUp+1, c.m.Outbox)
		}
		return decodeRecord(b, new(outboxItem))
	case prefixActive:
		_, err := decodeActive(b)
		return err
	case prefixPush:
		return c.pushes(b)
	case prefixWebhook:
		return c.webhookRecord(k, b)
	case prefixFeed:
		return c.feedRecord(k, b)
	case prefixIndex:
		return c.index(k, b)
	case prefixSecret:
		if r := readRecord(b, secretVersion); r.bad {
			return ErrEntry
		}
		return nil
	}
	return fmt.Errorf("%w: no kind of record has %q", ErrEntry, k[:1])
}

// names are those of a key of n names and what follows them.
func names(k []byte, n int) ([]string, error) {
	if out := split(k, n); out != nil {
		return out, nil
	}
	return nil, fmt.Errorf("%w: key", ErrEntry)
}

func (c *verifier) has(k []byte) error {
	b, err := get(c.db, k)
	if err == nil && b == nil {
		err = fmt.Errorf("%w: %q is missing", ErrEntry, k)
	}
	return err
}

func (c *verifier) settings(k, b []byte) error {
	var st settings
	if err := decodeRecord(b, &st); err != nil {
		return err
	}
	n, err := names(k, 2)
	if err != nil {
		return err
	}
	if err := c.has(key(prefixHead, n[0], n[1])); err != nil {
		return err
	}
	if !st.Deleted && st.Kind.known() {
		c.v.Rooms++
	}
	members, restricted := uint64(0), uint64(0)
	if err := scan(c.db, key(prefixMember, n[0], n[1]), nil, func(_, b []byte) (bool, error) {
		var m Member
		err := decodeRecord(b, &m)
		members += one(m.Role != "")
		restricted += one(m.restricted())
		return true, err
	}); err != nil {
		return err
	}
	set, tombs := uint64(0), uint64(0)
	if err := scan(c.db, key(prefixState, n[0], n[1]), nil, func(_, b []byte) (bool, error) {
		v, err := decodeState(b)
		set += one(!v.Deleted)
		tombs += one(v.Deleted)
		return true, err
	}); err != nil {
		return err
	}
	if set != st.States || tombs != st.Tombs {
		return fmt.Errorf("%w: %d and %d state keys are counted and %d and %d are there", ErrEntry, st.States, st.Tombs, set, tombs)
	}
	if restricted != st.Restricted {
		return fmt.Errorf("%w: %d restricted users are counted and %d are there", ErrEntry, st.Restricted, restricted)
	}
	if members != st.Members {
		return fmt.Errorf("%w: %d members are counted and %d are there", ErrEntry, st.Members, members)
	}
	return nil
}

// entry checks an entry against its room's head and against the one before it.
func (c *verifier) entry(k, b []byte) error {
	n, err := names(k[:len(k)-seqBytes], 2)
	if err != nil {
		return err
	}
	room := RoomKey{NS: n[0], Room: n[1]}
	if room != c.room {
		c.endRoom()
		if err := c.beginRoom(room); err != nil {
			return err
		}
	}
	seq := binary.BigEndian.Uint64(k[len(k)-seqBytes:])
	e, err := decodeEntry(seq, b)
	if err != nil {
		return err
	}
	want := c.head.At(c.n)
	c.n = c.head.Index(seq) + 1
	before := c.last
	c.last = e
	c.v.Entries++
	c.v.Bytes += uint64(len(e.JSON))
	switch {
	case seq != want:
		return fmt.Errorf("%w: it comes where seq %d should", ErrEntry, want)
	case e.Pos > c.head.Pos || before != nil && e.Pos <= before.Pos:
		return fmt.Errorf("%w: place %d", ErrEntry, e.Pos)
	case before != nil && (e.TS < before.TS || e.Total != before.Total+e.size()):
		return fmt.Errorf("%w: time or size does not go on from the entry before", ErrEntry)
	case before != nil && e.N != before.N+one(e.Message()):
		return fmt.Errorf("%w: n is %d after %d", ErrEntry, e.N, before.N)
	}
	return checkJSON(room, e)
}

// size is what the entry counts in the room's bytes.
func (e *Entry) size() uint64 {
	if e.Erased > 0 {
		return e.Erased
	}
	if e.Was > 0 {
		return e.Was
	}
	return uint64(len(e.JSON))
}

func one(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}

// checkJSON holds what is delivered against what is stored beside it.
func checkJSON(room RoomKey, e *Entry) error {
	var j struct {
		Room string
		User string
		Seq  uint64
		N    uint64
		TS   int64
		Type string
		From struct{ User string }
	}
	if err := json.Unmarshal(e.JSON, &j); err != nil {
		return fmt.Errorf("%w: %w", ErrEntry, err)
	}
	of := RoomKey{Room: j.Room}
	switch {
	case j.User != "":
		of = InboxLog("", j.User)
	case j.Room == "":
		of = BroadcastLog("")
	}
	if of.Room != room.Room || j.Seq != e.Seq || j.N != e.N || j.TS != e.TS || j.Type != e.Type || j.From.User != e.User {
		return fmt.Errorf("%w: what is delivered is of another entry", ErrEntry)
	}
	return nil
}

func (c *verifier) checkHead(k, b []byte) error {
	h, err := decodeHead(b)
	if err != nil {
		return err
	}
	if h.Pos > c.m.Pos {
		return fmt.Errorf("%w: place %d, and the newest entry has %d", ErrEntry, h.Pos, c.m.Pos)
	}
	n, err := names(k, 2)
	if err == nil {
		err = c.has(key(prefixRoom, n[0], n[1]))
	}
	if err != nil || h.Kept() == 0 {
		return err
	}
	return c.has(entryKey(RoomKey{NS: n[0], Room: n[1]}, h.First)) // the others are looked at from there
}

func (c *verifier) beginRoom(room RoomKey) error {
	c.room, c.head, c.last, c.n = room, Head{First: 1}, nil, 0
	b, err := get(c.db, key(prefixHead, room.NS, room.Room))
	if err == nil && b == nil {
		err = fmt.Errorf("%w: the room has no head", ErrEntry)
	}
	if err != nil {
		return err
	}
	c.head, err = decodeHead(b)
	return err
}

// endRoom looks whether the last entry was the head.
func (c *verifier) endRoom() {
	if c.last == nil {
		return
	}
	if h := &c.head; c.n != h.Kept() || c.last.N != h.N || c.last.TS > h.TS || c.last.Pos != h.Pos || c.last.Total != h.Total {
		c.fault(fmt.Errorf("%w: room %q of %q ends with seq %d, its head says %d", ErrEntry, c.room.Room, c.room.NS, c.last.Seq, h.Seq))
	}
	c.last, c.room = nil, RoomKey{}
}

// fold holds the reactions a message counts against those who made them.
func (c *verifier) fold(k, b []byte) error {
	var f Fold
	if err := decodeRecord(b, &f); err != nil {
		return err
	}
	n, err := names(k[:len(k)-seqBytes], 2)
	if err != nil {
		return err
	}
	room, seq := RoomKey{NS: n[0], Room: n[1]}, binary.BigEndian.Uint64(k[len(k)-seqBytes:])
	counts := map[string]uint64{}
	prefix := withNumber(key(prefixReaction, room.NS, room.Room), seq)
	if err := scan(c.db, prefix, nil, func(rk, _ []byte) (bool, error) {
		_, emoji, _ := bytes.Cut(rk[len(prefix):], []byte{separator})
		counts[string(emoji)]++
		return true, nil
	}); err != nil {
		return err
	}
	for _, r := range f.Reactions {
		if counts[r.Emoji] != r.N {
			return fmt.Errorf("%w: %d reactions %q are counted and %d are there", ErrEntry, r.N, r.Emoji, counts[r.Emoji])
		}
	}
	if len(counts) != len(f.Reactions) {
		return fmt.Errorf("%w: %d different reactions are counted and %d are there", ErrEntry, len(f.Reactions), len(counts))
	}
	return c.has(entryKey(room, seq))
}

func (c *verifier) mark(k, b []byte) error {
	if err := decodeRecord(b, new(Mark)); err != nil {
		return err
	}
	n, err := names(k, 2)
	if err != nil {
		return err
	}
	return c.has(memberKey(RoomKey{NS: n[0], Room: n[2]}, n[1]))
}

func (c *verifier) userRoom(k, b []byte) error {
	if err := decodeRecord(b, new(Member)); err != nil {
		return err
	}
	n, err := names(k, 2)
	if err != nil {
		return err
	}
	if c.m.Outbox > c.m.FollowedUp {
		return nil // lists follow
	}
	return c.has(memberKey(RoomKey{NS: n[0], Room: n[2]}, n[1]))
}

func (c *verifier) cid(k, b []byte) error {
	c.v.CIDs++
	seq, _, _, err := decodeCID(b)
	if err != nil {
		return err
	}
	n, err := names(k, 3)
	if err != nil {
		return err
	}
	return c.has(bySeqKey(RoomKey{NS: n[0], Room: n[1]}, seq))
}

func (c *verifier) cidBySeq(k, b []byte) error {
	x, err := decodeBySeq(binary.BigEndian.Uint64(k[len(k)-seqBytes:]), b)
	if err != nil {
		return err
	}
	n, err := names(k[:len(k)-seqBytes], 2)
	if err != nil {
		return err
	}
	return c.has(cidKey(RoomKey{NS: n[0], Room: n[1]}, x.user, x.cid))
}

func (c *verifier) lag(k, b []byte) error {
	if r := readRecord(b, lagVersion); r.bad || len(r.b) != seqBytes {
		return ErrEntry
	}
	n, err := names(k, 3)
	if err != nil {
		return err
	}
	return c.has(sessionKey(SessionID{NS: n[0], User: n[1], Client: unescapeName(n[2])}))
}

func (c *verifier) counts(k, b []byte) error {
	var n userCounts
	if err := decodeRecord(b, &n); err != nil {
		return err
	}
	who, err := names(k, 1)
	if err != nil {
		return err
	}
	sessions := 0
	if err := scan(c.db, key(prefixSession, who[0], who[1]), nil, func(sk, _ []byte) (bool, error) {
		if !bytes.HasPrefix(sk, []byte{prefixSession}) {
			return false, nil
		}
		sessions++
		return true, nil
	}); err != nil {
		return err
	}
	if sessions != n.Sessions {
		return fmt.Errorf("%w: %d sessions are counted and %d are there", ErrEntry, n.Sessions, sessions)
	}
	return nil
}

func (c *verifier) pushes(b []byte) error {
	var rec pushRecord
	if err := decodeRecord(b, &rec); err != nil {
		return err
	}
	if n := len(rec.Devices); n == 0 || n > PushDevices {
		return fmt.Errorf("%w: %d devices", ErrEntry, n)
	}
	seen := map[string]bool{}
	for _, d := range rec.Devices {
		if n := len(d.Tokens); seen[d.Device] || n == 0 || n > PushPerDevice {
			return fmt.Errorf("%w: device %q is there twice, or has %d tokens", ErrEntry, d.Device, n)
		}
		seen[d.Device] = true
	}
	return nil
}
