package transport

import (
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"testing"
)

func TestOrigin(t *testing.T) {
	list := []string{"https://chat.example.com", "http://10.0.0.7:3000/", "https://Upper.Example:443", "capacitor://app"}
	if err := CheckOrigins(list); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		origin, host  string
		strict, local bool // allowed without and with LocalOrigins
	}{
		{"", "any", true, true},
		{"null", "any", false, false},
		{"https://chat.example.com", "other", true, true},
		{"https://CHAT.example.com:443", "other", true, true},
		{"http://chat.example.com", "other", false, false},
		{"https://chat.example.com:444", "other", false, false},
		{"https://chat.example.com.evil.org", "other", false, false},
		{"https://evil.org/https://chat.example.com", "other", false, false},
		{"https://chat.example.com@evil.org", "other", false, false},
		{"https://evil.org#chat.example.com", "other", false, false},
		{"http://10.0.0.7:3000", "other", true, true},
		{"http://10.0.0.7", "other", false, false},
		{"https://upper.example", "other", true, true},
		{"capacitor://app", "other", true, true},
		{"http://here:8080", "here:8080", true, true},
		{"http://HERE:8080", "here:8080", true, true},
		{"http://here", "here:80", true, true},
		{"https://here:443", "here", true, true},
		{"http://here:8081", "here:8080", false, false},
		{"http://here", "here:443", false, false},
		{"http://[::1]:8080", "[::1]:8080", true, true},
		{"http://localhost:5173", "here", false, true},
		{"http://localhost", "here", false, true},
		{"http://app.localhost:1", "here", false, true},
		{"http://127.0.0.1:9", "here", false, true},
		{"http://[::1]", "here", false, true},
		{"http://localhost.evil.org", "here", false, false},
		{"http://evil-localhost", "here", false, false},
		{"http://127.0.0.1.evil.org", "here", false, false},
		{"http://0.0.0.0:80", "here", false, false},
		{"://", "here", false, false},
		{"here", "here", false, false},
		{"*", "here", false, false},
	} {
		if got := newOriginPolicy(list, false).allow(tc.origin, tc.host); got != tc.strict {
			t.Errorf("%q at %q: %v", tc.origin, tc.host, got)
		}
		if got := newOriginPolicy(list, true).allow(tc.origin, tc.host); got != tc.local {
			t.Errorf("%q at %q with local origins: %v", tc.origin, tc.host, got)
		}
	}
}

func TestCheckOrigins(t *testing.T) {
	for bad, want := range map[string]string{
		"*": "wildcards", "https://*.example.com": "wildcards", "chat.example.com": "must be scheme",
		"https://a/path": "must be scheme", "https://u@a": "must be scheme", "https://a?q": "must be scheme", "": "must be scheme",
		"https://a\x7f": "control character",
	} {
		if err := CheckOrigins([]string{"https://fine", bad}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", bad, err, want)
		}
	}
}

func FuzzOrigin(f *testing.F) {
	for _, o := range []string{"", "null", "http://localhost:1", "https://chat.example.com:443", "http://[::1]:80", "a://b@c", "http://x%41"} {
		f.Add(o, "chat.example.com")
	}
	policy := newOriginPolicy([]string{"https://chat.example.com"}, false)
	local := newOriginPolicy(nil, true)
	f.Fuzz(func(t *testing.T, origin, host string) {
		if policy.allow(origin, host) && origin != "" {
			u, err := url.Parse(origin)
			if err != nil {
				t.Fatalf("%q allowed: %v", origin, err)
			}
			h := stripDefaultPort(u.Scheme, strings.ToLower(u.Host))
			if h != "chat.example.com" && h != stripDefaultPort(u.Scheme, strings.ToLower(host)) {
				t.Fatalf("%q allowed at %q", origin, host)
			}
		}
		if local.allow(origin, "") && origin != "" && CheckOrigins([]string{origin}) != nil {
			t.Fatalf("%q is admitted but cannot be configured", origin)
		}
	})
}

var trustedProxies = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}

func TestClientAddr(t *testing.T) {
	for _, tc := range []struct {
		name, peer string
		forwarded  []string
		want       string
	}{
		{"direct", "203.0.113.1:5", nil, "203.0.113.1:5"},
		{"mapped peer", "[::ffff:203.0.113.1]:5", nil, "203.0.113.1:5"},
		{"forged by the client", "203.0.113.1:5", []string{"192.0.2.9"}, "203.0.113.1:5"},
		{"proxy that says nothing", "10.0.0.1:5", nil, "10.0.0.1:5"},
		{"proxy", "10.0.0.1:5", []string{"192.0.2.9"}, "192.0.2.9:0"},
		{"mapped proxy", "[::ffff:10.0.0.1]:5", []string{"192.0.2.9"}, "192.0.2.9:0"},
		{"with port", "10.0.0.1:5", []string{"192.0.2.9:77"}, "192.0.2.9:77"},
		{"IPv6", "[fd00::1]:5", []string{"2001:db8::1"}, "[2001:db8::1]:0"},
		{"IPv6 in brackets", "10.0.0.1:5", []string{"[2001:db8::1]"}, "[2001:db8::1]:0"},
		{"IPv6 with port", "10.0.0.1:5", []string{"[2001:db8::1]:77"}, "[2001:db8::1]:77"},
		{"zone", "10.0.0.1:5", []string{"fe80::1%eth0"}, "[fe80::1]:0"},
		{"chain", "10.0.0.1:5", []string{"192.0.2.9, 10.0.0.2,10.0.0.3"}, "192.0.2.9:0"},
		{"chain with a forged start", "10.0.0.1:5", []string{"198.51.100.1, 192.0.2.9, 10.0.0.2"}, "192.0.2.9:0"},
		{"several lines", "10.0.0.1:5", []string{"198.51.100.1, 192.0.2.9", "10.0.0.2"}, "192.0.2.9:0"},
		{"only proxies", "10.0.0.1:5", []string{"10.0.0.3, 10.0.0.2"}, "10.0.0.3:0"},
		{"nothing believed left of garbage", "10.0.0.1:5", []string{"192.0.2.9, unknown, 10.0.0.2"}, "10.0.0.2:0"},
		{"garbage", "10.0.0.1:5", []string{"_hidden"}, "10.0.0.1:5"},
		{"empty", "10.0.0.1:5", []string{""}, "10.0.0.1:5"},
		{"comma at the end", "10.0.0.1:5", []string{"192.0.2.9,"}, "10.0.0.1:5"},
		{"no peer address", "@", []string{"192.0.2.9"}, "invalid AddrPort"},
	} {
		r := &http.Request{RemoteAddr: tc.peer, Header: http.Header{"X-Forwarded-For": tc.forwarded}}
		if got := ClientAddr(r, trustedProxies); got.String() != tc.want {
			t.Errorf("%s: %v, want %s", tc.name, got, tc.want)
		}
	}
}

func FuzzForwarded(f *testing.F) {
	f.Add("10.0.0.1:5", "192.0.2.9, 10.0.0.2", "")
	f.Add("203.0.113.1:5", "192.0.2.9", "[2001:db8::1]:77")
	f.Add("10.0.0.1:5", "[,],::ffff:10.0.0.1", ",,")
	f.Fuzz(func(t *testing.T, peer, one, two string) {
		r := &http.Request{RemoteAddr: peer, Header: http.Header{"X-Forwarded-For": {one, two}}}
		got := ClientAddr(r, trustedProxies)
		from, err := netip.ParseAddrPort(peer)
		switch {
		case err != nil:
			if got.IsValid() {
				t.Fatalf("%v out of nothing", got)
			}
			return
		case !contains(trustedProxies, from.Addr()):
			if got != netip.AddrPortFrom(from.Addr().Unmap(), from.Port()) {
				t.Fatalf("%v believed of the stranger %v", got, from)
			}
			return
		case !got.IsValid() || got.Addr().Is4In6():
			t.Fatalf("%v", got)
		}
		// Whatever stands to the left cannot change an answer that is no proxy.
		if !contains(trustedProxies, got.Addr()) {
			r.Header["X-Forwarded-For"] = []string{"198.51.100.77", one, two}
			if again := ClientAddr(r, trustedProxies); again != got {
				t.Fatalf("%v, with a forged start %v", got, again)
			}
		}
	})
}
