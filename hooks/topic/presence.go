package topic

// ReadsContent reports whether the filter takes what is said in rooms: messages, live values or state. Whoever holds such a
// filter on a room is there; one who watches its meta, head, presence, occupancy, tally or receipts looks on from outside.
func (f Filter) ReadsContent() bool { return f.reads&(readsMsg|readsLive|readsState) != 0 }

// ReadsPresence reports whether the filter takes the presence of users, and whose: "" stands for those the reader knows,
// where the filter has a wildcard at the place of the user.
func (f Filter) ReadsPresence() (user string, reads bool) {
	return f.place, f.reads&readsPresence != 0
}
