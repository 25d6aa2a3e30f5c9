package cluster

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-msgpack/v2/codec"
	"github.com/hashicorp/raft"

	"github.com/madang-chat/madang/cluster/link"
)

// FuzzFiles reads any bytes as the small files of a node: its boot number, its word, raft's term and vote. They are read
// before anything else is there that could help, and must be refused, not believed.
func FuzzFiles(f *testing.F) {
	f.Add([]byte(bootMagic + " 7 one\n"))
	f.Add([]byte(`{"founder":"a","voters":["a","b"],"taken":true}`))
	f.Add(seal(metaMagic, []byte(`{"state":{"NextSegmentID":3,"Segments":[{"ID":1,"BaseIndex":1}]},"stable":{"CurrentTerm":"AAAA"}}`)))
	f.Fuzz(func(t *testing.T, data []byte) {
		dir := t.TempDir()
		write := func(name string, data []byte) string {
			name = filepath.Join(dir, name)
			if err := os.WriteFile(name, data, 0o600); err != nil {
				t.Fatal(err)
			}
			return name
		}
		if boot, _, err := readBoot(OSDisk(), write(bootFile, data)); err == nil && boot == 0 {
			t.Fatalf("%q is boot 0", data)
		}
		n := &Node{cfg: Config{Disk: OSDisk(), Dir: dir}}
		write(promiseFile, data)
		if w, err := n.readWord(); err == nil {
			w.promises(nil)
		} else if !errors.Is(err, ErrDamaged) {
			t.Fatalf("%q as a word: %v", data, err)
		}
		for _, d := range [][]byte{data, seal(metaMagic, data)} { // most inputs have no right checksum
			write(metaFile, d)
			m := &metaStore{disk: OSDisk(), failed: func(error) {}}
			if _, err := m.Load(dir); err != nil && !errors.Is(err, ErrDamaged) {
				t.Fatalf("%q as term and vote: %v", d, err)
			}
			_, _ = m.GetStable([]byte("CurrentTerm")) // it is only read
		}
		if id, err := readToken(bytes.NewReader(data)); err == nil && makeToken(id) != string(data) {
			t.Fatalf("%q names snapshot %q", data, id)
		}
	})
}

// FuzzSegment opens a log whose segment was overwritten from anywhere on. It opens, with the entries before that, or is
// refused; and a log that has opened takes the next entry.
func FuzzSegment(f *testing.F) {
	const name = "00000000000000000001-0000000000000000.wal"
	dir := filepath.Join(f.TempDir(), "log")
	s, err := tryTestLog(dir)
	if err != nil {
		f.Fatal(err)
	}
	for i := uint64(1); i <= 8; i++ {
		if err := s.StoreLog(testEntry(i)); err != nil {
			f.Fatal(err)
		}
	}
	meta, err := os.ReadFile(filepath.Join(dir, metaFile))
	if err != nil {
		f.Fatal(err)
	}
	segment, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		f.Fatal(err)
	}
	if err := s.Close(); err != nil {
		f.Fatal(err)
	}
	f.Add(uint16(40), []byte{0xff})
	f.Add(uint16(0), []byte{0})
	f.Add(uint16(1200), bytes.Repeat([]byte{0}, 400))
	f.Add(uint16(32), []byte{1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff})
	f.Add(uint16(2800), []byte{2, 0, 0, 0, 8, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 3})
	f.Fuzz(func(t *testing.T, at uint16, over []byte) {
		again := t.TempDir()
		damaged := bytes.Clone(segment)
		if int(at) < len(damaged) {
			copy(damaged[at:], over)
		}
		for n, b := range map[string][]byte{metaFile: meta, name: damaged} {
			if err := os.WriteFile(filepath.Join(again, n), b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		s, err := tryTestLog(again)
		if err != nil {
			return
		}
		defer s.Close()
		last, err := s.LastIndex()
		if err != nil || last > 8 {
			t.Fatalf("the last entry is %d, %v", last, err)
		}
		for i := uint64(1); i <= last; i++ {
			var got raft.Log
			if err := s.GetLog(i, &got); err == nil && bytes.Equal(damaged, segment) && !bytes.Equal(got.Data, testEntry(i).Data) {
				t.Fatalf("entry %d is %q", i, got.Data)
			}
		}
		if err := s.StoreLog(testEntry(last + 1)); err != nil {
			t.Fatalf("entry %d after %d: %v", last+1, last, err)
		}
	})
}

// FuzzRaftPort is a node that says anything on the Raft port, under the certificate of another one. What it says under its
// own name is raft's to judge, and nothing else gets there.
func FuzzRaftPort(f *testing.F) {
	call := func(kind byte, command any) []byte {
		b := bytes.NewBuffer([]byte{kind})
		if err := codec.NewEncoder(b, &codec.MsgpackHandle{}).Encode(command); err != nil {
			f.Fatal(err)
		}
		return b.Bytes()
	}
	as := func(id string) raft.RPCHeader {
		return raft.RPCHeader{ProtocolVersion: 3, ID: []byte(id), Addr: []byte("x:1")}
	}
	for _, id := range []string{"a", "b"} {
		f.Add(call(0, &raft.AppendEntriesRequest{RPCHeader: as(id), Term: 3, Entries: []*raft.Log{{Index: 1, Term: 1, Data: []byte("x")}}}))
		f.Add(call(1, &raft.RequestVoteRequest{RPCHeader: as(id), Term: 9}))
		f.Add(call(2, &raft.InstallSnapshotRequest{RPCHeader: as(id), Size: 3, Term: 3}))
		f.Add(call(4, &raft.RequestPreVoteRequest{RPCHeader: as(id), Term: 9}))
	}
	f.Add([]byte{0, 0xdf, 0xff, 0xff, 0xff, 0xff})
	f.Add([]byte{3, 0xdb, 0xff, 0xff, 0xff, 0xff})
	log := slog.New(slog.DiscardHandler)
	id, err := link.FromSecret("us", []byte("a secret of sixteen bytes"))
	if err != nil {
		f.Fatal(err)
	}
	port, err := link.Listen("127.0.0.1:0", id, log)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = port.Close() })
	tr := newRaftTransport(port, "us:1", log)
	tr.open()
	f.Cleanup(func() { _ = tr.Close() })
	in := tr.inboundOf("a")
	f.Fuzz(func(t *testing.T, b []byte) {
		ours, theirs := net.Pipe()
		ended := make(chan struct{})
		in.streams <- &watched{Conn: ours, ended: sync.OnceFunc(func() { close(ended) })}
		var wait sync.WaitGroup
		ctx, cancel := context.WithCancel(t.Context())
		wait.Go(func() {
			for {
				select {
				case rpc := <-tr.rpcs:
					if h, ok := rpc.Command.(raft.WithRPCHeader); !ok || string(h.GetRPCHeader().ID) != "a" {
						t.Errorf("%q is taken for a call of a: %+v", b, rpc.Command)
					}
					if rpc.Reader != nil {
						_, _ = io.Copy(io.Discard, io.LimitReader(rpc.Reader, 1<<20)) // as a sink does
					}
					rpc.Respond(nil, errNotYourself)
				case <-ctx.Done():
					return
				}
			}
		})
		wait.Go(func() { _, _ = io.Copy(io.Discard, theirs) })
		_ = theirs.SetWriteDeadline(time.Now().Add(10 * time.Second))
		_, _ = theirs.Write(b) // it may be closed before the end
		_ = theirs.Close()
		select {
		case <-ended:
		case <-time.After(10 * time.Second):
			t.Errorf("%q: the connection does not end", b)
		}
		cancel()
		wait.Wait()
	})
}
