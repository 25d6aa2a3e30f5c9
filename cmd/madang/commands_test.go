package main

import (
	"fmt"
	"net"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The tools against a node as one runs it: users with passwords, tokens, an admin, and nobody else.
func TestCommands(t *testing.T) {
	dir := t.TempDir()
	users, secret := filepath.Join(dir, "users"), filepath.Join(dir, "secret")
	addUser(t, users, "admin", "a")
	addUser(t, users, "alice", "b")
	rewrite(t, secret, strings.Repeat("0123456789abcdef", 4)+"\n")
	n := startNode(t, nodeArgs(filepath.Join(dir, "data"), "--set", "auth.users_file="+users, "--set", "auth.admins=admin",
		"--set", "auth.jwt.hmac_secret_file="+secret)...)
	at, closed := n.at(), nobody(t)
	token, _ := command(t, "", exitOK, "token", "create", "--user", "bob", "--ttl", "1h", "--secret-file", secret)
	token = strings.TrimSpace(token)
	tcp, ws := "mqtt://"+at.MQTT, "ws://"+at.Web
	const send, msg = "chat/rooms/general/send", "chat/rooms/general/msg/#"

	// Who asks: the parts of a command line.
	admin := []string{"--server", "http://" + at.Web, "--user", "admin", "--password-stdin"}
	alice := []string{"--server", "http://" + at.Web, "--user", "alice", "--password-stdin"}
	bob := []string{"--server", "http://" + at.Web, "--token", token}

	for _, tt := range []struct {
		name, stdin string
		args        []string
		code        int
		out, err    string // regular expressions of all that is printed
	}{
		{name: "make a room", stdin: "a\n", args: join("room create general --name Hall", admin)},
		{
			name: "make it again", stdin: "a\n", args: join("room create general", admin), code: exitFailure,
			err: `madang: .*Room "general" exists\. \(conflict\)`,
		},
		{name: "list", stdin: "a\n", args: join("room list", admin), out: `general  public  Hall`},
		{name: "list of one without rooms", args: join("room list", bob)},
		{name: "change", stdin: "a\n", args: join("room set general name=Court guest=none", admin)},
		{name: "the change", stdin: "a\n", args: join("room list --json", admin), out: `\{"rooms":\[\{"room":"general",.*"name":"Court".*\}`},
		{
			name: "change what there is not", stdin: "a\n", args: join("room set nowhere name=x", admin), code: exitFailure,
			err: `madang: .*Room "nowhere" does not exist\. \(not_found\)`,
		},
		{
			name: "change a property there is not", stdin: "a\n", args: join("room set general color=red", admin), code: exitFailure,
			err: `madang: .*color.* \(bad_payload\)`,
		},
		{
			name: "remove what there is not", stdin: "a\n", args: join("room del nowhere", admin), code: exitFailure,
			err: `madang: .*Room "nowhere" does not exist\. \(not_found\)`,
		},
		{
			name: "remove another's", stdin: "b\n", args: join("room del general", alice), code: exitFailure,
			err: `madang: .* \(forbidden\)`,
		},
		{
			name: "wrong password", stdin: "a\n", args: join("room list", alice), code: exitFailure,
			err: `madang: login: .*wrong password\. \(unauthenticated\)`,
		},
		{
			name: "no node for room", args: join("room list --token x --server http://"+closed, nil), code: exitFailure,
			err: `madang: connect to ` + closed + `: .*connection refused; is a broker running there\?`,
		},
		{name: "no server URL", args: join("room list --token x --server "+closed, nil), code: exitUsage, err: `madang: --server .*\ntry: madang room list --help`},

		{name: "send", args: join("pub -t "+send+" -m one -v -u alice -P b --url "+tcp, nil), out: `1`},
		{name: "send with a token", args: join("pub -t "+send+" -m two -v -u - -P "+token+" --url "+ws, nil), out: `2`},
		{name: "send twice with a cid", args: join("pub -t "+send+" -m one -v --cid c -u alice -P b --url "+tcp, nil), out: `3`},
		{name: "the second time", args: join("pub -t "+send+" -m one -v --cid c -u alice -P b --url "+ws, nil), out: `3`},
		{
			name: "the cid of another message", args: join("pub -t "+send+" -m two --cid c -u alice -P b --url "+tcp, nil), code: exitFailure,
			err: `madang: refused: .*Cid "c" was used .*`,
		},
		{name: "send at QoS 2", args: join("pub -t "+send+" -m four -q 2 -u alice -P b --url "+tcp, nil)},
		{name: "send lines", stdin: "five\nsix\n", args: join("pub -t "+send+" -l -v -u alice -P b --url "+ws, nil), out: "5\n6"},
		{
			name: "send to a room there is not", args: join("pub -t chat/rooms/nowhere/send -m x -u alice -P b --url "+tcp, nil), code: exitFailure,
			err: `madang: refused: .*nowhere.* \(0x[89][0-9A-F]\)`,
		},
		{
			name: "send with a wrong password", args: join("pub -t "+send+" -m x -u alice -P a --url "+tcp, nil), code: exitFailure,
			err: `madang: login refused: unknown user or wrong password \(0x86\)`,
		},
		{
			name: "send as nobody", args: join("pub -t "+send+" -m x --url "+tcp, nil), code: exitFailure,
			err: `madang: login refused: .*auth\.guest.* \(0x86\)`,
		},
		{
			name: "no node for pub", args: join("pub -t "+send+" -m x --url mqtt://"+closed, nil), code: exitFailure,
			err: `madang: connect to ` + closed + `: .*connection refused; is a broker running there\?`,
		},
		{
			name: "no node for sub over WebSocket", args: join("sub -t "+msg+" --url ws://"+closed, nil), code: exitFailure,
			err: `madang: connect to ` + closed + `: .*connection refused; is a broker running there\?`,
		},
		{
			name: "receive", args: join("sub -v -C 2 -t $since/4/"+msg+" -u alice -P b --url "+tcp, nil),
			out: `chat/rooms/general/msg/text \{.*"seq":5,.*"five".*\}` + "\n" + `chat/rooms/general/msg/text \{.*"seq":6,.*"six".*\}`,
		},
		{name: "receive over WebSocket", args: join("sub -C 1 -t $last/1/"+msg+" -u bob -P x --url "+ws, nil), code: exitFailure, err: `madang: login refused: .*\(0x86\)`},
		{
			name: "subscribe to what cannot be", args: join("sub -t chat/#/x -u alice -P b --url "+tcp, nil), code: exitFailure,
			err: `madang: subscription to chat/#/x refused: .* \(0x8F\)`,
		},
		{
			name: "nothing to receive", args: join("sub -C 1 -W 1 -t "+msg+" -u alice -P b --url "+tcp, nil), code: exitFailure,
			err: `madang: fewer than 1 messages within 1 s`,
		},
		{
			name: "export", stdin: "a\n", args: join("room export general", admin), out: `(?s)\{"madang":"room".*"five".*\{"end":\{"lines":\d+\}\}`,
			err: `\d+ lines exported, 0 MB`,
		},
		{
			name: "export another's", args: join("room export general", bob), code: exitFailure, err: `madang: .*\(forbidden\)`,
		},
		{name: "remove", stdin: "a\n", args: join("room del general", admin)},
		{name: "after removal", stdin: "a\n", args: join("room list", admin)},
	} {
		out, errOut := command(t, tt.stdin, tt.code, tt.args...)
		for _, got := range []struct{ what, text, want string }{{"stdout", out, tt.out}, {"stderr", errOut, tt.err}} {
			if !regexp.MustCompile(`\A` + got.want + `\z`).MatchString(strings.TrimSuffix(got.text, "\n")) {
				t.Errorf("%s: %s is %q, want %s", tt.name, got.what, got.text, got.want)
			}
		}
	}
	lines := `{"madang":"room","version":1,"room":{"kind":"public"}}` + "\n" +
		`{"entry":{"ts":1000,"from":{"user":"alice"},"data":{"text":"old"}}}` + "\n" + `{"end":{}}` + "\n"
	old := filepath.Join(dir, "old")
	rewrite(t, old, lines)
	for _, want := range []string{"copy: 3 lines are in, 0 of them were before\n", "copy: 3 lines are in, 3 of them were before\n"} {
		if out, _ := command(t, "a\n", exitOK, join("room import copy --file "+old, admin)...); out != want {
			t.Errorf("import: %q, want %q", out, want)
		}
	}
	n.stop()
}

// join makes arguments of words and those behind them.
func join(words string, more []string) []string { return append(strings.Fields(words), more...) }

// nobody is an address where nothing listens.
func nobody(t testing.TB) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// Flags of several scenarios of bench.
const (
	benchFlagNames = "host port url ssl ws cafile version username password keepalive prefix startnumber ifaddr connrate " +
		"interval pid plain json "
	roomFlagNames = "publishers qos inflight rate size send-topic read-topic duration warmup limit "
)

// The help of every command names each of its flags, and explains it.
func TestHelp(t *testing.T) {
	for _, tt := range []struct{ cmd, flags string }{
		{"serve", "config dev set data-dir pid-file"},
		{"config", "config dev set data-dir pid-file keys check"},
		{"user add", "config dev set file"},
		{"user passwd", "config dev set file"},
		{"user del", "config dev set file"},
		{"user list", "config dev set file"},
		{"token create", "config dev set secret-file user ttl name level role"},
		{"room create", "server token user password-stdin cafile kind name"},
		{"room set", "server token user password-stdin cafile"},
		{"room del", "server token user password-stdin cafile"},
		{"room list", "server token user password-stdin cafile json"},
		{"pub", "host port url username pw id cafile qos topic message stdin-line verbose cid"},
		{"sub", "host port url username pw id cafile qos topic count wait verbose keep"},
		{"version", ""},
		{"bench conn", benchFlagNames + "count topic qos clean hold"},
		{"bench pub", benchFlagNames + "count topic qos inflight interval_of_msg size message retain duration warmup limit"},
		{"bench sub", benchFlagNames + "count topic qos clean duration limit"},
		{"bench room", benchFlagNames + roomFlagNames + "count stuck"},
		{"bench rooms", benchFlagNames + roomFlagNames + "rooms count"},
		{"bench offline", benchFlagNames + "count limit inflight size live rate live-time send-topic read-topic"},
	} {
		out, errOut := command(t, "", exitOK, append(strings.Fields(tt.cmd), "--help")...)
		if errOut != "" || !strings.Contains(out, "madang "+tt.cmd) {
			t.Errorf("%s --help: stderr %q, stdout:\n%s", tt.cmd, errOut, out)
		}
		for f := range strings.FieldsSeq(tt.flags) {
			if !regexp.MustCompile(fmt.Sprintf(`(?m)^ +(-\w, )?--%s( \S+)? {2,}\S.*$`, regexp.QuoteMeta(f))).MatchString(out) {
				t.Errorf("%s --help does not explain --%s:\n%s", tt.cmd, f, out)
			}
		}
	}
}
