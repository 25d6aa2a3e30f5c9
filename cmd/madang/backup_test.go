package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/madang-chat/madang/internal/mqtttest"
	"github.com/madang-chat/madang/storage"
)

// asAdmin is what a command needs to ask n as an admin, who says their password on stdin.
func asAdmin(n *node) []string {
	return []string{"--user=admin", "--password-stdin", "--server=http://" + n.at().Web}
}

// era is a room's history up to the event that opens a new era, and that event.
func era(t testing.TB, n *node, room string) (before []json.RawMessage, restored, head uint64) {
	t.Helper()
	for after := uint64(0); ; {
		var page struct {
			Messages []json.RawMessage
			Head     uint64
		}
		ask(t, n, fmt.Sprintf("/rooms/%s/messages?view=log&after=%d&limit=500", room, after), &page)
		if len(page.Messages) == 0 {
			t.Fatal("no era was opened")
		}
		for _, m := range page.Messages {
			var e struct {
				Seq  uint64
				Type string
				Data struct {
					Event    string
					From, To uint64
				}
			}
			if err := json.Unmarshal(m, &e); err != nil {
				t.Fatal(err)
			}
			if e.Type == "system" && e.Data.Event == "restored" {
				if e.Data.From != after+1 || e.Data.To != after+storage.EraJump || e.Seq != e.Data.To+1 {
					t.Fatalf("after %d comes %s", after, m)
				}
				return before, e.Seq, page.Head
			}
			if e.Seq != after+1 {
				t.Fatalf("after %d comes %d", after, e.Seq)
			}
			before, after = append(before, m), e.Seq
		}
	}
}

// checkSession comes back as a reader of the crew: it gets what it missed, then what opens the era, and nothing twice.
func checkSession(t *testing.T, n *node, restored uint64) {
	t.Helper()
	for _, f := range mqtttest.Flavours {
		c := mqtttest.Dial(t, n.at(), mqtttest.Options{Flavour: f, User: "reader-" + f.String(), ClientID: "phone", Keep: true})
		if !c.Connack.SessionPresent {
			t.Errorf("%v: the session is gone", f)
		}
		last := uint64(0)
		for last != restored {
			var e struct{ Seq uint64 }
			if err := json.Unmarshal(c.Next().Payload, &e); err != nil {
				t.Fatal(err)
			}
			if last != 0 && e.Seq != last+1 && e.Seq != restored {
				t.Fatalf("%v: %d after %d", f, e.Seq, last)
			}
			last = e.Seq
		}
		c.Disconnect()
	}
}

// A backup that is made under load holds everything that was acknowledged before, and makes a cluster that goes on.
func TestCrashBackupUnderLoad(t *testing.T) {
	base := t.TempDir()
	file := filepath.Join(base, "backup")
	old := startNode(t, nodeArgs(base+"/old", "--dev")...)
	crew := mqtttest.NewCrew("r")
	crew.Enter(t, old.at())
	var said string
	crew.Talk(t, old.at(), 2000, func() {
		said, _ = command(t, "x\n", exitOK, append([]string{"backup", file}, asAdmin(old)...)...)
		old.kill()
	})
	command(t, "", exitOK, "verify", file)
	if _, why := command(t, "x\n", exitUsage, append([]string{"backup", file}, "--server=http://127.0.0.1:1")...); !strings.Contains(why, "--force") {
		t.Errorf("over an existing file: %s", why)
	}
	if out, _ := command(t, "", exitOK, "verify", "--data-dir", base+"/old"); !strings.HasSuffix(out, "ok\n") {
		t.Errorf("the killed node's data: %s", out)
	}
	args := nodeArgs(base+"/new", "--dev", "--set", "node.name=two")
	command(t, "", exitOK, append([]string{"restore", file}, args[1:]...)...)
	if _, why := command(t, "", exitFailure, append([]string{"restore", file}, args[1:]...)...); !strings.Contains(why, "already") {
		t.Errorf("restored twice: %s", why)
	}
	command(t, "", exitOK, "verify", "--data-dir", base+"/new")
	n := startNode(t, args...)
	before, restored, _ := era(t, n, "r")
	var envelopes [][]byte
	for _, m := range before {
		envelopes = append(envelopes, m)
	}
	crew.Check(t, envelopes)
	checkSession(t, n, restored)
	mqtttest.Dial(t, n.at(), mqtttest.Options{User: "late", ClientID: "l"}).Say("r", "after")
	n.stop()
	command(t, "", exitOK, "verify", "--data-dir", base+"/new")
	t.Logf("%s%d acknowledged before it, %d entries in it", said, crew.Acks(), len(before))
}

// A backup with any byte changed, or cut, is refused, and leaves nothing behind.
func TestADamagedBackupIsRefused(t *testing.T) {
	base := t.TempDir()
	file := filepath.Join(base, "backup")
	n := startNode(t, nodeArgs(base+"/old", "--dev")...)
	mqtttest.Dial(t, n.at(), mqtttest.Options{User: "a", ClientID: "a"}).Say("r", "hello")
	command(t, "x\n", exitOK, append([]string{"backup", file}, asAdmin(n)...)...)
	n.stop()
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(b []byte) []byte{
		"first byte": func(b []byte) []byte { b[0]++; return b },
		"head":       func(b []byte) []byte { b[40]++; return b },
		"middle":     func(b []byte) []byte { b[len(b)/2]++; return b },
		"end":        func(b []byte) []byte { b[len(b)-1]++; return b },
		"cut":        func(b []byte) []byte { return b[:len(b)-1] },
		"longer":     func(b []byte) []byte { return append(b, 0) },
		"empty":      func([]byte) []byte { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			bad := filepath.Join(t.TempDir(), "bad")
			if err := os.WriteFile(bad, change(slices.Clone(whole)), 0o600); err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			for _, args := range [][]string{{"verify", bad}, {"restore", bad, "--data-dir", dir}} {
				if _, why := command(t, "", exitFailure, args...); !strings.Contains(why, "backup") {
					t.Errorf("%v: %s", args, why)
				}
			}
			left, err := os.ReadDir(dir)
			if err != nil || len(left) > 1 {
				t.Errorf("left behind: %v, %v", left, err)
			}
		})
	}
}

// Two of three nodes are lost for good. The one whose log goes furthest begins a new cluster, the others join it with empty
// disks, and nothing that was acknowledged is missing.
func TestCrashQuorumLost(t *testing.T) {
	c := startCrowd(t)
	crew := mqtttest.NewCrew("r")
	crew.Enter(t, c.nodes[0].at())
	crew.Talk(t, c.nodes[c.leader()].at(), 1500, func() {
		for i, n := range c.nodes {
			n.kill()
			c.nodes[i] = nil
		}
	})
	best, last := 0, 0
	for i := range c.args {
		out, _ := command(t, "", exitOK, append([]string{"verify"}, c.args[i][1:]...)...)
		_, rest, _ := strings.Cut(out, " to ")
		number, _, _ := strings.Cut(rest, ",")
		k, err := strconv.Atoi(number)
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		if k > last {
			best, last = i, k
		}
	}
	again := append([]string{"cluster", "recover"}, c.args[best][1:]...)
	if _, why := command(t, "", exitUsage, again...); !strings.Contains(why, "--yes") {
		t.Errorf("without --yes: %s", why)
	}
	said, _ := command(t, "", exitOK, append(again, "--yes")...)
	if _, why := command(t, "", exitFailure, append(again, "--yes")...); !strings.Contains(why, "has been done") {
		t.Errorf("a second time: %s", why)
	}
	began := time.Now()
	for i := range c.args {
		if i != best {
			dir := c.args[i][slices.Index(c.args[i], "--data-dir")+1]
			if err := os.Rename(dir, dir+".old"); err != nil {
				t.Fatal(err)
			}
		}
		c.nodes[i] = startNode(t, c.args[i]...)
	}
	c.eventually("all three have a vote", func() bool {
		voters := 0
		for _, n := range c.status(c.nodes[best]).Nodes {
			if n.Voter {
				voters++
			}
		}
		return voters == 3
	})
	whole := time.Since(began)
	if _, why := command(t, "", exitFailure, append([]string{"verify"}, c.args[best][1:]...)...); !strings.Contains(why, "in use") {
		t.Errorf("verify of a node that runs: %s", why)
	}
	var digests [3]string
	c.eventually("all nodes hold the same", func() bool {
		for i, n := range c.nodes {
			digests[i] = c.digest(n)
		}
		return digests[0] == digests[1] && digests[1] == digests[2]
	})
	before, restored, _ := era(t, c.nodes[(best+1)%3], "r")
	var envelopes [][]byte
	for _, m := range before {
		envelopes = append(envelopes, m)
	}
	crew.Check(t, envelopes)
	checkSession(t, c.nodes[(best+2)%3], restored)
	mqtttest.Dial(t, c.nodes[(best+1)%3].at(), mqtttest.Options{User: "late", ClientID: "l"}).Say("r", "after")
	// One that comes back with its old data, under a name that belongs to the new cluster, gets the new cluster's store.
	back := (best + 1) % 3
	c.nodes[back].stop()
	dir := c.args[back][slices.Index(c.args[back], "--data-dir")+1]
	if err := errors.Join(os.RemoveAll(dir), os.Rename(dir+".old", dir)); err != nil {
		t.Fatal(err)
	}
	c.nodes[back] = startNode(t, c.args[back]...)
	mqtttest.Dial(t, c.nodes[best].at(), mqtttest.Options{User: "later", ClientID: "l"}).Say("r", "the end")
	c.eventually("all nodes hold the same again", func() bool {
		for i, n := range c.nodes {
			digests[i] = c.digest(n)
		}
		return digests[0] == digests[1] && digests[1] == digests[2]
	})
	t.Logf("%s%d acknowledged, %d entries; from the first start to three voters %v", said, crew.Acks(), len(before), whole.Round(time.Millisecond))
	for i, n := range c.nodes {
		n.stop()
		command(t, "", exitOK, append([]string{"verify"}, c.args[i][1:]...)...)
	}
}

// What verify finds it names, and the exit code says so. A node ends rather than to serve less, or something else.
func TestVerifyOfDamagedData(t *testing.T) {
	for name, damage := range map[string]func(t *testing.T, dir string){
		"log":   func(t *testing.T, dir string) { flip(t, dir+"/raft/wal/*.wal", 200) },
		"store": func(t *testing.T, dir string) { flip(t, dir+"/db/*.sst", 20) },
		"meta":  func(t *testing.T, dir string) { flip(t, dir+"/raft/wal/meta", 20) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			args := nodeArgs(dir, "--dev")
			for range 3 { // its tables are written with the second start
				n := startNode(t, args...)
				mqtttest.Dial(t, n.at(), mqtttest.Options{User: "a", ClientID: "a"}).Say("r", "hello")
				n.stop()
			}
			command(t, "", exitOK, "verify", "--data-dir", dir)
			damage(t, dir)
			if _, why := command(t, "", exitFailure, "verify", "--data-dir", dir); !strings.Contains(why, "damaged") || !strings.Contains(why, "wipe") {
				t.Errorf("verify says %s", why)
			}
			n := surroundings{}.start(t, args...)
			if _, err := n.out.until(n.done, func(s string) bool { return strings.Contains(s, "for operators") }); err == nil {
				c, err := mqtttest.TryDial(t, n.node().at(), mqtttest.Options{User: "b", ClientID: "b"})
				if err == nil {
					_, _ = c.TryPublish(mqtttest.Message("chat/rooms/r/send", "reads what is damaged", 1))
				}
			}
			if code := n.wait(); code != exitFailure || !strings.Contains(n.err.String(), "damaged") || !strings.Contains(n.err.String(), "wipe") {
				t.Errorf("the node ends with %d: %s", code, n.err)
			}
		})
	}
	command(t, "", exitFailure, "verify", "--data-dir", t.TempDir())
}

// flip changes a bit of the first file that matches.
func flip(t *testing.T, pattern string, at int64) {
	t.Helper()
	found, err := filepath.Glob(pattern)
	if err != nil || len(found) == 0 {
		t.Fatalf("%s: %v %v", pattern, found, err)
	}
	f, err := os.OpenFile(found[0], os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, 1)
	if _, err := f.ReadAt(b, at); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 8
	if _, err := f.WriteAt(b, at); err != nil {
		t.Fatal(err)
	}
}
