package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/madang-chat/madang/internal/certtest"
)

// A node that cannot start says one thing: what is wrong, why, and what to do. Nothing goes to stdout.
func TestServeRefused(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	running := startNode(t, nodeArgs(filepath.Join(dir, "taken"), "--dev")...)
	busy := running.at().MQTT
	cert, key := certtest.New(t).Issue(t, filepath.Join(dir, "one.pem"))
	_, otherKey := certtest.New(t).Issue(t, filepath.Join(dir, "other.pem"))
	for _, tt := range []struct {
		name string
		env  []string
		args []string // beside nodeArgs; --data-dir wins when given once more
		code int
		want string // the message, a regular expression of one line
	}{
		{
			name: "unknown key in the file", args: []string{"--config", file("key.yaml", "limits:\n  mesage: 1KiB\n")},
			code: exitConfig, want: `^\S+/key\.yaml:2: limits\.mesage: unknown key \(did you mean limits\.message\?\)$`,
		},
		{
			name: "unknown key in --set", args: []string{"--set", "listeners.mqt.bind=:1883"},
			code: exitConfig, want: `^--set listeners\.mqt\.bind: unknown key \(did you mean listeners\.mqtt\.bind\?\)$`,
		},
		{
			name: "unknown key in the environment", env: []string{"MADANG_LISTENERS__MQT__BIND=:1883"},
			code: exitConfig, want: `^MADANG_LISTENERS__MQT__BIND: unknown key \(did you mean MADANG_LISTENERS__MQTT__BIND\?\)$`,
		},
		{
			name: "wrong value in the file", args: []string{"--config", file("value.yaml", "log:\n  level: loud\n")},
			code: exitConfig, want: `^\S+/value\.yaml:2: log\.level: "loud" is not one of .*debug.*error`,
		},
		{
			name: "wrong value in --set", args: []string{"--set", "limits.ack_wait=30"},
			code: exitConfig, want: `^--set limits\.ack_wait: 30 needs a unit, such as 30s$`,
		},
		{
			name: "wrong value in the environment", env: []string{"MADANG_LIMITS__MESSAGE=lots"},
			code: exitConfig, want: `^MADANG_LIMITS__MESSAGE: limits\.message: "lots" is not a size`,
		},
		{
			name: "no such configuration", args: []string{"--config", filepath.Join(dir, "nowhere.yaml")},
			code: exitConfig, want: `^\S+/nowhere\.yaml: no such file or directory$`,
		},
		{
			name: "open to everybody", args: []string{"--set", "listeners.web.bind=0.0.0.0:0"},
			code: exitConfig,
			want: `^--set listeners\.web\.bind: 0\.0\.0\.0:0 can be reached from other machines, and there is no authentication: ` +
				`bind 127\.0\.0\.1:\d+, or set auth\.users_file or .*auth\.trust_network`,
		},
		{
			name: "no certificate in the file", code: exitConfig,
			args: []string{"--set", "listeners.mqtts.cert_file=" + file("bad.pem", "x"), "--set", "listeners.mqtts.key_file=" + key},
			want: `^--set listeners\.mqtts\.cert_file: \S+/bad\.pem with the key \S+ cannot be used: .*; both must be in PEM form`,
		},
		{
			name: "the key of another certificate", code: exitConfig,
			args: []string{"--set", "listeners.web.cert_file=" + cert, "--set", "listeners.web.key_file=" + otherKey},
			want: `^--set listeners\.web\.cert_file: \S+/one\.pem .*\S+/other\.key.*does not match`,
		},
		{
			name: "no key file", code: exitConfig,
			args: []string{"--set", "listeners.web.cert_file=" + cert, "--set", "listeners.web.key_file=" + dir + "/nokey"},
			want: `^--set listeners\.web\.key_file: \S+/nokey: no such file or directory$`,
		},
		{
			name: "a users file with a fault", code: exitConfig,
			args: []string{"--set", "auth.users_file=" + file("users", "# us\nalice:secret\n")},
			want: `^--set auth\.users_file: \S+/users:2: .*madang user passwd$`,
		},
		{
			name: "an empty token file", code: exitConfig,
			args: []string{"--set", "listeners.ops.token_file=" + file("token", "\n")},
			want: "^--set listeners\\.ops\\.token_file: \\S+/token is empty: make it with `openssl rand -hex 32`$",
		},
		{
			name: "a public key that is none", code: exitConfig,
			args: []string{"--set", "auth.jwt.public_key_file=" + file("public", "x")},
			want: `^--set auth\.jwt\.public_key_file: \S+/public: `,
		},
		{
			name: "no users file", code: exitConfig,
			args: []string{"--set", "auth.users_file=" + dir + "/nobody"},
			want: "^--set auth\\.users_file: \\S+/nobody does not exist: make it with `madang user add NAME --file \\S+/nobody`$",
		},
		{
			name: "a port that is taken", args: []string{"--set", "listeners.mqtt.bind=" + busy}, code: exitFailure,
			want: `^listeners\.mqtt\.bind "` + busy + `": .*another process has this port: stop it or choose another one`,
		},
		{
			name: "a file in place of the data directory", args: []string{"--data-dir", file("data", "")}, code: exitFailure,
			want: `^make the data directory \S+/data: .*not a directory; choose another with --data-dir`,
		},
		{
			name: "the data directory of a running node", args: []string{"--data-dir", filepath.Join(dir, "taken")},
			code: exitFailure,
			want: `^the data directory \S+/taken is in use by another madang; stop it or choose another with --data-dir$`,
		},
		{
			name: "no place for the pid file", args: []string{"--pid-file", dir + "/nowhere/pid"}, code: exitFailure,
			want: `^write the pid file: open \S+/nowhere/pid: no such file or directory; choose another place with --pid-file$`,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := surroundings{env: tt.env}.start(t, nodeArgs(filepath.Join(dir, "free"), tt.args...)...)
			if code := p.wait(); code != tt.code {
				t.Errorf("exit code %d, want %d", code, tt.code)
			}
			if out := p.out.String(); out != "" {
				t.Errorf("stdout: %s", out)
			}
			said := complaints(p.err.String())
			if len(said) != 1 || !regexp.MustCompile(tt.want).MatchString(said[0]) {
				t.Errorf("stderr does not match %s:\n%s", tt.want, p.err)
			}
		})
	}
	if all := complaints(running.err.String()); len(all) > 0 {
		t.Errorf("the node that ran meanwhile complains: %q", all)
	}
}

// complaints are the lines of stderr that tell a person why the program ended, without its name. Lines of the log are
// none unless they are errors.
func complaints(stderr string) []string {
	var all []string
	for line := range strings.Lines(stderr) {
		line = strings.TrimSuffix(line, "\n")
		if strings.HasPrefix(line, "time=") && !strings.Contains(line, "level=ERROR") {
			continue
		}
		all = append(all, strings.TrimPrefix(line, "madang: "))
	}
	return all
}
