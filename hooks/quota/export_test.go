package quota

// Holders returns how many holders are remembered.
func (q *Quotas) Holders() (n int) {
	for i := range q.shards {
		q.shards[i].mu.Lock()
		n += len(q.shards[i].holders)
		q.shards[i].mu.Unlock()
	}
	return n
}
