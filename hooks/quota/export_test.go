package quota

// Holders returns how many holders are remembered.
func (q *Quotas) Holders() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.holders)
}
