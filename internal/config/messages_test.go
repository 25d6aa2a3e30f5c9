package config

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
)

// What a person is told. The file of expected messages is read in review like any other text.
func TestMessages(t *testing.T) {
	var out bytes.Buffer
	for _, tt := range []struct {
		name, file string
		o          Options
	}{
		{name: "unknown keys", file: "limits:\n  mesage: 1KiB\n  session_expire: 1h\nlisteners:\n  mqtt:\n    origins: []\n    adress: x\nlog: {level: info}\nrom: {}\nzzzzzz: 1\n"},
		{name: "written twice", file: "limits:\n  message: 1KiB\n  packet: 1MiB\n  message: 2KiB\nlog: {}\nlog: {}\n"},
		{name: "wrong kinds", file: "limits: 5\nauth:\n  trust: yes\n  guest: [a]\n  admins: {a: b}\n  users_file:\nlisteners:\n  mqtt: ':1883'\n  web:\n    bind: {a: 1}\n"},
		{name: "wrong values", file: "limits:\n  message: 1.5MiB\n  ack_wait: 30\n  window: many\n  in_flight: -1\n  qos0_lag: 99999999999\n  dedupe_window: 3 days\ncluster: {bootstrap_expect: 0, heartbeat: 0}\nlog: {level: inof}\n"},
		{name: "dotted key", file: "limits.message: 1KiB\nlimits.mesage: 1KiB\n"},
		{name: "anchors", file: "limits: &a\n  message: 1KiB\nrooms: *a\n"},
		{name: "merge", file: "limits:\n  <<: {message: 1KiB}\n"},
		{name: "two documents", file: "log: {}\n---\nlog: {}\n"},
		{name: "not yaml", file: "limits:\n  message: [1KiB\nlog: x\n"},
		{name: "tab", file: "limits:\n\tmessage: 1KiB\n"},
		{name: "a list", file: "- a\n"},
		{name: "list of lists", file: "auth:\n  admins: [[a], b]\n"},
		{name: "webhooks that are none", file: "webhooks:\n  - url: https://x.example\n    evnts: [a]\n    url: y\n    timeout: soon\n    events: {a: b}\n  - just text\n"},
		{name: "webhooks is a list", file: "webhooks:\n  name: a\n"},
		{name: "webhooks that cannot be used", file: "webhooks:\n  - name: a b\n    url: ftp://user:pw@x\n  - name: push\n    url: http://10.0.0.1/\n    secret_file: s\n    retries: [5s, soon]\n    rooms: ['[a']\n  - name: push\n    url: https://x.example\n    secret_file: s\n    concurrency: 1000\n"},
		{name: "a webhook", file: "webhooks:\n  - name: push\n    url: https://x.example\n    secret_file: s\n    events: [message.*]\n"},
		{name: "before_send", file: "hooks:\n  before_send:\n    url: http://x.example\n    on_failure: maybe\n    rooms: ['a/b']\n"},
		{name: "no such file", o: Options{File: "nowhere.yaml"}},
		{name: "environment", o: Options{Env: []string{
			"MADANG_LIMITS__MESAGE=1KiB", "MADANG_LIMITS__MESSAGE=lots", "MADANG_limits__window=5", "MADANG_AUTH__TRUST=",
		}}},
		{name: "flags", o: Options{Set: []string{"limits.mesage=1KiB", "limits.message", "limits.message=lots", "=1", ""}}},

		{name: "open without authentication", file: "listeners:\n  mqtt: {bind: ':1883'}\n  web:\n    bind: 0.0.0.0:8080\n"},
		{name: "ops open", o: Options{Set: []string{"listeners.ops.bind=:8081"}}},
		{name: "ops with client certificates and no TLS", o: Options{Set: []string{
			"listeners.ops.bind=:8081", "listeners.ops.client_ca_file=ca.pem", "auth.trust_network=true",
		}}},
		{name: "ops with a token", o: Options{Set: []string{"listeners.ops.bind=:8081", "listeners.ops.token_file=t"}}},
		{name: "dev beyond loopback", o: Options{Dev: true, Env: []string{"MADANG_LISTENERS__MQTT__BIND=10.0.0.5:1883"}}},
		{name: "dev beyond loopback with users", o: Options{Dev: true, Set: []string{
			"listeners.mqtt.bind=:1883", "auth.trust=false", "auth.users_file=users",
		}}},
		{name: "dev on a trusted network", o: Options{Dev: true, Set: []string{
			"listeners.mqtt.bind=:1883", "listeners.ops.bind=:8081", "auth.trust_network=true",
		}}},
		{name: "open with trust and users", o: Options{Set: []string{
			"listeners.web.bind=:8080", "auth.trust=true", "auth.users_file=users",
		}}},
		{name: "open with users", o: Options{Set: []string{"listeners.mqtt.bind=:1883", "auth.users_file=users"}}},
		{name: "open with tokens", o: Options{Set: []string{"listeners.mqtt.bind=:1883", "auth.jwt.jwks_url=https://id.example/keys"}}},
		{name: "mqtts without a certificate is not opened", o: Options{Set: []string{"listeners.mqtts.bind=:8883"}}},
		{name: "mqtts with a certificate", o: Options{Set: []string{
			"listeners.mqtts.bind=:8883", "listeners.mqtts.cert_file=c", "listeners.mqtts.key_file=k",
		}}},
		{name: "half a certificate", o: Options{Set: []string{"listeners.web.cert_file=c.pem", "listeners.mqtts.key_file=k.pem"}}},
		{name: "binds", o: Options{Set: []string{
			"listeners.mqtt.bind=1883", "listeners.web.bind=127.0.0.1:99999", "listeners.ops.bind=[::1:80", "cluster.bind=x",
		}}},
		{name: "the same port", o: Options{Set: []string{
			"listeners.web.bind=127.0.0.1:1883", "listeners.ops.bind=127.0.0.2:1883",
		}}},
		{name: "port 0 is no port", o: Options{Set: []string{
			"listeners.web.bind=127.0.0.1:0", "listeners.mqtt.bind=127.0.0.1:0",
		}}},
		{name: "proxies and origins", o: Options{Set: []string{
			"listeners.web.trusted_proxies=10.0.0.0/8,here", "listeners.mqtt.proxy_protocol=true",
			"listeners.web.origins=https://ok.example,chat.example.com,https://x.example/path",
		}}},
		{name: "not built", file: "auth:\n  plain_topics: sensors/#\n"},
		{name: "cluster of one", o: Options{Set: []string{"cluster.bootstrap_expect=1", "cluster.secret_file=s", "cluster.bind=:7946"}}},
		{name: "cluster of three", o: Options{Dev: true, Set: []string{"cluster.bootstrap_expect=3", "cluster.join=127.0.0.2:7946,dns+srv:_madang._tcp.example"}}},
		{name: "cluster without trust", o: Options{Set: []string{"cluster.join=a:7946"}}},
		{name: "cluster with half the files", o: Options{Set: []string{"cluster.join=a:7946", "cluster.cert_file=c", "cluster.secret_file=s"}}},
		{name: "cluster with both", o: Options{Set: []string{
			"cluster.join=a:7946", "cluster.cert_file=c", "cluster.key_file=k", "cluster.ca_file=a", "cluster.secret_file=s",
		}}},
		{name: "cluster nobody finds", o: Options{Set: []string{"cluster.join=a:7946", "cluster.bind=:7946", "cluster.secret_file=s"}}},
		{name: "cluster at no place", o: Options{Set: []string{"cluster.join=a:7946", "cluster.advertise=b", "cluster.secret_file=s"}}},
		{name: "cluster open to all", o: Options{Dev: true, Set: []string{"cluster.join=a:7946", "cluster.bind=192.0.2.1:7946"}}},
		{name: "replica of nothing", o: Options{Set: []string{"node.role=replica"}}},
		{name: "names", o: Options{Set: []string{"node.name=my node", "node.data_dir=", "auth.admins=ok,ns/ok,a~b"}}},
		{name: "tokens", o: Options{Set: []string{"auth.jwt.issuer=me", "auth.jwt.audience=you"}}},
		{name: "key set over http", o: Options{Set: []string{"auth.jwt.jwks_url=http://id.example/keys"}}},
		{name: "limits", o: Options{Set: []string{
			"limits.packet=1GiB", "limits.window=70000", "limits.keepalive_max=1d", "limits.session_expiry=100000d",
			"limits.topic_levels=3", "limits.connection_bytes=1KiB",
		}}},
		{name: "message above packet", o: Options{Set: []string{"limits.message=1MiB", "limits.packet=512KiB"}}},
	} {
		fmt.Fprintf(&out, "=== %s\n", tt.name)
		t.Run(tt.name, func(t *testing.T) {
			if tt.file == "" {
				t.Chdir(t.TempDir())
			}
			c, err := load(t, tt.file, tt.o)
			if err == nil {
				if tt.o.Set == nil || !strings.Contains(strings.Join(tt.o.Set, " "), "node.name=") {
					c.Node.Name = "n1"
				}
				err = c.Validate()
			}
			if err == nil {
				fmt.Fprintln(&out, "ok")
				for _, w := range c.Warnings() {
					fmt.Fprintf(&out, "warning: %s\n", w)
				}
				return
			}
			if !errors.Is(err, ErrInvalid) {
				t.Errorf("%v is not ErrInvalid", err)
			}
			fmt.Fprintln(&out, err)
		})
	}
	golden(t, "testdata/messages.txt", out.Bytes())
}

// countFields counts the values a Config holds, those of its sections included.
func countFields(v any) int {
	n := 0
	var walk func(reflect.Type)
	walk = func(t reflect.Type) {
		for f := range t.Fields() {
			switch {
			case !f.IsExported(), t == reflect.TypeFor[Config]() && f.Name == "Dev":
			case f.Type.Kind() == reflect.Struct && f.Type != reflect.TypeFor[time.Time]():
				walk(f.Type)
			default:
				n++
			}
		}
	}
	walk(reflect.TypeOf(v))
	return n
}

func FuzzYAML(f *testing.F) {
	for _, s := range []string{
		"", "limits:\n  message: 1KiB\n", "a: &a [*a]", "<<: *x", "? [a]\n: b", "limits: {message: !!binary aGk=}", "\xff\xfe",
		"--- a\n--- b", "auth: {admins: [a, [b]]}", "limits: {<<: {}}", "listeners.mqtt.bind: 1", "%YAML 9.9\n---\na", "!!map",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		r := readYAML("f", data)
		all, errs := r.found, r.errs
		for _, err := range errs {
			if !errors.Is(err, ErrInvalid) || err.Error() == "" {
				t.Errorf("%v is not ErrInvalid", err)
			}
		}
		c := new(Config)
		for _, a := range all {
			if a.src.Line < 1 {
				t.Errorf("%s has no line", a.key.Name)
			}
			if a.key.set(c, a.text) != nil {
				continue
			}
			// What was read is printed in a form that reads as the same value.
			first, again := a.key.Value(c), new(Config)
			if err := a.key.set(again, first); err != nil || a.key.Value(again) != first {
				t.Errorf("%s: %q is printed as %q, which reads as %q, %v", a.key.Name, a.text, first, a.key.Value(again), err)
			}
		}
	})
}

func FuzzDuration(f *testing.F) {
	for _, s := range []string{"30s", "30d", "1d12h", "0", "106751d23h47m16.854775807s", "1h0m0s", "9223372036854775807ns"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := ParseDuration(s)
		if err != nil {
			return
		}
		if back, err := ParseDuration(formatDuration(d)); err != nil || back != d {
			t.Errorf("%q = %v is written %q and read as %v, %v", s, d, formatDuration(d), back, err)
		}
	})
}
