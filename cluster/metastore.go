package cluster

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"os"
	"path/filepath"
	"sync"

	"github.com/hashicorp/raft-wal/types"
)

// metaStore holds raft's term and vote and the log's list of segments in one small file that is replaced as a whole.
//
// raft-wal's own is bbolt. A file is enough: it has a few hundred bytes and is written three times per election and
// once per 64 MB of log. The cost is the same (a fsync of the file and one of its directory, as bbolt syncs pages and
// meta page), there is no mapped file and no free list, and it runs on any Disk. It is sound because rename is atomic
// and a torn file can only be the temporary one.
//
//	0..7    "madangm1"
//	8..11   CRC32C of what follows
//	12..    JSON of metaContent
type metaStore struct {
	disk   Disk
	failed func(error) // told of a write that failed

	mu      sync.Mutex
	name    string
	content metaContent
}

type metaContent struct {
	State  types.PersistentState `json:"state"`
	Stable map[string][]byte     `json:"stable"`
}

const (
	metaFile  = "meta"
	metaMagic = "madangm1"
	metaLimit = 16 << 20
)

var crcTable = crc32.MakeTable(crc32.Castagnoli)

// Load implements types.MetaStore.
func (m *metaStore) Load(dir string) (types.PersistentState, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.name = filepath.Join(dir, metaFile)
	m.content = metaContent{Stable: map[string][]byte{}}
	data, err := readFile(m.disk, m.name, metaLimit)
	if errors.Is(err, os.ErrNotExist) {
		return types.PersistentState{}, nil
	}
	if err != nil {
		return types.PersistentState{}, err
	}
	payload, err := unseal(metaMagic, data)
	if err == nil {
		err = json.Unmarshal(payload, &m.content)
	}
	if err != nil {
		return types.PersistentState{}, fmt.Errorf("%w: %s: %w", ErrDamaged, m.name, err)
	}
	if m.content.Stable == nil {
		m.content.Stable = map[string][]byte{}
	}
	return m.content.State, nil
}

// CommitState implements types.MetaStore.
func (m *metaStore) CommitState(s types.PersistentState) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.write(metaContent{State: s, Stable: m.content.Stable})
}

// GetStable implements types.MetaStore. The result must not be changed.
func (m *metaStore) GetStable(key []byte) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.content.Stable[string(key)], nil
}

// SetStable implements types.MetaStore. A value that is there already costs nothing: raft writes its term again at
// every start.
func (m *metaStore) SetStable(key, value []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if old, ok := m.content.Stable[string(key)]; ok && string(old) == string(value) {
		return nil
	}
	stable := maps.Clone(m.content.Stable)
	stable[string(key)] = append([]byte(nil), value...)
	return m.write(metaContent{State: m.content.State, Stable: stable})
}

// Close implements types.MetaStore.
func (m *metaStore) Close() error { return nil }

// write makes c durable, then current. m.mu is held.
func (m *metaStore) write(c metaContent) error {
	payload, err := json.Marshal(c)
	if err != nil {
		return err
	}
	if err := writeFile(m.disk, m.name, seal(metaMagic, payload)); err != nil {
		err = fmt.Errorf("write %s: %w", m.name, err)
		m.failed(err)
		return err
	}
	m.content = c
	return nil
}

// seal puts magic and a checksum before payload.
func seal(magic string, payload []byte) []byte {
	out := make([]byte, 0, len(magic)+4+len(payload))
	out = append(out, magic...)
	out = binary.BigEndian.AppendUint32(out, crc32.Checksum(payload, crcTable))
	return append(out, payload...)
}

// unseal checks magic and checksum and returns the payload.
func unseal(magic string, data []byte) ([]byte, error) {
	if len(data) < len(magic)+4 || string(data[:len(magic)]) != magic {
		return nil, errors.New("not a file of this format")
	}
	payload := data[len(magic)+4:]
	if binary.BigEndian.Uint32(data[len(magic):]) != crc32.Checksum(payload, crcTable) {
		return nil, errors.New("checksum does not match")
	}
	return payload, nil
}

var _ types.MetaStore = (*metaStore)(nil)
