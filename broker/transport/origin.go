package transport

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"
)

// originPolicy decides which web pages may open a WebSocket. A request without Origin is not from a page.
type originPolicy struct {
	exact map[string]bool // scheme://host[:port], lower case, default port left out
	local bool
}

func newOriginPolicy(origins []string, local bool) originPolicy {
	p := originPolicy{exact: make(map[string]bool, len(origins)), local: local}
	for _, o := range origins {
		if key, err := originKey(o); err == nil {
			p.exact[key] = true
		}
	}
	return p
}

// CheckOrigins tells what is wrong with a configured list of origins: each must be scheme://host[:port] and nothing
// else. There is no "*": any page on the web could then use its visitors' browsers to log in here.
func CheckOrigins(origins []string) error {
	for _, o := range origins {
		if _, err := originKey(o); err != nil {
			return fmt.Errorf("origin %q: %w", o, err)
		}
	}
	return nil
}

// allow judges the Origin header of a request to host.
func (p originPolicy) allow(origin, host string) bool {
	if origin == "" {
		return true
	}
	key, err := originKey(origin)
	if err != nil {
		return false
	}
	if p.exact[key] {
		return true
	}
	scheme, originHost, _ := strings.Cut(key, "://")
	if originHost == stripDefaultPort(scheme, strings.ToLower(host)) {
		return true
	}
	return p.local && isLocalHost(originHost)
}

// originKey is the comparable form of an origin.
func originKey(origin string) (string, error) {
	if strings.Contains(origin, "*") {
		return "", fmt.Errorf("wildcards are not supported, list each origin")
	}
	u, err := url.Parse(origin)
	if err != nil {
		return "", err
	}
	if u.Scheme == "" || u.Host == "" || u.User != nil || strings.TrimSuffix(u.Path, "/") != "" || u.RawQuery != "" ||
		u.Fragment != "" {
		return "", fmt.Errorf("must be scheme://host[:port], e.g. https://chat.example.com")
	}
	return u.Scheme + "://" + stripDefaultPort(u.Scheme, strings.ToLower(u.Host)), nil
}

func stripDefaultPort(scheme, host string) string {
	switch scheme {
	case "http", "ws":
		return strings.TrimSuffix(host, ":80")
	case "https", "wss":
		return strings.TrimSuffix(host, ":443")
	}
	return host
}

// isLocalHost is true for localhost, names under it and loopback addresses, with or without a port.
func isLocalHost(hostport string) bool {
	host := hostport
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		host = h
	}
	host = strings.Trim(host, "[]")
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback()
}
