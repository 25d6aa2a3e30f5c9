package cluster

import "github.com/hashicorp/raft"

// pipeline is raft's pipeline of appends to a follower, whose answers nobody has to take.
//
// Raft's own (v1.8.0) stands still for ever when its consumer has left: a leader that learns of a newer term from an
// answer takes no more of them, while its sender waits in AppendEntries for room that only a taken answer makes. The
// sender then never sees that it is over, and Shutdown waits for it.
type pipeline struct {
	raft.AppendPipeline
	answers chan raft.AppendFuture
	end     chan struct{}
}

// pipelineAnswers is more than raft ever leaves: after its consumer is gone the sender looks once per append whether it is.
const pipelineAnswers = 256

func newPipeline(p raft.AppendPipeline) *pipeline {
	w := &pipeline{AppendPipeline: p, answers: make(chan raft.AppendFuture, pipelineAnswers), end: make(chan struct{})}
	go w.relay()
	return w
}

func (p *pipeline) relay() {
	for {
		select {
		case f := <-p.AppendPipeline.Consumer():
			select {
			case p.answers <- f:
			case <-p.end:
				return
			}
		case <-p.end:
			return
		}
	}
}

// Consumer implements raft.AppendPipeline.
func (p *pipeline) Consumer() <-chan raft.AppendFuture { return p.answers }

// Close implements raft.AppendPipeline. Raft calls it once.
func (p *pipeline) Close() error {
	close(p.end)
	return p.AppendPipeline.Close()
}
