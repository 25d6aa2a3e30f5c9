package cluster_test

import (
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/madang-chat/madang/cluster"
)

// A node that stopped after it was taken in, before anything of the log had come, goes on with its next start.
func TestANodeThatStopsAsItJoins(t *testing.T) {
	configs := several(t, 4)
	for i := range configs {
		configs[i].Expect, configs[i].Seeds = 3, configs[i].Seeds[:3]
	}
	nodes := founded(t, configs[:3])
	d := open(t, configs[3])
	eventually(t, "it is taken in", func() bool { return nodes[0].IsMember("d") })
	wait(t, d.Ready(), "d is ready")
	eventually(t, "its word is kept", func() bool {
		text, err := os.ReadFile(filepath.Join(configs[3].Dir, "promise"))
		return err == nil && strings.Contains(string(text), `"kept":true`)
	})
	d.close(t)
	for _, name := range []string{"wal", "snapshots"} { // as if nothing had come
		if err := os.RemoveAll(filepath.Join(configs[3].Dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.RemoveAll(filepath.Join(filepath.Dir(configs[3].Dir), "d-store")); err != nil {
		t.Fatal(err)
	}
	again := configs[3]
	withPort(t, &again)
	nodes[0].put(t, "hello")
	// It had data, and so its disk was emptied, whatever word lies there.
	d = open(t, again)
	select {
	case err := <-d.Failed():
		if !errors.Is(err, cluster.ErrHadData) {
			t.Fatalf("it failed with %v", err)
		}
	case <-d.Ready():
		t.Fatal("an emptied disk was taken for the one that was there")
	case <-time.After(20 * time.Second):
		t.Fatal("nothing happened")
	}
	d.close(t)
	// With the word alone nothing had come.
	if err := os.WriteFile(filepath.Join(configs[3].Dir, "promise"), []byte(`{"taken":true}`), 0o600); err != nil {
		t.Fatal(err)
	}
	withPort(t, &again)
	d = open(t, again)
	wait(t, d.Ready(), "d is ready again")
	eventually(t, "it has all", func() bool { return len(d.sm.Commands()) == len(nodes[0].sm.Commands()) })
}

// Whoever has a certificate of the authority and does not belong to the cluster can change nothing, and name nobody.
func TestAStrangerWithACertificateChangesNothing(t *testing.T) {
	configs := several(t, 4)
	for i := range configs {
		configs[i].Expect, configs[i].Seeds, configs[i].Invited = 3, configs[i].Seeds[:3], true
	}
	nodes := founded(t, configs[:3])
	leader := leaderOf(t, nodes)
	at := ""
	for _, m := range leader.Members() {
		if m.ID == leader.NodeID() {
			at = m.Address
		}
	}
	stranger := configs[3].Port
	for _, q := range []string{
		`{"ask":"permit","id":"d"}`, `{"ask":"remove","id":"b"}`, `{"ask":"promote","id":"b"}`, `{"ask":"transfer"}`,
		`{"ask":"add","id":"d","address":"127.0.0.1:1","fresh":true}`, `{"ask":"invite","address":"127.0.0.1:1"}`, `{"ask":"?"}`,
	} {
		c, err := stranger.Dial(t.Context(), at, "madang-members/1", leader.NodeID())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(q))), q...)); err != nil {
			t.Fatal(err)
		}
		answer, err := io.ReadAll(c)
		if err != nil || !strings.Contains(string(answer), `"error":`) {
			t.Errorf("%s: %s, %v", q, answer, err)
		}
		_ = c.Close()
	}
	if m := leader.Members(); len(m) != 3 {
		t.Errorf("members %+v", m)
	}
	leader.put(t, "all is well")
}
