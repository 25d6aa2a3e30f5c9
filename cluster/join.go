package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/raft"
)

// How a node with an empty disk comes into a cluster, whatever the order in which nodes start:
//
//	1  it asks every seed who it is
//	2  one belongs to a cluster      the node asks that cluster's leader to be taken in, as a replica; the leader gives
//	                                 it its vote when it has caught up
//	3  as many as Expect are fresh   the one with the lowest id asks the others to promise that they take part in the
//	                                 cluster it is about to found, and when all have, founds it with all of them
//	4  else it asks again
//
// A promise is given once and is durable, so two founders never both have all of theirs: of two sets of Expect nodes
// among fewer than twice as many, one node is in both.
//
// Until it has been taken in or has given its promise, a node with an empty disk answers no call of raft. A cluster in
// which its name had a place would otherwise fill it at once, though what the name has voted for is on the lost disk; the
// leader refuses such a node (ErrHadData).
//
// A node with data tells its address to the leader when the seeds say that the cluster knows another one.
const (
	joinFirst    = 50 * time.Millisecond
	joinMost     = time.Second
	joinTellEach = 10 * time.Second // how often the log says what the node waits for
	promiseFile  = "promise"
	promiseLimit = 64 << 10
)

// join brings the node into a cluster. It returns when it is in one, or with an error that waiting will not mend.
func (n *Node) join(ctx context.Context) error {
	pause, told := joinFirst, time.Duration(0)
	for {
		if !n.fresh.Load() {
			if err := n.tellAddress(ctx); err != nil {
				return err
			}
			select {
			case <-n.ready:
				return n.retireWord()
			case <-ctx.Done():
				return nil
			}
		}
		why, err := n.tryJoin(ctx)
		if err != nil {
			return err
		}
		if now := n.cfg.Monotonic(); why != "" && (told == 0 || now-told > joinTellEach) {
			n.log.Info("waiting for a cluster", "why", why)
			told = now
		}
		if !sleep(ctx, pause) {
			return nil
		}
		pause = min(2*pause, joinMost)
	}
}

// sleep returns false when ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// tryJoin is one round. why says what is missing.
func (n *Node) tryJoin(ctx context.Context) (why string, err error) {
	seen, unreachable := n.look(ctx)
	leader, address := "", ""
	var members []Member
	for _, r := range seen {
		if len(r.Members) > 0 && r.Leader != "" {
			leader, address, members = r.Leader, r.LeaderAddress, r.Members
		}
	}
	if leader != "" {
		w, err := n.readWord()
		if err != nil {
			return "", err
		}
		if w.promises(members) { // it is founded, with this node; where this one is now may be news
			_, _ = n.ask(ctx, address, leader, question{
				Ask: askAdd, ID: n.cfg.NodeID, Address: n.cfg.Address, Replica: n.cfg.Replica, Boot: n.boot,
			})
			return "the first entries of the log", nil
		}
		// With the word of an earlier start the disk is the one that was taken in, though nothing of the log has come yet.
		taken := w != nil && w.Taken && !w.Kept
		r, err := n.ask(ctx, address, leader, question{
			Ask: askAdd, ID: n.cfg.NodeID, Address: n.cfg.Address, Replica: n.cfg.Replica, Fresh: !taken, Boot: n.boot,
		})
		if err == nil {
			err = r.err()
		}
		if errors.Is(err, ErrHadData) && n.fresh.Load() {
			return "", err
		}
		if err == nil {
			err = n.giveWord(word{Taken: true})
		}
		if err != nil {
			return fmt.Sprintf("leader %s did not take this node in: %v", leader, err), nil
		}
		return "the first entries of the log", nil
	}
	for _, r := range seen {
		if len(r.Members) > 0 {
			return fmt.Sprintf("node %s belongs to a cluster that has no leader just now", r.ID), nil
		}
	}
	if n.cfg.Expect < 2 || n.cfg.Replica {
		return "none of " + strings.Join(n.seeds(), ", ") + " belongs to a cluster" + unreachable, nil
	}
	return n.tryFound(ctx, seen, unreachable)
}

// tryFound founds a cluster if it is this node's to do.
func (n *Node) tryFound(ctx context.Context, seen []*reply, unreachable string) (why string, err error) {
	voters := []Member{{ID: n.cfg.NodeID, Address: n.cfg.Address, Voter: true}}
	for _, r := range seen {
		if r.Replica {
			continue
		}
		if r.Expect != n.cfg.Expect {
			return fmt.Sprintf("node %s has cluster.bootstrap_expect %d and this one %d: they must be equal", r.ID, r.Expect,
				n.cfg.Expect), nil
		}
		voters = append(voters, Member{ID: r.ID, Address: r.Address, Voter: true})
	}
	if len(voters) < n.cfg.Expect {
		return fmt.Sprintf("%d of cluster.bootstrap_expect %d nodes are there%s", len(voters), n.cfg.Expect, unreachable), nil
	}
	slices.SortFunc(voters, func(a, b Member) int { return strings.Compare(a.ID, b.ID) })
	voters = voters[:n.cfg.Expect]
	if voters[0].ID != n.cfg.NodeID {
		return fmt.Sprintf("node %s founds the cluster", voters[0].ID), nil
	}
	if err := n.promise(n.cfg.NodeID, question{Founder: n.cfg.NodeID, Voters: voters}); err != nil {
		return err.Error(), nil
	}
	for _, v := range voters[1:] {
		r, err := n.ask(ctx, v.Address, v.ID, question{Ask: askPromise, Founder: n.cfg.NodeID, Voters: voters})
		if err == nil {
			err = r.err()
		}
		if err != nil {
			return fmt.Sprintf("node %s does not take part: %v", v.ID, err), nil
		}
	}
	var c raft.Configuration
	for _, v := range voters {
		c.Servers = append(c.Servers, raft.Server{
			Suffrage: raft.Voter, ID: raft.ServerID(v.ID), Address: raft.ServerAddress(v.Address),
		})
	}
	if err := n.raft.BootstrapCluster(c).Error(); err != nil && !errors.Is(err, raft.ErrCantBootstrap) {
		return "", fmt.Errorf("found the cluster: %w", err)
	}
	n.log.Info("cluster founded", "voters", len(voters))
	return "", nil
}

// word is what the file promise holds: the cluster this node is to be part of.
type word struct {
	Founder string   `json:"founder,omitempty"`
	Voters  []string `json:"voters,omitempty"`
	Taken   bool     `json:"taken,omitempty"` // a leader has taken the node in
	// Kept: the node has had data since. Without it the word is worth nothing: the disk is another one, or was emptied.
	Kept bool `json:"kept,omitempty"`
}

// promises reports whether the word was given to take part in a cluster of these members, and has not been kept yet.
func (w *word) promises(members []Member) bool {
	return w != nil && !w.Kept && w.Founder != "" && !slices.ContainsFunc(w.Voters, func(id string) bool {
		return !slices.ContainsFunc(members, func(m Member) bool { return m.ID == id })
	})
}

// promise gives this node's word to take part in the cluster that a node founds, once and for all.
func (n *Node) promise(from string, q question) error {
	w := word{Founder: q.Founder}
	for _, v := range q.Voters {
		w.Voters = append(w.Voters, v.ID)
	}
	if from != q.Founder || !slices.Contains(w.Voters, n.cfg.NodeID) || len(w.Voters) != n.cfg.Expect {
		return errors.New("this node has no part in that cluster")
	}
	if !n.fresh.Load() {
		return errors.New("this node belongs to a cluster already")
	}
	return n.giveWord(w)
}

// giveWord makes the node's word durable and lets others in. One that was given before stays.
func (n *Node) giveWord(w word) error {
	n.admitMu.Lock()
	defer n.admitMu.Unlock()
	old, err := n.readWord()
	if err != nil {
		return err
	}
	switch {
	case old == nil || old.Kept:
		if err := n.writeWord(w); err != nil {
			return err
		}
	case old.Taken != w.Taken || old.Founder != w.Founder || !slices.Equal(old.Voters, w.Voters):
		return fmt.Errorf("it gave its word to node %s, for a cluster of %s; if that one will never come, remove %s", old.Founder,
			strings.Join(old.Voters, ", "), n.wordFile())
	}
	n.letIn()
	return nil
}

// recallWord lets others in where the node has data or gave its word before.
func (n *Node) recallWord() error {
	w, err := n.readWord()
	if w != nil && !w.Kept || !n.fresh.Load() {
		n.letIn()
	}
	return err
}

// retireWord notes that the word has been kept.
func (n *Node) retireWord() error {
	n.admitMu.Lock()
	defer n.admitMu.Unlock()
	w, err := n.readWord()
	if err != nil || w == nil || w.Kept {
		return err
	}
	w.Kept = true
	return n.writeWord(*w)
}

func (n *Node) writeWord(w word) error {
	data, err := json.Marshal(w)
	if err != nil {
		return err
	}
	return writeFile(n.cfg.Disk, n.wordFile(), data)
}

func (n *Node) wordFile() string { return filepath.Join(n.cfg.Dir, promiseFile) }

func (n *Node) readWord() (*word, error) {
	data, err := readFile(n.cfg.Disk, n.wordFile(), promiseLimit)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var w word
	if err := json.Unmarshal(data, &w); err != nil {
		return nil, fmt.Errorf("%w: %s", ErrDamaged, n.wordFile())
	}
	return &w, nil
}

// tellAddress tells the cluster where this node is now, if it thinks it somewhere else.
func (n *Node) tellAddress(ctx context.Context) error {
	for pause := joinFirst; ; pause = min(2*pause, joinMost) {
		if m, found := n.member(n.cfg.NodeID); !found || m.Address == n.cfg.Address {
			return nil
		}
		if n.IsLeader() {
			if n.admit(question{ID: n.cfg.NodeID, Address: n.cfg.Address, Boot: n.boot}) == nil {
				return nil
			}
		}
		seen, _ := n.look(ctx)
		for _, r := range seen {
			if r.Leader == "" || r.Leader == n.cfg.NodeID {
				continue
			}
			a, err := n.ask(ctx, r.LeaderAddress, r.Leader, question{
				Ask: askAdd, ID: n.cfg.NodeID, Address: n.cfg.Address, Replica: n.cfg.Replica, Boot: n.boot,
			})
			if err == nil && a.err() == nil {
				return nil
			}
		}
		if !sleep(ctx, pause) {
			return nil
		}
	}
}

// look asks every seed who it is. unreachable names those that did not answer.
func (n *Node) look(ctx context.Context) (seen []*reply, unreachable string) {
	addresses, missing := n.resolve(ctx)
	type answer struct {
		address string
		r       *reply
		err     error
	}
	answers := make(chan answer, len(addresses))
	for _, a := range addresses {
		go func() {
			ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
			defer cancel()
			r, err := n.ask(ctx, a, "", question{Ask: askHello})
			answers <- answer{a, r, err}
		}()
	}
	for range addresses {
		a := <-answers
		switch {
		case a.err != nil:
			missing = append(missing, fmt.Sprintf("%s (%v)", a.address, a.err))
		case a.r.ID != n.cfg.NodeID && !slices.ContainsFunc(seen, func(r *reply) bool { return r.ID == a.r.ID }):
			seen = append(seen, a.r)
		}
	}
	if len(missing) > 0 {
		slices.Sort(missing)
		unreachable = "; no answer from " + strings.Join(missing, ", ")
	}
	return seen, unreachable
}

// resolve returns the addresses of the seeds: host:port as it is, dns:host:port as all addresses of the name,
// dns+srv:name as the targets of its SRV records.
func (n *Node) resolve(ctx context.Context) (addresses, missing []string) {
	for _, seed := range n.seeds() {
		var found []string
		var err error
		if name, ok := strings.CutPrefix(seed, "dns+srv:"); ok {
			found, err = n.lookupSRV(ctx, name)
		} else if name, ok := strings.CutPrefix(seed, "dns:"); ok {
			found, err = n.lookupHost(ctx, name)
		} else {
			found = []string{seed}
		}
		if err != nil {
			missing = append(missing, fmt.Sprintf("%s (%v)", seed, err))
		}
		for _, a := range found {
			if a != n.cfg.Address && !slices.Contains(addresses, a) {
				addresses = append(addresses, a)
			}
		}
	}
	return addresses, missing
}

func (n *Node) lookupSRV(ctx context.Context, name string) ([]string, error) {
	_, records, err := n.cfg.DNS.LookupSRV(ctx, "", "", name)
	var out []string
	for _, r := range records {
		out = append(out, net.JoinHostPort(strings.TrimSuffix(r.Target, "."), strconv.Itoa(int(r.Port))))
	}
	return out, err
}

func (n *Node) lookupHost(ctx context.Context, seed string) ([]string, error) {
	host, port, err := net.SplitHostPort(seed)
	if err != nil {
		return nil, err
	}
	all, err := n.cfg.DNS.LookupHost(ctx, host)
	var out []string
	for _, a := range all {
		out = append(out, net.JoinHostPort(a, port))
	}
	return out, err
}
