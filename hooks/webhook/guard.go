package webhook

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"syscall"
)

// Whoever writes the configuration names the receivers, but what a name stands for is for others to say. So addresses are
// looked at when they are dialled, after they were resolved.

// ErrAddress is returned for an address that is not dialled.
var ErrAddress = errors.New("this address is not sent to")

// neverSent are networks that hold no receiver: what a cloud tells its machines about themselves, and what is no host.
var neverSent = prefixes("0.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "240.0.0.0/4", "fe80::/10", "ff00::/8", "fd00:ec2::/32", "::/128")

// inside are networks of one's own, where allow_private says so.
var inside = prefixes("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "192.0.0.0/24", "198.18.0.0/15",
	"::1/128", "fc00::/7", "64:ff9b::/96", "64:ff9b:1::/48", "2002::/16")

func prefixes(all ...string) (out []netip.Prefix) {
	for _, s := range all {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

func within(a netip.Addr, nets []netip.Prefix) bool {
	for _, p := range nets {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// guard says which addresses may be dialled.
type guard struct {
	private bool // addresses inside may
	plain   bool // without TLS: only those
}

func (g guard) check(a netip.Addr) error {
	a = a.Unmap().WithZone("")
	in := within(a, inside)
	switch {
	case within(a, neverSent):
		return fmt.Errorf("%w: %s", ErrAddress, a)
	case in && !g.private:
		return fmt.Errorf("%w: %s is of a private network; allow_private lets it be", ErrAddress, a)
	case !in && g.plain:
		return fmt.Errorf("%w: %s is not of a private network, and http is for those only", ErrAddress, a)
	}
	return nil
}

// control is a net.Dialer's: it sees the address that will be connected to.
func (g guard) control(_, address string, _ syscall.RawConn) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("%w: %s", ErrAddress, address)
	}
	return g.check(ap.Addr())
}

// checkURL returns the guard for a receiver's URL, or why it cannot be one.
func checkURL(raw string, private bool) (guard, error) {
	u, err := url.Parse(raw)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		return guard{}, errors.New("the url is not https://host/path") // err would show its password
	case u.Scheme == "http" && !private:
		return guard{}, errors.New("the url must be https; http is for private networks, with allow_private")
	}
	return guard{private: private, plain: u.Scheme == "http"}, nil
}
