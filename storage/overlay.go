package storage

import "bytes"

// keyRange is [from, to).
type keyRange struct{ from, to []byte }

func (r keyRange) holds(k []byte) bool {
	return bytes.Compare(k, r.from) >= 0 && bytes.Compare(k, r.to) < 0
}

// get returns the value of k as the batch leaves it, nil when there is none.
func (t *tx) get(k []byte) []byte {
	if v, ok := t.over[string(k)]; ok {
		return v
	}
	if t.removed(k) {
		return nil
	}
	v, err := t.s.get(k)
	if err != nil {
		t.fail(err)
	}
	return v
}

// each calls f for every key in [from, to) that get knows of as the batch leaves it, in no order. f keeps neither k nor v;
// it may del k, and set and del what lies elsewhere.
func (t *tx) each(from, to []byte, f func(k, v []byte)) {
	r := keyRange{from, to}
	var changed []string
	for k, v := range t.over {
		if v != nil && r.holds([]byte(k)) {
			changed = append(changed, k)
		}
	}
	if !t.removed(from) {
		if err := scanRange(t.s.db, from, to, func(k, v []byte) (bool, error) {
			if _, over := t.over[string(k)]; !over {
				f(k, v)
			}
			return true, nil
		}); err != nil {
			t.fail(err)
		}
	}
	for _, k := range changed {
		f([]byte(k), t.over[k])
	}
}

// removed reports whether k lies in a range that the batch removed.
func (t *tx) removed(k []byte) bool {
	for _, r := range t.gone {
		if r.holds(k) {
			return true
		}
	}
	return false
}

// set writes k; v is kept and must not be changed.
func (t *tx) set(k, v []byte) {
	t.over[string(k)] = v
	t.write(k, v)
}

// write is set for keys that no command of the same batch reads by get. k and v are copied.
func (t *tx) write(k, v []byte) {
	if err := t.batch.Set(k, v, nil); err != nil {
		t.fail(err)
	}
}

func (t *tx) del(k []byte) {
	t.over[string(k)] = nil
	t.remove(k)
}

// remove is del for keys that no command of the same batch reads by get. k is copied.
func (t *tx) remove(k []byte) {
	if err := t.batch.Delete(k, nil); err != nil {
		t.fail(err)
	}
}

// delRange removes the keys in [from, to), what this batch wrote included. Keys that get may ask for must be removed by
// forgetRange.
func (t *tx) delRange(from, to []byte) {
	if err := t.batch.DeleteRange(from, to, nil); err != nil {
		t.fail(err)
	}
}

// forgetRange is delRange for keys that a later get or scan of the batch may meet.
func (t *tx) forgetRange(from, to []byte) {
	t.delRange(from, to)
	r := keyRange{from, to}
	for k := range t.over {
		if r.holds([]byte(k)) {
			delete(t.over, k)
		}
	}
	t.gone = append(t.gone, r)
}
