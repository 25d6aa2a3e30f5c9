package config

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

var (
	nodeName = regexp.MustCompile(`^[A-Za-z0-9._:-]{1,128}$`)
	userName = regexp.MustCompile(`^([A-Za-z0-9._:-]{1,128}/)?[A-Za-z0-9._:@|=-]{1,60}$`)
)

// Validate returns everything that keeps a node from running with c, each with the place to change. It reads no file
// and opens no port.
func (c *Config) Validate() error {
	v := validator{c: c}
	v.later()
	v.node()
	v.listeners()
	v.open()
	v.auth()
	v.limits()
	v.webhooks()
	return errors.Join(v.errs...)
}

// Warnings returns what is allowed and still to be said aloud at the start, one sentence each.
func (c *Config) Warnings() []string {
	var w []string
	if c.Auth.TrustNetwork {
		w = append(w, fmt.Sprintf("auth.trust_network is on (%s): whoever reaches the ports of this node is trusted",
			c.Source("auth.trust_network")))
	}
	if c.Auth.Trust && !c.Dev {
		w = append(w, fmt.Sprintf("auth.trust is on (%s): any user name with any password is that user",
			c.Source("auth.trust")))
	}
	if !c.Auth.Trust && !c.Auth.Configured() {
		w = append(w, "nobody can log in: neither auth.users_file nor a key in auth.jwt is set")
	}
	return w
}

type validator struct {
	c    *Config
	errs []error
}

func (v *validator) fail(key, format string, args ...any) {
	v.errs = append(v.errs, &Error{Source: v.c.Source(key), Key: key, Msg: fmt.Sprintf(format, args...)})
}

// later refuses what is planned and not built, so that nobody believes it is in effect.
func (v *validator) later() {
	for _, k := range table {
		if got := k.Value(v.c); k.Later != "" && got != k.Default {
			v.fail(k.Name, "%s; %q is not possible yet", k.Later, got)
		}
	}
}

func (v *validator) node() {
	if n := v.c.Node.Name; !nodeName.MatchString(n) {
		v.fail("node.name", "%q is not a name of 1 to 128 letters, digits and . _ : -", n)
	}
	if v.c.Node.DataDir == "" {
		v.fail("node.data_dir", "must not be empty")
	}
}

// named is a listener with the name of its section.
type named struct {
	name string
	l    *Listener
}

func (c *Config) all() []named {
	return []named{
		{"mqtt", &c.Listeners.MQTT},
		{"mqtts", &c.Listeners.MQTTS},
		{"web", &c.Listeners.Web.Listener},
		{"ops", &c.Listeners.Ops.Listener},
	}
}

// Opened returns the names of the listeners that are to be opened: mqtt, mqtts, web, ops, in this order.
func (c *Config) Opened() []string {
	var names []string
	for _, n := range c.all() {
		if n.l.Bind != "" && (n.name != "mqtts" || n.l.TLS()) {
			names = append(names, n.name)
		}
	}
	return names
}

func (c *Config) isOpen(name string) bool {
	return slices.Contains(c.Opened(), name)
}

func (v *validator) listeners() {
	type place struct {
		key, host string
		port      int
	}
	var taken []place
	for _, n := range v.c.all() {
		key := "listeners." + n.name + "."
		if (n.l.CertFile == "") != (n.l.KeyFile == "") {
			have, want := "cert_file", "key_file"
			if n.l.CertFile == "" {
				have, want = want, have
			}
			v.fail(key+have, "needs %s%s beside it", key, want)
		}
		if n.l.ProxyProtocol && len(n.l.TrustedProxies) == 0 {
			v.fail(key+"proxy_protocol", "needs %strusted_proxies: who may send the header", key)
		}
		for _, p := range n.l.TrustedProxies {
			if _, err := ParseNetwork(p); err != nil {
				v.fail(key+"trusted_proxies", "%s", err)
			}
		}
		if n.l.Bind == "" {
			continue
		}
		host, port, err := splitBind(n.l.Bind)
		if err != nil {
			v.fail(key+"bind", "%s", err)
			continue
		}
		if !v.c.isOpen(n.name) {
			continue
		}
		for _, t := range taken {
			if port != 0 && t.port == port && (t.host == host || anyHost(t.host) || anyHost(host)) {
				v.fail(key+"bind", "%s is already the place of %s", n.l.Bind, t.key)
			}
		}
		taken = append(taken, place{key + "bind", host, port})
	}
	if v.c.Listeners.Ops.ClientCAFile != "" && !v.c.Listeners.Ops.TLS() {
		v.fail("listeners.ops.client_ca_file", "needs listeners.ops.cert_file: client certificates come with TLS")
	}
	v.cluster()
	for _, o := range v.c.Listeners.Web.Origins {
		if err := checkOrigin(o); err != nil {
			v.fail("listeners.web.origins", "%s", err)
		}
	}
}

// cluster checks how nodes find and trust each other.
func (v *validator) cluster() {
	c := &v.c.Cluster
	host, _, err := splitBind(c.Bind)
	if err != nil {
		v.fail("cluster.bind", "%s", err)
		return
	}
	if v.c.Node.Role == "replica" && len(c.Join) == 0 {
		v.fail("node.role", "a replica needs cluster.join: it follows a cluster and never founds one")
	}
	if !c.Several() {
		return
	}
	if c.Advertise == "" && anyHost(host) {
		v.fail("cluster.bind", "%s names no host by which other nodes reach this one: name it, or set cluster.advertise", c.Bind)
	}
	if c.Advertise != "" {
		if host, port, err := splitBind(c.Advertise); err != nil || anyHost(host) || port == 0 {
			v.fail("cluster.advertise", "%q is not host:port", c.Advertise)
		}
	}
	files := c.CertFile != "" || c.KeyFile != "" || c.CAFile != ""
	switch {
	case files && (c.CertFile == "" || c.KeyFile == "" || c.CAFile == ""):
		v.fail("cluster.cert_file", "cluster.cert_file, cluster.key_file and cluster.ca_file are set together or not at all")
	case files && c.SecretFile != "":
		v.fail("cluster.secret_file", "nodes trust each other by a secret or by certificates of your own, not by both")
	case !files && c.SecretFile == "" && !v.c.Dev:
		v.fail("cluster.secret_file", "the nodes of a cluster need a secret they share: `openssl rand -hex 32` makes one "+
			"(or set cluster.cert_file, cluster.key_file and cluster.ca_file)")
	case !files && c.SecretFile == "" && !v.c.Auth.TrustNetwork && !Loopback(c.Bind):
		v.fail("cluster.bind", "%s can be reached from other machines, and the secret of --dev is known to everybody: "+
			"bind 127.0.0.1, or set cluster.secret_file", c.Bind)
	}
}

// open holds the rule that nothing is open to other machines unless somebody said who may come in.
func (v *validator) open() {
	c := v.c
	if c.Auth.TrustNetwork {
		return
	}
	for _, n := range c.all() {
		if !c.isOpen(n.name) || Loopback(n.l.Bind) {
			continue
		}
		key := "listeners." + n.name + ".bind"
		_, port, err := splitBind(n.l.Bind)
		if err != nil {
			continue // refused already
		}
		local := fmt.Sprintf("127.0.0.1:%d", port)
		switch {
		case n.name == "ops":
			if c.Listeners.Ops.TokenFile == "" && c.Listeners.Ops.ClientCAFile == "" {
				v.fail(key, "%s can be reached from other machines, and the ops listener asks nobody who they are: "+
					"bind %s, or set listeners.ops.token_file or listeners.ops.client_ca_file "+
					"(or auth.trust_network: true, when only trusted machines can reach it)", n.l.Bind, local)
			}
		case c.Dev:
			v.fail(key, "%s can be reached from other machines, and --dev lets everybody in: "+
				"bind %s, or set auth.trust_network: true when only trusted machines can reach it", n.l.Bind, local)
		case c.Auth.Trust:
			v.fail(key, "%s can be reached from other machines, and auth.trust (%s) lets everybody in: "+
				"bind %s, or take auth.trust out and set auth.users_file or a key in auth.jwt "+
				"(or auth.trust_network: true, when only trusted machines can reach it)",
				n.l.Bind, c.Source("auth.trust"), local)
		case !c.Auth.Configured():
			v.fail(key, "%s can be reached from other machines, and there is no authentication: "+
				"bind %s, or set auth.users_file or a key in auth.jwt "+
				"(or auth.trust_network: true, when only trusted machines can reach it)", n.l.Bind, local)
		}
	}
}

func (v *validator) auth() {
	a := &v.c.Auth
	for _, key := range []string{"auth.admins", "auth.auditors"} {
		for u := range strings.SplitSeq(byName[key].Value(v.c), ",") {
			if u != "" && !userName.MatchString(u) {
				v.fail(key, "%q is not a user name", u)
			}
		}
	}
	if u := a.JWT.JWKSURL; u != "" {
		p, err := url.Parse(u)
		if err != nil || p.Host == "" || p.Scheme != "https" && (p.Scheme != "http" || !loopbackHost(p.Hostname())) {
			v.fail("auth.jwt.jwks_url", "this is not an https URL (http is for this machine only)") // it may hold a password
		}
	}
	for _, key := range []string{"auth.jwt.issuer", "auth.jwt.audience"} {
		if byName[key].Value(v.c) != "" && !a.JWT.Configured() {
			v.fail(key, "has no effect without a key in auth.jwt that tokens are checked with")
		}
	}
}

// Bounds of limits that the contract of the wire or the log has.
const (
	leastTopicLength = 512
	mostClientID     = 128
	mostStateValue   = 256 << 10
)

func (v *validator) limits() {
	l := &v.c.Limits
	const maxPacket = 1<<28 - 1
	if l.Packet > maxPacket {
		v.fail("limits.packet", "more than 256MiB cannot be written in MQTT")
	}
	if l.Packet > 0 && (l.Message > l.Packet || l.Message == 0) {
		v.fail("limits.message", "must not be more than limits.packet (%s)", formatSize(l.Packet))
	}
	if l.ConnectionBytes > 0 && l.ConnectionBytes < l.Message {
		v.fail("limits.connection_bytes", "must hold one message, limits.message (%s)", formatSize(l.Message))
	}
	if l.Window > math.MaxUint16 {
		v.fail("limits.window", "more than %d packets have no id in MQTT", math.MaxUint16)
	}
	if l.KeepaliveMax > math.MaxUint16*time.Second {
		v.fail("limits.keepalive_max", "more than %d s cannot be written in MQTT", math.MaxUint16)
	}
	if l.KeepaliveMin > math.MaxUint16*time.Second {
		v.fail("limits.keepalive_min", "more than %d s cannot be written in MQTT", math.MaxUint16)
	}
	if l.SessionExpiry > math.MaxUint32*time.Second {
		v.fail("limits.session_expiry", "more than %d s cannot be written in MQTT", uint32(math.MaxUint32))
	}
	if l.TopicLevels > 0 && l.TopicLevels < 6 {
		v.fail("limits.topic_levels", "the topics of a room have up to 6 levels")
	}
	if l.TopicLength > 0 && l.TopicLength < leastTopicLength {
		v.fail("limits.topic_length", "the topics of a room have up to %d bytes", leastTopicLength)
	}
	if l.ClientID > mostClientID {
		v.fail("limits.client_id", "a client id has never more than %d bytes", mostClientID)
	}
	if l.StateValue > mostStateValue {
		v.fail("limits.state_value", "must not be more than %s", formatSize(mostStateValue))
	}
}

// CheckFiles returns an error for every file c names that cannot be read now. The data directory is not one of them.
func (c *Config) CheckFiles() error {
	v := validator{c: c}
	for _, k := range table {
		if !strings.HasSuffix(k.Name, "_file") || k.Name == "node.pid_file" || k.Later != "" {
			continue
		}
		path := k.Value(c)
		if path == "" {
			continue
		}
		data, err := os.ReadFile(path)
		switch {
		case errors.Is(err, os.ErrNotExist) && k.Name == "auth.service_keys_file":
			v.fail(k.Name, "%s does not exist: put a line of `madang token service NAME` there", path)
		case errors.Is(err, os.ErrNotExist) && k.Name == "auth.users_file":
			v.fail(k.Name, "%s does not exist: make it with `madang user add NAME --file %s`", path, path)
		case err != nil:
			v.fail(k.Name, "%s: %s", path, reason(err))
		case k.Name == "auth.jwt.hmac_secret_file" && len(bytes.TrimRight(data, "\r\n")) < 32:
			v.fail(k.Name, "%s holds less than 32 bytes: make it with `openssl rand -hex 32`", path)
		}
	}
	v.checkWebhookFiles()
	return errors.Join(v.errs...)
}

// Loopback reports whether a bind address can be reached from this machine only. An unknown host name counts as
// reachable.
func Loopback(bind string) bool {
	host, _, err := net.SplitHostPort(bind)
	return err == nil && loopbackHost(host)
}

func loopbackHost(host string) bool {
	if host == "localhost" {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.Unmap().IsLoopback()
}

func anyHost(host string) bool {
	a, err := netip.ParseAddr(host)
	return host == "" || err == nil && a.IsUnspecified()
}

func splitBind(bind string) (host string, port int, err error) {
	host, p, err := net.SplitHostPort(bind)
	if err != nil {
		return "", 0, fmt.Errorf("%q is not host:port or :port", bind)
	}
	n, err := strconv.ParseUint(p, 10, 16)
	if err != nil {
		return "", 0, fmt.Errorf("%q has no port between 0 and 65535", bind)
	}
	return host, int(n), nil
}

// ParseNetwork reads an address or a network in CIDR form; an address is a network of one.
func ParseNetwork(s string) (netip.Prefix, error) {
	if p, err := netip.ParsePrefix(s); err == nil {
		return p.Masked(), nil
	}
	a, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("%q is neither an address nor a network such as 10.0.0.0/8", s)
	}
	return a.Prefix(a.BitLen())
}
