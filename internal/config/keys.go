package config

import (
	"strings"
	"time"
)

// Key is one configuration key: everything known about it, in one place.
type Key struct {
	Name    string   // as written in the file, levels joined by dots
	Default string   // as it would be written; "" = empty
	Dev     *string  // default with --dev, where it differs
	OneOf   []string // the only values, where there are only some
	Doc     string   // one sentence or two, for help and documentation
	Reload  bool     // takes effect on SIGHUP; otherwise with the next start
	Min     int64    // least number allowed
	Over    string   // of a limit: what becomes of what is over it; "" = nothing is refused by it
	Shown   string   // of a limit: where in the CONNACK a v5 client is told of it; "" = nowhere
	Later   string   // why this build refuses any other value than the default; "" = it does not

	field func(*Config) any // pointer to the value in a Config; its type decides how the text is read
}

// Env returns the environment variable of the key.
func (k *Key) Env() string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(k.Name, ".", "__"))
}

// Number returns the value of a limit in c as metrics have it: durations in seconds.
func (k *Key) Number(c *Config) float64 {
	switch v := k.field(c).(type) {
	case *int:
		return float64(*v)
	case *int64:
		return float64(*v)
	case *time.Duration:
		return v.Seconds()
	}
	return 0
}

// Section returns the part of the name before its first dot.
func (k *Key) Section() string {
	s, _, _ := strings.Cut(k.Name, ".")
	return s
}

// Keys returns all keys in the order of the documentation. The caller must not change them.
func Keys() []*Key { return table }

// Lookup returns the key of that name, nil when there is none.
func Lookup(name string) *Key { return byName[name] }

const envPrefix = "MADANG_"

var byName = make(map[string]*Key, len(table))

func init() {
	for _, k := range table {
		byName[k.Name] = k
	}
}

var table = func() []*Key {
	keys := []*Key{
		{
			Name: "node.name", field: func(c *Config) any { return &c.Node.Name },
			Doc: "Name of this node, its id in the cluster. Empty: the host name.",
		},
		{
			Name: "node.role", Default: "voter", OneOf: []string{"voter", "replica"},
			field: func(c *Config) any { return &c.Node.Role },
			Doc:   "A voter takes part in commits; a replica only serves clients.",
		},
		{
			Name: "node.zone", field: func(c *Config) any { return &c.Node.Zone },
			Doc: "Where the node stands, a data centre for instance. Clients that name it are sent to nodes of it first.",
		},
		{
			Name: "node.data_dir", Default: "/var/lib/madang", Dev: new("./madang-data"),
			field: func(c *Config) any { return &c.Node.DataDir },
			Doc:   "Directory of everything the node stores (flag --data-dir).",
		},
		{
			Name: "node.pid_file", field: func(c *Config) any { return &c.Node.PidFile },
			Doc: "File that holds the process id while the node runs (flag --pid-file).",
		},
		{
			Name: "node.io_uring", Default: "true", field: func(c *Config) any { return &c.Node.IOUring },
			Doc: "Where the kernel lets it (Linux 5.17), what goes to many clients at once takes one system call for up to 32 of them.",
		},
	}
	keys = append(keys, listenerKeys("mqtt", "127.0.0.1:1883", "MQTT over TCP",
		func(c *Config) *Listener { return &c.Listeners.MQTT })...)
	keys = append(keys, advertiseKey("mqtt", func(a *Advertise) *string { return &a.MQTT }))
	keys = append(keys, listenerKeys("mqtts", "127.0.0.1:8883", "MQTT over TLS, opened only with a cert_file",
		func(c *Config) *Listener { return &c.Listeners.MQTTS })...)
	keys = append(keys, advertiseKey("mqtts", func(a *Advertise) *string { return &a.MQTTS }))
	keys = append(keys, listenerKeys("web", "127.0.0.1:8080", "HTTP API and MQTT over WebSocket (/mqtt)",
		func(c *Config) *Listener { return &c.Listeners.Web.Listener })...)
	keys = append(keys, advertiseKey("web", func(a *Advertise) *string { return &a.Web }), &Key{
		Name: "listeners.web.origins", Dev: new("localhost"),
		field: func(c *Config) any { return &c.Listeners.Web.Origins },
		Doc: "Web origins allowed beside the same one, such as https://chat.example.com. " +
			"`localhost` = any port of this machine, `*` = every origin.",
	})
	keys = append(keys, listenerKeys("ops", "127.0.0.1:8081", "health, metrics and profiles",
		func(c *Config) *Listener { return &c.Listeners.Ops.Listener })...)
	keys = append(keys, &Key{
		Name: "listeners.ops.token_file", field: func(c *Config) any { return &c.Listeners.Ops.TokenFile },
		Doc: "File with the bearer token asked of every caller. Without it there is no login.",
	}, &Key{
		Name: "listeners.ops.client_ca_file", field: func(c *Config) any { return &c.Listeners.Ops.ClientCAFile },
		Doc: "Certificates (PEM) of those who sign the client certificates asked of every caller.",
	})
	keys = append(keys, restKeys()...)
	keys = append(keys, hookKeys()...)
	return append(keys, limitKeys()...)
}()

// listenerKeys returns the keys every listener has.
func listenerKeys(name, bind, what string, l func(*Config) *Listener) []*Key {
	p := "listeners." + name + "."
	return []*Key{
		{
			Name: p + "bind", Default: bind, field: func(c *Config) any { return &l(c).Bind },
			Doc: "Where to listen for " + what + ". `:port` = all addresses, `off` = not at all.",
		},
		{
			Name: p + "cert_file", field: func(c *Config) any { return &l(c).CertFile },
			Doc: "Certificate chain (PEM). With it the listener speaks TLS.",
		},
		{
			Name: p + "key_file", field: func(c *Config) any { return &l(c).KeyFile },
			Doc: "Private key (PEM) of the certificate.",
		},
		{
			Name: p + "proxy_protocol", Default: "false", field: func(c *Config) any { return &l(c).ProxyProtocol },
			Doc: "Connections from a trusted proxy begin with a PROXY header that names the client.",
		},
		{
			Name: p + "trusted_proxies", field: func(c *Config) any { return &l(c).TrustedProxies },
			Doc: "Addresses and networks (10.0.0.0/8) of proxies whose word about the client's address is taken.",
		},
	}
}

// advertiseKey returns the key for how clients reach a listener.
func advertiseKey(name string, field func(*Advertise) *string) *Key {
	return &Key{
		Name: "listeners." + name + ".advertise", field: func(c *Config) any { return field(&c.Listeners.Advertise) },
		Doc: "host:port or URL by which clients reach it, for GET /api/v1/connect and server references. Empty: bind, where " +
			"that names a host.",
	}
}

func restKeys() []*Key {
	return []*Key{
		{
			Name: "cluster.bind", Default: "127.0.0.1:7946", field: func(c *Config) any { return &c.Cluster.Bind },
			Doc: "Port for the other nodes, opened only with cluster.join or cluster.bootstrap_expect above 1. " +
				"Always TLS with certificates on both sides.",
		},
		{
			Name: "cluster.advertise", field: func(c *Config) any { return &c.Cluster.Advertise },
			Doc: "host:port by which the other nodes reach this one. Empty: cluster.bind, which then must name a host.",
		},
		{
			Name: "cluster.bootstrap_expect", Default: "1", Min: 1,
			field: func(c *Config) any { return &c.Cluster.BootstrapExpect },
			Doc:   "How many voters found a new cluster together. 1 with cluster.join: this node joins an existing one.",
		},
		{
			Name: "cluster.join", field: func(c *Config) any { return &c.Cluster.Join },
			Doc: "Where to look for other nodes, any of them, in any order, this one too: host:port, dns:host:port for all " +
				"addresses of a name, dns+srv:name for its SRV records.",
		},
		{
			Name: "cluster.secret_file", field: func(c *Config) any { return &c.Cluster.SecretFile },
			Doc: "File with the secret all nodes of the cluster share, at least 16 bytes. Whoever has it can be a node.",
		},
		{
			Name: "cluster.cert_file", field: func(c *Config) any { return &c.Cluster.CertFile },
			Doc: "Certificate of this node (PEM), instead of a secret. Its common name is the node's name.",
		},
		{
			Name: "cluster.key_file", field: func(c *Config) any { return &c.Cluster.KeyFile },
			Doc: "Its key.",
		},
		{
			Name: "cluster.ca_file", field: func(c *Config) any { return &c.Cluster.CAFile },
			Doc: "Certificates (PEM) of the authority that signed the certificates of all nodes, and of nobody else.",
		},
		{
			Name: "cluster.snapshot_threshold", Default: "8192", Min: 1,
			field: func(c *Config) any { return &c.Cluster.SnapshotThreshold },
			Doc:   "Log entries after which the log may be cut.",
		},
		{
			Name: "cluster.trailing_logs", Default: "10240",
			field: func(c *Config) any { return &c.Cluster.TrailingLogs },
			Doc:   "Log entries kept behind a snapshot.",
		},
		{
			Name: "cluster.heartbeat", Default: "700ms", Min: 1,
			field: func(c *Config) any { return &c.Cluster.Heartbeat },
			Doc:   "How long a voter waits for its leader before it asks for an election.",
		},
		{
			Name: "auth.trust", Default: "false", Dev: new("true"), field: func(c *Config) any { return &c.Auth.Trust },
			Doc: "Any user name with any password is that user. For development.",
		},
		{
			Name: "auth.trust_network", Default: "false", field: func(c *Config) any { return &c.Auth.TrustNetwork },
			Doc: "Lifts the rule that nothing open may listen beyond loopback. For containers and test hosts behind " +
				"a wall of their own.",
		},
		{
			Name: "auth.guest", Default: "off", Dev: new("read"), OneOf: []string{"off", "read"},
			field: func(c *Config) any { return &c.Auth.Guest },
			Doc:   "Whether connections without a user name may read public rooms.",
		},
		{
			Name: "auth.admins", Dev: new("admin"), field: func(c *Config) any { return &c.Auth.Admins },
			Doc: "Users who are administrators of their namespace.",
		},
		{
			Name: "auth.auditors", field: func(c *Config) any { return &c.Auth.Auditors },
			Doc: "Users who may read everything in their namespace.",
		},
		{
			Name: "auth.users_file", field: func(c *Config) any { return &c.Auth.UsersFile },
			Doc: "File of users and password hashes, kept by `madang user`; its content is read again on SIGHUP.",
		},
		{
			Name: "auth.register", Default: "closed", Dev: new("open"), OneOf: []string{"open", "token", "closed"},
			field: func(c *Config) any { return &c.Auth.Register },
			Doc: "Who registers by POST /users and user.register: anybody, whoever has a token for it, or nobody; admins and service " +
				"keys always do. Leave it closed where tokens of auth.jwt name users: others could take their names.",
		},
		{
			Name: "auth.own_attributes", Default: "avatar,bio,lang,status,timezone",
			field: func(c *Config) any { return &c.Auth.OwnAttributes },
			Doc:   "Attributes that users set of themselves, and that all may see. `*` = all but `level`. The others are for admins and service keys.",
		},
		{
			Name: "auth.service_keys_file", field: func(c *Config) any { return &c.Auth.ServiceKeysFile },
			Doc: "File of keys for services, lines of `madang token service`; its content is read again on SIGHUP.",
		},
		{
			Name: "auth.plain_topics", field: func(c *Config) any { return &c.Auth.PlainTopics },
			Doc: "Topics outside the chat tree for plain MQTT.", Later: "this build has no plain topics",
		},
		{
			Name: "auth.jwt.hmac_secret_file", field: func(c *Config) any { return &c.Auth.JWT.HMACSecretFile },
			Doc: "File with the secret (32 bytes or more) that signs tokens with HS256.",
		},
		{
			Name: "auth.jwt.public_key_file", field: func(c *Config) any { return &c.Auth.JWT.PublicKeyFile },
			Doc: "Public key (PEM) of whoever issues tokens.",
		},
		{
			Name: "auth.jwt.jwks_url", field: func(c *Config) any { return &c.Auth.JWT.JWKSURL },
			Doc: "Where the issuer publishes its keys (https).",
		},
		{
			Name: "auth.jwt.issuer", field: func(c *Config) any { return &c.Auth.JWT.Issuer },
			Doc: "What `iss` of a token must be. Empty: anything.",
		},
		{
			Name: "auth.jwt.audience", field: func(c *Config) any { return &c.Auth.JWT.Audience },
			Doc: "What `aud` of a token must contain. Empty: anything.",
		},
		{
			Name: "auth.login_ttl", Default: "12h", Min: 1, field: func(c *Config) any { return &c.Auth.LoginTTL },
			Doc: "How long a token from POST /auth/login is good.",
		},
		{
			Name: "auth.guest_ttl", Default: "30d", Min: 1, field: func(c *Config) any { return &c.Auth.GuestTTL },
			Doc: "How long a token from POST /auth/guest is good.",
		},
		{
			Name: "auth.hash_concurrency", Default: "0",
			field: func(c *Config) any { return &c.Auth.HashConcurrency },
			Doc:   "Passwords checked at the same time; each takes memory and a processor. 0 = half of the processors.",
		},
		{
			Name: "auth.back_off", Default: "true", Dev: new("false"), field: func(c *Config) any { return &c.Auth.BackOff },
			Doc: "Slows down who guesses passwords.",
		},
		{
			Name: "rooms.auto_create", Default: "off", Dev: new("public"), OneOf: []string{"off", "private", "public"},
			field: func(c *Config) any { return &c.Rooms.AutoCreate },
			Doc:   "What kind of room a user's first message to an unknown room makes.",
		},
		{
			Name: "rooms.members", Default: "100000", field: func(c *Config) any { return &c.Rooms.Members },
			Doc: "Members a room may have. 0 = no limit.",
		},
		{
			Name: "rooms.retention.age", Default: "0", field: func(c *Config) any { return &c.Rooms.Retention.Age },
			Doc: "Entries older than this are removed. 0 = kept.",
		},
		{
			Name: "rooms.retention.count", Default: "0", field: func(c *Config) any { return &c.Rooms.Retention.Count },
			Doc: "Entries kept per room. 0 = all.",
		},
		{
			Name: "rooms.retention.bytes", Default: "0", field: func(c *Config) any { return &c.Rooms.Retention.Bytes },
			Doc: "Bytes of entries kept per room. 0 = all.",
		},
		{
			Name: "rooms.presence_grace", Default: "30s", field: func(c *Config) any { return &c.Rooms.Grace },
			Doc: "How long a device stays online after its connection has ended without a DISCONNECT. 0 = not at all.",
		},
		{
			Name: "rooms.live_ttl", Default: "30s", field: func(c *Config) any { return &c.Rooms.LiveTTL },
			Doc: "How long the newest value of a live topic is given to new subscribers.",
		},
		{
			Name: "rooms.typing_ttl", Default: "6s", field: func(c *Config) any { return &c.Rooms.TypingTTL },
			Doc: "The same for the live topic `typing`.",
		},
		{
			Name: "search.enabled", Default: "true", field: func(c *Config) any { return &c.Search.Enabled },
			Doc: "Whether this node searches messages. Each keeps an index of its own for it, about as large as the messages; off removes it.",
		},
		{
			Name: "log.level", Default: "info", OneOf: []string{"debug", "info", "warn", "error"}, Reload: true,
			field: func(c *Config) any { return &c.Log.Level },
			Doc:   "Least level that is logged.",
		},
		{
			Name: "log.format", Default: "text", OneOf: []string{"text", "json"},
			field: func(c *Config) any { return &c.Log.Format },
			Doc:   "How log lines are written.",
		},
	}
}
