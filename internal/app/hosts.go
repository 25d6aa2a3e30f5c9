package app

import (
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/madang-chat/madang/internal/config"
)

// hosts are the names a listener answers to where it believes everybody who reaches it. A page on the web can make its
// own name point at this machine; what it cannot do is call itself one of these.
type hosts struct {
	any   bool     // origin "*": every page is welcome anyway
	own   []string // hosts of the bind address and of the configured origins
	local bool     // other names that no public DNS holds: the port is open to a network on purpose
}

// privateDomains end names that public DNS never resolves.
var privateDomains = []string{".local", ".internal", ".home.arpa"}

// hostsOf makes the check of a listener.
func hostsOf(c *config.Config, bind string) hosts {
	h := hosts{local: c.Auth.TrustNetwork}
	own := []string{bind}
	if name, err := os.Hostname(); err == nil && h.local {
		own = append(own, name)
	}
	for _, o := range c.Listeners.Web.Origins {
		_, host, found := strings.Cut(o, "://")
		switch {
		case o == "*":
			h.any = true
		case found:
			own = append(own, host)
		}
	}
	for _, name := range own {
		if name = hostOnly(name); name != "" {
			h.own = append(h.own, name)
		}
	}
	return h
}

// allow judges the header Host. A request without one is of no browser.
func (h *hosts) allow(header string) bool {
	if h.any || header == "" {
		return true
	}
	name := hostOnly(header)
	if name == "localhost" || strings.HasSuffix(name, ".localhost") || slices.Contains(h.own, name) {
		return true
	}
	if addr, err := netip.ParseAddr(name); err == nil {
		return h.local || addr.Unmap().IsLoopback()
	}
	return h.local && name != "" && (!strings.Contains(name, ".") ||
		slices.ContainsFunc(privateDomains, func(d string) bool { return strings.HasSuffix(name, d) }))
}

// hostOnly is a host in lower case without port, brackets and the dot of a complete name.
func hostOnly(hostport string) string {
	host := hostport
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		host = h
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	return strings.TrimSuffix(strings.ToLower(host), ".")
}
