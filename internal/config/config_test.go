package config

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var update = flag.Bool("update", false, "write golden files and docs/configuration.md")

func golden(t *testing.T, path string, got []byte) {
	t.Helper()
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s is not what it should be; go test -update writes it anew (-want +got):\n%s", path, diff)
	}
}

// load reads a configuration whose file is given as text. Messages call that file madang.yaml.
func load(t *testing.T, text string, o Options) (*Config, error) {
	t.Helper()
	if text != "" {
		t.Chdir(t.TempDir())
		if err := os.WriteFile("madang.yaml", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		o.File = "madang.yaml"
	}
	return Load(o)
}

func TestMarkdown(t *testing.T) {
	var b bytes.Buffer
	if err := WriteMarkdown(&b); err != nil {
		t.Fatal(err)
	}
	golden(t, "../../docs/configuration.md", b.Bytes())
}

// Every default, too, is text of the table: it must be readable, be printed as it was written, and be valid.
func TestDefaults(t *testing.T) {
	for _, dev := range []bool{false, true} {
		c, err := Load(Options{Dev: dev, Set: []string{"node.name=n1"}})
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Validate(); err != nil {
			t.Errorf("dev %v: %v", dev, err)
		}
		for _, k := range Keys() {
			want, src := k.Default, "default"
			if dev && k.Dev != nil {
				want, src = *k.Dev, "--dev"
			}
			if k.Name == "node.name" {
				want, src = "n1", "--set node.name"
			}
			if got := k.Value(c); got != want {
				t.Errorf("dev %v: %s = %q, want %q", dev, k.Name, got, want)
			}
			if got := c.Source(k.Name).String(); got != src {
				t.Errorf("dev %v: source of %s = %q, want %q", dev, k.Name, got, src)
			}
		}
	}
	c, err := Load(Options{Dev: true})
	if err != nil {
		t.Fatal(err)
	}
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	if c.Node.Name != host {
		t.Errorf("node.name = %q, want the host name %q", c.Node.Name, host)
	}
	if c.Limits.Message != 256<<10 || c.Limits.SessionExpiry != 30*24*time.Hour || c.Limits.OfUser.Messages != 0 {
		t.Errorf("limits: %+v", c.Limits)
	}
}

// Every field of Config must be reachable by a key, and each by one only.
func TestKeysCoverConfig(t *testing.T) {
	seen := make(map[any]string)
	names := make(map[string]bool)
	c := new(Config)
	for _, k := range Keys() {
		p := k.field(c)
		if other, twice := seen[p]; twice {
			t.Errorf("%s and %s set the same field", k.Name, other)
		}
		seen[p] = k.Name
		if names[k.Name] {
			t.Errorf("%s stands in the table twice", k.Name)
		}
		names[k.Name] = true
		if k.Doc == "" || !strings.HasSuffix(k.Doc, ".") {
			t.Errorf("%s: %q is no sentence", k.Name, k.Doc)
		}
	}
	if fields := countFields(*c) - 1; len(seen) != fields { // Webhooks is a list of the file alone
		t.Errorf("%d keys for %d fields", len(seen), fields)
	}
}

func TestPrecedence(t *testing.T) {
	const file = "limits:\n  message: 1KiB\n  window: 7\nauth:\n  guest: off\n  trust: true\n"
	c, err := load(t, file, Options{
		Dev:   true,
		Env:   []string{"MADANG_LIMITS__MESSAGE=2KiB", "MADANG_LIMITS__IN_FLIGHT=5", "MADANG_PORT=tcp://10.0.0.1", "X__Y=1"},
		Flags: []Option{{"--data-dir", "node.data_dir", "/data"}},
		Set:   []string{"limits.message=3KiB", "limits.message=4KiB", "cluster.join="},
	})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, k := range []string{
		"limits.message", "limits.window", "limits.in_flight", "auth.guest", "node.data_dir", "rooms.auto_create", "log.level",
	} {
		got[k] = Lookup(k).Value(c) + " from " + c.Source(k).String()
	}
	want := map[string]string{
		"limits.message":    "4KiB from --set limits.message",
		"limits.window":     "7 from madang.yaml:3",
		"limits.in_flight":  "5 from MADANG_LIMITS__IN_FLIGHT",
		"auth.guest":        "off from madang.yaml:5",
		"node.data_dir":     "/data from --data-dir",
		"rooms.auto_create": "public from --dev",
		"log.level":         "info from default",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestLists(t *testing.T) {
	want := []string{"a", "b/c"}
	for _, text := range []string{"auth:\n  admins: [a, b/c]\n", "auth: {admins: 'a, b/c'}", "auth:\n  admins:\n  - a\n  - b/c\n"} {
		c, err := load(t, text, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, c.Auth.Admins); diff != "" {
			t.Errorf("%q (-want +got):\n%s", text, diff)
		}
	}
	c, err := load(t, "auth: {admins: []}", Options{Dev: true})
	if err != nil || len(c.Auth.Admins) != 0 {
		t.Errorf("an empty list: %v, %v", c, err)
	}
}

func TestDurationsAndSizes(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"0": 0, "30s": 30 * time.Second, "72h": 72 * time.Hour, "30d": 30 * day, "1d12h": 36 * time.Hour, "1.5s": 1500 * time.Millisecond,
	} {
		if got, err := ParseDuration(text); err != nil || got != want {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "5", "-5s", "+5s", "1d-1h", "d", "1w", "-1d", "200000d", "106751d24h", "9999999h", "1 h"} {
		if got, err := ParseDuration(text); err == nil {
			t.Errorf("%q is read as %v", text, got)
		}
	}
	for text, want := range map[string]int64{
		"0": 0, "17": 17, "17B": 17, "256KiB": 256 << 10, "16 MiB": 16 << 20, "1GB": 1e9, "1kB": 1000, "7TiB": 7 << 40,
	} {
		if got, err := parseSize(text); err != nil || got != want {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "B", "-1", "1.5MiB", "1mib", "9223372036854775808", "9007199254740992KiB", "0x10"} {
		if got, err := parseSize(text); err == nil {
			t.Errorf("%q is read as %v", text, got)
		}
	}
}

func TestOff(t *testing.T) {
	c, err := Load(Options{Set: []string{"listeners.web.bind=off", "listeners.ops.bind=", "node.name=a"}})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"mqtt"}, c.Opened()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
}

func TestChanged(t *testing.T) {
	a, err := Load(Options{})
	if err != nil {
		t.Fatal(err)
	}
	b, err := Load(Options{Set: []string{"log.level=debug", "limits.disk_reserve=9", "limits.message=256KiB"}})
	if err != nil {
		t.Fatal(err)
	}
	reload, restart := Changed(a, b)
	if len(reload) != 1 || reload[0].Name != "log.level" || len(restart) != 1 || restart[0].Name != "limits.disk_reserve" {
		t.Errorf("reload %v, restart %v", reload, restart)
	}
	if diff := cmp.Diff(a, b, cmpopts.IgnoreUnexported(Config{})); diff == "" {
		t.Error("both are equal")
	}
}

func TestCheckFiles(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.WriteFile("secret", []byte("short\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := Load(Options{Set: []string{
		"auth.users_file=users", "auth.jwt.hmac_secret_file=secret", "listeners.mqtts.cert_file=c.pem",
	}})
	if err != nil {
		t.Fatal(err)
	}
	err = c.CheckFiles()
	if !errors.Is(err, ErrInvalid) {
		t.Errorf("%v is not ErrInvalid", err)
	}
	want := strings.Join([]string{
		"--set listeners.mqtts.cert_file: c.pem: no such file or directory",
		"--set auth.users_file: users does not exist: make it with `madang user add NAME --file users`",
		"--set auth.jwt.hmac_secret_file: secret holds less than 32 bytes: make it with `openssl rand -hex 32`",
	}, "\n")
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%v", err, want)
	}
	for file, text := range map[string]string{"secret": strings.Repeat("x", 32), "users": "", "c.pem": "c"} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.CheckFiles(); err != nil {
		t.Error(err)
	}
}

func TestLoopback(t *testing.T) {
	for bind, want := range map[string]bool{
		"127.0.0.1:1": true, "127.0.0.3:1883": true, "[::1]:1883": true, "localhost:1883": true, "[::ffff:127.0.0.1]:1": true,
		":1883": false, "0.0.0.0:1883": false, "[::]:1883": false, "10.0.0.1:1": false, "example.com:1883": false,
		"127.0.0.1": false, "": false, "127.0.0.1.example.com:1": false,
	} {
		if got := Loopback(bind); got != want {
			t.Errorf("Loopback(%q) = %v", bind, got)
		}
	}
}

func TestAllowOrigin(t *testing.T) {
	w := Web{Origins: []string{"localhost", "https://chat.example.com"}}
	for _, tt := range []struct {
		origin, host string
		want         bool
	}{
		{"", "a:1", true},
		{"http://a:1", "A:1", true},
		{"http://a:2", "a:1", false},
		{"http://localhost:5173", "127.0.0.1:8080", true},
		{"http://127.0.0.1:3000", "127.0.0.1:8080", true},
		{"http://[::1]:3000", "127.0.0.1:8080", true},
		{"http://localhost.evil.example", "127.0.0.1:8080", false},
		{"https://chat.example.com", "a:1", true},
		{"http://chat.example.com", "a:1", false},
		{"null", "a:1", false},
		{"://", "a:1", false},
	} {
		if got := w.AllowOrigin(tt.origin, tt.host); got != tt.want {
			t.Errorf("origin %q at host %q: %v", tt.origin, tt.host, got)
		}
	}
	all := Web{Origins: []string{"*"}}
	if !all.AllowOrigin("https://anything.example", "a:1") || (&Web{}).AllowOrigin("https://anything.example", "a:1") {
		t.Error("* allows every origin, an empty list none but the same")
	}
}
