package broker

import (
	"slices"

	"github.com/madang-chat/madang/broker/presence"
	"github.com/madang-chat/madang/hooks/calls"
	"github.com/madang-chat/madang/hooks/topic"
	"github.com/madang-chat/madang/storage"
)

// The presence of a user is told to those who may see it: a filter that names the user is looked at by itself, and sleeps
// while its reader may not; one with a wildcard is about those its reader knows. Whether one may is read from the store
// outside the worker, when the filter begins and whenever the two come to share a room or to part.

// looks is what a client follows of users. Owned by its worker.
type looks struct {
	at   map[string]look // users whose presence it named
	wild bool            // it follows that of those it knows
	all  bool            // and that of everybody
	owed map[string]bool // whose presence is to be sent when there is room; true: as a retained one
	most bool            // of all it follows: those were too many
}

// look is how a client stands to a user whose presence it named.
type look struct {
	may  bool
	sent int // devices, as it was told last; -1 = not yet
}

// some reports whether it follows anybody.
func (l *looks) some() bool { return l.wild || l.all || l.at != nil }

// looksOwed bounds the users that are remembered by name.
const looksOwed = 64

func (c *client) userOf(user string) presence.User { return presence.User{NS: c.sid.NS, User: user} }

// look notes that a new filter may be about the presence of users.
func (w *worker) look(c *client, s *sub) {
	user, reads := s.filter.ReadsPresence()
	if !reads {
		return
	}
	if !c.looks.some() {
		w.b.lookers.Add(1)
	}
	if user == "" && s.filter.All {
		c.looks.all = true
		w.gazers.add(c)
		return
	}
	if user == "" {
		c.looks.wild = true
		w.knowers.add(c)
		return
	}
	if c.looks.at == nil {
		c.looks.at = map[string]look{}
	}
	if _, again := c.looks.at[user]; !again {
		c.looks.at[user] = look{sent: -1}
	}
	k := c.userOf(user)
	if w.lookers[k] == nil {
		w.lookers[k] = map[*client]struct{}{}
	}
	w.lookers[k][c] = struct{}{}
}

// unlook forgets whom no filter is about any more.
func (w *worker) unlook(c *client) {
	if !c.looks.some() {
		return
	}
	wild, all, named := false, false, map[string]bool{}
	for _, s := range c.subs {
		if user, reads := s.filter.ReadsPresence(); reads {
			all = all || user == "" && s.filter.All
			wild = wild || user == "" && !s.filter.All
			named[user] = true
		}
	}
	if c.looks.all && !all {
		w.gazers.remove(c)
	}
	c.looks.all = all
	if c.looks.wild && !wild {
		w.knowers.remove(c)
	}
	c.looks.wild = wild
	for user := range c.looks.at {
		if !named[user] {
			delete(c.looks.at, user)
			w.lookAwayFrom(c, user)
		}
	}
	if len(c.looks.at) == 0 {
		c.looks.at = nil
	}
	if !c.looks.some() {
		c.looks = looks{}
		w.b.lookers.Add(-1)
	}
}

func (w *worker) lookAwayFrom(c *client, user string) {
	k := c.userOf(user)
	delete(w.lookers[k], c)
	if len(w.lookers[k]) == 0 {
		delete(w.lookers, k)
	}
}

// giveUsers gives a new subscription, or one that goes on, the presence of those it is about.
func (w *worker) giveUsers(c *client, s *sub) {
	user, reads := s.filter.ReadsPresence()
	switch {
	case !reads, user == "" && s.filter.All: // of everybody it hears what changes
	case user == "":
		w.giveKnown(c)
	default:
		w.ask(c, user, true)
	}
}

// giveKnown gives a client the presence of all it knows. Those of perhaps that it does not know are offline to it.
func (w *worker) giveKnown(c *client, perhaps ...string) {
	w.b.read(func() {
		known, err := w.b.cfg.Calls.Knows(c.sid.NS, c.sid.User)
		if err != nil {
			w.b.log.Error("read whom a user knows", "user", c.sid.User, "err", err)
		}
		w.post(func() {
			if c.gone || !c.looks.wild {
				return
			}
			for _, user := range known {
				w.oweUser(c, user, true)
			}
			for _, user := range perhaps {
				if _, named := c.looks.at[user]; !named && !slices.Contains(known, user) {
					w.loseSight(c, user)
				}
			}
		})
	})
}

// ask finds out whether a client may see a user whose presence it named; one that may get it now is given it, and with give
// one that could before.
func (w *worker) ask(c *client, user string, give bool) {
	id := c.identity()
	w.b.read(func() {
		may, err := w.b.cfg.Calls.SeesUser(id, user)
		if err != nil {
			w.b.log.Error("read who may see a user", "user", user, "err", err)
		}
		w.post(func() {
			l, looks := c.looks.at[user]
			if c.gone || !looks {
				return
			}
			was, online := l.may, l.sent > 0
			if l.may = may; !may {
				l.sent = -1
			}
			c.looks.at[user] = l
			switch {
			case may && (give || !was):
				w.oweUser(c, user, true)
			case !may && online:
				w.loseSight(c, user)
			}
		})
	})
}

// loseSight tells a client that a user it may not see any more is offline: it will hear of no change.
func (w *worker) loseSight(c *client, user string) {
	delete(c.looks.owed, user)
	w.sendUser(c, user, -1, toJSON(calls.NewUserPresence(0, 0)), false)
}

// lookAgain asks about everybody of a namespace ("" = of any) who follows a user by name.
func (w *worker) lookAgain(ns string) {
	for user, clients := range w.lookers {
		if ns != "" && user.NS != ns {
			continue
		}
		for c := range clients {
			w.ask(c, user.User, false)
		}
	}
}

// related looks again at who of two users may see the other.
func (w *worker) related(ns, one, two string) {
	w.parted(ns, one, two)
	for _, pair := range [...][2]string{{one, two}, {two, one}} {
		for c := range w.lookers[presence.User{NS: ns, User: pair[0]}] {
			if c.sid.User == pair[1] {
				w.ask(c, pair[0], false)
			}
		}
		for c := range w.knowers[userKey{ns, pair[0]}] {
			w.giveKnown(c, pair[1])
		}
	}
}

// RelationChanged says that two users have become contacts, or are no more, or that one has blocked the other. Any
// goroutine; it does not wait.
func (b *Broker) RelationChanged(ns, one, two string) {
	for _, w := range b.workers {
		w.post(func() { w.related(ns, one, two) })
	}
}

// sharing looks again at those who follow a user, or are followed by one, whose rooms are others now.
func (w *worker) sharing(changes []storage.MemberChange) {
	if w.b.lookers.Load() == 0 {
		return
	}
	for _, m := range changes {
		for c := range w.lookers[presence.User{NS: m.Room.NS, User: m.User}] {
			w.ask(c, m.User, false)
		}
		for _, c := range w.clientsOf(m.Room.NS, m.User) {
			for user := range c.looks.at {
				w.ask(c, user, false)
			}
		}
	}
}

// clientsOf are the clients of a user on this worker.
func (w *worker) clientsOf(ns, user string) (out []*client) {
	for _, id := range w.b.presence.DevicesOf(presence.User{NS: ns, User: user}) {
		w.b.mu.Lock()
		c := w.b.sessions[id]
		w.b.mu.Unlock()
		if c != nil && c.w == w && !c.gone {
			out = append(out, c)
		}
	}
	return out
}

// toldUser is news of a user, with whom to tell it.
type toldUser struct {
	key     presence.User
	devices int
	payload []byte
	known   []string // whose filter with a wildcard is about the user
}

// userNews tells clients who is online now, and who no more.
func (b *Broker) userNews(news []presence.UserNews) {
	if len(news) == 0 || b.lookers.Load() == 0 {
		return
	}
	told := make([]toldUser, len(news))
	for i, n := range news {
		known, err := b.cfg.Calls.Knows(n.NS, n.User.User)
		if err != nil {
			b.log.Error("read whom a user knows", "user", n.User.User, "err", err)
		}
		told[i] = toldUser{n.User, n.Devices, b.userPayload(n.User, n.Devices, n.Active), known}
	}
	for _, w := range b.workers {
		w.post(func() {
			for i := range told {
				w.userChanged(&told[i])
			}
		})
	}
}

// userPayload is the presence of a user as it is told.
func (b *Broker) userPayload(k presence.User, devices int, active int64) []byte {
	return toJSON(b.userPresence(k, devices, active))
}

func (b *Broker) userPresence(k presence.User, devices int, active int64) calls.UserPresence {
	logged, err := b.cfg.Store.LastActive(k.NS, k.User)
	if err != nil {
		b.log.Error("read a user's last activity", "user", k.User, "err", err)
	}
	p := calls.NewUserPresence(devices, max(active, logged))
	switch u, err := b.cfg.Store.User(k.NS, k.User); {
	case err != nil:
		b.log.Error("read a user", "user", k.User, "err", err)
	case u != nil:
		p.Level = u.Level
	}
	return p
}

func (w *worker) userChanged(n *toldUser) {
	all := map[*client]struct{}{}
	for c := range w.lookers[n.key] {
		if l := c.looks.at[n.key.User]; l.may && l.sent != n.devices { // else it subscribed a moment ago, and knows
			all[c] = struct{}{}
		}
	}
	for _, user := range n.known {
		for c := range w.knowers[userKey{n.key.NS, user}] {
			all[c] = struct{}{}
		}
	}
	for c := range w.gazers[n.key.NS] {
		if mayOversee(c.identity()) {
			all[c] = struct{}{}
		}
	}
	for c := range all {
		switch _, owed := c.looks.owed[n.key.User]; {
		case c.gone || owed || c.looks.most: // it is to get the newest
		case c.conn.Queued() >= w.b.queueRoom():
			w.oweUser(c, n.key.User, false)
		default:
			w.sendUser(c, n.key.User, n.devices, n.payload, false)
		}
	}
}

// sendUser sends the presence of a user.
func (w *worker) sendUser(c *client, user string, devices int, payload []byte, retain bool) {
	if l, named := c.looks.at[user]; named {
		l.sent = devices
		c.looks.at[user] = l
	}
	p := publish{topic: topic.UserTopic(c.sid.NS, user, topic.Presence), payload: payload, retain: retain, text: true}
	w.sendMatched(c, c.subs, &p, func(s *sub) bool { return s.filter.MatchUser(c.sid.NS, user, topic.Presence) })
}

// oweUser notes that a client is to get the presence of a user.
func (w *worker) oweUser(c *client, user string, retain bool) {
	l := &c.looks
	if l.owed == nil {
		l.owed = map[string]bool{}
	}
	if l.owed[user] = retain || l.owed[user]; len(l.owed) > looksOwed && c.conn.Queued() >= w.b.queueRoom() {
		l.owed, l.most = nil, true
	}
	c.dirty()
}

// giveOwedUsers gives a client the presence it is owed, as far as its socket takes it and others have their turn.
func (w *worker) giveOwedUsers(c *client) {
	l := &c.looks
	if l.most && w.hasRoom(c) {
		l.most = false
		for user, at := range l.at {
			if at.may {
				w.oweUser(c, user, false)
			}
		}
		if l.wild {
			w.giveKnown(c)
		}
	}
	turn := 0
	for _, user := range sortedKeys(l.owed) {
		if turn++; turn > valuesTurn {
			c.dirty()
			return
		}
		if !w.hasRoom(c) {
			return
		}
		retain := l.owed[user]
		delete(l.owed, user)
		n, active := w.b.presence.UserNow(c.userOf(user))
		w.sendUser(c, user, n, w.b.userPayload(c.userOf(user), n, active), retain)
	}
	if len(l.owed) == 0 {
		l.owed = nil
	}
}

func sortedKeys(m map[string]bool) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}
