package transport

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// ClientAddr is the address of the client behind r: the rightmost address in X-Forwarded-For that is no trusted proxy,
// when the peer itself is one, else the peer's. What stands left of an address that cannot be read is not believed.
// The port is 0 when the proxy did not tell it.
func ClientAddr(r *http.Request, trusted []netip.Prefix) netip.AddrPort {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.AddrPort{}
	}
	client := netip.AddrPortFrom(peer.Addr().Unmap(), peer.Port())
	if !contains(trusted, client.Addr()) {
		return client
	}
	lines := r.Header.Values("X-Forwarded-For")
	for _, line := range slices.Backward(lines) {
		for line != "" {
			at := strings.LastIndexByte(line, ',')
			hop, ok := parseHop(strings.TrimSpace(line[at+1:]))
			if !ok {
				return client
			}
			client = hop
			if !contains(trusted, hop.Addr()) {
				return client
			}
			line = line[:max(at, 0)]
		}
	}
	return client
}

// parseHop reads 192.0.2.1, 192.0.2.1:99, 2001:db8::1, [2001:db8::1] or [2001:db8::1]:99.
func parseHop(s string) (netip.AddrPort, bool) {
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return netip.AddrPortFrom(ap.Addr().Unmap().WithZone(""), ap.Port()), true
	}
	if strings.HasPrefix(s, "[") && strings.HasSuffix(s, "]") {
		s = s[1 : len(s)-1]
	}
	addr, err := netip.ParseAddr(s)
	if err != nil {
		return netip.AddrPort{}, false
	}
	return netip.AddrPortFrom(addr.Unmap().WithZone(""), 0), true
}

// contains says whether addr is in one of the prefixes.
func contains(prefixes []netip.Prefix, addr netip.Addr) bool {
	addr = addr.Unmap().WithZone("")
	for _, p := range prefixes {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}
