package main

import (
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/madang-chat/madang/internal/app"
	"github.com/madang-chat/madang/internal/config"
)

// banner says where the node listens; with --dev also what to paste.
func banner(w io.Writer, c *config.Config, a *app.App) {
	var b strings.Builder
	fmt.Fprintf(&b, "madang %s\n", a.Version())
	for _, l := range []struct{ name, scheme, tls, path, what string }{
		{"mqtt", "mqtt", "mqtts", "", "MQTT"},
		{"mqtts", "mqtt", "mqtts", "", "MQTT over TLS"},
		{"web", "ws", "wss", "/mqtt", "MQTT over WebSocket"},
		{"web", "http", "https", "/api/v1", "HTTP API"},
		{"ops", "http", "https", "/readyz?verbose", "for operators"},
	} {
		addr := a.Addr(l.name)
		if addr == "" {
			continue
		}
		scheme := l.scheme
		if l.name == "mqtts" || l.name == "mqtt" && c.Listeners.MQTT.TLS() ||
			l.name == "web" && c.Listeners.Web.TLS() || l.name == "ops" && c.Listeners.Ops.TLS() {
			scheme = l.tls
		}
		fmt.Fprintf(&b, "  %-20s %s://%s%s\n", l.what, scheme, addr, l.path)
	}
	if addr := a.Addr("cluster"); addr != "" {
		fmt.Fprintf(&b, "  %-20s %s\n", "for other nodes", addr)
	}
	if c.Auth.TrustNetwork {
		b.WriteString("\n\x1b[31m  auth.trust_network is on: whoever reaches these ports is trusted\x1b[0m\n")
	}
	if addr := a.Addr("mqtt"); c.Dev && addr != "" {
		host, port, err := net.SplitHostPort(addr)
		if err == nil {
			target := "-h " + host
			if port != "1883" {
				target += " -p " + port
			}
			fmt.Fprintf(&b, "\n  For development only: any user name with any password is that user. Try:\n\n"+
				"  mosquitto_sub %s -t chat/rooms/lobby/msg/#\n"+
				"  mosquitto_pub %s -u alice -P x -t chat/rooms/lobby/send -q 1 -m hello\n\n", target, target)
		}
	}
	fmt.Fprint(w, b.String())
}
