package bench

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Target is the broker and how to log in to it.
type Target struct {
	Name string // for the report: a URL

	// Host and Port are connected to over plain TCP, unless Dial is set: it opens a TLS or WebSocket stream.
	Host string
	Port uint16
	Dial func(context.Context) (net.Conn, error)

	// From are local addresses to connect from over plain TCP, in turn; a pair of addresses has some 28,000 ports.
	From []netip.Addr

	Version   byte // 3, 4 (3.1.1) or 5
	User      string
	Password  string
	KeepAlive uint16 // s, 0 = none
	Prefix    string // of client ids
	First     int    // number of the first client

	PIDs []int // processes of the broker, for its CPU time and memory

	addr   netip.AddrPort
	dialed int
	giveUp time.Duration // without any message: what is in flight is taken as lost; 0 = usualGiveUp
}

const usualGiveUp = 3 * time.Second

// resolve looks the host up once. It takes an address of the kind it is connected from, else rather one of IPv4: what
// has both and listens on one only, as localhost has, mostly listens on that.
func (t *Target) resolve(ctx context.Context) error {
	if t.giveUp == 0 {
		t.giveUp = usualGiveUp
	}
	if t.Dial != nil {
		return nil
	}
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", t.Host)
	if err != nil {
		return fmt.Errorf("find the broker: %w", err)
	}
	want4 := len(t.From) == 0 || t.From[0].Is4()
	i := max(slices.IndexFunc(ips, func(a netip.Addr) bool { return a.Unmap().Is4() == want4 }), 0)
	t.addr = netip.AddrPortFrom(ips[i].Unmap(), t.Port)
	for _, a := range t.From {
		if a.Is4() != t.addr.Addr().Is4() {
			return optionf("--ifaddr %s cannot reach %s: one is IPv4, the other IPv6", a, t.addr.Addr())
		}
	}
	return nil
}

func (t *Target) from() (netip.Addr, bool) {
	if len(t.From) == 0 {
		return netip.Addr{}, false
	}
	t.dialed++
	return t.From[t.dialed%len(t.From)], true
}

// login is what client number i says in CONNECT. %i and %c in user name and password become its number and its client
// id.
func (t *Target) login(i int, clean bool) login {
	l := login{
		version: t.Version, id: t.expand("%c", i), user: t.expand(t.User, i), password: t.expand(t.Password, i),
		keepAlive: t.KeepAlive, clean: clean,
	}
	if !clean {
		l.expiry = sessionExpiry
	}
	return l
}

// expand puts the number and id of client i in place of %i and %c.
func (t *Target) expand(s string, i int) string {
	number := strconv.Itoa(t.First + i)
	return strings.NewReplacer("%i", number, "%c", t.Prefix+number).Replace(s)
}

const sessionExpiry = 3600 // s: with version 5, a session left behind by a run that was cut off goes by itself

func sockaddr(a netip.Addr, port uint16) unix.Sockaddr {
	if a.Is4() {
		return &unix.SockaddrInet4{Addr: a.As4(), Port: int(port)}
	}
	return &unix.SockaddrInet6{Addr: a.As16(), Port: int(port)}
}
