package storage

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strconv"
)

// The feed is what webhooks are made of: one small item per entry of any room, and one for what happens to a room without
// an entry in it, in the order of the log. It is written only while the log knows a webhook (FeedHooks), so that nothing
// is paid for what nobody wants, and it is the log that says so, not the configuration of a node.
//
//	x 'f' id:  1 2 3 [4 5 6 7 8 9] 10 ...      ids are dense within an era and never used again
//	                  ^first        ^next
//
// What every webhook has behind it is removed; what one that does not answer still needs is kept until FeedTrim.

// FeedHooks says which webhooks there are. A new one begins at the end of the feed. One that is not named is forgotten,
// with its dead letters, when it has not been named for Keep ms: nodes whose configurations differ for a while lose nothing.
type FeedHooks struct {
	Names []string `cbor:"1,keyasint"`
	Keep  int64    `cbor:"2,keyasint,omitempty"`
}

// FeedPlaces says how far webhooks are. A place never goes back.
type FeedPlaces struct {
	Places []HookPlace `cbor:"1,keyasint"`
}

// HookPlace is where one webhook stands: everything up to Place is done. Error is why its last try failed, "" when it did
// not; Off means that the receiver asked for no more.
type HookPlace struct {
	Name  string `cbor:"1,keyasint"`
	Place uint64 `cbor:"2,keyasint"`
	Error string `cbor:"3,keyasint,omitempty"`
	Off   bool   `cbor:"4,keyasint,omitempty"`
}

// FeedTrim removes the items up to Upto that a bound allows to go: older than MaxAge (ms), or beyond the newest MaxCount; 0 =
// that bound does not apply. Checked again in Apply. A webhook that was behind finds a gap.
type FeedTrim struct {
	Upto     uint64 `cbor:"1,keyasint"`
	MaxAge   int64  `cbor:"2,keyasint,omitempty"`
	MaxCount uint64 `cbor:"3,keyasint,omitempty"`
}

// FeedDead puts an item on the dead letters of a webhook, in place of the oldest when there are Max.
type FeedDead struct {
	Hook  string `cbor:"1,keyasint"`
	ID    uint64 `cbor:"2,keyasint"`
	Tries int    `cbor:"3,keyasint"`
	Error string `cbor:"4,keyasint"`
	Max   uint64 `cbor:"5,keyasint"`
}

// FeedRetry puts dead letters at the end of the feed again, for their webhook alone; no IDs = all of them.
type FeedRetry struct {
	Hook string   `cbor:"1,keyasint"`
	IDs  []uint64 `cbor:"2,keyasint,omitempty"`
}

const (
	kindFeedHooks  commandKind = 70
	kindFeedPlaces commandKind = 71
	kindFeedTrim   commandKind = 72
	kindFeedDead   commandKind = 73
	kindFeedRetry  commandKind = 74
)

func (*FeedHooks) kind() commandKind  { return kindFeedHooks }
func (*FeedPlaces) kind() commandKind { return kindFeedPlaces }
func (*FeedTrim) kind() commandKind   { return kindFeedTrim }
func (*FeedDead) kind() commandKind   { return kindFeedDead }
func (*FeedRetry) kind() commandKind  { return kindFeedRetry }

// newFeedCommand is newCommand for the kinds of this file.
func newFeedCommand(k commandKind) Command {
	switch k {
	case kindFeedHooks:
		return new(FeedHooks)
	case kindFeedPlaces:
		return new(FeedPlaces)
	case kindFeedTrim:
		return new(FeedTrim)
	case kindFeedDead:
		return new(FeedDead)
	case kindFeedRetry:
		return new(FeedRetry)
	}
	return nil
}

// MaxWebhooks bounds the webhooks of a cluster.
const MaxWebhooks = 64

// What happens to a room without an entry in it.
const (
	FeedCreated = "created"
	FeedUpdated = "updated"
	FeedDeleted = "deleted"
)

// FeedItem is one event. It names an entry (Seq and Type), or carries what happened to the room (Event and Data).
type FeedItem struct {
	ID    uint64  `cbor:"-"`
	Room  RoomKey `cbor:"1,keyasint"`
	At    int64   `cbor:"2,keyasint"` // log time, ms
	Seq   uint64  `cbor:"3,keyasint,omitempty"`
	Type  string  `cbor:"4,keyasint,omitempty"` // of the entry
	Event string  `cbor:"5,keyasint,omitempty"`
	Data  []byte  `cbor:"6,keyasint,omitempty"` // JSON
	Only  string  `cbor:"7,keyasint,omitempty"` // the one webhook it is for; "" = all
	Was   uint64  `cbor:"8,keyasint,omitempty"` // its first id, of one that is tried again
}

// First returns the id the event had when it happened: the same however often it is tried again.
func (it *FeedItem) First() uint64 {
	if it.Was != 0 {
		return it.Was
	}
	return it.ID
}

// Webhook is where a webhook stands.
type Webhook struct {
	Name    string `cbor:"-"`
	Place   uint64 `cbor:"1,keyasint"`
	Seen    int64  `cbor:"2,keyasint"` // log time (ms) when a configuration named it last
	Error   string `cbor:"3,keyasint,omitempty"`
	Off     bool   `cbor:"4,keyasint,omitempty"`
	Dead    uint64 `cbor:"5,keyasint,omitempty"` // letters that are kept
	Dropped uint64 `cbor:"6,keyasint,omitempty"` // and those that made room for newer ones
}

// DeadLetter is an event that a webhook did not take.
type DeadLetter struct {
	Item  FeedItem `cbor:"1,keyasint"`
	ID    uint64   `cbor:"2,keyasint"`
	At    int64    `cbor:"3,keyasint"` // log time (ms) when it was given up
	Tries int      `cbor:"4,keyasint"`
	Error string   `cbor:"5,keyasint"`
}

// feed is the ends of the feed; on while there is a webhook.
type feed struct {
	First, Next uint64
	On          bool
}

const (
	feedVersion = 1
	feedItems   = 'f'
	feedLetters = 'd'
)

// feedMetaKey is a key of its own before all items.
func feedMetaKey() []byte { return []byte{prefixFeed} }

func feedItemKey(id uint64) []byte { return withNumber([]byte{prefixFeed, feedItems}, id) }

func webhookKey(name string) []byte { return last([]byte{prefixWebhook}, name) }

func lettersPrefix(hook string) []byte {
	return append(append([]byte{prefixFeed, feedLetters}, hook...), separator)
}

func letterKey(hook string, id uint64) []byte { return withNumber(lettersPrefix(hook), id) }

func (f feed) encode() []byte {
	b := append(make([]byte, 0, 24), feedVersion)
	on := uint64(0)
	if f.On {
		on = 1
	}
	for _, v := range [...]uint64{f.First, f.Next, on} {
		b = binary.AppendUvarint(b, v)
	}
	return b
}

// decodeFeed reads the ends of the feed; none is one that was never on.
func decodeFeed(b []byte) (feed, error) {
	if b == nil {
		return feed{First: 1, Next: 1}, nil
	}
	r := readRecord(b, feedVersion)
	f := feed{First: r.uvarint(), Next: r.uvarint(), On: r.uvarint() == 1}
	if !r.end() || f.First == 0 || f.First > f.Next {
		return feed{}, fmt.Errorf("%w: ends of the feed", ErrEntry)
	}
	return f, nil
}

func (t *tx) setFeed(f feed) {
	t.feed = f
	t.write(feedMetaKey(), f.encode())
}

// tellFeed puts an item at the end of the feed.
func (t *tx) tellFeed(it FeedItem) {
	f := t.feed
	t.set(feedItemKey(f.Next), encodeRecord(it))
	f.Next++
	t.setFeed(f)
}

// tellEntry tells the feed of an entry. Inboxes and broadcasts are logs too, and no rooms: nobody is told of them.
func (t *tx) tellEntry(d *draft, e *Entry) {
	if t.feed.On && ofRoom(d) {
		t.tellFeed(FeedItem{Room: d.key, At: e.TS, Seq: e.Seq, Type: e.Type})
	}
}

// ofRoom reports whether a log is that of a room.
func ofRoom(d *draft) bool {
	return d.settings != nil && d.settings.Kind != Inbox && d.settings.Kind != Broadcast
}

// tellRoom tells the feed of what happens to a room without an entry, with the room as it is then.
func (t *tx) tellRoom(d *draft, event, by string) {
	if !t.feed.On || !ofRoom(d) {
		return
	}
	st := d.settings
	b := append([]byte(`{"room":"`), d.key.Room...)
	b = strconv.AppendInt(append(b, `","ts":`...), t.now, 10)
	if by != "" {
		b = append(append(append(b, `,"by":"`...), by...), '"')
	}
	if event != FeedDeleted {
		b = append(append(append(b, `,"kind":"`...), st.Kind.String()...), `","name":`...)
		b = appendString(b, st.Name)
		guest := (&Room{Kind: st.Kind, Guest: st.Guest}).GuestMay()
		b = append(append(append(b, `,"guest":"`...), guest.String()...), '"')
	}
	t.tellFeed(FeedItem{Room: d.key, At: t.now, Event: event, Data: append(b, '}')})
}

// webhook reads a record as the batch leaves it, nil when there is none.
func (t *tx) webhook(name string) *Webhook {
	b := t.get(webhookKey(name))
	if b == nil {
		return nil
	}
	w := &Webhook{}
	if err := decodeRecord(b, w); err != nil {
		t.fail(fmt.Errorf("%w: webhook %q: %w", ErrEntry, name, err))
	}
	w.Name = name
	return w
}

func (t *tx) setWebhook(w *Webhook) { t.set(webhookKey(w.Name), encodeRecord(w)) }

// webhooks returns all of them as the batch leaves them, by name.
func (t *tx) webhooks() map[string]*Webhook {
	all := map[string]*Webhook{}
	p := []byte{prefixWebhook}
	t.each(p, end(p), func(k, _ []byte) { all[string(k[1:])] = nil })
	for name := range all {
		all[name] = t.webhook(name)
	}
	return all
}

func (t *tx) feedHooks(c *FeedHooks) Result {
	all := t.webhooks()
	for _, name := range c.Names {
		w := all[name]
		if w == nil && len(all) >= MaxWebhooks {
			return Result{Outcome: Limit, Detail: fmt.Sprintf("a cluster has at most %d webhooks", MaxWebhooks)}
		}
		if w == nil {
			w = &Webhook{Name: name, Place: t.feed.Next - 1}
			all[name] = w
		}
		w.Seen = t.now
		t.setWebhook(w)
	}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if w := all[name]; !slices.Contains(c.Names, name) && w.Seen+c.Keep <= t.now {
			t.del(webhookKey(name))
			p := lettersPrefix(name)
			t.forgetRange(p, end(p))
			delete(all, name)
		}
	}
	f := t.feed
	f.On = len(all) > 0
	t.setFeed(f)
	if !f.On {
		t.dropItems(f.Next)
	} else {
		t.dropDone(all)
	}
	return Result{Seq: f.Next}
}

// dropItems removes everything before an id.
func (t *tx) dropItems(before uint64) {
	f := t.feed
	if before <= f.First {
		return
	}
	t.forgetRange(feedItemKey(f.First), feedItemKey(before))
	f.First = before
	t.setFeed(f)
}

// dropDone removes what every webhook has behind it.
func (t *tx) dropDone(all map[string]*Webhook) {
	done := t.feed.Next - 1
	for _, w := range all {
		done = min(done, w.Place)
	}
	t.dropItems(done + 1)
}

func (t *tx) feedPlaces(c *FeedPlaces) Result {
	all := t.webhooks()
	for i := range c.Places {
		p := &c.Places[i]
		w := all[p.Name]
		if w == nil || p.Place >= t.feed.Next {
			continue
		}
		w.Place = max(w.Place, p.Place)
		w.Error, w.Off = p.Error, p.Off
		t.setWebhook(w)
	}
	if len(all) > 0 {
		t.dropDone(all)
	}
	return Result{Seq: t.feed.First}
}

func (t *tx) feedItem(id uint64) *FeedItem {
	b := t.get(feedItemKey(id))
	if b == nil {
		return nil
	}
	it, err := decodeItem(id, b)
	if err != nil {
		t.fail(err)
		return nil
	}
	return &it
}

func decodeItem(id uint64, b []byte) (FeedItem, error) {
	it := FeedItem{ID: id}
	if err := decodeRecord(b, &it); err != nil {
		return it, fmt.Errorf("%w: item %d of the feed: %w", ErrEntry, id, err)
	}
	return it, nil
}

func (t *tx) feedTrim(c *FeedTrim) Result {
	f := t.feed
	if c.Upto < f.First || c.Upto >= f.Next {
		return Result{Outcome: Conflict, Detail: "nothing to remove there"}
	}
	tooMany := c.MaxCount > 0 && f.Next-1-c.Upto >= c.MaxCount
	it := t.feedItem(c.Upto)
	tooOld := it != nil && c.MaxAge > 0 && it.At < t.now-c.MaxAge
	if !tooMany && !tooOld {
		return Result{Outcome: Conflict, Detail: "no bound lets that item go"}
	}
	t.dropItems(c.Upto + 1)
	return Result{Seq: c.Upto}
}

func (t *tx) feedDead(c *FeedDead) Result {
	w := t.webhook(c.Hook)
	it := t.feedItem(c.ID)
	k := letterKey(c.Hook, c.ID)
	switch {
	case w == nil:
		return Result{Outcome: NotFound, Detail: fmt.Sprintf("webhook %q is not known", c.Hook)}
	case it == nil:
		return Result{Outcome: NotFound, Detail: fmt.Sprintf("item %d of the feed is gone", c.ID)}
	case t.get(k) != nil:
		return Result{Present: true}
	}
	if c.Max > 0 && w.Dead >= c.Max {
		t.del(letterKey(c.Hook, slices.Min(t.letters(c.Hook))))
		w.Dead--
		w.Dropped++
	}
	t.set(k, encodeRecord(DeadLetter{Item: *it, ID: c.ID, At: t.now, Tries: c.Tries, Error: c.Error}))
	w.Dead++
	t.setWebhook(w)
	return Result{}
}

// letters returns the ids of a webhook's dead letters, in no order.
func (t *tx) letters(hook string) (ids []uint64) {
	p := lettersPrefix(hook)
	t.each(p, end(p), func(k, _ []byte) {
		ids = append(ids, binary.BigEndian.Uint64(k[len(k)-seqBytes:]))
	})
	return ids
}

func (t *tx) feedRetry(c *FeedRetry) Result {
	w := t.webhook(c.Hook)
	if w == nil {
		return Result{Outcome: NotFound, Detail: fmt.Sprintf("webhook %q is not known", c.Hook)}
	}
	ids := slices.Clone(c.IDs)
	if len(ids) == 0 {
		ids = t.letters(c.Hook)
	}
	slices.Sort(ids)
	n := uint64(0)
	for _, id := range slices.Compact(ids) {
		k := letterKey(c.Hook, id)
		b := t.get(k)
		if b == nil {
			continue
		}
		var l DeadLetter
		if err := decodeRecord(b, &l); err != nil {
			t.fail(fmt.Errorf("%w: dead letter %d of %q: %w", ErrEntry, id, c.Hook, err))
			return Result{}
		}
		l.Item.ID = l.ID
		it := l.Item
		it.Only, it.Was = c.Hook, l.Item.First()
		t.del(k)
		t.tellFeed(it)
		n++
	}
	w.Dead -= n
	t.setWebhook(w)
	return Result{Seq: n}
}
