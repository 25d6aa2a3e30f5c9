// Package app builds a whole node out of its parts, starts and stops it. Command madang runs one; tests run several in
// one process.
//
//	 clients                                        operators
//	    |                                               |
//	transport.Listener (mqtt, mqtts, web)          ops listener
//	    |            \                                  |
//	 broker.Broker   api.Handler                   api.Ops
//	    |    \          |                               |
//	    |   hooks.Publishing, calls.Calls, auth.Chain   |
//	    |         |                                     |
//	 broker.Commands (a log of commands)                |
//	    |                                               |
//	 cluster.Node (raft) --applies to--> storage.Store -+
//
// Built from the bottom up, stopped from the top down.
package app

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/madang-chat/madang/broker"
	"github.com/madang-chat/madang/broker/transport"
	"github.com/madang-chat/madang/cluster"
	"github.com/madang-chat/madang/hooks"
	"github.com/madang-chat/madang/hooks/auth"
	"github.com/madang-chat/madang/hooks/before"
	"github.com/madang-chat/madang/hooks/calls"
	"github.com/madang-chat/madang/hooks/limit"
	"github.com/madang-chat/madang/hooks/webhook"
	"github.com/madang-chat/madang/internal/clock"
	"github.com/madang-chat/madang/internal/config"
	"github.com/madang-chat/madang/internal/roster"
	"github.com/madang-chat/madang/storage"
)

// Options are what a test may exchange of a node's surroundings.
type Options struct {
	Logger  *slog.Logger
	Version string       // told to clients and operators
	FS      vfs.FS       // of the store; nil = the operating system's
	Disk    cluster.Disk // of the log; nil = the operating system's
	// Clock is the wall clock that log time follows; nil = the machine's.
	Clock func() time.Time
	// ShortLog keeps of the log what cluster.trailing_logs says and no more, and cuts it at once: who was away for a moment
	// needs a snapshot.
	ShortLog bool
	// Usage returns the free and all bytes of the disk of a directory; nil = of FS.
	Usage func(dir string) (free, total uint64, err error)
	// Dial makes connections to other nodes; nil = the operating system's.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// App is one node. Start it once, Stop it once.
type App struct {
	cfg     *config.Config
	log     *slog.Logger
	version string

	files   int              // the store may have open
	fit     int              // connections of clients there may be, whatever the configuration says
	places  *transport.Total // for them, and for some that are refused
	roster  *roster.Roster
	giveWay chan struct{} // 1-buffered: look whether this node leads and should not

	store    *storage.Store
	node     *cluster.Node
	auth     *auth.Chain
	calls    *calls.Calls
	rules    *hooks.Publishing
	webhooks *webhook.Hooks
	people   *webhook.People
	before   *before.Asker
	broker   *broker.Broker
	metrics  *prometheus.Registry
	quotas   quotas
	refusals *limit.Refusals
	limited  atomic.Pointer[config.Config] // whose limits are in effect
	secret   atomic.Pointer[[]byte]
	closing  atomic.Bool // the log takes nothing any more
	full     atomic.Bool // the disk is nearly full

	leaderLost atomic.Pointer[time.Time] // nil = a leader is known
	space      space

	listeners map[string]*transport.Listener
	web       *webServer
	ops       *webServer

	ctx     context.Context // ends when Stop begins to take the node down
	cancel  context.CancelFunc
	running sync.WaitGroup
	failed  chan error
	dead    atomic.Pointer[error] // what ends the process
	ready   chan struct{}         // closed when the node may serve
	stop    sync.Once
	stopErr error

	closers []closer // run backwards by Stop
}

type closer struct {
	name string
	f    func(ctx context.Context) error
}

func (a *App) onStop(name string, f func(ctx context.Context) error) {
	a.closers = append(a.closers, closer{name, f})
}

// New opens the node's data and its ports. On an error everything opened is closed again.
func New(cfg *config.Config, o Options) (app *App, err error) {
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	a := &App{
		cfg: cfg, log: o.Logger, version: o.Version, failed: make(chan error, 1), ready: make(chan struct{}),
		giveWay:   make(chan struct{}, 1),
		listeners: map[string]*transport.Listener{}, metrics: prometheus.NewRegistry(), refusals: new(limit.Refusals),
	}
	a.limited.Store(cfg)
	a.ctx, a.cancel = context.WithCancel(context.Background())
	defer func() {
		if err != nil {
			err = errors.Join(a.space.explain(err), a.Stop(context.Background()))
		}
	}()
	for _, step := range []func(*Options) error{a.openFiles, a.openData, a.openRules, a.openPorts} {
		if err := step(&o); err != nil {
			return nil, err
		}
	}
	a.register()
	return a, nil
}

// openData opens the store and the log over it.
func (a *App) openData(o *Options) error {
	dir := a.cfg.Node.DataDir
	so := storage.Options{
		Dir: filepath.Join(dir, storeDir), FS: o.FS, TailBytes: a.cfg.Limits.TailBytes, Files: a.files,
		Logger: a.log.With("component", "storage"),
		Fatal: func(line error) {
			a.fail(line)
			<-a.ctx.Done() // Pebble must not go on; the process is about to end
			select {}
		},
	}
	if o.FS == nil {
		so.FS = vfs.Default
		if err := a.lockData(dir); err != nil {
			return err
		}
	}
	if err := so.FS.MkdirAll(dir, 0o750); err != nil {
		return dataError(dir, err)
	}
	if o.FS == nil {
		if err := checkRecovered(dir); err != nil {
			return dataError(dir, err)
		}
	}
	if err := a.openSpace(dir, so.FS, o); err != nil {
		return err
	}
	store, err := a.openStore(so)
	if err != nil {
		return dataError(dir, err)
	}
	a.store = store
	a.onStop("store", within(store.Close))

	cc := cluster.DefaultConfig(filepath.Join(dir, logDir), a.nodeName())
	cc.Logger, cc.Disk = a.log, o.Disk
	if o.ShortLog {
		cc.SnapshotInterval, cc.KeepLogBytes, cc.SegmentBytes = 50*time.Millisecond, 0, 16<<10
	}
	if o.Clock != nil {
		began := clock.Now()
		cc.Clock, cc.Monotonic = o.Clock, func() time.Duration { return clock.Since(began) }
	}
	if n := a.cfg.Cluster.SnapshotThreshold; n > 0 {
		cc.SnapshotThreshold = uint64(n)
	}
	if n := a.cfg.Cluster.TrailingLogs; n > 0 {
		cc.TrailingLogs = uint64(n)
	}
	cc.PendingBytes = pendingBytes(&a.cfg.Limits)
	cc.DiskPatience = a.cfg.Limits.DiskPatience
	cc.MaxEntryBytes = entryBytes(a.cfg.Limits.Message, cc.MaxEntryBytes)
	if err := a.openCluster(&cc, o); err != nil {
		return err
	}
	node, err := cluster.Open(cc, store)
	if err != nil {
		return dataError(dir, errors.Join(err, closePort(cc.Port)))
	}
	a.node = node
	store.Clock(node.LogTime)
	a.onStop("log", func(ctx context.Context) error {
		a.closing.Store(true)
		return node.Close(ctx)
	})
	return nil
}

// mostEntry is the largest entry that package cluster takes. No message is larger where limits.message is off.
const mostEntry = 16 << 20

// entryBytes is the largest entry of the log: usual, or enough for a message of the largest size. As JSON a message may
// grow to twice its size and more; one that still does not fit is refused as too_large.
func entryBytes(message int64, usual int) int {
	const around = 64 << 10 // of a message: who, where, cid, mentions
	if message <= 0 {
		return mostEntry
	}
	return min(max(int(2*message+around), usual), mostEntry)
}

// commands is the log as the rules know it.
func (a *App) commands() commandLog {
	return commandLog{broker.Commands{Node: a.node}, &a.closing, &a.full}
}

func dataError(dir string, err error) error {
	return fmt.Errorf("open the data in %s: %w", dir, err)
}

func (a *App) nodeName() string { return nodeName(a.cfg) }

func nodeName(c *config.Config) string {
	if c.Node.Name != "" {
		return c.Node.Name
	}
	if h, err := os.Hostname(); err == nil && h != "" {
		return h
	}
	return "madang"
}

// openRules makes what decides and answers: who may log in, what may be written, what can be called.
func (a *App) openRules(*Options) error {
	c := a.cfg
	chain, err := auth.New(a.ctx, auth.Config{
		Trust: c.Auth.Trust, UsersFile: c.Auth.UsersFile, Guest: c.Auth.Guest, Admins: c.Auth.Admins, Auditors: c.Auth.Auditors,
		Accounts: a.store, ServiceKeysFile: c.Auth.ServiceKeysFile,
		BackOff: c.Auth.BackOff, HashConcurrency: c.Auth.HashConcurrency, LoginTTL: c.Auth.LoginTTL, GuestTTL: c.Auth.GuestTTL,
		JWT: auth.JWTConfig{
			HMACSecretFile: c.Auth.JWT.HMACSecretFile, PublicKeyFile: c.Auth.JWT.PublicKeyFile, JWKSURL: c.Auth.JWT.JWKSURL,
			Issuer: c.Auth.JWT.Issuer, Audience: c.Auth.JWT.Audience,
		},
		Logger: a.log,
	}, a.tokenSecret)
	if err != nil {
		return err
	}
	a.auth = chain
	a.onStop("auth", func(context.Context) error { chain.Close(); return nil })

	if err := a.openWebhooks(); err != nil {
		return err
	}
	a.roster = roster.New(a.tellsOfItself)
	log := a.commands()
	a.quotas = newQuotas(&c.Limits)
	kind, _ := storage.ParseRoomKind(c.Rooms.AutoCreate)
	a.calls = calls.New(calls.Config{
		Log: quorumLog{log, &a.leaderLost}, Store: a.store, Auth: chain, Before: a.before, Node: a.nodeName(), AutoCreate: kind,
		Limits: callLimits(&c.Limits), RoomMembers: c.Rooms.Members, Rooms: a.quotas.rooms, Refusals: a.refusals,
		NoSearch: !c.Search.Enabled, Logger: a.log, Online: online{a}, Relations: a.store,
		Register: c.Auth.Register, Registers: a.quotas.registers, OwnAttributes: c.Auth.OwnAttributes,
	})
	a.rules = &hooks.Publishing{Access: hooks.Access{Rooms: a.store}, Posting: a.calls}
	var peers broker.Peers // none for a node alone: it has nobody to tell
	if c.Cluster.Several() {
		peers = a.node.Peers()
	}
	a.broker = broker.New(broker.Config{
		Node: a.nodeName(), Boot: a.node.Boot(), Store: a.store, Log: log, Peers: peers, Auth: chain, Calls: a.calls, Before: a.before,
		UserNews: a.people.Changed,
		Ready:    a.ready, Elsewhere: a.roster.Elsewhere,
		Rules:  a.rules,
		Quotas: a.quotas.users, Addresses: a.quotas.addresses, Logins: a.quotas.logins, Refusals: a.refusals,
		Limits: a.brokerLimits(c), Logger: a.log.With("component", "broker"), Alone: !c.Node.IOUring,
	})
	return nil
}

// tokenSecretName names the cluster-wide secret that signs the tokens the broker issues.
const (
	tokenSecretName  = "token"
	tokenSecretBytes = 32
)

// tokenSecret is the cluster's secret for tokens, nil until the log has one.
func (a *App) tokenSecret() []byte {
	if v := a.secret.Load(); v != nil {
		return *v
	}
	v, err := a.store.Secret(tokenSecretName)
	if err != nil || v == nil {
		return nil
	}
	a.secret.Store(&v)
	return v
}

// Start serves. It returns at once; Ready tells when clients are answered.
func (a *App) Start() {
	a.broker.Start()
	a.node.Peers().Listen(a.hearing())
	for name, l := range a.listeners {
		a.running.Go(func() {
			if err := l.Serve(a.ctx, a.broker.Serve); err != nil && a.ctx.Err() == nil {
				a.log.Error("listener ended", "listener", name, "err", err)
			}
		})
	}
	a.web.start(a)
	a.ops.start(a)
	duties := &broker.Duties{
		Store: a.store, Log: a.commands(), Leader: a.node, Logger: a.log.With("component", "duties"),
		Retention: broker.Retention{
			Age: a.cfg.Rooms.Retention.Age, Count: uint64(a.cfg.Rooms.Retention.Count), Bytes: uint64(a.cfg.Rooms.Retention.Bytes),
		},
		Dedupe: a.dedupe,
	}
	a.running.Go(func() { duties.Run(a.ctx) })
	deletions := &broker.Deletions{Store: a.store, Log: a.commands(), Leader: a.node, Logger: a.log.With("component", "deletions")}
	a.running.Go(func() { deletions.Run(a.ctx) })
	a.running.Go(func() { a.webhooks.Run(a.ctx) })
	a.running.Go(func() { a.people.Run(a.ctx) })
	a.running.Go(a.becomeReady)
	a.running.Go(a.watchSpace)
	a.running.Go(a.watchQuorum)
	a.running.Go(a.watchStalls)
	a.running.Go(a.giveLeadershipAway)
	a.running.Go(a.watchLog)
	a.running.Go(a.keepIndex)
	if a.cfg.Cluster.Several() {
		a.running.Go(a.tellRoster)
	}
}

// becomeReady registers the boot in the log, makes what --dev promises and the secret of a new cluster, and opens the doors.
func (a *App) becomeReady() {
	first := []storage.Command{&storage.NodeUp{Node: a.nodeName(), Boot: a.node.Boot()}}
	if a.tokenSecret() == nil {
		secret := make([]byte, tokenSecretBytes)
		_, _ = rand.Read(secret)                                                     // never fails (crypto/rand)
		first = append(first, &storage.Secret{Name: tokenSecretName, Value: secret}) // the first one ever proposed stays
	}
	if a.cfg.Dev {
		first = append(first, &storage.RoomCreate{Room: Lobby, Kind: storage.Public})
	}
	log := broker.Commands{Node: a.node} // also on a disk that is nearly full: it is little, and not again
	wait := []<-chan struct{}{a.node.Ready()}
	for _, cmd := range first {
		done := make(chan struct{})
		log.Propose(cmd, func(storage.Result, error) { close(done) })
		wait = append(wait, done)
	}
	for _, c := range wait {
		select {
		case <-c:
		case <-a.ctx.Done():
			return
		}
	}
	close(a.ready)
}

// Lobby is the room that --dev makes.
var Lobby = storage.RoomKey{NS: "chat", Room: "lobby"}

// Ready is closed when the node answers clients.
func (a *App) Ready() <-chan struct{} { return a.ready }

// Failed yields the error after which the node cannot go on; the process should end with it.
func (a *App) Failed() <-chan error { return a.failed }

func (a *App) fail(err error) {
	err = a.space.explain(err)
	a.dead.CompareAndSwap(nil, &err)
	select {
	case a.failed <- err:
	default:
	}
}

// Addr returns where a listener (mqtt, mqtts, web, ops) listens, or where other nodes reach this one (cluster), "" when it is not open.
func (a *App) Addr(name string) string {
	if l := a.listeners[name]; l != nil {
		return l.Addr().String()
	}
	for _, s := range []*webServer{a.web, a.ops} {
		if s != nil && s.name == name {
			return s.listener.Addr().String()
		}
	}
	if name == "cluster" && a.cfg.Cluster.Several() {
		return a.cfg.Cluster.Reached()
	}
	return ""
}

// Store and Node are for tests and tools.
func (a *App) Store() *storage.Store { return a.store }

// Node returns the node's log.
func (a *App) Node() *cluster.Node { return a.node }

// Broker returns the node's broker.
func (a *App) Broker() *broker.Broker { return a.broker }

// Reload takes over what a new configuration may change while running: certificates, users, keys. An error leaves
// everything as it was for the part it names.
func (a *App) Reload() error {
	var errs []error
	for _, l := range a.listeners {
		errs = append(errs, l.ReloadCertificate())
	}
	for _, s := range []*webServer{a.web, a.ops} {
		if s != nil {
			errs = append(errs, s.listener.ReloadCertificate())
		}
	}
	errs = append(errs, a.auth.Reload())
	a.broker.Recheck()
	return errors.Join(errs...)
}

// Stop takes the node down: no new connections, answers that are known go out, v5 clients are told, the log is closed
// after the last place was written. It returns when nothing of the node runs; ctx bounds the polite part.
func (a *App) Stop(ctx context.Context) error {
	a.stop.Do(func() {
		var errs []error
		for _, c := range slices.Backward(a.closers) {
			if c.f != nil {
				if err := c.f(ctx); err != nil {
					errs = append(errs, fmt.Errorf("stop %s: %w", c.name, err))
				}
			}
		}
		a.cancel()
		a.stopErr = errors.Join(errs...)
	})
	return a.stopErr
}

// prefixes parses networks; the configuration has been checked.
func prefixes(all []string) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range all {
		if p, err := config.ParseNetwork(s); err == nil {
			out = append(out, p)
		}
	}
	return out
}

// stopGrace bounds how long HTTP requests in hand may take at the end.
const stopGrace = 2 * time.Second
