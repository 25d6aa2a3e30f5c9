package main

import (
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/madang-chat/madang/internal/bench"
	"github.com/madang-chat/madang/internal/certtest"
)

// Every scenario measures a node, over every listener, and prints a report and nothing else.
func TestBench(t *testing.T) {
	dir := t.TempDir()
	ca := certtest.New(t)
	cert, key := ca.Issue(t, filepath.Join(dir, "node.pem"))
	n := startNode(t, nodeArgs(filepath.Join(dir, "data"), "--dev", "--set", "listeners.mqtts.bind=127.0.0.1:0",
		"--set", "listeners.mqtts.cert_file="+cert, "--set", "listeners.mqtts.key_file="+key)...)
	at, closed, other := n.at(), nobody(t), notMQTT(t)
	host, port, err := net.SplitHostPort(at.MQTT)
	if err != nil {
		t.Fatal(err)
	}
	tcp := " -h " + host + " -p " + port
	ws, tls := " --url ws://"+at.Web, " --url "+n.url("MQTT over TLS")+" --cafile "+ca.File(t, dir)
	pid := " --pid " + strconv.Itoa(n.cmd.Process.Pid)

	for _, tt := range []struct {
		args                                string
		connections                         int
		published, acked, delivered, latest bool // there are some, and how late the last was
		lost                                bool // is known
	}{
		{args: "conn -c 5 --hold 1ms -t chat/rooms/lobby/msg/# -i 1" + tcp, connections: 5},
		{args: "pub -c 2 -L 20" + tcp, connections: 2, published: true, acked: true, lost: true},
		{args: "pub -c 2 -L 20 -q 0 -I 1 -m hello -V 5" + ws, connections: 2, published: true},
		{args: "sub -c 2 -d 1ms" + tls, connections: 2},
		{args: "room -c 3 -L 20" + tcp, connections: 4, published: true, delivered: true, latest: true, lost: true},
		{args: "room -c 3 -L 20 -q 1 -V 5 --stuck 1" + ws, connections: 5, published: true, acked: true, delivered: true, latest: true, lost: true},
		{args: "rooms --rooms 3 -c 2 -L 20 --rate 1000" + tls, connections: 7, published: true, delivered: true, latest: true, lost: true},
		{args: "offline -c 3 -L 20" + tcp, connections: 4, published: true, acked: true, delivered: true, lost: true},
	} {
		args := append([]string{"bench"}, strings.Fields(tt.args+pid)...)
		if strings.Contains(tt.args, "-L 20 ") && args[1] != "offline" {
			args = append(args, "--warmup", "0s", "-d", "1h")
		}
		out, errOut := command(t, "", exitOK, append(args, "--json")...)
		var r bench.Report
		if err := json.Unmarshal([]byte(out), &r); err != nil || strings.Count(out, "\n") != 1 || errOut != "" {
			t.Errorf("%s: %v; stderr %q, stdout %q", tt.args, err, errOut, out)
		}
		if r.Scenario != args[1] || !strings.Contains(r.Target, "://127.0.0.1:") || r.Connections != tt.connections || r.Disconnected != 0 ||
			r.Seconds <= 0 || r.RSS <= 0 || r.RSSBefore <= 0 {
			t.Errorf("%s: %s", tt.args, out)
		}
		if (r.Published > 0) != tt.published || (r.Acked > 0) != tt.acked || (r.Delivered > 0) != tt.delivered ||
			(r.Latency != nil) != tt.latest || (r.Lost != nil) != tt.lost || r.Lost != nil && *r.Lost != 0 || r.Refused != 0 {
			t.Errorf("%s: %s", tt.args, out)
		}
	}

	for _, tt := range []struct {
		args     string
		code     int
		out, err string // regular expressions of all that is printed
	}{
		{
			args: "room -c 3 -L 20 --warmup 0s -d 1h" + tcp,
			out: `scenario +room, QoS 0, mqtt://` + regexp.QuoteMeta(at.MQTT) + `\nconnections  4, of which 0 were lost\nmeasured +\S+ s\n` +
				`connected .*\npublished +20, .*\ndelivered +60, .*\n +0 lost, 0 out of order, 0 repeated\nlatency +p50 .* longest .*\n`,
		},
		{args: "storm --at localhost" + tcp, code: exitUsage, err: `madang: --at: "localhost" is not host:port\n(.*\n)*`},
		{args: "storm --at x:1883x" + tcp, code: exitUsage, err: `madang: --at: "x:1883x" is not host:port\n(.*\n)*`},
		{args: "storm --at x:0" + tcp, code: exitUsage, err: `madang: --at: "x:0" is not host:port\n(.*\n)*`},
		{args: "storm --at :1883" + tcp, code: exitUsage, err: `madang: --at: ":1883" is not host:port\n(.*\n)*`},
		{
			args: "storm -c 2 --publishers 1 --sessions 5 -d 100ms --at " + at.MQTT + tcp,
			out:  `scenario +storm, .*\n +hostile clients at ` + regexp.QuoteMeta(at.MQTT) + `\n(.*\n)+`,
		},
		{args: "offline -c 3 -L 20" + ws, out: `scenario +offline, QoS 1, (.*\n)+drained +in .* s\n`},
		{
			args: "conn --url mqtt://" + closed, code: exitFailure,
			err: `madang: .*connect to ` + closed + `: connection refused; is a broker running there\?\n`,
		},
		{
			args: "conn --url ws://" + closed, code: exitFailure,
			err: `madang: .*connect to ` + closed + `: .*connection refused; is a broker running there\?\n`,
		},
		{
			args: "conn --url mqtts://" + other, code: exitFailure,
			err: `madang: .*connect to ` + other + `: .*; is it a port for mqtts\?\n`,
		},
		{
			args: "conn --url mqtt://" + other, code: exitFailure,
			err: `madang: .*is it a port for MQTT, and for it without TLS or WebSocket\?\n`,
		},
		{args: "conn --url ws://" + at.Web + "/api", code: exitFailure, err: `madang: .*is no WebSocket: it answers .*\n`},
		{args: "conn --cafile /none" + ws, code: exitFailure, err: `madang: --cafile: .*\n`},
		{
			args: "conn -u - -P x -V 5" + tcp, code: exitFailure,
			err: `madang: .*login of bench-\d+ as "-" refused: wrong user name or password, give them with -u and -P \(0x86\)\n`,
		},
		{
			args: "sub -t chat/#/x -V 5" + tcp, code: exitFailure,
			err: `madang: .*subscription of bench-\d+ as "bench" to chat/#/x refused: topic filter invalid \(0x8F\)\n`,
		},
		{args: "conn --pid 1073741824" + tcp, code: exitFailure, err: `madang: --pid: process 1073741824 does not run here: .*\n`},
	} {
		out, errOut := command(t, "", tt.code, append([]string{"bench"}, strings.Fields(tt.args)...)...)
		for _, got := range []struct{ what, text, want string }{{"stdout", out, tt.out}, {"stderr", errOut, tt.err}} {
			if !regexp.MustCompile(`\A` + got.want + `\z`).MatchString(got.text) {
				t.Errorf("%s: %s is %q, want %s", tt.args, got.what, got.text, got.want)
			}
		}
	}
	n.stop()
}

// notMQTT is an address where something else answers.
func notMQTT(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var accepting sync.WaitGroup
	accepting.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Read(make([]byte, 64<<10)) // what is unread would make the end a reset
			_, _ = conn.Write([]byte("HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n"))
			conn.Close()
		}
	})
	t.Cleanup(func() {
		ln.Close()
		accepting.Wait()
	})
	return ln.Addr().String()
}

// How a run goes is shown on a terminal, in one line, and nowhere else.
func TestBenchProgress(t *testing.T) {
	cmd := newBenchCommand()
	file, err := os.Create(filepath.Join(t.TempDir(), "stderr"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	cmd.SetErr(file)
	show, done := new(benchFlags).progress(cmd)
	show("connected 1 of 2")
	done()
	if text, err := os.ReadFile(file.Name()); err != nil || len(text) > 0 {
		t.Errorf("a file that is no terminal holds %q, %v", text, err)
	}
	var b strings.Builder
	show, done = progressLine(&b)
	show("connected 10 of 20")
	show("10 s")
	done()
	if want := "\rconnected 10 of 20\r10 s              \r    \r"; b.String() != want {
		t.Errorf("%q, want %q", b.String(), want)
	}
}
