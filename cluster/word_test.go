package cluster

import "testing"

// A node that has promised to take part in a cluster and sees it led before its log has come waits for the log: it is not
// one that has lost its disk.
func TestWordPromises(t *testing.T) {
	members := []Member{{ID: "a"}, {ID: "b"}, {ID: "c"}}
	for _, c := range []struct {
		name string
		word *word
		want bool
	}{
		{"none given", nil, false},
		{"given", &word{Founder: "a", Voters: []string{"a", "b", "c"}}, true},
		{"kept: the log was here and is gone", &word{Founder: "a", Voters: []string{"a", "b", "c"}, Kept: true}, false},
		{"taken in by a leader", &word{Taken: true}, false},
		{"to another cluster", &word{Founder: "a", Voters: []string{"a", "b", "d"}}, false},
	} {
		if got := c.word.promises(members); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}
