package hooks

import (
	"errors"

	"github.com/madang-chat/madang/hooks/auth"
	"github.com/madang-chat/madang/hooks/envelope"
	"github.com/madang-chat/madang/hooks/problem"
	"github.com/madang-chat/madang/hooks/topic"
	"github.com/madang-chat/madang/storage"
)

// MaxLive is the largest payload of a live value, in bytes.
const MaxLive = 4096

// Publish is a PUBLISH, or a will, as the rules see it. The strings and the payload may be kept.
type Publish struct {
	From     auth.Identity
	Device   string // client id
	Topic    string // alias resolved
	Payload  []byte
	CID      string // v5 user property
	Expiry   uint32 // v5 Message Expiry Interval, seconds
	Dup      bool
	PacketID uint16 // 0 for QoS 0
	Epoch    uint64 // of the stored session, 0 = none
}

// Action is what a publish comes to. Exactly one field is set.
type Action struct {
	Append *storage.Append
	Live   *Live
	Call   *Call
	Mark   *storage.MarkOf
	State  *storage.SetState
	Cheer  *Cheer
}

// Cheer is one of many that are counted and never stored.
type Cheer struct {
	Room storage.RoomKey
	Name string
}

// Live is a value that is passed on and never stored.
type Live struct {
	Room    storage.RoomKey
	Name    string
	User    string
	Payload []byte
}

// Call is an rpc: its method, and the payload as sent.
type Call struct {
	Method  string
	Payload []byte
}

// Posting knows the rules of messages, which HTTP and MQTT share. Its errors are problems.
type Posting interface {
	// MayPost says why id may not post to the room, whatever the message is.
	MayPost(id auth.Identity, room string) error
	// DraftState makes the command of a state value, or says why it may not be set. An empty payload deletes the key. Of opt
	// it takes the expiry, which no value may have.
	DraftState(id auth.Identity, room, key string, payload []byte, opt envelope.Options) (*storage.SetState, error)
	// ParseMark reads a read mark, or says why it is none.
	ParseMark(id auth.Identity, room string, payload []byte) (storage.MarkOf, error)
	// DraftBroadcast makes the command of a broadcast, or says why it may not be sent.
	DraftBroadcast(id auth.Identity, typ string, payload []byte, opt envelope.Options) (*storage.Append, error)
	// Draft makes the command of a payload, or says why it may not be posted. The command does not alias the payload.
	Draft(id auth.Identity, room, typ string, payload []byte, opt envelope.Options) (*storage.Append, error)
}

// Publishing holds the rules of writing. Its fields are fixed before use; any number of goroutines may call Decide.
type Publishing struct {
	Access  Access
	Posting Posting
}

// Decide says what p comes to, or why it is refused. It changes nothing and does not wait.
func (r *Publishing) Decide(p *Publish) (Action, *problem.Problem) {
	t, bad := topic.ParsePublish(p.Topic)
	if bad != nil {
		if p.From.Guest {
			return Action{}, problem.New(problem.GuestReadOnly, "")
		}
		return Action{}, bad
	}
	if t.Namespace != p.From.Namespace {
		return Action{}, problem.New(problem.Forbidden, "You are in namespace %s and write only there.", p.From.Namespace)
	}
	if t.Kind == topic.RPC {
		return Action{Call: &Call{Method: t.Method, Payload: p.Payload}}, nil
	}
	if t.Kind != topic.Broadcast && !p.From.May(auth.ScopeSendAs) {
		return Action{}, problem.New(problem.Forbidden, "To write a service key needs the scope %s; this one has %s.", auth.ScopeSendAs, p.From.Scopes)
	}
	k := storage.RoomKey{NS: t.Namespace, Room: t.Room}
	switch t.Kind {
	case topic.Send:
		return r.send(p, k, t.Type)
	case topic.UserSend:
		if p.From.Guest {
			return Action{}, problem.New(problem.GuestReadOnly, "")
		}
		if t.User == p.From.User {
			return Action{}, problem.New(problem.BadPayload, "A direct room has two users; this is your own name.")
		}
		k.Room = topic.DirectRoom(p.From.User, t.User)
		return r.send(p, k, t.Type)
	case topic.Broadcast:
		a, err := r.Posting.DraftBroadcast(p.From, t.Type, p.Payload, envelope.Options{CID: p.CID, MessageExpiry: p.Expiry})
		return p.from(a, err)
	case topic.Live:
		return r.live(p, k, t)
	case topic.Cheer:
		if p.From.Guest {
			if err := r.Posting.MayPost(p.From, k.Room); err != nil {
				return Action{}, refusal(err)
			}
		}
		if bad := r.Access.mayWriteLive(p.From, k); bad != nil {
			return Action{}, bad
		}
		return Action{Cheer: &Cheer{Room: k, Name: t.Name}}, nil
	case topic.State:
		s, err := r.Posting.DraftState(p.From, k.Room, t.Key, p.Payload, envelope.Options{MessageExpiry: p.Expiry})
		if err != nil {
			return Action{}, refusal(err)
		}
		s.Session, s.Epoch = p.Device, p.Epoch
		return Action{State: s}, nil
	case topic.Read:
		m, err := r.Posting.ParseMark(p.From, k.Room, p.Payload)
		if err != nil {
			return Action{}, refusal(err)
		}
		return Action{Mark: &m}, nil
	default:
		if p.From.Guest {
			return Action{}, problem.New(problem.GuestReadOnly, "")
		}
		return Action{}, problem.New(problem.Unsupported, "%s topics are not offered yet.", t.Kind)
	}
}

func (r *Publishing) send(p *Publish, k storage.RoomKey, typ string) (Action, *problem.Problem) {
	a, err := r.Posting.Draft(p.From, k.Room, typ, p.Payload, envelope.Options{CID: p.CID, MessageExpiry: p.Expiry})
	return p.from(a, err)
}

// from makes the action of a drafted message: what it is known by comes with the PUBLISH.
func (p *Publish) from(a *storage.Append, err error) (Action, *problem.Problem) {
	if err != nil {
		return Action{}, refusal(err)
	}
	a.Device, a.Epoch, a.Dup, a.PacketID = p.Device, p.Epoch, p.Dup, p.PacketID
	return Action{Append: a}, nil
}

func (r *Publishing) live(p *Publish, k storage.RoomKey, t topic.Publish) (Action, *problem.Problem) {
	if p.From.Guest {
		if err := r.Posting.MayPost(p.From, k.Room); err != nil {
			return Action{}, refusal(err)
		}
	}
	if bad := r.Access.mayWriteLive(p.From, k); bad != nil {
		return Action{}, bad
	}
	if t.User != p.From.User {
		return Action{}, problem.New(problem.Forbidden, "A live value ends in its writer's name; yours is %s.", p.From.User)
	}
	if len(p.Payload) > MaxLive {
		return Action{}, problem.New(problem.TooLarge, "A live value has at most %d bytes, this one has %d.", MaxLive, len(p.Payload))
	}
	return Action{Live: &Live{Room: k, Name: t.Name, User: t.User, Payload: p.Payload}}, nil
}

// refusal is the problem in err. An error that is none is a fault of the broker.
func refusal(err error) *problem.Problem {
	if p := (*problem.Problem)(nil); errors.As(err, &p) {
		return p
	}
	return problem.New(problem.Internal, "")
}
