package cluster

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/hashicorp/raft"

	"github.com/madang-chat/madang/cluster/link"
	"github.com/madang-chat/madang/internal/clock"
)

// protoMembers asks a node who it is, and changes who belongs to the cluster. One question and one answer, JSON behind a
// length of four bytes, per connection.
const protoMembers = "madang-members/1"

const (
	askTime    = 10 * time.Second
	askLimit   = 64 << 10
	changeTime = 8 * time.Second // for the log to take a change of the members
)

// Role returns "leader", "follower", "candidate", "replica" (a node without a vote) or "shutdown".
func (n *Node) Role() string {
	state := n.raft.State()
	if state == raft.Follower {
		for _, m := range n.Members() {
			if m.ID == n.cfg.NodeID && !m.Voter {
				return "replica"
			}
		}
	}
	return strings.ToLower(state.String())
}

// Member is a node of the cluster.
type Member struct {
	ID      string
	Address string
	Voter   bool
}

// Members returns the nodes of the newest configuration this node knows.
func (n *Node) Members() []Member {
	f := n.raft.GetConfiguration()
	if f.Error() != nil {
		return nil
	}
	var out []Member
	for _, s := range f.Configuration().Servers {
		out = append(out, Member{ID: string(s.ID), Address: string(s.Address), Voter: s.Suffrage == raft.Voter})
	}
	return out
}

// Errors of changes to the members.
var (
	// ErrNoLeader means that nobody leads who could make the change; it was not made.
	ErrNoLeader = errors.New("no leader is known: wait for an election, or look at the nodes that are missing")

	// ErrNotMember means that there is no such node.
	ErrNotMember = errors.New("no node of that name belongs to the cluster")

	// ErrMember means that there is such a node already.
	ErrMember = errors.New("a node of that name belongs to the cluster already")

	// ErrNotInvited means that a node asks to be taken in that nobody has named.
	ErrNotInvited = errors.New("the nodes prove themselves by certificates of an authority that may sign others too, so a new " +
		"one is named first (madang cluster add NAME)")

	// ErrHadData means that a node with an empty disk asks for the place of one that had data. It may have voted, and it
	// would not know.
	ErrHadData = errors.New("a node of that name belongs to the cluster and its disk was not empty: remove it first " +
		"(madang cluster remove NAME), or give the new node another name")
)

// What is asked.
const (
	askHello    = "hello"
	askAdd      = "add"
	askPromote  = "promote"
	askRemove   = "remove"
	askTransfer = "transfer"
	askPromise  = "promise"
	askPermit   = "permit"
	askInvite   = "invite"
)

// question is what one node asks another.
type question struct {
	Ask     string   `json:"ask"`
	ID      string   `json:"id,omitempty"` // whom it is about
	Address string   `json:"address,omitempty"`
	Replica bool     `json:"replica,omitempty"`
	Fresh   bool     `json:"fresh,omitempty"` // its disk was empty at its start
	Boot    uint64   `json:"boot,omitempty"`
	Founder string   `json:"founder,omitempty"`
	Voters  []Member `json:"voters,omitempty"`
}

// reply is the answer. Who answers tells how it sees itself and the cluster, whatever was asked.
type reply struct {
	Error         string   `json:"error,omitempty"`
	Code          string   `json:"code,omitempty"` // names the errors above
	ID            string   `json:"id"`
	Address       string   `json:"address"`
	Replica       bool     `json:"replica,omitempty"`
	Fresh         bool     `json:"fresh,omitempty"`
	Expect        int      `json:"expect,omitempty"`
	Applied       uint64   `json:"applied,omitempty"`
	Leader        string   `json:"leader,omitempty"`
	LeaderAddress string   `json:"leader_address,omitempty"`
	Members       []Member `json:"members,omitempty"`
}

// coded are the errors that keep their identity from node to node.
var coded = map[string]error{"no_leader": ErrNoLeader, "not_member": ErrNotMember, "had_data": ErrHadData, "member": ErrMember, "not_invited": ErrNotInvited}

func (r *reply) fail(err error) {
	r.Error = err.Error()
	for code, e := range coded {
		if errors.Is(err, e) {
			r.Code = code
		}
	}
}

func (r *reply) err() error {
	switch {
	case coded[r.Code] != nil:
		return coded[r.Code]
	case r.Error != "":
		return errors.New(r.Error)
	}
	return nil
}

// ask puts a question to the node at an address; want is its id where that is known.
func (n *Node) ask(ctx context.Context, address, want string, q question) (*reply, error) {
	c, err := n.cfg.Port.Dial(ctx, address, protoMembers, want)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	_ = c.SetDeadline(clock.Deadline(askTime))
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	defer stop()
	if err := writeJSON(c, q); err != nil {
		return nil, err
	}
	var r reply
	if err := readJSON(c, &r); err != nil {
		return nil, err
	}
	if r.ID != c.Peer {
		return nil, fmt.Errorf("node %q answers as %q", c.Peer, r.ID)
	}
	return &r, nil
}

func writeJSON(w io.Writer, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = w.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...))
	return err
}

func readJSON(r io.Reader, v any) error {
	var length [4]byte
	if _, err := io.ReadFull(r, length[:]); err != nil {
		return err
	}
	n := binary.BigEndian.Uint32(length[:])
	if n > askLimit {
		return fmt.Errorf("message of %d bytes, at most %d are taken", n, askLimit)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(r, b); err != nil {
		return err
	}
	return json.Unmarshal(b, v)
}

// answerMember is the other side of ask.
func (n *Node) answerMember(c *link.Conn) {
	_ = c.SetDeadline(clock.Deadline(askTime))
	var q question
	if err := readJSON(c, &q); err != nil {
		n.log.Debug("question of a node not understood", "node", c.Peer, "err", err)
		return
	}
	ctx, cancel := context.WithTimeout(n.ctx, askTime)
	defer cancel()
	err := n.do(ctx, c.Peer, q)
	r := n.whoAmI()
	if err != nil {
		r.fail(err)
	}
	_ = writeJSON(c, r)
}

func (n *Node) whoAmI() *reply {
	address, leader := n.raft.LeaderWithID()
	return &reply{
		ID: n.cfg.NodeID, Address: n.cfg.Address, Replica: n.cfg.Replica, Fresh: n.fresh.Load(), Expect: n.cfg.Expect,
		Applied: n.raft.AppliedIndex(), Leader: string(leader), LeaderAddress: string(address), Members: n.Members(),
	}
}

// do carries out what a node asks.
func (n *Node) do(ctx context.Context, from string, q question) error {
	switch q.Ask {
	case askHello:
		return nil
	case askPromise:
		return n.promise(from, q)
	case askAdd:
		if from != q.ID {
			return fmt.Errorf("node %q cannot join in the name of %q", from, q.ID)
		}
		return n.admit(q)
	case askInvite:
		return n.accept(q)
	case askPromote, askRemove, askTransfer, askPermit:
		if !n.IsMember(from) { // a certificate alone, which others may have too, changes nothing
			return fmt.Errorf("%w: %q", ErrNotMember, from)
		}
		if !n.IsLeader() {
			return ErrNoLeader
		}
		return n.carryOut(ctx, q)
	}
	return fmt.Errorf("unknown question %q: the nodes are of different versions", q.Ask)
}

// Promote gives a replica a vote; Remove takes a node out, which then serves nobody; Transfer hands leadership to a node,
// or to the fittest where id is empty. Any node may be asked; the change is made when they return nil.
func (n *Node) Promote(ctx context.Context, id string) error {
	return n.command(ctx, question{Ask: askPromote, ID: id})
}

// Remove takes a node out of the cluster. See Promote.
func (n *Node) Remove(ctx context.Context, id string) error {
	return n.command(ctx, question{Ask: askRemove, ID: id})
}

// Transfer hands leadership over. See Promote.
func (n *Node) Transfer(ctx context.Context, id string) error {
	return n.command(ctx, question{Ask: askTransfer, ID: id})
}

// command carries out a change where it can be made: at the leader.
func (n *Node) command(ctx context.Context, q question) error {
	if n.IsLeader() {
		return n.carryOut(ctx, q)
	}
	address, leader := n.raft.LeaderWithID()
	if leader == "" || n.cfg.Port == nil {
		return ErrNoLeader
	}
	r, err := n.ask(ctx, string(address), string(leader), q)
	if err != nil {
		return fmt.Errorf("ask the leader %q: %w", leader, err)
	}
	return r.err()
}

// carryOut makes a change of the members at the leader.
func (n *Node) carryOut(ctx context.Context, q question) error {
	m, found := n.member(q.ID)
	if q.Ask == askPermit {
		return n.permit(ctx, q, found)
	}
	if !found && (q.Ask != askTransfer || q.ID != "") {
		return fmt.Errorf("%w: %q", ErrNotMember, q.ID)
	}
	var f raft.Future
	switch q.Ask {
	case askPromote:
		if m.Voter {
			return nil
		}
		f = n.raft.AddVoter(raft.ServerID(m.ID), raft.ServerAddress(m.Address), 0, changeTime)
	case askRemove:
		if m.ID == n.cfg.NodeID {
			return errors.New("this node leads: hand leadership over first (madang cluster transfer)")
		}
		f = n.raft.RemoveServer(raft.ServerID(m.ID), 0, changeTime)
	case askTransfer:
		switch {
		case q.ID == "":
			f = n.raft.LeadershipTransfer()
		case !m.Voter:
			return fmt.Errorf("node %q is a replica, which never leads", m.ID)
		case m.ID == n.cfg.NodeID:
			return nil
		default:
			f = n.raft.LeadershipTransferToServer(raft.ServerID(m.ID), raft.ServerAddress(m.Address))
		}
	}
	return wait(ctx, f)
}

// wait waits for a future of raft as long as ctx allows.
func wait(ctx context.Context, f raft.Future) error {
	done := make(chan error, 1)
	go func() { done <- f.Error() }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", ErrUnknown, context.Cause(ctx))
	}
}

func (n *Node) member(id string) (Member, bool) {
	for _, m := range n.Members() {
		if m.ID == id {
			return m, true
		}
	}
	return Member{}, false
}

// admit takes a node in as a replica, or notes its new address. The leader does it; tend promotes it later.
func (n *Node) admit(q question) error {
	if !n.IsLeader() {
		return ErrNoLeader
	}
	if q.Address == "" {
		return errors.New("the node does not say where it can be reached")
	}
	n.admitMu.Lock()
	defer n.admitMu.Unlock()
	m, found := n.member(q.ID)
	switch {
	case found && q.Fresh && n.admitted[q.ID] != q.Boot:
		return fmt.Errorf("%w: %q", ErrHadData, q.ID)
	case found && m.Address == q.Address:
		return nil
	case !found && n.cfg.Invited && n.cfg.Monotonic() >= n.permits[q.ID]:
		return fmt.Errorf("%w: %q", ErrNotInvited, q.ID)
	case !found && !q.Fresh:
		return fmt.Errorf("node %q was removed from this cluster: empty its data directory to let it join anew", q.ID)
	}
	if q.Fresh {
		n.admitted[q.ID] = q.Boot // before: what fails here may still be done, and then it asks again
	}
	id, address := raft.ServerID(q.ID), raft.ServerAddress(q.Address)
	var f raft.IndexFuture
	if found && m.Voter {
		f = n.raft.AddVoter(id, address, 0, changeTime)
	} else {
		f = n.raft.AddNonvoter(id, address, 0, changeTime)
	}
	if err := f.Error(); err != nil {
		return err
	}
	delete(n.permits, q.ID)
	n.log.Info("node taken in", "node", q.ID, "address", q.Address)
	return nil
}

// tend promotes nodes that are to have a vote and have caught up, while this node leads.
func (n *Node) tend() {
	t := time.NewTicker(tendEvery)
	defer t.Stop()
	later := map[string]time.Duration{} // when nodes that want no vote are asked again
	for {
		select {
		case <-t.C:
		case <-n.ctx.Done():
			return
		}
		if !n.IsLeader() {
			continue
		}
		now := n.cfg.Monotonic()
		for _, m := range n.Members() {
			if !m.Voter && now >= later[m.ID] && n.tendOne(m) {
				later[m.ID] = now + tendReplica
			}
		}
	}
}

const (
	tendEvery   = 500 * time.Millisecond
	tendReplica = 5 * time.Second // between questions to a replica: each is a handshake, and it may stay one for ever
	tendLag     = 256             // entries a node may be behind to be given a vote: it has them within a moment
)

// tendOne gives a node its vote if it is time, and reports whether it wants none.
func (n *Node) tendOne(m Member) (replica bool) {
	ctx, cancel := context.WithTimeout(n.ctx, time.Second)
	defer cancel()
	commit := n.raft.CommitIndex()
	r, err := n.ask(ctx, m.Address, m.ID, question{Ask: askHello})
	switch {
	case err != nil:
		return false
	case r.Replica:
		return true
	case r.Applied+tendLag < commit || r.Leader != n.cfg.NodeID:
		return false
	}
	if err := n.carryOut(ctx, question{Ask: askPromote, ID: m.ID}); err != nil {
		n.log.Warn("a node that has caught up was not given its vote", "node", m.ID, "err", err)
		return false
	}
	n.log.Info("node given a vote", "node", m.ID)
	return false
}
