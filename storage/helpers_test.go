package storage

import (
	"bytes"
	"fmt"
	"log/slog"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/madang-chat/madang/internal/logentry"
)

// fataler is what *testing.T, *testing.B and *rapid.T have in common.
type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
}

var quiet = slog.New(slog.DiscardHandler)

func openOn(t fataler, fs vfs.FS, change ...func(*Options)) *Store {
	t.Helper()
	o := Options{Dir: "data/db", FS: fs, Logger: quiet, CacheSize: 1 << 20}
	for _, f := range change {
		f(&o)
	}
	if err := fs.MkdirAll(fs.PathDir(o.Dir), 0o755); err != nil {
		t.Fatalf("mkdir: %v", err)
	}
	s, err := Open(o)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	return s
}

// log is a log in the making with one node that numbers its commands.
type testLog struct {
	t     fataler
	s     *Store
	index uint64
	now   int64
	boots map[string]uint64
	last  map[string]uint64
}

func newLog(t fataler, s *Store) *testLog {
	return &testLog{t: t, s: s, now: 1_000_000, boots: map[string]uint64{}, last: map[string]uint64{}}
}

func newTestLog(t *testing.T) *testLog {
	t.Helper()
	s := openOn(t, vfs.NewMem())
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return newLog(t, s)
}

// boot starts a new boot of a node.
func (l *testLog) boot(node string) uint64 {
	l.boots[node]++
	l.last[node] = 0
	l.as(node, &NodeUp{Node: node, Boot: l.boots[node]})
	return l.boots[node]
}

func (l *testLog) group(node string, cmds ...Command) logentry.Group {
	if l.boots[node] == 0 {
		l.boots[node] = 1
	}
	g := logentry.Group{Node: node, Boot: l.boots[node], First: l.last[node] + 1}
	for _, c := range cmds {
		g.Commands = append(g.Commands, Encode(c))
	}
	l.last[node] += uint64(len(cmds))
	return g
}

func (l *testLog) entry(groups ...logentry.Group) logentry.Entry {
	l.index++
	return logentry.Entry{Index: l.index, Time: l.now, Groups: groups}
}

// as applies commands of a node as one entry and returns their results.
func (l *testLog) as(node string, cmds ...Command) []Result {
	l.t.Helper()
	out, err := l.s.Apply([]logentry.Entry{l.entry(l.group(node, cmds...))})
	if err != nil {
		l.t.Fatalf("apply: %v", err)
	}
	results := make([]Result, len(cmds))
	for i, b := range out[0][0] {
		if results[i], err = DecodeResult(b); err != nil {
			l.t.Fatalf("result %d of %T: %v", i, cmds[i], err)
		}
	}
	return results
}

// do applies one command of node a.
func (l *testLog) do(c Command) Result {
	l.t.Helper()
	return l.as("a", c)[0]
}

// done is do for a command that must succeed.
func (l *testLog) done(c Command) Result {
	l.t.Helper()
	r := l.do(c)
	if r.Outcome != Done {
		l.t.Fatalf("%T: %v (%s)", c, r.Outcome, r.Detail)
	}
	return r
}

func room(name string) RoomKey { return RoomKey{NS: "chat", Room: name} }

func say(r, user, text string) *Append {
	return &Append{
		Room: room(r), From: Actor{User: user}, Type: "text", Tail: fmt.Appendf(nil, `,"data":{"text":%q}`, text),
		Hash: hashOf(text), AutoCreate: Public,
	}
}

func hashOf(text string) (h [16]byte) {
	copy(h[:], text)
	h[15] = 1
	return h
}

// dump returns every key and value of the store.
func dump(t fataler, s *Store) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	it, err := s.db.NewIter(nil)
	if err != nil {
		t.Fatalf("iterate: %v", err)
	}
	for ok := it.First(); ok; ok = it.Next() {
		if it.Key()[0] != prefixChain { // it says where batches began and ended
			out[string(it.Key())] = bytes.Clone(it.Value())
		}
	}
	if err := it.Close(); err != nil {
		t.Fatalf("iterate: %v", err)
	}
	return out
}

func diffDumps(t fataler, want, got map[string][]byte) {
	t.Helper()
	for k, v := range want {
		if w, ok := got[k]; !ok {
			t.Fatalf("key %q is missing", k)
		} else if !bytes.Equal(v, w) {
			t.Fatalf("key %q:\nwant %q\n got %q", k, v, w)
		}
	}
	for k := range got {
		if _, ok := want[k]; !ok {
			t.Fatalf("key %q should not be there", k)
		}
	}
}
