package chaos

import (
	"strings"
	"testing"

	"github.com/madang-chat/madang/internal/mqtttest"
)

// breakDisk does to the host's file system what the kernel does when it finds a fault in it: from here on it can only be read,
// also by who has files open for writing. remount brings it back.
func (h *host) breakDisk() {
	h.w.t.Helper()
	h.w.must(run("mount", "-o", "remount,abort", h.dir))
}

// The kernel remounts the disk of a node read-only under load, of the leader or of a follower: it ends with one line that says so,
// the others go on, and once the disk is mounted for writing a start is enough. Started before that, it says so again.
func TestChaosReadOnlyDisk(t *testing.T) {
	w := founded(t)
	w.needsApart()
	l := w.load(t, mqtttest.LoadOptions{Senders: 4, Readers: 3})
	const says = "can only be read: mount it for writing again"
	ends := func(h *host, when string) {
		t.Helper()
		if code := h.ended(); code != 1 || strings.Count(h.out.String(), says) != 1 {
			t.Errorf("%s, %s: exit code %d:\n%s", h.name, when, code, h.out)
		}
	}
	for round := range 2 {
		l.Await(t, 200)
		leader := w.leader()
		victim := leader
		if round == 1 {
			victim = w.others(leader)[0]
		}
		victim.breakDisk()
		ends(victim, "under load")
		l.Await(t, 200)
		w.leader(w.others(victim)...)
		victim.start()
		ends(victim, "started on it")
		l.Await(t, 100)
		w.must(victim.remount())
		victim.start()
		l.Await(t, 200)
		eventually(t, "it knows a leader", func() bool { return victim.status().Leader != "" })
	}
	entries := w.agree(t, l)
	t.Logf("%d acknowledged, %d entries, without an acknowledgement for %v at most", l.Acks(), len(entries), l.Pause())
}
