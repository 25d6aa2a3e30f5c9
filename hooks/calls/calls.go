package calls

import (
	"context"
	"log/slog"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/madang-chat/madang/hooks/auth"
	"github.com/madang-chat/madang/hooks/before"
	"github.com/madang-chat/madang/hooks/limit"
	"github.com/madang-chat/madang/hooks/quota"
	"github.com/madang-chat/madang/hooks/topic"
	"github.com/madang-chat/madang/storage"
)

// Log takes changes of the replicated state.
type Log interface {
	// Propose never blocks. It calls done once, from any goroutine, with the result or one of this package's errors;
	// any other error means that the outcome is not known. done does not block. cmd is not kept after the call.
	Propose(cmd storage.Command, done func(storage.Result, error))
	// Space returns nil, or, while more waits than should, a channel that is closed when that is over: nothing should be proposed.
	Space() <-chan struct{}
}

// Store is what the calls read of *storage.Store.
type Store interface {
	Room(k storage.RoomKey) (*storage.Room, error)
	Member(k storage.RoomKey, user string) (storage.Member, error)
	Entries(k storage.RoomKey, from, to uint64, limit, maxBytes int) ([]*storage.Entry, error)
	UserRooms(ns, user, after string, limit int) ([]storage.UserRoom, error)
	Collapsed(k storage.RoomKey, e *storage.Entry) (bool, error)
	State(k storage.RoomKey, name string) (*storage.StateValue, error)
	Mark(k storage.RoomKey, user string) (storage.Mark, error)
	UserMarks(ns, user, after string, f func(room string, m storage.Mark) (more bool)) error
	Folds(k storage.RoomKey, from, to uint64) ([]storage.Fold, error)
	EditOf(k storage.RoomKey, f *storage.Fold) (*storage.Entry, error)
	LastMessage(k storage.RoomKey) (last, edit *storage.Entry, err error)
	PublicRooms(ns, after string, look int, match func(room, name string) bool, limit int) (storage.Looked, error)
	Members(k storage.RoomKey, after string, limit int) ([]storage.RoomMember, error)
	Audit(k storage.RoomKey, before uint64, limit int) ([]storage.AuditRecord, error)
	Feed() (first, next uint64, on bool)
	Webhooks() ([]storage.Webhook, error)
	DeadLetters(hook string, after uint64, limit int) ([]storage.DeadLetter, error)
	Search(k storage.RoomKey, f storage.Find, before uint64) (found []*storage.Entry, next uint64, err error)
	RoomKeys(f func(storage.RoomKey) (more bool)) error
	States(k storage.RoomKey, after string, deleted bool, f func(storage.StateValue) (more bool)) error
	Everybody(k storage.RoomKey, after string, limit int) ([]storage.RoomMember, error)
	Reactions(k storage.RoomKey, after storage.UserReaction, limit int) ([]storage.UserReaction, error)
	Import(k storage.RoomKey) (*storage.Imported, error)
	SeqAfter(k storage.RoomKey, pos uint64) (uint64, error)
	Delivered(item uint64) (bool, error)
	User(ns, user string) (*storage.User, error)
	FindUsers(ns, fold, after string, limit int) (storage.FoundUsers, error)
	SessionsOf(ns, user string, limit int) ([]*storage.Session, error)
	Pushes(ns, user string) ([]storage.PushOf, error)
	Applied() (index uint64, logTime int64)
	Now() int64 // log time
	Watch() *storage.Watcher
	People
}

// Tokens issues and checks tokens; *auth.Chain does.
type Tokens interface {
	LoginOn(ctx context.Context, user, password, device string, addr netip.Addr) (string, time.Time, auth.Identity, error)
	GuestToken(name string, ttl time.Duration) (token, user string, expires time.Time, err error)
	Guest() (auth.Identity, error)
	VerifyToken(ctx context.Context, token string) (auth.Identity, error)
	Recheck(id auth.Identity) (auth.Identity, error)
	As(id auth.Identity, login string) (auth.Identity, error)
	Passwords
}

// Config of New. Log, Store and Auth are needed; a zero elsewhere takes the default named beside it, and 0 turns a limit
// off where the comment says so.
type Config struct {
	Log   Log
	Store Store
	Auth  Tokens

	Before           *before.Asker           // asked before a message is taken; nil = nobody is
	DefaultNamespace string                  // "chat"
	Node             string                  // shown by whoami; "" = not shown
	Limits                                   // to begin with; see SetLimits
	AutoCreate       storage.RoomKind        // of a room made by its first message; 0 = off
	RoomMembers      int                     // of a room; 0 = no limit
	Rooms            *quota.Quotas           // what a room takes; nil = no limits
	Refusals         *limit.Refusals         // counts what rpc methods refuse by a limit; nil = nobody does
	Register         string                  // who may register: RegisterOpen, RegisterToken, RegisterClosed (the default)
	Registers        *quota.Quotas           // how often an address may register; nil = no limits
	OwnAttributes    []string                // attributes that users set of themselves; "*" = all but the level
	NoSearch         bool                    // this node has no index of what is searched
	SettleWait       time.Duration           // for a known outcome to be readable here; 3 s
	RPCWait          time.Duration           // for any call by Dispatch; 10 s
	Methods          map[string]Method       // more rpc methods, by name; they win over the built-in ones
	Logger           *slog.Logger            // default: nothing is logged
	Online           Online                  // who is connected; default: nobody
	Relations        Relations               // contacts and blocks; nil = there are none
	Audit            func(audit AuditedRead) // called for reads that only the role admin or auditor allowed; nil = log them
}

// Limits are what may change while the node runs. 0 = no limit, but for those with a default.
type Limits struct {
	Message        int           // largest message in bytes; 256 KiB
	RoomsPerDay    int           // made by first messages, per user
	RoomsPerUser   int           // memberships
	Contacts       int           // of a user, and blocks of a user
	ContactsPerDay int           // added by a user
	StateKeys      int           // of a room
	StateValue     int           // bytes, as sent
	AckWait        time.Duration // for the outcome of a write; 30 s
}

// SetLimits changes the limits for what is called from now on.
func (c *Calls) SetLimits(l Limits) {
	setDefault(&l.Message, defaultMessage)
	setDefault(&l.AckWait, defaultAckWait)
	c.now.Store(&l)
}

// limits are the limits as they are now. They are not changed in place.
func (c *Calls) limits() *Limits { return c.now.Load() }

// AuditedRead is a read of a room that the reader is no member of.
type AuditedRead struct {
	Reader auth.Identity
	Room   storage.RoomKey
}

// Calls answers calls. It is safe for concurrent use.
type Calls struct {
	cfg     Config
	log     *slog.Logger
	now     atomic.Pointer[Limits]
	settled settled
	follows follows
	spares  spares
}

const (
	defaultMessage    = 256 << 10
	defaultAckWait    = 30 * time.Second
	defaultSettleWait = 3 * time.Second
	defaultRPCWait    = 10 * time.Second
)

// New returns calls over what cfg names. There is nothing to close: no goroutine outlives the call that needed it.
func New(cfg Config) *Calls {
	setDefault(&cfg.DefaultNamespace, topic.DefaultNamespace)
	setDefault(&cfg.SettleWait, defaultSettleWait)
	setDefault(&cfg.RPCWait, defaultRPCWait)
	setDefault(&cfg.Register, RegisterClosed)
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	c := &Calls{cfg: cfg, log: cfg.Logger.With("component", "calls")}
	c.SetLimits(cfg.Limits)
	c.settled.watch, c.follows.watch = cfg.Store.Watch, cfg.Store.Watch
	if c.cfg.Online == nil {
		c.cfg.Online = nobody{}
	}
	if c.cfg.Audit == nil {
		c.cfg.Audit = func(a AuditedRead) {
			c.log.Info("audit: room read without membership", "reader", a.Reader, "room", a.Room.NS+"/"+a.Room.Room)
		}
	}
	return c
}

// MaxMessage is the largest message in bytes, as sent.
func (c *Calls) MaxMessage() int { return c.limits().Message }

// AckWait is how long a write waits for its outcome.
func (c *Calls) AckWait() time.Duration { return c.limits().AckWait }

// ActorOf is the identity as commands carry it.
func ActorOf(id auth.Identity) storage.Actor {
	return storage.Actor{User: id.User, Name: id.Name, Level: id.Level, Admin: id.Admin, Guest: id.Guest}
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
