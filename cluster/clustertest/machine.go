package clustertest

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"

	"github.com/madang-chat/madang/cluster"
	"github.com/madang-chat/madang/internal/logentry"
)

// Remembered is how many results the machine keeps per node and boot.
const Remembered = 64

// Machine is a state machine that lists the commands it took, in order. The result of a command is its place in the
// list (8 bytes, big endian, from 1). Its memory is lost like that of a store whose writes are not synced: what is in
// it after OpenMachine is what was there at the last Sync.
type Machine struct {
	disk cluster.Disk
	file string

	mu    sync.Mutex
	state machineState
	fail  error
}

type machineState struct {
	Index    uint64
	Time     int64
	Commands []string
	Last     map[string]uint64            // node and boot -> last number taken
	Results  map[string]map[uint64]uint64 // node and boot -> number -> place
}

// OpenMachine opens the machine that was last synced to dir on d.
func OpenMachine(d cluster.Disk, dir string) (*Machine, error) {
	m := &Machine{disk: d, file: filepath.Join(dir, "state")}
	if err := d.MkdirAll(dir); err != nil {
		return nil, err
	}
	if err := d.SyncDir(filepath.Dir(dir)); err != nil {
		return nil, err
	}
	return m, m.load(m.file)
}

func (m *Machine) load(name string) error {
	m.state = machineState{Last: map[string]uint64{}, Results: map[string]map[uint64]uint64{}}
	f, err := m.disk.Open(name)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	data, err := io.ReadAll(f)
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	return json.Unmarshal(data, &m.state)
}

// Apply implements cluster.StateMachine.
func (m *Machine) Apply(entries []logentry.Entry) ([][][][]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil {
		return nil, m.fail
	}
	results := make([][][][]byte, len(entries))
	for i, e := range entries {
		if e.Index <= m.state.Index {
			continue
		}
		if e.Time < m.state.Time {
			return nil, fmt.Errorf("log time went back from %d to %d", m.state.Time, e.Time)
		}
		m.state.Index, m.state.Time = e.Index, e.Time
		results[i] = make([][][]byte, len(e.Groups))
		for g, group := range e.Groups {
			results[i][g] = m.group(group)
		}
	}
	return results, nil
}

func (m *Machine) group(g logentry.Group) [][]byte {
	key := fmt.Sprintf("%s/%d", g.Node, g.Boot)
	if m.state.Results[key] == nil {
		m.state.Results[key] = map[uint64]uint64{}
	}
	out := make([][]byte, len(g.Commands))
	for c, cmd := range g.Commands {
		n := g.First + uint64(c)
		if n == m.state.Last[key]+1 {
			m.state.Commands = append(m.state.Commands, string(cmd))
			m.state.Last[key] = n
			m.state.Results[key][n] = uint64(len(m.state.Commands))
			delete(m.state.Results[key], n-Remembered)
		}
		if place, ok := m.state.Results[key][n]; ok {
			out[c] = binary.BigEndian.AppendUint64(nil, place)
		}
	}
	return out
}

// Break makes every later Apply return err.
func (m *Machine) Break(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fail = err
}

// Applied implements cluster.StateMachine.
func (m *Machine) Applied() (uint64, int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.state.Index, m.state.Time
}

// Commands returns the commands taken so far.
func (m *Machine) Commands() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]string(nil), m.state.Commands...)
}

// Sync implements cluster.StateMachine.
func (m *Machine) Sync() error { return m.save(m.file) }

func (m *Machine) save(name string) error {
	m.mu.Lock()
	data, err := json.Marshal(m.state)
	m.mu.Unlock()
	if err != nil {
		return err
	}
	f, err := m.disk.Create(name + ".tmp")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err := errors.Join(err, f.Sync(), f.Close(), m.disk.Rename(name+".tmp", name)); err != nil {
		return err
	}
	return m.disk.SyncDir(filepath.Dir(name))
}

// Checkpoint implements cluster.StateMachine.
func (m *Machine) Checkpoint(dir string) error {
	if err := m.disk.MkdirAll(filepath.Join(dir, "sub")); err != nil {
		return err
	}
	f, err := m.disk.Create(filepath.Join(dir, "sub", "empty"))
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close(), m.save(filepath.Join(dir, "state")))
}

// Swap implements cluster.StateMachine.
func (m *Machine) Swap(dir string) error {
	if err := m.disk.Rename(filepath.Join(dir, "state"), m.file); err != nil {
		return err
	}
	if err := errors.Join(m.disk.SyncDir(filepath.Dir(m.file)), m.disk.RemoveAll(dir)); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.load(m.file)
}

var _ cluster.StateMachine = (*Machine)(nil)
