package webhook

import (
	"context"
	"encoding/json"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/madang-chat/madang/internal/clock"
	"github.com/madang-chat/madang/storage"
)

// What webhooks are told of people: who comes and goes, and of messages for those who are not there, which is what wakes a
// phone. Every node knows who is online; the leader tells. All of it is at most once: a new leader begins with everybody who
// is online (user.sync), so that a receiver which missed something is right again.

// TypeUserSync lists users who are online: those of a namespace that none of its pages names are not.
const TypeUserSync = "user.sync"

// Bounds of what is told of absent members.
const (
	absentMembers = 100             // rooms of more members tell of mentions alone
	absentSoon    = 5 * time.Second // a device that is there may read it first
	absentMore    = 5 * time.Second // after the grace of presence
	absentWaiting = 100_000         // messages that wait for their time; beyond it the oldest goes
	absentTick    = 500 * time.Millisecond
	syncPage      = 500 // users
)

// PeopleStore is what People reads of *storage.Store.
type PeopleStore interface {
	Feed
	Room(k storage.RoomKey) (*storage.Room, error)
	Members(k storage.RoomKey, after string, limit int) ([]storage.RoomMember, error)
	Member(k storage.RoomKey, user string) (storage.Member, error)
	Mark(k storage.RoomKey, user string) (storage.Mark, error)
	Pushes(ns, user string) ([]storage.PushOf, error)
	Namespaces() ([]string, error)
	Watch() *storage.Watcher
}

// PeopleConfig is what NewPeople needs, all of it.
type PeopleConfig struct {
	Hooks  *Hooks
	Store  PeopleStore
	Leader Leader
	Grace  time.Duration // of presence: so long a device that was cut off counts as online
}

// userOf names a user.
type userOf struct{ ns, user string }

// People tells webhooks of people.
type People struct {
	cfg PeopleConfig

	mu     sync.Mutex
	online map[userOf]struct{}
	leads  bool

	// Owned by Run.
	next    uint64 // item of the feed
	waiting []absentee
}

// absentee is a message whose absent readers are to be told of at a time.
type absentee struct {
	at   time.Time
	room storage.RoomKey
	seq  uint64
	last bool // who was online the first time is asked about again
	left []string
}

// NewPeople returns what tells of people; Run does the work.
func NewPeople(cfg PeopleConfig) *People {
	return &People{cfg: cfg, online: map[userOf]struct{}{}}
}

// Changed takes how many devices of a user are online now. It does not wait.
func (p *People) Changed(ns, user string, devices int) {
	k := userOf{ns, user}
	p.mu.Lock()
	defer p.mu.Unlock()
	_, was := p.online[k]
	switch {
	case devices > 0 && !was:
		p.online[k] = struct{}{}
		p.tell(TypeUserOnline, k)
	case devices == 0 && was:
		delete(p.online, k)
		p.tell(TypeUserOffline, k)
	}
}

// tell sends an event of a user, if this node leads. p.mu is held.
func (p *People) tell(typ string, k userOf) {
	if !p.leads {
		return
	}
	now := clock.Now().UnixMilli()
	p.cfg.Hooks.Notify(Event{
		ID: k.ns + "/" + k.user + "/" + typ + "-" + strconv.FormatInt(now, 10), Type: typ, At: now, Namespace: k.ns, User: k.user,
		Data: encode(map[string]any{"user": k.user}),
	})
}

func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		return []byte("{}") // of strings and numbers: it cannot be
	}
	return b
}

// isOnline reports whether a user has a device online, or has lost it a moment ago.
func (p *People) isOnline(ns, user string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, is := p.online[userOf{ns, user}]
	return is
}

// Run does the work until ctx ends.
func (p *People) Run(ctx context.Context) {
	watch := p.cfg.Store.Watch()
	defer watch.Close()
	tick := time.NewTicker(absentTick)
	defer tick.Stop()
	for {
		p.follow()
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-watch.Wake():
			watch.Take()
		}
	}
}

// follow reads what is new and tells what is due, while this node leads.
func (p *People) follow() {
	if !p.cfg.Leader.IsLeader() {
		p.mu.Lock()
		p.leads = false
		p.mu.Unlock()
		p.next, p.waiting = 0, nil
		return
	}
	first, next, on := p.cfg.Store.Feed()
	if p.next == 0 { // what came before is the leader's before
		p.next = next
		p.begin()
	}
	if p.next = max(p.next, first); on && p.cfg.Hooks.wants(TypeMessageOffline) {
		p.read(next)
	} else {
		p.next = next
	}
	now := clock.Now()
	for len(p.waiting) > 0 && !p.waiting[0].at.After(now) {
		a := p.waiting[0]
		p.waiting = p.waiting[1:]
		p.due(&a, now)
	}
}

// begin tells who is online, when this node begins to lead; also of a namespace where nobody is: those who were there when
// the last leader ended are offline now.
func (p *People) begin() {
	known, err := p.cfg.Store.Namespaces()
	if err != nil {
		known = nil // the store is broken, which others say
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.leads = true
	all := map[string][]string{}
	for _, ns := range known {
		all[ns] = []string{}
	}
	for k := range p.online {
		all[k.ns] = append(all[k.ns], k.user)
	}
	now := clock.Now().UnixMilli()
	for ns, users := range all {
		slices.Sort(users)
		for page := 1; page == 1 || (page-1)*syncPage < len(users); page++ {
			some := users[(page-1)*syncPage : min(page*syncPage, len(users))]
			p.cfg.Hooks.Notify(Event{
				ID:   ns + "/" + TypeUserSync + "-" + strconv.FormatInt(now, 10) + "-" + strconv.Itoa(page),
				Type: TypeUserSync, At: now, Namespace: ns,
				Data: encode(map[string]any{"online": some, "page": page, "last": page*syncPage >= len(users)}),
			})
		}
	}
}

// read notes the messages among the items up to next.
func (p *People) read(next uint64) {
	for p.next < next {
		items, err := p.cfg.Store.FeedItems(p.next, feedPage)
		if err != nil || len(items) == 0 {
			p.next = next // they were trimmed: at most once
			return
		}
		at := clock.Now().Add(absentSoon)
		for i := range items {
			it := &items[i]
			p.next = it.ID + 1
			if it.Seq == 0 || it.Only != "" || typeOfMessage(it.Type) != "message.created" {
				continue
			}
			p.wait(absentee{at: at, room: it.Room, seq: it.Seq})
		}
	}
}

// wait keeps an absentee until its time. Times only grow but for a second look, which is put where it belongs.
func (p *People) wait(a absentee) {
	if len(p.waiting) >= absentWaiting {
		p.waiting = p.waiting[1:]
		p.cfg.Hooks.dropped(TypeMessageOffline)
	}
	i := len(p.waiting)
	for i > 0 && p.waiting[i-1].at.After(a.at) {
		i--
	}
	p.waiting = slices.Insert(p.waiting, i, a)
}

// due tells of a message whom it has not reached. Who is online now, or was cut off so lately that it may come back, is
// looked at once more when the grace is over.
func (p *People) due(a *absentee, now time.Time) {
	es, err := p.cfg.Store.Entries(a.room, a.seq, a.seq, 1, 1<<20)
	if err != nil || len(es) == 0 || es[0].Seq != a.seq {
		return // it is gone
	}
	e := es[0]
	users := a.left
	if !a.last {
		users = p.readers(a.room, e)
	}
	var online []string
	for _, u := range users {
		m, err := p.cfg.Store.Mark(a.room, u)
		switch {
		case err != nil || m.Read >= a.seq: // another device has read it
		case p.isOnline(a.room.NS, u):
			online = append(online, u)
		default:
			p.absent(a.room, u, e)
		}
	}
	if !a.last && len(online) > 0 {
		p.wait(absentee{at: now.Add(p.cfg.Grace + absentMore), room: a.room, seq: a.seq, last: true, left: online})
	}
}

// readers are the members a message is for: all of a small room, those it mentions of a large one.
func (p *People) readers(k storage.RoomKey, e *storage.Entry) (out []string) {
	r, err := p.cfg.Store.Room(k)
	if err != nil || r == nil {
		return nil
	}
	var m struct{ Mentions []string }
	if r.Members > absentMembers {
		if json.Unmarshal(e.JSON, &m) != nil {
			return nil
		}
		for _, u := range m.Mentions {
			if is, err := p.cfg.Store.Member(k, u); err == nil && is.Role != "" && u != e.User && !slices.Contains(out, u) {
				out = append(out, u)
			}
		}
		return out
	}
	page, err := p.cfg.Store.Members(k, "", absentMembers)
	if err != nil {
		return nil
	}
	for i := range page {
		if u := page[i].User; u != e.User {
			out = append(out, u)
		}
	}
	return out
}

// absent tells of a message for a user who is not there, with what wakes their devices.
func (p *People) absent(k storage.RoomKey, user string, e *storage.Entry) {
	type device struct {
		Device   string `json:"device"`
		Provider string `json:"provider"`
		Token    string `json:"token"`
	}
	devices := []device{}
	pushes, err := p.cfg.Store.Pushes(k.NS, user)
	if err != nil {
		return // the store is broken, which others say
	}
	for i := range pushes {
		for _, t := range pushes[i].Tokens {
			devices = append(devices, device{pushes[i].Device, t.Provider, t.Token})
		}
	}
	p.cfg.Hooks.Notify(Event{
		ID: k.NS + "/" + k.Room + "/" + strconv.FormatUint(e.Seq, 10) + "/" + user, Type: TypeMessageOffline, At: e.TS,
		Namespace: k.NS, Room: k.Room, User: user,
		Data: encode(map[string]any{"user": user, "devices": devices, "message": json.RawMessage(e.JSON)}),
	})
}
