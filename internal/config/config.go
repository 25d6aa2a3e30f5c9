// Package config is the configuration of a node: its keys, where a value may come from, and what is refused.
//
// A value comes from the first of these that has one: a flag (--set and its short forms), the environment
// (MADANG_LISTENERS__MQTT__BIND), the file, the defaults of --dev, the built-in default. Every key is one row of the
// table in keys.go; the strict check of the file, the help, the listing of `madang config` and docs/configuration.md
// are all made from that row.
//
// Load returns what was written, Validate refuses what this build cannot or must not run with, CheckFiles looks at
// the files it names. Every error says which flag, variable or line of the file to change, and matches ErrInvalid.
package config

import "time"

//go:generate go test -run TestMarkdown -update .

// Config is a complete configuration. It is not changed after Load; any number of goroutines may read it.
type Config struct {
	Dev bool // --dev was given

	Node      Node
	Listeners Listeners
	Cluster   Cluster
	Auth      Auth
	Limits    Limits
	Rooms     Rooms
	Search    Search
	Log       Log
	Hooks     Hooks
	Webhooks  []Webhook // of the file; no key of the table

	sources   map[string]Source // by key; absent = the built-in default
	hookLines []int             // where each of Webhooks begins
}

// Search is whether messages are searched.
type Search struct {
	Enabled bool // this node keeps an index
}

// Node is who this process is and where it keeps its data.
type Node struct {
	Name    string
	Role    string // "voter" or "replica"
	Zone    string
	DataDir string
	PidFile string
	IOUring bool // sends to many clients are one system call, where the kernel lets it
}

// Listener is one place where connections are accepted.
type Listener struct {
	Bind           string // host:port; "" = not opened
	CertFile       string // with KeyFile: TLS
	KeyFile        string
	ProxyProtocol  bool     // a PROXY header (v1 or v2) opens every connection from a trusted proxy
	TrustedProxies []string // addresses and networks whose word about the client's address is taken
}

// TLS reports whether the listener speaks TLS.
func (l *Listener) TLS() bool { return l.CertFile != "" }

// Listeners are all places where connections of clients and of the operator are accepted.
type Listeners struct {
	MQTT  Listener
	MQTTS Listener // opened only with a certificate
	Web   Web
	Ops   Ops

	Advertise Advertise
}

// Advertise is how clients reach the listeners, each a host:port or a URL; "" = where it is bound.
type Advertise struct{ MQTT, MQTTS, Web string }

// Web is the listener of WebSocket and HTTP API.
type Web struct {
	Listener
	Origins []string // beside the same origin; see AllowOrigin
}

// Ops is the listener of health, metrics and profiles.
type Ops struct {
	Listener
	TokenFile    string // bearer token asked of every caller
	ClientCAFile string // client certificates asked of every caller
}

// Cluster is how nodes find and trust each other.
type Cluster struct {
	Bind              string
	Advertise         string
	BootstrapExpect   int
	Join              []string
	SecretFile        string
	CertFile          string
	KeyFile           string
	CAFile            string
	SnapshotThreshold int
	TrailingLogs      int
	Heartbeat         time.Duration
}

// Several reports whether the node belongs to a cluster of several, and so opens the port for them.
func (c *Cluster) Several() bool { return c.BootstrapExpect > 1 || len(c.Join) > 0 }

// Reached is host:port by which other nodes reach this one.
func (c *Cluster) Reached() string {
	if c.Advertise != "" {
		return c.Advertise
	}
	return c.Bind
}

// Auth is who may log in, and as whom.
type Auth struct {
	Trust           bool // any user name with any password is that user
	TrustNetwork    bool // everyone who can reach the ports is trusted
	Guest           string
	Admins          []string
	Auditors        []string
	UsersFile       string
	ServiceKeysFile string
	Register        string // "open", "token" or "closed"
	OwnAttributes   []string
	JWT             JWT
	LoginTTL        time.Duration
	GuestTTL        time.Duration
	HashConcurrency int
	BackOff         bool
	PlainTopics     []string
}

// Configured reports whether there is a way to log in that asks for a proof.
func (a *Auth) Configured() bool {
	return !a.Trust && (a.UsersFile != "" || a.ServiceKeysFile != "" || a.Register == "open" || a.JWT.Configured())
}

// JWT is how tokens are checked and, with a shared secret, signed.
type JWT struct {
	HMACSecretFile string
	PublicKeyFile  string
	JWKSURL        string
	Issuer         string
	Audience       string
}

// Configured reports whether tokens can be checked.
func (j *JWT) Configured() bool {
	return j.HMACSecretFile != "" || j.PublicKeyFile != "" || j.JWKSURL != ""
}

// Limits are what one client, one user and one node may cost. 0 = off, for each of them.
type Limits struct {
	Message      int64         // bytes of one message
	Packet       int64         // bytes of one packet that is read at all
	Connect      int64         // bytes of the CONNECT
	AckWait      time.Duration // a publish without an outcome ends the connection after this
	DedupeWindow time.Duration
	DedupeMin    int

	InFlight        int // publishes of one connection without an outcome
	InFlightBytes   int64
	PendingBytes    int64 // publishes of all connections without an outcome
	TailBytes       int64 // newest entries held in memory, all rooms together
	OutboundBytes   int64 // bytes waiting for sockets, all connections together
	ConnectionBytes int64 // bytes waiting for one socket
	Window          int   // deliveries of one connection not yet acknowledged
	QoS0Lag         int
	QoS0LagTime     time.Duration
	Stalled         time.Duration

	RoomsPerUser        int
	Contacts            int
	ContactsPerDay      int
	RoomsPerDay         int
	SessionsPerUser     int
	SessionExpiry       time.Duration
	FiltersPerSubscribe int
	FiltersPerSession   int
	TopicLevels         int
	TopicLength         int
	ClientID            int
	WillDelay           time.Duration
	StateKeys           int
	StateValue          int64

	DiskFree    int64 // below this no writes are taken
	DiskReserve int64 // of disk, given back when there is nothing else left
	// DiskPatience is how long a write may take before the node takes no part in the cluster.
	DiskPatience time.Duration

	Connections           int
	ConnectionsPerAddress int
	ConnectRate           int // new connections per second and address
	Connecting            int // CONNECTs worked on at once
	ConnectQueue          int // and waiting
	FloodRefusals         int // of a device, before it is sent away
	RegisterRate          int // registrations, likewise
	ConnectTimeout        time.Duration
	KeepaliveMin          time.Duration
	KeepaliveMax          time.Duration
	OfUser                Rate
	OfRoom                Rate
	OfAddress             Rate
}

// Rate is what one user, room or address may send in a second. 0 = off.
type Rate struct {
	Messages int
	Bytes    int64
}

// Rooms are the defaults of rooms.
type Rooms struct {
	AutoCreate string // "off", "private" or "public"
	Members    int
	Retention  Retention
	Grace      time.Duration
	LiveTTL    time.Duration
	TypingTTL  time.Duration
}

// Retention is how much of a room's log is kept. 0 = no limit of that kind.
type Retention struct {
	Age   time.Duration
	Count int
	Bytes int64
}

// Log is what the node writes about itself.
type Log struct {
	Level  string
	Format string
}
