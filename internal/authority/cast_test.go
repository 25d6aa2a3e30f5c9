package authority

import (
	"testing"

	"github.com/madang-chat/madang/internal/mqtttest"
	"github.com/madang-chat/madang/internal/testcluster"
	"github.com/madang-chat/madang/internal/webtest"
	"github.com/madang-chat/madang/storage"
)

// role is somebody by what they are to the rooms of the stage.
type role string

const (
	owner    role = "owner"
	operator role = "operator"
	member   role = "member"
	muted    role = "muted"
	banned   role = "banned"
	stranger role = "stranger" // a user who has joined nothing
	guest    role = "guest"    // of no name
	known    role = "known"    // a guest with a token
	admin    role = "admin"
	auditor  role = "auditor"
	foreign  role = "foreign" // a user of another namespace
	alien    role = "alien"   // the admin of another namespace
)

var cast = []role{owner, operator, member, muted, banned, stranger, guest, known, admin, auditor, foreign, alien}

// isGuest reports whether nothing is kept of the role.
func (r role) isGuest() bool { return r == guest || r == known }

// outside reports whether the role belongs to another namespace.
func (r role) outside() bool { return r == foreign || r == alien }

func (r role) login() string {
	switch r {
	case guest:
		return ""
	case known:
		return "-"
	case foreign:
		return "other/foreign"
	case alien:
		return "other/admin"
	}
	return string(r)
}

// hall is a room by its rules.
type hall string

const (
	public  hall = "public"
	private hall = "private"
	frozen  hall = "frozen" // public
	open    hall = "open"   // public, guests write
	closed  hall = "closed" // public, without guests
	direct  hall = "dm~member~owner"
	nowhere hall = "nowhere" // there is no such room
)

var halls = []hall{public, private, frozen, open, closed, direct, nowhere}

// stage is a node with the rooms, and a message of the owner in each.
type stage struct {
	*testcluster.Node
	t      testing.TB
	tokens map[role]string // for HTTP
	first  map[hall]uint64 // seq of the owner's message
	made   int             // rooms made by calls
}

func newStage(t testing.TB, set ...string) *stage {
	n := testcluster.Start(t, testcluster.Options{Set: append(set, "rooms.auto_create=off", "auth.auditors=chat/"+string(auditor))})
	s := &stage{Node: n, t: t, tokens: map[role]string{}, first: map[hall]uint64{}}
	for _, r := range cast {
		s.tokens[r] = s.token(r)
	}
	s.must(admin, "POST /users", map[string]any{"user": registered, "password": "a password"})
	for _, h := range halls {
		if h != nowhere {
			s.furnish(h)
		}
	}
	return s
}

func (s *stage) token(r role) string {
	switch r {
	case guest:
		return ""
	case known:
		return s.must(guest, "POST /auth/guest", map[string]any{"name": "Zoe"})["token"].(string)
	}
	return s.must(guest, "POST /auth/login", map[string]any{"user": r.login(), "password": "x"})["token"].(string)
}

func (s *stage) furnish(h hall) {
	in := func(more ...any) map[string]any {
		p := map[string]any{"room": string(h)}
		for i := 0; i < len(more); i += 2 {
			p[more[i].(string)] = more[i+1]
		}
		return p
	}
	if h == direct {
		s.first[h] = s.post(owner, h, "the first")
		s.post(member, h, "the second")
		s.must(owner, "PUT /rooms/{room}/state/{key}", in("key", "k", "data", 0))
		return
	}
	kind := "public"
	if h == private {
		kind = "private"
	}
	s.must(owner, "POST /rooms", in("kind", kind))
	for _, r := range []role{operator, member, muted, banned} {
		s.must(owner, "POST /rooms/{room}/invite", in("user", string(r)))
	}
	s.must(owner, "POST /rooms/{room}/role", in("user", string(operator), "role", "operator"))
	s.must(owner, "POST /rooms/{room}/mute", in("user", string(muted)))
	s.must(owner, "POST /rooms/{room}/ban", in("user", string(banned)))
	s.first[h] = s.post(owner, h, "the first")
	s.must(owner, "PUT /rooms/{room}/state/{key}", in("key", "k", "data", 0))
	switch h {
	case frozen:
		s.must(owner, "POST /rooms/{room}/freeze", in())
	case open:
		s.must(owner, "PATCH /rooms/{room}", in("guest", "write"))
	case closed:
		s.must(owner, "PATCH /rooms/{room}", in("guest", "none"))
	}
}

// post says something and returns its seq.
func (s *stage) post(r role, h hall, text string) uint64 {
	s.t.Helper()
	return uint64(s.must(r, "POST /rooms/{room}/messages", map[string]any{"room": string(h), "data": map[string]any{"text": text}})["seq"].(float64))
}

// must is ask that must be answered with a success.
func (s *stage) must(r role, op string, params map[string]any) map[string]any {
	s.t.Helper()
	status, body := s.ask(r, op, params)
	if status >= 300 {
		s.t.Fatalf("%s: %s %v: %d %v", r, op, params, status, body)
	}
	return body
}

// ask makes an HTTP call.
func (s *stage) ask(r role, op string, params map[string]any) (status int, answer map[string]any) {
	s.t.Helper()
	return webtest.Caller{Addr: s.Addr("web"), Token: s.tokens[r]}.Ask(s.t, op, params)
}

// dial connects a role, whose client hears what comes of what it does.
func (s *stage) dial(r role, as mqtttest.Flavour, change ...func(*mqtttest.Options)) *mqtttest.Client {
	s.t.Helper()
	o := mqtttest.Options{Flavour: as, User: r.login(), ClientID: string(r) + "-" + as.String()}
	if r == known {
		o.Password = s.tokens[r]
	}
	for _, f := range change {
		f(&o)
	}
	return mqtttest.Dial(s.t, s.At(), o)
}

// namespace is the role's own.
func (r role) namespace() string {
	if r.outside() {
		return "other"
	}
	return "chat"
}

// head is the newest seq of a room.
func (s *stage) head(h hall) uint64 {
	s.t.Helper()
	room, err := s.Store().Room(storage.RoomKey{NS: "chat", Room: string(h)})
	if err != nil {
		s.t.Fatal(err)
	}
	if room == nil {
		return 0
	}
	return room.Head.Seq
}
